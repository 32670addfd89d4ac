// Question `wake`: what does a put to an idle server cost?
//
// The worker is parked and the client has slept for 2 ms, so a put is a wake-up there and, unless the client still spins,
// one back. The floor is the same between two threads that do nothing else: the futex ping-pong of the floors, measured
// anew in each round. Beside it stands a ping-pong whose asker sleeps for the same 2 ms before each round trip: the CPUs
// have then been idle for as long as in hostmap's rounds, which alone can make waking them slower.

#include <array>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <fmt/format.h>
#include <iostream>
#include <optional>
#include <span>
#include <sstream>
#include <stdexcept>
#include <string>
#include <string_view>
#include <sys/resource.h>
#include <thread>
#include <utility>
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

namespace hostmap::bench {
namespace {

using namespace std::chrono_literals;

constexpr std::uint64_t kEntries = 1'000;
constexpr unsigned kPuts = 300;
constexpr unsigned kWarmUpPuts = 20;
/// Forty times as long as anybody spins before sleeping.
constexpr std::chrono::nanoseconds kPause = 2ms;
constexpr unsigned kDefaultRounds = 9;
constexpr double kGoal = 1.2;

enum ContestantNumber : std::size_t { kHostmap, kPingPong, kPausedPingPong, kContestants };

// ---- in the client's process --------------------------------------------------------------------

/// How often this thread has gone to sleep.
long own_sleeps() {
  rusage usage{};
  getrusage(RUSAGE_THREAD, &usage);
  return usage.ru_nvcsw;
}

struct Puts {
  Latencies latencies = {};
  unsigned slept = 0;  // puts in which the client has slept until the answer came
};

/// Puts, each after a pause in which everybody falls asleep; throws unless the last value is found afterwards.
Puts put_after_pauses(Client& client, unsigned count, Random& random) {
  Puts puts;
  std::uint64_t key = 0;
  std::uint64_t value = 0;
  for (unsigned i = 0; i < count; ++i) {
    key = key_of(random.below(kEntries));
    value = random.next();
    std::this_thread::sleep_for(kPause);
    const long sleeps = own_sleeps();
    const Clock::time_point start = Clock::now();
    const Status status = client.put(bytes_of(key), bytes_of(value));
    const Clock::time_point end = Clock::now();
    if (!status.ok()) throw std::runtime_error(fmt::format("put: {}", status.message()));
    puts.latencies.add(static_cast<std::uint64_t>((end - start).count()));
    puts.slept += own_sleeps() != sleeps ? 1U : 0U;
  }
  std::uint64_t found = 0;
  if (!client.get_into(bytes_of(key), std::as_writable_bytes(std::span(&found, 1))) || found != value) {
    throw std::runtime_error("a get does not return what was put");
  }
  return puts;
}

// ---- in the parent ------------------------------------------------------------------------------

/// What the rounds of hostmap came to.
struct Figures {
  Series medians;       // nanoseconds
  Latencies all;        // of all rounds
  unsigned slept = 0;   // puts in which the client slept
  std::uint64_t parks;  // times the worker slept
};

void ask_client(Child& client, const Instance& instance, Figures& figures) {
  const std::uint64_t parks_before = instance.stat("parks");
  client.say("round");
  std::istringstream answer(client.hear(120s));
  unsigned slept = 0;
  std::string line;
  answer >> slept >> std::ws;
  std::getline(answer, line);
  const Latencies latencies = Latencies::from_line(line);
  const std::uint64_t parks = instance.stat("parks") - parks_before;
  // A median of puts to a worker that was awake would be another question's figure.
  if (parks < kPuts / 2) {
    throw std::runtime_error(fmt::format("the worker slept only {} times between {} puts", parks, kPuts));
  }
  figures.medians.add(latencies.p50());
  figures.all.merge(latencies);
  figures.slept += slept;
  figures.parks += parks;
}

double ping_pong(std::pair<int, int> cpus, std::chrono::nanoseconds pause) {
  const std::optional<double> round_trip = measure_futex_round_trip(cpus, pause);
  if (!round_trip) throw std::runtime_error("the futex ping-pong never had both its ends asleep");
  return *round_trip;
}

Finding finding_of(const std::array<Series, kContestants>& series) {
  return {.name = "wake",
          .unit = "ns",
          .hostmap = series[kHostmap].median(),
          .rivals = {{"futex ping-pong", series[kPingPong].median()},
                     {"futex ping-pong after the same pause", series[kPausedPingPong].median()}},
          .floor = series[kPingPong].median(),
          .ratio = ratio_of(series[kHostmap], series[kPingPong]),
          .goal = kGoal};
}

}  // namespace

// A line on standard input is a round; "SLEPT LATENCIES" is the answer.
static int play_wake_client(std::span<char* const> arguments) {
  Client client = connect_to(arguments[0]);
  Random random(7);
  for (std::string word; std::getline(std::cin, word);) {
    put_after_pauses(client, kWarmUpPuts, random);
    const Puts puts = put_after_pauses(client, kPuts, random);
    fmt::print("{} {}\n", puts.slept, puts.latencies.line());
    std::fflush(stdout);
  }
  return 0;
}

static void ask_wake(Session& session) {
  const std::vector<int> cpus = allowed_cpus();
  if (cpus.size() < 2) {
    session.progress.step("wake · skipped, needs two CPUs");
    return;
  }
  session.floors.get();
  session.progress.step("wake");
  const OtherLoad others;
  Instance instance({});
  instance.pin_server(cpus[0]);
  Child client({.program = own_program(), .arguments = {"--role", "wake-client", instance.name()}, .cpu = cpus[1]});
  const unsigned rounds = session.choices.rounds == 0 ? kDefaultRounds : session.choices.rounds;
  const std::pair<int, int> asker_first{cpus[1], cpus[0]};
  Figures hostmap{};
  std::array<Series, kContestants> series;
  interleave(rounds, kContestants, [&](unsigned round, std::size_t contestant) {
    session.progress.detail(fmt::format("round {} of {}", round + 1, rounds));
    if (contestant == kHostmap) {
      ask_client(client, instance, hostmap);
    } else {
      series[contestant].add(ping_pong(asker_first, contestant == kPingPong ? 0ns : kPause));
    }
  });
  series[kHostmap] = hostmap.medians;
  client.wait(30s);
  instance.stop();
  const Finding finding = finding_of(series);
  session.report.add(finding);

  session.progress.clear();
  Table table(
      fmt::format("wake · a put to a server that sleeps, {} puts with pauses of {} ms · ns, median of {} rounds", kPuts,
                  std::chrono::duration_cast<std::chrono::milliseconds>(kPause).count(), rounds),
      {"", "p50", "hostmap : this", "goal", ""});
  table.row({{"hostmap", Tone::kStrong}, {format_series(series[kHostmap]), Tone::kStrong}, {""}, {""}, {""}});
  table.row({{"floor: futex wake and back", Tone::kFaint},
             {format_series(series[kPingPong]), Tone::kFaint},
             {format_ratio(*finding.ratio)},
             {fmt::format("≤ {:.1f}", kGoal)},
             verdict(*finding.goal_met())});
  table.row({{"floor: the same after the same pause", Tone::kFaint},
             {format_series(series[kPausedPingPong]), Tone::kFaint},
             {format_ratio(ratio_of(series[kHostmap], series[kPausedPingPong]))},
             {"none", Tone::kFaint},
             {""}});
  const double puts = static_cast<double>(hostmap.all.count());
  table.note(fmt::format(
      "hostmap's p99 {} ns; the client slept in {:.0f} % of the puts, else it spun until the answer; "
      "the worker parked {:.2f} times a put",
      format_figure(hostmap.all.p99()), 100 * hostmap.slept / puts, static_cast<double>(hostmap.parks) / puts));
  table.note(others.sentence());
  table.print();
}

namespace {

const Registered wake_question(Question{70, "wake", "a put to a server that sleeps, against the futex ping-pong",
                                        ask_wake});
const Registered wake_client_role(Role{"wake-client", 1, play_wake_client});

}  // namespace

}  // namespace hostmap::bench
