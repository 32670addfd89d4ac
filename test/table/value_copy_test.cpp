#include "table/value_copy.hpp"

#include <algorithm>
#include <gtest/gtest.h>
#include <string>
#include <vector>

#include "support/aligned_memory.hpp"
#include "support/seed.hpp"

namespace hostmap::test {
namespace {

class ValueCopyTest : public testing::TestWithParam<VectorWidth> {
 protected:
  void SetUp() override {
    if (GetParam() > widest_vectors()) GTEST_SKIP() << "this processor has no such vectors";
  }
};

TEST_P(ValueCopyTest, CopiesExactlyTheBytesAsked) {
  Random random;
  std::vector<std::byte> from(400);
  random.fill(from);
  for (std::size_t size = 0; size <= 300; ++size) {
    for (const std::size_t offset : {0u, 1u, 7u, 8u}) {
      std::vector<std::byte> to(size + 32, std::byte{0xcc});
      copy_short_value(to.data() + 16, from.data() + offset, size, GetParam());
      ASSERT_TRUE(std::equal(to.begin() + 16, to.end() - 16, from.begin() + static_cast<std::ptrdiff_t>(offset)))
          << "size " << size;
      ASSERT_EQ(std::count(to.begin(), to.begin() + 16, std::byte{0xcc}), 16) << "before, size " << size;
      ASSERT_EQ(std::count(to.end() - 16, to.end(), std::byte{0xcc}), 16) << "behind, size " << size;
    }
  }
}

TEST_P(ValueCopyTest, ReadsAndWritesNothingBeyondTheLastByte) {
  const AlignedMemory from(kPageSize);
  const AlignedMemory to(kPageSize);
  for (std::size_t size = 0; size <= 300; ++size) {
    copy_short_value(to.end() - size, from.end() - size, size, GetParam());  // one byte more faults
  }
}

std::string name_of(const testing::TestParamInfo<VectorWidth>& width) {
  switch (width.param) {
    case VectorWidth::kPortable:
      return "Portable";
    case VectorWidth::kSse2:
      return "Sse2";
    case VectorWidth::kAvx2:
      return "Avx2";
    case VectorWidth::kAvx512:
      return "Avx512";
  }
  return "Unknown";
}

INSTANTIATE_TEST_SUITE_P(Widths, ValueCopyTest,
                         testing::Values(VectorWidth::kPortable, VectorWidth::kSse2, VectorWidth::kAvx2,
                                         VectorWidth::kAvx512),
                         name_of);

}  // namespace
}  // namespace hostmap::test
