// Clear: one store empties the table for readers and writer alike; its memory is freed in bounded steps.
#include <gtest/gtest.h>
#include <string>
#include <thread>

#include "layout/journal.hpp"
#include "layout/table.hpp"
#include "support/sanitizer.hpp"
#include "support/seed.hpp"
#include "table/table_fixture.hpp"
#include "wait/deadline.hpp"

namespace hostmap::test {
namespace {

void fill(TestTable& table, std::uint64_t keys, std::size_t value_bytes = 100) {
  for (std::uint64_t i = 0; i < keys; ++i) {
    ASSERT_EQ(table.put(text_of(i), text_of(i * 3)), StatusCode::kOk);
    ASSERT_EQ(table.put("entry " + std::to_string(i), std::string(value_bytes, 'v')), StatusCode::kOk);
  }
}

void expect_empty(TestTable& table, std::uint64_t keys) {
  const TableReader reader = table.reader();
  EXPECT_EQ(reader.count_keys(), 0u);
  for (std::uint64_t i = 0; i < keys; ++i) {
    ASSERT_EQ(get(reader, text_of(i)).outcome, ReadOutcome::kMiss) << i;
    ASSERT_EQ(get(reader, "entry " + std::to_string(i)).outcome, ReadOutcome::kMiss) << i;
  }
}

TEST(ClearTest, ClearEmptiesTheTableBeforeAnyBucketIsReset) {
  TestTable table({.buckets = 3});
  fill(table, 500);
  const std::uint64_t bytes = table.entry_bytes();
  table.clear();
  EXPECT_EQ(table.entry_bytes(), bytes) << "it is freed later, in steps";
  expect_empty(table, 500);
}

TEST(ClearTest, SweepFreesAllMemoryInBoundedSteps) {
  TestTable table({.buckets = 3});
  fill(table, 2000);
  table.clear();
  ShardWriter& writer = table.table().shard(0);
  std::uint64_t before = table.entry_bytes();
  int steps = 0;
  while (writer.sweep(8)) {
    const std::uint64_t now = table.entry_bytes();
    EXPECT_LE(before - now, std::uint64_t{8} * kMaxChain * kPlaces * 128) << "at most what eight chains hold";
    before = now;
    ++steps;
  }
  EXPECT_GT(steps, 50);
  EXPECT_EQ(table.entry_bytes(), 0u);
  expect_empty(table, 2000);
  fill(table, 2000);
  EXPECT_EQ(table.reader().count_keys(), 4000u);
}

TEST(ClearTest, KeysPutAfterAClearSurviveTheSweep) {
  TestTable table({.buckets = 3});
  fill(table, 300);
  for (int round = 0; round < 5; ++round) {
    table.clear();
    // Some keys of both forms are put again before the sweep has reset their buckets.
    for (std::uint64_t i = 0; i < 300; i += 7) {
      ASSERT_EQ(table.put(text_of(i), round % 2 == 0 ? text_of(i + 1) : "another size"), StatusCode::kOk);
      ASSERT_EQ(table.put("entry " + std::to_string(i), "new"), StatusCode::kOk);
    }
    while (table.table().shard(0).sweep(5)) {
    }
    const TableReader reader = table.reader();
    for (std::uint64_t i = 0; i < 300; ++i) {
      const Found pair = get(reader, text_of(i));
      const Found entry = get(reader, "entry " + std::to_string(i));
      if (i % 7 == 0) {
        ASSERT_EQ(pair.value, round % 2 == 0 ? text_of(i + 1) : "another size");
        ASSERT_EQ(entry.value, "new");
      } else {
        ASSERT_EQ(pair.outcome, ReadOutcome::kMiss);
        ASSERT_EQ(entry.outcome, ReadOutcome::kMiss);
      }
    }
    EXPECT_EQ(reader.count_keys(), 2u * 43);
  }
}

TEST(ClearTest, PutWithoutMemorySweepsBeforeItFails) {
  TestTable table({.buckets = 3, .memory = std::uint64_t{2} << 20});
  StatusCode code = StatusCode::kOk;
  std::uint64_t stored = 0;
  for (; code == StatusCode::kOk; ++stored) code = table.put("key " + std::to_string(stored), std::string(1000, 'v'));
  ASSERT_EQ(code, StatusCode::kFull);
  table.clear();
  EXPECT_EQ(table.put("large", std::string(500'000, 'x')), StatusCode::kOk);
  EXPECT_EQ(get(table.reader(), "large").value, std::string(500'000, 'x'));
}

TEST(ClearTest, BucketIsNeverMistakenForANewerOneAfterManyClears) {
  TestTable table({.buckets = 3, .shards = 2});
  const TableReader reader = table.reader();
  ASSERT_EQ(table.put("key", "old"), StatusCode::kOk);
  ShardWriter& clears = table.table().shard(0);
  // The other shard is not swept. After 254 clears no other one is allowed: the low bits of the new fill would be those of a
  // stale bucket.
  int done = 0;
  while (clears.may_clear()) {
    table.clear();
    while (clears.sweep(100)) {
    }
    ++done;
    ASSERT_EQ(get(reader, "key").outcome, ReadOutcome::kMiss) << done;
    ASSERT_LE(done, 254);
  }
  EXPECT_EQ(done, 254);
  table.table().shard(1).begin_request();
  EXPECT_FALSE(clears.may_clear()) << "the shard has noticed the clear, but not swept";
  while (table.table().shard(1).sweep(100)) {
  }
  EXPECT_TRUE(clears.may_clear());
  for (int i = 0; i < 3; ++i) {  // until the low bits have wrapped
    table.clear();
    ASSERT_EQ(get(reader, "key").outcome, ReadOutcome::kMiss);
    ASSERT_EQ(table.put("key", "new"), StatusCode::kOk);
    ASSERT_EQ(get(reader, "key").value, "new");
  }
}

TEST(ClearTest, KeysOfAShardThatHasNotNoticedTheClearAreNotCounted) {
  TestTable table({.buckets = 4, .shards = 2});
  for (std::uint64_t i = 0; i < 100; ++i) ASSERT_EQ(table.put(text_of(i), text_of(i)), StatusCode::kOk);
  table.clear();
  EXPECT_EQ(table.reader().count_keys(), 0u);
  for (std::uint64_t i = 0; i < 100; ++i) ASSERT_EQ(table.put(text_of(i), text_of(i)), StatusCode::kOk);
  EXPECT_EQ(table.reader().count_keys(), 100u);
}

TEST(ClearTest, IntentOfAClearNamesTheFill) {
  TestTable table;
  ASSERT_EQ(table.put("key", "value"), StatusCode::kOk);
  const std::uint64_t before = fill_of(table.header().change.load());
  table.clear();
  const Intent& intent = table.journal().intent(0);
  EXPECT_EQ(intent.kind.load(), static_cast<std::uint64_t>(IntentKind::kFill));
  EXPECT_EQ(intent.new_word.load(), before + 1);
}

// A second clear would remove what other lanes have stored after the first one.
TEST(ClearTest, RestartDoesNotRepeatAClear) {
  TestTable table;
  table.clear();
  EXPECT_EQ(table.table().shard(0).settle(table.journal().intent(0)), ShardWriter::Settled::kApplied);
  table.header().change.fetch_sub(1);  // as if the server had been killed before the clear
  EXPECT_EQ(table.table().shard(0).settle(table.journal().intent(0)), ShardWriter::Settled::kNothing);
}

// Each value contains its fill. A reader that runs during clears, puts, sweeps and splits never returns an older fill than
// before.
TEST(ClearTest, ConcurrentReadersNeverSeeAnOlderFill) {
  TestTable table({.buckets = 1});
  std::atomic<bool> stop{false};
  std::atomic<std::uint64_t> reads{0};
  std::vector<std::thread> readers;
  for (int r = 0; r < 2; ++r) {
    readers.emplace_back([&, r] {
      const TableReader reader = table.reader();
      Random random(static_cast<std::uint64_t>(r) + 1);
      std::uint64_t newest = 0;
      while (!stop.load()) {
        const std::uint64_t key = random.below(60);
        const Found found = get(reader, random.one_in(2) ? text_of(key) : "entry " + std::to_string(key));
        if (found.outcome != ReadOutcome::kHit) continue;
        std::uint64_t fill;
        std::memcpy(&fill, found.value.data(), sizeof fill);
        if (fill < newest) {
          ADD_FAILURE() << fill << " after " << newest;
          return;
        }
        newest = fill;
        reads.fetch_add(1);
      }
    });
  }
  Random random;
  // On a busy machine the readers may start late.
  Deadline watchdog(std::chrono::seconds(60));
  const auto some_reads = [&] { return reads.load() >= 1000 || watchdog.left() == 0; };
  for (std::uint64_t round = 1; round <= times(400u, 100u) || !some_reads(); ++round) {
    for (int i = 0; i < 100; ++i) {
      const std::uint64_t key = random.below(60);
      const std::string value = text_of(round);
      if (random.one_in(2)) {
        ASSERT_EQ(table.put(text_of(key), random.one_in(3) ? value + value : value), StatusCode::kOk);
      } else {
        ASSERT_EQ(table.put("entry " + std::to_string(key), value + std::string(random.below(40), 'x')),
                  StatusCode::kOk);
      }
    }
    table.clear();
    if (random.one_in(2)) table.table().shard(0).sweep(static_cast<unsigned>(random.below(20)));
  }
  stop.store(true);
  for (std::thread& reader : readers) reader.join();
  EXPECT_GE(reads.load(), 1000u);
}

}  // namespace
}  // namespace hostmap::test
