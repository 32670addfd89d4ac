// ClientEnd: the client's end of a connection: attach, send, await, close.
//
// Threads: a channel belongs to one thread at a time (the write channels to the thread that holds the turn, the read channels
// to the one that holds the client's mutex). Any thread may call consumed() and await_consumed(), use the counters, and call
// closed().
//
// Invariants
// 1. The connection region is locked (a POSIX write lock) before the first request, by the process that uses it, and its
//    descriptor is the only one of that file in the process: so the lock lives exactly as long as the process.
// 2. Requests are answered in order: an answer that names another request is a bug or a broken server, and ends the
//    connection.
// 3. A client has no more answers outstanding than fit the answer ring.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <span>
#include <string_view>
#include <utility>

#include <hostmap/status.hpp>

#include "buffer/ring.hpp"
#include "layout/connection.hpp"
#include "layout/master.hpp"
#include "layout/table.hpp"
#include "message/codec.hpp"
#include "shm/region.hpp"
#include "shm/successor.hpp"
#include "slot/client_reservation.hpp"
#include "wait/deadline.hpp"
#include "wait/park.hpp"
#include "wait/spin.hpp"

namespace hostmap {

// What a client needs of the worker that serves a lane: its line in the table (read-only) and its bell. A restarted server
// may assign the lane to another worker, so it is loaded each time.
struct WorkerView {
  const LaneWorker* number = nullptr;
  const WorkerLine* lines = nullptr;  // of all workers
  Bell* bells = nullptr;              // likewise
  IdleHints* hints = nullptr;         // likewise

  // relaxed: a record that is published too late for the old worker is found by the first sweep of the new one
  std::uint32_t worker() const noexcept { return number->load(std::memory_order_relaxed) % kMaxLanes; }
  const WorkerLine& line() const noexcept { return lines[worker()]; }
  Bell& bell() const noexcept { return bells[worker()]; }
  IdleHints& idle_hints() const noexcept { return hints[worker()]; }
};

// For an answer that no correct server sends: the connection is closed, and the next call connects again.
constexpr std::string_view kInvalidAnswer =
    "the server's answer is not valid; the next call connects again; please report this";

// The count in the value of a flush's answer.
std::uint64_t refused_writes(std::span<const std::byte> flush_answer) noexcept;

class ClientEnd;

// The client's side of a ring pair. Created by ClientEnd::channel().
class ClientChannel {
 public:
  // Waits until there is room for a record with `payload_bytes`. Blocks until `deadline`.
  // Errors: kTimeout, kClosed.
  Status await_room(std::uint64_t payload_bytes, Deadline& deadline);

  // Publishes a request that fits a record, for which there is room, and wakes the worker if it is parked. In line wherever it is
  // called: the operation is known there, and a call of its own made a queued put 37 instructions longer.
  [[gnu::always_inline]] void send(Op op, bool wants_answer, std::span<const std::byte> key,
                                   std::span<const std::byte> value) noexcept {
    const std::uint64_t size = record_bytes(key.size() + value.size());
    encode_request(requests_.begin(size), op, wants_answer, key, value);
    publish(size);
  }
  // Sends an unanswered request if it fits a record and the ring certainly has room. Never blocks.
  bool try_send(Op op, std::span<const std::byte> key, std::span<const std::byte> value) noexcept {
    const std::uint64_t size = record_bytes(key.size() + value.size());
    if (size > max_record_bytes(requests_.view().capacity()) || !requests_.has_room(size, consumed_)) return false;
    send(op, false, key, value);
    return true;
  }
  // Sends a request of any size: as one record, or as a stream with pieces. Blocks while the ring is full.
  // `end`: when the key ends.
  Status send_any(Op op, bool wants_answer, std::span<const std::byte> key, const ValueParts& value, Deadline& deadline,
                  std::uint64_t end = kNoEnd);

  struct Answer {
    StatusCode code = StatusCode::kInternal;
    std::span<const std::byte> value;  // in the ring; valid until release()
  };
  // Waits for the answer to the last request that wanted one, and skips answers to earlier calls that timed out. Blocks until
  // `deadline`. On kOk it is answer(), to be released before the next request.
  // Errors: kTimeout, kClosed, kInternal (an answer that no correct server sends; the connection is closed).
  Status await_answer(Deadline& deadline);
  const Answer& answer() const noexcept { return answer_; }
  void release() noexcept;

  // --- Batches: several requests, whose outcomes are taken later, in the order of the requests.
  //
  // The owner of the channel calls begin_batch(), sends, takes the outcomes until outstanding() is 0, or gives the rest up; it
  // makes no other call in between, except those that wait for what is consumed.
  // Requests whose answer is a code alone get one only if they are refused: what the server has consumed without an answer
  // was done. So a batch costs the server hardly more than requests without answers.

  // Receives the answer to the request that was sent with `ticket`. Those that are not answered were done.
  using TakeAnswer = void (*)(void* ticket, const Answer& answer) noexcept;
  void begin_batch(TakeAnswer take) noexcept { take_ = take; }
  // Sends a request that fits a record if the ring certainly has room, and not too many are outstanding. `quiet`: its answer
  // would be a code alone. Never blocks.
  [[gnu::always_inline]] bool try_send_in_batch(Op op, bool quiet, std::span<const std::byte> key,
                                                std::span<const std::byte> value, void* ticket) noexcept {
    const std::uint64_t size = record_bytes(key.size() + value.size());
    if (awaited_count_ == kMostAwaited || size > max_record_bytes(requests_.view().capacity()) ||
        !requests_.has_room(size, consumed_)) {
      return false;
    }
    publish_in_batch(op, quiet, key, value, ticket);
    return true;
  }
  // Sends a request of any size. Blocks until there is room, and less than kMostAwaited are outstanding.
  // Errors: kTimeout, kClosed, kInternal.
  Status send_in_batch(Op op, bool quiet, std::span<const std::byte> key, const ValueParts& value, void* ticket,
                       Deadline& deadline, std::uint64_t end = kNoEnd);
  // How many outcomes of the batch have not been taken.
  std::uint32_t outstanding() const noexcept { return batched_; }
  // Takes outcomes until outstanding() is at most `left`. Blocks until `deadline`. Errors: kTimeout, kClosed, kInternal.
  Status take_outcomes(std::uint32_t left, Deadline& deadline);
  // Takes the outcomes that are known by now. Never blocks. Errors: kInternal.
  Status take_known_outcomes() noexcept;
  // Calls `forget(ticket)` for each request whose outcome has not been taken. They are late outcomes from now on.
  template <typename Forget>
  void give_up_batch(const Forget& forget) noexcept {
    for (; batched_ != 0; --batched_) forget(tickets_[(first_awaited_ + awaited_count_ - batched_) % kMostAwaited]);
  }

  // The outcome of writes or flushes whose calls had timed out: known once a later call has skipped their answers.
  struct LateOutcomes {
    std::uint64_t failed = 0;  // writes
    StatusCode first = StatusCode::kOk;
  };
  LateOutcomes take_late_outcomes() noexcept { return std::exchange(late_, {}); }

  // A lease that is granted to a call which has timed out belongs to nobody: it is released once a later call has taken the answer.
  // Names the key of the lease request that was sent last.
  void note_lease(std::uint64_t hash) noexcept { hashes_[(first_awaited_ + awaited_count_ - 1) % kMostAwaited] = hash; }
  // Sends the releases that are due. Blocks until there is room. Errors: kTimeout, kClosed, kInternal.
  Status release_late_leases(Deadline& deadline);
  // How many such leases there have been.
  std::uint64_t late_leases() const noexcept { return late_leases_; }
  bool owes_outcomes() const noexcept { return awaited_count_ != 0 || late_.failed != 0; }

  // Has the server consumed everything that was sent up to `position`? (acquire: its effects are then visible)
  bool consumed(std::uint64_t position) const noexcept {
    // [consumed.load] acquire; pairs with [consumed.publish]
    return control_->requests_consumed.load(std::memory_order_acquire) >= position;
  }
  // Blocks until consumed(position). Errors: kTimeout, kClosed.
  Status await_consumed(std::uint64_t position, Deadline& deadline);
  // The same for the thread that owns the channel: also takes outstanding answers, whose room the worker may need.
  Status await_consumed_and_take_answers(std::uint64_t position, Deadline& deadline);
  std::uint64_t sent() const noexcept { return requests_.head(); }  // the position behind the last record
  bool fits(std::uint64_t payload_bytes) const noexcept {
    return record_bytes(payload_bytes) <= max_record_bytes(requests_.view().capacity());
  }
  std::uint64_t largest_payload() const noexcept {
    return max_record_bytes(requests_.view().capacity()) - kRecordHeadBytes;
  }

 private:
  friend class ClientEnd;
  ClientChannel(ClientEnd& end, std::uint32_t channel, WorkerView worker) noexcept;
  // Both in line: in a large program the compiler made the second one a call of 13 instructions.
  [[gnu::always_inline]] void publish(std::uint64_t size) noexcept {
    requests_.publish(size);
    wake_worker();
  }
  [[gnu::always_inline]] void wake_worker() noexcept {
    fence_after_publishing(expedited_);
    if (must_call(worker_.line(), *control_)) [[unlikely]]
      call_worker();
  }
  void call_worker() noexcept;
  std::int64_t spin_limit() const noexcept;
  template <typename Ready>
  Status wait(WaitWord why, std::uint64_t wake_at, Ready&& ready, Deadline& deadline);
  template <typename Ready>
  Status wait_for_room(std::uint64_t wake_at, Ready&& ready, Deadline& deadline);
  void count_lost_wake_up(std::int64_t now) noexcept;

  ClientEnd& end_;
  ChannelControl* control_;
  WorkerView worker_;
  bool expedited_;
  RingProducer requests_;
  RingConsumer answers_;
  std::uint64_t consumed_ = 0;  // last loaded value of requests_consumed
  // The current answer, the request it belongs to, and the bytes that release() will skip.
  Answer answer_;
  Op answered_ = Op::kPadding;
  std::uint64_t answer_bytes_ = 0;
  // The requests whose answers are outstanding, oldest first: that of the last call, preceded by those of calls that timed
  // out. A client that lets so many time out sends nothing more until the oldest is answered.
  // Of the channels of writes, whose answers are small, the other half of the answer ring stays free, which is enough for any
  // answer: so the worker never waits for room while this end waits for the worker.
  static constexpr std::uint32_t kMostAwaited = 64;
  static_assert(kMostAwaited * kSmallAnswerBytes <= kLeastRingBytes / 2);
  struct Awaited {
    std::uint16_t mark;
    Op op;
  };
  void await(Op op, std::uint64_t payload_bytes) noexcept;
  template <typename Value>
  [[gnu::always_inline]] void publish_in_batch(Op op, bool quiet, std::span<const std::byte> key, const Value& value,
                                               void* ticket, std::uint64_t end = kNoEnd) noexcept {
    const std::uint64_t payload = key.size() + value.size() + (end != kNoEnd ? kEndBytes : 0);
    const std::uint64_t size = record_bytes(payload);
    quiet = quiet && size <= kMostQuietBytes;
    std::byte* const record = requests_.begin(size);
    note_awaited(op, requests_.head());
    note_in_batch(ticket, quiet, requests_.head() + size);
    const std::uint8_t flags = quiet ? kWantsRefusal : kWantsAnswer;
    if (end == kNoEnd) {
      encode_request(record, op, flags, key, value);
    } else {
      encode_request(record, op, flags, key, ValueParts(value), end);
    }
    publish(size);
  }
  // Of the request that was noted last.
  void note_in_batch(void* ticket, bool quiet, std::uint64_t end) noexcept {
    const std::uint32_t slot = (first_awaited_ + awaited_count_ - 1) % kMostAwaited;
    tickets_[slot] = ticket;
    ends_[slot] = end;
    quiet_ |= std::uint64_t{quiet} << slot;
    ++batched_;
  }
  void note_awaited(Op op, std::uint64_t position) noexcept {
    awaited_[(first_awaited_ + awaited_count_++) % kMostAwaited] = {request_mark(position), op};
  }
  bool first_is_quiet() const noexcept { return awaited_count_ != 0 && (quiet_ >> first_awaited_ & 1) != 0; }
  void take_quiet() noexcept;
  bool pass_quiet(std::uint16_t mark) noexcept;
  Status next_answer(Deadline& deadline);
  Status settle(Deadline& deadline);
  Status invalid_answer() noexcept;
  void skip_answer() noexcept;
  void note_late_lease(std::uint64_t hash) noexcept;
  void send_release() noexcept;
  std::array<Awaited, kMostAwaited> awaited_{};
  std::uint32_t first_awaited_ = 0;
  std::uint32_t awaited_count_ = 0;
  LateOutcomes late_;
  std::array<std::uint64_t, kMostAwaited> hashes_{};  // of lease requests: their keys'
  // Leases to be released. Before each request for one they are: so there are no more than outstanding requests, and the one whose
  // answer makes room for the request.
  std::array<LeaseRelease, kMostAwaited + 1> releases_{};
  std::uint32_t release_count_ = 0;
  std::uint64_t late_leases_ = 0;
  // Of the outstanding requests, the last `batched_` are those of the current batch. Those with a bit in `quiet_` are answered
  // only if they are refused; each is so short that no two of them in a row have the same mark.
  static constexpr std::uint64_t kMostQuietBytes = 4096;
  static_assert(2 * kMostAwaited * kMostQuietBytes <= kRecordUnit << 16);
  TakeAnswer take_ = nullptr;
  std::uint32_t batched_ = 0;
  std::uint64_t quiet_ = 0;
  std::array<void*, kMostAwaited> tickets_{};
  std::array<std::uint64_t, kMostAwaited> ends_{};  // of batches: the positions behind the requests
  AdaptiveSpin spin_;
  std::timed_mutex sleeper_;
  std::int64_t unwoken_since_ns_ = 0;  // guarded by sleeper_; 0: the last wait was woken, or did not sleep
};

class ClientEnd {
 public:
  // Attaches to the connection region of `id` that the server has created, and locks it. `expedited`: this process is
  // registered for membarrier, and the server uses it. kClosed: the region is gone already.
  // `trust`: as Region::attach.
  // `successor`, if given, must live as long: waits check it from time to time, and end with kClosed if another server
  // serves.
  static Result<std::unique_ptr<ClientEnd>> attach(const std::string& path, std::uint64_t id, std::uint32_t lanes,
                                                   bool expedited, const Trust& trust = {},
                                                   const SuccessorCheck* successor = nullptr);
  // For tests without a server: both ends on one mapping, no lock.
  static std::unique_ptr<ClientEnd> over(std::byte* memory, bool expedited);
  ~ClientEnd();
  ClientEnd(const ClientEnd&) = delete;
  ClientEnd& operator=(const ClientEnd&) = delete;

  // Notifies the server that this client is done. The caller rings the server's bell.
  void close() noexcept;

  // The channel. If the server has not opened it, requests it through `master`; null: the server has opened it.
  // Errors: kFull (no memory for its rings), kTimeout, kClosed.
  Result<ClientChannel*> channel(std::uint32_t channel, WorkerView worker, const MasterView* master,
                                 Deadline& deadline);

  // The channel if channel() has opened it before, else null.
  ClientChannel* open_channel(std::uint32_t channel) noexcept { return channels_[channel].get(); }

  // Has either end closed the connection?
  bool closed() const noexcept {
    // [connection.abandoned] acquire; pairs with [connection.abandon]
    if (abandoned_.load(std::memory_order_acquire)) return true;
    // [connection.closed] acquire; pairs with [connection.close]
    return header_->server.closed.load(std::memory_order_acquire) != 0;
  }
  // The connection cannot be used any more (a request was interrupted): closed() is true from now on.
  void break_off() noexcept {
    close();
    abandoned_.store(true,
                     std::memory_order_release);  // [connection.abandon] release; pairs with [connection.abandoned]
  }
  // After a long wait: breaks off if the name of the instance now leads to another server. This server no longer exists, or
  // no other client can find it.
  bool break_off_if_succeeded() noexcept {
    if (successor_ == nullptr || !successor_->successor_serves()) return false;
    break_off();
    return true;
  }
  // Wakes all threads of this process that sleep on the region; they find closed(). Called after break_off().
  void wake_sleepers() noexcept;
  // Frees the region while other threads of this process may still read it: its pages are replaced by private ones, and
  // closed() is true from now on.
  void abandon() noexcept;
  std::uint32_t lanes() const noexcept { return lanes_; }
  ClientWords& counters() noexcept { return header_->client; }
  TouchPage& touch_page(std::uint32_t lane) noexcept {
    return *reinterpret_cast<TouchPage*>(memory_ + touch_page_offset(lane, lanes_));
  }
  std::uint64_t id() const noexcept { return id_; }

 private:
  friend class ClientChannel;
  ClientEnd(Region region, std::byte* memory, bool expedited) noexcept;

  Region region_;  // empty when over() foreign memory
  ConnectionHeader* header_;
  std::byte* memory_;
  // Copies of the constants, so that nothing depends on what another process might write there later.
  std::uint64_t id_;
  std::uint64_t ring_bytes_;
  std::uint64_t request_nonce_;
  std::uint64_t answer_nonce_;
  std::uint32_t lanes_;
  bool expedited_;
  const SuccessorCheck* successor_ = nullptr;
  std::atomic<bool> abandoned_{false};
  std::unique_ptr<ClientChannel> channels_[kMaxChannels];
};

}  // namespace hostmap
