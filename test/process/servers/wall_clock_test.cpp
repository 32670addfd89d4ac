// Each time that the server or a client reads the wall clock, it has jumped a day forward or back (fault case 25 in
// docs/internals/failure-model.md).
#include <chrono>
#include <cstdlib>
#include <gtest/gtest.h>
#include <string>
#include <thread>

#include "process/harness/peer.hpp"
#include "process/harness/server.hpp"

namespace hostmap::test {
namespace {

using namespace std::chrono_literals;

TEST(WallClock, JumpsOfADayMoveNoDeadlineAndDelayNobody) {
  ProcessSetup under_it;
  under_it.environment = {"LD_PRELOAD=" + program("shifted_clock.so")};
  const auto real = std::chrono::system_clock::now().time_since_epoch() / 1s;
  const long long shown = std::atoll(run({"/usr/bin/date", "+%s"}, under_it).output.c_str());
  ASSERT_GT(std::abs(shown - static_cast<long long>(real)), 80'000) << "it is not preloaded";

  Server first({"10"}, {.process = under_it});
  PeerSetup patient;
  patient.process = under_it;
  PeerSetup hasty = patient;
  hasty.timeout = 300ms;
  Peer steady(first, patient);
  EXPECT_EQ(steady.put("key", "value"), StatusCode::kOk);
  EXPECT_EQ(steady.put_async("other", "value"), StatusCode::kOk);
  EXPECT_EQ(steady.flush(), StatusCode::kOk);
  EXPECT_EQ(steady.get("key").text, Peer::told_of("value"));
  {
    Peer short_of_time(first, hasty);
    first.pause();
    const auto begin = std::chrono::steady_clock::now();
    EXPECT_EQ(short_of_time.put("key", "late"), StatusCode::kTimeout);
    EXPECT_GE(std::chrono::steady_clock::now() - begin, 300ms);
    first.send(SIGCONT);
    EXPECT_EQ(steady.put("key", "new"), StatusCode::kOk);
  }
  EXPECT_TRUE(first.connections_come_to(1)) << "a client that left is noticed as ever";
  first.kill();
  Server second({"10"}, {.name = first.name(), .process = under_it});
  EXPECT_EQ(steady.put("key", "newer"), StatusCode::kOk);
  EXPECT_EQ(steady.get("key").text, Peer::told_of("newer"));
}

// Keys end by CLOCK_MONOTONIC: neither the wall clock nor the time in which the machine was suspended moves an end.
TEST(WallClock, JumpsOfADayMoveNoEndOfAKey) {
  ProcessSetup under_it;
  under_it.environment = {"LD_PRELOAD=" + program("shifted_clock.so")};
  Server first({"10"}, {.process = under_it});
  PeerSetup shifted;
  shifted.process = under_it;
  Peer writer(first, shifted);
  shifted.reads = Reads::kRing;
  Peer by_ring(first, shifted);
  Client unshifted = first.connect();
  const auto is_there = [&](const std::string& key) {
    const StatusCode code = unshifted.exists(key).code();
    EXPECT_EQ(writer.exists(key), code) << key;
    EXPECT_EQ(by_ring.exists(key), code) << key;
    return code == StatusCode::kOk;
  };
  ASSERT_EQ(writer.put("stays", "value"), StatusCode::kOk);
  ASSERT_EQ(writer.put("hour", "value"), StatusCode::kOk);
  ASSERT_EQ(writer.put("short", "value"), StatusCode::kOk);
  ASSERT_EQ(writer.ask("expire hour 3600000"), StatusCode::kOk);
  EXPECT_GT(*unshifted.ttl("hour"), 30min);
  EXPECT_LE(*unshifted.ttl("hour"), 1h);
  const auto begin = std::chrono::steady_clock::now();
  ASSERT_EQ(writer.ask("expire short 100"), StatusCode::kOk);
  while (writer.exists("short") == StatusCode::kOk) {
  }
  EXPECT_GE(std::chrono::steady_clock::now() - begin, 100ms);
  EXPECT_FALSE(is_there("short"));
  EXPECT_TRUE(is_there("hour"));
  EXPECT_TRUE(is_there("stays"));

  ASSERT_EQ(writer.put("short", "value"), StatusCode::kOk);
  ASSERT_EQ(writer.ask("expire short 20"), StatusCode::kOk);
  first.kill();
  std::this_thread::sleep_for(100ms);
  Server second({"10"}, {.name = first.name(), .process = under_it});
  EXPECT_FALSE(is_there("short"));
  EXPECT_TRUE(is_there("hour"));
  EXPECT_TRUE(is_there("stays"));
  EXPECT_GT(*unshifted.ttl("hour"), 30min);
}

}  // namespace
}  // namespace hostmap::test
