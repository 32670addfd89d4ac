#include "message/codec.hpp"

#include <gtest/gtest.h>

#include "codec_fixture.hpp"
#include "layout/connection.hpp"
#include "support/seed.hpp"

namespace hostmap::test {
namespace {

std::string random_text(Random& random, std::size_t size) {
  std::string text(size, '\0');
  random.fill(std::as_writable_bytes(std::span(text)));
  return text;
}

class CodecTest : public testing::Test {
 protected:
  // Encodes, decodes with exactly the room that is needed, and expects the same back.
  void expect_round_trip(Op op, std::uint8_t flags, const std::string& key, const std::string& value) {
    const std::uint64_t size = record_bytes(key.size() + value.size());
    encode_request(bench_.record(size), op, flags, bytes_of(key), bytes_of(value));
    const std::uint64_t space = size - kRecordHeadBytes;
    const DecodeOutcome outcome = bench_.decode(size, space);
    ASSERT_EQ(outcome, DecodeOutcome::kRequest)
        << "op " << static_cast<int>(op) << ", " << key.size() << " + " << value.size();
    ASSERT_NO_FATAL_FAILURE(bench_.expect_within_bounds(outcome, size, space));
    ASSERT_EQ(bench_.record_size, size);
    ASSERT_EQ(bench_.request.op, op);
    ASSERT_EQ(bench_.request.flags, flags);
    ASSERT_EQ(text_of(bench_.request.key), key);
    ASSERT_EQ(text_of(bench_.request.value), value);
  }

  CodecBench bench_;
  Random random_;
};

TEST_F(CodecTest, PutsOfEverySmallSizeComeBack) {
  for (std::size_t key = 1; key <= 40; ++key) {
    for (std::size_t value = 0; value <= 40; ++value) {
      for (std::uint8_t flags = 0; flags <= kRequestFlags; ++flags) {
        ASSERT_NO_FATAL_FAILURE(
            expect_round_trip(Op::kPut, flags, random_text(random_, key), random_text(random_, value)));
      }
    }
  }
}

TEST_F(CodecTest, PutsAtTheBoundsOfTheSizesComeBack) {
  for (const std::size_t key : {std::size_t{1}, std::size_t{kMaxKeyBytes - 1}, std::size_t{kMaxKeyBytes}}) {
    for (const std::size_t value : {0u, 1u, 4095u, 4096u, 4097u, 65535u, 65536u, 65537u}) {
      ASSERT_NO_FATAL_FAILURE(
          expect_round_trip(Op::kPut, kWantsAnswer, random_text(random_, key), random_text(random_, value)));
    }
  }
}

TEST_F(CodecTest, ErasesAndGetsComeBack) {
  for (const std::size_t key : {1u, 7u, 8u, 9u, 100u, 65535u, 65536u}) {
    for (std::uint8_t flags = 0; flags <= kRequestFlags; ++flags) {
      ASSERT_NO_FATAL_FAILURE(expect_round_trip(Op::kErase, flags, random_text(random_, key), ""));
      ASSERT_NO_FATAL_FAILURE(expect_round_trip(Op::kGet, flags, random_text(random_, key), ""));
      ASSERT_NO_FATAL_FAILURE(
          expect_round_trip(Op::kGet, flags, random_text(random_, key), random_text(random_, sizeof(PieceCursor))));
    }
  }
}

TEST_F(CodecTest, AFlushComesBack) {
  for (std::uint8_t flags = 0; flags <= kRequestFlags; ++flags) expect_round_trip(Op::kFlush, flags, "", "");
}

TEST_F(CodecTest, TheHeadOfAStreamCarriesTheSizesOfTheInnerRequest) {
  struct Case {
    Op inner;
    std::uint64_t key;
    std::uint64_t value;
  };
  for (const Case& c : {Case{Op::kPut, 1, 0}, Case{Op::kPut, kMaxKeyBytes, kMaxValueBytes},
                        Case{Op::kPut, 8, 0xffff'ffff}, Case{Op::kErase, kMaxKeyBytes, 0}, Case{Op::kGet, 65000, 0},
                        Case{Op::kGet, kMaxKeyBytes, sizeof(PieceCursor)}}) {
    const std::uint64_t size = record_bytes(kStreamPayloadBytes);
    encode_stream(bench_.record(size), c.inner, c.key, c.value);
    ASSERT_EQ(bench_.decode(size, 16), DecodeOutcome::kRequest);
    EXPECT_EQ(bench_.record_size, size);
    EXPECT_EQ(bench_.request.op, Op::kStream);
    EXPECT_EQ(bench_.request.flags, 0);
    EXPECT_EQ(bench_.request.stream.op, c.inner);
    EXPECT_EQ(bench_.request.stream.key_bytes, c.key);
    EXPECT_EQ(bench_.request.stream.value_bytes, c.value);
    EXPECT_TRUE(bench_.request.key.empty());
    EXPECT_TRUE(bench_.request.value.empty());
  }
}

TEST_F(CodecTest, PiecesCarryTheKeyAndThenTheValue) {
  for (const std::size_t from_key : {0u, 1u, 8u, 100u, 4000u}) {
    for (const std::size_t from_value : {0u, 1u, 8u, 100u, 16000u}) {
      if (from_key + from_value == 0) continue;
      for (std::uint8_t flags = 0; flags <= kRequestFlags; ++flags) {
        const std::string key = random_text(random_, from_key);
        const std::string value = random_text(random_, from_value);
        const std::uint64_t size = record_bytes(from_key + from_value);
        encode_piece(bench_.record(size), flags, bytes_of(key), bytes_of(value), 0, key.size() + value.size());
        ASSERT_EQ(bench_.decode(size, size - kRecordHeadBytes), DecodeOutcome::kRequest);
        ASSERT_EQ(bench_.request.op, Op::kPiece);
        ASSERT_EQ(bench_.request.flags, flags);
        ASSERT_TRUE(bench_.request.key.empty());
        ASSERT_EQ(text_of(bench_.request.value), key + value);
      }
    }
  }
}

TEST_F(CodecTest, AnswersComeBack) {
  for (const std::size_t prefix : {0u, 8u, 24u}) {
    for (const std::size_t value : {0u, 1u, 7u, 8u, 9u, 1000u}) {
      for (const int code : {0, 1, 15, 255}) {
        const std::string first = random_text(random_, prefix);
        const std::string second = random_text(random_, value);
        const std::uint64_t position = random_.word() & ~std::uint64_t{15};
        const std::uint64_t size = record_bytes(prefix + value);
        std::byte* record = bench_.record(size);
        encode_answer(record, static_cast<std::uint8_t>(code), position, bytes_of(first), bytes_of(second));
        std::uint64_t word;
        std::memcpy(&word, record + 8, sizeof word);
        EXPECT_NE(word, kPaddingHeader) << "an answer with the header of padding is never read";
        const AnswerHead head = decode_answer_head(word);
        EXPECT_EQ(head.code, code);
        EXPECT_EQ(head.request, request_mark(position));
        EXPECT_EQ(head.value_bytes, prefix + value);
        EXPECT_EQ(text_of({record + kRecordHeadBytes, prefix + value}), first + second);
      }
    }
  }
}

TEST_F(CodecTest, ACompareExchangeIsSplitIntoItsTwoValues) {
  for (const std::size_t expected : {0u, 1u, 8u, 100u}) {
    for (const std::size_t desired : {0u, 1u, 8u, 3000u}) {
      const std::string key = random_text(random_, 5);
      const std::string first = random_text(random_, expected);
      const std::string second = random_text(random_, desired);
      const Comparison comparison{expected};
      const std::span<const std::byte> head(reinterpret_cast<const std::byte*>(&comparison), sizeof comparison);
      const std::uint64_t size = record_bytes(5 + 8 + expected + desired);
      encode_request(bench_.record(size), Op::kCompareExchange, true, bytes_of(key),
                     ValueParts(head, bytes_of(first), bytes_of(second)));
      ASSERT_EQ(bench_.decode(size, size - kRecordHeadBytes), DecodeOutcome::kRequest);
      EXPECT_EQ(text_of(bench_.request.key), key);
      EXPECT_EQ(text_of(bench_.request.expected), first);
      EXPECT_EQ(text_of(bench_.request.value), second);
    }
  }
}

TEST_F(CodecTest, APutIfIsDividedIntoTokenAndValue) {
  for (const std::size_t bytes : {0u, 1u, 8u, 3000u}) {
    const std::string token = random_text(random_, kTokenBytes);
    const std::string value = random_text(random_, bytes);
    const std::uint64_t size = record_bytes(5 + kTokenBytes + bytes);
    encode_request(bench_.record(size), Op::kPutIf, true, bytes_of("a key"),
                   ValueParts(bytes_of(token), bytes_of(value), {}));
    ASSERT_EQ(bench_.decode(size, size - kRecordHeadBytes), DecodeOutcome::kRequest);
    EXPECT_EQ(text_of(bench_.request.key), "a key");
    EXPECT_EQ(text_of(bench_.request.expected), token);
    EXPECT_EQ(text_of(bench_.request.value), value);
  }
}

TEST(ValuePartsTest, AnyCutOfKeyAndPartsIsCopied) {
  const std::string all = "keyABCDEFghi";
  const ValueParts parts(bytes_of("ABC"), bytes_of("DEF"), bytes_of("ghi"));
  EXPECT_EQ(parts.size(), 9u);
  for (std::size_t begin = 0; begin <= all.size(); ++begin) {
    for (std::size_t size = 0; begin + size <= all.size(); ++size) {
      std::string copy(size, '?');
      parts.copy_behind(bytes_of("key"), begin, size, reinterpret_cast<std::byte*>(copy.data()));
      ASSERT_EQ(copy, all.substr(begin, size));
    }
  }
}

// The smallest message: kOk, the request at position 0, no value. Its header must differ from that of padding.
TEST_F(CodecTest, NoMessageHasTheHeaderOfPadding) {
  std::uint64_t word;
  encode_answer(bench_.record(16), 0, 0, {}, {});
  std::memcpy(&word, bench_.record(16) + 8, sizeof word);
  EXPECT_NE(word, kPaddingHeader);
  for (const Op op :
       {Op::kPut, Op::kErase, Op::kGet, Op::kFlush, Op::kStream, Op::kPiece, Op::kInsert, Op::kCompareExchange,
        Op::kIncrement, Op::kClear, Op::kPutIf, Op::kEraseIf, Op::kAppend, Op::kReplace, Op::kAdd}) {
    EXPECT_NE(encode(RequestHead{op, 0, 1, 0}), kPaddingHeader);
  }
}

TEST_F(CodecTest, AnsweredRequestsAreDistinguishedByPositionFor65536Units) {
  const std::uint64_t position = random_.word() & ~std::uint64_t{15};
  for (std::uint64_t units = 1; units < 65536; ++units) {
    ASSERT_NE(request_mark(position), request_mark(position + units * kRecordUnit));
  }
}

TEST_F(CodecTest, TooLittleSpaceIsReportedAndNothingIsWritten) {
  const std::uint64_t size = record_bytes(100);
  encode_request(bench_.record(size), Op::kPut, kWantsAnswer, bytes_of("key"), bytes_of(std::string(97, 'v')));
  for (std::uint64_t space = 0; space < size - kRecordHeadBytes; ++space) {
    ASSERT_EQ(bench_.decode(size, space), DecodeOutcome::kNoSpace) << space;
    for (const std::byte byte : bench_.space(space)) ASSERT_EQ(byte, CodecBench::kCanary);
  }
  EXPECT_EQ(bench_.decode(size, size - kRecordHeadBytes), DecodeOutcome::kRequest);
}

TEST_F(CodecTest, ARecordBeyondItsLimitIsMalformed) {
  const std::uint64_t size = record_bytes(100);
  encode_request(bench_.record(size), Op::kPut, kWantsAnswer, bytes_of("key"), bytes_of(std::string(97, 'v')));
  for (std::uint64_t limit = kRecordHeadBytes; limit < size; limit += kRecordUnit) {
    Request request;
    std::uint64_t record_size = 0;
    EXPECT_EQ(decode_request(bench_.record(size), limit, bench_.space(1000), request, record_size),
              DecodeOutcome::kMalformed);
  }
}

// The request refers to the server's own copy: later changes of the ring have no effect.
TEST_F(CodecTest, TheRequestPointsIntoTheCopy) {
  for (const auto& [key, value] : {std::pair{"12345678", "abcdefgh"}, std::pair{"key", "a longer value"}}) {
    const std::uint64_t size = record_bytes(std::strlen(key) + std::strlen(value));
    encode_request(bench_.record(size), Op::kPut, false, bytes_of(key), bytes_of(value));
    ASSERT_EQ(bench_.decode(size, size - kRecordHeadBytes), DecodeOutcome::kRequest);
    std::memset(bench_.record(size), 0xff, size);
    EXPECT_EQ(text_of(bench_.request.key), key);
    EXPECT_EQ(text_of(bench_.request.value), value);
  }
}

TEST_F(CodecTest, APutOfAPairIsTwoRecordsALine) {
  EXPECT_EQ(record_bytes(8 + 8), 32u);
  EXPECT_EQ(record_bytes(0), 16u);
}

}  // namespace
}  // namespace hostmap::test
