// Question `sync64`: 64 synchronous clients at once, half gets and half puts; how many operations a second, and how long
// do the slow ones take?
//
// Each client is a process of its own that waits for each operation before the next one. They are not pinned: 64 clients
// on two CPUs is what the question is about. All begin at one moment that the parent names, when all are connected, and
// stop at another. A client reads the clock after each operation, so that a latency reaches from the end of the one
// before: everything that delayed a client is in one of its latencies, and none is left out because it came between two.

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <fmt/format.h>
#include <iostream>
#include <memory>
#include <optional>
#include <sched.h>
#include <span>
#include <sstream>
#include <stdexcept>
#include <string>
#include <string_view>
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
#include "rivals/redis.hpp"

namespace hostmap::bench {
namespace {

using namespace std::chrono_literals;

constexpr unsigned kClients = 64;
constexpr std::uint64_t kEntries = 100'000;
constexpr unsigned kDefaultRounds = 3;
constexpr double kRateGoal = 20;
constexpr double kLatencyGoal = 1;
constexpr double kSlowestGoal = 0.5;
/// Operations of each client before it prints that it is connected: connections are set up and pages mapped by then.
constexpr unsigned kWarmUpOperations = 1'000;
/// From the line to begin to the beginning: time for 64 processes to read it and to fall asleep again.
constexpr auto kNotice = 500ms;
constexpr std::string_view kHostmap = "hostmap";
constexpr std::string_view kTurns = "turns";

// ---- in a client's process ----------------------------------------------------------------------

/// The upper half of every value identifies the key that it was written to; the lower half is any number.
constexpr std::uint64_t kKeyHalf = 0xFFFF'FFFF'0000'0000U;

std::uint64_t value_for(std::uint64_t index, std::uint64_t number) {
  return (value_of(index) & kKeyHalf) | (number & ~kKeyHalf);
}

class HostmapMap {
 public:
  explicit HostmapMap(const std::string& name) : client_(connect_to(name)) {}

  void put(std::uint64_t key, std::uint64_t value) {
    const Status status = client_.put(bytes_of(key), bytes_of(value));
    if (!status.ok()) throw std::runtime_error(fmt::format("put: {}", status.message()));
  }
  /// Nothing where the key is absent or its value has another size.
  std::optional<std::uint64_t> get(std::uint64_t key) {
    std::uint64_t value = 0;
    const Result<std::size_t> size = client_.get_into(bytes_of(key), std::as_writable_bytes(std::span(&value, 1)));
    if (!size || *size != sizeof value) return std::nullopt;
    return value;
  }

 private:
  Client client_;
};

class RedisMap {
 public:
  explicit RedisMap(const std::string& socket) : client_(socket) {}

  void put(std::uint64_t key, std::uint64_t value) { client_.put(bytes_of(key), bytes_of(value)); }
  std::optional<std::uint64_t> get(std::uint64_t key) {
    std::uint64_t value = 0;
    if (!client_.get(bytes_of(key), std::as_writable_bytes(std::span(&value, 1)))) return std::nullopt;
    return value;
  }

 private:
  RedisClient client_;
};

/// The floor: no map and no server. A put gives the CPU away once, as clients must that share two CPUs evenly and wait for
/// somebody else; a get does nothing.
class TurnsMap {
 public:
  void put(std::uint64_t, std::uint64_t) { sched_yield(); }
  std::optional<std::uint64_t> get(std::uint64_t key) { return ~key; }  // value_for() of it, whatever the number
};

/// Random operations on random keys; every get is checked.
template <typename Map>
class Work {
 public:
  Work(Map& map, std::uint64_t seed) : map_(map), random_(seed) {}

  void operation() {
    const std::uint64_t index = random_.below(kEntries);
    const std::uint64_t number = random_.next();
    const std::uint64_t key = key_of(index);
    if (number >> 63U != 0) {
      map_.put(key, value_for(index, number));
      ++puts_;
      return;
    }
    const std::optional<std::uint64_t> value = map_.get(key);
    if (!value || (*value & kKeyHalf) != (value_of(index) & kKeyHalf)) {
      throw std::runtime_error("a get returned a value that nobody wrote to its key");
    }
  }
  [[nodiscard]] std::uint64_t puts() const { return puts_; }

 private:
  Map& map_;
  Random random_;
  std::uint64_t puts_ = 0;
};

/// The client's part of one measurement: "BEGIN END" comes in, moments of the clock that all processes share;
/// "FINISHED PUTS LATENCIES" goes out.
template <typename Map>
int play(Map map, std::uint64_t seed) {
  Work<Map> warm_up(map, ~seed);
  for (unsigned i = 0; i < kWarmUpOperations; ++i) warm_up.operation();
  fmt::print("connected\n");
  std::fflush(stdout);
  Clock::rep begin = 0;
  Clock::rep end = 0;
  if (!(std::cin >> begin >> end)) throw std::runtime_error("nobody said when to begin");

  Latencies latencies;
  Work<Map> work(map, seed);
  std::this_thread::sleep_until(Clock::time_point(Clock::duration(begin)));
  Clock::time_point last = Clock::now();
  while (last.time_since_epoch().count() < end) {
    work.operation();
    const Clock::time_point now = Clock::now();
    latencies.add(static_cast<std::uint64_t>((now - last).count()));
    last = now;
  }
  fmt::print("{} {} {}\n", last.time_since_epoch().count(), work.puts(), latencies.line());
  std::fflush(stdout);
  return 0;
}

// ---- in the parent ------------------------------------------------------------------------------

/// A server that is loaded, and how a client reaches it.
class Side {
 public:
  virtual ~Side() = default;
  [[nodiscard]] virtual std::string_view kind() const = 0;
  [[nodiscard]] virtual std::string address() const = 0;
  /// How many puts the server has applied since its start, if it reports that.
  [[nodiscard]] virtual std::optional<std::uint64_t> puts() const = 0;
};

class HostmapSide : public Side {
 public:
  HostmapSide() : instance_({}) { load_hostmap(instance_, kEntries); }

  [[nodiscard]] std::string_view kind() const override { return kHostmap; }
  [[nodiscard]] std::string address() const override { return instance_.name(); }
  [[nodiscard]] std::optional<std::uint64_t> puts() const override { return instance_.stat("puts"); }

 private:
  Instance instance_;
};

class RedisSide : public Side {
 public:
  RedisSide() {
    RedisMap map(server_.socket());
    for (std::uint64_t position = 0; position < kEntries; ++position) {
      const std::uint64_t index = load_order(position, kEntries);
      map.put(key_of(index), value_of(index));
    }
  }

  [[nodiscard]] std::string_view kind() const override { return "redis"; }
  [[nodiscard]] std::string address() const override { return server_.socket(); }
  [[nodiscard]] std::optional<std::uint64_t> puts() const override { return std::nullopt; }

 private:
  RedisServer server_;
};

class NoSide : public Side {
 public:
  [[nodiscard]] std::string_view kind() const override { return kTurns; }
  [[nodiscard]] std::string address() const override { return "nobody"; }
  [[nodiscard]] std::optional<std::uint64_t> puts() const override { return std::nullopt; }
};

struct ContestantKind {
  std::string_view name;
  std::unique_ptr<Side> (*start)();
};
constexpr std::array kKinds{
    ContestantKind{kHostmap, [] { return std::unique_ptr<Side>(new HostmapSide); }},
    ContestantKind{"redis, unix socket", [] { return std::unique_ptr<Side>(new RedisSide); }},
    ContestantKind{"floor: taking turns", [] { return std::unique_ptr<Side>(new NoSide); }},
};
constexpr std::size_t kFloor = 2;

struct Percentile {
  std::string_view name;
  double (*of)(const Latencies& latencies);
  bool has_goal;
};
constexpr std::array kPercentiles{
    Percentile{"p50", [](const Latencies& latencies) { return latencies.p50(); }, false},
    Percentile{"p99", [](const Latencies& latencies) { return latencies.p99(); }, false},
    Percentile{"p99.9", [](const Latencies& latencies) { return latencies.p999(); }, true},
    Percentile{"p99.99", [](const Latencies& latencies) { return latencies.p9999(); }, true},
    Percentile{"max", [](const Latencies& latencies) { return latencies.max(); }, true},
};

/// Figures of one contestant, a round after the other.
struct Figures {
  Series rates;                                         // operations a second of all clients
  Series slowest_shares;                                // the slowest client's operations, as a part of the mean
  std::array<Series, kPercentiles.size()> percentiles;  // nanoseconds
  Latencies all;                                        // of all rounds
};

std::vector<Child> start_clients(const Side& side) {
  std::vector<Child> clients;
  clients.reserve(kClients);
  for (unsigned id = 0; id < kClients; ++id) {
    clients.emplace_back(Command{
        .program = own_program(),
        .arguments = {"--role", "sync64-client", std::string(side.kind()), side.address(), std::to_string(id)}});
  }
  for (Child& client : clients) {
    if (client.hear(120s) != "connected") throw std::runtime_error("a synchronous client cannot connect");
  }
  return clients;
}

void measure(const ContestantKind& kind, double seconds, Figures& figures) {
  const std::unique_ptr<Side> side = kind.start();
  std::vector<Child> clients = start_clients(*side);
  const std::optional<std::uint64_t> puts_before = side->puts();

  const Clock::time_point begin = Clock::now() + kNotice;
  const Clock::time_point end = begin + std::chrono::ceil<Clock::duration>(std::chrono::duration<double>(seconds));
  for (Child& client : clients) {
    client.say(fmt::format("{} {}", begin.time_since_epoch().count(), end.time_since_epoch().count()));
  }
  Latencies all;
  Clock::rep finished = 0;
  std::uint64_t least = ~std::uint64_t{0};
  std::uint64_t puts = 0;
  for (Child& client : clients) {
    std::istringstream answer(client.hear(std::chrono::ceil<std::chrono::seconds>(end - Clock::now()) + 60s));
    Clock::rep client_finished = 0;
    std::uint64_t client_puts = 0;
    std::string line;
    answer >> client_finished >> client_puts >> std::ws;
    std::getline(answer, line);
    const Latencies latencies = Latencies::from_line(line);
    all.merge(latencies);
    finished = std::max(finished, client_finished);
    least = std::min(least, latencies.count());
    puts += client_puts;
  }
  for (Child& client : clients) client.wait(30s);  // exit code 0: every get returned what was written to its key
  if (puts_before && *side->puts() - *puts_before != puts) {
    throw std::runtime_error(fmt::format("{}: clients report {} puts, the server applied {}", kind.name, puts,
                                         *side->puts() - *puts_before));
  }

  const std::chrono::duration<double> taken = Clock::time_point(Clock::duration(finished)) - begin;
  figures.all.merge(all);
  figures.rates.add(static_cast<double>(all.count()) / taken.count());
  figures.slowest_shares.add(static_cast<double>(least) * kClients / static_cast<double>(all.count()));
  for (std::size_t number = 0; number < kPercentiles.size(); ++number) {
    figures.percentiles[number].add(kPercentiles[number].of(all));
  }
}

// ---- findings and table -------------------------------------------------------------------------

Finding rate_finding(const Figures& hostmap, const Figures& redis, const Figures& floor) {
  return {.name = "sync64/rate",
          .unit = "operations/s",
          .hostmap = hostmap.rates.median(),
          .rivals = {{std::string(kKinds[1].name), redis.rates.median()}},
          .floor = floor.rates.median(),
          .ratio = ratio_of(hostmap.rates, redis.rates),
          .goal = kRateGoal,
          .better = Better::kHigher};
}

Finding slowest_finding(const Figures& hostmap, const Figures& redis) {
  return {.name = "sync64/slowest client",
          .unit = "of the mean",
          .hostmap = hostmap.slowest_shares.median(),
          .rivals = {{std::string(kKinds[1].name), redis.slowest_shares.median()}},
          .goal = kSlowestGoal,
          .better = Better::kHigher};
}

Finding percentile_finding(std::size_t number, const Figures& hostmap, const Figures& redis, const Figures& floor) {
  const Percentile& percentile = kPercentiles[number];
  Finding finding{.name = fmt::format("sync64/{}", percentile.name),
                  .unit = "ns",
                  .hostmap = hostmap.percentiles[number].median(),
                  .rivals = {{std::string(kKinds[1].name), redis.percentiles[number].median()}},
                  .floor = floor.percentiles[number].median(),
                  .ratio = ratio_of(hostmap.percentiles[number], redis.percentiles[number])};
  if (percentile.has_goal) finding.goal = kLatencyGoal;
  return finding;
}

/// A ratio far below one as "1 : 867", which two digits after the point would round to nothing.
std::string ratio_text(const Ratio& ratio) {
  constexpr double kFarBelowOne = 0.1;
  if (ratio.median >= kFarBelowOne) return format_ratio(ratio);
  return fmt::format("1 : {}", format_figure(1 / ratio.median));
}

/// Nanoseconds in the microseconds of the table.
Series in_microseconds(const Series& nanoseconds) {
  Series microseconds;
  for (const double figure : nanoseconds.figures()) microseconds.add(figure / 1e3);
  return microseconds;
}

void print_table(unsigned rounds, double seconds, const std::array<Figures, kKinds.size()>& figures,
                 const std::vector<Finding>& findings, std::vector<std::string> notes) {
  std::vector<std::string> head{"", "operations/s", "slowest : mean"};
  for (const Percentile& percentile : kPercentiles) head.emplace_back(fmt::format("{}, us", percentile.name));
  Table table(
      fmt::format("sync64 · {} clients, half gets and half puts, {} entries of 8 + 8 bytes, {} s · median of {} "
                  "rounds",
                  kClients, format_count(kEntries), seconds, rounds),
      std::move(head));
  for (std::size_t kind = 0; kind < kKinds.size(); ++kind) {
    const Tone tone = kind == 0 ? Tone::kStrong : kind == kFloor ? Tone::kFaint : Tone::kPlain;
    std::vector<Cell> cells{{std::string(kKinds[kind].name), tone},
                            {format_series(figures[kind].rates), tone},
                            {format_series(figures[kind].slowest_shares), tone}};
    for (const Series& series : figures[kind].percentiles)
      cells.push_back({format_series(in_microseconds(series)), tone});
    table.row(std::move(cells));
  }
  table.rule();
  std::vector<Cell> ratios{{"hostmap : redis", Tone::kStrong}};
  std::vector<Cell> goals{{"goal"}};
  std::vector<Cell> verdicts{{""}};
  for (const Finding& finding : findings) {
    ratios.push_back(finding.ratio ? Cell{ratio_text(*finding.ratio), Tone::kStrong} : Cell{""});
    const std::string_view sign = finding.better == Better::kHigher ? "≥" : "≤";
    goals.push_back(finding.goal ? Cell{fmt::format("{} {}", sign, *finding.goal)} : Cell{"none", Tone::kFaint});
    verdicts.push_back(finding.goal ? verdict(*finding.goal_met()) : Cell{""});
  }
  table.row(std::move(ratios));
  table.row(std::move(goals));
  table.row(std::move(verdicts));
  for (std::string& note : notes) table.note(std::move(note));
  table.print();
}

}  // namespace

static int play_sync64_client(std::span<char* const> arguments) {
  const std::string address = arguments[1];
  const std::uint64_t seed = std::stoull(arguments[2]);
  if (arguments[0] == kHostmap) return play(HostmapMap(address), seed);
  return arguments[0] == kTurns ? play(TurnsMap(), seed) : play(RedisMap(address), seed);
}

static void ask_sync64(Session& session) {
  session.floors.get();
  const unsigned rounds = session.choices.rounds == 0 ? kDefaultRounds : session.choices.rounds;
  const double seconds = session.choices.seconds;
  const OtherLoad others;
  std::array<Figures, kKinds.size()> figures;
  interleave(rounds, kKinds.size(), [&](unsigned round, std::size_t kind) {
    session.progress.step(
        fmt::format("sync64 · {} for {} s · round {} of {}", kKinds[kind].name, seconds, round + 1, rounds));
    measure(kKinds[kind], seconds, figures[kind]);
  });
  session.progress.clear();

  std::vector<Finding> findings{rate_finding(figures[0], figures[1], figures[kFloor]),
                                slowest_finding(figures[0], figures[1])};
  for (std::size_t number = 0; number < kPercentiles.size(); ++number) {
    findings.push_back(percentile_finding(number, figures[0], figures[1], figures[kFloor]));
  }
  for (const Finding& finding : findings) session.report.add(finding);
  for (std::size_t kind = 0; kind < kKinds.size(); ++kind) {
    add_distribution(session.report, "latency", kKinds[kind].name, figures[kind].all);
  }
  print_table(rounds, seconds, figures, findings,
              {"every get returned a value written to its key; all puts summed are what hostmap's server applied",
               "redis: unix socket, no TCP, no snapshots, no append-only file; a connection of hiredis for each client",
               "floor: 64 processes without a map; a put gives the CPU away once (sched_yield), a get does nothing",
               others.sentence()});
}

namespace {

const Registered sync64_question(Question{
    160, "sync64", "64 synchronous clients at once against Redis: rate and latencies", ask_sync64});
const Registered sync64_client_role(Role{"sync64-client", 3, play_sync64_client});

}  // namespace

}  // namespace hostmap::bench
