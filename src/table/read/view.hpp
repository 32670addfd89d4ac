// TableView: the only way from an offset that was read in the table to an address, for all readers but the fast path of a get
// (try_get_entry() in fast_path.hpp has the same checks in the form that takes the fewest instructions).
//
// Nothing in the table is trusted: an offset, a length or a link may be damaged, or belong to memory that has another use by
// now. A view clamps each to the part of the arena that was populated when it was made. What it returns may be read; whether
// it is what the reader meant is decided by the checks of docs/internals/concurrency.md ("Reads").
//
// Any thread; no state beyond the call.
#pragma once

#include <cstddef>
#include <cstdint>

#include "layout/table.hpp"

namespace hostmap {

// An entry as its first word describes it.
struct EntryView {
  const std::byte* address = nullptr;
  std::uint64_t offset = 0;
  std::uint64_t key_bytes = 0;  // 1 to 65,536
  std::uint64_t value_bytes = 0;
  std::uint64_t bytes = 0;  // of all of it
  bool has_end = false;

  const std::byte* key() const noexcept { return address + kEntryMetaBytes; }
  const std::byte* value() const noexcept { return key() + key_bytes; }
  // Of an entry that has one.
  const Word& end() const noexcept { return *reinterpret_cast<const Word*>(address + bytes - sizeof(Word)); }
};

// A bucket's header as it was when it was loaded, to be compared at the end of an attempt.
struct SeenHeader {
  const Word* header;
  std::uint64_t value;

  // [change.header] acquire; pairs with [change.turn]
  bool unchanged() const noexcept { return header->load(std::memory_order_acquire) == value; }
};

class TableView {
 public:
  // `populated`: bytes of the arena that may be read, loaded with acquire. `max_value_bytes`: no value is longer.
  TableView(const std::byte* table, std::uint64_t arena_offset, std::uint64_t populated,
            std::uint64_t max_value_bytes) noexcept
      : table_(table), arena_offset_(arena_offset), populated_(populated), max_value_bytes_(max_value_bytes) {}

  // An overflow bucket of pairs or of entries; null: no link of a sound table leads to this offset.
  const PairBucket* pair_bucket_at(std::uint64_t offset) const noexcept { return bucket_at<PairBucket>(offset); }
  const EntryBucket* entry_bucket_at(std::uint64_t offset) const noexcept { return bucket_at<EntryBucket>(offset); }

  // The entry at `offset`; false: no cell of a sound table leads there. Of the entry, only its first word may be read.
  bool entry_at(std::uint64_t offset, EntryView& entry) const noexcept {
    if (!contains(offset, kSmallestEntry) || offset % 8 != 0) return false;
    entry.address = table_ + offset;
    entry.offset = offset;
    // relaxed: the acquire load of the cell that led here orders it
    const std::uint64_t meta = reinterpret_cast<const Word*>(entry.address)->load(std::memory_order_relaxed);
    entry.key_bytes = meta_key_bytes(meta);
    entry.value_bytes = meta_value_bytes(meta);
    entry.bytes = entry_bytes(meta);
    entry.has_end = (meta & kEntryHasEnd) != 0;
    return (meta & kEntryReserved) == 0;
  }
  // May the entry's key be read?
  bool contains_key_of(const EntryView& entry) const noexcept {
    return contains(entry.offset, entry_bytes(entry.key_bytes, 0));
  }
  // May its key, its value and its end be read?
  bool contains_all_of(const EntryView& entry) const noexcept {
    return entry.value_bytes <= max_value_bytes_ && contains(entry.offset, entry.bytes);
  }

 private:
  // An offset below the arena wraps around to a place beyond its end.
  bool contains(std::uint64_t offset, std::uint64_t bytes) const noexcept {
    const std::uint64_t place = offset - arena_offset_;
    return place <= populated_ && bytes <= populated_ - place;
  }
  template <typename Bucket>
  const Bucket* bucket_at(std::uint64_t offset) const noexcept {
    const bool sound = contains(offset, sizeof(Bucket)) && offset % sizeof(Bucket) == 0;
    return sound ? reinterpret_cast<const Bucket*>(table_ + offset) : nullptr;
  }

  const std::byte* table_;
  std::uint64_t arena_offset_;
  std::uint64_t populated_;
  std::uint64_t max_value_bytes_;
};

}  // namespace hostmap
