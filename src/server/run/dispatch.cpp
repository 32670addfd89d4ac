#include "server/run/dispatch.hpp"

#include <algorithm>
#include <bit>
#include <charconv>
#include <cmath>
#include <cstring>
#include <type_traits>
#include <utility>

#include "base/same_bytes.hpp"
#include "base/shared_copy.hpp"
#include "base/token.hpp"
#include "layout/connection.hpp"
#include "layout/journal.hpp"

namespace hostmap {

namespace {

template <typename T>
std::span<const std::byte> bytes_of(const T& value) noexcept {
  return {reinterpret_cast<const std::byte*>(&value), sizeof value};
}

// The form of a number: an optional minus and decimal digits, without a leading zero; exactly what printing it yields.
constexpr std::size_t kLongestNumber = 20;  // -9223372036854775808

// Of a request in pieces that is held in the file of the journal: a third of a millisecond, most of it for new pages.
constexpr std::uint64_t kFetchedAtOnce = 512 * 1024;

// Of a double: the shortest text that gives the same double when it is read.
struct Decimal {
  template <typename Number>
  explicit Decimal(Number number) noexcept
      : size(static_cast<std::size_t>(std::to_chars(text, text + sizeof text, number).ptr - text)) {}
  std::span<const std::byte> bytes() const noexcept { return {reinterpret_cast<const std::byte*>(text), size}; }
  char text[24];  // the longest: -1.7976931348623157e+308
  std::size_t size;
};

bool parse_decimal(std::span<const std::byte> bytes, std::int64_t& number) noexcept {
  if (bytes.empty() || bytes.size() > kLongestNumber) return false;
  const char* begin = reinterpret_cast<const char*>(bytes.data());
  const auto [end, error] = std::from_chars(begin, begin + bytes.size(), number);
  if (error != std::errc() || end != begin + bytes.size()) return false;
  return same_bytes(Decimal(number).bytes(), bytes);
}

StatusCode parse_integer(std::span<const std::byte> bytes, std::int64_t& number) noexcept {
  return parse_decimal(bytes, number) ? StatusCode::kOk : StatusCode::kNotANumber;
}

// Any decimal text of a finite double, with or without fraction and exponent. (Printing it need not yield the same text.)
StatusCode parse_double(std::span<const std::byte> bytes, double& number) noexcept {
  constexpr std::size_t kLongestText = 128;
  if (bytes.empty() || bytes.size() > kLongestText) return StatusCode::kNotANumber;
  const char* begin = reinterpret_cast<const char*>(bytes.data());
  const auto [end, error] = std::from_chars(begin, begin + bytes.size(), number);
  const bool is_text = error == std::errc() && end == begin + bytes.size();
  return is_text && std::isfinite(number) ? StatusCode::kOk : StatusCode::kNotANumber;
}

template <typename Number>
StatusCode load_number(std::span<const std::byte> bytes, Number& number) noexcept {
  if (bytes.size() != sizeof number) return StatusCode::kMismatch;
  std::memcpy(&number, bytes.data(), sizeof number);
  return StatusCode::kOk;
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
  if (request.is_answered(code)) {
    answer_next += channel_.answers.needed(record_bytes(answer_bytes));
    const AnswerHead head{static_cast<std::uint8_t>(code), request_mark(request.position), answer_bytes};
    shard_.intent().begin_answer(encode(head), answer_payload);
  }
  shard_.intent().begin(request.next_position, answer_next);
}

Applied Dispatcher::apply(const Request& request, const HashedKey& key) {
  // No other request may come between the pieces.
  if (channel_.stream.op != Op::kPadding && request.op != Op::kPiece) return Applied::kMalformed;
  shard_.begin_request();
  begin(request, StatusCode::kOk, 0);
  if (request.op == Op::kPut) [[likely]]
    return put(request, key);
  switch (request.op) {
    case Op::kPut:
    case Op::kInsert:
    case Op::kCompareExchange:
    case Op::kIncrement:
    case Op::kErase:
    case Op::kGet:
    case Op::kPutIf:
    case Op::kEraseIf:
    case Op::kAppend:
    case Op::kReplace:
    case Op::kAdd:
    case Op::kExpire:
      return apply_keyed(request, key);
    case Op::kClear:
      if (channel_.lane != kLaneOfClear) return Applied::kMalformed;
      clear(request);
      return Applied::kDone;
    case Op::kFlush: {
      // Reports the failures since the last flush. They are forgotten only when the answer counts.
      const std::uint64_t refused = channel_.memos.refused();
      if (refused != 0) channel_.memos.set_refused(0, request.next_position);
      finish(request, refused_code(refused), Effect::kNone, bytes_of(FlushReport{refused_count(refused)}));
      return Applied::kDone;
    }
    case Op::kWatch:
    case Op::kUnwatch:
      return watch(request);
    case Op::kLease:
      return lease(request);
    case Op::kRelease:
      return release(request);
    case Op::kStream:
      return begin_stream(request);
    case Op::kPiece:
      return take_piece(request);
    case Op::kPadding:
      break;
  }
  return Applied::kMalformed;
}

// A request with a key, received in one record or in pieces.
[[gnu::noinline]] Applied Dispatcher::apply_keyed(const Request& request, const HashedKey& key) {
  const Applied outcome = apply_to_value(request, key);
  if (outcome == Applied::kDone && channel_.long_work.is_begun()) [[unlikely]]
    drop_long_work();
  return outcome;
}

Applied Dispatcher::apply_to_value(const Request& request, const HashedKey& key) {
  switch (request.op) {
    case Op::kPut:
      return store(request, key);
    case Op::kInsert:
      if (shard_.find(key).found) return refuse(request, StatusCode::kAlreadyExists);
      return store(request, key);
    case Op::kReplace:
      if (!shard_.find(key).found) return refuse(request, StatusCode::kNotFound);
      return store(request, key);
    case Op::kAppend:
      return append(request, key);
    case Op::kAdd:
      return add(request, key);
    case Op::kCompareExchange:
      return compare_exchange(request, key);
    case Op::kIncrement:
      return increment(request, key);
    case Op::kExpire:
      return expire(request, key);
    case Op::kErase:
      erase(request, key);
      return Applied::kDone;
    case Op::kGet:
      get(request, key, request.value);
      return Applied::kDone;
    case Op::kPutIf:
    case Op::kEraseIf:
      return change_if(request, key);
    default:
      return Applied::kMalformed;
  }
}

// Stores the request's value, which the pieces of a stream have already written to its final place.
Applied Dispatcher::store(const Request& request, const HashedKey& key) {
  ServerChannel::Stream& stream = channel_.stream;
  if (stream.entry == 0) return is_long(request) ? put_long(request, key, shard_.find(key)) : put(request, key);
  Effort& effort = channel_.effort_for(request.position);
  const StatusCode code = shard_.commit_entry(key, stream.entry, stream.end, effort);
  if (effort.unfinished) return Applied::kNotYet;
  if (code == StatusCode::kOk) {
    stream.entry = 0;  // the table owns it
    ++counts_.puts;
  }
  finish(request, code, code == StatusCode::kOk ? Effect::kSealed : Effect::kNone);
  return Applied::kDone;
}

Applied Dispatcher::put(const Request& request, const HashedKey& key) {
  if (request.value.size() > table_.header().max_value_bytes) return refuse(request, StatusCode::kTooLarge);
  StatusCode code = shard_.try_put(key, request.value, request.end_or_none());
  if (code != StatusCode::kOk) [[unlikely]] {
    if (make_room_and_put(request, key, request.value, request.end_or_none(), code)) return Applied::kNotYet;
    if (code != StatusCode::kOk) return refuse(request, code);
  }
  ++counts_.puts;
  if (request.is_answered(StatusCode::kOk)) confirm(request);
  finish_change(request);
  return Applied::kDone;
}

// Makes room for a put that found none. True: the request is to be retried.
bool Dispatcher::make_room_and_put(const Request& request, const HashedKey& key, std::span<const std::byte> value,
                                   std::uint64_t end, StatusCode& code) {
  Effort& effort = channel_.effort_for(request.position);
  code = shard_.make_room_and_put(key, value, end, effort);
  return effort.unfinished;
}

// The end is named by the request's value.
Applied Dispatcher::expire(const Request& request, const HashedKey& key) {
  std::uint64_t end;
  std::memcpy(&end, request.value.data(), sizeof end);
  if (end == kNoEnd || end == kKeepEnd) return Applied::kMalformed;
  const ShardWriter::Found found = shard_.find(key);
  if (!found.found) return refuse(request, StatusCode::kNotFound);
  if (end == kNeverEnds && found.end == kNoEnd) return refuse(request, StatusCode::kOk);
  StatusCode code = shard_.try_expire(key, end);
  if (code == StatusCode::kFull) {
    Effort& effort = channel_.effort_for(request.position);
    code = shard_.make_room_and_expire(key, end, effort);
    if (effort.unfinished) return Applied::kNotYet;
  }
  if (code != StatusCode::kOk) return refuse(request, code);
  finish(request, code, Effect::kSealed);
  return Applied::kDone;
}

Applied Dispatcher::compare_exchange(const Request& request, const HashedKey& key) {
  const ShardWriter::Found found = shard_.find(key);
  if (!found.found) return refuse(request, StatusCode::kNotFound);
  const std::span<const std::byte> value = found.bytes();
  if (value.size() != request.expected.size()) return refuse(request, StatusCode::kMismatch);
  if (value.size() <= shard_.step_bytes()) {
    if (!same_bytes(value, request.expected)) return refuse(request, StatusCode::kMismatch);
  } else if (LongWork& work = long_work(request, found); work.examined < value.size()) {
    const std::span<const std::byte> part = work.rest(value, shard_.step_bytes());
    if (!same_bytes(part, request.expected.subspan(work.examined, part.size()))) {
      return refuse(request, StatusCode::kMismatch);
    }
    work.examined += part.size();
    channel_.debt += part.size();
    return Applied::kNotYet;
  }
  return put_and_keep_end(request, key, found);
}

Applied Dispatcher::put_and_keep_end(Request request, const HashedKey& key, const ShardWriter::Found& old) {
  request.flags |= kHasEnd;
  request.end = kKeepEnd;
  return is_long(request) ? put_long(request, key, old) : put(request, key);
}

// `old`: what find() returns for the key now.
Applied Dispatcher::put_long(const Request& request, const HashedKey& key, const ShardWriter::Found& old) {
  if (request.value.size() > table_.header().max_value_bytes) return refuse(request, StatusCode::kTooLarge);
  StatusCode code = StatusCode::kFull;
  if (put_in_steps(request, key, old, {}, request.end_or_none(), code) != Applied::kDone) return Applied::kNotYet;
  if (code != StatusCode::kOk) return refuse(request, code);
  ++counts_.puts;
  finish(request, code, Effect::kSealed);
  return Applied::kDone;
}

// The work that was begun for this request, if its key still has the same value; else it begins now.
LongWork& Dispatcher::long_work(const Request& request, const ShardWriter::Found& old) noexcept {
  LongWork& work = channel_.long_work;
  LongWork::Subject subject{.request = request.position,
                            .op = request.op,
                            .key_bytes = request.key.size(),
                            .value_bytes = request.value.size(),
                            .old_bytes = old.bytes_or_none().size()};
  // A shorter value is compared, hashed or copied anew at the last step. Its page's generation does not name it: that rises with each
  // block of the page.
  if (subject.old_bytes > shard_.step_bytes()) {
    subject.entry = old.entry;
    subject.generation = old.generation;
  }
  if (work.subject == subject) return work;
  drop_long_work();
  work.subject = subject;
  return work;
}

void Dispatcher::drop_long_work(ServerChannel& channel, ShardWriter& shard, StreamQuota& streams) noexcept {
  drop_block(channel, shard, streams);
  channel.long_work = {};
}

void Dispatcher::drop_block(ServerChannel& channel, ShardWriter& shard, StreamQuota& streams) noexcept {
  LongWork& work = channel.long_work;
  if (work.block != 0) shard.drop_entry(work.block);
  streams.release(channel.end->streamed, work.charged);
  work.block = work.charged = work.copied = 0;
  if (channel.lone_work->owner == &channel) channel.lone_work->owner = nullptr;
}

void Dispatcher::drop_lone_work_if_withdrawn(LoneWork& lone, ShardWriter& shard, StreamQuota& streams) noexcept {
  ServerChannel* const owner = lone.owner;
  if (owner == nullptr) return;
  if (owner->requests.poll() && owner->requests.position() == owner->long_work.subject.request) return;
  drop_long_work(*owner, shard, streams);
}

// May this channel's request have what one request of the lane can have at a time?
bool Dispatcher::may_work_alone() noexcept {
  drop_lone_work_if_withdrawn(*channel_.lone_work, shard_, streams_);
  return channel_.lone_work->owner == nullptr;
}

// Takes a block for the new value. False: there is no memory, or not yet.
bool Dispatcher::hold_block(const HashedKey& key, LongWork& work, std::uint64_t value_bytes, std::uint64_t end,
                            Effort& effort) {
  const bool fits = streams_.take_beside(channel_.end->streamed, value_bytes, table_.memory_limit());
  effort.unfinished = !fits && !may_work_alone();
  if (effort.unfinished) return false;
  work.block = shard_.begin_entry(key.bytes.size(), value_bytes, end, effort, &key);
  if (fits && work.block != 0) {
    work.charged = value_bytes;
    return true;
  }
  if (fits) streams_.release(channel_.end->streamed, value_bytes);
  if (work.block == 0 && !effort.unfinished) {
    effort.unfinished = !may_work_alone();
    if (!effort.unfinished) work.block = shard_.begin_replacement(key, value_bytes, end, effort);
  }
  if (work.block != 0) channel_.lone_work->owner = &channel_;
  return work.block != 0;
}

// Gives `key` the value `head` and then the request's value, in steps. kDone: `code` is kOk, and it is committed; or kFull.
Applied Dispatcher::put_in_steps(const Request& request, const HashedKey& key, const ShardWriter::Found& old,
                                 std::span<const std::byte> head, std::uint64_t end, StatusCode& code) {
  LongWork& work = long_work(request, old);
  Effort& effort = channel_.effort_for(request.position);
  const std::span<const std::byte> tail = request.value;
  if (work.block == 0) {
    // To take it may move the old value, or remove it.
    if (hold_block(key, work, head.size() + tail.size(), end, effort) || effort.unfinished) {
      return Applied::kNotYet;
    }
    code = StatusCode::kFull;
    return Applied::kDone;
  }
  std::byte* const to = shard_.entry_payload(work.block) + key.bytes.size();
  const std::uint64_t before = work.copied;
  const auto copy_more = [&](std::span<const std::byte> from, std::uint64_t place) {
    const std::uint64_t done = work.copied - place;
    const std::uint64_t size = std::min(from.size() - done, shard_.step_bytes() - (work.copied - before));
    copy_shared(to + work.copied, from.data() + done, size);
    work.copied += size;
  };
  if (work.copied < head.size()) copy_more(head, 0);
  if (work.copied >= head.size()) copy_more(tail, head.size());
  channel_.debt += work.copied - before;
  if (work.copied < head.size() + tail.size()) return Applied::kNotYet;
  // The key only now, as the client may have replaced the request since the last step. And a head of one step may be another value
  // of the same length.
  copy_shared(shard_.entry_payload(work.block), key.bytes.data(), key.bytes.size());
  if (head.size() <= shard_.step_bytes()) copy_shared(to, head.data(), head.size());
  code = shard_.commit_entry(key, work.block, end, effort);
  if (effort.unfinished) return Applied::kNotYet;
  if (code == StatusCode::kOk) work.block = 0;  // the table owns it
  drop_block(channel_, shard_, streams_);
  return Applied::kDone;
}

// Reads all of the value to compute its token: that counts as bytes served. At once, if the process has no memory for steps.
Applied Dispatcher::change_if(const Request& request, const HashedKey& key) {
  const ShardWriter::Found found = shard_.find(key);
  if (!found.found) return refuse(request, StatusCode::kNotFound);
  if (is_in_debt()) return Applied::kNotYet;
  const std::span<const std::byte> value = found.bytes();
  Token token;
  if (value.size() <= shard_.step_bytes() || !long_work(request, found).has_digest()) {
    channel_.debt += value.size();
    token = token_of(value, found.end);
  } else {
    LongWork& work = channel_.long_work;
    if (work.examined < value.size()) {
      const std::span<const std::byte> part = work.rest(value, shard_.step_bytes());
      work.digest->add(part);
      work.examined += part.size();
      channel_.debt += part.size();
      return Applied::kNotYet;
    }
    token = work.digest->token(found.end);
  }
  Token expected;
  std::memcpy(&expected, request.expected.data(), sizeof expected);
  if (token != expected) return refuse(request, StatusCode::kMismatch);
  if (request.op == Op::kPutIf) return put_and_keep_end(request, key, found);
  erase(request, key);
  return Applied::kDone;
}

Applied Dispatcher::increment(const Request& request, const HashedKey& key) {
  std::int64_t by;
  std::memcpy(&by, request.value.data(), sizeof by);
  std::int64_t number = 0;  // of an absent key
  if (const ShardWriter::Found found = shard_.find(key); found.found && !parse_decimal(found.bytes(), number)) {
    return refuse(request, StatusCode::kNotANumber);
  }
  if (__builtin_add_overflow(number, by, &number)) return refuse(request, StatusCode::kOverflow);
  return put_number(request, key, Decimal(number).bytes(), kKeepEnd, static_cast<std::uint64_t>(number));
}

Applied Dispatcher::put_number(const Request& request, const HashedKey& key, std::span<const std::byte> value,
                               std::uint64_t end, std::uint64_t answer) {
  if (value.size() > table_.header().max_value_bytes) return refuse(request, StatusCode::kTooLarge);
  begin(request, StatusCode::kOk, sizeof answer, answer);
  StatusCode code = shard_.try_put(key, value, end);
  if (code == StatusCode::kFull && make_room_and_put(request, key, value, end, code)) return Applied::kNotYet;
  if (code != StatusCode::kOk) return refuse(request, code);
  ++counts_.puts;
  finish(request, StatusCode::kOk, Effect::kSealed, bytes_of(answer));
  return Applied::kDone;
}

Applied Dispatcher::add(const Request& request, const HashedKey& key) {
  Addition addition;
  std::memcpy(&addition, request.value.data(), sizeof addition);
  const ShardWriter::Found found = shard_.find(key);
  // The end of the request is that of a new key.
  const std::uint64_t end = found.found ? kKeepEnd : request.end_or_none();
  // Reads what is stored, by `parse`; the initial number if the key is absent.
  const auto read_number = [&](auto& number, const auto& parse) {
    number = std::bit_cast<std::remove_reference_t<decltype(number)>>(addition.initial);
    return found.found ? parse(found.bytes(), number) : StatusCode::kOk;
  };
  switch (addition.form) {
    case NumberForm::kDecimalInteger:
    case NumberForm::kInteger: {
      const bool is_text = addition.form == NumberForm::kDecimalInteger;
      std::int64_t number;
      const StatusCode code = read_number(number, is_text ? parse_integer : load_number<std::int64_t>);
      if (code != StatusCode::kOk) return refuse(request, code);
      if (__builtin_add_overflow(number, std::bit_cast<std::int64_t>(addition.by), &number)) {
        return refuse(request, StatusCode::kOverflow);
      }
      const auto bits = std::bit_cast<std::uint64_t>(number);
      return put_number(request, key, is_text ? Decimal(number).bytes() : bytes_of(bits), end, bits);
    }
    case NumberForm::kDecimalDouble:
    case NumberForm::kDouble: {
      const bool is_text = addition.form == NumberForm::kDecimalDouble;
      double number;
      const StatusCode code = read_number(number, is_text ? parse_double : load_number<double>);
      if (code != StatusCode::kOk) return refuse(request, code);
      number += std::bit_cast<double>(addition.by);
      if (!std::isfinite(number)) return refuse(request, StatusCode::kOverflow);
      const auto bits = std::bit_cast<std::uint64_t>(number);
      return put_number(request, key, is_text ? Decimal(number).bytes() : bytes_of(bits), end, bits);
    }
  }
  return Applied::kMalformed;
}

// Copies all of the old value: that counts as bytes served.
Applied Dispatcher::append(const Request& request, const HashedKey& key) {
  const ShardWriter::Found old = shard_.find(key);
  const std::uint64_t old_bytes = old.bytes_or_none().size();
  const std::uint64_t size = old_bytes + request.value.size();
  if (size > table_.header().max_value_bytes) return refuse(request, StatusCode::kTooLarge);
  if (is_in_debt()) return Applied::kNotYet;
  begin(request, StatusCode::kOk, sizeof size, size);
  StatusCode code = StatusCode::kFull;
  if (size > shard_.step_bytes()) {
    if (put_in_steps(request, key, old, old.bytes_or_none(), old.end, code) != Applied::kDone) return Applied::kNotYet;
  } else {
    channel_.debt += old_bytes;
    code = shard_.try_append(key, request.value);
    if (code == StatusCode::kFull) {
      Effort& effort = channel_.effort_for(request.position);
      code = shard_.make_room_and_append(key, request.value, effort);
      if (effort.unfinished) return Applied::kNotYet;
    }
  }
  if (code != StatusCode::kOk) return refuse(request, code);
  ++counts_.puts;
  finish(request, StatusCode::kOk, Effect::kSealed, bytes_of(size));
  return Applied::kDone;
}

// The group is named by the request's value. Kept in this process's memory: a client notices that another server serves.
Applied Dispatcher::watch(const Request& request) {
  std::uint64_t group;
  std::memcpy(&group, request.value.data(), sizeof group);
  if (group >= kWaitGroups) return Applied::kMalformed;
  ServerChannel::Watches& watches = channel_.watches;
  const auto known = static_cast<std::uint16_t>(group);
  if (request.op == Op::kUnwatch) {
    if (watches.remove(known)) shard_.end_watch(known);
  } else if (!watches.contains(known)) {
    if (!watches.add(known)) return refuse(request, StatusCode::kFull);
    shard_.begin_watch(known);
  }
  finish(request, StatusCode::kOk, Effect::kNone);
  return Applied::kDone;
}

// The hash is that of a key of this lane.
bool Dispatcher::is_of_lane(std::uint64_t hash) const noexcept {
  return spread_over_shards(hash, table_.shard_count()).shard == channel_.lane;
}

Applied Dispatcher::lease(const Request& request) {
  LeaseRequest wanted;
  std::memcpy(&wanted, request.value.data(), sizeof wanted);
  if (!is_of_lane(wanted.hash) || wanted.end > kLatestEndOfLease) return Applied::kMalformed;
  const auto answer = [&](std::uint64_t number, std::uint64_t end, LeaseState state) {
    finish(request, StatusCode::kOk, Effect::kNone,
           bytes_of(LeaseAnswer{number, end << 8 | static_cast<std::uint64_t>(state)}));
    return Applied::kDone;
  };
  Moment now;
  if (const Leases::Lease* held = channel_.leases->find(wanted.hash, now); held != nullptr) {
    if (held->failure == StatusCode::kOk) return answer(held->number, held->end, LeaseState::kHeld);
    if (held->number == wanted.awaited) {
      return answer(held->number, static_cast<std::uint64_t>(held->failure), LeaseState::kFailed);
    }
  }
  const Leases::Lease* granted = channel_.leases->grant(wanted.hash, wanted.end, now, channel_.held_leases);
  if (granted == nullptr) return refuse(request, StatusCode::kFull);
  return answer(granted->number, granted->end, LeaseState::kGranted);
}

Applied Dispatcher::release(const Request& request) {
  LeaseRelease given;
  std::memcpy(&given, request.value.data(), sizeof given);
  if (!is_of_lane(given.hash) || given.failure > static_cast<std::uint64_t>(StatusCode::kInternal)) {
    return Applied::kMalformed;
  }
  Moment now;
  if (!channel_.leases->release(given.hash, given.number, static_cast<StatusCode>(given.failure), now,
                                channel_.held_leases)) {
    return refuse(request, StatusCode::kNotFound);
  }
  shard_.wait_groups().changed(given.hash);
  finish(request, StatusCode::kOk, Effect::kNone);
  return Applied::kDone;
}

void Dispatcher::drop_leases() noexcept {
  channel_.leases->drop(channel_.held_leases, [this](std::uint64_t hash) { shard_.wait_groups().changed(hash); });
}

void Dispatcher::drop_watches() noexcept {
  for (const std::uint16_t group : channel_.watches.all()) {
    shard_.end_watch(group);
    shard_.wait_groups().raise(group);
  }
  channel_.watches = {};
}

Applied Dispatcher::refuse(const Request& request, StatusCode code) {
  finish(request, code, Effect::kNone);
  return Applied::kDone;
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
  ++counts_.hits;
  shard_.touch(key);
  if (found.entry == 0) {
    // A pair is sent whole: a cursor belongs to another value.
    if (!cursor.empty()) return finish(request, StatusCode::kMismatch, Effect::kNone);
    return finish(request, StatusCode::kOk, Effect::kNone, bytes_of(PieceHead{8, 0, 0, kNoEnd}),
                  bytes_of(found.pair_value));
  }
  const PieceHead head{found.value.size(), found.entry, found.generation, found.end};
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

Applied Dispatcher::begin_stream(const Request& request) {
  ServerChannel::Stream& stream = channel_.stream;
  const RequestHead& inner = request.stream;
  stream.op = inner.op;
  stream.key_bytes = inner.key_bytes;
  stream.value_bytes = inner.value_bytes;
  stream.end = request.end;
  stream.received = 0;
  stream.refused = StatusCode::kOk;
  const std::uint64_t end_bytes = stream.end != kNoEnd ? kEndBytes : 0;
  if (record_bytes(stream.total() + end_bytes) <= max_record_bytes(channel_.requests.view().capacity())) {
    stream.op = Op::kPadding;
    return Applied::kMalformed;  // it would have fitted into one record
  }
  const std::uint64_t most = table_.header().max_value_bytes;
  if (stream.value_bytes > most_payload(facts_of(inner.op), most)) {
    stream.refused = StatusCode::kTooLarge;
  } else if (Effort& effort = channel_.effort_for(request.position); !hold_entry(effort)) {
    if (effort.unfinished) {
      stream.op = Op::kPadding;
      return Applied::kNotYet;
    }
    if (!hold_elsewhere()) stream.refused = StatusCode::kFull;
  }
  ChannelPosition& position = *channel_.position;
  // [stream.entry] release; pairs with [position.next]
  position.stream_entry.store(stream.held ? kHeldInJournal : stream.entry, std::memory_order_release);
  record_stream_head();
  channel_.memos.set_received(0, request.next_position);
  finish(request, StatusCode::kOk, Effect::kNone);
  return Applied::kDone;
}

void Dispatcher::record_stream_head() noexcept {
  // [stream.head] release; pairs with [position.next]
  channel_.position->stream_end.store(channel_.stream.end, std::memory_order_release);
  // [stream.head] release; pairs with [position.next]
  channel_.position->stream_head.store(encode(channel_.stream.head()), std::memory_order_release);
}

// A block of the arena for the pieces to fill; for a put it becomes the entry. False: there is no memory yet, or none at all, or
// streams hold too much of it. A request that waits for memory is charged nothing: its client may overwrite it with another one.
bool Dispatcher::hold_entry(Effort& effort) {
  ServerChannel::Stream& stream = channel_.stream;
  effort.unfinished = false;
  if (!streams_.take(channel_.end->streamed, stream.total(), table_.memory_limit())) return false;
  stream.charged = stream.total();
  stream.entry = shard_.begin_entry(stream.key_bytes, stream.value_bytes, stream.end, effort);
  if (stream.entry == 0) streams_.release(channel_.end->streamed, std::exchange(stream.charged, 0));
  return stream.entry != 0;
}

// Holds the pieces outside the arena. A get or an erase must be served however full the table is: it has a key and a cursor
// at most. Of the other operations, those that may still replace their key's value, if the new one is not longer.
bool Dispatcher::hold_elsewhere() {
  ServerChannel::Stream& stream = channel_.stream;
  const std::uint64_t values = facts_of(stream.op).values;
  if (values == 0) {
    stream.held = pieces_.reserve(place(), stream.total());
    return stream.held || stream.hold_bytes(stream.total());
  }
  // What it carries beside its values, such as a token, is not stored in the table.
  const std::uint64_t beside = most_payload(facts_of(stream.op), 0);
  if (stream.total() > beside + values * shard_.most_replaced_bytes()) return false;
  if (!streams_.take(channel_.end->streamed, stream.total(), table_.memory_limit())) return false;
  stream.charged = stream.total();
  stream.held = true;
  return true;
}

Applied Dispatcher::take_piece(const Request& request) {
  ServerChannel::Stream& stream = channel_.stream;
  const std::span<const std::byte> piece = request.value;
  if (stream.op == Op::kPadding || piece.size() > stream.total() - stream.received) return Applied::kMalformed;
  const bool last = stream.received + piece.size() == stream.total();
  if (request.flags != 0 && !last) return Applied::kMalformed;
  if (piece.empty()) {
    channel_.memos.set_received(kNoStream, request.next_position);
    finish(request, StatusCode::kOk, Effect::kNone);
    drop_stream();
    return Applied::kDone;
  }
  if (last) {
    channel_.memos.set_received(kNoStream, request.next_position);
    return finish_stream(request);
  }
  if (stream.refused == StatusCode::kOk && !keep_piece(piece)) {
    stream.refused = StatusCode::kFull;
    record_stream_head();
  }
  if (stream.held) stream.bytes.clear();  // a client may have replaced a last piece that had to wait
  stream.received += piece.size();
  channel_.memos.set_received(stream.received, request.next_position);
  finish(request, StatusCode::kOk, Effect::kNone);
  return Applied::kDone;
}

// Writes a piece after those already received. False: the file system has no memory.
bool Dispatcher::keep_piece(std::span<const std::byte> piece) noexcept {
  const ServerChannel::Stream& stream = channel_.stream;
  if (stream.held) return pieces_.write(place(), stream.received, piece);
  std::byte* to = stream.entry != 0 ? shard_.entry_payload(stream.entry) : channel_.stream.bytes.data();
  copy_shared(to + stream.received, piece.data(), piece.size());
  return true;
}

// Reads the first `size` bytes of a held stream into this process's own memory. False: there is none.
bool Dispatcher::fetch_held(std::uint64_t size, std::span<const std::byte> last_piece) {
  ServerChannel::Stream& stream = channel_.stream;
  const std::uint64_t before = stream.bytes.size();
  if (!stream.hold_bytes(size)) return false;
  const std::uint64_t kept = std::min(size, stream.received);
  const std::span<std::byte> bytes(stream.bytes);
  if (before < kept && !pieces_.read(place(), before, bytes.subspan(before, kept - before))) return false;
  std::ranges::copy(last_piece.first(size - kept), bytes.subspan(kept).begin());
  return true;
}

// Called with the last piece. A request that cannot be applied yet has changed nothing.
Applied Dispatcher::finish_stream(const Request& request) {
  ServerChannel::Stream& stream = channel_.stream;
  const std::span<const std::byte> piece = request.value;
  // The key alone decides whether the value may replace another one: the rest is fetched only then.
  if (stream.refused == StatusCode::kOk) {
    const bool has_key = stream.held && stream.bytes.size() >= stream.key_bytes;  // by an earlier call
    const bool kept = has_key || (stream.held ? fetch_held(stream.key_bytes, piece) : keep_piece(piece));
    if (!kept) stream.refused = StatusCode::kFull;
  }
  if (stream.refused != StatusCode::kOk) return refuse_stream(request, stream.refused);
  std::uint32_t shard;
  const auto key_of = [&] {
    const std::byte* bytes = stream.entry != 0 ? shard_.entry_payload(stream.entry) : stream.bytes.data();
    return std::span(bytes, static_cast<std::size_t>(stream.key_bytes));
  };
  HashedKey key = table_.hash(key_of(), shard);
  if (shard != channel_.lane) return Applied::kMalformed;
  if (stream.held) {
    if (stream.op == Op::kInsert) {
      return refuse_stream(request, shard_.find(key).found ? StatusCode::kAlreadyExists : StatusCode::kFull);
    }
    // In steps: other clients are served in between.
    const std::uint64_t fetched = std::min(stream.bytes.size() + kFetchedAtOnce, stream.total());
    if ((stream.op == Op::kPut && !shard_.may_replace(key, stream.value_bytes, stream.end)) ||
        !stream.reserve_bytes() || !fetch_held(fetched, piece)) {
      return refuse_stream(request, StatusCode::kFull);
    }
    if (fetched < stream.total()) return Applied::kNotYet;
    key.bytes = key_of();
  }
  // The complete inner request; its position in the ring and whether it wants an answer are the piece's.
  Request whole = request;
  whole.op = stream.op;
  whole.end = stream.end;
  if (stream.end != kNoEnd) whole.flags |= kHasEnd;
  whole.key = key.bytes;
  whole.value = {key.bytes.data() + stream.key_bytes, static_cast<std::size_t>(stream.value_bytes)};
  const Payload form = facts_of(stream.op).payload;
  if (has_expectation(form) && !divide_payload(form, whole.value, whole.expected, whole.value)) {
    return Applied::kMalformed;
  }
  const Applied outcome = apply_keyed(whole, key);
  if (outcome == Applied::kDone) drop_stream();
  return outcome;
}

Applied Dispatcher::refuse_stream(const Request& request, StatusCode code) {
  const Applied outcome = refuse(request, code);
  drop_stream();
  return outcome;
}

// Call only when its request counts as done: if killed before that, the next server needs all received pieces.
void Dispatcher::drop_stream() noexcept {
  drop_long_work();
  ServerChannel::Stream& stream = channel_.stream;
  // If the connection ends in mid-stream, no request records that: the next server must not attribute the block to the stream
  // when it belongs to another entry.
  // [stream.entry] release; pairs with [position.next]
  channel_.position->stream_entry.store(0, std::memory_order_release);
  if (stream.entry != 0) shard_.drop_entry(stream.entry);
  if (stream.held) pieces_.forget(place(), stream.total());
  streams_.release(channel_.end->streamed, stream.charged);
  stream.op = Op::kPadding;
  stream.entry = 0;
  stream.held = false;
  stream.charged = 0;
  stream.bytes = {};
}

// A change of the table is sealed already; any other request is sealed here, if it has an answer: a restart must see whether
// the answer was given.
void Dispatcher::finish(const Request& request, StatusCode code, Effect effect, std::span<const std::byte> prefix,
                        std::span<const std::byte> value) {
  const bool answered = request.is_answered(code);
  if (answered) {
    if (effect == Effect::kNone) {
      begin(request, code, prefix.size() + value.size());
      shard_.intent().seal({});
    }
    give_answer(request, code, prefix, value);
  } else if (code != StatusCode::kOk && code != StatusCode::kNotFound) {
    channel_.memos.set_refused(one_more_refused(channel_.memos.refused(), code), request.next_position);
  }
  // A flush only repeats earlier refusals.
  if ((code == StatusCode::kFull || code == StatusCode::kTooLarge) && facts_of(request.op).mutates) {
    ++counts_.refused;
  }
  if (effect == Effect::kSealed) return finish_change(request);
  complete(request);
  if (answered) shard_.intent().end();
}

// Of a change that is sealed, once its answer is given.
void Dispatcher::finish_change(const Request& request) {
  complete(request);
  shard_.intent().end();
  shard_.upkeep(request.key);
}

void Dispatcher::complete(const Request& request) noexcept {
  // [position.next] release; pairs with [memo.position]: the next server finds all that was stored before it
  channel_.position->request_next.store(request.next_position, std::memory_order_release);
}

void Dispatcher::give_answer(const Request& request, StatusCode code, std::span<const std::byte> prefix,
                             std::span<const std::byte> value) noexcept {
  const std::uint64_t size = record_bytes(prefix.size() + value.size());
  encode_answer(channel_.answers.begin(size), static_cast<std::uint8_t>(code), request.position, prefix, value);
  channel_.answers.publish(size);
  channel_.answered = true;
  // [position.answer] release; pairs with [position.next]
  channel_.position->answer_next.store(channel_.answers.head(), std::memory_order_release);
}

// Out of line: serve() is shorter without it, and most puts have no answer.
[[gnu::noinline]] void Dispatcher::confirm(const Request& request) noexcept {
  give_answer(request, StatusCode::kOk, {}, {});
}

}  // namespace hostmap
