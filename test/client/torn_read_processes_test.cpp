// The hunt for torn reads between processes: one client writes hot keys and moves their neighbours about, readers in processes
// of their own check what they get. The checker is tested with the hunt in one process, test/table/torn_read_test.cpp.
#include <array>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <string>
#include <unistd.h>
#include <vector>

#include "process/support/sealed.hpp"
#include "process/support/server.hpp"
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
  Reads reads = Reads::kDirect;
  int soak_writes = 20'000'000;
};

std::string hot_key(const Hunt& hunt, std::uint64_t number) {
  return hunt.pairs ? word_key(number * 0x9e37'79b9'7f4a'7c15) : "hot key " + std::to_string(number);
}

// Reads until the pipe closes. 0: never torn, foreign, absent or older than before; and something was read.
int read_and_check(const Server& server, const Hunt& hunt, int until, std::uint64_t seed) {
  Client map = server.connect(kPatience, hunt.reads);
  std::array<std::uint64_t, kHot> newest{};
  Random random(seed);
  std::uint64_t reads = 0;
  for (;;) {
    for (int i = 0; i < 500; ++i, ++reads) {
      const std::uint64_t number = random.below(kHot);
      const Result<std::string> value = map.get(hot_key(hunt, number));
      if (!value) return 1;
      const std::optional<std::uint64_t> counter = unseal(*value, number);
      if (!counter) return 2;
      if (*counter < newest[number]) return 3;
      newest[number] = *counter;
    }
    char byte;
    if (::read(until, &byte, 1) != 0) continue;
    std::printf("%llu reads\n", static_cast<unsigned long long>(reads));
    return reads > 0 ? 0 : 4;
  }
}

void hunt_for(const Hunt& hunt, int writes) {
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
      return read_and_check(server, hunt, pipe[0], random.seed() + i);
    }));
  }
  std::uint64_t neighbour = 0;
  std::uint64_t oldest = 0;
  for (int i = 1; i <= writes; ++i) {
    const std::uint64_t number = random.below(kHot);
    ASSERT_EQ(map.put_async(hot_key(hunt, number),
                            sealed_value(static_cast<std::uint64_t>(i), number, random.one_of(hunt.sizes))),
              StatusCode::kOk);
    ASSERT_EQ(map.put_async(word_key(1'000'000 + neighbour), word_key(neighbour)), StatusCode::kOk);
    ASSERT_EQ(map.put_async("neighbour " + std::to_string(neighbour), std::string(random.below(300), 'n')),
              StatusCode::kOk);
    neighbour = (neighbour + 1) % kNeighbours;
    if (i % 8 == 0) {  // an erasure waits for its answer, so they are fewer
      ASSERT_EQ(map.erase(word_key(1'000'000 + oldest)), StatusCode::kOk);
      ASSERT_EQ(map.erase("neighbour " + std::to_string(oldest)), StatusCode::kOk);
      oldest = (oldest + 1) % kNeighbours;
    }
  }
  ASSERT_EQ(map.flush(), StatusCode::kOk);
  ::close(pipe[1]);
  for (Child& reader : readers)
    EXPECT_EQ(reader.wait(2 * kPatience), kSuccess) << "1 absent, 2 torn, 3 older, 4 nothing read";
  ::close(pipe[0]);
  const auto figures = server.stat();
  EXPECT_GT(figures.at("splits"), 100u);
  std::printf("retries %llu, by ring %llu\n", static_cast<unsigned long long>(figures.at("read_retries")),
              static_cast<unsigned long long>(figures.at("read_fallbacks")));
}

class TornReadProcessesTest : public testing::TestWithParam<Hunt> {};
TEST_P(TornReadProcessesTest, Case12ReadersOfOtherProcessesGetWholeAndEverNewerValues) { hunt_for(GetParam(), 20'000); }
class TornReadProcessesSlowTest : public testing::TestWithParam<Hunt> {};
TEST_P(TornReadProcessesSlowTest, Case12ReadersOfOtherProcessesGetWholeAndEverNewerValues) {
  hunt_for(GetParam(), 100'000);
}

class TornReadProcessesSoakTest : public testing::TestWithParam<Hunt> {};
TEST_P(TornReadProcessesSoakTest, Case12ReadersOfOtherProcessesGetWholeAndEverNewerValues) {
  hunt_for(GetParam(), GetParam().soak_writes);
}

std::string hunt_name(const testing::TestParamInfo<Hunt>& info) { return info.param.name; }
const auto kHunts =
    testing::Values(Hunt{"Pairs", "1", true, {8}}, Hunt{"PairsWithFourWorkers", "4", true, {8}},
                    Hunt{"PairsThatMove", "1", true, {8, 16, 40}}, Hunt{"Pages", "1", false, {4096}},
                    Hunt{"AllSizesWithFourWorkers", "4", false, {16, 24, 100, 1000, 1040, 4096, 20'000}},
                    Hunt{"PairsAndPagesByRing", "1", true, {8, 40, 30'000}, Reads::kRing, 2'000'000});
INSTANTIATE_TEST_SUITE_P(Hunts, TornReadProcessesTest, kHunts, hunt_name);
INSTANTIATE_TEST_SUITE_P(Hunts, TornReadProcessesSlowTest, kHunts, hunt_name);
INSTANTIATE_TEST_SUITE_P(Hunts, TornReadProcessesSoakTest, kHunts, hunt_name);

}  // namespace
}  // namespace hostmap::test
