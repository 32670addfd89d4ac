#include "base/platform.hpp"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <utility>

#include "base/unique_fd.hpp"

namespace hostmap::test {
namespace {

bool is_open(int fd) { return ::fcntl(fd, F_GETFD) >= 0; }

TEST(PlatformTest, RoundUpGivesTheNextMultipleOrTheValueItself) {
  for (std::uint64_t multiple : {1u, 3u, 16u, 4096u}) {
    for (std::uint64_t value = 0; value < 3 * multiple; ++value) {
      const std::uint64_t rounded = round_up(value, multiple);
      EXPECT_EQ(rounded % multiple, 0u);
      EXPECT_GE(rounded, value);
      EXPECT_LT(rounded - value, multiple);
    }
  }
}

TEST(PlatformTest, PowersOfTwoAreToldFromTheirNeighbours) {
  EXPECT_FALSE(is_power_of_two(0));
  for (int bit = 0; bit < 64; ++bit) {
    const std::uint64_t power = std::uint64_t{1} << bit;
    EXPECT_TRUE(is_power_of_two(power));
    if (power > 2) {
      EXPECT_FALSE(is_power_of_two(power - 1));
      EXPECT_FALSE(is_power_of_two(power + 1));
    }
  }
}

TEST(PlatformTest, TheMonotonicClockNeverGoesBack) {
  std::int64_t before = monotonic_ns();
  EXPECT_GT(before, 0);
  for (int i = 0; i < 10'000; ++i) {
    const std::int64_t now = monotonic_ns();
    ASSERT_GE(now, before);
    before = now;
  }
}

TEST(UniqueFdTest, ClosesOnceAndLeavesNothingInWhatWasMovedFrom) {
  const int raw = ::open("/dev/null", O_RDONLY | O_CLOEXEC);
  ASSERT_TRUE(is_open(raw));
  UniqueFd first(raw);
  UniqueFd second(std::move(first));
  EXPECT_FALSE(first);  // NOLINT(bugprone-use-after-move): that it is empty is the point
  EXPECT_EQ(second.get(), raw);
  first = std::move(second);
  EXPECT_EQ(first.get(), raw);
  UniqueFd& same = first;
  first = std::move(same);
  EXPECT_TRUE(is_open(raw));
  first.reset();
  EXPECT_FALSE(is_open(raw));
  EXPECT_FALSE(first);
}

TEST(UniqueFdTest, ADescriptorThatIsReplacedIsClosed) {
  UniqueFd held(::open("/dev/null", O_RDONLY | O_CLOEXEC));
  const int before = held.get();
  UniqueFd other(::open("/dev/null", O_RDONLY | O_CLOEXEC));
  const int after = other.get();
  held = std::move(other);
  EXPECT_FALSE(is_open(before));
  EXPECT_TRUE(is_open(after));
}

}  // namespace
}  // namespace hostmap::test
