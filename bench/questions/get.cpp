// Question `get`: is a read from another process as fast as from the best concurrent map
// inside one's own?
//
// For each number of entries every contestant is loaded with the same entries in a process of its
// own, pinned to one CPU; then rounds of lookups go from one to the next. hostmap's reader is
// exec'ed apart from the server, and from the client that loaded the entries.

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdlib>
#include <fmt/format.h>
#include <fstream>
#include <iostream>
#include <optional>
#include <sstream>
#include <stdexcept>
#include <string>
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

constexpr std::array<std::uint64_t, 4> kSizes{1'000, 100'000, 1'000'000, 10'000'000};
constexpr std::size_t kLookups = 1'000'000;
/// Untimed lookups at the start of each turn: the contestant before has had the caches for itself.
constexpr std::size_t kWarmUpLookups = 250'000;
constexpr unsigned kDefaultRounds = 9;

struct PatternName {
  Pattern pattern;
  std::string_view name;
  std::string_view title;
  bool has_goal;
};
constexpr std::array kPatterns{
    PatternName{Pattern::kUniform, "uniform", "uniform hits", true},
    PatternName{Pattern::kZipf, "zipf", "zipf 0.99 hits", true},
    PatternName{Pattern::kMiss, "miss", "misses", false},
    PatternName{Pattern::kDependent, "dependent", "dependent hits", false},
};

constexpr std::string_view kHostmap = "hostmap";
constexpr std::string_view kArray = "floor: array";

// ---- in the reader's process --------------------------------------------------------------------

/// An array in which the index of the key is the place of its entry: it makes the same keys, reads
/// one random entry and compares its key. No map of as many entries can do with less.
template <typename Form>
class ArrayFloor {
 public:
  explicit ArrayFloor(std::uint64_t entries) : entries_(entries) {
    for (std::uint64_t index = 0; index < entries; ++index) {
      entries_[index] = {.key = Form::key(index), .value = Form::value(index)};
    }
  }

  bool find(std::uint64_t index, typename Form::Value& value) const {
    // Misses have indexes from the number of entries on.
    const Entry& entry = entries_[index < entries_.size() ? index : index - entries_.size()];
    if (entry.key != Form::key(index)) return false;
    value = entry.value;
    return true;
  }

 private:
  struct Entry {
    typename Form::Key key;
    typename Form::Value value;
  };
  std::vector<Entry> entries_;
};

template <typename Form>
class HostmapReader {
 public:
  explicit HostmapReader(const std::string& name) : client_(connect_to(name)) {
    // Every error counts as a miss below: verify here that a miss is reported as one.
    typename Form::Value value{};
    const typename Form::Key missing = Form::key(~std::uint64_t{0} - 1);
    const auto miss = client_.get_into(bytes_of(missing), std::as_writable_bytes(std::span(&value, 1)));
    if (miss || miss.status().code() != StatusCode::kNotFound) {
      throw std::runtime_error("hostmap: a key that is not there is not reported as not found");
    }
  }

  bool find(const typename Form::Key& key, typename Form::Value& value) {
    return static_cast<bool>(client_.get_into(bytes_of(key), std::as_writable_bytes(std::span(&value, 1))));
  }

 private:
  Client client_;
};

/// How much of this process lies in huge pages: proof of the page-size policy.
std::uint64_t own_huge_page_bytes() {
  std::ifstream rollup("/proc/self/smaps_rollup");
  for (std::string line; std::getline(rollup, line);) {
    if (line.starts_with("AnonHugePages:")) return 1024 * std::strtoull(&line[14], nullptr, 10);
  }
  return 0;
}

/// Answers "PATTERN SEED" lines by "NANOSECONDS HITS CHECKSUM" lines until the end of input.
template <typename Find>
int answer_rounds(std::uint64_t entries, const Find& find) {
  const RankPool ranks(entries);
  fmt::print("ready {}\n", own_huge_page_bytes());
  std::fflush(stdout);
  int pattern_number = 0;
  std::uint64_t seed = 0;
  while (std::cin >> pattern_number >> seed) {
    const auto pattern = static_cast<Pattern>(pattern_number);
    time_lookups(pattern, entries, ~seed, kWarmUpLookups, ranks, find);
    const Lookups lookups = time_lookups(pattern, entries, seed, kLookups, ranks, find);
    fmt::print("{} {} {}\n", lookups.nanoseconds_each, lookups.hits, lookups.checksum);
    std::fflush(stdout);
  }
  return 0;
}

// ---- in the parent ------------------------------------------------------------------------------

/// So many entries of a form.
struct Scale {
  std::uint64_t entries;
  std::string_view form;
  std::string_view title;
  double goal;  // of hits, uniform and zipf
  void (*load_hostmap)(const Instance& instance, std::uint64_t entries);
};

struct Contestant {
  std::string name;
  std::optional<MapRival> rival;  // nothing: hostmap or the floor
  Child process;
  std::uint64_t huge_page_bytes = 0;
};

/// Rivals get the pages that the server's table has: 4 KiB, or 2 MiB where they can be had.
Command reader_command(std::string_view contestant, std::string_view form, std::uint64_t entries,
                       const Instance& instance, bool huge_pages) {
  Command command{.program = own_program(),
                  .arguments = {"--role", "get-reader", std::string(contestant), std::string(form),
                                std::to_string(entries), instance.name()},
                  .cpu = allowed_cpus().back()};
  command.use_huge_pages(huge_pages);
  return command;
}

std::vector<Contestant> start_contestants(std::string_view form, std::uint64_t entries, const Instance& instance,
                                          bool huge_pages, Progress& progress) {
  std::vector<Contestant> contestants;
  const auto start = [&](std::string_view name, std::optional<MapRival> rival) {
    progress.detail(fmt::format("loading {}", name));
    Contestant contestant{.name = std::string(name),
                          .rival = rival,
                          .process = Child(reader_command(name, form, entries, instance, huge_pages))};
    std::string word;
    std::istringstream(contestant.process.hear(120s)) >> word >> contestant.huge_page_bytes;
    contestants.push_back(std::move(contestant));
  };
  start(kHostmap, {});
  for (const MapRival& rival : map_rivals(form)) start(rival.name, rival);
  start(kArray, {});
  return contestants;
}

Lookups ask_for_round(Contestant& contestant, Pattern pattern, unsigned round) {
  contestant.process.say(fmt::format("{} {}", static_cast<int>(pattern), round + 1));
  Lookups lookups;
  std::istringstream answer(contestant.process.hear(60s));
  answer >> lookups.nanoseconds_each >> lookups.hits >> lookups.checksum;
  return lookups;
}

/// One series for each contestant, in their order. Throws when one found something else
/// than the others.
std::vector<Series> run_rounds(std::vector<Contestant>& contestants, const PatternName& pattern, unsigned rounds,
                               Progress& progress) {
  std::vector<Series> series(contestants.size());
  std::vector<std::uint64_t> expected(rounds);
  interleave(rounds, contestants.size(), [&](unsigned round, std::size_t number) {
    Contestant& contestant = contestants[number];
    progress.detail(fmt::format("{}, round {} of {}", pattern.title, round + 1, rounds));
    const Lookups lookups = ask_for_round(contestant, pattern.pattern, round);
    const std::uint64_t hits = pattern.pattern == Pattern::kMiss ? 0 : kLookups;
    if (lookups.hits != hits) {
      throw std::runtime_error(
          fmt::format("{}: {} hits where {} are right ({})", contestant.name, lookups.hits, hits, pattern.title));
    }
    if (expected[round] == 0) expected[round] = lookups.checksum;
    if (lookups.checksum != expected[round]) {
      throw std::runtime_error(fmt::format("{}: other values than the others ({})", contestant.name, pattern.title));
    }
    series[number].add(lookups.nanoseconds_each);
  });
  return series;
}

/// The number of the contestant with the least median among the rivals that the goal names.
std::size_t best_rival(const std::vector<Contestant>& contestants, const std::vector<Series>& series) {
  std::size_t best = 0;
  for (std::size_t number = 0; number < contestants.size(); ++number) {
    const std::optional<MapRival>& rival = contestants[number].rival;
    const bool better = best == 0 || series[number].median() < series[best].median();
    if (rival && rival->names_goal && better) best = number;
  }
  return best;
}

Finding finding_of(const Scale& scale, const PatternName& pattern, const std::vector<Contestant>& contestants,
                   const std::vector<Series>& series) {
  Finding finding{.name = fmt::format("get/{}/{}/{}", scale.form, pattern.name, scale.entries),
                  .unit = "ns",
                  .hostmap = series.front().median(),
                  .floor = series.back().median(),
                  .ratio = ratio_of(series.front(), series[best_rival(contestants, series)])};
  for (std::size_t rival = 1; rival + 1 < contestants.size(); ++rival) {
    finding.rivals.emplace_back(contestants[rival].name, series[rival].median());
  }
  if (pattern.has_goal) finding.goal = scale.goal;
  return finding;
}

void print_table(const Scale& scale, unsigned rounds, const std::vector<Contestant>& contestants,
                 const std::vector<std::vector<Series>>& columns, const std::vector<Finding>& findings,
                 std::vector<std::string> notes) {
  std::vector<std::string> head{""};
  for (const PatternName& pattern : kPatterns) head.emplace_back(pattern.title);
  Table table(fmt::format("get · {} entries of {} bytes · ns a get, median of {} rounds of {}",
                          format_count(scale.entries), scale.title, rounds, format_count(kLookups)),
              std::move(head));

  const auto row_of = [&](std::string title, Tone tone, const auto& text_of_column) {
    std::vector<Cell> cells{{std::move(title), tone}};
    for (std::size_t column = 0; column < columns.size(); ++column) {
      cells.push_back({text_of_column(column), tone});
    }
    table.row(std::move(cells));
  };
  for (std::size_t number = 0; number < contestants.size(); ++number) {
    std::string title = contestants[number].name;
    Tone tone = number == 0 ? Tone::kStrong : Tone::kFaint;  // the last one is a floor
    if (const std::optional<MapRival>& rival = contestants[number].rival) {
      if (rival->names_goal) title += " *";
      if (rival->thread_safe) tone = Tone::kPlain;
    }
    row_of(title, tone, [&](std::size_t column) { return format_series(columns[column][number]); });
  }
  table.rule();
  row_of("hostmap : best of *", Tone::kStrong,
         [&](std::size_t column) { return format_ratio(*findings[column].ratio); });
  std::vector<Cell> goals{{fmt::format("goal ≤ {:.1f}", scale.goal)}};
  for (const Finding& finding : findings) {
    goals.push_back(finding.goal ? verdict(*finding.goal_met()) : Cell{"none", Tone::kFaint});
  }
  table.row(std::move(goals));
  for (std::string& note : notes) table.note(std::move(note));
  table.print();
}

std::string pages_sentence(std::uint64_t table_huge_bytes, std::uint64_t rival_huge_bytes) {
  if (table_huge_bytes == 0) return "4 KiB pages on both sides";
  return fmt::format("2 MiB pages on both sides: {} MiB of hostmap's table, up to {} MiB of a rival",
                     table_huge_bytes >> 20U, rival_huge_bytes >> 20U);
}

void ask_at_scale(Session& session, const Scale& scale, unsigned rounds) {
  Progress& progress = session.progress;
  progress.step(fmt::format("get · {} entries of {} bytes", format_count(scale.entries), scale.title));
  progress.detail("loading hostmap");
  const OtherLoad others;
  Instance instance({"--memory", memory_for(scale.entries)});
  scale.load_hostmap(instance, scale.entries);
  const std::uint64_t table_huge_bytes = instance.stat("huge_page_bytes");
  const bool huge_pages = table_huge_bytes > 0;

  std::vector<Contestant> contestants = start_contestants(scale.form, scale.entries, instance, huge_pages, progress);
  std::vector<std::vector<Series>> columns;
  std::vector<Finding> findings;
  for (const PatternName& pattern : kPatterns) {
    columns.push_back(run_rounds(contestants, pattern, rounds, progress));
    findings.push_back(finding_of(scale, pattern, contestants, columns.back()));
    session.report.add(findings.back());
    if (pattern.pattern != Pattern::kUniform) continue;
    for (std::size_t number = 0; number < contestants.size(); ++number) {
      session.report.add_point(fmt::format("get-{}", scale.form), contestants[number].name,
                               static_cast<double>(scale.entries), columns.back()[number].median());
    }
  }

  std::uint64_t rival_huge_bytes = 0;
  for (Contestant& contestant : contestants) {
    rival_huge_bytes = std::max(rival_huge_bytes, contestant.huge_page_bytes);
    contestant.process.wait(30s);
  }
  instance.stop();
  progress.clear();
  std::vector<std::string> notes{pages_sentence(table_huge_bytes, rival_huge_bytes), others.sentence()};
  if (!kHasFlatMap) notes.push_back(flat_map_sentence());
  print_table(scale, rounds, contestants, columns, findings, std::move(notes));
}

std::uint64_t available_memory_bytes() {
  std::ifstream meminfo("/proc/meminfo");
  for (std::string line; std::getline(meminfo, line);) {
    if (line.starts_with("MemAvailable:")) return 1024 * std::strtoull(&line[13], nullptr, 10);
  }
  return 0;
}

}  // namespace

static int play_get_loader(std::span<char* const> arguments) {
  Client client = connect_to(arguments[0]);
  const std::uint64_t entries = std::strtoull(arguments[1], nullptr, 10);
  for (std::uint64_t position = 0; position < entries; ++position) {
    const std::uint64_t index = load_order(position, entries);
    const std::uint64_t key = key_of(index);
    const std::uint64_t value = value_of(index);
    const Status status = client.put_async(bytes_of(key), std::as_bytes(std::span(&value, 1)));
    if (!status.ok()) throw std::runtime_error(fmt::format("put_async: {}", status.message()));
  }
  const Status status = client.flush();
  if (!status.ok()) throw std::runtime_error(fmt::format("flush: {}", status.message()));
  return 0;
}

namespace {

template <typename Form>
int read_rounds(std::string_view name, std::uint64_t entries, const std::string& instance) {
  // What is found is added up, all of its bytes.
  const auto answer_by = [&](const auto& find) {
    return answer_rounds(entries, [&](std::uint64_t index, std::uint64_t& sum) {
      typename Form::Value value;
      if (!find(index, value)) return false;
      sum = Form::sum(value);
      return true;
    });
  };
  if (name == kArray) {
    const ArrayFloor<Form> array(entries);
    return answer_by([&](std::uint64_t index, auto& value) { return array.find(index, value); });
  }
  const auto answer_with = [&](auto& map) {
    return answer_by([&](std::uint64_t index, auto& value) { return map.find(Form::key(index), value); });
  };
  if (name == kHostmap) {
    HostmapReader<Form> reader(instance);
    return answer_with(reader);
  }
  return with_map<typename Form::Key, typename Form::Value>(name, [&](auto& map) {
    load_map<Form>(map, entries);
    return answer_with(map);
  });
}

}  // namespace

static int play_get_reader(std::span<char* const> arguments) {
  const std::uint64_t entries = std::strtoull(arguments[2], nullptr, 10);
  return std::string_view(arguments[1]) == Pairs::kName ? read_rounds<Pairs>(arguments[0], entries, arguments[3])
                                                        : read_rounds<Entries>(arguments[0], entries, arguments[3]);
}

namespace {

/// `bytes`: what all contestants together hold for one entry, with room to spare: they are resident at the same time.
template <typename Form>
void ask_form(Session& session, double goal, std::uint64_t bytes) {
  const unsigned rounds = session.choices.rounds == 0 ? kDefaultRounds : session.choices.rounds;
  for (const std::uint64_t entries : kSizes) {
    if (entries > session.choices.max_entries) break;
    if (const std::uint64_t needed = entries * bytes; needed > available_memory_bytes()) {
      session.progress.step(fmt::format("get · {} entries of {} bytes: skipped, needs {} MiB of memory",
                                        format_count(entries), Form::kTitle, needed >> 20U));
      break;
    }
    ask_at_scale(session, {entries, Form::kName, Form::kTitle, goal, Form::load_hostmap}, rounds);
  }
}

}  // namespace

static void ask_get(Session& session) {
  session.floors.get();
  ask_form<Pairs>(session, 1.0, 530);
  ask_form<Entries>(session, 1.1, 1'900);
}

namespace {

const Registered get_question(Question{10, "get", "a read from another process against maps inside one's own",
                                       ask_get});
const Registered get_loader_role(Role{"get-loader", 2, play_get_loader});
const Registered get_reader_role(Role{"get-reader", 4, play_get_reader});

}  // namespace

}  // namespace hostmap::bench
