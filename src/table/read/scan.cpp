#include "table/read/scan.hpp"

#include <algorithm>
#include <bit>
#include <cstring>
#include <string_view>

#include "base/shared_copy.hpp"
#include "layout/table.hpp"
#include "table/read/locate.hpp"

namespace hostmap {

namespace {

// relaxed: racing data, validated by unchanged(), or as the line says
constexpr auto kRelaxed = std::memory_order_relaxed;
constexpr auto kAcquire = std::memory_order_acquire;

constexpr unsigned kFractionBits = 38;
constexpr unsigned kBucketBits = 9;
constexpr unsigned kShardBits = 5;
static_assert(kSegmentBuckets<EntryBucket> == 1U << kBucketBits && kMaxLanes == 1U << kShardBits);
static_assert(1 + kShardBits + kBucketBits + kFractionBits == 53);

}  // namespace

std::uint64_t TableScan::cursor() const noexcept {
  if (shard_ == reader_.shard_count_) return 0;
  const std::uint64_t place = (std::uint64_t{!words_} << kShardBits | shard_) << kBucketBits | bucket_;
  return place << kFractionBits | fraction_ >> (64 - kFractionBits);
}

bool TableScan::seek(std::uint64_t cursor) noexcept {
  const std::uint64_t place = cursor >> kFractionBits;
  const bool words = place >> (kShardBits + kBucketBits) == 0;
  const std::uint64_t shard = place >> kBucketBits & (kMaxLanes - 1);
  const std::uint64_t bucket = place & (kSegmentBuckets<EntryBucket> - 1);
  if (cursor >> 53 != 0 || shard >= reader_.shard_count_ || (words && bucket >= kSegmentBuckets<PairBucket>)) {
    return false;
  }
  words_ = words;
  shard_ = static_cast<std::uint32_t>(shard);
  bucket_ = bucket;
  fraction_ = cursor << (64 - kFractionBits);
  items_.clear();
  return true;
}

// The walk takes one bucket of every segment, in the order of the fractions, then the next bucket of every segment. However
// segments are split or merged meanwhile, what was visited is a bucket's number and an interval of fractions.
template <typename Bucket>
TableScan::Interval TableScan::interval_at(std::uint64_t state) const noexcept {
  const TableReader::Shard& shard = reader_.shards_[shard_];
  const std::uint64_t index = directory_index(state, fraction_);
  const std::uint64_t segment = reader_.segment_at<Bucket>(shard, index);
  if (segment == 0) return {};
  return {segment, last_fraction(state, fraction_, segment, reader_.segment_at<Bucket>(shard, index ^ 1))};
}

// Is a key of this hash in the interval that begins at the position?
bool TableScan::within(std::uint64_t hash, std::uint64_t last) const noexcept {
  const std::uint64_t fraction = spread_over_shards(hash, reader_.shard_count_).fraction;
  return fraction >= fraction_ && fraction <= last;
}

bool TableScan::has_prefix(const std::string& key) const noexcept {
  return std::string_view(key).starts_with(
      std::string_view(reinterpret_cast<const char*>(prefix_.data()), prefix_.size()));
}

TableScan::Step TableScan::next() {
  if (shard_ == reader_.shard_count_) return Step::kDone;
  items_.clear();
  seen_.clear();
  if (reader_.is_behind()) reader_.extend();
  const ShardHeader& words = *reader_.shards_[shard_].words;
  // [change.scan] acquire; pairs with [change.turn], [fill.clear]
  const std::uint64_t change = reader_.header().change.load(kAcquire);
  // [state.scan] acquire; pairs with [segment.depth]
  const std::uint64_t pair_state = words.pair_state.load(kAcquire);
  const std::uint64_t entry_state =
      words.entry_state.load(kAcquire);  // [state.scan] acquire; pairs with [segment.depth]
  if (((pair_state | entry_state) & kStateClosed) != 0) return Step::kClosed;

  const Interval pairs = interval_at<PairBucket>(pair_state);
  const Interval entries = interval_at<EntryBucket>(entry_state);
  const bool both = words_ && (pair_state & kStateMixed) != 0;
  const std::uint64_t last = both ? std::min(pairs.last, entries.last) : words_ ? pairs.last : entries.last;
  bool seen = !words_ || read_pairs(pairs.segment, last, change);
  // A segment has twice as many buckets of entries as of pairs.
  if (both) {
    for (std::uint64_t number = bucket_; number < kSegmentBuckets<EntryBucket>; number += kSegmentBuckets<PairBucket>) {
      seen = seen && read_entries(entries.segment, number, last, change);
    }
  }
  if (!words_) seen = read_entries(entries.segment, bucket_, last, change);
  std::atomic_thread_fence(kAcquire);  // [scan.check] acquire; pairs with [pair.reuse]
  // relaxed: after the acquire loads of unchanged()
  if (!seen || !unchanged() || reader_.header().change.load(kRelaxed) != change) return Step::kContended;
  if (both) drop_halves_of_moves();
  std::erase_if(items_, [this](const Item& item) { return !has_prefix(item.key); });
  advance(last);
  return Step::kItems;
}

void TableScan::advance(std::uint64_t last) noexcept {
  fraction_ = last + 1;
  if (fraction_ != 0) return;
  if (++bucket_ != (words_ ? kSegmentBuckets<PairBucket> : kSegmentBuckets<EntryBucket>)) return;
  bucket_ = 0;
  if (++shard_ != reader_.shard_count_ || !words_) return;
  shard_ = 0;
  words_ = false;
}

// False: the chain cannot be followed now.
bool TableScan::read_pairs(std::uint64_t segment, std::uint64_t last, std::uint64_t change) {
  if (segment == 0) return false;
  const PairBucket* bucket = reader_.at<PairBucket>(segment) + bucket_;
  bool gathers = false;  // what is in this bucket may have been read in an earlier one
  for (unsigned length = 0; length < kMaxChain; ++length) {
    // [pair.header-scan] acquire; pairs with [pair.insert]
    const std::uint64_t header = bucket->header.load(kAcquire);
    seen_.push_back({&bucket->header, header});
    if (!is_of_fill(header, change)) return length == 0;  // emptied by a clear; in mid-chain: the bucket moved
    for (std::uint64_t left = header & kOccupiedMask; left != 0; left &= left - 1) {
      const auto place = static_cast<unsigned>(std::countr_zero(left));
      const std::uint64_t key = bucket->keys[place - 1].load(kRelaxed);
      if (!within(reader_.hash_.of_word(key), last)) continue;
      if (gathers && has_word(key)) continue;
      Item& item = items_.emplace_back();
      item.key.assign(reinterpret_cast<const char*>(&key), sizeof key);
      item.is_pair = true;
      item.value = bucket->values[place - 1].load(kRelaxed);
    }
    if ((header & kOverflowBit) == 0) return true;
    // relaxed: it is as new as each header that was read, by [pair.header-scan]
    gathers = (bucket->link.load(kRelaxed) & kLinkGathers) != 0;
    bucket = reader_.overflow_of(*bucket);
    if (bucket == nullptr) return false;
  }
  return false;
}

bool TableScan::has_word(std::uint64_t word) const noexcept {
  return std::ranges::any_of(
      items_, [word](const Item& item) { return std::memcmp(item.key.data(), &word, sizeof word) == 0; });
}

bool TableScan::read_entries(std::uint64_t segment, std::uint64_t number, std::uint64_t last, std::uint64_t change) {
  if (segment == 0) return false;
  const EntryBucket* bucket = reader_.at<EntryBucket>(segment) + number;
  // [entry.header-scan] acquire; pairs with [chain.raise]: before the first cell of the chain
  const std::uint64_t version = bucket->header.load(kAcquire);
  seen_.push_back({&bucket->header, version});
  if (!is_of_fill(version, change)) return true;
  const TableView view = reader_.view();
  for (unsigned length = 0; length < kMaxChain; ++length) {
    std::uint64_t link = 0;
    for (unsigned place = 0; place < kPlaces; ++place) {
      // [cell.scan] acquire; pairs with [cell.swing]
      const std::uint64_t cell = bucket->cells[place].load(kAcquire);
      if (cell == 0) continue;
      const std::uint64_t offset = cell_offset(cell);
      if (is_link(cell)) {
        if (place + 1 != kPlaces) return false;
        link = offset;
        continue;
      }
      EntryView entry;
      if (!view.entry_at(offset, entry) || !view.contains_key_of(entry)) return false;
      if ((entry.key_bytes == 8) != words_) continue;
      if (entry.has_end) {
        std::uint64_t end;
        if (!view.contains_all_of(entry)) return false;
        const TableReader::Step step = TableReader::check_end(entry, end);
        // [cell.scan] acquire; pairs with [cell.swing]: what has lapsed is left out only while it is linked
        if (step == TableReader::Step::kRetry || bucket->cells[place].load(kAcquire) != cell) return false;
        if (step == TableReader::Step::kMiss) continue;
      }
      Item item;
      item.key.resize(entry.key_bytes);
      copy_shared(reinterpret_cast<std::byte*>(item.key.data()), entry.key(), entry.key_bytes);
      if (within(reader_.hash_of(std::as_bytes(std::span(item.key))), last)) items_.push_back(std::move(item));
    }
    if (link == 0) return true;
    bucket = view.entry_bucket_at(link);
    if (bucket == nullptr) return false;
  }
  return false;
}

// In the middle of its move a key is in both forms, and no header has changed yet: the pair decides.
void TableScan::drop_halves_of_moves() {
  const auto pairs = items_.begin();
  const auto entries = std::find_if(pairs, items_.end(), [](const Item& item) { return !item.is_pair; });
  const auto is_half = [pairs, entries](const Item& item) {
    return std::any_of(pairs, entries, [&item](const Item& pair) { return pair.key == item.key; });
  };
  items_.erase(std::remove_if(entries, items_.end(), is_half), items_.end());
}

// Are all headers that this step has read unchanged? The caller has fenced.
bool TableScan::unchanged() const noexcept { return std::ranges::all_of(seen_, &SeenHeader::unchanged); }

}  // namespace hostmap
