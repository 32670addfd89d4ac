// Question `multi-get`: what does it gain to get several keys at once, with the table in DRAM?
//
// One reader process, exec'ed apart from server and loader. It gets random keys one by one (each get on its own, so that
// the processor overlaps what it can; and each next key made from the last value, so that nothing overlaps), and by
// multi_get in groups. boost::concurrent_flat_map, which has a call for several keys, too, does the same in a process
// of its own.

#include <array>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <fmt/format.h>
#include <iostream>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <tuple>
#include <utility>
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
#include "rivals/maps.hpp"

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

// Unused in a build that has none of the maps.
[[maybe_unused]] std::uint64_t first_word(std::span<const std::byte> value) {
  std::uint64_t word = 0;
  if (value.size() < sizeof word) throw std::runtime_error("a value is too short");
  std::memcpy(&word, value.data(), sizeof word);
  return word;
}
[[maybe_unused]] std::uint64_t first_word(const std::uint64_t& value) { return value; }
[[maybe_unused]] std::uint64_t first_word(const std::string& value) {
  return first_word(std::as_bytes(std::span(value)));
}

/// As time_way, of a map in this process, whose values are copied out in the type in which it stores them. Values of a group
/// come in the map's own order, so that their sum is checked.
template <typename Form, typename Map>
double time_map_way(const Map& map, const Way& way, std::uint64_t entries, std::uint64_t seed, std::size_t lookups) {
  Random random(seed);
  std::size_t found = 0;
  std::uint64_t sum = 0;
  std::uint64_t expected = 0;
  std::vector<typename Form::Key> keys(way.group);
  std::vector<typename Map::Stored> values(way.group);
  typename Map::Stored value{};
  const Clock::time_point start = Clock::now();
  for (std::size_t done = 0; done < lookups;) {
    if (way.group <= 1) {
      const std::uint64_t index = random.below(entries);
      found += map.find(Form::key(index), value) ? 1 : 0;
      const std::uint64_t word = first_word(value);
      sum += word;
      expected += value_of(index);
      if (way.group == 0) random = Random(word ^ done);  // the next draw waits for this value
      ++done;
      continue;
    }
    for (typename Form::Key& key : keys) {
      const std::uint64_t index = random.below(entries);
      key = Form::key(index);
      expected += value_of(index);
    }
    found += map.find_all(keys, values);
    for (const auto& each : values) sum += first_word(each);
    done += way.group;
  }
  const double nanoseconds = std::chrono::duration<double, std::nano>(Clock::now() - start).count();
  if (found != lookups || sum != expected) throw std::runtime_error("a map has other values than those loaded");
  return nanoseconds / static_cast<double>(lookups);
}

/// Answers "WAY SEED" lines by lines of nanoseconds until the end of input. `time(way, seed, lookups)`.
template <typename Time>
int answer_ways(const Time& time) {
  std::size_t way = 0;
  std::uint64_t seed = 0;
  while (std::cin >> way >> seed) {
    time(kWays[way], ~seed, kWarmUpLookups);
    fmt::print("{}\n", time(kWays[way], seed, kLookups));
    std::fflush(stdout);
  }
  return 0;
}

struct Reader {
  std::string_view name;
  Child process;
  std::array<Series, kWays.size()> series = {};
};

/// hostmap's, then those of the maps.
std::vector<Reader> start_readers(const Instance& instance, std::string_view form, std::uint64_t entries, bool huge) {
  std::vector<Reader> readers;
  const auto start = [&](std::string_view name, std::vector<std::string> arguments) {
    arguments.insert(arguments.end(), {std::string(form), std::to_string(entries)});
    Command command{.program = own_program(), .arguments = std::move(arguments), .cpu = allowed_cpus().back()};
    command.use_huge_pages(huge);
    readers.push_back({.name = name, .process = Child(command)});
  };
  start("hostmap", {"--role", "multi-get-reader", instance.name()});
  for (const MapRival& rival : map_rivals(form)) {
    if (rival.finds_several) start(rival.name, {"--role", "multi-get-map", std::string(rival.name)});
  }
  return readers;
}

void report_goals(Session& session, std::string_view form, std::uint64_t entries, const Reader& hostmap, double goal,
                  double floor, Table& table) {
  for (std::size_t way = 0; way < kWays.size(); ++way) {
    const bool several = kWays[way].group > 1;
    std::vector<Cell> row{{std::string(kWays[way].name), several ? Tone::kStrong : Tone::kPlain},
                          {format_series(hostmap.series[way]), several ? Tone::kStrong : Tone::kPlain}};
    for (const auto& [name, single, least] :
         {std::tuple("get", kGet, goal), std::tuple("dependent", kDependent, kGoalOfDependent)}) {
      if (!several) {
        row.insert(row.end(), 2, {});
        continue;
      }
      Finding finding{.name = fmt::format("multi-get/{}/{}/{}/{}", form, kWays[way].group, name, entries),
                      .unit = "ns",
                      .hostmap = hostmap.series[way].median(),
                      .rivals = {{std::string(kWays[single].name), hostmap.series[single].median()}},
                      .floor = floor,
                      .ratio = ratio_of(hostmap.series[way], hostmap.series[single])};
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
}

/// hostmap beside the maps, way by way.
void report_maps(Session& session, std::string_view form, std::uint64_t entries, const std::vector<Reader>& readers,
                 const std::string& title) {
  if (readers.size() == 1) return;
  std::vector<std::string> head{"", "hostmap"};
  for (std::size_t map = 1; map < readers.size(); ++map) {
    head.insert(head.end(), {std::string(readers[map].name), "hostmap : it"});
  }
  Table table(fmt::format("multi-get · {} · ns a key beside maps in the reader's own process", title), std::move(head));
  for (std::size_t way = 0; way < kWays.size(); ++way) {
    const Series& own = readers.front().series[way];
    std::vector<Cell> row{{std::string(kWays[way].name)}, {format_series(own), Tone::kStrong}};
    const std::size_t group = kWays[way].group;
    Finding finding{.name = fmt::format("multi-get/{}/{}/maps/{}", form,
                                        group > 1    ? std::to_string(group)
                                        : group == 1 ? "get"
                                                     : "dependent",
                                        entries),
                    .unit = "ns",
                    .hostmap = own.median(),
                    .ratio = ratio_of(own, readers[1].series[way])};
    for (std::size_t map = 1; map < readers.size(); ++map) {
      const Series& series = readers[map].series[way];
      finding.rivals.emplace_back(readers[map].name, series.median());
      row.insert(row.end(), {{format_series(series)}, {format_ratio(ratio_of(own, series))}});
    }
    session.report.add(std::move(finding));
    table.row(std::move(row));
  }
  table.print();
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
  const bool huge = instance.stat("huge_page_bytes") > 0;
  std::vector<Reader> readers = start_readers(instance, Form::kName, entries, huge);
  const unsigned rounds = session.choices.rounds == 0 ? kDefaultRounds : session.choices.rounds;
  interleave(rounds, readers.size() * kWays.size(), [&](unsigned round, std::size_t number) {
    session.progress.detail(fmt::format("round {} of {}", round + 1, rounds));
    Reader& reader = readers[number / kWays.size()];
    const std::size_t way = number % kWays.size();
    reader.process.say(fmt::format("{} {}", way, round + 1));
    reader.series[way].add(std::strtod(reader.process.hear(120s).c_str(), nullptr));
  });
  for (Reader& reader : readers) {
    reader.process.close_input();
    reader.process.wait(30s);
  }
  instance.stop();

  session.progress.clear();
  Table table(fmt::format("multi-get · {} · ns a key, median of {} rounds", title, rounds),
              {"", "ns a key", "faster than get by", "goal", "than dependent gets by", "goal"});
  report_goals(session, Form::kName, entries, readers.front(), goal,
               huge ? floors.memory_independent_huge : floors.memory_independent, table);
  table.note(fmt::format(
      "a random line of memory takes {:.1f} ns when they are independent, {:.0f} when each waits for the last",
      huge ? floors.memory_independent_huge : floors.memory_independent,
      huge ? floors.memory_dependent_huge : floors.memory_dependent));
  table.note(huge ? "the table lies in 2 MiB pages" : "the table lies in 4 KiB pages");
  table.note(others.sentence());
  if (!kHasFlatMap) table.note(flat_map_sentence());
  table.print();
  report_maps(session, Form::kName, entries, readers, title);
}

}  // namespace

static int play_multi_get_reader(std::span<char* const> arguments) {
  return with_form(arguments[1], [&]<typename Form>() {
    Client client = connect_to(arguments[0]);
    const std::uint64_t entries = std::strtoull(arguments[2], nullptr, 10);
    return answer_ways([&](const Way& way, std::uint64_t seed, std::size_t lookups) {
      return time_way<Form>(client, way, entries, seed, lookups);
    });
  });
}

static int play_multi_get_map(std::span<char* const> arguments) {
  return with_form(arguments[1], [&]<typename Form>() {
    const std::uint64_t entries = std::strtoull(arguments[2], nullptr, 10);
    return with_map<typename Form::Key, typename Form::Value>(arguments[0], [&]<typename Map>(Map& map) {
      if constexpr (FindsSeveral<Map, typename Form::Key>) {
        load_map<Form>(map, entries);
        return answer_ways([&](const Way& way, std::uint64_t seed, std::size_t lookups) {
          return time_map_way<Form>(map, way, entries, seed, lookups);
        });
      } else {
        throw std::runtime_error("the map has no lookup of several keys");
        return 1;
      }
    });
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
const Registered multi_get_map_role(Role{"multi-get-map", 3, play_multi_get_map});

}  // namespace

}  // namespace hostmap::bench
