// The memory limit while it changes: it can be raised and lowered at any time, below what is populated, too.
#include <gtest/gtest.h>
#include <memory>
#include <string>

#include "layout/table.hpp"
#include "table/memory/growth.hpp"
#include "table_fixture.hpp"

namespace hostmap::test {
namespace {

constexpr std::uint64_t kMiB = std::uint64_t{1} << 20;

class Budget : public testing::Test {
 protected:
  Budget() {
    header_->max_memory = 64 * kMiB;
    set(8 * kMiB);
  }
  void set(std::uint64_t limit) { header_->memory_limit.store(limit); }

  std::unique_ptr<TableHeader> header_ = std::make_unique<TableHeader>();
  MemoryBudget budget_{*header_};
};

TEST_F(Budget, TheLastByteCanBeReservedAndNoneBeyondIt) {
  EXPECT_TRUE(budget_.reserve(8 * kMiB - 1));
  EXPECT_EQ(budget_.left(), 1u);
  EXPECT_FALSE(budget_.reserve(2));
  EXPECT_TRUE(budget_.reserve(1));
  EXPECT_EQ(budget_.left(), 0u);
  EXPECT_FALSE(budget_.reserve(1));
}

TEST_F(Budget, AFallBelowWhatIsUsedRefusesAndKeepsTheCount) {
  ASSERT_TRUE(budget_.reserve(6 * kMiB));
  set(4 * kMiB);
  EXPECT_EQ(budget_.limit(), 4 * kMiB);
  EXPECT_EQ(budget_.extent(), 6 * kMiB);
  EXPECT_EQ(budget_.left(), 0u);
  EXPECT_FALSE(budget_.reserve(1));
  EXPECT_EQ(header_->server_stats.memory_bytes.load(), 6 * kMiB);
  budget_.release(3 * kMiB);
  EXPECT_EQ(budget_.left(), kMiB);
  EXPECT_EQ(budget_.extent(), 4 * kMiB);
  EXPECT_TRUE(budget_.reserve(kMiB));
}

TEST_F(Budget, ARiseCanBeReservedAtOnce) {
  ASSERT_TRUE(budget_.reserve(8 * kMiB));
  ASSERT_FALSE(budget_.reserve(1));
  set(9 * kMiB);
  EXPECT_EQ(budget_.left(), kMiB);
  EXPECT_TRUE(budget_.reserve(kMiB));
  EXPECT_FALSE(budget_.reserve(1));
}

TEST_F(Budget, AWordOutOfBoundsCountsAsTheNearestBound) {
  for (const std::uint64_t word : {std::uint64_t{0}, std::uint64_t{1}, kLeastMemory - 1}) {
    set(word);
    EXPECT_EQ(budget_.limit(), kLeastMemory) << word;
  }
  for (const std::uint64_t word : {64 * kMiB + 1, ~std::uint64_t{0}}) {
    set(word);
    EXPECT_EQ(budget_.limit(), 64 * kMiB) << word;
  }
  EXPECT_FALSE(budget_.reserve(64 * kMiB + 1));
  EXPECT_FALSE(budget_.reserve(~std::uint64_t{0}));
}

// All of the memory may become segments of one form, of which each shard then has a part.
TEST_F(Budget, TheSharesOfDirectoriesAreWithheldFromEverythingElse) {
  constexpr std::uint64_t kShare = 4 * 128 * sizeof(Word);  // 256 slabs for two shards
  header_->shard_count = 2;
  EXPECT_EQ(budget_.directory_share(), kShare);
  EXPECT_EQ(budget_.left(), 8 * kMiB - 4 * kShare);
  EXPECT_FALSE(budget_.reserve(8 * kMiB - 4 * kShare + 1));
  EXPECT_TRUE(budget_.reserve(8 * kMiB - 4 * kShare));
  EXPECT_FALSE(budget_.reserve(1));
  // Each directory gets its share, and no more than it.
  for (ShardHeader* shard : {&header_->shards[0], &header_->shards[1]}) {
    for (Word* populated : {&shard->pair_directory_populated, &shard->entry_directory_populated}) {
      EXPECT_FALSE(budget_.reserve(kShare + 1, kShare));
      EXPECT_TRUE(budget_.reserve(kShare, kShare));
      populated->store(kShare);
      EXPECT_EQ(budget_.left(), 0u);
    }
  }
  EXPECT_EQ(header_->server_stats.memory_bytes.load(), 8 * kMiB);
  // With a higher limit, they may have more.
  set(16 * kMiB);
  EXPECT_EQ(budget_.directory_share(), 2 * kShare);
  EXPECT_EQ(budget_.left(), 8 * kMiB - 4 * kShare);
  // Below what is used, a directory still gets its share, and nothing else grows.
  set(4 * kMiB);
  EXPECT_FALSE(budget_.reserve(1));
  header_->shards[0].pair_directory_populated.store(0);
  EXPECT_FALSE(budget_.reserve(1));
  EXPECT_TRUE(budget_.reserve(kShare, kShare));
}

std::string key_of(std::uint64_t number) { return "key " + std::to_string(number); }

// Puts new keys until one is refused. Returns the next number.
std::uint64_t fill(TestTable& table, std::uint64_t number) {
  StatusCode code;
  while ((code = table.put(key_of(number), std::string(1000, 'x'))) == StatusCode::kOk) ++number;
  EXPECT_EQ(code, StatusCode::kFull);
  return number;
}

class LimitedTable : public testing::TestWithParam<std::uint32_t> {};

TEST_P(LimitedTable, GrowsAgainWhenTheLimitRises) {
  TestTable table({.memory = 4 * kMiB, .max_memory = 64 * kMiB, .shards = GetParam()});
  const std::uint64_t first = fill(table, 0);
  EXPECT_LE(table.header().server_stats.memory_bytes.load(), 4 * kMiB);
  table.header().memory_limit.store(16 * kMiB);
  const std::uint64_t second = fill(table, first);
  EXPECT_GT(second, 3 * first);
  EXPECT_LE(table.header().server_stats.memory_bytes.load(), 16 * kMiB);
  table.header().memory_limit.store(64 * kMiB);
  EXPECT_GT(fill(table, second), 3 * second) << "up to the maximum";
  EXPECT_LE(table.header().server_stats.memory_bytes.load(), 64 * kMiB);
}

TEST_P(LimitedTable, KeepsAllThatItHasWhenTheLimitFalls) {
  TestTable table({.memory = 16 * kMiB, .max_memory = 16 * kMiB, .shards = GetParam()});
  const std::uint64_t half = 6000;
  for (std::uint64_t i = 0; i < half; ++i) ASSERT_EQ(table.put(key_of(i), std::string(1000, 'x')), StatusCode::kOk);
  const std::uint64_t populated = table.header().server_stats.memory_bytes.load();
  ASSERT_GT(populated, kMiB);
  table.header().memory_limit.store(kMiB);
  const std::uint64_t count = fill(table, half);
  EXPECT_EQ(table.header().server_stats.memory_bytes.load(), populated) << "only what was populated is used";
  EXPECT_EQ(table.keys(), count);
  for (std::uint64_t i = 0; i < count; ++i) ASSERT_EQ(table.put(key_of(i), std::string(1000, 'y')), StatusCode::kOk);
  for (std::uint64_t i = 0; i < count; ++i)
    ASSERT_EQ(get(table.reader(), key_of(i)).value, std::string(1000, 'y')) << i;
  // Erased memory is used again, if not to the last byte: buckets may take some of it.
  for (std::uint64_t i = 0; i < count; i += 2) ASSERT_EQ(table.erase(key_of(i)), StatusCode::kOk);
  for (std::uint64_t i = 0; i < count; i += 4) {
    ASSERT_EQ(table.put(key_of(i), std::string(1000, 'z')), StatusCode::kOk) << i << " of " << count;
  }
  EXPECT_EQ(table.header().server_stats.memory_bytes.load(), populated);
}

INSTANTIATE_TEST_SUITE_P(Shards, LimitedTable, testing::Values(1u, 3u),
                         [](const auto& test) { return std::to_string(test.param) + "Shards"; });

TEST(MemoryLimit, ARestartBelowWhatIsPopulatedKeepsEveryKey) {
  TestTable table({.memory = 16 * kMiB});
  for (std::uint64_t i = 0; i < 6000; ++i) ASSERT_EQ(table.put(key_of(i), std::string(1000, 'x')), StatusCode::kOk);
  table.header().memory_limit.store(kMiB);
  table.restart();
  std::vector<std::size_t> lost;
  EXPECT_EQ(table.table().rebuild({}, lost), 0u);
  const std::uint64_t count = fill(table, 6000);
  for (std::uint64_t i = 0; i < count; ++i) ASSERT_EQ(table.put(key_of(i), std::string(1000, 'y')), StatusCode::kOk);
  table.header().memory_limit.store(16 * kMiB);
  EXPECT_GT(fill(table, count), count + 3000);
}

}  // namespace
}  // namespace hostmap::test
