// A cache that is full evicts: what it keeps, and that it never refuses what fits.
#include <gtest/gtest.h>
#include <iterator>
#include <map>
#include <random>
#include <string>
#include <vector>

#include "base/ends.hpp"
#include "cache_simulation.hpp"
#include "table_fixture.hpp"

namespace hostmap::test {
namespace {

class EvictionTest : public ::testing::Test {
 protected:
  void make(std::uint64_t memory, Eviction policy = Eviction::kClock, std::uint32_t shards = 1) {
    cache_.emplace(TableSetup{.buckets = 10, .memory = memory, .shards = shards});
    cache_->table().set_eviction(policy);
  }
  bool get(std::string_view key) {
    std::uint32_t shard;
    const HashedKey hashed = cache_->table().hash(bytes_of(key), shard);
    ShardWriter& writer = cache_->table().shard(shard);
    writer.begin_request();
    if (!writer.find(hashed).found) return false;
    writer.touch(hashed);
    return true;
  }
  std::uint64_t sum(Word LaneStats::*counter) {
    std::uint64_t sum = 0;
    for (std::uint32_t i = 0; i < cache_->table().shard_count(); ++i) {
      sum += (cache_->header().lane_stats[i].*counter).load();
    }
    return sum;
  }
  std::uint64_t evicted() { return sum(&LaneStats::evicted); }
  // Like a census: what the writers count is what the table holds.
  void expect_whole() {
    const std::uint64_t pairs = sum(&LaneStats::pair_keys);
    const std::uint64_t entries = sum(&LaneStats::entry_keys);
    cache_->restart();
    std::vector<std::size_t> lost;
    cache_->table().begin_restart();
    for (std::uint32_t i = 0; i < cache_->table().shard_count(); ++i) cache_->table().shard(i).complete_resize();
    EXPECT_EQ(cache_->table().rebuild({}, lost), 0u);
    EXPECT_EQ(sum(&LaneStats::pair_keys), pairs);
    EXPECT_EQ(sum(&LaneStats::entry_keys), entries);
  }

  std::optional<TestTable> cache_;
};

// The worker of a lane may run for the first time when the others have filled the memory. Nobody evicts for another lane.
TEST_F(EvictionTest, ALaneThatComesLastGetsMemory) {
  for (const Eviction policy : {Eviction::kClock, Eviction::kExpiring}) {
    for (const std::uint32_t late : {0u, 3u}) {
      make(std::uint64_t{4} << 20, policy, 4);
      const auto lane_of = [&](const std::string& key) {
        std::uint32_t lane;
        static_cast<void>(cache_->table().hash(bytes_of(key), lane));
        return lane;
      };
      const std::uint64_t end = end_after(std::chrono::hours(1));
      const auto put = [&](const std::string& key, std::size_t bytes) {
        return cache_->put(key, std::string(bytes, 'v'), end);
      };
      // Until nothing is free but the reserve of four slabs, if the others may take so much.
      const Word& free_bytes = cache_->header().server_stats.arena_free_bytes;
      for (std::uint64_t i = 0; evicted() < 5'000 || (i < 50'000 && free_bytes.load() > 4 * kSlabBytes); ++i) {
        const std::string key = "key " + std::to_string(i);
        if (lane_of(key) == late) continue;
        ASSERT_EQ(put(key, 20 + i * 7919 % 3000), StatusCode::kOk) << i;
      }
      for (const bool restarted : {false, true}) {
        if (restarted) {
          expect_whole();
          cache_->table().set_eviction(policy);
        }
        for (std::uint64_t i = 0; i < 3'000; ++i) {
          const std::string key = "late " + std::to_string(i);
          if (lane_of(key) != late) continue;
          ASSERT_EQ(put(key, 20 + i * 7919 % 3000), StatusCode::kOk) << i;
        }
        for (std::uint64_t i = 0; i < 3'000; ++i) {
          ASSERT_EQ(put("any " + std::to_string(i), 20 + i * 7919 % 3000), StatusCode::kOk) << i;
        }
      }
    }
  }
}

struct Ratios {
  double cache = 0;
  double rule = 0;
  double lru = 0;
};

// Gets keys of a trace, and adds those that are missing. The first half fills the cache.
class HitRatio : public EvictionTest, public ::testing::WithParamInterface<TraceSetup> {
 protected:
  template <typename Rule, typename Key>
  Ratios measure(const Key& key_of, const std::string& value) {
    constexpr std::uint64_t kAsked = 400'000;
    // The capacity is what the cache holds when it is full.
    for (std::uint64_t i = 0; evicted() < 5'000; ++i) {
      if (cache_->put(key_of(std::uint64_t{1} << 50 | i), value) != StatusCode::kOk) ADD_FAILURE() << "refused";
      if (i > 10'000'000) ADD_FAILURE() << "never full";
    }
    const std::uint64_t capacity = cache_->keys();
    TraceSetup setup = GetParam();
    setup.keys = capacity * 10;
    if (setup.drift != 0) setup.drift = 20;
    Trace trace(setup);
    Rule rule(capacity);
    SimulatedLru lru(capacity);
    std::uint64_t hits[3] = {};
    for (std::uint64_t i = 0; i < 2 * kAsked; ++i) {
      const std::uint64_t key = trace.next();
      const bool hit = get(key_of(key));
      if (!hit && cache_->put(key_of(key), value) != StatusCode::kOk) ADD_FAILURE() << "refused";
      const bool simulated = rule.ask(key);
      const bool recent = lru.ask(key);
      if (i < kAsked) continue;
      hits[0] += hit;
      hits[1] += simulated;
      hits[2] += recent;
    }
    const auto percent = [&](std::uint64_t count) { return 100.0 * static_cast<double>(count) / kAsked; };
    const Ratios ratios{percent(hits[0]), percent(hits[1]), percent(hits[2])};
    std::printf("%zu keys of %s, exponent %.1f%s%s%s: hits %.2f %%, simulated %.2f, LRU %.2f\n",
                static_cast<std::size_t>(capacity), value.size() == 8 ? "pairs" : "entries", setup.exponent,
                setup.drift != 0 ? ", drift" : "", setup.scan != 0 ? ", scans" : "", setup.once != 0 ? ", once" : "",
                ratios.cache, ratios.rule, ratios.lru);
    return ratios;
  }
};

TEST_P(HitRatio, OfEntriesIsThatOfTheSimulation) {
  make(std::uint64_t{4} << 20);
  const Ratios ratios =
      measure<SimulatedClock>([](std::uint64_t key) { return "entry " + std::to_string(key); }, std::string(100, 'v'));
  EXPECT_NEAR(ratios.cache, ratios.rule, 2);
  EXPECT_GT(ratios.cache, ratios.lru - 1);
  expect_whole();
}

TEST_P(HitRatio, OfPairsIsThatOfTheSimulation) {
  make(std::uint64_t{1} << 20);
  const Ratios ratios = measure<SimulatedPlaces>([](std::uint64_t key) { return text_of(key); }, std::string(8, 'v'));
  EXPECT_NEAR(ratios.cache, ratios.rule, 2);
  EXPECT_GT(ratios.cache, ratios.lru - 1);
  expect_whole();
}

INSTANTIATE_TEST_SUITE_P(Traces, HitRatio,
                         ::testing::Values(TraceSetup{.exponent = 0.8}, TraceSetup{.exponent = 1.0},
                                           TraceSetup{.exponent = 0.8, .drift = 1},
                                           TraceSetup{.exponent = 1.0, .drift = 1},
                                           TraceSetup{.exponent = 0.8, .scan = 4},
                                           TraceSetup{.exponent = 1.0, .once = 4}));

// Sizes that shift, back and forth: nothing is refused, and there is room for nearly as much as in a fresh cache.
class ShiftingSizes : public EvictionTest,
                      public ::testing::WithParamInterface<std::tuple<std::size_t, std::size_t, std::uint32_t>> {
 protected:
  static constexpr std::uint64_t kMemory = std::uint64_t{32} << 20;
  std::uint64_t fill(std::uint64_t begin, std::size_t value_bytes) {
    const std::string value(value_bytes, 'v');
    const std::uint64_t count = 2 * kMemory / (value_bytes + 40);
    const auto key_of = [&](std::uint64_t i) { return value_bytes == 8 ? text_of(i) : "key " + std::to_string(i); };
    for (std::uint64_t i = begin; i < begin + count; ++i) {
      const StatusCode code = cache_->put(key_of(i), value);
      if (code != StatusCode::kOk) {
        ADD_FAILURE() << "refused " << i - begin << " of " << count << " values of " << value_bytes;
        break;
      }
    }
    if (value_bytes == 8) return sum(&LaneStats::pair_keys);
    std::uint64_t present = 0;
    const TableReader reader = cache_->reader();
    for (std::uint64_t i = begin; i < begin + count; ++i) {
      if (reader.get(bytes_of(key_of(i)), ValueTarget::none()).outcome == ReadOutcome::kHit) ++present;
    }
    return present;
  }
};

TEST_P(ShiftingSizes, AreNeverRefused) {
  const auto [first, second, shards] = GetParam();
  make(kMemory, Eviction::kClock, shards);
  const std::uint64_t fresh_second = fill(1'000'000'000, second);
  make(kMemory, Eviction::kClock, shards);
  const std::uint64_t fresh_first = fill(1'000'000'000, first);
  const std::uint64_t then_second = fill(2'000'000'000, second);
  const std::uint64_t then_first = fill(3'000'000'000, first);
  std::printf("%zu, then %zu, then %zu bytes: %.3f, then %.3f of a fresh cache\n", first, second, first,
              static_cast<double>(then_second) / static_cast<double>(fresh_second),
              static_cast<double>(then_first) / static_cast<double>(fresh_first));
  // Pairs and entries share the memory half and half.
  const std::uint64_t parts = (first == 8) != (second == 8) ? 20 : 10;
  EXPECT_GE(then_second * parts, fresh_second * 9);
  EXPECT_GE(then_first * parts, fresh_first * 9);
  expect_whole();
}

INSTANTIATE_TEST_SUITE_P(Sizes, ShiftingSizes,
                         ::testing::Combine(::testing::Values(8, 100, 1000), ::testing::Values(8, 100, 10'000),
                                            ::testing::Values(1u, 4u)));
// Adjacent slabs must not belong to several lanes.
INSTANTIATE_TEST_SUITE_P(LongValues, ShiftingSizes,
                         ::testing::Combine(::testing::Values(100, 10'000), ::testing::Values(50'000),
                                            ::testing::Values(1u)));
INSTANTIATE_TEST_SUITE_P(VeryLongValues, ShiftingSizes,
                         ::testing::Combine(::testing::Values(10'000, 50'000), ::testing::Values(1'000'000),
                                            ::testing::Values(1u)));

// The key of a put is not evicted for it, whether it is new, becomes larger, or changes its form; and whatever else is found has the
// value that was put last.
TEST_F(EvictionTest, KeyOfAPutStaysAndOthersHaveTheirOwnValues) {
  for (const std::uint32_t shards : {1u, 4u}) {
    make(std::uint64_t{4} << 20, Eviction::kClock, shards);
    std::mt19937_64 random(shards);
    const std::size_t largest = shards == 1 ? 40'000 : 10'000;  // slabs of several lanes are not adjacent
    std::map<std::string, std::string> last;
    const auto key_of = [](std::uint64_t number) {
      return number % 2 == 0 ? text_of(number) : "key " + std::to_string(number);
    };
    std::uint64_t found = 0;
    for (std::uint64_t i = 0; i < 40'000; ++i) {
      const std::string key = key_of(random() % 20'000);
      const std::size_t sizes[] = {8, 8, random() % 300, random() % 3'000, random() % 200 == 0 ? largest : 20};
      std::string value = text_of(random());
      value.resize(sizes[random() % std::size(sizes)], 'v');
      std::uint32_t number;
      const HashedKey hashed = cache_->table().hash(bytes_of(key), number);
      ShardWriter& writer = cache_->table().shard(number);
      writer.begin_request();
      ASSERT_EQ(writer.put(hashed, bytes_of(value)), StatusCode::kOk) << i;
      const Found own = get_with_end(cache_->reader(), key);
      ASSERT_EQ(own.outcome, ReadOutcome::kHit)
          << "put " << i << " of " << value.size() << " bytes has evicted its key";
      ASSERT_EQ(own.value, value);
      writer.upkeep({});  // may evict it: a new key is not touched
      last[key] = value;
      const std::string other = key_of(random() % 20'000);
      if (random() % 2 == 0) get(other);  // touches it
      if (const Found seen = get_with_end(cache_->reader(), other); seen.outcome == ReadOutcome::kHit) {
        ASSERT_EQ(seen.value, last.at(other));
        ++found;
      }
    }
    EXPECT_GT(evicted(), 5'000u);
    EXPECT_GT(found, 2'000u);
    expect_whole();
  }
}

// The blocks of values that are being received cannot be moved, and their slabs have many holes, so that one of them after the other is
// emptied in vain: a value of more than half a slab, for which adjacent slabs are emptied, does not wait for the end of that.
TEST_F(EvictionTest, LargeValueFindsRoomOrIsRefusedBesideSlabsThatCannotBeEmptied) {
  for (const Eviction policy : {Eviction::kClock, Eviction::kExpiring}) {
    make(std::uint64_t{4} << 20, policy);
    const auto key_of = [](int number) { return "key " + std::to_string(number); };
    int keys = 0;
    std::vector<std::uint64_t> received;
    ShardWriter& shard = cache_->table().shard(0);
    for (; evicted() == 0 && cache_->put(key_of(keys), std::string(1000, 'v')) == StatusCode::kOk; ++keys) {
      if (keys % 30 == 0) received.push_back(shard.begin_entry(8, 1000));
    }
    for (int i = 0; i < keys; ++i) {
      if (i % 4 != 0) static_cast<void>(cache_->erase(key_of(i)));
    }
    unsigned stored = 0;
    for (int i = 0; i < 100; ++i) {
      stored += cache_->put("large " + std::to_string(i), std::string(27'000, 'l')) == StatusCode::kOk;
    }
    EXPECT_GT(stored, 0u);
    for (const std::uint64_t entry : received) {
      if (entry != 0) shard.drop_entry(entry);
    }
    expect_whole();
  }
}

// Sizes at random, of many classes, in small caches, also one whose reserve a kill has left short: nothing is refused.
class ManySizes : public EvictionTest,
                  public ::testing::WithParamInterface<std::tuple<std::uint64_t, std::uint32_t, std::size_t>> {};

TEST_P(ManySizes, AreNeverRefused) {
  const auto [mebibytes, shards, largest] = GetParam();
  make(mebibytes << 20, Eviction::kClock, shards);
  std::mt19937_64 random(mebibytes * 100 + shards);
  const auto size_up_to = [&](std::size_t most) { return static_cast<std::size_t>(random() % most); };
  std::uint64_t refused = 0;
  for (std::uint64_t i = 0; i < 60'000; ++i) {
    // For some time only small ones, then only large ones, then all.
    const std::size_t size = i / 5'000 % 3 == 0   ? size_up_to(100)
                             : i / 5'000 % 3 == 1 ? largest / 2 + size_up_to(largest / 2)
                                                  : size_up_to(largest);
    const std::string key = random() % 4 == 0 ? text_of(random()) : "key " + std::to_string(random() % 100'000);
    if (cache_->put(key, std::string(size, 'v')) != StatusCode::kOk) ++refused;
    if (i % 20'000 == 10'000) {
      expect_whole();
      cache_->table().set_eviction(Eviction::kClock);
    }
  }
  EXPECT_EQ(refused, 0u);
  EXPECT_GT(evicted(), 1000u);
  expect_whole();
}

INSTANTIATE_TEST_SUITE_P(Small, ManySizes,
                         ::testing::Combine(::testing::Values(4, 16), ::testing::Values(1u, 4u),
                                            ::testing::Values(std::size_t{3000}, std::size_t{10'000})));

}  // namespace
}  // namespace hostmap::test
