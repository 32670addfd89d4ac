#include "table/read/scan.hpp"

#include <algorithm>
#include <bit>
#include <string_view>

#include "base/shared_copy.hpp"
#include "layout/table.hpp"

namespace hostmap {

namespace {

// relaxed: racing data, validated by unchanged(), or as the line says
constexpr auto kRelaxed = std::memory_order_relaxed;
constexpr auto kAcquire = std::memory_order_acquire;

// The low `bits` of `word`, reversed.
std::uint64_t backwards(std::uint64_t word, unsigned bits) noexcept {
  word = (word >> 1 & 0x5555'5555'5555'5555) | (word & 0x5555'5555'5555'5555) << 1;
  word = (word >> 2 & 0x3333'3333'3333'3333) | (word & 0x3333'3333'3333'3333) << 2;
  word = (word >> 4 & 0x0f0f'0f0f'0f0f'0f0f) | (word & 0x0f0f'0f0f'0f0f'0f0f) << 4;
  return __builtin_bswap64(word) >> (64 - bits);
}

}  // namespace

TableScan::Interval TableScan::interval_at(std::uint64_t state) const noexcept {
  const std::uint64_t base = reader_.shards_[shard_].pairs_base;  // the same for both forms
  const std::uint64_t bits = backwards(position_, kOrderBits);
  unsigned depth = state_level(state);
  std::uint64_t bucket = low_ + base * (bits & ((std::uint64_t{1} << depth) - 1));
  if (bucket < state_split(state)) {
    ++depth;
    bucket = low_ + base * (bits & ((std::uint64_t{1} << depth) - 1));
  }
  const std::uint64_t length = std::uint64_t{1} << (kOrderBits - depth);
  return {bucket, (position_ / length + 1) * length};
}

// Is a key of this hash in the interval that begins at the position?
bool TableScan::within(std::uint64_t hash, std::uint64_t end) const noexcept {
  const std::uint64_t place = backwards(level_bits(hash), kOrderBits);
  return place >= position_ && place < end;
}

bool TableScan::wanted(const std::string& key) const noexcept {
  return std::string_view(key).starts_with(
      std::string_view(reinterpret_cast<const char*>(prefix_.data()), prefix_.size()));
}

TableScan::Step TableScan::next() {
  if (shard_ == reader_.shard_count_) return Step::kDone;
  items_.clear();
  seen_.clear();
  const ShardHeader& words = *reader_.shards_[shard_].words;
  // [fill.scan] acquire; pairs with [fill.clear]
  const std::uint64_t fill = reader_.header().fill.load(kAcquire);
  // [state.scan] acquire; pairs with [split.publish]
  const std::uint64_t pair_state = words.pair_state.load(kAcquire);
  const std::uint64_t entry_state =
      words.entry_state.load(kAcquire);  // [state.scan] acquire; pairs with [split.publish-entries]
  if (((pair_state | entry_state) & kStateClosed) != 0) return Step::kClosed;

  const Interval pairs = interval_at(pair_state);
  const Interval entries = interval_at(entry_state);
  const bool both = words_ && (pair_state & kStateMixed) != 0;
  const std::uint64_t end = both ? std::min(pairs.end, entries.end) : words_ ? pairs.end : entries.end;
  const bool seen = (!words_ || look_at_pairs(pairs.bucket, end, fill)) &&
                    ((words_ && !both) || look_at_entries(entries.bucket, end, fill));
  std::atomic_thread_fence(kAcquire);  // [scan.check] acquire; pairs with [pair.reuse]
  // relaxed, all three: after the fence
  if (!seen || !unchanged() || reader_.header().fill.load(kRelaxed) != fill ||
      stable_state(words.pair_state.load(kRelaxed)) != stable_state(pair_state) ||
      stable_state(words.entry_state.load(kRelaxed)) != stable_state(entry_state)) {
    return Step::kContended;
  }
  if (both) leave_out_halves_of_moves();
  std::erase_if(items_, [this](const Item& item) { return !wanted(item.key); });
  go_on(end);
  return Step::kItems;
}

void TableScan::go_on(std::uint64_t end) noexcept {
  position_ = end;
  if (position_ != std::uint64_t{1} << kOrderBits) return;
  position_ = 0;
  if (++low_ != reader_.shards_[shard_].pairs_base) return;
  low_ = 0;
  if (++shard_ != reader_.shard_count_ || !words_) return;
  shard_ = 0;
  words_ = false;
}

// False: the chain cannot be followed now.
bool TableScan::look_at_pairs(std::uint64_t index, std::uint64_t end, std::uint64_t fill) {
  const TableReader::Shard& shard = reader_.shards_[shard_];
  if (reader_.is_behind()) reader_.extend();
  if (index >= shard.pairs_limit) return false;
  const PairBucket* bucket = &shard.pairs[index];
  for (unsigned length = 0; length < kMaxChain; ++length) {
    // [pair.header-scan] acquire; pairs with [pair.insert]
    const std::uint64_t header = bucket->header.load(kAcquire);
    seen_.push_back({&bucket->header, header});
    if (!is_of_fill(header, fill)) return length == 0;  // emptied by a clear; in mid-chain: the bucket moved
    for (std::uint64_t left = header & kOccupiedMask; left != 0; left &= left - 1) {
      const auto place = static_cast<unsigned>(std::countr_zero(left));
      const std::uint64_t key = bucket->keys[place - 1].load(kRelaxed);
      if (!within(reader_.hash_.of_word(key), end)) continue;
      Item& item = items_.emplace_back();
      item.key.assign(reinterpret_cast<const char*>(&key), sizeof key);
      item.is_pair = true;
      item.value = bucket->values[place - 1].load(kRelaxed);
    }
    if ((header & kOverflowBit) == 0) return true;
    bucket = reader_.overflow_of(*bucket);
    if (bucket == nullptr) return false;
  }
  return false;
}

bool TableScan::look_at_entries(std::uint64_t index, std::uint64_t end, std::uint64_t fill) {
  const TableReader::Shard& shard = reader_.shards_[shard_];
  if (reader_.is_behind()) reader_.extend();
  if (index >= shard.entries_limit) return false;
  const EntryBucket* bucket = &shard.entries[index];
  // [entry.header-scan] acquire; pairs with [chain.raise]: before the first cell of the chain
  const std::uint64_t version = bucket->header.load(kAcquire);
  seen_.push_back({&bucket->header, version});
  if (!is_of_fill(version, fill)) return true;
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
      Item item;
      item.key.resize(entry.key_bytes);
      copy_shared(reinterpret_cast<std::byte*>(item.key.data()), entry.key(), entry.key_bytes);
      if (within(reader_.hash_of(std::as_bytes(std::span(item.key))), end)) items_.push_back(std::move(item));
    }
    if (link == 0) return true;
    bucket = view.entry_bucket_at(link);
    if (bucket == nullptr) return false;
  }
  return false;
}

// In the middle of its move a key is in both forms, and no header has changed yet: the pair decides.
void TableScan::leave_out_halves_of_moves() {
  const auto pairs = items_.begin();
  const auto entries = std::find_if(pairs, items_.end(), [](const Item& item) { return !item.is_pair; });
  const auto is_half = [pairs, entries](const Item& item) {
    return std::any_of(pairs, entries, [&item](const Item& pair) { return pair.key == item.key; });
  };
  items_.erase(std::remove_if(entries, items_.end(), is_half), items_.end());
}

// Are all headers that this step has read unchanged? The caller has fenced.
bool TableScan::unchanged() const noexcept {
  return std::ranges::all_of(seen_, [](const Seen& seen) {
    return seen.header->load(kRelaxed) == seen.value;  // relaxed: after the caller's fence
  });
}

}  // namespace hostmap
