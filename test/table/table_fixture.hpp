// A table with its journal, without a server, for the tests of src/table.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstring>
#include <gtest/gtest.h>
#include <memory>
#include <string>
#include <string_view>
#include <type_traits>
#include <unistd.h>
#include <vector>

#include "journal/piece_store.hpp"
#include "layout/journal.hpp"
#include "layout/table.hpp"
#include "table/read/fast_path.hpp"
#include "table/read/reader.hpp"
#include "table/write/table.hpp"

namespace hostmap::test {

struct TableSetup {
  std::uint64_t buckets = 10;
  std::uint64_t memory = std::uint64_t{64} << 20;
  std::uint64_t max_memory = 0;  // 0: the same
  std::uint32_t shards = 1;
  std::uint64_t seed = 0x5eed;
};

inline std::span<const std::byte> bytes_of(std::string_view text) {
  return std::as_bytes(std::span(text.data(), text.size()));
}
inline std::string text_of(std::uint64_t word) { return {reinterpret_cast<const char*>(&word), sizeof word}; }

// Creates the regions under names that only this process uses, and removes them at its end. Aborts the test if it cannot.
class TestTable {
 public:
  explicit TestTable(const TableSetup& setup = {}) {
    static std::atomic<int> number{0};
    const std::string base = "/dev/shm/hm-test-" + std::to_string(::getpid()) + "-table" + std::to_string(number++);
    path_ = base + "-table";
    journal_path_ = base + "-journal";
    const TablePlan plan = plan_table(std::max(setup.memory, setup.max_memory), setup.shards);
    Result<Region> journal =
        Region::create(journal_path_, journal_bytes(4, setup.shards, plan.arena_bytes / kSlabBytes), 0600);
    if (!journal || !journal->populate(0, journal->bytes()).ok()) throw std::runtime_error("no journal");
    journal_ = std::move(*journal);
    auto& header = *journal_.at<JournalHeader>(0);
    header.max_connections = 4;
    header.lane_count = setup.shards;
    TableOptions options;
    options.buckets = setup.buckets;
    options.memory_limit = setup.memory;
    options.max_memory = setup.max_memory;
    options.shards = setup.shards;
    options.hash_seed = setup.seed;
    Result<std::unique_ptr<Table>> table = Table::create(path_, options, Journal(journal_));
    if (!table) throw std::runtime_error(std::string(table.status().message()));
    table_ = std::move(*table);
    table_->region().publish();
  }
  ~TestTable() {
    table_.reset();
    ::unlink(path_.c_str());
    ::unlink(journal_path_.c_str());
  }

  Table& table() { return *table_; }
  TableHeader& header() { return table_->header(); }
  Journal journal() { return Journal(journal_); }
  PieceStore pieces() { return {journal_.fd(), *journal_.at<JournalHeader>(0)}; }
  const std::string& path() const { return path_; }
  // On the writer's own mapping, as the thread sanitizer cannot relate two mappings.
  TableReader reader() { return {table_->region().data(), table_->region().bytes()}; }

  StatusCode put(std::string_view key, std::string_view value, std::uint64_t end = kNoEnd) {
    std::uint32_t shard;
    const HashedKey hashed = table_->hash(bytes_of(key), shard);
    table_->shard(shard).begin_request();
    const StatusCode code = put(hashed, shard, value, end);
    table_->shard(shard).upkeep({});
    return code;
  }
  // Without upkeep. As in a server, the other shards' workers continue while it waits: one of them may have borrowed the reserve.
  StatusCode put(const HashedKey& key, std::uint32_t shard, std::string_view value, std::uint64_t end = kNoEnd) {
    ShardWriter& writer = table_->shard(shard);
    StatusCode code = writer.try_put(key, bytes_of(value), end);
    if (code != StatusCode::kFull) return code;
    Effort effort;
    do {
      code = writer.make_room_and_put(key, bytes_of(value), end, effort);
      for (std::uint32_t other = 0; effort.unfinished && other < table_->shard_count(); ++other) {
        if (other != shard) static_cast<void>(table_->shard(other).reclaim(1));
      }
    } while (effort.unfinished);
    return code;
  }
  StatusCode erase(std::string_view key) {
    std::uint32_t shard;
    const HashedKey hashed = table_->hash(bytes_of(key), shard);
    table_->shard(shard).begin_request();
    const StatusCode code = table_->shard(shard).erase(hashed);
    if (code == StatusCode::kOk) table_->shard(shard).upkeep({});
    return code;
  }
  void clear() {
    while (!table_->shard(0).may_clear()) {
      for (std::uint32_t i = 0; i < table_->shard_count(); ++i) {
        table_->shard(i).begin_request();
        table_->shard(i).sweep(1000);
      }
    }
    table_->shard(0).clear();
  }
  // Maps the region again, with writers without any state, as a start does. Call rebuild() or rebuild_from_summary() next.
  void restart() {
    Result<Region> region = Region::open(path_, RegionKind::kTable, Access::kReadWrite);
    if (!region) throw std::runtime_error(std::string(region.status().message()));
    table_.reset();
    Result<std::unique_ptr<Table>> table = Table::attach(std::move(*region), Journal(journal_));
    if (!table) throw std::runtime_error(std::string(table.status().message()));
    table_ = std::move(*table);
  }
  std::uint64_t keys() {
    std::uint64_t sum = 0;
    for (std::uint32_t i = 0; i < table_->shard_count(); ++i) {
      sum += header().lane_stats[i].pair_keys.load() + header().lane_stats[i].entry_keys.load();
    }
    return sum;
  }
  std::uint64_t entry_bytes() {
    std::uint64_t sum = 0;
    for (std::uint32_t i = 0; i < table_->shard_count(); ++i) sum += header().lane_stats[i].entry_bytes.load();
    return sum;
  }
  // Splits a segment of each form of a shard, whatever the load: upkeep is made to assume that there are many keys.
  void force_splits(std::uint32_t shard = 0) {
    LaneStats& stats = header().lane_stats[shard];
    constexpr std::uint64_t kPretended = 1'000'000;
    // What is pretended is undone afterwards: the hand may have removed keys meanwhile.
    std::uint64_t pretended[2] = {};
    const auto pretend = [&](unsigned form, std::uint64_t count) {
      Word& keys = form == 0 ? stats.pair_keys : stats.entry_keys;
      pretended[form] += count - keys.load();
      keys.store(count);
    };
    for (const unsigned form : {0u, 1u}) {
      // The other form has as many keys as neither a split nor a merge is due for.
      pretend(0, stats.pair_segments.load() * kSegmentBuckets<PairBucket> * 2);
      pretend(1, stats.entry_segments.load() * kSegmentBuckets<EntryBucket> * 2);
      const std::uint64_t before = stats.splits.load();
      pretend(form, kPretended);
      for (int step = 0; step < 10'000 && stats.splits.load() == before; ++step) table_->shard(shard).reclaim(1);
      if (stats.splits.load() == before) throw std::runtime_error("no split");
    }
    stats.pair_keys.store(stats.pair_keys.load() - pretended[0]);
    stats.entry_keys.store(stats.entry_keys.load() - pretended[1]);
  }
  // Leaves a split of each shard unfinished, or finished: so many of its steps are done.
  void begin_splits(int steps) {
    for (std::uint32_t i = 0; i < table_->shard_count(); ++i) {
      LaneStats& stats = header().lane_stats[i];
      constexpr std::uint64_t kPretended = 1'000'000;
      for (Word* keys : {&stats.pair_keys, &stats.entry_keys}) {
        keys->store(keys->load() + kPretended);
        for (int step = 0; step < steps; ++step) table_->shard(i).reclaim(1);
        keys->store(keys->load() - kPretended);
      }
    }
  }
  // Does all merges that are due, and all other upkeep of shards without requests.
  void reclaim_all() {
    for (std::uint32_t i = 0; i < table_->shard_count(); ++i) {
      table_->shard(i).begin_request();
      while (table_->shard(i).reclaim(1000)) {
      }
    }
  }
  // The primary bucket of a key, according to the directory.
  template <typename Bucket>
  Bucket& home_of(std::string_view key) {
    std::uint32_t shard;
    const HashedKey hashed = table_->hash(bytes_of(key), shard);
    const ShardHeader& words = header().shards[shard];
    constexpr bool kPairs = std::is_same_v<Bucket, PairBucket>;
    const std::uint64_t state = (kPairs ? words.pair_state : words.entry_state).load();
    const Word* directory = table_->region().at<Word>(kPairs ? words.pair_directory : words.entry_directory);
    return table_->region().at<Bucket>(
        directory[directory_index(state, hashed.fraction)].load())[segment_bucket<Bucket>(hashed.hash)];
  }
  // Keys whose bucket in their segment has this number, whichever segment that is: of `name` of 0, 1 … as many as needed.
  template <typename Bucket, typename Name>
  std::vector<std::string> keys_of_one_bucket(std::uint64_t count, const Name& name, std::uint64_t bucket = 5) {
    std::vector<std::string> keys;
    std::uint32_t shard;
    for (std::uint64_t i = 0; keys.size() < count; ++i) {
      const std::string key = name(i);
      if (segment_bucket<Bucket>(table_->hash(bytes_of(key), shard).hash) == bucket) keys.push_back(key);
    }
    return keys;
  }
  // The offsets of all segments of a form.
  template <typename Bucket>
  std::vector<std::uint64_t> segments_of(std::uint32_t shard = 0) {
    constexpr SlabKind kKind = std::is_same_v<Bucket, PairBucket> ? kSlabPairBuckets : kSlabEntryBuckets;
    std::vector<std::uint64_t> offsets;
    for (const auto& [segment, kind] : table_->shard(shard).segments()) {
      if (kind == kKind) offsets.push_back(segment);
    }
    return offsets;
  }
  bool mixed(std::uint32_t shard = 0) { return (header().shards[shard].pair_state.load() & kStateMixed) != 0; }

 private:
  std::string path_;
  std::string journal_path_;
  Region journal_;
  std::unique_ptr<Table> table_;
};

struct Found {
  ReadOutcome outcome;
  std::string value;
  bool operator==(const Found&) const = default;
};
inline Found get(const TableReader& reader, std::string_view key) {
  Found found;
  found.outcome = reader.get(bytes_of(key), ValueTarget::string(found.value)).outcome;
  return found;
}

// The same with the key's end, if it has one, behind the value.
inline std::string with_end(std::string value, std::uint64_t end) {
  return end == kNoEnd ? value : std::move(value) + " until " + std::to_string(end);
}
inline Found get_with_end(const TableReader& reader, std::string_view key) {
  Found found;
  std::uint64_t end = kNoEnd;
  const std::uint64_t hash = reader.hash_of(bytes_of(key));
  found.outcome = reader.get_with_end(bytes_of(key), hash, ValueTarget::string(found.value), end).outcome;
  found.value = with_end(std::move(found.value), end);
  return found;
}

struct FastGet {
  TableReader::FastResult outcome;
  std::string value;
  bool operator==(const FastGet&) const = default;
};
inline FastGet try_get(const TableReader& reader, std::string_view key) {
  FastGet seen;
  std::uint64_t size = 0;
  const std::uint64_t hash = reader.hash_of(bytes_of(key));
  seen.outcome = reader.try_get(bytes_of(key), hash, ValueTarget::string(seen.value), size);
  return seen;
}

// As the outcome of the slow path; kContended: a client would retry, or send a request to the server.
inline ReadOutcome outcome_of(TableReader::FastResult seen) {
  using FastResult = TableReader::FastResult;
  if (seen == FastResult::kUnclear) return ReadOutcome::kContended;
  return seen == FastResult::kHit ? ReadOutcome::kHit : ReadOutcome::kMiss;
}
inline Found as_found(FastGet seen) {
  const ReadOutcome outcome = outcome_of(seen.outcome);
  return {outcome, outcome == ReadOutcome::kContended ? std::string() : std::move(seen.value)};
}

}  // namespace hostmap::test
