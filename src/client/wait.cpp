// Waiting until a key changes.
//
//   waiter                                         the lane's worker
//   W0 loads the server's generation               M1 the change, visible by one store
//   W1 registers with the key's group              M2 raises the group's word, if anybody has registered
//   W2 loads the group's word                      M3 wakes some that sleep on it, now or in its next rounds
//   W3 reads the key
//   W4 generation as in W0? session in use?        a new server: N1 raises the generation, N2 all words, N3 wakes all;
//   W5 sleeps while the word is as in W2           N4 then it serves
//   W6 again from W2; if W4 fails, from W0
//
// A change that W3 does not see comes after W2, so its M2 makes W5 return, or its M3 ends it. A registration is known to the server
// that answered W1 alone: hence W4, and N1 before N2. A connection that the server drops is closed first, then its groups are
// raised. The model test/models/wait_model.cpp explores this.
#include <algorithm>
#include <cstring>
#include <optional>
#include <span>
#include <string>
#include <utility>

#include "base/same_bytes.hpp"
#include "client/impl.hpp"
#include "client/waiting.hpp"

namespace hostmap {

namespace {

// How often a waiter checks by itself that its server has no successor: if it was killed and its files were removed, nobody is left
// to wake its waiters.
constexpr std::int64_t kPatienceNs = 30'000'000'000;

constexpr std::string_view kUnchanged = "timed out: the key did not change";

Status too_many_groups() {
  return {StatusCode::kFull,
          "threads of this client wait for too many keys at once (64 in a lane); let some of them use another client"};
}

}  // namespace

std::int64_t ns_until(std::uint64_t end) noexcept {
  if (end == kNoEnd) return kNoTimeout;
  constexpr std::uint64_t kMostUs = 1'000'000'000'000'000;
  const std::uint64_t now = monotonic_us();
  return static_cast<std::int64_t>(std::min(end - std::min(end, now), kMostUs)) * 1000;
}

Deadline Client::Impl::part_of(Deadline& limit) const noexcept { return Deadline(limit, policy.own_timeout()); }

Status Watch::begin(const Bytes& key, Deadline& part) noexcept {
  if (!impl_.options.read_only) [[likely]] {
    return impl_.begin_watch(*this, key, part);
  }
  return {StatusCode::kPermission,
          "this client is read_only and cannot register to be woken; connect another one to wait, or read again from "
          "time to time"};
}

Watch::~Watch() {
  if (session_ != nullptr) impl_.end_watch(*this);
}

// W0 and W1.
Status Client::Impl::begin_watch(Watch& watch, const Bytes& key, Deadline& limit) noexcept {
  Status status = with_turn(limit, [&](Session& session) noexcept -> Status {
    const std::uint64_t hash = session.reader().hash_of(span_of(key));
    const std::uint32_t lane = session.reader().shard_of(span_of(key));
    const std::uint32_t group = wait_group_of(hash);
    const HalfWord* word = session.wait_word(lane, group);
    if (word == nullptr) return Status::out_of_memory();
    watch.lane_ = lane;
    watch.group_ = group;
    watch.word_ = word;
    watch.generation_ = session.generation();
    watch.session_ = &session;
    session.note_waiter(lane, group, +1);
    const std::uint64_t number = group;
    return send_and_await(session, lane, Op::kWatch, {}, std::as_bytes(std::span(&number, 1)), nullptr, kNoEnd, limit);
  });
  if (status == StatusCode::kFull && watch.session_ != nullptr) return too_many_groups();
  return status;
}

// The last thread of this client that waits for keys of the group cancels the registration. If that fails, the next one that
// waits there tries again; it costs the server a little until then.
void Client::Impl::end_watch(const Watch& watch) noexcept {
  Session& session = *watch.session_;
  // After the end of the call it waits for nobody.
  Deadline limit = watch.limit_.is_given_up() ? Deadline(std::chrono::nanoseconds::zero()) : deadline();
  const Turn turn(own.turn, limit);
  if (!turn || session.note_waiter(watch.lane_, watch.group_, -1) != 0 || session.closed()) return;
  ClientChannel* const channel = session.end().open_channel(watch.lane_);
  const std::uint64_t number = watch.group_;
  if (channel != nullptr) channel->try_send(Op::kUnwatch, {}, std::as_bytes(std::span(&number, 1)));
}

// W4 and W5.
Watch::Woken Watch::sleep(std::uint32_t seen, std::int64_t ns) noexcept {
  const std::int64_t patience = patience_ns(kPatienceNs);
  const std::int64_t most = std::min(ns, limit_.left());
  Session& session = *session_;
  bool valid = true;
  // A Sleeper ends before the hook is called: the thread that retires the session waits for all of them.
  const WaitOutcome outcome = limit_.sleep(std::min(most, patience), [&](std::int64_t slice) noexcept {
    const Session::Sleeper sleeper(session);
    valid = is_valid();
    return valid ? futex_wait(*word_, seen, slice) : WaitOutcome::kChanged;
  });
  if (!valid) return Woken::kRegisterAgain;
  if (outcome == WaitOutcome::kTimedOut && patience < most) {
    if (look() != seen) session.count_rescue();
    session.check_for_successor(coarse_monotonic_ns());
  }
  return is_valid() ? Woken::kLookAgain : Woken::kRegisterAgain;
}

bool Watch::is_valid() const noexcept {
  return impl_.still_current(session_) && !session_->closed() && session_->generation() == generation_;
}

// Reads the value of `key`. True: it is another one than `known`, or the read failed: `result` says.
bool Client::Impl::differs(const Bytes& key, const std::optional<Bytes>& known, Deadline& limit,
                           Result<std::optional<std::string>>& result, std::uint64_t& end, bool once) noexcept {
  std::string value;
  end = kNoEnd;
  // A get by ring takes some time: none would be left of a timeout of zero, which checks once.
  Deadline part = once ? deadline() : part_of(limit);
  const Result<std::uint64_t> size = read_within(part, key, ValueTarget::string(value), &end);
  if (!size && !(size.status() == StatusCode::kNotFound)) {
    if (size.status() == StatusCode::kTimeout && !once) return false;
    result = size.status();
    return true;
  }
  const bool same = size ? known && same_bytes(std::as_bytes(std::span(value)), span_of(*known)) : !known;
  if (same) return false;
  result = size ? std::optional<std::string>(std::move(value)) : std::nullopt;
  return true;
}

Result<std::optional<std::string>> Client::wait(Bytes key, std::optional<Bytes> known,
                                                std::chrono::nanoseconds timeout) noexcept {
  Impl& impl = *impl_;
  if (!is_key(key)) return key_status(key);
  if (timeout < std::chrono::nanoseconds::zero()) {
    return Status(StatusCode::kInvalid, "the timeout is below zero; give zero to check once, or a longer time");
  }
  Deadline limit(impl.policy, timeout);
  Result<std::optional<std::string>> result(std::nullopt);
  std::uint64_t end;
  if (impl.differs(key, known, limit, result, end, timeout == std::chrono::nanoseconds::zero())) return result;
  const auto timed_out = [] { return Status(StatusCode::kTimeout, kUnchanged); };
  for (;;) {
    if (limit.left() == 0) return timed_out();
    Watch watch(impl, limit);
    Deadline part = impl.part_of(limit);
    if (Status status = watch.begin(key, part); !status.ok()) {
      if (status == StatusCode::kTimeout || status == StatusCode::kClosed) continue;
      return status;
    }
    do {
      const std::uint32_t seen = watch.look();
      if (impl.differs(key, known, limit, result, end)) return result;
      if (limit.left() == 0) return timed_out();
      // The end of a key changes no word: whoever waits sleeps no longer than the key lives.
      if (watch.sleep(seen, ns_until(end)) == Watch::Woken::kRegisterAgain) break;
    } while (true);
  }
}

}  // namespace hostmap
