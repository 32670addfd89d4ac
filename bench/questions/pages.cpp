// Question `pages`: what do 2 MiB pages give a get?
//
// Two servers with the same pairs, one of which is not allowed such pages (PR_SET_THP_DISABLE, which its processes inherit; it
// prints so at its start). A reader process each, pinned to the same CPU; they take turns.

#include <array>
#include <cstdint>
#include <fmt/format.h>
#include <stdexcept>

#include "harness/floors.hpp"
#include "harness/harness.hpp"
#include "harness/instance.hpp"
#include "harness/other_load.hpp"
#include "harness/question.hpp"
#include "harness/reading.hpp"

namespace hostmap::bench {
namespace {

constexpr std::array<std::uint64_t, 2> kSizes{1'000'000, 10'000'000};
constexpr unsigned kDefaultRounds = 9;

}  // namespace

static void ask_pages(Session& session) {
  const Floors& floors = session.floors.get();
  const unsigned rounds = session.choices.rounds == 0 ? kDefaultRounds : session.choices.rounds;
  const OtherLoad others;
  Table table(fmt::format("pages · 8 + 8 bytes, uniform hits · ns a get, median of {} rounds", rounds),
              {"", "2 MiB pages", "4 KiB pages", "2 MiB : 4 KiB"});
  for (const std::uint64_t entries : session.choices.capped(kSizes)) {
    session.progress.step(fmt::format("pages · {} entries", format_count(entries)));
    Instance large({"--memory", memory_for(entries)});
    load_hostmap(large, entries);
    if (large.stat("huge_page_bytes") == 0) {
      session.progress.step("pages · skipped: the table is too small for 2 MiB pages, or this kernel gives none");
      return;
    }
    Instance small({"--memory", memory_for(entries)}, "hostmap-server", Pages::kSmall);
    load_hostmap(small, entries);
    if (small.stat("huge_page_bytes") != 0) throw std::runtime_error("pages: a server has pages that it must not have");
    ReaderProcess large_reader(large, entries, allowed_cpus().back());
    ReaderProcess small_reader(small, entries, allowed_cpus().back());
    std::array<Series, 2> series;
    interleave(rounds, series.size(), [&](unsigned round, std::size_t number) {
      session.progress.detail(fmt::format("round {} of {}", round + 1, rounds));
      ReaderProcess& reader = number == 0 ? large_reader : small_reader;
      reader.begin(round + 1);
      series[number].add(reader.end());
    });
    large_reader.finish();
    small_reader.finish();
    large.stop();
    small.stop();
    const Ratio ratio = ratio_of(series[0], series[1]);
    session.report.add({.name = fmt::format("pages/{}", entries),
                        .unit = "ns",
                        .hostmap = series[0].median(),
                        .rivals = {{"hostmap in 4 KiB pages", series[1].median()}},
                        .floor = floors.memory_independent_huge,
                        .ratio = ratio});
    table.row({{fmt::format("{} entries", format_count(entries)), Tone::kStrong},
               {format_series(series[0]), Tone::kStrong},
               {format_series(series[1])},
               {format_ratio(ratio), Tone::kStrong}});
  }
  session.progress.clear();
  table.note(fmt::format("a random line of memory, dependent: {:.0f} ns in 2 MiB pages, {:.0f} in 4 KiB pages",
                         floors.memory_dependent_huge, floors.memory_dependent));
  table.note(others.sentence());
  table.print();
}

namespace {

const Registered pages_question(Question{30, "pages", "a get from a table in 2 MiB pages against one in 4 KiB pages",
                                         ask_pages});

}  // namespace

}  // namespace hostmap::bench
