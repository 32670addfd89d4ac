// ArenaCensus: who uses what of the arena, counted by a restart. Free lists are a server's own memory; what the table reaches
// is all that is known of them when it has died.
//
// Invariants
// 1. A block or overflow bucket is counted once: a second way to it is refused, as is whatever does not lie where its slab
//    says that blocks lie.
// 2. Nothing of the region or the journal is changed by counting.
#pragma once

#include <cstdint>
#include <vector>

#include "table/arena.hpp"

namespace hostmap {

class ArenaCensus {
 public:
  static constexpr std::uint32_t kNobody = ~std::uint32_t{0};

  ArenaCensus(const TableHeader& header, Journal journal);

  // Counts what a shard uses; false: that cannot be. `bytes`: of the entry, as its meta says.
  bool count_entry(std::uint32_t shard, std::uint64_t offset, std::uint64_t bytes);
  bool count_overflow(std::uint32_t shard, SlabKind kind, std::uint64_t offset);
  // May the first words of an entry at `offset` be looked at?
  bool may_be_entry(std::uint64_t offset) const noexcept {
    return offset >= arena_offset_ && offset % 8 == 0 && offset + kSmallestBlock <= arena_offset_ + slabs_.size() * kSlabBytes;
  }

  struct Slab {
    std::uint32_t owner = kNobody;    // shard
    std::uint8_t kind = kSlabFree;    // as in the journal
    std::vector<std::uint64_t> used;  // bits, one for each block; none: empty, or part of a run
  };
  const std::vector<Slab>& slabs() const noexcept { return slabs_; }

 private:
  bool use(Slab& slab, std::uint32_t shard, std::uint64_t block, std::uint64_t blocks);

  std::uint64_t arena_offset_;
  std::vector<Slab> slabs_;
};

}  // namespace hostmap
