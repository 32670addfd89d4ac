// Question `get-under-growth`: what does a get cost while the table grows and merges all the time?
//
// Two servers: one begins with 10 buckets, the other one has all that are ever needed. A client of each adds new keys at full rate
// until there are eight times as many, erases them in the order in which they came, and begins again: so the first table splits its
// segments and merges them, while the other one takes the same requests with buckets that stay. A reader of each gets the keys
// that are always there. Worker and client share one CPU, the reader has the other.

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdint>
#include <cstdlib>
#include <fmt/format.h>
#include <memory>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include <hostmap/client.hpp>

#include "harness/forms.hpp"
#include "harness/harness.hpp"
#include "harness/other_load.hpp"
#include "harness/process.hpp"
#include "harness/question.hpp"
#include "harness/reading.hpp"

namespace hostmap::bench {
namespace {

using namespace std::chrono_literals;

constexpr std::array<std::uint64_t, 2> kSizes{100'000, 1'000'000};
constexpr unsigned kDefaultRounds = 7;
constexpr double kGoal = 1.1;
/// There are so many times the keys that stay before the others are erased: merges are due below a quarter of a split's load.
constexpr std::uint64_t kGrowth = 8;
/// With a bucket for so many keys none is split.
constexpr double kKeysPerBucket = 2.5;

enum Kind : std::size_t { kGrowing, kPresized, kKinds };

std::string buckets_for(Kind kind, std::uint64_t keys) {
  return kind == kGrowing ? "10"
                          : std::to_string(static_cast<std::uint64_t>(static_cast<double>(keys) / kKeysPerBucket));
}

/// A server, the client that adds and erases keys, and the reader.
class Side {
 public:
  Side(Kind kind, std::uint64_t entries, std::pair<int, int> cpus)
      : instance_({buckets_for(kind, kGrowth * entries), "--memory", memory_for(kGrowth * entries)}) {
    load_hostmap(instance_, entries);
    instance_.pin_server(cpus.first);
    reader_ = std::make_unique<ReaderProcess>(instance_, entries, cpus.second);
    writer_ = std::make_unique<Child>(
        Command{.program = own_program(),
                .arguments = {"--role", "growing-writer", instance_.name(), std::to_string(entries)},
                .cpu = cpus.first});
    begin_writes();
    end_writes();
  }

  double read_alone(unsigned seed) {
    reader_->begin(seed);
    return reader_->end();
  }
  double read_beside_writer(unsigned seed) {
    begin_writes();
    reader_->begin(seed);
    const double nanoseconds = reader_->end();
    end_writes();
    return nanoseconds;
  }
  [[nodiscard]] std::uint64_t splits() const { return instance_.stat("splits"); }
  void finish() {
    writer_->close_input();
    writer_->wait(30s);
    reader_->finish();
    instance_.stop();
  }

 private:
  void begin_writes() { writer_->say("write"); }
  void end_writes() {
    writer_->say("stop");
    if (writer_->hear(300s) == "0") throw std::runtime_error("get-under-growth: the writer has sent no request");
  }

  Instance instance_;
  std::unique_ptr<ReaderProcess> reader_;
  std::unique_ptr<Child> writer_;
};

struct Figures {
  std::array<Series, kKinds> alone;
  std::array<Series, kKinds> beside;
  Series splits;  // of the growing table, during a round
};

Figures measure(Session& session, std::uint64_t entries, unsigned rounds) {
  const std::vector<int> cpus = allowed_cpus();
  session.progress.step(fmt::format("get-under-growth · {} entries", format_count(entries)));
  std::array<std::unique_ptr<Side>, kKinds> sides;
  for (const Kind kind : {kGrowing, kPresized}) {
    sides[kind] = std::make_unique<Side>(kind, entries, std::pair(cpus.front(), cpus.back()));
  }
  if (sides[kPresized]->splits() != 0) throw std::runtime_error("get-under-growth: the presized table has grown");
  Figures figures;
  for (unsigned round = 0; round < rounds; ++round) {
    session.progress.detail(fmt::format("round {} of {}", round + 1, rounds));
    for (std::size_t turn = 0; turn < kKinds; ++turn) {
      const std::size_t kind = (round + turn) % kKinds;
      const std::uint64_t splits = sides[kind]->splits();
      figures.alone[kind].add(sides[kind]->read_alone(round + 1));
      figures.beside[kind].add(sides[kind]->read_beside_writer(round + 1));
      if (kind == kGrowing) figures.splits.add(static_cast<double>(sides[kind]->splits() - splits));
    }
  }
  if (figures.splits.median() == 0) throw std::runtime_error("get-under-growth: the table has not grown");
  for (const auto& side : sides) side->finish();
  return figures;
}

}  // namespace

static int play_growing_writer(std::span<char* const> arguments) {
  constexpr unsigned kRequestsPerTurn = 1024;
  Client client = connect_to(arguments[0], 60s);
  const std::uint64_t entries = std::strtoull(arguments[1], nullptr, 10);
  const std::uint64_t others = (kGrowth - 1) * entries;
  std::uint64_t next = 0;  // below `others`: puts it, then erases it
  std::array<std::uint64_t, kRequestsPerTurn> keys{};
  std::array<Operation, kRequestsPerTurn> erases;
  std::array<Outcome, kRequestsPerTurn> outcomes;
  // Some puts, or some erases; none of them waits for the one before. Returns how many.
  const auto send = [&] {
    const bool adds = next < others;
    const std::uint64_t count = std::min<std::uint64_t>(kRequestsPerTurn, (adds ? others : 2 * others) - next);
    Status status;
    for (std::uint64_t i = 0; i < count && status.ok(); ++i, ++next) {
      const std::uint64_t index = entries + next % others;
      keys[i] = key_of(index);
      const std::uint64_t value = value_of(index);
      if (adds) {
        status = client.put_async(bytes_of(keys[i]), bytes_of(value));
      } else {
        erases[i] = Operation::erase(bytes_of(keys[i]));
      }
    }
    if (!adds) status = client.apply(std::span(erases).first(count), std::span(outcomes).first(count));
    if (!status.ok()) throw std::runtime_error(fmt::format("a request was refused: {}", status.message()));
    next %= 2 * others;
    return count;
  };
  // Once up and down before anything is measured: the memory is taken then.
  bool is_first = true;
  send_between_lines(client, [&] {
    std::uint64_t sent = send();
    while (is_first && sent < 2 * others) sent += send();
    is_first = false;
    return sent;
  });
  return 0;
}

static void ask_get_under_growth(Session& session) {
  if (allowed_cpus().size() < 2) {
    session.progress.step("get-under-growth · skipped, needs two CPUs");
    return;
  }
  const unsigned rounds = session.choices.rounds == 0 ? kDefaultRounds : session.choices.rounds;
  const OtherLoad others;
  Table table(fmt::format("get-under-growth · 8 + 8 bytes, uniform hits · ns a get, median of {} rounds", rounds),
              {"", "nobody writes", "presized, full rate", "growing, full rate", "splits a round", "growing : presized",
               "goal", ""});
  for (const std::uint64_t entries : session.choices.capped(kSizes)) {
    const Figures figures = measure(session, entries, rounds);
    Finding finding{.name = fmt::format("get-under-growth/{}", entries),
                    .unit = "ns",
                    .hostmap = figures.beside[kGrowing].median(),
                    .rivals = {{"presized", figures.beside[kPresized].median()},
                               {"nobody writes", figures.alone[kGrowing].median()}},
                    .ratio = ratio_of(figures.beside[kGrowing], figures.beside[kPresized]),
                    .goal = kGoal};
    session.report.add(finding);
    table.row({{fmt::format("{} entries", format_count(entries)), Tone::kStrong},
               {format_series(figures.alone[kGrowing])},
               {format_series(figures.beside[kPresized])},
               {format_series(figures.beside[kGrowing]), Tone::kStrong},
               {format_series(figures.splits)},
               {format_ratio(*finding.ratio), Tone::kStrong},
               {fmt::format("≤ {:.1f}", kGoal)},
               verdict(*finding.goal_met())});
  }
  session.progress.clear();
  table.note(
      fmt::format("the entries that are read stay; others are added until there are {} times as many, erased, added "
                  "again: the growing "
                  "table splits and merges, the presized one has its buckets from the start",
                  kGrowth));
  table.note("worker and writing client on one CPU, the reader on the other");
  table.note(others.sentence());
  table.print();
}

namespace {

const Registered get_under_growth_question(Question{
    25, "get-under-growth", "a get while the table grows and merges all the time", ask_get_under_growth});
const Registered growing_writer_role(Role{"growing-writer", 2, play_growing_writer});

}  // namespace

}  // namespace hostmap::bench
