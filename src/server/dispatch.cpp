#include "server/dispatch.hpp"

#include <algorithm>
#include <charconv>
#include <cstring>

#include "base/shared_copy.hpp"

namespace hostmap {

namespace {

template <typename T>
std::span<const std::byte> bytes_of(const T& value) noexcept {
  return {reinterpret_cast<const std::byte*>(&value), sizeof value};
}

// The form of a number: an optional minus and decimal digits, without a leading zero. What printing it gives, and no other.
constexpr std::size_t kLongestNumber = 20;  // -9223372036854775808

struct Decimal {
  explicit Decimal(std::int64_t number) noexcept
      : size(static_cast<std::size_t>(std::to_chars(text, text + sizeof text, number).ptr - text)) {}
  std::span<const std::byte> bytes() const noexcept { return {reinterpret_cast<const std::byte*>(text), size}; }
  char text[kLongestNumber];
  std::size_t size;
};

bool parse_decimal(std::span<const std::byte> bytes, std::int64_t& number) noexcept {
  if (bytes.empty() || bytes.size() > kLongestNumber) return false;
  const char* begin = reinterpret_cast<const char*>(bytes.data());
  const auto [end, error] = std::from_chars(begin, begin + bytes.size(), number);
  if (error != std::errc() || end != begin + bytes.size()) return false;
  return std::ranges::equal(Decimal(number).bytes(), bytes);
}

// ChannelMemo::refused: {count:56 | the first one's code:8}.
std::uint64_t refused_count(std::uint64_t refused) noexcept { return refused >> 8; }
StatusCode refused_code(std::uint64_t refused) noexcept { return static_cast<StatusCode>(refused & 0xff); }
std::uint64_t one_more_refused(std::uint64_t refused, StatusCode code) noexcept {
  return refused == 0 ? std::uint64_t{1} << 8 | static_cast<std::uint64_t>(code) : refused + (std::uint64_t{1} << 8);
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

void Dispatcher::begin(const Request& request, StatusCode code, std::uint64_t answer_bytes,
                       std::uint64_t answer_payload) noexcept {
  std::uint64_t answer_next = channel_.answers.head();
  if (request.wants_answer) {
    answer_next += channel_.answers.needed(record_bytes(answer_bytes));
    const AnswerHead head{static_cast<std::uint8_t>(code), request_mark(request.position), answer_bytes};
    shard_.intent().begin_answer(encode(head), answer_payload);
  }
  shard_.intent().begin(request.next_position, answer_next);
}

bool Dispatcher::apply(const Request& request, const HashedKey& key) {
  if (channel_.stream.op != Op::kPadding && request.op != Op::kPiece) return false;  // nothing comes between the pieces
  shard_.notice_clear();
  begin(request, StatusCode::kOk, 0);
  switch (request.op) {
    case Op::kPut:
      put(request, key);
      return true;
    case Op::kInsert:
      insert(request, key);
      return true;
    case Op::kCompareExchange:
      compare_exchange(request, key);
      return true;
    case Op::kIncrement:
      increment(request, key);
      return true;
    case Op::kErase:
      erase(request, key);
      return true;
    case Op::kGet:
      get(request, key, request.value);
      return true;
    case Op::kClear:
      if (channel_.lane != kLaneOfClear) return false;
      clear(request);
      return true;
    case Op::kFlush: {
      // What went wrong since the last flush. It is forgotten when the answer counts, and not before.
      const std::uint64_t refused = channel_.memos.refused();
      if (refused != 0) channel_.memos.set_refused(0, request.next_position);
      finish(request, refused_code(refused), Effect::kNone, bytes_of(FlushReport{refused_count(refused)}));
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

void Dispatcher::insert(const Request& request, const HashedKey& key) {
  if (shard_.find(key).found) return finish(request, StatusCode::kAlreadyExists, Effect::kNone);
  put(request, key);
}

void Dispatcher::compare_exchange(const Request& request, const HashedKey& key) {
  const ShardWriter::Found found = shard_.find(key);
  if (!found.found) return finish(request, StatusCode::kNotFound, Effect::kNone);
  if (!std::ranges::equal(found.bytes(), request.expected)) {
    return finish(request, StatusCode::kMismatch, Effect::kNone);
  }
  put(request, key);
}

void Dispatcher::increment(const Request& request, const HashedKey& key) {
  std::int64_t by;
  std::memcpy(&by, request.value.data(), sizeof by);
  std::int64_t number = 0;  // of an absent key
  if (const ShardWriter::Found found = shard_.find(key); found.found && !parse_decimal(found.bytes(), number)) {
    return finish(request, StatusCode::kNotANumber, Effect::kNone);
  }
  if (__builtin_add_overflow(number, by, &number)) return finish(request, StatusCode::kOverflow, Effect::kNone);
  const Decimal text(number);
  if (text.size > table_.header().max_value_bytes) return finish(request, StatusCode::kTooLarge, Effect::kNone);
  begin(request, StatusCode::kOk, sizeof number, static_cast<std::uint64_t>(number));
  const StatusCode code = shard_.put(key, text.bytes());
  if (code != StatusCode::kOk) return finish(request, code, Effect::kNone);
  ++counts_.puts;
  finish(request, StatusCode::kOk, Effect::kSealed, bytes_of(number));
}

void Dispatcher::clear(const Request& request) {
  shard_.clear();
  ++counts_.clears;
  finish(request, StatusCode::kOk, Effect::kSealed);
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
    // A pair comes whole: who has a part of a value has one of another value.
    if (!cursor.empty()) return finish(request, StatusCode::kMismatch, Effect::kNone);
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
  stream.refused = StatusCode::kOk;
  if (record_bytes(stream.total()) <= max_record_bytes(channel_.requests.view().capacity())) {
    stream.op = Op::kPadding;
    return false;  // it would have fitted into one record
  }
  const std::uint64_t most = table_.header().max_value_bytes;
  if (stream.value_bytes > (inner.op == Op::kCompareExchange ? sizeof(Comparison) + 2 * most : most)) {
    stream.refused = StatusCode::kTooLarge;
  } else if (!hold_entry() && ((inner.op != Op::kErase && inner.op != Op::kGet) || !stream.hold_bytes())) {
    // (A get or an erase must be served however full the table is: at most a key and a cursor in the server's own memory.)
    stream.refused = StatusCode::kFull;
  }
  ChannelPosition& position = *channel_.position;
  // [stream.entry] release; pairs with [position.next]
  position.stream_entry.store(stream.entry, std::memory_order_release);
  // [stream.head] release; pairs with [position.next]
  position.stream_head.store(encode(stream.head()), std::memory_order_release);
  channel_.memos.set_received(0, request.next_position);
  finish(request, StatusCode::kOk, Effect::kNone);
  return true;
}

// A block of the arena for the pieces to fill; of a put it becomes the entry. False: there is no memory, or too much of it
// is held by streams.
bool Dispatcher::hold_entry() noexcept {
  ServerChannel::Stream& stream = channel_.stream;
  if (!streams_.take(channel_.end->streamed, stream.total())) return false;
  stream.entry = shard_.begin_entry(stream.key_bytes, stream.value_bytes);
  if (stream.entry != 0) {
    stream.charged = stream.total();
    return true;
  }
  streams_.give_back(channel_.end->streamed, stream.total());
  return false;
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
  channel_.memos.set_received(last ? kNoStream : stream.received, request.next_position);
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
  // The inner request, whole, but for where it stands in the ring and whether it is answered.
  Request whole = request;
  whole.op = stream.op;
  whole.key = {bytes, static_cast<std::size_t>(stream.key_bytes)};
  whole.value = {bytes + stream.key_bytes, static_cast<std::size_t>(stream.value_bytes)};
  std::uint32_t shard;
  const HashedKey key = table_.hash(whole.key, shard);
  const bool honest = shard == channel_.lane && (stream.op != Op::kCompareExchange ||
                                                 decode_comparison(whole.value, whole.expected, whole.value));
  if (honest) apply_whole(whole, key);
  drop_stream();
  return honest;
}

// A streamed request that has arrived.
void Dispatcher::apply_whole(const Request& request, const HashedKey& key) {
  ServerChannel::Stream& stream = channel_.stream;
  switch (request.op) {
    case Op::kInsert:
      if (shard_.find(key).found) return finish(request, StatusCode::kAlreadyExists, Effect::kNone);
      [[fallthrough]];
    case Op::kPut: {
      const StatusCode code = shard_.commit_entry(key, stream.entry, stream.value_bytes);
      stream.entry = 0;  // the table's, or released
      if (code == StatusCode::kOk) ++counts_.puts;
      return finish(request, code, code == StatusCode::kOk ? Effect::kSealed : Effect::kNone);
    }
    case Op::kCompareExchange:
      return compare_exchange(request, key);
    case Op::kIncrement:
      return increment(request, key);
    case Op::kErase:
      return erase(request, key);
    default:
      return get(request, key, request.value);
  }
}

void Dispatcher::drop_stream() noexcept {
  ServerChannel::Stream& stream = channel_.stream;
  if (stream.entry != 0) shard_.drop_entry(stream.entry, stream.key_bytes, stream.value_bytes);
  streams_.give_back(channel_.end->streamed, stream.charged);
  stream.op = Op::kPadding;
  stream.entry = 0;
  stream.charged = 0;
  stream.bytes = {};
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
    // [position.answer] release; pairs with [position.next]
    position.answer_next.store(channel_.answers.head(), std::memory_order_release);
  } else if (code != StatusCode::kOk && code != StatusCode::kNotFound) {
    channel_.memos.set_refused(one_more_refused(channel_.memos.refused(), code), request.next_position);
  }
  // A flush only repeats what was refused before.
  if ((code == StatusCode::kFull || code == StatusCode::kTooLarge) && request.op != Op::kFlush) ++counts_.refused;
  // [position.next] release; pairs with [memo.position]: whoever restarts finds all that was stored before it
  position.request_next.store(request.next_position, std::memory_order_release);
  if (effect == Effect::kSealed || request.wants_answer) shard_.intent().end();
  if (effect == Effect::kSealed) shard_.upkeep();
}

}  // namespace hostmap
