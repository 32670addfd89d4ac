// ArenaCensus: the owners and used blocks of the arena, counted by a restart. Free lists are in a server's own memory; after
// its death, only what is reachable in the table is known.
//
//   count…()            in the order of the buckets, using the journal's class of the slab: no entry is read, which would
//                       be a cache miss each
//   uncount_misfits() then every block in the order of the memory: does the size of its entry belong to this block's class?
//
// Invariants
// 1. A block or overflow bucket is counted once: a second path to it is rejected, as is any offset at which its slab
//    has no block.
// 2. Counting changes nothing in the region or the journal.
//
// Threads: any number may count at once. uncount_misfits() starts threads of its own.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "layout/table.hpp"
#include "table/memory/arena.hpp"

namespace hostmap {

class ArenaCensus {
 public:
  static constexpr std::uint8_t kNobody = 0xff;

  ArenaCensus(const TableHeader& header, Journal journal);

  // Instead of counting: assigns a slab to the shard; the result is the bits of its used blocks, to be set.
  std::span<std::uint64_t> note(std::uint64_t slab, std::uint32_t shard);
  // Is there a used block at `offset`, of an entry of `bytes`?
  bool has_entry(std::uint32_t shard, std::uint64_t offset, std::uint64_t bytes) const noexcept;

  // As bytes, for the next server; and from such bytes. False: they are not valid, and nothing has changed.
  std::vector<std::byte> bytes() const;
  bool read(std::span<const std::byte> bytes);

  // Counts an allocation of a shard; false: it is not valid.
  bool count_block(std::uint32_t shard, std::uint64_t offset);
  // The same, if the entry's size is known, or must be (for a run). `bytes`: from its meta.
  bool count_entry(std::uint32_t shard, std::uint64_t offset, std::uint64_t bytes);
  bool count_overflow(std::uint32_t shard, SlabKind kind, std::uint64_t offset);
  bool count_segment(std::uint32_t shard, SlabKind kind, std::uint64_t offset);
  // May the first words of an entry at `offset` be read?
  bool may_be_entry(std::uint64_t offset) const noexcept {
    return offset >= arena_offset_ && offset % 8 == 0 &&
           offset + kSmallestBlock <= arena_offset_ + kinds_.size() * kSlabBytes;
  }

  // Does a run of slabs begin at `offset`, where an entry may be?
  bool is_run(std::uint64_t offset) const noexcept {
    return kinds_[(offset - arena_offset_) / kSlabBytes] == kSlabRunHead;
  }

  // Blocks that were counted but hold no entry of their size are uncounted. Returns their offsets, in order.
  std::vector<std::uint64_t> uncount_misfits(const std::byte* table);

  std::uint64_t slabs() const noexcept { return kinds_.size(); }
  std::uint8_t kind(std::uint64_t slab) const noexcept { return kinds_[slab]; }     // as in the journal
  std::uint32_t owner(std::uint64_t slab) const noexcept { return owners_[slab]; }  // shard, or kNobody
  // A bit for each block of the slab.
  const std::uint64_t* used(std::uint64_t slab) const noexcept { return &used_[slab * kUsedWords]; }

 private:
  // For the smallest blocks; others use only the first part.
  static constexpr std::uint64_t kUsedWords = kSlabBytes / kSmallestBlock / 64;
  static constexpr std::uint64_t words_of(std::uint8_t kind) noexcept { return (blocks_of(kind) + 63) / 64; }
  bool belongs_to(std::uint64_t slab, std::uint32_t shard) noexcept;
  void uncount_misfits(const std::byte* table, std::uint64_t first, std::uint64_t last,
                       std::vector<std::uint64_t>& misfits);
  bool use(std::uint64_t slab, std::uint32_t shard, std::uint64_t block, std::uint64_t blocks);

  std::uint64_t arena_offset_;
  std::vector<std::uint8_t> kinds_;
  std::vector<std::uint8_t> owners_;
  // Zeroed by the system, and in pages of its own: the parts that slabs of few blocks do not use are never touched.
  std::vector<std::uint64_t> used_;
};

}  // namespace hostmap
