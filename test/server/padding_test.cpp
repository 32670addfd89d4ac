// The server dies while padding is at the end of a ring. Padding belongs to no request, so the journal does not record it.
#include <gtest/gtest.h>
#include <random>
#include <vector>

#include "layout/connection.hpp"
#include "layout/journal.hpp"
#include "message/wire.hpp"
#include "worker_by_hand.hpp"

namespace hostmap::test {
namespace {

class Padding : public WorkerByHand {
 protected:
  ChannelPosition& where() { return table_.journal().position(0, 0); }
  // As a restarted server does.
  void take_over(TestChannel& of) {
    worker_.add_channel(std::make_unique<ServerChannel>(*of.server, 0, where()));
    worker_.take_orders();
  }
  void sweep_all() {
    while (worker_.sweep()) {
    }
  }
};

// If the client saw that padding is consumed, it would write there, and a server that continues from the journal would read
// its next request in the middle of another one.
TEST_F(Padding, AClientNeverSeesMoreConsumedThanTheJournalRecords) {
  TestChannel& one = connect();
  RingProducer ring(one.server->request_ring(0), 0);
  std::mt19937_64 random(5);
  int paddings = 0;
  for (int i = 0; i < 2000; ++i) {
    const std::vector<std::byte> value(random() % 16'000);
    const std::uint64_t size = record_bytes(1 + value.size());
    const bool pads = ring.needed(size) != size;
    // The record before it is consumed together with the padding, or alone.
    if (random() % 2 == 0) sweep_all();
    std::byte* record = ring.begin(size);  // publishes the padding
    sweep_all();
    ASSERT_EQ(one.consumed(), where().request_next.load()) << (pads ? "with padding" : "without");
    paddings += pads;
    encode_request(record, Op::kPut, false, one.key(), value);
    ring.publish(size);
  }
  EXPECT_GT(paddings, 100);
}

// The client has skipped the padding of an answer that was not published; the answer that comes instead is shorter, and
// would fit before the padding.
TEST_F(Padding, AnAnswerIsWhereTheClientReadsIt) {
  TestChannel& reader = connect();
  TestChannel& writer = connect();
  Deadline deadline(std::chrono::seconds(30));
  Deadline none(std::chrono::nanoseconds(0));
  const std::vector<std::byte> large(15'000);
  const auto get_is_answered = [&] {
    if (!reader.channel->await_answer(deadline).ok()) return false;
    const StatusCode code = reader.channel->answer().code;
    reader.channel->release();
    return code == StatusCode::kOk;
  };
  const auto ask = [&] { return reader.channel->send_any(Op::kGet, true, reader.key(), {}, deadline).ok(); };
  const auto put = [&](std::size_t bytes) {
    const bool sent = writer.channel->try_send(Op::kPut, reader.key(), std::span(large).first(bytes));
    sweep_all();
    return sent;
  };
  ASSERT_TRUE(put(large.size()));
  const std::uint64_t answer_size = record_bytes(sizeof(PieceHead) + large.size());
  const auto answers = [&] { return RingProducer(reader.server->answer_ring(0), where().answer_next.load()); };
  while (answers().needed(answer_size) == answer_size) {
    ASSERT_TRUE(ask());
    sweep_all();
    ASSERT_TRUE(get_is_answered());
  }
  // The next answer does not fit before the end: a server has published the padding, and dies.
  drop(*reader.server);
  ASSERT_TRUE(ask());
  answers().begin(answer_size);
  EXPECT_FALSE(reader.channel->await_answer(none).ok());
  // Its successor first gets a request with a shorter answer.
  ASSERT_TRUE(put(40));
  ASSERT_EQ(answers().needed(record_bytes(sizeof(PieceHead) + 40)), record_bytes(sizeof(PieceHead) + 40));
  take_over(reader);
  sweep_all();
  EXPECT_TRUE(get_is_answered());
}

}  // namespace
}  // namespace hostmap::test
