// Arena: memory for entries and overflow buckets.
//
//   SlabPool         one per table: hands out slabs of 32 KiB and runs of them; grows the arena. Any worker, under a mutex.
//   BlockAllocator   one per shard: cuts slabs into blocks of one size class. The shard's worker alone.
//
// Invariants
// 1. A block is handed out only when nothing in the table leads to it, and the generation of its first page was raised
//    after that (release), before its first byte is written: a stopped reader's long copy notices.
// 2. A slab of overflow buckets stays one for ever: whoever follows a stale link finds a bucket of the same form, whose
//    version has moved on. Every other slab returns to the pool when it is empty, for any class.
// 3. The class of every slab stands in the journal before a block of it is handed out.
// 4. Free lists are this process's own: a restart rebuilds them from what the table reaches.
//
// Size classes: multiples of 8 up to 256 bytes, then eight steps per doubling up to 4 KiB (at most 12 % slack), then what
// cuts a slab into 7 to 2 pieces; above 16 KiB an entry has a run of slabs of its own.
#pragma once

#include <cstdint>
#include <memory>
#include <mutex>
#include <vector>

#include "journal/journal.hpp"
#include "shm/layout.hpp"
#include "table/growth.hpp"
#include "table/writer_state.hpp"

namespace hostmap {

// Values of a slab's class in the journal.
enum SlabKind : std::uint8_t {
  kSlabFree = 0,
  kSlabPairOverflow = 1,
  kSlabEntryOverflow = 2,
  kSlabRunHead = 3,
  kSlabRunRest = 4,
  kSlabFirstClass = 8,  // + size class
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

// What an entry of `bytes` takes from the arena.
inline constexpr std::uint64_t block_bytes(std::uint64_t bytes) noexcept {
  return bytes <= kLargestBlock ? class_bytes(size_class(bytes)) : round_up(bytes, kSlabBytes);
}

inline constexpr bool holds_overflow(std::uint8_t kind) noexcept {
  return kind == kSlabPairOverflow || kind == kSlabEntryOverflow;
}
// Of one overflow bucket.
inline constexpr std::uint64_t overflow_size(SlabKind kind) noexcept {
  return kind == kSlabPairOverflow ? sizeof(PairBucket) : sizeof(EntryBucket);
}

// How many blocks, or overflow buckets, a slab of a kind has; of a run there is one.
inline constexpr std::uint64_t blocks_of(std::uint8_t kind) noexcept {
  if (holds_overflow(kind)) return kSlabBytes / overflow_size(static_cast<SlabKind>(kind));
  return kind < kSlabFirstClass ? 1 : kSlabBytes / class_bytes(kind - unsigned{kSlabFirstClass});
}

class ArenaCensus;

class SlabPool {
 public:
  static constexpr std::uint64_t kNone = ~std::uint64_t{0};

  // The table's header must carry the plan's offsets. Nothing is populated yet.
  SlabPool(Region& table, Journal& journal, MemoryBudget& budget, Populator& populator);

  // At a restart: what nobody uses is free, but for slabs of overflow buckets, which stay such.
  void adopt(const ArenaCensus& census);
  // The reverse: notes the runs that are in use, each with the shard that took it.
  void report(ArenaCensus& census) const;
  // For WriterState: which slabs are free, and the owners of the runs.
  void describe(WriterState& state) const;

  // `count` adjacent slabs for `shard`, marked `kind` in the journal (the first one; the rest as kSlabRunRest). kNone: no
  // memory.
  std::uint64_t take(std::uint64_t count, SlabKind kind, std::uint32_t shard);
  void give_back(std::uint64_t first, std::uint64_t count);

  std::uint64_t slab_offset(std::uint64_t slab) const noexcept { return arena_offset_ + slab * kSlabBytes; }
  std::uint64_t slab_of(std::uint64_t offset) const noexcept { return (offset - arena_offset_) / kSlabBytes; }

  Word* words(std::uint64_t slab) const noexcept { return table_.at<Word>(slab_offset(slab)); }

  // Raises the generation of every page of [offset, offset + bytes): memory that will hold something else. A release
  // fence stands behind it.
  void raise_generations(std::uint64_t offset, std::uint64_t bytes) noexcept;
  void raise_generation(std::uint64_t offset) noexcept;
  // Bytes of free slabs, populated ones. Any thread.
  std::uint64_t free_bytes() const noexcept;
  // That of the page where the block at `offset` begins.
  std::uint64_t generation(std::uint64_t offset) const noexcept {
    // relaxed: asked by the thread that raises it
    return generations_[(offset - arena_offset_) / kPageSize].load(std::memory_order_relaxed);
  }

 private:
  std::uint64_t find(std::uint64_t count) noexcept;
  void populate(std::uint64_t bytes);
  void adopt_populated();
  void note_free() noexcept;
  void mark(std::uint64_t first, std::uint64_t count, bool is_free) noexcept;

  Region& table_;
  Journal& journal_;
  Populator& populator_;
  std::uint64_t arena_offset_;
  PageGeneration* generations_;
  GrowingArea generation_area_;
  GrowingArea arena_;
  std::mutex mutex_;
  std::vector<std::uint64_t> free_bits_;  // one per slab of the populated arena
  std::vector<std::uint8_t> owners_;      // likewise: the shard that took the slab last
  std::uint64_t slabs_ = 0;               // populated and known
  std::uint64_t free_slabs_ = 0;
  std::size_t first_free_word_ = 0;  // no free bit lies before it
};

// What it keeps in this process's own memory grows with the slabs that it takes, and at no other time: giving back never
// allocates, and a slab for whose bookkeeping there is no memory is not taken.
class BlockAllocator {
 public:
  BlockAllocator(SlabPool& pool, LaneStats& stats, std::uint32_t shard);

  // At a restart: takes over what the census found to be this shard's. Overflow buckets that nobody uses go to shard 0.
  void adopt(const ArenaCensus& census);
  // The reverse: notes what this shard's slabs hold. Slabs that hold nothing are not noted: as in a count of the table, they
  // have no owner.
  void report(ArenaCensus& census) const;
  void describe(WriterState& state) const;

  // Offset of a block for an entry of `bytes`; 0: no memory. Its generation is raised, and a release fence stands behind
  // that: bytes may be written.
  std::uint64_t allocate(std::uint64_t bytes);
  void release(std::uint64_t offset, std::uint64_t bytes) noexcept;

  // A sparse slab can be emptied into its siblings, if they have room for all that it holds: begin, move what is in it by
  // allocate() and release(), end. Meanwhile nothing is allocated in it. A slab that is taken begins one if much is free in
  // sparse slabs, and little elsewhere.
  // False: no slab of any class fits into its siblings.
  bool begin_evacuation() noexcept;
  bool evacuating() const noexcept { return evacuated_ != nullptr; }
  // The used blocks of the slab, one after the other; 0: no more.
  std::uint64_t next_to_evacuate() noexcept;
  // True: it was empty, and is the pool's. Another one may have begun.
  bool end_evacuation() noexcept;

  // An overflow bucket of 128 or 64 bytes: its words are whatever its last owner left; the caller must give it a higher
  // version. 0: no memory.
  std::uint64_t allocate_overflow(SlabKind kind);
  void release_overflow(SlabKind kind, std::uint64_t offset) noexcept;

 private:
  struct Slab {
    std::uint64_t number;
    unsigned size_class;
    unsigned blocks;
    unsigned used;
    unsigned hint;   // word of the bitmap where a free block is likely
    unsigned place;  // in partial_[size_class], or kNotListed
    std::vector<std::uint64_t> free_bits;
  };
  static constexpr unsigned kNotListed = ~0u;

  // Free overflow buckets of one form.
  struct FreeOverflow {
    std::vector<std::uint64_t> offsets;
    std::vector<std::uint64_t> slabs;  // numbers of those that hold such buckets, free or not
    std::size_t buckets = 0;           // free or not: there is always room for all of them
  };

  Slab* new_slab(unsigned size_class);
  Slab* add_slab(std::uint64_t number, unsigned size_class);
  void remove_slab(std::uint64_t number) noexcept;
  void add_overflow(SlabKind kind, std::uint64_t number);
  bool new_overflow(SlabKind kind);
  FreeOverflow& free_overflow(SlabKind kind) noexcept { return free_overflow_[kind == kSlabPairOverflow ? 0 : 1]; }
  void list(Slab& slab) noexcept;
  void unlist(Slab& slab) noexcept;
  void discard(Slab& slab) noexcept;
  void begin_evacuation_if_worth_it() noexcept;
  unsigned sparsest_class() const noexcept;

  SlabPool& pool_;
  LaneStats& stats_;
  std::uint32_t shard_;
  std::vector<Slab*> partial_[kSizeClasses];  // slabs with a free block; there is room for all slabs of the class
  std::size_t owned_[kSizeClasses] = {};
  std::uint64_t free_blocks_[kSizeClasses] = {};
  std::uint64_t free_bytes_ = 0;              // in these
  std::size_t next_look_ = 0;                 // where begin_evacuation() goes on to look
  Slab* evacuated_ = nullptr;                 // not listed
  unsigned next_block_ = 0;                   // of it
  std::vector<std::unique_ptr<Slab>> slabs_;  // by slab number; null where not ours
  FreeOverflow free_overflow_[2];
};

}  // namespace hostmap
