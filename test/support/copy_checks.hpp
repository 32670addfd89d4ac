// Requirements on every copy to and from shared memory, however it is implemented.
#pragma once

#include <algorithm>
#include <cstddef>
#include <gtest/gtest.h>
#include <vector>

#include "support/aligned_memory.hpp"
#include "support/seed.hpp"

namespace hostmap::test {

// copy(to, from, size) copies exactly these bytes, for every length up to 300 and several alignments.
template <typename Copy>
void expect_exact_copies(const Copy& copy) {
  Random random;
  std::vector<std::byte> from(4200);
  random.fill(from);
  for (std::size_t size = 0; size <= 300; ++size) {
    for (const std::size_t offset : {0u, 1u, 7u, 8u}) {
      std::vector<std::byte> to(size + 32, std::byte{0xcc});
      copy(to.data() + 16, from.data() + offset, size);
      ASSERT_TRUE(std::equal(to.begin() + 16, to.end() - 16, from.begin() + static_cast<std::ptrdiff_t>(offset)))
          << "size " << size;
      ASSERT_EQ(std::count(to.begin(), to.begin() + 16, std::byte{0xcc}), 16) << "before, size " << size;
      ASSERT_EQ(std::count(to.end() - 16, to.end(), std::byte{0xcc}), 16) << "behind, size " << size;
    }
  }
}

// Nothing beyond the last byte is read or written: the next byte faults.
template <typename Copy>
void expect_no_fault_at_the_end(const Copy& copy) {
  const AlignedMemory from(kPageSize);
  const AlignedMemory to(kPageSize);
  for (std::size_t size = 0; size <= kPageSize; size += size < 300 ? 1 : 97) {
    copy(to.end() - size, from.end() - size, size);
  }
}

}  // namespace hostmap::test
