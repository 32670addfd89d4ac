#include "table/read/reader.hpp"

#include <bit>
#include <cstring>
#include <sched.h>
#include <utility>

#include "base/ends.hpp"
#include "base/shared_copy.hpp"
#include "layout/table.hpp"
#include "table/read/fast_path.hpp"

namespace hostmap {

namespace {

// relaxed: hints and racing data, each validated after an acquire fence; exceptions are explained at their line
constexpr auto kRelaxed = std::memory_order_relaxed;
constexpr auto kAcquire = std::memory_order_acquire;

}  // namespace

std::byte ValueTarget::nowhere_{};

std::byte* ValueTarget::resized(std::string& text, std::size_t size) noexcept {
  try {
    if (text.capacity() < size) {
      text = std::string(size, '\0');  // about half the instructions of resize()
    } else {
      text.resize(size);
    }
  } catch (...) {
    return nullptr;
  }
  return reinterpret_cast<std::byte*>(text.data());
}

// One get: the key, its hash, and the words seen on the way. Only what a hit among the pairs needs is initialised.
struct TableReader::Lookup {
  Lookup(std::span<const std::byte> wanted, const ValueTarget& to, const TableReader& reader,
         std::uint64_t key_hash) noexcept
      : key(wanted), target(to), hash(key_hash) {
    const Spread spread = spread_over_shards(hash, reader.shard_count_);
    fraction = spread.fraction;
    shard = &reader.shards_[spread.shard];
  }

  std::span<const std::byte> key;
  const ValueTarget& target;
  std::uint64_t hash;
  std::uint64_t fraction;
  const Shard* shard;
  const TouchNote* note = nullptr;
  std::uint64_t size = 0;      // of the value found
  std::uint64_t end = kNoEnd;  // and its end

  // In this round:
  std::uint64_t change = 0;
  std::uint64_t pair_state = 0;
  unsigned pair_headers = 0;
  SeenHeader pairs_seen[kMaxChain];
};

TableReader::TableReader(const std::byte* table, std::uint64_t bytes) noexcept
    : table_(table),
      arena_(table + header().arena_offset),
      bytes_(bytes),
      hash_(header().hash_seed),
      arena_offset_(header().arena_offset),
      max_value_bytes_(header().max_value_bytes),
      generations_offset_(header().generations_offset),
      shard_count_(header().shard_count),
      width_(widest_vectors()),
      arena_populated_(&header().arena_populated) {
  if (shard_count_ == 0 || shard_count_ > kMaxLanes) shard_count_ = 1;  // plausible() reports it
  for (std::uint32_t i = 0; i < shard_count_; ++i) {
    const ShardHeader& shard = header().shards[i];
    const auto words_from = [bytes](std::uint64_t offset) {
      return offset < bytes ? (bytes - offset) / sizeof(Word) : 0;
    };
    shards_[i] = {&shard, at<Word>(shard.pair_directory), at<Word>(shard.entry_directory),
                  words_from(shard.pair_directory), words_from(shard.entry_directory)};
  }
}

TableReader::TableReader(const Region& parts) noexcept : TableReader(parts.data(), parts.bytes()) {
  parts_ = &parts;
  arena_populated_ = &readable_arena_;
  for (Shard& shard : shards_) shard.pair_words = shard.entry_words = Limit();
  if (plausible()) extend();
}

namespace {

// Makes [offset + readable, offset + populated) readable. Returns the number of readable bytes from `offset`.
std::uint64_t make_readable(const Region& parts, std::uint64_t offset, std::uint64_t readable, std::uint64_t populated,
                            std::uint64_t most) noexcept {
  const std::uint64_t begin = readable / kPageSize * kPageSize;
  const std::uint64_t end = round_up(std::min(populated, most), std::uint64_t{kPageSize});
  if (end <= begin) return readable;
  return parts.make_readable(offset + begin, end - begin) ? std::min(populated, most) : readable;
}

}  // namespace

bool TableReader::is_behind() const noexcept {
  if (parts_ == nullptr) return false;
  // relaxed, all: a hint; if it is wrong, the next round checks again
  bool behind = header().arena_populated.load(kRelaxed) > readable_arena_.load(kRelaxed);
  for (std::uint32_t i = 0; i < shard_count_; ++i) {
    behind = behind ||
             shards_[i].words->pair_directory_populated.load(kRelaxed) / sizeof(Word) > shards_[i].pair_words ||
             shards_[i].words->entry_directory_populated.load(kRelaxed) / sizeof(Word) > shards_[i].entry_words;
  }
  return behind;
}

void TableReader::extend() const noexcept {
  // [view.turn] acquire; pairs with [view.done]
  if (parts_ == nullptr || extends_.exchange(true, std::memory_order_acquire)) return;
  const TablePlan plan = plan_table(header().max_memory, shard_count_);
  for (std::uint32_t i = 0; i < shard_count_; ++i) {
    Shard& shard = shards_[i];
    // [view.area] acquire; pairs with [area.extend]
    const std::uint64_t pairs = shard.words->pair_directory_populated.load(kAcquire);
    // [view.area] acquire; pairs with [area.extend]
    const std::uint64_t entries = shard.words->entry_directory_populated.load(kAcquire);
    const auto extend = [&](Limit& limit, std::uint64_t directory, std::uint64_t populated) {
      limit.extend(make_readable(*parts_, directory, limit * sizeof(Word), populated, plan.directory_bytes) /
                   sizeof(Word));
    };
    extend(shard.pair_words, plan.pair_directory(i), pairs);
    extend(shard.entry_words, plan.entry_directory(i), entries);
  }
  // The generations first: a reader of an entry reads its page's generation.
  const std::uint64_t readable = readable_arena_.load(kRelaxed);  // relaxed: this thread's turn
  // [arena.clamp-view] acquire; pairs with [arena.grow]
  const std::uint64_t populated = header().arena_populated.load(kAcquire);
  const auto generations = [](std::uint64_t bytes) {
    return round_up(bytes, std::uint64_t{kPageSize}) / kPageSize * sizeof(PageGeneration);
  };
  if (make_readable(*parts_, plan.generations_offset, generations(readable), generations(populated),
                    plan.generations_bytes) >= generations(populated)) {
    // [view.arena] release; pairs with [arena.clamp]
    readable_arena_.store(make_readable(*parts_, plan.arena_offset, readable, populated, plan.arena_bytes),
                          std::memory_order_release);
  }
  extends_.store(false, std::memory_order_release);  // [view.done] release; pairs with [view.turn]
}

std::uint64_t TableReader::end_extending(bool alone) noexcept {
  if (parts_ == nullptr) return bytes_;
  // [view.turn] acquire; pairs with [view.done]
  while (!ended_ && extends_.exchange(true, std::memory_order_acquire) && !alone) ::sched_yield();
  ended_ = true;
  // relaxed: this thread's turn, or no other thread runs
  return std::min(bytes_, round_up(arena_offset_ + readable_arena_.load(kRelaxed), std::uint64_t{kPageSize}));
}

bool TableReader::plausible() const noexcept {
  const TableHeader& h = header();
  if (h.shard_count == 0 || h.shard_count > kMaxLanes || h.max_memory == 0) return false;
  const TablePlan plan = plan_table(h.max_memory, h.shard_count);
  if (plan.file_bytes > bytes_ || h.arena_offset != plan.arena_offset || h.arena_bytes != plan.arena_bytes ||
      h.generations_offset != plan.generations_offset || h.max_value_bytes > kMaxValueBytes) {
    return false;
  }
  for (std::uint32_t i = 0; i < h.shard_count; ++i) {
    const ShardHeader& shard = h.shards[i];
    const std::uint64_t slabs = plan.arena_bytes / kSlabBytes;
    if (shard.pair_directory != plan.pair_directory(i) || shard.entry_directory != plan.entry_directory(i) ||
        shard.pair_base == 0 || shard.pair_base > slabs || shard.entry_base == 0 || shard.entry_base > slabs) {
      return false;
    }
  }
  return true;
}

TableReader::ReadResult TableReader::result(Step step, const Lookup& lookup, std::uint32_t round) noexcept {
  switch (step) {
    case Step::kHit:
      return {lookup.size, ReadOutcome::kHit, round};
    case Step::kMiss:
      return {0, ReadOutcome::kMiss, round};
    case Step::kTooSmall:
      return {lookup.size, ReadOutcome::kTooSmall, round};
    case Step::kClosed:
      return {0, ReadOutcome::kClosed, round};
    case Step::kOutOfMemory:
      return {0, ReadOutcome::kOutOfMemory, round};
    case Step::kRetry:
      break;
  }
  return {0, ReadOutcome::kContended, round};
}

// Are the pairs' headers that this attempt passed unchanged, proving that no pair held the key? The caller has fenced, and
// checks the change word afterwards.
bool TableReader::pairs_unchanged(const Lookup& lookup) const noexcept {
  for (unsigned i = 0; i < lookup.pair_headers; ++i) {
    if (!lookup.pairs_seen[i].unchanged()) return false;
  }
  return true;
}

// The last check of all. Every header was checked by an acquire load before.
bool TableReader::same_change(const Lookup& lookup) const noexcept {
  return header().change.load(kRelaxed) == lookup.change;  // relaxed: after those
}

// No entry of this shard ever had an 8-byte key: a miss among the pairs is the answer, if they did not change meanwhile.
TableReader::Step TableReader::validate_miss_in_pairs(const Lookup& lookup) const noexcept {
  std::atomic_thread_fence(kAcquire);  // [pair.miss] acquire; pairs with [pair.insert]
  return pairs_unchanged(lookup) && same_change(lookup) ? Step::kMiss : Step::kRetry;
}

[[gnu::always_inline]] inline TableReader::Step TableReader::find_in_pairs(Lookup& lookup) const noexcept {
  lookup.pair_headers = 0;
  lookup.change = header().change.load(kAcquire);  // [change.read] acquire; pairs with [change.turn], [fill.clear]
  const std::uint64_t state =
      lookup.shard->words->pair_state.load(kAcquire);  // [state.read] acquire; pairs with [segment.depth]
  lookup.pair_state = state;
  if ((state & kStateClosed) != 0) [[unlikely]]
    return Step::kClosed;
  const PairBucket* bucket = bucket_at<PairBucket>(*lookup.shard, state, lookup.fraction, lookup.hash);
  std::uint64_t key;
  std::memcpy(&key, lookup.key.data(), sizeof key);

  for (unsigned length = 0; bucket != nullptr && length < kMaxChain; ++length) {
    // [pair.header] acquire; pairs with [pair.insert]: the keys are at least as new as the header
    const std::uint64_t header = bucket->header.load(kAcquire);
    lookup.pairs_seen[lookup.pair_headers++] = {&bucket->header, header};
    if (!is_of_fill(header, lookup.change)) [[unlikely]] {
      return length == 0 ? Step::kMiss : Step::kRetry;  // stale since a clear: empty; in mid-chain: the bucket moved
    }
    const unsigned found = match_keys(*bucket, key, width_) & static_cast<unsigned>(header & kOccupiedMask);
    if (found != 0) {
      const std::uint64_t value =
          bucket->values[first_place(found) - 1].load(kRelaxed);  // relaxed: one word, checked below
      std::atomic_thread_fence(kAcquire);                         // [pair.check] acquire; pairs with [pair.reuse]
      if (!unchanged(bucket->header, header, lookup.change)) return Step::kRetry;
      lookup.size = 8;
      if (lookup.note != nullptr) lookup.note->of_pair(*bucket, length, first_place(found));
      if (!lookup.target.wanted()) return Step::kHit;
      return lookup.target.take_word(value) ? Step::kHit : Step::kTooSmall;
    }
    if ((header & kOverflowBit) == 0) [[likely]]
      return Step::kMiss;
    bucket = overflow_of(*bucket);
  }
  return Step::kRetry;
}

// try_get_pair() from the second bucket of a chain: hits only, as a miss would need the headers of the whole chain.
template <typename Note>
[[gnu::noinline]] std::optional<std::uint64_t> TableReader::find_in_overflow(const PairBucket& primary,
                                                                             std::uint64_t key, std::uint64_t change,
                                                                             const Note& note) const noexcept {
  const PairBucket* bucket = &primary;
  for (unsigned length = 1; length < kMaxChain; ++length) {
    bucket = overflow_of(*bucket);
    if (bucket == nullptr) return std::nullopt;
    std::uint64_t seen;
    std::uint64_t value;
    const FastResult outcome = find_in_bucket(*bucket, key, change, seen, value, note, length);
    if (outcome == FastResult::kHit) return value;
    if (outcome == FastResult::kUnclear || (seen & kOverflowBit) == 0) return std::nullopt;
  }
  return std::nullopt;
}
template std::optional<std::uint64_t> TableReader::find_in_overflow(const PairBucket& primary, std::uint64_t key,
                                                                    std::uint64_t change,
                                                                    const NoNote& note) const noexcept;
template std::optional<std::uint64_t> TableReader::find_in_overflow(const PairBucket& primary, std::uint64_t key,
                                                                    std::uint64_t change,
                                                                    const TouchNote& note) const noexcept;

TableReader::ReadResult TableReader::get_with_end(std::span<const std::byte> key, std::uint64_t hash,
                                                  const ValueTarget& target, std::uint64_t& end,
                                                  const TouchNote* note) const noexcept {
  if (key.size() != 8) return get_entry(key, hash, target, end, note);
  Lookup lookup(key, target, *this, hash);
  lookup.note = note;
  for (std::uint32_t round = 0; round < kRounds; ++round) {
    Step step = find_in_pairs(lookup);
    if (step == Step::kMiss) {
      step = (lookup.pair_state & kStateMixed) == 0 ? validate_miss_in_pairs(lookup) : find_in_entries(lookup);
    }
    if (step != Step::kRetry) [[likely]] {
      end = lookup.end;
      return result(step, lookup, round);
    }
    if (is_behind()) extend();
    cpu_relax();
  }
  return result(Step::kRetry, lookup, kRounds);
}

TableReader::ReadResult TableReader::get_entry(std::span<const std::byte> key, std::uint64_t hash,
                                               const ValueTarget& target, std::uint64_t& end,
                                               const TouchNote* note) const noexcept {
  Lookup lookup(key, target, *this, hash);
  lookup.note = note;
  for (std::uint32_t round = 0; round < kRounds; ++round) {
    lookup.change = header().change.load(kAcquire);  // [change.read] acquire; pairs with [change.turn], [fill.clear]
    const Step step = find_in_entries(lookup);
    if (step != Step::kRetry) {
      end = lookup.end;
      return result(step, lookup, round);
    }
    if (is_behind()) extend();
    cpu_relax();
  }
  return result(Step::kRetry, lookup, kRounds);
}

TableReader::Step TableReader::find_in_entries(Lookup& lookup) const noexcept {
  const std::uint64_t state =
      lookup.shard->words->entry_state.load(kAcquire);  // [state.entries] acquire; pairs with [segment.depth]
  if ((state & kStateClosed) != 0) [[unlikely]]
    return Step::kClosed;
  const EntryBucket* const first = bucket_at<EntryBucket>(*lookup.shard, state, lookup.fraction, lookup.hash);
  if (first == nullptr) [[unlikely]]
    return Step::kRetry;
  const EntryBucket& primary = *first;
  // [entry.header] acquire; pairs with [chain.raise]: before the first cell of the chain
  const std::uint64_t version = primary.header.load(kAcquire);
  const std::uint16_t tag = tag_of(lookup.hash);
  const TableView view = this->view();
  const auto is_unchanged_miss = [&]() noexcept {
    std::atomic_thread_fence(kAcquire);  // [entry.miss] acquire; pairs with [cell.swing]
    const bool same = pairs_unchanged(lookup) && unchanged(primary.header, version, lookup.change);
    return same ? Step::kMiss : Step::kRetry;
  };

  lookup.end = kNoEnd;
  const EntryBucket* bucket = &primary;
  if (is_of_fill(version, lookup.change)) {
    for (unsigned length = 0;; ++length) {
      if (length == kMaxChain) return Step::kRetry;
      for (unsigned found = match_tags(*bucket, tag, width_); found != 0; found &= found - 1) {
        // [cell.load] acquire; pairs with [cell.swing]: the entry is at least as new as the cell
        const std::uint64_t cell = bucket->cells[first_place(found) - 1].load(kAcquire);
        if (cell_tag(cell) != tag) return Step::kRetry;  // changed since it matched
        EntryView entry;
        if (!view.entry_at(cell_offset(cell), entry)) return Step::kRetry;
        if (entry.key_bytes != lookup.key.size()) continue;
        if (!view.contains_all_of(entry)) return Step::kRetry;
        if (!key_equals(entry.key(), lookup.key)) continue;
        if (entry.has_end) [[unlikely]] {
          const Step step = check_end(entry, lookup.end);
          if (step == Step::kRetry) return step;
          if (step == Step::kMiss) {
            // A header that has not changed does not show that the entry is linked: the cell is swung first.
            // [cell.load] acquire; pairs with [cell.swing]
            if (bucket->cells[first_place(found) - 1].load(kAcquire) != cell) return Step::kRetry;
            return is_unchanged_miss();
          }
        }
        if (lookup.note != nullptr) lookup.note->of_entry(cell);
        return copy_value(lookup, primary, version, entry);
      }
      // [cell.load] acquire; pairs with [cell.link]
      const std::uint64_t last = bucket->cells[kPlaces - 1].load(kAcquire);
      if (!is_link(last)) break;
      bucket = view.entry_bucket_at(cell_offset(last));
      if (bucket == nullptr) return Step::kRetry;
    }
  }
  return is_unchanged_miss();
}

// Of an entry that has the word of an end. kHit: the clock is before it; kMiss: it has passed, and had at a moment of this read.
// The entry may have another use by now, as its bytes may; the caller's checks decide. `end`: kNoEnd, or a moment.
TableReader::Step TableReader::check_end(const EntryView& entry, std::uint64_t& end) noexcept {
  // [end.read] acquire; pairs with [end.value]: the clock is read after it
  const std::uint64_t word = entry.end().load(kAcquire);
  end = word == kNeverEnds ? kNoEnd : word;
  if (word == kNeverEnds || is_before(word)) return Step::kHit;
  std::atomic_thread_fence(kAcquire);  // [end.check] acquire; pairs with [end.value]
  // It may have been given a later end before the clock was read.
  return entry.end().load(kRelaxed) == word ? Step::kMiss : Step::kRetry;  // relaxed: after the fence
}

// Of an entry on the fast path, at `place` of the arena: has it a key of this length, and an end that has not passed?
bool TableReader::has_later_end(std::uint64_t meta, std::uint64_t place, std::uint64_t key_bytes,
                                std::uint64_t populated) const noexcept {
  constexpr std::uint64_t kFlags = kEntryHasEnd | kEntryReserved;
  if (meta_key_bytes(meta) != key_bytes || (meta & kFlags) != kEntryHasEnd) return false;
  if (place + end_place(meta) + sizeof(Word) > populated) return false;
  // [end.read] acquire; pairs with [end.value]: the clock is read after it
  const std::uint64_t end = reinterpret_cast<const Word*>(arena_ + place + end_place(meta))->load(kAcquire);
  return end == kNeverEnds || is_before(end);
}

// The entry has the key. Copies its value and proves that it was the key's value at some moment of the read.
TableReader::Step TableReader::copy_value(Lookup& lookup, const EntryBucket& primary, std::uint64_t header,
                                          const EntryView& entry) const noexcept {
  const auto still_linked = [&]() noexcept {
    std::atomic_thread_fence(kAcquire);  // [cell.check] acquire; pairs with [chain.raise]
    return pairs_unchanged(lookup) && unchanged(primary.header, header, lookup.change);
  };
  const std::byte* value = entry.value();
  const std::uint64_t value_bytes = entry.value_bytes;
  lookup.size = value_bytes;
  if (!lookup.target.wanted()) return still_linked() ? Step::kHit : Step::kRetry;

  if (value_bytes > kLongValueBytes) {
    const auto& generation = at<PageGeneration>(generations_offset_)[(entry.offset - arena_offset_) / kPageSize];
    const std::uint64_t before = generation.load(kAcquire);  // [generation.read] acquire; pairs with [generation.raise]
    if (!still_linked()) return Step::kRetry;                // from here, generation and length are this entry's
    if (!lookup.target.fits(value_bytes)) return Step::kTooSmall;
    std::byte* to = lookup.target.room(value_bytes);
    if (to == nullptr) return Step::kOutOfMemory;
    copy_shared(to, value, value_bytes);
    std::atomic_thread_fence(kAcquire);  // [generation.check] acquire; pairs with [generation.raise]
    return generation.load(kRelaxed) == before ? Step::kHit : Step::kRetry;  // relaxed: after the fence
  }

  if (!lookup.target.fits(value_bytes)) return still_linked() ? Step::kTooSmall : Step::kRetry;
  std::byte* to = lookup.target.room(value_bytes);
  if (to == nullptr) return Step::kOutOfMemory;
  copy_shared_value(to, value, value_bytes);
  return still_linked() ? Step::kHit : Step::kRetry;
}

// --- Several keys at once, and all of them ---------------------------------------------------------------------------

void TableReader::continue_prefetch(PrefetchCursor& cursor, std::span<const std::byte> key,
                                    std::uint64_t hash) const noexcept {
  const void* const from = std::exchange(cursor.next, nullptr);
  if (cursor.pairs != nullptr) {
    const PairBucket& bucket = from != nullptr ? *static_cast<const PairBucket*>(from) : *cursor.pairs;
    std::uint64_t word;
    std::memcpy(&word, key.data(), sizeof word);
    // relaxed: a hint
    if ((bucket.header.load(kRelaxed) & kOverflowBit) == 0 || match_keys(bucket, word, width_) != 0) return;
    const PairBucket* further = overflow_of(bucket);
    if (further != nullptr) prefetch_lines(further, sizeof *further);
    cursor.next = further;
  } else if (cursor.entries != nullptr) {
    const EntryBucket& bucket = from != nullptr ? *static_cast<const EntryBucket*>(from) : *cursor.entries;
    const unsigned found = match_tags(bucket, tag_of(hash), width_);
    const std::uint64_t cell =
        bucket.cells[found != 0 ? first_place(found) - 1 : kPlaces - 1].load(kRelaxed);  // relaxed: a hint
    if (found == 0 && !is_link(cell)) return;
    const std::uint64_t place = cell_offset(cell) - arena_offset_;
    // [arena.clamp-prefetch] acquire; pairs with [arena.grow]
    if (place >= header_arena(kAcquire)) return;
    const std::byte* next = at<std::byte>(arena_offset_ + place);
    if (found != 0) {
      prefetch_lines(next, 2 * kCacheLine);  // most entries whole
    } else if (place % sizeof(EntryBucket) == 0) {
      prefetch_lines(next, sizeof(EntryBucket));
      cursor.next = next;
    }
  }
}

std::uint64_t TableReader::count_keys() const noexcept {
  // [fill.size] acquire; pairs with [fill.clear]
  const std::uint64_t fill = fill_of(header().change.load(kAcquire));
  std::uint64_t keys = 0;
  for (std::uint32_t i = 0; i < shard_count_; ++i) {
    const LaneStats& lane = header().lane_stats[i];
    // A lane that has not noticed the last clear yet still counts the keys that the clear removed.
    // [fill.counts] acquire; pairs with [fill.noticed]
    if (lane.fill.load(kAcquire) != fill) continue;
    keys += lane.pair_keys.load(kRelaxed) + lane.entry_keys.load(kRelaxed);  // relaxed, both: figures
  }
  return keys;
}

}  // namespace hostmap
