#include "wait/futex.hpp"

#include <atomic>
#include <csignal>
#include <functional>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <thread>
#include <vector>

#include "layout/region.hpp"
#include "support/aligned_memory.hpp"
#include "support/child.hpp"

namespace hostmap::test {
namespace {

constexpr std::int64_t kMillisecond = 1'000'000;

TEST(FutexTest, AWordThatHasChangedIsNotWaitedFor) {
  const HalfWord word{5};
  EXPECT_EQ(futex_wait(word, 4, kNoTimeout), WaitOutcome::kChanged);
}

TEST(FutexTest, AWaitEndsAtItsTimeoutAndNotBefore) {
  const HalfWord word{5};
  const std::int64_t begin = monotonic_ns();
  EXPECT_EQ(futex_wait(word, 5, 20 * kMillisecond), WaitOutcome::kTimedOut);
  EXPECT_GE(monotonic_ns() - begin, 20 * kMillisecond);
  EXPECT_EQ(futex_wait(word, 5, 0), WaitOutcome::kTimedOut) << "no time at all";
}

// Sleepers count themselves before they sleep; they are woken until all have ended.
void wake_sleepers(HalfWord& word, int sleepers, const std::function<void()>& wake) {
  std::atomic<int> woken{0};
  std::vector<std::thread> threads;
  threads.reserve(static_cast<std::size_t>(sleepers));
  const std::uint32_t before = word.load();
  for (int i = 0; i < sleepers; ++i) {
    threads.emplace_back([&] {
      while (word.load() == before) futex_wait(word, before, kNoTimeout);
      woken.fetch_add(1);
    });
  }
  std::this_thread::sleep_for(std::chrono::milliseconds(20));  // most of them sleep after this time
  EXPECT_EQ(woken.load(), 0);
  wake();
  for (std::thread& thread : threads) thread.join();  // ctest's timeout is the watchdog
  EXPECT_EQ(woken.load(), sleepers);
}

TEST(FutexTest, AddAndWakeAddsOneAndWakesAll) {
  HalfWord word{41};
  wake_sleepers(word, 4, [&] { futex_add_and_wake(word); });
  EXPECT_EQ(word.load(), 42u);
}

// The kernel compares signed numbers, and a bell can have any value.
TEST(FutexTest, AddAndWakeWorksForEveryValue) {
  for (const std::uint32_t value : {0u, 0x7fff'ffffu, 0x8000'0000u, 0xffff'fffeu, 0xffff'ffffu}) {
    HalfWord word{value};
    wake_sleepers(word, 2, [&] { futex_add_and_wake(word); });
    EXPECT_EQ(word.load(), value + 1);
  }
}

TEST(FutexTest, AddAndWakeWithoutSleepersAdds) {
  HalfWord word{7};
  for (int i = 0; i < 100; ++i) futex_add_and_wake(word);
  EXPECT_EQ(word.load(), 107u);
}

TEST(FutexTest, NoAdditionIsLostBetweenThreads) {
  HalfWord word{0};
  std::vector<std::thread> threads;
  threads.reserve(4);
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([&] {
      for (int n = 0; n < 5000; ++n) futex_add_and_wake(word);
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(word.load(), 20'000u);
}

// std::atomic::wait is private to a process; these are not.
TEST(FutexTest, AnotherProcessIsWoken) {
  const AlignedMemory memory(kPageSize);
  auto& word = memory.at<HalfWord>(0);
  Child sleeper = Child::fork([&] {
    while (word.load() == 0) futex_wait(word, 0, kNoTimeout);
    return 0;
  });
  std::this_thread::sleep_for(std::chrono::milliseconds(20));
  EXPECT_TRUE(sleeper.running());
  futex_add_and_wake(word);
  EXPECT_EQ(sleeper.wait(), kSuccess);
}

TEST(FutexTest, OneWakeUpWakesOneSleeperAtMost) {
  HalfWord word{0};
  std::atomic<int> awake{0};
  std::vector<std::thread> threads;
  threads.reserve(3);
  for (int i = 0; i < 3; ++i) {
    threads.emplace_back([&] {
      while (futex_wait(word, 0, kNoTimeout) != WaitOutcome::kWoken) {
      }
      awake.fetch_add(1);
    });
  }
  int wake_ups = 0;
  while (awake.load() < 3) {
    ++wake_ups;  // a wake-up before the first sleep has no effect
    futex_wake(word, 1);
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
    EXPECT_LE(awake.load(), wake_ups);
  }
  for (std::thread& thread : threads) thread.join();
}

// --- Memory that a hostile peer has truncated ------------------------------------------------------------------------

// One mapped page of a file that was truncated to nothing.
class TruncatedPage {
 public:
  TruncatedPage() : fd_(::memfd_create("truncated", MFD_CLOEXEC)) {
    if (::ftruncate(fd_.get(), kPageSize) != 0) throw std::runtime_error("ftruncate");
    page_ = ::mmap(nullptr, kPageSize, PROT_READ | PROT_WRITE, MAP_SHARED, fd_.get(), 0);
    word().store(7);
    if (::ftruncate(fd_.get(), 0) != 0) throw std::runtime_error("ftruncate");
  }
  ~TruncatedPage() { ::munmap(page_, kPageSize); }
  HalfWord& word() const { return *static_cast<HalfWord*>(page_); }

 private:
  UniqueFd fd_;
  void* page_;
};

TEST(FutexTest, AWaitOnATruncatedPageReportsIt) {
  const TruncatedPage page;
  EXPECT_EQ(futex_wait(page.word(), 7, kNoTimeout), WaitOutcome::kUnmapped);
  EXPECT_EQ(futex_wait(page.word(), 7, kMillisecond), WaitOutcome::kUnmapped);
}

TEST(FutexTest, ABellOnATruncatedPageRaisesNoSignal) {
  const TruncatedPage page;
  futex_add_and_wake(page.word());
  futex_wake(page.word(), INT_MAX);
  // The canary: a plain store there raises the signal.
  EXPECT_EQ(Child::fork([&] {
              ::signal(SIGBUS, SIG_DFL);
              page.word().store(1);
              return 0;
            }).wait(),
            killed_by(SIGBUS));
}

TEST(FutexTest, ABellOnAReadOnlyPageChangesNothing) {
  const AlignedMemory memory(kPageSize);
  auto& word = memory.at<HalfWord>(0);
  word.store(7);
  ASSERT_EQ(::mprotect(memory.data(), kPageSize, PROT_READ), 0);
  futex_add_and_wake(word);
  EXPECT_EQ(word.load(), 7u);
}

}  // namespace
}  // namespace hostmap::test
