// Room where there is none: what a clear left, and the holes in sparse slabs.
//
// Entries that are erased or change their size leave holes in every slab. A sparse slab is emptied: its entries move into the
// holes of its siblings, and it is free for any size. A few entries with each change, while much of the arena is holes and
// little else is free (BlockAllocator decides); and a whole slab at once for a request that would find no room.
// A move is an overwrite by the same bytes (kind C in docs/concurrency.md) without an intent: like upkeep it belongs to no
// request, and a kill leaves the entry in the one place or in the other.
#include "base/shared_copy.hpp"
#include "table/writer.hpp"

namespace hostmap {

namespace {

constexpr auto kRelaxed = std::memory_order_relaxed;  // relaxed: as in writer.cpp, one writer

}  // namespace

bool ShardWriter::Room::make() noexcept {
  constexpr unsigned kSweptBuckets = 256;
  if (writer_.sweep(kSweptBuckets)) return true;
  while (slabs_left_ > 0) {
    --slabs_left_;
    if (!writer_.blocks_.evacuating() && !writer_.blocks_.begin_evacuation()) return false;
    if (writer_.empty_a_slab()) return true;
  }
  return false;
}

// A piece of a slab; the next one's, perhaps, with the next piece.
void ShardWriter::evacuate(unsigned entries) noexcept {
  for (; entries > 0; --entries) {
    const std::uint64_t entry = blocks_.next_to_evacuate();
    if (entry == 0) {
      blocks_.end_evacuation();
      return;
    }
    move_entry(entry);
  }
}

// False: something in it cannot be moved.
bool ShardWriter::empty_a_slab() noexcept {
  while (const std::uint64_t entry = blocks_.next_to_evacuate()) move_entry(entry);
  return blocks_.end_evacuation();
}

// Stays where it is if no cell leads there: a stream's pieces are still filling it, or its request is about to commit it.
void ShardWriter::move_entry(std::uint64_t entry) noexcept {
  const std::uint64_t meta = table_.at<Word>(entry)->load(kRelaxed);
  const HashedKey key = hashed({entry_payload(entry), static_cast<std::size_t>(meta_key_bytes(meta))});
  EntryBucket* primary = fresh_entries(key);  // a clear may have emptied it: then the entry is released here
  const EntryPlace at = find_entry(primary, key, nullptr);
  if (at.cell == nullptr || cell_offset(at.word) != entry) return;
  const std::uint64_t size = entry_size(at.word);
  const std::uint64_t to = blocks_.allocate(size);  // which fences: nobody looks at these bytes any more
  if (to == 0) return;
  table_.at<Word>(to)->store(meta, kRelaxed);  // relaxed: published with the cell that will lead here
  copy_shared(entry_payload(to), entry_payload(entry), size - kEntryMetaBytes);
  swing_cell(primary, *at.cell, make_cell(tag_of(key.hash), to));
  blocks_.release(entry, size);
}

}  // namespace hostmap
