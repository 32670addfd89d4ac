// Both halves of the rendezvous in one process, with correct clients and with clients that die or are slow.
#include <gtest/gtest.h>
#include <set>

#include "layout/master.hpp"
#include "slot/server_rendezvous.hpp"
#include "slot_fixture.hpp"
#include "support/child.hpp"

namespace hostmap::test {
namespace {

using Event = Rendezvous::Event;
using namespace std::chrono_literals;

constexpr std::uint32_t kMailboxes = 8;

class RendezvousTest : public testing::Test {
 protected:
  std::vector<Event> serve(std::int64_t now, MailboxState answer = kMailboxReady) {
    return serve_once(server_, now, answer);
  }
  // Without other clients, a correct client connects at once.
  void expect_next_client_connects(std::int64_t now) {
    ClientSteps client(master_);
    client.ask_for_connection();
    const std::vector<std::uint64_t> asked = ids_of(serve(now), Event::kRequested);
    EXPECT_EQ(std::count(asked.begin(), asked.end(), client.id()), 1);
    EXPECT_TRUE(client.ready());
    EXPECT_TRUE(client.attach());
    EXPECT_EQ(ids_of(serve(now), Event::kAttached), std::vector{client.id()});
    EXPECT_EQ(master_.state(client.id()), kMailboxFree);
  }

  MasterMemory master_{kMailboxes};
  Rendezvous server_{master_.view()};
};

TEST_F(RendezvousTest, AClientThatTimesOutLeavesItsMailboxFree) {
  Deadline none(0ns);
  EXPECT_EQ(reserve_connection(master_.view(), none).status(), StatusCode::kTimeout);
  EXPECT_EQ(master_.taken_mailboxes(), 0u);
  EXPECT_TRUE(serve(monotonic_ns()).empty());
  expect_next_client_connects(monotonic_ns());
}

TEST_F(RendezvousTest, AClientThatTimesOutAfterTheAnswerReleasesTheConnection) {
  ClientSteps client(master_);
  client.ask_for_connection();
  serve(1);
  ASSERT_TRUE(client.ready());
  withdraw(master_.view(), client.id());
  EXPECT_EQ(ids_of(serve(1), Event::kAttached), std::vector{client.id()}) << "whose lock nobody has";
  EXPECT_EQ(master_.taken_mailboxes(), 0u);
  expect_next_client_connects(1);
}

TEST_F(RendezvousTest, ARefusedClientWithdrawsAndAnUnknownIdChangesNothing) {
  ClientSteps client(master_);
  client.ask_for_connection();
  serve(1, kMailboxFull);
  withdraw(master_.view(), client.id());
  EXPECT_EQ(master_.taken_mailboxes(), 0u);
  ClientSteps next(master_);
  next.ask_for_connection();
  withdraw(master_.view(), next.id() + kMailboxes);  // another id of the same mailbox
  EXPECT_EQ(master_.state(next.id()), kMailboxAsked);
}

TEST_F(RendezvousTest, AClientRequestsIsAnsweredAndAttaches) {
  std::atomic<std::uint64_t> id{0};
  std::thread client([&] {
    Deadline deadline(30s);
    const Result<std::uint64_t> reserved = reserve_connection(master_.view(), deadline);
    ASSERT_TRUE(reserved) << reserved.status().message();
    EXPECT_TRUE(confirm_attached(master_.view(), *reserved).ok());
    id = *reserved;
  });
  std::vector<std::uint64_t> asked;
  std::vector<std::uint64_t> attached;
  while (attached.empty()) {
    for (const Event& event : serve(monotonic_ns())) {
      ASSERT_NE(event.kind, Event::kGaveUp);
      (event.kind == Event::kRequested ? asked : attached).push_back(event.id);
    }
  }
  client.join();
  EXPECT_EQ(asked, std::vector<std::uint64_t>{1}) << "the counter's first number, reported once";
  EXPECT_EQ(attached, std::vector<std::uint64_t>{1});
  EXPECT_EQ(id, 1u);
  EXPECT_EQ(master_.taken_mailboxes(), 0u);
  EXPECT_FALSE(server_.waiting());
  EXPECT_EQ(master_.view().header().server_bell.rings.load(), 2u) << "rung when it asked and when it had attached";
}

TEST_F(RendezvousTest, WithoutClientsThereAreNoEvents) {
  EXPECT_TRUE(server_.collect(0).empty());
  EXPECT_TRUE(server_.collect(100 * kSecond).empty());
  EXPECT_FALSE(server_.waiting());
}

TEST_F(RendezvousTest, ARefusalIsClearedByTheClient) {
  for (const auto& [answer, words] :
       {std::pair{kMailboxFull, "--max-connections"}, std::pair{kMailboxNoMemory, "no memory"},
        std::pair{kMailboxNoDescriptor, "ulimit"}}) {
    std::thread client([&, words = words] {
      Deadline deadline(30s);
      const Result<std::uint64_t> reserved = reserve_connection(master_.view(), deadline);
      EXPECT_EQ(reserved.status().code(), StatusCode::kFull);
      EXPECT_NE(reserved.status().message().find(words), std::string_view::npos) << reserved.status().message();
    });
    while (ids_of(serve(0, answer), Event::kRequested).empty()) std::this_thread::yield();
    client.join();
    EXPECT_EQ(master_.taken_mailboxes(), 0u);
    EXPECT_TRUE(serve(0).empty()) << "no attachment, no giving up";
    EXPECT_FALSE(server_.waiting());
  }
}

TEST_F(RendezvousTest, IdsGrowAndMailboxesAreReusedInTurn) {
  for (std::uint64_t i = 1; i <= 5 * kMailboxes; ++i) {
    ClientSteps client(master_);
    client.ask_for_connection();
    EXPECT_EQ(client.id(), i);
    serve(0);
    ASSERT_TRUE(client.attach());
    serve(0);
  }
  EXPECT_FALSE(server_.waiting());
}

TEST_F(RendezvousTest, AClientThatFindsItsMailboxTakenTakesAnother) {
  std::vector<ClientSteps> clients(kMailboxes, ClientSteps(master_));
  for (ClientSteps& client : clients) client.ask_for_connection();
  serve(0);
  ASSERT_TRUE(clients[4].attach());
  serve(0);  // one mailbox is free
  std::thread late([&] {
    Deadline deadline(30s);
    const Result<std::uint64_t> reserved = reserve_connection(master_.view(), deadline);
    ASSERT_TRUE(reserved) << reserved.status().message();
    EXPECT_EQ(*reserved % kMailboxes, clients[4].id() % kMailboxes);
  });
  while (ids_of(serve(0), Event::kRequested).empty()) std::this_thread::yield();
  late.join();
}

TEST_F(RendezvousTest, ARequestIsReportedOnlyOnce) {
  ClientSteps client(master_);
  client.ask_for_connection();
  EXPECT_EQ(ids_of(server_.collect(0), Event::kRequested).size(), 1u);
  EXPECT_TRUE(server_.collect(1).empty()) << "not again before it is answered";
  server_.reply(client.id(), kMailboxReady);
  EXPECT_TRUE(server_.collect(2).empty());
  EXPECT_TRUE(client.attach());
  EXPECT_EQ(ids_of(server_.collect(3), Event::kAttached).size(), 1u);
  EXPECT_TRUE(server_.collect(4).empty());
}

TEST_F(RendezvousTest, AReplyToAnUnknownIdChangesNothing) {
  for (std::uint64_t id = 0; id < 3 * kMailboxes; ++id) server_.reply(id, kMailboxReady);
  EXPECT_EQ(master_.taken_mailboxes(), 0u);
  ClientSteps client(master_);
  client.ask_for_connection();
  server_.reply(client.id() + kMailboxes, kMailboxReady);
  EXPECT_FALSE(client.ready());
}

// --- Waiting without an answer ---------------------------------------------------------------------------------------

TEST_F(RendezvousTest, WithoutAServerTheClientsWaitEndsAtItsDeadline) {
  const std::int64_t begin = monotonic_ns();
  Deadline deadline(50ms);
  const Result<std::uint64_t> reserved = reserve_connection(master_.view(), deadline);
  EXPECT_EQ(reserved.status().code(), StatusCode::kTimeout);
  EXPECT_GE(monotonic_ns() - begin, 50'000'000);
}

TEST_F(RendezvousTest, WithAllMailboxesTakenTheClientsWaitEndsAtItsDeadline) {
  std::vector<ClientSteps> clients(kMailboxes, ClientSteps(master_));
  for (ClientSteps& client : clients) client.ask_for_connection();
  Deadline deadline(50ms);
  const Result<std::uint64_t> reserved = reserve_connection(master_.view(), deadline);
  EXPECT_EQ(reserved.status().code(), StatusCode::kTimeout);
  EXPECT_NE(reserved.status().message().find("too many"), std::string_view::npos) << reserved.status().message();
}

TEST_F(RendezvousTest, AWaitingClientLearnsThatTheServerHasGivenItUp) {
  std::thread client([&] {
    Deadline deadline(30s);
    const Result<std::uint64_t> reserved = reserve_connection(master_.view(), deadline);
    EXPECT_EQ(reserved.status().code(), StatusCode::kClosed) << reserved.status().message();
  });
  // A server that finds the request but cannot answer in time: by the clock, its timeout has passed.
  while (ids_of(server_.collect(0), Event::kRequested).empty()) std::this_thread::yield();
  server_.collect(kPatience);
  client.join();
  EXPECT_EQ(master_.taken_mailboxes(), 0u);
}

TEST_F(RendezvousTest, AnAttachmentThatComesTooLateIsRefused) {
  ClientSteps client(master_);
  client.ask_for_connection();
  serve(0);
  serve(1);
  serve(1 + kPatience);
  EXPECT_EQ(confirm_attached(master_.view(), client.id()).code(), StatusCode::kClosed);
  EXPECT_EQ(confirm_attached(master_.view(), client.id() + kMailboxes).code(), StatusCode::kClosed);
}

TEST_F(RendezvousTest, AStoppingServerRefusesAllClientsAtOnce) {
  std::vector<std::thread> clients;
  for (std::uint32_t i = 0; i < kMailboxes; ++i) {
    clients.emplace_back([&] {
      Deadline deadline(30s);
      const Result<std::uint64_t> reserved = reserve_connection(master_.view(), deadline);
      EXPECT_EQ(reserved.status().code(), StatusCode::kClosed) << reserved.status().message();
    });
  }
  for (std::uint32_t i = 0; i < kMailboxes; ++i) {
    while (master_.state(i) != kMailboxAsked) std::this_thread::yield();
  }
  refuse_all_clients(master_.view());
  for (std::thread& client : clients) client.join();
  EXPECT_EQ(master_.taken_mailboxes(), 0u);
}

// --- Clients that die, step by step ----------------------------------------------------------------------------------

TEST_F(RendezvousTest, DeadAfterTakingANumber) {
  ClientSteps client(master_);
  client.take_number();
  EXPECT_TRUE(serve(0).empty());
  serve(kPatience);
  EXPECT_FALSE(server_.waiting());
  EXPECT_EQ(master_.taken_mailboxes(), 0u);
  expect_next_client_connects(kPatience);
}

TEST_F(RendezvousTest, DeadAfterClaimingItsMailbox) {
  ClientSteps client(master_);
  client.take_number();
  ASSERT_TRUE(client.claim());
  EXPECT_TRUE(serve(0).empty());
  serve(kPatience - 1);
  EXPECT_EQ(master_.state(client.id()), kMailboxClaimed) << "its patience is not over";
  EXPECT_TRUE(serve(kPatience).empty());
  EXPECT_EQ(master_.state(client.id()), kMailboxFree);
  EXPECT_FALSE(server_.waiting());
  EXPECT_FALSE(client.ask()) << "if it was only stopped, it learns that it was given up";
  expect_next_client_connects(kPatience);
}

TEST_F(RendezvousTest, DeadBetweenRequestAndAnswer) {
  ClientSteps client(master_);
  client.ask_for_connection();
  EXPECT_EQ(ids_of(serve(0), Event::kRequested).size(), 1u);
  EXPECT_TRUE(serve(kPatience - 1).empty()) << "the answer restarted the timeout";
  const auto events = serve(2 * kPatience);
  EXPECT_EQ(ids_of(events, Event::kGaveUp), std::vector{client.id()}) << "the region is freed";
  EXPECT_EQ(events.size(), 1u);
  EXPECT_EQ(master_.state(client.id()), kMailboxFree);
  EXPECT_FALSE(server_.waiting());
  EXPECT_TRUE(serve(4 * kPatience).empty()) << "reported once";
  expect_next_client_connects(4 * kPatience);
}

TEST_F(RendezvousTest, DeadAfterAttaching) {
  ClientSteps client(master_);
  client.ask_for_connection();
  serve(0);
  ASSERT_TRUE(client.attach());
  EXPECT_EQ(ids_of(serve(1), Event::kAttached), std::vector{client.id()}) << "from now on the server watches its lock";
  EXPECT_EQ(master_.state(client.id()), kMailboxFree);
  EXPECT_FALSE(server_.waiting());
}

TEST_F(RendezvousTest, DeadWithARefusalUnread) {
  for (const MailboxState refusal : {kMailboxFull, kMailboxNoMemory, kMailboxNoDescriptor}) {
    ClientSteps client(master_);
    client.ask_for_connection();
    serve(0, refusal);
    EXPECT_EQ(master_.state(client.id()), refusal);
    EXPECT_TRUE(ids_of(serve(kPatience), Event::kGaveUp).empty()) << "there is no region to free";
    serve(2 * kPatience);
    EXPECT_EQ(master_.state(client.id()), kMailboxFree);
    EXPECT_FALSE(server_.waiting());
  }
  expect_next_client_connects(4 * kPatience);
}

TEST_F(RendezvousTest, DeadClientsDelayNoOther) {
  // All mailboxes but one are held by dead clients, which died at every step.
  for (std::uint32_t i = 0; i + 1 < kMailboxes; ++i) {
    ClientSteps client(master_);
    client.take_number();
    if (i % 3 > 0) client.claim();
    if (i % 3 > 1) client.ask();
  }
  expect_next_client_connects(1);
}

// Nothing leaks after 10^5 repetitions.
TEST_F(RendezvousTest, AHundredThousandDeathsLeakNothing) {
  std::int64_t now = 0;
  for (int i = 0; i < 100'000; ++i) {
    ClientSteps client(master_);
    client.take_number();
    const bool claimed = i % 4 > 0 && client.claim();
    const bool asked = i % 4 > 1 && client.ask();
    serve(now);
    const bool attached = i % 4 > 2 && client.attach();
    ASSERT_EQ(claimed + asked + attached, i % 4) << i;
    serve(now += kPatience);
    serve(now += kPatience);
    ASSERT_EQ(master_.taken_mailboxes(), 0u) << i;
    ASSERT_FALSE(server_.waiting()) << i;
  }
}

// A client that was only stopped continues as if nothing had happened, at whichever step it was: it is connected or refused,
// and its mailbox is freed.
TEST_F(RendezvousTest, AClientStoppedForLongBeforeClaimingIsServedOrForgottenAndItsMailboxIsFreed) {
  ClientSteps client(master_);
  client.take_number();
  serve(0);
  serve(10 * kPatience);  // the server has forgotten the number
  if (client.claim()) client.ask();
  serve(11 * kPatience);
  if (client.ready()) client.attach();
  serve(12 * kPatience);
  serve(13 * kPatience);
  serve(14 * kPatience);
  EXPECT_EQ(master_.state(client.id()), kMailboxFree) << "state " << master_.state(client.id()) << " stays";
  EXPECT_FALSE(server_.waiting());
}

// Many such clients, one after the other, as many as would use up all mailboxes.
TEST_F(RendezvousTest, ClientsStoppedForLongDoNotUseUpTheMailboxes) {
  std::int64_t now = 0;
  for (std::uint32_t i = 0; i < 2 * kMailboxes; ++i) {
    ClientSteps client(master_);
    client.take_number();
    serve(now);
    serve(now += 2 * kPatience);
    if (client.claim()) client.ask();  // and dies
  }
  for (int i = 0; i < 4; ++i) serve(now += 2 * kPatience);
  EXPECT_EQ(master_.taken_mailboxes(), 0u);
}

}  // namespace
}  // namespace hostmap::test
