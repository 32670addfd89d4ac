// Many processes connect at once, and one is killed at every instruction of connecting (fault cases 1 and 3 in
// docs/internals/failure-model.md).
#include <atomic>
#include <bitset>
#include <gtest/gtest.h>
#include <thread>

#include "layout/master.hpp"
#include "slot_fixture.hpp"
#include "support/child.hpp"
#include "support/stepper.hpp"

namespace hostmap::test {
namespace {

using Event = Rendezvous::Event;
using namespace std::chrono_literals;

// `processes` children connect at once, each one `each` times, one after the other or in threads.
struct Crowd {
  std::uint32_t mailboxes;
  int processes;
  int each;
};

void connect_at_once(const Crowd& crowd) {
  MasterMemory master(crowd.mailboxes);
  const AlignedMemory notes(kPageSize);
  auto& go = notes.at<std::atomic<bool>>(0);
  const int total = crowd.processes * crowd.each;
  std::vector<Child> children;
  children.reserve(static_cast<std::size_t>(crowd.processes));
  for (int i = 0; i < crowd.processes; ++i) {
    children.push_back(Child::fork([&] {
      while (!go.load()) std::this_thread::yield();
      std::atomic<int> unserved{0};
      std::vector<std::thread> clients;
      clients.reserve(static_cast<std::size_t>(crowd.each));
      for (int thread = 0; thread < crowd.each; ++thread) {
        clients.emplace_back([&] {
          Deadline deadline(20s);
          const Result<std::uint64_t> id = reserve_connection(master.view(), deadline);
          if (!id || !confirm_attached(master.view(), *id).ok()) ++unserved;
        });
      }
      for (std::thread& client : clients) client.join();
      return unserved.load();
    }));
  }
  {
    const ServerThread server(master);
    go.store(true);
    int unserved = 0;
    for (Child& child : children) unserved += child.wait(50s).code;
    EXPECT_EQ(unserved, 0) << "of " << total << " clients were given no connection";
    // The last attachments are collected; then nothing is left.
    for (int i = 0; i < 300 && server.attached() < static_cast<std::uint64_t>(total); ++i) {
      std::this_thread::sleep_for(10ms);
    }
    EXPECT_EQ(server.attached(), static_cast<std::uint64_t>(total));
    EXPECT_EQ(server.gave_up(), 0u);
  }
  EXPECT_EQ(master.taken_mailboxes(), 0u);
}

TEST(CrowdTest, AThousandClientsAtOnce) { connect_at_once({.mailboxes = 1024, .processes = 100, .each = 10}); }

// More clients than mailboxes: some wait for a mailbox, and all are served.
TEST(CrowdTest, FourTimesAsManyClientsAsMailboxes) { connect_at_once({.mailboxes = 16, .processes = 16, .each = 4}); }

// The same without threads or time: the server may take the numbers that waiting clients use up for a jump of the counter.
TEST(CrowdTest, ClientsWithoutAMailboxDoNotMakeTheServerForgetTheOthers) {
  constexpr std::uint32_t kMailboxes = 8;
  MasterMemory master(kMailboxes);
  Rendezvous server(master.view());
  std::vector<ClientSteps> clients(kMailboxes, ClientSteps(master));
  for (ClientSteps& client : clients) client.ask_for_connection();
  for (std::uint32_t i = 0; i < 3 * kMailboxes; ++i) {
    ClientSteps late(master);
    late.take_number();
    ASSERT_FALSE(late.claim());
  }
  serve_once(server, 0);
  for (const ClientSteps& client : clients) EXPECT_TRUE(client.ready()) << "id " << client.id() << " is not answered";
}

// A client is killed at any instruction of connecting, from before its first step to after its last. At each of them the
// server, which has only the content of the region, frees everything in time, and the next client connects.
TEST(ConnectKillTest, AfterAKillAtAnyInstructionTheMailboxIsFreed) {
  constexpr std::uint32_t kMailboxes = 4;
  MasterMemory master(kMailboxes);
  MasterMemory left(kMailboxes);  // what a kill would leave, for another server
  Rendezvous server(master.view());
  std::bitset<8> seen;
  const std::uint64_t steps = step_through(
      [&] {
        Deadline deadline(30s);
        const Result<std::uint64_t> id = reserve_connection(master.view(), deadline);
        if (!id || !confirm_attached(master.view(), *id).ok()) ::abort();
      },
      [&](std::uint64_t step) {
        if (testing::Test::HasFailure()) return;  // one is enough to read
        std::memcpy(left.memory().data(), master.memory().data(), master.memory().bytes());
        Rendezvous heir(left.view());
        std::int64_t now = 0;
        for (int i = 0; i < 4; ++i) serve_once(heir, now += kPatience);
        EXPECT_EQ(left.taken_mailboxes(), 0u) << "killed at step " << step;
        EXPECT_FALSE(heir.waiting()) << "killed at step " << step;
        ClientSteps next(left);
        next.ask_for_connection();
        serve_once(heir, now);
        EXPECT_TRUE(next.ready()) << "killed at step " << step;

        seen.set(master.state(1));
        serve_once(server, 0);  // the living client continues
      });
  EXPECT_GT(steps, 50u);
  for (const MailboxState state : {kMailboxFree, kMailboxClaimed, kMailboxAsked, kMailboxReady, kMailboxAttached}) {
    EXPECT_TRUE(seen.test(state)) << "no step was taken in state " << state;
  }
}

}  // namespace
}  // namespace hostmap::test
