// Each time that the server or a client reads the wall clock, it has jumped a day forward or back (fault case 25 in
// docs/internals/failure-model.md).
#include <chrono>
#include <cstdlib>
#include <gtest/gtest.h>
#include <string>

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

}  // namespace
}  // namespace hostmap::test
