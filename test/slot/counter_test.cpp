// Any client can write the counter: it may jump forward or back, or be where ids and words wrap. Correct clients are at
// worst delayed.
#include <gtest/gtest.h>

#include "layout/master.hpp"
#include "slot_fixture.hpp"
#include "support/seed.hpp"

namespace hostmap::test {
namespace {

using Event = Rendezvous::Event;

constexpr std::uint32_t kMailboxes = 8;

class CounterTest : public testing::Test {
 protected:
  // A client that connects now is answered at once, not only after a timeout of the server.
  void expect_connects(std::int64_t now) {
    ClientSteps client(master_);
    client.ask_for_connection();
    serve_once(server_, now);
    ASSERT_TRUE(client.ready()) << "id " << client.id();
    ASSERT_TRUE(client.attach());
    const auto attached = ids_of(serve_once(server_, now), Event::kAttached);
    ASSERT_EQ(attached, std::vector{client.id()});
    ASSERT_EQ(master_.state(client.id()), kMailboxFree);
  }

  MasterMemory master_{kMailboxes};
  Rendezvous server_{master_.view()};
};

TEST_F(CounterTest, AJumpForwardCostsBoundedWorkAndLosesNoClient) {
  for (const std::uint64_t jump :
       {std::uint64_t{9}, std::uint64_t{1000}, std::uint64_t{1} << 40, std::uint64_t{1} << 63}) {
    master_.counter().fetch_add(jump);
    expect_connects(0);
    if (HasFatalFailure()) return;
  }
  for (int i = 1; i <= 3; ++i) serve_once(server_, i * kPatience);
  EXPECT_FALSE(server_.waiting()) << "numbers that nobody took are forgotten";
}

TEST_F(CounterTest, AJumpBackDoesNoHarm) {
  for (int i = 0; i < 20; ++i) expect_connects(0);
  for (const std::uint64_t value : {15u, 3u, 0u, 19u, 1u}) {
    master_.counter().store(value);
    expect_connects(0);
    if (HasFatalFailure()) return;
  }
}

TEST_F(CounterTest, AClientThatIsBeingServedSurvivesAJumpOfTheCounter) {
  for (const std::uint64_t counter : {std::uint64_t{1} << 50, std::uint64_t{0}, std::uint64_t{12345}}) {
    ClientSteps client(master_);
    client.ask_for_connection();
    master_.counter().store(counter);  // before the server has looked
    std::int64_t now = 0;
    for (int i = 0; i < 6 && !client.ready(); ++i) serve_once(server_, now += kPatience / 2);
    EXPECT_TRUE(client.ready()) << "a client that asked is never answered, counter " << counter;
    if (client.ready()) {
      master_.counter().store(counter + 77);  // and before it is seen to have attached
      EXPECT_TRUE(client.attach());
      std::vector<std::uint64_t> attached;
      for (int i = 0; i < 6 && attached.empty(); ++i) {
        attached = ids_of(serve_once(server_, now += kPatience / 2), Event::kAttached);
      }
      EXPECT_EQ(attached, std::vector{client.id()});
    }
    for (int i = 0; i < 6; ++i) serve_once(server_, now += kPatience);
    EXPECT_EQ(master_.taken_mailboxes(), 0u) << "a mailbox is lost, counter " << counter;
    EXPECT_FALSE(server_.waiting());
  }
}

// Ids are the counter's low 56 bits, and the counter itself wraps at 2^64.
TEST_F(CounterTest, WrappingOfCounterAndIdsDoesNoHarm) {
  for (const std::uint64_t begin : {kIdMask - 12, 0 - std::uint64_t{12}}) {
    master_.counter().store(begin);
    for (int i = 0; i < 30; ++i) {
      expect_connects(0);
      if (HasFatalFailure()) return;
    }
    EXPECT_LT(master_.counter().load() & kIdMask, begin & kIdMask) << "it did wrap";
  }
  for (int i = 1; i <= 3; ++i) serve_once(server_, i * kPatience);
  EXPECT_FALSE(server_.waiting());
}

// Id 0 in a mailbox that was never used is the word 0, which also means "nobody yet".
TEST_F(CounterTest, IdZeroIsServedThoughTheServerCollectsBeforeItsClaim) {
  master_.counter().store(kIdMask);
  ClientSteps client(master_);
  client.take_number();
  ASSERT_EQ(client.id(), 0u);
  serve_once(server_, 0);
  ASSERT_TRUE(client.claim());
  serve_once(server_, 0);
  ASSERT_TRUE(client.ask());
  serve_once(server_, 0);
  EXPECT_TRUE(client.ready());
}

// The same number is given twice (the counter was set back): its mailbox still contains "free, of this id" from the first
// time.
TEST_F(CounterTest, ANumberGivenTwiceIsServedThoughTheServerCollectsBeforeItsClaim) {
  expect_connects(0);
  master_.counter().store(0);
  ClientSteps client(master_);
  client.take_number();
  ASSERT_EQ(client.id(), 1u);
  serve_once(server_, 0);
  ASSERT_TRUE(client.claim());
  ASSERT_TRUE(client.ask());
  serve_once(server_, 0);
  EXPECT_TRUE(client.ready());
}

// The same after a refusal, which the client itself has cleared. If the server did not collect in between, it finds a client
// that makes no progress: then the server gives it up, and the client retries with another number.
TEST_F(CounterTest, ANumberThatWasRefusedIsServedOrGivenUpWhenItIsGivenAgain) {
  for (const bool looks_in_between : {false, true}) {
    master_.counter().store(40);
    ClientSteps refused(master_);
    refused.ask_for_connection();
    serve_once(server_, 0, kMailboxFull);
    if (looks_in_between) serve_once(server_, 0);
    master_.word(refused.id()).store(mailbox_word(refused.id(), kMailboxFree));
    if (looks_in_between) serve_once(server_, 0);
    master_.counter().store(40);
    ClientSteps again(master_);
    again.ask_for_connection();
    ASSERT_EQ(again.id(), refused.id());
    serve_once(server_, kPatience);
    EXPECT_TRUE(again.ready() || (!looks_in_between && master_.state(again.id()) == kMailboxFree));
    serve_once(server_, 2 * kPatience);
    serve_once(server_, 3 * kPatience);
    EXPECT_EQ(master_.state(again.id()), kMailboxFree);
  }
}

TEST_F(CounterTest, RandomJumpsBetweenHonestClients) {
  Random random;
  for (int i = 0; i < 2000; ++i) {
    switch (random.below(4)) {
      case 0:
        master_.counter().store(random.word());
        break;
      case 1:
        master_.counter().fetch_add(random.below(40));
        break;
      case 2:
        master_.counter().fetch_sub(random.below(40));
        break;
      default:
        break;
    }
    ASSERT_NO_FATAL_FAILURE(expect_connects(0)) << "round " << i;
  }
}

}  // namespace
}  // namespace hostmap::test
