// What a get notes of a key that it has found: while keys are evicted, those that are read stay.
//
// A get has the touched bit in hand; only if it is clear, a note is stored in the client's own touch page (layout/connection.hpp).
// No line that other clients read is stored to.
#pragma once

#include <cstdint>

#include "layout/connection.hpp"
#include "layout/table.hpp"

namespace hostmap {

// Of a table that evicts nothing: no code.
struct NoNote {
  void of_pair(const PairBucket& /*bucket*/, unsigned /*number*/, unsigned /*place*/) const noexcept {}
  void of_entry(std::uint64_t /*cell*/) const noexcept {}
};

struct TouchNote {
  Word* words;  // of the touch page of the key's lane
  std::uint64_t hash;

  // `number`: of the bucket in its chain; 0 is the first.
  [[gnu::always_inline]] void of_pair(const PairBucket& bucket, unsigned number, unsigned place) const noexcept {
    // relaxed: a hint, in the line of the value
    const std::uint64_t link = bucket.link.load(std::memory_order_relaxed);
    store((link & pair_touched(place)) != 0, touch_of_pair(hash, number, place));
  }
  [[gnu::always_inline]] void of_entry(std::uint64_t cell) const noexcept {
    store((cell & kCellTouched) != 0, touch_of_entry(hash));
  }

 private:
  // Without a branch, which would be mispredicted for every other key: what is touched already is noted in a word that nobody reads.
  [[gnu::always_inline]] void store(bool touched, std::uint64_t note) const noexcept {
    Word nowhere;
    const std::uintptr_t mask = -static_cast<std::uintptr_t>(touched);
    const auto there = reinterpret_cast<std::uintptr_t>(words + touch_index(hash));
    auto* const to = reinterpret_cast<Word*>((there & ~mask) | (reinterpret_cast<std::uintptr_t>(&nowhere) & mask));
    to->store(note, std::memory_order_relaxed);  // relaxed: a hint
  }
};

}  // namespace hostmap
