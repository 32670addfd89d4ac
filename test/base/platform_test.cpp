#include "base/platform.hpp"

#include <cerrno>
#include <dirent.h>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <unistd.h>
#include <utility>

#include "base/folder.hpp"
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

TEST(PlatformTest, PowersOfTwoAreDistinguishedFromTheirNeighbours) {
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
  EXPECT_FALSE(first);  // NOLINT(bugprone-use-after-move): the test is that it is empty
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

// Runs in a child whose standard streams are closed.
TEST(UniqueFdTest, NoDescriptorGetsTheNumberOfAClosedStandardStream) {
  EXPECT_EXIT(
      {
        for (const int fd : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO}) ::close(fd);
        const UniqueFd file(::open("/dev/null", O_RDONLY | O_CLOEXEC));
        const Folder folder = open_folder("/");
        bool good = file.get() > STDERR_FILENO && ::dirfd(folder.get()) > STDERR_FILENO;
        for (const int fd : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO}) good = good && !is_open(fd);
        good = good && (::fcntl(file.get(), F_GETFD) & FD_CLOEXEC) != 0;
        ::_exit(good ? 0 : 1);
      },
      testing::ExitedWithCode(0), "");
}

TEST(UniqueFdTest, WithoutAnotherNumberAnOpenFailsAsForLackOfDescriptors) {
  EXPECT_EXIT(
      {
        rlimit limit{};
        limit.rlim_cur = limit.rlim_max = 3;
        ::setrlimit(RLIMIT_NOFILE, &limit);
        ::close(STDIN_FILENO);
        const UniqueFd file(::open("/dev/null", O_RDONLY | O_CLOEXEC));
        ::_exit(!file && errno == EMFILE && !is_open(STDIN_FILENO) ? 0 : 1);
      },
      testing::ExitedWithCode(0), "");
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
