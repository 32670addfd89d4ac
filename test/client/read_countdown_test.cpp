// Which reads of a thread read the clock. The test supplies the time.
#include "client/read_countdown.hpp"

#include <cstdint>
#include <gtest/gtest.h>
#include <set>

namespace hostmap {
namespace {

constexpr std::int64_t kBegin = 1'000'000'000'000;

// The number of reads up to and including the next one that reads the clock.
std::uint32_t reads_until_a_look(ReadCountdown& countdown) {
  std::uint32_t reads = 1;
  while (!countdown.run_out()) ++reads;
  return reads;
}

TEST(ReadCountdown, TheFirstReadReadsTheClock) {
  ReadCountdown countdown;
  EXPECT_TRUE(countdown.run_out());
}

TEST(ReadCountdown, ABusyThreadReadsTheClockSeldomAndNeverStopsDoingSo) {
  ReadCountdown countdown;
  for (int i = 0; i < 20; ++i) {
    EXPECT_LE(reads_until_a_look(countdown), ReadCountdown::kMost + 1);
    countdown.start(kBegin + i);
  }
  for (int i = 20; i < 1000; ++i) {
    const std::uint32_t reads = reads_until_a_look(countdown);
    EXPECT_GT(reads, ReadCountdown::kMost / 2);
    EXPECT_LE(reads, ReadCountdown::kMost + 1);
    countdown.start(kBegin + i);
  }
}

TEST(ReadCountdown, AThreadThatBecameSlowReadsTheClockAtEachRead) {
  ReadCountdown countdown;
  for (int i = 0; i < 20; ++i) {
    reads_until_a_look(countdown);
    countdown.start(kBegin + i);
  }
  std::int64_t now = kBegin;
  reads_until_a_look(countdown);
  for (int i = 0; i < 20; ++i) {
    now += ReadCountdown::kLongNs + 20;
    countdown.start(now);
    EXPECT_EQ(reads_until_a_look(countdown), 1u);
  }
}

TEST(ReadCountdown, AfterItsEndTheNextReadReadsTheClockToo) {
  ReadCountdown countdown;
  for (int i = 0; i < 20; ++i) {
    reads_until_a_look(countdown);
    countdown.start(kBegin + i);
  }
  reads_until_a_look(countdown);
  countdown.end();
  EXPECT_TRUE(countdown.run_out());
}

// At any rate of reads; `clients` clients are used in turn.
TEST(ReadCountdown, EachOfSeveralClientsUsedInTurnReadsTheClock) {
  for (std::uint64_t clients = 2; clients <= 128; ++clients) {
    for (const std::int64_t between_ns : {10, 500'000, 2'000'000, 5'000'000, 20'000'000, 200'000'000}) {
      ReadCountdown countdown;
      std::set<std::uint64_t> have_looked;
      std::uint64_t reads = 0;
      for (int looks = 0; looks < 10'000 && have_looked.size() < clients; ++looks) {
        reads += reads_until_a_look(countdown);
        have_looked.insert(reads % clients);
        countdown.start(kBegin + static_cast<std::int64_t>(reads) * between_ns);
      }
      EXPECT_EQ(have_looked.size(), clients) << "with " << between_ns << " ns between reads";
    }
  }
}

}  // namespace
}  // namespace hostmap
