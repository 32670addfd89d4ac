// The message codec on any bytes: what it accepts is within the copy and can be encoded again to the same record; it never
// reads beyond a record that it refuses.
//
// An input is a record as a peer may leave it in a ring: a header word and a payload, of any length.
#include <cstdlib>
#include <cstring>
#include <memory>
#include <vector>

#include "fuzz/acts.hpp"
#include "layout/connection.hpp"
#include "message/codec.hpp"

namespace {

using namespace hostmap;
using hostmap::test::require;

bool within(std::span<const std::byte> part, const std::byte* begin, std::uint64_t size) {
  return part.empty() || (part.data() >= begin && part.data() + part.size() <= begin + size);
}

// A decoder without a limit, which this test must find when it is tested itself.
void trust_its_length(const std::byte* record) {
  std::uint64_t word;
  std::memcpy(&word, record + 8, sizeof word);
  static volatile std::byte last;
  const std::uint64_t bytes = request_payload_bytes(decode_request_head(word));
  if (bytes != 0) last = record[kRecordHeadBytes + bytes - 1];
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size < 8) return 0;
  static const bool canary = std::getenv("HOSTMAP_FUZZ_CANARY") != nullptr;
  // Exactly of this size, so that a read of one more byte is found.
  const std::uint64_t limit = record_bytes(size - 8);
  const auto record = std::make_unique<std::byte[]>(limit);
  std::memcpy(record.get() + 8, data, size);
  if (canary) trust_its_length(record.get());
  for (const std::uint64_t room : {limit, limit / 2, std::uint64_t{16}}) {
    std::vector<std::byte> space(room);
    Request request;
    std::uint64_t taken = 0;
    if (decode_request(record.get(), limit, space, request, taken) != DecodeOutcome::kRequest) continue;
    require(taken >= kRecordHeadBytes && taken <= limit && taken % kRecordUnit == 0);
    require(within(request.key, space.data(), room));
    require(within(request.value, space.data(), room));
    if (has_expectation(facts_of(request.op).payload)) require(within(request.expected, space.data(), room));
    require(request.op != Op::kPadding);
    if (request.op != Op::kPut && request.op != Op::kErase) continue;
    // Encoded again, it is the same record.
    const std::uint64_t payload =
        request.key.size() + request.value.size() + (request.end_or_none() != kNoEnd ? kEndBytes : 0);
    std::vector<std::byte> again(record_bytes(payload));
    encode_request(again.data(), request.op, static_cast<std::uint8_t>(request.flags & kRequestFlags), request.key,
                   ValueParts(request.value), request.end_or_none());
    require(again.size() == taken);
    require(std::memcmp(again.data() + 8, record.get() + 8, 8 + payload) == 0);
  }
  return 0;
}
