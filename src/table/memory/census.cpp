#include "table/memory/census.hpp"

#include <algorithm>
#include <atomic>
#include <bit>
#include <cstring>

#include "layout/table.hpp"
#include "table/memory/parts.hpp"

namespace hostmap {

namespace {

constexpr std::uint64_t kWordBits = 64;
// relaxed: a dead server's stores, whose lock has been taken since; and the threads' results are merged after they have ended
constexpr auto kRelaxed = std::memory_order_relaxed;

}  // namespace

ArenaCensus::ArenaCensus(const TableHeader& header, Journal journal)
    : arena_offset_(header.arena_offset),
      kinds_(header.arena_populated.load(kRelaxed) / kSlabBytes),
      owners_(kinds_.size(), kNobody),
      used_(kinds_.size() * kUsedWords) {
  for (std::uint64_t i = 0; i < kinds_.size(); ++i) kinds_[i] = journal.slab_class(i).load(kRelaxed);
}

bool ArenaCensus::use(std::uint64_t slab, std::uint32_t shard, std::uint64_t block, std::uint64_t blocks) {
  if (block >= blocks || !belongs_to(slab, shard)) return false;
  const std::atomic_ref<std::uint64_t> word(used_[slab * kUsedWords + block / kWordBits]);
  const std::uint64_t bit = std::uint64_t{1} << block % kWordBits;
  return (word.fetch_or(bit, kRelaxed) & bit) == 0;
}

// Assigns it to the shard if it has no owner yet.
bool ArenaCensus::belongs_to(std::uint64_t slab, std::uint32_t shard) noexcept {
  const std::atomic_ref<std::uint8_t> owner(owners_[slab]);
  std::uint8_t now = owner.load(kRelaxed);
  const auto wanted = static_cast<std::uint8_t>(shard);
  return now == wanted || (now == kNobody && owner.compare_exchange_strong(now, wanted, kRelaxed)) || now == wanted;
}

bool ArenaCensus::count_entry(std::uint32_t shard, std::uint64_t offset, std::uint64_t bytes) {
  if (!may_be_entry(offset)) return false;
  const std::uint64_t first = (offset - arena_offset_) / kSlabBytes;
  const std::uint64_t within = (offset - arena_offset_) % kSlabBytes;
  if (bytes > kLargestBlock) {
    const std::uint64_t count = block_bytes(bytes) / kSlabBytes;
    if (within != 0 || count > kinds_.size() - first) return false;
    for (std::uint64_t i = 0; i < count; ++i) {
      if (kinds_[first + i] != (i == 0 ? kSlabRunHead : kSlabRunRest)) return false;
    }
    // A run is one block: the shard that counts its first slab owns it.
    if (!use(first, shard, 0, 1)) return false;
    for (std::uint64_t i = 1; i < count; ++i) {
      if (!belongs_to(first + i, shard)) return false;
    }
    return true;
  }
  return kinds_[first] == kSlabFirstClass + size_class(bytes) && count_block(shard, offset);
}

bool ArenaCensus::count_block(std::uint32_t shard, std::uint64_t offset) {
  if (!may_be_entry(offset)) return false;
  const std::uint64_t slab = (offset - arena_offset_) / kSlabBytes;
  const std::uint64_t within = (offset - arena_offset_) % kSlabBytes;
  if (kinds_[slab] < kSlabFirstClass || kinds_[slab] >= kSlabFirstClass + kSizeClasses) return false;
  const std::uint64_t size = class_bytes(kinds_[slab] - unsigned{kSlabFirstClass});
  return within % size == 0 && use(slab, shard, within / size, kSlabBytes / size);
}

std::vector<std::uint64_t> ArenaCensus::uncount_misfits(const std::byte* table) {
  constexpr std::uint64_t kSlabsWorthAThread = 1000;
  const auto parts = do_in_parts<std::vector<std::uint64_t>>(
      slabs(), kSlabsWorthAThread, [this, table](std::uint64_t first, std::uint64_t last, auto& misfits) {
        uncount_misfits(table, first, last, misfits);
      });
  std::vector<std::uint64_t> all;
  for (const auto& part : parts) all.insert(all.end(), part.begin(), part.end());
  return all;
}

void ArenaCensus::uncount_misfits(const std::byte* table, std::uint64_t first, std::uint64_t last,
                                  std::vector<std::uint64_t>& misfits) {
  for (std::uint64_t slab = first; slab < last; ++slab) {
    if (owners_[slab] == kNobody || kinds_[slab] < kSlabFirstClass) continue;
    const unsigned expected = kinds_[slab] - unsigned{kSlabFirstClass};
    const std::uint64_t size = class_bytes(expected);
    for (std::uint64_t word = 0; word * kWordBits * size < kSlabBytes; ++word) {
      std::uint64_t& used = used_[slab * kUsedWords + word];
      for (std::uint64_t left = used; left != 0; left &= left - 1) {
        const auto bit = static_cast<std::uint64_t>(std::countr_zero(left));
        const std::uint64_t offset = arena_offset_ + slab * kSlabBytes + (word * kWordBits + bit) * size;
        const std::uint64_t meta = reinterpret_cast<const Word*>(table + offset)->load(kRelaxed);
        const std::uint64_t bytes = entry_bytes(meta);
        const bool larger = (meta & kEntryInLargerBlock) != 0;
        if ((meta & kEntryReserved) == 0 && bytes <= kLargestBlock &&
            (size_class(bytes) == expected || (larger && bytes <= size)))
          continue;
        used &= ~(std::uint64_t{1} << bit);
        misfits.push_back(offset);
      }
    }
  }
}

std::span<std::uint64_t> ArenaCensus::note(std::uint64_t slab, std::uint32_t shard) {
  owners_[slab] = static_cast<std::uint8_t>(shard);
  return std::span(used_).subspan(slab * kUsedWords, words_of(kinds_[slab]));
}

bool ArenaCensus::has_entry(std::uint32_t shard, std::uint64_t offset, std::uint64_t bytes) const noexcept {
  if (!may_be_entry(offset)) return false;
  const std::uint64_t slab = (offset - arena_offset_) / kSlabBytes;
  const std::uint64_t within = (offset - arena_offset_) % kSlabBytes;
  if (bytes > kLargestBlock) {
    const std::uint64_t count = block_bytes(bytes) / kSlabBytes;
    if (within != 0 || kinds_[slab] != kSlabRunHead || count > kinds_.size() - slab) return false;
    return std::all_of(owners_.begin() + static_cast<std::ptrdiff_t>(slab),
                       owners_.begin() + static_cast<std::ptrdiff_t>(slab + count),
                       [](std::uint8_t owner) { return owner != kNobody; });
  }
  const std::uint64_t size = block_bytes(bytes);
  if (kinds_[slab] != kSlabFirstClass + size_class(bytes) || owners_[slab] != shard || within % size != 0) return false;
  const std::uint64_t block = within / size;
  return (used(slab)[block / kWordBits] >> block % kWordBits & 1) != 0;
}

std::vector<std::byte> ArenaCensus::bytes() const {
  const auto owners = std::as_bytes(std::span(owners_));
  std::vector<std::byte> all(owners.begin(), owners.end());
  for (std::uint64_t slab = 0; slab < slabs(); ++slab) {
    if (owners_[slab] == kNobody) continue;
    const auto words = std::as_bytes(std::span(used(slab), words_of(kinds_[slab])));
    all.insert(all.end(), words.begin(), words.end());
  }
  return all;
}

bool ArenaCensus::read(std::span<const std::byte> bytes) {
  if (bytes.size() < slabs()) return false;
  std::uint64_t needed = slabs();
  for (std::uint64_t slab = 0; slab < slabs(); ++slab) {
    const auto owner = static_cast<std::uint8_t>(bytes[slab]);
    if (owner == kNobody) continue;
    if (owner >= kMaxLanes || kinds_[slab] >= kSlabFirstClass + kSizeClasses) return false;
    needed += words_of(kinds_[slab]) * sizeof(std::uint64_t);
  }
  if (bytes.size() != needed) return false;
  std::ranges::copy(bytes.first(slabs()), std::as_writable_bytes(std::span(owners_)).begin());
  const std::byte* from = bytes.data() + slabs();
  for (std::uint64_t slab = 0; slab < slabs(); ++slab) {
    if (owners_[slab] == kNobody) continue;
    const std::uint64_t size = words_of(kinds_[slab]) * sizeof(std::uint64_t);
    std::memcpy(&used_[slab * kUsedWords], from, size);
    from += size;
  }
  return true;
}

bool ArenaCensus::count_overflow(std::uint32_t shard, SlabKind kind, std::uint64_t offset) {
  const std::uint64_t size = overflow_size(kind);
  if (offset < arena_offset_ || (offset - arena_offset_) / kSlabBytes >= kinds_.size() || offset % size != 0)
    return false;
  const std::uint64_t slab = (offset - arena_offset_) / kSlabBytes;
  return kinds_[slab] == kind && use(slab, shard, (offset - arena_offset_) % kSlabBytes / size, kSlabBytes / size);
}

bool ArenaCensus::count_segment(std::uint32_t shard, SlabKind kind, std::uint64_t offset) {
  const std::uint64_t slab = (offset - arena_offset_) / kSlabBytes;  // far outside if it lies before the arena
  return slab < kinds_.size() && offset % kSlabBytes == 0 && kinds_[slab] == kind && use(slab, shard, 0, 1);
}

}  // namespace hostmap
