// Bells in memory that was cut off begin at 0 again, and could come to the very number that somebody who is about to sleep has
// seen. So a bell that may have lost rings is set to a random number, and everybody who sleeps looks again.
#pragma once

#include "base/random.hpp"
#include "layout/region.hpp"
#include "wait/futex.hpp"

namespace hostmap {

// The server's alone: where the page is gone, the look at it has the guard mend it.
inline void stir(HalfWord& bell) noexcept {
  bell.fetch_add(static_cast<std::uint32_t>(random_word()) | 1,
                 std::memory_order_relaxed);  // relaxed: see the next line
  futex_add_and_wake(bell);                   // whose system call orders it
}

}  // namespace hostmap
