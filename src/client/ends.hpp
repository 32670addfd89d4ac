// From a time to live to the moment when a key ends.
//
// The client counts, rounded up: a request that waits for a restart does not make its key live longer, and one that is applied
// again stores the same word. It reads the precise clock: by the coarse one, which is up to a tick behind, a few milliseconds
// would be over at once.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstdint>

#include <hostmap/status.hpp>
#include <hostmap/ttl.hpp>

#include "base/ends.hpp"
#include "base/platform.hpp"

namespace hostmap {

// Milliseconds of the clock, rounded up.
inline std::int64_t clock_ms_rounded_up() noexcept {
  constexpr std::int64_t kNsPerMs = 1'000'000;
  return (monotonic_ns() + kNsPerMs - 1) / kNsPerMs;
}

inline bool is_ttl(std::chrono::milliseconds ttl) noexcept { return ttl > std::chrono::milliseconds::zero(); }
// Of an operation that stores a whole value over one that may be there.
inline bool is_ttl_of_put(std::chrono::milliseconds ttl) noexcept { return is_ttl(ttl) || ttl == kKeepTtl; }

// Of another one.
Status ttl_status(std::chrono::milliseconds ttl) noexcept;

// The end of a key that lives for `ttl`, which is_ttl() and not kForever, from now on.
inline std::uint64_t end_after(std::chrono::milliseconds ttl) noexcept {
  // Below kNeverEnds: both are below 2^63. Above kKeepEnd, whatever the clock says.
  return std::max<std::uint64_t>(
      static_cast<std::uint64_t>(clock_ms_rounded_up()) + static_cast<std::uint64_t>(ttl.count()), 2);
}
inline std::uint64_t end_of_put(std::chrono::milliseconds ttl) noexcept {
  return ttl == kForever ? kNoEnd : ttl == kKeepTtl ? kKeepEnd : end_after(ttl);
}
inline std::uint64_t end_of_expire(std::chrono::milliseconds ttl) noexcept {
  return ttl == kForever ? kNeverEnds : end_after(ttl);
}

}  // namespace hostmap
