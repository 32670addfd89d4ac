// Deadline: when a call gives up, and how it sleeps until then. The clock is read when the call first has to wait: a call that need
// not wait pays nothing.
//
// All sleeps of the client library that a deadline bounds go through one, because a host language may want to know of them
// (Options::sleeping). Its hook is called before and after each sleep; a result other than 0 after one gives the deadline up: nothing
// is left of it from then on.
//
// The hook may block until another thread of this process has done something, typically until that one sleeps itself. So a thread
// holds nothing, while it calls the hook, for which another one waits in a loop; for mutexes and the turn to write threads wait by
// lock_within() and pause(), which call the hook.
#pragma once

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <ctime>
#include <mutex>
#include <sched.h>

#include "base/platform.hpp"
#include "wait/futex.hpp"
#include "wait/thread_limit.hpp"

namespace hostmap {

// What the calls of a client have in common: how long they may block, and what is called around each sleep.
struct WaitPolicy {
  std::atomic<std::int64_t> timeout_ns{0};
  int (*sleeping)(void* context, int begins) = nullptr;
  void* context = nullptr;

  std::chrono::nanoseconds own_timeout() const noexcept {
    return std::chrono::nanoseconds(timeout_ns.load(std::memory_order_relaxed));  // relaxed: a number
  }
  // Of a call by this thread that has no time of its own.
  std::chrono::nanoseconds time_of_a_call() const noexcept {
    return thread_limit == std::chrono::nanoseconds::zero() ? own_timeout() : thread_limit;
  }
};

class Deadline {
 public:
  explicit Deadline(std::chrono::nanoseconds timeout) noexcept
      : timeout_ns_(std::max<std::int64_t>(timeout.count(), 0)) {}
  // Of a call: policy.time_of_a_call() from now on, by which is meant the first call of left().
  explicit Deadline(const WaitPolicy& policy) noexcept : policy_(&policy), timeout_ns_(kOfPolicy) {}
  Deadline(const WaitPolicy& policy, std::chrono::nanoseconds timeout) noexcept
      : policy_(&policy), timeout_ns_(std::max<std::int64_t>(timeout.count(), 0)) {}
  // A part of another one, `most` long at most: what gives the part up gives the whole up.
  Deadline(Deadline& whole, std::chrono::nanoseconds most) noexcept
      : policy_(whole.policy_), timeout_ns_(std::min(whole.left(), most.count())), whole_(&whole) {}

  // Nanoseconds that are left, 0 when it has passed, kNoTimeout when it never does.
  std::int64_t left() noexcept {
    if (timeout_ns_ == kNoTimeout) return kNoTimeout;
    const std::int64_t now = monotonic_ns();
    if (begin_ns_ == 0) {
      begin_ns_ = now;
      if (timeout_ns_ == kOfPolicy) timeout_ns_ = policy_->time_of_a_call().count();
      if (timeout_ns_ == kNoTimeout) return kNoTimeout;
    }
    const std::int64_t spent = now - begin_ns_;
    return spent < timeout_ns_ ? timeout_ns_ - spent : 0;
  }
  bool is_given_up() const noexcept { return begin_ns_ == kGivenUp; }

  // Sleeps while `word` == `expected`, for at most `most_ns`, and not beyond the deadline.
  WaitOutcome sleep_on(const HalfWord& word, std::uint32_t expected, std::int64_t most_ns) noexcept {
    return sleep(most_ns, [&](std::int64_t ns) noexcept { return futex_wait(word, expected, ns); });
  }
  // Calls `block(ns)`, which sleeps for at most `ns`, and not beyond the deadline. With a hook it may be called several times;
  // it must hold nothing when it returns.
  template <typename Block>
  WaitOutcome sleep(std::int64_t most_ns, const Block& block) noexcept {
    const std::int64_t ns = std::min(left(), most_ns);
    if (!has_hook() || ns == 0) [[likely]]
      return block(ns);
    // A signal that arrives between the hook and the sleep does not end the sleep: the next slice notices it.
    constexpr std::int64_t kSliceNs = 500'000'000;
    for (std::int64_t rest = ns;;) {
      const std::int64_t slice = std::min(rest, kSliceNs);
      begin_sleep();
      const WaitOutcome outcome = block(slice);
      if (!end_sleep() || outcome != WaitOutcome::kTimedOut) return outcome;
      if (rest != kNoTimeout) rest -= slice;
      if (rest == 0) return outcome;
    }
  }
  // Sleeps for so long, or until a signal, and not beyond the deadline.
  void pause(std::chrono::nanoseconds most) noexcept {
    sleep(most.count(), [](std::int64_t ns) noexcept {
      const timespec time{ns / 1'000'000'000, ns % 1'000'000'000};
      ::nanosleep(&time, nullptr);
      return WaitOutcome::kWoken;
    });
  }
  // In a loop that waits for what is done soon: lets others run.
  void yield() noexcept {
    if (!has_hook()) [[likely]] {
      ::sched_yield();
    } else {
      pause(std::chrono::milliseconds(1));
    }
  }
  bool has_hook() const noexcept { return policy_ != nullptr && policy_->sleeping != nullptr; }
  void begin_sleep() const noexcept { policy_->sleeping(policy_->context, 1); }
  // False: the hook gave the deadline up.
  bool end_sleep() noexcept {
    if (policy_->sleeping(policy_->context, 0) == 0) return true;
    for (Deadline* each = this; each != nullptr; each = each->whole_) {
      each->timeout_ns_ = 0;
      each->begin_ns_ = kGivenUp;
    }
    return false;
  }

 private:
  static constexpr std::int64_t kOfPolicy = INT64_MIN;
  static constexpr std::int64_t kGivenUp = 1;  // no moment at which a call begins: the clock counts from the boot

  const WaitPolicy* policy_ = nullptr;
  std::int64_t timeout_ns_;
  std::int64_t begin_ns_ = 0;
  Deadline* whole_ = nullptr;
};

// Locks `mutex` if that is possible before the deadline.
inline bool lock_within(std::timed_mutex& mutex, Deadline& deadline) {
  if (mutex.try_lock()) return true;
  // A signal does not end the wait for a mutex.
  constexpr std::int64_t kSliceNs = 100'000'000;
  while (deadline.has_hook()) {
    const std::int64_t slice = HOSTMAP_TSAN ? 1'000'000 : std::min(deadline.left(), kSliceNs);
    deadline.begin_sleep();
    bool locked;
    if constexpr (HOSTMAP_TSAN) {
      const timespec time{0, slice};
      ::nanosleep(&time, nullptr);
      locked = mutex.try_lock();
    } else {
      locked = mutex.try_lock_for(std::chrono::nanoseconds(slice));
    }
    if (!deadline.end_sleep()) {
      if (locked) mutex.unlock();
      return false;
    }
    if (locked || deadline.left() == 0) return locked;
  }
  const std::int64_t left = deadline.left();
  // The thread sanitizer of GCC 12 does not know the call behind try_lock_for, and takes the mutex for unlocked.
  if (left == kNoTimeout || HOSTMAP_TSAN) {
    mutex.lock();
    return true;
  }
  return mutex.try_lock_for(std::chrono::nanoseconds(left));
}

}  // namespace hostmap
