// Table: the server's table region with its writers.
//
// create() builds the region; shards() are then owned by the workers of their lanes, one thread each.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include <hostmap/status.hpp>

#include "base/hash.hpp"
#include "journal/journal.hpp"
#include "layout/table.hpp"
#include "table/write/writer.hpp"

namespace hostmap {

struct TableOptions {
  std::uint64_t buckets = 1024;  // at least, in each form, over all shards; in whole segments
  std::uint64_t memory_limit = std::uint64_t{1} << 30;
  std::uint64_t max_memory = 0;  // 0: memory_limit
  std::uint64_t max_value_bytes = std::uint64_t{64} << 20;
  std::uint32_t shards = 1;
  std::uint64_t hash_seed = 0;
  std::uint64_t incarnation = 0;
  bool membarrier = false;
  std::uint64_t time_namespace = 0;  // of the clock that ends count by
};

class Table {
 public:
  // Creates and populates the region at `path`. It is not published yet. kFull: the limit or the file system is too small
  // for the initial buckets.
  static Result<std::unique_ptr<Table>> create(const std::string& path, const TableOptions& options, Journal journal);

  // Maps and verifies a dead server's region; nothing in it is changed. kInvalid: it cannot be taken over, and why.
  static Result<std::unique_ptr<Table>> attach(Region region, Journal journal);
  // The first step of a restart, before any shard is settled.
  void begin_restart() noexcept;
  // Call after the shards were settled. Counts the arena's use by reading the table, and builds the writers' state from it.
  // `streams` hold entries that no cell links yet. Returns how many places and links were invalid and were dropped. `lost`:
  // numbers of the streams whose entries are invalid.
  struct Stream {
    std::uint32_t shard;
    std::uint64_t entry;
    std::uint64_t bytes;  // of the entry
  };
  std::uint64_t rebuild(const std::vector<Stream>& streams, std::vector<std::size_t>& lost);
  // The same from the last server's hand-over summary of the arena, in time that depends on the arena's size and not on
  // the number of cells. False: the summary is not valid, and nothing was done.
  bool rebuild_from_summary(std::span<const std::byte> summary, const std::vector<Stream>& streams,
                            std::vector<std::size_t>& lost);
  // Call after either, once the last server's summary is removed: moves entries that a kill left in the reserve out of it.
  void restore_reserve();
  // Everything that a start must rebuild, for comparison. No worker runs.
  WriterState state() const;
  // Builds the hand-over summary. No worker runs any more; nothing grows from here on.
  std::vector<std::byte> make_summary();

  // What this server does when memory is full. Before any worker runs; a restart begins with kNone.
  void set_eviction(Eviction policy) noexcept;

  Region& region() noexcept { return region_; }
  // As of now: the server's user can change it at any time.
  std::uint64_t memory_limit() const noexcept { return budget_.limit(); }
  // The limit, or what was populated before it fell.
  std::uint64_t memory_extent() const noexcept { return budget_.extent(); }
  TableHeader& header() noexcept { return *region_.at<TableHeader>(0); }
  ShardWriter& shard(std::uint32_t index) noexcept { return *shards_[index]; }
  std::uint32_t shard_count() const noexcept { return static_cast<std::uint32_t>(shards_.size()); }

  // The key with its hash, and its shard.
  HashedKey hash(std::span<const std::byte> key, std::uint32_t& shard) const noexcept {
    HashedKey hashed;
    hashed.bytes = key;
    hashed.hash = hash_(key);
    const Spread spread = spread_over_shards(hashed.hash, shard_count());
    hashed.fraction = spread.fraction;
    shard = spread.shard;
    return hashed;
  }

  // Notifies every reader that this table is given up.
  void close() noexcept;
  // Wakes every client that waits until a key changes: another server serves now, or none. No worker runs.
  void wake_waiters() noexcept;

 private:
  Table(Region region, const TableOptions& options, Journal journal);
  bool open();
  void rebuild(const ArenaCensus& census);

  Region region_;
  KeyHash hash_;
  Journal journal_;
  MemoryBudget budget_;
  std::unique_ptr<SlabPool> pool_;
  std::vector<std::unique_ptr<ShardWriter>> shards_;
  std::unique_ptr<Populator> populator_;  // last: its thread uses the members above
};

}  // namespace hostmap
