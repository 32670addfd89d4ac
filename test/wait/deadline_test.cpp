#include "wait/deadline.hpp"

#include <gtest/gtest.h>
#include <limits>
#include <thread>

namespace hostmap::test {
namespace {

using namespace std::chrono_literals;

TEST(DeadlineTest, ItBeginsWithTheFirstQuery) {
  Deadline deadline(10s);
  std::this_thread::sleep_for(30ms);
  EXPECT_EQ(deadline.left(), std::chrono::nanoseconds(10s).count()) << "a call that need not wait pays nothing";
}

TEST(DeadlineTest, TheTimeLeftDecreases) {
  Deadline deadline(10s);
  const std::int64_t all = deadline.left();
  std::this_thread::sleep_for(5ms);
  const std::int64_t later = deadline.left();
  EXPECT_LE(later, all - 5'000'000);
  EXPECT_GT(later, 0);
}

TEST(DeadlineTest, OnceItHasPassedNothingIsLeft) {
  Deadline deadline(5ms);
  EXPECT_GT(deadline.left(), 0);
  std::this_thread::sleep_for(6ms);
  EXPECT_EQ(deadline.left(), 0);
  EXPECT_EQ(deadline.left(), 0);
}

TEST(DeadlineTest, ForeverNeverPasses) {
  Deadline deadline(std::chrono::nanoseconds::max());  // Options::kForever
  EXPECT_EQ(deadline.left(), kNoTimeout);
  std::this_thread::sleep_for(2ms);
  EXPECT_EQ(deadline.left(), kNoTimeout);
}

TEST(DeadlineTest, NoTimeOrLessHasPassedAtOnce) {
  for (const std::int64_t timeout : {std::int64_t{0}, std::int64_t{-1}, std::numeric_limits<std::int64_t>::min()}) {
    Deadline deadline{std::chrono::nanoseconds(timeout)};
    EXPECT_EQ(deadline.left(), 0) << timeout;
  }
}

TEST(LockWithinTest, AFreeMutexIsLockedWhateverTheDeadline) {
  for (const auto timeout : {0ns, 1ns, std::chrono::nanoseconds(1h), std::chrono::nanoseconds::max()}) {
    std::timed_mutex mutex;
    Deadline deadline(timeout);
    ASSERT_TRUE(lock_within(mutex, deadline));
    std::thread([&] { EXPECT_FALSE(mutex.try_lock()); }).join();
    mutex.unlock();
  }
}

TEST(LockWithinTest, AHeldMutexIsWaitedForUntilTheDeadline) {
  if (HOSTMAP_TSAN) GTEST_SKIP() << "with the thread sanitizer it waits without a deadline, by design";
  std::timed_mutex mutex;
  const std::lock_guard<std::timed_mutex> held(mutex);
  std::thread([&] {
    Deadline deadline(30ms);
    const std::int64_t begin = monotonic_ns();
    EXPECT_FALSE(lock_within(mutex, deadline));
    EXPECT_GE(monotonic_ns() - begin, 30'000'000);
  }).join();
}

TEST(LockWithinTest, AMutexThatIsUnlockedInTimeIsLocked) {
  std::timed_mutex mutex;
  for (const auto timeout : {std::chrono::nanoseconds(60s), std::chrono::nanoseconds::max()}) {
    mutex.lock();
    std::thread waiter([&] {
      Deadline deadline(timeout);
      EXPECT_TRUE(lock_within(mutex, deadline));
      mutex.unlock();
    });
    std::this_thread::sleep_for(10ms);
    mutex.unlock();
    waiter.join();
  }
}

}  // namespace
}  // namespace hostmap::test
