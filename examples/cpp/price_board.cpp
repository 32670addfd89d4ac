// A price board that one process writes and others read without a lock: a get never waits for the writer, and never returns half of
// an old and half of a new price. A screen sleeps until a price changes.
//
//   hostmap-server --background
//   price_board [NAME]           NAME: of the server's instance
#include <array>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <optional>
#include <string>
#include <string_view>
#include <sys/wait.h>
#include <unistd.h>
#include <utility>

#include <hostmap/client.hpp>

namespace {

using Clock = std::chrono::steady_clock;

constexpr std::array<std::string_view, 3> kSymbols{"EURUSD", "GBPUSD", "USDJPY"};
constexpr int kReaders = 2;
constexpr std::chrono::milliseconds kDuration{300};

struct Price {
  std::int64_t bid;  // in ticks
  std::int64_t ask;  // always bid + kSpread
  std::uint64_t change;
};
constexpr std::int64_t kSpread = 2;

int fail(const hostmap::Status& status) {
  std::fprintf(stderr, "price_board: %s\n", std::string(status.message()).c_str());
  return 1;
}

// A new price of every symbol.
int publish(hostmap::Client& map, std::uint64_t change) {
  std::int64_t ticks = 10'000 + static_cast<std::int64_t>(change % 97);
  for (const std::string_view symbol : kSymbols) {
    const hostmap::Status queued = map.put_async(symbol, hostmap::as_bytes_of(Price{ticks, ticks + kSpread, change}));
    if (!queued.ok()) return fail(queued);
    ticks += 1'000;
  }
  return 0;
}

int read(hostmap::Client& map, int reader) {
  std::uint64_t reads = 0;
  std::uint64_t torn = 0;
  const Clock::time_point begin = Clock::now();
  while (Clock::now() - begin < kDuration) {
    for (const std::string_view symbol : kSymbols) {
      const hostmap::Result<Price> price = map.get_as<Price>(symbol);
      if (!price) return fail(price.status());
      ++reads;
      if (price->ask - price->bid != kSpread) ++torn;
    }
  }
  const double seconds = std::chrono::duration<double>(Clock::now() - begin).count();
  std::printf("reader %d: %llu reads, %.0f ns each, %llu torn\n", reader, static_cast<unsigned long long>(reads),
              seconds * 1e9 / static_cast<double>(reads), static_cast<unsigned long long>(torn));
  return torn == 0 ? 0 : 1;
}

// Sleeps until the price is another one than it has shown last. It may miss prices that were replaced quickly, but never the last one.
int show(hostmap::Client& map, std::string_view symbol) {
  std::uint64_t shown = 0;
  std::optional<std::string> price;
  const Clock::time_point end = Clock::now() + kDuration;
  for (Clock::time_point now = Clock::now(); now < end; now = Clock::now()) {
    std::optional<hostmap::Bytes> last;
    if (price) last = *price;
    hostmap::Result<std::optional<std::string>> next = map.wait(symbol, last, end - now);
    if (next.status() == hostmap::StatusCode::kTimeout) break;
    if (!next) return fail(next.status());
    price = std::move(*next);
    ++shown;
  }
  std::printf("screen: %llu prices shown\n", static_cast<unsigned long long>(shown));
  return shown != 0 ? 0 : 1;
}

}  // namespace

int main(int argc, char** argv) {
  hostmap::Options options;
  if (argc > 1) options.name = argv[1];
  hostmap::Result<hostmap::Client> map = hostmap::Client::connect(options);
  if (!map) return fail(map.status());
  // The board is complete before anybody reads it.
  if (publish(*map, 0) != 0) return 1;
  if (const hostmap::Status applied = map->flush(); !applied.ok()) return fail(applied);

  for (int reader = 0; reader <= kReaders; ++reader) {
    const pid_t child = ::fork();
    if (child < 0) return std::perror("price_board: fork"), 1;
    if (child == 0) {
      const int code = reader == 0 ? show(*map, kSymbols[0]) : read(*map, reader);
      std::fflush(stdout);
      ::_exit(code);
    }
  }
  std::uint64_t change = 0;
  for (const Clock::time_point begin = Clock::now(); Clock::now() - begin < kDuration;) {
    if (publish(*map, ++change) != 0) return 1;
  }
  int failed = 0;
  for (int status = 0; ::wait(&status) > 0;) failed += status != 0 ? 1 : 0;
  if (const hostmap::Status applied = map->flush(); !applied.ok()) return fail(applied);
  std::printf("writer: %llu changes of %zu prices\n", static_cast<unsigned long long>(change), kSymbols.size());
  for (const std::string_view symbol : kSymbols) {
    const hostmap::Result<Price> price = map->get_as<Price>(symbol);
    if (!price) return fail(price.status());
    std::printf("%s %lld / %lld\n", std::string(symbol).c_str(), static_cast<long long>(price->bid),
                static_cast<long long>(price->ask));
  }
  return failed == 0 ? 0 : 1;
}
