// When keys end: the words of entries and of requests.
#pragma once

#include <cstdint>

namespace hostmap {

// Others are milliseconds of CLOCK_MONOTONIC; a key has lapsed from then on.
inline constexpr std::uint64_t kNoEnd = 0;                      // of a request: the key has none from then on
inline constexpr std::uint64_t kKeepEnd = 1;                    // of a request: the key keeps what it has
inline constexpr std::uint64_t kNeverEnds = ~std::uint64_t{0};  // of an entry that has the word and no end

}  // namespace hostmap
