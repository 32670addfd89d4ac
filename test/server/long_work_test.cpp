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
#include "support/seed.hpp"
#include "table/read/check.hpp"
#include "worker_by_hand.hpp"

namespace hostmap::test {
namespace {

constexpr std::size_t kLength = std::size_t{3} << 20;
constexpr std::uint64_t kSteps = kLength / kLongWorkAtOnce;

class LongWorkTest : public WorkerByHand {
 protected:
  explicit LongWorkTest(std::uint64_t memory = std::uint64_t{128} << 20)
      : WorkerByHand(memory), client_(connect()), other_(connect()) {}

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

// Each change of a key with a block in the same page raises the page's generation.
TEST_F(LongWorkTest, AppendToAShortValueEndsWhileItsNeighboursChange) {
  put("neighbour");
  EXPECT_EQ(append(old_), StatusCode::kOk);
  EXPECT_TRUE(value() == "neighbour" + old_);
  put("neighbour");
  EXPECT_EQ(append(old_, 4 * kSweepsPerStep, [&] { put("ruobhgien"); }), StatusCode::kOk);
  EXPECT_TRUE(value() == "ruobhgien" + old_) << "another value of that length";
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
  while (client_.server->holders != 0) {
    worker_.take_orders();
    worker_.sweep();
  }
  EXPECT_EQ(client_.server->streamed.load(), 0u);
  EXPECT_TRUE(value() == old_);
  EXPECT_LT(table_.entry_bytes(), before + kLength);
}

TEST_F(LongWorkTest, RequestsThatAClientLeavesBehindAreServedInSteps) {
  constexpr std::uint64_t kRequests = 4;
  put(old_);
  Deadline deadline(std::chrono::seconds(60));
  for (std::uint64_t i = 0; i < kRequests; ++i) {
    ASSERT_TRUE(client_.channel->send_any(Op::kAppend, true, client_.key(), bytes_of("tail"), deadline).ok());
  }
  client_.server->holders = 1;
  worker_.drop_channels(*client_.server);
  std::uint64_t sweeps = 0;
  for (; client_.server->holders != 0; ++sweeps) {
    worker_.take_orders();
    other_.fill(8);
    const std::uint64_t before = other_.consumed();
    worker_.sweep();
    EXPECT_GT(other_.consumed(), before);
  }
  EXPECT_GE(sweeps, kRequests * (kSteps - 1) * kSweepsPerStep);
  EXPECT_TRUE(value() == old_ + "tailtailtailtail");
}

// A map that is full of values, so that a new one of a key is written to the reserve. The longest is not the client's.
class LongWorkOfAFullMap : public LongWorkTest {
 protected:
  static constexpr std::size_t kLongest = kLength + (std::size_t{1} << 20);

  LongWorkOfAFullMap() : LongWorkTest(std::uint64_t{40} << 20), third_(connect()) {
    other_.fill(8);
    worker_.sweep();
    put(old_);
    EXPECT_EQ(table_.put("longest", std::string(kLongest, 'l')), StatusCode::kOk);
    for (const std::size_t bytes : {kLength, std::size_t{40'000}, std::size_t{3000}, std::size_t{100}}) fill(bytes);
  }
  void fill(std::size_t bytes) {
    const std::string name = std::to_string(bytes) + " bytes ";
    for (int i = 0; table_.put(name + std::to_string(i), std::string(bytes, 'f')) == StatusCode::kOk; ++i) {
    }
  }
  // What the worker does without requests.
  void settle() { table_.table().shard(0).end_upkeep(); }
  void expect_all_is_well() {
    settle();
    for (const std::string& name : {key(), std::string("longest")}) {
      const Found found = get(table_.reader(), name);
      if (found.outcome != ReadOutcome::kHit) continue;
      EXPECT_EQ(table_.put(name, std::string(found.value.size(), 'm')), StatusCode::kOk) << "the reserve is whole";
      settle();
    }
    EXPECT_EQ(TableCheck(table_.reader()).run().findings, std::vector<std::string>());
    EXPECT_EQ(client_.server->streamed.load(), 0u);
    while (table_.table().shard(0).reclaim(256)) {
    }
    const auto used = [&] {
      return std::pair(table_.entry_bytes(), table_.header().server_stats.arena_free_bytes.load());
    };
    const auto before = used();
    table_.restart();
    std::vector<std::size_t> lost;
    EXPECT_EQ(table_.table().rebuild({}, lost), 0u);
    EXPECT_EQ(used(), before) << "a count gives as much";
  }

  TestChannel& third_;
};

TEST_F(LongWorkOfAFullMap, RequestsThatNeedTheReserveCopyInSteps) {
  const std::string as_long(kLength, 'a');
  const std::uint64_t later = std::uint64_t{1} << 50;
  EXPECT_EQ(append("tail"), StatusCode::kOk);
  EXPECT_GE(sweeps_, (kSteps - 1) * kSweepsPerStep);
  EXPECT_TRUE(value() == old_ + "tail");
  settle();
  EXPECT_EQ(ask(Op::kPut, bytes_of(as_long)), StatusCode::kOk) << "in pieces, which the journal's file holds";
  EXPECT_GE(sweeps_, (kSteps - 2) * kSweepsPerStep);
  EXPECT_TRUE(value() == as_long);
  settle();
  const Token token = token_of(bytes_of(as_long), kNoEnd);
  const std::span<const std::byte> known(reinterpret_cast<const std::byte*>(&token), sizeof token);
  EXPECT_EQ(ask(Op::kPutIf, {known, bytes_of(new_), {}}), StatusCode::kOk);
  EXPECT_GE(sweeps_, (2 * kSteps - 2) * kSweepsPerStep);
  EXPECT_TRUE(value() == new_);
  put(old_, later);
  settle();
  EXPECT_EQ(ask(Op::kReplace, bytes_of(as_long)), StatusCode::kOk);
  EXPECT_GE(sweeps_, (kSteps - 2) * kSweepsPerStep);
  EXPECT_TRUE(value() == as_long);
  EXPECT_EQ(append(old_), StatusCode::kFull) << "more than its key has";
  EXPECT_TRUE(value() == as_long);
  expect_all_is_well();
}

// What happens to the keys while a new value is copied to the reserve, or moves out of it again.
class LongWorkMeanwhile : public LongWorkOfAFullMap, public testing::WithParamInterface<int> {
 protected:
  // The last two need the reserve themselves: while the new value is copied, they would wait.
  enum : int { kShortPut, kErase, kEraseOfTheLongest, kOtherEnd, kClear, kLongPut, kPutOfTheLongest, kEvents };
  static constexpr std::uint64_t kLater = std::uint64_t{1} << 50;

  void happen() {
    switch (GetParam()) {
      case kShortPut:
        return put("short");
      case kErase:
        EXPECT_EQ(table_.erase(key()), StatusCode::kOk);
        return;
      case kEraseOfTheLongest:
        EXPECT_EQ(table_.erase("longest"), StatusCode::kOk);
        return;
      case kOtherEnd: {
        std::uint32_t shard;
        const std::string name = key();
        const HashedKey hashed = table_.table().hash(bytes_of(name), shard);
        EXPECT_EQ(table_.table().shard(0).expire(hashed, kLater), StatusCode::kOk);
        return;
      }
      case kClear:
        table_.table().shard(0).clear();
        return;
      case kLongPut:
        return put(new_);
      case kPutOfTheLongest:
        EXPECT_EQ(table_.put("longest", std::string(kLongest, 'n')), StatusCode::kOk);
        return;
    }
  }
  // The content of the key, if it was so before.
  std::string then(const std::string& before) const {
    switch (GetParam()) {
      case kShortPut:
        return "short";
      case kErase:
      case kClear:
        return "";
      case kLongPut:
        return new_;
    }
    return before;
  }
  void expect_the_end() {
    const Found found = get_with_end(table_.reader(), key());
    EXPECT_EQ(found.value.ends_with(" until " + std::to_string(kLater)), GetParam() == kOtherEnd);
  }
};

class LongWorkDuringTheCopy : public LongWorkMeanwhile {};
class LongWorkDuringTheMove : public LongWorkMeanwhile {
 public:
  using LongWorkMeanwhile::kEvents;
  using LongWorkMeanwhile::kLongPut;
};

TEST_P(LongWorkDuringTheCopy, ItBeginsAgainOrContinues) {
  EXPECT_EQ(append("tail", 4 * kSweepsPerStep, [&] { happen(); }), StatusCode::kOk);
  settle();
  EXPECT_TRUE(value() == then(old_) + "tail");
  expect_the_end();
  expect_all_is_well();
}

TEST_P(LongWorkDuringTheMove, ItEndsOrContinues) {
  EXPECT_EQ(append("tail"), StatusCode::kOk);
  EXPECT_TRUE(table_.table().shard(0).reclaim(1)) << "a step";
  happen();
  EXPECT_TRUE(value() == then(old_ + "tail"));
  settle();
  EXPECT_TRUE(value() == then(old_ + "tail"));
  expect_the_end();
  expect_all_is_well();
}

INSTANTIATE_TEST_SUITE_P(Event, LongWorkDuringTheCopy, testing::Range(0, int{LongWorkDuringTheMove::kLongPut}));
INSTANTIATE_TEST_SUITE_P(Event, LongWorkDuringTheMove, testing::Range(0, int{LongWorkDuringTheMove::kEvents}));

// Two requests that need the reserve: one waits for the other, and if its client withdraws that, it waits no more.
TEST_F(LongWorkOfAFullMap, ARequestThatWaitsForTheReserveIsServedWhenItIsFree) {
  const std::string longest = "longest";
  for (const bool withdrawn : {false, true}) {
    SCOPED_TRACE(withdrawn);
    Deadline deadline(std::chrono::seconds(60));
    put(old_);
    settle();
    const std::uint64_t position = client_.consumed();
    ASSERT_TRUE(client_.channel->send_any(Op::kAppend, true, client_.key(), bytes_of("tail"), deadline).ok());
    for (std::uint64_t sweep = 0; sweep < 4 * kSweepsPerStep; ++sweep) {
      other_.fill(8);
      worker_.sweep();
    }
    ASSERT_TRUE(third_.channel->send_any(Op::kAppend, true, bytes_of(longest), bytes_of("end"), deadline).ok());
    const std::uint64_t third_position = third_.consumed();
    for (int sweep = 0; sweep < 100; ++sweep) {
      other_.fill(8);
      worker_.sweep();
    }
    EXPECT_EQ(third_.consumed(), third_position) << "it waits";
    if (withdrawn) {
      std::byte* const ring = client_.memory.data() + request_ring_offset(0, 1, kRingBytes);
      std::memset(ring + position % kRingBytes, 0, sizeof(std::uint64_t));
    }
    while (third_.consumed() == third_position || (!withdrawn && client_.consumed() == position)) {
      other_.fill(8);
      worker_.sweep();
    }
    settle();
    EXPECT_TRUE(get(table_.reader(), longest).value.ends_with("end"));
    EXPECT_TRUE(value() == (withdrawn ? old_ : old_ + "tail"));
  }
  expect_all_is_well();
}

}  // namespace
}  // namespace hostmap::test
