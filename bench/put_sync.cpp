// Question `put-sync`: what does a put cost that waits for its answer?
//
// A message there and one back: so its floor is the bare ring's round trip, the same records between two threads on the same
// two CPUs with nothing behind them. Redis over a unix socket is what people have. All take turns in every round, because the
// way between two cores of a virtual machine changes from minute to minute.

#include <array>
#include <chrono>
#include <cstdlib>
#include <fmt/format.h>
#include <functional>
#include <iostream>
#include <optional>
#include <stdexcept>
#include <string>
#include <vector>

#include <hostmap/client.hpp>

#include "bare_ring.hpp"
#include "batches.hpp"
#include "floors.hpp"
#include "harness.hpp"
#include "instance.hpp"
#include "other_load.hpp"
#include "process.hpp"
#include "question.hpp"
#include "rivals/redis.hpp"
#include "workload.hpp"

namespace hostmap::bench {
namespace {

using namespace std::chrono_literals;

constexpr std::uint64_t kEntries = 1'000;
constexpr std::uint64_t kPuts = 100'000;
constexpr std::uint64_t kRedisPuts = 5'000;
constexpr unsigned kDefaultRounds = 9;
constexpr double kGoalOfRing = 1.3;
constexpr double kGoalOfRedis = 1.0 / 80;

/// Nanoseconds of each of `count` calls of put(key, value), in batches.
double time_puts(std::uint64_t count, const std::function<void(std::uint64_t, std::uint64_t)>& put) {
  Random random(7);
  return time_batches(count, [&](std::uint64_t puts) {
    for (std::uint64_t i = 0; i < puts; ++i) put(key_of(random.below(kEntries)), i);
  });
}

}  // namespace

// In the client's process: a line on standard input is a round.
int play_put_sync_client(std::span<char* const> arguments) {
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

int play_put_sync_redis(std::span<char* const> arguments) {
  RedisClient client(arguments[0]);
  for (std::string line; std::getline(std::cin, line);) {
    fmt::print("{}\n", time_puts(kRedisPuts, [&](std::uint64_t key, std::uint64_t value) {
                 client.put(bytes_of(key), bytes_of(value));
               }));
    std::fflush(stdout);
  }
  return 0;
}

void ask_put_sync(Session& session) {
  const Floors& floors = session.floors.get();
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
  std::array<Series, 3> series;
  interleave(rounds, series.size(), [&](unsigned round, std::size_t contestant) {
    session.progress.detail(fmt::format("round {} of {}", round + 1, rounds));
    series[contestant].add(contestant == 0   ? round_of(hostmap)
                           : contestant == 1 ? bare_ring_round_trip({cpus[0], cpus[1]}, kPuts)
                                             : round_of(redis_client));
  });
  for (Child* child : {&hostmap, &redis_client}) {
    child->close_input();
    child->wait(30s);
  }
  instance.stop();
  redis.reset();  // waited for: its time is not that of other programs
  const Ratio of_ring = ratio_of(series[0], series[1]);
  const Ratio of_redis = ratio_of(series[0], series[2]);
  Finding ring{.name = "put-sync/ring",
               .unit = "ns",
               .hostmap = series[0].median(),
               .rivals = {{"bare ring", series[1].median()}},
               .floor = floors.ping_pong_round_trip,
               .ratio = of_ring,
               .goal = kGoalOfRing};
  Finding redis_finding{.name = "put-sync/redis",
                        .unit = "ns",
                        .hostmap = series[0].median(),
                        .rivals = {{"redis, unix socket", series[2].median()}},
                        .floor = floors.ping_pong_round_trip,
                        .ratio = of_redis,
                        .goal = kGoalOfRedis};
  session.report.add(ring);
  session.report.add(redis_finding);

  session.progress.clear();
  Table table(fmt::format("put-sync · {} entries of 8 + 8 bytes · ns a put, median of {} rounds",
                          format_count(kEntries), rounds),
              {"", "ns", "hostmap : this", "goal", ""});
  table.row({{"hostmap", Tone::kStrong}, {format_series(series[0]), Tone::kStrong}, {""}, {""}, {""}});
  table.row({{"redis, unix socket"},
             {format_series(series[2])},
             {fmt::format("1 : {:.0f}", 1 / of_redis.median)},
             {"1 : 80"},
             verdict(*redis_finding.goal_met())});
  table.row({{"floor: bare ring", Tone::kFaint},
             {format_series(series[1]), Tone::kFaint},
             {format_ratio(of_ring)},
             {fmt::format("≤ {:.1f}", kGoalOfRing)},
             verdict(*ring.goal_met())});
  table.row({{"floor: one line and back", Tone::kFaint},
             {format_figure(*floors.ping_pong_round_trip), Tone::kFaint},
             {format_figure(series[0].median() / *floors.ping_pong_round_trip)},
             {""},
             {""}});
  table.note(others.sentence());
  table.print();
}

}  // namespace hostmap::bench
