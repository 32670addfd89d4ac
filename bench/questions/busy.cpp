// Question `busy`: how long does a put take that is waited for, on a host whose CPUs have other work?
//
// One, four and 64 synchronous clients, each a process of its own, beside no, two and eight processes that only compute.
// Nobody is pinned. Each contestant gets the same clients and the same spinners for the same time, in turn: who gives its
// CPU away beside a process that computes gets it back a time slice later, so this question is about who sleeps when.

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <fmt/format.h>
#include <functional>
#include <iostream>
#include <memory>
#include <optional>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include <hostmap/client.hpp>

#include "harness/floors.hpp"
#include "harness/harness.hpp"
#include "harness/instance.hpp"
#include "harness/latencies.hpp"
#include "harness/other_load.hpp"
#include "harness/process.hpp"
#include "harness/question.hpp"
#include "harness/workload.hpp"
#include "rivals/lmdb.hpp"
#include "rivals/redis.hpp"

namespace hostmap::bench {
namespace {

using namespace std::chrono_literals;

constexpr std::uint64_t kEntries = 1'000;
constexpr std::array kClients{1U, 4U, 64U};
constexpr std::array kSpinners{0U, 2U, 8U};
constexpr unsigned kDefaultRounds = 3;
/// Of a measurement: there are 27 in a round.
constexpr double kMostSeconds = 2;
constexpr unsigned kWarmUpPuts = 100;
/// From the line to begin to the beginning: time for 64 processes to read it beside the spinners.
constexpr auto kNotice = 500ms;
constexpr double kMedianGoal = 1;
constexpr double kTailGoal = 2;

enum ContestantNumber : std::size_t { kHostmap, kRedis, kLmdb, kContestants };
constexpr std::array<std::string_view, kContestants> kNames{"hostmap", "redis", "lmdb"};

using Put = std::function<void(std::uint64_t key, std::uint64_t value)>;

/// A client's put by the contestant of that name.
Put put_of(std::string_view name, const std::string& address) {
  if (name == kNames[kRedis]) {
    auto client = std::make_shared<RedisClient>(address);
    return [client](std::uint64_t key, std::uint64_t value) { client->put(bytes_of(key), bytes_of(value)); };
  }
  if (name == kNames[kLmdb]) {
    auto map = std::make_shared<LmdbMap>(address, sizeof(std::uint64_t));
    return [map](std::uint64_t key, std::uint64_t value) { map->put(bytes_of(key), bytes_of(value)); };
  }
  auto client = std::make_shared<Client>(connect_to(address, 60s));
  return [client](std::uint64_t key, std::uint64_t value) {
    if (const Status status = client->put(bytes_of(key), bytes_of(value)); !status.ok()) {
      throw std::runtime_error(fmt::format("put: {}", status.message()));
    }
  };
}

/// The contestants' servers; LMDB has a folder.
struct Servers {
  Instance hostmap{{}};
  RedisServer redis;
  TemporaryFolder lmdb{kLmdbParent};

  [[nodiscard]] std::string address_of(std::size_t contestant) const {
    if (contestant == kRedis) return redis.socket();
    return contestant == kLmdb ? lmdb.path().string() : hostmap.name();
  }
};

std::vector<Child> start_clients(const Servers& servers, std::size_t contestant, unsigned count) {
  std::vector<Child> clients;
  clients.reserve(count);
  for (unsigned id = 0; id < count; ++id) {
    clients.emplace_back(Command{.program = own_program(),
                                 .arguments = {"--role", "busy-client", std::string(kNames[contestant]),
                                               servers.address_of(contestant), std::to_string(id)}});
  }
  for (Child& client : clients) {
    if (client.hear(120s) != "connected") throw std::runtime_error("a synchronous client cannot connect");
  }
  return clients;
}

Latencies measure(const Servers& servers, std::size_t contestant, unsigned count, unsigned spinning, double seconds) {
  std::vector<Child> clients = start_clients(servers, contestant, count);
  std::vector<Child> spinners;  // killed at the end of this function
  spinners.reserve(spinning);
  for (unsigned i = 0; i < spinning; ++i) {
    spinners.emplace_back(Command{.program = own_program(), .arguments = {"--role", "busy-spinner"}});
  }
  const Clock::time_point begin = Clock::now() + kNotice;
  const Clock::time_point end = begin + std::chrono::ceil<Clock::duration>(std::chrono::duration<double>(seconds));
  for (Child& client : clients) {
    client.say(fmt::format("{} {}", begin.time_since_epoch().count(), end.time_since_epoch().count()));
  }
  Latencies all;
  for (Child& client : clients) all.merge(Latencies::from_line(client.hear(120s)));
  for (Child& client : clients) client.wait(60s);
  return all;
}

/// Of one number of clients beside one number of spinners.
struct Figures {
  std::array<Series, kContestants> medians;
  std::array<Series, kContestants> tails;
};

Finding finding_of(std::string name, const std::array<Series, kContestants>& series, double goal) {
  return {.name = std::move(name),
          .unit = "ns",
          .hostmap = series[kHostmap].median(),
          .rivals = {{"redis", series[kRedis].median()}, {"lmdb", series[kLmdb].median()}},
          .ratio = ratio_of(series[kHostmap], series[kRedis]),
          .goal = goal};
}

std::string microseconds(double nanoseconds) { return format_figure(nanoseconds / 1e3); }

}  // namespace

// "BEGIN END" comes in, moments of the clock that all processes share; latencies go out.
static int play_busy_client(std::span<char* const> arguments) {
  const Put put = put_of(arguments[0], arguments[1]);
  Random random(std::stoull(arguments[2]));
  for (unsigned i = 0; i < kWarmUpPuts; ++i) put(key_of(random.below(kEntries)), i);
  fmt::print("connected\n");
  std::fflush(stdout);
  Clock::rep begin = 0;
  Clock::rep end = 0;
  if (!(std::cin >> begin >> end)) throw std::runtime_error("nobody said when to begin");
  std::this_thread::sleep_until(Clock::time_point(Clock::duration(begin)));
  Latencies latencies;
  Clock::time_point last = Clock::now();
  while (last.time_since_epoch().count() < end) {
    put(key_of(random.below(kEntries)), random.next());
    const Clock::time_point now = Clock::now();
    latencies.add(static_cast<std::uint64_t>((now - last).count()));
    last = now;
  }
  fmt::print("{}\n", latencies.line());
  std::fflush(stdout);
  return 0;
}

// Until it is killed.
static int play_busy_spinner(std::span<char* const>) {
  for (std::atomic<std::uint64_t> count{0};;)
    count.fetch_add(1, std::memory_order_relaxed);  // relaxed: nobody reads it
}

static void ask_busy(Session& session) {
  const unsigned rounds = session.choices.rounds == 0 ? kDefaultRounds : session.choices.rounds;
  const double seconds = std::min(session.choices.seconds, kMostSeconds);
  const OtherLoad others;
  const Servers servers;
  std::array<std::array<Figures, kSpinners.size()>, kClients.size()> cells;
  for (std::size_t clients = 0; clients < kClients.size(); ++clients) {
    for (std::size_t spinners = 0; spinners < kSpinners.size(); ++spinners) {
      session.progress.step(
          fmt::format("busy · {} clients beside {} spinning processes", kClients[clients], kSpinners[spinners]));
      Figures& cell = cells[clients][spinners];
      interleave(rounds, kContestants, [&](unsigned, std::size_t contestant) {
        const Latencies all = measure(servers, contestant, kClients[clients], kSpinners[spinners], seconds);
        cell.medians[contestant].add(all.p50());
        cell.tails[contestant].add(all.p99());
      });
    }
  }
  session.progress.clear();
  Table table(fmt::format("busy · puts that are waited for, {} s each · us, median of {} rounds", seconds, rounds),
              {"clients, spinning", "p50", "redis", "lmdb", "hostmap : redis", "", "p99", "redis", "lmdb",
               "hostmap : redis", ""});
  for (std::size_t clients = 0; clients < kClients.size(); ++clients) {
    for (std::size_t spinners = 0; spinners < kSpinners.size(); ++spinners) {
      const Figures& cell = cells[clients][spinners];
      const std::string name = fmt::format("busy/{} clients, {} spinning", kClients[clients], kSpinners[spinners]);
      const Finding median = finding_of(name + ", p50", cell.medians, kMedianGoal);
      const Finding tail = finding_of(name + ", p99", cell.tails, kTailGoal);
      session.report.add(median);
      session.report.add(tail);
      std::vector<Cell> row{{fmt::format("{}, {}", kClients[clients], kSpinners[spinners]), Tone::kStrong}};
      for (const auto& [finding, series] : {std::pair(&median, &cell.medians), std::pair(&tail, &cell.tails)}) {
        row.push_back({microseconds((*series)[kHostmap].median()), Tone::kStrong});
        row.push_back({microseconds((*series)[kRedis].median())});
        row.push_back({microseconds((*series)[kLmdb].median())});
        row.push_back({format_ratio(*finding->ratio)});
        row.push_back(verdict(*finding->goal_met()));
      }
      table.row(std::move(row));
    }
  }
  table.note(fmt::format("goals: p50 at most {} of redis's, p99 at most {} times; lmdb is shown beside them",
                         kMedianGoal, kTailGoal));
  table.note("a client's figure reaches from the end of one put to that of the next");
  table.note(others.sentence());
  table.print();
}

namespace {

const Registered busy_question(Question{
    170, "busy", "a put that is waited for beside processes that only compute, against Redis and LMDB", ask_busy});
const Registered busy_client_role(Role{"busy-client", 3, play_busy_client});
const Registered busy_spinner_role(Role{"busy-spinner", 0, play_busy_spinner});

}  // namespace

}  // namespace hostmap::bench
