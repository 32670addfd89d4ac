#include <algorithm>
#include <cstring>
#include <utility>

#include "client/impl.hpp"

namespace hostmap {

// Sends a write to its lane and waits for its answer. `largest`: limit of the user's values, in bytes. `number`: for an
// increment, receives the new number.
[[gnu::always_inline]] inline Status Client::Impl::mutate_in_line(Op op, const Bytes& key, const ValueParts& value,
                                                                  std::uint64_t largest, std::int64_t* number,
                                                                  std::uint64_t end, Deadline& limit) noexcept {
  if (!is_key(key)) return key_status(key);
  return with_turn(limit, [&](Session& session) noexcept -> Status {
    if (largest > session.reader().max_value_bytes()) return StatusCode::kTooLarge;
    return send_and_await(session, session.reader().shard_of(span_of(key)), op, span_of(key), value, number, end,
                          limit);
  });
}

Status Client::Impl::mutate(Op op, const Bytes& key, const ValueParts& value, std::uint64_t largest,
                            std::int64_t* number, std::uint64_t end) noexcept {
  Deadline limit = deadline();
  return mutate_in_line(op, key, value, largest, number, end, limit);
}

// The same as a part of a call with several requests, which have one deadline.
Status Client::Impl::mutate_within(Deadline& limit, Op op, const Bytes& key, const ValueParts& value,
                                   std::uint64_t largest, std::uint64_t end) noexcept {
  return mutate_in_line(op, key, value, largest, nullptr, end, limit);
}

Status Client::Impl::send_and_await(Session& session, std::uint32_t lane, Op op, std::span<const std::byte> key,
                                    const ValueParts& value, std::int64_t* number, std::uint64_t end,
                                    Deadline& limit) noexcept {
  const Result<ClientChannel*> opened = session.channel(lane, limit);
  if (!opened) return opened.status();
  ClientChannel* channel = *opened;
  if (Status status = channel->send_any(op, true, key, value, limit, end); !status.ok()) return status;
  if (Status status = channel->await_answer(limit); !status.ok()) return status;
  const ClientChannel::Answer& answer = channel->answer();
  if (number != nullptr && answer.value.size() == sizeof *number) {
    std::memcpy(number, answer.value.data(), sizeof *number);
  }
  const StatusCode code = answer.code;
  channel->release();
  session.note_applied(lane);  // the lane is in order: writes queued before this one are applied, too
  return code;
}

Status Client::put(Bytes key, Bytes value) noexcept {
  return impl_->mutate(Op::kPut, key, span_of(value), value.size());
}

Status Client::insert(Bytes key, Bytes value) noexcept {
  return impl_->mutate(Op::kInsert, key, span_of(value), value.size());
}

Status Client::replace(Bytes key, Bytes value) noexcept {
  return impl_->mutate(Op::kReplace, key, span_of(value), value.size());
}

Result<std::uint64_t> Client::append(Bytes key, Bytes more) noexcept {
  std::int64_t size = 0;
  Status status = impl_->mutate(Op::kAppend, key, span_of(more), more.size(), &size);
  if (!status.ok()) return status;
  return static_cast<std::uint64_t>(size);
}

Status Client::erase(Bytes key) noexcept { return impl_->mutate(Op::kErase, key, {}, 0); }

Status Client::compare_exchange(Bytes key, Bytes expected, Bytes desired) noexcept {
  const Comparison comparison{expected.size()};
  const std::span<const std::byte> head(reinterpret_cast<const std::byte*>(&comparison), sizeof comparison);
  return impl_->mutate(Op::kCompareExchange, key, {head, span_of(expected), span_of(desired)},
                       std::max(expected.size(), desired.size()));
}

Result<std::int64_t> Client::add(Bytes key, std::int64_t by) noexcept {
  const std::span<const std::byte> bytes(reinterpret_cast<const std::byte*>(&by), sizeof by);
  std::int64_t number = 0;
  Status status = impl_->mutate(Op::kIncrement, key, bytes, 0, &number);
  if (!status.ok()) return status;
  return number;
}

Status Client::clear() noexcept {
  Impl& impl = *impl_;
  if (Status status = impl.may_write(); !status.ok()) return status;
  Deadline limit = impl.deadline();
  // Writes that this client has queued in other lanes come first.
  const Result<Session*> session = impl.current_with_own_writes(limit);
  if (!session) return session.status();
  const Turn turn(impl.own.turn, limit);
  if (!turn) return turn_timed_out();
  return impl.send_and_await(**session, kLaneOfClear, Op::kClear, {}, {}, nullptr, kNoEnd, limit);
}

Status Client::put_async(Bytes key, Bytes value) noexcept {
  if (!is_key(key)) return key_status(key);
  // Fast path, with no work for the rare cases: this thread owns the turn, the session is alive, the channel is open and has
  // room.
  WriteTurn& turn = impl_->own.turn;
  if (turn.try_as_owner()) [[likely]] {
    if (Session* session = impl_->current_if_usable(); session != nullptr && session == impl_->written) [[likely]] {
      const std::uint32_t lane = session->reader().shard_of(span_of(key));
      ClientChannel* channel = session->end().open_channel(lane);
      if (channel != nullptr && value.size() <= session->reader().max_value_bytes() &&
          channel->try_send(Op::kPut, span_of(key), span_of(value))) [[likely]] {
        session->note_queued(lane, channel->sent());
        turn.unlock_as_owner();
        return {};
      }
    }
    turn.unlock_as_owner();
  }
  return impl_->queue(Op::kPut, key, value, kNoEnd);
}

// From now on the writing thread writes to `session`; queued writes of earlier sessions whose outcome is unknown are lost.
void Client::Impl::write_to(Session* session) noexcept {
  if (session == written) return;
  writes_lost = writes_lost || (written != nullptr && written->any_unreported());
  written = session;
}

Status Client::Impl::queue(Op op, const Bytes& key, const Bytes& value, std::uint64_t end) noexcept {
  if (!is_key(key)) return key_status(key);
  Deadline limit = deadline();
  return with_turn(limit, [&](Session& session) noexcept -> Status {
    write_to(&session);
    if (value.size() > session.reader().max_value_bytes()) return StatusCode::kTooLarge;
    const std::uint32_t lane = session.reader().shard_of(span_of(key));
    const Result<ClientChannel*> channel = session.channel(lane, limit);
    if (!channel) return channel.status();
    Status status = (*channel)->send_any(op, false, span_of(key), span_of(value), limit, end);
    session.note_queued(lane, (*channel)->sent());
    return status;
  });
}

Status Client::flush() noexcept {
  Impl& impl = *impl_;
  if (impl.options.read_only) return {};  // it has queued nothing
  Deadline limit = impl.deadline();
  const Turn turn(impl.own.turn, limit);
  if (!turn) return turn_timed_out();
  const Result<Session*> session = impl.current(limit);
  impl.write_to(session ? *session : nullptr);
  if (std::exchange(impl.writes_lost, false)) return StatusCode::kClosed;
  if (!session) return session.status();

  // If its connection is gone, this status also reports the writes that were queued on it.
  const auto failed = [&](Status status) {
    if (status == StatusCode::kClosed) (*session)->note_all_reported();
    return status;
  };
  const auto owes = [&](std::uint32_t lane) {
    const ClientChannel* channel = (*session)->end().open_channel(lane);
    return (*session)->unreported(lane) || (channel != nullptr && channel->owes_outcomes());
  };
  for (const bool sending : {true, false}) {
    for (std::uint32_t lane = 0; lane < (*session)->lanes(); ++lane) {
      if (!owes(lane)) continue;
      const Result<ClientChannel*> channel = (*session)->channel(lane, limit);
      if (!channel) return failed(channel.status());
      if (sending) {
        if (Status status = (*channel)->send_any(Op::kFlush, true, {}, {}, limit); !status.ok()) {
          return failed(std::move(status));
        }
        continue;
      }
      if (Status status = (*channel)->await_answer(limit); !status.ok()) return failed(std::move(status));
      const ClientChannel::Answer& answer = (*channel)->answer();
      const ClientChannel::LateOutcomes late = (*channel)->take_late_outcomes();
      impl.failures.add(late.failed, late.first, true);
      impl.failures.add(refused_writes(answer.value), answer.code, false);
      (*channel)->release();
      (*session)->note_applied(lane);
      (*session)->note_reported(lane);
    }
  }
  return std::exchange(impl.failures, {}).status();
}

}  // namespace hostmap
