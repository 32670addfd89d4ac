// TableReader: gets from a read-only mapping of the table, while its writer continues.
//
// fast_path.hpp decides almost every get; reader.cpp has the slow path, which decides the others. locate.hpp leads both from
// a hash to its bucket, view.hpp from an offset to an address.
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
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>

#include "base/hash.hpp"
#include "layout/table.hpp"
#include "shm/region.hpp"
#include "table/form/match.hpp"
#include "table/read/touch_note.hpp"
#include "table/read/value_target.hpp"
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

  struct ReadResult {    // two registers
    std::uint64_t size;  // of the value, for kHit and kTooSmall
    ReadOutcome outcome;
    std::uint32_t retries;
  };
  ReadResult get(std::span<const std::byte> key, const ValueTarget& target) const noexcept {
    return get_hashed(key, hash_of(key), target);
  }
  ReadResult get_hashed(std::span<const std::byte> key, std::uint64_t hash, const ValueTarget& target) const noexcept {
    std::uint64_t end;
    return get_with_end(key, hash, target, end);
  }
  // The same, and of a hit the key's end, as it was when the value was its value: kNoEnd, or a moment.
  // `note`, if given: where a hit is noted.
  ReadResult get_with_end(std::span<const std::byte> key, std::uint64_t hash, const ValueTarget& target,
                          std::uint64_t& end, const TouchNote* note = nullptr) const noexcept;
  // In line: a call costs a get of an entry 11 to 16 instructions.
  [[gnu::always_inline]] std::uint64_t hash_of(std::span<const std::byte> key) const noexcept { return hash_(key); }
  std::uint64_t hash_of(std::uint64_t key) const noexcept { return hash_.of_word(key); }

  // The fast path of get_hashed(), to be called first (fast_path.hpp defines it: include that, too). kUnclear proves nothing:
  // then get_hashed() decides. `size` is the value's, for kHit. `note`: NoNote, or a TouchNote, in which a hit is noted.
  enum class FastResult : std::uint8_t { kHit, kMiss, kUnclear };
  template <typename Note = NoNote>
  FastResult try_get(std::span<const std::byte> key, std::uint64_t hash, const ValueTarget& target, std::uint64_t& size,
                     const Note& note = {}) const noexcept;
  // The same for a key of 8 bytes, if its value is a pair's.
  template <typename Note = NoNote>
  FastResult try_get_pair(std::uint64_t key, std::uint64_t hash, std::uint64_t& value,
                          const Note& note = {}) const noexcept;

  // For gets of several keys at once: the lookup of each, one step at a time, so that the cache misses of all keys at a step
  // overlap. A step prefetches what the next one reads. A cursor is a hint where to find the key, and nothing in it is
  // trusted later.
  struct PrefetchCursor {
    const PairBucket* pairs = nullptr;  // the first bucket: one of the two, or neither
    const EntryBucket* entries = nullptr;
    const void* next = nullptr;  // the next bucket of the chain, if there is one
  };
  // Before the first step: the change word, before anything else is loaded.
  std::uint64_t load_change_first() const noexcept;
  // First step: finds the bucket.
  PrefetchCursor begin_prefetch(std::span<const std::byte> key, std::uint64_t hash) const noexcept;
  // The next step, from a bucket that is in the cache: to the entry, or the next bucket.
  void continue_prefetch(PrefetchCursor& cursor, std::span<const std::byte> key, std::uint64_t hash) const noexcept;
  // Last step: the fast path from the cursor's bucket, which exists; of entries with its chain. True: a hit. False if
  // `change`, loaded first, has changed since: the bucket's memory may have another use by now. `note`: as for try_get().
  template <typename Note = NoNote>
  bool try_get_at(const PrefetchCursor& cursor, std::uint64_t change, std::uint64_t key, std::uint64_t& value,
                  const Note& note = {}) const noexcept;
  template <typename Note = NoNote>
  bool try_get_at(const PrefetchCursor& cursor, std::uint64_t change, std::span<const std::byte> key,
                  std::uint64_t hash, const ValueTarget& target, std::uint64_t& size,
                  const Note& note = {}) const noexcept;

  // The number of keys. Exact when no thread writes.
  std::uint64_t count_keys() const noexcept;
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
      words_.store(other, std::memory_order_relaxed);  // relaxed: before other threads have the reader
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

  // locate.hpp: from a hash to its bucket, for the fast path, the slow path, the scan and the check.
  //
  // The first bucket of a hash in one form, and the state that selects it.
  template <typename Bucket>
  struct FirstBucket {
    const Bucket* bucket;  // null: the state or the directory leads out of the table
    std::uint64_t state;
  };
  template <typename Bucket>
  FirstBucket<Bucket> first_bucket(std::uint64_t hash) const noexcept;
  // The first bucket of a hash as the directory says now; null: it leads out of what may be read.
  template <typename Bucket>
  const Bucket* bucket_at(const Shard& shard, std::uint64_t state, std::uint64_t fraction,
                          std::uint64_t hash) const noexcept;
  // The offset of the segment to which a directory word leads; 0: it leads out of what may be read.
  template <typename Bucket>
  std::uint64_t segment_at(const Shard& shard, std::uint64_t index) const noexcept;
  // `place`: in the arena.
  template <typename Bucket>
  bool find_segment(const Shard& shard, std::uint64_t index, std::uint64_t& place) const noexcept;
  // Are a bucket's header and the change word what they were? The caller has fenced.
  bool unchanged(const Word& bucket_header, std::uint64_t seen, std::uint64_t change) const noexcept;

  // fast_path.hpp
  template <typename Note>
  FastResult try_get_entry(std::span<const std::byte> key, std::uint64_t hash, const ValueTarget& target,
                           std::uint64_t& size, const Note& note) const noexcept;
  template <typename Note>
  FastResult find_in_bucket(const PairBucket& bucket, std::uint64_t key, std::uint64_t change, std::uint64_t& seen,
                            std::uint64_t& value, const Note& note, unsigned number) const noexcept;
  template <typename Note>
  FastResult find_in_chain(const EntryBucket& primary, std::span<const std::byte> key, std::uint64_t hash,
                           const ValueTarget& target, std::uint64_t change, std::uint64_t& seen, std::uint64_t& size,
                           const Note& note) const noexcept;
  static void prefetch_lines(const void* begin, std::size_t bytes) noexcept;
  template <typename Note>
  std::optional<std::uint64_t> find_in_overflow(const PairBucket& primary, std::uint64_t key, std::uint64_t change,
                                                const Note& note) const noexcept;
  bool has_later_end(std::uint64_t meta, std::uint64_t place, std::uint64_t key_bytes,
                     std::uint64_t populated) const noexcept;

  // reader.cpp: the slow path.
  ReadResult get_entry(std::span<const std::byte> key, std::uint64_t hash, const ValueTarget& target,
                       std::uint64_t& end, const TouchNote* note) const noexcept;
  Step find_in_pairs(Lookup& lookup) const noexcept;
  Step validate_miss_in_pairs(const Lookup& lookup) const noexcept;
  Step find_in_entries(Lookup& lookup) const noexcept;
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

  static ReadResult result(Step step, const Lookup& lookup, std::uint32_t round) noexcept;

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
