// Clients that end in the middle of their work, in every way (fault cases 5 and 22 in docs/internals/failure-model.md).
#include <chrono>
#include <gtest/gtest.h>
#include <thread>
#include <vector>

#include "process/harness/peer.hpp"
#include "process/harness/proc.hpp"
#include "process/harness/server.hpp"
#include "support/seed.hpp"

namespace hostmap::test {
namespace {

// What a stream printed before it was killed: everything up to `flushed` was applied, nothing above `sending` was sent.
struct Said {
  std::uint64_t flushed = 0;
  std::uint64_t sending = 0;
};
Said said_by(Program& program) {
  Said said;
  for (const std::string& line : lines_of(program.output())) {
    if (line.starts_with("sending ")) said.sending = std::stoull(line.substr(8));
    if (line.starts_with("flushed ")) said.flushed = std::stoull(line.substr(8));
  }
  return said;
}

struct Stream {
  const char* key;
  std::size_t size;
  int batch;
};
// Pairs, entries of one record, entries in pieces.
constexpr Stream kStreams[] = {{"=77", 8, 3000}, {"short", 8, 1000}, {"entry", 100, 1000}, {"large", 40'000, 20}};

void kill_writers(int rounds) {
  std::printf("%d kills of each of %zu writers\n", rounds, std::size(kStreams));
  Random random;
  Server server({"10", "--workers", "2"});
  Peer bystander(server);
  bystander.say("hammer bystander 3600000");
  Client reader = server.connect();
  std::uint64_t killed_unflushed = 0;
  for (int round = 0; round < rounds; ++round) {
    for (const Stream& stream : kStreams) {
      SCOPED_TRACE(std::string(stream.key) + " in round " + std::to_string(round));
      Peer writer(server);
      writer.say("stream " + std::string(stream.key) + " " + std::to_string(stream.size) + " " +
                 std::to_string(stream.batch));
      std::this_thread::sleep_for(std::chrono::microseconds(random.below(10'000)));
      writer.kill();
      // The bystander and this test's reader remain.
      ASSERT_TRUE(server.connections_come_to(2));
      const Said said = said_by(writer.program());
      const std::string key = stream.key[0] == '=' ? word_key(77) : stream.key;
      const Result<std::string> got = reader.get(key);
      if (!got) {
        ASSERT_EQ(got.status().code(), StatusCode::kNotFound);
        ASSERT_EQ(said.flushed, 0u) << "what was flushed is gone";
        continue;
      }
      const std::optional<std::uint64_t> number = unseal(*got, digest(key));
      ASSERT_TRUE(number.has_value()) << "the value is not whole, or was never sent";
      ASSERT_EQ(got->size(), stream.size);
      ASSERT_GE(*number, said.flushed);
      ASSERT_LE(*number, said.sending);
      if (*number > said.flushed) ++killed_unflushed;
      ASSERT_TRUE(reader.erase(key).ok());
    }
  }
  EXPECT_GT(killed_unflushed, 0u) << "no kill fell between a write and its flush: nothing was shown";
  EXPECT_EQ(server.stat("reaped"), static_cast<std::uint64_t>(rounds) * std::size(kStreams));
  EXPECT_EQ(server.stat("poisoned"), 0u);
  EXPECT_EQ(bystander.program().next_line(std::chrono::milliseconds(0)), std::nullopt) << "the bystander has ended";
  bystander.kill();
  EXPECT_TRUE(server.connections_come_to(1));
}

TEST(ClientDeath, AWriterKilledAtAnyMomentLeavesAValueThatItSent) { kill_writers(15); }
TEST(ClientDeathSlow, ManyWritersKilledAtAnyMomentLeaveValuesThatTheySent) { kill_writers(120); }
TEST(ClientDeathSoak, ManyWritersKilledAtAnyMomentLeaveValuesThatTheySent) { kill_writers(6000); }

class ClientEnding : public testing::TestWithParam<const char*> {};

TEST_P(ClientEnding, LeavesNothingBehind) {
  const std::string how = GetParam();
  Server server({"10", "--workers", "2"});
  const std::vector<std::string> files = server.files();
  for (int round = 0; round < 5; ++round) {
    Peer peer(server);
    EXPECT_EQ(peer.put_async("key", "value" + std::to_string(round)), StatusCode::kOk);
    if (how == "kill") {
      peer.kill();
    } else if (how == "return") {
      EXPECT_EQ(peer.leave(), kSuccess);
    } else {
      peer.say("end " + how);
      EXPECT_EQ(peer.program().wait(), how == "abort" ? killed_by(SIGABRT) : kSuccess);
    }
    EXPECT_TRUE(server.connections_come_to(0));
    EXPECT_EQ(server.files(), files);
    Peer reader(server);
    EXPECT_EQ(reader.get("key").text, Peer::told_of("value" + std::to_string(round)));
    EXPECT_EQ(reader.leave(), kSuccess);
    EXPECT_TRUE(server.connections_come_to(0));
  }
  const bool dies = how == "kill" || how == "abort" || how == "leave";
  EXPECT_EQ(server.stat("reaped"), dies ? 5u : 0u);
}

INSTANTIATE_TEST_SUITE_P(Ways, ClientEnding, testing::Values("return", "exit", "leave", "abort", "kill"),
                         [](const auto& test) { return std::string("By_") + test.param; });

bool can_make_pid_namespaces() { return run({"unshare", "-pf", "--kill-child", "true"}).exit == kSuccess; }

TEST(ClientDeath, AClientInAnotherPidNamespaceIsCleanedUpToo) {
  if (!can_make_pid_namespaces()) GTEST_SKIP() << "this system does not allow pid namespaces";
  Server server({"10", "--workers", "2"});
  PeerSetup elsewhere;
  elsewhere.process.wrapper = {"unshare", "-pf", "--kill-child"};
  {
    Peer orderly(server, elsewhere);
    EXPECT_EQ(orderly.put("key", "value"), StatusCode::kOk);
    EXPECT_EQ(orderly.leave(), kSuccess);
  }
  EXPECT_TRUE(server.connections_come_to(0));
  Peer killed(server, elsewhere);
  EXPECT_EQ(killed.put("key", "last"), StatusCode::kOk);
  const pid_t inside = first_child(killed.pid());
  ASSERT_GT(inside, 0);
  ::kill(inside, SIGKILL);
  EXPECT_TRUE(server.connections_come_to(0));
  EXPECT_EQ(server.stat("reaped"), 1u);
  EXPECT_EQ(*server.connect().get("key"), "last");
}

// The server then gets no client's pid, and determines by the locks which clients live.
TEST(ClientDeath, AServerInAnotherPidNamespaceCleansUpToo) {
  if (!can_make_pid_namespaces()) GTEST_SKIP() << "this system does not allow pid namespaces";
  ServerSetup elsewhere;
  elsewhere.process.wrapper = {"unshare", "-pf", "--kill-child"};
  Server server({"10", "--workers", "2"}, elsewhere);
  const pid_t inside = first_child(server.pid());
  std::vector<Peer> peers;
  for (int i = 0; i < 5; ++i) peers.emplace_back(server);
  for (Peer& peer : peers) EXPECT_EQ(peer.put("key", "value"), StatusCode::kOk);
  peers[0].kill();
  peers[1].kill();
  EXPECT_EQ(peers[2].leave(), kSuccess);
  EXPECT_TRUE(server.connections_come_to(2));
  EXPECT_EQ(server.stat("reaped"), 2u);
  for (int i : {3, 4}) EXPECT_EQ(peers[static_cast<std::size_t>(i)].get("key").text, Peer::told_of("value"));
  peers.clear();
  EXPECT_TRUE(server.connections_come_to(0));
  EXPECT_EQ(server.stat("timeout_rescues"), 0u);
  EXPECT_EQ(server.stat("client_timeout_rescues"), 0u);
  ::kill(inside, SIGTERM);  // unshare itself does not pass it on
  EXPECT_EQ(server.wait(), kSuccess);
  EXPECT_EQ(server.files(), std::vector<std::string>());
}

}  // namespace
}  // namespace hostmap::test
