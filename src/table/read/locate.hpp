// From a hash to the first bucket of its chain, and whether that bucket is still what it was: the part of TableReader that its
// fast path, its slow path, TableScan and TableCheck share.
//
//   hash ──> shard ──> state word: depth ──> directory word: segment ──> bucket of the segment
//
// The directory's words may be damaged, or older than the state: an index is clamped to the words that may be read, a segment
// to a whole slab of the populated arena.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <type_traits>

#include "base/hash.hpp"
#include "layout/table.hpp"
#include "table/read/reader.hpp"

namespace hostmap {

template <typename Bucket>
[[gnu::always_inline]] inline TableReader::FirstBucket<Bucket> TableReader::first_bucket(
    std::uint64_t hash) const noexcept {
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

template <typename Bucket>
[[gnu::always_inline]] inline const Bucket* TableReader::bucket_at(const Shard& shard, std::uint64_t state,
                                                                   std::uint64_t fraction,
                                                                   std::uint64_t hash) const noexcept {
  std::uint64_t place;
  if (!find_segment<Bucket>(shard, directory_index(state, fraction), place)) [[unlikely]]
    return nullptr;
  return reinterpret_cast<const Bucket*>(arena_ + place) + segment_bucket<Bucket>(hash);
}

template <typename Bucket>
[[gnu::always_inline]] inline bool TableReader::find_segment(const Shard& shard, std::uint64_t index,
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

template <typename Bucket>
std::uint64_t TableReader::segment_at(const Shard& shard, std::uint64_t index) const noexcept {
  std::uint64_t place;
  return find_segment<Bucket>(shard, index, place) ? arena_offset_ + place : 0;
}

// The change word last: its raise follows whatever made memory available that then could be given any header.
[[gnu::always_inline]] inline bool TableReader::unchanged(const Word& bucket_header, std::uint64_t seen,
                                                          std::uint64_t change) const noexcept {
  // [change.header] acquire; pairs with [change.turn]: a header of another use is newer than that use's turn
  return bucket_header.load(std::memory_order_acquire) == seen &&
         header().change.load(std::memory_order_relaxed) == change;  // relaxed: after the acquire
}

}  // namespace hostmap
