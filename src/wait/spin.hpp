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

// A yield among processes that wait for each other takes microseconds. Beside processes that only compute it costs a time slice
// of each of them, milliseconds, while a sleeper that is woken runs before them. So each yield is measured, and after a slow one
// there are none for a number of waits, which doubles with each further slow one.
// Any thread: the words are relaxed atomics, and a lost update costs one yield.
class QuickYield {
 public:
  // A turn of 64 clients of the map on two cpus takes 0.1 to 0.2 ms, the shortest slice of CFS 0.75 ms.
  static constexpr std::int64_t kQuickNs = 500'000;
  static constexpr std::uint32_t kFewestWaits = 64;
  static constexpr std::uint32_t kMostWaits = 16'384;
  // So many quick yields in a row, and earlier slow ones count no more.
  static constexpr std::uint32_t kForgetAfter = 256;

  // Called once before each yield: is one likely to be quick?
  bool quick() noexcept {
    const std::uint32_t left = skip_.load(std::memory_order_relaxed);  // relaxed: an estimate
    if (left == 0) [[likely]]
      return true;
    skip_.store(left - 1, std::memory_order_relaxed);  // relaxed: likewise
    return false;
  }
  // Returns whether it was quick.
  bool yield() noexcept {
    const std::int64_t begin = monotonic_ns();
    ::sched_yield();
    return observe(monotonic_ns() - begin);
  }
  // A yield took so long: was it quick?
  bool observe(std::int64_t yield_ns) noexcept {
    const bool was_quick = yield_ns < kQuickNs;
    // relaxed, all: an estimate
    const std::uint32_t slow = waits_.load(std::memory_order_relaxed);
    if (was_quick) {
      if (slow != kFewestWaits && quick_in_a_row_.fetch_add(1, std::memory_order_relaxed) >= kForgetAfter) forget();
      return true;
    }
    quick_in_a_row_.store(0, std::memory_order_relaxed);  // relaxed: an estimate
    skip_.store(slow, std::memory_order_relaxed);
    waits_.store(std::min(2 * slow, kMostWaits), std::memory_order_relaxed);
    return false;
  }

 private:
  void forget() noexcept {
    quick_in_a_row_.store(0, std::memory_order_relaxed);    // relaxed: an estimate
    waits_.store(kFewestWaits, std::memory_order_relaxed);  // relaxed: an estimate
  }
  std::atomic<std::uint32_t> skip_{0};
  std::atomic<std::uint32_t> waits_{kFewestWaits};
  std::atomic<std::uint32_t> quick_in_a_row_{0};
};

class AdaptiveSpin {
 public:
  // Sleep and wake-up across cores cost 5 to 50 us on virtual machines (the waker's system call, an interrupt, the way out
  // of idle), most where a virtual cpu was halted. So long does a client look that has just woken the worker: with less it
  // would fall asleep when the answer is about to come, and wait for a second wake-up.
  static constexpr std::int64_t kLongestNs = 50'000;
  static constexpr std::int64_t kShortestNs = 4'000;
  // About half a microsecond to two, by what the pause instruction takes.
  static constexpr int kPollsWithoutClock = 32;

  std::int64_t budget_ns() const noexcept {
    // relaxed: an estimate
    return budget_ns_.load(std::memory_order_relaxed);
  }

  // In a crowd, where the peer may not run because of those that poll: yields the cpu between two polls, at most so often. As
  // many polls as a sleep and a wake-up cost, if nobody else wants to run. Ends at the first slow yield.
  static constexpr int kMostYields = 64;
  template <typename Ready>
  bool yield_until(Ready&& ready) noexcept {
    for (int yields = 0; yields < kMostYields && yields_.quick(); ++yields) {
      yields_.yield();
      if (ready()) return true;
    }
    return false;
  }

  // Polls until `ready()` or the budget is spent; returns which. `limit_ns` lowers the budget for this time (0: poll once).
  template <typename Ready>
  bool spin(Ready&& ready, std::int64_t limit_ns = kLongestNs) noexcept {
    if (ready()) return true;
    const std::int64_t budget = std::min(budget_ns(), limit_ns);
    if (budget <= 0) return false;
    // An answer that comes as fast as lines travel shows nothing, and reading the clock would delay what follows it.
    for (int polls = 0; polls < kPollsWithoutClock; ++polls) {
      cpu_relax();
      if (ready()) return true;
    }
    const std::int64_t begin = monotonic_ns();
    for (;;) {
      for (int polls = 0; polls < 8; ++polls) {  // the clock costs about as much as eight polls
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
  QuickYield yields_;
};

}  // namespace hostmap
