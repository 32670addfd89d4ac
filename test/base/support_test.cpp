// The tests' own tools: without a working watchdog and a working leak check, all other tests would be worthless.
#include <atomic>
#include <csignal>
#include <fcntl.h>
#include <gtest/gtest-spi.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <stdexcept>
#include <sys/syscall.h>
#include <unistd.h>

#include "support/aligned_memory.hpp"
#include "support/child.hpp"
#include "support/instance.hpp"
#include "support/left_behind.hpp"
#include "support/seed.hpp"
#include "support/stepper.hpp"

namespace hostmap::test {
namespace {

using namespace std::chrono_literals;

TEST(ChildTest, ItsEndIsReportedByCodeOrSignal) {
  EXPECT_EQ(Child::fork([] { return 7; }).wait(), exited(7));
  EXPECT_EQ(Child::fork([]() -> int { throw std::runtime_error("thrown on purpose"); }).wait(), exited(kChildThrew));
  Child child = Child::fork([] { return ::pause(); });
  EXPECT_TRUE(child.running());
  child.send(SIGKILL);
  EXPECT_EQ(child.wait(), killed_by(SIGKILL));
  EXPECT_FALSE(child.running());
}

TEST(ChildTest, AnExpectationThatFailsInItIsReportedByItsCode) {
  EXPECT_EQ(Child::fork([] {
              // Its text is discarded, so that it does not appear as a failure of this test.
              ::dup2(::open("/dev/null", O_WRONLY | O_CLOEXEC), STDOUT_FILENO);
              EXPECT_EQ(1, 2);
              return 0;
            }).wait(),
            exited(kChildFailed));
}

TEST(ChildTest, TheWatchdogKillsAndFailsTheTest) {
  Exit exit;
  EXPECT_NONFATAL_FAILURE(exit = Child::fork([] { return ::pause(); }).wait(20ms), "was killed");
  EXPECT_EQ(exit, killed_by(SIGKILL));
}

TEST(ChildTest, ItDiesWithItsParent) {
  const AlignedMemory memory(kPageSize);
  auto& grandchild = memory.at<std::atomic<pid_t>>(0);
  Child parent = Child::fork([&] {
    const Child child = Child::fork([] { return ::pause(); });
    grandchild = child.pid();
    return ::pause();
  });
  while (grandchild == 0) ::usleep(1000);  // ctest's timeout is the watchdog
  const UniqueFd process(static_cast<int>(::syscall(SYS_pidfd_open, grandchild.load(), 0)));
  ASSERT_TRUE(process);
  parent.kill_and_wait();
  pollfd ended{process.get(), POLLIN, 0};
  EXPECT_EQ(::poll(&ended, 1, 30'000), 1);
}

TEST(ChildTest, AProgramsOutputIsReadByLinesAndWhole) {
  Child child = Child::exec({"sh", "-c", "echo one; echo two; echo oops >&2; echo $WORD; exit 3"}, {"WORD=three"});
  EXPECT_EQ(child.read_line(), "one");
  EXPECT_EQ(child.read_line(), "two");
  EXPECT_EQ(child.wait(), exited(3));
  EXPECT_EQ(child.output(), "one\ntwo\nthree\n");
  EXPECT_EQ(child.errors(), "oops\n");
  EXPECT_EQ(child.read_line(), "three");
  EXPECT_EQ(child.read_line(), std::nullopt);
}

TEST(ChildTest, AnotherUserHasNoPrivilegeLeft) {
  if (!can_change_users()) GTEST_SKIP() << "needs root";
  EXPECT_EQ(Child::fork_as(kOtherUser,
                           [] {
                             EXPECT_EQ(::geteuid(), kOtherUser);
                             EXPECT_NE(::setuid(0), 0);
                             EXPECT_LT(::open("/etc/shadow", O_RDONLY | O_CLOEXEC), 0);
                             return 0;
                           })
                .wait(),
            kSuccess);
}

TEST(StepperTest, EveryStoreIsSeenAloneAndInOrder) {
  const AlignedMemory memory(kPageSize);
  auto& first = memory.at<std::atomic<int>>(0);
  auto& second = memory.at<std::atomic<int>>(64);
  int seen = 0;  // bit per combination
  const std::uint64_t steps = step_through(
      [&] {
        first.store(1, std::memory_order_release);
        second.store(1, std::memory_order_release);
      },
      [&](std::uint64_t) { seen |= 1 << (first.load() + 2 * second.load()); });
  EXPECT_GT(steps, 2u);
  EXPECT_EQ(seen, 1 << 0 | 1 << 1 | 1 << 3) << "not: the second without the first";
}

TEST(StepperTest, AChildStopsAtTheGivenInstructionAndContinuesOrIsKilled) {
  const AlignedMemory memory(kPageSize);
  auto& word = memory.at<std::atomic<int>>(0);
  const auto body = [&] {
    word.store(1);
    word.store(2);
  };
  const std::uint64_t steps = step_through(body, [](std::uint64_t) {});
  int seen = 0;
  for (std::uint64_t step = 0; step <= steps + 1; ++step) {
    for (const Afterwards afterwards : {Afterwards::kGoesOn, Afterwards::kIsKilled}) {
      word.store(0);
      int then = -1;
      EXPECT_EQ(stop_at(
                    body, step, [&] { then = word.load(); }, afterwards),
                step > steps ? StoodAt::kEnd : StoodAt::kInstruction);
      seen |= 1 << then;
      EXPECT_EQ(word.load(), afterwards == Afterwards::kGoesOn ? 2 : then) << step;
    }
  }
  EXPECT_EQ(seen, 7) << "before, between and after the stores";
}

TEST(StepperTest, SystemCallsAreShownBeforeTheyAreMade) {
  int shown = 0;
  const int code = trace_system_calls(
      [] { return ::syscall(SYS_fcntl, 4711, F_GETFD) == -1 && errno == EBADF ? 5 : 6; },
      [&](const SystemCall& call) { shown += call.number == SYS_fcntl && call.arguments[0] == 4711 ? 1 : 0; });
  EXPECT_EQ(code, 5);
  EXPECT_EQ(shown, 1);
}

TEST(LeftBehindTest, AFileInDevShmFailsItsTestAndIsRemoved) {
  NothingIsLeftBehind listener;
  const testing::TestInfo& test = *testing::UnitTest::GetInstance()->current_test_info();
  const std::string path = unique_path();
  listener.OnTestStart(test);
  ::close(::open(path.c_str(), O_CREAT | O_WRONLY | O_CLOEXEC, 0600));
  EXPECT_NONFATAL_FAILURE(listener.OnTestEnd(test), path + " was left behind");
  EXPECT_NE(::access(path.c_str(), F_OK), 0);
  listener.OnTestStart(test);
  listener.OnTestEnd(test);  // no failure now
}

TEST(SeedTest, TheSameSeedGivesTheSameWords) {
  Random first(42);
  Random second(42);
  Random other(43);
  bool differs = false;
  for (int i = 0; i < 10; ++i) {
    const std::uint64_t word = first.word();
    EXPECT_EQ(word, second.word());
    differs = differs || word != other.word();
  }
  EXPECT_TRUE(differs);
}

TEST(AlignedMemoryTest, FaultsOnEitherSide) {
  const AlignedMemory memory(100);
  EXPECT_EQ(memory.bytes(), kPageSize);
  for (std::byte* place : {memory.data() - 1, memory.end()}) {
    const Exit exit = Child::fork([place] {
                        ::signal(SIGSEGV, SIG_DFL);  // a sanitizer's handler would print
                        *static_cast<volatile std::byte*>(place) = std::byte{1};
                        return 0;
                      }).wait();
    EXPECT_EQ(exit, killed_by(SIGSEGV));
  }
}

}  // namespace
}  // namespace hostmap::test
