// Idle channels beside busy ones: how soon a sweep serves them, and what their clients' hints cost. The test calls the
// worker's sweeps.
#include <deque>
#include <gtest/gtest.h>
#include <memory>
#include <set>
#include <vector>

#include "../table/table_fixture.hpp"
#include "connection/client_end.hpp"
#include "layout/connection.hpp"
#include "layout/journal.hpp"
#include "layout/master.hpp"
#include "layout/table.hpp"
#include "server/run/worker.hpp"
#include "support/aligned_memory.hpp"
#include "support/seed.hpp"

namespace hostmap::test {
namespace {

constexpr std::uint64_t kSmallRing = 4096;
// More than one channel in most buckets.
constexpr std::uint32_t kCrowd = 900;
// A channel is idle after this many sweeps without a request, whether its client sets hints or not.
constexpr int kLongEnough = 600;

struct Caller {
  Caller(Worker& worker, const TableHeader& table, Bell& bell, IdleHints& hints, std::uint64_t id)
      : memory(connection_bytes(1, kSmallRing)) {
    ServerEnd::Identity identity;
    identity.id = id;
    identity.serial = id;
    identity.ring_bytes = kSmallRing;
    server = ServerEnd::over(memory.data(), identity);
    ChannelMemos::clear(position);
    client = ClientEnd::over(memory.data(), false);
    Deadline deadline(std::chrono::seconds(30));
    channel = *client->channel(0, {table.lane_worker, table.workers, &bell, &hints}, nullptr, deadline);
    worker.add_channel(std::make_unique<ServerChannel>(*server, 0, position));
  }
  void put() {
    static constexpr std::byte kKey[9] = {};
    Deadline deadline(std::chrono::seconds(30));
    ASSERT_TRUE(channel->await_room(2 * sizeof kKey, deadline).ok());
    channel->send(Op::kPut, false, kKey, kKey);
  }
  bool served() const { return server->control(0).requests_consumed.load() == channel->sent(); }
  bool idle() const { return server->control(0).idle.load() != 0; }

  AlignedMemory memory;
  ChannelPosition position{};
  std::unique_ptr<ServerEnd> server;
  std::unique_ptr<ClientEnd> client;
  ClientChannel* channel;
};

class IdleChannelsTest : public testing::Test {
 protected:
  IdleChannelsTest()
      : table_({.memory = std::uint64_t{128} << 20}),
        worker_(Worker::Surroundings{&table_.table(), &streams_, table_.journal(), table_.pieces(),
                                     &table_.header().workers[0], std::span(&bell_, 1), &hints_, false,
                                     &service_bell_.rings, 2 * kCrowd, kSmallRing},
                0, {0}) {}
  Caller& connect(std::uint64_t id) {
    Caller& caller = callers_.emplace_back(worker_, table_.header(), bell_, hints_, id);
    worker_.take_orders();
    return caller;
  }
  void connect_crowd() {
    for (std::uint64_t id = 1; id <= kCrowd; ++id) connect(id);
  }
  // Beside a client that has a request in each sweep: without work, the worker would poll all channels and park.
  void sweep() {
    if (busy_ != nullptr) busy_->put();
    worker_.sweep();
  }
  void sweep_until_idle() {
    for (int i = 0; i < kLongEnough; ++i) sweep();
  }
  // `before_each` is called before each sweep.
  template <typename BeforeEach>
  int sweeps_until_served(const Caller& caller, const BeforeEach& before_each) {
    int sweeps = 0;
    for (; !caller.served() && sweeps < 10'000; ++sweeps) {
      before_each();
      sweep();
    }
    return sweeps;
  }
  int sweeps_until_served(const Caller& caller) {
    return sweeps_until_served(caller, [] {});
  }
  // Several clients with idle channels, one after the other, each with a put in its ring.
  template <typename Visit>
  void each_of_some_callers(const Visit& visit) {
    connect_crowd();
    busy_ = &connect(10'000);
    sweep_until_idle();
    Random random;
    for (int i = 0; i < 20; ++i) {
      Caller& caller = callers_[random.below(kCrowd)];
      if (!caller.idle()) continue;
      caller.put();
      visit(caller);
    }
  }
  bool hinted() const {
    for (const HalfWord& word : hints_.words) {
      if (word.load() != 0) return true;
    }
    return false;
  }
  void set_all_hints() {
    for (HalfWord& word : hints_.words) word.store(~std::uint32_t{0});
  }
  void drop_hints() {
    for (HalfWord& word : hints_.words) word.store(0);
  }
  void detach(Caller& caller) {
    caller.server->holders = 1;
    worker_.drop_channels(*caller.server);
    worker_.take_orders();
    ASSERT_EQ(caller.server->holders.load(), 0u);
  }

  TestTable table_;
  Bell bell_{};
  IdleHints hints_{};
  Bell service_bell_{};
  StreamQuota streams_;
  std::deque<Caller> callers_;
  Caller* busy_ = nullptr;
  Worker worker_;
};

TEST_F(IdleChannelsTest, AnIdleCallerIsServedInTheNextSweepHoweverManyAreIdle) {
  connect_crowd();
  busy_ = &connect(10'000);
  sweep_until_idle();
  Random random;
  for (int i = 0; i < 200; ++i) {
    Caller& caller = callers_[random.below(kCrowd)];
    caller.put();
    EXPECT_LE(sweeps_until_served(caller), 1);
  }
}

TEST_F(IdleChannelsTest, TheFirstRequestEndsIdlenessAndTheNextOnesSetNoHint) {
  connect_crowd();
  busy_ = &connect(10'000);
  sweep_until_idle();
  Caller& caller = callers_[17];
  ASSERT_TRUE(caller.idle());
  caller.put();
  EXPECT_TRUE(hinted());
  sweep();
  EXPECT_FALSE(hinted());
  EXPECT_FALSE(caller.idle());
  for (int i = 0; i < 100; ++i) {
    caller.put();
    ASSERT_FALSE(hinted());
    sweep();
    ASSERT_TRUE(caller.served());
  }
  sweep_until_idle();
  EXPECT_TRUE(caller.idle());
}

TEST_F(IdleChannelsTest, AChannelIsPolledForLongAfterItsClientWasRequestedToSetHints) {
  connect_crowd();
  busy_ = &connect(10'000);
  Caller& caller = callers_[17];
  int sweeps = 0;
  for (; !caller.idle(); ++sweeps) sweep();
  // Its client has not loaded that yet, and may load it at any later time.
  for (int i = 0; i < sweeps - 2; ++i) sweep();
  caller.put();
  drop_hints();
  EXPECT_LE(sweeps_until_served(caller), 1);
}

TEST_F(IdleChannelsTest, AClientThatSetsNoHintsIsServedInItsTurn) {
  each_of_some_callers([&](Caller& caller) {
    drop_hints();
    EXPECT_LE(sweeps_until_served(caller), static_cast<int>(kCrowd));
  });
}

TEST_F(IdleChannelsTest, HintsWithoutAClientCostEachSweepABoundedNumberOfPolls) {
  connect_crowd();
  busy_ = &connect(10'000);
  sweep_until_idle();
  for (Caller& caller : callers_) {
    if (&caller != busy_) caller.put();
  }
  set_all_hints();
  std::size_t before = 0;
  for (int sweeps = 0; before < kCrowd; ++sweeps) {
    sweep();
    std::size_t served = 0;
    for (const Caller& caller : callers_) served += &caller != busy_ && caller.served() ? 1 : 0;
    ASSERT_LE(served - before, 40u) << "found in sweep " << sweeps;
    ASSERT_GT(served, before);
    before = served;
  }
}

TEST_F(IdleChannelsTest, AClientThatSetsAllHintsDelaysOthersLessThanNoHintsWould) {
  each_of_some_callers([&](const Caller& caller) {
    // A bucket's turn comes every 512 polls, and holds two channels at most.
    EXPECT_LE(sweeps_until_served(caller, [&] { set_all_hints(); }), static_cast<int>(2 * kIdleBuckets / 32 + 1));
  });
}

TEST_F(IdleChannelsTest, AFullBucketDoesNotDelayTheOthers) {
  for (std::uint64_t i = 1; i <= 500; ++i) connect(i * kIdleBuckets + 1);
  Caller& other = connect(77);
  busy_ = &connect(10'000);
  sweep_until_idle();
  other.put();
  const auto hint_of_the_500 = [&] { hints_.words[0].fetch_or(2); };
  EXPECT_EQ(sweeps_until_served(other, hint_of_the_500), 1);
  // And each request is found.
  for (std::size_t i = 0; i < 500; i += 71) {
    callers_[i].put();
    EXPECT_LE(sweeps_until_served(callers_[i]), 500 / 32 + 1);
  }
}

TEST_F(IdleChannelsTest, AClientThatLeavesABucketRemovesNoOtherFromIt) {
  std::vector<Caller*> bucket;
  for (std::uint64_t i = 1; i <= 6; ++i) bucket.push_back(&connect(i * kIdleBuckets + 5));
  busy_ = &connect(10'000);
  sweep_until_idle();
  for (const std::size_t leaver : {2, 0, 5}) {
    detach(*bucket[leaver]);
    bucket[leaver] = nullptr;
    for (Caller* caller : bucket) {
      if (caller == nullptr) continue;
      sweep_until_idle();
      caller->put();
      EXPECT_LE(sweeps_until_served(*caller), 1);
    }
  }
}

TEST_F(IdleChannelsTest, TwoChannelsNeedNoHints) {
  Caller& one = connect(1);
  Caller& other = connect(2);
  sweep_until_idle();
  for (Caller* caller : {&one, &other}) {
    EXPECT_FALSE(caller->idle());
    caller->put();
    EXPECT_FALSE(hinted());
    EXPECT_LE(sweeps_until_served(*caller), 2);
  }
}

TEST_F(IdleChannelsTest, ClientsWithoutHintsSetThemOnceThereAreMoreChannels) {
  Caller& one = connect(1);
  Caller& other = connect(2);
  sweep_until_idle();
  connect_crowd();
  busy_ = &connect(10'000);
  sweep_until_idle();
  for (Caller* caller : {&one, &other}) {
    EXPECT_TRUE(caller->idle());
    caller->put();
    EXPECT_LE(sweeps_until_served(*caller), 1);
  }
}

TEST_F(IdleChannelsTest, ATakenOverChannelIsNotIdle) {
  connect_crowd();
  busy_ = &connect(10'000);
  sweep_until_idle();
  Caller& caller = callers_[17];
  ASSERT_TRUE(caller.idle());
  const ServerChannel next(*caller.server, 0, caller.position);
  EXPECT_FALSE(caller.idle());
}

}  // namespace
}  // namespace hostmap::test
