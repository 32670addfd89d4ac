// The numbers and offsets of hostmap.h are frozen: programs of other languages are compiled with them. A tool that compares
// libraries does not see two numbers that were exchanged.
#include <cstddef>
#include <cstdint>

#include <hostmap/batch.hpp>
#include <hostmap/hostmap.h>
#include <hostmap/status.hpp>

namespace {

using hostmap::Operation;
using hostmap::StatusCode;

constexpr bool is(int number, StatusCode code, int frozen) noexcept {
  return number == static_cast<int>(code) && number == frozen;
}
constexpr bool is(int number, Operation::Kind kind, int frozen) noexcept {
  return number == static_cast<int>(kind) && number == frozen;
}

static_assert(is(HOSTMAP_OK, StatusCode::kOk, 0));
static_assert(is(HOSTMAP_NOT_FOUND, StatusCode::kNotFound, 1));
static_assert(is(HOSTMAP_ALREADY_EXISTS, StatusCode::kAlreadyExists, 2));
static_assert(is(HOSTMAP_MISMATCH, StatusCode::kMismatch, 3));
static_assert(is(HOSTMAP_NOT_A_NUMBER, StatusCode::kNotANumber, 4));
static_assert(is(HOSTMAP_OVERFLOW, StatusCode::kOverflow, 5));
static_assert(is(HOSTMAP_BUFFER_TOO_SMALL, StatusCode::kBufferTooSmall, 6));
static_assert(is(HOSTMAP_TIMEOUT, StatusCode::kTimeout, 7));
static_assert(is(HOSTMAP_NO_SERVER, StatusCode::kNoServer, 8));
static_assert(is(HOSTMAP_FULL, StatusCode::kFull, 9));
static_assert(is(HOSTMAP_TOO_LARGE, StatusCode::kTooLarge, 10));
static_assert(is(HOSTMAP_INVALID, StatusCode::kInvalid, 11));
static_assert(is(HOSTMAP_PERMISSION, StatusCode::kPermission, 12));
static_assert(is(HOSTMAP_OTHER_VERSION, StatusCode::kOtherVersion, 13));
static_assert(is(HOSTMAP_CLOSED, StatusCode::kClosed, 14));
static_assert(is(HOSTMAP_INTERNAL, StatusCode::kInternal, 15));

static_assert(is(HOSTMAP_OP_PUT, Operation::Kind::kPut, 0));
static_assert(is(HOSTMAP_OP_INSERT, Operation::Kind::kInsert, 1));
static_assert(is(HOSTMAP_OP_ERASE, Operation::Kind::kErase, 2));
static_assert(is(HOSTMAP_OP_COMPARE_EXCHANGE, Operation::Kind::kCompareExchange, 3));
static_assert(is(HOSTMAP_OP_INCREMENT, Operation::Kind::kIncrement, 4));
static_assert(is(HOSTMAP_OP_GET, Operation::Kind::kGet, 5));
static_assert(is(HOSTMAP_OP_PUT_IF, Operation::Kind::kPutIf, 6));
static_assert(is(HOSTMAP_OP_ERASE_IF, Operation::Kind::kEraseIf, 7));
static_assert(is(HOSTMAP_OP_APPEND, Operation::Kind::kAppend, 8));
static_assert(is(HOSTMAP_OP_REPLACE, Operation::Kind::kReplace, 9));
static_assert(is(HOSTMAP_OP_EXPIRE, Operation::Kind::kExpire, 10));
static_assert(is(HOSTMAP_OP_INCREMENT_DOUBLE, Operation::Kind::kIncrementFraction, 11));
static_assert(is(HOSTMAP_OP_INCREMENT_STORED, Operation::Kind::kIncrementStored, 12));
static_assert(is(HOSTMAP_OP_INCREMENT_STORED_DOUBLE, Operation::Kind::kIncrementStoredFraction, 13));

static_assert(HOSTMAP_READ_ONLY == 1 && HOSTMAP_WAIT_FOR_SERVER == 2 && HOSTMAP_READS_BY_RING == 4);
static_assert(HOSTMAP_FOREVER == -2147483647 && HOSTMAP_KEEP_TTL == -2147483646);

#if UINTPTR_MAX == UINT64_MAX
static_assert(offsetof(hostmap_options, struct_size) == 0 && sizeof(hostmap_options::struct_size) == 8);
static_assert(offsetof(hostmap_options, name) == 8 && sizeof(hostmap_options::name) == 8);
static_assert(offsetof(hostmap_options, dir) == 16 && sizeof(hostmap_options::dir) == 8);
static_assert(offsetof(hostmap_options, group) == 24 && sizeof(hostmap_options::group) == 8);
static_assert(offsetof(hostmap_options, user) == 32 && sizeof(hostmap_options::user) == 8);
static_assert(offsetof(hostmap_options, timeout_ns) == 40 && sizeof(hostmap_options::timeout_ns) == 8);
static_assert(offsetof(hostmap_options, flags) == 48 && sizeof(hostmap_options::flags) == 4);
static_assert(offsetof(hostmap_options, reserved) == 52 && sizeof(hostmap_options::reserved) == 4);
static_assert(offsetof(hostmap_options, sleeping) == 56 && sizeof(hostmap_options::sleeping) == 8);
static_assert(offsetof(hostmap_options, context) == 64 && sizeof(hostmap_options::context) == 8);
static_assert(sizeof(hostmap_options) == 72);

static_assert(offsetof(hostmap_bytes, data) == 0 && sizeof(hostmap_bytes::data) == 8);
static_assert(offsetof(hostmap_bytes, size) == 8 && sizeof(hostmap_bytes::size) == 8);
static_assert(sizeof(hostmap_bytes) == 16);

static_assert(offsetof(hostmap_pair, key) == 0 && sizeof(hostmap_pair::key) == 16);
static_assert(offsetof(hostmap_pair, value) == 16 && sizeof(hostmap_pair::value) == 16);
static_assert(sizeof(hostmap_pair) == 32);

static_assert(offsetof(hostmap_value, status) == 0 && sizeof(hostmap_value::status) == 4);
static_assert(offsetof(hostmap_value, reserved) == 4 && sizeof(hostmap_value::reserved) == 4);
static_assert(offsetof(hostmap_value, offset) == 8 && sizeof(hostmap_value::offset) == 8);
static_assert(offsetof(hostmap_value, size) == 16 && sizeof(hostmap_value::size) == 8);
static_assert(sizeof(hostmap_value) == 24);

static_assert(offsetof(hostmap_token, low) == 0 && sizeof(hostmap_token::low) == 8);
static_assert(offsetof(hostmap_token, high) == 8 && sizeof(hostmap_token::high) == 8);
static_assert(sizeof(hostmap_token) == 16);

static_assert(offsetof(hostmap_operation, kind) == 0 && sizeof(hostmap_operation::kind) == 4);
static_assert(offsetof(hostmap_operation, reserved) == 4 && sizeof(hostmap_operation::reserved) == 4);
static_assert(offsetof(hostmap_operation, key) == 8 && sizeof(hostmap_operation::key) == 16);
static_assert(offsetof(hostmap_operation, value) == 24 && sizeof(hostmap_operation::value) == 16);
static_assert(offsetof(hostmap_operation, expected) == 40 && sizeof(hostmap_operation::expected) == 16);
static_assert(offsetof(hostmap_operation, by) == 56 && sizeof(hostmap_operation::by) == 8);
static_assert(offsetof(hostmap_operation, initial) == 64 && sizeof(hostmap_operation::initial) == 8);
static_assert(offsetof(hostmap_operation, token) == 72 && sizeof(hostmap_operation::token) == 16);
static_assert(offsetof(hostmap_operation, ttl_ms) == 88 && sizeof(hostmap_operation::ttl_ms) == 8);
static_assert(sizeof(hostmap_operation) == 96);

static_assert(offsetof(hostmap_outcome, status) == 0 && sizeof(hostmap_outcome::status) == 4);
static_assert(offsetof(hostmap_outcome, reserved) == 4 && sizeof(hostmap_outcome::reserved) == 4);
static_assert(offsetof(hostmap_outcome, number) == 8 && sizeof(hostmap_outcome::number) == 8);
static_assert(offsetof(hostmap_outcome, value) == 16 && sizeof(hostmap_outcome::value) == 8);
static_assert(offsetof(hostmap_outcome, value_size) == 24 && sizeof(hostmap_outcome::value_size) == 8);
static_assert(sizeof(hostmap_outcome) == 32);

#endif

}  // namespace
