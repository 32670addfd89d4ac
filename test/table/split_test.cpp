#include <algorithm>
#include <bit>
#include <gtest/gtest.h>
#include <map>
#include <utility>
#include <vector>

#include "layout/table.hpp"
#include "support/seed.hpp"
#include "table_fixture.hpp"

namespace hostmap::test {
namespace {

struct Chains {
  std::map<std::uint64_t, unsigned> places;  // of each key
  std::uint64_t overflow_buckets = 0;
  std::uint64_t overflowed_pairs = 0;
  std::uint64_t idle_buckets = 0;  // that the chains would not need
};

// Walks over all pair buckets as they lie in memory.
Chains chains_of(TestTable& table) {
  Chains found;
  std::vector<const PairBucket*> primaries;
  for (const std::uint64_t segment : table.segments_of<PairBucket>()) {
    for (std::uint64_t i = 0; i < kSegmentBuckets<PairBucket>; ++i) {
      primaries.push_back(table.table().region().at<PairBucket>(segment) + i);
    }
  }
  for (const PairBucket* primary : primaries) {
    unsigned pairs = 0;
    unsigned places = kPlaces;
    for (const PairBucket* bucket = primary;;) {
      const std::uint64_t header = bucket->header.load();
      for (std::uint64_t left = header & kOccupiedMask; left != 0; left &= left - 1) {
        ++found.places[bucket->keys[std::countr_zero(left) - 1].load()];
        ++pairs;
        if (bucket != primary) ++found.overflowed_pairs;
      }
      if ((header & kOverflowBit) == 0) break;
      ++found.overflow_buckets;
      places += kPlaces;
      bucket = table.table().region().at<PairBucket>(bucket->link.load() & kOffsetMask);
    }
    for (; places > kPlaces && pairs + kPlaces <= places; places -= kPlaces) ++found.idle_buckets;
  }
  return found;
}

TEST(SplitTest, SplitLeavesNoChainMoreBucketsThanItsPairsNeed) {
  TestTable table;
  std::uint64_t splits_seen = 0;
  bool overflowed = false;
  for (std::uint64_t key = 0; key < 20'000; ++key) {
    ASSERT_EQ(table.put(text_of(key), text_of(~key)), StatusCode::kOk);
    const std::uint64_t splits = table.header().lane_stats[0].splits.load();
    if (splits == splits_seen) continue;
    splits_seen = splits;
    const Chains chains = chains_of(table);
    overflowed = overflowed || chains.overflow_buckets != 0;
    ASSERT_EQ(chains.places.size(), key + 1);
    for (const auto& [word, places] : chains.places) ASSERT_EQ(places, 1u) << word;
    ASSERT_EQ(chains.idle_buckets, 0u) << "after " << splits << " splits";
  }
  EXPECT_TRUE(overflowed) << "no bucket ever overflowed, so this test has shown nothing";
}

// Memory is full, so chains are long; segments merge and are split again.
TEST(SplitTest, NoChainHasMoreBucketsThanItsPairsNeedAfterAnyPutOrErase) {
  TestTable table(TableSetup{.buckets = 1, .memory = std::uint64_t{1} << 20});
  Random random;
  std::vector<std::uint64_t> there;
  std::uint64_t next = 0;
  std::uint64_t most_overflow = 0;
  for (int round = 0; round < 4; ++round) {
    while (table.put(text_of(next), text_of(~next)) == StatusCode::kOk) there.push_back(next++);
    const std::size_t kept = random.below(there.size());
    while (there.size() > kept) {
      std::swap(there[random.below(there.size())], there.back());
      ASSERT_EQ(table.erase(text_of(there.back())), StatusCode::kOk);
      there.pop_back();
      if (there.size() % 512 != 0) continue;
      const Chains chains = chains_of(table);
      ASSERT_EQ(chains.idle_buckets, 0u) << there.size() << " keys in round " << round;
      ASSERT_EQ(chains.places.size(), there.size());
      for (const auto& [word, places] : chains.places) ASSERT_EQ(places, 1u) << word;
      most_overflow = std::max(most_overflow, chains.overflow_buckets);
    }
    for (const std::uint64_t key : there) ASSERT_EQ(get(table.reader(), text_of(key)).value, text_of(~key)) << key;
  }
  EXPECT_GT(most_overflow, 100u) << "no bucket overflowed, so this test has shown nothing";
}

TEST(SplitTest, FastPathFindsOverflowedPairs) {
  TestTable table;
  constexpr std::uint64_t kKeys = 20'000;
  for (std::uint64_t key = 0; key < kKeys; ++key) ASSERT_EQ(table.put(text_of(key), text_of(~key)), StatusCode::kOk);
  ASSERT_GT(chains_of(table).overflowed_pairs, 0u);
  const TableReader reader = table.reader();
  for (std::uint64_t key = 0; key < kKeys; ++key) {
    ASSERT_EQ(try_get(reader, text_of(key)), (FastGet{TableReader::FastResult::kHit, text_of(~key)})) << key;
  }
  std::uint64_t misses = 0;
  for (std::uint64_t key = kKeys; key < 2 * kKeys; ++key) {
    const FastGet seen = try_get(reader, text_of(key));
    ASSERT_NE(seen.outcome, TableReader::FastResult::kHit) << key;
    misses += seen.outcome == TableReader::FastResult::kMiss ? 1 : 0;
  }
  EXPECT_GT(misses, kKeys / 2) << "the fast path must report a miss where a bucket has no overflow bucket";
}

}  // namespace
}  // namespace hostmap::test
