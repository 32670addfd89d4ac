// SIGKILL of the server and a start with --fresh: the map is discarded, and living clients connect anew.
#include <chrono>
#include <gtest/gtest.h>
#include <thread>
#include <vector>

#include "process/harness/peer.hpp"
#include "process/harness/server.hpp"

namespace hostmap::test {
namespace {

TEST(ServerCrash, TheNextServerReportsWhatItDiscardedAndStartsEmpty) {
  Server first({"10", "--workers", "2"});
  Peer living(first);
  Peer dead(first);
  EXPECT_EQ(living.put("key", "value"), StatusCode::kOk);
  EXPECT_EQ(dead.put("other", "value"), StatusCode::kOk);
  first.kill();
  dead.kill();
  EXPECT_EQ(first.connection_files().size(), 2u);

  Server second({"--fresh"}, {first.name()});
  const std::vector<std::string> log = lines_of(second.errors());
  ASSERT_EQ(log.size(), 1u) << second.errors();
  // master, table, journal and two connections
  EXPECT_EQ(log[0], "hostmap-server: discarded 5 regions of a server that died");
  EXPECT_EQ(second.stat("entries"), 0u);
  EXPECT_EQ(second.connection_files().size(), 0u);
  EXPECT_EQ(living.get("key"), StatusCode::kNotFound) << "and connects anew";
  EXPECT_EQ(second.connection_files().size(), 1u);
}

TEST(ServerCrash, AStartAfterAnOrderlyStopDiscardsNothing) {
  const std::string name = unique_name();
  for (int round = 0; round < 2; ++round) {
    Server server({}, {name});
    EXPECT_EQ(server.errors(), "");
  }
}

TEST(ServerCrash, BlockedClientsWakeWhenTheNextServerStarts) {
  Server first({"10", "--workers", "1"});
  PeerSetup patient;
  patient.timeout = std::chrono::seconds(60);
  PeerSetup by_ring = patient;
  by_ring.reads = Reads::kRing;
  Peer putting(first, patient);
  Peer erasing(first, patient);
  Peer flushing(first, patient);
  Peer streaming(first, patient);
  Peer big(first, patient);
  Peer getting(first, by_ring);
  Peer connecting = Peer::unconnected();
  EXPECT_EQ(putting.put("put", "old"), StatusCode::kOk);
  EXPECT_EQ(getting.get("put").text, Peer::told_of("old"));

  first.pause();
  putting.say("put put new");
  erasing.say("erase put");
  EXPECT_EQ(flushing.put_async("flush", "value"), StatusCode::kOk);
  flushing.say("flush");
  streaming.say("stream stream 100 1000000");  // waits for room
  EXPECT_EQ(streaming.program().hear(), "sending 1000000");
  big.say("put big #300000:1");  // waits for room in mid-stream
  getting.say("get put");
  connecting.begin_connect(first.name(), "-", patient);
  std::this_thread::sleep_for(std::chrono::milliseconds(500));
  first.kill();
  // Nothing shows them yet that it is dead, so they wait.
  EXPECT_EQ(putting.program().next_line(std::chrono::milliseconds(200)), std::nullopt);

  Server second({"--fresh"}, {first.name()});
  for (Peer* peer : {&putting, &erasing, &streaming, &big}) {
    const Reply reply = peer->reply();
    EXPECT_EQ(reply, StatusCode::kClosed);
    EXPECT_NE(reply.text.find("may or may not have been applied"), std::string::npos) << reply;
  }
  EXPECT_EQ(flushing.reply(), StatusCode::kClosed) << "queued writes are lost, and flush says so";
  // A read changes nothing, so it is repeated. Reads and connecting may find that the new server is not ready yet.
  const Reply got = getting.reply();
  EXPECT_TRUE(got == StatusCode::kNotFound || got == StatusCode::kNoServer) << got;
  const Reply connected = connecting.reply();
  if (connected == StatusCode::kNoServer) {
    EXPECT_EQ(connecting.connect(second), StatusCode::kOk);
  } else {
    EXPECT_EQ(connected, StatusCode::kOk);
  }
  for (Peer* peer : {&putting, &erasing, &flushing, &streaming, &big, &getting, &connecting}) {
    EXPECT_EQ(peer->put("again", "value"), StatusCode::kOk);
    EXPECT_EQ(peer->get("again").text, Peer::told_of("value"));
  }
}

TEST(ServerCrash, LostWritesAreReportedByOneFlush) {
  for (const bool blocked : {false, true}) {
    SCOPED_TRACE(blocked ? "flush was called before the crash" : "flush is called after it");
    Server first({"10", "--workers", "1"});
    Peer peer(first);
    first.pause();
    EXPECT_EQ(peer.put_async("key", "value"), StatusCode::kOk);
    if (blocked) peer.say("flush");
    first.kill();
    Server second({"--fresh"}, {first.name()});
    EXPECT_EQ(blocked ? peer.reply() : peer.flush(), StatusCode::kClosed);
    EXPECT_EQ(peer.flush(), StatusCode::kOk);
    EXPECT_EQ(peer.put_async("key", "value"), StatusCode::kOk);
    EXPECT_EQ(peer.flush(), StatusCode::kOk);
    EXPECT_EQ(peer.get("key").text, Peer::told_of("value"));
  }
}

TEST(ServerCrash, WithoutANextServerABlockedCallEndsAtItsDeadline) {
  Server server;
  PeerSetup hasty;
  hasty.timeout = std::chrono::milliseconds(1000);
  Peer peer(server, hasty);
  EXPECT_EQ(peer.put("key", "value"), StatusCode::kOk);
  server.kill();
  const Reply reply = peer.put("key", "value");
  EXPECT_EQ(reply, StatusCode::kTimeout);
  EXPECT_NE(reply.text.find("may or may not have been applied"), std::string::npos) << reply;
  server.remove_regions();
}

}  // namespace
}  // namespace hostmap::test
