// How long a call may block: set_timeout for a client, TimeLimit for a thread.
#include <chrono>
#include <gtest/gtest.h>
#include <string>
#include <thread>

#include <hostmap/time_limit.hpp>

#include "process/harness/server.hpp"

namespace hostmap::test {
namespace {

using namespace std::chrono_literals;

class TimeLimits : public testing::Test {
 protected:
  // A put to the stopped server; true: it timed out. Without a limit it would block forever.
  bool put_times_out() { return client_.put("k", "v") == StatusCode::kTimeout; }

  Server server_;
  Client client_ = server_.connect(Options::kForever);
};

TEST_F(TimeLimits, SetTimeoutReplacesTheOneOfTheOptions) {
  EXPECT_EQ(client_.set_timeout(0ns), StatusCode::kInvalid);
  EXPECT_EQ(client_.set_timeout(-1ns), StatusCode::kInvalid);
  server_.pause();
  EXPECT_EQ(client_.set_timeout(20ms), StatusCode::kOk);
  EXPECT_TRUE(put_times_out());
  EXPECT_EQ(client_.set_timeout(Options::kForever), StatusCode::kOk);
  server_.send(SIGCONT);
  EXPECT_EQ(client_.put("k", "w"), StatusCode::kOk);
}

TEST_F(TimeLimits, ALimitIsOfItsThreadAndOfItsScope) {
  Client other = server_.connect(Options::kForever);
  server_.pause();
  {
    const TimeLimit outer(Options::kForever);
    {
      const TimeLimit inner(20ms);
      EXPECT_TRUE(put_times_out());
      EXPECT_EQ(other.put("other", "v"), StatusCode::kTimeout) << "of any client";
      EXPECT_EQ(Client::connect(server_.options(Options::kForever)).status(), StatusCode::kTimeout);
    }
    EXPECT_EQ(TimeLimit::exchange(Options::kForever), Options::kForever);
  }
  EXPECT_EQ(TimeLimit::exchange(0ns), 0ns);
  const TimeLimit mine(20ms);
  std::thread([] { EXPECT_EQ(TimeLimit::exchange(0ns), 0ns); }).join();
  EXPECT_TRUE(put_times_out());
  server_.send(SIGCONT);
}

TEST_F(TimeLimits, WithNoTimeACallThatNeedNotWaitStillWorks) {
  EXPECT_EQ(client_.put("k", "v"), StatusCode::kOk);
  const TimeLimit none(0ns);
  EXPECT_EQ(*client_.get("k"), "v");
  server_.pause();
  EXPECT_TRUE(put_times_out());
  server_.send(SIGCONT);
}

TEST_F(TimeLimits, WaitAndThePatienceForALeaseHaveTheirOwnTime) {
  Client other = server_.connect();  // not within a millisecond
  const TimeLimit brief(1ms);
  std::thread changes([this] {
    std::this_thread::sleep_for(100ms);
    EXPECT_EQ(client_.put("k", "v"), StatusCode::kOk);
  });
  const Result<std::optional<std::string>> changed = client_.wait("k", std::nullopt, 60s);
  changes.join();
  ASSERT_TRUE(changed) << changed.status();
  EXPECT_EQ(**changed, "v");
  std::uint64_t number = 0;
  {
    const TimeLimit enough(60s);
    number = *other.lease("k", 60s);
  }
  std::thread releases([&] {
    std::this_thread::sleep_for(100ms);
    EXPECT_EQ(other.release("k", number), StatusCode::kOk);
  });
  EXPECT_TRUE(client_.lease("k", 60s, 60s));
  releases.join();
}

}  // namespace
}  // namespace hostmap::test
