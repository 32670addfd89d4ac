// Question `growth`: is there a step in growth? How long does the longest of ten thousand puts take while the table
// grows, against a table that had all its buckets from the start?
//
// Two servers, one started with 10 buckets and one with more than it will need; a client of each puts the same new
// keys, each put waiting for its answer. They take turns in segments of a million puts at most, so that both meet the
// same neighbours. A loop that reads the clock and does nothing else shows what the machine alone adds; the same loop beside
// one who takes as much memory as growing does, what taking it adds.

#include <algorithm>
#include <array>
#include <atomic>
#include <bit>
#include <chrono>
#include <cstdint>
#include <cstdlib>
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <iostream>
#include <memory>
#include <span>
#include <sstream>
#include <stdexcept>
#include <string>
#include <string_view>
#include <sys/mman.h>
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
#include "shm/region.hpp"

namespace hostmap::bench {
namespace {

using namespace std::chrono_literals;

constexpr unsigned kDefaultRounds = 3;
constexpr double kGoal = 3;
/// Before these there is nothing to grow; they are put, but not timed.
constexpr std::uint64_t kFirstKeys = 1'000;
constexpr std::uint64_t kSegment = 1'000'000;
/// A server with a bucket for so many keys never splits one: it does from 3.5 keys a bucket on.
constexpr double kKeysPerPresizedBucket = 2.5;
constexpr std::uint64_t kNanosecondsOfLong = 1'000'000;
/// With fewer keys less than a hundred puts lie beyond p99.99: too few to call the goal missed.
constexpr std::uint64_t kLeastKeysOfGoal = 1'000'000;
/// Reads of the clock in a second, at least.
constexpr std::uint64_t kLooks = 1'000'000;
/// One key of so many is read back at the end; no multiple of anything that the tables count in.
constexpr std::uint64_t kCheckedOneIn = 97;

// ---- times of single puts -----------------------------------------------------------------------

/// The figures of a row, in nanoseconds except the last.
enum Figure : std::size_t { kP50, kP99, kP999, kP9999, kLongest, kLong, kFigures };
constexpr std::array<double, 4> kPercents{50, 99, 99.9, 99.99};

std::array<double, kFigures> figures_of(const Latencies& times) {
  std::array<double, kFigures> figures{};
  for (std::size_t number = 0; number < kPercents.size(); ++number) {
    figures[number] = times.percentile(kPercents[number]);
  }
  figures[kLongest] = times.max();
  figures[kLong] = static_cast<double>(times.count_above(kNanosecondsOfLong));
  return figures;
}

// ---- who puts -----------------------------------------------------------------------------------

/// The powers of ten between which rows are kept, from 10^3 up to `keys`: {10^3, 10^4}, {10^4, 10^5} …
std::vector<std::pair<std::uint64_t, std::uint64_t>> decades_to(std::uint64_t keys) {
  std::vector<std::pair<std::uint64_t, std::uint64_t>> decades;
  for (std::uint64_t from = kFirstKeys; from < keys; from *= 10) decades.emplace_back(from, std::min(10 * from, keys));
  return decades;
}

void put_and_time(Client& client, std::uint64_t from, std::uint64_t to, Latencies& times) {
  Clock::time_point last = Clock::now();
  for (std::uint64_t index = from; index < to; ++index) {
    if (const Status status = client.put(bytes_of(key_of(index)), bytes_of(value_of(index))); !status.ok()) {
      throw std::runtime_error(fmt::format("put: {}", status.message()));
    }
    const Clock::time_point now = Clock::now();
    times.add(static_cast<std::uint64_t>((now - last).count()));
    last = now;
  }
}

void check_values(Client& client, std::uint64_t keys) {
  for (std::uint64_t index = 0; index < keys; index += kCheckedOneIn) {
    std::uint64_t value = 0;
    const Result<std::size_t> bytes =
        client.get_into(bytes_of(key_of(index)), std::as_writable_bytes(std::span(&value, 1)));
    if (!bytes || *bytes != sizeof value || value != value_of(index)) {
      throw std::runtime_error("growth: a value is not the one that was put");
    }
  }
}

enum Kind : std::size_t { kGrowing, kPresized, kKinds };
constexpr std::array<std::string_view, kKinds> kNames{"growing", "presized"};

/// A server, and the client that fills it.
class Side {
 public:
  /// Worker and client each have a CPU of their own: where the system gives them the same one, every put costs two
  /// switches.
  Side(Kind kind, std::uint64_t keys, std::pair<int, int> cpus)
      : kind_(kind),
        keys_(keys),
        instance_({buckets(kind, keys), "--memory", memory_for(keys)}),
        client_({.program = own_program(),
                 .arguments = {"--role", "growth-client", instance_.name(), std::to_string(keys)},
                 .cpu = cpus.second}) {
    instance_.pin_workers(cpus.first);
  }

  void put(std::uint64_t from, std::uint64_t to) {
    client_.say(fmt::format("{} {}", from, to));
    if (client_.hear(300s) != "done") throw std::runtime_error("growth: the client did not put its keys");
  }
  /// Times of each decade, and of all puts behind them. Throws unless the table has all keys, and has grown or not as
  /// it should.
  std::vector<Latencies> finish(std::size_t decades) {
    client_.close_input();
    std::vector<Latencies> rows(decades + 1);
    for (Latencies& row : rows) row = Latencies::from_line(client_.hear(60s));
    client_.wait(30s);
    if (const std::uint64_t found = instance_.stat("entries"); found != keys_) {
      throw std::runtime_error(fmt::format("growth: there are {} entries, not {}", found, keys_));
    }
    if (const std::uint64_t splits = instance_.stat("splits"); (splits > 0) != (kind_ == kGrowing)) {
      throw std::runtime_error(fmt::format("growth: {} buckets of the {} table were split", splits, kNames[kind_]));
    }
    memory_bytes_ = instance_.stat("memory_bytes");
    instance_.stop();
    return rows;
  }
  /// What the table had taken when it was finished.
  [[nodiscard]] std::uint64_t memory_bytes() const { return memory_bytes_; }

 private:
  static std::string buckets(Kind kind, std::uint64_t keys) {
    return kind == kGrowing ? "10" : fmt::format("{:.0f}", static_cast<double>(keys) / kKeysPerPresizedBucket);
  }

  Kind kind_;
  std::uint64_t keys_;
  std::uint64_t memory_bytes_ = 0;
  Instance instance_;
  Child client_;
};

// ---- rounds -------------------------------------------------------------------------------------

/// Of each figure of a row one value a round.
using Row = std::array<Series, kFigures>;

void add_to(Row& row, const std::array<double, kFigures>& figures) {
  for (std::size_t figure = 0; figure < kFigures; ++figure) row[figure].add(figures[figure]);
}

struct Figures {
  std::array<std::vector<Row>, kKinds> rows;  // decades, then all puts
  std::array<Latencies, kKinds> all;          // of all rounds
  Row jitter;
  Row taking_memory;
};

/// What taking memory does to those who share the CPUs: the gaps of loops which read the clock, one on each CPU, while a
/// thread that has none for itself takes so many bytes by the steps and calls of the server's helper. Who waits for an answer
/// meets the gaps of both.
Latencies gaps_beside_taking(std::uint64_t bytes, std::pair<int, int> cpus) {
  constexpr std::chrono::milliseconds kPause(20);  // as long as a step lasts a table that grows
  bytes = round_up(bytes, std::uint64_t{kHugePageSize});
  Result<Region> memory = Region::from_descriptor(UniqueFd(::memfd_create("hostmap-bench-growth", MFD_CLOEXEC)),
                                                  "hostmap-bench-growth", bytes);
  if (!memory) throw std::runtime_error(std::string(memory.status().message()));
  std::atomic<bool> done{false};
  const auto over = [&](Clock::time_point) {
    return done.load(std::memory_order_relaxed);
  };  // relaxed: join orders the rest
  std::array<Latencies, 2> gaps;
  {
    const std::jthread first([&] { watch_clock_gaps(cpus.first, gaps[0], over); });
    const std::jthread second([&] { watch_clock_gaps(cpus.second, gaps[1], over); });
    for (std::uint64_t offset = 0; offset < bytes; offset += kHugePageSize) {
      std::this_thread::sleep_for(kPause);
      if (const Status status = memory->populate(offset, kHugePageSize); !status.ok()) {
        done.store(true, std::memory_order_relaxed);
        throw std::runtime_error(std::string(status.message()));
      }
      memory->collapse(offset, kHugePageSize);
    }
    done.store(true, std::memory_order_relaxed);
  }
  gaps[0].merge(gaps[1]);
  return gaps[0];
}

void run_round(Session& session, unsigned round, std::uint64_t keys, std::pair<int, int> cpus, Figures& figures) {
  session.progress.detail(fmt::format("round {}, starting", round + 1));
  add_to(figures.jitter, figures_of(measure_clock_gaps(cpus.second)));
  std::array<std::unique_ptr<Side>, kKinds> sides;
  for (const Kind kind : {kGrowing, kPresized}) sides[kind] = std::make_unique<Side>(kind, keys, cpus);
  for (const auto& side : sides) side->put(0, kFirstKeys);
  const auto decades = decades_to(keys);
  std::size_t first = round;
  for (const auto& [begin, end] : decades) {
    for (std::uint64_t from = begin; from < end; from += kSegment, ++first) {
      session.progress.detail(fmt::format("round {}, {} keys", round + 1, format_count(from)));
      for (std::size_t turn = 0; turn < kKinds; ++turn) {
        sides[(first + turn) % kKinds]->put(from, std::min(from + kSegment, end));
      }
    }
  }
  for (const Kind kind : {kGrowing, kPresized}) {
    const std::vector<Latencies> rows = sides[kind]->finish(decades.size());
    figures.rows[kind].resize(rows.size());
    for (std::size_t number = 0; number < rows.size(); ++number) {
      add_to(figures.rows[kind][number], figures_of(rows[number]));
    }
    figures.all[kind].merge(rows.back());
  }
  session.progress.detail(fmt::format("round {}, floor", round + 1));
  add_to(figures.taking_memory, figures_of(gaps_beside_taking(sides[kGrowing]->memory_bytes(), cpus)));
}

// ---- what is printed ----------------------------------------------------------------------------

std::string microseconds(const Series& nanoseconds) { return format_figure(nanoseconds.median() / 1e3); }

void add_row(Table& table, std::string name, const Row& row, std::uint64_t puts, Tone tone) {
  // Fewer than ten puts beyond a quantile do not determine it.
  constexpr double kLeastBeyond = 10;
  std::vector<Cell> cells{{std::move(name), tone}};
  for (std::size_t quantile = 0; quantile < kPercents.size(); ++quantile) {
    const bool known = static_cast<double>(puts) * (100 - kPercents[quantile]) / 100 > 0.99 * kLeastBeyond;
    cells.push_back({known ? microseconds(row[quantile]) : "–", tone});
  }
  cells.push_back({microseconds(row[kLongest]), tone});
  cells.push_back({format_figure(row[kLong].median()), tone});
  table.row(std::move(cells));
}

void print_table(const Figures& figures, std::uint64_t keys, const Finding& finding, const Finding& above,
                 bool disturbed, const OtherLoad& others) {
  Table table(fmt::format("growth · puts of 8 + 8 bytes up to {} keys · µs a put, median of {} rounds",
                          format_count(keys), figures.jitter[kLongest].figures().size()),
              {"", "p50", "p99", "p99.9", "p99.99", "longest", "above 1 ms"});
  const auto decades = decades_to(keys);
  for (std::size_t number = 0; number <= decades.size(); ++number) {
    const bool all = number == decades.size();
    if (all) table.rule();
    const auto [from, to] = all ? std::pair(kFirstKeys, keys) : decades[number];
    for (const Kind kind : {kGrowing, kPresized}) {
      const Tone tone = kind == kPresized ? Tone::kFaint : (all ? Tone::kStrong : Tone::kPlain);
      add_row(table, fmt::format("{} – {}: {}", format_count(from), format_count(to), kNames[kind]),
              figures.rows[kind][number], to - from, tone);
    }
  }
  table.rule();
  add_row(table, "floor: gaps of a loop that reads the clock, 1 s", figures.jitter, kLooks, Tone::kFaint);
  add_row(table, "floor: the same on both CPUs while memory is taken", figures.taking_memory, kLooks, Tone::kFaint);
  const Cell met = finding.goal ? verdict(*finding.goal_met()) : Cell{"", Tone::kPlain};
  table.row({{"growing : presized, p99.99", Tone::kStrong},
             {""},
             {""},
             {""},
             {format_ratio(*finding.ratio), Tone::kStrong},
             {finding.goal ? fmt::format("≤ {:.0f}", kGoal) : ""},
             met});
  if (above.goal) {
    table.row({{"growing, puts above 1 ms", Tone::kStrong},
               {""},
               {""},
               {""},
               {format_figure(above.hostmap), Tone::kStrong},
               {fmt::format("≤ {:.0f}", *above.goal)},
               verdict(*above.goal_met())});
  }
  table.note(
      "while memory is taken: as much of it as the growing table took, in 2 MiB steps, by a thread without a CPU of "
      "its own");
  table.note(fmt::format("growing: started with 10 buckets; presized: with {}, of which none was split",
                         format_count(static_cast<std::uint64_t>(static_cast<double>(keys) / kKeysPerPresizedBucket))));
  if (disturbed) table.note("p99.99 of the presized table is what other programs took: the goal is not judged");
  table.note(others.sentence());
  table.print();
}

}  // namespace

// In the client's process: a line on standard input is the first key and the one behind the last; at its end come the
// figures.
static int play_growth_client(std::span<char* const> arguments) {
  Client client = connect_to(arguments[0], 60s);
  const std::uint64_t keys = std::strtoull(arguments[1], nullptr, 10);
  const auto decades = decades_to(keys);
  std::vector<Latencies> times(decades.size());
  Latencies untimed;
  std::uint64_t from = 0;
  std::uint64_t to = 0;
  while (std::cin >> from >> to) {
    const auto decade = std::find_if(decades.begin(), decades.end(),
                                     [&](const auto& one) { return from >= one.first && to <= one.second; });
    put_and_time(client, from, to,
                 decade == decades.end() ? untimed : times[static_cast<std::size_t>(decade - decades.begin())]);
    fmt::print("done\n");
    std::fflush(stdout);
  }
  check_values(client, keys);
  Latencies all;
  for (const Latencies& one : times) all.merge(one);
  times.push_back(all);
  for (const Latencies& one : times) fmt::print("{}\n", one.line());
  return 0;
}

static void ask_growth(Session& session) {
  const std::vector<int> cpus = allowed_cpus();
  if (cpus.size() < 2) {
    session.progress.step("growth · skipped, needs two CPUs");
    return;
  }
  const std::uint64_t keys = session.choices.max_entries;
  if (keys <= 10 * kFirstKeys) {
    session.progress.step("growth · skipped, needs --max-entries above 10000");
    return;
  }
  session.progress.step(fmt::format("growth · {} keys", format_count(keys)));
  const OtherLoad others;
  const unsigned rounds = session.choices.rounds == 0 ? kDefaultRounds : session.choices.rounds;
  Figures figures;
  for (unsigned round = 0; round < rounds; ++round) run_round(session, round, keys, {cpus[0], cpus[1]}, figures);

  const Row& growing = figures.rows[kGrowing].back();
  const Row& presized = figures.rows[kPresized].back();
  Finding finding{.name = fmt::format("growth/p99.99/{}", keys),
                  .unit = "ns",
                  .hostmap = growing[kP9999].median(),
                  .rivals = {{"presized", presized[kP9999].median()}},
                  .floor = figures.jitter[kP9999].median(),
                  .ratio = ratio_of(growing[kP9999], presized[kP9999])};
  // Beyond 1 ms are the time slices of other programs, which delay both tables: a ratio of those would measure nothing of
  // growth.
  const bool disturbed = presized[kP9999].median() > static_cast<double>(kNanosecondsOfLong);
  if (keys >= kLeastKeysOfGoal && !disturbed) finding.goal = kGoal;
  session.report.add(finding);
  session.report.add({.name = fmt::format("growth/longest/{}", keys),
                      .unit = "ns",
                      .hostmap = growing[kLongest].median(),
                      .rivals = {{"presized", presized[kLongest].median()}},
                      .floor = figures.taking_memory[kLongest].median()});
  Finding above{.name = fmt::format("growth/above-1-ms/{}", keys),
                .unit = "puts",
                .hostmap = growing[kLong].median(),
                .rivals = {{"presized", presized[kLong].median()}},
                .floor = figures.taking_memory[kLong].median()};
  // No more than the memory alone costs.
  if (keys >= kLeastKeysOfGoal) above.goal = above.floor;
  session.report.add(above);
  for (const Kind kind : {kGrowing, kPresized}) {
    add_distribution(session.report, "growth", kind == kGrowing ? "hostmap, growing" : "hostmap, presized",
                     figures.all[kind]);
  }
  session.progress.clear();
  print_table(figures, keys, finding, above, disturbed, others);
}

namespace {

const Registered growth_question(Question{
    120, "growth", "the longest puts while the table grows, against a presized one", ask_growth});
const Registered growth_client_role(Role{"growth-client", 2, play_growth_client});

}  // namespace

}  // namespace hostmap::bench
