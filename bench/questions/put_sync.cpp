// Question `put-sync`: what does a put cost that waits for its answer?
//
// A message there and one back: so its floors are one line there and back, and the bare ring's round trip, the same records
// between two threads on the same two CPUs with nothing behind them. Redis over a unix socket is what people have. All take turns in every round, because the
// way between two cores of a virtual machine changes from minute to minute.

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdlib>
#include <fmt/format.h>
#include <functional>
#include <iostream>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <hostmap/client.hpp>

#include "harness/bare_ring.hpp"
#include "harness/batches.hpp"
#include "harness/floors.hpp"
#include "harness/harness.hpp"
#include "harness/instance.hpp"
#include "harness/other_load.hpp"
#include "harness/process.hpp"
#include "harness/question.hpp"
#include "harness/workload.hpp"
#include "rivals/redis.hpp"

namespace hostmap::bench {
namespace {

using namespace std::chrono_literals;

constexpr std::uint64_t kEntries = 1'000;
constexpr std::uint64_t kPuts = 100'000;
constexpr std::uint64_t kRedisPuts = 5'000;
constexpr unsigned kDefaultRounds = 9;
// A put may take twice what a line takes to the other core and back or, where that is more, a tenth more than the bare ring.
constexpr double kTimesLine = 2;
constexpr double kTimesRing = 1.1;
constexpr double kGoalOfRedis = 1.0 / 100;

enum ContestantNumber : std::size_t { kHostmap, kRing, kLine, kRedis, kContestants };

/// Nanoseconds of each of `count` calls of put(key, value), in batches.
double time_puts(std::uint64_t count, const std::function<void(std::uint64_t, std::uint64_t)>& put) {
  Random random(7);
  return time_batches(count, [&](std::uint64_t puts) {
    for (std::uint64_t i = 0; i < puts; ++i) put(key_of(random.below(kEntries)), i);
  });
}

}  // namespace

// In the client's process: a line on standard input is a round.
static int play_put_sync_client(std::span<char* const> arguments) {
  Client client = connect_to(arguments[0]);
  for (std::string line; std::getline(std::cin, line);) {
    fmt::print("{}\n", time_puts(kPuts, [&](std::uint64_t key, std::uint64_t value) {
                 if (const Status status = client.put(bytes_of(key), bytes_of(value)); !status.ok()) {
                   throw std::runtime_error(fmt::format("put: {}", status.message()));
                 }
               }));
    std::fflush(stdout);
  }
  return 0;
}

static int play_put_sync_redis(std::span<char* const> arguments) {
  RedisClient client(arguments[0]);
  for (std::string line; std::getline(std::cin, line);) {
    fmt::print("{}\n", time_puts(kRedisPuts, [&](std::uint64_t key, std::uint64_t value) {
                 client.put(bytes_of(key), bytes_of(value));
               }));
    std::fflush(stdout);
  }
  return 0;
}

static void ask_put_sync(Session& session) {
  session.floors.get();
  const std::vector<int> cpus = allowed_cpus();
  if (cpus.size() < 2) {
    session.progress.step("put-sync · skipped, needs two CPUs");
    return;
  }
  session.progress.step("put-sync");
  const OtherLoad others;
  Instance instance({});
  instance.pin_server(cpus[0]);  // as the bare ring's two ends are
  std::optional<RedisServer> redis(std::in_place);
  Child hostmap(
      {.program = own_program(), .arguments = {"--role", "put-sync-client", instance.name()}, .cpu = cpus[1]});
  Child redis_client(
      {.program = own_program(), .arguments = {"--role", "put-sync-redis", redis->socket()}, .cpu = cpus[1]});
  const auto round_of = [](Child& child) {
    child.say("round");
    return std::strtod(child.hear(120s).c_str(), nullptr);
  };
  const unsigned rounds = session.choices.rounds == 0 ? kDefaultRounds : session.choices.rounds;
  const std::pair<int, int> two{cpus[0], cpus[1]};
  std::array<Series, kContestants> series;
  interleave(rounds, series.size(), [&](unsigned round, std::size_t contestant) {
    session.progress.detail(fmt::format("round {} of {}", round + 1, rounds));
    const auto measure = [&] {
      switch (contestant) {
        case kRing:
          return bare_ring_round_trip(two, kPuts);
        case kLine:
          return measure_line_round_trip(two);
        default:
          return round_of(contestant == kHostmap ? hostmap : redis_client);
      }
    };
    series[contestant].add(measure());
  });
  for (Child* child : {&hostmap, &redis_client}) {
    child->close_input();
    child->wait(30s);
  }
  instance.stop();
  redis.reset();   // waited for: its time is not that of other programs
  Series allowed;  // of each round
  for (unsigned round = 0; round < rounds; ++round) {
    allowed.add(std::max(kTimesLine * series[kLine].figures()[round], kTimesRing * series[kRing].figures()[round]));
  }
  const auto finding_of = [&](std::string_view name, std::string_view rival, const Series& theirs) {
    return Finding{.name = fmt::format("put-sync/{}", name),
                   .unit = "ns",
                   .hostmap = series[kHostmap].median(),
                   .rivals = {{std::string(rival), theirs.median()}},
                   .floor = series[kLine].median(),
                   .ratio = ratio_of(series[kHostmap], theirs)};
  };
  Finding floor = finding_of("floor", "2 lines or 1.1 bare rings", allowed);
  floor.goal = 1;
  const Finding ring = finding_of("ring", "bare ring", series[kRing]);
  const Finding line = finding_of("line", "one line and back", series[kLine]);
  Finding redis_finding = finding_of("redis", "redis, unix socket", series[kRedis]);
  redis_finding.goal = kGoalOfRedis;
  for (const Finding& finding : {floor, ring, line, redis_finding}) session.report.add(finding);

  session.progress.clear();
  Table table(fmt::format("put-sync · {} entries of 8 + 8 bytes · ns a put, median of {} rounds",
                          format_count(kEntries), rounds),
              {"", "ns", "hostmap : this", "goal", ""});
  table.row({{"hostmap", Tone::kStrong}, {format_series(series[kHostmap]), Tone::kStrong}, {""}, {""}, {""}});
  table.row({{"redis, unix socket"},
             {format_series(series[kRedis])},
             {fmt::format("1 : {:.0f}", 1 / redis_finding.ratio->median)},
             {"1 : 100"},
             verdict(*redis_finding.goal_met())});
  const auto floor_row = [&](const char* title, const Series& theirs, const Finding& finding) {
    table.row(
        {{title, Tone::kFaint},
         {format_series(theirs), Tone::kFaint},
         {format_ratio(*finding.ratio)},
         {finding.goal ? fmt::format("≤ {:.0f}", *finding.goal) : "none", finding.goal ? Tone::kPlain : Tone::kFaint},
         finding.goal ? verdict(*finding.goal_met()) : Cell{""}});
  };
  floor_row("floor: bare ring", series[kRing], ring);
  floor_row("floor: one line and back", series[kLine], line);
  floor_row("2 lines or 1.1 rings, the more", allowed, floor);
  table.note(others.sentence());
  table.print();
}

namespace {

const Registered put_sync_question(Question{
    60, "put-sync", "a put that waits for its answer, against the bare ring and Redis", ask_put_sync});
const Registered put_sync_client_role(Role{"put-sync-client", 1, play_put_sync_client});
const Registered put_sync_redis_role(Role{"put-sync-redis", 1, play_put_sync_redis});

}  // namespace

}  // namespace hostmap::bench
