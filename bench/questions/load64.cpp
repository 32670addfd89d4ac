// Question `load64`: how many writes a second do 64 load clients at once get through, against the
// design that hostmap grew out of? And fewer, down to one alone?
//
// Both sides do the same job with processes of their own: a server with 10 buckets and load clients
// that insert random values to a key each without waiting for answers, then check that a get
// returns the last one. The time counts from the start of the first client to the last one's
// "Done", which it prints when its writes are applied. Each measurement has a fresh server, and the
// sum of all "Done (N writes)" must be what the server has counted as applied.

#include <algorithm>
#include <array>
#include <charconv>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <fmt/format.h>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

#include "harness/bare_ring.hpp"
#include "harness/floors.hpp"
#include "harness/harness.hpp"
#include "harness/instance.hpp"
#include "harness/other_load.hpp"
#include "harness/process.hpp"
#include "harness/question.hpp"
#include "rivals/sketch.hpp"

namespace hostmap::bench {
namespace {

using namespace std::chrono_literals;

constexpr unsigned kDefaultRounds = 2;
constexpr double kGoal = 20;
/// Of a bare stream's measurement, which is that of the floor.
constexpr std::uint64_t kBareRecords = 5'000'000;
/// The goal is stated for the first; the others make the curve. Fewer clients need no ten seconds to show their rate.
constexpr std::array kClientCounts{64U, 16U, 4U, 1U};
constexpr double kSecondsOfFewer = 3;

/// Starts the server, and has the command lines of its clients and of what reads how much it applied.
class Side {
 public:
  virtual ~Side() = default;
  [[nodiscard]] virtual Command client_command(unsigned id, double seconds) const = 0;
  /// Stops the server and returns the number of inserts that it applied.
  virtual std::uint64_t stop() = 0;
};

class HostmapSide : public Side {
 public:
  HostmapSide() : instance_({"10"}), puts_before_(instance_.stat("puts")) {}

  [[nodiscard]] Command client_command(unsigned id, double seconds) const override {
    return {.program = sibling_program("hostmap-client"),
            .arguments = {std::to_string(id), "--seconds", fmt::format("{}", seconds), "--name", instance_.name()}};
  }
  std::uint64_t stop() override {
    const std::uint64_t puts = instance_.stat("puts") - puts_before_;
    instance_.stop();
    return puts;
  }

 private:
  Instance instance_;
  std::uint64_t puts_before_;
};

class SketchSide : public Side {
 public:
  explicit SketchSide(unsigned pauses)
      : name_(unique_name()),
        pauses_(std::to_string(pauses)),
        guard_(name_),
        server_({.program = own_program(),
                 .arguments = {"--role", "sketch-server", name_, "10", pauses_},
                 .signal_when_parent_dies = SIGTERM}) {
    if (server_.hear(10s) != "ready") throw std::runtime_error("the sketch's server does not start");
  }

  [[nodiscard]] Command client_command(unsigned id, double seconds) const override {
    return {.program = own_program(),
            .arguments = {"--role", "sketch-load", name_, std::to_string(id), fmt::format("{}", seconds), pauses_}};
  }
  std::uint64_t stop() override {
    server_.signal(SIGTERM);
    const std::uint64_t inserts = std::stoull(server_.hear(30s));
    server_.wait(10s);
    return inserts;
  }

 private:
  std::string name_;
  std::string pauses_;
  sketch::RegionGuard guard_;  // outlives the server
  Child server_;
};

/// The three contestants. The goal counts against the sketch as it was; that it could be helped by
/// a few pauses before each yield is shown, so that nobody need wonder.
struct ContestantKind {
  std::string_view name;
  std::unique_ptr<Side> (*start)();
};
constexpr unsigned kSpinPauses = 64;
constexpr std::array kKinds{
    ContestantKind{"hostmap", [] { return std::unique_ptr<Side>(new HostmapSide); }},
    ContestantKind{"sketch", [] { return std::unique_ptr<Side>(new SketchSide(0)); }},
    ContestantKind{"sketch, pausing", [] { return std::unique_ptr<Side>(new SketchSide(kSpinPauses)); }},
};

struct LoadFigures {
  double million_writes_per_second = 0;
  double slowest_share = 0;  // the slowest client's writes, as a part of the mean
};

/// "Done (N writes)", whatever may follow.
std::uint64_t writes_in(const std::string& line) {
  constexpr std::string_view kBefore = "Done (";
  std::uint64_t writes = 0;
  if (!line.starts_with(kBefore) ||
      std::from_chars(line.data() + kBefore.size(), line.data() + line.size(), writes).ec != std::errc{}) {
    throw std::runtime_error(fmt::format("a load client said \"{}\", not how much it did", line));
  }
  return writes;
}

LoadFigures run_load(const ContestantKind& kind, unsigned clients, double seconds) {
  const std::unique_ptr<Side> side = kind.start();
  const auto patience = std::chrono::ceil<std::chrono::seconds>(std::chrono::duration<double>(2 * seconds + 30));

  const Clock::time_point start = Clock::now();
  std::vector<Child> processes;
  processes.reserve(clients);
  for (unsigned id = 0; id < clients; ++id) {
    processes.emplace_back(side->client_command(id, seconds));
  }
  std::uint64_t total = 0;
  std::uint64_t least = ~std::uint64_t{0};
  for (Child& process : processes) {
    const std::uint64_t writes = writes_in(process.hear(patience));
    total += writes;
    least = std::min(least, writes);
  }
  // All lines have been read, so the last one had been printed just before.
  const std::chrono::duration<double> taken = Clock::now() - start;
  for (Child& process : processes) process.wait(30s);  // exit code 0: what was read was what was written

  if (const std::uint64_t applied = side->stop(); applied != total) {
    throw std::runtime_error(
        fmt::format("{}: clients report {} writes, the server applied {}", kind.name, total, applied));
  }
  return {.million_writes_per_second = static_cast<double>(total) / taken.count() / 1e6,
          .slowest_share = static_cast<double>(least) * clients / static_cast<double>(total)};
}

std::string clients_text(unsigned clients) { return fmt::format("{} client{}", clients, clients == 1 ? "" : "s"); }

struct Row {
  unsigned clients;
  double seconds;
  std::array<Series, kKinds.size()> rates;
  std::array<Series, kKinds.size()> slowest_shares;
  Series bare_rates;  // of the floor
};

Row run_row(Session& session, unsigned clients, double seconds, unsigned rounds) {
  Row row{.clients = clients, .seconds = seconds, .rates = {}, .slowest_shares = {}, .bare_rates = {}};
  const std::vector<int> cpus = allowed_cpus();
  interleave(rounds, kKinds.size() + 1, [&](unsigned round, std::size_t number) {
    if (number == kKinds.size()) {
      if (cpus.size() >= 2) row.bare_rates.add(1e3 / bare_ring_stream({cpus[0], cpus[1]}, kBareRecords));
      return;
    }
    session.progress.step(fmt::format("load64 · {} on {} for {} s · round {} of {}", clients_text(clients),
                                      kKinds[number].name, seconds, round + 1, rounds));
    const LoadFigures figures = run_load(kKinds[number], clients, seconds);
    row.rates[number].add(figures.million_writes_per_second);
    row.slowest_shares[number].add(figures.slowest_share);
  });
  return row;
}

Finding finding_of(const Row& row, std::optional<double> goal) {
  Finding finding{.name = fmt::format("load64/{}", clients_text(row.clients)),
                  .unit = "million writes/s",
                  .hostmap = row.rates[0].median(),
                  .ratio = ratio_of(row.rates[0], row.rates[1]),
                  .goal = goal,
                  .better = Better::kHigher};
  if (!row.bare_rates.figures().empty()) finding.floor = row.bare_rates.median();
  for (std::size_t number = 1; number < kKinds.size(); ++number) {
    finding.rivals.emplace_back(kKinds[number].name, row.rates[number].median());
  }
  return finding;
}

void print_table(const std::vector<Row>& rows, unsigned rounds, const Floors& floors, const OtherLoad& others) {
  std::vector<std::string> head{"", "slowest : mean"};
  for (const Row& row : rows) head.push_back(fmt::format("{}, {} s", clients_text(row.clients), row.seconds));
  Table table(fmt::format("load64 · million writes/s, first start to last done, median of {} rounds", rounds),
              std::move(head));
  const auto add = [&](std::string title, std::string share, Tone tone, const auto& text_of) {
    std::vector<Cell> cells{{std::move(title), tone}, {std::move(share), tone}};
    for (const Row& row : rows) cells.push_back({text_of(row), tone});
    table.row(std::move(cells));
  };
  for (std::size_t number = 0; number < kKinds.size(); ++number) {
    add(std::string(kKinds[number].name), format_figure(rows[0].slowest_shares[number].median()),
        number == 0 ? Tone::kStrong : Tone::kPlain, [&](const Row& row) { return format_series(row.rates[number]); });
  }
  if (!rows[0].bare_rates.figures().empty()) {
    add("floor: a stream through one bare ring", "", Tone::kFaint,
        [&](const Row& row) { return format_series(row.bare_rates); });
    add("floor : sketch", "", Tone::kFaint,
        [&](const Row& row) { return format_ratio(ratio_of(row.bare_rates, row.rates[1])); });
  }
  table.rule();
  for (std::size_t rival = 1; rival < kKinds.size(); ++rival) {
    add(fmt::format("hostmap : {}", kKinds[rival].name), "", rival == 1 ? Tone::kStrong : Tone::kPlain,
        [&](const Row& row) { return format_ratio(ratio_of(row.rates[0], row.rates[rival])); });
  }
  const double ratio = ratio_of(rows[0].rates[0], rows[0].rates[1]).median;
  table.row({{fmt::format("goal ≥ {:.0f}", kGoal)}, {""}, verdict(meets(ratio, kGoal, Better::kHigher))});
  table.note(
      fmt::format("slowest : mean is of {}; every Done (N writes) summed is what the server applied, in every round",
                  clients_text(rows[0].clients)));
  if (floors.ping_pong_round_trip && floors.futex_round_trip) {
    table.note(fmt::format("floor: one line to another core and back {} ns, futex wake and back {} ns",
                           format_figure(*floors.ping_pong_round_trip), format_figure(*floors.futex_round_trip)));
  }
  table.note(others.sentence());
  table.print();
}

}  // namespace

static void ask_load64(Session& session) {
  const Floors& floors = session.floors.get();
  const unsigned rounds = session.choices.rounds == 0 ? kDefaultRounds : session.choices.rounds;
  const double seconds = session.choices.seconds;
  const OtherLoad others;
  std::vector<Row> rows;
  for (const unsigned clients : kClientCounts) {
    const bool first = rows.empty();
    rows.push_back(run_row(session, clients, first ? seconds : std::min(seconds, kSecondsOfFewer), rounds));
    session.report.add(finding_of(rows.back(), first ? std::optional(kGoal) : std::nullopt));
  }
  for (std::size_t number = 0; number < kKinds.size(); ++number) {
    for (auto row = rows.rbegin(); row != rows.rend(); ++row) {
      session.report.add_point("throughput", kKinds[number].name, row->clients, row->rates[number].median());
    }
  }
  session.progress.clear();
  print_table(rows, rounds, floors, others);
}

namespace {

const Registered load64_question(Question{150, "load64", "64 load clients at once against the sketch's design",
                                          ask_load64});

}  // namespace

}  // namespace hostmap::bench
