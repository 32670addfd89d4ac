#include "table/memory/arena.hpp"

#include <gtest/gtest.h>
#include <map>
#include <random>

#include "layout/table.hpp"
#include "table_fixture.hpp"

namespace hostmap::test {
namespace {

TEST(SizeClassTest, EverySizeGetsTheSmallestBlockThatHoldsIt) {
  for (std::uint64_t bytes = 1; bytes <= kLargestBlock; ++bytes) {
    const unsigned chosen = size_class(bytes);
    ASSERT_LT(chosen, kSizeClasses) << bytes;
    ASSERT_GE(class_bytes(chosen), bytes);
    if (chosen > 0) {
      ASSERT_LT(class_bytes(chosen - 1), bytes);
    }
  }
}

TEST(SizeClassTest, ClassesGrowAreAlignedAndFillTheirSlabs) {
  for (unsigned i = 0; i < kSizeClasses; ++i) {
    if (i > 0) {
      EXPECT_GT(class_bytes(i), class_bytes(i - 1));
    }
    EXPECT_EQ(class_bytes(i) % 8, 0u) << "an entry's words must be aligned";
    EXPECT_GE(kSlabBytes / class_bytes(i), 2u);
  }
}

// Blocks lie in populated memory, never overlap, and can all be freed.
TEST(ArenaTest, BlocksOfAllSizesNeverOverlapAndAllReturn) {
  TestTable table({.memory = std::uint64_t{64} << 20});
  ShardWriter& writer = table.table().shard(0);
  std::mt19937_64 random(7);
  std::map<std::uint64_t, std::uint64_t> taken;  // offset -> size
  const auto key_bytes = [](std::uint64_t size) { return size - kEntryMetaBytes; };
  for (int round = 0; round < 20'000; ++round) {
    if (taken.size() > 300 || (random() % 2 == 0 && !taken.empty())) {
      auto victim = std::next(taken.begin(), static_cast<std::ptrdiff_t>(random() % taken.size()));
      writer.drop_entry(victim->first);
      taken.erase(victim);
      continue;
    }
    const std::uint64_t size = random() % 20 == 0 ? 20'000 + random() % 200'000 : kEntryMetaBytes + 1 + random() % 5000;
    const std::uint64_t offset = writer.begin_entry(1, key_bytes(size) - 1);
    ASSERT_NE(offset, 0u);
    ASSERT_EQ(offset % 8, 0u);
    ASSERT_LE(offset + size, table.header().arena_offset + table.header().arena_populated.load());
    const auto next = taken.lower_bound(offset);
    if (next != taken.end()) {
      ASSERT_LE(offset + size, next->first);
    }
    if (next != taken.begin()) {
      ASSERT_LE(std::prev(next)->first + std::prev(next)->second, offset);
    }
    taken[offset] = size;
  }
  for (const auto& block : taken) writer.drop_entry(block.first);
  EXPECT_EQ(table.entry_bytes(), 0u);
}

TEST(ArenaTest, EmptySlabsReturnToThePoolForOtherSizes) {
  TestTable table({.memory = std::uint64_t{4} << 20});
  // Fills the table with one size, erases all of it, and fills it with another size.
  std::uint64_t stored = 0;
  while (table.put("small " + std::to_string(stored), std::string(50, 's')) == StatusCode::kOk) ++stored;
  ASSERT_GT(stored, 10'000u);
  for (std::uint64_t i = 0; i < stored; ++i) ASSERT_EQ(table.erase("small " + std::to_string(i)), StatusCode::kOk);
  std::uint64_t large = 0;
  while (table.put("large " + std::to_string(large), std::string(3000, 'l')) == StatusCode::kOk) ++large;
  EXPECT_GT(large * 3000, stored * 60 / 2) << "at least half of the memory must be available to the other class";
}

TEST(ArenaTest, TakingABlockRaisesTheGenerationOfItsPageFirst) {
  TestTable table;
  ShardWriter& writer = table.table().shard(0);
  const auto generation = [&](std::uint64_t offset) {
    const TableHeader& header = table.header();
    return table.table()
        .region()
        .at<PageGeneration>(header.generations_offset)[(offset - header.arena_offset) / kPageSize]
        .load();
  };
  const std::uint64_t first = writer.begin_entry(8, 2000);
  const std::uint64_t before = generation(first);
  writer.drop_entry(first);
  const std::uint64_t second = writer.begin_entry(8, 2000);
  ASSERT_EQ(first, second) << "this test requires the same block again";
  EXPECT_GT(generation(second), before);
  writer.drop_entry(second);
}

}  // namespace
}  // namespace hostmap::test
