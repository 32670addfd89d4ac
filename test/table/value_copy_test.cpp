#include "table/read/value_copy.hpp"

#include <gtest/gtest.h>

#include "every_width.hpp"
#include "support/copy_checks.hpp"

namespace hostmap::test {
namespace {

class ValueCopyTest : public EveryWidth {
 protected:
  static auto copy() {
    return [](std::byte* to, const std::byte* from, std::size_t size) { copy_short_value(to, from, size, GetParam()); };
  }
};

TEST_P(ValueCopyTest, CopiesExactlyTheRequestedBytes) { expect_exact_copies(copy()); }

TEST_P(ValueCopyTest, ReadsAndWritesNothingBeyondTheLastByte) { expect_no_fault_at_the_end(copy()); }

INSTANTIATE_TEST_SUITE_P(Widths, ValueCopyTest, every_width(), name_of_width);

}  // namespace
}  // namespace hostmap::test
