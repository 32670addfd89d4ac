// A full table: a value can be replaced by any that needs no more room, whatever its size, in any shard; a refused request
// takes nothing; and a request makes room in bounded steps.
#include <gtest/gtest.h>
#include <iterator>
#include <map>
#include <string>
#include <vector>

#include "layout/table.hpp"
#include "support/seed.hpp"
#include "table/table_fixture.hpp"

namespace hostmap::test {
namespace {

constexpr std::uint64_t kMemory = std::uint64_t{8} << 20;

std::string key_of(std::uint64_t i) { return "a key " + std::to_string(1'000'000'000 + i); }

class FullTable : public testing::Test {
 protected:
  explicit FullTable(std::uint32_t shards = 1) : table_({.memory = kMemory, .shards = shards}) {}
  std::uint64_t fill(std::size_t bytes, std::uint64_t first = 0) {
    std::uint64_t i = first;
    while (table_.put(key_of(i), std::string(bytes, 'f')) == StatusCode::kOk) ++i;
    return i - first;
  }
  std::string value_of(std::uint64_t i) {
    const TableReader reader = table_.reader();
    return get(reader, key_of(i)).value;
  }
  std::uint64_t populated() { return table_.header().server_stats.memory_bytes.load(); }

  TestTable table_;
  Random random_;
};
class FullTableOf4Shards : public FullTable {
 protected:
  FullTableOf4Shards() : FullTable(4) {}
};

TEST_F(FullTable, EveryValueIsReplacedByOneOfTheSameOrSmallerSize) {
  std::map<std::uint64_t, std::size_t> sizes;
  const std::size_t choice[] = {3, 8, 24, 100, 1000, 5000, 12'000, 20'000, 40'000, 100'000, 300'000};
  std::uint64_t next = 0;
  for (const std::size_t bytes : choice) {
    for (int i = 0; i < 8 && table_.put(key_of(next), std::string(bytes, 'f')) == StatusCode::kOk; ++i) {
      sizes[next++] = bytes;
    }
  }
  for (const std::size_t bytes : {300'000, 40'000, 20'000, 1000, 100, 3}) {
    const std::uint64_t more = fill(bytes, next);
    for (std::uint64_t i = 0; i < more; ++i) sizes[next++] = bytes;
  }
  for (int round = 0; round < 6; ++round) {
    for (auto& [key, bytes] : sizes) {
      const std::string value(bytes, static_cast<char>('a' + random_.below(26)));
      ASSERT_EQ(table_.put(key_of(key), value), StatusCode::kOk) << bytes << " bytes in round " << round;
      ASSERT_EQ(value_of(key), value);
    }
  }
  for (auto& [key, bytes] : sizes) {
    bytes = random_.below(bytes) + 1;
    ASSERT_EQ(table_.put(key_of(key), std::string(bytes, 's')), StatusCode::kOk)
        << bytes << " bytes, fewer than before";
  }
  for (const auto& [key, bytes] : sizes) ASSERT_EQ(value_of(key), std::string(bytes, 's'));
  for (const auto& [key, bytes] : sizes) ASSERT_EQ(table_.erase(key_of(key)), StatusCode::kOk);
  EXPECT_EQ(table_.entry_bytes(), 0u);
}

TEST_F(FullTableOf4Shards, EveryShardHasItsReserve) {
  const std::uint64_t count = fill(1000);
  std::uint64_t refused = 0;
  for (int round = 0; round < 3; ++round) {
    for (std::uint64_t i = 0; i < count; ++i) {
      refused += table_.put(key_of(i), std::string(1000, static_cast<char>('a' + round))) == StatusCode::kOk ? 0 : 1;
    }
  }
  EXPECT_EQ(refused, 0u) << "of " << count;
}

// An entry with a key of 8 bytes whose new value has 8 bytes would become a pair, for which there may be no place.
TEST_F(FullTable, AnEntryThatCannotBecomeAPairStaysAnEntry) {
  std::uint64_t i = 0;
  while (table_.put(text_of(i), "1234567") == StatusCode::kOk) ++i;
  ASSERT_GT(i, 10'000u);
  for (std::uint64_t key = 0; key < i; ++key) {
    ASSERT_EQ(table_.put(text_of(key), "12345678"), StatusCode::kOk) << key << " of " << i;
    ASSERT_EQ(table_.put(text_of(key), "87654321"), StatusCode::kOk) << key << " of " << i;
  }
  const TableReader reader = table_.reader();
  for (std::uint64_t key = 0; key < i; ++key) ASSERT_EQ(get(reader, text_of(key)).value, "87654321");
}

// A pair has no block: to become an entry it needs one, and perhaps an overflow bucket. If one slab is free for both, the
// bucket takes it, and the block takes a hole in a slab of a larger class.
TEST(FullTableOfPairs, APairBecomesAnEntryWithTheLastSlabAndAHoleOfAnotherClass) {
  TestTable table({.buckets = 1, .memory = kMemory});
  std::vector<std::string> of_one_bucket;
  const auto is_of_bucket = [&table](const std::string& name) {
    std::uint32_t shard;
    const HashedKey key = table.table().hash(bytes_of(name), shard);
    return segment_bucket<EntryBucket>(key.hash) == 5;
  };
  for (std::uint64_t i = 0; of_one_bucket.size() <= kPlaces; ++i) {
    if (is_of_bucket(text_of(i))) of_one_bucket.push_back(text_of(i));
  }
  const std::string last = of_one_bucket.back();
  of_one_bucket.pop_back();
  ASSERT_EQ(table.put(last, "12345678"), StatusCode::kOk);
  for (const std::string& key : of_one_bucket) ASSERT_EQ(table.put(key, std::string(100, 'e')), StatusCode::kOk);
  std::uint64_t filled = 0;
  while (is_of_bucket(key_of(filled)) || table.put(key_of(filled), std::string(16'000, 'f')) == StatusCode::kOk)
    ++filled;
  ASSERT_EQ(table.header().lane_stats[0].overflow_bytes.load(), 0u);
  ASSERT_EQ(table.put(last, "shorter"), StatusCode::kFull);
  // Frees one slab, which held two such entries.
  for (std::uint64_t i = 0; i < 2; ++i) ASSERT_EQ(table.erase(key_of(i)), StatusCode::kOk);
  EXPECT_EQ(table.put(last, "shorter"), StatusCode::kOk);
  EXPECT_GT(table.header().lane_stats[0].overflow_bytes.load(), 0u);
  const TableReader reader = table.reader();
  EXPECT_EQ(get(reader, last).value, "shorter");
  for (const std::string& key : of_one_bucket) EXPECT_EQ(get(reader, key).value, std::string(100, 'e'));
  EXPECT_EQ(table.put(last, "another"), StatusCode::kOk) << "in a larger block than it needs";
  std::vector<std::size_t> lost;
  table.restart();
  EXPECT_EQ(table.table().rebuild({}, lost), 0u);
  EXPECT_EQ(get(table.reader(), last).value, "another");
}

// A class keeps its last empty slab, so that a key that is put and erased repeatedly does not allocate and free a slab each
// time; but in a full table other shards need that slab.
TEST_F(FullTableOf4Shards, MemoryErasedInOneShardIsFreeForTheOthers) {
  constexpr std::size_t kSizes[] = {20, 50, 100, 200, 300, 500, 800, 1000, 2000, 3000, 5000, 8000};
  std::uint64_t next = 0;
  for (const std::size_t bytes : kSizes) {
    for (int i = 0; i < 8; ++i) ASSERT_EQ(table_.put(key_of(next++), std::string(bytes, 'v')), StatusCode::kOk);
  }
  const std::uint64_t small = next;
  next += fill(16'000, next);
  for (std::uint64_t key = 0; key < small; ++key) ASSERT_EQ(table_.erase(key_of(key)), StatusCode::kOk);
  const std::uint64_t free_bytes = table_.header().server_stats.arena_free_bytes.load();
  EXPECT_GT(free_bytes, std::size(kSizes) * 3 * kSlabBytes) << "each shard had a slab of most sizes";
}

// A value that cannot fit is refused before anything is populated or moved for it.
TEST_F(FullTable, RefusedPutTakesNoMemory) {
  for (std::uint64_t i = 0; i < 1000; ++i) ASSERT_EQ(table_.put(key_of(i), std::string(100, 'f')), StatusCode::kOk);
  const std::uint64_t before = populated();
  for (const std::size_t bytes : {kMemory - kMemory / 100, kMemory, 2 * kMemory}) {
    EXPECT_EQ(table_.put("large", std::string(bytes, 'l')), StatusCode::kFull);
  }
  EXPECT_LE(populated(), before + kHugePageSize) << "at most the step that the helper thread was about to take";
  // All of that memory is available to other keys.
  EXPECT_GT(fill(100, 1000), 40'000u);
}

// Entries are not moved for a large value if all holes together are too small for it.
TEST_F(FullTable, NothingIsMovedForAValueThatCannotFit) {
  const std::uint64_t count = fill(100);
  for (std::uint64_t i = 0; i < count; i += 2) ASSERT_EQ(table_.erase(key_of(i)), StatusCode::kOk);
  Effort effort;
  std::uint32_t shard;
  const HashedKey key = table_.table().hash(bytes_of("large"), shard);
  const std::string large(kMemory * 3 / 4, 'l');
  EXPECT_EQ(table_.table().shard(0).make_room_and_put(key, bytes_of(large), kNoEnd, effort), StatusCode::kFull);
  EXPECT_FALSE(effort.unfinished) << "one call must decide it";
}

// A call does a bounded part of the work, and reports that it has not finished.
TEST_F(FullTable, RoomIsMadeInBoundedSteps) {
  const std::uint64_t count = fill(24);
  for (std::uint64_t i = 0; i < count; ++i) {
    if (i % 10 != 0) {
      ASSERT_EQ(table_.erase(key_of(i)), StatusCode::kOk);
    }
  }
  while (table_.put(key_of(random_.below(1'000'000'000)), std::string(9000, 'n')) == StatusCode::kOk) {
  }
  Effort effort;
  std::uint32_t shard;
  const HashedKey key = table_.table().hash(bytes_of("another"), shard);
  const std::string value(5000, 'v');
  StatusCode code;
  int calls = 0;
  do {
    code = table_.table().shard(0).make_room_and_put(key, bytes_of(value), kNoEnd, effort);
    ++calls;
    ASSERT_LT(calls, 10'000) << "the request does not end";
  } while (effort.unfinished);
  EXPECT_TRUE(code == StatusCode::kOk || code == StatusCode::kFull);
}

// The memory that a clear left is freed in steps, too, and a put that waits for it succeeds.
TEST_F(FullTable, PutAfterAClearMakesRoomInSteps) {
  fill(24);
  table_.clear();
  Effort effort;
  std::uint32_t shard;
  const HashedKey key = table_.table().hash(bytes_of("first"), shard);
  const std::string value(300'000, 'v');
  int calls = 0;
  StatusCode code;
  do {
    table_.table().shard(0).begin_request();
    code = table_.table().shard(0).make_room_and_put(key, bytes_of(value), kNoEnd, effort);
    ++calls;
  } while (effort.unfinished);
  EXPECT_EQ(code, StatusCode::kOk);
  EXPECT_GT(calls, 3) << "one call must not do all of it";
}

// A kill may leave an entry in a slab of the reserve: the next server restores the reserve before it refuses a request.
TEST_F(FullTable, StartRestoresTheReserve) {
  const std::uint64_t count = fill(1000);
  for (const std::size_t bytes : {1000, 200}) {
    std::uint32_t shard;
    const std::string name = key_of(5);
    const std::string value(bytes, 'k');
    const HashedKey key = table_.table().hash(bytes_of(name), shard);
    // As TestTable::put(), but without the upkeep after a request.
    ASSERT_EQ(table_.table().shard(0).put(key, bytes_of(value)), StatusCode::kOk);
    table_.restart();
    std::vector<std::size_t> lost;
    EXPECT_EQ(table_.table().rebuild({}, lost), 0u) << "nothing is lost";
    ASSERT_EQ(value_of(5), std::string(bytes, 'k'));
    for (std::uint64_t i = 6; i < count; ++i) {
      ASSERT_EQ(table_.put(key_of(i), std::string(1000, 'x')), StatusCode::kOk) << i << " after " << bytes;
    }
    ASSERT_EQ(table_.put(key_of(6), std::string(500, 'y')), StatusCode::kOk) << "of another class";
    ASSERT_EQ(value_of(6), std::string(500, 'y'));
  }
}

// The reserve has a run as long as the longest in use: a value of that length takes it and leaves its own run as the reserve; a
// shorter one moves back.
TEST_F(FullTable, RunsOfAnyLengthAreOverwritten) {
  std::map<std::uint64_t, std::size_t> sizes;
  std::uint64_t next = 0;
  for (const std::size_t bytes : {500'000, 300'000, 250'000, 70'000, 70'000, 40'000}) {
    ASSERT_EQ(table_.put(key_of(next), std::string(bytes, 'r')), StatusCode::kOk);
    sizes[next++] = bytes;
  }
  for (const std::size_t bytes : {70'000, 20'000, 1000}) {
    const std::uint64_t more = fill(bytes, next);
    for (std::uint64_t i = 0; i < more; ++i) sizes[next++] = bytes;
  }
  for (int i = 0; i < 2000; ++i) {
    const auto at =
        std::next(sizes.begin(), static_cast<std::ptrdiff_t>(random_.below(random_.one_in(2) ? 6 : sizes.size())));
    const std::string value(at->second, static_cast<char>('a' + random_.below(26)));
    ASSERT_EQ(table_.put(key_of(at->first), value), StatusCode::kOk) << at->second << " bytes at the " << i << "th";
    ASSERT_EQ(value_of(at->first), value);
  }
  std::vector<std::size_t> lost;
  table_.restart();
  EXPECT_EQ(table_.table().rebuild({}, lost), 0u);
  for (const auto& [key, bytes] : sizes) {
    ASSERT_EQ(table_.put(key_of(key), std::string(bytes, 'z')), StatusCode::kOk) << bytes;
  }
}

// A kill before a shorter run has moved out of the reserve leaves it there. The next start moves it; otherwise a longer value
// could not be replaced until something is erased.
TEST_F(FullTable, StartMovesARunThatAKillLeftInTheReserve) {
  constexpr std::size_t kLong = 500'000;
  constexpr std::size_t kShorter = 250'000;
  ASSERT_EQ(table_.put("long", std::string(kLong, 'l')), StatusCode::kOk);
  std::uint64_t next = 0;
  while (next < 4) ASSERT_EQ(table_.put(key_of(next++), std::string(kShorter, 'r')), StatusCode::kOk);
  for (const std::size_t bytes : {kShorter, std::size_t{70'000}, std::size_t{20'000}, std::size_t{1000}}) {
    next += fill(bytes, next);
  }
  std::uint32_t shard;
  const std::string name = key_of(2);
  const HashedKey key = table_.table().hash(bytes_of(name), shard);
  // As TestTable::put(), but without the upkeep after a request.
  ASSERT_EQ(table_.table().shard(0).put(key, bytes_of(std::string(kShorter, 'k'))), StatusCode::kOk);
  table_.restart();
  std::vector<std::size_t> lost;
  EXPECT_EQ(table_.table().rebuild({}, lost), 0u);
  EXPECT_LT(table_.table().shard(0).most_replaced_bytes(), kLong) << "after the kill the reserve must be too short";
  table_.table().restore_reserve();
  EXPECT_GE(table_.table().shard(0).most_replaced_bytes(), kLong);
  const WriterState restored = table_.table().state();
  table_.restart();
  EXPECT_EQ(table_.table().rebuild({}, lost), 0u);
  EXPECT_EQ(restored.differences(table_.table().state()), "");
  EXPECT_EQ(value_of(2), std::string(kShorter, 'k'));
  EXPECT_EQ(table_.put("long", std::string(kLong, 'm')), StatusCode::kOk);
  for (std::uint64_t i = 0; i < 4; ++i) {
    EXPECT_EQ(table_.put(key_of(i), std::string(kShorter, 's')), StatusCode::kOk) << i;
  }
  EXPECT_EQ(table_.put("long", std::string(kLong, 'n')), StatusCode::kOk);
}

// After the request that borrows a run, the sweep may free a run that a clear left: it is not the one that the key had.
TEST(FullTableOfRuns, RunIsReplacedWhileASweepFreesMemory) {
  constexpr std::size_t kLong = 180'000;  // three slabs
  constexpr std::size_t kOneSlab = 40'000;
  TestTable table({.buckets = 8000, .memory = kMemory});
  for (std::uint64_t i = 0; table.put(key_of(i), std::string(kOneSlab, 'f')) == StatusCode::kOk;) ++i;
  table.clear();
  std::vector<std::string> beside;
  for (int i = 0; i < 1200; ++i) {  // more than the sweep takes
    const std::string value(kLong, static_cast<char>('a' + i % 26));
    ASSERT_EQ(table.put("long", value), StatusCode::kOk) << i;
    // Uses the memory that the sweep has freed, without making it sweep faster.
    const std::string key = "beside " + std::to_string(i);
    std::uint32_t shard;
    const HashedKey hashed = table.table().hash(bytes_of(key), shard);
    if (table.table().shard(0).try_put(hashed, bytes_of(std::string(kOneSlab, 'b'))) == StatusCode::kOk) {
      beside.push_back(key);
    }
    const TableReader reader = table.reader();
    ASSERT_EQ(get(reader, "long").value, value) << i;
    for (const std::string& other : beside) ASSERT_EQ(get(reader, other).value, std::string(kOneSlab, 'b')) << i;
  }
  EXPECT_GT(beside.size(), 30u);
  const std::uint64_t used = table.entry_bytes();
  std::vector<std::size_t> lost;
  table.restart();
  EXPECT_EQ(table.table().rebuild({}, lost), 0u);
  EXPECT_EQ(table.entry_bytes(), used) << "the bytes in use must be those of the entries that can be reached";
}

// Random histories: a value that needs no more room than its key has is never refused, and a refused request changes nothing.
class AnyFullTable : public testing::TestWithParam<std::uint32_t> {
 protected:
  AnyFullTable() : table_({.buckets = random_.between(4, 300), .memory = kMemory, .shards = GetParam()}) {}

  // As a server does: no upkeep follows a refused request.
  StatusCode put(const std::string& key, const std::string& value) {
    std::uint32_t shard;
    const HashedKey hashed = table_.table().hash(bytes_of(key), shard);
    const StatusCode code = table_.put(hashed, shard, value);
    if (code == StatusCode::kOk) table_.table().shard(shard).upkeep({});
    return code;
  }
  // A key of 8 bytes or of another length. Keys of 8 bytes with a value of 8 bytes are pairs.
  std::string any_key() {
    const std::uint64_t number = next_key_++;
    switch (random_.below(4)) {
      case 0:
        return "key of sixteen " + std::to_string(number);
      case 1:
        return key_of(number) + std::string(random_.below(300), 'k');
      default:
        return text_of(number);
    }
  }
  std::string any_value(std::size_t bytes) { return std::string(bytes, static_cast<char>('a' + random_.below(26))); }
  std::size_t any_size() {
    static constexpr std::size_t kMost[] = {8, 8, 24, 100, 1000, 5000, 17'000, 40'000, 200'000, 500'000};
    const std::size_t most = random_.one_of(kMost);
    return most == 8 ? 8 : random_.below(most) + 1;
  }
  bool insert(std::size_t bytes) {
    const std::string key = any_key();
    const std::string value = any_value(bytes);
    const std::uint64_t keys = table_.keys();
    const std::uint64_t used = table_.entry_bytes();
    const StatusCode code = put(key, value);
    if (code == StatusCode::kOk) {
      content_[key] = value;
      names_.push_back(key);
      return true;
    }
    EXPECT_EQ(code, StatusCode::kFull);
    EXPECT_EQ(table_.keys(), keys);
    EXPECT_LE(table_.entry_bytes(), used) << "entries may only have been moved out of larger blocks than they need";
    if (random_.one_in(300)) check();
    return false;
  }
  // Puts new keys of several sizes, large ones first, each size until several in a row are refused: other shards may have room.
  void fill() {
    for (int i = 0; i < 40; ++i) insert(any_size());
    std::size_t bytes = random_.between(1000, 300'000);
    for (; bytes > 0; bytes = random_.below(bytes)) {
      for (int refused = 0; refused < 8; refused = insert(bytes) ? 0 : refused + 1) {
      }
    }
    for (int refused = 0; refused < 8; refused = insert(random_.one_in(2) ? 8 : 1) ? 0 : refused + 1) {
    }
  }
  const std::string& any_present() { return names_[random_.below(names_.size())]; }
  void update(const std::string& key) {
    std::string& value = content_[key];
    const bool is_pair = key.size() == 8 && value.size() == 8;
    const bool same = is_pair || random_.one_in(2) || value.empty();
    const std::string next = any_value(same ? value.size() : random_.below(value.size()) + 1);
    const std::uint64_t keys = table_.keys();
    ASSERT_EQ(put(key, next), StatusCode::kOk)
        << "a key of " << key.size() << " bytes, whose value has " << value.size() << " bytes, gets " << next.size();
    ASSERT_EQ(table_.keys(), keys);
    value = next;
  }
  void erase_some() {
    for (std::size_t i = 0; i < names_.size();) {
      if (!random_.one_in(10)) {
        ++i;
        continue;
      }
      ASSERT_EQ(table_.erase(names_[i]), StatusCode::kOk);
      content_.erase(names_[i]);
      names_[i] = names_.back();
      names_.pop_back();
    }
  }
  void check() {
    const TableReader reader = table_.reader();
    ASSERT_EQ(table_.keys(), content_.size());
    for (const auto& [key, value] : content_) ASSERT_EQ(get(reader, key).value, value);
  }

  Random random_;
  TestTable table_;
  std::uint64_t next_key_ = 0;
  std::map<std::string, std::string> content_;
  std::vector<std::string> names_;
};

TEST_P(AnyFullTable, ReplacementsOfTheSameSizeSucceedAndRefusedPutsChangeNothing) {
  for (int round = 0; round < 4; ++round) {
    fill();
    for (int i = 0; i < 20'000; ++i) {
      ASSERT_NO_FATAL_FAILURE(update(any_present())) << "update " << i << " of round " << round;
      if (random_.one_in(50)) insert(any_size());
      if (HasFailure()) return;
    }
    check();
    erase_some();
  }
}

INSTANTIATE_TEST_SUITE_P(Shards, AnyFullTable, testing::Values(1u, 4u));

}  // namespace
}  // namespace hostmap::test
