// How a worker divides its time among channels. The test calls each sweep; there is no thread.
#include <gtest/gtest.h>
#include <thread>
#include <vector>

#include "layout/connection.hpp"
#include "server/part_of_a_put.hpp"
#include "worker_by_hand.hpp"

namespace hostmap::test {
namespace {

using WorkerShares = WorkerByHand;

TEST_F(WorkerShares, ABatchIsBoundedInRecords) {
  TestChannel& one = connect();
  one.fill(8);
  worker_.sweep();
  EXPECT_EQ(one.consumed(), Worker::kBatch * record_bytes(1 + 8));
}

// One record is four times a share: a client that sends such records is served in a quarter of the sweeps, the others in
// all.
TEST_F(WorkerShares, AClientWithTheLargestRequestsGetsOnlyItsShareOfTheBytes) {
  TestChannel& greedy = connect();
  TestChannel& modest = connect();
  constexpr std::uint64_t kSweeps = 400;
  for (std::uint64_t i = 0; i < kSweeps; ++i) {
    greedy.fill(16'000);
    modest.fill(8);
    const std::uint64_t before = modest.consumed();
    worker_.sweep();
    ASSERT_EQ(modest.consumed() - before, Worker::kBatch * record_bytes(1 + 8)) << "in sweep " << i;
  }
  // (Padding at the end of the ring is skipped and not counted.)
  EXPECT_LE(greedy.consumed(), kSweeps * kShareBytes * 21 / 20);
  EXPECT_GE(greedy.consumed(), kSweeps * kShareBytes / 2) << "but it gets that";
}

TEST_F(WorkerShares, AnswersCountAsRequestsDo) {
  TestChannel& reader = connect();
  TestChannel& modest = connect();
  Deadline deadline(std::chrono::seconds(30));
  const std::vector<std::byte> value(15'000);
  ASSERT_TRUE(reader.channel->try_send(Op::kPut, reader.key(), value));
  worker_.sweep();
  std::uint64_t answered = 0;
  constexpr std::uint64_t kSweeps = 400;
  for (std::uint64_t i = 0; i < kSweeps; ++i) {
    ASSERT_TRUE(reader.channel->send_any(Op::kGet, true, reader.key(), {}, deadline).ok());
    const std::uint64_t sent = reader.channel->sent();
    do {
      modest.fill(8);
      const std::uint64_t before = modest.consumed();
      worker_.sweep();
      ++answered;
      ASSERT_GT(modest.consumed(), before);
    } while (reader.consumed() < sent);
    ASSERT_TRUE(reader.channel->await_answer(deadline).ok() && reader.channel->answer().code == StatusCode::kOk);
    reader.channel->release();
  }
  EXPECT_GE(answered, kSweeps * value.size() / kShareBytes - 10) << "sweeps that its answers took";
}

// A request that reads a long value to compute its token is as expensive as one that carries it.
TEST_F(WorkerShares, BytesThatAreHashedForARequestCountAsItsOwn) {
  TestChannel& asker = connect();
  TestChannel& modest = connect();
  Deadline deadline(std::chrono::seconds(30));
  const std::vector<std::byte> value(15'000);
  ASSERT_TRUE(asker.channel->try_send(Op::kPut, asker.key(), value));
  worker_.sweep();
  const std::vector<std::byte> wrong(kTokenBytes, std::byte{1});
  constexpr std::uint64_t kRequests = 400;
  std::uint64_t sweeps = 0;
  for (std::uint64_t i = 0; i < kRequests; ++i) {
    ASSERT_TRUE(
        asker.channel->send_any(Op::kEraseIf, false, asker.key(), std::span<const std::byte>(wrong), deadline).ok());
  }
  while (asker.consumed() < asker.channel->sent()) {
    modest.fill(8);
    const std::uint64_t before = modest.consumed();
    worker_.sweep();
    ++sweeps;
    ASSERT_EQ(modest.consumed() - before, Worker::kBatch * record_bytes(1 + 8));
  }
  EXPECT_GE(sweeps, kRequests * value.size() / kShareBytes - 10);
}

TEST_F(WorkerShares, ALoneChannelIsServedWithoutAPause) {
  TestChannel& greedy = connect();
  greedy.fill(16'000);
  const std::uint64_t sent = greedy.channel->sent();
  for (int i = 0; i < 20; ++i) EXPECT_TRUE(greedy.consumed() == sent || worker_.sweep()) << "it would park";
  EXPECT_EQ(greedy.consumed(), sent);
}

// A bucket stores only the low 8 bits of its fill, so a clear must wait until all buckets are close enough to the current
// one. This applies to each clear of a batch, not to the batch.
TEST_F(WorkerByHand, ThreeHundredClearsInOneBatchRemoveEverything) {
  TestChannel& writer = connect();
  TestChannel& other = connect();
  for (std::uint64_t i = 0; i < 2000; ++i) {
    ASSERT_EQ(table_.put(text_of(i), text_of(i)), StatusCode::kOk);
    ASSERT_EQ(table_.put("entry " + std::to_string(i), "value"), StatusCode::kOk);
  }
  Deadline none(std::chrono::nanoseconds(0));
  for (int i = 0; i < 150; ++i) {
    for (TestChannel* from : {&writer, &other}) {
      ASSERT_TRUE(from->channel->await_room(0, none).ok());
      from->channel->send(Op::kClear, false, {}, {});
    }
  }
  const auto all_served = [&] {
    return writer.consumed() == writer.channel->sent() && other.consumed() == other.channel->sent();
  };
  for (int sweeps = 0; sweeps < 1'000'000 && !all_served(); ++sweeps) {
    worker_.sweep();
    table_.table().shard(0).sweep(1);  // what an idle worker does, in the smallest steps
  }
  ASSERT_TRUE(all_served());
  EXPECT_EQ(fill_of(table_.header().change.load()), 300u);
  EXPECT_EQ(table_.keys(), 0u);
  for (std::uint64_t i = 0; i < 2000; ++i) {
    ASSERT_EQ(get(table_.reader(), text_of(i)).outcome, ReadOutcome::kMiss) << i;
    ASSERT_EQ(get(table_.reader(), "entry " + std::to_string(i)).outcome, ReadOutcome::kMiss) << i;
  }
}

// Another thread populates the memory of a long value; meanwhile the request waits in its ring, where its client may
// overwrite it with another one.
TEST_F(WorkerByHand, AStreamThatWaitsForMemoryIsChargedWhenItGetsIt) {
  TestChannel& client = connect();
  const std::string value(std::size_t{32} << 20, 'v');
  send_part_of_a_put(client.memory.data(), 0, "k", value);
  worker_.sweep();
  ASSERT_EQ(client.consumed(), 0u) << "it waits";
  EXPECT_EQ(client.server->streamed.load(), 0u);
  const auto watchdog = std::chrono::steady_clock::now() + std::chrono::seconds(60);
  while (client.consumed() == 0 && std::chrono::steady_clock::now() < watchdog) worker_.sweep();
  EXPECT_EQ(client.server->streamed.load(), 1 + value.size());
}

// The last service of a channel (at a stop, at a takeover, when its client leaves) wakes the client as a sweep does. The
// client in this test sleeps without a timeout.
TEST_F(WorkerByHand, ADrainWakesTheClientThatSleeps) {
  TestChannel& client = connect();
  std::jthread caller([&] {
    Deadline never(std::chrono::nanoseconds::max());
    ASSERT_TRUE(client.channel->send_any(Op::kPut, true, client.key(), {}, never).ok());
    ASSERT_TRUE(client.channel->await_answer(never).ok());
    EXPECT_EQ(client.channel->answer().code, StatusCode::kOk);
    client.channel->release();
  });
  while (client.server->control(0).waiting.load() == kNotWaiting) std::this_thread::yield();
  drop(*client.server);
}

}  // namespace
}  // namespace hostmap::test
