// The fast path of a get (TableReader::try_get()): what it decides, and what it must leave to the slow path. torn_read_test.cpp
// tests it beside a writer.
#include <gtest/gtest.h>
#include <set>
#include <span>
#include <string>
#include <vector>

#include "layout/table.hpp"
#include "table_fixture.hpp"

namespace hostmap::test {
namespace {

using FastResult = TableReader::FastResult;

// A chain of this many entries.
class Chain {
 public:
  Chain(TestTable& table, unsigned keys) : table_(table) {
    // Of different tags, so that the first cell with a key's tag is its own.
    std::set<std::uint16_t> tags;
    for (std::string& key : table.keys_of_one_bucket<EntryBucket>(
             keys + 10, [](auto number) { return "an entry's key " + std::to_string(number); })) {
      if (tags.insert(tag_of(table.reader().hash_of(bytes_of(key)))).second) keys_.push_back(std::move(key));
    }
    keys_.resize(keys + 1);
    another_ = keys_.back();
    keys_.pop_back();
    for (const std::string& key : keys_) {
      std::uint32_t shard;
      const HashedKey hashed = table.table().hash(bytes_of(key), shard);
      EXPECT_EQ(table.table().shard(shard).put(hashed, bytes_of("of " + key)), StatusCode::kOk);  // no upkeep: no split
    }
  }
  const std::vector<std::string>& keys() const { return keys_; }
  // A key of the same bucket that is not in the table.
  const std::string& another() const { return another_; }
  EntryBucket& first() const { return table_.home_of<EntryBucket>(another_); }
  unsigned buckets() const {
    unsigned count = 1;
    for (const EntryBucket* bucket = &first(); is_link(bucket->cells[kPlaces - 1].load()); ++count) {
      bucket = table_.table().region().at<EntryBucket>(cell_offset(bucket->cells[kPlaces - 1].load()));
    }
    return count;
  }

 private:
  TestTable& table_;
  std::vector<std::string> keys_;
  std::string another_;
};

TEST(FastPathTest, FindsHitsAndMissesOfBothForms) {
  TestTable table;
  const TableReader reader = table.reader();
  EXPECT_EQ(try_get(reader, text_of(1)).outcome, FastResult::kMiss);
  EXPECT_EQ(try_get(reader, "key").outcome, FastResult::kMiss);
  ASSERT_EQ(table.put(text_of(1), text_of(2)), StatusCode::kOk);
  EXPECT_EQ(try_get(reader, text_of(1)), (FastGet{FastResult::kHit, text_of(2)}));
  // Keys and values of every length around a word, and around the longest value that the fast path copies.
  for (const std::size_t key_bytes : {1u, 7u, 9u, 15u, 16u, 17u, 255u, 65'536u}) {
    for (const std::size_t value_bytes : {0u, 1u, 7u, 8u, 9u, 100u, 1024u}) {
      const std::string key(key_bytes, static_cast<char>('a' + value_bytes % 26));
      const std::string value(value_bytes, 'v');
      ASSERT_EQ(table.put(key, value), StatusCode::kOk);
      ASSERT_EQ(try_get(reader, key), (FastGet{FastResult::kHit, value})) << key_bytes << ", " << value_bytes;
      ASSERT_EQ(table.erase(key), StatusCode::kOk);
      ASSERT_EQ(try_get(reader, key).outcome, FastResult::kMiss) << key_bytes << ", " << value_bytes;
    }
  }
}

TEST(FastPathTest, ComparesKeysToTheirLastByte) {
  TestTable table;
  const TableReader reader = table.reader();
  for (const std::size_t size : {1u, 5u, 7u, 9u, 13u, 16u, 20u, 31u}) {
    const std::string key(size, 'k');
    ASSERT_EQ(table.put(key, "value"), StatusCode::kOk);
    for (std::size_t at = 0; at < size; ++at) {
      std::string other = key;
      other[at] = 'x';
      // The other key's own hash would not lead to the entry, so this uses the stored key's hash.
      std::string value;
      std::uint64_t bytes = 0;
      EXPECT_EQ(reader.try_get(bytes_of(other), reader.hash_of(bytes_of(key)), ValueTarget::string(value), bytes),
                FastResult::kUnclear)
          << size << ", " << at;
    }
  }
}

TEST(FastPathTest, LeavesLongValuesAndSmallBuffersUndecided) {
  TestTable table;
  const TableReader reader = table.reader();
  ASSERT_EQ(table.put("long", std::string(1025, 'v')), StatusCode::kOk);
  EXPECT_EQ(try_get(reader, "long").outcome, FastResult::kUnclear);
  ASSERT_EQ(table.put("key", "twelve bytes"), StatusCode::kOk);
  ASSERT_EQ(table.put(text_of(1), text_of(2)), StatusCode::kOk);
  std::byte buffer[12] = {};
  for (const std::string& key : {std::string("key"), text_of(1)}) {
    std::uint64_t size = 0;
    const auto outcome = [&](const ValueTarget& target) {
      return reader.try_get(bytes_of(key), reader.hash_of(bytes_of(key)), target, size);
    };
    EXPECT_EQ(outcome(ValueTarget::buffer(std::span(buffer, 7))), FastResult::kUnclear);
    EXPECT_EQ(buffer[0], std::byte{0}) << "a value that does not fit must not be written";
    EXPECT_EQ(outcome(ValueTarget::none()), FastResult::kHit);
    EXPECT_EQ(size, key == "key" ? 12u : 8u);
  }
}

TEST(FastPathTest, LeavesAMissAmongPairsUndecidedIfEntriesMayHaveTheKey) {
  TestTable table;
  const TableReader reader = table.reader();
  ASSERT_EQ(table.put(text_of(1), "not a word"), StatusCode::kOk);
  ASSERT_TRUE(table.mixed());
  EXPECT_EQ(try_get(reader, text_of(1)).outcome, FastResult::kUnclear);
  EXPECT_EQ(try_get(reader, text_of(2)).outcome, FastResult::kUnclear);
}

TEST(FastPathTest, FindsNothingFromBeforeAClear) {
  TestTable table;
  const TableReader reader = table.reader();
  ASSERT_EQ(table.put(text_of(1), text_of(2)), StatusCode::kOk);
  ASSERT_EQ(table.put("key", "value"), StatusCode::kOk);
  table.clear();
  EXPECT_NE(try_get(reader, text_of(1)).outcome, FastResult::kHit);
  EXPECT_NE(try_get(reader, "key").outcome, FastResult::kHit);
}

TEST(FastPathTest, LeavesAClosedTableUndecided) {
  TestTable table;
  ASSERT_EQ(table.put("key", "value"), StatusCode::kOk);
  ASSERT_EQ(table.put(text_of(1), text_of(2)), StatusCode::kOk);
  table.table().close();
  EXPECT_EQ(try_get(table.reader(), "key").outcome, FastResult::kUnclear);
  EXPECT_EQ(try_get(table.reader(), text_of(1)).outcome, FastResult::kUnclear);
}

// Keys of one bucket, more than a bucket holds: the fast path searches the whole chain.
TEST(FastPathTest, SearchesAWholeChainOfEntries) {
  TestTable table({.buckets = 1});
  const TableReader reader = table.reader();
  const Chain chain(table, 6 * kPlaces);
  EXPECT_GE(chain.buckets(), 6u);
  for (const std::string& key : chain.keys()) EXPECT_EQ(try_get(reader, key), (FastGet{FastResult::kHit, "of " + key}));
  EXPECT_EQ(try_get(reader, chain.another()).outcome, FastResult::kMiss);
}

// The search ends after the longest possible chain, wherever a damaged one leads.
TEST(FastPathTest, EndsInACyclicChain) {
  TestTable table({.buckets = 1});
  const TableReader reader = table.reader();
  const Chain chain(table, 2 * kPlaces);
  Word& link = chain.first().cells[kPlaces - 1];
  const std::uint64_t good = link.load();
  ASSERT_TRUE(is_link(good));
  auto& second = *table.table().region().at<EntryBucket>(cell_offset(good));
  const std::uint64_t last = second.cells[kPlaces - 1].load();
  second.cells[kPlaces - 1].store(good);  // to itself
  EXPECT_EQ(try_get(reader, chain.another()).outcome, FastResult::kUnclear);
  second.cells[kPlaces - 1].store(last);
  const std::uint64_t end = table.header().arena_offset + table.header().arena_populated.load();
  for (const std::uint64_t offset : {std::uint64_t{8}, good + 8, end, kOffsetMask - 63}) {
    link.store(offset);
    EXPECT_EQ(try_get(reader, chain.another()).outcome, FastResult::kUnclear) << offset;
  }
  link.store(good);
  EXPECT_EQ(try_get(reader, chain.another()).outcome, FastResult::kMiss);
}

// Several keys at once: the bucket or entry that a step has reached holds the key, or leads to the one that does.
TEST(ApproachTest, LeadsToEveryKeyOfBothForms) {
  TestTable table({.buckets = 4});
  const TableReader reader = table.reader();
  std::uint64_t pairs_met = 0;
  std::uint64_t further = 0;
  std::uint64_t entries_met = 0;
  constexpr std::uint64_t kKeys = 2'000;
  for (std::uint64_t key = 0; key < kKeys; ++key) {
    ASSERT_EQ(table.put(text_of(key), text_of(~key)), StatusCode::kOk);
    ASSERT_EQ(table.put("an entry with the key " + std::to_string(key), "value"), StatusCode::kOk);
  }
  const std::uint64_t change = reader.load_change_first();
  for (std::uint64_t key = 0; key < 2 * kKeys; ++key) {
    const std::string pair = text_of(key);
    const std::uint64_t hash = reader.hash_of(bytes_of(pair));
    TableReader::PrefetchCursor cursor = reader.begin_prefetch(bytes_of(pair), hash);
    ASSERT_NE(cursor.pairs, nullptr);
    std::uint64_t value = 0;
    if (reader.try_get_at(cursor, change, key, value)) {
      ++pairs_met;
      ASSERT_LT(key, kKeys);
      ASSERT_EQ(value, ~key);
    } else if (key < kKeys) {
      reader.continue_prefetch(cursor, bytes_of(pair), hash);
      ASSERT_NE(cursor.next, nullptr) << "it lies in a further bucket";
      ++further;
    }
    const std::string text = "an entry with the key " + std::to_string(key);
    const std::uint64_t other = reader.hash_of(bytes_of(text));
    TableReader::PrefetchCursor entry = reader.begin_prefetch(bytes_of(text), other);
    ASSERT_NE(entry.entries, nullptr);
    unsigned steps = 0;
    do {
      ASSERT_LE(++steps, kMaxChain);
      reader.continue_prefetch(entry, bytes_of(text), other);
    } while (entry.next != nullptr);
    std::string value_of_entry;
    std::uint64_t size = 0;
    const bool met = reader.try_get_at(entry, change, bytes_of(text), other, ValueTarget::string(value_of_entry), size);
    entries_met += met ? 1u : 0u;
    ASSERT_TRUE(!met || (key < kKeys && value_of_entry == "value")) << key;
  }
  EXPECT_GT(entries_met, kKeys * 9 / 10) << "all but those whose chain has another key of the same tag first";
  EXPECT_GT(pairs_met, kKeys * 3 / 4);
  EXPECT_GT(further, 0u);
  EXPECT_EQ(pairs_met + further, kKeys);
}

TEST(ApproachTest, FindsNothingInAClosedTable) {
  TestTable table;
  ASSERT_EQ(table.put(text_of(1), text_of(2)), StatusCode::kOk);
  const TableReader reader = table.reader();
  const std::uint64_t change = reader.load_change_first();
  const std::uint64_t hash = reader.hash_of(bytes_of(text_of(1)));
  const TableReader::PrefetchCursor cursor = reader.begin_prefetch(bytes_of(text_of(1)), hash);
  std::uint64_t value = 0;
  EXPECT_TRUE(reader.try_get_at(cursor, change, 1, value));
  table.table().close();
  EXPECT_EQ(reader.begin_prefetch(bytes_of(text_of(1)), hash).pairs, nullptr);
}

// A bucket that was approached before segments were split may have another use by now.
TEST(ApproachTest, FindsNothingFromBeforeATurn) {
  TestTable table({.buckets = 4});
  const TableReader reader = table.reader();
  constexpr std::uint64_t kKeys = 3'000;
  const auto entry_of = [](std::uint64_t key) { return "an entry with the key " + std::to_string(key); };
  const auto put_up_to = [&](std::uint64_t keys) {
    for (std::uint64_t key = 0; key < keys; ++key) {
      ASSERT_EQ(table.put(text_of(key), text_of(~key)), StatusCode::kOk);
      ASSERT_EQ(table.put(entry_of(key), "value " + std::to_string(key)), StatusCode::kOk);
    }
  };
  put_up_to(kKeys);
  const std::uint64_t change = reader.load_change_first();
  std::vector<TableReader::PrefetchCursor> pairs;
  std::vector<TableReader::PrefetchCursor> entries;
  for (std::uint64_t key = 0; key < kKeys; ++key) {
    pairs.push_back(reader.begin_prefetch(bytes_of(text_of(key)), reader.hash_of(bytes_of(text_of(key)))));
    entries.push_back(reader.begin_prefetch(bytes_of(entry_of(key)), reader.hash_of(bytes_of(entry_of(key)))));
  }
  const auto buckets = [&] { return table.segments_of<EntryBucket>().size(); };
  const std::uint64_t before = buckets();
  put_up_to(4 * kKeys);
  ASSERT_GT(buckets(), 2 * before) << "most keys must have moved";
  std::uint64_t met = 0;
  for (std::uint64_t key = 0; key < kKeys; ++key) {
    std::uint64_t word = 0;
    met += reader.try_get_at(pairs[key], change, key, word) ? 1u : 0u;
    std::string value;
    std::uint64_t size = 0;
    const std::string text = entry_of(key);
    met += reader.try_get_at(entries[key], change, bytes_of(text), reader.hash_of(bytes_of(text)),
                             ValueTarget::string(value), size)
               ? 1u
               : 0u;
  }
  EXPECT_EQ(met, 0u);
}

TEST(ApproachTest, FindsNothingFromBeforeAClear) {
  TestTable table;
  ASSERT_EQ(table.put(text_of(1), text_of(2)), StatusCode::kOk);
  ASSERT_EQ(table.put("an entry of the other form", "its value"), StatusCode::kOk);
  const TableReader reader = table.reader();
  const std::uint64_t change = reader.load_change_first();
  const TableReader::PrefetchCursor pair =
      reader.begin_prefetch(bytes_of(text_of(1)), reader.hash_of(bytes_of(text_of(1))));
  const std::uint64_t hash = reader.hash_of(bytes_of("an entry of the other form"));
  const TableReader::PrefetchCursor entry = reader.begin_prefetch(bytes_of("an entry of the other form"), hash);
  std::uint64_t word = 0;
  std::uint64_t size = 0;
  std::string value;
  const auto met = [&] {
    return std::pair(reader.try_get_at(pair, change, 1, word),
                     reader.try_get_at(entry, change, bytes_of("an entry of the other form"), hash,
                                       ValueTarget::string(value), size));
  };
  EXPECT_EQ(met(), std::pair(true, true));
  table.clear();
  EXPECT_EQ(met(), std::pair(false, false));
}

// Whatever a cell or an entry's head contains: no fault, and no wrong length.
TEST(FastPathTest, FollowsNoOffsetOutsideTheArena) {
  TestTable table({.buckets = 1});
  const TableReader reader = table.reader();
  ASSERT_EQ(table.put("key", "value"), StatusCode::kOk);
  auto& bucket = table.home_of<EntryBucket>("key");
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
    EXPECT_EQ(try_get(reader, "key").outcome, FastResult::kUnclear) << offset;
  }
  cell->store(good);
  Word& meta = *table.table().region().at<Word>(cell_offset(good));
  const std::uint64_t honest = meta.load();
  for (std::uint64_t bit = 0; bit < 64; ++bit) {
    meta.store(honest ^ std::uint64_t{1} << bit);
    const FastGet seen = try_get(reader, "key");
    EXPECT_TRUE(seen.outcome == FastResult::kUnclear || seen.value.size() <= kLongValueBytes) << bit;
  }
  // The length is right, but the entry would extend beyond the arena's end.
  const std::uint64_t last = end - 16;
  table.table().region().at<Word>(last)->store(honest);
  cell->store(make_cell(cell_tag(good), last));
  EXPECT_EQ(try_get(reader, "key").outcome, FastResult::kUnclear);
}

}  // namespace
}  // namespace hostmap::test
