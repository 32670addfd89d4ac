// Growth of a shard: linear hashing, one bucket at a time, by the shard's own worker, between requests.
//
//   copy what moves into the new bucket, which nothing leads to yet
//   state = {one bucket more, splitting}        from here readers search for those keys in the new bucket
//   remove what moved from the old chain        one header store per pair bucket; cells, then the version, for entries
//   state without splitting
//
// A kill before the first state store leaves garbage in a bucket that does not exist; one after it leaves duplicates that a
// restart removes because of the splitting bit. Readers need no lock: a hit is right in either bucket (a split removes, and
// raises the old version, before a key can change in its new place), and a miss is checked against the state.
#include <algorithm>
#include <array>
#include <bit>

#include "layout/table.hpp"
#include "table/write/writer.hpp"

namespace hostmap {

namespace {

constexpr auto kRelaxed = std::memory_order_relaxed;  // relaxed: as in writer.cpp, one writer

// Keys per bucket, in halves, above which a split is due. 3.5 of 7 places: 37 bytes a pair, 4 % of them in overflow
// buckets on average over a doubling. 4.5 of 7 cells: 14 bytes of bucket an entry, 20 % overflow (measured on prototypes).
constexpr std::uint64_t kPairHalvesPerBucket = 7;
constexpr std::uint64_t kEntryHalvesPerBucket = 9;
constexpr int kSplitsPerUpkeep = 2;
// A split whose bucket is not populated yet is postponed, but not beyond this multiple of the load: then the worker populates
// it itself, which costs one step's time, so that chains do not reach their cap.
constexpr std::uint64_t kOverdueFactor = 2;

std::uint64_t grown(std::uint64_t state, std::uint64_t base) noexcept {
  const unsigned level = state_level(state);
  const std::uint64_t split = state_split(state) + 1;
  const std::uint64_t next = split == base << level ? make_state(level + 1, 0) : make_state(level, split);
  return next | (state & (kStateMixed | kStateClosed));
}

bool moves(std::uint64_t hash, unsigned level) noexcept { return (level_bits(hash) >> level & 1) != 0; }

// The state before the split that led to this one.
struct Unsplit {
  unsigned level;
  std::uint64_t from;  // the bucket that was split
};
Unsplit unsplit(std::uint64_t state, std::uint64_t base) noexcept {
  if (state_split(state) != 0) return {state_level(state), state_split(state) - 1};
  return {state_level(state) - 1, (base << (state_level(state) - 1)) - 1};
}

}  // namespace

void ShardWriter::repeat_removal() noexcept {
  if (const std::uint64_t state = shard_.pair_state.load(kRelaxed); (state & kStateSplitting) != 0) {
    const Unsplit before = unsplit(state, shard_.pairs_base);
    PairBucket* from = pairs_ + before.from;
    if (may_be_walked(*from)) remove_moved(pairs_to_move(from, before.level));
    shard_.pair_state.store(state & ~kStateSplitting,
                            std::memory_order_release);  // [split.end] release; pairs with [state.read]
  }
  if (const std::uint64_t state = shard_.entry_state.load(kRelaxed); (state & kStateSplitting) != 0) {
    const Unsplit before = unsplit(state, shard_.entries_base);
    EntryBucket* from = entries_ + before.from;
    if (may_be_walked(*from)) remove_moved(entries_to_move(from, before.level));
    shard_.entry_state.store(state & ~kStateSplitting,
                             std::memory_order_release);  // [split.end-entries] release; pairs with [state.read]
  }
}

void ShardWriter::grow() {
  const auto overloaded = [](std::uint64_t keys, std::uint64_t buckets, std::uint64_t halves_per_bucket) {
    return 2 * keys > halves_per_bucket * buckets;
  };
  grown_ = false;
  for (int i = 0; !grown_; ++i) {
    const std::uint64_t buckets = state_buckets(shard_.pair_state.load(kRelaxed), shard_.pairs_base);
    const std::uint64_t keys = stats_.pair_keys.load(kRelaxed);
    if (!overloaded(keys, buckets, kPairHalvesPerBucket)) break;
    const bool overdue = overloaded(keys, buckets, kOverdueFactor * kPairHalvesPerBucket);
    // Enough for now, or postponed: checked again after the next request.
    grown_ = i == kSplitsPerUpkeep || !ground_ready(pair_area_, (buckets + 1) * sizeof(PairBucket), overdue) ||
             !split_pairs();
  }
  bool entries_wait = false;
  for (int i = 0; !entries_wait; ++i) {
    const std::uint64_t buckets = state_buckets(shard_.entry_state.load(kRelaxed), shard_.entries_base);
    const std::uint64_t keys = stats_.entry_keys.load(kRelaxed);
    if (!overloaded(keys, buckets, kEntryHalvesPerBucket)) break;
    const bool overdue = overloaded(keys, buckets, kOverdueFactor * kEntryHalvesPerBucket);
    entries_wait = i == kSplitsPerUpkeep || !ground_ready(entry_area_, (buckets + 1) * sizeof(EntryBucket), overdue) ||
                   !split_entries();
  }
  grown_ = grown_ || entries_wait;
}

// Is the first part of `area` populated, `bytes` long? If it soon will not be, this requests growth from the helper thread.
bool ShardWriter::ground_ready(GrowingArea& area, std::uint64_t bytes, bool overdue) {
  const std::uint64_t populated = area.populated();
  constexpr std::uint64_t kAhead = 8;  // as a part of a step: buckets grow ten times slower than what they hold
  if (bytes <= populated && bytes + area.next_step() / kAhead <= populated) return true;
  if (populated < area.max_bytes() && area.claim_request()) {
    const std::uint64_t goal = std::min(populated + area.next_step(), area.max_bytes());
    populator_.request([&area, goal] {
      area.extend_to(goal);
      area.release_request();
    });
  }
  if (bytes <= populated) return true;
  return overdue && area.extend_to(bytes);
}

// Overflow buckets for a new chain of `buckets`, from its second one on. All or none.
bool ShardWriter::take_overflow(SlabKind kind, unsigned buckets, Overflow& overflow) {
  for (unsigned i = 1; i < buckets; ++i) {
    overflow[i] = blocks_.allocate_overflow(kind);
    if (overflow[i] != 0) continue;
    for (unsigned taken = 1; taken < i; ++taken) blocks_.release_overflow(kind, overflow[taken]);
    return false;
  }
  return true;
}

ShardWriter::OldPairs ShardWriter::pairs_to_move(PairBucket* primary, unsigned level) const noexcept {
  OldPairs old;
  for (PairBucket* bucket = primary; bucket != nullptr && old.length < kMaxChain; bucket = pair_next(*bucket)) {
    OldPairs::Bucket& found = old.chain[old.length++];
    found = {bucket, 0};
    for (std::uint64_t left = bucket->header.load(kRelaxed) & kOccupiedMask; left != 0; left &= left - 1) {
      const auto place = static_cast<unsigned>(std::countr_zero(left));
      const std::uint64_t key = bucket->keys[place - 1].load(kRelaxed);
      if (moves(hash_.of_word(key), level)) found.moved |= std::uint64_t{1} << place;
    }
  }
  return old;
}

// The chain's end first: the store that removes the last pairs of a bucket also unlinks its emptied successor.
void ShardWriter::remove_moved(const OldPairs& old) noexcept {
  bool drop_next = false;
  for (unsigned i = old.length; i-- > 0;) {
    PairBucket& bucket = *old.chain[i].bucket;
    std::uint64_t header = bucket.header.load(kRelaxed) & ~old.chain[i].moved;
    if (drop_next) header &= ~kOverflowBit;
    bucket.header.store(header + kVersionStep,
                        std::memory_order_release);  // [split.remove] release; pairs with [pair.header]
    if (drop_next) blocks_.release_overflow(kSlabPairOverflow, offset_of(old.chain[i + 1].bucket));
    drop_next = i != 0 && (header & (kOccupiedMask | kOverflowBit)) == 0;
  }
}

bool ShardWriter::split_pairs() {
  const std::uint64_t state = shard_.pair_state.load(kRelaxed);
  const unsigned level = state_level(state);
  const std::uint64_t from = state_split(state);
  const std::uint64_t to = from + (shard_.pairs_base << level);

  const OldPairs old = pairs_to_move(fresh(pairs_ + from), level);
  std::array<std::pair<std::uint64_t, std::uint64_t>, kMaxChain * kPlaces> moving;
  unsigned moved = 0;
  for (unsigned i = 0; i < old.length; ++i) {
    for (std::uint64_t left = old.chain[i].moved; left != 0; left &= left - 1) {
      const auto place = static_cast<unsigned>(std::countr_zero(left));
      const PairBucket& bucket = *old.chain[i].bucket;
      moving[moved++] = {bucket.keys[place - 1].load(kRelaxed), bucket.values[place - 1].load(kRelaxed)};
    }
  }

  // The new chain, its last bucket first, so that each header can name its successor.
  const unsigned buckets = moved <= kPlaces ? 1 : (moved + kPlaces - 1) / kPlaces;
  Overflow overflow{};
  if (!take_overflow(kSlabPairOverflow, buckets, overflow)) return false;
  for (unsigned i = buckets; i-- > 0;) {
    PairBucket& bucket = i == 0 ? pairs_[to] : *table_.at<PairBucket>(overflow[i]);
    const std::uint64_t version = header_version(bucket.header.load(kRelaxed)) + 1;
    // [split.adopt] release; pairs with [pair.header]: an overflow bucket's former readers find another version
    bucket.header.store(version << kVersionShift | fill_bits(), std::memory_order_release);
    std::atomic_thread_fence(std::memory_order_release);  // [split.adopt-fence] release; pairs with [pair.check]
    std::uint64_t header = (version + 1) << kVersionShift | fill_bits();
    for (unsigned place = 1; place <= kPlaces && i * kPlaces + place <= moved; ++place) {
      bucket.keys[place - 1].store(moving[i * kPlaces + place - 1].first, kRelaxed);
      bucket.values[place - 1].store(moving[i * kPlaces + place - 1].second, kRelaxed);
      header |= std::uint64_t{1} << place;
    }
    bucket.link.store(i + 1 < buckets ? overflow[i + 1] : 0, kRelaxed);
    if (i + 1 < buckets) header |= kOverflowBit;
    bucket.header.store(header, std::memory_order_release);  // [split.fill] release; pairs with [pair.header]
  }

  const std::uint64_t next = grown(state, shard_.pairs_base);
  // [split.publish] release; pairs with [state.read]: the new bucket is complete
  shard_.pair_state.store(next | kStateSplitting, std::memory_order_release);

  remove_moved(old);
  shard_.pair_state.store(next, std::memory_order_release);  // [split.end] release; pairs with [state.read]
  stats_.splits.store(stats_.splits.load(kRelaxed) + 1, kRelaxed);
  gather_pairs(pairs_[from]);
  return true;
}

// Moves the pairs in a chain's overflow buckets back into its first one, if they fit: half of an overfull bucket has
// just moved away, and a get that needs a second bucket takes three times as long. One store of the header shows the pairs in
// their new places and unlinks the old ones, so a kill leaves one of the two states.
void ShardWriter::gather_pairs(PairBucket& primary) noexcept {
  std::uint64_t header = primary.header.load(kRelaxed);
  if ((header & kOverflowBit) == 0) return;
  std::uint64_t left = 0;
  for (const PairBucket* bucket = &primary; bucket != nullptr; bucket = pair_next(*bucket)) {
    left += static_cast<unsigned>(std::popcount(bucket->header.load(kRelaxed) & kOccupiedMask));
  }
  if (left > kPlaces) return;
  PairBucket* const overflow = pair_next(primary);
  // The free places have held other pairs: the header that removed those must be visible before these words are.
  std::atomic_thread_fence(std::memory_order_release);  // [pair.gather-fence] release; pairs with [pair.check]
  for (const PairBucket* bucket = overflow; bucket != nullptr; bucket = pair_next(*bucket)) {
    for (std::uint64_t from = bucket->header.load(kRelaxed) & kOccupiedMask; from != 0; from &= from - 1) {
      const auto source = static_cast<unsigned>(std::countr_zero(from));
      const auto place = static_cast<unsigned>(std::countr_zero(~header & kOccupiedMask));
      primary.keys[place - 1].store(bucket->keys[source - 1].load(kRelaxed), kRelaxed);
      primary.values[place - 1].store(bucket->values[source - 1].load(kRelaxed), kRelaxed);
      header |= std::uint64_t{1} << place;
    }
  }
  // [pair.gather] release; pairs with [pair.header]
  primary.header.store((header & ~kOverflowBit) + kVersionStep, std::memory_order_release);
  release_pair_overflow(overflow);
}

ShardWriter::OldEntries ShardWriter::entries_to_move(EntryBucket* primary, unsigned level) const noexcept {
  OldEntries old;
  for (EntryBucket* bucket = primary; bucket != nullptr && old.length < kMaxChain;) {
    old.chain[old.length++] = bucket;
    EntryBucket* next = nullptr;
    for (Word& cell : bucket->cells) {
      const std::uint64_t word = cell.load(kRelaxed);
      if (word == 0) continue;
      if (is_link(word)) {
        next = table_.at<EntryBucket>(cell_offset(word));
        continue;
      }
      const std::uint64_t meta = table_.at<Word>(cell_offset(word))->load(kRelaxed);
      const std::span<const std::byte> key(entry_payload(cell_offset(word)), meta_key_bytes(meta));
      if (moves(hash_(key), level)) old.cells[old.moved++] = &cell;
    }
    bucket = next;
  }
  return old;
}

void ShardWriter::remove_moved(const OldEntries& old) noexcept {
  EntryBucket* primary = old.chain[0];
  intent_.touch(offset_of(primary));
  for (unsigned i = 0; i < old.moved; ++i) {
    old.cells[i]->store(0, std::memory_order_release);  // [split.empty] release; pairs with [cell.load]
  }
  unsigned kept = old.length;
  while (kept > 1) {
    EntryBucket& last = *old.chain[kept - 1];
    bool empty = true;
    for (Word& cell : last.cells) empty = empty && cell.load(kRelaxed) == 0;
    if (!empty) break;
    // [split.unlink] release; pairs with [cell.load]
    old.chain[kept - 2]->cells[kPlaces - 1].store(0, std::memory_order_release);
    --kept;
  }
  if (old.moved != 0 || kept != old.length) {
    // [split.raise] release; pairs with [cell.check]
    primary->header.store(primary->header.load(kRelaxed) + kVersionStep, std::memory_order_release);
  }
  for (unsigned i = kept; i < old.length; ++i) blocks_.release_overflow(kSlabEntryOverflow, offset_of(old.chain[i]));
}

bool ShardWriter::split_entries() {
  const std::uint64_t state = shard_.entry_state.load(kRelaxed);
  const unsigned level = state_level(state);
  const std::uint64_t from = state_split(state);
  const std::uint64_t to = from + (shard_.entries_base << level);

  const OldEntries old = entries_to_move(fresh(entries_ + from), level);
  const unsigned moved = old.moved;

  // Each bucket of the new chain but the last uses its last cell for the link.
  const unsigned buckets = moved <= kPlaces ? 1 : 1 + (moved - kPlaces + kPlaces - 2) / (kPlaces - 1);
  Overflow overflow{};
  if (!take_overflow(kSlabEntryOverflow, buckets, overflow)) return false;
  std::atomic_thread_fence(std::memory_order_release);  // [split.cells] release; pairs with [cell.check]
  unsigned placed = 0;
  for (unsigned i = 0; i < buckets; ++i) {
    EntryBucket& bucket = i == 0 ? entries_[to] : *table_.at<EntryBucket>(overflow[i]);
    const unsigned places = i + 1 < buckets ? kPlaces - 1 : kPlaces;
    for (unsigned place = 0; place < places; ++place) {
      bucket.cells[place].store(placed < moved ? old.cells[placed]->load(kRelaxed) : 0, kRelaxed);
      if (placed < moved) ++placed;
    }
    if (i + 1 < buckets) bucket.cells[kPlaces - 1].store(make_cell(0, overflow[i + 1]), kRelaxed);
  }
  EntryBucket& target = entries_[to];
  const std::uint64_t version = header_version(target.header.load(kRelaxed)) + 1;
  // [split.fill-entries] release; pairs with [entry.header]
  target.header.store(version << kVersionShift | fill_bits(), std::memory_order_release);

  const std::uint64_t next = grown(state, shard_.entries_base);
  // [split.publish-entries] release; pairs with [state.read]: the new bucket is complete
  shard_.entry_state.store(next | kStateSplitting, std::memory_order_release);

  remove_moved(old);
  shard_.entry_state.store(next, std::memory_order_release);  // [split.end-entries] release; pairs with [state.read]
  stats_.splits.store(stats_.splits.load(kRelaxed) + 1, kRelaxed);
  return true;
}

}  // namespace hostmap
