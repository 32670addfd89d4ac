// Bells in memory that was truncated begin at 0 again, and could reach the very number that a thread about to sleep has
// seen. So a bell that may have lost rings is set to a random number, and every sleeper is woken to check again.
#pragma once

#include "base/random.hpp"
#include "layout/region.hpp"
#include "wait/futex.hpp"

namespace hostmap {

// The server's alone: if the page is gone, this access makes the guard replace it.
inline void reset_bell(HalfWord& bell) noexcept {
  bell.fetch_add(static_cast<std::uint32_t>(random_word()) | 1,
                 std::memory_order_relaxed);  // relaxed: see the next line
  futex_add_and_wake(bell);                   // whose system call orders it
}

}  // namespace hostmap
