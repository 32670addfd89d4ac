// Processes that wait until a key changes, while servers and clients are killed, stopped and replaced.
#include <chrono>
#include <gtest/gtest.h>
#include <memory>
#include <signal.h>
#include <string>
#include <thread>
#include <vector>

#include "process/harness/peer.hpp"
#include "process/harness/proc.hpp"
#include "process/harness/server.hpp"

namespace hostmap::test {
namespace {

using namespace std::chrono_literals;

void await_waiters(const Server& server, std::uint64_t count) {
  const auto end = std::chrono::steady_clock::now() + kPatience;
  while (server.stat("waited") != count) {
    ASSERT_LT(std::chrono::steady_clock::now(), end) << server.stat("waited") << " instead of " << count;
    std::this_thread::sleep_for(2ms);
  }
}

// Peers that wait for keys, with a deadline in none of the calls that they depend on.
class Waiters {
 public:
  Waiters(const Server& server, std::size_t count) {
    for (std::size_t i = 0; i < count; ++i) {
      peers_.push_back(std::make_unique<Peer>(server));
      peers_[i]->begin_wait(key(i), "-");
    }
    await_waiters(server, count);
  }
  static std::string key(std::size_t i) { return "=" + std::to_string(i % 8); }
  void expect_woken_by_puts(Peer& other, const std::string& value) {
    for (std::size_t i = 0; i < 8; ++i) ASSERT_EQ(other.put(key(i), value), StatusCode::kOk);
    expect_all(Peer::told_of(value));
  }
  void expect_all(const std::string& text) {
    for (auto& peer : peers_) {
      const Reply reply = peer->reply();
      EXPECT_EQ(reply, StatusCode::kOk);
      EXPECT_EQ(reply.text, text);
    }
  }
  Peer& operator[](std::size_t i) { return *peers_[i]; }
  std::size_t size() const { return peers_.size(); }

 private:
  std::vector<std::unique_ptr<Peer>> peers_;
};

TEST(WaitingProcesses, AreWokenByAnotherProcessAndCancelTheirRegistrations) {
  Server server({"10", "--workers", "2"});
  Peer other(server);
  Waiters waiters(server, 24);
  waiters.expect_woken_by_puts(other, "value");
  await_waiters(server, 0);
}

TEST(WaitingProcesses, AWaiterThatIsKilledCancelsItsRegistrations) {
  Server server({"10", "--workers", "2"});
  Peer other(server);
  Waiters waiters(server, 8);
  waiters[3].kill();
  await_waiters(server, 7);
  ASSERT_EQ(other.put(Waiters::key(3), "value"), StatusCode::kOk);
}

TEST(WaitingProcesses, AStoppedWaiterDelaysNobodyAndLearnsOfTheChangeLater) {
  Server server({"10", "--workers", "1"});
  Peer other(server);
  Waiters waiters(server, 9);  // the first and the last one wait for the same key
  waiters[0].program().send(SIGSTOP);
  ASSERT_EQ(other.put(Waiters::key(0), "value"), StatusCode::kOk);
  EXPECT_EQ(waiters[8].reply().text, Peer::told_of("value"));
  waiters[0].program().send(SIGCONT);
  EXPECT_EQ(waiters[0].reply().text, Peer::told_of("value"));
}

TEST(WaitingProcesses, AreWokenByAServerThatRecovers) {
  Server first({"10", "--workers", "2"});
  Waiters waiters(first, 16);
  first.kill();
  Server second({"10"}, {first.name()});
  await_waiters(second, 16);
  Peer other(second);
  waiters.expect_woken_by_puts(other, "value");
}

TEST(WaitingProcesses, AChangeWhoseServerIsKilledBeforeItWakesIsLearntOf) {
  Server first({"10", "--workers", "1"});
  Waiters waiters(first, 16);
  Peer other(first);
  for (std::size_t i = 0; i < 8; ++i) ASSERT_EQ(other.put_async(Waiters::key(i), "value"), StatusCode::kOk);
  first.kill();
  Server second({"10"}, {first.name()});
  ASSERT_EQ(other.flush(), StatusCode::kOk);
  waiters.expect_all(Peer::told_of("value"));
}

TEST(WaitingProcesses, AreWokenByAServerThatTakesOver) {
  Server first({"10", "--workers", "2"});
  Waiters waiters(first, 16);
  Server second({"10", "--takeover"}, {first.name()});
  EXPECT_EQ(first.wait().code, 0);
  await_waiters(second, 16);
  Peer other(second);
  waiters.expect_woken_by_puts(other, "value");
}

TEST(WaitingProcesses, SleepThroughAStopThatKeepsTheMap) {
  Server first({"10", "--keep"});
  Waiters waiters(first, 8);
  EXPECT_EQ(first.stop().code, 0);
  Server second({"10"}, {first.name()});
  Peer other(second);
  waiters.expect_woken_by_puts(other, "value");
}

TEST(WaitingProcesses, LearnThatTheMapWasRemoved) {
  Server server({"10", "--workers", "2"});
  Waiters waiters(server, 8);
  server.stop_cleanly();
  for (std::size_t i = 0; i < waiters.size(); ++i) EXPECT_EQ(waiters[i].reply(), StatusCode::kNoServer);
}

TEST(WaitingProcesses, LearnThatTheirMapWasDiscardedOrWaitInTheNextOne) {
  Server first({"10", "--workers", "2"});
  Waiters waiters(first, 8);
  first.kill();
  Server second({"10", "--fresh"}, {first.name()});
  Peer other(second);
  for (std::size_t i = 0; i < waiters.size(); ++i) ASSERT_EQ(other.put(Waiters::key(i), "value"), StatusCode::kOk);
  for (std::size_t i = 0; i < waiters.size(); ++i) {
    const Reply reply = waiters[i].reply();
    if (reply == StatusCode::kNoServer) continue;  // it was woken before the next server served
    EXPECT_EQ(reply, StatusCode::kOk);
    EXPECT_EQ(reply.text, Peer::told_of("value"));
  }
}

TEST(WaitingProcesses, AStoppedServerIsOnlyAPause) {
  Server server({"10"});
  Waiters waiters(server, 8);
  Peer other(server);
  server.pause();
  other.say("put =3 value");
  server.send(SIGCONT);
  EXPECT_EQ(waiters[3].reply().text, Peer::told_of("value"));
  EXPECT_EQ(other.reply(), StatusCode::kOk);
}

TEST(WaitingProcesses, AClearWakesAllLanes) {
  Server server({"10", "--workers", "4"});
  Peer other(server);
  std::vector<std::unique_ptr<Peer>> peers;
  for (int i = 0; i < 16; ++i) {
    const std::string key = "=" + std::to_string(i);
    ASSERT_EQ(other.put(key, "value"), StatusCode::kOk);
    peers.push_back(std::make_unique<Peer>(server));
    peers.back()->begin_wait(key, "value");
  }
  await_waiters(server, 16);
  ASSERT_EQ(other.ask("clear"), StatusCode::kOk);
  for (auto& peer : peers) EXPECT_EQ(peer->reply().text, Peer::kAbsent);
}

TEST(WaitingProcesses, ChangesUnderLoadAreLearntOfByEveryWaiter) {
  Server server({"10", "--workers", "2"});
  Peer busy(server);
  Peer other(server);
  busy.say("hammer =100000 1500");
  std::vector<std::unique_ptr<Peer>> peers;
  for (int i = 0; i < 12; ++i) peers.push_back(std::make_unique<Peer>(server));
  std::string last = "-";
  for (int round = 0; round < 40; ++round) {
    for (auto& peer : peers) peer->begin_wait("key", last);
    last = "value" + std::to_string(round);
    ASSERT_EQ(other.put("key", last), StatusCode::kOk);
    for (auto& peer : peers) ASSERT_EQ(peer->reply().text, Peer::told_of(last)) << round;
  }
  EXPECT_EQ(busy.reply(), StatusCode::kOk);
}

TEST(WaitingProcessesSlow, SixtyFourIdleWaitersDoNotWakeAndTheServerHardlyDoes) {
  Server server({"10", "--workers", "1"});
  Waiters waiters(server, 64);
  std::this_thread::sleep_for(3s);  // until all work that connecting caused is done
  std::vector<std::uint64_t> before;
  for (std::size_t i = 0; i < waiters.size(); ++i) before.push_back(voluntary_switches(waiters[i].pid()));
  const std::uint64_t server_switches = voluntary_switches(server.pid());
  const std::uint64_t server_ticks = cpu_ticks(server.pid());
  std::this_thread::sleep_for(10s);
  for (std::size_t i = 0; i < waiters.size(); ++i) {
    EXPECT_EQ(voluntary_switches(waiters[i].pid()), before[i]) << "waiter " << i;
  }
  EXPECT_LE(voluntary_switches(server.pid()) - server_switches, 20u);
  EXPECT_LE(cpu_ticks(server.pid()) - server_ticks, 1u);
  EXPECT_EQ(server.stat("timeout_rescues"), 0u);
  EXPECT_EQ(server.stat("client_timeout_rescues"), 0u);
  Peer other(server);
  waiters.expect_woken_by_puts(other, "value");
}

}  // namespace
}  // namespace hostmap::test
