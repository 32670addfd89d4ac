// How a worker shares itself out among channels, sweep by sweep: without its thread.
#include <gtest/gtest.h>
#include <memory>
#include <string>
#include <vector>

#include "../table/table_fixture.hpp"
#include "connection/client_end.hpp"
#include "server/worker.hpp"
#include "support/aligned_memory.hpp"

namespace hostmap::test {
namespace {

constexpr std::uint64_t kRingBytes = 65536;

struct TestChannel {
  TestChannel(Worker& worker, Journal journal, const TableHeader& table, Bell& bell, std::uint32_t index)
      : memory(connection_bytes(1, kRingBytes)), name(static_cast<char>('a' + index)) {
    ServerEnd::Identity identity;
    identity.serial = index + 1;
    identity.ring_bytes = kRingBytes;
    identity.index = index;
    server = ServerEnd::over(memory.data(), identity);
    ChannelMemos::clear(journal.position(index, 0));
    worker.attach(std::make_unique<ServerChannel>(*server, 0, journal.position(index, 0)));
    client = ClientEnd::over(memory.data(), false);
    Deadline deadline(std::chrono::seconds(30));
    channel = *client->channel(0, {table.lane_worker, table.workers, &bell}, nullptr, deadline);
  }
  std::span<const std::byte> key() const { return std::as_bytes(std::span(&name, 1)); }
  // As many puts of `value_bytes` as its ring takes.
  void fill(std::uint64_t value_bytes) {
    const std::vector<std::byte> value(value_bytes);
    Deadline none(std::chrono::nanoseconds(0));
    while (channel->await_room(1 + value_bytes, none).ok()) {
      channel->send(Op::kPut, false, key(), value);
    }
  }
  std::uint64_t consumed() const { return server->control(0).requests_consumed.load(); }

  AlignedMemory memory;
  char name;  // its key
  std::unique_ptr<ServerEnd> server;
  std::unique_ptr<ClientEnd> client;
  ClientChannel* channel;
};

class WorkerShares : public testing::Test {
 protected:
  WorkerShares()
      : table_({.memory = std::uint64_t{128} << 20}),
        worker_(Worker::Surroundings{&table_.table(), &streams_, table_.journal(), &table_.header().workers[0],
                                     std::span(&bell_, 1), false, &service_bell_.rings, 8, kRingBytes},
                0, {0}) {}
  TestChannel& connect() {
    channels_.push_back(std::make_unique<TestChannel>(worker_, table_.journal(), table_.header(), bell_,
                                                      static_cast<std::uint32_t>(channels_.size())));
    worker_.take_orders();
    return *channels_.back();
  }

  TestTable table_;
  Bell bell_{};
  Bell service_bell_{};
  StreamQuota streams_{std::uint64_t{128} << 20};
  std::vector<std::unique_ptr<TestChannel>> channels_;
  Worker worker_;
};

TEST_F(WorkerShares, ABatchIsBoundedInRecords) {
  TestChannel& one = connect();
  one.fill(8);
  worker_.sweep();
  EXPECT_EQ(one.consumed(), Worker::kBatch * record_bytes(1 + 8));
}

// One record is four times a share: whoever sends such gets a quarter of the sweeps, and the others all of them.
TEST_F(WorkerShares, WhoSendsTheLargestRequestsGetsNoMoreThanHisShareOfTheBytes) {
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
  // (Padding at the end of the ring is passed over without being counted.)
  EXPECT_LE(greedy.consumed(), kSweeps * Worker::kShareBytes * 21 / 20);
  EXPECT_GE(greedy.consumed(), kSweeps * Worker::kShareBytes / 2) << "but it gets that";
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
    const auto answer = reader.channel->await_answer(deadline);
    ASSERT_TRUE(answer && answer->code == StatusCode::kOk);
    reader.channel->release();
  }
  EXPECT_GE(answered, kSweeps * value.size() / Worker::kShareBytes - 10) << "sweeps that its answers took";
}

TEST_F(WorkerShares, WhoIsAloneIsServedOnAndOn) {
  TestChannel& greedy = connect();
  greedy.fill(16'000);
  const std::uint64_t sent = greedy.channel->sent();
  for (int i = 0; i < 20; ++i) EXPECT_TRUE(greedy.consumed() == sent || worker_.sweep()) << "it would park";
  EXPECT_EQ(greedy.consumed(), sent);
}

}  // namespace
}  // namespace hostmap::test
