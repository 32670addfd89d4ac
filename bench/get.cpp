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
#include <sstream>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include <hostmap/client.hpp>

#include "floors.hpp"
#include "harness.hpp"
#include "instance.hpp"
#include "other_load.hpp"
#include "process.hpp"
#include "question.hpp"
#include "rivals/maps.hpp"
#include "workload.hpp"

namespace hostmap::bench {
namespace {

using namespace std::chrono_literals;

constexpr std::array<std::uint64_t, 4> kSizes{1'000, 100'000, 1'000'000, 10'000'000};
constexpr std::size_t kLookups = 1'000'000;
/// Untimed lookups at the start of each turn: the contestant before has had the caches for itself.
constexpr std::size_t kWarmUpLookups = 250'000;
constexpr unsigned kDefaultRounds = 9;
constexpr double kGoal = 1.0;

struct PatternName {
  Pattern pattern;
  std::string_view name;
  std::string_view title;
  bool has_goal;
};
constexpr std::array kPatterns{
    PatternName{Pattern::kUniform, "uniform", "uniform hits", true},
    PatternName{Pattern::kZipf, "zipf", "zipf 0.99 hits", false},
    PatternName{Pattern::kMiss, "miss", "misses", false},
    PatternName{Pattern::kDependent, "dependent", "dependent hits", false},
};

constexpr std::string_view kHostmap = "hostmap";
constexpr std::string_view kArray = "floor: array";

// ---- in the reader's process --------------------------------------------------------------------

/// An array in which the index of the key is the place of its pair: it makes the same keys, reads
/// one random pair of 16 bytes and compares it. No map of as many pairs can do with less.
class ArrayFloor {
 public:
  explicit ArrayFloor(std::uint64_t entries) : pairs_(entries) {
    for (std::uint64_t index = 0; index < entries; ++index) {
      pairs_[index] = {.key = key_of(index), .value = value_of(index)};
    }
  }

  bool find(std::uint64_t index, std::uint64_t& value) const {
    // Misses have indexes from the number of entries on.
    const Pair& pair = pairs_[index < pairs_.size() ? index : index - pairs_.size()];
    if (pair.key != key_of(index)) return false;
    value = pair.value;
    return true;
  }

 private:
  struct Pair {
    std::uint64_t key;
    std::uint64_t value;
  };
  std::vector<Pair> pairs_;
};

class HostmapReader {
 public:
  explicit HostmapReader(const std::string& name) : client_(connect_to(name)) {
    // Every error counts as a miss below: make sure here that a miss is told as one.
    std::uint64_t value = 0;
    const std::uint64_t missing = key_of(~std::uint64_t{0} - 1);
    const auto miss = client_.get_into(bytes_of(missing), std::as_writable_bytes(std::span(&value, 1)));
    if (miss || miss.status().code() != StatusCode::kNotFound) {
      throw std::runtime_error("hostmap: a key that is not there is not reported as not found");
    }
  }

  bool find(std::uint64_t key, std::uint64_t& value) {
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

struct Contestant {
  std::string name;
  Child process;
  std::uint64_t huge_page_bytes = 0;
};

/// Rivals get the pages that the server's table has: 4 KiB, or 2 MiB where they can be had.
Command reader_command(std::string_view contestant, std::uint64_t entries, const Instance& instance, bool huge_pages) {
  Command command{
      .program = own_program(),
      .arguments = {"--role", "get-reader", std::string(contestant), std::to_string(entries), instance.name()},
      .cpu = allowed_cpus().back(),
      .without_huge_pages = !huge_pages};
  if (huge_pages) {
    command.extra_environment = {"GLIBC_TUNABLES=glibc.malloc.hugetlb=1", "TBB_MALLOC_USE_HUGE_PAGES=1"};
  }
  return command;
}

std::vector<Contestant> start_contestants(std::uint64_t entries, const Instance& instance, bool huge_pages,
                                          Progress& progress) {
  std::vector<std::string_view> names{kHostmap};
  for (const MapRival& rival : kMapRivals) names.push_back(rival.name);
  names.push_back(kArray);

  std::vector<Contestant> contestants;
  for (const std::string_view name : names) {
    progress.detail(fmt::format("loading {}", name));
    Contestant contestant{.name = std::string(name),
                          .process = Child(reader_command(name, entries, instance, huge_pages))};
    std::string word;
    std::istringstream(contestant.process.hear(120s)) >> word >> contestant.huge_page_bytes;
    contestants.push_back(std::move(contestant));
  }
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

/// The number of the rival with the least median among those that the goal names.
std::size_t best_rival(const std::vector<Series>& series) {
  std::size_t best = 0;
  for (std::size_t rival = 0; rival < kMapRivals.size(); ++rival) {
    const bool better = best == 0 || series[rival + 1].median() < series[best].median();
    if (kMapRivals[rival].names_goal && better) best = rival + 1;
  }
  return best;
}

Finding finding_of(const PatternName& pattern, std::uint64_t entries, const std::vector<Contestant>& contestants,
                   const std::vector<Series>& series) {
  Finding finding{.name = fmt::format("get/{}/{}", pattern.name, entries),
                  .unit = "ns",
                  .hostmap = series.front().median(),
                  .floor = series.back().median(),
                  .ratio = ratio_of(series.front(), series[best_rival(series)])};
  for (std::size_t rival = 1; rival + 1 < contestants.size(); ++rival) {
    finding.rivals.emplace_back(contestants[rival].name, series[rival].median());
  }
  if (pattern.has_goal) finding.goal = kGoal;
  return finding;
}

void print_table(std::uint64_t entries, unsigned rounds, const std::vector<Contestant>& contestants,
                 const std::vector<std::vector<Series>>& columns, const std::vector<Finding>& findings,
                 std::vector<std::string> notes) {
  std::vector<std::string> head{""};
  for (const PatternName& pattern : kPatterns) head.emplace_back(pattern.title);
  Table table(fmt::format("get · {} entries of 8 + 8 bytes · ns a get, median of {} rounds of {}",
                          format_count(entries), rounds, format_count(kLookups)),
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
    if (number > 0 && number <= kMapRivals.size()) {
      const MapRival& rival = kMapRivals[number - 1];
      if (rival.names_goal) title += " *";
      if (rival.thread_safe) tone = Tone::kPlain;
    }
    row_of(title, tone, [&](std::size_t column) { return format_series(columns[column][number]); });
  }
  table.rule();
  row_of("hostmap : best of *", Tone::kStrong,
         [&](std::size_t column) { return format_ratio(*findings[column].ratio); });
  std::vector<Cell> goals{{fmt::format("goal ≤ {:.1f}", kGoal)}};
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

void ask_at_size(Session& session, std::uint64_t entries, unsigned rounds) {
  Progress& progress = session.progress;
  progress.step(fmt::format("get · {} entries", format_count(entries)));
  progress.detail("loading hostmap");
  const OtherLoad others;
  Instance instance({});
  load_hostmap(instance, entries);
  const std::uint64_t table_huge_bytes = instance.stat("huge_page_bytes");
  const bool huge_pages = table_huge_bytes > 0;

  std::vector<Contestant> contestants = start_contestants(entries, instance, huge_pages, progress);
  std::vector<std::vector<Series>> columns;
  std::vector<Finding> findings;
  for (const PatternName& pattern : kPatterns) {
    columns.push_back(run_rounds(contestants, pattern, rounds, progress));
    findings.push_back(finding_of(pattern, entries, contestants, columns.back()));
    session.report.add(findings.back());
    if (pattern.pattern != Pattern::kUniform) continue;
    for (std::size_t number = 0; number < contestants.size(); ++number) {
      session.report.add_point("get", contestants[number].name, static_cast<double>(entries),
                               columns.back()[number].median());
    }
  }

  std::uint64_t rival_huge_bytes = 0;
  for (Contestant& contestant : contestants) {
    rival_huge_bytes = std::max(rival_huge_bytes, contestant.huge_page_bytes);
    contestant.process.wait(30s);
  }
  instance.stop();
  progress.clear();
  print_table(entries, rounds, contestants, columns, findings,
              {pages_sentence(table_huge_bytes, rival_huge_bytes), others.sentence()});
}

/// What all contestants together hold for one entry, with room to spare: they are resident at
/// the same time.
constexpr std::uint64_t kBytesPerEntry = 500;

std::uint64_t available_memory_bytes() {
  std::ifstream meminfo("/proc/meminfo");
  for (std::string line; std::getline(meminfo, line);) {
    if (line.starts_with("MemAvailable:")) return 1024 * std::strtoull(&line[13], nullptr, 10);
  }
  return 0;
}

}  // namespace

int play_get_loader(std::span<char* const> arguments) {
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

int play_get_reader(std::span<char* const> arguments) {
  const std::string_view name = arguments[0];
  const std::uint64_t entries = std::strtoull(arguments[1], nullptr, 10);
  if (name == kArray) {
    const ArrayFloor array(entries);
    return answer_rounds(entries, [&](std::uint64_t index, std::uint64_t& value) { return array.find(index, value); });
  }
  const auto answer_with = [&](auto& map) {
    return answer_rounds(entries,
                         [&](std::uint64_t index, std::uint64_t& value) { return map.find(key_of(index), value); });
  };
  if (name == kHostmap) {
    HostmapReader reader(arguments[2]);
    return answer_with(reader);
  }
  return with_map(name, [&](auto& map) {
    for (std::uint64_t position = 0; position < entries; ++position) {
      const std::uint64_t index = load_order(position, entries);
      map.insert(key_of(index), value_of(index));
    }
    return answer_with(map);
  });
}

void ask_get(Session& session) {
  session.floors.get();
  const unsigned rounds = session.choices.rounds == 0 ? kDefaultRounds : session.choices.rounds;
  for (const std::uint64_t entries : kSizes) {
    if (entries > session.choices.max_entries) break;
    if (const std::uint64_t needed = entries * kBytesPerEntry; needed > available_memory_bytes()) {
      session.progress.step(
          fmt::format("get · {} entries: skipped, needs {} MiB of memory", format_count(entries), needed >> 20U));
      break;
    }
    ask_at_size(session, entries, rounds);
  }
}

}  // namespace hostmap::bench
