// Pace: how long the service thread pauses, depending on the work that it has done.
#include "server/connections/pace.hpp"

#include <gtest/gtest.h>

namespace hostmap::test {
namespace {

constexpr std::int64_t kMs = 1'000'000;

TEST(Pace, ABurstNeedsNoPause) {
  Pace pace(0);
  for (std::int64_t now = 1; now <= 100; ++now) EXPECT_EQ(pace.pause_after(kMs, now * kMs), 0) << now;
}

TEST(Pace, OverTimeItIsATenthOfACpu) {
  Pace pace(0);
  std::int64_t now = 0;
  std::int64_t worked = 0;
  while (now < 10'000 * kMs) {
    now += kMs;
    worked += kMs;
    const std::int64_t pause = pace.pause_after(kMs, now);
    EXPECT_LE(pause, Pace::kLongestPauseNs);
    now += pause;
  }
  EXPECT_NEAR(static_cast<double>(worked), static_cast<double>(now) / 10, 110.0 * kMs);
}

TEST(Pace, AfterARestItMayWorkForABurstAtMost) {
  Pace pace(0);
  for (std::int64_t now = 1; now <= 200; ++now) static_cast<void>(pace.pause_after(kMs, now * kMs));
  EXPECT_GT(pace.pause_after(kMs, 201 * kMs), 0);
  const std::int64_t later = 3'600'000 * kMs;
  EXPECT_EQ(pace.pause_after(Pace::kBurstNs, later), 0);
  EXPECT_GT(pace.pause_after(kMs, later), 0);
}

// A single long round must not make the clients wait for long.
TEST(Pace, NoPauseIsLong) {
  Pace pace(0);
  EXPECT_EQ(pace.pause_after(3'600'000 * kMs, kMs), Pace::kLongestPauseNs);
}

}  // namespace
}  // namespace hostmap::test
