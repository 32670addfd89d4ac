// Directory: the segments that a form of a shard has, for its writer (layout/table.hpp describes the words and their
// invariants).
//
// Threads: the lane's worker alone; readers of any process read the words concurrently.
//
// Each change is published by one store of a word, or of the state, and followed by a turn of the change word before anything
// that it took out of use is given to another use. A kill in between is completed by recover().
#pragma once

#include <cstdint>
#include <utility>
#include <vector>

#include "layout/table.hpp"
#include "shm/region.hpp"

namespace hostmap {

class Directory {
 public:
  // `words`: of the directory; `populated`: bytes of it that have pages.
  Directory(Word& state, Word& twin, Word* words, const Word& populated, Word& change, std::uint64_t base) noexcept
      : state_(state), twin_(twin), words_(words), populated_(populated), change_(change), base_(base) {}

  // Bytes of words that `segments` segments need.
  static std::uint64_t bytes_for(std::uint64_t segments) noexcept {
    return directory_bytes_at(directory_depth(segments));
  }
  // Of a new table: these segments in the order of their prefixes.
  void fill(const std::vector<std::uint64_t>& segments) noexcept;

  [[gnu::always_inline]] inline std::uint64_t segment(std::uint64_t fraction) const noexcept {
    // relaxed, both: this thread is the only writer of all these words, here and below
    const std::uint64_t state = state_.load(std::memory_order_relaxed);
    return words_[directory_index(state, fraction)].load(std::memory_order_relaxed);
  }
  // The last fraction of the same segment.
  std::uint64_t last_of(std::uint64_t fraction) const noexcept;
  std::uint64_t segments() const noexcept { return segments_; }
  std::uint64_t base() const noexcept { return base_; }
  // All of them, in the order of their prefixes.
  std::vector<std::uint64_t> all() const;

  // Splits
  //
  // Bytes of words that the next split needs.
  std::uint64_t bytes_to_split() const noexcept { return directory_bytes_at(all_are_split() ? depth() + 1 : depth()); }
  std::uint64_t next_to_split() const noexcept { return segment_at(next_to_split_prefix()); }
  // Does a key of this fraction belong to the new half of the next split?
  bool moves(std::uint64_t fraction) const noexcept {
    return (fraction >> (64 - (all_are_split() ? depth() + 1 : depth())) & 1) != 0;
  }
  // The segment at `half` holds what moves: readers search it there from now on, and not in the old one, where end_purge()
  // shows that it was removed.
  void publish_split(std::uint64_t half) noexcept;
  void end_purge() noexcept { mark(kTwinNone); }

  // Merges; requires segments() > 1.
  //
  // The two halves of the last split, which the segment at `whole` then replaces. They are out of use afterwards.
  std::pair<std::uint64_t, std::uint64_t> last_halves() noexcept;
  void publish_merge(std::uint64_t whole) noexcept;

  // Moves: the segment at `copy` replaces that of a fraction, which is out of use afterwards.
  void publish_move(std::uint64_t fraction, std::uint64_t copy) noexcept;

  // At a restart. False: the words are not valid. `arena`: offset of its first slab; `populated`: bytes of it.
  bool read(std::uint64_t arena, std::uint64_t populated, unsigned most_depth) noexcept;
  // Next: completes a change that a kill has interrupted. Returns the halves of the last split, if something may have to be removed
  // from the first one, and end_purge() is to be called; otherwise zeros.
  std::pair<std::uint64_t, std::uint64_t> recover() noexcept;

 private:
  unsigned depth() const noexcept {
    return state_depth(state_.load(std::memory_order_relaxed));  // relaxed: as above
  }
  // Prefixes of one bit less than the depth.
  static std::uint64_t prefixes(unsigned depth) noexcept { return depth == 0 ? 0 : std::uint64_t{1} << (depth - 1); }
  std::uint64_t split() const noexcept { return segments_ - (depth() == 0 ? 1 : prefixes(depth())); }
  bool all_are_split() const noexcept { return split() == prefixes(depth()); }
  std::uint64_t next_to_split_prefix() const noexcept { return all_are_split() ? 0 : split(); }
  Word& word(unsigned depth, std::uint64_t prefix) const noexcept { return words_[std::uint64_t{1} << depth | prefix]; }
  std::uint64_t segment_at(std::uint64_t prefix) const noexcept {
    // relaxed: as above
    return (all_are_split() ? word(depth(), prefix) : word(depth(), 2 * prefix)).load(std::memory_order_relaxed);
  }
  void set_depth(unsigned depth) noexcept;
  void replace_both(std::uint64_t prefix, std::uint64_t segment) noexcept;
  bool is_half_replaced(std::uint64_t prefix) const noexcept;
  void write_ahead(unsigned depth, std::uint64_t prefix) noexcept;
  void mark(std::uint64_t twin) noexcept {
    twin_.store(twin, std::memory_order_release);         // [twin.mark] release; pairs with [twin.check]
    std::atomic_thread_fence(std::memory_order_release);  // [twin.fence] release; pairs with [twin.check]
  }
  void turn() noexcept {
    change_.fetch_add(kTurn, std::memory_order_release);  // [change.turn] release; pairs with [change.first]
  }

  Word& state_;
  Word& twin_;
  Word* words_;
  const Word& populated_;
  Word& change_;
  std::uint64_t base_;
  std::uint64_t segments_ = 0;
};

}  // namespace hostmap
