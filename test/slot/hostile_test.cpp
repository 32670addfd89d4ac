// A client writes anything to the whole master region (fault case 4 in docs/internals/failure-model.md). The server's work
// stays bounded, and correct clients that connect are at worst delayed.
#include <atomic>
#include <gtest/gtest.h>
#include <malloc.h>

#include "layout/master.hpp"
#include "slot_fixture.hpp"
#include "support/child.hpp"
#include "support/seed.hpp"

namespace hostmap::test {
namespace {

using Event = Rendezvous::Event;

constexpr std::uint32_t kMailboxes = 64;

// The memory allocated by malloc; 0 under sanitizers, which have their own allocator.
std::size_t allocated_bytes() {
  const struct mallinfo2 now = ::mallinfo2();
  return now.uordblks + now.hblkhd;
}

class HostileMasterTest : public testing::Test {
 protected:
  // Everything that clients can write and that is read again: all but the region's constants.
  std::span<std::byte> writable() { return master_.memory().span().subspan(offsetof(MasterHeader, counter)); }

  // After the hostile client has gone: everything is free again within some timeouts, and a correct client connects.
  void expect_recovery(Rendezvous& server, std::int64_t now) {
    for (int i = 0; i < 5; ++i) serve_once(server, now += kPatience);
    EXPECT_EQ(master_.taken_mailboxes(), 0u) << "mailboxes that nobody frees any more";
    ClientSteps client(master_);
    for (std::uint32_t tries = 0; tries < 2 * kMailboxes; ++tries) {
      client.take_number();
      if (client.claim()) break;
    }
    ASSERT_TRUE(client.ask()) << "no mailbox is free for an honest client";
    serve_once(server, now);
    ASSERT_TRUE(client.ready()) << "an honest client is not answered";
    ASSERT_TRUE(client.attach());
    EXPECT_EQ(ids_of(serve_once(server, now), Event::kAttached), std::vector{client.id()});
  }

  MasterMemory master_{kMailboxes};
};

// Random content is written once.
TEST_F(HostileMasterTest, AfterRandomWritesHonestClientsConnectAgain) {
  Random random;
  for (int round = 0; round < 200; ++round) {
    Rendezvous server(master_.view());
    random.fill(writable());
    serve_once(server, 0);
    ASSERT_NO_FATAL_FAILURE(expect_recovery(server, 0));
    ASSERT_FALSE(HasNonfatalFailure()) << "round " << round;
  }
}

// The same with plausible words: every mailbox is in one state, with another client's id.
TEST_F(HostileMasterTest, AfterAllMailboxesWereTakenWithoutClientsHonestClientsConnectAgain) {
  for (std::uint64_t value = 0; value < 256; value += value < 8 ? 1 : 31) {
    const auto state = static_cast<MailboxState>(value);
    for (const std::uint64_t id_step : {std::uint64_t{0}, std::uint64_t{kMailboxes}, std::uint64_t{1} << 40}) {
      Rendezvous server(master_.view());
      for (std::uint64_t i = 0; i < kMailboxes; ++i) {
        master_.word(i).store(mailbox_word((i + id_step) & kIdMask, state));
      }
      ASSERT_NO_FATAL_FAILURE(expect_recovery(server, 0));
      ASSERT_FALSE(HasNonfatalFailure()) << "state " << value << ", ids from " << id_step;
    }
  }
}

// A process writes random content all the time while collect() runs.
TEST_F(HostileMasterTest, RandomWritesAllTheTimeCostBoundedWorkAndCauseNoFault) {
  Random random;
  const std::uint64_t seed = random.word();
  const AlignedMemory notes(kPageSize);
  auto& scribbles = notes.at<std::atomic<std::uint64_t>>(0);
  Child attacker = Child::fork([&] {
    Random noise(seed);
    for (;;) {
      std::span<std::byte> all = writable();
      const auto words = all.size() / 8;
      auto* word = reinterpret_cast<Word*>(all.data());
      for (int i = 0; i < 100; ++i) word[noise.below(words)].store(noise.word(), std::memory_order_relaxed);
      // The most harmful content: plausible states with ids that the server will read.
      const std::uint64_t id = master_.counter().load() - noise.below(kMailboxes);
      master_.word(id).store(mailbox_word(id & kIdMask, static_cast<MailboxState>(noise.below(7))));
      if (noise.one_in(10)) master_.counter().store(noise.word());
      if (noise.one_in(4)) master_.counter().fetch_add(noise.below(10));
      scribbles.fetch_add(1);
    }
    return 0;
  });
  Rendezvous server(master_.view());
  std::int64_t now = 0;
  while (scribbles.load() == 0) ASSERT_TRUE(attacker.running());
  for (int i = 0; i < 20'000 || scribbles.load() < 1000; ++i) {
    const std::vector<Event> seen = serve_once(server, now += static_cast<std::int64_t>(random.below(kPatience / 4)));
    // Each mailbox causes at most one request and one other event; nothing accumulates.
    ASSERT_LE(seen.size(), 2 * kMailboxes);
    for (const Event& event : seen) ASSERT_LE(event.id, kIdMask);
  }
  ASSERT_TRUE(attacker.running());
  attacker.kill_and_wait();
  expect_recovery(server, now);
}

// A client adds to the counter in small steps without end, so that the server never detects a jump: the server keeps no heap
// of numbers, which would take memory, and time in each round.
TEST_F(HostileMasterTest, UnclaimedNumbersDoNotAccumulate) {
  Rendezvous server(master_.view());
  std::int64_t now = 0;
  const std::size_t before = allocated_bytes();
  for (int i = 0; i < 2000; ++i) {
    master_.counter().fetch_add(kMailboxes);
    serve_once(server, now += 1000);  // all within one patience
  }
  EXPECT_LT(allocated_bytes(), before + 1024 * kMailboxes) << "of 0 under a sanitizer, which shows nothing";
  for (int i = 0; i < 3; ++i) serve_once(server, now += kPatience);
  EXPECT_FALSE(server.waiting());
  expect_recovery(server, now);
}

// There may be events for ids that were never reserved (a mailbox contains them), but also those of a correct client.
TEST_F(HostileMasterTest, AnHonestClientIsServedBesideAForger) {
  Rendezvous server(master_.view());
  Random random;
  for (int round = 0; round < 2000; ++round) {
    ClientSteps client(master_);
    client.ask_for_connection();
    // Any mailbox except the correct client's own.
    for (int i = 0; i < 4; ++i) {
      const std::uint64_t other = client.id() + random.between(1, kMailboxes - 1);
      master_.word(other).store(mailbox_word(random.one_in(2) ? other & kIdMask : random.word() & kIdMask,
                                             static_cast<MailboxState>(random.below(7))));
    }
    serve_once(server, round);
    ASSERT_TRUE(client.ready()) << "round " << round;
    ASSERT_TRUE(client.attach());
    const auto attached = ids_of(serve_once(server, round), Event::kAttached);
    ASSERT_NE(std::find(attached.begin(), attached.end(), client.id()), attached.end());
    for (std::uint64_t i = 0; i < kMailboxes; ++i) master_.word(i).store(0);
  }
}

TEST_F(HostileMasterTest, AnImplausibleHeaderIsRefusedBeforeUse) {
  const MasterView view(master_.memory().data());
  const std::uint64_t bytes = master_.memory().bytes();
  EXPECT_TRUE(view.plausible(bytes));
  EXPECT_FALSE(view.plausible(bytes - 1)) << "mailboxes beyond the end";
  for (const std::uint32_t count : {0u, kMailboxes * 64, 2 * kMaxConnections + 1, 0xffff'ffffu}) {
    view.header().mailbox_count = count;
    EXPECT_FALSE(view.plausible(bytes)) << count;
  }
}

}  // namespace
}  // namespace hostmap::test
