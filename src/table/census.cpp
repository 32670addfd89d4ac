#include "table/census.hpp"

namespace hostmap {

namespace {

constexpr std::uint64_t kWordBits = 64;

}  // namespace

ArenaCensus::ArenaCensus(const TableHeader& header, Journal journal) : arena_offset_(header.arena_offset) {
  // relaxed, all of them: what a dead server left; its lock has been taken since
  slabs_.resize(header.arena_populated.load(std::memory_order_relaxed) / kSlabBytes);
  for (std::uint64_t i = 0; i < slabs_.size(); ++i) {
    slabs_[i].kind = journal.slab_class(i).load(std::memory_order_relaxed);
  }
}

bool ArenaCensus::use(Slab& slab, std::uint32_t shard, std::uint64_t block, std::uint64_t blocks) {
  if (block >= blocks || (slab.owner != kNobody && slab.owner != shard)) return false;
  if (slab.used.empty()) slab.used.assign((blocks + kWordBits - 1) / kWordBits, 0);
  std::uint64_t& word = slab.used[block / kWordBits];
  const std::uint64_t bit = std::uint64_t{1} << block % kWordBits;
  if ((word & bit) != 0) return false;
  word |= bit;
  slab.owner = shard;
  return true;
}

bool ArenaCensus::count_entry(std::uint32_t shard, std::uint64_t offset, std::uint64_t bytes) {
  if (!may_be_entry(offset)) return false;
  const std::uint64_t first = (offset - arena_offset_) / kSlabBytes;
  const std::uint64_t within = (offset - arena_offset_) % kSlabBytes;
  if (bytes > kLargestBlock) {
    const std::uint64_t count = block_bytes(bytes) / kSlabBytes;
    if (within != 0 || count > slabs_.size() - first) return false;
    for (std::uint64_t i = 0; i < count; ++i) {
      const Slab& slab = slabs_[first + i];
      if (slab.kind != (i == 0 ? kSlabRunHead : kSlabRunRest) || slab.owner != kNobody) return false;
    }
    for (std::uint64_t i = 0; i < count; ++i) slabs_[first + i].owner = shard;
    return true;
  }
  const unsigned wanted = size_class(bytes);
  if (slabs_[first].kind != kSlabFirstClass + wanted || within % class_bytes(wanted) != 0) return false;
  return use(slabs_[first], shard, within / class_bytes(wanted), kSlabBytes / class_bytes(wanted));
}

bool ArenaCensus::count_overflow(std::uint32_t shard, SlabKind kind, std::uint64_t offset) {
  const std::uint64_t size = overflow_size(kind);
  if (offset < arena_offset_ || (offset - arena_offset_) / kSlabBytes >= slabs_.size() || offset % size != 0) return false;
  Slab& slab = slabs_[(offset - arena_offset_) / kSlabBytes];
  if (slab.kind != kind) return false;
  return use(slab, shard, (offset - arena_offset_) % kSlabBytes / size, kSlabBytes / size);
}

}  // namespace hostmap
