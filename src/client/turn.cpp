#include "client/turn.hpp"

#include <thread>

#include "wait/membarrier.hpp"

namespace hostmap {

bool WriteTurn::register_process() noexcept { return membarrier(MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED) == 0; }

bool WriteTurn::lock_shared(Deadline& deadline) noexcept {
  if (!shared_.load(std::memory_order_acquire)) {  // [turn.shared] acquire; pairs with [turn.revoke]
    std::uint64_t nobody = 0;
    // relaxed: the owner's words are its own
    if (owner_.compare_exchange_strong(nobody, this_thread(), std::memory_order_relaxed)) {
      if (try_as_owner()) return true;
    }
  }
  return end_bias(deadline) && lock_within(mutex_, deadline);
}

// Slow path: every thread that does not own the turn calls this. After the first time there is nothing to wait for.
bool WriteTurn::end_bias(Deadline& deadline) noexcept {
  if (ended_.load(std::memory_order_acquire)) return true;  // [turn.seen] acquire; pairs with [turn.ended]
  shared_.store(true, std::memory_order_release);           // [turn.revoke] release; pairs with [turn.shared]
  if (membarrier(MEMBARRIER_CMD_PRIVATE_EXPEDITED) != 0) {
    // Forbidden since the process registered, or in a child of a process that could not register: the stores of a processor
    // become visible in much less time than this.
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
  }
  // [turn.left] acquire; pairs with [turn.leave]
  for (int polls = 0; in_use_.load(std::memory_order_acquire); ++polls) {
    if (owner_.load(std::memory_order_relaxed) == this_thread()) break;  // relaxed: this thread's own; it has left
    if (deadline.left() == 0) return false;
    constexpr int kYields = 100;
    if (polls < kYields) {
      std::this_thread::yield();
    } else {
      deadline.pause(std::chrono::microseconds(100));  // the owner is in a call that waits
    }
  }
  ended_.store(true, std::memory_order_release);  // [turn.ended] release; pairs with [turn.seen]
  return true;
}

}  // namespace hostmap
