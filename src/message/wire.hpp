// The messages in the rings: fixed little-endian forms, one 8-byte header behind each record's tag.
//
//   request   | tag | {op:8 | flags:8 | key_bytes - 1:16 | value_bytes:32} | key, value, padded to 16 |
//   answer    | tag | {code:8 | is_answer:8 | request:16 | value_bytes:32}  | value, padded to 16      |
//
// A put of an 8-byte key with an 8-byte value takes 32 bytes, two to a line; an answer without value 16.
//
//   op                key    value                        answer's value
//   put, insert       yes    yes; with kHasEnd, behind    none
//                            it 8 bytes: the end
//   erase             yes    none                         none
//   compare_exchange  yes    Comparison, expected value,  none
//                            new value
//   increment         yes    8 bytes: what is added       8 bytes: the new number
//   put_if            yes    token (16 bytes), new value  none
//   erase_if          yes    token (16 bytes)             none
//   append            yes    the bytes to append          8 bytes: the new size
//   replace           yes    yes                          none
//   add               yes    Addition; with kHasEnd,      8 bytes: the new number
//                            behind it 8 bytes: when a
//                            new key ends
//   get               yes    none, or a PieceCursor       PieceHead and a piece of the value
//   clear             none   none                         none; lane 0 alone
//   expire            yes    8 bytes: the end             none
//   watch, unwatch    none   8 bytes: a group of the      none
//                            lane's keys
//   lease             none   LeaseRequest                 LeaseAnswer
//   release           none   LeaseRelease                 none
//   flush             none   none                         FlushReport
//   stream            sizes  8 bytes: the inner op,       none; what follows in `piece` records is the inner request's
//                            8 bytes: the end             key and value, without an end
//   piece             none   the next bytes               none until the last piece; then that of the inner request
//                            none: the inner request is   none
//                            withdrawn
//
// An end is kNoEnd, kKeepEnd, kNeverEnds, or a moment (base/ends.hpp).
// Requests with kWantsAnswer are answered, those with kWantsRefusal only if their code is not kOk; all in the order of the
// requests. That a request of the second kind was applied shows when the server has consumed it.
#pragma once

#include <cstddef>
#include <cstdint>

#include "base/platform.hpp"
#include "layout/connection.hpp"
#include "message/operations.hpp"

namespace hostmap {

inline constexpr std::uint8_t kWantsAnswer = 1;
inline constexpr std::uint8_t kWantsRefusal = 2;  // beside kWantsAnswer it adds nothing
inline constexpr std::uint8_t kRequestFlags = kWantsAnswer | kWantsRefusal;
inline constexpr std::uint8_t kHasEnd = 4;  // of some operations
inline constexpr std::uint64_t kEndBytes = 8;
inline constexpr std::uint32_t kLaneOfClear = 0;

struct RequestHead {
  Op op = Op::kPadding;
  std::uint8_t flags = 0;
  std::uint64_t key_bytes = 0;  // of ops with a key: 1 to 65,536
  std::uint64_t value_bytes = 0;
};

struct AnswerHead {
  std::uint8_t code = 0;  // StatusCode
  std::uint16_t request = 0;
  std::uint64_t value_bytes = 0;
};

// The largest answer that carries no value: a code alone, a number, a flush report or a lease.
inline constexpr std::uint64_t kSmallAnswerBytes = record_bytes(sizeof(LeaseAnswer));
static_assert(kSmallAnswerBytes == record_bytes(sizeof(FlushReport)));

inline constexpr bool has_key(Op op) noexcept { return facts_of(op).has_key; }

inline constexpr std::uint64_t encode(const RequestHead& head) noexcept {
  const std::uint64_t key = has_key(head.op) ? head.key_bytes - 1 : 0;
  return static_cast<std::uint64_t>(head.op) | std::uint64_t{head.flags} << 8 | key << 16 | head.value_bytes << 32;
}
inline constexpr RequestHead decode_request_head(std::uint64_t word) noexcept {
  const Op op = static_cast<Op>(word & 0xff);
  return {op, static_cast<std::uint8_t>(word >> 8), has_key(op) ? (word >> 16 & 0xffff) + 1 : 0, word >> 32};
}

// Always 1, so that no answer's header is the 0 of padding.
inline constexpr std::uint64_t kIsAnswer = std::uint64_t{1} << 8;
inline constexpr std::uint64_t encode(const AnswerHead& head) noexcept {
  return head.code | kIsAnswer | std::uint64_t{head.request} << 16 | head.value_bytes << 32;
}
inline constexpr AnswerHead decode_answer_head(std::uint64_t word) noexcept {
  return {static_cast<std::uint8_t>(word), static_cast<std::uint16_t>(word >> 16), word >> 32};
}
// What an answer says of the position of its request: enough to notice an answer to another one.
inline constexpr std::uint16_t request_mark(std::uint64_t position) noexcept {
  return static_cast<std::uint16_t>(position / kRecordUnit);
}

// A stream's head carries the sizes of the inner request, but only so many bytes of payload.
inline constexpr std::uint64_t kStreamPayloadBytes = 16;
inline constexpr std::uint64_t request_payload_bytes(const RequestHead& head) noexcept {
  return head.op == Op::kStream ? kStreamPayloadBytes : head.key_bytes + head.value_bytes;
}

}  // namespace hostmap
