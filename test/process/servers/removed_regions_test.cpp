// The regions of a running server are removed (fault case 19 in docs/internals/failure-model.md).
#include <chrono>
#include <filesystem>
#include <fstream>
#include <gtest/gtest.h>
#include <thread>

#include "process/harness/peer.hpp"
#include "process/harness/server.hpp"

namespace hostmap::test {
namespace {

// The number of lines in the log that report the removal.
std::size_t times_said(Server& server) {
  std::size_t count = 0;
  for (const std::string& line : lines_of(server.errors())) count += line.find("removed") != std::string::npos ? 1 : 0;
  return count;
}

TEST(RemovedRegions, TheServerReportsItOnceServesConnectedClientsAndExitsWith1AfterTheLast) {
  for (const std::string what : {"all", "master", "table", "alive"}) {
    SCOPED_TRACE(what);
    Server server({"10", "--workers", "2"});
    Peer first(server);
    Peer second(server);
    EXPECT_EQ(first.put("key", "value"), StatusCode::kOk);
    if (what == "all") {
      server.remove_regions();
    } else {
      remove_path("/dev/shm/" + server.name() + "-" + what);
    }
    ASSERT_TRUE(eventually([&] { return times_said(server) == 1; })) << server.errors();

    // Connected clients continue to work, also with a channel that is opened only now.
    for (int i = 0; i < 100; ++i) {
      EXPECT_EQ(first.put("key" + std::to_string(i), "#100:" + std::to_string(i)), StatusCode::kOk);
      EXPECT_EQ(second.get("key" + std::to_string(i)).text, Peer::told_of(pattern(100, static_cast<std::uint64_t>(i))));
      EXPECT_EQ(second.put("key" + std::to_string(i), "#2000:" + std::to_string(i)), StatusCode::kOk);
    }
    EXPECT_EQ(second.put("large", "#300000:1"), StatusCode::kOk);
    expect_refusal(run(server.client_command({"1"})), 3, {what == "alive" ? "has died" : "no server", server.name()});
    if (what != "all") {
      // New clients cannot connect, and do not disturb.
      for (int i = 0; i < 3; ++i) EXPECT_EQ(run(server.client_command({"1"})).exit, exited(3));
    }
    EXPECT_EQ(first.leave(), kSuccess);
    EXPECT_EQ(second.get("key").text, Peer::told_of("value"));
    EXPECT_TRUE(server.program().running());
    second.kill();
    EXPECT_EQ(server.wait(), exited(1));
    EXPECT_EQ(times_said(server), 1u) << server.errors();
    EXPECT_EQ(server.files(), std::vector<std::string>());
  }
}

TEST(RemovedRegions, AReplacedFileCountsAsRemoved) {
  for (const std::string what : {"master", "table", "alive"}) {
    SCOPED_TRACE(what);
    Server server;
    Peer peer(server);
    const std::string path = "/dev/shm/" + server.name() + "-" + what;
    std::ofstream(path + "-aside") << "another file";
    std::filesystem::rename(path + "-aside", path);
    ASSERT_TRUE(eventually([&] { return times_said(server) == 1; })) << server.errors();
    EXPECT_EQ(peer.put("key", "value"), StatusCode::kOk);
    EXPECT_EQ(peer.leave(), kSuccess);
    EXPECT_EQ(server.wait(), exited(1));
    remove_path(path);
    EXPECT_EQ(server.files(), std::vector<std::string>());
  }
}

TEST(RemovedRegions, ARenamedFileIsReportedAndTheServerContinues) {
  for (const std::string what : {"master", "table", "alive"}) {
    SCOPED_TRACE(what);
    Server server;
    Peer peer(server);
    const std::string path = "/dev/shm/" + server.name() + "-" + what;
    std::filesystem::rename(path, path + "-aside");
    ASSERT_TRUE(eventually([&] { return server.errors().find(path) != std::string::npos; })) << server.errors();
    EXPECT_NE(server.errors().find("rename the file back"), std::string::npos) << server.errors();
    EXPECT_EQ(peer.put("key", "value"), StatusCode::kOk);
    std::filesystem::rename(path + "-aside", path);
    Peer newcomer(server);
    EXPECT_EQ(newcomer.get("key").text, Peer::told_of("value"));
    EXPECT_EQ(times_said(server), 0u) << server.errors();
  }
}

TEST(RemovedRegions, WithNobodyConnectedTheServerExitsAtOnce) {
  Server server;
  server.remove_regions();
  EXPECT_EQ(server.wait(), exited(1));
  EXPECT_EQ(times_said(server), 1u) << server.errors();
}

TEST(RemovedRegions, ASignalStillStopsTheServerInOrder) {
  Server server;
  Peer peer(server);
  server.remove_regions();
  ASSERT_TRUE(eventually([&] { return times_said(server) == 1; }));
  EXPECT_EQ(server.stop(), kSuccess);
  EXPECT_EQ(peer.put("key", "value"), StatusCode::kNoServer);
}

TEST(RemovedRegions, TheEndOfTheFirstServerDoesNotHarmTheNextOfTheName) {
  for (const bool by_signal : {false, true}) {
    SCOPED_TRACE(by_signal ? "SIGTERM" : "the last client leaves");
    Server first({"10"});
    Peer old(first);
    EXPECT_EQ(old.put("key", "old"), StatusCode::kOk);
    first.remove_regions();
    ASSERT_TRUE(eventually([&] { return times_said(first) == 1; }));

    // As the first one's log advises.
    Server second({"10"}, {first.name()});
    EXPECT_EQ(second.errors(), "");
    Peer young(second);  // of the same connection id as the old one
    EXPECT_EQ(young.put("key", "young"), StatusCode::kOk);
    const std::vector<std::string> files = second.files();
    EXPECT_EQ(old.put("key", "older"), StatusCode::kOk) << "the first one still serves its own";
    EXPECT_EQ(young.get("key").text, Peer::told_of("young"));
    if (by_signal) {
      EXPECT_EQ(first.stop(), kSuccess);
    } else {
      EXPECT_EQ(old.leave(), kSuccess);
      EXPECT_EQ(first.wait(), exited(1));
    }
    EXPECT_EQ(second.files(), files) << "the first one's end has removed regions of the second";
    EXPECT_EQ(run(second.client_command({"--seconds", "0.01", "1"})).exit, kSuccess);
    EXPECT_EQ(young.get("key").text, Peer::told_of("young"));
    second.kill();  // whatever remains of it
    second.remove_regions();
  }
}

}  // namespace
}  // namespace hostmap::test
