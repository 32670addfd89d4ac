// Expiry: keys that have an end, and the hand that removes them once it has passed.
//
// A key that has lapsed is absent for readers and writers alike from that moment; its memory is used until the hand comes by. A
// request decides all that it decides at one moment: with two readings of the clock a counter could be absent for the first and
// present for the second.
//
//   an end in place    of an entry that has the word: one store, whose intent names the word. The cell says before that there is
//                      an end, so that a kill in between hides no entry from the hand
//   any other end      a new entry, as a put of the same value
//   removal            the cell is emptied and the chain's version raised, without an intent: like upkeep it belongs to no
//                      request
#include <algorithm>

#include "base/ends.hpp"
#include "layout/table.hpp"
#include "table/write/writer.hpp"

namespace hostmap {

namespace {

constexpr auto kRelaxed = std::memory_order_relaxed;  // relaxed: as in writer.cpp, one writer

}  // namespace

// Of an entry whose meta says that it has the word. kNoEnd: it never ends.
std::uint64_t ShardWriter::end_of(std::uint64_t entry, std::uint64_t meta) const noexcept {
  const std::uint64_t end = table_.at<Word>(entry + end_place(meta))->load(kRelaxed);
  return end == kNeverEnds ? kNoEnd : end;
}

bool ShardWriter::has_lapsed(std::uint64_t entry, std::uint64_t meta) noexcept {
  const std::uint64_t end = end_of(entry, meta);
  return end != kNoEnd && !moment_.is_before(end);
}

// What kKeepEnd means for a key now: that of a key that has lapsed is not kept.
std::uint64_t ShardWriter::kept_end(const HashedKey& key) noexcept {
  const Found found = find(key);
  return found.found ? found.end : kNoEnd;
}

StatusCode ShardWriter::make_room_and_expire(const HashedKey& key, std::uint64_t end, Effort& effort) {
  effort.unfinished = false;
  if (chain_is_full_) return StatusCode::kFull;
  const std::uint64_t value_bytes = find(key).bytes().size();
  if (!make_room(effort, new_entry_bytes(key.bytes.size(), value_bytes, end), &key)) return StatusCode::kFull;
  const StatusCode code = try_expire(key, end);
  effort.unfinished = code == StatusCode::kFull && !chain_is_full_;
  return code;
}

void ShardWriter::set_end(EntryBucket* primary, const EntryPlace& at, std::uint64_t end) {
  if (end != kNeverEnds && (at.word & kCellEnds) == 0) swing_cell(primary, *at.cell, at.word | kCellEnds);
  const std::uint64_t entry = cell_offset(at.word);
  Word& word = *table_.at<Word>(entry + end_place(table_.at<Word>(entry)->load(kRelaxed)));
  intent_.seal({IntentKind::kValue, offset_of(&word), end});
  word.store(end, std::memory_order_release);  // [end.value] release; pairs with [end.read]
  if (end != kNeverEnds) note_end(end);
}

void ShardWriter::count_ends(std::uint64_t old_cell, std::uint64_t new_cell) noexcept {
  const auto ends = [](std::uint64_t cell) { return cell / kCellEnds % 2; };
  stats_.expiring.store(stats_.expiring.load(kRelaxed) + ends(new_cell) - ends(old_cell), kRelaxed);
}

void ShardWriter::note_end(std::uint64_t end) noexcept {
  hand_.least_end = std::min(hand_.least_end, end);
  hand_.met = std::min(hand_.met, end);
  rests_ = false;
}

// Walks over some buckets, if a key has lapsed. False: none has, as far as is known.
bool ShardWriter::collect(unsigned buckets) {
  if (hand_.least_end == kNeverEnds && !hand_.walks) return false;
  if (!hand_.walks) {
    if (moment_.is_before(hand_.least_end)) return false;
    hand_.walks = true;
    hand_.met = kNeverEnds;
    hand_.fraction = 0;
    hand_.bucket = 0;
  }
  unsigned removed = 0;
  for (; buckets > 0 && hand_.walks; --buckets) {
    // In the order of a sweep. What is split meanwhile is seen in both halves; a merge begins its segment again.
    const std::uint64_t segment = entries_.directory.segment(hand_.fraction);
    constexpr std::uint64_t kAhead = 2;
    if (hand_.bucket + kAhead < kSegmentBuckets<EntryBucket>) {
      prefetch_keys(*bucket_of<EntryBucket>(segment, hand_.bucket + kAhead));
    }
    removed += collect_in(bucket_of<EntryBucket>(segment, hand_.bucket));
    if (++hand_.bucket < kSegmentBuckets<EntryBucket>) continue;
    hand_.bucket = 0;
    hand_.fraction = entries_.directory.last_of(hand_.fraction) + 1;
    if (hand_.fraction != 0) continue;
    hand_.walks = false;
    hand_.least_end = hand_.met;
    rest_if_idle();
  }
  constexpr unsigned kMostBuckets = 16;
  constexpr unsigned kLongestPause = 64;
  hand_.pace = removed != 0 ? std::min(2 * hand_.pace, kMostBuckets) : 1;
  hand_.pause = removed != 0 ? 0 : std::min(2 * hand_.pause + 1, kLongestPause);
  return true;
}

// What the hand reads and writes of the bucket's entries beyond their first lines, all at once: one by one, each is a cache miss.
void ShardWriter::prefetch_ends(const EntryBucket& bucket) const noexcept {
  for (const Word& cell : bucket.cells) {
    const std::uint64_t word = cell.load(kRelaxed);
    if (is_link(word) || (word & kCellEnds) == 0) continue;
    const std::uint64_t entry = cell_offset(word);
    __builtin_prefetch(table_.at<std::byte>(entry + end_place(table_.at<Word>(entry)->load(kRelaxed))));
    blocks_.prefetch_for_release(entry);
  }
}

// Removes what has lapsed in a chain. Returns how many keys.
unsigned ShardWriter::collect_in(EntryBucket* primary) {
  fresh(primary);
  purge_before(primary);
  unsigned removed = 0;
  for (EntryBucket* bucket = primary; bucket != nullptr;) {
    prefetch_ends(*bucket);
    EntryBucket* next = nullptr;
    for (Word& cell : bucket->cells) {
      const std::uint64_t word = cell.load(kRelaxed);
      if (is_link(word)) next = table_.at<EntryBucket>(cell_offset(word));
      if ((word & kCellEnds) == 0) continue;
      const std::uint64_t entry = cell_offset(word);
      const std::uint64_t meta = table_.at<Word>(entry)->load(kRelaxed);
      const std::uint64_t end = end_of(entry, meta);
      if (end == kNoEnd) {
        swing_cell(primary, cell, word & ~kCellEnds);  // persist() has left the bit
      } else if (moment_.is_before(end)) {
        hand_.met = std::min(hand_.met, end);
      } else {
        swing_cell(primary, cell, 0);
        blocks_.release(entry, entry_bytes(meta));
        ++removed;
      }
    }
    bucket = next;
  }
  if (removed == 0) return 0;
  stats_.entry_keys.store(stats_.entry_keys.load(kRelaxed) - removed, kRelaxed);
  stats_.expired.store(stats_.expired.load(kRelaxed) + removed, kRelaxed);
  removed_ += removed;
  resize_due_ = true;
  return removed;
}

// What upkeep has to do while this shard does not rest.
void ShardWriter::upkeep_without_rest(std::span<const std::byte> changed) {
  // A clear has called all_changed().
  if (wait_groups_.any() && !changed.empty()) wait_groups_.changed(hash_(changed));
  sweep_and_collect();
}

void ShardWriter::sweep_and_collect() {
  if (sweep(kSweptPerUpkeep)) return;
  if (eviction_ != Eviction::kNone) evict_ahead();
  if (hand_.pause > 0) {
    --hand_.pause;
    return;
  }
  if (!collect(hand_.pace)) hand_.pause = hand_.least_end == kNeverEnds ? 0 : 16;
}

}  // namespace hostmap
