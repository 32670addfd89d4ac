// ShardWriter: the one writer of a shard. Every change of the table is here and in split.cpp.
//
// Threads: the lane's worker alone; readers of any process run concurrently.
//
// Invariants
// 1. A mutation becomes visible by one 8-byte release store: the value word (overwrite of a pair), the pair bucket's header
//    (insert, erase, and both kinds of move), or the cell (everything about entries).
// 2. Pairs decide: a key that is in both forms (in the middle of a move) has the pair's value.
// 3. A pair place or block that a reader may still read is written again only after a release fence that follows the
//    store which unlinked it: the header with its new version, or the chain's raised version.
// 4. `mixed` is set before the first entry with an 8-byte key is linked.
// 5. The intent is sealed before the commit and names what the commit changes; a refused mutation seals nothing and
//    changes nothing but upkeep (a linked, empty overflow bucket).
// 6. A bucket of another fill than the table's is empty: a clear is one store. The writer resets such a bucket before any
//    other access, and sweeps over all of them in bounded steps; their memory counts as used until then. `fill_` is
//    the table's fill as this writer saw it at the beginning of a request: a clear meanwhile comes after the request.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <utility>
#include <vector>

#include <hostmap/status.hpp>

#include "base/hash.hpp"
#include "journal/intent.hpp"
#include "layout/journal.hpp"
#include "layout/table.hpp"
#include "table/form/match.hpp"
#include "table/memory/arena.hpp"

namespace hostmap {

// A key with the parts of its hash.
struct HashedKey {
  std::span<const std::byte> bytes;
  std::uint64_t hash = 0;
  std::uint64_t fraction = 0;  // Spread::fraction
  // The pair's bucket, valid as long as the state of the pairs is this: kept from prefetch() for the request itself.
  PairBucket* home = nullptr;
  std::uint64_t home_state = 0;

  bool is_word() const noexcept { return bytes.size() == 8; }
  std::uint64_t word() const noexcept {
    std::uint64_t value;
    __builtin_memcpy(&value, bytes.data(), sizeof value);
    return value;
  }
};

// The work of one request to make room, spread over several calls: a call does no more than about a millisecond
// of it, so that other clients are served in between.
struct Effort {
  bool goes_on = false;  // the call ended at its limit: call again with the same effort
  bool begun = false;
  std::uint64_t slabs_left = 0;  // that may be emptied for it: this bounds the request, however scattered the holes are
};

// All calls of a request: call(effort) until it no longer continues.
template <typename Call>
auto with_all_calls(const Call& call) {
  Effort effort;
  auto result = call(effort);
  while (effort.goes_on) result = call(effort);
  return result;
}

class ShardWriter {
 public:
  // `header` carries the shard's constants; the base buckets are not populated yet.
  ShardWriter(Region& table, std::uint32_t shard, Intent& intent, MemoryBudget& budget, Populator& populator,
              SlabPool& pool);

  // Populates the base buckets. False: no memory.
  bool open();

  // The lane's record: begin() it before a put, erase, commit_entry or clear.
  IntentWriter& intent() noexcept { return intent_; }

  // Call before each request: has the table been cleared?
  void notice_clear() noexcept {
    // [fill.writer] acquire; pairs with [fill.clear]
    const std::uint64_t now = header_.fill.load(std::memory_order_acquire);
    if (now != fill_) [[unlikely]]
      begin_sweep(now);
  }
  // Empties the whole table, all shards of it, in one store; one fixed shard's writer alone. Requires may_clear().
  void clear() noexcept;
  // False while a bucket of any shard might be taken for a newer one: then the shards must sweep first.
  bool may_clear() const noexcept;
  // Resets up to `buckets` that are older than the last clear. False: there is none left.
  bool sweep(unsigned buckets) noexcept;

  // Prefetches the memory that a request for `key` will access.
  void prefetch(HashedKey& key) const noexcept;

  // Sets `key`. kOk: sealed and committed; kFull: nothing changed. A put that finds no room makes some, in bounded steps,
  // before it gives up: buckets that a clear left are swept, entries moved out of sparse slabs. A value that needs no more
  // room than its key has is never refused, within the limits of the arena's reserve (arena.hpp). A pair has no block: a
  // value of another length than 8 bytes needs one, and may need a bucket, whatever is free of any class.
  StatusCode put(const HashedKey& key, std::span<const std::byte> value) {
    const StatusCode code = try_put(key, value);
    if (code != StatusCode::kFull) [[likely]]
      return code;
    return with_all_calls([&](Effort& effort) { return make_room_and_put(key, value, effort); });
  }
  // The same in its parts: without making room, and, when that has returned kFull, a call that makes it.
  StatusCode try_put(const HashedKey& key, std::span<const std::byte> value);
  StatusCode make_room_and_put(const HashedKey& key, std::span<const std::byte> value, Effort& effort);
  // Removes `key`. kOk: sealed and committed; kNotFound.
  StatusCode erase(const HashedKey& key);

  // A put in two steps, for values that arrive in pieces: a block is allocated, the caller writes key and value from
  // entry_payload() on, and then it is committed or dropped. 0: no memory.
  std::uint64_t begin_entry(std::uint64_t key_bytes, std::uint64_t value_bytes, Effort& effort);
  std::uint64_t begin_entry(std::uint64_t key_bytes, std::uint64_t value_bytes) {
    return with_all_calls([&](Effort& effort) { return begin_entry(key_bytes, value_bytes, effort); });
  }
  std::byte* entry_payload(std::uint64_t entry) const noexcept { return table_.at<std::byte>(entry) + kEntryMetaBytes; }
  // `key` may lie in the entry itself. kOk, or kFull: nothing changed, and the caller still owns the block.
  StatusCode commit_entry(const HashedKey& key, std::uint64_t entry, Effort& effort);
  StatusCode commit_entry(const HashedKey& key, std::uint64_t entry) {
    return with_all_calls([&](Effort& effort) { return commit_entry(key, entry, effort); });
  }
  // Could a value of so many bytes be put while memory is full, because `key` already has as much room?
  bool may_replace(const HashedKey& key, std::uint64_t value_bytes) noexcept;
  // The longest entry for which that is possible.
  std::uint64_t most_replaced_bytes() const noexcept { return pool_.reserved_bytes(); }
  void drop_entry(std::uint64_t entry, std::uint64_t key_bytes, std::uint64_t value_bytes) noexcept;

  // The value of `key` as the writer itself sees it; valid until the next change.
  struct Found {
    bool found = false;
    std::uint64_t pair_value = 0;      // when `entry` is 0
    std::uint64_t entry = 0;           // offset
    std::uint64_t generation = 0;      // of the entry's first page
    std::span<const std::byte> value;  // of an entry
    std::span<const std::byte> bytes() const noexcept {
      if (entry != 0) return value;
      return {reinterpret_cast<const std::byte*>(&pair_value), sizeof pair_value};
    }
  };
  Found find(const HashedKey& key) noexcept;

  // A bounded step of growth, if keys were added and the load requires it, of the sweep after a clear, and of emptying a
  // slab; call between requests.
  void upkeep() {
    if (grown_) grow();
    if (!swept_) [[unlikely]]
      sweep(kSweptPerUpkeep);
    if (blocks_.is_unsettled()) [[unlikely]]
      settle_blocks();
  }

  // Notifies readers to connect anew.
  void close() noexcept;

  // The steps of a restart for a dead server's shard, in this order and before a worker runs; after a kill in between
  // the next server begins again (recovery.cpp).
  //
  // Do the shard's words describe what the region holds?
  bool plausible() const noexcept;
  // Settles the request in progress by the lane's sealed record, and readers' view of the chain it had touched.
  enum class Settled : std::uint8_t {
    kNothing,     // there was none, or it has not begun: its record is still in the ring
    kApplied,     // it is in the table
    kAnswerTells  // it changes nothing: the ring shows whether it was answered
  };
  Settled settle(const Intent& intent) noexcept;
  // Repeats the removal of a split in progress.
  void repeat_removal() noexcept;
  // Counts keys and their use of the arena. Returns how many places and links were invalid and were dropped.
  std::uint64_t survey(ArenaCensus& census);
  // Empties the cells that lead to these places, in ascending order. Returns how many there were.
  std::uint64_t drop_entries(const std::vector<std::uint64_t>& misfits) noexcept;
  // Takes over the shard from the last server, the census being either counted or read. The only place where a start builds
  // this writer's state, so that both kinds of start give the same.
  void adopt(const ArenaCensus& census);
  // Next, when the last server's summary is removed: moves an entry that a kill has left in the reserve out of it.
  void leave_reserve();
  // False: it could not, and the entry stays where it was.
  bool move_run(const SlabPool::Move& move);
  void report(ArenaCensus& census) const;
  // Of everything that a start must rebuild; no worker runs.
  void describe(WriterState& state) const;
  void give_back_rest() noexcept {
    pair_area_.give_back_rest();
    entry_area_.give_back_rest();
  }
  std::uint64_t populated_bytes() const noexcept { return pair_area_.populated() + entry_area_.populated(); }

 private:
  struct PairPlace {
    PairBucket* bucket = nullptr;
    unsigned place = 0;  // 1 to 7
  };
  struct EntryPlace {
    Word* cell = nullptr;
    std::uint64_t word = 0;
  };

  // writer.cpp
  static constexpr unsigned kSweptPerUpkeep = 16;
  static constexpr unsigned kMovedPerUpkeep = 4;
  HashedKey hashed(std::span<const std::byte> key) const noexcept;  // of a key that lies in the table
  PairBucket* pair_home(const HashedKey& key) const noexcept;
  EntryBucket* entry_home(const HashedKey& key) const noexcept;
  // The same, reset if a clear has emptied it.
  PairBucket* fresh_pairs(const HashedKey& key) noexcept { return fresh(pair_home(key)); }
  EntryBucket* fresh_entries(const HashedKey& key) noexcept { return fresh(entry_home(key)); }
  PairBucket* pair_next(const PairBucket& bucket) const noexcept;
  [[gnu::always_inline]] inline PairPlace find_pair(PairBucket* primary, std::uint64_t key,
                                                    PairPlace* free_place) const noexcept;
  EntryPlace find_entry(EntryBucket* primary, const HashedKey& key, Word** free_cell) const noexcept;
  PairPlace link_pair_bucket(PairBucket* primary);  // an empty place in a new bucket at the chain's end
  void release_pair_overflow(PairBucket* bucket) noexcept;
  Word* link_entry_bucket(EntryBucket* primary);
  StatusCode put_pair(const HashedKey& key, std::uint64_t value);
  StatusCode put_entry(const HashedKey& key, std::span<const std::byte> value);
  std::uint64_t block_for(const HashedKey& key, std::uint64_t value_bytes);
  bool has_pair(const HashedKey& key) noexcept;
  void swing_cell(EntryBucket* primary, Word& cell, std::uint64_t word) noexcept;
  StatusCode try_commit(const HashedKey& key, std::uint64_t entry);
  void set_mixed() noexcept;
  std::uint64_t entry_size(std::uint64_t cell) const noexcept;
  std::uint64_t offset_of(const void* address) const noexcept {
    return static_cast<std::uint64_t>(static_cast<const std::byte*>(address) - table_.data());
  }
  bool mixed() const noexcept;
  std::uint64_t fill_bits() const noexcept { return (fill_ & 0xff) << kFillShift; }

  // clear.cpp
  bool is_stale(const Word& header) const noexcept;
  PairBucket* fresh(PairBucket* primary) noexcept {
    if (is_stale(primary->header)) [[unlikely]]
      reset(*primary);
    return primary;
  }
  EntryBucket* fresh(EntryBucket* primary) noexcept {
    if (is_stale(primary->header)) [[unlikely]]
      reset(*primary);
    return primary;
  }
  void reset(PairBucket& primary) noexcept;
  void reset(EntryBucket& primary) noexcept;
  void begin_sweep(std::uint64_t fill) noexcept;

  // compaction.cpp
  bool make_room(Effort& effort, std::uint64_t bytes);
  void settle_blocks();
  void settle_run() noexcept;
  bool evacuate(unsigned entries);
  std::uint64_t move_entry(std::uint64_t entry, std::uint64_t to);

  // split.cpp
  void grow();
  bool split_pairs();
  void gather_pairs(PairBucket& primary) noexcept;
  struct OldPairs {
    struct Bucket {
      PairBucket* bucket;
      std::uint64_t moved;  // occupancy bits
    };
    std::array<Bucket, kMaxChain> chain;
    unsigned length = 0;
  };
  struct OldEntries {
    std::array<EntryBucket*, kMaxChain> chain;
    unsigned length = 0;
    std::array<Word*, kMaxChain * kPlaces> cells;  // that move
    unsigned moved = 0;
  };
  using Overflow = std::array<std::uint64_t, kMaxChain + 2>;
  bool take_overflow(SlabKind kind, unsigned buckets, Overflow& overflow);
  OldPairs pairs_to_move(PairBucket* primary, unsigned level) const noexcept;
  OldEntries entries_to_move(EntryBucket* primary, unsigned level) const noexcept;
  void remove_moved(const OldPairs& old) noexcept;
  void remove_moved(const OldEntries& old) noexcept;

  // recovery.cpp
  std::uint32_t number() const noexcept { return static_cast<std::uint32_t>(&shard_ - header_.shards); }
  bool is_entry_bucket(std::uint64_t offset) const noexcept;
  bool lies_within(std::uint64_t offset, std::uint64_t size) const noexcept;
  bool may_be_walked(const PairBucket& primary) const noexcept;
  bool may_be_walked(const EntryBucket& primary) const noexcept;
  void unlink_cell(std::uint64_t cell, std::uint64_t word) noexcept;
  std::uint64_t survey_pairs(ArenaCensus& census) noexcept;
  struct EntrySurvey {
    std::uint64_t keys = 0;
    std::vector<std::pair<EntryBucket*, Word*>> nowhere;  // cells that lead nowhere, and their chains
  };
  std::uint64_t survey_entries(ArenaCensus& census);
  void survey_entries(ArenaCensus& census, std::uint64_t first, std::uint64_t last, EntrySurvey& found) const;
  bool is_counted(ArenaCensus& census, std::uint64_t offset) const;
  bool split_entries();
  bool ground_ready(GrowingArea& area, std::uint64_t bytes, bool overdue);

  Region& table_;
  TableHeader& header_;
  ShardHeader& shard_;
  LaneStats& stats_;
  KeyHash hash_;
  Populator& populator_;
  SlabPool& pool_;
  BlockAllocator blocks_;
  GrowingArea pair_area_;
  GrowingArea entry_area_;
  PairBucket* pairs_;
  EntryBucket* entries_;
  VectorWidth width_;
  IntentWriter intent_;
  bool grown_ = false;          // keys were added since the last upkeep
  bool chain_is_full_ = false;  // the last link…_bucket() failed for that, and not for lack of memory
  std::uint64_t fill_ = 0;
  bool swept_ = true;              // no bucket of this shard is older than fill_
  std::uint64_t swept_pairs_ = 0;  // otherwise: so many buckets were examined
  std::uint64_t swept_entries_ = 0;
};

}  // namespace hostmap
