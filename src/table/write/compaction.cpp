// Makes room in a full table: from buckets that a clear left, and from holes in sparse slabs.
//
// Entries that are erased or change their size leave holes in every slab. A sparse slab is emptied: its entries move into the
// holes of its siblings, and it is free for any size. Each change moves a few entries while much of the arena is holes and
// little other memory is free (BlockAllocator decides); a request that would find no room moves more at once.
// A move is an overwrite by the same bytes (kind C in docs/internals/concurrency.md) without an intent: like upkeep it belongs
// to no request, and after a kill the entry is in one of the two places.
#include <algorithm>

#include "base/shared_copy.hpp"
#include "layout/table.hpp"
#include "table/write/writer.hpp"

namespace hostmap {

namespace {

constexpr auto kRelaxed = std::memory_order_relaxed;  // relaxed: as in writer.cpp, one writer

}  // namespace

// A bounded step towards `bytes` of the arena. False: no further step would help.
bool ShardWriter::make_room(Effort& effort, std::uint64_t bytes, const HashedKey* spared) {
  constexpr unsigned kSweptBuckets = 256;
  constexpr unsigned kMovedEntries = 256;
  constexpr std::uint64_t kSlabsToSpare = 4;  // emptied beyond those that are needed
  if (bytes > kLargestBlock && blocks_.comes_later()) {
    if (blocks_.must_settle_run()) settle_run();
    return true;
  }
  if (sweep(kSweptBuckets) || collect(kSweptBuckets)) return true;
  if (eviction_ != Eviction::kNone) {
    if (shrink_for_room(pairs_) || shrink_for_room(entries_)) return true;
    return bytes <= kLargestBlock ? evict_for(effort, bytes, spared) : evict_window(effort, bytes, spared);
  }
  if (!effort.begun) {
    const std::uint64_t needed = round_up(bytes, kSlabBytes) / kSlabBytes;
    const bool can_fit = needed == 1 || needed <= pool_.slabs_within_reach() + blocks_.slabs_to_empty() +
                                                      segments_to_spare(pairs_) + segments_to_spare(entries_);
    effort.begun = true;
    effort.slabs_left = can_fit ? needed + kSlabsToSpare : 0;
    if (can_fit) blocks_.trim();
  }
  if (effort.slabs_left == 0) return false;
  if (shrink_for_room(pairs_) || shrink_for_room(entries_)) return true;
  if (bytes > kLargestBlock && lower_step()) return true;
  if (!blocks_.evacuating() && !blocks_.begin_evacuation()) return false;
  if (evacuate(kMovedEntries)) --effort.slabs_left;
  return true;
}

// Moves some entries of a slab. True: it is finished.
bool ShardWriter::evacuate(unsigned entries, const HashedKey* spared, bool begins_another) {
  constexpr std::uint64_t kMovedBytes = 256 * 1024;
  for (std::uint64_t bytes = 0; entries > 0 && bytes < kMovedBytes; --entries) {
    const std::uint64_t entry = blocks_.next_to_evacuate();
    if (entry == 0) {
      evicts_from_slab_ = false;
      blocks_.end_evacuation(begins_another);
      return true;
    }
    std::uint64_t moved = evicts_from_slab_ ? 0 : move_entry(entry, 0);
    // One that lies in a larger block may find no other of its own size.
    if (moved == 0 && eviction_ != Eviction::kNone) moved = evict_or_move(entry, spared);
    bytes += moved;
  }
  return false;
}

// The work that remains after a request's end: a slab that is being emptied, in steps, and a run borrowed from the reserve. Of a move
// out of that, only the first step is done here, as each request of a batch would do another one: the others are left to reclaim(),
// and to a request that waits for the reserve.
void ShardWriter::settle_blocks() {
  if (blocks_.must_settle_run() && blocks_.moved() == 0) settle_run();
  if (blocks_.evacuating()) evacuate(kMovedPerUpkeep);
}

// Moves some of an entry out of a borrowed run, if the reserve cannot have its old place instead. Between two steps the entry may
// be removed, or replaced: then the loan has ended.
void ShardWriter::settle_run() {
  const std::uint64_t to = blocks_.settle_run();
  if (to == 0) return;
  EntryBucket* primary;
  const EntryPlace at = place_of(blocks_.borrowed_run(), primary);
  if (at.cell == nullptr) return;  // a clear has removed it
  const std::uint64_t size = entry_size(at.word) - kEntryMetaBytes;
  const std::uint64_t moved = blocks_.moved();
  if (size - moved > step_bytes_) {
    copy_shared(entry_payload(to) + moved, entry_payload(cell_offset(at.word)) + moved, step_bytes_);
    blocks_.add_moved(step_bytes_);
    return;
  }
  // The last word again: it may be an end that was changed after the step that copied it.
  move_to(primary, at, to, std::min(moved, size - sizeof(Word)));
  blocks_.end_loan();
}

void ShardWriter::leave_reserve() {
  constexpr unsigned kMovedEntries = 256;
  while (pool_.reserve_is_short()) {
    const std::uint64_t before = pool_.free_bytes();
    if (!blocks_.evacuating() && !blocks_.begin_evacuation()) return;
    while (!evacuate(kMovedEntries)) {
    }
    if (pool_.free_bytes() <= before) return;
  }
}

bool ShardWriter::move_run(const SlabPool::Move& move) {
  pool_.allocate_for(move);
  const bool moved = move_entry(pool_.slab_offset(move.from), pool_.slab_offset(move.to)) != 0;
  pool_.release(moved ? move.from : move.to, move.count);
  return moved;
}

// The cell that leads to an entry; null: none does, as a stream's pieces are still filling it, or its request is about to commit it.
ShardWriter::EntryPlace ShardWriter::place_of(std::uint64_t entry, EntryBucket*& primary) {
  const std::uint64_t meta = table_.at<Word>(entry)->load(kRelaxed);
  const HashedKey key = hashed({entry_payload(entry), static_cast<std::size_t>(meta_key_bytes(meta))});
  primary = fresh_entries(key);  // a clear may have emptied it: then the entry is released here
  const EntryPlace at = find_entry(primary, key, nullptr);
  return at.cell != nullptr && cell_offset(at.word) == entry ? at : EntryPlace{};
}

// Leaves the entry in place if no cell leads there, or if there is no other block. `to`: the destination, which the caller keeps
// with the old place, or 0: any. Returns how many bytes were moved.
std::uint64_t ShardWriter::move_entry(std::uint64_t entry, std::uint64_t to) {
  EntryBucket* primary;
  const EntryPlace at = place_of(entry, primary);
  if (at.cell == nullptr) return 0;
  const std::uint64_t size = entry_size(at.word);
  const bool is_given = to != 0;
  if (!is_given) to = blocks_.allocate_elsewhere(size);
  if (to == 0) return 0;
  move_to(primary, at, to);
  if (!is_given) blocks_.release(entry, size);
  return size;
}

// Copies an entry to a block whose allocation has fenced: no reader reads its bytes any more. `at.word`: what its cell is to be, except
// for the offset. `moved`: so many bytes of key and value are there already.
void ShardWriter::move_to(EntryBucket* primary, const EntryPlace& at, std::uint64_t to, std::uint64_t moved) {
  const std::uint64_t entry = cell_offset(at.word);
  const std::uint64_t meta = table_.at<Word>(entry)->load(kRelaxed);
  const std::uint64_t size = entry_bytes(meta);
  const std::uint64_t larger = blocks_.room_at(to, size) == block_bytes(size) ? 0 : kEntryInLargerBlock;
  // relaxed: published with the cell that will lead here
  table_.at<Word>(to)->store((meta & ~kEntryInLargerBlock) | larger, kRelaxed);
  copy_shared(entry_payload(to) + moved, entry_payload(entry) + moved, size - kEntryMetaBytes - moved);
  swing_cell(primary, *at.cell, (at.word & ~kOffsetMask) | to);
}

}  // namespace hostmap
