// Question `readers`: does a second reading process slow the first one down?
//
// Readers store nothing that another one loads, so two on two CPUs should take for a get what one takes alone, except for the
// memory that they share.

#include <array>
#include <cstdint>
#include <fmt/format.h>
#include <string>

#include "harness/floors.hpp"
#include "harness/harness.hpp"
#include "harness/other_load.hpp"
#include "harness/question.hpp"
#include "harness/reading.hpp"

namespace hostmap::bench {
namespace {

constexpr std::array<std::uint64_t, 2> kSizes{100'000, 10'000'000};
constexpr unsigned kDefaultRounds = 7;

}  // namespace

static void ask_readers(Session& session) {
  const std::vector<int> cpus = allowed_cpus();
  if (cpus.size() < 2) {
    session.progress.step("readers · skipped, needs two CPUs");
    return;
  }
  const unsigned rounds = session.choices.rounds == 0 ? kDefaultRounds : session.choices.rounds;
  const OtherLoad others;
  Table table(fmt::format("readers · 8 + 8 bytes, uniform hits · ns a get, median of {} rounds", rounds),
              {"", "one process", "two, each", "two : one", "million gets/s of two"});
  for (const std::uint64_t entries : session.choices.capped(kSizes)) {
    session.progress.step(fmt::format("readers · {} entries", format_count(entries)));
    Instance instance({"--memory", memory_for(entries)});
    load_hostmap(instance, entries);
    ReaderProcess first(instance, entries, cpus.back());
    ReaderProcess second(instance, entries, cpus.front());
    Series alone;
    Series beside;
    interleave(rounds, 2, [&](unsigned round, std::size_t contestant) {
      session.progress.detail(fmt::format("round {} of {}", round + 1, rounds));
      first.begin(round + 1);
      if (contestant == 0) {
        alone.add(first.end());
        return;
      }
      second.begin(rounds + round + 1);
      beside.add((first.end() + second.end()) / 2);
    });
    first.finish();
    second.finish();
    instance.stop();
    const Ratio ratio = ratio_of(beside, alone);
    session.report.add({.name = fmt::format("readers/{}", entries),
                        .unit = "ns",
                        .hostmap = beside.median(),
                        .rivals = {{"one process", alone.median()}},
                        .ratio = ratio});
    table.row({{fmt::format("{} entries", format_count(entries)), Tone::kStrong},
               {format_series(alone)},
               {format_series(beside), Tone::kStrong},
               {format_ratio(ratio), Tone::kStrong},
               {format_figure(2e3 / beside.median())}});
  }
  session.progress.clear();
  table.note("each process has a CPU; every get was a hit");
  table.note(others.sentence());
  table.print();
}

namespace {

const Registered readers_question(Question{40, "readers", "two reading processes against one", ask_readers});

}  // namespace

}  // namespace hostmap::bench
