// Clients that die or are stopped while they connect, many clients at once, no free connection, and a counter near its end
// (fault cases 1 and 3 in docs/internals/failure-model.md).
#include <chrono>
#include <gtest/gtest.h>
#include <optional>
#include <thread>
#include <vector>

#include "layout/master.hpp"
#include "process/harness/peer.hpp"
#include "process/harness/proc.hpp"
#include "process/harness/raw_connection.hpp"
#include "process/harness/server.hpp"
#include "shm/region.hpp"

namespace hostmap::test {
namespace {

constexpr const char* kPoints[] = {"number",    "claimed", "asked", "ready",     "attached",
                                   "confirmed", "writing", "sent",  "streaming", "answered"};

Program stepping_client(const Server& server, const std::string& point, const std::string& signal) {
  return Program({program("stepping_client"), server.name(), server.dir(), point, signal});
}

// The number of mailboxes that are not free.
int taken_mailboxes(const Server& server) {
  const Result<Region> region = Region::attach(server.instance().master(), RegionKind::kMaster, Access::kReadOnly);
  MasterView master(region->data());
  master.set_mailboxes(master.header().mailbox_count);
  int taken = 0;
  for (std::uint64_t id = 0; id < master.mailboxes(); ++id) {
    if (mailbox_state(master.mailbox(id).word.load()) != kMailboxFree) ++taken;
  }
  return taken;
}

// The resources that a server holds for its clients.
struct Holdings {
  std::size_t open_files;
  std::size_t mappings;
  std::vector<std::string> files;
  std::uint64_t connections;
  int mailboxes;
  friend bool operator==(const Holdings&, const Holdings&) = default;
  friend std::ostream& operator<<(std::ostream& out, const Holdings& h) {
    return out << h.open_files << " open files, " << h.mappings << " mappings, " << h.files.size() << " regions, "
               << h.connections << " connections, " << h.mailboxes << " mailboxes taken";
  }
};
Holdings holdings(const Server& server) {
  return {open_files(server.pid()), mappings_of_instance(server.pid(), server.name()), server.files(),
          server.stat("connections"), taken_mailboxes(server)};
}

void die_at_every_point(int times) {
  std::printf("%d deaths at each of %zu points\n", times, std::size(kPoints));
  Server server({"10", "--workers", "1"});
  Peer bystander(server);
  EXPECT_EQ(bystander.put("key", "value"), StatusCode::kOk);
  // A client is served before the server has begun to watch its process. A second client that has come and gone shows that
  // the server watches the first.
  EXPECT_EQ(Peer(server).leave(), kSuccess);
  ASSERT_TRUE(server.connections_come_to(1));
  const Holdings before = holdings(server);
  constexpr int kAtOnce = 10;
  for (int time = 0; time < times; time += kAtOnce) {
    std::vector<Program> dying;
    for (const char* point : kPoints) {
      for (int i = 0; i < kAtOnce; ++i) dying.push_back(stepping_client(server, point, "KILL"));
    }
    for (Program& client : dying) ASSERT_EQ(client.wait(), killed_by(SIGKILL)) << client.output();
    // A dead client delays neither the next client nor a connected one.
    Peer next(server);
    ASSERT_EQ(next.put("next", "value"), StatusCode::kOk);
    ASSERT_EQ(bystander.put("key", "value"), StatusCode::kOk);
    ASSERT_EQ(next.leave(), kSuccess);
  }
  const bool all_back = eventually([&] { return holdings(server) == before; });
  EXPECT_TRUE(all_back) << "before: " << before << "; after: " << holdings(server);
  // The first two of the ten points are before there is a connection. At the third, the server finds the request only if
  // another client wakes it.
  EXPECT_GE(server.stat("reaped"), static_cast<std::uint64_t>(times) * 7);
  EXPECT_LE(server.stat("reaped"), static_cast<std::uint64_t>(times) * 8);
  EXPECT_EQ(server.stat("poisoned"), 0u);
  EXPECT_EQ(bystander.get("step").text, Peer::told_of("value"));
}

TEST(Connecting, ClientsThatDieAtAnyPointLeaveNothingAndDelayNobody) { die_at_every_point(20); }
TEST(ConnectingSlow, ThousandsOfClientsThatDieAtAnyPointLeaveNothing) { die_at_every_point(500); }

TEST(Connecting, AClientKilledBeforeItPublishesItsPutChangesNothing) {
  for (const char* point : {"writing", "streaming"}) {
    Server server;
    Program client = stepping_client(server, point, "KILL");
    EXPECT_EQ(client.wait(), killed_by(SIGKILL));
    EXPECT_TRUE(server.connections_come_to(0));
    EXPECT_EQ(server.connect().get("step").status().code(), StatusCode::kNotFound) << point;
    EXPECT_EQ(server.stat("puts"), 0u);
  }
}

TEST(Connecting, AClientKilledAfterItPublishedItsPutHasPutIt) {
  for (const char* point : {"sent", "answered"}) {
    Server server;
    Program client = stepping_client(server, point, "KILL");
    EXPECT_EQ(client.wait(), killed_by(SIGKILL));
    EXPECT_TRUE(server.connections_come_to(0));
    EXPECT_EQ(*server.connect().get("step"), "value") << point;
    EXPECT_EQ(server.stat("puts"), 1u);
  }
}

// The server waits 2 s for a client between two steps; these clients are stopped for longer.
TEST(Connecting, AClientStoppedWhileConnectingIsServedOrRefusedWhenContinued) {
  Server server;
  std::vector<Program> clients;
  for (const char* point : kPoints) clients.push_back(stepping_client(server, point, "STOP"));
  for (const Program& client : clients) {
    ASSERT_TRUE(eventually([&] { return is_stopped(client.pid()); })) << client.command_line();
  }
  for (int i = 0; i < 40; ++i) {
    Peer next(server);  // others connect and leave without delay
    ASSERT_EQ(next.leave(), kSuccess);
    std::this_thread::sleep_for(std::chrono::milliseconds(100));
  }
  for (Program& client : clients) {
    client.send(SIGCONT);
    const std::string said = client.hear();
    // Either it is served, or it finds that the server has given it up; the client library then begins again.
    const bool told = said.starts_with("failed: ") && said.find("kMailboxAsked") == std::string::npos;
    EXPECT_TRUE(said == "done 0" || told) << client.command_line() << ": " << said;
    EXPECT_NE(said, "failed: mailbox state 2")
        << "its request is pending and the server does not see it: " << client.command_line();
    client.wait();
  }
  EXPECT_TRUE(server.connections_come_to(0));
  EXPECT_TRUE(eventually([&] { return taken_mailboxes(server) == 0; }))
      << taken_mailboxes(server) << " mailboxes stay taken";
}

TEST(Connecting, AClientWhoseDeadlinePassesWhileTheServerIsStoppedLeavesNothing) {
  Server server;
  server.pause();
  PeerSetup hasty;
  hasty.timeout = std::chrono::milliseconds(100);
  Peer peer = Peer::unconnected();
  for (int i = 0; i < 3; ++i) {
    const Reply reply = peer.connect(server, hasty);
    EXPECT_EQ(reply, StatusCode::kTimeout) << reply;
  }
  server.send(SIGCONT);
  EXPECT_EQ(peer.connect(server), StatusCode::kOk);
  EXPECT_EQ(peer.put("key", "value"), StatusCode::kOk);
  EXPECT_TRUE(server.connections_come_to(1));
  EXPECT_TRUE(eventually([&] { return taken_mailboxes(server) == 0; })) << taken_mailboxes(server);
}

void connect_at_once(int count) {
  std::printf("%d clients at once\n", count);
  Server server({"10", "--workers", "2"});
  std::vector<Peer> peers;
  for (int i = 0; i < count; ++i) peers.push_back(Peer::unconnected());
  PeerSetup patient;
  patient.timeout = std::chrono::seconds(60);
  for (Peer& peer : peers) peer.begin_connect(server.name(), server.dir(), patient);
  for (Peer& peer : peers) {
    const Reply reply = peer.reply();
    ASSERT_EQ(reply, StatusCode::kOk) << reply;
  }
  EXPECT_EQ(server.stat("connections"), static_cast<std::uint64_t>(count));
  for (std::size_t i = 0; i < peers.size(); ++i)
    peers[i].say("put =" + std::to_string(i) + " =" + std::to_string(i + 7));
  for (Peer& peer : peers) ASSERT_EQ(peer.reply(), StatusCode::kOk);
  Client reader = server.connect();
  for (std::size_t i = 0; i < peers.size(); ++i) ASSERT_EQ(*reader.get(word_key(i)), word_key(i + 7));
  for (Peer& peer : peers) peer.program().close_input();
  for (Peer& peer : peers) ASSERT_EQ(peer.program().wait(), kSuccess);
  EXPECT_TRUE(server.connections_come_to(1));
  EXPECT_EQ(server.stat("connected"), static_cast<std::uint64_t>(count) + 1);
  EXPECT_EQ(server.stat("reaped"), 0u);
}

TEST(Connecting, TwoHundredClientsAtOnceAreAllServed) { connect_at_once(200); }
TEST(ConnectingSlow, AThousandClientsAtOnceAreAllServed) { connect_at_once(1000); }

// The map of a client is gone: a call that must connect again waits for the next server as the first connection did.
TEST(Connecting, ACallThatMustConnectAgainWaitsForAServerIfItsClientWaits) {
  std::optional<Server> server{std::in_place, std::vector<std::string>{"10"}};
  const ServerSetup setup{server->name()};
  Options options = server->options();
  Client impatient = server->connect();
  options.wait_for_server = true;
  options.timeout = std::chrono::seconds(60);
  Result<Client> patient = Client::connect(options);
  ASSERT_TRUE(patient) << patient.status();
  server.reset();
  EXPECT_EQ(impatient.put("key", "value"), StatusCode::kNoServer);
  Status put = StatusCode::kInternal;
  std::thread caller([&] { put = patient->put("key", "value"); });
  std::this_thread::sleep_for(std::chrono::milliseconds(200));
  server.emplace(std::vector<std::string>{"10"}, setup);
  caller.join();
  EXPECT_EQ(put, StatusCode::kOk) << put;
  EXPECT_EQ(*server->connect().get("key"), "value");
}

// One command after the other, with a place for one only: none is refused because the one before it has just ended.
TEST(Connecting, OneConnectionIsEnoughForManyClientsInTurn) {
  Server server({"10", "--max-connections", "1"});
  for (int i = 0; i < 100; ++i) ASSERT_EQ(Client::connect(server.options()).status().code(), StatusCode::kOk) << i;
}

TEST(Connecting, WithoutAConnectionLeftAClientIsRefusedClearly) {
  Server server({"10", "--max-connections", "3"});
  std::vector<Peer> peers;
  for (int i = 0; i < 3; ++i) peers.emplace_back(server);
  for (int i = 0; i < 5; ++i) {
    expect_refusal(run(server.client_command({"1"})), 4, {"connections", "--max-connections"});
  }
  Peer late = Peer::unconnected();
  EXPECT_EQ(late.connect(server), StatusCode::kFull);
  for (Peer& peer : peers) EXPECT_EQ(peer.put("key", "value"), StatusCode::kOk) << "those inside do not notice";
  EXPECT_EQ(taken_mailboxes(server), 0) << "a refusal keeps no mailbox";
  // A place is free again after a client has left, and after one has died.
  EXPECT_EQ(peers.back().leave(), kSuccess);
  peers.pop_back();
  EXPECT_TRUE(eventually([&] { return late.connect(server) == StatusCode::kOk; }));
  peers.back().kill();
  peers.pop_back();
  Peer later = Peer::unconnected();
  EXPECT_TRUE(eventually([&] { return later.connect(server) == StatusCode::kOk; }));
}

TEST(Connecting, ACounterNearItsEndContinuesFromTheBeginning) {
  // The end of the counter, the end of the ids that it gives, and a value that any other process might store there.
  for (const std::uint64_t value : {~std::uint64_t{0} - 2, kIdMask - 2, std::uint64_t{1} << 40, std::uint64_t{0}}) {
    SCOPED_TRACE(value);
    Server server;
    Peer before(server);
    EXPECT_EQ(before.put("before", "value"), StatusCode::kOk);
    {
      Result<Region> region = Region::attach(server.instance().master(), RegionKind::kMaster, Access::kReadWrite);
      region->at<MasterHeader>(0)->counter.store(value);
    }
    std::vector<Peer> peers;
    for (int i = 0; i < 8; ++i) peers.emplace_back(server);
    for (Peer& peer : peers) EXPECT_EQ(peer.put("key", "value"), StatusCode::kOk);
    EXPECT_EQ(before.get("key").text, Peer::told_of("value"));
    EXPECT_EQ(server.stat("connections"), 9u);
    EXPECT_EQ(server.connection_files().size(), 9u);
    for (Peer& peer : peers) EXPECT_EQ(peer.leave(), kSuccess);
    EXPECT_TRUE(server.connections_come_to(1));
    EXPECT_TRUE(eventually([&] { return taken_mailboxes(server) == 0; }));
  }
}

}  // namespace
}  // namespace hostmap::test
