// The system calls that a serving server may still make: those that it needs, and none by which a client that runs code in
// it could reach more.
#include <filesystem>
#include <fstream>
#include <gtest/gtest.h>
#include <map>
#include <sstream>
#include <string>

#include "process/harness/peer.hpp"
#include "process/harness/server.hpp"

namespace hostmap::test {
namespace {

TEST(SystemCalls, CallsThatStartProgramsUseNetworksOrReadOtherProcessesAreRefused) {
  const Ran ran = run({program("restricted")});
  ASSERT_EQ(ran.exit, kSuccess) << ran.output << ran.errors;
  std::map<std::string, std::string> told;
  for (const std::string& line : lines_of(ran.output)) {
    const std::size_t space = line.rfind(' ');
    told[line.substr(0, space)] = line.substr(space + 1);
  }
  EXPECT_EQ(told.size(), 16u);
  for (const auto& [call, outcome] : told) {
    const bool needed = call == "socket(AF_UNIX)" || call == "open" || call == "mmap" || call == "thread";
    EXPECT_EQ(outcome, needed ? "allowed" : "refused") << call;
  }
}

TEST(SystemCalls, EachThreadOfAServerIsRestricted) {
  Server server({"10", "--workers", "2"});
  int threads = 0;
  for (const auto& task : std::filesystem::directory_iterator("/proc/" + std::to_string(server.pid()) + "/task")) {
    std::ifstream status(task.path() / "status");
    std::string line;
    bool filtered = false;
    while (std::getline(status, line)) filtered = filtered || line == "Seccomp:\t2";
    EXPECT_TRUE(filtered) << task.path();
    ++threads;
  }
  EXPECT_GE(threads, 6);
  // And all of its work still succeeds: growth, streams, accepting clients, removing dead ones, and stopping.
  Peer peer(server);
  EXPECT_EQ(peer.put("large", "#5000000:1"), StatusCode::kOk);
  for (int i = 0; i < 2000; ++i) ASSERT_EQ(peer.put_async("key " + std::to_string(i), "#500:2"), StatusCode::kOk);
  EXPECT_EQ(peer.flush(), StatusCode::kOk);
  Peer other(server);
  EXPECT_EQ(other.get("large").text, Peer::told_of(pattern(5'000'000, 1)));
  other.kill();
  EXPECT_TRUE(server.connections_come_to(1));
}

// Under a filter that kills a process that sets another filter, it serves with that filter only, reports this, and hands
// over.
TEST(SystemCalls, AFilterThatForbidsAnotherIsSurvivedAndLogged) {
  ServerSetup setup;
  setup.process.wrapper = {program("filtered")};
  Server server({"10"}, setup);
  Client map = server.connect();
  EXPECT_EQ(map.put("key", "value"), StatusCode::kOk);
  EXPECT_NE(server.errors().find("SystemCallFilter="), std::string::npos) << server.errors();
  setup.name = server.name();
  Server next({"--takeover"}, setup);
  EXPECT_EQ(server.wait(), kSuccess);
  EXPECT_EQ(*map.get("key"), "value");
}

}  // namespace
}  // namespace hostmap::test
