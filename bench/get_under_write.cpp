// Question `get-under-write`: what does a get cost while the worker writes at full rate into the same table?
//
// The worker and the client that feeds it share one CPU, the reader has the other: on two CPUs nothing writes faster without
// taking time from the reader. What they write are the very pairs that are read, so lines travel to the reader, too.

#include <array>
#include <cstdint>
#include <cstdlib>
#include <fmt/format.h>
#include <iostream>
#include <poll.h>
#include <stdexcept>
#include <string>
#include <unistd.h>

#include <hostmap/client.hpp>

#include "floors.hpp"
#include "forms.hpp"
#include "harness.hpp"
#include "other_load.hpp"
#include "question.hpp"
#include "reading.hpp"

namespace hostmap::bench {
namespace {

using namespace std::chrono_literals;

constexpr std::array<std::uint64_t, 2> kSizes{100'000, 10'000'000};
constexpr unsigned kDefaultRounds = 7;
constexpr double kGoal = 1.5;

bool input_waits() {
  pollfd input{STDIN_FILENO, POLLIN, 0};
  return ::poll(&input, 1, 0) > 0;
}

struct Figures {
  Series idle;
  Series under_write;
  Series million_writes_per_second;
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
  }
  writer.close_input();
  writer.wait(30s);
  reader.finish();
  instance.stop();
  return figures;
}

}  // namespace

// Between a line on standard input and the next one it puts pairs that are there already, with the values that they have, and
// then tells how many.
int play_steady_writer(std::span<char* const> arguments) {
  constexpr unsigned kPutsPerLook = 4096;
  Client client = connect_to(arguments[0]);
  const std::uint64_t entries = std::strtoull(arguments[1], nullptr, 10);
  Random random(5);
  for (std::string line; std::getline(std::cin, line);) {
    std::uint64_t written = 0;
    do {
      for (unsigned put = 0; put < kPutsPerLook; ++put, ++written) {
        const std::uint64_t index = random.below(entries);
        const std::uint64_t key = key_of(index);
        const std::uint64_t value = value_of(index);
        if (const Status status = client.put_async(bytes_of(key), bytes_of(value)); !status.ok()) {
          throw std::runtime_error(fmt::format("put_async: {}", status.message()));
        }
      }
    } while (!input_waits());
    std::getline(std::cin, line);
    if (const Status status = client.flush(); !status.ok()) {
      throw std::runtime_error(fmt::format("flush: {}", status.message()));
    }
    fmt::print("{}\n", written);
    std::fflush(stdout);
  }
  return 0;
}

void ask_get_under_write(Session& session) {
  if (allowed_cpus().size() < 2) {
    session.progress.step("get-under-write · skipped, needs two CPUs");
    return;
  }
  const unsigned rounds = session.choices.rounds == 0 ? kDefaultRounds : session.choices.rounds;
  const OtherLoad others;
  Table table(fmt::format("get-under-write · 8 + 8 bytes, uniform hits · ns a get, median of {} rounds", rounds),
              {"", "nobody writes", "full rate", "million writes/s", "ratio", "goal", ""});
  for (const std::uint64_t entries : session.choices.capped(kSizes)) {
    const Figures figures = measure(session, entries, rounds);
    Finding finding{.name = fmt::format("get-under-write/{}", entries),
                    .unit = "ns",
                    .hostmap = figures.under_write.median(),
                    .rivals = {{"nobody writes", figures.idle.median()}},
                    .ratio = ratio_of(figures.under_write, figures.idle),
                    .goal = kGoal};
    session.report.add(finding);
    table.row({{fmt::format("{} entries", format_count(entries)), Tone::kStrong},
               {format_series(figures.idle)},
               {format_series(figures.under_write), Tone::kStrong},
               {format_series(figures.million_writes_per_second)},
               {format_ratio(*finding.ratio), Tone::kStrong},
               {fmt::format("≤ {:.1f}", kGoal)},
               verdict(*finding.goal_met())});
  }
  session.progress.clear();
  table.note(
      "worker and writing client on one CPU, the reader on the other; the pairs that are written are those that are "
      "read");
  table.note(others.sentence());
  table.print();
}

}  // namespace hostmap::bench
