// Requests that compare, hash or copy a long value do so in steps, and other clients are served in between. The test calls each
// sweep; the client has a thread.
#include <atomic>
#include <cstring>
#include <functional>
#include <gtest/gtest.h>
#include <string>
#include <thread>

#include "base/token.hpp"
#include "layout/connection.hpp"
#include "worker_by_hand.hpp"

namespace hostmap::test {
namespace {

constexpr std::size_t kLength = std::size_t{3} << 20;
constexpr std::uint64_t kSteps = kLength / kLongWorkAtOnce;

class LongWorkTest : public WorkerByHand {
 protected:
  LongWorkTest() : client_(connect()), other_(connect()) {}

  std::string key() const { return std::string(1, client_.name); }
  std::string value() { return get(table_.reader(), key()).value; }
  void put(std::string_view value, std::uint64_t end = kNoEnd) {
    ASSERT_EQ(table_.put(key(), value, end), StatusCode::kOk);
  }

  // Sends a request and sweeps until it is answered; the other client is served in each of the sweeps. `meanwhile`: called
  // once, when so many sweeps have passed since all of the request is in the ring.
  StatusCode ask(Op op, const ValueParts& payload, std::uint64_t after = 0,
                 const std::function<void()>& meanwhile = {}) {
    std::atomic<bool> sent = false;
    std::atomic<bool> answered = false;
    StatusCode code = StatusCode::kInternal;
    std::jthread caller([&] {
      Deadline deadline(std::chrono::seconds(60));
      EXPECT_TRUE(client_.channel->send_any(op, true, client_.key(), payload, deadline).ok());
      sent = true;
      EXPECT_TRUE(client_.channel->await_answer(deadline).ok());
      code = client_.channel->answer().code;
      client_.channel->release();
      answered = true;
    });
    sweeps_ = 0;
    while (!answered) {
      other_.fill(8);
      const std::uint64_t before = other_.consumed();
      worker_.sweep();
      EXPECT_GT(other_.consumed(), before);
      if (!sent) continue;
      if (++sweeps_ == after && meanwhile) meanwhile();
    }
    caller.join();
    return code;
  }
  StatusCode append(std::string_view more, std::uint64_t after = 0, const std::function<void()>& meanwhile = {}) {
    return ask(Op::kAppend, bytes_of(more), after, meanwhile);
  }

  // Each step is charged to the channel, so that other channels get as much.
  static constexpr std::uint64_t kSweepsPerStep = kLongWorkAtOnce / kShareBytes;

  TestChannel& client_;
  TestChannel& other_;
  std::uint64_t sweeps_ = 0;
  const std::string old_ = std::string(kLength, 'o');
  const std::string new_ = std::string(kLength - 5, 'n');
};

TEST_F(LongWorkTest, AppendCopiesInSteps) {
  put(old_);
  EXPECT_EQ(append("tail"), StatusCode::kOk);
  EXPECT_GE(sweeps_, (kSteps - 1) * kSweepsPerStep);
  EXPECT_TRUE(value() == old_ + "tail");
  EXPECT_EQ(append(new_), StatusCode::kOk) << "in pieces";
  EXPECT_GE(sweeps_, (2 * kSteps - 1) * kSweepsPerStep);
  EXPECT_TRUE(value() == old_ + "tail" + new_);
  EXPECT_EQ(client_.server->streamed.load(), 0u);
}

TEST_F(LongWorkTest, AppendOfALongValueToNoneAndToAPair) {
  client_.name = 'l';
  EXPECT_EQ(append(old_), StatusCode::kOk);
  EXPECT_TRUE(value() == old_);
  const std::string pair = "a pair's";
  Deadline deadline(std::chrono::seconds(60));
  ASSERT_EQ(table_.put(pair, "12345678"), StatusCode::kOk);
  std::atomic<bool> answered = false;
  std::jthread caller([&] {
    EXPECT_TRUE(client_.channel->send_any(Op::kAppend, true, bytes_of(pair), bytes_of(old_), deadline).ok());
    EXPECT_TRUE(client_.channel->await_answer(deadline).ok());
    client_.channel->release();
    answered = true;
  });
  while (!answered) worker_.sweep();
  caller.join();
  EXPECT_TRUE(get(table_.reader(), pair).value == "12345678" + old_);
}

TEST_F(LongWorkTest, AppendBeginsAgainIfTheValueIsReplacedMeanwhile) {
  put(old_);
  EXPECT_EQ(append("tail", 4 * kSweepsPerStep, [&] { put(new_); }), StatusCode::kOk);
  EXPECT_TRUE(value() == new_ + "tail");
  EXPECT_EQ(append("tail", 4 * kSweepsPerStep, [&] { put("short"); }), StatusCode::kOk);
  EXPECT_TRUE(value() == "shorttail");
  put(old_);
  EXPECT_EQ(append("tail", 4 * kSweepsPerStep, [&] { table_.table().shard(0).clear(); }), StatusCode::kOk);
  EXPECT_TRUE(value() == "tail");
  EXPECT_EQ(client_.server->streamed.load(), 0u);
}

TEST_F(LongWorkTest, CompareExchangeComparesAndCopiesInSteps) {
  put(old_);
  const auto compare_exchange = [&](std::string_view expected, std::uint64_t after = 0,
                                    const std::function<void()>& meanwhile = {}) {
    Comparison comparison{};
    comparison.expected_bytes = expected.size();
    const std::span<const std::byte> head(reinterpret_cast<const std::byte*>(&comparison), sizeof comparison);
    return ask(Op::kCompareExchange, {head, bytes_of(expected), bytes_of(new_)}, after, meanwhile);
  };
  EXPECT_EQ(compare_exchange(old_.substr(0, kLength - 1) + "p"), StatusCode::kMismatch);
  EXPECT_GE(sweeps_, (kSteps - 2) * kSweepsPerStep);
  EXPECT_TRUE(value() == old_);
  EXPECT_EQ(compare_exchange(old_), StatusCode::kOk);
  EXPECT_GE(sweeps_, (2 * kSteps - 2) * kSweepsPerStep);
  EXPECT_TRUE(value() == new_);
  for (const std::uint64_t step : {kSteps / 2, kSteps + kSteps / 2}) {  // while it compares, and while it copies
    put(old_);
    const std::string other = old_.substr(1) + "p";
    EXPECT_EQ(compare_exchange(old_, step * kSweepsPerStep, [&] { put(other); }), StatusCode::kMismatch) << step;
    EXPECT_TRUE(value() == other);
  }
  EXPECT_EQ(client_.server->streamed.load(), 0u);
}

TEST_F(LongWorkTest, PutIfAndEraseIfComputeTheTokenInSteps) {
  const std::uint64_t later = std::uint64_t{1} << 50;
  put(old_, later);
  const Token token = token_of(bytes_of(old_), later);
  const std::span<const std::byte> known(reinterpret_cast<const std::byte*>(&token), sizeof token);
  EXPECT_EQ(ask(Op::kPutIf, {known, bytes_of(new_), {}}), StatusCode::kOk);
  EXPECT_GE(sweeps_, (2 * kSteps - 2) * kSweepsPerStep);
  EXPECT_TRUE(value() == new_);
  EXPECT_EQ(ask(Op::kPutIf, {known, bytes_of(old_), {}}), StatusCode::kMismatch);
  put(old_, later);
  EXPECT_EQ(ask(Op::kEraseIf, known, kSteps / 2 * kSweepsPerStep, [&] { put(old_, later + 1); }),
            StatusCode::kMismatch);
  EXPECT_TRUE(value() == old_);
  put(old_, later);
  EXPECT_EQ(ask(Op::kEraseIf, known), StatusCode::kOk);
  EXPECT_GE(sweeps_, (kSteps - 2) * kSweepsPerStep);
  EXPECT_EQ(get(table_.reader(), key()).outcome, ReadOutcome::kMiss);
}

// Nothing of its request is in the table, and the block is free again.
TEST_F(LongWorkTest, AClientThatLeavesInTheMiddleLeavesNoBlockBehind) {
  put(old_);
  const std::uint64_t before = table_.entry_bytes();
  Deadline deadline(std::chrono::seconds(60));
  ASSERT_TRUE(client_.channel->send_any(Op::kAppend, true, client_.key(), bytes_of("tail"), deadline).ok());
  for (std::uint64_t sweep = 0; sweep < 4 * kSweepsPerStep; ++sweep) {
    other_.fill(8);
    worker_.sweep();
  }
  EXPECT_GT(table_.entry_bytes(), before + kLength) << "it is in the middle";
  client_.server->poisoned = true;  // the drain serves nothing more
  client_.server->holders = 1;
  worker_.drop_channels(*client_.server);
  worker_.take_orders();
  EXPECT_EQ(client_.server->holders, 0u);
  EXPECT_EQ(client_.server->streamed.load(), 0u);
  EXPECT_TRUE(value() == old_);
  EXPECT_LT(table_.entry_bytes(), before + kLength);
}

}  // namespace
}  // namespace hostmap::test
