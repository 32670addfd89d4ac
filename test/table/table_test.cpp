// One thread: every operation is compared with a map, at the sizes where forms, classes and chains change.
#include "layout/table.hpp"

#include <deque>
#include <gtest/gtest.h>
#include <map>
#include <random>
#include <unordered_map>
#include <vector>

#include "layout/journal.hpp"
#include "table_fixture.hpp"

namespace hostmap::test {
namespace {

TEST(TableTest, EightByteKeyAndValueFormAPairAndOthersAnEntry) {
  TestTable table;
  ASSERT_EQ(table.put(text_of(1), text_of(2)), StatusCode::kOk);
  EXPECT_EQ(table.header().lane_stats[0].pair_keys.load(), 1u);
  EXPECT_FALSE(table.mixed());
  ASSERT_EQ(table.put("seven b", text_of(2)), StatusCode::kOk);
  EXPECT_EQ(table.header().lane_stats[0].entry_keys.load(), 1u);
  EXPECT_FALSE(table.mixed()) << "only an entry with an 8-byte key makes a pair's miss uncertain";
  ASSERT_EQ(table.put(text_of(9), "a value that is not a word"), StatusCode::kOk);
  EXPECT_TRUE(table.mixed());
}

TEST(TableTest, PairMovesToTheEntriesWithALongerValueAndBack) {
  TestTable table;
  const TableReader reader = table.reader();
  ASSERT_EQ(table.put(text_of(7), text_of(70)), StatusCode::kOk);
  ASSERT_EQ(table.put(text_of(7), "longer than a word"), StatusCode::kOk);
  EXPECT_EQ(table.keys(), 1u);
  EXPECT_EQ(table.header().lane_stats[0].pair_keys.load(), 0u);
  EXPECT_EQ(get(reader, text_of(7)).value, "longer than a word");
  ASSERT_EQ(table.put(text_of(7), text_of(71)), StatusCode::kOk);
  EXPECT_EQ(table.header().lane_stats[0].pair_keys.load(), 1u);
  EXPECT_EQ(table.header().lane_stats[0].entry_keys.load(), 0u);
  EXPECT_EQ(table.entry_bytes(), 0u) << "the entry's block must be free again";
  EXPECT_EQ(get(reader, text_of(7)).value, text_of(71));
}

TEST(TableTest, KeepsValuesOfEverySizeAroundTheLimitsOfClassesAndLongCopies) {
  TestTable table({.memory = std::uint64_t{64} << 20});
  const TableReader reader = table.reader();
  std::vector<std::size_t> sizes{0, 1, 7, 8, 9, 15, 16, 17, 63, 64, 65, 255, 256, 257};
  for (const std::size_t edge : {kLongValueBytes, kLargestBlock, kSlabBytes, 2 * kSlabBytes, std::uint64_t{1} << 20}) {
    for (const int by : {-25, -17, -1, 0, 1}) sizes.push_back(edge + static_cast<std::size_t>(by));
  }
  for (const std::size_t key_size : {1, 7, 8, 9, 64, 4096, 65536}) {
    const std::string key(key_size, 'k');
    for (const std::size_t size : sizes) {
      const std::string value(size, static_cast<char>('a' + size % 26));
      ASSERT_EQ(table.put(key, value), StatusCode::kOk) << key_size << " " << size;
      const Found found = get(reader, key);
      ASSERT_EQ(found.outcome, ReadOutcome::kHit) << key_size << " " << size;
      ASSERT_EQ(found.value, value) << key_size << " " << size;
    }
    ASSERT_EQ(table.erase(key), StatusCode::kOk);
    ASSERT_EQ(get(reader, key).outcome, ReadOutcome::kMiss);
  }
  EXPECT_EQ(table.entry_bytes(), 0u);
}

TEST(TableTest, TooSmallBufferIsNotWrittenAndTheSizeIsReported) {
  TestTable table;
  ASSERT_EQ(table.put("key", "twelve bytes"), StatusCode::kOk);
  const TableReader reader = table.reader();
  std::byte buffer[12];
  for (std::size_t size = 0; size < 12; ++size) {
    const auto result = reader.get(bytes_of("key"), ValueTarget::buffer(std::span(buffer, size)));
    EXPECT_EQ(result.outcome, ReadOutcome::kTooSmall);
    EXPECT_EQ(result.size, 12u);
  }
  EXPECT_EQ(reader.get(bytes_of("key"), ValueTarget::buffer(buffer)).outcome, ReadOutcome::kHit);
  EXPECT_EQ(std::memcmp(buffer, "twelve bytes", 12), 0);
  EXPECT_EQ(reader.get(bytes_of("key"), ValueTarget::none()).size, 12u);
}

TEST(TableTest, GetInAClosedTableReportsClosed) {
  TestTable table;
  ASSERT_EQ(table.put("key", "value"), StatusCode::kOk);
  table.table().close();
  EXPECT_EQ(get(table.reader(), "key").outcome, ReadOutcome::kClosed);
  EXPECT_EQ(get(table.reader(), text_of(1)).outcome, ReadOutcome::kClosed);
}

TEST(TableTest, MemoryLimitIsNotExceededAndKeysRemain) {
  TestTable table({.memory = std::uint64_t{2} << 20});
  const TableReader reader = table.reader();
  std::uint64_t stored = 0;
  StatusCode code = StatusCode::kOk;
  for (; code == StatusCode::kOk && stored < 1'000'000; ++stored)
    code = table.put("key" + std::to_string(stored), "0123456789");
  ASSERT_EQ(code, StatusCode::kFull);
  --stored;
  EXPECT_LE(table.header().server_stats.memory_bytes.load(), std::uint64_t{2} << 20);
  for (std::uint64_t i = 0; i < stored; ++i) ASSERT_EQ(get(reader, "key" + std::to_string(i)).value, "0123456789") << i;
  EXPECT_EQ(table.keys(), stored);
  // Erasing makes room again, for entries of other sizes, too.
  for (std::uint64_t i = 0; i < stored; ++i) ASSERT_EQ(table.erase("key" + std::to_string(i)), StatusCode::kOk);
  EXPECT_EQ(table.entry_bytes(), 0u);
  EXPECT_EQ(table.put("key", std::string(100'000, 'x')), StatusCode::kOk);
}

TEST(TableTest, KeysForgedIntoOneBucketAreRefusedWhenTheChainIsFull) {
  TestTable table({.buckets = 1});
  const std::vector<std::string> keys = table.keys_of_one_bucket<PairBucket>(kMaxChain * kPlaces + 1, text_of);
  std::uint32_t shard;
  ShardWriter& writer = table.table().shard(0);
  std::uint64_t stored = 0;
  while (writer.put(table.table().hash(bytes_of(keys.at(stored)), shard), bytes_of(text_of(stored))) ==
         StatusCode::kOk) {
    ++stored;  // no upkeep: no split
  }
  EXPECT_EQ(stored, kMaxChain * kPlaces);
  const TableReader reader = table.reader();
  for (std::uint64_t i = 0; i < stored; ++i) ASSERT_EQ(get(reader, keys[i]).value, text_of(i));
  EXPECT_EQ(get(reader, keys[stored]).outcome, ReadOutcome::kMiss);
  // Splits then spread them over many buckets and free the chain's overflow buckets.
  LaneStats& stats = table.header().lane_stats[0];
  constexpr std::uint64_t kPretended = 2'000;  // so that one or two splits are due
  stats.pair_keys.store(stats.pair_keys.load() + kPretended);
  while (writer.reclaim(1)) {
  }
  EXPECT_EQ(table.segments_of<PairBucket>().size(), 3u);
  for (std::uint64_t i = 0; i < stored; ++i) ASSERT_EQ(get(reader, keys[i]).value, text_of(i));
  EXPECT_EQ(table.put(keys[stored], text_of(1)), StatusCode::kOk);
  stats.pair_keys.store(stats.pair_keys.load() - kPretended);
}

// Without the seed nobody can choose a bucket: keys that share one of a thousand buckets under one seed are spread as any keys
// under another.
void keys_forged_for_another_seed_are_spread(std::uint64_t keys) {
  TestTable guessed({.buckets = 1000, .seed = 1});
  TestTable table({.buckets = 1000, .memory = std::uint64_t{256} << 20, .seed = 2});
  std::uint32_t shard;
  std::uint64_t forged = 0;
  for (std::uint64_t word = 0; forged < keys; ++word) {
    const std::string key = text_of(word);
    const HashedKey hashed = guessed.table().hash(bytes_of(key), shard);
    if (segment_bucket<PairBucket>(hashed.hash) != 7) continue;
    ASSERT_EQ(table.put(key, key), StatusCode::kOk);
    ++forged;
  }
  EXPECT_EQ(table.keys(), keys);
  const std::uint64_t buckets = table.segments_of<PairBucket>().size() * kSlabBytes;
  EXPECT_GT(buckets, keys / 7 * sizeof(PairBucket)) << "the table must grow as with any other keys";
  EXPECT_LT(table.header().lane_stats[0].overflow_bytes.load(), buckets / 5);
}
TEST(TableTest, HundredThousandKeysForgedForAnotherSeedAreSpread) { keys_forged_for_another_seed_are_spread(100'000); }
TEST(TableSlowTest, AMillionKeysForgedForAnotherSeedAreSpread) { keys_forged_for_another_seed_are_spread(1'000'000); }

TEST(TableTest, ChainsOfEntriesAreBoundedAndSplitLikewise) {
  TestTable table({.buckets = 1});
  std::uint32_t shard;
  ShardWriter& writer = table.table().shard(0);
  std::uint64_t stored = 0;
  const std::vector<std::string> keys = table.keys_of_one_bucket<EntryBucket>(
      kMaxChain * kPlaces, [](std::uint64_t i) { return "entry " + std::to_string(i); });
  while (writer.put(table.table().hash(bytes_of(keys.at(stored)), shard), bytes_of(std::string_view("value"))) ==
         StatusCode::kOk) {
    ++stored;
  }
  EXPECT_EQ(stored, kMaxChain * kPlaces - (kMaxChain - 1)) << "every bucket but the last gives a cell to the link";
  const std::uint64_t bytes = table.entry_bytes();
  const TableReader reader = table.reader();
  for (std::uint64_t i = 0; i < stored; ++i) ASSERT_EQ(get(reader, keys[i]).outcome, ReadOutcome::kHit);
  table.force_splits();
  for (std::uint64_t i = 0; i < stored; ++i) ASSERT_EQ(get(reader, keys[i]).outcome, ReadOutcome::kHit) << i;
  EXPECT_EQ(table.entry_bytes(), bytes) << "a refused put and a split must not lose a block";
}

// Until the refusal is recorded, a restart must find the block unchanged, so its caller frees it later.
TEST(TableTest, BlockOfARefusedCommitStaysWithItsCaller) {
  constexpr std::uint64_t kValue = 100'000;
  TestTable table({.buckets = 1});
  ShardWriter& writer = table.table().shard(0);
  std::uint32_t shard;
  const std::vector<std::string> keys = table.keys_of_one_bucket<EntryBucket>(
      kMaxChain * kPlaces, [](std::uint64_t i) { return "entry " + std::to_string(i); });
  std::string key;
  StatusCode code = StatusCode::kOk;
  for (std::size_t i = 0; code == StatusCode::kOk; ++i) {
    key = keys.at(i);
    code = writer.put(table.table().hash(bytes_of(key), shard), bytes_of(std::string_view("value")));
  }
  const std::uint64_t entry = writer.begin_entry(key.size(), kValue);
  ASSERT_NE(entry, 0u);
  std::memcpy(writer.entry_payload(entry), key.data(), key.size());
  const std::uint64_t slab = (entry - table.header().arena_offset) / kSlabBytes;
  const std::uint64_t bytes = table.entry_bytes();
  EXPECT_EQ(writer.commit_entry(table.table().hash(bytes_of(key), shard), entry), StatusCode::kFull);
  EXPECT_EQ(table.journal().slab_class(slab).load(), kSlabRunHead);
  EXPECT_EQ(table.entry_bytes(), bytes);
  writer.drop_entry(entry);
  EXPECT_EQ(table.journal().slab_class(slab).load(), kSlabFree);
  EXPECT_LT(table.entry_bytes(), bytes);
}

// The intent is complete before the change is visible, and names it.
TEST(TableTest, EveryKindOfChangeIsSealedInTheJournal) {
  TestTable table;
  Intent& intent = table.journal().intent(0);
  const auto kind = [&] { return static_cast<IntentKind>(intent.kind.load()); };
  ASSERT_EQ(table.put(text_of(1), text_of(1)), StatusCode::kOk);
  EXPECT_EQ(kind(), IntentKind::kPairInsert);
  auto& bucket = *table.table().region().at<PairBucket>(intent.place.load() & ~std::uint64_t{7});
  EXPECT_NE(bucket.header.load() >> (intent.place.load() & 7) & 1, 0u);
  ASSERT_EQ(table.put(text_of(1), text_of(2)), StatusCode::kOk);
  EXPECT_EQ(kind(), IntentKind::kValue);
  EXPECT_EQ(table.table().region().at<Word>(intent.place.load())->load(), 2u);
  ASSERT_EQ(table.put(text_of(1), "long"), StatusCode::kOk);
  EXPECT_EQ(kind(), IntentKind::kMoveToEntry);
  EXPECT_EQ(table.table().region().at<Word>(intent.move_cell.load())->load(), intent.move_word.load());
  ASSERT_EQ(table.put(text_of(1), "longer"), StatusCode::kOk);
  EXPECT_EQ(kind(), IntentKind::kCell);
  EXPECT_EQ(table.table().region().at<Word>(intent.place.load())->load(), intent.new_word.load());
  ASSERT_EQ(table.put(text_of(1), text_of(3)), StatusCode::kOk);
  EXPECT_EQ(kind(), IntentKind::kMoveToPair);
  ASSERT_EQ(table.erase(text_of(1)), StatusCode::kOk);
  EXPECT_EQ(kind(), IntentKind::kPairErase);
  EXPECT_EQ(bucket.header.load() >> (intent.place.load() & 7) & 1, 0u);
}

TEST(TableTest, AnEntryOfOneAlignedWordIsOverwrittenInPlace) {
  TestTable table;
  const std::string key(16, 'k');
  ASSERT_EQ(table.put(key, text_of(1)), StatusCode::kOk);
  Intent& intent = table.journal().intent(0);
  const std::uint64_t cell = intent.new_word.load();
  ASSERT_EQ(table.put(key, text_of(2)), StatusCode::kOk);
  EXPECT_EQ(static_cast<IntentKind>(intent.kind.load()), IntentKind::kValue);
  EXPECT_EQ(intent.place.load(), cell_offset(cell) + kEntryMetaBytes + 16);
  EXPECT_EQ(get(table.reader(), key).value, text_of(2));
}

struct ModelCase {
  std::uint64_t buckets;
  std::uint32_t shards;
};

class TableModelTest : public testing::TestWithParam<ModelCase> {};

// Random operations with keys and values of all forms, compared with std::unordered_map.
TEST_P(TableModelTest, AgreesWithAMapThroughGrowthMovesAndErasure) {
  const char* given = std::getenv("HOSTMAP_SEED");
  const std::uint64_t seed = given != nullptr ? std::strtoull(given, nullptr, 0) : std::random_device{}();
  SCOPED_TRACE("HOSTMAP_SEED=" + std::to_string(seed));
  std::mt19937_64 random(seed);
  TestTable table({.buckets = GetParam().buckets, .memory = std::uint64_t{256} << 20, .shards = GetParam().shards});
  std::deque<TableReader> readers;  // one for each vector width
  for (const VectorWidth width :
       {VectorWidth::kPortable, VectorWidth::kSse2, VectorWidth::kAvx2, VectorWidth::kAvx512}) {
    if (width > widest_vectors()) continue;
    readers.emplace_back(table.table().region().data(), table.table().region().bytes());
    readers.back().use_vectors(width);
  }
  std::unordered_map<std::string, std::string> model;
  const auto any_key = [&] {
    const std::uint64_t number = random() % 3000;
    switch (random() % 4) {
      case 0:
        return text_of(number);
      case 1:
        return text_of(number % 64);
      case 2:
        return "key " + std::to_string(number);
      default:
        return std::string(1 + number % 40, static_cast<char>('a' + number % 26));
    }
  };
  const auto any_value = [&] {
    switch (random() % 4) {
      case 0:
        return text_of(random());
      case 1:
        return std::string(random() % 40, static_cast<char>(random()));
      case 2:
        return text_of(random());
      default:
        return std::string(random() % 6000, static_cast<char>(random()));
    }
  };
  int fast_reads = 0;  // gets that the fast path decided
  for (int i = 0; i < 60'000; ++i) {
    const std::string key = any_key();
    switch (random() % 8) {
      case 0:
      case 1:
      case 2: {
        const std::string value = any_value();
        ASSERT_EQ(table.put(key, value), StatusCode::kOk);
        model[key] = value;
        break;
      }
      case 3:
      case 4:
        ASSERT_EQ(table.erase(key), model.erase(key) != 0 ? StatusCode::kOk : StatusCode::kNotFound)
            << "operation " << i;
        break;
      default: {
        const auto expected = model.find(key);
        const TableReader& reader = readers[static_cast<std::size_t>(i) % readers.size()];
        const Found found = get(reader, key);
        if (const Found seen = as_found(try_get(reader, key)); seen.outcome != ReadOutcome::kContended) {
          ASSERT_EQ(seen, found) << "operation " << i;
          ++fast_reads;
        }
        ASSERT_EQ(found.outcome, expected != model.end() ? ReadOutcome::kHit : ReadOutcome::kMiss) << "operation " << i;
        if (expected != model.end()) {
          ASSERT_EQ(found.value, expected->second) << "operation " << i;
        }
      }
    }
  }
  EXPECT_GT(fast_reads, 5'000);
  EXPECT_EQ(table.keys(), model.size());
  for (const auto& [key, value] : model) ASSERT_EQ(get(readers[0], key).value, value);
  for (const auto& [key, value] : model) ASSERT_EQ(table.erase(key), StatusCode::kOk);
  EXPECT_EQ(table.keys(), 0u);
  EXPECT_EQ(table.entry_bytes(), 0u);
}

INSTANTIATE_TEST_SUITE_P(Buckets, TableModelTest,
                         testing::Values(ModelCase{1, 1}, ModelCase{3, 1}, ModelCase{10, 1}, ModelCase{1000, 1},
                                         ModelCase{4, 4}, ModelCase{10, 4}),
                         [](const auto& tested) {
                           return std::to_string(tested.param.buckets) + "With" + std::to_string(tested.param.shards) +
                                  "Shards";
                         });

// All short histories: three keys (two words, one not), three changes, and after any of them a segment of each form may be
// split.
TEST(TableExhaustiveTest, EveryShortHistoryOfChangesAndSplitsAgreesWithAMap) {
  const std::vector<std::string> keys{text_of(1), text_of(2), "ent"};
  const std::vector<std::string> values{text_of(5), "value"};
  struct Step {
    std::size_t key;
    std::size_t value;  // values.size(): erase
  };
  std::vector<Step> steps;
  for (std::size_t key = 0; key < keys.size(); ++key) {
    for (std::size_t value = 0; value <= values.size(); ++value) steps.push_back({key, value});
  }
  constexpr int kLength = 3;
  std::size_t total = 1;
  for (int i = 0; i < kLength; ++i) total *= steps.size();
  std::size_t splits_seen = 0;
  for (unsigned splits_after = 0; splits_after < 1u << kLength; ++splits_after) {  // bit i: split after change i
    for (std::size_t history = 0; history < total; ++history) {
      TestTable table({.buckets = 1, .memory = std::uint64_t{1} << 20});
      const TableReader reader = table.reader();
      std::map<std::string, std::string> model;
      std::size_t rest = history;
      for (int i = 0; i < kLength; ++i, rest /= steps.size()) {
        const Step step = steps[rest % steps.size()];
        const std::string& key = keys[step.key];
        if (step.value == values.size()) {
          ASSERT_EQ(table.erase(key), model.erase(key) != 0 ? StatusCode::kOk : StatusCode::kNotFound) << history;
        } else {
          ASSERT_EQ(table.put(key, values[step.value]), StatusCode::kOk) << history;
          model[key] = values[step.value];
        }
        if ((splits_after >> i & 1) != 0) table.force_splits();
        for (const std::string& other : keys) {
          const auto expected = model.find(other);
          const Found found = get(reader, other);
          ASSERT_EQ(found.outcome, expected != model.end() ? ReadOutcome::kHit : ReadOutcome::kMiss)
              << "history " << history << " splits " << splits_after;
          if (expected != model.end()) {
            ASSERT_EQ(found.value, expected->second) << "history " << history << " splits " << splits_after;
          }
        }
      }
      splits_seen += table.header().lane_stats[0].splits.load();
      ASSERT_EQ(table.keys(), model.size());
      for (const std::string& key : keys) static_cast<void>(table.erase(key));
      ASSERT_EQ(table.entry_bytes(), 0u);
    }
  }
  EXPECT_EQ(splits_seen, total * (1u << kLength) / 2 * kLength * 2) << "two splits each time";
}

// Chains of every length are split until each key has a bucket of its own: no key is lost or duplicated, and every overflow
// bucket is freed.
TEST(TableExhaustiveTest, ChainsOfEveryLengthSplitWithoutLoss) {
  for (const bool pairs : {true, false}) {
    const std::uint64_t longest = pairs ? kMaxChain * kPlaces : kMaxChain * kPlaces - (kMaxChain - 1);
    for (std::uint64_t length = 0; length <= longest; ++length) {
      TestTable table({.buckets = 1, .memory = std::uint64_t{2} << 20, .seed = 77 + length});
      std::uint32_t shard;
      const std::vector<std::string> keys =
          pairs ? table.keys_of_one_bucket<PairBucket>(length + 1, text_of)
                : table.keys_of_one_bucket<EntryBucket>(length + 1, [](auto i) { return "k" + std::to_string(i); });
      const auto key_of = [&](std::uint64_t i) { return keys[i]; };
      for (std::uint64_t i = 0; i < length; ++i) {
        const std::string key = key_of(i);
        ASSERT_EQ(table.table().shard(0).put(table.table().hash(bytes_of(key), shard), bytes_of(text_of(i))),
                  StatusCode::kOk);
      }
      const TableReader reader = table.reader();
      for (int round = 0; round < 16; ++round) {
        for (std::uint64_t i = 0; i < length; ++i) {
          const Found found = get(reader, key_of(i));
          ASSERT_EQ(found.outcome, ReadOutcome::kHit) << "key " << i << " of " << length << " round " << round;
          ASSERT_EQ(found.value, text_of(i));
        }
        ASSERT_EQ(get(reader, key_of(length)).outcome, ReadOutcome::kMiss);
        table.force_splits();
      }
      ASSERT_EQ(table.keys(), length);
      for (std::uint64_t i = 0; i < length; ++i) ASSERT_EQ(table.erase(key_of(i)), StatusCode::kOk);
      ASSERT_EQ(table.keys(), 0u);
    }
  }
}

}  // namespace
}  // namespace hostmap::test
