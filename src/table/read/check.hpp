// TableCheck: verifies the invariants of a table from a read-only mapping while its writer continues.
//
// The invariants (docs/reference/memory-layout.md), for each bucket that exists:
//   every key hashes to the bucket that contains it, and a cell's tag is its key's
//   every offset lies in the populated arena and is aligned; key and value are within their limits and the arena
//   a chain has at most kMaxChain buckets, and no overflow bucket is in two chains
//   no key occurs twice in one form; a key in both forms is a move in progress
// and the number of keys equals the server's count.
//
// The technique is that of TableScan: a bucket is read, and the result is valid only if its header (for entries: the
// primary's) is the same after an acquire fence. Faults are examined again, after pauses in which an interrupted writer
// can continue: only faults that are found each time become findings. Keys that the last split has moved may remain
// in the old bucket, too, until the split has ended.
//
// One thread; stores nothing shared; allocates; its time is bounded only by the size of the table. Two states are reported
// as damage and are none: a writer that is stopped for longer than the pauses, in the middle of a move between the forms, or
// between a change and its count.
#pragma once

#include <cstdint>
#include <string>
#include <unordered_map>
#include <vector>

#include "layout/region.hpp"
#include "table/read/reader.hpp"

namespace hostmap {

class TableCheck {
 public:
  // The reader must outlive this, and be plausible().
  explicit TableCheck(const TableReader& reader)
      : reader_(reader), most_depth_(plan_table(reader.header().max_memory, reader.header().shard_count).most_depth) {}

  struct Report {
    std::vector<std::string> findings;  // one line each
    std::uint64_t entries = 0;          // keys of both forms
    std::uint64_t lapsed = 0;           // of these, whose end has passed: absent, and not removed yet
    std::uint64_t buckets = 0;          // of both forms, without overflow buckets
    std::uint64_t busy_buckets = 0;     // of these, changed under every attempt: not checked
    bool counts_compared = true;        // false: keys were added or removed meanwhile, so there was nothing to compare
    bool closed = false;                // the table was given up meanwhile: the other fields are meaningless
  };
  // Call it once. Throws bad_alloc.
  Report run();

 private:
  enum class Form : std::uint8_t { kPairs, kEntries };
  struct Place {
    Form form = Form::kPairs;
    std::uint32_t shard = 0;
    std::uint64_t bucket = 0;    // of the segment
    std::uint64_t fraction = 0;  // where the segment's interval begins
    friend bool operator==(const Place&, const Place&) = default;
  };
  struct Fault {
    const char* what;
    std::uint64_t offset;  // of the faulty bucket, cell or entry
  };
  enum class Outcome : std::uint8_t { kDone, kContended, kClosed };
  // The result of examining a chain once.
  struct Chain {
    const Word* primary = nullptr;
    std::uint64_t header = 0;  // the primary's
    std::uint64_t keys = 0;    // without keys that a split has yet to remove
    std::uint64_t lapsed = 0;  // of them
    std::vector<Fault> faults;
    std::vector<std::uint64_t> overflow;  // offsets
    std::vector<std::uint64_t> words;     // 8-byte keys
  };
  struct Shared {  // an overflow bucket that was seen in two chains
    Place first;
    Place second;
    std::uint64_t offset;
  };
  enum class Home : std::uint8_t { kHere, kMoved, kElsewhere };
  // Figures that change when a shard is written to.
  struct Counters {
    std::uint64_t change = 0;
    std::uint64_t lane_fill = 0;
    std::uint64_t puts = 0;
    std::uint64_t erases = 0;
    std::uint64_t pair_keys = 0;
    std::uint64_t entry_keys = 0;
    std::uint64_t pair_state = 0;
    std::uint64_t entry_state = 0;
    friend bool operator==(const Counters&, const Counters&) = default;
  };
  struct Counted {
    std::uint64_t pair_keys = 0;
    std::uint64_t entry_keys = 0;
    bool quiet = true;  // no writes meanwhile
    Counters server;
  };

  // Where the directory leads at one moment.
  struct Directory {
    std::uint64_t state = 0;
    std::uint64_t twin = 0;
  };
  Directory directory_of(Form form, std::uint32_t shard) const noexcept;
  bool depth_is_valid(std::uint64_t state) const noexcept;
  // 0: it leads out of the populated arena.
  std::uint64_t segment_at(Form form, std::uint32_t shard, std::uint64_t index) const noexcept;
  // The last fraction of the segment that has the place's.
  std::uint64_t last_of(const Place& place, std::uint64_t state) const noexcept;
  std::uint64_t offset_of(const void* address) const noexcept;
  Home home_of(std::uint64_t hash, const Place& place, const Directory& directory,
               std::uint64_t segment) const noexcept;

  Outcome examine(const Place& place, Chain& chain);
  Outcome examine_once(const Place& place, Chain& chain);
  // What examining a chain needs besides its place.
  struct At {
    Directory directory;
    std::uint64_t segment;
    std::uint64_t change;
  };
  void examine_pairs(const Place& place, const At& at, Chain& chain);
  void examine_entries(const Place& place, const At& at, Chain& chain);
  void examine_cell(const Place& place, const At& at, std::uint64_t cell, std::uint64_t offset_of_cell, Chain& chain);
  bool unchanged() const noexcept;
  Outcome find_pairs_of(const Place& place, Chain& entries);
  bool still_shared(const Shared& shared);

  Counters counters_of(std::uint32_t shard) const noexcept;
  Counted walk(std::uint32_t shard, bool record);
  void walk_form(Form form, std::uint32_t shard, bool record, Counted& counted);
  void visit(const Place& place, bool record, Chain& chain, Counted& counted);
  void record_owners(const Place& place, const Chain& chain);
  void examine_again();
  void compare(std::uint32_t shard, Counted counted);
  std::string describe(const Place& place) const;

  const TableReader& reader_;
  unsigned most_depth_;  // of a directory
  Report report_;
  std::vector<Place> suspects_;  // chains with faults
  std::vector<Place> busy_;      // changed under every attempt
  std::vector<Shared> shared_;
  std::unordered_map<std::uint64_t, Place> owner_of_line_;  // lines of the arena that are overflow buckets
  // Of the attempt in progress.
  struct EntrySeen {
    std::uint64_t hash;
    std::uint64_t offset;
  };
  std::vector<SeenHeader> seen_;
  std::vector<EntrySeen> entries_seen_;
  std::vector<std::byte> key_;
  std::vector<std::byte> other_key_;
};

}  // namespace hostmap
