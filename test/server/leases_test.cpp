// Leases at the worker.
#include <cstring>
#include <gtest/gtest.h>
#include <span>

#include "worker_by_hand.hpp"

namespace hostmap::test {
namespace {

class WorkerAndLeases : public WorkerByHand {
 protected:
  static std::uint64_t later(std::uint64_t ms) { return monotonic_us() + 1000 * ms; }
  template <typename Words>
  StatusCode send(TestChannel& from, Op op, const Words& words) {
    Deadline deadline(std::chrono::seconds(30));
    EXPECT_TRUE(from.channel->send_any(op, true, {}, std::as_bytes(std::span(&words, 1)), deadline).ok());
    worker_.sweep();
    if (Status status = from.channel->await_answer(deadline); !status.ok()) return status.code();
    const ClientChannel::Answer& answer = from.channel->answer();
    answer_ = {};
    if (answer.value.size() == sizeof answer_) std::memcpy(&answer_, answer.value.data(), sizeof answer_);
    const StatusCode code = answer.code;
    from.channel->release();
    return code;
  }
  LeaseState lease(TestChannel& from, std::uint64_t hash, std::uint64_t end, std::uint64_t awaited = 0) {
    EXPECT_EQ(send(from, Op::kLease, LeaseRequest{hash, end, awaited}), StatusCode::kOk);
    return answer_.state();
  }
  StatusCode release(TestChannel& from, std::uint64_t hash, std::uint64_t number, std::uint64_t failure = 0) {
    return send(from, Op::kRelease, LeaseRelease{hash, number, failure});
  }
  std::uint32_t word(std::uint64_t hash) {
    return table_.table().region().at<WaitGroupWords>(kWaitGroupsOffset)->words[wait_group_of(hash)].load();
  }
  static constexpr std::uint64_t kHash = 0x1234'5678'9abc'def0;
  LeaseAnswer answer_{};
};

TEST_F(WorkerAndLeases, ALeaseIsGrantedToOneAndHeldForTheOthers) {
  TestChannel& one = connect();
  TestChannel& other = connect();
  const std::uint64_t end = later(3'600'000);
  ASSERT_EQ(lease(one, kHash, end), LeaseState::kGranted);
  const std::uint64_t number = answer_.number;
  EXPECT_EQ(answer_.end(), end);
  ASSERT_EQ(lease(other, kHash, end + 5), LeaseState::kHeld);
  EXPECT_EQ(answer_.number, number);
  EXPECT_EQ(answer_.end(), end);
  EXPECT_EQ(lease(other, kHash + 1, end), LeaseState::kGranted) << "another key";
  EXPECT_EQ(release(other, kHash, number), StatusCode::kNotFound);
  EXPECT_EQ(release(one, kHash, number), StatusCode::kOk);
  EXPECT_EQ(release(one, kHash, number), StatusCode::kNotFound);
  ASSERT_EQ(lease(other, kHash, end), LeaseState::kGranted);
  EXPECT_GT(answer_.number, number);
}

TEST_F(WorkerAndLeases, ALeaseThatHasEndedIsGrantedToTheNext) {
  TestChannel& one = connect();
  TestChannel& other = connect();
  ASSERT_EQ(lease(one, kHash, 1), LeaseState::kGranted);
  const std::uint64_t number = answer_.number;
  ASSERT_EQ(lease(other, kHash, later(3'600'000)), LeaseState::kGranted);
  EXPECT_EQ(release(one, kHash, number), StatusCode::kNotFound);
  EXPECT_EQ(lease(one, kHash, later(3'600'000)), LeaseState::kHeld);
}

TEST_F(WorkerAndLeases, AFailureIsReportedOnlyToThoseThatWaitedForThatLease) {
  TestChannel& one = connect();
  TestChannel& other = connect();
  const std::uint64_t end = later(3'600'000);
  ASSERT_EQ(lease(one, kHash, end), LeaseState::kGranted);
  const std::uint64_t number = answer_.number;
  EXPECT_EQ(release(one, kHash, number, 3), StatusCode::kOk);
  for (int i = 0; i < 2; ++i) {
    ASSERT_EQ(lease(other, kHash, end, number), LeaseState::kFailed);
    EXPECT_EQ(answer_.end(), 3u);
    EXPECT_EQ(answer_.number, number);
  }
  ASSERT_EQ(lease(other, kHash, end, number - 1), LeaseState::kGranted);
  EXPECT_EQ(lease(one, kHash, end, number), LeaseState::kHeld);
}

TEST_F(WorkerAndLeases, ReleaseAndTheEndOfTheConnectionRaiseTheWord) {
  TestChannel& one = connect();
  TestChannel& other = connect();
  const std::uint64_t group = wait_group_of(kHash);
  ASSERT_EQ(send(other, Op::kWatch, group), StatusCode::kOk);
  ASSERT_EQ(lease(one, kHash, later(3'600'000)), LeaseState::kGranted);
  EXPECT_EQ(word(kHash), 0u);
  EXPECT_EQ(release(one, kHash, answer_.number), StatusCode::kOk);
  EXPECT_EQ(word(kHash), 1u);
  ASSERT_EQ(lease(one, kHash, later(3'600'000)), LeaseState::kGranted);
  drop(*one.server);
  EXPECT_EQ(word(kHash), 2u);
  EXPECT_EQ(lease(other, kHash, later(3'600'000)), LeaseState::kGranted);
}

TEST_F(WorkerAndLeases, AChannelHasSixtyFourAtMostThatHaveNotEnded) {
  TestChannel& one = connect();
  TestChannel& other = connect();
  const std::uint64_t end = later(3'600'000);
  for (std::uint64_t i = 0; i < 32; ++i) ASSERT_EQ(lease(one, kHash + i, 1), LeaseState::kGranted);
  for (std::uint64_t i = 32; i < 96; ++i) ASSERT_EQ(lease(one, kHash + i, end), LeaseState::kGranted) << i;
  EXPECT_EQ(send(one, Op::kLease, LeaseRequest{kHash, end, 0}), StatusCode::kFull);
  EXPECT_EQ(lease(other, kHash, end), LeaseState::kGranted);
  // One that was released with a failure makes room, too.
  ASSERT_EQ(lease(other, kHash + 40, end), LeaseState::kHeld);
  ASSERT_EQ(release(one, kHash + 40, answer_.number, 3), StatusCode::kOk);
  EXPECT_EQ(lease(one, kHash + 1, end), LeaseState::kGranted);
}

TEST_F(WorkerAndLeases, MalformedRequestsCloseTheConnection) {
  EXPECT_EQ(send(connect(), Op::kLease, LeaseRequest{kHash, std::uint64_t{1} << 56, 0}), StatusCode::kClosed);
  EXPECT_EQ(send(connect(), Op::kLease, LeaseRequest{kHash, kNeverEnds, 0}), StatusCode::kClosed);
  EXPECT_EQ(release(connect(), kHash, 1, 16), StatusCode::kClosed);
  EXPECT_EQ(release(connect(), kHash, 1, ~std::uint64_t{0}), StatusCode::kClosed);
}

}  // namespace
}  // namespace hostmap::test
