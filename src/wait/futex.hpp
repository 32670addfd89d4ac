// Raw shared futexes. (std::atomic::wait of libstdc++ is private to a process and never wakes another one.)
#pragma once

#include <cerrno>
#include <climits>
#include <cstdint>
#include <ctime>
#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "layout/region.hpp"

namespace hostmap {

enum class WaitOutcome : std::uint8_t {
  kWoken,    // or interrupted by a signal, or spuriously: check again
  kChanged,  // the word was not `expected` any more
  kTimedOut,
  kUnmapped,  // the word's page is gone (a peer truncated the file)
};

// A timeout of this length never ends.
inline constexpr std::int64_t kNoTimeout = INT64_MAX;

// Sleeps while `word` == `expected`, for at most `timeout_ns` (relative).
inline WaitOutcome futex_wait(const HalfWord& word, std::uint32_t expected, std::int64_t timeout_ns) noexcept {
  timespec limit{};
  limit.tv_sec = timeout_ns / 1'000'000'000;
  limit.tv_nsec = timeout_ns % 1'000'000'000;
  const long result =
      ::syscall(SYS_futex, &word, FUTEX_WAIT, expected, timeout_ns == kNoTimeout ? nullptr : &limit, nullptr, 0);
  if (result == 0) return WaitOutcome::kWoken;
  switch (errno) {
    case EAGAIN:
      return WaitOutcome::kChanged;
    case ETIMEDOUT:
      return WaitOutcome::kTimedOut;
    case EFAULT:
      return WaitOutcome::kUnmapped;
    default:
      return WaitOutcome::kWoken;
  }
}

// Returns how many were woken; below 0: the word's page is gone.
inline int futex_wake(const HalfWord& word, int waiters) noexcept {
  return static_cast<int>(::syscall(SYS_futex, &word, FUTEX_WAKE, waiters, nullptr, nullptr, 0));
}

// Adds 1 to `word` and wakes all its waiters in one system call that answers EFAULT, and raises no SIGBUS, where a
// hostile peer has truncated the page away.
inline void futex_add_and_wake(HalfWord& word) noexcept {
  ::syscall(SYS_futex, &word, FUTEX_WAKE_OP, INT_MAX, reinterpret_cast<void*>(0L), &word,
            FUTEX_OP(FUTEX_OP_ADD, 1, FUTEX_OP_CMP_LT, 0));
}

// Sets bit `bit` (0 to 31) of `word`, in a system call for the same reason. Wakes nobody.
inline void futex_set_bit(HalfWord& word, std::uint32_t bit) noexcept {
  constexpr std::uint32_t kOrShifted = FUTEX_OP_OR | FUTEX_OP_OPARG_SHIFT;
  ::syscall(SYS_futex, &word, FUTEX_WAKE_OP, 0, nullptr, &word,
            kOrShifted << 28 | std::uint32_t{FUTEX_OP_CMP_LT} << 24 | bit << 12);
}

}  // namespace hostmap
