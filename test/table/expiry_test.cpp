// Keys that end: for readers, for the writer, and for the hand that removes what has lapsed. Ends are moments of a clock that no
// test can set: here they lie long before or long after every test, except two tests, which wait.
#include <array>
#include <functional>
#include <gtest/gtest.h>
#include <map>
#include <string>
#include <vector>

#include "base/ends.hpp"
#include "base/platform.hpp"
#include "layout/table.hpp"
#include "support/seed.hpp"
#include "table/read/check.hpp"
#include "table/read/scan.hpp"
#include "table/table_fixture.hpp"

namespace hostmap::test {
namespace {

constexpr std::uint64_t kEarlier = 5;
constexpr std::uint64_t kLater = std::uint64_t{1} << 50;

// One shard, whose requests are made one by one.
class ExpiryTest : public testing::Test {
 protected:
  ShardWriter& writer() { return table_.table().shard(0); }
  HashedKey hashed(std::string_view key) {
    std::uint32_t shard;
    return table_.table().hash(bytes_of(key), shard);
  }
  StatusCode put(std::string_view key, std::string_view value, std::uint64_t end = kNoEnd) {
    writer().begin_request();
    return writer().put(hashed(key), bytes_of(value), end);
  }
  StatusCode expire(std::string_view key, std::uint64_t end) {
    writer().begin_request();
    if (!writer().find(hashed(key)).found) return StatusCode::kNotFound;
    return writer().expire(hashed(key), end);
  }
  StatusCode erase(std::string_view key) {
    writer().begin_request();
    return writer().erase(hashed(key));
  }
  bool writer_finds(std::string_view key) {
    writer().begin_request();
    return writer().find(hashed(key)).found;
  }
  // The end of a key that is there.
  std::uint64_t end_of(std::string_view key) {
    const TableReader reader = table_.reader();
    std::uint64_t end = 99;
    const TableReader::ReadResult found =
        reader.get_with_end(bytes_of(key), reader.hash_of(bytes_of(key)), ValueTarget::none(), end);
    EXPECT_EQ(found.outcome, ReadOutcome::kHit) << key;
    writer().begin_request();
    EXPECT_EQ(writer().find(hashed(key)).end, end) << "writer and reader differ";
    return end;
  }
  LaneStats& stats() { return table_.header().lane_stats[0]; }
  void expect_sound() {
    const TableReader reader = table_.reader();
    const TableCheck::Report report = TableCheck(reader).run();
    EXPECT_TRUE(report.findings.empty()) << report.findings.front();
    EXPECT_TRUE(report.counts_compared);
  }

  TestTable table_;
};

const std::string kKeys[] = {"k", "seven 7", "eight 88", "nine 9999", "a sixteen b. key", std::string(700, 'k')};
const std::string kValues[] = {
    "", "v", "eight 88", std::string(100, 'v'), std::string(1025, 'w'), std::string(40'000, 'x')};

TEST_F(ExpiryTest, AKeyIsThereUntilItsEndWhateverItsLengthAndItsValues) {
  for (const std::string& key : kKeys) {
    for (const std::string& value : kValues) {
      ASSERT_EQ(put(key, value, kLater), StatusCode::kOk);
      EXPECT_EQ(get(table_.reader(), key), (Found{ReadOutcome::kHit, value}));
      EXPECT_EQ(end_of(key), kLater);
      EXPECT_EQ(stats().expiring, 1u);
      ASSERT_EQ(put(key, value, kEarlier), StatusCode::kOk);
      EXPECT_EQ(get(table_.reader(), key).outcome, ReadOutcome::kMiss);
      EXPECT_NE(try_get(table_.reader(), key).outcome, TableReader::FastResult::kHit);
      EXPECT_FALSE(writer_finds(key));
      EXPECT_EQ(erase(key), StatusCode::kNotFound);
      ASSERT_EQ(put(key, value), StatusCode::kOk);
      EXPECT_EQ(get(table_.reader(), key), (Found{ReadOutcome::kHit, value}));
      EXPECT_EQ(end_of(key), kNoEnd);
      EXPECT_EQ(stats().expiring, 0u);
      EXPECT_EQ(table_.keys(), 1u);
      expect_sound();
      ASSERT_EQ(erase(key), StatusCode::kOk);
    }
  }
  EXPECT_EQ(table_.entry_bytes(), 0u);
}

// Several lengths of values are replaced by several others, with and without an end, some of them in place.
TEST_F(ExpiryTest, APutSaysWhetherTheKeyEnds) {
  for (const std::string& key : kKeys) {
    for (const std::string& value : kValues) {
      for (const std::string& next : kValues) {
        ASSERT_EQ(put(key, value, kLater), StatusCode::kOk);
        ASSERT_EQ(put(key, next), StatusCode::kOk);
        EXPECT_EQ(end_of(key), kNoEnd) << key.size() << ", " << value.size() << ", " << next.size();
        ASSERT_EQ(put(key, value, kLater), StatusCode::kOk);
        ASSERT_EQ(put(key, next, kKeepEnd), StatusCode::kOk);
        EXPECT_EQ(end_of(key), kLater);
        EXPECT_EQ(get(table_.reader(), key).value, next);
        ASSERT_EQ(put(key, value, kEarlier), StatusCode::kOk);
        ASSERT_EQ(put(key, next, kKeepEnd), StatusCode::kOk);
        EXPECT_EQ(end_of(key), kNoEnd) << "what has lapsed has no end to keep";
        ASSERT_EQ(put(key, value, kKeepEnd), StatusCode::kOk);
        EXPECT_EQ(end_of(key), kNoEnd);
        EXPECT_EQ(stats().expiring, 0u);
      }
    }
    ASSERT_EQ(erase(key), StatusCode::kOk);
  }
  EXPECT_EQ(table_.entry_bytes(), 0u);
  expect_sound();
}

TEST_F(ExpiryTest, AnEndIsGivenAndTakenAway) {
  for (const std::string& key : kKeys) {
    for (const std::string& value : kValues) {
      EXPECT_EQ(expire(key, kLater), StatusCode::kNotFound);
      ASSERT_EQ(put(key, value), StatusCode::kOk);
      ASSERT_EQ(expire(key, kLater), StatusCode::kOk);
      EXPECT_EQ(end_of(key), kLater);
      ASSERT_EQ(expire(key, kLater + 1), StatusCode::kOk);
      EXPECT_EQ(end_of(key), kLater + 1);
      ASSERT_EQ(expire(key, kNeverEnds), StatusCode::kOk);
      EXPECT_EQ(end_of(key), kNoEnd);
      ASSERT_EQ(expire(key, kLater), StatusCode::kOk);
      EXPECT_EQ(end_of(key), kLater);
      EXPECT_EQ(get(table_.reader(), key), (Found{ReadOutcome::kHit, value}));
      expect_sound();
      ASSERT_EQ(expire(key, kEarlier), StatusCode::kOk);
      EXPECT_EQ(get(table_.reader(), key).outcome, ReadOutcome::kMiss);
      EXPECT_EQ(expire(key, kLater), StatusCode::kNotFound) << "nothing brings back what has lapsed";
      EXPECT_EQ(get(table_.reader(), key).outcome, ReadOutcome::kMiss);
      table_.reclaim_all();
      EXPECT_EQ(table_.keys(), 0u);
      EXPECT_EQ(table_.entry_bytes(), 0u);
    }
  }
}

// A pair with an end is an entry, and one without is a pair again.
TEST_F(ExpiryTest, AKeyOfEightBytesChangesItsForm) {
  const std::string key = text_of(7);
  ASSERT_EQ(put(key, text_of(1)), StatusCode::kOk);
  EXPECT_EQ(stats().pair_keys, 1u);
  ASSERT_EQ(expire(key, kLater), StatusCode::kOk);
  EXPECT_EQ(stats().pair_keys, 0u);
  EXPECT_EQ(stats().entry_keys, 1u);
  EXPECT_EQ(get(table_.reader(), key).value, text_of(1));
  ASSERT_EQ(put(key, text_of(2)), StatusCode::kOk);
  EXPECT_EQ(stats().pair_keys, 1u);
  EXPECT_EQ(stats().entry_keys, 0u);
  EXPECT_EQ(end_of(key), kNoEnd);
  EXPECT_EQ(table_.entry_bytes(), 0u);
}

TEST_F(ExpiryTest, AScanLeavesOutWhatHasLapsedAndACheckCountsIt) {
  for (int i = 0; i < 100; ++i) {
    ASSERT_EQ(put("key " + std::to_string(i), "v", i % 2 == 0 ? kEarlier : kLater), StatusCode::kOk);
  }
  const TableReader reader = table_.reader();
  EXPECT_EQ(TableCheck(reader).run().lapsed, 50u);
  EXPECT_EQ(TableCheck(reader).run().entries, 100u);
  unsigned found = 0;
  TableScan scan(reader, {});
  for (TableScan::Step step = scan.next(); step != TableScan::Step::kDone; step = scan.next()) {
    ASSERT_EQ(step, TableScan::Step::kItems);
    for (const TableScan::Item& item : scan.items()) {
      ++found;
      EXPECT_EQ(std::stoi(item.key.substr(4)) % 2, 1);
    }
  }
  EXPECT_EQ(found, 50u);
}

// Each request examines some buckets: what has lapsed is gone after a bounded number of them, and nothing else is.
TEST_F(ExpiryTest, TheHandRemovesWhatHasLapsedWhileRequestsContinue) {
  constexpr int kMany = 20'000;
  for (int i = 0; i < kMany; ++i) {
    const std::uint64_t end = i % 4 == 0 ? kNoEnd : i % 4 == 1 ? kLater : kEarlier;
    ASSERT_EQ(put("key " + std::to_string(i), std::string(static_cast<std::size_t>(i % 200), 'v'), end),
              StatusCode::kOk);
    writer().upkeep({});
  }
  for (int i = 0; i < kMany; ++i) {
    ASSERT_EQ(put("another", std::to_string(i)), StatusCode::kOk);
    writer().upkeep({});
  }
  EXPECT_EQ(table_.keys(), kMany / 2 + 1u);
  EXPECT_EQ(stats().expiring, kMany / 4u);
  EXPECT_EQ(stats().expired, kMany / 2u);
  for (int i = 0; i < kMany; ++i) {
    EXPECT_EQ(get(table_.reader(), "key " + std::to_string(i)).outcome,
              i % 4 < 2 ? ReadOutcome::kHit : ReadOutcome::kMiss);
  }
  expect_sound();
}

// The rounds of the hand, splits, merges, moves, clears and the requests in between, compared with a map.
TEST_F(ExpiryTest, HistoriesOfEndsAgreeWithAMap) {
  Random random;
  struct Content {
    std::string value;
    std::uint64_t end;
  };
  std::map<std::string, Content> expected;
  for (int step = 0; step < 60'000; ++step) {
    const std::uint64_t number = random.below(3000);
    const std::string key = number % 3 == 0 ? text_of(number) : "key " + std::to_string(number);
    const std::string value = random.one_in(3) ? text_of(number) : std::string(random.below(120), 'v');
    const std::uint64_t ends[] = {kNoEnd, kEarlier, kLater, kKeepEnd};
    const std::uint64_t end = ends[random.below(4)];
    const auto at = expected.find(key);
    switch (random.below(16)) {
      case 0: {
        ASSERT_EQ(erase(key), at != expected.end() ? StatusCode::kOk : StatusCode::kNotFound);
        if (at != expected.end()) expected.erase(at);
        break;
      }
      case 1:
      case 2: {
        const std::uint64_t later = random.one_in(2) ? kLater + 7 : kEarlier;
        ASSERT_EQ(expire(key, later), at != expected.end() ? StatusCode::kOk : StatusCode::kNotFound);
        if (at != expected.end() && later == kEarlier) expected.erase(at);
        if (at != expected.end() && later != kEarlier) at->second.end = later;
        break;
      }
      case 3:
        if (step % 1000 < 10) table_.force_splits();
        if (step % 2000 < 2) table_.reclaim_all();
        if (random.one_in(2000)) {
          table_.clear();
          expected.clear();
        }
        break;
      default: {
        ASSERT_EQ(put(key, value, end), StatusCode::kOk);
        const std::uint64_t now = end != kKeepEnd ? end : at != expected.end() ? at->second.end : kNoEnd;
        if (now == kEarlier) {
          expected.erase(key);
        } else {
          expected[key] = {value, now};
        }
      }
    }
    writer().upkeep({});
    if (step % 5000 == 0) expect_sound();
  }
  table_.reclaim_all();
  EXPECT_EQ(table_.keys(), expected.size()) << "one has lapsed and was never removed, or was removed too early";
  std::uint64_t expiring = 0;
  for (const auto& [key, content] : expected) {
    ASSERT_EQ(get(table_.reader(), key), (Found{ReadOutcome::kHit, content.value})) << key;
    ASSERT_EQ(end_of(key), content.end) << key;
    expiring += content.end != kNoEnd;
  }
  EXPECT_EQ(stats().expiring, expiring);
  EXPECT_GT(stats().expired, 1000u);
  expect_sound();
}

// After a kill the next server counts the ends from the cells, does not have the least of them, and removes what has lapsed.
TEST_F(ExpiryTest, TheNextServerFindsTheKeysThatEnd) {
  for (int i = 0; i < 3000; ++i) {
    ASSERT_EQ(put("key " + std::to_string(i), "v",
                  i % 3 == 0   ? kEarlier
                  : i % 3 == 1 ? kLater
                               : kNoEnd),
              StatusCode::kOk);
  }
  std::vector<std::size_t> lost;
  table_.restart();
  table_.table().begin_restart();
  ASSERT_EQ(table_.table().rebuild({}, lost), 0u);
  EXPECT_EQ(stats().expiring, 2000u);
  EXPECT_EQ(table_.keys(), 3000u);
  table_.reclaim_all();
  EXPECT_EQ(stats().expiring, 1000u);
  EXPECT_EQ(table_.keys(), 2000u);
  expect_sound();
}

TEST_F(ExpiryTest, MemoryOfWhatHasLapsedIsThereForTheNextPut) {
  TableSetup setup;
  setup.memory = std::uint64_t{2} << 20;
  TestTable table(setup);
  ShardWriter& shard = table.table().shard(0);
  const auto fill = [&](const char* name, std::uint64_t end) {
    for (int i = 0;; ++i) {
      std::uint32_t number;
      const std::string key = name + std::to_string(i);
      shard.begin_request();
      // No upkeep: the hand comes only because memory is short.
      if (shard.put(table.table().hash(bytes_of(key), number), bytes_of(std::string(500, 'v')), end) !=
          StatusCode::kOk) {
        return i;
      }
    }
  };
  const int first = fill("first ", kLater);
  for (int i = 0; i < first; ++i) {
    std::uint32_t number;
    const std::string key = "first " + std::to_string(i);
    shard.begin_request();
    ASSERT_EQ(shard.expire(table.table().hash(bytes_of(key), number), kEarlier), StatusCode::kOk);
  }
  const int second = fill("second ", kLater);
  EXPECT_GT(first, 1000);
  EXPECT_GE(second, first * 9 / 10) << "keys that have lapsed keep their memory";
}

// Neither end nor cell nor entry may have a bit that is not defined.
TEST_F(ExpiryTest, BitsWithoutAMeaningAreRefused) {
  ASSERT_EQ(put("key", "value", kLater), StatusCode::kOk);
  EntryBucket& bucket = table_.home_of<EntryBucket>("key");
  Word* cell = nullptr;
  for (Word& each : bucket.cells) {
    if (each.load() != 0) cell = &each;
  }
  ASSERT_NE(cell, nullptr);
  const std::uint64_t good = cell->load();
  EXPECT_NE(good & kCellEnds, 0u);
  const auto findings = [&] {
    const TableReader reader = table_.reader();
    return TableCheck(reader).run().findings.size();
  };
  for (unsigned bit = 45; bit < 48; ++bit) {
    cell->store(good ^ std::uint64_t{1} << bit);
    EXPECT_EQ(findings(), 1u) << bit;
  }
  cell->store(good);
  Word& meta = *table_.table().region().at<Word>(cell_offset(good));
  const std::uint64_t entry = meta.load();
  for (unsigned bit = 16; bit < 24; ++bit) {
    const std::uint64_t flag = std::uint64_t{1} << bit;
    if ((flag & kEntryReserved) == 0) continue;
    meta.store(entry | flag);
    EXPECT_GE(findings(), 1u) << bit;
    EXPECT_EQ(get(table_.reader(), "key").outcome, ReadOutcome::kContended);
    EXPECT_EQ(try_get(table_.reader(), "key").outcome, TableReader::FastResult::kUnclear);
  }
  meta.store(entry);
  EXPECT_EQ(findings(), 0u);
}

// With the precise clock, whatever the coarse one shows: never present after its end, and never absent before it.
TEST_F(ExpiryTest, AKeyEndsAtItsMicrosecond) {
  const TableReader reader = table_.reader();
  const std::array<std::function<bool()>, 4> ways = {
      [&] { return get(reader, "key").outcome == ReadOutcome::kHit; },
      [&] {
        const TableReader::FastResult found = try_get(reader, "key").outcome;
        return found == TableReader::FastResult::kHit ||
               (found == TableReader::FastResult::kUnclear && writer_finds("key"));
      },
      [&] { return writer_finds("key"); },
      [&] {
        TableScan scan(reader, {});
        std::size_t keys = 0;
        while (scan.next() == TableScan::Step::kItems) keys += scan.items().size();
        return keys != 0;
      },
  };
  Random random;
  for (int round = 0; round < 100; ++round) {
    for (const auto& finds : ways) {
      const std::uint64_t end = monotonic_us() + 1 + random.below(3000);
      ASSERT_EQ(put("key", "value", end), StatusCode::kOk);
      for (bool found = true; found;) {
        const std::uint64_t before = monotonic_us();
        found = finds();
        if (found) {
          ASSERT_LT(before, end) << "present after its end";
        } else {
          ASSERT_GE(monotonic_us(), end) << "absent before its end";
        }
      }
    }
  }
}

// A request that has found a key finds it until it is complete, however long that takes, and the other way round.
TEST_F(ExpiryTest, ARequestHasOneMoment) {
  const std::uint64_t end = monotonic_us() + 20'000;
  ASSERT_EQ(put("key", "value", end), StatusCode::kOk);
  writer().begin_request();
  const bool found = writer().find(hashed("key")).found;
  while (is_before(end)) {
  }
  EXPECT_EQ(writer().find(hashed("key")).found, found);
  EXPECT_FALSE(writer_finds("key"));
}

}  // namespace
}  // namespace hostmap::test
