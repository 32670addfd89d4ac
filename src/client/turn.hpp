// WriteTurn: one thread at a time writes through a Client, at almost no cost while it is always the same one.
//
// A mutex costs an atomic read-modify-write for each call, several times the cost of a put_async. So the turn is biased: the
// first thread that writes owns it, and takes it by plain stores. Another thread that needs it ends the bias forever: from
// then on all threads take the mutex.
//
//   owner                                  the thread that ends the bias
//   O1 in_use = 1                          R1 shared = 1
//   O2 compiler fence                      R2 membarrier: a full fence on every thread of this process
//   O3 shared? then in_use = 0, mutex      R3 wait until in_use is 0, then take the mutex
//
// Each stores its own word before it loads the other's, and R2 is the fence for both: at least one sees the other. Where
// membarrier is not allowed there is no bias.
//
// It is stored in the page that a fork wipes: the child begins with a free turn. All words are zero at first, and so is a
// mutex of glibc.
#pragma once

#include <atomic>
#include <cstdint>
#include <mutex>

#include "base/platform.hpp"
#include "wait/deadline.hpp"

namespace hostmap {

class WriteTurn {
 public:
  // Called before any lock(): may there be a bias? A child begins with one.
  void allow_bias(bool allowed) noexcept {
    // relaxed, both: published with the client
    shared_.store(!allowed, std::memory_order_relaxed);
    ended_.store(!allowed, std::memory_order_relaxed);
  }
  // Registers this process for the barrier. False: the kernel or a sandbox does not allow it.
  static bool register_process() noexcept;

  // False: the deadline passed first.
  [[gnu::always_inline]] bool lock(Deadline& deadline) noexcept { return try_as_owner() || lock_shared(deadline); }
  // Without waiting: false if the turn is not free at once.
  [[gnu::always_inline]] bool try_as_owner() noexcept {
    if (owner_.load(std::memory_order_relaxed) != this_thread())
      return false;                                           // relaxed: only this thread stores its own
    in_use_.store(true, std::memory_order_relaxed);           // relaxed: R2 fences for this thread
    std::atomic_signal_fence(std::memory_order_seq_cst);      // [turn.take] seq_cst; pairs with [turn.revoke]
    if (!shared_.load(std::memory_order_relaxed)) [[likely]]  // relaxed: after the fence
      return true;
    in_use_.store(false, std::memory_order_release);  // [turn.leave] release; pairs with [turn.left]
    return false;
  }
  [[gnu::always_inline]] void unlock() noexcept {
    if (in_use_.load(std::memory_order_relaxed) &&  // relaxed: this thread's own, if it is the owner
        owner_.load(std::memory_order_relaxed) == this_thread()) [[likely]] {  // relaxed: likewise
      in_use_.store(false, std::memory_order_release);  // [turn.leave] release; pairs with [turn.left]
      return;
    }
    mutex_.unlock();
  }
  // For a fast path that has taken the turn as its owner.
  void unlock_as_owner() noexcept {
    in_use_.store(false, std::memory_order_release);  // [turn.leave] release; pairs with [turn.left]
  }

 private:
  static std::uint64_t this_thread() noexcept {
#if defined(__x86_64__)
    std::uint64_t self;
    asm("mov %%fs:0, %0" : "=r"(self));  // the thread's own address, as pthread_self() returns it
    return self;
#else
    return reinterpret_cast<std::uint64_t>(__builtin_thread_pointer());
#endif
  }
  bool lock_shared(Deadline& deadline) noexcept;
  bool end_bias(Deadline& deadline) noexcept;

  std::atomic<std::uint64_t> owner_{0};
  std::atomic<bool> in_use_{false};  // by the owner
  std::atomic<bool> shared_{false};  // no bias: the mutex decides
  std::atomic<bool> ended_{false};   // and the owner has left its last call under the bias
  std::timed_mutex mutex_;
};

}  // namespace hostmap
