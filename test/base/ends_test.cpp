#include "base/ends.hpp"

#include <chrono>
#include <gtest/gtest.h>

namespace hostmap::test {
namespace {

using namespace std::chrono_literals;

TEST(EndsTest, AnEndIsNoEarlierThanItsTimeToLiveAndAMicrosecondLaterAtMost) {
  for (int i = 0; i < 1000; ++i) {
    const std::int64_t before = monotonic_ns();
    const auto end = static_cast<std::int64_t>(end_after(1ms));
    const std::int64_t after = monotonic_ns();
    EXPECT_GE(end * 1000, before + 1'000'000);
    EXPECT_LE(end * 1000, after + 1'000'000 + 999);
  }
}

// A put and the question for its rest take less than a microsecond on a fast machine.
TEST(EndsTest, TheRestIsNeverMoreThanWhatWasGivenAndAMillisecondAtLeast) {
  for (std::int64_t put_ns = 1'000'000'000; put_ns < 1'000'002'001; put_ns += 37) {
    const std::uint64_t end = end_after(5ms, put_ns);
    for (std::int64_t later_ns = 0; later_ns < 3'000; later_ns += 41) {
      EXPECT_EQ(ttl_until(end, put_ns + later_ns), 5ms) << put_ns << " and " << later_ns;
    }
    EXPECT_EQ(ttl_until(end, put_ns + 1'002'000), 4ms);
    EXPECT_EQ(ttl_until(end, put_ns + 4'999'000), 1ms);
    EXPECT_EQ(ttl_until(end, put_ns + 5'001'000), 1ms) << "it was found before its end";
    EXPECT_EQ(ttl_until(end, put_ns + 3'600'000'000'000), 1ms);
  }
}

TEST(EndsTest, ATimeToLiveWhoseEndHasNoNumberHasNoEnd) {
  EXPECT_LT(end_after(kLongestTtl), std::uint64_t{1} << 63);
  EXPECT_GT(end_after(kLongestTtl), monotonic_us());
  for (const std::chrono::milliseconds ttl : {kLongestTtl + 1ms, kForever - 1ms, kForever}) {
    EXPECT_EQ(end_of_put(ttl), kNoEnd);
    EXPECT_EQ(end_of_expire(ttl), kNeverEnds);
  }
  EXPECT_EQ(end_of_put(kKeepTtl), kKeepEnd);
}

TEST(EndsTest, AMomentIsBeforeAnEndUntilThePreciseClockHasReachedIt) {
  for (int i = 0; i < 200; ++i) {
    const std::uint64_t end = monotonic_us() + 200;
    for (bool before = true; before;) {
      const std::uint64_t earlier = monotonic_us();
      before = is_before(end);
      if (before) {
        ASSERT_LT(earlier, end);
      } else {
        ASSERT_GE(monotonic_us(), end);
      }
    }
  }
  EXPECT_FALSE(is_before(0));
  EXPECT_FALSE(is_before(1));
  EXPECT_TRUE(is_before(end_after(1h)));
  EXPECT_TRUE(is_before(kNeverEnds));
}

TEST(EndsTest, AMomentStaysWhatItIsUntilItIsRenewed) {
  const std::uint64_t end = monotonic_us() + 20'000;
  Moment moment;
  ASSERT_TRUE(moment.is_before(kNeverEnds)) << "this reads the coarse clock alone";
  const bool first = moment.is_before(end);
  while (monotonic_us() < end) {
  }
  EXPECT_EQ(moment.is_before(end), first);
  EXPECT_TRUE(moment.is_before(kNeverEnds));
  moment.renew();
  EXPECT_FALSE(moment.is_before(end));
}

}  // namespace
}  // namespace hostmap::test
