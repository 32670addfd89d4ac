// Shared by the tests of the codec: a record and the space to which it is copied, each with a page after it that faults.
#pragma once

#include <algorithm>
#include <cstring>
#include <gtest/gtest.h>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "buffer/ring.hpp"
#include "layout/connection.hpp"
#include "message/codec.hpp"
#include "support/aligned_memory.hpp"

namespace hostmap::test {

inline std::span<const std::byte> bytes_of(std::string_view text) { return std::as_bytes(std::span(text)); }
inline std::string text_of(std::span<const std::byte> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

// The codec's input and output. One byte read beyond `limit` or written beyond `space` faults; bytes before `space` are
// canaries.
class CodecBench {
 public:
  static constexpr std::size_t kMost = 1 << 18;
  static constexpr std::byte kCanary{0xcc};
  static constexpr std::ptrdiff_t kCanaries = 64;

  CodecBench() { std::fill(space_.data(), space_.end(), kCanary); }

  // The beginning of a record that at most `limit` bytes can follow.
  std::byte* record(std::uint64_t limit) const { return ring_.end() - limit; }
  std::span<std::byte> space(std::uint64_t bytes) const { return {space_.end() - bytes, bytes}; }

  // Decodes the record at record(limit) into `bytes` of space.
  DecodeOutcome decode(std::uint64_t limit, std::uint64_t bytes) {
    request = Request();
    record_size = 0;
    std::fill(space(bytes).data() - kCanaries, space(bytes).data(), kCanary);  // a larger space has used these bytes
    return decode_request(record(limit), limit, space(bytes), request, record_size);
  }

  // Expects that the result is within bounds, or refused. To be called after decode(), with its arguments.
  void expect_within_bounds(DecodeOutcome outcome, std::uint64_t limit, std::uint64_t bytes) const {
    for (const std::byte* at = space(bytes).data() - kCanaries; at < space(bytes).data(); ++at) ASSERT_EQ(*at, kCanary);
    if (outcome != DecodeOutcome::kRequest) return;
    ASSERT_GE(record_size, kRecordHeadBytes);
    ASSERT_EQ(record_size % kRecordUnit, 0u);
    ASSERT_LE(record_size, limit);
    ASSERT_LE(record_size - kRecordHeadBytes, bytes);
    std::vector<std::span<const std::byte>> parts{request.key, request.value};
    if (has_expectation(facts_of(request.op).payload)) parts.push_back(request.expected);
    for (const std::span<const std::byte> part : parts) {
      if (part.empty()) continue;
      ASSERT_GE(part.data(), space(bytes).data());
      ASSERT_LE(part.data() + part.size(), space(bytes).data() + (record_size - kRecordHeadBytes));
    }
    ASSERT_EQ(!request.key.empty(), has_key(request.op) && request.op != Op::kStream);
    ASSERT_LE(request.key.size(), kMaxKeyBytes);
    ASSERT_NE(request.op, Op::kPadding);
  }

  Request request;
  std::uint64_t record_size = 0;

 private:
  AlignedMemory ring_{kMost};
  AlignedMemory space_{kMost + kPageSize};
};

}  // namespace hostmap::test
