// Question `restart`: a server is killed; how long does the next one take from exec to `ready`?
//
// It reads every bucket, and of entries the first word of each, because what is reachable is all that is known of the
// arena. So the floor is one load of as many lines of memory, in no order, overlapped.

#include <cstdlib>
#include <fmt/format.h>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

#include <hostmap/client.hpp>

#include "harness/floors.hpp"
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
constexpr double kGoalMilliseconds = 1000;

}  // namespace

// Entries of 16 + 100 bytes.
static int play_restart_loader(std::span<char* const> arguments) {
  Client client = connect_to(arguments[0]);
  const std::uint64_t entries = std::strtoull(arguments[1], nullptr, 10);
  for (std::uint64_t position = 0; position < entries; ++position) {
    const std::uint64_t index = load_order(position, entries);
    const EntryKey key = entry_key_of(index);
    const EntryValue value = entry_value_of(index);
    if (const Status status = client.put_async(bytes_of(key), bytes_of(value)); !status.ok()) {
      throw std::runtime_error(fmt::format("put_async: {}", status.message()));
    }
  }
  if (const Status status = client.flush(); !status.ok()) {
    throw std::runtime_error(fmt::format("flush: {}", status.message()));
  }
  return 0;
}

static void ask_restart(Session& session) {
  session.progress.step("restart");
  const OtherLoad others;
  const unsigned rounds = session.choices.rounds == 0 ? kDefaultRounds : session.choices.rounds;
  const std::uint64_t entries = session.choices.max_entries;
  const double floor_ms = session.floors.get().memory_independent_huge * static_cast<double>(entries) / 1e6;
  Table table(
      fmt::format("restart · {} entries · ms from exec to ready, median of {} kills", format_count(entries), rounds),
      {"", "first", "median", "worst", "goal", ""});
  for (const bool pairs : {true, false}) {
    session.progress.detail(pairs ? "loading pairs" : "loading entries");
    Instance instance({"--memory", memory_for(entries)});
    if (pairs) {
      load_hostmap(instance, entries);
    } else {
      load_hostmap_entries(instance, entries);
    }
    Series series;
    for (unsigned round = 0; round < rounds; ++round) {
      session.progress.detail(fmt::format("kill {} of {}", round + 1, rounds));
      series.add(instance.kill_and_restart());
      if (const std::uint64_t found = instance.stat("entries"); found != entries) {
        throw std::runtime_error(fmt::format("after a restart there are {} entries, not {}", found, entries));
      }
    }
    instance.stop();
    const std::string name =
        pairs ? "pairs of 8 + 8 bytes" : fmt::format("entries of {} + {} bytes", sizeof(EntryKey), sizeof(EntryValue));
    Finding finding{.name = pairs ? "restart/pairs" : "restart/entries",
                    .unit = "ms",
                    .hostmap = series.greatest(),
                    .floor = floor_ms,
                    .goal = kGoalMilliseconds};
    session.report.add(finding);
    table.row({{name, Tone::kStrong},
               {format_figure(series.figures().front())},
               {format_figure(series.median())},
               {format_figure(series.greatest()), Tone::kStrong},
               {fmt::format("≤ {}", format_count(static_cast<std::uint64_t>(kGoalMilliseconds)))},
               verdict(*finding.goal_met())});
  }
  table.row({{"floor: a random line for each entry, overlapped", Tone::kFaint},
             {""},
             {format_figure(floor_ms), Tone::kFaint},
             {""},
             {""},
             {""}});
  table.note(others.sentence());
  session.progress.clear();
  table.print();
}

namespace {

const Registered restart_question(Question{210, "restart", "how long a killed server's successor takes until it serves",
                                           ask_restart});
const Registered restart_loader_role(Role{"restart-loader", 2, play_restart_loader});

}  // namespace

}  // namespace hostmap::bench
