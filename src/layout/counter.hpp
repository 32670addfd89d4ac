// A counter of a region: one writer, read by others as a figure for diagnosis.
#pragma once

#include <atomic>
#include <cstdint>

#include "layout/region.hpp"

namespace hostmap {

// The counter's writer alone. If nothing is added, it does not write: readers keep their copy of the cache line.
inline void add_to(Word& counter, std::uint64_t by) noexcept {
  // relaxed: one writer; a figure for diagnosis
  if (by != 0) counter.store(counter.load(std::memory_order_relaxed) + by, std::memory_order_relaxed);
}

}  // namespace hostmap
