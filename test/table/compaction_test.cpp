// Compaction: the holes that random erases leave between entries can be used again for any size.
#include <atomic>
#include <cstring>
#include <gtest/gtest.h>
#include <map>
#include <string>
#include <thread>

#include "layout/table.hpp"
#include "support/seed.hpp"
#include "table/table_fixture.hpp"

namespace hostmap::test {
namespace {

constexpr std::uint64_t kMemory = std::uint64_t{8} << 20;

std::string key_of(std::uint64_t i) { return "a key " + std::to_string(1'000'000'000 + i); }  // 16 bytes
std::string value_of(std::uint64_t i, std::size_t bytes) {
  std::string value(bytes, static_cast<char>('a' + i % 26));
  return value.replace(0, std::to_string(i).size(), std::to_string(i));
}

class CompactionTest : public testing::Test {
 protected:
  // Puts keys from `first` on until one is refused; returns that one.
  std::uint64_t fill(std::uint64_t first, std::size_t bytes) {
    std::uint64_t i = first;
    for (; table_.put(key_of(i), value_of(i, bytes)) == StatusCode::kOk; ++i) content_[key_of(i)] = value_of(i, bytes);
    return i;
  }
  // Erases about half of all keys, at random. Returns the bytes of their keys and values.
  std::uint64_t erase_half() {
    std::uint64_t bytes = 0;
    for (auto at = content_.begin(); at != content_.end();) {
      if (random_.one_in(2)) {
        ++at;
        continue;
      }
      EXPECT_EQ(table_.erase(at->first), StatusCode::kOk);
      bytes += at->first.size() + at->second.size();
      at = content_.erase(at);
    }
    return bytes;
  }
  void expect_content() {
    const TableReader reader = table_.reader();
    for (const auto& [key, value] : content_) ASSERT_EQ(get(reader, key).value, value) << key;
    EXPECT_EQ(table_.keys(), content_.size());
  }

  TestTable table_{{.memory = kMemory}};
  std::map<std::string, std::string> content_;
  Random random_;
};

TEST_F(CompactionTest, SpaceOfErasedSmallEntriesHoldsLargerOnes) {
  const std::uint64_t small = fill(0, 100);
  ASSERT_GT(small, 20'000u) << "the memory must be full of entries";
  const std::uint64_t freed = erase_half();
  const std::uint64_t large = fill(small, 1024) - small;
  EXPECT_GT(large * (16 + 1024), freed * 8 / 10) << "of " << freed << " bytes freed";
  expect_content();
}

TEST_F(CompactionTest, RepeatedCompactionLosesAndLeaksNothing) {
  std::uint64_t next = fill(0, 100);
  const std::uint64_t full = table_.entry_bytes();
  for (const std::size_t bytes : {500, 30, 1024, 100, 4000, 250}) {
    erase_half();
    const std::uint64_t first = next;
    next = fill(first, bytes);
    EXPECT_GT(next, first);
    expect_content();
    EXPECT_GT(table_.entry_bytes(), full * 6 / 10) << bytes;
  }
  for (const auto& [key, value] : content_) ASSERT_EQ(table_.erase(key), StatusCode::kOk);
  EXPECT_EQ(table_.entry_bytes(), 0u);
}

// A request for a run of slabs ends, although the free slabs are scattered.
TEST_F(CompactionTest, RefusedLargeValueChangesNothing) {
  fill(0, 100);
  erase_half();
  EXPECT_EQ(table_.put("large", std::string(kMemory / 2, 'l')), StatusCode::kFull);
  expect_content();
}

TEST_F(CompactionTest, BlockThatIsBeingFilledIsNotMoved) {
  fill(0, 100);
  erase_half();
  ShardWriter& writer = table_.table().shard(0);
  const std::string key = key_of(0);
  std::uint32_t shard;
  const HashedKey hashed = table_.table().hash(bytes_of(key), shard);
  const std::uint64_t entry = writer.begin_entry(key.size(), 100);
  ASSERT_NE(entry, 0u);
  const std::string bytes = key + std::string(100, 's');
  std::memcpy(writer.entry_payload(entry), bytes.data(), bytes.size());
  fill(1'000'000, 1024);
  EXPECT_EQ(std::memcmp(writer.entry_payload(entry), bytes.data(), bytes.size()), 0);
  ASSERT_EQ(writer.commit_entry(hashed, entry), StatusCode::kOk);
  content_[key] = std::string(100, 's');
  expect_content();
}

// A reader finds an entry that moves, whole, in one of its two places.
TEST_F(CompactionTest, ConcurrentReadersMissNoKey) {
  const std::uint64_t small = fill(0, 100);
  erase_half();
  const std::map<std::string, std::string> lasting = content_;
  std::atomic<bool> stop{false};
  std::atomic<std::uint64_t> reads{0};
  std::atomic<std::uint64_t> wrong{0};
  std::thread reader([&] {
    const TableReader table = table_.reader();
    while (!stop.load()) {
      for (const auto& [key, value] : lasting) {
        wrong += get(table, key).value == value ? 0 : 1;
        if (stop.load()) break;
      }
      ++reads;
    }
  });
  while (reads.load() == 0) std::this_thread::yield();
  std::uint64_t next = small;
  for (int round = 0; round < 4; ++round) {
    const std::uint64_t first = next;
    next = fill(first, 1024);
    for (std::uint64_t i = first; i < next; ++i) {
      if (random_.one_in(2) && content_.erase(key_of(i)) != 0) {
        ASSERT_EQ(table_.erase(key_of(i)), StatusCode::kOk);
      }
    }
    next = fill(next, 30);  // leaves holes of another size
    for (std::uint64_t i = first; i < next; ++i) {
      if (content_.erase(key_of(i)) != 0) {
        ASSERT_EQ(table_.erase(key_of(i)), StatusCode::kOk);
      }
    }
  }
  stop.store(true);
  reader.join();
  EXPECT_EQ(wrong.load(), 0u);
  expect_content();
}

}  // namespace
}  // namespace hostmap::test
