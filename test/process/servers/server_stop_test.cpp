// How a server stops, and the results of its clients' calls meanwhile.
#include <chrono>
#include <gtest/gtest.h>
#include <map>
#include <vector>

#include "process/harness/peer.hpp"
#include "process/harness/server.hpp"

namespace hostmap::test {
namespace {

class ServerStopBySignal : public testing::TestWithParam<int> {};

TEST_P(ServerStopBySignal, DrainsExitsWith0AndLeavesNothingInDevShm) {
  Server server({"10", "--workers", "2"});
  Peer peer(server);
  for (int i = 0; i < 10; ++i) EXPECT_EQ(peer.put_async("key" + std::to_string(i), "value"), StatusCode::kOk);
  EXPECT_EQ(peer.flush(), StatusCode::kOk);
  EXPECT_FALSE(server.files().empty());
  EXPECT_EQ(server.stop(GetParam()), kSuccess) << server.errors();
  EXPECT_EQ(server.files(), std::vector<std::string>());
}

INSTANTIATE_TEST_SUITE_P(Process, ServerStopBySignal, testing::Values(SIGTERM, SIGINT),
                         [](const auto& test) { return test.param == SIGTERM ? "Sigterm" : "Sigint"; });

TEST(ServerStop, AServerStopsAlthoughItsClientsWriteWithoutPause) {
  for (const char* workers : {"1", "4"}) {
    Server server({"10", "--workers", workers});
    std::vector<Program> clients;
    for (int id = 0; id < 8; ++id) {
      clients.emplace_back(server.client_command({std::to_string(id), "--seconds", "100"}));
    }
    ASSERT_TRUE(eventually([&] { return server.stat("puts") > 1'000'000; }));
    EXPECT_EQ(server.stop(), kSuccess) << server.errors();
    EXPECT_EQ(server.files(), std::vector<std::string>());
    for (Program& client : clients) {
      // The code depends on what the client was doing: closed, or no server.
      EXPECT_EQ(client.wait(), exited(3)) << client.errors();
      EXPECT_EQ(lines_of(client.errors()).size(), 1u) << client.errors();
    }
  }
}

TEST(ServerStop, AServerStopsAlthoughItCannotKeepUpWithItsClients) {
  // Values that take the worker more time than the clients, so it never finds the rings empty.
  Server server({"10", "--workers", "1"});
  std::vector<Peer> peers;
  for (int i = 0; i < 40; ++i) {
    peers.emplace_back(server);
    peers.back().say("stream key" + std::to_string(i) + " 3000 1000000000");
  }
  ASSERT_TRUE(eventually([&] { return server.stat("puts") > 10'000; }));
  EXPECT_EQ(server.stop(), kSuccess) << server.errors();
  EXPECT_EQ(server.files(), std::vector<std::string>());
  std::map<StatusCode, int> said;
  for (Peer& peer : peers) {
    EXPECT_EQ(peer.program().hear(), "sending 1000000000");
    ++said[peer.reply().code];
  }
  EXPECT_EQ(said[StatusCode::kClosed] + said[StatusCode::kNoServer], 40)
      << "others timed out: " << said[StatusCode::kTimeout];
}

TEST(ServerStop, WritesQueuedJustBeforeAClientLeavesAreApplied) {
  Server server({"10", "--workers", "2"});
  Client reader = server.connect();
  std::uint64_t puts = 0;
  for (int round = 0; round < 100; ++round) {
    {
      Client writer = server.connect();
      for (std::uint64_t i = 0; i < 500; ++i) {
        ASSERT_TRUE(writer.put_async(word_key(i), word_key(i + static_cast<std::uint64_t>(round))).ok());
      }
      puts += 500;
    }  // closes without a flush
    ASSERT_TRUE(server.connections_come_to(1));
    for (std::uint64_t i = 0; i < 500; ++i) {
      ASSERT_EQ(*reader.get(word_key(i)), word_key(i + static_cast<std::uint64_t>(round)));
    }
  }
  EXPECT_EQ(server.stat("puts"), puts);
}

TEST(ServerStop, AClientLearnsThatItsServerHasStopped) {
  Server server;
  Client direct = server.connect();
  Client ring = server.connect(kPatience, Reads::kRing);
  ASSERT_TRUE(direct.put("key", "value").ok());
  ASSERT_TRUE(direct.put_async("key", "value").ok());
  server.stop_cleanly();
  for (Client* client : {&direct, &ring}) {
    EXPECT_EQ(client->get("key").status().code(), StatusCode::kNoServer);
    EXPECT_EQ(client->exists("key").code(), StatusCode::kNoServer);
    EXPECT_EQ(client->put("key", "value").code(), StatusCode::kNoServer);
    EXPECT_EQ(client->put_async("key", "value").code(), StatusCode::kNoServer);
    EXPECT_EQ(client->erase("key").code(), StatusCode::kNoServer);
  }
}

TEST(ServerStop, AClientOfAStoppedServerIsServedByTheNextOne) {
  const std::string name = unique_name();
  Result<Client> client = StatusCode::kNoServer;
  for (int round = 0; round < 5; ++round) {
    Server server({}, {name});
    if (!client) client = server.connect();
    EXPECT_EQ(client->get("key").status().code(), StatusCode::kNotFound);
    EXPECT_TRUE(client->put("key", "value").ok());
    EXPECT_EQ(*client->get("key"), "value");
  }
}

TEST(ServerStop, AClientMayWaitForAServerToAppear) {
  const std::string name = unique_name();
  Peer early = Peer::unconnected();
  PeerSetup patient;
  patient.wait_for_server = true;
  early.begin_connect(name, "-", patient);
  Peer hasty = Peer::unconnected();
  hasty.begin_connect(name, "-", {});
  EXPECT_EQ(hasty.reply(), StatusCode::kNoServer);
  PeerSetup short_patience = patient;
  short_patience.timeout = std::chrono::milliseconds(200);
  hasty.begin_connect(name, "-", short_patience);
  EXPECT_EQ(hasty.reply(), StatusCode::kNoServer);
  Server server({}, {name});
  EXPECT_EQ(early.reply(), StatusCode::kOk);
  EXPECT_EQ(early.put("key", "value"), StatusCode::kOk);
}

}  // namespace
}  // namespace hostmap::test
