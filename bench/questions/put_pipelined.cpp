// Question `put-pipelined`: what does a put cost that is not waited for, when a flush at the end waits for all?
//
// The floor is the bare ring with up to 32 records on their way (bench/harness/bare_ring.hpp). hostmap has its table once in
// the caches and once in DRAM, where each put needs lines of memory that no cache has. Redis over a unix socket is
// measured beside it with 32 SETs in its pipeline, as `redis-benchmark -P 32` has them. `apply` has batches of 32 puts, each with an
// outcome of its own; its second floor is put_async with a flush after each 32 puts, which waits as often. All take turns in every
// round.

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <fmt/format.h>
#include <iostream>
#include <optional>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include <hostmap/client.hpp>

#include "harness/bare_ring.hpp"
#include "harness/batches.hpp"
#include "harness/floors.hpp"
#include "harness/harness.hpp"
#include "harness/instance.hpp"
#include "harness/other_load.hpp"
#include "harness/process.hpp"
#include "harness/question.hpp"
#include "harness/workload.hpp"
#include "rivals/redis.hpp"

namespace hostmap::bench {
namespace {

using namespace std::chrono_literals;

constexpr std::uint64_t kCachedEntries = 1'000;
constexpr std::uint64_t kDramEntries = 10'000'000;
constexpr std::uint64_t kPuts = 1'000'000;
constexpr std::uint64_t kRoundTrips = 100'000;
/// Redis takes some thirty times as long for one: a round of each is then about as long.
constexpr std::uint64_t kRedisPuts = 64'000;
constexpr std::uint64_t kRedisPipeline = 32;
static_assert(kRedisPuts / kBatches % kRedisPipeline == 0);
constexpr unsigned kDefaultRounds = 9;
constexpr double kGoalOfRing = 1.8;
constexpr double kDramGoalOfRing = 5;
constexpr double kGoalOfRedis = 1.0 / 20;
constexpr std::size_t kBatchOfPuts = 32;
constexpr double kGoalOfBatch = 1.2;

enum Contestant : std::size_t { kCached, kDram, kRing, kRoundTrip, kRedis, kBatch, kFlushed, kContestants };
using Figures = std::array<Series, kContestants>;

/// The puts of a round: which index, and which value.
class PutSequence {
 public:
  PutSequence(std::uint64_t entries, std::uint64_t round)
      : random_(round + 1), entries_(entries), value_(round << 32U) {}

  struct Put {
    std::uint64_t index;
    std::uint64_t value;
  };
  Put next() { return {.index = random_.below(entries_), .value = value_++}; }

 private:
  Random random_;
  std::uint64_t entries_;
  std::uint64_t value_;  // no two puts have the same
};

/// Runs a round of `count` puts by put(key, value), each batch acknowledged by finish(); nanoseconds of a put.
template <typename PutOne, typename Finish>
double time_puts(std::uint64_t entries, std::uint64_t round, std::uint64_t count, const PutOne& put,
                 const Finish& finish) {
  PutSequence sequence(entries, round);
  return time_batches(count, [&](std::uint64_t puts) {
    for (std::uint64_t done = 0; done < puts; ++done) {
      const PutSequence::Put one = sequence.next();
      put(key_of(one.index), one.value);
    }
    finish();
  });
}

void check(const Status& status, std::string_view call) {
  if (!status.ok()) throw std::runtime_error(fmt::format("{}: {}", call, status.message()));
}

/// Puts in batches of kBatchOfPuts; each outcome is read.
class PutBatch {
 public:
  explicit PutBatch(Client& client) : client_(client) {}

  void add(std::uint64_t key, std::uint64_t value) {
    keys_[size_] = key;
    values_[size_] = value;
    operations_[size_] = Operation::put(bytes_of(keys_[size_]), bytes_of(values_[size_]));
    if (++size_ == kBatchOfPuts) apply();
  }
  void apply() {
    const auto outcomes = std::span(outcomes_).first(size_);
    check(client_.apply(std::span(operations_).first(size_), outcomes), "apply");
    for (const Outcome& outcome : outcomes) check(outcome.status, "a put of a batch");
    size_ = 0;
  }

 private:
  Client& client_;
  std::size_t size_ = 0;
  std::array<std::uint64_t, kBatchOfPuts> keys_{};
  std::array<std::uint64_t, kBatchOfPuts> values_{};
  std::array<Operation, kBatchOfPuts> operations_;
  std::array<Outcome, kBatchOfPuts> outcomes_;
};

/// Throws unless each key that the round has put has the value of its last put.
void check_round(Client& client, std::uint64_t entries, std::uint64_t round, std::uint64_t count) {
  PutSequence sequence(entries, round);
  std::unordered_map<std::uint64_t, std::uint64_t> last;
  for (std::uint64_t done = 0; done < count; ++done) {
    const PutSequence::Put one = sequence.next();
    last[one.index] = one.value;
  }
  for (const auto& [index, expected] : last) {
    std::uint64_t found = 0;
    const Result<std::size_t> bytes =
        client.get_into(bytes_of(key_of(index)), std::as_writable_bytes(std::span(&found, 1)));
    if (!bytes || *bytes != sizeof found || found != expected) {
      throw std::runtime_error("put-pipelined: a value is not the one that was put last");
    }
  }
}

double round_of(Child& child, unsigned round) {
  child.say(std::to_string(round));
  return std::strtod(child.hear(120s).c_str(), nullptr);
}

Figures run_rounds(Session& session, std::uint64_t dram_entries, std::pair<int, int> cpus) {
  session.progress.detail("loading");
  const unsigned rounds = session.choices.rounds == 0 ? kDefaultRounds : session.choices.rounds;
  Instance cached({});
  Instance dram({});
  Instance batch({});
  Instance flushed({});
  load_hostmap(cached, kCachedEntries);
  load_hostmap(dram, dram_entries);
  load_hostmap(batch, kCachedEntries);
  load_hostmap(flushed, kCachedEntries);
  cached.pin_server(cpus.first);  // as the bare ring's two ends are
  dram.pin_server(cpus.first);
  batch.pin_server(cpus.first);
  flushed.pin_server(cpus.first);
  const RedisServer redis(cpus.first);
  const auto client_of = [&](const Instance& instance, std::uint64_t entries, const char* calls = "put_async") {
    return Command{.program = own_program(),
                   .arguments = {"--role", "put-pipelined-client", instance.name(), std::to_string(entries), calls},
                   .cpu = cpus.second};
  };
  Child cached_client(client_of(cached, kCachedEntries));
  Child dram_client(client_of(dram, dram_entries));
  Child batch_client(client_of(batch, kCachedEntries, "apply"));
  Child flushed_client(client_of(flushed, kCachedEntries, "flush"));
  Child redis_client(
      {.program = own_program(), .arguments = {"--role", "put-pipelined-redis", redis.socket()}, .cpu = cpus.second});
  Figures figures;
  interleave(rounds, kContestants, [&](unsigned round, std::size_t contestant) {
    session.progress.detail(fmt::format("round {} of {}", round + 1, rounds));
    const auto measure = [&] {
      switch (contestant) {
        case kCached:
          return round_of(cached_client, round);
        case kDram:
          return round_of(dram_client, round);
        case kBatch:
          return round_of(batch_client, round);
        case kFlushed:
          return round_of(flushed_client, round);
        case kRing:
          return bare_ring_pipelined(cpus, kPuts);
        case kRoundTrip:
          return bare_ring_round_trip(cpus, kRoundTrips);
        default:
          return round_of(redis_client, round);
      }
    };
    figures[contestant].add(measure());
  });
  for (Child* child : {&cached_client, &dram_client, &batch_client, &flushed_client, &redis_client}) child->wait(30s);
  for (const auto& [instance, entries] : {std::pair(&cached, kCachedEntries), std::pair(&batch, kCachedEntries),
                                          std::pair(&flushed, kCachedEntries), std::pair(&dram, dram_entries)}) {
    // What was loaded counts, too.
    const std::uint64_t expected = entries + rounds * (operations_of_batches(kPuts));
    if (const std::uint64_t applied = instance->stat("puts"); applied != expected) {
      throw std::runtime_error(fmt::format("put-pipelined: {} puts, the server applied {}", expected, applied));
    }
    instance->stop();
  }
  return figures;
}

}  // namespace

// In the client's process: a line on standard input is the number of a round.
static int play_put_pipelined_client(std::span<char* const> arguments) {
  Client client = connect_to(arguments[0]);
  const std::uint64_t entries = std::strtoull(arguments[1], nullptr, 10);
  const std::string_view calls = arguments[2];
  PutBatch batch(client);
  const auto put = [&](std::uint64_t key, std::uint64_t value) {
    check(client.put_async(bytes_of(key), bytes_of(value)), "put_async");
  };
  const auto flush = [&] { check(client.flush(), "flush"); };
  for (std::uint64_t round = 0; std::cin >> round;) {
    double nanoseconds = 0;
    if (calls == "apply") {
      nanoseconds = time_puts(
          entries, round, kPuts, [&](std::uint64_t key, std::uint64_t value) { batch.add(key, value); },
          [&] { batch.apply(); });
    } else if (calls == "flush") {
      std::size_t queued = 0;
      const auto put_and_flush = [&](std::uint64_t key, std::uint64_t value) {
        put(key, value);
        if (++queued % kBatchOfPuts == 0) flush();
      };
      nanoseconds = time_puts(entries, round, kPuts, put_and_flush, flush);
    } else {
      nanoseconds = time_puts(entries, round, kPuts, put, flush);
    }
    check_round(client, entries, round, operations_of_batches(kPuts));
    fmt::print("{}\n", nanoseconds);
    std::fflush(stdout);
  }
  return 0;
}

static int play_put_pipelined_redis(std::span<char* const> arguments) {
  RedisClient client(arguments[0]);
  for (std::uint64_t round = 0; std::cin >> round;) {
    std::uint64_t queued = 0;
    const auto finish = [&] {
      client.finish();
      queued = 0;
    };
    fmt::print("{}\n", time_puts(
                           kCachedEntries, round, kRedisPuts,
                           [&](std::uint64_t key, std::uint64_t value) {
                             client.put_later(bytes_of(key), bytes_of(value));
                             if (++queued == kRedisPipeline) finish();
                           },
                           finish));
    std::fflush(stdout);
    if (client.size() != kCachedEntries) throw std::runtime_error("redis-server does not have the keys that were put");
  }
  return 0;
}

static void ask_put_pipelined(Session& session) {
  const Floors& floors = session.floors.get();
  const std::vector<int> cpus = allowed_cpus();
  if (cpus.size() < 2) {
    session.progress.step("put-pipelined · skipped, needs two CPUs");
    return;
  }
  session.progress.step("put-pipelined");
  const std::uint64_t dram_entries = std::min(kDramEntries, session.choices.max_entries);
  const OtherLoad others;
  const Figures figures = run_rounds(session, dram_entries, {cpus[0], cpus[1]});

  Finding cached{.name = "put-pipelined/cached",
                 .unit = "ns",
                 .hostmap = figures[kCached].median(),
                 .rivals = {{"bare ring, pipelined", figures[kRing].median()}},
                 .floor = floors.ping_pong_round_trip,
                 .ratio = ratio_of(figures[kCached], figures[kRing]),
                 .goal = kGoalOfRing};
  Finding dram{.name = fmt::format("put-pipelined/{}", dram_entries),
               .unit = "ns",
               .hostmap = figures[kDram].median(),
               .rivals = {{"bare ring, pipelined", figures[kRing].median()}},
               .floor = floors.memory_independent_huge,
               .ratio = ratio_of(figures[kDram], figures[kRing])};
  if (dram_entries == kDramEntries) dram.goal = kDramGoalOfRing;  // where the table lies in DRAM
  Finding redis{.name = "put-pipelined/redis",
                .unit = "ns",
                .hostmap = figures[kCached].median(),
                .rivals = {{"redis, unix socket, pipelined", figures[kRedis].median()}},
                .ratio = ratio_of(figures[kCached], figures[kRedis]),
                .goal = kGoalOfRedis};
  Finding ring{.name = "put-pipelined/bare-ring",
               .unit = "ns",
               .hostmap = figures[kRing].median(),
               .rivals = {{"bare ring, round trip", figures[kRoundTrip].median()}},
               .floor = floors.ping_pong_round_trip,
               .ratio = ratio_of(figures[kRing], figures[kRoundTrip])};
  Finding batch{.name = "put-pipelined/apply-32",
                .unit = "ns",
                .hostmap = figures[kBatch].median(),
                .rivals = {{"hostmap, put_async", figures[kCached].median()}},
                .floor = floors.ping_pong_round_trip,
                .ratio = ratio_of(figures[kBatch], figures[kCached]),
                .goal = kGoalOfBatch};
  Finding flushed{.name = "put-pipelined/apply-32-of-flush-32",
                  .unit = "ns",
                  .hostmap = figures[kBatch].median(),
                  .rivals = {{"hostmap, put_async, a flush after 32", figures[kFlushed].median()}},
                  .floor = floors.ping_pong_round_trip,
                  .ratio = ratio_of(figures[kBatch], figures[kFlushed]),
                  .goal = kGoalOfBatch};
  for (const Finding* finding : {&cached, &dram, &batch, &flushed, &redis, &ring}) session.report.add(*finding);

  session.progress.clear();
  Table table(fmt::format("put-pipelined · pairs of 8 + 8 bytes · ns a put, acknowledged, median of {} rounds",
                          figures[kCached].figures().size()),
              {"", "ns", "ratio", "", "goal", ""});
  const auto row = [&](std::string name, Contestant contestant, const Finding& finding, std::string_view to,
                       std::string goal, Tone tone) {
    table.row({{std::move(name), tone},
               {format_series(figures[contestant]), tone},
               {format_ratio(*finding.ratio)},
               {std::string(to)},
               {std::move(goal)},
               finding.goal ? verdict(*finding.goal_met()) : Cell{"none", Tone::kFaint}});
  };
  row(fmt::format("hostmap, {} entries", format_count(kCachedEntries)), kCached, cached, "of the bare ring",
      fmt::format("≤ {:.1f}", kGoalOfRing), Tone::kStrong);
  row(fmt::format("hostmap, {} entries", format_count(dram_entries)), kDram, dram, "of the bare ring",
      dram.goal ? fmt::format("≤ {:.1f}", kDramGoalOfRing) : "", Tone::kStrong);
  row(fmt::format("hostmap, {} entries, apply of 32 puts", format_count(kCachedEntries)), kBatch, batch, "of put_async",
      fmt::format("≤ {:.1f}", kGoalOfBatch), Tone::kStrong);
  row("the same", kBatch, flushed, "of a flush after 32", fmt::format("≤ {:.1f}", kGoalOfBatch), Tone::kStrong);
  table.row({{"redis, unix socket, 32 SETs at a time"},
             {format_series(figures[kRedis])},
             {fmt::format("1 : {:.1f}", 1 / redis.ratio->median)},
             {"of 1 000 in hostmap"},
             {fmt::format("1 : {:.0f}", 1 / kGoalOfRedis)},
             verdict(*redis.goal_met())});
  table.row({{"floor: put_async, a flush after 32 puts", Tone::kFaint},
             {format_series(figures[kFlushed]), Tone::kFaint},
             {""},
             {""},
             {""},
             {""}});
  row("floor: bare ring, 32 on their way", kRing, ring, "of its round trip", "", Tone::kFaint);
  table.row({{"floor: bare ring, round trip", Tone::kFaint},
             {format_series(figures[kRoundTrip]), Tone::kFaint},
             {""},
             {""},
             {""},
             {""}});
  table.note("redis: no snapshots, no append-only file, no TCP; hiredis; both ends pinned as those of hostmap");
  table.note(others.sentence());
  table.print();
}

namespace {

const Registered put_pipelined_question(Question{
    110, "put-pipelined", "a put that is not waited for, against the bare ring and Redis", ask_put_pipelined});
const Registered put_pipelined_client_role(Role{"put-pipelined-client", 3, play_put_pipelined_client});
const Registered put_pipelined_redis_role(Role{"put-pipelined-redis", 1, play_put_pipelined_redis});

}  // namespace

}  // namespace hostmap::bench
