// Each time that the server or a client reads the wall clock, it has jumped a day forward or back (fault case 25 in
// docs/internals/failure-model.md).
#include <chrono>
#include <cstdlib>
#include <gtest/gtest.h>
#include <optional>
#include <string>
#include <thread>
#include <vector>

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

TEST(WallClock, JumpsOfADayChangeNoEndOfAKey) {
  ProcessSetup under_it;
  under_it.environment = {"LD_PRELOAD=" + program("shifted_clock.so")};
  std::optional<Server> server(std::in_place, std::vector<std::string>{"10"}, ServerSetup{.process = under_it});
  const std::string name = server->name();
  const auto ask = [&](std::vector<std::string> arguments) {
    arguments.insert(arguments.begin(), {program("hostmap"), "--name", name});
    return run(arguments, under_it);
  };
  Client map = server->connect();
  PeerSetup setup;
  setup.process = under_it;
  Peer peer(*server, setup);
  ASSERT_EQ(peer.put_for("long", "value", 2h), StatusCode::kOk);
  ASSERT_EQ(ask({"put", "longer", "value", "--ttl", "3d"}).exit, kSuccess);
  ASSERT_EQ(ask({"incr", "number", "--ttl", "2h"}).exit, kSuccess);
  for (int round = 0; round < 3; ++round) {
    const auto begin = std::chrono::steady_clock::now();
    ASSERT_EQ(peer.put_for("short", "value", 100ms), StatusCode::kOk);
    while (map.exists("short").ok()) std::this_thread::sleep_for(1ms);
    EXPECT_GE(std::chrono::steady_clock::now() - begin, 100ms);
    EXPECT_EQ(peer.exists("short"), StatusCode::kNotFound);
    // As the shifted programs and this one see it, whose clock is not.
    EXPECT_LE(*map.ttl("long"), 2h);
    EXPECT_GT(*map.ttl("long"), 1h);
    EXPECT_LE(*map.ttl("longer"), 72h);
    EXPECT_GT(*map.ttl("longer"), 71h);
    EXPECT_GT(std::atoll(ask({"ttl", "number"}).output.c_str()), 3'600'000);
    EXPECT_EQ(peer.get("long").text, Peer::told_of("value"));
    EXPECT_TRUE(eventually([&] { return server->stat("expiring") == 3; })) << "what has lapsed is removed, and no more";
    server->kill();
    server.emplace(std::vector<std::string>{"10"}, ServerSetup{.name = name, .process = under_it});
  }
}

}  // namespace
}  // namespace hostmap::test
