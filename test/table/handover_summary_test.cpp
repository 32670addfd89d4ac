// The hand-over summary of the arena, which a server that stops writes for the next one: rebuilding from it gives the same state, and
// an invalid one is refused.
#include <bit>
#include <gtest/gtest.h>
#include <random>
#include <stdexcept>
#include <string>
#include <vector>

#include "layout/table.hpp"
#include "table/table_fixture.hpp"

namespace hostmap::test {
namespace {

// Blocks of many classes, runs of slabs, overflow buckets of both forms, and holes in all of them.
void fill(TestTable& table) {
  for (std::uint64_t i = 0; i < 3000; ++i) {
    ASSERT_EQ(table.put(text_of(i), text_of(i)), StatusCode::kOk);
    ASSERT_EQ(table.put("entry " + std::to_string(i), std::string(i % 100 == 0 ? 90'000 : i % 900, 'v')),
              StatusCode::kOk);
  }
  for (std::uint64_t i = 0; i < 3000; i += 3) ASSERT_EQ(table.erase("entry " + std::to_string(i)), StatusCode::kOk);
}

TEST(HandoverSummaryTest, AdoptedSummaryIsWrittenAgainUnchanged) {
  TestTable table({.memory = std::uint64_t{128} << 20});
  fill(table);
  const std::vector<std::byte> summary = table.table().make_summary();
  const std::uint64_t held = table.entry_bytes();
  std::vector<std::size_t> lost;
  ASSERT_TRUE(table.table().rebuild_from_summary(summary, {}, lost));
  EXPECT_TRUE(table.table().make_summary() == summary);
  EXPECT_EQ(table.entry_bytes(), held);
  EXPECT_TRUE(lost.empty());
}

TEST(HandoverSummaryTest, StreamWithAnInvalidBlockIsLost) {
  TestTable table({.memory = std::uint64_t{128} << 20});
  const std::uint64_t small = table.table().shard(0).begin_entry(5, 1000);
  const std::uint64_t large = table.table().shard(0).begin_entry(5, 100'000);
  const std::vector<std::byte> summary = table.table().make_summary();
  std::vector<std::size_t> lost;
  ASSERT_TRUE(table.table().rebuild_from_summary(summary,
                                                 {{0, small, entry_bytes(5, 1000)},
                                                  {0, small + 8, entry_bytes(5, 1000)},
                                                  {0, large, entry_bytes(5, 100'000)},
                                                  {0, large, entry_bytes(5, 10'000'000)},
                                                  {0, 0, entry_bytes(5, 1000)}},
                                                 lost));
  EXPECT_EQ(lost, (std::vector<std::size_t>{1, 3, 4}));
}

TEST(HandoverSummaryTest, SummaryOfAnotherLengthOrLaneCountIsRefused) {
  TestTable table;
  fill(table);
  const std::vector<std::byte> summary = table.table().make_summary();
  const std::uint64_t held = table.entry_bytes();
  std::vector<std::size_t> lost;
  std::vector<std::byte> other(summary.begin(), summary.end() - 1);
  EXPECT_FALSE(table.table().rebuild_from_summary(other, {}, lost));
  EXPECT_FALSE(table.table().rebuild_from_summary({}, {}, lost));
  other = summary;
  other.push_back(std::byte{0});
  EXPECT_FALSE(table.table().rebuild_from_summary(other, {}, lost));
  other = summary;
  other[0] = std::byte{kMaxLanes};
  EXPECT_FALSE(table.table().rebuild_from_summary(other, {}, lost));
  EXPECT_EQ(table.entry_bytes(), held);
}

void touch(TestTable& table, std::string_view key) {
  std::uint32_t shard;
  const HashedKey hashed = table.table().hash(bytes_of(key), shard);
  table.table().shard(shard).begin_request();
  table.table().shard(shard).touch(hashed);
}

// Both kinds of start must build the same writers: by the hand-over summary (a kept stop, a takeover) and by a count of the
// table (after a crash). One random history: pairs, entries of many sizes, keys that end or have lapsed, runs of slabs, erases, clears that some lanes have
// not noticed, growth, segments that are split, merged and moved, a split in progress at the stop, slabs that are being emptied,
// streams that hold blocks, and starts in between.
//
// With an eviction policy, memory is so small that keys are evicted all the time.
void compare_starts(std::uint32_t shards, std::uint64_t seed, Eviction eviction = Eviction::kNone) {
  SCOPED_TRACE("shards " + std::to_string(shards) + ", seed " + std::to_string(seed) + ", eviction " +
               std::to_string(static_cast<int>(eviction)));
  const bool evicts = eviction != Eviction::kNone;
  TestTable table({.memory = std::uint64_t{evicts ? 4u : 32u} << 20, .shards = shards, .seed = seed});
  table.table().set_eviction(eviction);
  std::mt19937_64 random(seed);
  std::vector<Table::Stream> streams;
  for (int round = 0; round < 6; ++round) {
    for (int i = 0; i < 4000; ++i) {
      const std::uint64_t number = random() % 3000;
      const std::string key = number % 2 == 0 ? text_of(number) : "entry " + std::to_string(number);
      const std::uint64_t what = random() % 1000;
      if (evicts && what % 4 == 0) touch(table, key);
      if (what < 300) {
        static_cast<void>(table.erase(key));
      } else if (what < 302) {
        if (!evicts || random() % 8 == 0) table.clear();
      } else if (what < 303) {
        const std::uint32_t shard = static_cast<std::uint32_t>(random() % shards);
        const std::uint64_t bytes = random() % 2 == 0 ? 1000 : 100'000;
        const std::uint64_t block = table.table().shard(shard).begin_entry(8, bytes);
        if (block != 0) streams.push_back({shard, block, ShardWriter::new_entry_bytes(8, bytes, kNoEnd)});
      } else {
        const std::uint64_t sizes[] = {8, random() % 300, random() % (evicts ? 30'000 : 5000),
                                       random() % 50 == 0 ? 90'000u : 8u};
        const std::uint64_t ends[] = {kNoEnd, kNoEnd, 5, std::uint64_t{1} << 50};  // long ago, and long after this test
        static_cast<void>(table.put(key, std::string(sizes[random() % 4], 'v'), ends[random() % 4]));
      }
    }
    for (std::uint32_t shard = 0; shard < shards; ++shard) {
      if (random() % 2 == 0 && !evicts) table.force_splits(shard);  // there is no memory for more than upkeep makes
    }
    if (round % 2 == 0) table.reclaim_all();
    table.begin_splits(static_cast<int>(random() % 1500));
    if (round % 3 == 2) table.clear();  // most lanes stop without having noticed it
    const std::vector<std::byte> summary = table.table().make_summary();
    table.restart();
    std::vector<std::size_t> lost;
    ASSERT_TRUE(table.table().rebuild_from_summary(summary, streams, lost));
    EXPECT_TRUE(lost.empty());
    table.table().set_eviction(eviction);
    const WriterState read = table.table().state();
    ASSERT_EQ(table.table().rebuild(streams, lost), 0u);
    EXPECT_TRUE(lost.empty());
    table.table().set_eviction(eviction);
    ASSERT_EQ(read.differences(table.table().state()), "");
  }
  std::uint64_t evicted = 0;
  for (std::uint32_t shard = 0; shard < shards; ++shard) evicted += table.table().shard(shard).evicted();
  EXPECT_TRUE(evicts ? evicted > 500 : evicted == 0) << evicted;
}

TEST(WriterStateAfterAStart, IsTheSameByTheSummaryAsByACountOfTheTable) {
  for (std::uint64_t seed = 1; seed <= 6; ++seed) {
    compare_starts(1, seed);
    compare_starts(4, seed);
  }
}

TEST(WriterStateAfterAStart, IsTheSameWhileKeysAreEvicted) {
  for (const Eviction eviction : {Eviction::kClock, Eviction::kExpiring}) {
    for (std::uint64_t seed = 1; seed <= 3; ++seed) {
      compare_starts(1, seed, eviction);
      compare_starts(4, seed, eviction);
    }
  }
}

TEST(WriterStateAfterAStart, KeepsTheCountsOfAMapThatWasCleared) {
  for (const std::uint32_t shards : {1u, 4u}) {
    TestTable table({.shards = shards});
    for (std::uint64_t i = 0; i < 1000; ++i) ASSERT_EQ(table.put(text_of(i), text_of(i)), StatusCode::kOk);
    table.clear();
    ASSERT_EQ(table.put("a", "1"), StatusCode::kOk);
    ASSERT_EQ(table.put(text_of(1), text_of(1)), StatusCode::kOk);
    const std::vector<std::byte> summary = table.table().make_summary();
    table.restart();
    std::vector<std::size_t> lost;
    ASSERT_TRUE(table.table().rebuild_from_summary(summary, {}, lost));
    EXPECT_EQ(table.keys(), 2u);
    ASSERT_EQ(table.erase("a"), StatusCode::kOk);
    EXPECT_EQ(table.keys(), 1u);
  }
}

// The bytes of a run are counted for the shard that took it.
TEST(WriterStateAfterAStart, ChargesEachRunToItsOwnShard) {
  TestTable table({.memory = std::uint64_t{128} << 20, .shards = 2});
  for (int i = 0; i < 40; ++i)
    ASSERT_EQ(table.put("run " + std::to_string(i), std::string(100'000, 'v')), StatusCode::kOk);
  const std::vector<std::byte> summary = table.table().make_summary();
  table.restart();
  std::vector<std::size_t> lost;
  ASSERT_TRUE(table.table().rebuild_from_summary(summary, {}, lost));
  for (int i = 0; i < 40; ++i) ASSERT_EQ(table.erase("run " + std::to_string(i)), StatusCode::kOk);
  for (std::uint32_t shard = 0; shard < 2; ++shard) {
    EXPECT_EQ(table.header().lane_stats[shard].entry_bytes.load(), 0u) << "shard " << shard;
  }
}

// Few segments of pairs in each shard, which one thread counts, or so many that several do; in all of them chains of several
// buckets.
struct Counted {
  std::uint32_t shards;
  std::uint64_t segments;
};
class WriterStateAfterACount : public testing::TestWithParam<Counted> {
 protected:
  static constexpr std::uint64_t kKeysOfAChain = 12;

  WriterStateAfterACount() {
    for (std::uint32_t shard = 0; shard < shards(); ++shard) {
      segments_ += table_.segments_of<PairBucket>(shard).size();
    }
    if (segments_ < shards() * GetParam().segments) throw std::runtime_error("few segments");
    const std::vector<std::string> chained = table_.keys_of_one_bucket<PairBucket>(segments_ * kKeysOfAChain, text_of);
    std::mt19937_64 random(segments_);
    const auto put_some = [&] {
      for (const std::string& key : chained) {
        if (random() % 8 != 0) put(key);
      }
      for (std::uint64_t i = 0; i < segments_ * 20; ++i) put(text_of(random() % (segments_ * 50)));
      for (std::uint64_t i = 0; i < segments_; ++i) put("entry " + std::to_string(random() % (segments_ * 2)));
      for (const std::string& key : chained) {
        if (random() % 8 == 0) static_cast<void>(table_.erase(key));
      }
    };
    put_some();
    table_.clear();
    put_some();  // some chains are still of before it
  }
  static std::uint32_t shards() { return GetParam().shards; }
  void put(const std::string& key) {
    if (table_.put(key, "12345678") != StatusCode::kOk) throw std::runtime_error("no room");
  }
  // Counts the table. Returns how many links were dropped.
  std::uint64_t count() {
    std::vector<std::size_t> lost;
    return table_.table().rebuild({}, lost);
  }
  // The first buckets, not cleared, of chains of several.
  std::vector<PairBucket*> chains() {
    std::vector<PairBucket*> found;
    const std::uint64_t fill = fill_of(table_.header().change.load());
    for (std::uint32_t shard = 0; shard < shards(); ++shard) {
      for (const std::uint64_t segment : table_.segments_of<PairBucket>(shard)) {
        for (std::uint64_t i = 0; i < kSegmentBuckets<PairBucket>; ++i) {
          PairBucket* bucket = table_.table().region().at<PairBucket>(segment) + i;
          const std::uint64_t header = bucket->header.load();
          if (is_of_fill(header, fill) && (header & kOverflowBit) != 0) found.push_back(bucket);
        }
      }
    }
    return found;
  }
  PairBucket& second_of(const PairBucket& bucket) {
    return *table_.table().region().at<PairBucket>(bucket.link.load() & kOffsetMask);
  }

  TestTable table_{{.buckets = shards() * GetParam().segments * kSegmentBuckets<PairBucket>,
                    .memory = std::uint64_t{512} << 20,
                    .shards = shards()}};
  std::uint64_t segments_ = 0;
};
INSTANTIATE_TEST_SUITE_P(Sizes, WriterStateAfterACount,
                         testing::Values(Counted{1, 50}, Counted{1, 500}, Counted{4, 50}, Counted{4, 420}));

TEST_P(WriterStateAfterACount, IsTheSameAsByTheSummary) {
  ASSERT_GT(chains().size(), segments_ / 2);
  const std::vector<std::byte> summary = table_.table().make_summary();
  table_.restart();
  std::vector<std::size_t> lost;
  ASSERT_TRUE(table_.table().rebuild_from_summary(summary, {}, lost));
  const WriterState read = table_.table().state();
  table_.restart();
  ASSERT_EQ(count(), 0u);
  EXPECT_EQ(read.differences(table_.table().state()), "");
}

// Every third chain was being gathered: a pair is in two of its buckets. Every third leads nowhere, so that the pairs beyond are
// lost. They lie in the parts of all threads.
TEST_P(WriterStateAfterACount, LacksWhatInterruptedGatheringsAndInvalidLinksHaveLeft) {
  ASSERT_EQ(count(), 0u);
  std::uint64_t expected = table_.keys();
  std::uint64_t gathered = 0;
  std::uint64_t cut = 0;
  const std::vector<PairBucket*> all = chains();
  for (std::size_t i = 0; i < all.size(); ++i) {
    PairBucket& first = *all[i];
    const PairBucket& second = second_of(first);
    const std::uint64_t held = second.header.load() & kOccupiedMask;
    if (i % 3 == 0 && held != 0 && (first.header.load() & 2) != 0) {
      first.keys[0] = second.keys[std::countr_zero(held) - 1].load();
      first.link |= kLinkGathers;
      ++gathered;
    } else if (i % 3 == 1) {
      for (const PairBucket* bucket = &first; (bucket->header.load() & kOverflowBit) != 0;) {
        bucket = &second_of(*bucket);
        expected -= static_cast<unsigned>(std::popcount(bucket->header.load() & kOccupiedMask));
      }
      first.link = table_.header().arena_offset - kSlabBytes;
      ++cut;
    }
  }
  ASSERT_GT(gathered, segments_ / 10);
  ASSERT_GT(cut, segments_ / 10);
  expected -= gathered;
  EXPECT_EQ(count(), cut);
  EXPECT_EQ(table_.keys(), expected);
  EXPECT_EQ(count(), 0u);
  EXPECT_EQ(table_.keys(), expected);
}

}  // namespace
}  // namespace hostmap::test
