// Question `takeover`: one server hands over to the next; how long does the longest put take that a client makes meanwhile?
//
// The client puts without a pause, waiting for each answer. The floor is the longest put of as long a time in which nothing
// happens: other programs and the scheduler are in both. A server that is killed and started again is shown beside it.

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdlib>
#include <fmt/format.h>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include <hostmap/client.hpp>

#include "harness/harness.hpp"
#include "harness/instance.hpp"
#include "harness/other_load.hpp"
#include "harness/process.hpp"
#include "harness/question.hpp"
#include "harness/workload.hpp"

namespace hostmap::bench {
namespace {

using namespace std::chrono_literals;

constexpr unsigned kDefaultRounds = 5;
constexpr double kGoalMilliseconds = 100;
constexpr auto kQuiet = 500ms;

enum Kind : std::size_t { kTakeover, kKill, kNothing, kKinds };
constexpr std::array<std::string_view, kKinds> kNames{"takeover", "kill, start again", "nothing happens"};

/// Milliseconds of the longest put between "begin" and "end".
double longest_put(Child& client, Instance& instance, Kind kind) {
  client.say("begin");
  std::this_thread::sleep_for(100ms);
  if (kind == kTakeover) instance.hand_over();
  if (kind == kKill) instance.kill_and_restart();
  if (kind == kNothing) std::this_thread::sleep_for(kQuiet);
  std::this_thread::sleep_for(100ms);
  client.say("end");
  return std::strtod(client.hear(60s).c_str(), nullptr);
}

}  // namespace

// In the client's process: pairs, or entries of 16 + 100 bytes as bench/questions/restart.cpp loads them.
static int play_takeover_client(std::span<char* const> arguments) {
  Client client = connect_to(arguments[0], 60s);
  const bool pairs = std::string_view(arguments[1]) == "pairs";
  const std::uint64_t entries = std::strtoull(arguments[2], nullptr, 10);
  const EntryValue value = entry_value_of(entries);  // another one than all that are loaded
  Random random(7);
  Clock::duration longest{};
  const auto put = [&] {
    const std::uint64_t number = random.below(entries);
    const EntryKey key = entry_key_of(number);
    const Clock::time_point start = Clock::now();
    const Status status =
        pairs ? client.put(bytes_of(key[0]), bytes_of(number)) : client.put(bytes_of(key), bytes_of(value));
    longest = std::max(longest, Clock::now() - start);
    if (!status.ok()) throw std::runtime_error(fmt::format("put: {}", status.message()));
  };
  work_between_lines(put, [&] {
    const std::chrono::duration<double, std::milli> milliseconds = std::exchange(longest, {});
    return fmt::format("{}", milliseconds.count());
  });
  return 0;
}

static void ask_takeover(Session& session) {
  session.progress.step("takeover");
  const OtherLoad others;
  const unsigned rounds = session.choices.rounds == 0 ? kDefaultRounds : session.choices.rounds;
  const std::uint64_t entries = session.choices.max_entries;
  Table table(
      fmt::format("takeover · {} entries · ms of the longest put, median of {} rounds", format_count(entries), rounds),
      {"", "median", "worst", "goal", ""});
  for (const bool pairs : {true, false}) {
    const std::string_view form = pairs ? "pairs" : "entries";
    session.progress.detail(fmt::format("loading {}", form));
    Instance instance({"--memory", memory_for(entries)});
    if (pairs) {
      load_hostmap(instance, entries);
    } else {
      load_hostmap_entries(instance, entries);
    }
    Child client(
        {.program = own_program(),
         .arguments = {"--role", "takeover-client", instance.name(), std::string(form), std::to_string(entries)}});
    std::array<Series, kKinds> series;
    interleave(rounds, kKinds, [&](unsigned round, std::size_t kind) {
      session.progress.detail(fmt::format("{}, {}, round {} of {}", form, kNames[kind], round + 1, rounds));
      series[kind].add(longest_put(client, instance, static_cast<Kind>(kind)));
    });
    client.close_input();
    client.wait(30s);
    if (const std::uint64_t found = instance.stat("entries"); found != entries) {
      throw std::runtime_error(fmt::format("there are {} entries, not {}", found, entries));
    }
    instance.stop();
    Finding finding{.name = fmt::format("takeover/{}", form),
                    .unit = "ms",
                    .hostmap = series[kTakeover].greatest(),
                    .rivals = {{std::string(kNames[kKill]), series[kKill].greatest()}},
                    .floor = series[kNothing].median(),
                    .goal = kGoalMilliseconds};
    session.report.add(finding);
    for (std::size_t kind = 0; kind < kKinds; ++kind) {
      const Tone tone = kind == kTakeover ? Tone::kStrong : Tone::kFaint;
      table.row({{fmt::format("{}: {}", form, kNames[kind]), tone},
                 {format_figure(series[kind].median()), tone},
                 {format_figure(series[kind].greatest()), tone},
                 {kind == kTakeover ? fmt::format("≤ {:.0f}", kGoalMilliseconds) : ""},
                 kind == kTakeover ? verdict(*finding.goal_met()) : Cell{""}});
    }
  }
  table.note(others.sentence());
  session.progress.clear();
  table.print();
}

namespace {

const Registered takeover_question(Question{220, "takeover", "the longest put while a server hands over to the next",
                                            ask_takeover});
const Registered takeover_client_role(Role{"takeover-client", 3, play_takeover_client});

}  // namespace

}  // namespace hostmap::bench
