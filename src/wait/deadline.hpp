// Deadline: when a call gives up. The clock is read when the call first has to wait: a call that need not wait pays nothing.
#pragma once

#include <chrono>
#include <cstdint>
#include <mutex>

#include "base/platform.hpp"
#include "wait/futex.hpp"

namespace hostmap {

class Deadline {
 public:
  explicit Deadline(std::chrono::nanoseconds timeout) noexcept : timeout_ns_(timeout.count()) {}

  // Nanoseconds that are left, 0 when it has passed, kNoTimeout when it never does.
  std::int64_t left() noexcept {
    if (timeout_ns_ == kNoTimeout) return kNoTimeout;
    const std::int64_t now = monotonic_ns();
    if (begin_ns_ == 0) begin_ns_ = now;
    const std::int64_t spent = now - begin_ns_;
    return spent < timeout_ns_ ? timeout_ns_ - spent : 0;
  }

 private:
  std::int64_t timeout_ns_;
  std::int64_t begin_ns_ = 0;
};

// Locks `mutex` if that is possible before the deadline.
inline bool lock_within(std::timed_mutex& mutex, Deadline& deadline) {
  if (mutex.try_lock()) return true;
  const std::int64_t left = deadline.left();
  // The thread sanitizer of GCC 12 does not know the call behind try_lock_for, and takes the mutex for unlocked.
  if (left == kNoTimeout || HOSTMAP_TSAN) {
    mutex.lock();
    return true;
  }
  return mutex.try_lock_for(std::chrono::nanoseconds(left));
}

}  // namespace hostmap
