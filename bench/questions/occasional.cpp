// Question `occasional`: how long does a client wait that calls now and then, beside one that never stops writing, when a
// thousand others are connected and do nothing?
//
// Two instances, one with the idle connections and one without, measured in turn. In either one a client floods while the
// question is measured: it puts without waiting, so the worker has work in every sweep and never parks. The occasional client
// puts and waits for the answer, then sleeps, so that by its next put the worker has taken its channel for idle.

#include <array>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <fmt/format.h>
#include <iostream>
#include <span>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include <hostmap/client.hpp>

#include "harness/floors.hpp"
#include "harness/harness.hpp"
#include "harness/idle_crowd.hpp"
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
constexpr unsigned kPuts = 150;
/// Several times as long as a worker with work takes until a channel counts as idle.
constexpr auto kPause = 4ms;
/// Until all channels of the idle crowd, and the occasional client's, are out of the sweep.
constexpr auto kSettling = 500ms;
constexpr unsigned kDefaultRounds = 7;
constexpr double kGoal = 2;

/// Figures of one of the two, a round after the other.
struct Figures {
  Series medians;  // nanoseconds
  Latencies all;
};

void measure(const Instance& instance, Child& client, Figures& figures) {
  Child flooder({.program = own_program(), .arguments = {"--role", "occasional-flooder", instance.name()}});
  if (flooder.hear(60s) != "flooding") throw std::runtime_error("the flooding client cannot write");
  std::this_thread::sleep_for(kSettling);
  client.say("round");
  const Latencies latencies = Latencies::from_line(client.hear(120s));
  flooder.close_input();
  flooder.wait(30s);
  figures.medians.add(latencies.p50());
  figures.all.merge(latencies);
}

}  // namespace

// Until its standard input ends.
static int play_occasional_flooder(std::span<char* const> arguments) {
  Client client = connect_to(arguments[0], 60s);
  std::atomic<bool> enough{false};
  const std::jthread watcher([&enough] {
    std::string line;
    while (std::getline(std::cin, line)) {
    }
    enough.store(true, std::memory_order_relaxed);  // relaxed: joined before anything depends on it
  });
  fmt::print("flooding\n");
  std::fflush(stdout);
  for (std::uint64_t i = 0; !enough.load(std::memory_order_relaxed); ++i) {  // relaxed: likewise
    const Status status = client.put_async(bytes_of(key_of(i % kEntries)), bytes_of(i));
    if (!status.ok()) throw std::runtime_error(fmt::format("put_async: {}", status.message()));
  }
  if (const Status status = client.flush(); !status.ok()) throw std::runtime_error(std::string(status.message()));
  return 0;
}

// A line on standard input is a round; latencies are the answer.
static int play_occasional_client(std::span<char* const> arguments) {
  Client client = connect_to(arguments[0], 60s);
  for (std::string line; std::getline(std::cin, line);) {
    Latencies latencies;
    for (std::uint64_t i = 0; i < kPuts; ++i) {
      std::this_thread::sleep_for(kPause);
      const Clock::time_point begin = Clock::now();
      const Status status = client.put(bytes_of(key_of(kEntries)), bytes_of(i));
      latencies.add(static_cast<std::uint64_t>((Clock::now() - begin).count()));
      if (!status.ok()) throw std::runtime_error(fmt::format("put: {}", status.message()));
    }
    fmt::print("{}\n", latencies.line());
    std::fflush(stdout);
  }
  return 0;
}

static void ask_occasional(Session& session) {
  session.floors.get();
  const std::vector<int> cpus = allowed_cpus();
  if (cpus.size() < 2) {
    session.progress.step("occasional · skipped, needs two CPUs");
    return;
  }
  if (const std::string why = no_idle_crowd(); !why.empty()) {
    session.progress.step(fmt::format("occasional · skipped, {}", why));
    return;
  }
  session.progress.step("occasional");
  const OtherLoad others;
  std::array<Instance, 2> instances{Instance(arguments_for_idle_crowd()), Instance(arguments_for_idle_crowd())};
  session.progress.detail(fmt::format("connecting {} idle clients", kIdle));
  std::vector<Child> holders = start_idle_crowd(instances[0]);
  const auto client_of = [](const Instance& instance) {
    return Child({.program = own_program(), .arguments = {"--role", "occasional-client", instance.name()}});
  };
  std::array<Child, 2> clients{client_of(instances[0]), client_of(instances[1])};
  const unsigned rounds = session.choices.rounds == 0 ? kDefaultRounds : session.choices.rounds;
  std::array<Figures, 2> figures;
  interleave(rounds, figures.size(), [&](unsigned round, std::size_t contestant) {
    session.progress.detail(fmt::format("round {} of {}", round + 1, rounds));
    measure(instances[contestant], clients[contestant], figures[contestant]);
  });
  expect_connections(instances[0], kIdle + 1);
  for (Child& client : clients) {
    client.close_input();
    client.wait(30s);
  }
  for (Child& holder : holders) holder.wait(30s);
  for (Instance& instance : instances) instance.stop();

  const Finding finding{.name = "occasional",
                        .unit = "ns",
                        .hostmap = figures[0].medians.median(),
                        .rivals = {{"without idle connections", figures[1].medians.median()}},
                        .ratio = ratio_of(figures[0].medians, figures[1].medians),
                        .goal = kGoal};
  session.report.add(finding);
  session.progress.clear();
  Table table(
      fmt::format("occasional · a put every {} ms beside a client that floods, {} puts a round · ns, median of {} "
                  "rounds",
                  kPause.count(), kPuts, rounds),
      {"", "p50", "p99 of all", "crowded : alone", "goal", ""});
  table.row({{fmt::format("and beside {} idle connections", format_count(kIdle)), Tone::kStrong},
             {format_series(figures[0].medians), Tone::kStrong},
             {format_figure(figures[0].all.p99())},
             {format_ratio(*finding.ratio)},
             {fmt::format("≤ {:.1f}", kGoal)},
             verdict(*finding.goal_met())});
  table.row(
      {{"without them"}, {format_series(figures[1].medians)}, {format_figure(figures[1].all.p99())}, {""}, {""}, {""}});
  table.note(others.sentence());
  table.print();
}

namespace {

const Registered occasional_question(Question{
    90, "occasional", "a put now and then beside a flooding client and 1000 idle connections", ask_occasional});
const Registered occasional_flooder_role(Role{"occasional-flooder", 1, play_occasional_flooder});
const Registered occasional_client_role(Role{"occasional-client", 1, play_occasional_client});

}  // namespace

}  // namespace hostmap::bench
