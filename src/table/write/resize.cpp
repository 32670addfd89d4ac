// Growth and shrinking of a shard: a segment of buckets at a time, by the shard's own worker, between requests.
//
// A split, in steps of a bucket or two:
//
//   copy      what moves, bucket by bucket, into a new segment, to which nothing leads. A change of a bucket that is
//             already copied copies it again
//   publish   one store of a directory word, then a turn of the change word: from here readers search there
//   purge     remove from the old segment what moved, bucket by bucket; of each bucket before its new half is changed
//
// A merge, at once, as it reads no key: both segments are copied into a third one, to which the words then lead.
//
// A kill before a publish leaves a segment to which nothing leads; one during the purge leaves duplicates, which a restart
// removes because the twin word records the split. Readers need no lock: see docs/internals/concurrency.md, "Segments".
#include <algorithm>
#include <array>
#include <bit>
#include <span>
#include <utility>

#include "layout/table.hpp"
#include "table/write/writer.hpp"

namespace hostmap {

namespace {

constexpr auto kRelaxed = std::memory_order_relaxed;  // relaxed: as in writer.cpp, one writer

// Keys per bucket, in halves, above which a split is due. 3.5 of 7 places: 37 bytes a pair, 4 % of them in overflow
// buckets on average over a doubling. 4.5 of 7 cells: 14 bytes of bucket an entry, 20 % overflow (measured on prototypes).
template <typename Bucket>
constexpr std::uint64_t kHalvesPerBucket = std::is_same_v<Bucket, PairBucket> ? 7 : 9;
// Buckets that a split copies or purges in one upkeep: a segment of pairs is split within 256 inserts, while it takes 900 until
// the next split is due.
constexpr unsigned kBucketsPerUpkeep = 2;
// A split for which there is no memory ahead is postponed, but not beyond this multiple of the load: then the worker
// populates it itself, which costs one step's time, so that chains do not reach their cap.
constexpr std::uint64_t kOverdueFactor = 2;
// A merge is due below this part of the load at which a split is. If memory is tight, segments are merged as long as their load
// stays below four fifths of that.
constexpr std::uint64_t kMergePart = 4;
constexpr std::uint64_t with_margin(std::uint64_t halves) noexcept { return halves + halves / 4; }
// A merge takes some ten microseconds, as long as hundreds of requests. So after one that a request's upkeep has done, the next
// so many do none; while there are no requests, one follows the other.
constexpr unsigned kUpkeepsBetweenMerges = 32;
// Entries that an upkeep moves out of a sparse slab, for the memory of a split.
constexpr unsigned kMovedForASplit = 8;
// After a split or merge found no memory, so many upkeeps do not retry.
constexpr unsigned kUpkeepsBetweenTries = 64;

}  // namespace

// --- Contents of a bucket --------------------------------------------------------------------------------------------

// Adds those pairs of a chain for which `wanted` is true.
template <typename Wanted>
bool ShardWriter::collect(PairBucket* primary, Contents<PairBucket>& contents, const Wanted& wanted) const noexcept {
  for (PairBucket* bucket = primary; bucket != nullptr; bucket = pair_next(*bucket)) {
    for (std::uint64_t left = bucket->header.load(kRelaxed) & kOccupiedMask; left != 0; left &= left - 1) {
      const auto place = static_cast<unsigned>(std::countr_zero(left));
      const std::uint64_t key = bucket->keys[place - 1].load(kRelaxed);
      if (!wanted(key)) continue;
      if (contents.count == contents.items.size()) return false;
      contents.items[contents.count++] = {key, bucket->values[place - 1].load(kRelaxed)};
    }
  }
  return true;
}

// The same for the cells of entries.
template <typename Wanted>
bool ShardWriter::collect(EntryBucket* primary, Contents<EntryBucket>& contents, const Wanted& wanted) const noexcept {
  for (EntryBucket* bucket = primary; bucket != nullptr;) {
    EntryBucket* next = nullptr;
    for (const Word& cell : bucket->cells) {
      const std::uint64_t word = cell.load(kRelaxed);
      if (word == 0) continue;
      if (is_link(word)) {
        next = table_.at<EntryBucket>(cell_offset(word));
        continue;
      }
      if (!wanted(word)) continue;
      if (contents.count == contents.items.size()) return false;
      contents.items[contents.count++] = word;
    }
    bucket = next;
  }
  return true;
}

// Overflow buckets for a new chain of `buckets`, from its second one on. All or none.
bool ShardWriter::take_overflow(SlabKind kind, unsigned buckets, Overflow& overflow) {
  for (unsigned i = 1; i < buckets; ++i) {
    overflow[i] = blocks_.allocate_overflow(kind);
    if (overflow[i] != 0) continue;
    for (unsigned taken = 1; taken < i; ++taken) release_overflow(kind, overflow[taken]);
    return false;
  }
  return true;
}

// Builds the chain of a bucket to which nothing leads. False: no memory for it.
bool ShardWriter::build(PairBucket& first, const Contents<PairBucket>& contents) {
  const unsigned buckets = std::max(1u, (contents.count + kPlaces - 1) / kPlaces);
  Overflow overflow{};
  if (buckets > kMaxChain || !take_overflow(kSlabPairOverflow, buckets, overflow)) return false;
  // Its last bucket first, so that each header can name its successor.
  for (unsigned i = buckets; i-- > 0;) {
    PairBucket& bucket = i == 0 ? first : *table_.at<PairBucket>(overflow[i]);
    std::uint64_t version = 1;
    if (i != 0) {
      version = header_version(bucket.header.load(kRelaxed)) + 2;
      // [split.adopt] release; pairs with [pair.header]: an overflow bucket's former readers find another version
      bucket.header.store((version - 1) << kVersionShift | fill_bits(), std::memory_order_release);
      std::atomic_thread_fence(std::memory_order_release);  // [split.adopt-fence] release; pairs with [pair.check]
    }
    std::uint64_t header = version << kVersionShift | fill_bits();
    for (unsigned place = 1; place <= kPlaces && i * kPlaces + place <= contents.count; ++place) {
      const auto& [key, value] = contents.items[i * kPlaces + place - 1];
      bucket.keys[place - 1].store(key, kRelaxed);
      bucket.values[place - 1].store(value, kRelaxed);
      header |= std::uint64_t{1} << place;
    }
    bucket.link.store(i + 1 < buckets ? overflow[i + 1] : 0, kRelaxed);
    if (i + 1 < buckets) header |= kOverflowBit;
    bucket.header.store(header, std::memory_order_release);  // [split.fill] release; pairs with [pair.header]
  }
  return true;
}

bool ShardWriter::build(EntryBucket& first, const Contents<EntryBucket>& contents) {
  // Each bucket of the chain but the last uses its last cell for the link.
  const unsigned count = contents.count;
  const unsigned buckets = count <= kPlaces ? 1 : 1 + (count - kPlaces + kPlaces - 2) / (kPlaces - 1);
  Overflow overflow{};
  if (buckets > kMaxChain || !take_overflow(kSlabEntryOverflow, buckets, overflow)) return false;
  std::atomic_thread_fence(std::memory_order_release);  // [split.cells] release; pairs with [cell.check]
  unsigned placed = 0;
  for (unsigned i = 0; i < buckets; ++i) {
    EntryBucket& bucket = i == 0 ? first : *table_.at<EntryBucket>(overflow[i]);
    const unsigned places = i + 1 < buckets ? kPlaces - 1 : kPlaces;
    for (unsigned place = 0; place < places; ++place) {
      bucket.cells[place].store(placed < count ? contents.items[placed] : 0, kRelaxed);
      if (placed < count) ++placed;
    }
    if (i + 1 < buckets) bucket.cells[kPlaces - 1].store(make_cell(0, overflow[i + 1]), kRelaxed);
  }
  // [split.fill-entries] release; pairs with [entry.header]
  first.header.store(std::uint64_t{1} << kVersionShift | fill_bits(), std::memory_order_release);
  return true;
}

// Frees the overflow buckets of a chain to which nothing leads any more.
void ShardWriter::release_chain(PairBucket& primary) noexcept { release_pair_overflow(pair_next(primary)); }

void ShardWriter::release_chain(EntryBucket& primary) noexcept {
  std::uint64_t link = primary.cells[kPlaces - 1].load(kRelaxed);
  while (is_link(link)) {
    const std::uint64_t overflow = cell_offset(link);
    link = table_.at<EntryBucket>(overflow)->cells[kPlaces - 1].load(kRelaxed);
    release_overflow(kSlabEntryOverflow, overflow);
  }
}

// --- Split -----------------------------------------------------------------------------------------------------------

bool ShardWriter::copy_half(PairBucket* from, PairBucket& to) {
  Contents<PairBucket> moving;
  collect(from, moving, [this](std::uint64_t key) { return pairs_.directory.moves(fraction_of(hash_.of_word(key))); });
  return build(to, moving);
}

bool ShardWriter::copy_half(EntryBucket* from, EntryBucket& to) {
  Contents<EntryBucket> moving;
  collect(from, moving, [this](std::uint64_t cell) {
    const std::uint64_t meta = table_.at<Word>(cell_offset(cell))->load(kRelaxed);
    const std::span<const std::byte> key(entry_payload(cell_offset(cell)), meta_key_bytes(meta));
    return entries_.directory.moves(fraction_of(hash_(key)));
  });
  return build(to, moving);
}

// Copies one more bucket, or publishes the new segment. False: there is no memory, and the split was abandoned.
template <typename Bucket>
bool ShardWriter::copy_step(Form<Bucket>& form) {
  Twin& twin = form.twin;
  if (!copy_half(fresh(bucket_of<Bucket>(twin.from, twin.progress)), *bucket_of<Bucket>(twin.to, twin.progress))) {
    abandon(form);
    return false;
  }
  if (++twin.progress < kSegmentBuckets<Bucket>) return true;
  form.directory.publish_split(twin.to);
  form.segments_stat.store(form.directory.segments(), kRelaxed);
  ++moves_;
  twin.published = true;
  twin.progress = 0;
  return true;
}

// Entries of the next buckets that will be copied: each key is a cache miss.
void ShardWriter::prefetch_keys(const EntryBucket& bucket) const noexcept {
  for (const Word& cell : bucket.cells) {
    const std::uint64_t word = cell.load(kRelaxed);
    if (word != 0) __builtin_prefetch(table_.at<std::byte>(cell_offset(word)));
  }
}

// A bucket of the old segment changed after it had been copied.
template <typename Bucket>
void ShardWriter::copy_again(Form<Bucket>& form, Bucket* from) {
  Bucket& to = *bucket_of<Bucket>(form.twin.to, number_in_segment(from));
  release_chain(to);
  if (copy_half(from, to)) return;
  // What is left of its chain must not be released twice.
  to.header.store(0, kRelaxed);
  if constexpr (std::is_same_v<Bucket, EntryBucket>) to.cells[kPlaces - 1].store(0, kRelaxed);
  abandon(form);
}
template void ShardWriter::copy_again(Form<PairBucket>& form, PairBucket* from);
template void ShardWriter::copy_again(Form<EntryBucket>& form, EntryBucket* from);

// Gives up a split that is not published: nothing leads to the new segment.
template <typename Bucket>
void ShardWriter::abandon(Form<Bucket>& form) noexcept {
  for (unsigned number = 0; number < form.twin.progress; ++number) {
    release_chain(*bucket_of<Bucket>(form.twin.to, number));
  }
  pool_.release(pool_.slab_of(form.twin.to), 1);
  form.twin = {};
}

// The chain's end first: the store that removes the last pairs of a bucket also unlinks its emptied successor.
void ShardWriter::purge(PairBucket& old, PairBucket& /*half*/) noexcept {
  struct Part {
    PairBucket* bucket;
    std::uint64_t moved;  // occupancy bits
  };
  std::array<Part, kMaxChain> chain;
  unsigned length = 0;
  const std::uint64_t home = offset_of(&old) / kSlabBytes;
  for (PairBucket* bucket = &old; bucket != nullptr && length < kMaxChain; bucket = pair_next(*bucket)) {
    Part& part = chain[length++];
    part = {bucket, 0};
    for (std::uint64_t left = bucket->header.load(kRelaxed) & kOccupiedMask; left != 0; left &= left - 1) {
      const auto place = static_cast<unsigned>(std::countr_zero(left));
      const std::uint64_t hash = hash_.of_word(bucket->keys[place - 1].load(kRelaxed));
      const bool moved = pairs_.directory.segment(fraction_of(hash)) / kSlabBytes != home;
      if (moved) part.moved |= std::uint64_t{1} << place;
    }
  }
  bool drop_next = false;
  for (unsigned i = length; i-- > 0;) {
    PairBucket& bucket = *chain[i].bucket;
    std::uint64_t header = bucket.header.load(kRelaxed) & ~chain[i].moved;
    if (drop_next) header &= ~kOverflowBit;
    bucket.header.store(header + kVersionStep,
                        std::memory_order_release);  // [split.remove] release; pairs with [pair.header]
    if (drop_next) release_overflow(kSlabPairOverflow, offset_of(chain[i + 1].bucket));
    drop_next = i != 0 && (header & (kOccupiedMask | kOverflowBit)) == 0;
  }
  gather(old);
}

// Cells that are in the new half, too, have moved: that is changed only after this.
void ShardWriter::purge(EntryBucket& old, EntryBucket& half) noexcept {
  // Touched bits may differ.
  Contents<EntryBucket> moved;
  collect(&half, moved, [](std::uint64_t) { return true; });
  for (unsigned i = 0; i < moved.count; ++i) moved.items[i] &= ~kCellTouched;
  std::sort(moved.items.begin(), moved.items.begin() + moved.count);
  bool changed = false;
  for (EntryBucket* bucket = &old; bucket != nullptr;) {
    EntryBucket* next = nullptr;
    for (Word& cell : bucket->cells) {
      const std::uint64_t word = cell.load(kRelaxed);
      if (is_link(word)) {
        next = table_.at<EntryBucket>(cell_offset(word));
      } else if (word != 0 &&
                 std::binary_search(moved.items.begin(), moved.items.begin() + moved.count, word & ~kCellTouched)) {
        cell.store(0, std::memory_order_release);  // [split.empty] release; pairs with [cell.load]
        changed = true;
      }
    }
    bucket = next;
  }
  if (changed) {
    // [split.raise] release; pairs with [cell.check]
    old.header.store(old.header.load(kRelaxed) + kVersionStep, std::memory_order_release);
  }
  gather(old);
}

// Unlinks the empty buckets at a chain's end.
void ShardWriter::gather(EntryBucket& primary) noexcept {
  std::array<EntryBucket*, kMaxChain> chain;
  unsigned length = 0;
  for (EntryBucket* bucket = &primary; bucket != nullptr && length < kMaxChain;) {
    chain[length++] = bucket;
    const std::uint64_t last = bucket->cells[kPlaces - 1].load(kRelaxed);
    bucket = is_link(last) ? table_.at<EntryBucket>(cell_offset(last)) : nullptr;
  }
  unsigned kept = length;
  while (kept > 1) {
    EntryBucket& last = *chain[kept - 1];
    bool empty = true;
    for (Word& cell : last.cells) empty = empty && cell.load(kRelaxed) == 0;
    if (!empty) break;
    // [split.unlink] release; pairs with [cell.load]
    chain[kept - 2]->cells[kPlaces - 1].store(0, std::memory_order_release);
    --kept;
  }
  if (kept == length) return;
  // [split.raise] release; pairs with [cell.check]
  primary.header.store(primary.header.load(kRelaxed) + kVersionStep, std::memory_order_release);
  for (unsigned i = kept; i < length; ++i) release_overflow(kSlabEntryOverflow, offset_of(chain[i]));
}

template <typename Bucket>
void ShardWriter::purge_bucket(Form<Bucket>& form, std::uint64_t number) noexcept {
  purge(*bucket_of<Bucket>(form.twin.from, number), *bucket_of<Bucket>(form.twin.to, number));
}
template void ShardWriter::purge_bucket(Form<PairBucket>& form, std::uint64_t number) noexcept;
template void ShardWriter::purge_bucket(Form<EntryBucket>& form, std::uint64_t number) noexcept;

template <typename Bucket>
void ShardWriter::purge_step(Form<Bucket>& form) noexcept {
  purge_bucket(form, form.twin.progress);
  if (++form.twin.progress < kSegmentBuckets<Bucket>) return;
  form.directory.end_purge();
  form.twin = {};
  stats_.splits.store(stats_.splits.load(kRelaxed) + 1, kRelaxed);
}

// Ends a split in progress: what a clear is about to empty must be in one segment only.
template <typename Bucket>
void ShardWriter::end_twin(Form<Bucket>& form) noexcept {
  if (form.twin.to != 0 && !form.twin.published) abandon(form);
  while (form.twin.to != 0) purge_step(form);
}
template void ShardWriter::end_twin(Form<PairBucket>& form) noexcept;
template void ShardWriter::end_twin(Form<EntryBucket>& form) noexcept;

template <typename Bucket>
bool ShardWriter::begin_split(Form<Bucket>& form, bool overdue) {
  if (!words_ready(form, overdue)) return false;
  const std::uint64_t slab = pool_.allocate(1, form.kind, number());
  if (slab == SlabPool::kNone) return false;
  form.twin.from = form.directory.next_to_split();
  form.twin.to = pool_.slab_offset(slab);
  return true;
}

// Are the words of the directory populated that the next split needs? Those of the split after the next doubling are requested
// from the helper thread.
template <typename Bucket>
bool ShardWriter::words_ready(Form<Bucket>& form, bool overdue) {
  GrowingArea& area = form.words;
  const std::uint64_t needed = form.directory.bytes_to_split();
  const std::uint64_t ahead = std::min(2 * needed, area.max_bytes());
  if (area.populated() < ahead && area.claim_request()) {
    populator_.request([&area, ahead] {
      area.extend_to(ahead);
      area.release_request();
    });
  }
  if (needed <= area.populated()) return true;
  return (overdue || needed <= kPageSize) && area.extend_to(needed);
}

// Leaves a chain no more buckets than its pairs need: half of an overfull bucket has just moved away, or a pair was erased. A
// get that needs a second bucket takes three times as long, and in a full table another chain needs the bucket.
void ShardWriter::gather(PairBucket& primary) noexcept {
  std::array<PairBucket*, kMaxChain> chain;
  unsigned length = 0;
  unsigned pairs = 0;
  for (PairBucket* bucket = &primary; bucket != nullptr && length < kMaxChain; bucket = pair_next(*bucket)) {
    chain[length++] = bucket;
    pairs += static_cast<unsigned>(std::popcount(bucket->header.load(kRelaxed) & kOccupiedMask));
  }
  for (; length > 1 && pairs <= (length - 1) * kPlaces; --length) empty_last(std::span(chain).first(length));
}

// Moves the pairs of a chain's last bucket into free places of the others, of which there are enough, the first buckets first.
// Its own header stays until it is linked elsewhere. The last store shows the pairs in places of its owner and unlinks it, so
// if they are all there a kill leaves one of the two states. If not, pairs are in two places for some stores, and a mark says so.
void ShardWriter::empty_last(std::span<PairBucket* const> chain) noexcept {
  PairBucket& last = *chain.back();
  PairBucket& owner = *chain[chain.size() - 2];
  std::array<std::uint64_t, kMaxChain> headers;
  for (std::size_t i = 0; i + 1 < chain.size(); ++i) headers[i] = chain[i]->header.load(kRelaxed);
  // The free places have held other pairs: the headers that removed those must be visible before these words are.
  std::atomic_thread_fence(std::memory_order_release);  // [pair.gather-fence] release; pairs with [pair.check]
  std::size_t to = 0;
  for (std::uint64_t from = last.header.load(kRelaxed) & kOccupiedMask; from != 0; from &= from - 1) {
    while ((headers[to] & kOccupiedMask) == kOccupiedMask) ++to;
    const auto source = static_cast<unsigned>(std::countr_zero(from));
    const auto place = static_cast<unsigned>(std::countr_zero(~headers[to] & kOccupiedMask));
    chain[to]->keys[place - 1].store(last.keys[source - 1].load(kRelaxed), kRelaxed);
    chain[to]->values[place - 1].store(last.values[source - 1].load(kRelaxed), kRelaxed);
    headers[to] |= std::uint64_t{1} << place;
  }
  bool marked = false;
  for (std::size_t i = 0; i + 2 < chain.size(); ++i) {
    if (chain[i]->header.load(kRelaxed) == headers[i]) continue;
    // relaxed: who sees the header sees the mark
    if (!marked) owner.link.store(owner.link.load(kRelaxed) | kLinkGathers, kRelaxed);
    marked = true;
    // [pair.gather-first] release; pairs with [pair.header], [pair.header-scan]
    chain[i]->header.store(headers[i] + kVersionStep, std::memory_order_release);
  }
  // [pair.gather] release; pairs with [pair.header]
  owner.header.store((headers[chain.size() - 2] & ~kOverflowBit) + kVersionStep, std::memory_order_release);
  release_overflow(kSlabPairOverflow, offset_of(&last));
}

void ShardWriter::gather_loose() noexcept {
  PairBucket* const primary = std::exchange(loose_, nullptr);
  if (loose_moves_ == moves_) gather(*fresh(primary));
}

// --- Merge -----------------------------------------------------------------------------------------------------------

// Builds a segment out of one or two. False: no memory, or a chain would be too long; nothing has changed.
template <typename Bucket>
bool ShardWriter::build_segment(std::uint64_t to, std::initializer_list<std::uint64_t> sources) {
  for (std::uint64_t number = 0; number < kSegmentBuckets<Bucket>; ++number) {
    Contents<Bucket> contents;
    bool fits = true;
    for (const std::uint64_t source : sources) {
      const auto everything = [](std::uint64_t) { return true; };
      fits = fits && collect(fresh(bucket_of<Bucket>(source, number)), contents, everything);
    }
    if (fits && build(*bucket_of<Bucket>(to, number), contents)) continue;
    while (number-- > 0) release_chain(*bucket_of<Bucket>(to, number));
    return false;
  }
  return true;
}

// Returns the memory of a segment to which no word leads any more; the change word was turned since.
template <typename Bucket>
void ShardWriter::retire(std::uint64_t segment) noexcept {
  for (std::uint64_t number = 0; number < kSegmentBuckets<Bucket>; ++number) {
    release_chain(*bucket_of<Bucket>(segment, number));
  }
  pool_.release(pool_.slab_of(segment), 1);
}

// Replaces the halves of the last split by one segment, which for a moment is taken from the reserve if there is no other.
template <typename Bucket>
bool ShardWriter::merge(Form<Bucket>& form) {
  std::uint64_t slab = pool_.allocate(1, form.kind, number());
  const bool borrowed = slab == SlabPool::kNone;
  if (borrowed) slab = pool_.borrow_for_merge(form.kind, number());
  if (slab == SlabPool::kNone) return false;
  const std::uint64_t whole = pool_.slab_offset(slab);
  const auto [left, right] = form.directory.last_halves();
  if (!build_segment<Bucket>(whole, {left, right})) {
    pool_.release(slab, 1);
    if (borrowed) pool_.end_merge();
    return false;
  }
  form.directory.publish_merge(whole);
  if (form.kind == kSlabEntryBuckets) begin_segment_again();
  form.segments_stat.store(form.directory.segments(), kRelaxed);
  ++moves_;
  retire<Bucket>(left);
  retire<Bucket>(right);
  if (borrowed) pool_.end_merge();
  lowered_ = false;
  return true;
}

// --- Lowering --------------------------------------------------------------------------------------------------------
//
// Large values need adjacent slabs. After the table has shrunk, segments move to the lowest free slabs, so that what is free
// lies together, and overflow buckets that are needed no more are unlinked.

// Moves the next segment, if there is a free slab below it. False: none is left.
template <typename Bucket>
bool ShardWriter::lower_step(Form<Bucket>& form) {
  if (form.lowered) return false;
  end_twin(form);
  const std::uint64_t fraction = form.lowered_fraction;
  const std::uint64_t segment = form.directory.segment(fraction);
  form.lowered_fraction = form.directory.last_of(fraction) + 1;
  form.lowered = form.lowered_fraction == 0;
  for (std::uint64_t number = 0; number < kSegmentBuckets<Bucket>; ++number) {
    gather(*fresh(bucket_of<Bucket>(segment, number)));
  }
  const std::uint64_t slab = pool_.allocate_below(pool_.slab_of(segment), form.kind, number());
  if (slab == SlabPool::kNone) return true;
  if (!build_segment<Bucket>(pool_.slab_offset(slab), {segment})) {
    pool_.release(slab, 1);
    return true;
  }
  form.directory.publish_move(fraction, pool_.slab_offset(slab));
  ++moves_;
  retire<Bucket>(segment);
  return true;
}

bool ShardWriter::lower_step() {
  // Not after each erase: a table of millions of segments is not examined for one key.
  constexpr std::uint64_t kRemovedPart = 8;
  if (!lowered_ || removed_ * kRemovedPart > pairs_.keys.load(kRelaxed) + entries_.keys.load(kRelaxed)) {
    lowered_ = true;
    removed_ = 0;
    pairs_.lowered = entries_.lowered = false;
    pairs_.lowered_fraction = entries_.lowered_fraction = 0;
  }
  return lower_step(pairs_) || lower_step(entries_);
}

// --- Schedule --------------------------------------------------------------------------------------------------------

// Can the last two segments be merged?
template <typename Bucket>
bool ShardWriter::is_sparse(const Form<Bucket>& form, bool tight) const noexcept {
  if (form.directory.segments() <= form.directory.base()) return false;
  const std::uint64_t halves = 2 * form.keys.load(kRelaxed);
  const std::uint64_t of_segment = kHalvesPerBucket<Bucket> * kSegmentBuckets<Bucket>;
  if (tight) return with_margin(halves) < of_segment * (form.directory.segments() - 1);
  return halves * kMergePart < of_segment * form.directory.segments();
}

// One step of a split or merge that is due. False: none is, or there is no memory for it.
template <typename Bucket>
bool ShardWriter::resize_step(Form<Bucket>& form) {
  const std::uint64_t halves = 2 * form.keys.load(kRelaxed);
  const std::uint64_t full = kHalvesPerBucket<Bucket> * kSegmentBuckets<Bucket> * form.directory.segments();
  const bool overdue = halves > kOverdueFactor * full;
  if (form.twin.to == 0) {
    if (halves > full) {
      if (postponed_ != 0 && !overdue) return false;
      // In a full cache, the form that holds most does not grow: what is free is for the other one.
      if (std::is_same_v<Bucket, PairBucket> && pool_.is_short() && pairs_hold_most()) return false;
      const bool evicts = may_split_by_eviction<Bucket>();
      const bool waits_for_slab = evicts && pool_.is_exhausted() && blocks_.evacuating();
      if (!waits_for_slab && begin_split(form, overdue)) return true;
      if (evicts) {
        const Emptied emptied = evict_for_split();
        if (emptied == Emptied::kSlab) begin_split(form, overdue);
        if (emptied != Emptied::kNothing) return true;
      }
      // Sparse slabs are emptied for it: a bucket that cannot be split would refuse keys while there is room elsewhere.
      if (blocks_.evacuating() || blocks_.begin_evacuation()) {
        evacuate(kMovedForASplit);
        return true;
      }
      postponed_ = kUpkeepsBetweenTries;
      return false;
    }
    const bool tight = pool_.is_tight();
    if (!is_sparse(form, tight) || postponed_ != 0 || (merge_pause_ != 0 && !tight)) return false;
    if (merge(form)) {
      merge_pause_ = kUpkeepsBetweenMerges;
      return true;
    }
    postponed_ = kUpkeepsBetweenTries;
    return false;
  }
  if (form.twin.published) {
    purge_step(form);
    return true;
  }
  if constexpr (std::is_same_v<Bucket, EntryBucket>) {
    constexpr unsigned kAhead = 4;
    if (form.twin.progress + kAhead < kSegmentBuckets<Bucket>) {
      prefetch_keys(*bucket_of<Bucket>(form.twin.from, form.twin.progress + kAhead));
    }
  }
  const bool copied = copy_step(form);
  if (!copied) postponed_ = kUpkeepsBetweenTries;
  return copied;
}

// Some steps of what growth or shrinking needs, if keys were added or removed.
void ShardWriter::resize() {
  if (loose_ != nullptr) [[unlikely]]
    gather_loose();
  if (postponed_ != 0) --postponed_;
  if (merge_pause_ != 0) --merge_pause_;
  if (pool_.is_tight() && !blocks_.evacuating()) blocks_.consider_evacuation();
  bool more = false;
  for (unsigned i = 0; i < kBucketsPerUpkeep; ++i) {
    const bool pairs = resize_step(pairs_);
    const bool entries = resize_step(entries_);
    more = pairs || entries;
    if (!more) break;
  }
  resize_due_ = more || postponed_ != 0 || merge_pause_ != 0;
}

template bool ShardWriter::resize_step(Form<PairBucket>& form);
template bool ShardWriter::resize_step(Form<EntryBucket>& form);

// How many slabs shrink_for_room() frees, about.
template <typename Bucket>
std::uint64_t ShardWriter::segments_to_spare(const Form<Bucket>& form) const noexcept {
  const std::uint64_t segments = form.directory.segments();
  const std::uint64_t full = kHalvesPerBucket<Bucket> * kSegmentBuckets<Bucket>;
  const std::uint64_t needed = with_margin(2 * form.keys.load(kRelaxed)) / full + 1;
  const std::uint64_t kept = std::max(needed, form.directory.base());
  return (form.twin.to != 0 ? 1 : 0) + segments - std::min(segments, kept);
}
template std::uint64_t ShardWriter::segments_to_spare(const Form<PairBucket>& form) const noexcept;
template std::uint64_t ShardWriter::segments_to_spare(const Form<EntryBucket>& form) const noexcept;

// For a request that found no memory: ends a split, or merges what is half empty. False: that frees nothing.
template <typename Bucket>
bool ShardWriter::shrink_for_room(Form<Bucket>& form) {
  if (form.twin.to != 0 && !form.twin.published) {
    abandon(form);
    postponed_ = kUpkeepsBetweenTries;
    return true;
  }
  if (form.twin.to != 0) end_twin(form);
  return is_sparse(form, true) && merge(form);
}
template bool ShardWriter::shrink_for_room(Form<PairBucket>& form);
template bool ShardWriter::shrink_for_room(Form<EntryBucket>& form);

// --- After a kill ----------------------------------------------------------------------------------------------------

// Of a chain that may be walked: a kill may have interrupted its gathering.
void ShardWriter::end_gathering(PairBucket& primary) noexcept {
  for (PairBucket* bucket = &primary; bucket != nullptr; bucket = pair_next(*bucket)) end_gathering(primary, *bucket);
}

// Removes from the bucket that follows `owner` what a gathering has moved into an earlier one.
void ShardWriter::end_gathering(PairBucket& primary, PairBucket& owner) noexcept {
  const std::uint64_t link = owner.link.load(kRelaxed);
  PairBucket* const next = pair_next(owner);
  if (next == nullptr || (link & kLinkGathers) == 0) return;
  const std::uint64_t header = next->header.load(kRelaxed);
  std::uint64_t moved = 0;
  for (std::uint64_t left = header & kOccupiedMask; left != 0; left &= left - 1) {
    const auto place = static_cast<unsigned>(std::countr_zero(left));
    const std::uint64_t key = next->keys[place - 1].load(kRelaxed);
    for (PairBucket* bucket = &primary; bucket != next; bucket = pair_next(*bucket)) {
      if ((match_keys(*bucket, key, width_) & bucket->header.load(kRelaxed) & kOccupiedMask) != 0) {
        moved |= std::uint64_t{1} << place;
      }
    }
  }
  if (moved != 0) {
    // [recovery.gather] release; pairs with [pair.header]
    next->header.store((header & ~moved) + kVersionStep, std::memory_order_release);
  }
  owner.link.store(link & ~kLinkGathers, kRelaxed);
}

// Nothing is released: the census that follows counts what is reachable.
template <typename Bucket>
void ShardWriter::recover(Form<Bucket>& form) noexcept {
  const auto [from, to] = form.directory.recover();
  if (from == 0) return;
  recovering_ = true;
  for (std::uint64_t number = 0; number < kSegmentBuckets<Bucket>; ++number) {
    Bucket& old = *bucket_of<Bucket>(from, number);
    Bucket& half = *bucket_of<Bucket>(to, number);
    if (!may_be_walked(old) || !may_be_walked(half)) continue;
    if constexpr (std::is_same_v<Bucket, PairBucket>) end_gathering(old);
    purge(old, half);
  }
  recovering_ = false;
  form.directory.end_purge();
}

void ShardWriter::complete_resize() noexcept {
  recover(pairs_);
  recover(entries_);
}

}  // namespace hostmap
