#include "server/run/stream_quota.hpp"

#include <gtest/gtest.h>

namespace hostmap::test {
namespace {

TEST(StreamQuotaTest, FollowsALimitThatFallsAndRises) {
  StreamQuota quota;
  StreamQuota::Held one{0};
  StreamQuota::Held two{0};
  StreamQuota::Held three{0};
  EXPECT_TRUE(quota.take(one, 200, 1000));
  EXPECT_FALSE(quota.take(one, 100, 1000)) << "a quarter for each connection";
  EXPECT_TRUE(quota.take(one, 50, 1000));
  EXPECT_TRUE(quota.take(two, 250, 1000));
  EXPECT_FALSE(quota.take(three, 1, 1000)) << "half for all";
  EXPECT_EQ(three.load(), 0u);

  EXPECT_TRUE(quota.take(three, 100, 1200)) << "the limit has risen";
  EXPECT_FALSE(quota.take(one, 1, 400)) << "it has fallen below what is held";
  EXPECT_EQ(one.load(), 250u);
  quota.release(one, 250);
  quota.release(two, 250);
  EXPECT_FALSE(quota.take(three, 1, 400)) << "still more than a quarter for one";
  EXPECT_TRUE(quota.take(two, 100, 400));
  EXPECT_FALSE(quota.take(one, 1, 400));
  quota.release(two, 100);
  quota.release(three, 100);
  EXPECT_TRUE(quota.take(one, 5000, 400)) << "one alone may have any size";
}

}  // namespace
}  // namespace hostmap::test
