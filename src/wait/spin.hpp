// AdaptiveSpin: how long to look before sleeping.
//
// Budgets are in time (a pause instruction lasts 40 to 140 cycles, by model), follow what waits lasted lately, and never
// exceed the cost of a sleep and wake-up: spinning longer than that is always worse than having slept at once.
// Any thread: the budget is one relaxed atomic.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <sched.h>

#include "base/platform.hpp"

namespace hostmap {

class AdaptiveSpin {
 public:
  // Sleep and wake-up across cores cost 5 to 50 us on virtual machines (the waker's system call, an interrupt, the way out
  // of idle), most where a virtual cpu was halted. So long does a client look that has just woken the worker: with less it
  // would fall asleep when the answer is about to come, and wait for a second wake-up.
  static constexpr std::int64_t kLongestNs = 50'000;
  static constexpr std::int64_t kShortestNs = 4'000;
  // About half a microsecond to two, by what the pause instruction takes.
  static constexpr int kLooksWithoutClock = 32;

  std::int64_t budget_ns() const noexcept {
    // relaxed: an estimate
    return budget_ns_.load(std::memory_order_relaxed);
  }

  // In a crowd, where who is waited for may not run because of those who look: gives the cpu away between two looks, at most
  // so often. As many looks as a sleep and a wake-up cost, if nobody else wants to run.
  static constexpr int kMostYields = 64;
  template <typename Ready>
  static bool yield_until(Ready&& ready) noexcept {
    for (int yields = 0; yields < kMostYields; ++yields) {
      ::sched_yield();
      if (ready()) return true;
    }
    return false;
  }

  // Looks until `ready()` or the budget is spent; says which. `limit_ns` lowers the budget for this time (0: look once).
  template <typename Ready>
  bool spin(Ready&& ready, std::int64_t limit_ns = kLongestNs) noexcept {
    if (ready()) return true;
    const std::int64_t budget = std::min(budget_ns(), limit_ns);
    if (budget <= 0) return false;
    // An answer that comes as fast as lines travel teaches nothing, and asking the clock would delay what follows it.
    for (int looks = 0; looks < kLooksWithoutClock; ++looks) {
      cpu_relax();
      if (ready()) return true;
    }
    const std::int64_t begin = monotonic_ns();
    for (;;) {
      for (int looks = 0; looks < 8; ++looks) {  // the clock costs about as much as eight looks
        cpu_relax();
        if (ready()) {
          observe(monotonic_ns() - begin);
          return true;
        }
      }
      if (monotonic_ns() - begin > budget) return false;
    }
  }

  // What the wait lasted in the end, sleep included: short ones raise the budget, long ones lower it.
  void observe(std::int64_t waited_ns) noexcept {
    const std::int64_t target = waited_ns > kLongestNs ? kShortestNs : 2 * waited_ns;
    const std::int64_t before = budget_ns();
    const std::int64_t after = before + (target - before) / 8;
    budget_ns_.store(std::clamp(after, kShortestNs, kLongestNs), std::memory_order_relaxed);  // relaxed: an estimate
  }

 private:
  std::atomic<std::int64_t> budget_ns_{kLongestNs};
};

}  // namespace hostmap
