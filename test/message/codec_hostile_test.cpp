// Whatever a peer writes is rejected or decoded within bounds (fault case 7 in docs/internals/failure-model.md). The oracle
// is the protocol's table in wire.hpp, written a second time in the simplest form.
#include <array>
#include <atomic>
#include <gtest/gtest.h>
#include <optional>
#include <vector>

#include "codec_fixture.hpp"
#include "layout/connection.hpp"
#include "support/child.hpp"
#include "support/seed.hpp"

namespace hostmap::test {
namespace {

struct Fields {
  std::uint64_t op, flags, key, value;  // of the header word; the key length as it is encoded there
  std::uint64_t word() const { return op | flags << 8 | key << 16 | value << 32; }
};

Fields fields_of(std::uint64_t word) { return {word & 0xff, word >> 8 & 0xff, word >> 16 & 0xffff, word >> 32}; }

// May an inner or plain request of this op have a value of this size?
bool honest_value(std::uint64_t op, std::uint64_t value) {
  switch (op) {
    case 1:   // put
    case 7:   // insert
    case 13:  // append
    case 14:  // replace
      return true;
    case 2:  // erase
      return value == 0;
    case 3:  // get, perhaps with a cursor of 24 bytes
      return value == 0 || value == 24;
    case 8:  // compare_exchange: a length, and two values
      return value >= 8;
    case 9:   // increment
    case 16:  // expire
      return value == 8;
    case 11:  // put_if: a token, and a value
      return value >= 16;
    case 12:  // erase_if: a token
      return value == 16;
    case 15:  // add: a form and two numbers
      return value == 24;
    default:
      return false;
  }
}

bool may_end(std::uint64_t op) { return op == 1 || op == 7 || op == 14 || op == 15; }

// The payload of a correct request with this header; none: no correct client sends it. `inner`, `end`: of a stream, the words of
// the payload.
std::optional<std::uint64_t> honest_payload(const Fields& f, std::uint64_t inner, std::uint64_t end) {
  if (f.flags > (may_end(f.op) ? 7 : 3)) return std::nullopt;
  const std::uint64_t end_bytes = f.flags > 3 ? 8 : 0;  // behind the value
  if (f.value < end_bytes) return std::nullopt;
  const std::uint64_t key_bytes = f.key + 1;
  switch (f.op) {
    case 4:   // flush
    case 10:  // clear
      return f.key == 0 && f.value == 0 ? std::optional<std::uint64_t>(0) : std::nullopt;
    case 17:  // watch
    case 18:  // unwatch
      return f.key == 0 && f.value == 8 ? std::optional<std::uint64_t>(8) : std::nullopt;
    case 19:  // lease
    case 20:  // release
      return f.key == 0 && f.value == 24 ? std::optional<std::uint64_t>(24) : std::nullopt;
    case 5:  // stream: never answered itself; the inner request has a key
      return honest_value(inner, f.value) && f.flags == 0 && (end == 0 || may_end(inner))
                 ? std::optional<std::uint64_t>(16)
                 : std::nullopt;
    case 6:  // piece
      return f.key == 0 ? std::optional(f.value) : std::nullopt;
    default:
      return honest_value(f.op, f.value - end_bytes) ? std::optional(key_bytes + f.value) : std::nullopt;
  }
}

class HostileCodecTest : public testing::Test {
 protected:
  // Decodes a record with this header, of which at most `limit` bytes can exist, into `space` bytes.
  void try_header(const Fields& fields, std::uint64_t inner, std::uint64_t limit, std::uint64_t space,
                  std::uint64_t end = 0) {
    const std::uint64_t word = fields.word();
    std::memcpy(bench_.record(limit) + 8, &word, sizeof word);
    if (limit >= kRecordHeadBytes + 16) {
      std::memcpy(bench_.record(limit) + kRecordHeadBytes, &inner, sizeof inner);
      std::memcpy(bench_.record(limit) + kRecordHeadBytes + 8, &end, sizeof end);
    }
    const DecodeOutcome outcome = bench_.decode(limit, space);
    ASSERT_NO_FATAL_FAILURE(bench_.expect_within_bounds(outcome, limit, space));

    const std::optional<std::uint64_t> payload = honest_payload(fields, inner, end);
    const bool fits_ring = payload && record_bytes(*payload) <= limit;
    const bool fits_space = fits_ring && record_bytes(*payload) - kRecordHeadBytes <= space;
    const bool makes_sense = fits_space && (fields.op != 8 || comparison_makes_sense(fields, limit)) &&
                             (fields.flags < 4 || names_an_end(fields, limit));
    const DecodeOutcome expected = makes_sense ? DecodeOutcome::kRequest : DecodeOutcome::kMalformed;
    // With too little space, the inner op of a stream is not checked yet: both results are correct.
    if (outcome == DecodeOutcome::kNoSpace) {
      ASSERT_TRUE(fields.op == 5 ? space < 16 : fits_ring && !fits_space) << std::hex << word;
      ++no_space_;
      return;
    }
    ASSERT_EQ(outcome, fits_ring && !fits_space ? DecodeOutcome::kNoSpace : expected)
        << std::hex << word << " inner " << inner << " limit " << limit << " space " << space;
    if (outcome != DecodeOutcome::kRequest) {
      ++refused_;
      return;
    }
    ++accepted_;
    ASSERT_EQ(static_cast<std::uint64_t>(bench_.request.op), fields.op);
    ASSERT_EQ(bench_.request.flags, fields.flags);
    ASSERT_EQ(bench_.record_size, record_bytes(*payload));
    const bool keyed = (fields.op >= 1 && fields.op <= 3) || (fields.op >= 7 && fields.op <= 9) ||
                       (fields.op >= 11 && fields.op <= 16);
    ASSERT_EQ(bench_.request.key.size(), keyed ? fields.key + 1 : 0);
    if (fields.op == 8) {
      ASSERT_EQ(bench_.request.expected.size() + bench_.request.value.size() + 8, fields.value);
    } else if (fields.op == 11 || fields.op == 12) {
      ASSERT_EQ(bench_.request.expected.size(), 16u);
      ASSERT_EQ(bench_.request.value.size() + 16, fields.value);
    } else {
      ASSERT_EQ(bench_.request.value.size(), fields.op == 5 ? 0 : fields.value - (fields.flags > 3 ? 8 : 0));
      ASSERT_EQ((fields.op == 5 ? bench_.request.end : bench_.request.end_or_none()) != kNoEnd,
                fields.op == 5 ? end != 0 : fields.flags > 3);
    }
  }

  // Are the last 8 bytes of the value an end?
  bool names_an_end(const Fields& fields, std::uint64_t limit) {
    std::uint64_t word;
    std::memcpy(&word, bench_.record(limit) + kRecordHeadBytes + fields.key + 1 + fields.value - 8, sizeof word);
    return word != 0;
  }

  // Is the length before the two values at most the length of both?
  bool comparison_makes_sense(const Fields& fields, std::uint64_t limit) {
    std::uint64_t expected;
    std::memcpy(&expected, bench_.record(limit) + kRecordHeadBytes + fields.key + 1, sizeof expected);
    return expected <= fields.value - 8;
  }

  CodecBench bench_;
  std::uint64_t accepted_ = 0;
  std::uint64_t refused_ = 0;
  std::uint64_t no_space_ = 0;
};

constexpr std::array<std::uint64_t, 5> kLimits{16, 32, 64, 4096, 65536};

// Lengths at which errors are likely, for a ring with `limit` bytes to its end.
std::vector<std::uint64_t> suspicious_lengths(std::uint64_t limit) {
  std::vector<std::uint64_t> lengths;
  for (const std::uint64_t near :
       {std::uint64_t{0}, std::uint64_t{8}, std::uint64_t{16}, std::uint64_t{24}, limit, limit - kRecordHeadBytes,
        limit / 2, limit / 4, std::uint64_t{65536}, std::uint64_t{1} << 31, std::uint64_t{1} << 32}) {
    for (const std::uint64_t length : {near - 2, near - 1, near, near + 1, near + 2}) {
      if (length <= 0xffff'ffff) lengths.push_back(length);
    }
  }
  return lengths;
}

TEST_F(HostileCodecTest, EveryOpWithEverySuspiciousLength) {
  for (const std::uint64_t limit : kLimits) {
    for (std::uint64_t op = 0; op < 256; ++op) {
      for (const std::uint64_t value : suspicious_lengths(limit)) {
        for (const std::uint64_t key : {0ul, 1ul, 7ul, 8ul, 0x7ffful, 0x8000ul, 0xfffeul, 0xfffful}) {
          ASSERT_NO_FATAL_FAILURE(try_header({op, op % 2, key, value}, 1, limit, 65536));
        }
      }
    }
  }
  EXPECT_GT(accepted_, 100u);
  EXPECT_GT(refused_, 100'000u);
}

TEST_F(HostileCodecTest, EveryKeyLengthWithEverySuspiciousValueLength) {
  for (std::uint64_t key = 0; key <= 0xffff; key += key < 300 || key > 0xff00 ? 1 : 61) {
    for (const std::uint64_t value : suspicious_lengths(65536)) {
      for (const std::uint64_t op : {1ul, 2ul, 3ul, 5ul, 6ul, 7ul, 8ul, 9ul, 11ul, 12ul, 13ul, 14ul, 15ul}) {
        ASSERT_NO_FATAL_FAILURE(try_header({op, 0, key, value}, 1, 65536, 65536));
      }
    }
  }
  EXPECT_GT(accepted_, 1000u);
}

TEST_F(HostileCodecTest, EveryFlagBitButTheAnswersIsRefused) {
  for (std::uint64_t op = 0; op < 16; ++op) {
    for (std::uint64_t flags = 0; flags < 256; ++flags) {
      for (const std::uint64_t value : {0u, 8u, 24u, 32u}) {
        ASSERT_NO_FATAL_FAILURE(try_header({op, flags, 0, value}, 1, 4096, 4096));
      }
    }
  }
  EXPECT_GT(accepted_, 10u);
}

// One field of a good record is changed. (This also enters and leaves the fast path of pairs.)
TEST_F(HostileCodecTest, EverySingleBitOfAGoodHeaderFlipped) {
  for (const Fields& good :
       {Fields{1, 1, 7, 8}, Fields{1, 0, 7, 8}, Fields{1, 0, 2, 30}, Fields{2, 1, 15, 0}, Fields{3, 1, 7, 24},
        Fields{4, 1, 0, 0}, Fields{5, 0, 100, 70'000}, Fields{6, 0, 0, 512}, Fields{7, 1, 7, 8}, Fields{8, 1, 7, 64},
        Fields{9, 1, 7, 8}, Fields{10, 1, 0, 0}, Fields{11, 1, 7, 24}, Fields{12, 1, 7, 16}, Fields{13, 1, 7, 30},
        Fields{14, 1, 7, 8}, Fields{15, 1, 7, 24}, Fields{15, 5, 7, 32}}) {
    ASSERT_NO_FATAL_FAILURE(try_header(good, 1, 4096, 4096));
    for (unsigned bit = 0; bit < 64; ++bit) {
      ASSERT_NO_FATAL_FAILURE(try_header(fields_of(good.word() ^ std::uint64_t{1} << bit), 1, 4096, 4096));
    }
  }
  EXPECT_GT(accepted_, 8u);
  EXPECT_GT(refused_, 100u);
}

TEST_F(HostileCodecTest, EveryInnerOpOfAStream) {
  std::vector<std::uint64_t> inners{0x1'0000'0001, 0xffff'ffff'0000'0001, ~std::uint64_t{0},
                                    std::uint64_t{1} << 63 | 1};
  for (std::uint64_t inner = 0; inner < 256; ++inner) inners.push_back(inner);
  for (const std::uint64_t inner : inners) {
    for (const std::uint64_t value : {0ul, 1ul, 7ul, 8ul, 9ul, 15ul, 16ul, 23ul, 24ul, 25ul, 0xfffffffful}) {
      for (const std::uint64_t flags : {0ul, 1ul}) {
        ASSERT_NO_FATAL_FAILURE(try_header({5, flags, 99, value}, inner, 4096, 4096));
        ASSERT_NO_FATAL_FAILURE(try_header({5, flags, 99, value}, inner, 4096, 4096, 12'345));
      }
    }
  }
  EXPECT_EQ(accepted_, 2 * 11u + 1u + 2u + 2 * 11u + 8u + 1u + 5u + 1u + 11u + 2 * 11u + 2 * 1u + 1u)
      << "put with any size, erase without value, get without or with a cursor, insert with any size, compare_exchange "
         "from 8 bytes on, increment with 8, put_if from 16 on, erase_if with 16, append and replace with any size, "
         "add with 24, expire with 8; put, insert, replace and add also with an end";
}

TEST_F(HostileCodecTest, EverySpaceFromNothingToEnough) {
  for (const Fields& good : {Fields{1, 1, 7, 8}, Fields{1, 0, 2, 30}, Fields{2, 1, 15, 0}, Fields{3, 1, 7, 24},
                             Fields{4, 1, 0, 0}, Fields{5, 0, 100, 70'000}, Fields{6, 0, 0, 512}}) {
    for (std::uint64_t space = 0; space <= 600; ++space) {
      ASSERT_NO_FATAL_FAILURE(try_header(good, 1, 4096, space));
    }
  }
  EXPECT_GT(no_space_, 100u);
  EXPECT_GT(accepted_, 100u);
}

TEST_F(HostileCodecTest, AMillionRandomHeaders) {
  Random random;
  for (int i = 0; i < 1'000'000; ++i) {
    Fields fields = fields_of(random.word());
    // A wholly random header is refused at once, so most headers are random in some fields only.
    if (!random.one_in(8)) fields.op = random.below(18);
    if (!random.one_in(4)) fields.flags = random.below(random.one_in(2) ? 4 : 8);
    if (random.one_in(2)) fields.key = random.below(32);
    if (random.one_in(4)) fields.key = 0;
    const std::uint64_t limit = 16 * random.between(1, random.one_in(4) ? 4096 : 20);
    if (random.one_in(2)) fields.value = random.below(limit + 32);
    if (random.one_in(4)) fields.value = random.one_in(2) ? 0 : 24;
    const std::uint64_t inner = random.one_in(4) ? random.word() : random.below(18);
    ASSERT_NO_FATAL_FAILURE(try_header(fields, inner, limit, random.below(2 * limit), random.below(3)));
  }
  EXPECT_GT(accepted_, 50'000u);
  EXPECT_GT(refused_, 50'000u);
  EXPECT_GT(no_space_, 10'000u);
}

// Another process changes the header while it is decoded: the result belongs to one of the two headers, never to both.
TEST_F(HostileCodecTest, AHeaderThatChangesMeanwhileIsLoadedOnce) {
  constexpr std::uint64_t kLimit = 65536;
  constexpr std::uint64_t kSpace = 256;  // the larger one does not fit: a second load after the check would overrun it
  const Fields small{1, 0, 9, 100};
  const Fields large{1, 1, 0xfff, 60'000};
  auto& word = *reinterpret_cast<std::atomic<std::uint64_t>*>(bench_.record(kLimit) + 8);
  Child attacker = Child::fork([&word, small, large] {
    for (;;) {
      word.store(small.word(), std::memory_order_relaxed);
      word.store(large.word(), std::memory_order_relaxed);
    }
    return 0;
  });
  while (word.load() == 0) ASSERT_TRUE(attacker.running());
  std::uint64_t smalls = 0;
  std::uint64_t larges = 0;
  while (smalls < 10'000 || larges < 10'000) {
    ASSERT_TRUE(attacker.running());
    for (int i = 0; i < 1000; ++i) {
      const DecodeOutcome outcome = bench_.decode(kLimit, kSpace);
      ASSERT_NO_FATAL_FAILURE(bench_.expect_within_bounds(outcome, kLimit, kSpace));
      if (outcome == DecodeOutcome::kRequest) {
        ASSERT_EQ(bench_.request.key.size(), small.key + 1);
        ASSERT_EQ(bench_.request.value.size(), small.value);
        ASSERT_EQ(bench_.request.flags, 0);
        ASSERT_EQ(bench_.record_size, record_bytes(small.key + 1 + small.value));
        ++smalls;
      } else if (outcome == DecodeOutcome::kNoSpace) {
        ++larges;
      } else {
        FAIL() << "neither of the two";
      }
    }
  }
}

}  // namespace
}  // namespace hostmap::test
