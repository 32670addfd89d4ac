// Codec: the only place where a peer's bytes become values.
//
// The server copies a record out of the ring once and validates the copy; the ring's bytes may change meanwhile, but
// nothing is read twice. Invalid data is the peer's fault, and its connection is closed.
// Any thread; no state.
#pragma once

#include <algorithm>
#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>

#include <hostmap/status.hpp>

#include "base/ends.hpp"
#include "layout/connection.hpp"
#include "message/wire.hpp"

namespace hostmap {

// A request as the server sees it: spans into the server's own copy.
struct Request {
  Op op = Op::kPadding;
  std::uint8_t flags = 0;
  std::span<const std::byte> key;
  std::span<const std::byte> value;     // of compare_exchange and put_if: the new one
  std::span<const std::byte> expected;  // of compare_exchange: the value; of put_if and erase_if: its token
  RequestHead stream;                   // of kStream: the inner request's sizes
  std::uint64_t end;                    // with kHasEnd, when the key ends; of kStream always, of the inner request
  std::uint64_t position = 0;           // of its record in the request ring; for the caller to fill in
  std::uint64_t next_position = 0;      // of the record behind it; likewise

  // Is it answered if its outcome is `code`?
  bool is_answered(StatusCode code) const noexcept {
    return (flags & (code == StatusCode::kOk ? kWantsAnswer : kWantsAnswer | kWantsRefusal)) != 0;
  }
  std::uint64_t end_or_none() const noexcept { return (flags & kHasEnd) != 0 ? end : kNoEnd; }
};

// Divides what a request with an expectation carries into that and the new value. Requires payload_fits(). False: the
// sizes contradict each other.
inline bool divide_payload(Payload form, std::span<const std::byte> value, std::span<const std::byte>& expected,
                           std::span<const std::byte>& desired) noexcept {
  if (form != Payload::kComparison) {
    expected = value.first(kTokenBytes);
    desired = value.subspan(kTokenBytes);
    return true;
  }
  Comparison comparison;
  std::memcpy(&comparison, value.data(), sizeof comparison);
  value = value.subspan(sizeof comparison);
  if (comparison.expected_bytes > value.size()) return false;
  expected = value.first(static_cast<std::size_t>(comparison.expected_bytes));
  desired = value.subspan(static_cast<std::size_t>(comparison.expected_bytes));
  return true;
}

enum class DecodeOutcome : std::uint8_t {
  kRequest,
  kNoSpace,    // the copy does not fit into what is left of `space`: come again with more
  kMalformed,  // no honest peer sends this
};

// Copies the record that begins at `record` into `space` and validates the copy. `limit`: no record is longer. On kRequest,
// `record_size` is what the record takes in the ring, and `request` points into `space`, of which the record's payload
// (record_size - kRecordHeadBytes) is used.
inline DecodeOutcome decode_request(const std::byte* record, std::uint64_t limit, std::span<std::byte> space,
                                    Request& request, std::uint64_t& record_size) noexcept {
  std::uint64_t word;
  std::memcpy(&word, record + 8, sizeof word);
  std::atomic_signal_fence(std::memory_order_seq_cst);  // [codec.once] seq_cst; pairs with [codec.once]: no second load
  constexpr std::uint64_t kFlagBits = std::uint64_t{kRequestFlags} << 8;
  constexpr std::uint64_t kPutOfWords = encode(RequestHead{Op::kPut, 0, 8, 8});
  if ((word & ~kFlagBits) == kPutOfWords && limit >= record_bytes(16) && space.size() >= 16) [[likely]] {
    // The most frequent request by far; the way below would come to the same.
    std::memcpy(space.data(), record + kRecordHeadBytes, 16);
    record_size = record_bytes(16);
    request.op = Op::kPut;
    request.flags = static_cast<std::uint8_t>(word >> 8);
    request.key = {space.data(), 8};
    request.value = {space.data() + 8, 8};
    return DecodeOutcome::kRequest;
  }
  const RequestHead head = decode_request_head(word);
  const std::uint64_t payload = request_payload_bytes(head);
  const std::uint64_t size = record_bytes(payload);
  const OpFacts& facts = facts_of(head.op);
  if (size > limit || (head.flags & ~(facts.ends ? kRequestFlags | kHasEnd : kRequestFlags)) != 0) {
    return DecodeOutcome::kMalformed;
  }
  const bool key_bits = (word >> 16 & 0xffff) != 0;
  const std::uint64_t end_bytes = (head.flags & kHasEnd) != 0 ? kEndBytes : 0;
  if (head.value_bytes < end_bytes || !payload_fits(facts, head.value_bytes - end_bytes) ||
      (!facts.has_key && key_bits)) {
    return DecodeOutcome::kMalformed;
  }
  const auto used = static_cast<std::size_t>(size - kRecordHeadBytes);  // payload and padding
  if (used > space.size()) return DecodeOutcome::kNoSpace;
  if (used == 16) {  // a constant size becomes one vector move
    std::memcpy(space.data(), record + kRecordHeadBytes, 16);
  } else {
    std::memcpy(space.data(), record + kRecordHeadBytes, used);
  }
  record_size = size;
  request.op = head.op;
  request.flags = head.flags;
  if (head.op == Op::kStream) {
    std::uint64_t inner;
    std::memcpy(&inner, space.data(), sizeof inner);
    std::memcpy(&request.end, space.data() + sizeof inner, sizeof request.end);
    request.stream = head;
    request.stream.op = static_cast<Op>(inner);
    const OpFacts& inner_facts = facts_of(request.stream.op);
    if (inner > 0xff || !inner_facts.streams || !payload_fits(inner_facts, head.value_bytes) || request.flags != 0 ||
        (request.end != kNoEnd && !inner_facts.ends)) {
      return DecodeOutcome::kMalformed;
    }
    request.key = {};
    request.value = {};
  } else {
    request.key = {space.data(), static_cast<std::size_t>(head.key_bytes)};
    request.value = {space.data() + head.key_bytes, static_cast<std::size_t>(head.value_bytes - end_bytes)};
    if (end_bytes != 0) {
      std::memcpy(&request.end, request.value.data() + request.value.size(), sizeof request.end);
      if (request.end == kNoEnd) return DecodeOutcome::kMalformed;
    }
    if (has_expectation(facts.payload) &&
        !divide_payload(facts.payload, request.value, request.expected, request.value)) {
      return DecodeOutcome::kMalformed;
    }
  }
  return DecodeOutcome::kRequest;
}

namespace codec_detail {

[[gnu::always_inline]] inline void write_record(std::byte* record, std::uint64_t header,
                                                std::span<const std::byte> first,
                                                std::span<const std::byte> second) noexcept {
  std::memcpy(record + 8, &header, sizeof header);
  std::byte* payload = record + kRecordHeadBytes;
  if (first.size() == 8 && second.size() == 8) {  // constant sizes become two moves
    std::memcpy(payload, first.data(), 8);
    std::memcpy(payload + 8, second.data(), 8);
    return;
  }
  if (!first.empty()) std::memcpy(payload, first.data(), first.size());
  if (!second.empty()) std::memcpy(payload + first.size(), second.data(), second.size());
}

}  // namespace codec_detail

// A value as its sender has it: in up to three parts, which travel one behind the other.
class ValueParts {
 public:
  ValueParts() noexcept = default;
  ValueParts(std::span<const std::byte> whole) noexcept : parts_{whole} {}  // NOLINT(google-explicit-constructor)
  ValueParts(std::span<const std::byte> first, std::span<const std::byte> second,
             std::span<const std::byte> third) noexcept
      : parts_{first, second, third} {}

  std::uint64_t size() const noexcept { return parts_[0].size() + parts_[1].size() + parts_[2].size(); }
  bool in_one_part() const noexcept { return parts_[1].empty() && parts_[2].empty(); }
  std::span<const std::byte> first_part() const noexcept { return parts_[0]; }
  // Copies bytes [begin, begin + size) of key and value, one behind the other.
  void copy_behind(std::span<const std::byte> key, std::uint64_t begin, std::uint64_t size,
                   std::byte* to) const noexcept {
    for (const std::span<const std::byte> part : {key, parts_[0], parts_[1], parts_[2]}) {
      if (begin >= part.size()) {
        begin -= part.size();
        continue;
      }
      const std::uint64_t here = std::min<std::uint64_t>(size, part.size() - begin);
      if (here != 0) std::memcpy(to, part.data() + begin, here);
      to += here;
      size -= here;
      begin = 0;
    }
  }

 private:
  std::array<std::span<const std::byte>, 3> parts_{};
};

// Each writes a record of record_bytes(payload) bytes at `record`, all but its tag.

[[gnu::always_inline]] inline void encode_request(std::byte* record, Op op, std::uint8_t flags,
                                                  std::span<const std::byte> key,
                                                  std::span<const std::byte> value) noexcept {
  codec_detail::write_record(record, encode(RequestHead{op, flags, key.size(), value.size()}), key, value);
}

[[gnu::noinline]] inline void encode_request_in_parts(std::byte* record, Op op, std::uint8_t flags,
                                                      std::span<const std::byte> key, const ValueParts& value,
                                                      std::uint64_t end) noexcept {
  std::uint64_t value_bytes = value.size();
  if (end != kNoEnd) {
    flags |= kHasEnd;
    value_bytes += kEndBytes;
    std::memcpy(record + kRecordHeadBytes + key.size() + value.size(), &end, sizeof end);
  }
  codec_detail::write_record(record, encode(RequestHead{op, flags, key.size(), value_bytes}), {}, {});
  value.copy_behind(key, 0, key.size() + value.size(), record + kRecordHeadBytes);
}

[[gnu::always_inline]] inline void encode_request(std::byte* record, Op op, std::uint8_t flags,
                                                  std::span<const std::byte> key, const ValueParts& value,
                                                  std::uint64_t end = kNoEnd) noexcept {
  if (value.in_one_part() && end == kNoEnd) [[likely]]
    return encode_request(record, op, flags, key, value.first_part());
  encode_request_in_parts(record, op, flags, key, value, end);
}

// The head of a stream whose pieces will be `key_bytes` + `value_bytes` long together.
inline void encode_stream(std::byte* record, Op inner, std::uint64_t key_bytes, std::uint64_t value_bytes,
                          std::uint64_t end = kNoEnd) noexcept {
  const std::uint64_t words[] = {static_cast<std::uint64_t>(inner), end};
  static_assert(sizeof words == kStreamPayloadBytes);
  const std::span<const std::byte> payload(reinterpret_cast<const std::byte*>(words), sizeof words);
  codec_detail::write_record(record, encode(RequestHead{Op::kStream, 0, key_bytes, value_bytes}), payload, {});
}

// A piece of a stream: bytes [begin, begin + size) of the inner request's key and value, one behind the other.
inline void encode_piece(std::byte* record, std::uint8_t flags, std::span<const std::byte> key, const ValueParts& value,
                         std::uint64_t begin, std::uint64_t size) noexcept {
  codec_detail::write_record(record, encode(RequestHead{Op::kPiece, flags, 0, size}), {}, {});
  value.copy_behind(key, begin, size, record + kRecordHeadBytes);
}

inline void encode_answer(std::byte* record, std::uint8_t code, std::uint64_t request_position,
                          std::span<const std::byte> prefix, std::span<const std::byte> value) noexcept {
  const AnswerHead head{code, request_mark(request_position), prefix.size() + value.size()};
  codec_detail::write_record(record, encode(head), prefix, value);
}

}  // namespace hostmap
