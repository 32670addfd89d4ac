// Readers check for torn, foreign and outdated values while one writer changes everything that can change.
//
// Each value contains its key's number, a counter, and a checksum of both in all other words, which reveals a mixture of two
// values, another key's value, or an older value than before. The first test is of this check itself.
#include <array>
#include <atomic>
#include <gtest/gtest.h>
#include <random>
#include <thread>
#include <vector>

#include "layout/table.hpp"
#include "table_fixture.hpp"
#include "wait/deadline.hpp"

namespace hostmap::test {
namespace {

constexpr std::uint64_t kMix = 0x9e37'79b9'7f4a'7c15;

// Value of `words` words: {number, counter}, then a checksum repeated.
std::string make_value(std::uint64_t number, std::uint64_t counter, std::size_t words) {
  std::vector<std::uint64_t> value(words, (number * kMix) ^ counter);
  value[0] = number;
  value[1] = counter;
  return {reinterpret_cast<const char*>(value.data()), value.size() * 8};
}

// The counter of a whole value of `number`; ~0 for anything else.
std::uint64_t counter_of(std::uint64_t number, std::string_view value) {
  if (value.size() < 16 || value.size() % 8 != 0) return ~std::uint64_t{0};
  std::vector<std::uint64_t> words(value.size() / 8);
  std::memcpy(words.data(), value.data(), value.size());
  if (words[0] != number) return ~std::uint64_t{0};
  for (std::size_t i = 2; i < words.size(); ++i) {
    if (words[i] != ((number * kMix) ^ words[1])) return ~std::uint64_t{0};
  }
  return words[1];
}

// A pair's value: counter in the upper, check in the lower bits.
std::uint64_t make_word(std::uint64_t number, std::uint64_t counter) {
  return counter << 20 | ((number ^ counter) & 0xfffff);
}
std::uint64_t counter_of_word(std::uint64_t number, std::uint64_t word) {
  const std::uint64_t counter = word >> 20;
  return (word & 0xfffff) == ((number ^ counter) & 0xfffff) ? counter : ~std::uint64_t{0};
}

TEST(TornReadCheckerTest, DetectsMixedForeignAndTruncatedValues) {
  const std::string one = make_value(3, 10, 8);
  const std::string two = make_value(3, 11, 8);
  EXPECT_EQ(counter_of(3, one), 10u);
  EXPECT_EQ(counter_of(4, one), ~std::uint64_t{0});
  EXPECT_EQ(counter_of(3, one.substr(0, 24) + two.substr(24)), ~std::uint64_t{0});
  EXPECT_EQ(counter_of(3, one.substr(0, 60)), ~std::uint64_t{0});
  EXPECT_EQ(counter_of_word(3, make_word(3, 10)), 10u);
  EXPECT_EQ(counter_of_word(4, make_word(3, 10)), ~std::uint64_t{0});
}

struct HuntCase {
  const char* name;
  bool pairs;
  std::vector<std::size_t> words;  // sizes of values in words, for entries
  std::uint32_t shards;
};

class TornReadTest : public testing::TestWithParam<HuntCase> {};

TEST_P(TornReadTest, AReadIsNeverTornForeignOrOlderThanOneBefore) {
  const HuntCase& hunt = GetParam();
#if HOSTMAP_TSAN
  constexpr int kWrites = 6'000;
#else
  constexpr int kWrites = 150'000;
#endif
  constexpr std::uint64_t kHot = 16;
  TestTable table({.buckets = hunt.shards, .memory = std::uint64_t{256} << 20, .shards = hunt.shards});
  const auto key_of = [&](std::uint64_t number) {
    return hunt.pairs ? text_of(number * kMix) : "hot key number " + std::to_string(number);
  };
  const auto write_hot = [&](std::uint64_t number, std::uint64_t counter, std::mt19937_64& random) {
    return hunt.pairs
               ? table.put(key_of(number), text_of(make_word(number, counter)))
               : table.put(key_of(number), make_value(number, counter, hunt.words[random() % hunt.words.size()]));
  };
  std::mt19937_64 random(11);
  for (std::uint64_t number = 0; number < kHot; ++number) ASSERT_EQ(write_hot(number, 0, random), StatusCode::kOk);

  std::atomic<bool> done{false};
  std::atomic<int> begun{0};
  std::atomic<std::uint64_t> reads{0};
  std::atomic<std::uint64_t> fast_reads{0};  // of those, the ones that the fast path decided
  std::atomic<std::uint64_t> wrong{0};
  const auto read_until_done = [&](std::uint64_t seed) {
    std::mt19937_64 mine(seed);
    const TableReader reader = table.reader();
    std::array<std::uint64_t, kHot> newest{};
    std::uint64_t count = 0;
    while (!done.load(std::memory_order_relaxed)) {
      const std::uint64_t number = mine() % kHot;
      const bool by_fast_path = count % 2 == 0;
      const std::string key = key_of(number);
      const Found result = by_fast_path ? as_found(try_get(reader, key)) : get(reader, key);
      if (++count == 1000) ++begun;
      if (result.outcome == ReadOutcome::kContended) continue;
      if (by_fast_path) ++fast_reads;
      const std::string& value = result.value;
      std::uint64_t counter = ~std::uint64_t{0};
      if (result.outcome == ReadOutcome::kHit) {
        std::uint64_t word = 0;
        if (hunt.pairs) std::memcpy(&word, value.data(), sizeof word);
        counter = hunt.pairs ? counter_of_word(number, word) : counter_of(number, value);
      }
      if (counter == ~std::uint64_t{0} || counter < newest[number]) {
        ++wrong;
      } else {
        newest[number] = counter;
      }
    }
    reads += count;
  };
  std::thread first(read_until_done, 1);
  std::thread second(read_until_done, 2);
  while (begun < 2) std::this_thread::yield();  // on a busy machine they may start late

  // Neighbours of both forms are put and erased, so that chains grow and shrink, and blocks are used again. At intervals a
  // segment of each form is split, or all sparse segments are merged and moved, and their memory is used for something else.
  std::uint64_t neighbours = 0;
  std::uint64_t oldest = 0;
  StatusCode code = StatusCode::kOk;
  for (int i = 1; i <= kWrites && code == StatusCode::kOk && wrong == 0; ++i) {
    code = write_hot(random() % kHot, static_cast<std::uint64_t>(i), random);
    const std::uint64_t number = 1'000'000 + neighbours++;
    if (code == StatusCode::kOk) code = table.put(text_of(number), text_of(number));
    if (code == StatusCode::kOk)
      code = table.put("neighbour " + std::to_string(number), std::string(random() % 300, 'n'));
    if (random() % 4 != 0) {
      static_cast<void>(table.erase(text_of(1'000'000 + oldest)));
      static_cast<void>(table.erase("neighbour " + std::to_string(1'000'000 + oldest)));
      ++oldest;
    }
    constexpr int kResizes = 40;
    if (i % (kWrites / kResizes) == 0) {
      const auto shard = static_cast<std::uint32_t>(i) % table.table().shard_count();
      if (i / (kWrites / kResizes) % 2 == 0) {
        table.force_splits(shard);
      } else {
        table.reclaim_all();
      }
    }
  }
  done = true;
  first.join();
  second.join();
  EXPECT_EQ(code, StatusCode::kOk);
  EXPECT_EQ(wrong.load(), 0u);
  EXPECT_GT(reads.load(), 1000u);
  EXPECT_GT(table.header().lane_stats[0].splits.load(), 10u);
  RecordProperty("reads", std::to_string(reads.load()));
  RecordProperty("fast_reads", std::to_string(fast_reads.load()));
  const bool long_values = !hunt.words.empty() && hunt.words.front() * 8 > kLongValueBytes;
  EXPECT_EQ(fast_reads.load() > 100, !long_values) << "the fast path is for short values";
}

INSTANTIATE_TEST_SUITE_P(Values, TornReadTest,
                         testing::Values(HuntCase{"Pairs", true, {}, 1}, HuntCase{"PairsInFourShards", true, {}, 4},
                                         HuntCase{"SmallEntries", false, {2, 3, 8}, 1},
                                         HuntCase{"PagesOfEntries", false, {512}, 1},
                                         HuntCase{"EntriesOfAllSizes", false, {2, 9, 127, 128, 129, 512, 4096}, 4}),
                         [](const auto& tested) { return tested.param.name; });

// A get of a key that moves repeatedly between the forms never misses, and never returns an old value of the other form.
TEST(TornReadMoveTest, AKeyThatMovesBetweenTheFormsIsAlwaysFound) {
#if HOSTMAP_TSAN
  constexpr std::uint64_t kMoves = 5'000;
#else
  constexpr std::uint64_t kMoves = 200'000;
#endif
  TestTable table;
  const std::string key = text_of(42);
  ASSERT_EQ(table.put(key, text_of(make_word(1, 0))), StatusCode::kOk);
  std::atomic<bool> done{false};
  std::atomic<std::uint64_t> wrong{0};
  std::atomic<std::uint64_t> reads{0};
  std::thread reading([&] {
    const TableReader reader = table.reader();
    std::uint64_t newest = 0;
    for (bool by_fast_path = false; !done; by_fast_path = !by_fast_path) {
      const Found result = by_fast_path ? as_found(try_get(reader, key)) : get(reader, key);
      if (result.outcome == ReadOutcome::kContended) continue;
      ++reads;
      const std::string& value = result.value;
      std::uint64_t counter = ~std::uint64_t{0};
      if (result.outcome == ReadOutcome::kHit && value.size() == 8) {
        std::uint64_t word;
        std::memcpy(&word, value.data(), 8);
        counter = counter_of_word(1, word);
      } else if (result.outcome == ReadOutcome::kHit) {
        counter = counter_of(1, value);
      }
      if (counter == ~std::uint64_t{0} || counter < newest) {
        ++wrong;
      } else {
        newest = counter;
      }
    }
  });
  Deadline watchdog(std::chrono::seconds(60));
  const auto some_reads = [&] { return reads > 1000 || watchdog.left() == 0; };
  for (std::uint64_t i = 1; (i <= kMoves || !some_reads()) && wrong == 0; ++i) {
    ASSERT_EQ(i % 3 == 0 ? table.put(key, text_of(make_word(1, i))) : table.put(key, make_value(1, i, 2 + i % 5)),
              StatusCode::kOk);
  }
  done = true;
  reading.join();
  EXPECT_EQ(wrong.load(), 0u);
  EXPECT_GT(reads.load(), 1000u);
}

}  // namespace
}  // namespace hostmap::test
