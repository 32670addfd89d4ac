// Leases, and values that one process computes for all.
#include <algorithm>
#include <cstring>
#include <optional>
#include <span>
#include <string>
#include <utility>

#include "base/same_bytes.hpp"
#include "client/ends.hpp"
#include "client/impl.hpp"
#include "client/waiting.hpp"
#include "message/operations.hpp"

namespace hostmap {

namespace {

constexpr std::string_view kHeld = "another process or thread holds the lease of this key";
constexpr std::string_view kStillComputed = "timed out: another process or thread still computes the value of this key";
constexpr std::string_view kFailedElsewhere =
    "the process or thread that computed the value of this key failed with this status";
constexpr std::string_view kNested = "this value was requested by the function that computes it";

Status too_many_leases() {
  return {StatusCode::kFull, "this client holds too many leases (64 in a lane); release some, or let them end"};
}

Status length_status() { return {StatusCode::kInvalid, "the length of a lease must be above zero and have an end"}; }

Status explain_release(Status status) {
  if (!(status == StatusCode::kNotFound)) return status;
  return {StatusCode::kNotFound,
          "this client does not hold the lease, or not any more: it has ended, or the server was restarted"};
}

Status check_task(const Bytes& key, std::uint64_t task) {
  if (!is_key(key)) return key_status(key);
  if (task != 0) return {};
  return {StatusCode::kInvalid, "0 is the number of no task; compute_begin has returned it beside a value"};
}

bool is_length(std::chrono::milliseconds length) noexcept { return is_ttl(length) && length != kForever; }

// The keys whose values this thread computes at the moment, the innermost first.
struct Computation {
  const Client::Impl* client;
  Bytes key;
  const Computation* outer;
};
constinit thread_local const Computation* innermost [[gnu::tls_model("initial-exec")]] = nullptr;

bool is_computed_by_this_thread(const Client::Impl& client, const Bytes& key) noexcept {
  for (const Computation* at = innermost; at != nullptr; at = at->outer) {
    if (at->client == &client && same_bytes(span_of(at->key), span_of(key))) return true;
  }
  return false;
}

}  // namespace

// The answer's state is kNone if this client has all the leases of the lane that it may have.
Status Client::Impl::ask_for_lease(const Bytes& key, std::chrono::milliseconds length, std::uint64_t awaited,
                                   LeaseAnswer& answer, Deadline& limit) noexcept {
  return with_turn(limit, [&](Session& session) noexcept -> Status {
    const std::uint64_t end = std::min(end_after(std::min(length, kLongestTtl)), kLatestEndOfLease);
    const LeaseRequest request{session.reader().hash_of(span_of(key)), end, awaited};
    const std::uint32_t lane = session.reader().shard_of(span_of(key));
    const Result<ClientChannel*> opened = session.channel(lane, limit);
    if (!opened) return opened.status();
    ClientChannel& channel = **opened;
    const auto bytes = std::as_bytes(std::span(&request, 1));
    for (;;) {
      if (Status status = channel.release_late_leases(limit); !status.ok()) return status;
      const std::uint64_t late = channel.late_leases();
      if (Status status = channel.send_any(Op::kLease, true, {}, bytes, limit); !status.ok()) return status;
      channel.note_lease(request.hash);
      if (Status status = channel.await_answer(limit); !status.ok()) return status;
      const StatusCode code = channel.answer().code;
      LeaseAnswer received{};
      if (channel.answer().value.size() == sizeof received) {
        std::memcpy(&received, channel.answer().value.data(), sizeof received);
      }
      channel.release();
      session.note_applied(lane);
      const LeaseState state = received.state();
      const bool granted_or_not =
          state == LeaseState::kGranted || state == LeaseState::kHeld || state == LeaseState::kFailed;
      if (code == StatusCode::kOk ? !granted_or_not : code != StatusCode::kFull) {
        session.end().break_off();
        return {StatusCode::kInternal, kInvalidAnswer};
      }
      // What is in the way may have been granted to calls of this client that had timed out: their answers came before this one.
      const bool refused = state == LeaseState::kHeld || state == LeaseState::kNone;
      if (refused && channel.late_leases() != late) continue;
      answer = received;
      return {};
    }
  });
}

// Requests the lease of `key` until it is granted, or has failed while this waited and `wants_failure`, or `look()` or something
// else returns an error. Sleeps while somebody else holds it: the end of a lease raises the word of the key's group.
template <typename Look>
Status Client::Impl::await_lease(const Bytes& key, std::chrono::milliseconds length, Deadline& limit,
                                 LeaseAnswer& answer, bool wants_failure, const Look& look) noexcept {
  std::optional<Watch> watch;
  std::uint64_t awaited = 0;
  for (;;) {
    const std::uint32_t seen = watch ? watch->look() : 0;
    if (Status status = look(); !status.ok()) return status;
    Deadline part = part_of(limit);
    const auto again = [&](const Status& status) {
      return (status == StatusCode::kTimeout || status == StatusCode::kClosed) && limit.left() != 0;
    };
    if (Status status = ask_for_lease(key, length, awaited, answer, part); !status.ok()) {
      if (!again(status)) return status;
      watch.reset();
      continue;
    }
    if (answer.state() != LeaseState::kHeld) return {};
    if (limit.left() == 0) return {StatusCode::kTimeout, kStillComputed};
    if (wants_failure) awaited = answer.number;
    if (!watch) {
      watch.emplace(*this, limit);
      if (Status status = watch->begin(key, part); !status.ok()) {
        if (!again(status)) return status;
        watch.reset();
      }
    } else if (watch->sleep(seen, ns_until(answer.end())) == Watch::Woken::kRegisterAgain) {
      watch.reset();
    }
  }
}

Status Client::Impl::release(const Bytes& key, std::uint64_t number, StatusCode failure, Deadline& limit) noexcept {
  return with_turn(limit, [&](Session& session) noexcept -> Status {
    const LeaseRelease request{session.reader().hash_of(span_of(key)), number, static_cast<std::uint64_t>(failure)};
    return send_and_await(session, session.reader().shard_of(span_of(key)), Op::kRelease, {},
                          std::as_bytes(std::span(&request, 1)), nullptr, kNoEnd, limit);
  });
}

Result<std::uint64_t> Client::lease(Bytes key, std::chrono::milliseconds length,
                                    std::chrono::nanoseconds patience) noexcept {
  if (!is_key(key)) return key_status(key);
  if (!is_length(length)) return length_status();
  if (patience < std::chrono::nanoseconds::zero()) {
    return Status(StatusCode::kInvalid, "the time to wait for a lease is below zero; zero requests it once");
  }
  LeaseAnswer answer{};
  if (patience == std::chrono::nanoseconds::zero()) {
    Deadline limit = impl_->deadline();
    if (Status status = impl_->ask_for_lease(key, length, 0, answer, limit); !status.ok()) return status;
  } else {
    Deadline limit(impl_->policy, patience);
    const Status status = impl_->await_lease(key, length, limit, answer, false, [] { return Status(); });
    if (!status.ok() && answer.state() == LeaseState::kHeld && status == StatusCode::kTimeout) {
      return Status(StatusCode::kAlreadyExists, kHeld);
    }
    if (!status.ok()) return status;
  }
  if (answer.state() == LeaseState::kNone) return too_many_leases();
  if (answer.state() != LeaseState::kGranted) return Status(StatusCode::kAlreadyExists, kHeld);
  return answer.number;
}

Status Client::release(Bytes key, std::uint64_t number) noexcept {
  if (!is_key(key)) return key_status(key);
  Deadline limit = impl_->deadline();
  return explain_release(impl_->release(key, number, StatusCode::kOk, limit));
}

// For how long a caller may sleep while somebody else has the task.
Deadline Client::Impl::deadline_of_task(std::chrono::milliseconds length) const noexcept {
  constexpr auto kMost = std::chrono::hours(24 * 365 * 100);
  const std::chrono::nanoseconds time = policy.time_of_a_call();
  return Deadline(policy, time < kMost && length < kMost ? time + length : Options::kForever);
}

// The value of `key`, or the lease to compute it; sleeps while somebody else holds that. Neither a value nor a task (0): this
// client has no lease left in the lane.
Result<ValueOrTask> Client::Impl::value_or_task(const Bytes& key, std::chrono::milliseconds length,
                                                Deadline& limit) noexcept {
  ValueOrTask result;
  const auto look = [&]() noexcept -> Status {
    std::string value;
    const Result<std::uint64_t> size = read(key, ValueTarget::string(value));
    if (!size) return size.status() == StatusCode::kNotFound ? Status() : size.status();
    result.value = std::move(value);
    return StatusCode::kAlreadyExists;
  };
  LeaseAnswer answer{};
  Status status = await_lease(key, length, limit, answer, true, look);
  if (result.value) return result;
  if (!status.ok()) return status;
  if (answer.state() == LeaseState::kNone) return result;
  if (answer.state() == LeaseState::kFailed) return Status(static_cast<StatusCode>(answer.end()), kFailedElsewhere);
  // Whoever held it before may have put the value and released between the last look and the grant.
  if (status = look(); !status.ok()) {
    Deadline part = deadline();
    static_cast<void>(release(key, answer.number, StatusCode::kOk, part));  // if it fails, the lease ends by itself
    if (result.value) return result;
    return status;
  }
  result.task = answer.number;
  return result;
}

Result<ValueOrTask> Client::compute_begin(Bytes key, std::chrono::milliseconds lease) noexcept {
  if (!is_length(lease)) return length_status();
  Result<std::string> value = get(key);
  if (value) return ValueOrTask{std::move(*value), 0};
  if (!(value.status() == StatusCode::kNotFound)) return value.status();
  Deadline limit = impl_->deadline_of_task(lease);
  Result<ValueOrTask> begun = impl_->value_or_task(key, lease, limit);
  if (begun && !begun->value && begun->task == 0) return too_many_leases();
  return begun;
}

Status Client::compute_put(Bytes key, Bytes value, std::uint64_t task, std::chrono::milliseconds ttl) noexcept {
  if (Status status = check_task(key, task); !status.ok()) return status;
  // Only if it is absent: a holder that was slower than its lease does not replace what the next one has put.
  Deadline limit = impl_->deadline();
  Status status = !is_ttl(ttl)
                      ? ttl_status(ttl)
                      : impl_->mutate_within(limit, Op::kInsert, key, span_of(value), value.size(), end_of_put(ttl));
  const StatusCode outcome = status == StatusCode::kAlreadyExists ? StatusCode::kOk : status.code();
  // Sent also if no time is left; if it fails, the lease ends by itself.
  static_cast<void>(impl_->release(key, task, outcome, limit));
  return status;
}

Status Client::compute_fail(Bytes key, StatusCode failure, std::uint64_t task) noexcept {
  if (Status status = check_task(key, task); !status.ok()) return status;
  if (failure == StatusCode::kOk || failure > StatusCode::kInternal) {
    return {StatusCode::kInvalid, "a task fails with one of the statuses that are errors"};
  }
  Deadline limit = impl_->deadline();
  return explain_release(impl_->release(key, task, failure, limit));
}

Result<std::string> Client::get_or_compute_with(Bytes key, std::chrono::milliseconds ttl, ComputeOne compute,
                                                void* target, std::chrono::milliseconds length) {
  if (!is_ttl(ttl)) return ttl_status(ttl);
  if (!is_length(length)) return length_status();
  Result<std::string> value = get(key);
  if (value || !(value.status() == StatusCode::kNotFound)) return value;
  Impl& impl = *impl_;
  if (is_computed_by_this_thread(impl, key)) return Status(StatusCode::kInvalid, kNested);
  Deadline limit = impl.deadline_of_task(length);
  for (;;) {
    Result<ValueOrTask> begun = impl.value_or_task(key, length, limit);
    if (!begun) return begun.status();
    if (begun->value) return std::move(*begun->value);
    struct Holder {  // ends the task, also if `compute` throws
      ~Holder() {
        innermost = self.outer;
        if (failure != StatusCode::kOk && task != 0) static_cast<void>(client.compute_fail(self.key, failure, task));
      }
      Client& client;
      std::uint64_t task;
      Computation self;
      StatusCode failure = StatusCode::kInternal;
    };
    Holder holder{*this, begun->task, {&impl, key, innermost}};
    innermost = &holder.self;
    value = compute(target);
    if (!value) {
      holder.failure = value.status().code();
      return value;
    }
    holder.failure = StatusCode::kOk;
    // Without a lease another caller may compute the same value meanwhile: all return the one that was stored first.
    Status status = begun->task == 0 ? insert(key, *value, ttl) : compute_put(key, *value, begun->task, ttl);
    if (status.ok()) return value;
    if (!(status == StatusCode::kAlreadyExists)) return status;
  }
}

}  // namespace hostmap
