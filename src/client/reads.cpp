#include <algorithm>
#include <cstring>
#include <new>
#include <sched.h>

#include "client/impl.hpp"
#include "client/walk.hpp"
#include "table/read/fast_path.hpp"

namespace hostmap {

namespace {

// For a read: its outcome is never unknown.
constexpr std::string_view kReadTimedOut =
    "timed out: the value or the connection changed in every attempt; try again with a longer timeout";

}  // namespace

constinit thread_local ReadCountdown read_countdown;

namespace {

// When the countdown has run out: may direct reads of the session continue?
bool may_read_on(Session& session) noexcept {
  const std::int64_t now = coarse_monotonic_ns();
  if (!session.may_read_on(now)) {
    read_countdown.end();  // until the session is renewed, each read comes here
    return false;
  }
  read_countdown.start(now);
  return true;
}

}  // namespace

// Slow path of session_to_read(). A direct read waits for no other process, so without this check it would never detect that
// its server was killed, the files were removed, and another server was started.
[[gnu::noinline, gnu::cold]] Session* Client::Impl::session_to_read_with_care(Session* session) noexcept {
  if (session == nullptr || !session->reads_at_once()) return nullptr;
  return may_read_on(*session) ? session : nullptr;
}

// The session whose direct reads note the keys that they find; null: there is none, or something else is in the way.
Session* Client::Impl::session_to_note() noexcept {
  // [session.use] acquire; pairs with [session.renew]
  Session* const session = own.session.load(std::memory_order_acquire);
  if (session == nullptr || !session->notes_reads()) return nullptr;
  return !read_countdown.run_out() || may_read_on(*session) ? session : nullptr;
}

// The fast path of a get from a table that evicts keys. False: it does not decide.
bool Client::Impl::read_and_note(std::span<const std::byte> key, const ValueTarget& target,
                                 Result<std::uint64_t>& result) noexcept {
  Session* const session = session_to_note();
  if (session == nullptr || !is_key(key)) return false;
  const std::uint64_t hash = session->reader().hash_of(key);
  std::uint64_t size;
  const TableReader::FastResult seen = session->reader().try_get(key, hash, target, size, session->note_of(hash));
  if (seen == TableReader::FastResult::kUnclear || !still_current(session)) return false;
  const bool hit = seen == TableReader::FastResult::kHit;
  session->count_read(hit);
  result = hit ? Result<std::uint64_t>(size) : Result<std::uint64_t>(StatusCode::kNotFound);
  return true;
}

Status Client::Impl::await_own_writes(Session& session, std::uint32_t lane, Deadline& limit) noexcept {
  const std::uint64_t position = session.queued_position(lane);
  if (position == 0) [[likely]]
    return {};
  const Result<ClientChannel*> channel = session.channel(lane, limit);
  if (!channel) return channel.status();
  // Any thread may wait for queued writes, but only the thread that writes may take answers, for which the worker may be
  // waiting. So that reads do not delay writes, the turn is taken only when the short wait was not enough.
  Deadline brief(limit, std::chrono::milliseconds(1));
  Status status = (*channel)->await_consumed(position, brief);
  if (!(status == StatusCode::kTimeout)) return status;
  const Turn turn(own.turn, limit);
  if (!turn) return StatusCode::kTimeout;
  return (*channel)->await_consumed_and_take_answers(position, limit);
}

Status Client::Impl::await_own_writes(Session& session, Deadline& limit) noexcept {
  for (std::uint32_t lane = 0; lane < session.lanes(); ++lane) {
    if (Status status = await_own_writes(session, lane, limit); !status.ok()) return status;
  }
  return {};
}

// The session to use for an operation on all lanes, after all queued writes of this client are applied.
Result<Session*> Client::Impl::current_with_own_writes(Deadline& limit) noexcept {
  for (;;) {
    if (Session* now = current_if_usable(); now != nullptr) now->check_for_successor(coarse_monotonic_ns());
    const Result<Session*> session = current(limit);
    if (!session) return session.status();
    Status status = await_own_writes(**session, limit);
    if (status.ok()) return *session;
    if (!(status == StatusCode::kClosed)) return status;  // else the table is gone with the writes; flush reports it
    if (limit.left() == 0) return Status(StatusCode::kTimeout);
  }
}

// Not inlined, so that the fast paths, which end with it, need no stack for the deadline.
[[gnu::noinline]] Result<std::uint64_t> Client::Impl::read(const Bytes& key, const ValueTarget& target,
                                                           std::uint64_t* end) noexcept {
  if (end == nullptr) {
    Result<std::uint64_t> result = StatusCode::kInternal;
    if (read_and_note(span_of(key), target, result)) return result;
  }
  Deadline limit = deadline();
  return read_within(limit, key, target, end);
}

Result<std::uint64_t> Client::Impl::read_within(Deadline& limit, const Bytes& key, const ValueTarget& target,
                                                std::uint64_t* end) noexcept {
  if (!is_key(key)) return key_status(key);
  for (bool again = false;; again = true) {
    if (again && limit.left() == 0) [[unlikely]]
      return Status(StatusCode::kTimeout, kReadTimedOut);
    Session* usable = session_to_read();
    if (usable == nullptr) {
      const Result<Session*> at = current(limit);
      if (!at) return at.status();
      usable = *at;
      const std::uint32_t lane = usable->reader().shard_of(span_of(key));
      if (Status status = await_own_writes(*usable, lane, limit); !status.ok()) {
        if (status == StatusCode::kClosed) continue;  // the table is gone with the writes; flush reports it
        return status;
      }
    }
    Session& session = *usable;
    if (options.reads == Reads::kRing) {
      Result<std::uint64_t> value = read_by_ring(session, key, target, end, limit);
      if (!value && value.status() == StatusCode::kClosed) continue;
      return value;
    }
    std::uint64_t found_end;
    const bool notes = session.evicts();
    const std::uint64_t hash = session.reader().hash_of(span_of(key));
    const TouchNote note = notes ? session.note_of(hash) : TouchNote{};
    const TableReader::ReadResult found =
        session.reader().get_with_end(span_of(key), hash, target, found_end, notes ? &note : nullptr);
    if (!still_current(&session)) [[unlikely]]
      continue;
    if (notes && (found.outcome == ReadOutcome::kHit || found.outcome == ReadOutcome::kMiss)) {
      session.count_read(found.outcome == ReadOutcome::kHit);
    }
    if (found.retries != 0) [[unlikely]] {
      session.count_retries(found.retries);
    }
    switch (found.outcome) {
      case ReadOutcome::kHit:
        if (end != nullptr) *end = found_end;
        return found.size;
      case ReadOutcome::kMiss:
        return StatusCode::kNotFound;
      case ReadOutcome::kTooSmall:
        return Status::buffer_too_small(found.size);
      case ReadOutcome::kOutOfMemory:
        return Status::out_of_memory();
      case ReadOutcome::kContended: {
        if (options.read_only) {  // no ring: retry until the deadline
          limit.yield();
          break;
        }
        session.end().counters().read_fallbacks.fetch_add(1, std::memory_order_relaxed);  // relaxed: a counter
        Result<std::uint64_t> value = read_by_ring(session, key, target, end, limit);
        if (value || !(value.status() == StatusCode::kClosed)) return value;
        if (const Result<Session*> renewed = renew(&session, limit); !renewed) return renewed.status();
        break;
      }
      case ReadOutcome::kClosed: {
        const Result<Session*> renewed = renew(&session, limit);
        if (!renewed) return renewed.status();
        break;
      }
    }
  }
}

Result<std::uint64_t> Client::Impl::read_by_ring(Session& session, const Bytes& key, const ValueTarget& target,
                                                 std::uint64_t* end, Deadline& limit) noexcept {
  if (!lock_within(read_mutex, limit)) return StatusCode::kTimeout;
  const std::lock_guard<std::timed_mutex> lock(read_mutex, std::adopt_lock);
  const std::uint32_t lane = session.reader().shard_of(span_of(key));
  const Result<ClientChannel*> opened = session.channel(session.lanes() + lane, limit);
  if (!opened) return opened.status();
  ClientChannel& channel = **opened;

  PieceCursor cursor{};
  std::uint64_t total = 0;  // bytes, from the first piece; the buffer has room for as many
  std::uint64_t received = 0;
  std::byte* to = nullptr;
  for (;;) {
    std::span<const std::byte> more;
    if (received != 0) more = {reinterpret_cast<const std::byte*>(&cursor), sizeof cursor};
    if (Status status = channel.send_any(Op::kGet, true, span_of(key), more, limit); !status.ok()) return status;
    if (Status status = channel.await_answer(limit); !status.ok()) return status;
    const auto [code, bytes] = channel.answer();
    PieceHead head{};
    if (code == StatusCode::kOk && bytes.size() >= sizeof head) std::memcpy(&head, bytes.data(), sizeof head);
    const std::uint64_t piece = bytes.size() >= sizeof head ? bytes.size() - sizeof head : 0;
    if (received == 0) total = head.total_bytes;
    if (code == StatusCode::kOk && (bytes.size() < sizeof head || head.total_bytes != total ||
                                    piece > total - received || (piece == 0 && received < total))) {
      session.end().break_off();
      return Status(StatusCode::kInternal, kInvalidAnswer);
    }
    const bool fits = target.fits(total);
    if (code == StatusCode::kOk && target.wanted() && fits) {
      if (received == 0) to = target.room(total);
      if (to != nullptr && piece != 0) std::memcpy(to + received, bytes.data() + sizeof head, piece);
    }
    channel.release();
    if (code == StatusCode::kMismatch) {  // the value has changed: start over
      if (limit.left() == 0) return Status(StatusCode::kTimeout, kReadTimedOut);
      received = 0;
      continue;
    }
    if (code != StatusCode::kOk) return code;
    if (end != nullptr) *end = head.end;
    if (!target.wanted()) return total;
    if (!fits) return Status::buffer_too_small(total);
    if (to == nullptr) return Status::out_of_memory();
    received += piece;
    if (received == total) return total;
    cursor = {received, head.entry, head.generation};
  }
}

// A get: by the fast path unless something is in the way. `session`: from session_to_read(), null for an invalid key; `hash`:
// of the key, if there is a session. Inlined by force, so that pairs, entries and each kind of target have straight-line code
// of their own. The arguments that read() takes by reference are created for its call only: the fast path keeps key and
// target out of memory.
template <typename MakeTarget>
[[gnu::always_inline]] inline Result<std::uint64_t> Client::Impl::look_up(const Session* session,
                                                                          std::span<const std::byte> key,
                                                                          std::uint64_t hash,
                                                                          const MakeTarget& make_target) noexcept {
  if (session != nullptr) [[likely]] {
    std::uint64_t size;
    const TableReader::FastResult seen = session->reader().try_get(key, hash, make_target(), size);
    if (seen != TableReader::FastResult::kUnclear && still_current(session)) [[likely]] {
      if (seen == TableReader::FastResult::kHit) return size;
      return StatusCode::kNotFound;
    }
  }
  return read(key, make_target());
}
template <typename MakeTarget>
[[gnu::always_inline]] inline Result<std::uint64_t> Client::Impl::look_up(std::span<const std::byte> key,
                                                                          const MakeTarget& make_target) noexcept {
  const Session* session = is_key(key) ? session_to_read() : nullptr;
  return look_up(session, key, session != nullptr ? session->reader().hash_of(key) : 0, make_target);
}

// A get as a part of a call for several keys, which have one deadline. Not inlined, so that the code of 8-byte keys has all
// registers in `multi_get`.
[[gnu::noinline]] Result<std::uint64_t> Client::Impl::look_up_within(Deadline& limit, const Session* session,
                                                                     const Bytes& key, std::uint64_t hash,
                                                                     const ValueTarget& target) noexcept {
  if (session != nullptr && is_key(key)) [[likely]] {
    std::uint64_t size;
    const TableReader::FastResult seen = session->reader().try_get(span_of(key), hash, target, size);
    if (seen != TableReader::FastResult::kUnclear && still_current(session)) [[likely]] {
      if (seen == TableReader::FastResult::kHit) return size;
      return StatusCode::kNotFound;
    }
  }
  Result<std::uint64_t> noted = StatusCode::kInternal;
  if (read_and_note(span_of(key), target, noted)) return noted;
  return read_within(limit, key, target);
}
// Slow path of a get: keys of any length, those of 8 bytes after their fast path has failed. Not inlined for the same reason.
[[gnu::noinline]] Result<std::string> Client::Impl::get_with_care(std::span<const std::byte> key) noexcept {
  Result<std::string> result(std::in_place);
  const auto target = [&]() noexcept { return ValueTarget::string(*result); };
  const Result<std::uint64_t> size = key.size() == 8 ? read(key, target()) : look_up(key, target);
  if (!size) result = size.status();
  return result;
}

[[gnu::flatten]] Result<std::string> Client::get(Bytes key) noexcept {
  const Session* const session = key.size() == 8 ? impl_->session_to_read() : nullptr;
  if (session != nullptr) [[likely]] {
    std::uint64_t word;
    std::uint64_t value;
    std::memcpy(&word, key.data(), sizeof word);
    const TableReader& reader = session->reader();
    const TableReader::FastResult seen = reader.try_get_pair(word, reader.hash_of(word), value);
    if (seen != TableReader::FastResult::kUnclear && impl_->still_current(session)) [[likely]] {
      if (seen == TableReader::FastResult::kMiss) return StatusCode::kNotFound;
      return Result<std::string>(std::in_place, reinterpret_cast<const char*>(&value), sizeof value);
    }
  }
  return impl_->get_with_care(span_of(key));
}

// Not inlined, so that the code of 8-byte keys saves no registers for the other lengths.
[[gnu::noinline]] Result<std::size_t> Client::Impl::entry_into(std::span<const std::byte> key,
                                                               std::span<std::byte> buffer) noexcept {
  if (key.size() == 8) __builtin_unreachable();
  const auto target = [&]() noexcept { return ValueTarget::buffer(buffer); };
  if (key.size() == 16) return look_up(key.first(16), target);  // a usual length, known to the compiler
  return look_up(key, target);
}

Result<std::size_t> Client::get_into(Bytes key, std::span<std::byte> buffer) noexcept {
  if (key.size() != 8) return impl_->entry_into(span_of(key), buffer);
  return impl_->look_up(span_of(key), [&]() noexcept { return ValueTarget::buffer(buffer); });
}

Status Client::scan_with(Bytes prefix, VisitOne each, void* target, bool values) {
  Impl& impl = *impl_;
  Deadline patience = impl.deadline();
  const Result<Session*> session = impl.current_with_own_writes(patience);
  if (!session) return session.status();
  std::string value;
  Status read;
  TableScan scan((*session)->reader(), span_of(prefix));
  Status walked = walk(impl, *session, scan, [&](const TableScan& at) {
    return visit_items(
        impl, at, values, value, read,
        [&](std::string_view key, std::string_view found, std::uint64_t end) { return each(target, key, found, end); });
  });
  return walked.ok() ? read : walked;
}

Result<std::uint64_t> Client::size() noexcept {
  Impl& impl = *impl_;
  Deadline limit = impl.deadline();
  for (;;) {
    const Result<Session*> session = impl.current_with_own_writes(limit);
    if (!session) return session.status();
    const std::uint64_t keys = (*session)->reader().count_keys();
    if (impl.still_current(*session)) return keys;
    if (limit.left() == 0) return Status(StatusCode::kTimeout);
  }
}

Status Client::exists(Bytes key) noexcept {
  return impl_->look_up(span_of(key), [] { return ValueTarget::none(); }).status();
}

}  // namespace hostmap
