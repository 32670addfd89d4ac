// A reader is stopped inside a get of a key that ends, and continued after the end: it returns a value that the key has had, or
// reports the key as absent, only if that was so at some moment of the get. (test/models/ends_model.cpp explores the same with the
// writer stopped, too.)
#include <algorithm>
#include <array>
#include <chrono>
#include <gtest/gtest.h>
#include <string>
#include <thread>

#include "base/ends.hpp"
#include "base/platform.hpp"
#include "layout/table.hpp"
#include "support/aligned_memory.hpp"
#include "support/seed.hpp"
#include "support/stepper.hpp"
#include "table/table_fixture.hpp"

namespace hostmap::test {
namespace {

enum class Change : std::uint8_t {
  kLaterEnd,  // in place
  kNewEntry,
  kNoEnd,
  kNothing,
};

class StoppedReaderAcrossAnEnd : public testing::TestWithParam<Change> {
 protected:
  struct Report {
    std::atomic<int> outcome{-1};
    std::uint32_t size = 0;
    char value[64] = {};
  };

  void apply(std::uint64_t end, const char* value) {
    writer().begin_request();
    ASSERT_EQ(writer().put(hashed(), bytes_of(value), end), StatusCode::kOk);
  }
  void change(std::uint64_t end) {
    constexpr std::uint64_t kMuchLater = std::uint64_t{1} << 50;
    if (GetParam() == Change::kNewEntry) return apply(kMuchLater, kNewer);
    if (GetParam() == Change::kNothing) return;
    writer().begin_request();
    if (!writer().find(hashed()).found) {
      ASSERT_GE(monotonic_us(), end) << "absent before its end";
      return;  // too late
    }
    ASSERT_EQ(writer().expire(hashed(), GetParam() == Change::kNoEnd ? kNeverEnds : kMuchLater), StatusCode::kOk);
  }
  // A get, in a process of its own.
  void get(bool fast) {
    const TableReader reader = table_.reader();
    const std::span<const std::byte> key = bytes_of(kKey);
    std::array<std::byte, sizeof(Report::value)> space;
    TableReader::ReadResult got{};
    if (fast) {
      got.outcome = outcome_of(reader.try_get(key, reader.hash_of(key), ValueTarget::buffer(space), got.size));
    } else {
      got = reader.get(key, ValueTarget::buffer(space));
    }
    if (got.outcome == ReadOutcome::kHit) std::memcpy(report_->value, space.data(), got.size);
    report_->size = static_cast<std::uint32_t>(got.size);
    report_->outcome.store(static_cast<int>(got.outcome));
  }
  // Stops a get at `step`, changes the key before its end, and continues the get after it. False: the end came too early.
  bool stop_at_step(bool fast, std::uint64_t step, std::uint64_t lead_us) {
    report_ = new (memory_.data()) Report;
    const std::uint64_t end = monotonic_us() + lead_us;
    apply(end, kOlder);
    bool in_time = false;
    stop_at([&] { get(fast); }, step,
            [&] {
              if (monotonic_us() >= end) return;
              change(end);
              in_time = monotonic_us() < end;
              while (monotonic_us() < end) std::this_thread::sleep_for(std::chrono::milliseconds(1));
            },
            Afterwards::kGoesOn);
    return in_time;
  }
  void expect_what_was(bool fast, std::uint64_t step) const {
    const auto outcome = static_cast<ReadOutcome>(report_->outcome.load());
    if (fast && outcome == ReadOutcome::kContended) return;  // the slow path decides
    const std::string value(report_->value, outcome == ReadOutcome::kHit ? report_->size : 0);
    if (outcome == ReadOutcome::kMiss) {
      EXPECT_EQ(GetParam(), Change::kNothing) << "a miss of a key that was always present; changed at step " << step;
    } else {
      ASSERT_EQ(outcome, ReadOutcome::kHit) << step;
      EXPECT_TRUE(value == kOlder || (GetParam() == Change::kNewEntry && value == kNewer)) << value << " at " << step;
    }
  }
  void stop_everywhere(std::uint64_t most) {
    for (const bool fast : {false, true}) {
      report_ = new (memory_.data()) Report;
      apply(end_after(std::chrono::hours(1)), kOlder);
      const std::uint64_t steps = step_through([&] { get(fast); }, [](std::uint64_t) {});
      ASSERT_GT(steps, 0u);
      const std::uint64_t stride = 1 + steps / most;
      Random random;
      constexpr std::uint64_t kLeastLeadUs = 4000;
      std::uint64_t lead_us =
          kLeastLeadUs;  // long enough to reach a step; what is too short is made longer for a while
      std::uint64_t stops = 0;
      for (std::uint64_t step = random.below(stride); step < steps; step += stride) {
        while (!stop_at_step(fast, step, lead_us)) lead_us += lead_us / 2;
        lead_us = std::max(kLeastLeadUs, lead_us - lead_us / 8);
        expect_what_was(fast, step);
        if (HasFailure()) return;
        ++stops;
      }
      EXPECT_GE(stops, std::min(most, steps) / 2);
    }
  }

  ShardWriter& writer() { return table_.table().shard(0); }
  HashedKey hashed() {
    std::uint32_t shard;
    return table_.table().hash(bytes_of(kKey), shard);
  }

  static constexpr const char* kKey = "a key that ends";
  static constexpr const char* kOlder = "an older value";
  static constexpr const char* kNewer = "a value that is newer";
  TestTable table_;

 private:
  const AlignedMemory memory_{sizeof(Report)};
  Report* report_ = nullptr;
};

TEST_P(StoppedReaderAcrossAnEnd, ReportsOnlyWhatWasSo) { stop_everywhere(8); }
class StoppedReaderAcrossAnEndSlow : public StoppedReaderAcrossAnEnd {};
TEST_P(StoppedReaderAcrossAnEndSlow, ReportsOnlyWhatWasSo) { stop_everywhere(400); }

const auto kChanges = testing::Values(Change::kLaterEnd, Change::kNewEntry, Change::kNoEnd, Change::kNothing);
std::string name_of(const testing::TestParamInfo<Change>& change) {
  constexpr const char* kNames[] = {"LaterEnd", "NewEntry", "NoEnd", "Nothing"};
  return kNames[static_cast<std::size_t>(change.param)];
}
INSTANTIATE_TEST_SUITE_P(Of, StoppedReaderAcrossAnEnd, kChanges, name_of);
INSTANTIATE_TEST_SUITE_P(Of, StoppedReaderAcrossAnEndSlow, kChanges, name_of);

}  // namespace
}  // namespace hostmap::test
