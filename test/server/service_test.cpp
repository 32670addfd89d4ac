// The service: the cost of a round while many clients are connected, and that it loses none of them.
#include <atomic>
#include <gtest/gtest.h>
#include <sys/prctl.h>
#include <thread>
#include <vector>

#include "layout/master.hpp"
#include "server/service_by_hand.hpp"
#include "slot/client_reservation.hpp"
#include "support/aligned_memory.hpp"
#include "support/child.hpp"
#include "support/stepper.hpp"

namespace hostmap::test {
namespace {

constexpr std::uint32_t kCrowd = 300;

class ServiceCrowd : public testing::Test {
 protected:
  ~ServiceCrowd() override { host_.service.close_all(); }

  // In memory that the clients' process shares with the test.
  struct Progress {
    std::atomic<std::uint32_t> connected{0};
    std::atomic<std::uint32_t> may_close{0};  // how many clients may close
    std::atomic<std::uint32_t> closed{0};
  };
  enum ClientExit : int { kDone = 0, kNotLetIn = 2 };

  // Connects kCrowd clients of one process, one after the other. They stay connected and close when `may_close` allows it.
  int be_clients() {
    MasterView master = host_.master();
    std::vector<std::unique_ptr<ClientEnd>> ends;
    for (std::uint32_t i = 0; i < kCrowd; ++i) {
      Deadline deadline(std::chrono::seconds(30));
      const Result<std::uint64_t> id = reserve_connection(master, deadline);
      if (!id) return kNotLetIn;
      Result<std::unique_ptr<ClientEnd>> attached = ClientEnd::attach(host_.path(*id), *id, 1, false);
      if (!attached || !confirm_attached(master, *id).ok()) return kNotLetIn;
      ends.push_back(std::move(*attached));
      progress_.connected.store(i + 1);
    }
    for (std::uint32_t i = 0; i < kCrowd; ++i) {
      while (progress_.may_close.load() <= i) std::this_thread::yield();
      ends[i]->close();
      progress_.closed.store(i + 1);
    }
    return kDone;
  }
  // Calls rounds at one moment until all clients are connected and no mailbox is taken. Returns the number of rounds.
  std::uint64_t let_everybody_in() {
    std::uint64_t rounds = 0;
    while (clients_.running() && (progress_.connected.load() < kCrowd || mailboxes_taken() != 0)) {
      host_.service.round(host_.now);
      ++rounds;
    }
    return rounds;
  }
  std::uint32_t mailboxes_taken() {
    std::uint32_t taken = 0;
    for (std::uint32_t i = 0; i < host_.master().mailboxes(); ++i) {
      if (mailbox_state(host_.master().mailbox(i).word.load()) != kMailboxFree) ++taken;
    }
    return taken;
  }
  void let_close(std::uint32_t number) {
    progress_.may_close.store(number);
    while (clients_.running() && progress_.closed.load() < number) std::this_thread::yield();
  }

  // A running thread of this process may hold a mutex, for example the allocator's, for which the child would wait.
  Child fork_clients() {
    EXPECT_TRUE(others_sleep());
    return Child::fork([this] { return be_clients(); });
  }

  ServiceByHand host_{kCrowd + 1};
  AlignedMemory memory_{kPageSize};
  Progress& progress_ = *new (memory_.data()) Progress;
  Child clients_ = fork_clients();
};

TEST_F(ServiceCrowd, ConnectingExaminesNoConnectedClient) {
  let_everybody_in();
  ASSERT_EQ(host_.service.connections(), kCrowd);
  // The first one was examined while it was alone; no time has passed since.
  EXPECT_LE(host_.service.examined(), 1u);
}

TEST_F(ServiceCrowd, ManyRoundsExamineAConnectionOnceAnInterval) {
  let_everybody_in();
  ASSERT_EQ(host_.service.connections(), kCrowd);
  const std::uint64_t before = host_.service.examined();
  constexpr std::int64_t kGap = Service::kExamineGapNs * kCrowd;
  constexpr std::uint64_t kGaps = 10;
  const std::int64_t begun = host_.now += kSecond;
  for (; host_.now < begun + static_cast<std::int64_t>(kGaps) * kGap; host_.now += kGap / 100) {
    host_.service.round(host_.now);
  }
  EXPECT_EQ(host_.service.examined() - before, kGaps * kCrowd);
}

TEST_F(ServiceCrowd, AClosedConnectionIsReleasedAfterTheInterval) {
  let_everybody_in();
  host_.round();
  let_close(1);
  host_.service.round(host_.now);
  EXPECT_EQ(host_.service.connections(), kCrowd);
  host_.round();
  EXPECT_EQ(host_.service.connections(), kCrowd - 1);
  let_close(kCrowd);
  host_.round();
  EXPECT_EQ(host_.service.connections(), 0u);
  EXPECT_EQ(clients_.wait(), kSuccess);
  EXPECT_EQ(host_.remains(), "");
}

TEST_F(ServiceCrowd, AMailboxThatRequestsTheIdOfAConnectionGetsAnotherOne) {
  let_everybody_in();
  const MasterView master = host_.master();
  const std::uint64_t counter = master.header().counter.load();
  constexpr std::uint64_t kTaken = 7;
  master.mailbox(kTaken).word.store(mailbox_word(kTaken, kMailboxAsked));
  host_.service.round(host_.now);
  EXPECT_EQ(master.mailbox(kTaken).word.load(), mailbox_word(kTaken, kMailboxFree));
  EXPECT_EQ(host_.service.connections(), kCrowd);
  // It is not mistaken for a file of another user.
  EXPECT_EQ(master.header().counter.load(), counter);
}

// More clients than can be accepted at once give up at one moment: the next client finds a place.
TEST(Service, ClientsThatGiveUpHoldNoPlace) {
  constexpr std::uint64_t kClients = 200;
  ServiceByHand host(kClients + 2);
  MasterView master = host.master();
  for (std::uint64_t id = 1; id <= kClients; ++id) {
    master.mailbox(id).word.store(mailbox_word(id, kMailboxAsked));
    host.service.round(host.now);
    ASSERT_EQ(master.mailbox(id).word.load(), mailbox_word(id, kMailboxReady)) << id << ": no place is left";
    withdraw(master, id);
    host.service.round(host.now);
  }
  host.round();
  EXPECT_EQ(host.service.connections(), 0u);
  EXPECT_EQ(host.remains(), "");
}

// The only place is being freed when the next client requests it: the client waits for it, and is not refused.
TEST(Service, ARequestAfterTheLastClientLeftGetsItsPlace) {
  ServiceByHand host(1);
  const MasterView master = host.master();
  const auto ask = [&](std::uint64_t id) { master.mailbox(id).word.store(mailbox_word(id, kMailboxAsked)); };
  ask(1);
  host.service.round(host.now);
  ASSERT_EQ(master.mailbox(1).word.load(), mailbox_word(1, kMailboxReady));
  ask(2);
  host.service.round(host.now);
  EXPECT_EQ(master.mailbox(2).word.load(), mailbox_word(2, kMailboxFull)) << "its place is not free, and nobody leaves";

  MasterView clients = master;
  withdraw(clients, 1);
  ask(3);
  host.service.round(host.now);
  EXPECT_EQ(master.mailbox(3).word.load(), mailbox_word(3, kMailboxAsked)) << "the worker has not released the place";
  host.round();
  host.round();
  EXPECT_EQ(master.mailbox(3).word.load(), mailbox_word(3, kMailboxReady));
  withdraw(clients, 3);
  host.round();
  host.round();
  EXPECT_EQ(host.service.connections(), 0u);
}

}  // namespace
}  // namespace hostmap::test
