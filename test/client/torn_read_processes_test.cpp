// Searches for torn reads between processes: one client writes a few keys and makes their neighbours move, readers in
// processes of their own check what they get. The check itself is tested in one process by test/table/torn_read_test.cpp.
#include <algorithm>
#include <array>
#include <atomic>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <string>
#include <unistd.h>
#include <vector>

#include "process/harness/sealed.hpp"
#include "process/harness/server.hpp"
#include "support/aligned_memory.hpp"
#include "support/seed.hpp"

namespace hostmap::test {
namespace {

constexpr std::uint64_t kHot = 12;
constexpr std::uint64_t kNeighbours = 200'000;

struct Hunt {
  const char* name;
  const char* workers;
  bool pairs;  // 8-byte keys
  std::vector<std::size_t> sizes;
  Reads way = Reads::kDirect;
  std::uint64_t soak_reads = 1'000'000'000;
};

std::string hot_key(const Hunt& hunt, std::uint64_t number) {
  return hunt.pairs ? word_key(number * 0x9e37'79b9'7f4a'7c15) : "hot key " + std::to_string(number);
}

// Reads until the pipe closes, and adds to `reads`. 0: never torn, foreign, absent or older than before.
int read_and_check(const Server& server, const Hunt& hunt, int until, std::uint64_t seed,
                   std::atomic<std::uint64_t>& reads) {
  Client map = server.connect(kPatience, hunt.way);
  std::array<std::uint64_t, kHot> newest{};
  Random random(seed);
  for (;;) {
    constexpr int kAtOnce = 500;
    for (int i = 0; i < kAtOnce; ++i) {
      const std::uint64_t number = random.below(kHot);
      const Result<std::string> value = map.get(hot_key(hunt, number));
      if (!value) return 1;
      const std::optional<std::uint64_t> counter = unseal(*value, number);
      if (!counter) return 2;
      if (*counter < newest[number]) return 3;
      newest[number] = *counter;
    }
    reads += kAtOnce;
    char byte;
    if (::read(until, &byte, 1) == 0) return 0;
  }
}

// The search ends after this many writes and this many reads.
void hunt_for(const Hunt& hunt, int writes, std::uint64_t reads_wanted) {
  const AlignedMemory memory(kPageSize);
  auto& reads = memory.at<std::atomic<std::uint64_t>>(0);
  Server server({"4", "--workers", hunt.workers});
  Random random;
  Client map = server.connect();
  for (std::uint64_t number = 0; number < kHot; ++number) {
    ASSERT_EQ(map.put(hot_key(hunt, number), sealed_value(0, number, hunt.sizes.front())), StatusCode::kOk);
  }
  std::array<int, 2> pipe{};
  ASSERT_EQ(::pipe2(pipe.data(), O_CLOEXEC | O_NONBLOCK), 0);
  std::vector<Child> readers;
  for (std::uint64_t i = 0; i < 2; ++i) {
    readers.push_back(Child::fork([&] {
      ::close(pipe[1]);
      return read_and_check(server, hunt, pipe[0], random.seed() + i, reads);
    }));
  }
  std::uint64_t neighbour = 0;
  std::uint64_t oldest = 0;
  int written = 0;
  bool all_read = true;
  while (written < writes || (reads < reads_wanted && all_read)) {
    if (written % 10'000 == 0) {
      all_read = std::all_of(readers.begin(), readers.end(), [](const Child& reader) { return reader.running(); });
    }
    ++written;
    const std::uint64_t number = random.below(kHot);
    ASSERT_EQ(map.put_async(hot_key(hunt, number),
                            sealed_value(static_cast<std::uint64_t>(written), number, random.one_of(hunt.sizes))),
              StatusCode::kOk);
    ASSERT_EQ(map.put_async(word_key(1'000'000 + neighbour), word_key(neighbour)), StatusCode::kOk);
    ASSERT_EQ(map.put_async("neighbour " + std::to_string(neighbour), std::string(random.below(300), 'n')),
              StatusCode::kOk);
    neighbour = (neighbour + 1) % kNeighbours;
    if (written % 8 == 0) {  // an erase waits for its answer, so there are fewer
      ASSERT_EQ(map.erase(word_key(1'000'000 + oldest)), StatusCode::kOk);
      ASSERT_EQ(map.erase("neighbour " + std::to_string(oldest)), StatusCode::kOk);
      oldest = (oldest + 1) % kNeighbours;
    }
  }
  ASSERT_EQ(map.flush(), StatusCode::kOk);
  ::close(pipe[1]);
  for (Child& reader : readers) EXPECT_EQ(reader.wait(2 * kPatience), kSuccess) << "1 absent, 2 torn, 3 older";
  ::close(pipe[0]);
  const auto figures = server.stat();
  EXPECT_GT(figures.at("splits"), 10u);
  std::printf("%d writes, %llu reads, retries %llu, by ring %llu\n", written,
              static_cast<unsigned long long>(reads.load()),
              static_cast<unsigned long long>(figures.at("read_retries")),
              static_cast<unsigned long long>(figures.at("read_fallbacks")));
}

class TornReadProcessesTest : public testing::TestWithParam<Hunt> {};
TEST_P(TornReadProcessesTest, ReadersInOtherProcessesGetWholeAndEverNewerValues) {
  hunt_for(GetParam(), 20'000, 1'000);
}
class TornReadProcessesSlowTest : public testing::TestWithParam<Hunt> {};
TEST_P(TornReadProcessesSlowTest, ReadersInOtherProcessesGetWholeAndEverNewerValues) {
  hunt_for(GetParam(), 100'000, 1'000);
}

class TornReadProcessesSoakTest : public testing::TestWithParam<Hunt> {};
TEST_P(TornReadProcessesSoakTest, ReadersInOtherProcessesGetWholeAndEverNewerValues) {
  hunt_for(GetParam(), 100'000, GetParam().soak_reads);
}

std::string hunt_name(const testing::TestParamInfo<Hunt>& info) { return info.param.name; }
const auto kHunts =
    testing::Values(Hunt{"Pairs", "1", true, {8}}, Hunt{"PairsWithFourWorkers", "4", true, {8}},
                    Hunt{"PairsThatMove", "1", true, {8, 16, 40}}, Hunt{"Pages", "1", false, {4096}},
                    Hunt{"AllSizesWithFourWorkers", "4", false, {16, 24, 100, 1000, 1040, 4096, 20'000}},
                    Hunt{"PairsAndPagesByRing", "1", true, {8, 40, 30'000}, Reads::kRing, 10'000'000});
INSTANTIATE_TEST_SUITE_P(Hunts, TornReadProcessesTest, kHunts, hunt_name);
INSTANTIATE_TEST_SUITE_P(Hunts, TornReadProcessesSlowTest, kHunts, hunt_name);
INSTANTIATE_TEST_SUITE_P(Hunts, TornReadProcessesSoakTest, kHunts, hunt_name);

}  // namespace
}  // namespace hostmap::test
