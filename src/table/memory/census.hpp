// ArenaCensus: who uses what of the arena, counted by a restart. Free lists are a server's own memory; what the table reaches
// is all that is known of them when it has died.
//
//   count…()            in the order of the buckets, by what the journal says of the slab: no entry is looked at, which would
//                       be a way to memory each
//   take_back_misfits() then every block in the order of the memory: does the entry in it say a size of this block's class?
//
// Invariants
// 1. A block or overflow bucket is counted once: a second way to it is refused, as is whatever does not lie where its slab
//    says that blocks lie.
// 2. Nothing of the region or the journal is changed by counting.
//
// Threads: any number may count at once. take_back_misfits() starts some of its own.
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

  // To be told instead of counting: a slab is the shard's, and these are the bits of its used blocks.
  std::span<std::uint64_t> note(std::uint64_t slab, std::uint32_t shard);
  // An overflow slab without a used bucket has no owner, as if it had been counted.
  void forget_if_unused(std::uint64_t slab) noexcept;
  // Is there a used block at `offset`, of an entry of `bytes`?
  bool has_entry(std::uint32_t shard, std::uint64_t offset, std::uint64_t bytes) const noexcept;

  // As bytes, for the next server; and from such. False: they make no sense, and everything is as it was.
  std::vector<std::byte> bytes() const;
  bool read(std::span<const std::byte> bytes);

  // Counts what a shard uses; false: that cannot be.
  bool count_block(std::uint32_t shard, std::uint64_t offset);
  // The same, where the entry's size is known, or has to be (of a run). `bytes`: as its meta says.
  bool count_entry(std::uint32_t shard, std::uint64_t offset, std::uint64_t bytes);
  bool count_overflow(std::uint32_t shard, SlabKind kind, std::uint64_t offset);
  // May the first words of an entry at `offset` be looked at?
  bool may_be_entry(std::uint64_t offset) const noexcept {
    return offset >= arena_offset_ && offset % 8 == 0 &&
           offset + kSmallestBlock <= arena_offset_ + kinds_.size() * kSlabBytes;
  }

  // Does a run of slabs begin at `offset`, which may be an entry's?
  bool is_run(std::uint64_t offset) const noexcept {
    return kinds_[(offset - arena_offset_) / kSlabBytes] == kSlabRunHead;
  }

  // Blocks that were counted but hold no entry of their size: not counted any more. Their offsets, in order.
  std::vector<std::uint64_t> take_back_misfits(const std::byte* table);

  std::uint64_t slabs() const noexcept { return kinds_.size(); }
  std::uint8_t kind(std::uint64_t slab) const noexcept { return kinds_[slab]; }     // as in the journal
  std::uint32_t owner(std::uint64_t slab) const noexcept { return owners_[slab]; }  // shard, or kNobody
  // A bit for each block of the slab.
  const std::uint64_t* used(std::uint64_t slab) const noexcept { return &used_[slab * kUsedWords]; }

 private:
  // Of the smallest blocks; the others need a part of them, at the beginning.
  static constexpr std::uint64_t kUsedWords = kSlabBytes / kSmallestBlock / 64;
  static constexpr std::uint64_t words_of(std::uint8_t kind) noexcept { return (blocks_of(kind) + 63) / 64; }
  bool belongs_to(std::uint64_t slab, std::uint32_t shard) noexcept;
  void take_back_misfits(const std::byte* table, std::uint64_t first, std::uint64_t last,
                         std::vector<std::uint64_t>& misfits);
  bool use(std::uint64_t slab, std::uint32_t shard, std::uint64_t block, std::uint64_t blocks);

  std::uint64_t arena_offset_;
  std::vector<std::uint8_t> kinds_;
  std::vector<std::uint8_t> owners_;
  // Zeroed by the system, and in pages of its own: what no slab of many small blocks needs is never touched.
  std::vector<std::uint64_t> used_;
};

}  // namespace hostmap
