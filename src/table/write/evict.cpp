// Eviction: a full cache makes room for a new key by removing others.
//
// Which keys: those that were not touched since the hand last came by (CLOCK, in the order of hashes). A new key is not touched:
// a key that is used only once goes first. How well that does is measured against exact LRU by a simulation, which is a test.
//
//   entries    the hand walks over the chains of entry buckets: it removes what is not touched, and takes the touched bits away
//   pairs      have no memory of their own but their places: a full chain gives one of its own places
//   a chain    that is full of entries gives one of its own cells, too: keys that were forged to one chain evict each other alone
//   a slab     for another size, for buckets, or for a large value: the use that holds most gives one. Entries that are not
//              touched are removed from it, the others move into holes of their class, or go as well if there are none. Pairs
//              give a segment: two become one, and what does not fit is removed
//
// Nothing is evicted while an intent is sealed, and never the key of the request that needs the room. A removal is that of an
// erase without an intent: like upkeep it belongs to no request.
#include <algorithm>
#include <array>
#include <bit>

#include "base/same_bytes.hpp"
#include "layout/connection.hpp"
#include "layout/table.hpp"
#include "table/write/writer.hpp"

namespace hostmap {

namespace {

constexpr auto kRelaxed = std::memory_order_relaxed;  // relaxed: as in writer.cpp, one writer

void count(Word& counter, std::uint64_t by) noexcept { counter.store(counter.load(kRelaxed) + by, kRelaxed); }

// Which of the `size` keys of a chain goes: the first that is not touched. Begins at another one each time: the version of the chain,
// which rises with each removal, chooses it. `take_mark(i)`: was the key touched? It is not from then on.
template <typename TakeMark>
unsigned choose_victim(unsigned size, std::uint64_t version, const TakeMark& take_mark) noexcept {
  for (unsigned i = 0; i < size; ++i) {
    const auto number = static_cast<unsigned>((version + i) % size);
    if (!take_mark(number)) return number;
  }
  return static_cast<unsigned>(version % size);
}

}  // namespace

void ShardWriter::set_eviction(Eviction policy) noexcept {
  eviction_ = policy;
  pool_.keep_run_reserve(policy == Eviction::kNone);
  rest_if_idle();
}

// --- Touched bits

void ShardWriter::touch_pair(PairBucket& bucket, unsigned place) noexcept {
  const std::uint64_t link = bucket.link.load(kRelaxed);
  // relaxed: readers follow the offset, which is unchanged, after an acquire of the header
  if ((link & pair_touched(place)) == 0) bucket.link.store(link | pair_touched(place), kRelaxed);
}

void ShardWriter::touch_cell(Word& cell) noexcept { set_touched(cell, true); }

void ShardWriter::set_touched(Word& cell, bool touched) noexcept {
  const std::uint64_t before = cell.load(kRelaxed);
  const std::uint64_t after = touched ? before | kCellTouched : before & ~kCellTouched;
  // [cell.touch] release; pairs with [cell.load]: the entry is the same
  if (after != before) cell.store(after, std::memory_order_release);
}

void ShardWriter::touch(std::uint64_t note) noexcept {
  const std::uint64_t fraction = fraction_of(note);
  if ((note & kTouchOfPair) != 0) {
    PairBucket* bucket =
        fresh(bucket_of<PairBucket>(pairs_.directory.segment(fraction), segment_bucket<PairBucket>(note)));
    for (std::uint64_t number = note >> kTouchBucketShift & 7; number > 0; --number) {
      bucket = pair_next(*bucket);
      if (bucket == nullptr) return;
    }
    const auto place = static_cast<unsigned>(note >> kTouchPlaceShift & 7);
    if (place != 0) touch_pair(*bucket, place);
    return;
  }
  // By the tag alone: another key of the chain has the same one once in ten thousand times.
  const std::uint16_t tag = tag_of(note);
  EntryBucket* bucket =
      fresh(bucket_of<EntryBucket>(entries_.directory.segment(fraction), segment_bucket<EntryBucket>(note)));
  while (bucket != nullptr) {
    for (unsigned found = match_tags(*bucket, tag, width_); found != 0; found &= found - 1) {
      touch_cell(bucket->cells[first_place(found) - 1]);
    }
    const std::uint64_t last = bucket->cells[kPlaces - 1].load(kRelaxed);
    bucket = is_link(last) ? table_.at<EntryBucket>(cell_offset(last)) : nullptr;
  }
}

// --- The hand

// May this entry go? Not the one that the present request is about.
bool ShardWriter::is_evictable(std::uint64_t cell, const HashedKey* spared) const noexcept {
  if (eviction_ == Eviction::kExpiring) {
    if ((cell & kCellEnds) == 0) return false;
    // A key that stays again keeps the bit until the hand of expiry has passed.
    if (end_of(cell_offset(cell), table_.at<Word>(cell_offset(cell))->load(kRelaxed)) == kNoEnd) return false;
  }
  if (spared == nullptr || cell_tag(cell) != tag_of(spared->hash)) return true;
  const std::uint64_t meta = table_.at<Word>(cell_offset(cell))->load(kRelaxed);
  return !same_bytes(spared->bytes, {entry_payload(cell_offset(cell)), static_cast<std::size_t>(meta_key_bytes(meta))});
}

void ShardWriter::evict_cell(EntryBucket* primary, Word& cell) noexcept {
  const std::uint64_t entry = cell_offset(cell.load(kRelaxed));
  const std::uint64_t meta = table_.at<Word>(entry)->load(kRelaxed);
  const bool lapsed = (meta & kEntryHasEnd) != 0 && has_lapsed(entry, meta);
  swing_cell(primary, cell, 0);
  if (wait_groups_.any()) [[unlikely]]
    wait_groups_.changed(hash_({entry_payload(entry), static_cast<std::size_t>(meta_key_bytes(meta))}));
  blocks_.release(entry, entry_bytes(meta));
  count(stats_.entry_keys, -std::uint64_t{1});
  count(lapsed ? stats_.expired : stats_.evicted, 1);
  ++removed_;
  resize_due_ = true;
}

// Returns how many keys it has removed from the chain.
unsigned ShardWriter::pass_hand_over(EntryBucket* primary, const HashedKey* spared) noexcept {
  fresh(primary);
  purge_before(primary);
  unsigned removed = 0;
  for (EntryBucket* bucket = primary; bucket != nullptr;) {
    EntryBucket* next = nullptr;
    for (Word& cell : bucket->cells) {
      const std::uint64_t word = cell.load(kRelaxed);
      if (word == 0) continue;
      if (is_link(word)) {
        next = table_.at<EntryBucket>(cell_offset(word));
      } else if ((word & kCellTouched) != 0) {
        set_touched(cell, false);
      } else if (is_evictable(word, spared)) {
        evict_cell(primary, cell);
        ++removed;
      }
    }
    bucket = next;
  }
  return removed;
}

// Walks over at most `chains` chains, until enough(removed). Returns how many keys it has removed.
template <typename Enough>
unsigned ShardWriter::evict_by_hand(unsigned chains, const HashedKey* spared, const Enough& enough) noexcept {
  unsigned removed = 0;
  for (; chains > 0 && !enough(removed); --chains) {
    const std::uint64_t segment = entries_.directory.segment(eviction_hand_.fraction);
    removed += pass_hand_over(bucket_of<EntryBucket>(segment, eviction_hand_.bucket), spared);
    if (++eviction_hand_.bucket < kSegmentBuckets<EntryBucket>) continue;
    eviction_hand_.bucket = 0;
    eviction_hand_.fraction = entries_.directory.last_of(eviction_hand_.fraction) + 1;
  }
  return removed;
}

// How much is kept free for puts to come.
std::uint64_t ShardWriter::kept_holes() const noexcept {
  constexpr std::uint64_t kPart = 64;
  return memory_limit_of(header_) / kPart / header_.shard_count;
}

// Of upkeep: while memory is exhausted, holes are kept free, so that the next put finds one.
void ShardWriter::evict_ahead() noexcept {
  constexpr unsigned kChains = 4;
  if (!pool_.is_exhausted()) return;
  // relaxed: this thread's own
  if (eviction_ == Eviction::kExpiring && stats_.expiring.load(kRelaxed) == 0) return;
  if (blocks_.free_bytes() >= kept_holes()) return;
  if (pairs_hold_most()) {  // entries have not got their share yet
    if (stats_.entry_keys.load(kRelaxed) != 0) halve_pairs(nullptr);
    return;
  }
  evict_by_hand(kChains, nullptr, [](unsigned removed) { return removed != 0; });
}

// --- Chains

// Removes a pair of a chain that has at least one, other than `spared`. No place: there is no other.
ShardWriter::PairPlace ShardWriter::evict_pair(PairBucket* primary, const HashedKey* spared) noexcept {
  std::array<PairPlace, kMaxChain * kPlaces> pairs;
  unsigned size = 0;
  for (PairBucket* bucket = primary; bucket != nullptr; bucket = pair_next(*bucket)) {
    for (std::uint64_t left = bucket->header.load(kRelaxed) & kOccupiedMask; left != 0; left &= left - 1) {
      const auto place = static_cast<unsigned>(std::countr_zero(left));
      if (spared != nullptr && spared->is_word() && bucket->keys[place - 1].load(kRelaxed) == spared->word()) continue;
      pairs[size++] = {bucket, place};
    }
  }
  if (size == 0) return {};
  const std::uint64_t version = header_version(primary->header.load(kRelaxed));
  const PairPlace victim = pairs[choose_victim(size, version, [&](unsigned i) noexcept {
    const std::uint64_t link = pairs[i].bucket->link.load(kRelaxed);
    const std::uint64_t mark = pair_touched(pairs[i].place);
    if ((link & mark) == 0) return false;
    pairs[i].bucket->link.store(link & ~mark, kRelaxed);  // relaxed: as in touch_pair()
    return true;
  })];
  const std::uint64_t header =
      (victim.bucket->header.load(kRelaxed) + kVersionStep) & ~(std::uint64_t{1} << victim.place);
  victim.bucket->header.store(header, std::memory_order_release);  // [pair.evict] release; pairs with [pair.header]
  changed(primary);
  if (wait_groups_.any()) [[unlikely]]
    wait_groups_.changed(hash_.of_word(victim.bucket->keys[victim.place - 1].load(kRelaxed)));
  count(stats_.pair_keys, -std::uint64_t{1});
  count(stats_.evicted, 1);
  ++removed_;
  resize_due_ = true;
  return victim;
}

// A place for a new pair in a chain that has none. No place: there is no memory, and no pair may go.
ShardWriter::PairPlace ShardWriter::find_room_for_pair(PairBucket* primary) {
  const bool evicts = eviction_ == Eviction::kClock;
  // While memory is exhausted no allocation is attempted: it would fail, after system calls.
  if (!evicts || !pool_.is_exhausted() || blocks_.has_overflow(kSlabPairOverflow)) {
    if (const PairPlace place = link_pair_bucket(primary); place.bucket != nullptr || !evicts) return place;
  }
  purge_before(primary);
  for (PairBucket* bucket = primary; bucket != nullptr; bucket = pair_next(*bucket)) {
    const std::uint64_t unoccupied = ~bucket->header.load(kRelaxed) & kOccupiedMask;
    if (unoccupied != 0) return {bucket, static_cast<unsigned>(std::countr_zero(unoccupied))};
  }
  return evict_pair(primary, nullptr);
}

// The same for a cell of a new entry.
Word* ShardWriter::find_room_for_cell(EntryBucket* primary, const HashedKey& key) {
  const bool evicts = eviction_ != Eviction::kNone;
  if (!evicts || !pool_.is_exhausted() || blocks_.has_overflow(kSlabEntryOverflow)) {
    if (Word* const cell = link_entry_bucket(primary); cell != nullptr || !evicts) return cell;
  }
  purge_before(primary);
  Word* free = nullptr;
  find_entry(primary, key, &free);
  return free != nullptr ? free : evict_in_chain(primary, key);
}

// Empties a cell of a full chain. Null: none may go.
Word* ShardWriter::evict_in_chain(EntryBucket* primary, const HashedKey& spared) noexcept {
  std::array<Word*, kMaxChain * kPlaces> cells;
  unsigned size = 0;
  for (EntryBucket* bucket = primary; bucket != nullptr;) {
    EntryBucket* next = nullptr;
    for (Word& cell : bucket->cells) {
      const std::uint64_t word = cell.load(kRelaxed);
      if (is_link(word)) {
        next = table_.at<EntryBucket>(cell_offset(word));
      } else if (is_evictable(word, &spared)) {
        cells[size++] = &cell;
      }
    }
    bucket = next;
  }
  if (size == 0) return nullptr;
  const std::uint64_t version = header_version(primary->header.load(kRelaxed));
  Word* const victim = cells[choose_victim(size, version, [&](unsigned i) noexcept {
    if ((cells[i]->load(kRelaxed) & kCellTouched) == 0) return false;
    set_touched(*cells[i], false);
    return true;
  })];
  evict_cell(primary, *victim);
  return victim;
}

// --- Slabs

// A bounded step towards room for a block of so many bytes, at most kLargestBlock. False: no further step would help.
bool ShardWriter::evict_for(Effort& effort, std::uint64_t bytes, const HashedKey* spared) {
  constexpr unsigned kMostVictims = 64;
  constexpr unsigned kMostChains = 512;
  constexpr unsigned kMovedEntries = 256;
  // Another lane, the reserve, or what is kept for lanes without blocks may take what was emptied.
  constexpr std::uint64_t kMostSlabs = 4;
  if (!effort.begun) {
    effort.begun = true;
    effort.slabs_left = kMostSlabs + 2 * std::uint64_t{header_.shard_count};
  }
  if (effort.slabs_left == 0) return false;
  if (!pairs_hold_most() && !holes_abound()) {
    // If it has a block already, what it lacks is an overflow bucket, which needs a slab.
    const bool wants_block = !blocks_.has_room(bytes);
    const auto enough = [&](unsigned removed) {
      return removed >= kMostVictims || (wants_block && blocks_.has_room(bytes));
    };
    if (evict_by_hand(kMostChains, spared, enough) != 0) return true;
  }
  const Emptied emptied = empty_a_slab(kMovedEntries, spared);
  if (emptied == Emptied::kNothing) effort.slabs_left = 0;
  if (emptied == Emptied::kSlab) --effort.slabs_left;
  return emptied != Emptied::kNothing;
}

// Is enough free, but in blocks of other sizes than the one that is needed? As sizes have changed, they lie scattered.
bool ShardWriter::holes_abound() const noexcept {
  constexpr std::uint64_t kSlabs = 4;
  return blocks_.free_bytes() >= kept_holes() + kSlabs * kSlabBytes;
}

// Of the two forms, the one that holds most gives.
bool ShardWriter::pairs_hold_most() const noexcept {
  return eviction_ == Eviction::kClock && bytes_of_pairs() > stats_.entry_bytes.load(kRelaxed);
}

// Takes a slab from what holds most, in steps of some entries: entries move from it into the holes of their size; if there are too
// few, they are evicted.
ShardWriter::Emptied ShardWriter::empty_a_slab(unsigned entries, const HashedKey* spared) {
  if (!blocks_.evacuating()) {
    const bool of_pairs = pairs_hold_most();
    if (of_pairs && halve_pairs(spared)) return Emptied::kSlab;
    if (!holes_abound() || !blocks_.begin_evacuation()) {
      if (!blocks_.begin_emptying_any()) {
        return !of_pairs && halve_pairs(spared) ? Emptied::kSlab : Emptied::kNothing;
      }
      evicts_from_slab_ = true;
    }
  }
  return evacuate(entries, spared) ? Emptied::kSlab : Emptied::kPart;
}

// The same for a value of more than a slab's half: adjacent slabs are emptied, one after the other. False: no further step would
// help, as slabs of buckets or of other lanes lie in between everywhere.
bool ShardWriter::evict_window(Effort& effort, std::uint64_t bytes, const HashedKey* spared) {
  constexpr std::uint64_t kMostWindows = 4;  // others may take what was emptied
  if (!effort.begun) {
    effort.begun = true;
    effort.slabs_left = kMostWindows;
  }
  if (effort.window == SlabPool::kNone) {
    const std::uint64_t count = round_up(bytes, kSlabBytes) / kSlabBytes;
    // Segments of buckets lie in between: fewer of them, and then nearer to the begin, leave longer windows.
    if (pairs_hold_most() && effort.segments < 2 * count && halve_pairs(spared)) {
      ++effort.segments;
      return true;
    }
    if (effort.segments != 0 && lower_step()) return true;
    effort.window = pool_.find_window(count, number(), next_window_);
    if (effort.window == SlabPool::kNone) return lower_step();
    if (effort.slabs_left == 0) {
      effort.window = SlabPool::kNone;
      return false;
    }
    --effort.slabs_left;
    effort.window_end = next_window_ = effort.window + count;
  }
  constexpr unsigned kMostSlabs = 16;
  for (unsigned slabs = 0; effort.window < effort.window_end && slabs < kMostSlabs; ++slabs) {
    if (!empty_in_window(effort.window, spared)) return true;
    ++effort.window;
  }
  if (effort.window == effort.window_end) effort.window = SlabPool::kNone;
  return true;
}

// A bounded step. True: it is done with this slab.
bool ShardWriter::empty_in_window(std::uint64_t slab, const HashedKey* spared) {
  constexpr unsigned kMovedEntries = 256;
  const SlabPool::Use use = pool_.use_of(slab, number());
  switch (use.kind) {
    case SlabPool::Use::Kind::kFree:
    case SlabPool::Use::Kind::kOther:
      return true;
    case SlabPool::Use::Kind::kRun: {
      EntryBucket* primary;
      const EntryPlace at = place_of(pool_.slab_offset(use.first), primary);
      if (at.cell != nullptr && is_evictable(at.word, spared)) evict_cell(primary, *at.cell);
      return true;
    }
    case SlabPool::Use::Kind::kBlocks:
      break;
  }
  if (!blocks_.evacuating()) {
    blocks_.begin_emptying(slab);
    evicts_from_slab_ = true;
  }
  // What is being emptied may be another slab: that is finished first, and then this one is begun. A slab with a block that cannot be
  // moved, as it is being received, would be begun again and again.
  const bool is_this = blocks_.evacuated_slab() == slab;
  return evacuate(kMovedEntries, spared, false) && is_this;
}

// The same for a split, in the steps of an upkeep.
ShardWriter::Emptied ShardWriter::evict_for_split() {
  constexpr unsigned kChains = 4;
  constexpr unsigned kMovedEntries = 8;
  if (!pairs_hold_most() && !holes_abound() && !blocks_.evacuating()) {
    if (evict_by_hand(kChains, nullptr, [](unsigned removed) { return removed != 0; }) != 0) return Emptied::kPart;
  }
  return empty_a_slab(kMovedEntries, nullptr);
}

// Makes one segment of pairs out of two, without overflow buckets: what does not fit is evicted.
bool ShardWriter::halve_pairs(const HashedKey* spared) {
  if (eviction_ != Eviction::kClock || pairs_.directory.segments() <= pairs_.directory.base()) return false;
  end_twin(pairs_);
  const auto [left, right] = pairs_.directory.last_halves();
  const auto size_of = [this](const PairBucket* bucket) {
    unsigned size = 0;
    for (; bucket != nullptr; bucket = pair_next(*bucket)) {
      size += static_cast<unsigned>(std::popcount(bucket->header.load(kRelaxed) & kOccupiedMask));
    }
    return size;
  };
  for (std::uint64_t number = 0; number < kSegmentBuckets<PairBucket>; ++number) {
    PairBucket* const one = fresh(bucket_of<PairBucket>(left, number));
    PairBucket* const other = fresh(bucket_of<PairBucket>(right, number));
    unsigned sizes[] = {size_of(one), size_of(other)};
    while (sizes[0] + sizes[1] > kPlaces) {
      const bool first = sizes[0] >= sizes[1];
      if (evict_pair(first ? one : other, spared).bucket == nullptr) return false;
      --sizes[first ? 0 : 1];
    }
  }
  return merge(pairs_);
}

// May a split of this form take its slab from what others hold? Pairs only from what holds twice as much: otherwise the two would
// take it from each other again and again.
template <typename Bucket>
bool ShardWriter::may_split_by_eviction() const noexcept {
  if (eviction_ == Eviction::kNone) return false;
  if constexpr (std::is_same_v<Bucket, PairBucket>) {
    return stats_.entry_bytes.load(kRelaxed) >= 2 * bytes_of_pairs();
  }
  return true;
}
template bool ShardWriter::may_split_by_eviction<PairBucket>() const noexcept;
template bool ShardWriter::may_split_by_eviction<EntryBucket>() const noexcept;

// Of a slab that is being emptied: removes the entry, or moves it into a hole. Leaves it if no cell leads there (see move_entry()),
// or if it is spared and there is no hole. Returns how many bytes were moved.
std::uint64_t ShardWriter::evict_or_move(std::uint64_t entry, const HashedKey* spared) {
  EntryBucket* primary;
  const EntryPlace at = place_of(entry, primary);
  if (at.cell == nullptr) return 0;
  const bool may_go = is_evictable(at.word, spared);
  if (may_go && (at.word & kCellTouched) == 0) {
    evict_cell(primary, *at.cell);
    return 0;
  }
  const std::uint64_t size = entry_size(at.word);
  std::uint64_t to = blocks_.allocate_in_hole(size);
  if (to == 0 && !may_go) to = blocks_.allocate_in_larger(size);
  if (to != 0) {
    move_to(primary, {at.cell, at.word & ~kCellTouched}, to);
    blocks_.release(entry, size);
    return size;
  }
  if (may_go) evict_cell(primary, *at.cell);
  return 0;
}

}  // namespace hostmap
