// Arena: memory for segments of buckets, overflow buckets and entries.
//
//   SlabPool         one per table: allocates slabs of 32 KiB and runs of them; grows the arena. Any worker, under a mutex.
//   BlockAllocator   one per shard: divides slabs into blocks of one size class. The shard's worker alone.
//
// Invariants
// 1. A block is allocated only when nothing in the table leads to it, and the generation of its first page was raised
//    after that (release), before its first byte is written: a stopped reader's long copy fails its validation.
// 2. Every slab returns to the pool when it is empty, for any use: blocks of any class, overflow buckets, a segment of buckets,
//    or a run. One that has held buckets of either kind returns after a turn of the change word, so that a reader who was led
//    there fails its validation; in a slab of overflow buckets, a bucket that is reused gets a higher version.
// 3. The class of every slab is stored in the journal before a block of it is allocated.
// 4. Free lists are in this process's own memory: a restart rebuilds them from what is reachable in the table.
// 5. A reserve is kept when memory is full, so that a key can still be given a new value of the size that it has: the new
//    value needs a place before the old one's is free. One slab for each shard, and one run as long as the longest that an
//    entry has (of those up to an eighth of the memory limit, or of what was populated when it fell). It is lent for one request
//    at a time and restored after that one's commit: the place that the old value has left becomes the reserve, or the new
//    value moves there. Until then no thread waits; a request that needs the run is repeated later.
// 6. A request that finds no memory takes none: its needs are determined before anything is populated.
// 7. A cache of several shards leaves a slab free for each shard that has none with blocks of entries, besides the reserve: such
//    a shard has nothing to evict, and the others evict for their own requests alone.
//
// Size classes: multiples of 8 up to 256 bytes, then eight steps per doubling up to 4 KiB (at most 12 % slack), then sizes
// that divide a slab into 7 to 2 pieces; above 16 KiB an entry has a run of slabs of its own.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <memory>
#include <mutex>
#include <vector>

#include "journal/journal.hpp"
#include "layout/table.hpp"
#include "table/memory/growth.hpp"
#include "table/memory/writer_state.hpp"

namespace hostmap {

// Values of a slab's class in the journal.
enum SlabKind : std::uint8_t {
  kSlabFree = 0,
  kSlabPairOverflow = 1,
  kSlabEntryOverflow = 2,
  kSlabRunHead = 3,
  kSlabRunRest = 4,
  kSlabPairBuckets = 5,   // a segment
  kSlabEntryBuckets = 6,  // likewise
  kSlabFirstClass = 8,    // + size class
};

inline constexpr std::uint64_t kSmallestBlock = 16;  // meta and at least one byte of key
inline constexpr std::uint64_t kLargestBlock = kSlabBytes / 2;

namespace size_class_detail {
inline constexpr std::uint64_t kFineLimit = 256;
inline constexpr std::uint64_t kFineStep = 8;
inline constexpr unsigned kFineClasses = (kFineLimit - kSmallestBlock) / kFineStep + 1;  // 16, 24 … 256
inline constexpr unsigned kDoublings = 4;                                                // to 4096
inline constexpr unsigned kSteps = 8;
inline constexpr std::uint64_t kCoarseLimit = kFineLimit << kDoublings;
// Above, the largest multiples of 16 that fit 7, 6, 5, 4, 3 and 2 times into a slab.
inline constexpr std::uint64_t kPieces[] = {4672, 5456, 6544, 8192, 10912, 16384};
}  // namespace size_class_detail

inline constexpr unsigned kSizeClasses = size_class_detail::kFineClasses +
                                         size_class_detail::kDoublings * size_class_detail::kSteps +
                                         std::size(size_class_detail::kPieces);
static_assert(kSlabFirstClass + kSizeClasses < 256);

// The class of the smallest block that holds `bytes`, which is at most kLargestBlock.
inline constexpr unsigned size_class(std::uint64_t bytes) noexcept {
  using namespace size_class_detail;
  if (bytes <= kSmallestBlock) return 0;
  if (bytes <= kFineLimit) return static_cast<unsigned>((bytes - kSmallestBlock + kFineStep - 1) / kFineStep);
  if (bytes <= kCoarseLimit) {
    const unsigned doubling = static_cast<unsigned>(63 - __builtin_clzll(bytes - 1)) - 8;  // 257 … 512 is 0
    const std::uint64_t base = kFineLimit << doubling;
    return kFineClasses + doubling * kSteps + static_cast<unsigned>((bytes - base - 1) / (base / kSteps));
  }
  unsigned piece = 0;
  while (kPieces[piece] < bytes) ++piece;
  return kFineClasses + kDoublings * kSteps + piece;
}

inline constexpr std::uint64_t class_bytes(unsigned size_class) noexcept {
  using namespace size_class_detail;
  if (size_class < kFineClasses) return kSmallestBlock + size_class * kFineStep;
  size_class -= kFineClasses;
  if (size_class < kDoublings * kSteps) {
    const std::uint64_t base = kFineLimit << size_class / kSteps;
    return base + (size_class % kSteps + 1) * (base / kSteps);
  }
  return kPieces[size_class - kDoublings * kSteps];
}

// The bytes that an entry of `bytes` takes from the arena.
inline constexpr std::uint64_t block_bytes(std::uint64_t bytes) noexcept {
  return bytes <= kLargestBlock ? class_bytes(size_class(bytes)) : round_up(bytes, kSlabBytes);
}

inline constexpr bool holds_overflow(std::uint8_t kind) noexcept {
  return kind == kSlabPairOverflow || kind == kSlabEntryOverflow;
}
// The size of one overflow bucket.
inline constexpr std::uint64_t overflow_size(SlabKind kind) noexcept {
  return kind == kSlabPairOverflow ? sizeof(PairBucket) : sizeof(EntryBucket);
}

// The blocks that a BlockAllocator divides a slab into: those of the size classes, then the overflow buckets of pairs and of
// entries.
inline constexpr unsigned kPairOverflowClass = kSizeClasses;
inline constexpr unsigned kEntryOverflowClass = kSizeClasses + 1;
inline constexpr unsigned kBlockClasses = kSizeClasses + 2;
inline constexpr SlabKind kind_of_class(unsigned block_class) noexcept {
  if (block_class == kPairOverflowClass) return kSlabPairOverflow;
  if (block_class == kEntryOverflowClass) return kSlabEntryOverflow;
  return static_cast<SlabKind>(kSlabFirstClass + block_class);
}
inline constexpr unsigned class_of_kind(SlabKind kind) noexcept {
  if (kind == kSlabPairOverflow) return kPairOverflowClass;
  if (kind == kSlabEntryOverflow) return kEntryOverflowClass;
  return kind - unsigned{kSlabFirstClass};
}
inline constexpr std::uint64_t block_size(unsigned block_class) noexcept {
  return block_class < kSizeClasses ? class_bytes(block_class) : overflow_size(kind_of_class(block_class));
}

// The number of blocks, or overflow buckets, in a slab of a kind; a run or a segment has one.
inline constexpr std::uint64_t blocks_of(std::uint8_t kind) noexcept {
  if (holds_overflow(kind)) return kSlabBytes / overflow_size(static_cast<SlabKind>(kind));
  return kind < kSlabFirstClass ? 1 : kSlabBytes / class_bytes(kind - unsigned{kSlabFirstClass});
}

class ArenaCensus;

class SlabPool {
 public:
  static constexpr std::uint64_t kNone = ~std::uint64_t{0};
  static constexpr std::uint64_t kLater = kNone - 1;

  // The table's header must contain the plan's offsets. Nothing is populated yet.
  SlabPool(Region& table, Journal& journal, MemoryBudget& budget, Populator& populator);

  // At a restart: unused slabs are free.
  void rebuild(const ArenaCensus& census);
  void free_rest() noexcept {
    generation_area_.free_rest();
    arena_.free_rest();
  }
  // The reverse: records the runs that are in use, each with the shard that took it.
  void report(ArenaCensus& census) const;
  // For WriterState: which slabs are free, the reserve, and the owners of the runs.
  void describe(WriterState& state) const;

  // `count` adjacent slabs for `shard`, marked `kind` in the journal (the first one; the rest as kSlabRunRest). The reserve
  // is kept. kNone: no memory, and nothing was populated for it. kLater: the helper thread populates memory for a long run, or
  // the run would need a longer reserve, which is on loan; the caller retries.
  std::uint64_t allocate(std::uint64_t count, SlabKind kind, std::uint32_t shard);
  // A free slab that lies below `slab`, without touching the reserve. kNone: there is none.
  std::uint64_t allocate_below(std::uint64_t slab, SlabKind kind, std::uint32_t shard);
  // Of a slab that has held buckets: after a turn().
  void release(std::uint64_t first, std::uint64_t count);
  // Turns the change word.
  void turn() noexcept;

  // For eviction. `begin` of the next `count` adjacent slabs, from `from` on and around once, that are free or hold entries of
  // `shard` alone. kNone: there are none.
  std::uint64_t find_window(std::uint64_t count, std::uint32_t shard, std::uint64_t from);
  // What a slab holds.
  struct Use {
    enum class Kind : std::uint8_t { kFree, kBlocks, kRun, kOther } kind;
    std::uint64_t first;  // of a run
  };
  Use use_of(std::uint64_t slab, std::uint32_t shard);
  // Is a run kept in reserve (invariant 5)? Not by a cache, which evicts instead, and keeps first slabs (invariant 7).
  void keep_run_reserve(bool keep) noexcept;

  // From the reserve: one slab, which the shard returns before it takes the next one from there. kNone: there is none.
  std::uint64_t allocate_reserved(SlabKind kind, std::uint32_t shard);
  // For a merge of segments, which returns two slabs: from the reserve, if that is whole, by one shard at a time; allocate_reserved()
  // waits for it. Its end: when the two are returned. kNone: not now.
  std::uint64_t borrow_for_merge(SlabKind kind, std::uint32_t shard);
  void end_merge() noexcept;
  // The run of the reserve is lent once at a time. kLater: it is on loan; kNone: it is shorter.
  std::uint64_t borrow_run(std::uint64_t count, std::uint32_t shard);
  // Ends the loan. The borrowed run stays its entry's, and `old`, the entry's former run, which is as long as the
  // reserve, becomes the reserve. False: it is shorter, and nothing has changed.
  bool exchange_run(std::uint64_t borrowed, std::uint64_t count, std::uint64_t old, std::uint64_t old_count);
  // Or: the entry lies in the first `count` slabs of its old run, the rest of which is free.
  void return_run(std::uint64_t borrowed, std::uint64_t count, std::uint64_t old, std::uint64_t old_count);
  // Or: no entry lies in the borrowed run.
  void return_unused_run(std::uint64_t borrowed, std::uint64_t count);

  // For a start. A kill may have left a run where the reserve's was: if one of these moved, the reserve would fit.
  struct Move {
    std::uint32_t shard;
    std::uint64_t from;
    std::uint64_t to;
    std::uint64_t count;
  };
  std::vector<Move> moves_for_reserve();
  // Takes free slabs for a run. The caller must then return the old place or the new one.
  void allocate_for(const Move& move) noexcept;

  std::uint64_t slab_offset(std::uint64_t slab) const noexcept { return arena_offset_ + slab * kSlabBytes; }
  std::uint64_t slab_of(std::uint64_t offset) const noexcept { return (offset - arena_offset_) / kSlabBytes; }

  Word* words(std::uint64_t slab) const noexcept { return table_.at<Word>(slab_offset(slab)); }

  // Raises the generation of every page of [offset, offset + bytes): memory that will be reused. A release
  // fence follows.
  void raise_generations(std::uint64_t offset, std::uint64_t bytes) noexcept;
  void raise_generation(std::uint64_t offset) noexcept;
  // Bytes of free, populated slabs. Any thread.
  std::uint64_t free_bytes() const noexcept {
    return free_bytes_.load(std::memory_order_relaxed);  // relaxed: an estimate
  }
  // Was a request for a slab refused, and have few been returned since? Any thread.
  bool is_short() const noexcept { return short_.load(std::memory_order_relaxed); }  // relaxed: likewise
  // Is nothing left but the reserve, since a request for a slab was refused? Any thread.
  bool is_exhausted() const noexcept { return exhausted_.load(std::memory_order_relaxed); }  // relaxed: a hint
  // Is little left, free or to be populated? Then every lane returns what it can do without, before another one is refused.
  // Any thread.
  bool is_tight() const noexcept { return tight_.load(std::memory_order_relaxed); }  // relaxed: a hint
  // The number of slabs that could be taken singly, including those that can still be populated. Makes a system call.
  std::uint64_t slabs_within_reach();
  // Is a part of the reserve missing? Because a shard has a slab of it, or since a kill.
  bool reserve_is_short();
  // The longest entry for which the reserve has a place.
  std::uint64_t reserved_bytes();
  // The generation of the page where the block at `offset` begins.
  std::uint64_t generation(std::uint64_t offset) const noexcept {
    // relaxed: read by the thread that raises it
    return generations_[(offset - arena_offset_) / kPageSize].load(std::memory_order_relaxed);
  }

 private:
  struct Run {
    std::uint64_t first = 0;
    std::uint64_t count = 0;
  };

  std::uint64_t find_one(std::uint64_t kept);
  std::uint64_t find_run(std::uint64_t count, std::uint64_t kept);
  std::uint64_t first_free() noexcept;
  std::uint64_t find(std::uint64_t count, std::uint64_t beyond, std::uint64_t end) const noexcept;
  bool grow_to(std::uint64_t slabs);
  void grow_ahead();
  void grow_in_background(std::uint64_t slabs);
  std::uint64_t room() noexcept;
  std::uint64_t growable() noexcept;
  bool populate(std::uint64_t bytes);
  void note_populated();
  void note_free() noexcept;
  void mark(std::uint64_t first, std::uint64_t count, bool is_free) noexcept;
  void mark_unowned(std::uint64_t first, std::uint64_t count) noexcept;
  void assign(std::uint64_t first, std::uint64_t count, SlabKind kind, std::uint32_t shard) noexcept;
  void count_run(std::uint64_t count) noexcept;
  void uncount_run(std::uint64_t count) noexcept;
  void fit_reserve() noexcept;
  void follow_limit() noexcept;
  void find_longest() noexcept;
  bool may_grow_reserve() const noexcept;
  std::uint8_t kind_of(std::uint64_t slab) const noexcept;
  bool is_of_others(std::uint64_t slab, std::uint32_t shard) const noexcept;
  bool is_free(std::uint64_t slab) const noexcept { return (free_bits_[slab / 64] >> slab % 64 & 1) != 0; }
  std::uint64_t run_at(std::uint64_t slab) const noexcept;
  void note_blocks(std::uint64_t slab, bool taken) noexcept;
  void count_shards_without_blocks() noexcept;
  bool keeps_first_slabs() const noexcept;
  std::uint64_t kept() const noexcept;
  std::uint64_t kept_from(std::uint32_t shard, SlabKind kind) const noexcept;
  std::uint64_t place_beside(std::uint64_t first, std::uint64_t count) noexcept;
  void reserve_run(Run run) noexcept;

  Region& table_;
  Journal& journal_;
  MemoryBudget& budget_;
  Populator& populator_;
  std::uint64_t arena_offset_;
  PageGeneration* generations_;
  GrowingArea generation_area_;
  GrowingArea arena_;
  std::uint64_t singles_;            // slabs of the reserve, one for each shard
  std::uint64_t most_reserved_ = 0;  // runs that are longer have no reserve
  std::mutex mutex_;
  std::vector<std::uint64_t> free_bits_;  // one per slab of the populated arena; not of the reserve's run
  std::vector<std::uint8_t> owners_;      // likewise: the shard that took the slab last
  std::uint64_t slabs_ = 0;               // populated and known
  std::uint64_t free_slabs_ = 0;          // the singles among them
  std::size_t first_free_word_ = 0;       // no free bit lies before it
  std::vector<std::uint32_t> runs_;  // that are in use, by their lengths up to the longest that the limit may allow
  std::uint64_t longest_ = 0;        // the longest of these up to most_reserved_
  Run reserved_;
  bool on_loan_ = false;  // the reserve's run is lent
  bool keeps_run_reserve_ = true;
  std::vector<std::uint64_t> slabs_of_blocks_;  // that each shard has
  std::uint64_t shards_without_blocks_ = 0;
  bool merging_ = false;  // one of its single slabs is
  std::condition_variable merge_ends_;
  std::atomic<std::uint64_t> free_bytes_{0};
  std::atomic<bool> short_{false};
  std::atomic<bool> tight_{false};
  std::atomic<bool> exhausted_{false};
  bool growing_ = false;        // the helper thread populates memory for a run
  bool growth_failed_ = false;  // the last time that it did
};

// Its structures in this process's own memory grow with the slabs that it takes, and at no other time: releasing never
// allocates, and a slab for whose bookkeeping there is no memory is not taken.
class BlockAllocator {
 public:
  BlockAllocator(SlabPool& pool, LaneStats& stats, std::uint32_t shard);

  // At a restart: takes over the memory that the census assigns to this shard.
  void rebuild(const ArenaCensus& census);
  // The reverse: records the used blocks of this shard's slabs. Empty slabs are not recorded: as in a count of the table,
  // they have no owner.
  void report(ArenaCensus& census) const;
  void describe(WriterState& state) const;

  // Offset of a block for an entry of `bytes`; 0: no memory. Its generation is raised, and a release fence follows: bytes
  // may be written.
  std::uint64_t allocate(std::uint64_t bytes);
  void release(std::uint64_t offset, std::uint64_t bytes) noexcept;
  // Prefetches what release() changes for an entry of any size.
  void prefetch_for_release(std::uint64_t offset) const noexcept {
    if (const std::uint64_t number = pool_.slab_of(offset); number < slabs_.size()) {
      __builtin_prefetch(slabs_[number].get(), 1);
    }
  }

  // For a new value of a key whose entry, `old_bytes` long, lies at `old` and has room for `bytes`: a block from the
  // reserve. 0: there is no reserve, or the old block is smaller, or comes_later(). A run of several slabs is a loan: call
  // replaces() before the old block is released.
  std::uint64_t allocate_reserved(std::uint64_t old, std::uint64_t old_bytes, std::uint64_t bytes);
  // Is this the block that is on loan?
  bool borrows(std::uint64_t entry) const noexcept { return loan_.count != 0 && pool_.slab_of(entry) == loan_.first; }
  // The entry in the borrowed run is about to replace the one at `old`. After that one is released, and its request has ended,
  // is_unsettled() shows that work remains.
  void replaces(std::uint64_t old, std::uint64_t old_bytes) noexcept;
  // Did the last allocate() or allocate_reserved() fail because memory for a run is still being populated, or the reserve is on
  // loan?
  bool comes_later() const noexcept { return run_is_coming_; }
  // A block of a larger class, where one is free already. 0: there is none.
  std::uint64_t allocate_in_larger(std::uint64_t bytes) noexcept;
  // For eviction (table/write/evict.cpp). Bytes in free blocks of entries:
  std::uint64_t free_bytes() const noexcept { return free_bytes_; }
  // Is there a free block for an entry of so many bytes, or a free overflow bucket, without another slab?
  bool has_room(std::uint64_t bytes) const noexcept { return !partial_[size_class(bytes)].empty(); }
  bool has_overflow(SlabKind kind) const noexcept { return !partial_[class_of_kind(kind)].empty(); }
  // Begins to empty a slab of entries, of the class with most holes, or else of the largest one. False: there is none.
  bool begin_emptying_any() noexcept;
  // Begins to empty this slab of entries, which is the shard's.
  void begin_emptying(std::uint64_t slab) noexcept;
  // A free block that needs no other slab. 0: there is none.
  std::uint64_t allocate_in_hole(std::uint64_t bytes) noexcept;
  // The size of an entry's block, in bytes.
  std::uint64_t room_at(std::uint64_t entry, std::uint64_t bytes) const noexcept {
    return bytes > kLargestBlock ? round_up(bytes, kSlabBytes) : class_bytes(slabs_[pool_.slab_of(entry)]->block_class);
  }
  // A block for an entry that is moved out of the slab which is being emptied. An entry in the reserve may move to any
  // block that is large enough.
  std::uint64_t allocate_elsewhere(std::uint64_t bytes);
  // Does the entry in a borrowed run belong to a key, so that the loan must be ended? settle_run() returns where the entry must
  // move to, or 0: nowhere, and it is settled. moved() counts what was copied there; when the entry has moved, call end_loan(). If
  // the entry is released in the meantime, the loan is at its end, too.
  bool must_settle_run() const noexcept { return loan_.old_count != 0; }
  std::uint64_t settle_run() noexcept;
  std::uint64_t borrowed_run() const noexcept { return pool_.slab_offset(loan_.first); }
  std::uint64_t moved() const noexcept { return loan_.moved; }
  void add_moved(std::uint64_t bytes) noexcept { loan_.moved += bytes; }
  void end_loan() noexcept;
  // Is a slab being emptied, or must a borrowed run be settled for which settle_run() was not called yet?
  bool is_unsettled() const noexcept { return unsettled_; }
  // A lower bound of the number of slabs that could be emptied, one after the other.
  std::uint64_t slabs_to_empty() const noexcept;

  // A sparse slab can be emptied into its siblings, if they have room for its entries: begin, move them by
  // allocate() and release(), end. Meanwhile nothing is allocated in it. Taking a slab begins this if much is free in
  // sparse slabs, and little elsewhere.
  // False: no slab of any class fits into its siblings.
  bool begin_evacuation();
  bool evacuating() const noexcept { return evacuated_ != nullptr; }
  std::uint64_t evacuated_slab() const noexcept { return evacuated_->number; }  // if there is one
  // The used blocks of the slab, one after the other; 0: no more.
  std::uint64_t next_to_evacuate() noexcept;
  // True: it was empty, and was returned to the pool. Another one may have begun.
  bool end_evacuation(bool begins_another = true) noexcept;

  // An overflow bucket of 128 or 64 bytes: its words have the last owner's values; the caller must give it a higher
  // version. 0: no memory.
  std::uint64_t allocate_overflow(SlabKind kind);
  void release_overflow(SlabKind kind, std::uint64_t offset) noexcept;
  // Returns the empty slabs that are kept for the next block of their class.
  void trim() noexcept;
  // Begins to empty a slab, if much is free in sparse ones.
  void consider_evacuation() noexcept;
  // May there be some?
  bool keeps_empty() const noexcept { return keeps_empty_; }

 private:
  struct Slab {
    std::uint64_t number;
    unsigned block_class;
    unsigned blocks;
    unsigned used;
    unsigned hint;   // word of the bitmap where a free block is likely
    unsigned place;  // in partial_[block_class], or kNotListed
    std::vector<std::uint64_t> free_bits;
  };
  static constexpr unsigned kNotListed = ~0u;

  // The slabs that a replacement borrows, and those of its key until then. Other runs may be released before it is settled.
  struct Loan {
    std::uint64_t first = 0;
    std::uint64_t count = 0;  // 0: there is none
    std::uint64_t old = 0;
    std::uint64_t old_count = 0;  // 0: the new value is being written
    bool moves = false;           // back to the old place, with so many bytes copied:
    std::uint64_t moved = 0;
  };

  Slab* new_slab(unsigned block_class);
  std::uint64_t take_block(Slab& slab) noexcept;
  void set_evacuated(Slab* slab, bool into_larger) noexcept;
  void forget_loan() noexcept;
  Slab* slab_in_reserve() noexcept;
  Slab* add_slab(std::uint64_t number, unsigned block_class);
  void release_block(Slab& slab, std::uint64_t offset) noexcept;
  void remove_slab(std::uint64_t number) noexcept;
  void list(Slab& slab) noexcept;
  void unlist(Slab& slab) noexcept;
  void discard(Slab& slab) noexcept;
  unsigned sparsest_class() const noexcept;

  SlabPool& pool_;
  LaneStats& stats_;
  std::uint32_t shard_;
  std::vector<Slab*> partial_[kBlockClasses];  // slabs with a free block; there is room for all slabs of the class
  std::size_t owned_[kBlockClasses] = {};
  std::uint64_t free_blocks_[kBlockClasses] = {};
  std::uint64_t free_bytes_ = 0;    // in those of the size classes
  std::size_t next_candidate_ = 0;  // where begin_evacuation() continues its search
  std::size_t next_full_ = 0;       // likewise begin_emptying_any()
  Slab* evacuated_ = nullptr;       // not listed
  bool into_larger_ = false;        // it is a slab of the reserve: its entries may move to larger blocks
  bool unsettled_ = false;
  bool keeps_empty_ = false;
  bool run_is_coming_ = false;
  Loan loan_;
  unsigned next_block_ = 0;                   // of it
  std::vector<std::unique_ptr<Slab>> slabs_;  // by slab number; null if another shard's
};

}  // namespace hostmap
