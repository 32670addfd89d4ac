#include "server/dispatch.hpp"

#include <algorithm>
#include <cstring>

#include "base/shared_copy.hpp"

namespace hostmap {

namespace {

template <typename T>
std::span<const std::byte> bytes_of(const T& value) noexcept {
  return {reinterpret_cast<const std::byte*>(&value), sizeof value};
}

}  // namespace

bool Dispatcher::prepare(const Request& request, HashedKey& key) const noexcept {
  if (request.key.empty()) return true;
  std::uint32_t shard;
  key = table_.hash(request.key, shard);
  if (shard != channel_.lane) return false;
  shard_.prefetch(key);
  return true;
}

void Dispatcher::begin(const Request& request, StatusCode code, std::uint64_t answer_bytes) noexcept {
  const std::uint64_t answer = channel_.answers.head();
  const std::uint64_t next =
      request.wants_answer ? answer + channel_.answers.needed(record_bytes(answer_bytes)) : answer;
  const AnswerHead head{static_cast<std::uint8_t>(code), request_mark(request.position), answer_bytes};
  shard_.intent().begin(
      {channel_.end->identity().serial, request.position, request.next_position, answer, next, encode(head)});
}

bool Dispatcher::apply(const Request& request, const HashedKey& key) {
  if (channel_.stream.op != Op::kPadding && request.op != Op::kPiece) return false;  // nothing comes between the pieces
  begin(request, StatusCode::kOk, 0);
  switch (request.op) {
    case Op::kPut:
      put(request, key);
      return true;
    case Op::kErase:
      erase(request, key);
      return true;
    case Op::kGet:
      get(request, key, request.value);
      return true;
    case Op::kFlush: {
      // What went wrong since the last flush. The answer tells, and only then is it forgotten.
      ChannelPosition& position = *channel_.position;
      // relaxed, all of them: this worker alone writes and reads them
      const FlushReport report{position.refused.load(std::memory_order_relaxed)};
      const auto code = static_cast<StatusCode>(position.refused_code.load(std::memory_order_relaxed));
      finish(request, report.refused == 0 ? StatusCode::kOk : code, Effect::kNone, bytes_of(report));
      // relaxed, both: likewise
      position.refused.store(0, std::memory_order_relaxed);
      position.refused_code.store(0, std::memory_order_relaxed);
      return true;
    }
    case Op::kStream:
      return begin_stream(request);
    case Op::kPiece:
      return take_piece(request);
    case Op::kPadding:
      break;
  }
  return false;
}

void Dispatcher::put(const Request& request, const HashedKey& key) {
  if (request.value.size() > table_.header().max_value_bytes) {
    return finish(request, StatusCode::kTooLarge, Effect::kNone);
  }
  const StatusCode code = shard_.put(key, request.value);
  if (code == StatusCode::kOk) ++counts_.puts;
  finish(request, code, code == StatusCode::kOk ? Effect::kSealed : Effect::kNone);
}

void Dispatcher::erase(const Request& request, const HashedKey& key) {
  const StatusCode code = shard_.erase(key);
  if (code == StatusCode::kOk) ++counts_.erases;
  finish(request, code, code == StatusCode::kOk ? Effect::kSealed : Effect::kNone);
}

void Dispatcher::get(const Request& request, const HashedKey& key, std::span<const std::byte> cursor) {
  ++counts_.gets;
  const ShardWriter::Found found = shard_.find(key);
  if (!found.found) return finish(request, StatusCode::kNotFound, Effect::kNone);
  if (found.entry == 0) {
    return finish(request, StatusCode::kOk, Effect::kNone, bytes_of(PieceHead{8, 0, 0}), bytes_of(found.pair_value));
  }
  const PieceHead head{found.value.size(), found.entry, found.generation};
  std::uint64_t offset = 0;
  if (!cursor.empty()) {
    PieceCursor at;
    std::memcpy(&at, cursor.data(), sizeof at);
    if (at.entry != head.entry || at.generation != head.generation || at.offset > head.total_bytes) {
      return finish(request, StatusCode::kMismatch, Effect::kNone);
    }
    offset = at.offset;
  }
  const std::uint64_t most =
      max_record_bytes(channel_.answers.view().capacity()) - kRecordHeadBytes - sizeof(PieceHead);
  finish(request, StatusCode::kOk, Effect::kNone, bytes_of(head),
         found.value.subspan(offset, std::min(most, head.total_bytes - offset)));
}

bool Dispatcher::begin_stream(const Request& request) {
  ServerChannel::Stream& stream = channel_.stream;
  const RequestHead& inner = request.stream;
  stream.op = inner.op;
  stream.key_bytes = inner.key_bytes;
  stream.value_bytes = inner.value_bytes;
  stream.received = 0;
  stream.entry = 0;
  stream.refused = StatusCode::kOk;
  if (record_bytes(stream.total()) <= max_record_bytes(channel_.requests.view().capacity())) {
    stream.op = Op::kPadding;
    return false;  // it would have fitted into one record
  }
  if (inner.op != Op::kPut) {
    stream.bytes.resize(stream.total());  // at most a key and a cursor
  } else if (stream.value_bytes > table_.header().max_value_bytes) {
    stream.refused = StatusCode::kTooLarge;
  } else {
    stream.entry = shard_.begin_entry(stream.key_bytes, stream.value_bytes);
    if (stream.entry == 0) stream.refused = StatusCode::kFull;
  }
  channel_.position->stream_entry.store(
      stream.entry, std::memory_order_release);  // [stream.entry] release; pairs with [position.next]
  finish(request, StatusCode::kOk, Effect::kNone);
  return true;
}

bool Dispatcher::take_piece(const Request& request) {
  ServerChannel::Stream& stream = channel_.stream;
  if (stream.op == Op::kPadding || request.value.size() > stream.total() - stream.received) return false;
  const bool last = stream.received + request.value.size() == stream.total();
  if (request.wants_answer && !last) return false;
  if (stream.refused == StatusCode::kOk) {
    std::byte* to = stream.entry != 0 ? shard_.entry_payload(stream.entry) : stream.bytes.data();
    copy_shared(to + stream.received, request.value.data(), request.value.size());
  }
  stream.received += request.value.size();
  // relaxed: told to a restart together with the position, which is stored behind it
  channel_.position->stream_received.store(stream.received, std::memory_order_relaxed);
  if (last) return finish_stream(request);
  finish(request, StatusCode::kOk, Effect::kNone);
  return true;
}

bool Dispatcher::finish_stream(const Request& request) {
  ServerChannel::Stream& stream = channel_.stream;
  if (stream.refused != StatusCode::kOk) {
    const StatusCode code = stream.refused;
    drop_stream();
    finish(request, code, Effect::kNone);
    return true;
  }
  const std::byte* bytes = stream.entry != 0 ? shard_.entry_payload(stream.entry) : stream.bytes.data();
  std::uint32_t shard;
  const HashedKey key = table_.hash({bytes, static_cast<std::size_t>(stream.key_bytes)}, shard);
  if (shard != channel_.lane) {
    drop_stream();
    return false;
  }
  if (stream.op == Op::kPut) {
    const StatusCode code = shard_.commit_entry(key, stream.entry, stream.value_bytes);
    stream.entry = 0;  // the table's, or released
    if (code == StatusCode::kOk) ++counts_.puts;
    finish(request, code, code == StatusCode::kOk ? Effect::kSealed : Effect::kNone);
  } else if (stream.op == Op::kErase) {
    erase(request, key);
  } else {
    get(request, key, std::span<const std::byte>(stream.bytes).subspan(stream.key_bytes));
  }
  drop_stream();
  return true;
}

void Dispatcher::drop_stream() noexcept {
  ServerChannel::Stream& stream = channel_.stream;
  if (stream.entry != 0) shard_.drop_entry(stream.entry, stream.key_bytes, stream.value_bytes);
  stream.op = Op::kPadding;
  stream.entry = 0;
  stream.bytes = {};
  channel_.position->stream_entry.store(0, std::memory_order_relaxed);  // relaxed: as stream_received
}

// What changed the table is sealed already; everything else is sealed here, if it has an answer: a restart must see whether
// that was given.
void Dispatcher::finish(const Request& request, StatusCode code, Effect effect, std::span<const std::byte> prefix,
                        std::span<const std::byte> value) {
  ChannelPosition& position = *channel_.position;
  if (request.wants_answer) {
    if (effect == Effect::kNone) {
      begin(request, code, prefix.size() + value.size());
      shard_.intent().seal({});
    }
    const std::uint64_t size = record_bytes(prefix.size() + value.size());
    encode_answer(channel_.answers.begin(size), static_cast<std::uint8_t>(code), request.position, prefix, value);
    channel_.answers.publish(size);
    channel_.answered = true;
  } else if (code != StatusCode::kOk && code != StatusCode::kNotFound) {
    // relaxed, all of them: this worker alone writes and reads them
    const std::uint64_t before = position.refused.load(std::memory_order_relaxed);
    if (before == 0) position.refused_code.store(static_cast<std::uint64_t>(code), std::memory_order_relaxed);
    position.refused.store(before + 1, std::memory_order_relaxed);
  }
  if (code == StatusCode::kFull || code == StatusCode::kTooLarge) ++counts_.refused;
  if (effect == Effect::kSealed || request.wants_answer) shard_.intent().applied();
  // [position.answer] release; pairs with [position.next]
  position.answer_next.store(channel_.answers.head(), std::memory_order_release);
  // [position.next] release; pairs with [stream.entry]: whoever restarts finds all that was stored before it
  position.request_next.store(request.next_position, std::memory_order_release);
  if (effect == Effect::kSealed) shard_.upkeep();
}

}  // namespace hostmap
