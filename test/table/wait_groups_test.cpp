// Raising the words of groups, and waking who sleeps on them.
#include "table/write/wait_groups.hpp"

#include <atomic>
#include <gtest/gtest.h>
#include <memory>
#include <thread>
#include <vector>

namespace hostmap::test {
namespace {

bool wake(WaitGroups& groups) {
  int woken = 0;
  const bool due = groups.wake(woken);
  EXPECT_LE(woken, WaitGroups::kMostWoken * static_cast<int>(WaitGroups::kMostGroups));
  return due;
}

TEST(WaitGroupsTest, OnlyGroupsWithRegistrationsAreRaised) {
  auto words = std::make_unique<WaitGroupWords>();
  WaitGroups groups(*words);
  std::atomic<bool> alarm{false};
  groups.set_alarm(alarm);
  groups.add(7);
  groups.changed(8);
  EXPECT_FALSE(groups.is_due());
  EXPECT_FALSE(alarm);
  groups.changed(3 * kWaitGroups + 7);
  EXPECT_EQ(words->words[7], 1u);
  EXPECT_TRUE(groups.is_due());
  EXPECT_TRUE(alarm);
  EXPECT_FALSE(wake(groups));
  groups.remove(7);
  groups.changed(7);
  groups.all_changed();
  EXPECT_EQ(words->words[7], 1u);
}

TEST(WaitGroupsTest, AWordIsNeverZeroAgain) {
  auto words = std::make_unique<WaitGroupWords>();
  words->words[0] = 0xffff'ffff;
  WaitGroups groups(*words);
  groups.raise(0);
  EXPECT_EQ(words->words[0], 1u);
}

TEST(WaitGroupsTest, EightGroupsAreServedInACall) {
  auto words = std::make_unique<WaitGroupWords>();
  WaitGroups groups(*words);
  for (std::uint32_t group = 0; group < 20; ++group) {
    groups.raise(group);
    groups.raise(group);
  }
  EXPECT_TRUE(wake(groups));
  EXPECT_TRUE(wake(groups));
  EXPECT_FALSE(wake(groups));
  for (std::uint32_t group = 0; group < 20; ++group) EXPECT_EQ(words->words[group], 2u);
  // All groups at once fit, again and again.
  for (int round = 0; round < 3; ++round) {
    for (std::uint32_t group = 0; group < kWaitGroups; ++group) groups.raise(group);
    std::uint32_t calls = 1;
    while (wake(groups)) ++calls;
    EXPECT_EQ(calls, kWaitGroups / 8);
  }
}

TEST(WaitGroupsTest, EightSleepersAreWokenInACallAndAllInTheEnd) {
  auto words = std::make_unique<WaitGroupWords>();
  WaitGroups groups(*words);
  std::atomic<int> woken{0};
  std::atomic<int> too_late{0};
  std::vector<std::thread> threads;
  constexpr int kThreads = 30;
  for (int i = 0; i < kThreads; ++i) {
    threads.emplace_back([&] {
      while (words->words[5] == 0) {
        if (futex_wait(words->words[5], 0, kNoTimeout) == WaitOutcome::kWoken && words->words[5] != 0) {
          ++woken;
          return;
        }
      }
      ++too_late;
    });
  }
  std::this_thread::sleep_for(std::chrono::milliseconds(50));  // most of them sleep; nothing depends on it
  groups.raise(5);
  bool due = wake(groups);
  std::this_thread::sleep_for(std::chrono::milliseconds(20));
  EXPECT_LE(woken, WaitGroups::kMostWoken);
  while (due) due = wake(groups);
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(woken + too_late, kThreads);
}

TEST(WaitGroupsTest, SleepersThatSleepAgainAtOnceDoNotKeepItBusyForever) {
  auto words = std::make_unique<WaitGroupWords>();
  WaitGroups groups(*words);
  std::atomic<bool> done{false};
  std::atomic<std::size_t> ended{0};
  std::vector<std::thread> threads;
  for (int i = 0; i < 16; ++i) {
    threads.emplace_back([&] {
      while (!done) futex_wait(words->words[5], words->words[5], kNoTimeout);
      ++ended;
    });
  }
  groups.raise(5);
  while (wake(groups)) {
  }
  EXPECT_FALSE(groups.is_due());
  done = true;
  while (ended != threads.size()) WaitGroups::raise_all(*words);
  for (std::thread& thread : threads) thread.join();
}

}  // namespace
}  // namespace hostmap::test
