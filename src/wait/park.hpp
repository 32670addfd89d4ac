// Park and wake: how a worker without work and a client without an answer sleep, and nobody is forgotten.
//
// Three handshakes, each of two halves. Each half stores its own word, fences, and only then loads the other's; so at least
// one of the two sees the other (the store buffering pattern). The models under test/models explore both, deaths included.
//
//   worker half (A)                          client half (B), after each record it publishes
//   A1 bell = load                           B1 record's tag (release)
//   A2 parked = 1                            B2 fence, or a registration that lets A3 fence for it
//   A3 fence; membarrier                     B3 parked? then bell + 1, wake all
//   A4 poll every ring
//   A5 sleep while bell unchanged
//   A6 parked = 0
//
//   client half (C)                          worker half (D), once a sweep
//   C1 wake_at (room only), waiting = 1      D1 answers, positions consumed
//   C2 fence                                 D2 fence
//   C3 answer, or room? then waiting = 0     D3 waiting set (and room enough)? then waiting = 0, wake
//   C4 sleep while waiting set
//
// A third one decides which channels a sweep polls:
//
//   worker half (E)                          client half (F), after each record it publishes, with B3
//   E1 nothing for long: idle = 1            F1 record's tag (release)
//   E2 fence                                 F2 the fence of B2
//   E3 some more polls; then leave it out    F3 idle? then set the bit of the connection in the worker's hints
//   E4 a bit: poll the channels of it
//   E5 a record: idle = 0, poll it in each sweep
//
// `parked` is stored by the worker alone, in memory that clients only read: a client that dies or is stopped between two
// of its steps takes nobody's wake-up with it. No timeout is needed for any of this; those that are given notice peers that
// died or are hostile, and each rescue by one is counted.
#pragma once

#include <atomic>
#include <cstdint>

#include "layout/connection.hpp"
#include "layout/master.hpp"
#include "layout/table.hpp"
#include "wait/futex.hpp"

namespace hostmap {

// Timed waits exist to notice what is dead or hostile; a build without them shows that nothing else needs them.
inline constexpr std::int64_t patience_ns(std::int64_t timeout_ns) noexcept {
#ifdef HOSTMAP_INFINITE_TIMEOUTS
  static_cast<void>(timeout_ns);
  return kNoTimeout;
#else
  return timeout_ns;
#endif
}

// Can this kernel run a barrier on all cpus that run a registered process?
bool membarrier_available() noexcept;
// Registers the calling process, once; afterwards its writers need no fence (B2). Milliseconds the first time in a process
// with several threads. False: the kernel or a sandbox does not allow it, and fences are needed.
bool register_for_membarrier() noexcept;
// A3: on return, every store that a registered process's thread made before its next load is visible here.
void fence_all_writers(bool membarrier) noexcept;

// A: a worker's own half.
class WorkerPark {
 public:
  WorkerPark(WorkerLine& line, Bell& bell, bool membarrier) noexcept
      : line_(line), bell_(bell), membarrier_(membarrier) {}

  // A1 to A3. Poll every ring after this, then sleep() or stay_awake().
  void prepare() noexcept {
    // relaxed: a ring that raises the bell later is seen by A4 or makes A5 return at once
    seen_ = bell_.rings.load(std::memory_order_relaxed);
    line_.parked.store(1, std::memory_order_relaxed);  // relaxed: the fence orders it before A4's loads
    fence_all_writers(membarrier_);
  }
  // A5 and A6. Blocks until the bell is rung or `timeout_ns` is over; then it is still parked, so that the caller may check
  // whether somebody has forgotten to ring, and stay_awake() is the caller's to call.
  WaitOutcome sleep(std::int64_t timeout_ns) noexcept {
    const WaitOutcome outcome = futex_wait(bell_.rings, seen_, timeout_ns);
    if (outcome != WaitOutcome::kTimedOut) stay_awake();
    return outcome;
  }
  // Has the bell been rung since prepare()?
  bool rung() const noexcept {
    return bell_.rings.load(std::memory_order_relaxed) != seen_;  // relaxed: for a count of rescues
  }
  // A6.
  void stay_awake() noexcept {
    line_.parked.store(0, std::memory_order_relaxed);  // relaxed: seen late, it costs a needless wake-up
  }

 private:
  WorkerLine& line_;
  Bell& bell_;
  bool membarrier_;
  std::uint32_t seen_ = 0;
};

// B2: after the record is published. `expedited`: this process is registered and the server fences for it.
inline void fence_after_publishing(bool expedited) noexcept {
  if (expedited) {
    // The processor may still hold the record back when `parked` is loaded; A3 waits for that. The compiler may not.
    std::atomic_signal_fence(std::memory_order_seq_cst);  // [park.publish] seq_cst; pairs with [park.membarrier]
  } else {
    std::atomic_thread_fence(std::memory_order_seq_cst);  // [park.publish-fence] seq_cst; pairs with [park.membarrier]
  }
}
// B3: which worker it is may be read only now.
inline void ring_if_parked(const WorkerLine& line, Bell& bell) noexcept {
  // relaxed: ordered by the fence, here or in A3
  if (line.parked.load(std::memory_order_relaxed) != 0) futex_add_and_wake(bell.rings);
}
// B3 and F3 in one look: is there anything to be done for either?
inline bool must_call(const WorkerLine& line, const ChannelControl& control) noexcept {
  // relaxed, both: as there
  return (line.parked.load(std::memory_order_relaxed) | control.idle.load(std::memory_order_relaxed)) != 0;
}

// C1 and C2: then poll once more, and sleep() or cancel.
inline void begin_wait(ChannelControl& control, WaitWord why) noexcept {
  // [wait.why] release; pairs with [wait.look]: wake_at goes with it. The fence orders both before C3's loads.
  control.waiting.store(why, std::memory_order_release);
  std::atomic_thread_fence(std::memory_order_seq_cst);  // [wait.client] seq_cst; pairs with [wait.worker]
}

// E1 and E2.
inline void begin_idling(ChannelControl& control) noexcept {
  control.idle.store(1, std::memory_order_relaxed);  // relaxed: the fence orders it before E3's polls
  // [idle.leave] seq_cst; pairs with [park.publish-fence]
  std::atomic_thread_fence(std::memory_order_seq_cst);
}
// E5.
inline void end_idling(ChannelControl& control) noexcept {
  control.idle.store(0, std::memory_order_relaxed);  // relaxed: seen late, it costs a needless bit
}
// F3: after fence_after_publishing(). The kernel sets the bit after all that this thread has stored.
inline void hint_if_idle(const ChannelControl& control, IdleHints& hints, std::uint64_t connection_id) noexcept {
  if (control.idle.load(std::memory_order_relaxed) == 0) return;  // relaxed: ordered by the fence
  const auto bucket = static_cast<std::uint32_t>(connection_id % kIdleBuckets);
  futex_set_bit(hints.words[bucket / 32], bucket % 32);
}

// D2: between a sweep's answers and its load of the waiting words.
inline void fence_before_waking() noexcept {
  std::atomic_thread_fence(std::memory_order_seq_cst);  // [wait.worker] seq_cst; pairs with [wait.client]
}

// D3 for one channel. Returns whether somebody was woken.
inline bool wake_client(ChannelControl& control, bool answered, std::uint64_t consumed) noexcept {
  // [wait.look] acquire; pairs with [wait.why]
  const std::uint32_t why = control.waiting.load(std::memory_order_acquire);
  if (why == kNotWaiting) return false;
  const bool wake =
      why == kWaitingForRoom
          ? consumed >= control.wake_at.load(
                            std::memory_order_relaxed)  // relaxed: a word of the client's own, and [wait.why] orders it
          : answered;
  if (!wake) return false;
  control.waiting.store(kNotWaiting, std::memory_order_relaxed);  // relaxed: the futex call orders it
  futex_wake(control.waiting, 1);
  return true;
}

}  // namespace hostmap
