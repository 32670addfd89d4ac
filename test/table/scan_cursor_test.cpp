// Scans in parts: from cursor to cursor, each part by a walk of its own, keys that are present throughout are returned once,
// whatever happens to the table between two parts.
#include <gtest/gtest.h>
#include <map>
#include <set>
#include <string>

#include "support/seed.hpp"
#include "table/read/scan.hpp"
#include "table/table_fixture.hpp"

namespace hostmap::test {
namespace {

struct Case {
  std::uint64_t buckets;
  std::uint32_t shards;
};

class ScanCursorTest : public testing::TestWithParam<Case> {
 protected:
  TestTable table_{{.buckets = GetParam().buckets, .shards = GetParam().shards}};
  TableReader reader_ = table_.reader();

  // Reads one bucket from `cursor` on, adds its keys to `met`, and returns the next cursor. Fails if a key is returned twice.
  std::uint64_t step(std::uint64_t cursor, std::set<std::string>& met) {
    TableScan scan(reader_, {});
    EXPECT_TRUE(scan.seek(cursor)) << cursor;
    EXPECT_EQ(scan.cursor(), cursor);
    EXPECT_EQ(scan.next(), TableScan::Step::kItems);
    for (const TableScan::Item& item : scan.items()) {
      EXPECT_TRUE(met.insert(item.key).second) << "returned twice: " << testing::PrintToString(item.key);
    }
    EXPECT_LT(scan.cursor(), std::uint64_t{1} << 53);
    return scan.cursor();
  }
};

TEST_P(ScanCursorTest, CursorsOnlyRiseUntilTheyEndWithZero) {
  for (std::uint64_t i = 0; i < 3'000; ++i) {
    ASSERT_EQ(table_.put(text_of(i), text_of(i)), StatusCode::kOk);
    ASSERT_EQ(table_.put("entry " + std::to_string(i), "value"), StatusCode::kOk);
  }
  std::set<std::string> met;
  for (std::uint64_t cursor = step(0, met); cursor != 0;) {
    const std::uint64_t next = step(cursor, met);
    ASSERT_TRUE(next > cursor || next == 0);
    cursor = next;
  }
  EXPECT_EQ(met.size(), 6'000u);
}

TEST_P(ScanCursorTest, CursorsThatNoScanReturnsAreRefused) {
  TableScan scan(reader_, {});
  EXPECT_FALSE(scan.seek(std::uint64_t{1} << 53));
  EXPECT_FALSE(scan.seek(~std::uint64_t{0}));
  if (GetParam().shards < kMaxLanes) {
    EXPECT_FALSE(scan.seek(std::uint64_t{GetParam().shards} << 47)) << "a shard that the table does not have";
  }
  EXPECT_FALSE(scan.seek(std::uint64_t{256} << 38)) << "a bucket that no segment of pairs has";
  EXPECT_TRUE(scan.seek(std::uint64_t{255} << 38));
  EXPECT_TRUE(scan.seek(std::uint64_t{1} << 52 | std::uint64_t{511} << 38));
}

// Against a model of the keys that are present from the first part to the last.
TEST_P(ScanCursorTest, KeysPresentThroughoutAreReturnedOnceAcrossSplitsMergesAndMovesBetweenForms) {
  Random random;
  for (int round = 0; round < 6; ++round) {
    std::map<std::string, bool> present;  // and: from the beginning?
    const auto any_key = [&] {
      const std::uint64_t number = random.below(4'000);
      return random.one_in(2) ? text_of(number * 7919) : "key " + std::to_string(number);
    };
    const auto value = [&] { return random.one_in(2) ? text_of(random.word()) : std::string(random.below(30), 'v'); };
    const auto change = [&](bool grow) {
      const std::string key = any_key();
      if (grow || present.contains(key)) {
        ASSERT_EQ(table_.put(key, value()), StatusCode::kOk);
        present.try_emplace(key, false);
      }
      if (!grow && random.one_in(4) && present.erase(key) != 0) {
        ASSERT_EQ(table_.erase(key), StatusCode::kOk);
      }
    };
    for (int i = 0; i < 2'000; ++i) ASSERT_NO_FATAL_FAILURE(change(true));
    for (auto& [key, throughout] : present) throughout = true;

    std::set<std::string> met;
    std::uint64_t cursor = 0;
    int parts = 0;
    do {
      cursor = step(cursor, met);
      for (std::uint64_t i = random.below(5); i > 0; --i) ASSERT_NO_FATAL_FAILURE(change(random.one_in(3)));
      if (++parts % 60 == 0) {
        const auto shard = static_cast<std::uint32_t>(random.below(GetParam().shards));
        switch (random.below(3)) {
          case 0:
            for (std::uint64_t i = random.below(4); i > 0; --i) table_.force_splits(shard);
            break;
          case 1:
            table_.begin_splits(static_cast<int>(random.below(600)));
            break;
          default:
            table_.reclaim_all();
        }
      }
      ASSERT_FALSE(HasFailure()) << "round " << round;
    } while (cursor != 0);
    for (const auto& [key, throughout] : present) {
      if (throughout) {
        ASSERT_TRUE(met.contains(key)) << "round " << round << ": " << testing::PrintToString(key);
      }
    }
    for (const auto& [key, throughout] : present) ASSERT_EQ(table_.erase(key), StatusCode::kOk);
  }
  std::uint64_t splits = 0;
  for (std::uint32_t shard = 0; shard < GetParam().shards; ++shard) {
    splits += table_.header().lane_stats[shard].splits.load();
  }
  EXPECT_GT(splits, 0u);
}

TEST_P(ScanCursorTest, AClearBetweenTwoPartsLeavesTheCursorValid) {
  for (std::uint64_t i = 0; i < 500; ++i) ASSERT_EQ(table_.put(text_of(i), text_of(i)), StatusCode::kOk);
  std::set<std::string> met;
  std::uint64_t cursor = 0;
  for (int i = 0; i < 3; ++i) cursor = step(cursor, met);
  table_.clear();
  ASSERT_EQ(table_.put("after", "value"), StatusCode::kOk);
  met.clear();
  while (cursor != 0) cursor = step(cursor, met);
  EXPECT_EQ(met, std::set<std::string>{"after"});
}

INSTANTIATE_TEST_SUITE_P(Tables, ScanCursorTest,
                         testing::Values(Case{1, 1}, Case{10, 1}, Case{3000, 1}, Case{7, 3}, Case{10, 32}),
                         [](const auto& test) {
                           return std::to_string(test.param.buckets) + "Buckets" + std::to_string(test.param.shards) +
                                  "Shards";
                         });

}  // namespace
}  // namespace hostmap::test
