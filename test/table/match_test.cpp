#include "table/form/match.hpp"

#include <gtest/gtest.h>
#include <random>

#include "every_width.hpp"
#include "layout/table.hpp"

namespace hostmap {
namespace {

using MatchTest = test::EveryWidth;

// Words that are equal, or differ in a part or a byte: a comparison of the wrong width would confuse them.
std::uint64_t tricky_word(std::mt19937_64& random) {
  static constexpr std::uint64_t kParts[] = {0, 1, 0xffff, 0x8000};
  std::uint64_t word = 0;
  for (int part = 0; part < 4; ++part) word = word << 16 | kParts[random() % 4];
  return word;
}

TEST_P(MatchTest, FindsTheSameKeysAsThePortableTwin) {
  std::mt19937_64 random(1);
  unsigned found = 0;
  for (int round = 0; round < 20000; ++round) {
    PairBucket bucket;
    for (Word& key : bucket.keys) key.store(tricky_word(random));
    bucket.header.store(random());
    const std::uint64_t key = round % 2 == 0 ? tricky_word(random) : bucket.keys[random() % 7].load();
    const unsigned expected = match_keys(bucket, key, VectorWidth::kPortable) & kOccupiedMask;
    ASSERT_EQ(match_keys(bucket, key, GetParam()) & kOccupiedMask, expected);
    found += expected != 0;
  }
  EXPECT_GT(found, 9999u);
}

TEST_P(MatchTest, FindsTheSameTagsAsThePortableTwin) {
  std::mt19937_64 random(2);
  unsigned found = 0;
  for (int round = 0; round < 20000; ++round) {
    EntryBucket bucket;
    for (Word& cell : bucket.cells) cell.store(tricky_word(random));
    bucket.header.store(tricky_word(random));
    const auto tag = static_cast<std::uint16_t>(tricky_word(random) >> 48);
    const unsigned expected = match_tags(bucket, tag, VectorWidth::kPortable);
    ASSERT_EQ(match_tags(bucket, tag, GetParam()), expected);
    found += expected != 0;
  }
  EXPECT_GT(found, 5000u);
}

TEST_P(MatchTest, NamesThePlaceOfAKeyByItsBit) {
  for (unsigned place = 1; place <= kPlaces; ++place) {
    PairBucket bucket{};
    bucket.keys[place - 1].store(0x0123'4567'89ab'cdef);
    EXPECT_EQ(match_keys(bucket, 0x0123'4567'89ab'cdef, GetParam()) & kOccupiedMask, 1u << place);
  }
}

TEST_P(MatchTest, DoesNotMistakeTheHeaderForACell) {
  EntryBucket bucket{};
  bucket.header.store(make_cell(0x1234, 1));
  EXPECT_EQ(match_tags(bucket, 0x1234, GetParam()), 0u);
}

INSTANTIATE_TEST_SUITE_P(Widths, MatchTest, test::every_width(), test::name_of_width);

}  // namespace
}  // namespace hostmap
