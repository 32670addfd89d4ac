// What a server that stops tells the next one of the arena: read again it is the same, and what else it may be is refused.
#include <gtest/gtest.h>
#include <string>
#include <vector>

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

TEST(Told, ReadAgainItIsTheSame) {
  TestTable table({.memory = std::uint64_t{128} << 20});
  fill(table);
  const std::vector<std::byte> told = table.table().tell();
  const std::uint64_t held = table.entry_bytes();
  std::vector<std::size_t> lost;
  ASSERT_TRUE(table.table().adopt_told(told, {}, lost));
  EXPECT_TRUE(table.table().tell() == told);
  EXPECT_EQ(table.entry_bytes(), held);
  EXPECT_TRUE(lost.empty());
}

TEST(Told, AStreamWhoseBlockIsNotUsedIsLost) {
  TestTable table({.memory = std::uint64_t{128} << 20});
  const std::uint64_t small = table.table().shard(0).begin_entry(5, 1000);
  const std::uint64_t large = table.table().shard(0).begin_entry(5, 100'000);
  const std::vector<std::byte> told = table.table().tell();
  std::vector<std::size_t> lost;
  ASSERT_TRUE(table.table().adopt_told(told,
                                       {{0, small, entry_bytes(5, 1000)},
                                        {0, small + 8, entry_bytes(5, 1000)},
                                        {0, large, entry_bytes(5, 100'000)},
                                        {0, large, entry_bytes(5, 10'000'000)},
                                        {0, 0, entry_bytes(5, 1000)}},
                                       lost));
  EXPECT_EQ(lost, (std::vector<std::size_t>{1, 3, 4}));
}

TEST(Told, WhatIsTooShortTooLongOrOfOtherLanesIsRefused) {
  TestTable table;
  fill(table);
  const std::vector<std::byte> told = table.table().tell();
  const std::uint64_t held = table.entry_bytes();
  std::vector<std::size_t> lost;
  std::vector<std::byte> other(told.begin(), told.end() - 1);
  EXPECT_FALSE(table.table().adopt_told(other, {}, lost));
  EXPECT_FALSE(table.table().adopt_told({}, {}, lost));
  other = told;
  other.push_back(std::byte{0});
  EXPECT_FALSE(table.table().adopt_told(other, {}, lost));
  other = told;
  other[0] = std::byte{kMaxLanes};
  EXPECT_FALSE(table.table().adopt_told(other, {}, lost));
  EXPECT_EQ(table.entry_bytes(), held);
}

}  // namespace
}  // namespace hostmap::test
