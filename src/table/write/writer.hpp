// ShardWriter: the one writer of a shard. Every change of the table is here and in resize.cpp.
//
// Threads: the lane's worker alone; readers of any process run concurrently.
//
// Invariants
// 1. A mutation becomes visible by one 8-byte release store: the value word (overwrite of a pair), the pair bucket's header
//    (insert, erase, and both kinds of move), or the cell (everything about entries).
// 2. Pairs decide: a key that is in both forms (in the middle of a move) has the pair's value.
// 3. A pair place or block that a reader may still read is written again only after a release fence that follows the
//    store which unlinked it: the header with its new version, or the chain's raised version. What has served as buckets is
//    given to another use only after a turn of the change word.
// 4. `mixed` is set before the first entry with an 8-byte key is linked.
// 5. The intent is sealed before the commit and names what the commit changes; a refused mutation seals nothing and
//    changes nothing but upkeep (a linked, empty overflow bucket).
// 6. While a segment is being split, a bucket of it that was copied already is copied again after each change; once the new
//    half is published, a bucket of it is changed only after what moved there was removed from the old one.
// 7. A bucket of another fill than the table's is empty: a clear is one store. The writer resets such a bucket before any
//    other access, and sweeps over all of them in bounded steps; their memory counts as used until then. `fill_` is
//    the table's fill as this writer saw it at the beginning of a request: a clear meanwhile comes after the request.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <span>
#include <type_traits>
#include <utility>
#include <vector>

#include <hostmap/status.hpp>

#include "base/ends.hpp"
#include "base/hash.hpp"
#include "journal/intent.hpp"
#include "layout/journal.hpp"
#include "layout/table.hpp"
#include "table/form/match.hpp"
#include "table/memory/arena.hpp"
#include "table/memory/growth.hpp"
#include "table/write/directory.hpp"
#include "table/write/wait_groups.hpp"

namespace hostmap {

// A value up to this length is compared, hashed or copied in one step, and a step of a longer one handles so much: 20 to 100 us.
inline constexpr std::uint64_t kLongWorkAtOnce = 256 * 1024;

// A key with the parts of its hash.
struct HashedKey {
  std::span<const std::byte> bytes;
  std::uint64_t hash = 0;
  std::uint64_t fraction = 0;  // Spread::fraction
  // The pair's bucket, valid as long as no segment was split or merged: kept from prefetch() for the request itself.
  PairBucket* home = nullptr;
  std::uint64_t home_moves = 0;

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
  bool unfinished = false;  // the call ended at its limit: call again with the same effort
  bool begun = false;
  // Of a large value in a cache: the slabs that are emptied for it.
  std::uint64_t window = SlabPool::kNone;
  std::uint64_t window_end = 0;
  std::uint64_t segments = 0;    // of pairs that were given up for it
  std::uint64_t slabs_left = 0;  // that may be emptied for it: this bounds the request, however scattered the holes are
};

// All calls of a request: call(effort) until it has finished.
template <typename Call>
auto call_until_finished(const Call& call) {
  Effort effort;
  auto result = call(effort);
  while (effort.unfinished) result = call(effort);
  return result;
}

class ShardWriter {
 public:
  // The table's header carries the shard's constants; it has no segment yet.
  ShardWriter(Region& table, std::uint32_t shard, Intent& intent, MemoryBudget& budget, Populator& populator,
              SlabPool& pool);

  // Takes the first segments. False: no memory.
  bool open();

  // The lane's record: begin() it before a put, erase, commit_entry or clear.
  IntentWriter& intent() noexcept { return intent_; }

  // Call before each request, and before each upkeep without one: has the table been cleared? What follows happens at one
  // moment.
  void begin_request() noexcept {
    moment_.renew();
    // [fill.writer] acquire; pairs with [fill.clear]
    const std::uint64_t now = fill_of(header_.change.load(std::memory_order_acquire));
    if (now != fill_) [[unlikely]]
      begin_sweep(now);
  }
  // Empties the whole table, all shards of it, in one store; one fixed shard's writer alone. Requires may_clear().
  void clear() noexcept;
  // False while a bucket of any shard might be taken for a newer one: then the shards must sweep first.
  bool may_clear() const noexcept;
  // Resets up to `buckets` that are older than the last clear. False: there is none left.
  bool sweep(unsigned buckets) noexcept;
  // When the hand has work next, as far as is known: a moment, or kNeverEnds.
  std::uint64_t next_end() const noexcept { return hand_.least_end; }
  // Before any request: what is done when memory is full.
  void set_eviction(Eviction policy) noexcept;
  // The key of a request was read.
  void touch(const HashedKey& key) noexcept;
  // A key was read that a client has noted (layout/connection.hpp); whatever the note says.
  void touch(std::uint64_t note) noexcept;
  bool evicts() const noexcept { return eviction_ != Eviction::kNone; }
  std::uint64_t evicted() const noexcept {
    return stats_.evicted.load(std::memory_order_relaxed);  // relaxed: this thread's own
  }
  // Upkeep while there are no requests: a step of what an entry has left in the reserve, then the same, then the hand's work, then a
  // step of growth or shrinking. False: there is none left.
  bool reclaim(unsigned buckets) {
    if (blocks_.must_settle_run()) {
      settle_run();
      return true;
    }
    if (sweep(buckets)) return true;
    if (collect(buckets)) return true;
    if (blocks_.keeps_empty()) blocks_.trim();
    postponed_ = merge_pause_ = 0;
    return resize_step(pairs_) || resize_step(entries_) || lower_step();
  }
  // Ends splits in progress, and moves out of the reserve, for a stop: the hand-over summary does not contain them.
  void end_upkeep() noexcept {
    end_twin(pairs_);
    end_twin(entries_);
    while (blocks_.must_settle_run()) settle_run();
  }
  // Of kLongWorkAtOnce; a test sets it, so that short values have several steps.
  std::uint64_t step_bytes() const noexcept { return step_bytes_; }
  void set_step_bytes(std::uint64_t bytes) noexcept { step_bytes_ = bytes; }

  // Prefetches the memory that a request for `key` will access.
  void prefetch(HashedKey& key) const noexcept;

  // Sets `key`, which ends at `end` (kNoEnd, kKeepEnd, or a moment). kOk: sealed and committed; kFull: nothing changed. A put
  // that finds no room makes some, in bounded steps,
  // before it gives up: buckets that a clear left are swept, entries moved out of sparse slabs. A value that needs no more
  // room than its key has is never refused, within the limits of the arena's reserve (arena.hpp). A pair has no block: a
  // value of another length than 8 bytes needs one, and may need a bucket, whatever is free of any class.
  StatusCode put(const HashedKey& key, std::span<const std::byte> value, std::uint64_t end = kNoEnd) {
    const StatusCode code = try_put(key, value, end);
    if (code != StatusCode::kFull) [[likely]]
      return code;
    return call_until_finished([&](Effort& effort) { return make_room_and_put(key, value, end, effort); });
  }
  // The same in its parts: without making room, and, when that has returned kFull, a call that makes it.
  StatusCode try_put(const HashedKey& key, std::span<const std::byte> value, std::uint64_t end = kNoEnd) {
    return end == kNoEnd ? put_without_end(key, value) : put_with_end(key, value, end);
  }
  StatusCode make_room_and_put(const HashedKey& key, std::span<const std::byte> value, std::uint64_t end,
                               Effort& effort);
  // Appends `more` to the value of `key`, of an absent one to an empty value; it keeps its end. The rest as put: one commit,
  // nothing changed by kFull, the same two parts.
  StatusCode try_append(const HashedKey& key, std::span<const std::byte> more);
  StatusCode make_room_and_append(const HashedKey& key, std::span<const std::byte> more, Effort& effort);
  // Gives a key that find() has found another end, or kNeverEnds. The rest as put.
  StatusCode try_expire(const HashedKey& key, std::uint64_t end);
  StatusCode make_room_and_expire(const HashedKey& key, std::uint64_t end, Effort& effort);
  StatusCode expire(const HashedKey& key, std::uint64_t end) {
    const StatusCode code = try_expire(key, end);
    if (code != StatusCode::kFull) return code;
    return call_until_finished([&](Effort& effort) { return make_room_and_expire(key, end, effort); });
  }
  // Removes `key`. kOk: sealed and committed; kNotFound.
  StatusCode erase(const HashedKey& key);

  // A put in two steps, for values that arrive in pieces: a block is allocated, the caller writes key and value from
  // entry_payload() on, and then it is committed or dropped. 0: no memory.
  // `end`: as for put; commit it with the same one.
  // `spared`: a key that is not evicted for it.
  std::uint64_t begin_entry(std::uint64_t key_bytes, std::uint64_t value_bytes, std::uint64_t end, Effort& effort,
                            const HashedKey* spared = nullptr);
  std::uint64_t begin_entry(std::uint64_t key_bytes, std::uint64_t value_bytes, std::uint64_t end = kNoEnd) {
    return call_until_finished([&](Effort& effort) { return begin_entry(key_bytes, value_bytes, end, effort); });
  }
  // The same for a new value of `key` when there is no other memory: from the reserve, which one entry has at a time. 0: there is
  // no reserve for it, or the key has no entry with as much room; or the effort is unfinished. When it is committed, the key
  // must have the same entry as now.
  std::uint64_t begin_replacement(const HashedKey& key, std::uint64_t value_bytes, std::uint64_t end, Effort& effort);
  std::byte* entry_payload(std::uint64_t entry) const noexcept { return table_.at<std::byte>(entry) + kEntryMetaBytes; }
  // `key` may lie in the entry itself. kOk, or kFull: nothing changed, and the caller still owns the block.
  StatusCode commit_entry(const HashedKey& key, std::uint64_t entry, std::uint64_t end, Effort& effort);
  StatusCode commit_entry(const HashedKey& key, std::uint64_t entry, std::uint64_t end = kNoEnd) {
    return call_until_finished([&](Effort& effort) { return commit_entry(key, entry, end, effort); });
  }
  // Can a value of so many bytes be put while memory is full, because `key` already has as much room?
  bool may_replace(const HashedKey& key, std::uint64_t value_bytes, std::uint64_t end = kNoEnd) noexcept;
  // All that begin_entry() takes for an entry.
  static std::uint64_t new_entry_bytes(std::uint64_t key_bytes, std::uint64_t value_bytes, std::uint64_t end) noexcept {
    return entry_bytes(new_meta(key_bytes, value_bytes, end));
  }
  // The longest entry for which that is possible.
  std::uint64_t most_replaced_bytes() const noexcept { return pool_.reserved_bytes(); }
  // Of an entry that begin_entry() has returned.
  void drop_entry(std::uint64_t entry) noexcept;

  // The value of `key` as the writer itself sees it; valid until the next change. A key that has lapsed is not found.
  struct Found {
    bool found = false;
    std::uint64_t end = kNoEnd;
    std::uint64_t pair_value = 0;      // when `entry` is 0
    std::uint64_t entry = 0;           // offset
    std::uint64_t generation = 0;      // of the entry's first page
    std::span<const std::byte> value;  // of an entry
    std::span<const std::byte> bytes() const noexcept {
      if (entry != 0) return value;
      return {reinterpret_cast<const std::byte*>(&pair_value), sizeof pair_value};
    }
    std::span<const std::byte> bytes_or_none() const noexcept { return found ? bytes() : std::span<const std::byte>(); }
  };
  Found find(const HashedKey& key) noexcept;

  // A bounded step of growth, if keys were added and the load requires it, of the sweep after a clear, and of emptying a
  // slab; call between requests. `changed`: the key of the last request, none if it was a clear.
  void upkeep(const std::span<const std::byte>& changed) {
    if (resize_due_) resize();
    if (!rests_) [[unlikely]]
      upkeep_without_rest(changed);
    if (blocks_.is_unsettled()) [[unlikely]]
      settle_blocks();
  }

  // Clients that wait for a change of a group of keys: one more, or one less. What is left to be done for them: wait_groups().
  void begin_watch(std::uint32_t group) noexcept {
    wait_groups_.add(group);
    stats_.waited.store(wait_groups_.registered(), std::memory_order_relaxed);  // relaxed: a figure
    rests_ = false;
  }
  void end_watch(std::uint32_t group) noexcept {
    wait_groups_.remove(group);
    stats_.waited.store(wait_groups_.registered(), std::memory_order_relaxed);  // relaxed: a figure
    rest_if_idle();
  }
  WaitGroups& wait_groups() noexcept { return wait_groups_; }

  // Notifies readers to connect anew.
  void close() noexcept;

  // The steps of a restart for a dead server's shard, in this order and before a worker runs; after a kill in between
  // the next server begins again (recovery.cpp).
  //
  // Do the shard's words describe what the region holds? Reads its directories.
  bool plausible() noexcept;
  // Settles the request in progress by the lane's sealed record. The change word was turned since the kill.
  enum class Settled : std::uint8_t {
    kNothing,     // there was none, or it has not begun: its record is still in the ring
    kApplied,     // it is in the table
    kAnswerShows  // it changes nothing: the ring shows whether it was answered
  };
  Settled settle(const Intent& intent) noexcept;
  // Completes a split or merge in progress.
  void complete_resize() noexcept;
  // Offsets of all its segments, each with its kind: of a region that is plausible, to verify that none is used twice.
  std::vector<std::pair<std::uint64_t, SlabKind>> segments() const;
  // Counts keys and their use of the arena. Returns how many places and links were invalid and were dropped.
  std::uint64_t survey(ArenaCensus& census);
  // Empties the cells that lead to these places, in ascending order. Returns how many there were.
  std::uint64_t drop_entries(const std::vector<std::uint64_t>& misfits);
  // Takes over the shard from the last server, with a census that was either counted or read from the summary. Only this builds
  // the writer's state at a start, so that both kinds of start give the same.
  void rebuild(const ArenaCensus& census);
  // Call once the last server's summary is removed: moves an entry that a kill has left in the reserve out of it.
  void leave_reserve();
  // False: it could not, and the entry stays where it was.
  bool move_run(const SlabPool::Move& move);
  void report(ArenaCensus& census) const;
  // Of everything that a start must rebuild; no worker runs.
  void describe(WriterState& state) const;
  void free_rest() noexcept {
    pairs_.words.free_rest();
    entries_.words.free_rest();
  }
  std::uint64_t populated_bytes() const noexcept { return pairs_.words.populated() + entries_.words.populated(); }

 private:
  struct PairPlace {
    PairBucket* bucket = nullptr;
    unsigned place = 0;  // 1 to 7
  };
  struct EntryPlace {
    Word* cell = nullptr;
    std::uint64_t word = 0;
  };

  // A split in progress. `to`: 0 if there is none.
  struct Twin {
    std::uint64_t from = 0;  // offset of the segment that is split
    std::uint64_t to = 0;    // and of the one that gets half of its keys
    bool published = false;  // the directory leads there: what moved is being removed from the old one
    unsigned progress = 0;   // buckets that are copied, or purged
  };
  // All that the writer keeps of one form.
  template <typename Bucket>
  struct Form {
    Form(Region& table, MemoryBudget& budget, SlabKind slab_kind, std::uint64_t offset, Word& populated, Word& state,
         Word& twin_word, std::uint64_t base, Word& key_count, Word& segment_count) noexcept
        : kind(slab_kind),
          words(table, budget, offset, directory_bytes(*table.at<TableHeader>(0)), populated, kPageSize, true),
          directory(state, twin_word, table.at<Word>(offset), populated, table.at<TableHeader>(0)->change, base),
          keys(key_count),
          segments_stat(segment_count) {}
    static std::uint64_t directory_bytes(const TableHeader& header) noexcept {
      return plan_table(header.max_memory, header.shard_count).directory_bytes;
    }
    SlabKind kind;
    GrowingArea words;  // of the directory
    Directory directory;
    Word& keys;
    Word& segments_stat;
    Twin twin;
    // Of the sweep after a clear: buckets from here on were not examined.
    std::uint64_t swept_fraction = 0;
    unsigned swept_bucket = 0;
    bool swept = true;
    // Of the segments that move to lower slabs: those from here on were not examined.
    std::uint64_t lowered_fraction = 0;
    bool lowered = true;
  };

  // writer.cpp
  //
  // The meta of a new entry. Long values have the word of an end in any case.
  static std::uint64_t new_meta(std::uint64_t key_bytes, std::uint64_t value_bytes, std::uint64_t end) noexcept {
    const bool has_end = end != kNoEnd || value_bytes > kLargestBlock;
    return make_meta(key_bytes, value_bytes) | (has_end ? kEntryHasEnd : 0);
  }
  static constexpr unsigned kSweptPerUpkeep = 16;
  static constexpr unsigned kMovedPerUpkeep = 4;
  HashedKey hashed(std::span<const std::byte> key) const noexcept;  // of a key that lies in the table
  // In line, as each put pays for it.
  [[gnu::always_inline]] inline PairBucket* pair_home_by_directory(const HashedKey& key) const noexcept {
    return bucket_of<PairBucket>(pairs_.directory.segment(key.fraction), segment_bucket<PairBucket>(key.hash));
  }
  [[gnu::always_inline]] inline PairBucket* pair_home(const HashedKey& key) const noexcept {
    if (key.home != nullptr && key.home_moves == moves_) [[likely]]
      return key.home;
    return pair_home_by_directory(key);
  }
  EntryBucket* entry_home(const HashedKey& key) const noexcept;
  template <typename Bucket>
  bool open(Form<Bucket>& form);
  // The bucket of a number in the segment at an offset.
  template <typename Bucket>
  Bucket* bucket_of(std::uint64_t segment, std::uint64_t number) const noexcept {
    return table_.at<Bucket>(segment) + number;
  }
  template <typename Bucket>
  std::uint64_t number_in_segment(const Bucket* bucket) const noexcept {
    return offset_of(bucket) % kSlabBytes / sizeof(Bucket);
  }
  template <typename Bucket>
  bool lies_in(std::uint64_t segment, const Bucket* bucket) const noexcept {
    return offset_of(bucket) - segment < kSlabBytes;
  }
  std::uint64_t fraction_of(std::uint64_t hash) const noexcept {
    return spread_over_shards(hash, header_.shard_count).fraction;
  }
  Form<PairBucket>& form_of(const PairBucket*) noexcept { return pairs_; }
  Form<EntryBucket>& form_of(const EntryBucket*) noexcept { return entries_; }
  // The first bucket of a key, up to date with the last clear and the last split.
  PairBucket* fresh_pairs(const HashedKey& key) noexcept { return fresh(pair_home(key)); }
  EntryBucket* fresh_entries(const HashedKey& key) noexcept { return fresh(entry_home(key)); }
  PairBucket* pair_next(const PairBucket& bucket) const noexcept;
  [[gnu::always_inline]] inline PairPlace find_pair(PairBucket* primary, std::uint64_t key,
                                                    PairPlace* free_place) const noexcept;
  EntryPlace find_entry(EntryBucket* primary, const HashedKey& key, Word** free_cell) const noexcept;
  PairPlace link_pair_bucket(PairBucket* primary);  // an empty place in a new bucket at the chain's end
  void release_pair_overflow(PairBucket* bucket) noexcept;
  void release_overflow(SlabKind kind, std::uint64_t offset) noexcept {
    if (!recovering_) blocks_.release_overflow(kind, offset);
  }
  Word* link_entry_bucket(EntryBucket* primary);
  StatusCode put_without_end(const HashedKey& key, std::span<const std::byte> value);
  StatusCode put_pair(const HashedKey& key, std::uint64_t value);
  StatusCode put_entry(const HashedKey& key, std::span<const std::byte> value);
  bool links_bucket_beside_pair(const HashedKey& key);
  StatusCode put_with_end(const HashedKey& key, std::span<const std::byte> value, std::uint64_t end);
  template <typename WriteValue>
  StatusCode put_new_entry(const HashedKey& key, std::uint64_t value_bytes, std::uint64_t end, const WriteValue& write);
  std::uint64_t block_for(const HashedKey& key, std::uint64_t value_bytes, std::uint64_t end);
  bool has_pair(const HashedKey& key) noexcept;
  void swing_cell(EntryBucket* primary, Word& cell, std::uint64_t word) noexcept;
  StatusCode try_commit(const HashedKey& key, std::uint64_t entry, std::uint64_t end);
  void set_mixed() noexcept;
  std::uint64_t entry_size(std::uint64_t cell) const noexcept;
  std::uint64_t offset_of(const void* address) const noexcept {
    return static_cast<std::uint64_t>(static_cast<const std::byte*>(address) - table_.data());
  }
  bool mixed() const noexcept;
  std::uint64_t fill_bits() const noexcept { return (fill_ & 0xff) << kFillShift; }

  // expiry.cpp
  //
  // The hand: it walks over all buckets of entries and removes the keys that have lapsed. A round begins when the clock has
  // reached the least end that is known, and learns the least end of those that stay.
  struct Hand {
    std::uint64_t least_end =
        kNeverEnds;                  // no end is earlier, except of keys that the round in progress has yet to reach
    std::uint64_t met = kNeverEnds;  // in this round: the least end of a key that stays, or was added
    bool walks = false;              // a round is in progress; it has come to:
    std::uint64_t fraction = 0;
    unsigned bucket = 0;
    unsigned pace = 1;   // buckets at a time, by how much it finds
    unsigned pause = 0;  // upkeeps until the next time
  };
  bool has_lapsed(std::uint64_t entry, std::uint64_t meta) noexcept;
  std::uint64_t end_of(std::uint64_t entry, std::uint64_t meta) const noexcept;
  std::uint64_t kept_end(const HashedKey& key) noexcept;
  void set_end(EntryBucket* primary, const EntryPlace& at, std::uint64_t end);
  void note_end(std::uint64_t end) noexcept;
  void count_ends(std::uint64_t old_cell, std::uint64_t new_cell) noexcept;
  bool collect(unsigned buckets);
  unsigned collect_in(EntryBucket* primary);
  void begin_segment_again() noexcept { hand_.bucket = 0; }
  void upkeep_without_rest(std::span<const std::byte> changed);
  void sweep_and_collect();
  void rest_if_idle() noexcept {
    rests_ =
        swept_ && hand_.least_end == kNeverEnds && !hand_.walks && !wait_groups_.any() && eviction_ == Eviction::kNone;
  }

  // clear.cpp
  bool is_stale(const Word& header) const noexcept;
  // Before a bucket is read or changed: brings it up to date with the last clear and the last split.
  template <typename Bucket>
  [[gnu::always_inline]] inline Bucket* fresh(Bucket* primary) noexcept {
    if (is_stale(primary->header)) [[unlikely]]
      reset(*primary);
    if (form_of(primary).twin.published) [[unlikely]]
      purge_after_split(primary);
    return primary;
  }
  template <typename Bucket>
  [[gnu::noinline]] void purge_after_split(Bucket* primary) noexcept {
    Form<Bucket>& form = form_of(primary);
    const std::uint64_t number = number_in_segment(primary);
    if (lies_in(form.twin.to, primary) && number >= form.twin.progress) purge_bucket(form, number);
  }
  // Of a bucket that was just split: what has moved may be in the old half, too, until this.
  template <typename Bucket>
  void purge_before(Bucket* primary) noexcept {
    Form<Bucket>& form = form_of(primary);
    const std::uint64_t number = number_in_segment(primary);
    if (form.twin.published && lies_in(form.twin.from, primary) && number >= form.twin.progress)
      purge_bucket(form, number);
  }
  // After a bucket was changed.
  template <typename Bucket>
  void changed(Bucket* primary) {
    Form<Bucket>& form = form_of(primary);
    if (form.twin.to == 0 || form.twin.published) [[likely]]
      return;
    if (lies_in(form.twin.from, primary) && number_in_segment(primary) < form.twin.progress) copy_again(form, primary);
  }
  void reset(PairBucket& primary) noexcept;
  void reset(EntryBucket& primary) noexcept;
  void begin_sweep(std::uint64_t fill) noexcept;
  template <typename Bucket>
  unsigned sweep(Form<Bucket>& form, unsigned buckets) noexcept;

  // compaction.cpp
  bool make_room(Effort& effort, std::uint64_t bytes, const HashedKey* spared = nullptr);
  template <typename Bucket>
  bool shrink_for_room(Form<Bucket>& form);
  template <typename Bucket>
  std::uint64_t segments_to_spare(const Form<Bucket>& form) const noexcept;
  void settle_blocks();
  void settle_run();
  bool evacuate(unsigned entries, const HashedKey* spared = nullptr, bool begins_another = true);
  EntryPlace place_of(std::uint64_t entry, EntryBucket*& primary);
  std::uint64_t move_entry(std::uint64_t entry, std::uint64_t to);
  void move_to(EntryBucket* primary, const EntryPlace& at, std::uint64_t to, std::uint64_t moved = 0);

  // evict.cpp
  //
  // `spared`: the key of the present request, which is not evicted for it; null: it has none.
  bool is_evictable(std::uint64_t cell, const HashedKey* spared) const noexcept;
  void touch_pair(PairBucket& bucket, unsigned place) noexcept;
  void touch_cell(Word& cell) noexcept;
  static void set_touched(Word& cell, bool touched) noexcept;
  void evict_cell(EntryBucket* primary, Word& cell) noexcept;
  unsigned pass_hand_over(EntryBucket* primary, const HashedKey* spared) noexcept;
  template <typename Enough>
  unsigned evict_by_hand(unsigned chains, const HashedKey* spared, const Enough& enough) noexcept;
  std::uint64_t kept_holes() const noexcept;
  void evict_ahead() noexcept;
  PairPlace evict_pair(PairBucket* primary, const HashedKey* spared) noexcept;
  PairPlace find_room_for_pair(PairBucket* primary);
  Word* find_room_for_cell(EntryBucket* primary, const HashedKey& key);
  Word* evict_in_chain(EntryBucket* primary, const HashedKey& spared) noexcept;
  bool evict_for(Effort& effort, std::uint64_t bytes, const HashedKey* spared);
  enum class Emptied : std::uint8_t { kNothing, kPart, kSlab };
  bool holes_abound() const noexcept;
  bool pairs_hold_most() const noexcept;
  Emptied empty_a_slab(unsigned entries, const HashedKey* spared);
  Emptied evict_for_split();
  bool evict_window(Effort& effort, std::uint64_t bytes, const HashedKey* spared);
  bool empty_in_window(std::uint64_t slab, const HashedKey* spared);
  bool halve_pairs(const HashedKey* spared);
  std::uint64_t bytes_of_pairs() const noexcept { return pairs_.directory.segments() * kSlabBytes; }
  template <typename Bucket>
  bool may_split_by_eviction() const noexcept;
  std::uint64_t evict_or_move(std::uint64_t entry, const HashedKey* spared);

  // resize.cpp
  // The pairs, or the cells of entries, of a chain or two.
  template <typename Bucket>
  struct Contents {
    using Item =
        std::conditional_t<std::is_same_v<Bucket, PairBucket>, std::pair<std::uint64_t, std::uint64_t>, std::uint64_t>;
    std::array<Item, kMaxChain * kPlaces> items;
    unsigned count = 0;
  };
  using Overflow = std::array<std::uint64_t, kMaxChain + 2>;
  template <typename Wanted>
  bool collect(PairBucket* primary, Contents<PairBucket>& contents, const Wanted& wanted) const noexcept;
  template <typename Wanted>
  bool collect(EntryBucket* primary, Contents<EntryBucket>& contents, const Wanted& wanted) const noexcept;
  bool take_overflow(SlabKind kind, unsigned buckets, Overflow& overflow);
  bool build(PairBucket& first, const Contents<PairBucket>& contents);
  bool build(EntryBucket& first, const Contents<EntryBucket>& contents);
  void release_chain(PairBucket& primary) noexcept;
  void release_chain(EntryBucket& primary) noexcept;
  bool copy_half(PairBucket* from, PairBucket& to);
  bool copy_half(EntryBucket* from, EntryBucket& to);
  void purge(PairBucket& old, PairBucket& half) noexcept;
  void purge(EntryBucket& old, EntryBucket& half) noexcept;
  void gather(PairBucket& primary) noexcept;
  void empty_last(std::span<PairBucket* const> chain) noexcept;
  // Of a chain that has lost a pair: not before the request is answered, as its record names a place.
  void gather_later(PairBucket& primary) noexcept {
    if ((primary.header.load(std::memory_order_relaxed) & kOverflowBit) == 0) return;  // relaxed: this thread's own
    loose_ = &primary;
    loose_moves_ = moves_;
  }
  void gather_loose() noexcept;
  void gather(EntryBucket& primary) noexcept;
  void prefetch_keys(const EntryBucket& bucket) const noexcept;
  void prefetch_ends(const EntryBucket& bucket) const noexcept;
  template <typename Bucket>
  bool begin_split(Form<Bucket>& form, bool overdue);
  template <typename Bucket>
  bool words_ready(Form<Bucket>& form, bool overdue);
  template <typename Bucket>
  bool copy_step(Form<Bucket>& form);
  template <typename Bucket>
  void copy_again(Form<Bucket>& form, Bucket* from);
  template <typename Bucket>
  void abandon(Form<Bucket>& form) noexcept;
  template <typename Bucket>
  void purge_bucket(Form<Bucket>& form, std::uint64_t number) noexcept;
  template <typename Bucket>
  void purge_step(Form<Bucket>& form) noexcept;
  template <typename Bucket>
  void end_twin(Form<Bucket>& form) noexcept;
  template <typename Bucket>
  bool build_segment(std::uint64_t to, std::initializer_list<std::uint64_t> sources);
  template <typename Bucket>
  void retire(std::uint64_t segment) noexcept;
  template <typename Bucket>
  bool merge(Form<Bucket>& form);
  template <typename Bucket>
  bool lower_step(Form<Bucket>& form);
  bool lower_step();
  template <typename Bucket>
  bool is_sparse(const Form<Bucket>& form, bool tight) const noexcept;
  template <typename Bucket>
  bool resize_step(Form<Bucket>& form);
  void resize();
  template <typename Bucket>
  void recover(Form<Bucket>& form) noexcept;
  void end_gathering(PairBucket& primary) noexcept;
  void end_gathering(PairBucket& primary, PairBucket& owner) noexcept;

  // recovery.cpp
  std::uint32_t number() const noexcept { return static_cast<std::uint32_t>(&shard_ - header_.shards); }
  bool lies_within(std::uint64_t offset, std::uint64_t size) const noexcept;
  bool may_be_walked(const PairBucket& primary) const noexcept;
  bool may_be_walked(const EntryBucket& primary) const noexcept;
  void unlink_cell(std::uint64_t cell, std::uint64_t word) noexcept;
  struct PairSurvey {
    std::uint64_t keys = 0;
    std::uint64_t dropped = 0;  // links
  };
  std::uint64_t survey_pairs(ArenaCensus& census);
  void survey_pairs(ArenaCensus& census, std::span<const std::uint64_t> segments, PairSurvey& found);
  struct EntrySurvey {
    std::uint64_t keys = 0;
    std::uint64_t ends = 0;                               // of them
    std::vector<std::pair<EntryBucket*, Word*>> nowhere;  // cells that lead nowhere, and their chains
  };
  std::uint64_t survey_entries(ArenaCensus& census);
  void survey_entries(ArenaCensus& census, std::span<const std::uint64_t> segments, EntrySurvey& found) const;
  bool is_counted(ArenaCensus& census, std::uint64_t offset) const;

  Region& table_;
  TableHeader& header_;
  ShardHeader& shard_;
  LaneStats& stats_;
  KeyHash hash_;
  Populator& populator_;
  SlabPool& pool_;
  BlockAllocator blocks_;
  Form<PairBucket> pairs_;
  Form<EntryBucket> entries_;
  VectorWidth width_;
  IntentWriter intent_;
  bool recovering_ = false;   // after a kill, and before rebuild(): the blocks are not known yet
  bool resize_due_ = false;   // keys were added or removed since the last upkeep, or it has left work
  unsigned postponed_ = 0;    // upkeeps until memory for growth or shrinking is requested again
  unsigned merge_pause_ = 0;  // upkeeps until the next merge
  std::uint64_t moves_ = 0;   // of segments: splits, merges and moves that were published
  PairBucket* loose_ =
      nullptr;  // a chain that the last request may have left with more buckets than it needs; valid for:
  std::uint64_t loose_moves_ = 0;  // a value of moves_
  bool lowered_ = true;            // no segment was merged since lower_step() last began to examine all of them
  std::uint64_t removed_ = 0;      // keys, since then
  std::uint64_t step_bytes_ = kLongWorkAtOnce;
  bool chain_is_full_ = false;  // the last link…_bucket() failed for that, and not for lack of memory
  std::uint64_t fill_ = 0;
  bool swept_ = true;  // no bucket of this shard is older than fill_
  bool rests_ = true;  // it is swept, no key has an end, nobody waits for a change, and none is evicted
  Moment moment_;      // when this request happens
  Hand hand_;
  WaitGroups wait_groups_;
  Eviction eviction_ = Eviction::kNone;
  struct {
    std::uint64_t fraction = 0;
    unsigned bucket = 0;
  } eviction_hand_;                // the chain that the hand of eviction comes to next
  std::uint64_t next_window_ = 0;  // where the search for adjacent slabs continues
  bool evicts_from_slab_ = false;  // the slab that is being emptied gives up what is not touched
};

}  // namespace hostmap
