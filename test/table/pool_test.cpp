// One pool of memory: what one use frees, every other use can take; growth and shrinking lose nothing.
#include <algorithm>
#include <gtest/gtest.h>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "layout/table.hpp"
#include "support/seed.hpp"
#include "table/read/check.hpp"
#include "table/read/scan.hpp"
#include "table_fixture.hpp"

namespace hostmap::test {
namespace {

void expect_sound(TestTable& table) {
  const TableReader reader = table.reader();
  const TableCheck::Report report = TableCheck(reader).run();
  for (const std::string& finding : report.findings) ADD_FAILURE() << finding;
  EXPECT_EQ(report.entries, table.keys());
}

void expect_content(TestTable& table, const std::map<std::string, std::string>& model) {
  const TableReader reader = table.reader();
  for (const auto& [key, value] : model) {
    const Found found = get(reader, key);
    ASSERT_EQ(found.outcome, ReadOutcome::kHit);
    ASSERT_EQ(found.value, value);
  }
  ASSERT_EQ(table.keys(), model.size());
  std::vector<std::string> keys;
  TableScan scan(reader, {});
  for (TableScan::Step step; (step = scan.next()) != TableScan::Step::kDone;) {
    ASSERT_EQ(step, TableScan::Step::kItems);
    for (const TableScan::Item& item : scan.items()) keys.push_back(item.key);
  }
  std::ranges::sort(keys);
  ASSERT_TRUE(std::ranges::adjacent_find(keys) == keys.end()) << "a key was returned twice";
  ASSERT_EQ(keys.size(), model.size());
}

TEST(PoolTest, GrowsAndShrinksWithoutLoss) {
  for (const std::uint32_t shards : {1u, 4u}) {
    TestTable table({.buckets = 1, .shards = shards});
    std::map<std::string, std::string> model;
    for (std::uint64_t i = 0; i < 30'000; ++i) {
      ASSERT_EQ(table.put(text_of(i), text_of(~i)), StatusCode::kOk);
      model[text_of(i)] = text_of(~i);
      const std::string key = "entry " + std::to_string(i);
      ASSERT_EQ(table.put(key, std::string(i % 50, 'v')), StatusCode::kOk);
      model[key] = std::string(i % 50, 'v');
    }
    EXPECT_GT(table.segments_of<PairBucket>().size() * shards, 30u);
    EXPECT_GT(table.segments_of<EntryBucket>().size() * shards, 12u);
    expect_content(table, model);
    expect_sound(table);
    // Erases nine of ten in the order of a map, which is as good as a random order.
    std::uint64_t number = 0;
    for (auto at = model.begin(); at != model.end();) {
      if (++number % 10 == 0) {
        ++at;
        continue;
      }
      ASSERT_EQ(table.erase(at->first), StatusCode::kOk);
      at = model.erase(at);
    }
    table.reclaim_all();
    EXPECT_LT(table.segments_of<PairBucket>().size() * shards, 18u);
    EXPECT_LT(table.segments_of<EntryBucket>().size() * shards, 9u);
    expect_content(table, model);
    expect_sound(table);
    for (const auto& [key, value] : model) ASSERT_EQ(table.erase(key), StatusCode::kOk);
    model.clear();
    table.reclaim_all();
    EXPECT_EQ(table.segments_of<PairBucket>().size(), 1u);
    EXPECT_EQ(table.segments_of<EntryBucket>().size(), 1u);
    expect_content(table, model);
  }
}

struct Kind {
  const char* name;
  std::size_t value_bytes;  // 0: a pair
};
constexpr Kind kKinds[] = {
    {"pairs", 0}, {"100 bytes", 100}, {"1,000 bytes", 1000}, {"10,000 bytes", 10'000}, {"1,000,000 bytes", 1'000'000}};
enum class Emptied { kInOrder, kAtRandom, kCleared };

std::string key_of(const Kind& kind, std::uint64_t i) {
  if (kind.value_bytes == 0) return text_of(i);
  std::string key = "key " + std::to_string(i);
  key.resize(16, '.');
  return key;
}

// Puts until one is refused; returns how many.
std::uint64_t fill(TestTable& table, const Kind& kind) {
  const std::string value = kind.value_bytes == 0 ? std::string(8, 'v') : std::string(kind.value_bytes, 'v');
  std::uint64_t i = 0;
  while (table.put(key_of(kind, i), value) == StatusCode::kOk) ++i;
  return i;
}

void empty(TestTable& table, const Kind& kind, std::uint64_t keys, Emptied how) {
  if (how == Emptied::kCleared) {
    table.clear();
  } else {
    std::vector<std::uint64_t> order(keys);
    for (std::uint64_t i = 0; i < keys; ++i) order[i] = i;
    Random random;
    if (how == Emptied::kAtRandom) {
      for (std::uint64_t i = keys; i > 1; --i) std::swap(order[i - 1], order[random.below(i)]);
    }
    for (const std::uint64_t i : order) ASSERT_EQ(table.erase(key_of(kind, i)), StatusCode::kOk);
  }
  table.reclaim_all();
  ASSERT_EQ(table.keys(), 0u);
}

class PoolOf : public testing::TestWithParam<std::uint32_t> {
 protected:
  static void follow(std::uint32_t shards, std::uint64_t memory);
  static void replace_the_erased(std::uint32_t shards, std::uint64_t memory);
};
class PoolSlowOf : public PoolOf {};

// How much fits into a map does not depend on what it has held before.
void PoolOf::follow(std::uint32_t shards, std::uint64_t memory) {
  std::map<const char*, std::uint64_t> fresh;
  for (const Kind& kind : kKinds) {
    TestTable table({.memory = memory, .shards = shards});
    fresh[kind.name] = fill(table, kind);
    ASSERT_GT(fresh[kind.name], 0u);
  }
  for (const Kind& first : kKinds) {
    for (const Emptied how : {Emptied::kInOrder, Emptied::kAtRandom, Emptied::kCleared}) {
      for (const Kind& second : kKinds) {
        TestTable table({.memory = memory, .shards = shards});
        const std::uint64_t stored = fill(table, first);
        empty(table, first, stored, how);
        const std::uint64_t again = fill(table, second);
        EXPECT_GE(static_cast<double>(again), 0.95 * static_cast<double>(fresh[second.name]))
            << first.name << " -> " << second.name << ", emptied in way " << static_cast<int>(how);
        if (HasFailure()) return;
      }
    }
  }
}

// Data of any other size can use most of a map of which nine tenths were erased.
void PoolOf::replace_the_erased(std::uint32_t shards, std::uint64_t memory) {
  const std::span<const Kind> kinds(kKinds, 4);  // up to 10,000 bytes
  for (const Kind& first : kinds) {
    for (const Kind& second : kinds) {
      if (&first == &second) continue;
      TestTable fresh({.memory = memory, .shards = shards});
      const std::uint64_t most = fill(fresh, second);
      TestTable table({.memory = memory, .shards = shards});
      const std::uint64_t stored = fill(table, first);
      Random random;
      std::uint64_t erased = 0;
      for (std::uint64_t i = 0; i < stored; ++i) {
        if (random.below(10) == 0) continue;
        ASSERT_EQ(table.erase(key_of(first, i)), StatusCode::kOk);
        ++erased;
      }
      table.reclaim_all();
      // Other keys than those that remain: a replaced value would need no new room.
      std::uint64_t added = 0;
      for (std::uint64_t i = 0;; ++i) {
        const std::string key = second.value_bytes == 0 ? text_of(i) : "key of the other " + std::to_string(i);
        if (table.put(key, std::string(std::max<std::size_t>(second.value_bytes, 8), 'w')) != StatusCode::kOk) break;
        ++added;
      }
      const double share = static_cast<double>(erased) / static_cast<double>(stored);
      EXPECT_GE(static_cast<double>(added), 0.8 * share * static_cast<double>(most))
          << first.name << " -> " << second.name;
      expect_sound(table);
    }
  }
}

// With all slabs free, the words of the directory are still needed, and they are not slabs.
TEST(PoolTest, EitherFormGetsAllOfItsSegmentsAfterTheOtherHadAllMemory) {
  constexpr Kind kSmall{"1 byte", 1};
  constexpr TableSetup kSetup{.memory = std::uint64_t{64} << 20};
  const auto expect_like = [](std::uint64_t now, std::uint64_t fresh) {
    EXPECT_NEAR(static_cast<double>(now), static_cast<double>(fresh), 0.02 * static_cast<double>(fresh));
  };
  TestTable first(kSetup);
  const std::uint64_t pairs = fill(first, kKinds[0]);
  const std::size_t pair_segments = first.segments_of<PairBucket>().size();
  empty(first, kKinds[0], pairs, Emptied::kCleared);
  TestTable second(kSetup);
  const std::uint64_t entries = fill(second, kSmall);
  const std::size_t entry_segments = second.segments_of<EntryBucket>().size();
  empty(second, kSmall, entries, Emptied::kCleared);

  expect_like(fill(first, kSmall), entries);
  expect_like(first.segments_of<EntryBucket>().size(), entry_segments);
  expect_like(fill(second, kKinds[0]), pairs);
  expect_like(second.segments_of<PairBucket>().size(), pair_segments);
  for (TestTable* table : {&first, &second}) {
    EXPECT_LE(table->header().server_stats.memory_bytes.load(), kSetup.memory);
  }
}

constexpr std::uint64_t kMiB = std::uint64_t{1} << 20;
TEST_P(PoolOf, EveryKindOfDataFitsAfterEveryOther) { follow(GetParam(), 8 * kMiB); }
TEST_P(PoolOf, MemoryErasedAtRandomServesEveryOtherKind) { replace_the_erased(GetParam(), 8 * kMiB); }
TEST_P(PoolSlowOf, EveryKindOfDataFitsAfterEveryOtherIn32MiB) { follow(GetParam(), 32 * kMiB); }
TEST_P(PoolSlowOf, MemoryErasedAtRandomServesEveryOtherKindIn32MiB) { replace_the_erased(GetParam(), 32 * kMiB); }
class PoolSoakOf : public PoolOf {};
TEST_P(PoolSoakOf, EveryKindOfDataFitsAfterEveryOtherIn1GiB) { follow(GetParam(), 1024 * kMiB); }
TEST_P(PoolSoakOf, MemoryErasedAtRandomServesEveryOtherKindIn1GiB) { replace_the_erased(GetParam(), 1024 * kMiB); }
INSTANTIATE_TEST_SUITE_P(Shards, PoolOf, testing::Values(1u, 4u));
INSTANTIATE_TEST_SUITE_P(Shards, PoolSlowOf, testing::Values(1u, 4u));
INSTANTIATE_TEST_SUITE_P(Shards, PoolSoakOf, testing::Values(1u, 4u));

}  // namespace
}  // namespace hostmap::test
