// A server is stopped (fault case 17 in docs/internals/failure-model.md). Direct reads work; each call that needs the server
// ends at its own deadline with "outcome unknown"; when the server continues, its clients do, on the same connections.
#include <atomic>
#include <chrono>
#include <gtest/gtest.h>
#include <thread>
#include <vector>

#include "process/harness/peer.hpp"
#include "process/harness/server.hpp"

namespace hostmap::test {
namespace {

PeerSetup hasty(Reads reads = Reads::kDirect) {
  PeerSetup setup;
  setup.timeout = std::chrono::milliseconds(100);
  setup.reads = reads;
  return setup;
}

// With such a short timeout, even a call to a running server may time out on a busy machine.
Reply again_until_in_time(Peer& peer, const std::string& line) {
  Reply reply;
  EXPECT_TRUE(eventually([&] {
    reply = peer.ask(line);
    return reply.code != StatusCode::kTimeout;
  })) << line;
  return reply;
}

TEST(StoppedServer, CallsEndAtTheirDeadlineAndWorkAgainWhenTheServerContinues) {
  Server server({"10", "--ring-size", "8K"});
  Peer writer(server, hasty());
  Peer reader(server, hasty(Reads::kRing));
  EXPECT_EQ(again_until_in_time(writer, "put key old"), StatusCode::kOk);
  EXPECT_EQ(again_until_in_time(reader, "get key"), StatusCode::kOk);
  server.pause();
  for (int i = 0; i < 5; ++i) {
    const Reply put = writer.put("key", "new" + std::to_string(i));
    EXPECT_EQ(put, StatusCode::kTimeout) << put;
    EXPECT_NE(put.text.find("may or may not have been applied"), std::string::npos) << put;
    EXPECT_EQ(writer.erase("other"), StatusCode::kTimeout);
    EXPECT_EQ(reader.get("key"), StatusCode::kTimeout);
  }
  server.send(SIGCONT);
  EXPECT_EQ(again_until_in_time(writer, "put last value"), StatusCode::kOk);
  EXPECT_EQ(writer.get("key").text, Peer::told_of("new4")) << "what was sent in time to its ring is applied, in order";
  EXPECT_EQ(again_until_in_time(reader, "get key").text, Peer::told_of("new4"));
  EXPECT_EQ(server.stat("connected"), 2u) << "nobody had to connect anew";
}

TEST(StoppedServer, WithoutADeadlineEveryCallWaitsUntilTheServerContinuesOrEnds) {
  Server server({"10", "--ring-size", "8K"});
  Client putting = server.connect(Options::kForever);
  Client getting = server.connect(Options::kForever, Reads::kRing);
  Client filling = server.connect(Options::kForever);
  ASSERT_EQ(putting.put("key", "old"), StatusCode::kOk);
  server.pause();
  std::atomic<int> ended{0};
  const auto in_a_thread = [&ended](auto call) {
    return std::jthread([&ended, call = std::move(call)] {
      call();
      ++ended;
    });
  };
  {
    const std::jthread threads[] = {
        in_a_thread([&] { EXPECT_EQ(putting.put("key", "new"), StatusCode::kOk); }),
        in_a_thread([&] { EXPECT_TRUE(getting.get("key")); }),
        in_a_thread([&] {  // waits for room
          for (int i = 0; i < 1000; ++i)
            ASSERT_EQ(filling.put_async("fill " + std::to_string(i), "value"), StatusCode::kOk);
          EXPECT_EQ(filling.flush(), StatusCode::kOk);
        }),
        in_a_thread([&] { EXPECT_EQ(server.connect(Options::kForever).put("late", "value"), StatusCode::kOk); }),
    };
    std::this_thread::sleep_for(std::chrono::milliseconds(300));
    EXPECT_EQ(ended.load(), 0) << "not all of them waited";
    server.send(SIGCONT);
  }
  EXPECT_EQ(*putting.get("key"), "new");
  EXPECT_EQ(*putting.size(), 1002u);
  server.stop_cleanly();
  EXPECT_FALSE(putting.put("key", "too late").ok()) << "a call without a deadline fails when its server has ended";
}

TEST(StoppedServer, ADirectReadWaitsOnlyForTheClientsOwnWrites) {
  Server server;
  Peer writer(server, hasty());
  Peer other(server, hasty());
  EXPECT_EQ(again_until_in_time(writer, "put key old"), StatusCode::kOk);
  server.pause();
  EXPECT_EQ(writer.get("key").text, Peer::told_of("old"));
  EXPECT_EQ(writer.put_async("key", "new"), StatusCode::kOk);
  EXPECT_EQ(writer.get("key"), StatusCode::kTimeout) << "an older value than its own write would be a lie";
  EXPECT_EQ(other.get("key").text, Peer::told_of("old"));
  EXPECT_EQ(writer.flush(), StatusCode::kTimeout);
  server.send(SIGCONT);
  EXPECT_EQ(again_until_in_time(writer, "flush"), StatusCode::kOk);
  EXPECT_EQ(other.get("key").text, Peer::told_of("new"));
  EXPECT_EQ(server.stat("connected"), 2u);
}

TEST(StoppedServer, AFullRingRefusesAtTheDeadlineAndLosesNothing) {
  Server server({"10", "--ring-size", "4096"});
  Peer writer(server, hasty());
  EXPECT_EQ(again_until_in_time(writer, "put key old"), StatusCode::kOk);
  server.pause();
  std::uint64_t queued = 0;
  while (writer.put_async("=" + std::to_string(queued), "=1") == StatusCode::kOk) {
    ++queued;
    ASSERT_LE(queued, 128u) << "a ring of 4 KiB takes no more records of 32 bytes";
  }
  EXPECT_EQ(writer.put("key", "new"), StatusCode::kTimeout);
  server.send(SIGCONT);
  EXPECT_EQ(again_until_in_time(writer, "flush"), StatusCode::kOk);
  for (std::uint64_t i = 0; i < queued; ++i) EXPECT_EQ(writer.get("=" + std::to_string(i)), StatusCode::kOk) << i;
  EXPECT_EQ(writer.get("=" + std::to_string(queued)), StatusCode::kNotFound) << "what was refused is not there";
  EXPECT_EQ(server.stat("connected"), 1u);
}

TEST(StoppedServer, TheNextFlushReportsTheOutcomeOfTimedOutCallsOnce) {
  Server server;
  Peer writer(server, hasty());
  EXPECT_EQ(again_until_in_time(writer, "put here value"), StatusCode::kOk);
  server.pause();
  EXPECT_EQ(writer.put("there", "value"), StatusCode::kTimeout);
  EXPECT_EQ(writer.erase("nowhere"), StatusCode::kTimeout);
  EXPECT_EQ(writer.flush(), StatusCode::kTimeout);
  server.send(SIGCONT);
  const Reply told = again_until_in_time(writer, "flush");
  EXPECT_EQ(told, StatusCode::kNotFound) << told;
  EXPECT_NE(told.text.find("timed out: 1;"), std::string::npos) << told;
  EXPECT_EQ(again_until_in_time(writer, "flush"), StatusCode::kOk);
}

TEST(StoppedServer, RefusedWritesAreReportedThoughTheFirstFlushTimedOut) {
  Server server({"10", "--memory", "1M", "--ring-size", "1M"});
  Peer writer(server, hasty());
  Reply full;
  for (int i = 0; full.code != StatusCode::kFull; ++i) {
    full = again_until_in_time(writer, "put fill" + std::to_string(i) + " #10000:1");
    ASSERT_LT(i, 1000);
  }
  server.pause();
  EXPECT_EQ(writer.put_async("more", "#100000:2"), StatusCode::kOk) << "room cannot be made for it";
  EXPECT_EQ(writer.put_async("and more", "#100000:2"), StatusCode::kOk);
  EXPECT_EQ(writer.flush(), StatusCode::kTimeout);
  server.send(SIGCONT);
  const Reply told = again_until_in_time(writer, "flush");
  EXPECT_EQ(told, StatusCode::kFull) << told;
  EXPECT_NE(told.text.find(": 2;"), std::string::npos) << told;
  EXPECT_EQ(again_until_in_time(writer, "flush"), StatusCode::kOk);
}

// The server would take the next request for the rest of the stream.
TEST(StoppedServer, AnInterruptedStreamEndsItsConnectionAndTheNextCallConnectsAnew) {
  Server server({"10", "--ring-size", "8K"});
  Peer writer(server, hasty());
  EXPECT_EQ(again_until_in_time(writer, "put large old"), StatusCode::kOk);
  server.pause();
  EXPECT_EQ(writer.put("large", "#100000:1"), StatusCode::kTimeout);
  server.send(SIGCONT);
  EXPECT_EQ(again_until_in_time(writer, "put small value"), StatusCode::kOk);
  EXPECT_EQ(writer.get("large").text, Peer::told_of("old")) << "an incomplete value is not applied";
  EXPECT_TRUE(server.connections_come_to(1)) << "the old connection is freed";
  EXPECT_EQ(again_until_in_time(writer, "put large #100000:2"), StatusCode::kOk);
  EXPECT_EQ(writer.get("large").text, Peer::told_of(pattern(100'000, 2)));
  EXPECT_EQ(server.stat("poisoned"), 0u);
}

// Requests that wait in the rings together must each find the state that the ones before them leave: a clear, too, has room
// for so many clears before it only.
TEST(StoppedServer, ClearsThatWaitByTheHundredBringNothingBack) {
  for (const char* workers : {"1", "4"}) {
    SCOPED_TRACE(workers);
    Server server({"64", "--workers", workers, "--memory", "64M"});
    Client map = server.connect();
    for (std::uint64_t i = 0; i < 1000; ++i) {
      ASSERT_TRUE(map.put_async("key " + std::to_string(i), "secret").ok());
      ASSERT_TRUE(map.put_async(word_key(i), word_key(i)).ok());
    }
    ASSERT_TRUE(map.flush().ok());
    std::vector<Client> hasty;
    for (int i = 0; i < 6; ++i) {
      hasty.push_back(server.connect());
      ASSERT_TRUE(hasty.back().put("key", "value").ok());  // opens the channel
      ASSERT_TRUE(hasty.back().set_timeout(std::chrono::milliseconds(1)).ok());
    }
    server.pause();
    for (Client& client : hasty) {
      for (int i = 0; i < 60; ++i) ASSERT_EQ(client.clear(), StatusCode::kTimeout) << i;
    }
    server.send(SIGCONT);
    // Each client's own requests are applied in their order, and these after all of its clears.
    for (Client& client : hasty) {
      ASSERT_TRUE(client.set_timeout(kPatience).ok());
      ASSERT_TRUE(client.clear().ok());
    }
    for (std::uint64_t i = 0; i < 1000; ++i) {
      ASSERT_EQ(map.exists("key " + std::to_string(i)), StatusCode::kNotFound) << i;
      ASSERT_EQ(map.exists(word_key(i)), StatusCode::kNotFound) << i;
    }
    EXPECT_EQ(*map.size(), 0u);
    ASSERT_TRUE(map.put("key", "value").ok());
    EXPECT_EQ(server.stat("entries"), 1u);
    EXPECT_EQ(run({program("hostmap"), "--name", server.name(), "check"}).exit, kSuccess);
  }
}

TEST(StoppedServer, MoreCallsThanTheClientKeepsCountOfAreRefusedUntilTheServerContinues) {
  Server server;
  PeerSetup setup = hasty();
  setup.timeout = std::chrono::milliseconds(5);
  Peer writer(server, setup);
  EXPECT_EQ(again_until_in_time(writer, "put key old"), StatusCode::kOk);
  server.pause();
  for (int i = 0; i < 100; ++i) ASSERT_EQ(writer.put("key", std::to_string(i)), StatusCode::kTimeout) << i;
  server.send(SIGCONT);
  EXPECT_EQ(again_until_in_time(writer, "put last value"), StatusCode::kOk);
  EXPECT_EQ(server.stat("connected"), 1u);
}

}  // namespace
}  // namespace hostmap::test
