// The fast path of a get: the steps that almost every get takes, in one straight line.
//
// It covers the common case: one bucket of pairs, or one chain of entries, decides; the value is short; nothing changes
// meanwhile. In any other case the result is kUnclear, which is always allowed and proves nothing: the slow path in reader.cpp
// then begins anew. So only kHit and kMiss must be right.
//
//   table head                     directory             arena
//
//   1 change word ─ w
//   2 state word  ─ depth ───────> 3 word: segment ────> 4 bucket: header ─ h; occupied, of this fill?
//                                                        5 pairs:   compare seven keys  ──> value word
//                                                          entries: compare seven tags  ──> cell ──> 6 entry: length, key; copy
//                                                                   no tag: the last cell may link to a further bucket
//   ──────────────────────────────────────── acquire fence ─────────────────────────────────────────────
//   8 change word: still w? <─────────────────────────── 7 header: still h?          both: kHit, or kMiss
//
// Why that is right (docs/internals/concurrency.md, "Reads", has the whole proof):
//
// - Every load is of populated memory, whatever the words contain: 3 is clamped to the directory's readable words, 4 to whole
//   slabs of the populated arena, each link, cell and length to that arena, the chain to kMaxChain buckets.
// - h unchanged: the pairs' keys, or the cells of the whole chain, were those of one moment between 4 and 7. The writer stores a
//   pair bucket's header with every insert and erase, and raises the header of a chain's first bucket before the memory of
//   an entry that it has unlinked is used again. An overwrite of a pair stores one word: the one that was loaded
//   was the key's value when it was loaded.
// - w unchanged: the memory served as this bucket all the time, and the table was not cleared. The writer raises the
//   change word after it has taken buckets out of use, and before their memory has another use. That is why 7 comes
//   before 8, and acquires: a header that another use has written is newer than the raise, which 8 then sees.
// - A miss among the pairs is one only if the bucket has no overflow bucket, and no entry has a key of 8 bytes (`mixed`).
// - A table that is given up is not tested for: its depth leads to no word of the directory.
//
// Inlined by force: a processor overlaps the memory accesses of as many gets as its window of instructions (some hundreds)
// holds, so from memory a get that is a third shorter is a third faster.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <optional>
#include <span>

#include "layout/table.hpp"
#include "table/form/match.hpp"
#include "table/read/locate.hpp"
#include "table/read/reader.hpp"
#include "table/read/value_copy.hpp"

namespace hostmap {

// --- One bucket, or one chain ---------------------------------------------------------------------------------------

// kMiss: not in this bucket, whose header was `seen`; not validated. `number`: of the bucket in its chain.
template <typename Note>
[[gnu::always_inline]] inline TableReader::FastResult TableReader::find_in_bucket(
    const PairBucket& bucket, std::uint64_t key, std::uint64_t change, std::uint64_t& seen, std::uint64_t& value,
    const Note& note, unsigned number) const noexcept {
  // [pair.header-pair] acquire; pairs with [pair.insert]
  seen = bucket.header.load(std::memory_order_acquire);
  const unsigned found = match_keys(bucket, key, width_) & static_cast<unsigned>(seen & kOccupiedMask);
  if (!is_of_fill(seen, change)) [[unlikely]]
    return FastResult::kUnclear;
  if (found == 0) [[unlikely]]
    return FastResult::kMiss;
  // relaxed: one word, checked below
  value = bucket.values[first_place(found) - 1].load(std::memory_order_relaxed);
  note.of_pair(bucket, number, first_place(found));
  std::atomic_thread_fence(std::memory_order_acquire);  // [pair.check-pair] acquire; pairs with [pair.reuse]
  return unchanged(bucket.header, seen, change) ? FastResult::kHit : FastResult::kUnclear;
}

// kMiss: not in the chain of this bucket, whose header was `seen`; not validated.
template <typename Note>
[[gnu::always_inline]] inline TableReader::FastResult TableReader::find_in_chain(
    const EntryBucket& primary, std::span<const std::byte> key, std::uint64_t hash, const ValueTarget& target,
    std::uint64_t change, std::uint64_t& seen, std::uint64_t& size, const Note& note) const noexcept {
  // Loaded once: the compiler would load them again after each comparison.
  const std::byte* const arena = arena_;
  const VectorWidth width = width_;
  const std::uint16_t tag = tag_of(hash);
  // [entry.header-entry] acquire; pairs with [chain.raise]
  seen = primary.header.load(std::memory_order_acquire);
  if (!is_of_fill(seen, change)) [[unlikely]]
    return FastResult::kUnclear;
  // [arena.clamp-entry] acquire; pairs with [arena.grow]
  const std::uint64_t populated = header_arena(std::memory_order_acquire);
  const EntryBucket* bucket = &primary;
  unsigned found = match_tags(primary, tag, width);
  for (unsigned length = 1; found == 0; ++length) {
    // [cell.last-entry] acquire; pairs with [cell.link]
    const std::uint64_t last = bucket->cells[kPlaces - 1].load(std::memory_order_acquire);
    if (!is_link(last)) return FastResult::kMiss;
    const std::uint64_t place = cell_offset(last) - arena_offset_;  // far outside if it lies before the arena
    if (length == kMaxChain || place >= populated || place % sizeof(EntryBucket) != 0) return FastResult::kUnclear;
    bucket = reinterpret_cast<const EntryBucket*>(arena + place);
    found = match_tags(*bucket, tag, width);
  }
  // [cell.load-entry] acquire; pairs with [cell.swing]
  const std::uint64_t cell = bucket->cells[first_place(found) - 1].load(std::memory_order_acquire);
  const std::uint64_t place = cell_offset(cell) - arena_offset_;  // far outside if it lies before the arena
  if (cell_tag(cell) != tag || place >= populated || place % 8 != 0) [[unlikely]]
    return FastResult::kUnclear;
  const std::byte* entry = arena + place;
  // relaxed: [cell.load-entry] orders it
  const std::uint64_t meta = reinterpret_cast<const Word*>(entry)->load(std::memory_order_relaxed);
  const std::uint64_t value_bytes = meta_value_bytes(meta);
  // The key's length, and no flag but that of an end, which has not passed. The slow path decides about one that has.
  constexpr std::uint64_t kDecides = 0xffff | kEntryHasEnd | kEntryReserved;
  if ((meta & kDecides) + 1 != key.size() && !has_later_end(meta, place, key.size(), populated)) [[unlikely]]
    return FastResult::kUnclear;
  if (value_bytes > kLongValueBytes || place + entry_bytes(key.size(), value_bytes) > populated ||
      !key_equals(entry + kEntryMetaBytes, key)) [[unlikely]]
    return FastResult::kUnclear;
  if (target.wanted()) {
    std::byte* to = target.fits(value_bytes) ? target.room_or_null(value_bytes) : nullptr;
    if (to == nullptr) [[unlikely]]
      return FastResult::kUnclear;
    copy_short_value(to, entry + kEntryMetaBytes + key.size(), value_bytes, width);
  }
  note.of_entry(cell);
  std::atomic_thread_fence(std::memory_order_acquire);  // [entry.check-entry] acquire; pairs with [chain.raise]
  size = value_bytes;
  return unchanged(primary.header, seen, change) ? FastResult::kHit : FastResult::kUnclear;
}

// --- A get -----------------------------------------------------------------------------------------------------------

inline std::uint64_t TableReader::load_change_first() const noexcept {
  return header().change.load(std::memory_order_acquire);  // [change.first] acquire; pairs with [change.turn]
}

template <typename Note>
[[gnu::always_inline]] inline TableReader::FastResult TableReader::try_get_pair(std::uint64_t key, std::uint64_t hash,
                                                                                std::uint64_t& value,
                                                                                const Note& note) const noexcept {
  const std::uint64_t change = load_change_first();
  const FirstBucket<PairBucket> spot = first_bucket<PairBucket>(hash);
  if (spot.bucket == nullptr) [[unlikely]]
    return FastResult::kUnclear;
  const PairBucket& bucket = *spot.bucket;
  __builtin_prefetch(&bucket.link);  // the value's line, before the keys' line has arrived
  std::uint64_t seen;
  const FastResult outcome = find_in_bucket(bucket, key, change, seen, value, note, 0);
  if (outcome != FastResult::kMiss) [[likely]]
    return outcome;
  if ((seen & kOverflowBit) != 0) {
    const std::optional<std::uint64_t> further = find_in_overflow(bucket, key, change, note);
    value = further.value_or(0);
    return further ? FastResult::kHit : FastResult::kUnclear;
  }
  if ((spot.state & kStateMixed) != 0) return FastResult::kUnclear;
  std::atomic_thread_fence(std::memory_order_acquire);  // [pair.miss-pair] acquire; pairs with [pair.insert]
  return unchanged(bucket.header, seen, change) ? FastResult::kMiss : FastResult::kUnclear;
}

// Of a key of any other length.
template <typename Note>
[[gnu::always_inline]] inline TableReader::FastResult TableReader::try_get_entry(std::span<const std::byte> key,
                                                                                 std::uint64_t hash,
                                                                                 const ValueTarget& target,
                                                                                 std::uint64_t& size,
                                                                                 const Note& note) const noexcept {
  const std::uint64_t change = load_change_first();
  const FirstBucket<EntryBucket> spot = first_bucket<EntryBucket>(hash);
  if (spot.bucket == nullptr) [[unlikely]]
    return FastResult::kUnclear;
  std::uint64_t seen;
  const FastResult outcome = find_in_chain(*spot.bucket, key, hash, target, change, seen, size, note);
  if (outcome != FastResult::kMiss) [[likely]]
    return outcome;
  std::atomic_thread_fence(std::memory_order_acquire);  // [entry.miss-entry] acquire; pairs with [cell.swing]
  return unchanged(spot.bucket->header, seen, change) ? FastResult::kMiss : FastResult::kUnclear;
}

template <typename Note>
[[gnu::always_inline]] inline TableReader::FastResult TableReader::try_get(std::span<const std::byte> key,
                                                                           std::uint64_t hash,
                                                                           const ValueTarget& target,
                                                                           std::uint64_t& size,
                                                                           const Note& note) const noexcept {
  if (key.size() != 8) return try_get_entry(key, hash, target, size, note);
  std::uint64_t word;
  std::uint64_t value;
  std::memcpy(&word, key.data(), sizeof word);
  const FastResult seen = try_get_pair(word, hash, value, note);
  size = sizeof value;
  if (seen != FastResult::kHit || !target.wanted()) [[unlikely]]
    return seen;
  return target.take_word(value) ? FastResult::kHit : FastResult::kUnclear;
}

// --- Gets of several keys --------------------------------------------------------------------------------------------

// Prefetches so many bytes from the begin of a line into the second-level cache: the first-level cache can have few lines
// in flight at once (24 in a Zen 4 core), and the next request waits for one of them.
[[gnu::always_inline]] inline void TableReader::prefetch_lines(const void* begin, std::size_t bytes) noexcept {
  for (std::size_t line = 0; line < bytes; line += kCacheLine) {
    __builtin_prefetch(static_cast<const std::byte*>(begin) + line, 0, 2);
  }
}

[[gnu::always_inline]] inline TableReader::PrefetchCursor TableReader::begin_prefetch(
    std::span<const std::byte> key, std::uint64_t hash) const noexcept {
  PrefetchCursor cursor;
  if (key.size() == 8) {
    const FirstBucket<PairBucket> spot = first_bucket<PairBucket>(hash);
    if (spot.bucket == nullptr) [[unlikely]]
      return cursor;
    prefetch_lines(spot.bucket, sizeof *spot.bucket);
    cursor.pairs = spot.bucket;
  } else {
    const FirstBucket<EntryBucket> spot = first_bucket<EntryBucket>(hash);
    if (spot.bucket == nullptr) [[unlikely]]
      return cursor;
    prefetch_lines(spot.bucket, sizeof *spot.bucket);
    cursor.entries = spot.bucket;
  }
  return cursor;
}

template <typename Note>
[[gnu::always_inline]] inline bool TableReader::try_get_at(const PrefetchCursor& cursor, std::uint64_t change,
                                                           std::uint64_t key, std::uint64_t& value,
                                                           const Note& note) const noexcept {
  std::uint64_t seen;
  return find_in_bucket(*cursor.pairs, key, change, seen, value, note, 0) == FastResult::kHit;
}

template <typename Note>
[[gnu::always_inline]] inline bool TableReader::try_get_at(const PrefetchCursor& cursor, std::uint64_t change,
                                                           std::span<const std::byte> key, std::uint64_t hash,
                                                           const ValueTarget& target, std::uint64_t& size,
                                                           const Note& note) const noexcept {
  std::uint64_t seen;
  return find_in_chain(*cursor.entries, key, hash, target, change, seen, size, note) == FastResult::kHit;
}

}  // namespace hostmap
