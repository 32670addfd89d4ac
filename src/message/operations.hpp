// The table of operations: all that is known of a request before its content is read. Encoding, validation, streams, the
// worker and the client take it from here, so that a new operation is a row here and a function in server/run/dispatch.cpp.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>

namespace hostmap {

// The numbers are those of the protocol; docs describe each in the table of requests.
enum class Op : std::uint8_t {
  kPadding = 0,  // never sent: the ring's own
  kPut = 1,
  kErase = 2,
  kGet = 3,
  kFlush = 4,
  kStream = 5,
  kPiece = 6,
  kInsert = 7,
  kCompareExchange = 8,
  kIncrement = 9,
  kClear = 10,
  kPutIf = 11,
  kEraseIf = 12,
  kAppend = 13,
  kReplace = 14,
  kAdd = 15,
  kExpire = 16,
  kWatch = 17,
  kUnwatch = 18,
  kLease = 19,
  kRelease = 20,
};

// Which part of a value a get requests. The first get has none and is answered with the value's beginning; later ones
// name the entry they began with, and are answered with kMismatch when the key has another one by now: start over.
struct PieceCursor {
  std::uint64_t offset;
  std::uint64_t entry;       // as PieceHead said
  std::uint64_t generation;  // likewise
};
static_assert(sizeof(PieceCursor) == 24);

struct PieceHead {
  std::uint64_t total_bytes;
  std::uint64_t entry;  // 0: a pair
  std::uint64_t generation;
  std::uint64_t end;  // of the key: kNoEnd, or a moment
};
static_assert(sizeof(PieceHead) == 32);

// Precedes the two values of a compare_exchange; what the record has beyond the expected value is the new one.
struct Comparison {
  std::uint64_t expected_bytes;
};
static_assert(sizeof(Comparison) == 8);

// Precedes the value of a put_if and is all of an erase_if: the token of the value that the key must have (base/token.hpp).
inline constexpr std::uint64_t kTokenBytes = 16;

// How a number is stored under its key.
enum class NumberForm : std::uint64_t {
  kDecimalInteger = 0,  // decimal text, 64 bits with a sign
  kDecimalDouble = 1,   // decimal text that gives the same double when it is read
  kInteger = 2,         // 8 bytes, with a sign
  kDouble = 3,          // 8 bytes
};

// What an add carries. Both numbers are 64 bits of the form's kind: an integer or a double.
struct Addition {
  NumberForm form;
  std::uint64_t by;
  std::uint64_t initial;  // what an absent key counts as
};
static_assert(sizeof(Addition) == 24);

// What a lease carries. The key is named by its hash.
struct LeaseRequest {
  std::uint64_t hash;
  std::uint64_t end;      // a moment
  std::uint64_t awaited;  // the number of the lease that the client has waited for; 0: none
};
// An answer has 56 bits for it: 2283 years.
inline constexpr std::uint64_t kLatestEndOfLease = (std::uint64_t{1} << 56) - 1;
static_assert(sizeof(LeaseRequest) == 24);

// What a release carries.
struct LeaseRelease {
  std::uint64_t hash;
  std::uint64_t number;
  std::uint64_t failure;  // a StatusCode: kOk, or what the clients that wait for this lease are to learn
};
static_assert(sizeof(LeaseRelease) == sizeof(LeaseRequest));

enum class LeaseState : std::uint8_t {
  kNone = 0,  // in no answer: the client has as many leases as it may have
  kGranted = 1,
  kHeld = 2,    // by another one, or by this client
  kFailed = 3,  // the lease that the client has waited for was released with a failure
};

struct LeaseAnswer {
  std::uint64_t number;         // of the lease that was granted, is held, or has failed
  std::uint64_t end_and_state;  // {end, or of a failed one the StatusCode:56 | LeaseState:8}
  LeaseState state() const noexcept { return static_cast<LeaseState>(end_and_state & 0xff); }
  std::uint64_t end() const noexcept { return end_and_state >> 8; }
};
static_assert(sizeof(LeaseAnswer) == 16);

struct FlushReport {
  std::uint64_t refused;  // how many; the answer's code is the first one's
};
static_assert(sizeof(FlushReport) == 8);

// What a request carries beside its key.
enum class Payload : std::uint8_t {
  kNone,
  kValue,     // any number of bytes
  kNumber,    // 8 bytes
  kAddition,  // an Addition
  kLease,     // a LeaseRequest or a LeaseRelease
  kCursor,    // nothing, or a PieceCursor
  kPiece,     // a part of another request; nothing: that request is withdrawn
  kInnerOp,   // a stream's head: the sizes are those of the inner request
  // From here on the codec divides it into what the key is expected to have, and the new value.
  kComparison,     // a Comparison, the expected value, the new value
  kToken,          // kTokenBytes
  kTokenAndValue,  // kTokenBytes, the new value
};
inline constexpr bool has_expectation(Payload payload) noexcept { return payload >= Payload::kComparison; }

// What an answer of status kOk carries.
enum class AnswerForm : std::uint8_t {
  kNone,
  kNumber,  // 8 bytes
  kReport,  // a FlushReport
  kLease,   // a LeaseAnswer
  kPiece,   // a PieceHead and as much of the value as fits into a record
  kInner,   // that of the inner request
};

struct OpFacts {
  std::string_view name;  // empty: there is no such operation
  bool has_key = false;   // 1 to 65,536 bytes
  Payload payload = Payload::kNone;
  AnswerForm answer = AnswerForm::kNone;
  bool mutates = false;     // a refusal without an answer is reported by the next flush
  bool streams = false;     // may arrive in pieces
  std::uint8_t values = 0;  // how many values it carries that may become, or replace, one of the table's
  bool ends = false;        // may say when the key ends; add, when a new one does
};

inline constexpr std::array<OpFacts, 21> kOperations{{
    {},  // kPadding
    {"put", true, Payload::kValue, AnswerForm::kNone, true, true, 1, true},
    {"erase", true, Payload::kNone, AnswerForm::kNone, true, true, 0},
    {"get", true, Payload::kCursor, AnswerForm::kPiece, false, true, 0},
    {"flush", false, Payload::kNone, AnswerForm::kReport, false, false, 0},
    {"stream", true, Payload::kInnerOp, AnswerForm::kNone, false, false, 0},
    {"piece", false, Payload::kPiece, AnswerForm::kInner, true, false, 0},
    {"insert", true, Payload::kValue, AnswerForm::kNone, true, true, 1, true},
    {"compare_exchange", true, Payload::kComparison, AnswerForm::kNone, true, true, 2},
    {"increment", true, Payload::kNumber, AnswerForm::kNumber, true, true, 1},
    {"clear", false, Payload::kNone, AnswerForm::kNone, true, false, 0},
    {"put_if", true, Payload::kTokenAndValue, AnswerForm::kNone, true, true, 1},
    {"erase_if", true, Payload::kToken, AnswerForm::kNone, true, true, 0},
    {"append", true, Payload::kValue, AnswerForm::kNumber, true, true, 1},
    {"replace", true, Payload::kValue, AnswerForm::kNone, true, true, 1, true},
    {"add", true, Payload::kAddition, AnswerForm::kNumber, true, true, 1, true},
    {"expire", true, Payload::kNumber, AnswerForm::kNone, true, true, 0},
    {"watch", false, Payload::kNumber, AnswerForm::kNone, false, false, 0},
    {"unwatch", false, Payload::kNumber, AnswerForm::kNone, false, false, 0},
    {"lease", false, Payload::kLease, AnswerForm::kLease, false, false, 0},
    {"release", false, Payload::kLease, AnswerForm::kNone, false, false, 0},
}};

// Of any byte: of those that are not operations, facts without a name.
inline constexpr const OpFacts& facts_of(Op op) noexcept {
  const auto index = static_cast<std::size_t>(op);
  return kOperations[index < kOperations.size() ? index : 0];
}

// May a request of this operation carry so many bytes beside its key?
inline constexpr bool payload_fits(const OpFacts& facts, std::uint64_t bytes) noexcept {
  if (facts.name.empty()) return false;
  switch (facts.payload) {
    case Payload::kValue:
    case Payload::kInnerOp:
    case Payload::kPiece:
      return true;
    case Payload::kNone:
      return bytes == 0;
    case Payload::kNumber:
      return bytes == 8;
    case Payload::kAddition:
      return bytes == sizeof(Addition);
    case Payload::kLease:
      return bytes == sizeof(LeaseRequest);
    case Payload::kCursor:
      return bytes == 0 || bytes == sizeof(PieceCursor);
    case Payload::kComparison:
      return bytes >= sizeof(Comparison);
    case Payload::kToken:
      return bytes == kTokenBytes;
    case Payload::kTokenAndValue:
      return bytes >= kTokenBytes;
  }
  return false;
}

// The most bytes beside its key that a request may carry where values have at most `most` (8 or more; 0: what it carries beside
// its values).
inline constexpr std::uint64_t most_payload(const OpFacts& facts, std::uint64_t most) noexcept {
  switch (facts.payload) {
    case Payload::kComparison:
      return sizeof(Comparison) + 2 * most;
    case Payload::kTokenAndValue:
      return kTokenBytes + most;
    case Payload::kToken:
      return kTokenBytes;
    case Payload::kCursor:
      return sizeof(PieceCursor);
    case Payload::kAddition:
      return sizeof(Addition);
    default:
      return most;
  }
}

}  // namespace hostmap
