// Registrations of clients that wait for a change, at the worker.
#include <gtest/gtest.h>
#include <memory>
#include <string>

#include "worker_by_hand.hpp"

namespace hostmap::test {
namespace {

class WorkerAndWaiters : public WorkerByHand {
 protected:
  StatusCode send(TestChannel& from, Op op, std::uint64_t group) {
    Deadline deadline(std::chrono::seconds(30));
    EXPECT_TRUE(from.channel->send_any(op, true, {}, std::as_bytes(std::span(&group, 1)), deadline).ok());
    worker_.sweep();
    if (Status status = from.channel->await_answer(deadline); !status.ok()) return status.code();
    const StatusCode code = from.channel->answer().code;
    from.channel->release();
    return code;
  }
  void change(TestChannel& from) {
    Deadline deadline(std::chrono::seconds(30));
    ASSERT_TRUE(from.channel->send_any(Op::kPut, true, from.key(), from.key(), deadline).ok());
    worker_.sweep();
    ASSERT_TRUE(from.channel->await_answer(deadline).ok());
    from.channel->release();
  }
  std::uint32_t group_of(const TestChannel& of) {
    std::uint32_t shard;
    return wait_group_of(table_.table().hash(of.key(), shard).hash);
  }
  std::uint32_t word(std::uint32_t group) {
    return table_.table().region().at<WaitGroupWords>(kWaitGroupsOffset)->words[group].load();
  }
  std::uint64_t waited() { return table_.header().lane_stats[0].waited.load(); }
};

TEST_F(WorkerAndWaiters, AWordIsRaisedByChangesOfItsGroupWhileAClientIsRegistered) {
  TestChannel& one = connect();
  TestChannel& other = connect();
  const std::uint32_t group = group_of(one);
  change(one);
  EXPECT_EQ(word(group), 0u) << "nobody waits";
  ASSERT_EQ(send(other, Op::kWatch, group), StatusCode::kOk);
  EXPECT_EQ(waited(), 1u);
  EXPECT_EQ(word(group), 0u) << "nothing has changed";
  change(one);
  EXPECT_EQ(word(group), 1u);
  ASSERT_NE(group_of(other), group);
  change(other);
  EXPECT_EQ(word(group), 1u) << "a key of another group";
  EXPECT_EQ(word(group_of(other)), 0u);
  ASSERT_EQ(send(other, Op::kUnwatch, group), StatusCode::kOk);
  EXPECT_EQ(waited(), 0u);
  change(one);
  EXPECT_EQ(word(group), 1u);
}

TEST_F(WorkerAndWaiters, AGroupIsRegisteredOnceForAChannel) {
  TestChannel& one = connect();
  TestChannel& other = connect();
  for (int i = 0; i < 3; ++i) ASSERT_EQ(send(one, Op::kWatch, 5), StatusCode::kOk);
  ASSERT_EQ(send(other, Op::kWatch, 5), StatusCode::kOk);
  EXPECT_EQ(waited(), 2u);
  for (int i = 0; i < 3; ++i) ASSERT_EQ(send(one, Op::kUnwatch, 5), StatusCode::kOk);
  EXPECT_EQ(waited(), 1u);
}

TEST_F(WorkerAndWaiters, AChannelHasSixtyFourGroupsAtMost) {
  TestChannel& one = connect();
  for (std::uint64_t group = 0; group < 64; ++group) ASSERT_EQ(send(one, Op::kWatch, group), StatusCode::kOk);
  EXPECT_EQ(send(one, Op::kWatch, 64), StatusCode::kFull);
  EXPECT_EQ(send(one, Op::kWatch, 63), StatusCode::kOk) << "it has this one";
  EXPECT_EQ(waited(), 64u);
  EXPECT_EQ(table_.header().lane_stats[0].refused.load(), 0u) << "no write was refused";
  ASSERT_EQ(send(one, Op::kUnwatch, 7), StatusCode::kOk);
  EXPECT_EQ(send(one, Op::kWatch, 64), StatusCode::kOk);
}

TEST_F(WorkerAndWaiters, AGroupThatDoesNotExistClosesTheConnection) {
  for (const std::uint64_t group : {std::uint64_t{kWaitGroups}, std::uint64_t{65536 + 5}, ~std::uint64_t{0}}) {
    for (const Op op : {Op::kWatch, Op::kUnwatch}) {
      TestChannel& bad = connect();
      EXPECT_EQ(send(bad, op, group), StatusCode::kClosed);
    }
  }
  EXPECT_EQ(waited(), 0u);
}

TEST_F(WorkerAndWaiters, AConnectionThatIsDroppedIsClosedAndItsGroupsAreRaised) {
  TestChannel& one = connect();
  for (const std::uint64_t group : {3, 5}) ASSERT_EQ(send(one, Op::kWatch, group), StatusCode::kOk);
  ASSERT_FALSE(one.client->closed());
  drop(*one.server);
  EXPECT_TRUE(one.client->closed());
  EXPECT_EQ(waited(), 0u);
  EXPECT_EQ(word(3), 1u);
  EXPECT_EQ(word(4), 0u);
  EXPECT_EQ(word(5), 1u);
}

TEST_F(WorkerAndWaiters, AClearRaisesAllRegisteredGroups) {
  TestChannel& one = connect();
  for (const std::uint64_t group : {3, 5}) ASSERT_EQ(send(one, Op::kWatch, group), StatusCode::kOk);
  Deadline deadline(std::chrono::seconds(30));
  ASSERT_TRUE(one.channel->send_any(Op::kClear, true, {}, {}, deadline).ok());
  worker_.sweep();
  ASSERT_TRUE(one.channel->await_answer(deadline).ok());
  EXPECT_EQ(word(3), 1u);
  EXPECT_EQ(word(4), 0u);
  EXPECT_EQ(word(5), 1u);
}

TEST_F(WorkerAndWaiters, AServerThatStartsRaisesEveryWord) {
  table_.table().wake_waiters();
  for (std::uint32_t group = 0; group < kWaitGroups; ++group) ASSERT_EQ(word(group), 1u);
}

}  // namespace
}  // namespace hostmap::test
