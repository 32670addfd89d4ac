// Leases and get_or_compute among processes that are killed, stopped, slow or fail, and servers that are replaced.
#include <chrono>
#include <gtest/gtest.h>
#include <memory>
#include <signal.h>
#include <string>
#include <thread>
#include <vector>

#include "process/harness/peer.hpp"
#include "process/harness/server.hpp"

namespace hostmap::test {
namespace {

// Long enough that it plays no part.
constexpr const char* kLong = " 600000";

std::vector<std::unique_ptr<Peer>> peers_of(const Server& server, std::size_t count) {
  std::vector<std::unique_ptr<Peer>> peers;
  for (std::size_t i = 0; i < count; ++i) peers.push_back(std::make_unique<Peer>(server));
  return peers;
}

void await_waiters(const Server& server, std::uint64_t count) {
  const auto end = std::chrono::steady_clock::now() + kPatience;
  while (server.stat("waited") != count) {
    ASSERT_LT(std::chrono::steady_clock::now(), end) << server.stat("waited") << " instead of " << count;
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
  }
}

// The outcome of a compute, whether this peer was the one that computed or not.
Reply outcome(Peer& peer) {
  std::string line = peer.program().hear(2 * kPatience);
  if (line == "computing") return peer.reply();
  return {static_cast<StatusCode>(std::stoi(line)), line.substr(line.find(' ') + 1)};
}
void expect_value(const Reply& reply, const std::string& value) {
  EXPECT_EQ(reply, StatusCode::kOk);
  EXPECT_EQ(reply.text, Peer::told_of(value));
}
void expect_computed(Peer& peer, const std::string& times) {
  EXPECT_EQ(peer.get("computed").text, Peer::told_of(times));
}

// The first of two peers computes until go(), and the second one waits for it.
class OneComputesAndOneWaits : public testing::Test {
 protected:
  void begin(const std::string& value, const std::string& lease = kLong) {
    owner_.say("compute key " + value + " -1 " + lease);
    ASSERT_EQ(owner_.program().hear(), "computing");
    waiter_.say("compute key second 0" + std::string(kLong));
  }
  void await_both() { await_waiters(server_, 2); }
  void go() { ASSERT_EQ(other_.put("go", "x"), StatusCode::kOk); }

  Server server_{{"10", "--workers", "2"}};
  Peer owner_{server_};
  Peer waiter_{server_};
  Peer other_{server_};
};

TEST(GetOrCompute, OfSixtyFourProcessesThatMissTogetherOneComputes) {
  Server server({"10", "--workers", "2"});
  auto peers = peers_of(server, 64);
  for (const std::string key : {"=7", "key"}) {
    for (auto& peer : peers) peer->say("compute " + key + " value 30" + kLong);
    for (auto& peer : peers) expect_value(outcome(*peer), "value");
  }
  expect_computed(*peers[0], "2");
}

TEST_F(OneComputesAndOneWaits, TheWaiterGetsTheValue) {
  begin("first");
  await_both();
  go();
  expect_value(outcome(waiter_), "first");
  expect_value(owner_.reply(), "first");
  expect_computed(other_, "1");
}

TEST_F(OneComputesAndOneWaits, IfTheOwnerIsKilledTheWaiterComputes) {
  begin("first");
  await_both();
  owner_.kill();
  expect_value(outcome(waiter_), "second");
  expect_computed(other_, "2");
}

TEST_F(OneComputesAndOneWaits, IfTheOwnerIsStoppedTheWaiterComputesAtTheEndOfTheLease) {
  begin("first", "200");
  owner_.program().send(SIGSTOP);
  expect_value(outcome(waiter_), "second");
  go();
  owner_.program().send(SIGCONT);
  expect_value(owner_.reply(), "second");
  EXPECT_EQ(other_.get("key").text, Peer::told_of("second"));
}

TEST_F(OneComputesAndOneWaits, AnOwnerThatIsSlowerThanItsLeaseGetsWhatTheNextOneHasPut) {
  begin("first", "100");
  expect_value(outcome(waiter_), "second");
  go();
  expect_value(owner_.reply(), "second");
  expect_computed(other_, "2");
}

TEST_F(OneComputesAndOneWaits, IfTheOwnerFailsTheWaiterLearnsItAndTheNextCallComputes) {
  begin("!");
  await_both();
  go();
  const Reply failed = outcome(waiter_);
  EXPECT_EQ(failed, StatusCode::kMismatch);
  EXPECT_NE(failed.text.find("failed with this status"), std::string::npos) << failed.text;
  EXPECT_EQ(owner_.reply(), StatusCode::kMismatch);
  EXPECT_EQ(other_.exists("key"), StatusCode::kNotFound);
  other_.say("compute key third 0" + std::string(kLong));
  expect_value(outcome(other_), "third");
  expect_computed(other_, "2");
}

TEST_F(OneComputesAndOneWaits, APutOfAnotherProcessIsTheValueForBoth) {
  begin("first");
  await_both();
  ASSERT_EQ(other_.put("key", "put"), StatusCode::kOk);
  expect_value(outcome(waiter_), "put");
  go();
  expect_value(owner_.reply(), "put");
}

TEST_F(OneComputesAndOneWaits, AfterARestartWaitersCompeteAgain) {
  begin("first");
  await_both();
  server_.kill();
  Server next({"10"}, {server_.name()});
  expect_value(outcome(waiter_), "second");
  go();
  expect_value(owner_.reply(), "second");
  expect_computed(other_, "2");
}

TEST_F(OneComputesAndOneWaits, AfterATakeoverWaitersCompeteAgain) {
  begin("first");
  await_both();
  Server next({"10", "--takeover"}, {server_.name()});
  EXPECT_EQ(server_.wait().code, 0);
  expect_value(outcome(waiter_), "second");
  go();
  expect_value(owner_.reply(), "second");
}

TEST(Leases, OneProcessHoldsALeaseUntilItReleasesIt) {
  Server server({"10", "--workers", "2"});
  Peer one(server);
  Peer other(server);
  const Reply first = one.ask("lease key 600000");
  ASSERT_EQ(first, StatusCode::kOk);
  EXPECT_EQ(other.ask("lease key 600000"), StatusCode::kAlreadyExists);
  EXPECT_EQ(one.ask("lease key 600000"), StatusCode::kAlreadyExists) << "its holder included";
  EXPECT_EQ(other.ask("release key " + first.text), StatusCode::kNotFound) << "it is not the holder";
  EXPECT_EQ(one.ask("release key 1"), StatusCode::kNotFound) << "another number";
  EXPECT_EQ(one.exists("key"), StatusCode::kNotFound) << "a lease is not a key";
  other.say("lease key 600000 600000");
  await_waiters(server, 1);
  EXPECT_EQ(one.ask("release key " + first.text), StatusCode::kOk);
  const Reply second = other.reply();
  ASSERT_EQ(second, StatusCode::kOk);
  EXPECT_GT(std::stoull(second.text), std::stoull(first.text));
  EXPECT_EQ(one.ask("release key " + first.text), StatusCode::kNotFound) << "again";
}

TEST(Leases, AForgottenLeaseEnds) {
  Server server({"10"});
  Peer one(server);
  Peer other(server);
  const Reply first = one.ask("lease key 30");
  ASSERT_EQ(first, StatusCode::kOk);
  ASSERT_EQ(other.ask("lease key 600000 600000"), StatusCode::kOk);
  EXPECT_EQ(one.ask("release key " + first.text), StatusCode::kNotFound);
}

TEST(Leases, ALeaseEndsWithItsHolder) {
  Server server({"10"});
  Peer one(server);
  Peer other(server);
  ASSERT_EQ(one.ask("lease key 600000"), StatusCode::kOk);
  other.say("lease key 600000 600000");
  await_waiters(server, 1);
  one.kill();
  EXPECT_EQ(other.reply(), StatusCode::kOk);
}

TEST(Leases, ARestartForgetsLeasesAndNumbersGrow) {
  Server first({"10"});
  Peer one(first);
  Peer other(first);
  const Reply before = one.ask("lease key 600000");
  ASSERT_EQ(before, StatusCode::kOk);
  first.kill();
  Server second({"10"}, {first.name()});
  const Reply after = other.ask("lease key 600000");
  ASSERT_EQ(after, StatusCode::kOk);
  EXPECT_GT(std::stoull(after.text), std::stoull(before.text));
  EXPECT_EQ(one.ask("release key " + before.text), StatusCode::kNotFound);
}

TEST(Leases, AClientHoldsSixtyFourOfALane) {
  Server server({"10", "--workers", "1"});
  Peer one(server);
  for (int i = 0; i < 64; ++i) ASSERT_EQ(one.ask("lease =" + std::to_string(i) + " 600000"), StatusCode::kOk);
  const Reply refused = one.ask("lease =64 600000");
  EXPECT_EQ(refused, StatusCode::kFull);
  EXPECT_NE(refused.text.find("too many leases"), std::string::npos);
  EXPECT_EQ(server.stat("refused"), 0u) << "no write was refused";
  Peer other(server);
  EXPECT_EQ(other.ask("lease =64 600000"), StatusCode::kOk);
}

}  // namespace
}  // namespace hostmap::test
