// TableReader: gets from a read-only mapping of the table, while its writer continues.
//
// Any number of threads and processes; a reader stores nothing that other threads read. It follows
// docs/internals/concurrency.md ("Reads"): read, copy, then validate that nothing that was read has changed.
//
// Invariants
// 1. Nothing in the table is trusted: every offset is clamped to the arena's published part before it is followed, every
//    length before it is used, and the number of steps is bounded. A damaged table gives wrong answers, never a fault.
// 2. A hit or a miss is returned only if, after the last byte was read, the header that covers it has the value that it had
//    before, as has every pair header that was passed, and the change word, which is loaded first and last of all: no memory
//    that was read was given to another use meanwhile, no segment was split or merged, and the table was not cleared.
// 3. Effort is bounded: after kRounds the caller sends the request to the server by ring.
#pragma once

#include <algorithm>
#include <atomic>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <optional>
#include <span>
#include <string>
#include <type_traits>

#include "base/hash.hpp"
#include "layout/table.hpp"
#include "shm/region.hpp"
#include "table/form/match.hpp"
#include "table/read/value_copy.hpp"
#include "table/read/view.hpp"

namespace hostmap {

enum class ReadOutcome : std::uint8_t {
  kHit,
  kMiss,
  kTooSmall,     // a hit whose value does not fit; `size` is its length
  kContended,    // changed under every attempt: send the request to the server
  kClosed,       // the table is given up: connect anew
  kOutOfMemory,  // the result's string could not grow
};

// The destination of a value: a buffer, a string that grows, or none (exists).
class ValueTarget {
 public:
  static ValueTarget none() noexcept { return ValueTarget(Kind::kNone, nullptr, 0, nullptr); }
  static ValueTarget buffer(std::span<std::byte> buffer) noexcept {
    return ValueTarget(Kind::kBuffer, buffer.data(), buffer.size(), nullptr);
  }
  static ValueTarget string(std::string& text) noexcept { return ValueTarget(Kind::kString, nullptr, 0, &text); }

  bool wanted() const noexcept { return kind_ != Kind::kNone; }
  bool grows() const noexcept { return kind_ == Kind::kString; }
  // Does a value of `size` bytes fit, apart from a string's failure to allocate?
  bool fits(std::size_t size) const noexcept { return grows() || size <= capacity_; }
  // The destination for `size` bytes; they fit. Null when a string cannot grow. (For a buffer of 0 bytes: not null.)
  std::byte* room(std::size_t size) const noexcept {
    std::byte* place = room_or_null(size);
    return place == nullptr && !grows() ? &nowhere_ : place;
  }
  // The same, but also null for a buffer without an address.
  std::byte* room_or_null(std::size_t size) const noexcept { return grows() ? resized(*text_, size) : data_; }
  // Stores a value of 8 bytes; false when it does not fit.
  [[gnu::always_inline]] bool take_word(std::uint64_t value) const noexcept {
    if (grows()) {
      *text_ = std::string(reinterpret_cast<const char*>(&value), sizeof value);  // never allocates, is inlined
      return true;
    }
    if (!fits(sizeof value)) return false;
    std::memcpy(data_, &value, sizeof value);
    return true;
  }

 private:
  enum class Kind : std::uint8_t { kNone, kBuffer, kString };
  ValueTarget(Kind kind, std::byte* data, std::size_t capacity, std::string* text) noexcept
      : kind_(kind), data_(data), capacity_(capacity), text_(text) {}
  static std::byte* resized(std::string& text, std::size_t size) noexcept;

  static std::byte nowhere_;  // not inline: that would keep a shared object with this library from being unloaded
  Kind kind_;
  std::byte* data_;
  std::size_t capacity_;
  std::string* text_;
};

class TableReader {
 public:
  static constexpr int kRounds = 64;

  TableReader() noexcept = default;
  // `table`: a mapping of a validated table region, `bytes` long.
  TableReader(const std::byte* table, std::uint64_t bytes) noexcept;
  // For a mapping that is readable in parts (Access::kReadParts) and must outlive this: only populated pages are read,
  // so that even a process that locks its memory makes the kernel allocate none. Parts that the table grows by are made
  // readable when they are needed.
  explicit TableReader(const Region& parts) noexcept;
  // Does the header describe parts that lie within the file? Call it once, before any read.
  bool plausible() const noexcept;
  // Nothing more is made readable from now on, and reads fail where it would be needed. Returns how many of the region's first
  // bytes contain all that is readable: the rest may be unmapped. Not for use by two threads at once. `alone`: no other
  // thread runs. (In a child after fork, a thread that was just extending does not exist.)
  std::uint64_t end_extending(bool alone) noexcept;

  struct Result {        // two registers
    std::uint64_t size;  // of the value, for kHit and kTooSmall
    ReadOutcome outcome;
    std::uint32_t retries;
  };
  Result get(std::span<const std::byte> key, const ValueTarget& target) const noexcept {
    return get_hashed(key, hash_of(key), target);
  }
  Result get_hashed(std::span<const std::byte> key, std::uint64_t hash, const ValueTarget& target) const noexcept {
    std::uint64_t end;
    return get_with_end(key, hash, target, end);
  }
  // The same, and of a hit the key's end, as it was when the value was its value: kNoEnd, or a moment.
  Result get_with_end(std::span<const std::byte> key, std::uint64_t hash, const ValueTarget& target,
                      std::uint64_t& end) const noexcept;
  std::uint64_t hash_of(std::span<const std::byte> key) const noexcept { return hash_(key); }
  std::uint64_t hash_of(std::uint64_t key) const noexcept { return hash_.of_word(key); }

  // For gets of several keys at once: the lookup of each, one step at a time, so that the cache misses of all keys at a step
  // overlap. A step prefetches what the next one reads. It is a hint where to find the key, no more: nothing that
  // is seen on the way is trusted later.
  struct PrefetchCursor {
    const PairBucket* pairs = nullptr;  // the first bucket: one of the two, or neither
    const EntryBucket* entries = nullptr;
    const void* next = nullptr;  // the next bucket of the chain, if there is one
  };
  // First step: finds the bucket.
  [[gnu::always_inline]] PrefetchCursor begin_prefetch(std::span<const std::byte> key,
                                                       std::uint64_t hash) const noexcept {
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
  // The next step, from a bucket that is in the cache: to the entry, or the next bucket.
  void continue_prefetch(PrefetchCursor& cursor, std::span<const std::byte> key, std::uint64_t hash) const noexcept;
  // The fast path at the bucket of the first step, which came to one, and at its chain if it is one of entries; true: a hit.
  // `change`: load_change_first(), called before the first step. None if that word has changed since: the bucket's memory may
  // have another use by now.
  [[gnu::always_inline]] bool try_get_at(const PrefetchCursor& cursor, std::uint64_t change, std::uint64_t key,
                                         std::uint64_t& value) const noexcept {
    std::uint64_t seen;
    return find_in_bucket(*cursor.pairs, key, change, seen, value) == FastResult::kHit;
  }
  [[gnu::always_inline]] bool try_get_at(const PrefetchCursor& cursor, std::uint64_t change,
                                         std::span<const std::byte> key, std::uint64_t hash, const ValueTarget& target,
                                         std::uint64_t& size) const noexcept {
    std::uint64_t seen;
    return find_in_chain(*cursor.entries, key, hash, target, change, seen, size) == FastResult::kHit;
  }
  // The change word, before anything else is loaded.
  std::uint64_t load_change_first() const noexcept {
    return header().change.load(std::memory_order_acquire);  // [change.first] acquire; pairs with [change.turn]
  }

  // The number of keys. Exact when no thread writes.
  std::uint64_t count_keys() const noexcept;

  // --- The fast path of a get, in one straight line
  //
  // The steps of get_hashed() for the common case: one bucket decides, the value is short, and nothing changes
  // meanwhile. Anything else is kUnclear, which proves nothing: get_hashed(), the slow path, decides.
  //
  // Inlined by force: a processor overlaps the memory accesses of as many gets as its window of instructions (some hundreds)
  // holds, so from memory a get that is a third shorter is a third faster.
  enum class FastResult : std::uint8_t { kHit, kMiss, kUnclear };

  // `size` is the value's, for kHit.
  [[gnu::always_inline]] FastResult try_get(std::span<const std::byte> key, std::uint64_t hash,
                                            const ValueTarget& target, std::uint64_t& size) const noexcept {
    if (key.size() != 8) return try_get_entry(key, hash, target, size);
    std::uint64_t word;
    std::uint64_t value;
    std::memcpy(&word, key.data(), sizeof word);
    const FastResult seen = try_get_pair(word, hash, value);
    size = sizeof value;
    if (seen != FastResult::kHit || !target.wanted()) [[unlikely]]
      return seen;
    return target.take_word(value) ? FastResult::kHit : FastResult::kUnclear;
  }
  // The pair of an 8-byte key.
  [[gnu::always_inline]] FastResult try_get_pair(std::uint64_t key, std::uint64_t hash,
                                                 std::uint64_t& value) const noexcept {
    const std::uint64_t change = load_change_first();
    const FirstBucket<PairBucket> spot = first_bucket<PairBucket>(hash);
    if (spot.bucket == nullptr) [[unlikely]]
      return FastResult::kUnclear;
    const PairBucket& bucket = *spot.bucket;
    __builtin_prefetch(&bucket.link);  // the value's line, before the keys' line has arrived
    std::uint64_t seen;
    const FastResult outcome = find_in_bucket(bucket, key, change, seen, value);
    if (outcome != FastResult::kMiss) [[likely]]
      return outcome;
    if ((seen & kOverflowBit) != 0) {
      const std::optional<std::uint64_t> further = find_in_overflow(bucket, key, change);
      value = further.value_or(0);
      return further ? FastResult::kHit : FastResult::kUnclear;
    }
    if ((spot.state & kStateMixed) != 0) return FastResult::kUnclear;
    std::atomic_thread_fence(std::memory_order_acquire);  // [pair.miss-pair] acquire; pairs with [pair.insert]
    return unchanged(bucket.header, seen, change) ? FastResult::kMiss : FastResult::kUnclear;
  }

  // The entry of a key of any other length. `size` is the value's, for kHit.
  [[gnu::always_inline]] FastResult try_get_entry(std::span<const std::byte> key, std::uint64_t hash,
                                                  const ValueTarget& target, std::uint64_t& size) const noexcept {
    const std::uint64_t change = load_change_first();
    const FirstBucket<EntryBucket> spot = first_bucket<EntryBucket>(hash);
    if (spot.bucket == nullptr) [[unlikely]]
      return FastResult::kUnclear;
    std::uint64_t seen;
    const FastResult outcome = find_in_chain(*spot.bucket, key, hash, target, change, seen, size);
    if (outcome != FastResult::kMiss) [[likely]]
      return outcome;
    std::atomic_thread_fence(std::memory_order_acquire);  // [entry.miss-entry] acquire; pairs with [cell.swing]
    return unchanged(spot.bucket->header, seen, change) ? FastResult::kMiss : FastResult::kUnclear;
  }

  std::uint32_t shard_of(std::span<const std::byte> key) const noexcept {
    if (shard_count_ == 1) return 0;
    return spread_over_shards(hash_of(key), shard_count_).shard;
  }
  std::uint64_t max_value_bytes() const noexcept { return max_value_bytes_; }
  const TableHeader& header() const noexcept { return *reinterpret_cast<const TableHeader*>(table_); }
  // For tests: compare with another vector width than the processor's widest.
  void use_vectors(VectorWidth width) noexcept { width_ = width; }

 private:
  friend class TableScan;
  friend class TableCheck;
  struct Lookup;
  // How many words of a directory may be read: all that the mapping has, or, if it is readable in parts, those made readable.
  class Limit {
   public:
    Limit(std::uint64_t words = 0) noexcept : words_(words) {}
    Limit& operator=(const Limit& other) noexcept {
      words_.store(other, std::memory_order_relaxed);  // relaxed: before other threads know of the reader
      return *this;
    }
    operator std::uint64_t() const noexcept {
      return words_.load(std::memory_order_acquire);  // [view.see] acquire; pairs with [view.extend]
    }
    void extend(std::uint64_t words) noexcept {
      words_.store(words, std::memory_order_release);  // [view.extend] release; pairs with [view.see]
    }

   private:
    std::atomic<std::uint64_t> words_;
  };

  // A shard's constants that every get needs, copied from the shared header once.
  struct Shard {
    const ShardHeader* words;  // the state words
    const Word* pair_directory;
    const Word* entry_directory;
    Limit pair_words;  // that may be read
    Limit entry_words;
  };

  enum class Step : std::uint8_t { kHit, kMiss, kTooSmall, kRetry, kClosed, kOutOfMemory };

  // Are a bucket's header and the change word what they were? The caller has fenced. The change word last: its raise follows
  // whatever made memory available that then could be given any header.
  [[gnu::always_inline]] bool unchanged(const Word& bucket_header, std::uint64_t seen,
                                        std::uint64_t change) const noexcept {
    // [change.header] acquire; pairs with [change.turn]: a header of another use is newer than that use's turn
    return bucket_header.load(std::memory_order_acquire) == seen &&
           header().change.load(std::memory_order_relaxed) == change;  // relaxed: after the acquire
  }
  // Where the fast path reads: the first bucket of a hash in one form, and the state that selects it.
  template <typename Bucket>
  struct FirstBucket {
    const Bucket* bucket;  // null: the state or the directory leads out of the table
    std::uint64_t state;
  };
  template <typename Bucket>
  [[gnu::always_inline]] FirstBucket<Bucket> first_bucket(std::uint64_t hash) const noexcept {
    const Shard* shard = shards_;
    std::uint64_t fraction = hash;
    if (shard_count_ != 1) [[unlikely]] {
      const Spread spread = spread_over_shards(hash, shard_count_);
      shard += spread.shard;
      fraction = spread.fraction;
    }
    constexpr bool kPairs = std::is_same_v<Bucket, PairBucket>;
    const Word& state_word = kPairs ? shard->words->pair_state : shard->words->entry_state;
    // [state.fast] acquire; pairs with [segment.depth]
    const std::uint64_t state = state_word.load(std::memory_order_acquire);
    return {bucket_at<Bucket>(*shard, state, fraction, hash), state};
  }
  // The first bucket of a hash as the directory says now; null: it leads out of what may be read.
  template <typename Bucket>
  [[gnu::always_inline]] const Bucket* bucket_at(const Shard& shard, std::uint64_t state, std::uint64_t fraction,
                                                 std::uint64_t hash) const noexcept {
    std::uint64_t place;
    if (!find_segment<Bucket>(shard, directory_index(state, fraction), place)) [[unlikely]]
      return nullptr;
    return reinterpret_cast<const Bucket*>(arena_ + place) + segment_bucket<Bucket>(hash);
  }
  // The offset of the segment to which a directory word leads; 0: it leads out of what may be read.
  template <typename Bucket>
  std::uint64_t segment_at(const Shard& shard, std::uint64_t index) const noexcept {
    std::uint64_t place;
    return find_segment<Bucket>(shard, index, place) ? arena_offset_ + place : 0;
  }
  // `place`: in the arena.
  template <typename Bucket>
  [[gnu::always_inline]] bool find_segment(const Shard& shard, std::uint64_t index,
                                           std::uint64_t& place) const noexcept {
    constexpr bool kPairs = std::is_same_v<Bucket, PairBucket>;
    if (index >= (kPairs ? shard.pair_words : shard.entry_words)) [[unlikely]]
      return false;
    // [segment.load] acquire; pairs with [segment.publish]
    const std::uint64_t segment =
        (kPairs ? shard.pair_directory : shard.entry_directory)[index].load(std::memory_order_acquire);
    // [arena.clamp-segment] acquire; pairs with [arena.grow]
    const std::uint64_t populated = header_arena(std::memory_order_acquire);
    // Far outside if it lies before the arena. Slabs are populated whole; of a damaged word, the slab is read that it leads into.
    place = (segment - arena_offset_) & ~(kSlabBytes - 1);
    return place < populated;
  }
  // Prefetches so many bytes from the begin of a line into the second-level cache: the first-level cache can have few lines
  // in flight at once (24 in a Zen 4 core), and the next request waits for one of them.
  [[gnu::always_inline]] static void prefetch_lines(const void* begin, std::size_t bytes) noexcept {
    for (std::size_t line = 0; line < bytes; line += kCacheLine) {
      __builtin_prefetch(static_cast<const std::byte*>(begin) + line, 0, 2);
    }
  }
  // kMiss: not in this bucket, whose header was `seen`; not validated.
  [[gnu::always_inline]] FastResult find_in_bucket(const PairBucket& bucket, std::uint64_t key, std::uint64_t change,
                                                   std::uint64_t& seen, std::uint64_t& value) const noexcept {
    // [pair.header-pair] acquire; pairs with [pair.insert]
    seen = bucket.header.load(std::memory_order_acquire);
    const unsigned found = match_keys(bucket, key, width_) & static_cast<unsigned>(seen & kOccupiedMask);
    if (!is_of_fill(seen, change)) [[unlikely]]
      return FastResult::kUnclear;
    if (found == 0) [[unlikely]]
      return FastResult::kMiss;
    // relaxed: one word, checked below
    value = bucket.values[first_place(found) - 1].load(std::memory_order_relaxed);
    std::atomic_thread_fence(std::memory_order_acquire);  // [pair.check-pair] acquire; pairs with [pair.reuse]
    return unchanged(bucket.header, seen, change) ? FastResult::kHit : FastResult::kUnclear;
  }
  // kMiss: not in the chain of this bucket, whose header was `seen`; not validated.
  [[gnu::always_inline]] FastResult find_in_chain(const EntryBucket& primary, std::span<const std::byte> key,
                                                  std::uint64_t hash, const ValueTarget& target, std::uint64_t change,
                                                  std::uint64_t& seen, std::uint64_t& size) const noexcept {
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
    std::atomic_thread_fence(std::memory_order_acquire);  // [entry.check-entry] acquire; pairs with [chain.raise]
    size = value_bytes;
    return unchanged(primary.header, seen, change) ? FastResult::kHit : FastResult::kUnclear;
  }
  std::optional<std::uint64_t> find_in_overflow(const PairBucket& primary, std::uint64_t key,
                                                std::uint64_t change) const noexcept;
  Result get_entry(std::span<const std::byte> key, std::uint64_t hash, const ValueTarget& target,
                   std::uint64_t& end) const noexcept;
  Step find_in_pairs(Lookup& lookup) const noexcept;
  Step validate_miss_in_pairs(const Lookup& lookup) const noexcept;
  Step find_in_entries(Lookup& lookup) const noexcept;
  bool has_later_end(std::uint64_t meta, std::uint64_t place, std::uint64_t key_bytes,
                     std::uint64_t populated) const noexcept;
  Step copy_value(Lookup& lookup, const EntryBucket& primary, std::uint64_t header,
                  const EntryView& entry) const noexcept;
  static Step check_end(const EntryView& entry, std::uint64_t& end) noexcept;
  bool pairs_unchanged(const Lookup& lookup) const noexcept;
  bool same_change(const Lookup& lookup) const noexcept;
  // The next bucket of a chain; null when the link is invalid, as the bucket was changed meanwhile.
  const PairBucket* overflow_of(const PairBucket& bucket) const noexcept {
    // [pair.follow] acquire; pairs with [pair.adopt-fence]: the bucket is at least as new as its adoption
    return view().pair_bucket_at(bucket.link.load(std::memory_order_acquire) & kOffsetMask);
  }
  // The table as it may be read from now on.
  TableView view() const noexcept {
    // [arena.clamp] acquire; pairs with [arena.grow]
    const std::uint64_t populated = header_arena(std::memory_order_acquire);
    return {table_, arena_offset_, std::min(populated, header().arena_bytes), max_value_bytes_};
  }
  // Has the server populated more than is readable here?
  bool is_behind() const noexcept;
  // Makes readable what the server has populated since. Called by any thread before it retries. Returns at once while another
  // thread does so: then the next attempt sees the result.
  void extend() const noexcept;
  // Bytes of the arena that are populated, so may be read.
  std::uint64_t header_arena(std::memory_order order) const noexcept { return arena_populated_->load(order); }
  template <typename T>
  const T* at(std::uint64_t offset) const noexcept {
    return reinterpret_cast<const T*>(table_ + offset);
  }

  static Result result(Step step, const Lookup& lookup, std::uint32_t round) noexcept;

  const std::byte* table_ = nullptr;
  const std::byte* arena_ = nullptr;
  std::uint64_t bytes_ = 0;
  KeyHash hash_{0};
  std::uint64_t arena_offset_ = 0;
  std::uint64_t max_value_bytes_ = 0;
  std::uint64_t generations_offset_ = 0;
  std::uint32_t shard_count_ = 1;
  VectorWidth width_ = VectorWidth::kPortable;
  mutable Shard shards_[kMaxLanes] = {};
  // For a mapping that is readable in parts; otherwise null.
  const Region* parts_ = nullptr;
  const Word* arena_populated_;               // the header's, or:
  mutable Word readable_arena_{0};            // for such a mapping
  mutable std::atomic<bool> extends_{false};  // a thread is in extend(), or was the last one
  bool ended_ = false;                        // no other thread will be
};

}  // namespace hostmap
