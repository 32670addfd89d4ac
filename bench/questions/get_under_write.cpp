// Question `get-under-write`: what does a get cost while the worker writes at full rate into the same table?
//
// The worker and the client that feeds it share one CPU, the reader has the other: on two CPUs nothing writes faster without
// taking time from the reader. What they write are the very pairs that are read, so lines travel to the reader, too. What
// these take alone is measured beside it.

#include <array>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <cstdlib>
#include <fmt/format.h>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include <hostmap/client.hpp>

#include "harness/floors.hpp"
#include "harness/forms.hpp"
#include "harness/harness.hpp"
#include "harness/other_load.hpp"
#include "harness/process.hpp"
#include "harness/question.hpp"
#include "harness/reading.hpp"

namespace hostmap::bench {
namespace {

using namespace std::chrono_literals;

constexpr std::array<std::uint64_t, 2> kSizes{100'000, 10'000'000};
constexpr unsigned kDefaultRounds = 7;
constexpr double kGoal = 1.5;

/// The lines without a map: one CPU loads the two lines of random buckets, and another one stores into such buckets at a
/// given rate, or not at all.
class BareLines {
 public:
  BareLines(std::uint64_t buckets, std::pair<int, int> cpus) : buckets_(buckets), cpus_(cpus) {}

  /// Nanoseconds a bucket.
  double measure(double million_writes_per_second, std::uint64_t seed) {
    std::atomic<bool> done{false};
    std::jthread writer([&] {
      pin_to(cpus_.first);
      if (million_writes_per_second > 0) write(million_writes_per_second, seed, done);
    });
    double nanoseconds = 0;
    std::jthread reader([&] {
      pin_to(cpus_.second);
      read(seed);  // as the table, it is in the caches
      const Clock::time_point start = Clock::now();
      read(seed + 1);
      nanoseconds = std::chrono::duration<double, std::nano>(Clock::now() - start).count() / kReads;
      done.store(true, std::memory_order_relaxed);  // relaxed: join orders the rest
    });
    reader.join();
    return nanoseconds;
  }

 private:
  static constexpr unsigned kReads = 1'000'000;
  struct alignas(128) Bucket {  // as hostmap's: one line to find the key, one with the value
    std::atomic<std::uint64_t> key{0};
    alignas(64) std::atomic<std::uint64_t> value{0};
  };

  void read(std::uint64_t seed) {
    Random random(seed);
    std::uint64_t sum = 0;
    for (unsigned done = 0; done < kReads; ++done) {
      const Bucket& bucket = buckets_[random.below(buckets_.size())];
      // relaxed, as everything here: only the way of the lines counts
      sum += bucket.key.load(std::memory_order_relaxed) + bucket.value.load(std::memory_order_relaxed);
    }
    keep(sum);
  }
  void write(double million_per_second, std::uint64_t seed, const std::atomic<bool>& done) {
    constexpr unsigned kStoresPerTurn = 16;
    const std::chrono::duration<double, std::micro> interval(kStoresPerTurn / million_per_second);
    Random random(~seed);
    const Clock::time_point start = Clock::now();
    for (std::uint64_t turns = 0; !done.load(std::memory_order_relaxed); ++turns) {
      for (unsigned store = 0; store < kStoresPerTurn; ++store) {
        buckets_[random.below(buckets_.size())].value.store(store, std::memory_order_relaxed);
      }
      while (Clock::now() - start < interval * static_cast<double>(turns + 1) &&
             !done.load(std::memory_order_relaxed)) {
      }
    }
  }

  std::vector<Bucket> buckets_;
  std::pair<int, int> cpus_;
};

struct Figures {
  Series idle;
  Series under_write;
  Series million_writes_per_second;
  Series bare_idle;
  Series bare_under_write;

  /// Nanoseconds: a get while nobody writes, and what the lines alone take longer when somebody does.
  double floor() const { return idle.median() + bare_under_write.median() - bare_idle.median(); }
};

Figures measure(Session& session, std::uint64_t entries, unsigned rounds) {
  const std::vector<int> cpus = allowed_cpus();
  session.progress.step(fmt::format("get-under-write · {} entries", format_count(entries)));
  Instance instance({"--memory", memory_for(entries)});
  load_hostmap(instance, entries);
  instance.pin_server(cpus.front());
  ReaderProcess reader(instance, entries, cpus.back());
  Child writer({.program = own_program(),
                .arguments = {"--role", "steady-writer", instance.name(), std::to_string(entries)},
                .cpu = cpus.front()});
  BareLines bare(instance.stat("pair_buckets"), {cpus.front(), cpus.back()});
  Figures figures;
  for (unsigned round = 0; round < rounds; ++round) {
    session.progress.detail(fmt::format("round {} of {}", round + 1, rounds));
    for (const bool writing : {round % 2 == 0, round % 2 != 0}) {
      const std::uint64_t puts = instance.stat("puts");
      const Clock::time_point start = Clock::now();
      if (writing) writer.say("write");
      reader.begin(round + 1);
      (writing ? figures.under_write : figures.idle).add(reader.end());
      if (!writing) continue;
      writer.say("stop");
      const std::uint64_t written = std::strtoull(writer.hear(60s).c_str(), nullptr, 10);
      const std::chrono::duration<double, std::micro> taken = Clock::now() - start;
      if (instance.stat("puts") - puts != written)
        throw std::runtime_error("get-under-write: not all writes were applied");
      figures.million_writes_per_second.add(static_cast<double>(written) / taken.count());
    }
    figures.bare_idle.add(bare.measure(0, round + 1));
    figures.bare_under_write.add(bare.measure(figures.million_writes_per_second.figures().back(), round + 1));
  }
  writer.close_input();
  writer.wait(30s);
  reader.finish();
  instance.stop();
  return figures;
}

}  // namespace

// Puts pairs that are there already, with the values that they have.
static int play_steady_writer(std::span<char* const> arguments) {
  constexpr std::uint64_t kPutsPerTurn = 4096;
  Client client = connect_to(arguments[0]);
  const std::uint64_t entries = std::strtoull(arguments[1], nullptr, 10);
  Random random(5);
  send_between_lines(client, [&] {
    for (std::uint64_t put = 0; put < kPutsPerTurn; ++put) {
      const std::uint64_t index = random.below(entries);
      const std::uint64_t key = key_of(index);
      const std::uint64_t value = value_of(index);
      if (const Status status = client.put_async(bytes_of(key), bytes_of(value)); !status.ok()) {
        throw std::runtime_error(fmt::format("put_async: {}", status.message()));
      }
    }
    return kPutsPerTurn;
  });
  return 0;
}

static void ask_get_under_write(Session& session) {
  if (allowed_cpus().size() < 2) {
    session.progress.step("get-under-write · skipped, needs two CPUs");
    return;
  }
  const unsigned rounds = session.choices.rounds == 0 ? kDefaultRounds : session.choices.rounds;
  const OtherLoad others;
  Table table(fmt::format("get-under-write · 8 + 8 bytes, uniform hits · ns a get, median of {} rounds", rounds),
              {"", "nobody writes", "full rate", "million writes/s", "the lines alone", "ratio", "floor", "goal", ""});
  for (const std::uint64_t entries : session.choices.capped(kSizes)) {
    const Figures figures = measure(session, entries, rounds);
    Finding finding{.name = fmt::format("get-under-write/{}", entries),
                    .unit = "ns",
                    .hostmap = figures.under_write.median(),
                    .rivals = {{"nobody writes", figures.idle.median()}},
                    .floor = figures.floor(),
                    .ratio = ratio_of(figures.under_write, figures.idle),
                    .goal = kGoal};
    session.report.add(finding);
    table.row({{fmt::format("{} entries", format_count(entries)), Tone::kStrong},
               {format_series(figures.idle)},
               {format_series(figures.under_write), Tone::kStrong},
               {format_series(figures.million_writes_per_second)},
               {fmt::format("{} → {}", format_figure(figures.bare_idle.median()),
                            format_figure(figures.bare_under_write.median()))},
               {format_ratio(*finding.ratio), Tone::kStrong},
               {fmt::format("{:.2f}", figures.floor() / figures.idle.median()), Tone::kFaint},
               {fmt::format("≤ {:.1f}", kGoal)},
               verdict(*finding.goal_met())});
  }
  session.progress.clear();
  table.note(
      "worker and writing client on one CPU, the reader on the other; the pairs that are written are those that are "
      "read");
  table.note(
      "the lines alone: as many buckets, each two lines, loaded at random without a map, while another CPU stores into "
      "as many of them; floor: the ratio if writing held up a get by as much as it holds up these loads");
  table.note(others.sentence());
  table.print();
}

namespace {

const Registered get_under_write_question(Question{20, "get-under-write", "a get while the worker writes at full rate",
                                                   ask_get_under_write});
const Registered steady_writer_role(Role{"steady-writer", 2, play_steady_writer});

}  // namespace

}  // namespace hostmap::bench
