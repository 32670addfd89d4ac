// Question `multi-get`: what does it gain to ask for several keys at once, with the table in DRAM?
//
// One reader process, exec'ed apart from server and loader. It asks for random keys one by one (each get on its own, so that
// the processor overlaps what it can; and each next key made from the last value, so that nothing overlaps), and by
// multi_get in groups.

#include <array>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <fmt/format.h>
#include <iostream>
#include <stdexcept>
#include <string>
#include <string_view>
#include <tuple>
#include <vector>

#include <hostmap/client.hpp>

#include "harness/floors.hpp"
#include "harness/forms.hpp"
#include "harness/harness.hpp"
#include "harness/instance.hpp"
#include "harness/other_load.hpp"
#include "harness/process.hpp"
#include "harness/question.hpp"
#include "harness/workload.hpp"

namespace hostmap::bench {
namespace {

using namespace std::chrono_literals;

constexpr std::size_t kLookups = 480'000;  // of each turn; a multiple of all groups
/// Untimed ones before them: the way before has had the caches for itself.
constexpr std::size_t kWarmUpLookups = 96'000;
constexpr unsigned kDefaultRounds = 9;
/// So many times as fast as dependent gets; as independent ones: the form's.
constexpr double kGoalOfDependent = 6;
constexpr std::uint64_t kInMemory = 10'000'000;  // so many entries lie in no cache: only there are the goals meant

struct Way {
  std::string_view name;
  std::size_t group;  // 1: get; 0: dependent gets
};
constexpr std::array kWays{Way{"multi_get of 16", 16}, Way{"multi_get of 64", 64}, Way{"get", 1},
                           Way{"get, dependent", 0}};
constexpr std::size_t kGet = 2;
constexpr std::size_t kDependent = 3;

/// Nanoseconds of a lookup. Throws unless every key is found with its value.
template <typename Form>
double time_way(Client& client, const Way& way, std::uint64_t entries, std::uint64_t seed, std::size_t lookups) {
  Random random(seed);
  std::uint64_t wrong = 0;
  std::uint64_t word = 0;
  const auto check = [&](const Result<std::string>& value, std::uint64_t index) {
    const bool whole = value && value->size() == sizeof(typename Form::Value);
    if (whole) std::memcpy(&word, value->data(), sizeof word);  // both forms begin with this word
    wrong += whole && word == value_of(index) ? 0 : 1;
  };
  const auto view_of = [](const typename Form::Key& key) {
    return std::string_view(reinterpret_cast<const char*>(&key), sizeof key);
  };
  std::vector<std::uint64_t> indexes(way.group);
  std::vector<typename Form::Key> keys(way.group);
  std::vector<std::string_view> views(way.group);
  const Clock::time_point start = Clock::now();
  for (std::size_t done = 0; done < lookups;) {
    if (way.group <= 1) {
      const std::uint64_t index = random.below(entries);
      const typename Form::Key key = Form::key(index);
      check(client.get(view_of(key)), index);
      if (way.group == 0) random = Random(word ^ done);  // the next draw waits for this value
      ++done;
      continue;
    }
    for (std::size_t i = 0; i < way.group; ++i) {
      indexes[i] = random.below(entries);
      keys[i] = Form::key(indexes[i]);
      views[i] = view_of(keys[i]);
    }
    const std::vector<Result<std::string>> values = client.multi_get(views);
    for (std::size_t i = 0; i < way.group; ++i) check(values[i], indexes[i]);
    done += way.group;
  }
  const double nanoseconds = std::chrono::duration<double, std::nano>(Clock::now() - start).count();
  if (wrong != 0) throw std::runtime_error(fmt::format("{} values are wrong", wrong));
  return nanoseconds / static_cast<double>(lookups);
}

template <typename Form>
void ask_of(Session& session, double goal) {
  const Floors& floors = session.floors.get();
  const std::uint64_t entries = session.choices.max_entries;
  const std::string title = fmt::format("{} entries of {} bytes", format_count(entries), Form::kTitle);
  session.progress.step("multi-get · " + title);
  session.progress.detail("loading");
  const OtherLoad others;
  Instance instance({"--memory", memory_for(entries)});
  Form::load_hostmap(instance, entries);
  Child reader(
      {.program = own_program(),
       .arguments = {"--role", "multi-get-reader", instance.name(), std::string(Form::kName), std::to_string(entries)},
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

  session.progress.clear();
  Table table(fmt::format("multi-get · {} · ns a key, median of {} rounds", title, rounds),
              {"", "ns a key", "faster than get by", "goal", "than dependent gets by", "goal"});
  for (std::size_t way = 0; way < kWays.size(); ++way) {
    const bool several = kWays[way].group > 1;
    std::vector<Cell> row{{std::string(kWays[way].name), several ? Tone::kStrong : Tone::kPlain},
                          {format_series(series[way]), several ? Tone::kStrong : Tone::kPlain}};
    for (const auto& [name, single, least] :
         {std::tuple("get", kGet, goal), std::tuple("dependent", kDependent, kGoalOfDependent)}) {
      if (!several) {
        row.insert(row.end(), 2, {});
        continue;
      }
      Finding finding{.name = fmt::format("multi-get/{}/{}/{}/{}", Form::kName, kWays[way].group, name, entries),
                      .unit = "ns",
                      .hostmap = series[way].median(),
                      .rivals = {{std::string(kWays[single].name), series[single].median()}},
                      .floor = huge ? floors.memory_independent_huge : floors.memory_independent,
                      .ratio = ratio_of(series[way], series[single])};
      if (entries >= kInMemory) finding.goal = 1 / least;
      session.report.add(finding);
      row.push_back({fmt::format("{:.2f}", 1 / finding.ratio->median), Tone::kStrong});
      Cell reached{"none here", Tone::kFaint};
      if (finding.goal) {
        reached = verdict(*finding.goal_met());
        reached.text = fmt::format("{:.1f}: {}", least, reached.text);
      }
      row.push_back(reached);
    }
    table.row(row);
  }
  table.note(fmt::format(
      "a random line of memory takes {:.1f} ns when they are independent, {:.0f} when each waits for the last",
      huge ? floors.memory_independent_huge : floors.memory_independent,
      huge ? floors.memory_dependent_huge : floors.memory_dependent));
  table.note(huge ? "the table lies in 2 MiB pages" : "the table lies in 4 KiB pages");
  table.note(others.sentence());
  table.print();
}

}  // namespace

static int play_multi_get_reader(std::span<char* const> arguments) {
  return with_form(arguments[1], [&]<typename Form>() {
    Client client = connect_to(arguments[0]);
    const std::uint64_t entries = std::strtoull(arguments[2], nullptr, 10);
    std::size_t way = 0;
    std::uint64_t seed = 0;
    while (std::cin >> way >> seed) {
      time_way<Form>(client, kWays[way], entries, ~seed, kWarmUpLookups);
      fmt::print("{}\n", time_way<Form>(client, kWays[way], entries, seed, kLookups));
      std::fflush(stdout);
    }
    return 0;
  });
}

static void ask_multi_get(Session& session) {
  ask_of<Pairs>(session, 1.5);
  ask_of<Entries>(session, 2);
}

namespace {

const Registered multi_get_question(Question{50, "multi-get", "several keys at once against one by one, table in DRAM",
                                             ask_multi_get});
const Registered multi_get_reader_role(Role{"multi-get-reader", 3, play_multi_get_reader});

}  // namespace

}  // namespace hostmap::bench
