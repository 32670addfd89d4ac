// Question `multi-get`: what does it gain to ask for several keys at once, with the table in DRAM?
//
// One reader process, exec'ed apart from server and loader. It asks for random keys one by one (each get on its own, so that
// the processor overlaps what it can; and each next key made from the last value, so that nothing overlaps), and by
// multi_get in groups.

#include <array>
#include <chrono>
#include <cstdlib>
#include <fmt/format.h>
#include <iostream>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

#include <hostmap/client.hpp>

#include "floors.hpp"
#include "harness.hpp"
#include "instance.hpp"
#include "other_load.hpp"
#include "process.hpp"
#include "question.hpp"
#include "workload.hpp"

namespace hostmap::bench {
namespace {

using namespace std::chrono_literals;

constexpr std::size_t kLookups = 500'000;
constexpr unsigned kDefaultRounds = 9;
constexpr double kGoal = 1 / 1.5;

struct Way {
  std::string_view name;
  std::size_t group;  // 1: get; 0: dependent gets
};
constexpr std::array kWays{Way{"multi_get of 16", 16}, Way{"get", 1}, Way{"multi_get of 32", 32},
                           Way{"get, dependent", 0}};

/// Nanoseconds of a lookup. Throws unless every key is found with its value.
double time_way(Client& client, const Way& way, std::uint64_t entries, std::uint64_t seed) {
  Random random(seed);
  std::uint64_t wrong = 0;
  const auto check = [&](const Result<std::string>& value, std::uint64_t index) {
    const std::uint64_t expected = value_of(index);
    wrong += value && std::memcmp(value->data(), &expected, sizeof expected) == 0 ? 0 : 1;
  };
  const auto view_of = [](const std::uint64_t& key) {
    return std::string_view(reinterpret_cast<const char*>(&key), sizeof key);
  };
  std::vector<std::uint64_t> indexes(way.group);
  std::vector<std::uint64_t> keys(way.group);
  std::vector<std::string_view> views(way.group);
  const Clock::time_point start = Clock::now();
  for (std::size_t done = 0; done < kLookups;) {
    if (way.group <= 1) {
      std::uint64_t index = random.below(entries);
      if (way.group == 0) index = scale(index * 0x9E3779B97F4A7C15U ^ wrong, entries);
      const std::uint64_t key = key_of(index);
      const Result<std::string> value = client.get(view_of(key));
      check(value, index);
      if (way.group == 0 && value) {  // the next draw waits for this value
        std::uint64_t word;
        std::memcpy(&word, value->data(), sizeof word);
        random = Random(word ^ done);
      }
      ++done;
      continue;
    }
    for (std::size_t i = 0; i < way.group; ++i) {
      indexes[i] = random.below(entries);
      keys[i] = key_of(indexes[i]);
      views[i] = view_of(keys[i]);
    }
    const std::vector<Result<std::string>> values = client.multi_get(views);
    for (std::size_t i = 0; i < way.group; ++i) check(values[i], indexes[i]);
    done += way.group;
  }
  const double nanoseconds = std::chrono::duration<double, std::nano>(Clock::now() - start).count();
  if (wrong != 0) throw std::runtime_error(fmt::format("{} values are wrong", wrong));
  return nanoseconds / kLookups;
}

}  // namespace

int play_multi_get_reader(std::span<char* const> arguments) {
  Client client = connect_to(arguments[0]);
  const std::uint64_t entries = std::strtoull(arguments[1], nullptr, 10);
  std::size_t way = 0;
  std::uint64_t seed = 0;
  while (std::cin >> way >> seed) {
    fmt::print("{}\n", time_way(client, kWays[way], entries, seed));
    std::fflush(stdout);
  }
  return 0;
}

void ask_multi_get(Session& session) {
  const Floors& floors = session.floors.get();
  const std::uint64_t entries = session.choices.max_entries;
  session.progress.step(fmt::format("multi-get · {} entries", format_count(entries)));
  session.progress.detail("loading");
  const OtherLoad others;
  Instance instance({});
  load_hostmap(instance, entries);
  Child reader({.program = own_program(),
                .arguments = {"--role", "multi-get-reader", instance.name(), std::to_string(entries)},
                .cpu = allowed_cpus().back()});
  const unsigned rounds = session.choices.rounds == 0 ? kDefaultRounds : session.choices.rounds;
  std::array<Series, kWays.size()> series;
  interleave(rounds, series.size(), [&](unsigned round, std::size_t way) {
    session.progress.detail(fmt::format("round {} of {}", round + 1, rounds));
    reader.say(fmt::format("{} {}", way, round + 1));
    series[way].add(std::strtod(reader.hear(120s).c_str(), nullptr));
  });
  reader.close_input();
  reader.wait(30s);
  const bool huge = instance.stat("huge_page_bytes") > 0;
  instance.stop();

  const Ratio ratio = ratio_of(series[0], series[1]);
  Finding finding{.name = fmt::format("multi-get/16/{}", entries),
                  .unit = "ns",
                  .hostmap = series[0].median(),
                  .rivals = {{"get", series[1].median()}, {"get, dependent", series[3].median()}},
                  .floor = huge ? floors.memory_independent_huge : floors.memory_independent,
                  .ratio = ratio};
  if (entries >= 10'000'000) finding.goal = kGoal;  // where the table lies in DRAM
  session.report.add(finding);
  session.progress.clear();
  Table table(fmt::format("multi-get · {} entries of 8 + 8 bytes · ns a key, median of {} rounds",
                          format_count(entries), rounds),
              {"", "ns a key", "multi_get of 16 is faster by"});
  for (std::size_t way = 0; way < kWays.size(); ++way) {
    const Tone tone = way == 0 ? Tone::kStrong : Tone::kPlain;
    table.row({{std::string(kWays[way].name), tone},
               {format_series(series[way]), tone},
               {way == 0 ? "" : fmt::format("{:.2f}", 1 / ratio_of(series[0], series[way]).median)}});
  }
  table.rule();
  table.row({{fmt::format("goal: {:.1f} of get", 1 / kGoal)},
             {""},
             finding.goal ? verdict(*finding.goal_met()) : Cell{"none", Tone::kFaint}});
  table.note(huge ? "the table lies in 2 MiB pages" : "the table lies in 4 KiB pages");
  table.note(others.sentence());
  table.print();
}

}  // namespace hostmap::bench
