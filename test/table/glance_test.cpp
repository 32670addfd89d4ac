// A glance: what it tells, and what it must leave to the long way. That it tells the truth beside a writer is torn_read_test's.
#include <gtest/gtest.h>
#include <span>
#include <string>

#include "table_fixture.hpp"

namespace hostmap::test {
namespace {

using Glance = TableReader::Glance;

TEST(GlanceTest, TellsHitsAndMissesOfBothForms) {
  TestTable table;
  const TableReader reader = table.reader();
  EXPECT_EQ(glance(reader, text_of(1)).outcome, Glance::kMiss);
  EXPECT_EQ(glance(reader, "key").outcome, Glance::kMiss);
  ASSERT_EQ(table.put(text_of(1), text_of(2)), StatusCode::kOk);
  EXPECT_EQ(glance(reader, text_of(1)), (Glanced{Glance::kHit, text_of(2)}));
  // Keys and values of every length around a word, and around the longest value that a glance copies.
  for (const std::size_t key_bytes : {1u, 7u, 9u, 15u, 16u, 17u, 255u, 65'536u}) {
    for (const std::size_t value_bytes : {0u, 1u, 7u, 8u, 9u, 100u, 1024u}) {
      const std::string key(key_bytes, static_cast<char>('a' + value_bytes % 26));
      const std::string value(value_bytes, 'v');
      ASSERT_EQ(table.put(key, value), StatusCode::kOk);
      ASSERT_EQ(glance(reader, key), (Glanced{Glance::kHit, value})) << key_bytes << ", " << value_bytes;
      ASSERT_EQ(table.erase(key), StatusCode::kOk);
      ASSERT_EQ(glance(reader, key).outcome, Glance::kMiss) << key_bytes << ", " << value_bytes;
    }
  }
}

TEST(GlanceTest, IsNotTakenInByAKeyThatDiffersInItsLastBytes) {
  TestTable table;
  const TableReader reader = table.reader();
  for (const std::size_t size : {1u, 5u, 7u, 9u, 13u, 16u, 20u, 31u}) {
    const std::string key(size, 'k');
    ASSERT_EQ(table.put(key, "value"), StatusCode::kOk);
    for (std::size_t at = 0; at < size; ++at) {
      std::string other = key;
      other[at] = 'x';
      // With the other key's hash it would not even come to the entry: ask with this one's.
      std::string value;
      std::uint64_t bytes = 0;
      EXPECT_EQ(reader.glance(bytes_of(other), reader.hash_of(bytes_of(key)), ValueTarget::string(value), bytes),
                Glance::kUnclear)
          << size << ", " << at;
    }
  }
}

TEST(GlanceTest, LeavesLongValuesAndSmallBuffersToTheLongWay) {
  TestTable table;
  const TableReader reader = table.reader();
  ASSERT_EQ(table.put("long", std::string(1025, 'v')), StatusCode::kOk);
  EXPECT_EQ(glance(reader, "long").outcome, Glance::kUnclear);
  ASSERT_EQ(table.put("key", "twelve bytes"), StatusCode::kOk);
  ASSERT_EQ(table.put(text_of(1), text_of(2)), StatusCode::kOk);
  std::byte buffer[12] = {};
  for (const std::string& key : {std::string("key"), text_of(1)}) {
    std::uint64_t size = 0;
    const auto outcome = [&](const ValueTarget& target) {
      return reader.glance(bytes_of(key), reader.hash_of(bytes_of(key)), target, size);
    };
    EXPECT_EQ(outcome(ValueTarget::buffer(std::span(buffer, 7))), Glance::kUnclear);
    EXPECT_EQ(buffer[0], std::byte{0}) << "nothing is written where it does not fit";
    EXPECT_EQ(outcome(ValueTarget::none()), Glance::kHit);
    EXPECT_EQ(size, key == "key" ? 12u : 8u);
  }
}

TEST(GlanceTest, DoesNotTakeAMissAmongPairsForTheAnswerWhereEntriesMayHaveTheKey) {
  TestTable table;
  const TableReader reader = table.reader();
  ASSERT_EQ(table.put(text_of(1), "not a word"), StatusCode::kOk);
  ASSERT_TRUE(table.mixed());
  EXPECT_EQ(glance(reader, text_of(1)).outcome, Glance::kUnclear);
  EXPECT_EQ(glance(reader, text_of(2)).outcome, Glance::kUnclear);
}

TEST(GlanceTest, SeesNothingFromBeforeAClear) {
  TestTable table;
  const TableReader reader = table.reader();
  ASSERT_EQ(table.put(text_of(1), text_of(2)), StatusCode::kOk);
  ASSERT_EQ(table.put("key", "value"), StatusCode::kOk);
  table.clear();
  EXPECT_NE(glance(reader, text_of(1)).outcome, Glance::kHit);
  EXPECT_NE(glance(reader, "key").outcome, Glance::kHit);
}

TEST(GlanceTest, AClosedTableIsLeftToTheLongWay) {
  TestTable table;
  ASSERT_EQ(table.put("key", "value"), StatusCode::kOk);
  ASSERT_EQ(table.put(text_of(1), text_of(2)), StatusCode::kOk);
  table.table().close();
  EXPECT_EQ(glance(table.reader(), "key").outcome, Glance::kUnclear);
  EXPECT_EQ(glance(table.reader(), text_of(1)).outcome, Glance::kUnclear);
}

// Whatever a cell or an entry's head says: no fault, and no wrong length.
TEST(GlanceTest, FollowsNothingThatLeadsOutOfTheArena) {
  TestTable table({.buckets = 1});
  const TableReader reader = table.reader();
  ASSERT_EQ(table.put("key", "value"), StatusCode::kOk);
  auto& bucket = *table.table().region().at<EntryBucket>(table.header().shards[0].entries_offset);
  Word* cell = nullptr;
  for (Word& each : bucket.cells) {
    if (each.load() != 0) cell = &each;
  }
  ASSERT_NE(cell, nullptr);
  const std::uint64_t good = cell->load();
  const std::uint64_t arena = table.header().arena_offset;
  const std::uint64_t end = arena + table.header().arena_populated.load();
  for (const std::uint64_t offset :
       {std::uint64_t{0}, arena - 8, cell_offset(good) + 4, end, end + 8, kOffsetMask - 7}) {
    cell->store(make_cell(cell_tag(good), offset));
    EXPECT_EQ(glance(reader, "key").outcome, Glance::kUnclear) << offset;
  }
  cell->store(good);
  Word& meta = *table.table().region().at<Word>(cell_offset(good));
  const std::uint64_t honest = meta.load();
  for (std::uint64_t bit = 0; bit < 64; ++bit) {
    meta.store(honest ^ std::uint64_t{1} << bit);
    const Glanced seen = glance(reader, "key");
    EXPECT_TRUE(seen.outcome == Glance::kUnclear || seen.value.size() <= kLongValueBytes) << bit;
  }
  // Of the right length, but too long for what is left of the arena.
  const std::uint64_t last = end - 16;
  table.table().region().at<Word>(last)->store(honest);
  cell->store(make_cell(cell_tag(good), last));
  EXPECT_EQ(glance(reader, "key").outcome, Glance::kUnclear);
}

}  // namespace
}  // namespace hostmap::test
