// Question `wait`: how long after a put begins has a process that waits for the key its new value?
//
// The waiter and the worker sleep, and the putting client has slept for 2 ms. So a put wakes the worker, and the worker wakes the
// waiter: two wake-ups one after the other, as in a futex ping-pong, which is the floor.
#include <array>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <fmt/format.h>
#include <iostream>
#include <optional>
#include <span>
#include <stdexcept>
#include <string>
#include <thread>

#include <hostmap/client.hpp>

#include "harness/floors.hpp"
#include "harness/harness.hpp"
#include "harness/instance.hpp"
#include "harness/latencies.hpp"
#include "harness/other_load.hpp"
#include "harness/process.hpp"
#include "harness/question.hpp"
#include "harness/workload.hpp"

namespace hostmap::bench {
namespace {

using namespace std::chrono_literals;

constexpr unsigned kPuts = 300;
constexpr std::chrono::nanoseconds kPause = 2ms;
constexpr unsigned kDefaultRounds = 9;
constexpr double kGoal = 1.2;

enum ContestantNumber : std::size_t { kHostmap, kPingPong, kPausedPingPong, kContestants };

// The value is the moment at which the put began: the waiter subtracts it from its own clock.
Latencies wait_for_puts(Client& client, std::uint64_t& last) {
  Latencies latencies;
  for (unsigned i = 0; i < kPuts; ++i) {
    const Result<std::optional<std::string>> value = client.wait("moment", bytes_of(last), 60s);
    const std::int64_t now = Clock::now().time_since_epoch().count();
    if (!value || !*value || (*value)->size() != sizeof last) throw std::runtime_error("a wait did not return a value");
    std::memcpy(&last, (*value)->data(), sizeof last);
    latencies.add(static_cast<std::uint64_t>(now) - last);
    fmt::print("woken\n");
    std::fflush(stdout);
  }
  return latencies;
}

double ping_pong(std::pair<int, int> cpus, std::chrono::nanoseconds pause) {
  const std::optional<double> round_trip = measure_futex_round_trip(cpus, pause);
  if (!round_trip) throw std::runtime_error("the futex ping-pong never had both its ends asleep");
  return *round_trip;
}

}  // namespace

// A line on standard input is a round: "woken" after each put, then the latencies.
static int play_wait_client(std::span<char* const> arguments) {
  Client client = connect_to(arguments[0]);
  std::uint64_t last = 0;
  for (std::string word; std::getline(std::cin, word);) {
    const Latencies latencies = wait_for_puts(client, last);
    fmt::print("{}\n", latencies.line());
    std::fflush(stdout);
  }
  return 0;
}

static void ask_wait(Session& session) {
  const std::vector<int> cpus = allowed_cpus();
  if (cpus.size() < 2) {
    session.progress.step("wait · skipped, needs two CPUs");
    return;
  }
  session.floors.get();
  session.progress.step("wait");
  const OtherLoad others;
  Instance instance({});
  instance.pin_server(cpus[0]);
  Child waiter({.program = own_program(), .arguments = {"--role", "wait-client", instance.name()}, .cpu = cpus[1]});
  Client client = connect_to(instance.name());
  std::uint64_t moment = 0;
  const auto put = [&](std::uint64_t value) {
    if (const Status status = client.put("moment", bytes_of(value)); !status.ok()) {
      throw std::runtime_error(fmt::format("put: {}", status.message()));
    }
  };
  put(moment);
  const unsigned rounds = session.choices.rounds == 0 ? kDefaultRounds : session.choices.rounds;
  std::array<Series, kContestants> series;
  Latencies all;
  interleave(rounds, kContestants, [&](unsigned round, std::size_t contestant) {
    session.progress.detail(fmt::format("round {} of {}", round + 1, rounds));
    if (contestant != kHostmap) {
      return series[contestant].add(ping_pong({cpus[1], cpus[0]}, contestant == kPingPong ? 0ns : kPause));
    }
    waiter.say("round");
    for (unsigned i = 0; i < kPuts; ++i) {
      std::this_thread::sleep_for(kPause);
      put(static_cast<std::uint64_t>(Clock::now().time_since_epoch().count()));
      static_cast<void>(waiter.hear(60s));
    }
    const Latencies latencies = Latencies::from_line(waiter.hear(60s));
    series[kHostmap].add(latencies.p50());
    all.merge(latencies);
  });
  waiter.wait(30s);
  instance.stop();
  const Finding finding{.name = "wait",
                        .unit = "ns",
                        .hostmap = series[kHostmap].median(),
                        .rivals = {{"futex ping-pong", series[kPingPong].median()},
                                   {"futex ping-pong after the same pause", series[kPausedPingPong].median()}},
                        .floor = series[kPausedPingPong].median(),
                        .ratio = ratio_of(series[kHostmap], series[kPausedPingPong]),
                        .goal = kGoal};
  session.report.add(finding);

  session.progress.clear();
  Table table(
      fmt::format(
          "wait · from a put to the waiter that it wakes, {} puts with pauses of {} ms · ns, median of {} rounds",
          kPuts, std::chrono::duration_cast<std::chrono::milliseconds>(kPause).count(), rounds),
      {"", "p50", "hostmap : this", "goal", ""});
  table.row({{"hostmap", Tone::kStrong}, {format_series(series[kHostmap]), Tone::kStrong}, {""}, {""}, {""}});
  table.row({{"floor: futex wake and back", Tone::kFaint},
             {format_series(series[kPingPong]), Tone::kFaint},
             {format_ratio(ratio_of(series[kHostmap], series[kPingPong]))},
             {"none", Tone::kFaint},
             {""}});
  table.row({{"floor: the same after the same pause", Tone::kFaint},
             {format_series(series[kPausedPingPong]), Tone::kFaint},
             {format_ratio(*finding.ratio)},
             {fmt::format("≤ {:.1f}", kGoal)},
             verdict(*finding.goal_met())});
  table.note(fmt::format("hostmap's p99 {} ns", format_figure(all.p99())));
  table.note(others.sentence());
  table.print();
}

namespace {

const Registered wait_question(Question{
    75, "wait", "from a put to the process that waits for it, against the futex ping-pong", ask_wait});
const Registered wait_client_role(Role{"wait-client", 1, play_wait_client});

}  // namespace

}  // namespace hostmap::bench
