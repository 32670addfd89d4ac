#include "wait/spin.hpp"

#include <gtest/gtest.h>

#include "support/seed.hpp"

namespace hostmap::test {
namespace {

constexpr std::int64_t kShortest = AdaptiveSpin::kShortestNs;
constexpr std::int64_t kLongest = AdaptiveSpin::kLongestNs;

// The estimate moves by eighths, in whole nanoseconds: it stops up to 7 of them short of its goal.
constexpr double kStep = 8;

void observe_often(AdaptiveSpin& spin, std::int64_t waited_ns) {
  for (int i = 0; i < 200; ++i) spin.observe(waited_ns);
}

TEST(AdaptiveSpinTest, AConditionThatIsReadyAtOnceIsPolledOnce) {
  AdaptiveSpin spin;
  int looks = 0;
  EXPECT_TRUE(spin.spin([&] { return ++looks == 1; }));
  EXPECT_EQ(looks, 1);
  EXPECT_EQ(spin.budget_ns(), kLongest) << "it did not wait, so it learns nothing";
}

TEST(AdaptiveSpinTest, WithoutABudgetItPollsOnce) {
  AdaptiveSpin spin;
  int looks = 0;
  EXPECT_FALSE(spin.spin([&] { return ++looks == 2; }, 0));
  EXPECT_EQ(looks, 1);
}

TEST(AdaptiveSpinTest, ItFindsWhatBecomesReady) {
  AdaptiveSpin spin;
  for (const int when : {2, 3, 9, 10, 50}) {
    int looks = 0;
    // If this thread was not running, a poll may come after the end of the budget: then the result is true once more.
    while (!spin.spin([&] { return ++looks >= when; })) {
    }
    EXPECT_GE(looks, when);
  }
}

TEST(AdaptiveSpinTest, ItGivesUpAfterItsBudgetAndNotBefore) {
  AdaptiveSpin spin;
  for (const std::int64_t limit : {kShortest, std::int64_t{5'000}, kLongest}) {
    std::uint64_t looks = 0;
    const std::int64_t begin = monotonic_ns();
    EXPECT_FALSE(spin.spin([&] { return ++looks == 0; }, limit));
    EXPECT_GE(monotonic_ns() - begin, std::min(limit, spin.budget_ns()));
    EXPECT_GT(looks, 1u);
  }
}

TEST(AdaptiveSpinTest, ALimitAboveTheBudgetDoesNotRaiseIt) {
  AdaptiveSpin spin;
  observe_often(spin, 100'000'000);
  ASSERT_NEAR(static_cast<double>(spin.budget_ns()), static_cast<double>(kShortest), kStep);
  const std::int64_t begin = monotonic_ns();
  EXPECT_FALSE(spin.spin([] { return false; }, kLongest));
  EXPECT_GE(monotonic_ns() - begin, kShortest);
}

TEST(AdaptiveSpinTest, LongWaitsLowerTheBudgetToTheShortest) {
  AdaptiveSpin spin;
  std::int64_t before = spin.budget_ns();
  for (int i = 0; i < 100; ++i) {
    spin.observe(kLongest + 1);
    EXPECT_LE(spin.budget_ns(), before);
    before = spin.budget_ns();
  }
  EXPECT_NEAR(static_cast<double>(spin.budget_ns()), static_cast<double>(kShortest), kStep);
}

TEST(AdaptiveSpinTest, WaitsJustWithinTheLongestRaiseTheBudgetToTheLongest) {
  AdaptiveSpin spin;
  observe_often(spin, 1'000'000);
  ASSERT_NEAR(static_cast<double>(spin.budget_ns()), static_cast<double>(kShortest), kStep);
  observe_often(spin, kLongest);
  EXPECT_NEAR(static_cast<double>(spin.budget_ns()), static_cast<double>(kLongest), kStep);
}

TEST(AdaptiveSpinTest, ItSettlesNearTwiceTheUsualWait) {
  for (const std::int64_t waited : {2'500, 5'000, 7'000}) {
    AdaptiveSpin spin;
    observe_often(spin, waited);
    EXPECT_NEAR(static_cast<double>(spin.budget_ns()), static_cast<double>(2 * waited), kStep) << waited;
    AdaptiveSpin from_below;
    observe_often(from_below, 1'000'000);
    observe_often(from_below, waited);
    EXPECT_NEAR(static_cast<double>(from_below.budget_ns()), static_cast<double>(2 * waited), kStep) << waited;
  }
}

TEST(AdaptiveSpinTest, OneOutlierChangesItByAnEighth) {
  AdaptiveSpin spin;
  observe_often(spin, 7'000);
  const std::int64_t settled = spin.budget_ns();
  spin.observe(1'000'000'000);
  EXPECT_NEAR(static_cast<double>(spin.budget_ns()),
              static_cast<double>(settled) - static_cast<double>(settled - kShortest) / 8, 2);
}

TEST(AdaptiveSpinTest, TheBudgetStaysWithinItsBoundsWhateverIsObserved) {
  Random random;
  AdaptiveSpin spin;
  for (int i = 0; i < 100'000; ++i) {
    const unsigned bits = static_cast<unsigned>(random.below(62));
    spin.observe(static_cast<std::int64_t>(random.word() >> 2 >> bits));
    ASSERT_GE(spin.budget_ns(), kShortest);
    ASSERT_LE(spin.budget_ns(), kLongest);
  }
}

constexpr std::int64_t kQuick = QuickYield::kQuickNs - 1;
constexpr std::int64_t kSlow = QuickYield::kQuickNs;

// The number of waits for which it advises against yields.
std::uint32_t waits_without_yields(QuickYield& yields) {
  std::uint32_t waits = 0;
  while (!yields.quick()) ++waits;
  return waits;
}

TEST(QuickYieldTest, QuickYieldsContinue) {
  QuickYield yields;
  for (int i = 0; i < 100'000; ++i) {
    ASSERT_TRUE(yields.quick());
    ASSERT_TRUE(yields.observe(kQuick));
  }
}

TEST(QuickYieldTest, ASlowYieldIsFollowedByWaitsWithoutYieldsAndThenOneIsTriedAgain) {
  QuickYield yields;
  EXPECT_FALSE(yields.observe(kSlow));
  EXPECT_EQ(waits_without_yields(yields), QuickYield::kFewestWaits);
  EXPECT_TRUE(yields.quick());
}

TEST(QuickYieldTest, EachFurtherSlowYieldDoublesTheWaitsWithoutYieldsUpToTheLimit) {
  QuickYield yields;
  for (std::uint32_t expected = QuickYield::kFewestWaits; expected < QuickYield::kMostWaits; expected *= 2) {
    yields.observe(kSlow);
    EXPECT_EQ(waits_without_yields(yields), expected);
    yields.observe(kQuick);  // a few quick yields in between change nothing
  }
  for (int i = 0; i < 3; ++i) {
    yields.observe(kSlow);
    EXPECT_EQ(waits_without_yields(yields), QuickYield::kMostWaits);
  }
}

TEST(QuickYieldTest, AfterManyQuickYieldsInARowSlowOnesAreForgotten) {
  QuickYield yields;
  for (int i = 0; i < 5; ++i) yields.observe(kSlow);
  waits_without_yields(yields);
  for (std::uint32_t i = 0; i < QuickYield::kForgetAfter; ++i) yields.observe(kQuick);
  yields.observe(kSlow);
  EXPECT_GT(waits_without_yields(yields), QuickYield::kFewestWaits) << "not yet";
  for (std::uint32_t i = 0; i <= QuickYield::kForgetAfter; ++i) yields.observe(kQuick);
  yields.observe(kSlow);
  EXPECT_EQ(waits_without_yields(yields), QuickYield::kFewestWaits);
}

TEST(AdaptiveSpinTest, YieldsBetweenPollsAreBounded) {
  AdaptiveSpin spin;
  int looks = 0;
  const auto never = [&] {
    ++looks;
    return false;
  };
  EXPECT_FALSE(spin.yield_until(never));
  EXPECT_LE(looks, AdaptiveSpin::kMostYields);
  EXPECT_GE(looks, 1);
}

}  // namespace
}  // namespace hostmap::test
