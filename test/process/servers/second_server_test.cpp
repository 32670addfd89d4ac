// A name has one server, running or stopped (fault case 17 in docs/internals/failure-model.md).
#include <gtest/gtest.h>
#include <unistd.h>

#include "layout/table.hpp"
#include "process/harness/peer.hpp"
#include "process/harness/server.hpp"
#include "shm/region.hpp"

namespace hostmap::test {
namespace {

void expect_second_refused(const Server& first) {
  const std::vector<std::string> files = first.files();
  expect_refusal(run_server({}, first.name()), 1, {"running", "pid " + std::to_string(first.pid()), "another --name"});
  expect_refusal(run_server({"--dir", "/dev/shm"}, first.name()), 1, {"running"});
  EXPECT_EQ(first.files(), files) << "it has touched something";
}

TEST(SecondServer, IsRefusedWhileTheFirstOneRuns) {
  Server first({"10"});
  Peer peer(first);
  EXPECT_EQ(peer.put("key", "value"), StatusCode::kOk);
  for (int i = 0; i < 5; ++i) expect_second_refused(first);
  EXPECT_EQ(peer.put("key", "other"), StatusCode::kOk);
  EXPECT_EQ(peer.get("key").text, Peer::told_of("other"));
  Server neighbour({"10"});  // another name does not matter
  EXPECT_EQ(first.errors(), "");
}

TEST(SecondServer, IsRefusedWhileTheFirstOneIsStoppedAndReadsContinue) {
  Server first({"10"});
  Peer peer(first);
  Client client = first.connect();
  for (int i = 0; i < 100; ++i) ASSERT_TRUE(client.put("key" + std::to_string(i), "value").ok());
  first.pause();
  for (int i = 0; i < 3; ++i) {
    expect_second_refused(first);
    for (int k = 0; k < 100; ++k) ASSERT_EQ(*client.get("key" + std::to_string(k)), "value");
    EXPECT_EQ(client.exists("other").code(), StatusCode::kNotFound);
    EXPECT_EQ(peer.get("key7").text, Peer::told_of("value"));
  }
  // A call that needs the server waits until its deadline or until the server continues.
  PeerSetup hasty;
  hasty.timeout = std::chrono::milliseconds(100);
  EXPECT_EQ(Peer::unconnected().connect(first, hasty), StatusCode::kTimeout);
  peer.say("put key7 new");
  EXPECT_EQ(peer.program().next_line(std::chrono::milliseconds(100)), std::nullopt);
  first.send(SIGCONT);
  EXPECT_EQ(peer.reply(), StatusCode::kOk);
  EXPECT_EQ(*client.get("key7"), "new");
}

// The next server tests a lock, and never whether a process with that pid lives.
TEST(SecondServer, ReplacesADeadOneThoughItsPidBelongsToAnotherProcess) {
  Server first({"10"});
  ASSERT_EQ(first.connect().put("key", "value"), StatusCode::kOk);
  first.kill();
  {
    const Result<Region> table = Region::attach(first.instance().table(), RegionKind::kTable, Access::kReadWrite);
    ASSERT_TRUE(table);
    table->at<TableHeader>(0)->server_pid.store(static_cast<std::uint32_t>(::getpid()));
  }
  Server second({"10"}, {first.name()});
  EXPECT_EQ(*second.connect().get("key"), "value");
}

TEST(SecondServer, OfTwentyStartedAtOnceExactlyOneServes) {
  for (int round = 0; round < 5; ++round) {
    const std::string name = unique_name();
    std::vector<Program> servers;
    for (int i = 0; i < 20; ++i)
      servers.emplace_back(std::vector<std::string>{program("hostmap-server"), "--name", name});
    ASSERT_TRUE(eventually([&] {
      int running = 0;
      for (const Program& server : servers) running += server.running() ? 1 : 0;
      return running == 1;
    }));
    for (Program& server : servers) {
      if (server.running()) {
        EXPECT_TRUE(parse_ready(server.hear()).has_value());
        EXPECT_EQ(run({program("hostmap-client"), "--name", name, "--seconds", "0.01", "1"}).exit, kSuccess);
        server.send(SIGTERM);
        EXPECT_EQ(server.wait(), kSuccess);
      } else {
        EXPECT_EQ(server.wait(), exited(1));
        EXPECT_EQ(lines_of(server.errors()).size(), 1u) << server.errors();
      }
    }
    EXPECT_EQ(files_of_instance(name), std::vector<std::string>());
  }
}

}  // namespace
}  // namespace hostmap::test
