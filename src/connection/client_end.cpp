#include "connection/client_end.hpp"

#include <algorithm>
#include <bit>
#include <climits>
#include <sched.h>

#include "connection/wake_all.hpp"
#include "layout/connection.hpp"
#include "layout/counter.hpp"
#include "shm/owner_lock.hpp"

namespace hostmap {

namespace {

// A worker wakes its clients at the end of a sweep. A wake-up that comes this much later than the answer was lost.
constexpr std::int64_t kWakeUpPatienceNs = 1'000'000'000;

}  // namespace

std::uint64_t refused_writes(std::span<const std::byte> flush_answer) noexcept {
  FlushReport report{};
  if (flush_answer.size() == sizeof report) std::memcpy(&report, flush_answer.data(), sizeof report);
  return report.refused;
}

// --- ClientChannel ---------------------------------------------------------------------------------------------------

ClientChannel::ClientChannel(ClientEnd& end, std::uint32_t channel, WorkerView worker) noexcept
    : end_(end),
      control_(reinterpret_cast<ChannelControl*>(end.memory_ + channel_control_offset(channel))),
      worker_(worker),
      expedited_(end.expedited_),
      requests_(RingView(end.memory_ + request_ring_offset(channel, end.lanes_, end.ring_bytes_), end.ring_bytes_,
                         end.request_nonce_),
                0),
      answers_(RingView(end.memory_ + answer_ring_offset(channel, end.lanes_, end.ring_bytes_), end.ring_bytes_,
                        end.answer_nonce_),
               0) {}

// Both: a worker that clears `parked` again without having slept does not poll every channel once more.
void ClientChannel::call_worker() noexcept {
  hint_if_idle(*control_, worker_.idle_hints(), end_.id_);
  ring_if_parked(worker_.line(), worker_.bell());
}

// Spinning helps only while the worker can run on another processor.
std::int64_t ClientChannel::spin_limit() const noexcept {
  // relaxed: a hint
  const std::uint32_t cpu = worker_.line().cpu.load(std::memory_order_relaxed);
  return cpu == static_cast<std::uint32_t>(::sched_getcpu()) ? 0 : AdaptiveSpin::kLongestNs;
}

// Spins, then sleeps, until `ready()`, the end of the connection or the deadline.
template <typename Ready>
Status ClientChannel::wait(WaitWord why, std::uint64_t wake_at, Ready&& ready, Deadline& deadline) {
  const auto over = [&]() noexcept { return ready() || end_.closed(); };
  // If many clients wait for answers, each sends its next request as soon as it runs. (Clients that wait for room continue
  // when half a ring is free: for them a wake-up is better.)
  const bool crowded = worker_.line().crowded.load(std::memory_order_relaxed) != 0;  // relaxed: a hint
  if (spin_.spin(over, crowded ? 0 : spin_limit()) ||
      (crowded && why == kWaitingForAnswer && spin_.yield_until(over))) {
    return ready() ? Status() : Status(StatusCode::kClosed);
  }
  const std::int64_t begin = monotonic_ns();
  // Another thread of this client may also sleep on this channel: one at a time.
  if (!lock_within(sleeper_, deadline)) return StatusCode::kTimeout;
  const std::lock_guard<std::timed_mutex> sleeper(sleeper_, std::adopt_lock);
  count_lost_wake_up(begin);
  for (;;) {
    control_->wake_at.store(wake_at, std::memory_order_relaxed);  // relaxed: [wait.why] publishes it
    begin_wait(*control_, why);
    // In this order: an answer sent before the close is still valid.
    const bool closed = end_.closed();
    const bool done = ready();
    if (done || closed) {
      control_->waiting.store(kNotWaiting,
                              std::memory_order_relaxed);  // relaxed: seen late, it costs a needless wake-up
      spin_.observe(monotonic_ns() - begin);
      return done ? Status() : Status(StatusCode::kClosed);
    }
    const std::int64_t patience = patience_ns(SuccessorCheck::kEveryNs);
    const WaitOutcome outcome = deadline.sleep_on(control_->waiting, why, patience);
    if (outcome == WaitOutcome::kTimedOut) {
      if (!ready()) {
        if (!end_.closed() && !end_.break_off_if_succeeded() && deadline.left() > 0) continue;
        control_->waiting.store(kNotWaiting, std::memory_order_relaxed);  // relaxed: likewise
        return end_.closed() ? StatusCode::kClosed : StatusCode::kTimeout;
      }
      // The answer came at this very moment and its wake-up is in progress, or the wake-up was lost. The call must not wait
      // to distinguish the two: `waiting` stays set, and the next wait checks it.
      // (Room that comes while answers are awaited causes no wake-up.)
      if (why == kWaitingForRoom || answers_.poll()) unwoken_since_ns_ = monotonic_ns();
      return {};
    }
  }
}

// A wait ended by its timeout although its condition was met. Was its wake-up never sent? That is a bug, unless a hostile
// process has moved the futex.
void ClientChannel::count_lost_wake_up(std::int64_t now) noexcept {
  if (unwoken_since_ns_ == 0) return;
  const bool lost = now - unwoken_since_ns_ > kWakeUpPatienceNs &&
                    control_->waiting.load(std::memory_order_relaxed) != kNotWaiting;  // relaxed: long ago
  unwoken_since_ns_ = 0;
  if (!lost) return;
  add_to(end_.counters().timeout_rescues, 1);
}

Status ClientChannel::await_room(std::uint64_t payload_bytes, Deadline& deadline) {
  const std::uint64_t size = record_bytes(payload_bytes);
  if (requests_.has_room(size, consumed_)) [[likely]]
    return {};
  // [consumed.load] acquire; pairs with [consumed.publish]: the worker is done with the bytes before it
  consumed_ = control_->requests_consumed.load(std::memory_order_acquire);
  if (requests_.has_room(size, consumed_)) return {};
  // Once full, continue when half of the ring is free: a wake-up for every record would cost more than the records.
  const std::uint64_t half = requests_.view().capacity() / 2;
  const std::uint64_t must = requests_.head() + requests_.needed(size) - requests_.view().capacity();
  const std::uint64_t wake_at = std::max(must, requests_.head() - half);
  const auto ready = [&]() noexcept {
    // [consumed.load] acquire; pairs with [consumed.publish]
    consumed_ = control_->requests_consumed.load(std::memory_order_acquire);
    return consumed_ >= wake_at;
  };
  return wait_for_room(wake_at, ready, deadline);
}

Status ClientChannel::await_consumed(std::uint64_t position, Deadline& deadline) {
  if (consumed(position)) return {};
  return wait(
      kWaitingForRoom, position, [&]() noexcept { return consumed(position); }, deadline);
}

Status ClientChannel::await_consumed_and_take_answers(std::uint64_t position, Deadline& deadline) {
  if (consumed(position)) return {};
  return wait_for_room(
      position, [&]() noexcept { return consumed(position); }, deadline);
}

// Waits until so many requests are consumed. The worker consumes none while their answers have no room, and answers to calls
// that have timed out are still in the ring: a thread that waits for room must free room. Each answer ends the sleep, because
// `waiting` cannot express both: while answers are certain to come, the thread waits for an answer or for room. Answers that
// may come, to requests that allow refusals alone, are small, and as many as can be outstanding leave the worker room enough.
template <typename Ready>
Status ClientChannel::wait_for_room(std::uint64_t wake_at, Ready&& ready, Deadline& deadline) {
  while (awaited_count_ > static_cast<std::uint32_t>(std::popcount(quiet_))) {
    const auto either = [&]() noexcept { return ready() || answers_.poll(); };
    // Room follows the outstanding answers for certain: nothing else delays the worker.
    if (Status status = wait(kWaitingForAnswer, 0, either, deadline); !status.ok()) return status;
    if (ready()) return {};
    if (Status status = next_answer(deadline); !status.ok()) return status;
    skip_answer();
    if (ready()) return {};
  }
  return wait(kWaitingForRoom, wake_at, ready, deadline);
}

Status ClientChannel::send_any(Op op, bool wants_answer, std::span<const std::byte> key, const ValueParts& value,
                               Deadline& deadline, std::uint64_t end) {
  const std::uint64_t payload = key.size() + value.size();
  if (wants_answer && awaited_count_ == kMostAwaited) [[unlikely]] {
    if (first_is_quiet()) {
      if (Status status = settle(deadline); !status.ok()) return status;
    } else {
      if (Status status = next_answer(deadline); !status.ok()) return status;
      skip_answer();
    }
  }
  if (const std::uint64_t whole = payload + (end != kNoEnd ? kEndBytes : 0); fits(whole)) [[likely]] {
    if (Status status = await_room(whole, deadline); !status.ok()) return status;
    if (wants_answer) await(op, whole);
    encode_request(requests_.begin(record_bytes(whole)), op, wants_answer, key, value, end);
    publish(record_bytes(whole));
    return {};
  }
  // Behind each of its records there is room for an empty piece, which withdraws the request: the next request would be taken for a
  // piece of it.
  constexpr std::uint64_t kEmptyPieceBytes = record_bytes(0);
  if (Status status = await_room(kStreamPayloadBytes + kEmptyPieceBytes, deadline); !status.ok()) return status;
  encode_stream(requests_.begin(record_bytes(kStreamPayloadBytes)), op, key.size(), value.size(), end);
  publish(record_bytes(kStreamPayloadBytes));
  for (std::uint64_t sent = 0; sent < payload;) {
    const std::uint64_t size = std::min(largest_payload(), payload - sent);
    if (Status status = await_room(size + kEmptyPieceBytes, deadline); !status.ok()) {
      if (status == StatusCode::kTimeout) {
        encode_piece(requests_.begin(kEmptyPieceBytes), 0, key, value, sent, 0);
        publish(kEmptyPieceBytes);
      }
      return status;
    }
    const bool answer = wants_answer && sent + size == payload;
    if (answer) await(op, size);
    encode_piece(requests_.begin(record_bytes(size)), answer, key, value, sent, size);
    publish(record_bytes(size));
    sent += size;
  }
  return {};
}

// Records that the record to be sent next will be answered.
void ClientChannel::await(Op op, std::uint64_t payload_bytes) noexcept {
  const std::uint64_t size = record_bytes(payload_bytes);
  const std::uint64_t position = requests_.head() + requests_.needed(size) - size;
  note_awaited(op, position);
}

// The answer to the oldest outstanding request, however late.
Status ClientChannel::next_answer(Deadline& deadline) {
  const auto ready = [this]() noexcept { return answers_.poll(); };
  if (!ready()) {
    if (Status status = wait(kWaitingForAnswer, 0, ready, deadline); !status.ok()) return status;
  }
  std::uint64_t word;
  std::memcpy(&word, answers_.record() + 8, sizeof word);
  const AnswerHead head = decode_answer_head(word);
  answer_bytes_ = record_bytes(head.value_bytes);
  if (answer_bytes_ > answers_.limit() || head.code > static_cast<std::uint8_t>(StatusCode::kInternal) ||
      awaited_count_ == 0 || (head.request != awaited_[first_awaited_].mark && !pass_quiet(head.request))) {
    return invalid_answer();
  }
  answered_ = awaited_[first_awaited_].op;
  first_awaited_ = (first_awaited_ + 1) % kMostAwaited;
  --awaited_count_;
  answer_.code = static_cast<StatusCode>(head.code);
  answer_.value = {answers_.record() + kRecordHeadBytes, static_cast<std::size_t>(head.value_bytes)};
  return {};
}

Status ClientChannel::await_answer(Deadline& deadline) {
  if (Status status = next_answer(deadline); !status.ok() || awaited_count_ == 0) [[likely]]
    return status;
  do {
    skip_answer();
    if (Status status = next_answer(deadline); !status.ok()) return status;
  } while (awaited_count_ != 0);
  while (release_count_ != 0 && requests_.has_room(record_bytes(sizeof(LeaseRelease)), consumed_)) send_release();
  return {};
}

// The answer to a lease request that is skipped.
void ClientChannel::note_late_lease(std::uint64_t hash) noexcept {
  LeaseAnswer lease{};
  if (answer_.value.size() == sizeof lease) std::memcpy(&lease, answer_.value.data(), sizeof lease);
  if (answer_.code != StatusCode::kOk || lease.state() != LeaseState::kGranted) return;
  ++late_leases_;
  releases_[release_count_++] = {hash, lease.number, static_cast<std::uint64_t>(StatusCode::kOk)};
}

void ClientChannel::send_release() noexcept {
  send(Op::kRelease, false, {}, std::as_bytes(std::span(&releases_[--release_count_], 1)));
}

Status ClientChannel::release_late_leases(Deadline& deadline) {
  while (release_count_ != 0) {
    if (Status status = await_room(sizeof(LeaseRelease), deadline); !status.ok()) return status;
    send_release();
  }
  return {};
}

Status ClientChannel::send_in_batch(Op op, bool quiet, std::span<const std::byte> key, const ValueParts& value,
                                    void* ticket, Deadline& deadline, std::uint64_t end) {
  if (awaited_count_ == kMostAwaited) {
    // Half of them at once, so that one wait serves for many. What calls that timed out have left comes first.
    Status status =
        batched_ == 0 ? settle(deadline) : take_outcomes(std::min(batched_ - 1, kMostAwaited / 2), deadline);
    if (!status.ok()) return status;
  }
  if (const std::uint64_t payload = key.size() + value.size() + (end != kNoEnd ? kEndBytes : 0); fits(payload)) {
    if (Status status = await_room(payload, deadline); !status.ok()) return status;
    publish_in_batch(op, quiet, key, value, ticket, end);
    return {};
  }
  if (Status status = send_any(op, true, key, value, deadline, end); !status.ok()) return status;
  note_in_batch(ticket, false, requests_.head());
  return {};
}

Status ClientChannel::take_outcomes(std::uint32_t left, Deadline& deadline) {
  if (Status status = take_known_outcomes(); !status.ok() || batched_ <= left) return status;
  const std::uint64_t end = ends_[(first_awaited_ + awaited_count_ - left - 1) % kMostAwaited];
  if (Status status = await_consumed_and_take_answers(end, deadline); !status.ok()) return status;
  if (Status status = take_known_outcomes(); !status.ok() || batched_ <= left) return status;
  return invalid_answer();  // consumed, and not answered
}

Status ClientChannel::take_known_outcomes() noexcept {
  // [consumed.load] acquire; pairs with [consumed.publish]: loaded first, so that the answers to what is consumed are there
  consumed_ = control_->requests_consumed.load(std::memory_order_acquire);
  for (Deadline none(std::chrono::nanoseconds(0)); awaited_count_ != 0 && answers_.poll();) {
    if (Status status = next_answer(none); !status.ok()) return status;
    skip_answer();
  }
  if (awaited_count_ == 0) return {};
  if (std::popcount(quiet_) == static_cast<int>(awaited_count_) &&
      ends_[(first_awaited_ + awaited_count_ - 1) % kMostAwaited] <= consumed_) {  // the usual case: all of them
    quiet_ = 0;
    awaited_count_ = 0;
    batched_ = 0;
    return {};
  }
  while (first_is_quiet() && ends_[first_awaited_] <= consumed_) take_quiet();
  return {};
}

// Waits until nothing is outstanding.
Status ClientChannel::settle(Deadline& deadline) {
  if (Status status = await_consumed_and_take_answers(requests_.head(), deadline); !status.ok()) return status;
  if (Status status = take_known_outcomes(); !status.ok() || awaited_count_ == 0) return status;
  return invalid_answer();  // consumed, and not answered
}

// What the server says is not valid: the connection ends.
Status ClientChannel::invalid_answer() noexcept {
  end_.break_off();
  return {StatusCode::kInternal, kInvalidAnswer};
}

// The oldest outstanding request was done, without an answer.
void ClientChannel::take_quiet() noexcept {
  quiet_ &= ~(std::uint64_t{1} << first_awaited_);
  first_awaited_ = (first_awaited_ + 1) % kMostAwaited;
  batched_ = std::min(batched_, --awaited_count_);
}

// Takes those that were done without an answer before the request with this mark, which was answered. False: there is no such.
bool ClientChannel::pass_quiet(std::uint16_t mark) noexcept {
  while (awaited_count_ != 0) {
    if (awaited_[first_awaited_].mark == mark) return true;
    if (!first_is_quiet()) break;
    take_quiet();
  }
  return false;
}

// The current answer belongs to a request of the batch, or to a call that has timed out. Of the latter, the result for writes is
// kept for the next flush.
void ClientChannel::skip_answer() noexcept {
  const std::uint32_t slot = (first_awaited_ + kMostAwaited - 1) % kMostAwaited;
  quiet_ &= ~(std::uint64_t{1} << slot);
  if (awaited_count_ < batched_) {
    --batched_;
    take_(tickets_[slot], answer_);
    release();
    wake_worker();  // it may have waited for this room
    return;
  }
  if (answered_ == Op::kLease) note_late_lease(hashes_[slot]);
  const OpFacts& facts = facts_of(answered_);
  std::uint64_t failed = answer_.code != StatusCode::kOk && facts.mutates ? 1 : 0;
  if (facts.answer == AnswerForm::kReport) failed = refused_writes(answer_.value);
  if (late_.failed == 0 && failed != 0) late_.first = answer_.code;
  late_.failed += failed;
  release();
  wake_worker();  // it may have waited for this room
}

void ClientChannel::release() noexcept {
  answers_.advance(answer_bytes_);
  // [answers.consumed] release; pairs with [answers.room]: the server may write there again
  control_->answers_consumed.store(answers_.position(), std::memory_order_release);
}

// --- ClientEnd -------------------------------------------------------------------------------------------------------

ClientEnd::ClientEnd(Region region, std::byte* memory, bool expedited) noexcept
    : region_(std::move(region)),
      header_(reinterpret_cast<ConnectionHeader*>(memory)),
      memory_(memory),
      id_(header_->id),
      ring_bytes_(header_->ring_bytes),
      request_nonce_(header_->request_nonce),
      answer_nonce_(header_->answer_nonce),
      lanes_(header_->lane_count),
      expedited_(expedited) {
  header_->client.expedited.store(expedited ? 1 : 0, std::memory_order_relaxed);  // relaxed: for diagnosis
}

ClientEnd::~ClientEnd() = default;

Result<std::unique_ptr<ClientEnd>> ClientEnd::attach(const std::string& path, std::uint64_t id, std::uint32_t lanes,
                                                     bool expedited, const Trust& trust,
                                                     const SuccessorCheck* successor) {
  Result<Region> region = Region::attach(path, RegionKind::kConnection, Access::kReadWrite, trust);
  if (!region) return region.status();
  const auto* header = region->at<ConnectionHeader>(0);
  if (region->bytes() < sizeof(ConnectionHeader) || header->id != id || header->lane_count != lanes ||
      !is_power_of_two(header->ring_bytes) ||
      region->bytes() < connection_bytes(header->lane_count, header->ring_bytes)) {
    return Status(StatusCode::kInternal, path + " is not the requested connection");
  }
  if (try_lock_file(region->fd()) != LockOutcome::kLocked) {
    return Status(StatusCode::kClosed, "the server did not wait any longer for this client");
  }
  std::byte* memory = region->data();
  std::unique_ptr<ClientEnd> end(new ClientEnd(std::move(*region), memory, expedited));
  end->successor_ = successor;
  return end;
}

std::unique_ptr<ClientEnd> ClientEnd::over(std::byte* memory, bool expedited) {
  return std::unique_ptr<ClientEnd>(new ClientEnd(Region(), memory, expedited));
}

void ClientEnd::close() noexcept {
  // [client.close] release; pairs with [client.closed]: everything sent is published before it
  header_->client.closed.store(1, std::memory_order_release);
}

void ClientEnd::wake_sleepers() noexcept {
  std::atomic_thread_fence(std::memory_order_seq_cst);  // [connection.wake] seq_cst; pairs with [wait.client]
  wake_channels(memory_, 2 * lanes_);
  futex_wake(header_->server.opened, INT_MAX);
}

void ClientEnd::abandon() noexcept {
  abandoned_.store(true, std::memory_order_release);  // [connection.abandon] release; pairs with [connection.abandoned]
  region_.discard(Access::kReadWrite);
}

Result<ClientChannel*> ClientEnd::channel(std::uint32_t channel, WorkerView worker, const MasterView* master,
                                          Deadline& deadline) {
  if (channels_[channel] != nullptr) [[likely]]
    return channels_[channel].get();
  const std::uint64_t bit = std::uint64_t{1} << channel;
  ServerWords& server = header_->server;
  // [channel.open] acquire; pairs with [channel.opened]: the rings are populated
  if ((server.channels_open.load(std::memory_order_acquire) & bit) == 0 && master != nullptr) {
    // [channel.want] release; pairs with [channel.wanted]
    header_->client.channels_wanted.fetch_or(bit, std::memory_order_release);
    // [channel.attempts] release; pairs with [channel.attempt]
    const std::uint64_t attempt = header_->client.channel_attempts.fetch_add(1, std::memory_order_release) + 1;
    master->ring_server();
    for (;;) {
      const std::uint32_t seen =
          server.opened.load(std::memory_order_acquire);  // [channel.open-futex] acquire; pairs with [channel.opened]
      if ((server.channels_open.load(std::memory_order_acquire) & bit) != 0)
        break;  // [channel.open] acquire; pairs with [channel.opened]
      // [channel.answered] acquire; pairs with [channel.answer]
      const std::uint64_t answered = server.attempts_answered.load(std::memory_order_acquire);
      // 0: the first answer, or a server that counts no attempts.
      if ((answered >= attempt || answered == 0) &&
          // relaxed: [channel.answered] orders it
          (server.channels_refused.load(std::memory_order_relaxed) & bit) != 0) {
        return Status(
            StatusCode::kFull,
            "the server has no memory for this connection's rings; free some of its file system and call again");
      }
      if (closed()) return StatusCode::kClosed;
      if (deadline.left() == 0) return StatusCode::kTimeout;
      const std::int64_t patience = patience_ns(SuccessorCheck::kEveryNs);
      if (deadline.sleep_on(server.opened, seen, patience) == WaitOutcome::kTimedOut && break_off_if_succeeded()) {
        return StatusCode::kClosed;
      }
    }
  }
  try {
    channels_[channel].reset(new ClientChannel(*this, channel, worker));
  } catch (...) {
    return Status::out_of_memory();
  }
  return channels_[channel].get();
}

}  // namespace hostmap
