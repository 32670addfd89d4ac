#include "table/write/writer.hpp"

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>

#include "base/shared_copy.hpp"
#include "layout/journal.hpp"
#include "layout/table.hpp"

namespace hostmap {

namespace {

// relaxed: this thread is the only writer of every word that it loads here, and what it stores relaxed is published by a
// later release store of a header, cell or state.
constexpr auto kRelaxed = std::memory_order_relaxed;

void count(Word& counter, std::uint64_t by = 1) noexcept { counter.store(counter.load(kRelaxed) + by, kRelaxed); }

}  // namespace

ShardWriter::ShardWriter(Region& table, std::uint32_t shard, Intent& intent, MemoryBudget& budget, Populator& populator,
                         SlabPool& pool)
    : table_(table),
      header_(*table.at<TableHeader>(0)),
      shard_(header_.shards[shard]),
      stats_(header_.lane_stats[shard]),
      hash_(header_.hash_seed),
      populator_(populator),
      pool_(pool),
      blocks_(pool, stats_, shard),
      pairs_(table, budget, kSlabPairBuckets, shard_.pair_directory, shard_.pair_directory_populated, shard_.pair_state,
             shard_.pair_twin, shard_.pair_base, stats_.pair_keys, stats_.pair_segments),
      entries_(table, budget, kSlabEntryBuckets, shard_.entry_directory, shard_.entry_directory_populated,
               shard_.entry_state, shard_.entry_twin, shard_.entry_base, stats_.entry_keys, stats_.entry_segments),
      width_(widest_vectors()),
      intent_(intent),
      wait_groups_(table.at<WaitGroupWords>(kWaitGroupsOffset)[shard]) {}

template <typename Bucket>
bool ShardWriter::open(Form<Bucket>& form) {
  if (!form.words.extend_to(Directory::bytes_for(form.directory.base()))) return false;
  std::vector<std::uint64_t> segments;
  for (std::uint64_t i = 0; i < form.directory.base(); ++i) {
    const std::uint64_t slab = pool_.allocate(1, form.kind, number());
    if (slab == SlabPool::kNone) return false;
    segments.push_back(pool_.slab_offset(slab));  // of a new file: zeros, which are empty buckets
  }
  form.directory.fill(segments);
  form.segments_stat.store(segments.size(), kRelaxed);
  return true;
}

bool ShardWriter::open() { return open(pairs_) && open(entries_); }

void ShardWriter::close() noexcept {
  close_state(shard_.pair_state);
  close_state(shard_.entry_state);
}

// --- Finding ---------------------------------------------------------------------------------------------------------

HashedKey ShardWriter::hashed(std::span<const std::byte> key) const noexcept {
  HashedKey hashed;
  hashed.bytes = key;
  hashed.hash = hash_(key);
  hashed.fraction = spread_over_shards(hashed.hash, header_.shard_count).fraction;
  return hashed;
}

EntryBucket* ShardWriter::entry_home(const HashedKey& key) const noexcept {
  return bucket_of<EntryBucket>(entries_.directory.segment(key.fraction), segment_bucket<EntryBucket>(key.hash));
}

PairBucket* ShardWriter::pair_next(const PairBucket& bucket) const noexcept {
  if ((bucket.header.load(kRelaxed) & kOverflowBit) == 0) return nullptr;
  return table_.at<PairBucket>(bucket.link.load(kRelaxed) & kOffsetMask);
}

bool ShardWriter::mixed() const noexcept { return (shard_.pair_state.load(kRelaxed) & kStateMixed) != 0; }

void ShardWriter::prefetch(HashedKey& key) const noexcept {
  if (key.is_word()) {
    key.home = pair_home_by_directory(key);
    key.home_moves = moves_;
    __builtin_prefetch(&key.home->header, 1);
    __builtin_prefetch(&key.home->link, 1);
  }
  if (!key.is_word() || mixed()) __builtin_prefetch(entry_home(key), 1);
}

ShardWriter::PairPlace ShardWriter::find_pair(PairBucket* primary, std::uint64_t key,
                                              PairPlace* free_place) const noexcept {
  for (PairBucket* bucket = primary; bucket != nullptr; bucket = pair_next(*bucket)) {
    const std::uint64_t header = bucket->header.load(kRelaxed);
    const auto occupied = static_cast<unsigned>(header & kOccupiedMask);
    if (const unsigned found = match_keys(*bucket, key, width_) & occupied; found != 0) {
      return {bucket, first_place(found)};
    }
    const unsigned unoccupied = ~occupied & kOccupiedMask;
    if (unoccupied != 0 && free_place != nullptr && free_place->bucket == nullptr) {
      *free_place = {bucket, first_place(unoccupied)};
    }
  }
  return {};
}

ShardWriter::EntryPlace ShardWriter::find_entry(EntryBucket* primary, const HashedKey& key,
                                                Word** free_cell) const noexcept {
  const std::uint16_t tag = tag_of(key.hash);
  for (EntryBucket* bucket = primary;;) {
    unsigned candidates = match_tags(*bucket, tag, width_);
    for (; candidates != 0; candidates &= candidates - 1) {
      Word& cell = bucket->cells[first_place(candidates) - 1];
      const std::uint64_t word = cell.load(kRelaxed);
      const std::byte* entry = table_.at<std::byte>(cell_offset(word));
      const std::uint64_t meta = table_.at<Word>(cell_offset(word))->load(kRelaxed);
      if (meta_key_bytes(meta) == key.bytes.size() &&
          std::memcmp(entry + kEntryMetaBytes, key.bytes.data(), key.bytes.size()) == 0) {
        return {&cell, word};
      }
    }
    if (free_cell != nullptr && *free_cell == nullptr) {
      for (Word& cell : bucket->cells) {
        if (cell.load(kRelaxed) == 0) {
          *free_cell = &cell;
          break;
        }
      }
    }
    const std::uint64_t last = bucket->cells[kPlaces - 1].load(kRelaxed);
    if (!is_link(last)) return {};
    bucket = table_.at<EntryBucket>(cell_offset(last));
  }
}

ShardWriter::Found ShardWriter::find(const HashedKey& key) noexcept {
  Found result;
  if (key.is_word()) {
    if (const PairPlace at = find_pair(fresh_pairs(key), key.word(), nullptr); at.bucket != nullptr) {
      result.found = true;
      result.pair_value = at.bucket->values[at.place - 1].load(kRelaxed);
      return result;
    }
    if (!mixed()) return result;
  }
  const EntryPlace at = find_entry(fresh_entries(key), key, nullptr);
  if (at.cell == nullptr) return result;
  const std::uint64_t meta = table_.at<Word>(cell_offset(at.word))->load(kRelaxed);
  if ((meta & kEntryHasEnd) != 0) [[unlikely]] {
    if (has_lapsed(cell_offset(at.word), meta)) return result;
    result.end = end_of(cell_offset(at.word), meta);
  }
  result.found = true;
  result.entry = cell_offset(at.word);
  result.generation = pool_.generation(result.entry);
  result.value = {entry_payload(result.entry) + key.bytes.size(), static_cast<std::size_t>(meta_value_bytes(meta))};
  return result;
}

void ShardWriter::touch(const HashedKey& key) noexcept {
  if (eviction_ == Eviction::kNone) return;
  if (key.is_word()) {
    if (const PairPlace at = find_pair(fresh_pairs(key), key.word(), nullptr); at.bucket != nullptr) {
      return touch_pair(*at.bucket, at.place);
    }
    if (!mixed()) return;
  }
  if (const EntryPlace at = find_entry(fresh_entries(key), key, nullptr); at.cell != nullptr) touch_cell(*at.cell);
}

std::uint64_t ShardWriter::entry_size(std::uint64_t cell) const noexcept {
  return entry_bytes(table_.at<Word>(cell_offset(cell))->load(kRelaxed));
}

// --- Room: overflow buckets, linked before the request's intent is sealed ----------------------------------------------

ShardWriter::PairPlace ShardWriter::link_pair_bucket(PairBucket* primary) {
  PairBucket* last = primary;
  unsigned length = 1;
  for (PairBucket* next = pair_next(*last); next != nullptr; next = pair_next(*last)) {
    last = next;
    ++length;
  }
  chain_is_full_ = length >= kMaxChain;
  if (chain_is_full_) return {};
  const std::uint64_t offset = blocks_.allocate_overflow(kSlabPairOverflow);
  if (offset == 0) return {};
  auto* bucket = table_.at<PairBucket>(offset);
  // A reader that is still on its way here from a former chain must see another version.
  const std::uint64_t version = header_version(bucket->header.load(kRelaxed)) + 1;
  // [pair.adopt] release; pairs with [pair.header]
  bucket->header.store(version << kVersionShift | fill_bits(), std::memory_order_release);
  std::atomic_thread_fence(std::memory_order_release);  // [pair.adopt-fence] release; pairs with [pair.check]
  const std::uint64_t touched = last->link.load(kRelaxed) & kPairTouchedMask;
  last->link.store(touched | offset, kRelaxed);
  // [pair.link] release; pairs with [pair.header]
  last->header.store((last->header.load(kRelaxed) + kVersionStep) | kOverflowBit, std::memory_order_release);
  return {bucket, 1};
}

// Frees the overflow buckets from `bucket` on, which no chain leads to any more.
void ShardWriter::release_pair_overflow(PairBucket* bucket) noexcept {
  while (bucket != nullptr) {
    PairBucket* next = pair_next(*bucket);
    release_overflow(kSlabPairOverflow, offset_of(bucket));
    bucket = next;
  }
}

Word* ShardWriter::link_entry_bucket(EntryBucket* primary) {
  EntryBucket* last = primary;
  unsigned length = 1;
  for (std::uint64_t word = last->cells[kPlaces - 1].load(kRelaxed); is_link(word);
       word = last->cells[kPlaces - 1].load(kRelaxed)) {
    last = table_.at<EntryBucket>(cell_offset(word));
    ++length;
  }
  chain_is_full_ = length >= kMaxChain;
  if (chain_is_full_) return nullptr;
  const std::uint64_t offset = blocks_.allocate_overflow(kSlabEntryOverflow);
  if (offset == 0) return nullptr;
  auto* bucket = table_.at<EntryBucket>(offset);
  Word& link = last->cells[kPlaces - 1];
  // Its former chain's version was raised when it was unlinked; that must be visible before these cells are.
  std::atomic_thread_fence(std::memory_order_release);  // [cell.reuse] release; pairs with [cell.check]
  bucket->cells[0].store(link.load(kRelaxed), kRelaxed);
  for (unsigned i = 1; i < kPlaces; ++i) bucket->cells[i].store(0, kRelaxed);
  // The moved cell can be found in either place, so no version needs to rise.
  // [cell.link] release; pairs with [cell.load]
  link.store(make_cell(0, offset), std::memory_order_release);
  return &bucket->cells[1];
}

void ShardWriter::set_mixed() noexcept {
  if (mixed()) return;
  // [state.mixed] release; pairs with [state.read]: stored before any such entry is linked
  shard_.pair_state.store(shard_.pair_state.load(kRelaxed) | kStateMixed, std::memory_order_release);
  // A miss among the pairs that did not see the bit is not an answer.
  header_.change.fetch_add(kTurn, std::memory_order_release);  // [change.mixed] release; pairs with [change.first]
  std::atomic_thread_fence(std::memory_order_release);         // [state.mixed-fence] release; pairs with [pair.miss]
}

// --- Mutations -------------------------------------------------------------------------------------------------------

StatusCode ShardWriter::put_without_end(const HashedKey& key, std::span<const std::byte> value) {
  if (!key.is_word() || value.size() != 8) return put_entry(key, value);
  std::uint64_t word;
  std::memcpy(&word, value.data(), sizeof word);
  const StatusCode code = put_pair(key, word);
  if (code == StatusCode::kFull && mixed()) [[unlikely]] {
    // There is no place for a pair; if the key has an entry, it keeps one.
    if (find_entry(fresh_entries(key), key, nullptr).cell != nullptr) return put_entry(key, value);
  }
  return code;
}

StatusCode ShardWriter::make_room_and_put(const HashedKey& key, std::span<const std::byte> value, std::uint64_t end,
                                          Effort& effort) {
  effort.unfinished = false;
  if (chain_is_full_ || !make_room(effort, new_entry_bytes(key.bytes.size(), value.size(), end), &key)) {
    return StatusCode::kFull;
  }
  const StatusCode code = try_put(key, value, end);
  effort.unfinished = code == StatusCode::kFull && !chain_is_full_;
  return code;
}

StatusCode ShardWriter::make_room_and_append(const HashedKey& key, std::span<const std::byte> more, Effort& effort) {
  effort.unfinished = false;
  const Found old = find(key);
  const std::uint64_t size = old.bytes_or_none().size() + more.size();
  if (chain_is_full_ || !make_room(effort, new_entry_bytes(key.bytes.size(), size, old.end), &key))
    return StatusCode::kFull;
  const StatusCode code = try_append(key, more);
  effort.unfinished = code == StatusCode::kFull && !chain_is_full_;
  return code;
}

StatusCode ShardWriter::put_pair(const HashedKey& key, std::uint64_t value) {
  PairBucket* primary = fresh_pairs(key);
  PairPlace place;
  if (const PairPlace at = find_pair(primary, key.word(), &place); at.bucket != nullptr) {
    Word& word = at.bucket->values[at.place - 1];
    intent_.seal({IntentKind::kValue, offset_of(&word), value});
    word.store(value, std::memory_order_release);  // [pair.value] release; pairs with [pair.check]
    changed(primary);
    if (eviction_ != Eviction::kNone) [[unlikely]]
      touch_pair(*at.bucket, at.place);
    return StatusCode::kOk;
  }
  EntryBucket* entry_primary = nullptr;
  EntryPlace entry;
  if (mixed()) {
    entry_primary = fresh_entries(key);
    entry = find_entry(entry_primary, key, nullptr);
  }
  if (place.bucket == nullptr) place = find_room_for_pair(primary);
  if (place.bucket == nullptr) return StatusCode::kFull;

  PairBucket& bucket = *place.bucket;
  // The place may have held another pair: the header that removed it must be visible before these words are.
  std::atomic_thread_fence(std::memory_order_release);  // [pair.reuse] release; pairs with [pair.check]
  bucket.keys[place.place - 1].store(key.word(), kRelaxed);
  bucket.values[place.place - 1].store(value, kRelaxed);
  const std::uint64_t bit = IntentWriter::bit_of(offset_of(&bucket), place.place);
  if (entry.cell == nullptr) {
    intent_.seal({IntentKind::kPairInsert, bit});
  } else {
    intent_.seal({IntentKind::kMoveToPair, bit}, {offset_of(entry.cell), entry.word});
  }
  const std::uint64_t header = (bucket.header.load(kRelaxed) + kVersionStep) | std::uint64_t{1} << place.place;
  bucket.header.store(header, std::memory_order_release);  // [pair.insert] release; pairs with [pair.header]
  changed(primary);
  count(stats_.pair_keys);
  resize_due_ = true;
  if (entry.cell != nullptr) {
    const std::uint64_t size = entry_size(entry.word);
    swing_cell(entry_primary, *entry.cell, 0);
    blocks_.release(cell_offset(entry.word), size);
    count(stats_.entry_keys, -std::uint64_t{1});
  }
  return StatusCode::kOk;
}

// Changes a cell, and raises the chain's version unless the cell was empty. Then the old word's entry is free.
void ShardWriter::swing_cell(EntryBucket* primary, Word& cell, std::uint64_t word) noexcept {
  const std::uint64_t old = cell.load(kRelaxed);
  if (((old | word) & kCellEnds) != 0) [[unlikely]]
    count_ends(old, word);
  cell.store(word, std::memory_order_release);  // [cell.swing] release; pairs with [cell.load]
  if (old != 0) {
    // [chain.raise] release; pairs with [cell.check]
    primary->header.store(primary->header.load(kRelaxed) + kVersionStep, std::memory_order_release);
  }
  changed(primary);
}

std::uint64_t ShardWriter::begin_entry(std::uint64_t key_bytes, std::uint64_t value_bytes, std::uint64_t end,
                                       Effort& effort, const HashedKey* spared) {
  effort.unfinished = false;
  const std::uint64_t meta = new_meta(key_bytes, value_bytes, end);
  const std::uint64_t size = entry_bytes(meta);
  std::uint64_t entry = blocks_.allocate(size);
  if (entry == 0 && make_room(effort, size, spared)) {
    entry = blocks_.allocate(size);
    effort.unfinished = entry == 0;
  }
  // relaxed: published with the cell that will lead here; allocate() has fenced
  if (entry != 0) table_.at<Word>(entry)->store(meta, kRelaxed);
  return entry;
}

std::uint64_t ShardWriter::begin_replacement(const HashedKey& key, std::uint64_t value_bytes, std::uint64_t end,
                                             Effort& effort) {
  effort.unfinished = false;
  const EntryPlace old = find_entry(fresh_entries(key), key, nullptr);
  if (old.cell == nullptr) return 0;
  const std::uint64_t meta = new_meta(key.bytes.size(), value_bytes, end);
  const std::uint64_t entry = blocks_.allocate_reserved(cell_offset(old.word), entry_size(old.word), entry_bytes(meta));
  effort.unfinished = entry == 0 && blocks_.comes_later();
  if (effort.unfinished && blocks_.must_settle_run()) settle_run();
  // relaxed: published with the cell that will lead here; the block's allocation has fenced
  if (entry != 0) table_.at<Word>(entry)->store(meta, kRelaxed);
  return entry;
}

bool ShardWriter::may_replace(const HashedKey& key, std::uint64_t value_bytes, std::uint64_t end) noexcept {
  const EntryPlace at = find_entry(fresh_entries(key), key, nullptr);
  return at.cell != nullptr && blocks_.room_at(cell_offset(at.word), entry_size(at.word)) >=
                                   new_entry_bytes(key.bytes.size(), value_bytes, end);
}

void ShardWriter::drop_entry(std::uint64_t entry) noexcept {
  blocks_.release(entry, entry_bytes(table_.at<Word>(entry)->load(kRelaxed)));
}

bool ShardWriter::has_pair(const HashedKey& key) noexcept {
  return key.is_word() && find_pair(fresh_pairs(key), key.word(), nullptr).bucket != nullptr;
}

// A block for a new value of `key`, with its meta. If there is no other: from the reserve, if the key has an entry that is as
// large; of a larger class, if it has a pair.
std::uint64_t ShardWriter::block_for(const HashedKey& key, std::uint64_t value_bytes, std::uint64_t end) {
  std::uint64_t meta = new_meta(key.bytes.size(), value_bytes, end);
  const std::uint64_t bytes = entry_bytes(meta);
  std::uint64_t entry = blocks_.allocate(bytes);
  if (entry == 0) [[unlikely]] {
    const EntryPlace old = find_entry(fresh_entries(key), key, nullptr);
    if (old.cell != nullptr) {
      entry = blocks_.allocate_reserved(cell_offset(old.word), entry_size(old.word), bytes);
      if (entry != 0 && blocks_.borrows(entry)) blocks_.replaces(cell_offset(old.word), entry_size(old.word));
    } else if (has_pair(key)) {
      entry = blocks_.allocate_in_larger(bytes);
      meta |= kEntryInLargerBlock;
    }
    if (entry == 0) return 0;
  }
  // relaxed: published with the cell that will lead here; the block's allocation has fenced
  table_.at<Word>(entry)->store(meta, kRelaxed);
  return entry;
}

StatusCode ShardWriter::put_entry(const HashedKey& key, std::span<const std::byte> value) {
  if (value.size() == 8 && key.bytes.size() % 8 == 0) {
    // The value is one aligned word: if the key has a value of that length already, a single store replaces it.
    EntryBucket* primary = fresh_entries(key);
    const EntryPlace at = find_entry(primary, key, nullptr);
    // Of an entry with an end the whole is replaced.
    if (at.cell != nullptr && (table_.at<Word>(cell_offset(at.word))->load(kRelaxed) & ~kEntryInLargerBlock) ==
                                  make_meta(key.bytes.size(), 8)) {
      Word& word = *table_.at<Word>(cell_offset(at.word) + kEntryMetaBytes + key.bytes.size());
      std::uint64_t wanted;
      std::memcpy(&wanted, value.data(), sizeof wanted);
      intent_.seal({IntentKind::kValue, offset_of(&word), wanted});
      word.store(wanted, std::memory_order_release);  // [entry.value] release; pairs with [cell.check]
      if (eviction_ != Eviction::kNone) touch_cell(*at.cell);
      return StatusCode::kOk;
    }
  }
  return put_new_entry(key, value.size(), kNoEnd, [&](std::byte* to) { copy_shared(to, value.data(), value.size()); });
}

// `write`: called with the place of the value, after all memory has been allocated.
template <typename WriteValue>
StatusCode ShardWriter::put_new_entry(const HashedKey& key, std::uint64_t value_bytes, std::uint64_t end,
                                      const WriteValue& write) {
  const std::uint64_t entry = block_for(key, value_bytes, end);
  if (entry == 0) [[unlikely]] {
    chain_is_full_ = false;
    return StatusCode::kFull;
  }
  std::byte* payload = entry_payload(entry);
  copy_shared(payload, key.bytes.data(), key.bytes.size());
  write(payload + key.bytes.size());
  const StatusCode code = try_commit(key, entry, end);
  if (code == StatusCode::kOk) [[likely]]
    return code;
  drop_entry(entry);
  if (!links_bucket_beside_pair(key)) return code;
  return put_new_entry(key, value_bytes, end, write);
}

// After a commit found no cell. A pair that becomes an entry needs a block and a bucket, and the last slab went to the block: the
// bucket gets it now, as a block may be found in another class.
bool ShardWriter::links_bucket_beside_pair(const HashedKey& key) {
  return !chain_is_full_ && has_pair(key) && link_entry_bucket(fresh_entries(key)) != nullptr;
}

StatusCode ShardWriter::put_with_end(const HashedKey& key, std::span<const std::byte> value, std::uint64_t end) {
  if (end == kKeepEnd) end = kept_end(key);
  if (end == kNoEnd) return put_without_end(key, value);
  return put_new_entry(key, value.size(), end, [&](std::byte* to) { copy_shared(to, value.data(), value.size()); });
}

// Of append and expire: the old value is found again after a block is allocated, which may move it.
StatusCode ShardWriter::try_append(const HashedKey& key, std::span<const std::byte> more) {
  const Found old = find(key);
  const std::uint64_t size = old.bytes_or_none().size() + more.size();
  if (key.is_word() && size == sizeof(Word)) {  // it is, or becomes, a pair
    std::array<std::byte, sizeof(Word)> joined;
    const std::span<const std::byte> value = old.bytes_or_none();
    std::copy(more.begin(), more.end(), std::copy(value.begin(), value.end(), joined.begin()));
    return try_put(key, joined, old.end);
  }
  return put_new_entry(key, size, old.end, [&](std::byte* to) {
    const Found now = find(key);
    const std::span<const std::byte> value = now.bytes_or_none();
    copy_shared(to, value.data(), value.size());
    copy_shared(to + value.size(), more.data(), more.size());
  });
}

StatusCode ShardWriter::try_expire(const HashedKey& key, std::uint64_t end) {
  const std::uint64_t value_bytes = find(key).bytes_or_none().size();
  EntryBucket* const primary = fresh_entries(key);
  const EntryPlace at = find_entry(primary, key, nullptr);
  if (at.cell != nullptr && (table_.at<Word>(cell_offset(at.word))->load(kRelaxed) & kEntryHasEnd) != 0) {
    set_end(primary, at, end);
    return StatusCode::kOk;
  }
  return put_new_entry(key, value_bytes, end, [&](std::byte* to) {
    const Found now = find(key);
    copy_shared(to, now.bytes().data(), now.bytes().size());
  });
}

StatusCode ShardWriter::commit_entry(const HashedKey& key, std::uint64_t entry, std::uint64_t end, Effort& effort) {
  effort.unfinished = false;
  if (end == kKeepEnd) [[unlikely]]
    end = kept_end(key);
  if (blocks_.borrows(entry)) [[unlikely]] {
    const EntryPlace old = find_entry(fresh_entries(key), key, nullptr);
    blocks_.replaces(cell_offset(old.word), entry_size(old.word));
  }
  StatusCode code = try_commit(key, entry, end);
  if (code == StatusCode::kOk) [[likely]]
    return code;
  if (!chain_is_full_ && make_room(effort, sizeof(EntryBucket), &key)) {
    code = try_commit(key, entry, end);
    effort.unfinished = code == StatusCode::kFull && !chain_is_full_;
  }
  return code;
}

// `end`: of an entry whose meta says that it has the word, or kNoEnd.
StatusCode ShardWriter::try_commit(const HashedKey& key, std::uint64_t entry, std::uint64_t end) {
  EntryBucket* primary = fresh_entries(key);
  Word* free_cell = nullptr;
  EntryPlace old = find_entry(primary, key, &free_cell);
  Word* cell = old.cell != nullptr ? old.cell : free_cell;
  if (cell == nullptr) cell = find_room_for_cell(primary, key);
  if (cell == nullptr) return StatusCode::kFull;
  PairPlace pair;
  PairBucket* pair_primary = nullptr;
  if (key.is_word()) {
    set_mixed();
    pair_primary = fresh_pairs(key);
    pair = find_pair(pair_primary, key.word(), nullptr);
  }
  std::uint64_t word = make_cell(tag_of(key.hash), entry);
  if (const std::uint64_t meta = table_.at<Word>(entry)->load(kRelaxed); (meta & kEntryHasEnd) != 0) [[unlikely]] {
    // relaxed: published with the cell
    table_.at<Word>(entry + end_place(meta))->store(end != kNoEnd ? end : kNeverEnds, kRelaxed);
    if (end != kNoEnd && end != kNeverEnds) word |= kCellEnds;
  }
  if (old.cell != nullptr && eviction_ != Eviction::kNone) word |= kCellTouched;
  const std::uint64_t old_size = old.cell != nullptr ? entry_size(old.word) : 0;
  if (pair.bucket == nullptr) {
    intent_.seal({IntentKind::kCell, offset_of(cell), word});
  } else {
    intent_.seal({IntentKind::kMoveToEntry, IntentWriter::bit_of(offset_of(pair.bucket), pair.place)},
                 {offset_of(cell), word});
  }
  swing_cell(primary, *cell, word);
  if (pair.bucket != nullptr) {
    const std::uint64_t header =
        (pair.bucket->header.load(kRelaxed) + kVersionStep) & ~(std::uint64_t{1} << pair.place);
    pair.bucket->header.store(header, std::memory_order_release);  // [pair.move] release; pairs with [pair.header]
    changed(pair_primary);
    gather_later(*pair_primary);
    count(stats_.pair_keys, -std::uint64_t{1});
  }
  if (old.cell != nullptr) {
    blocks_.release(cell_offset(old.word), old_size);
  } else {
    count(stats_.entry_keys);
    resize_due_ = true;
  }
  if ((word & kCellEnds) != 0) [[unlikely]]
    note_end(end);
  return StatusCode::kOk;
}

StatusCode ShardWriter::erase(const HashedKey& key) {
  if (key.is_word()) {
    PairBucket* const primary = fresh_pairs(key);
    if (const PairPlace at = find_pair(primary, key.word(), nullptr); at.bucket != nullptr) {
      intent_.seal({IntentKind::kPairErase, IntentWriter::bit_of(offset_of(at.bucket), at.place)});
      const std::uint64_t header = (at.bucket->header.load(kRelaxed) + kVersionStep) & ~(std::uint64_t{1} << at.place);
      at.bucket->header.store(header, std::memory_order_release);  // [pair.erase] release; pairs with [pair.header]
      changed(primary);
      gather_later(*primary);
      count(stats_.pair_keys, -std::uint64_t{1});
      resize_due_ = true;
      ++removed_;
      return StatusCode::kOk;
    }
    if (!mixed()) return StatusCode::kNotFound;
  }
  EntryBucket* primary = fresh_entries(key);
  const EntryPlace at = find_entry(primary, key, nullptr);
  if (at.cell == nullptr) return StatusCode::kNotFound;
  const std::uint64_t meta = table_.at<Word>(cell_offset(at.word))->load(kRelaxed);
  if ((meta & kEntryHasEnd) != 0 && has_lapsed(cell_offset(at.word), meta)) [[unlikely]]
    return StatusCode::kNotFound;  // the hand removes it
  const std::uint64_t size = entry_bytes(meta);
  intent_.seal({IntentKind::kCell, offset_of(at.cell), 0});
  swing_cell(primary, *at.cell, 0);
  blocks_.release(cell_offset(at.word), size);
  count(stats_.entry_keys, -std::uint64_t{1});
  resize_due_ = true;
  ++removed_;
  return StatusCode::kOk;
}

}  // namespace hostmap
