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

// Counts its calls, and returns false at the end of the sleep number `no_at`.
struct Hook {
  static int call(void* context, int begins) noexcept {
    Hook& hook = *static_cast<Hook*>(context);
    EXPECT_EQ(hook.sleeps, begins == 0) << "each beginning has an end";
    hook.sleeps = begins != 0;
    if (begins != 0) return 1;  // ignored
    return ++hook.ends == hook.no_at ? 1 : 0;
  }
  explicit Hook(std::chrono::nanoseconds timeout, int no = 0) : policy{timeout.count(), call, this}, no_at(no) {}
  ~Hook() { EXPECT_FALSE(sleeps); }

  WaitPolicy policy;
  int no_at;
  int ends = 0;
  bool sleeps = false;
};

TEST(SleepingHookTest, ItIsCalledAroundASleepThatTheDeadlineEnds) {
  Hook hook(20ms);
  Deadline deadline(hook.policy);
  const HalfWord word{7};
  EXPECT_EQ(deadline.sleep_on(word, 7, kNoTimeout), WaitOutcome::kTimedOut);
  EXPECT_EQ(deadline.left(), 0);
  EXPECT_EQ(hook.ends, 1);
  // No time: no sleep.
  EXPECT_EQ(deadline.sleep_on(word, 7, kNoTimeout), WaitOutcome::kTimedOut);
  EXPECT_EQ(hook.ends, 1);
  EXPECT_FALSE(deadline.is_given_up());
}

TEST(SleepingHookTest, ANoGivesUpTheDeadlineAndTheWholeThatItIsAPartOf) {
  Hook hook(std::chrono::nanoseconds::max(), 2);
  Deadline whole(hook.policy);
  Deadline part(whole, 3600s);
  const HalfWord word{7};
  // In slices of half a second.
  EXPECT_EQ(part.sleep_on(word, 7, kNoTimeout), WaitOutcome::kTimedOut);
  EXPECT_EQ(hook.ends, 2);
  EXPECT_EQ(part.left(), 0);
  EXPECT_EQ(whole.left(), 0);
  EXPECT_TRUE(part.is_given_up());
  EXPECT_TRUE(whole.is_given_up());
}

TEST(SleepingHookTest, AWordThatHasChangedEndsTheSleep) {
  Hook hook(std::chrono::nanoseconds::max());
  Deadline deadline(hook.policy);
  HalfWord word{7};
  EXPECT_EQ(deadline.sleep_on(word, 8, kNoTimeout), WaitOutcome::kChanged);
  std::thread wakes([&word] {
    std::this_thread::sleep_for(20ms);
    word = 8;
    futex_wake(word, 1);
  });
  deadline.sleep_on(word, 7, kNoTimeout);
  EXPECT_EQ(word, 8u);
  wakes.join();
  EXPECT_EQ(deadline.left(), kNoTimeout);
}

TEST(SleepingHookTest, AWaitForAMutexEndsWithTheFirstNo) {
  std::timed_mutex mutex;
  mutex.lock();
  std::thread([&mutex] {
    Hook hook(std::chrono::nanoseconds::max(), 2);
    Deadline deadline(hook.policy);
    EXPECT_FALSE(lock_within(mutex, deadline));
    EXPECT_EQ(hook.ends, 2);
    EXPECT_EQ(deadline.left(), 0);
  }).join();
  std::thread waits([&mutex] {
    Hook hook(std::chrono::nanoseconds::max());
    Deadline deadline(hook.policy);
    EXPECT_TRUE(lock_within(mutex, deadline));
    EXPECT_GE(hook.ends, 1);
    mutex.unlock();
  });
  std::this_thread::sleep_for(150ms);
  mutex.unlock();
  waits.join();
}

TEST(SleepingHookTest, AnotherTimeOrTheLimitOfTheThreadReplaceThePolicys) {
  Hook hook(10s);
  Deadline own(hook.policy, 1s);
  EXPECT_LE(own.left(), std::chrono::nanoseconds(1s).count());
  thread_limit = 2s;
  Deadline limited(hook.policy);
  EXPECT_EQ(limited.left(), std::chrono::nanoseconds(2s).count());
  thread_limit = 0ns;
  Deadline unlimited(hook.policy);
  EXPECT_EQ(unlimited.left(), std::chrono::nanoseconds(10s).count());
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
