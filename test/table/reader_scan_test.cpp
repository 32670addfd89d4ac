// The scan of all keys: it returns every key that is present throughout, and none twice, whatever happens between two steps.
#include <gtest/gtest.h>
#include <set>
#include <string>
#include <thread>
#include <unordered_map>

#include "support/sanitizer.hpp"
#include "support/seed.hpp"
#include "table/read/scan.hpp"
#include "table/table_fixture.hpp"

namespace hostmap::test {
namespace {

struct Case {
  std::uint64_t buckets;
  std::uint32_t shards;
};
class ScanTest : public testing::TestWithParam<Case> {
 protected:
  TestTable table_{{.buckets = GetParam().buckets, .shards = GetParam().shards}};
  TableReader reader_ = table_.reader();

  // Runs a scan to its end, and calls `between(step)` after each step. Fails if a key is returned twice.
  template <typename Between>
  std::unordered_map<std::string, std::uint64_t> walk(std::string_view prefix, Between&& between) {
    TableScan scan(reader_, bytes_of(prefix));
    std::unordered_map<std::string, std::uint64_t> met;
    for (std::uint64_t step = 0;; ++step) {
      const TableScan::Step outcome = scan.next();
      if (outcome == TableScan::Step::kDone) return met;
      EXPECT_EQ(outcome, TableScan::Step::kItems) << "there is no concurrent writer";
      if (outcome != TableScan::Step::kItems) return met;
      for (const TableScan::Item& item : scan.items()) {
        EXPECT_TRUE(met.emplace(item.key, item.value).second) << "returned twice: " << testing::PrintToString(item.key);
        if (item.is_pair) {
          EXPECT_EQ(item.key.size(), 8u);
        }
      }
      between(step);
    }
  }
};

TEST_P(ScanTest, ScanOfAnEmptyTableReturnsNothing) {
  EXPECT_TRUE(walk("", [](std::uint64_t) {}).empty());
}

TEST_P(ScanTest, ReturnsEveryKeyOfBothFormsOnce) {
  std::set<std::string> keys;
  for (std::uint64_t i = 0; i < 3000; ++i) {
    for (const std::string& key : {text_of(i * 7919), "entry " + std::to_string(i)}) {
      // Some 8-byte keys are entries, as their values do not have 8 bytes.
      ASSERT_EQ(table_.put(key, i % 5 == 0 ? "value" : text_of(i)), StatusCode::kOk);
      keys.insert(key);
    }
  }
  const auto met = walk("", [](std::uint64_t) {});
  EXPECT_EQ(met.size(), keys.size());
  for (const std::string& key : keys) ASSERT_TRUE(met.contains(key)) << testing::PrintToString(key);
  EXPECT_EQ(met.at(text_of(7919)), 1u) << "a pair must be returned with its value";
}

TEST_P(ScanTest, PrefixSelectsKeys) {
  for (const char* key : {"user:1", "user:2", "use", "user", "other:1", "12345678", "user:345"}) {
    ASSERT_EQ(table_.put(key, "v"), StatusCode::kOk);
  }
  const auto met = walk("user:", [](std::uint64_t) {});
  EXPECT_EQ(met.size(), 3u);
  EXPECT_TRUE(met.contains("user:1") && met.contains("user:2") && met.contains("user:345"));
  EXPECT_EQ(walk("12345678", [](std::uint64_t) {}).size(), 1u);
  EXPECT_EQ(walk("user:3456", [](std::uint64_t) {}).size(), 0u);
}

TEST_P(ScanTest, KeysPresentThroughoutAreReturnedOnceDuringSplitsAndMovesBetweenForms) {
  Random random;
  for (int round = 0; round < 20; ++round) {
    TestTable table({.buckets = GetParam().buckets, .shards = GetParam().shards});
    const TableReader reader = table.reader();
    std::set<std::string> always;
    for (std::uint64_t i = 0; i < 200; ++i) {
      always.insert(i % 2 == 0 ? text_of(random.word()) : "always " + std::to_string(i));
    }
    const auto value = [&] { return random.one_in(2) ? text_of(random.word()) : std::string(random.below(30), 'v'); };
    for (const std::string& key : always) ASSERT_EQ(table.put(key, value()), StatusCode::kOk);
    TableScan scan(reader, {});
    std::set<std::string> met;
    std::uint64_t added = 0;
    for (;;) {
      const TableScan::Step outcome = scan.next();
      if (outcome == TableScan::Step::kDone) break;
      ASSERT_EQ(outcome, TableScan::Step::kItems);
      for (const TableScan::Item& item : scan.items()) ASSERT_TRUE(met.insert(item.key).second);
      for (std::uint64_t writes = random.below(6); writes > 0 && added < 5000; --writes) {
        switch (random.below(3)) {
          case 0: {  // moves between the forms, as its value's size changes
            auto at = always.begin();
            std::advance(at, static_cast<std::ptrdiff_t>(random.below(always.size())));
            ASSERT_EQ(table.put(*at, value()), StatusCode::kOk);
            break;
          }
          case 1:
            ASSERT_EQ(table.put(text_of(~added), value()), StatusCode::kOk);
            ++added;
            break;
          default:
            ASSERT_EQ(table.put("added " + std::to_string(added), value()), StatusCode::kOk);
            ++added;
        }
      }
    }
    for (const std::string& key : always) {
      ASSERT_TRUE(met.contains(key)) << "round " << round << ": " << testing::PrintToString(key);
    }
  }
}

TEST_P(ScanTest, ClearEndsAScan) {
  for (std::uint64_t i = 0; i < 500; ++i) ASSERT_EQ(table_.put(text_of(i), text_of(i)), StatusCode::kOk);
  std::size_t before = 0;
  TableScan scan(reader_, {});
  for (int i = 0; i < 3; ++i) {
    ASSERT_EQ(scan.next(), TableScan::Step::kItems);
    before += scan.items().size();
  }
  table_.clear();
  for (TableScan::Step step = scan.next(); step != TableScan::Step::kDone; step = scan.next()) {
    ASSERT_EQ(step, TableScan::Step::kItems);
    ASSERT_TRUE(scan.items().empty());
  }
  EXPECT_LT(before, 500u);
}

TEST_P(ScanTest, ScanOfAClosedTableReportsClosed) {
  ASSERT_EQ(table_.put("key", "value"), StatusCode::kOk);
  table_.table().close();
  EXPECT_EQ(TableScan(reader_, {}).next(), TableScan::Step::kClosed);
}

INSTANTIATE_TEST_SUITE_P(Tables, ScanTest,
                         testing::Values(Case{1, 1}, Case{3, 1}, Case{10, 1}, Case{1000, 1}, Case{7, 3}),
                         [](const auto& test) {
                           return std::to_string(test.param.buckets) + "Buckets" + std::to_string(test.param.shards) +
                                  "Shards";
                         });

// The same beside a running writer.
TEST(ScanThreadsTest, KeysPresentThroughoutAreReturnedOnceBesideAWriter) {
  TestTable table({.buckets = 2});
  constexpr std::uint64_t kAlways = 200;
  for (std::uint64_t i = 0; i < kAlways; ++i) {
    ASSERT_EQ(table.put(text_of(i), text_of(i)), StatusCode::kOk);
    ASSERT_EQ(table.put("always " + std::to_string(i), "value"), StatusCode::kOk);
  }
  std::atomic<bool> stop{false};
  std::thread writer([&] {
    Random random(7);
    for (std::uint64_t i = 0; !stop.load(); ++i) {
      const std::uint64_t key = random.below(kAlways);
      static_cast<void>(table.put(text_of(key), random.one_in(2) ? text_of(i) : "no word"));
      static_cast<void>(table.put("always " + std::to_string(key), std::string(random.below(50), 'v')));
      if (i < 20'000) static_cast<void>(table.put(text_of(1'000'000 + i), text_of(i)));
      if (i % 3 == 0) static_cast<void>(table.erase(text_of(1'000'000 + random.below(i + 1))));
    }
  });
  const TableReader reader = table.reader();
  std::uint64_t contended = 0;
  for (int round = 0; round < times(20, 5); ++round) {
    TableScan scan(reader, {});
    std::set<std::string> met;
    for (TableScan::Step step = scan.next(); step != TableScan::Step::kDone; step = scan.next()) {
      ASSERT_NE(step, TableScan::Step::kClosed);
      contended += step == TableScan::Step::kContended ? 1 : 0;
      if (step != TableScan::Step::kItems) continue;
      for (const TableScan::Item& item : scan.items()) ASSERT_TRUE(met.insert(item.key).second);
    }
    for (std::uint64_t i = 0; i < kAlways; ++i) {
      ASSERT_TRUE(met.contains(text_of(i))) << i;
      ASSERT_TRUE(met.contains("always " + std::to_string(i))) << i;
    }
  }
  stop.store(true);
  writer.join();
  std::printf("looks that were disturbed: %llu\n", static_cast<unsigned long long>(contended));
}

}  // namespace
}  // namespace hostmap::test
