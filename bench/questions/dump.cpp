// Question `dump`: how fast is a dump, and what do writers lose meanwhile?
//
// Contestants take turns: `hostmap dump -` into a pipe, out of which this process reads it into memory; `hostmap dump FILE`, which syncs
// the file; memcpy of as many bytes from memory that is in no cache; and as many bytes written to a file and synced. The goals are
// against the slower of the last two. The command lowers its own priority, which costs it nothing while a cpu is free.
// A writer in a process of its own puts into the same map: during dumps into the pipe, and beside a loop that only computes, as on a
// machine with few processors any work takes some from the writer.

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fmt/format.h>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <unistd.h>
#include <vector>

#include <hostmap/client.hpp>

#include "dump/file.hpp"
#include "harness/harness.hpp"
#include "harness/instance.hpp"
#include "harness/other_load.hpp"
#include "harness/process.hpp"
#include "harness/question.hpp"
#include "harness/workload.hpp"

namespace hostmap::bench {
namespace {

using namespace std::chrono_literals;

constexpr unsigned kDefaultRounds = 3;
constexpr double kGoal = 0.5;
constexpr double kWriterGoal = 0.9;
constexpr double kMegabyte = 1e6;
constexpr std::size_t kBlock = std::size_t{1} << 20;

enum Kind : std::size_t { kToMemory, kToFile, kMemcpy, kFileWrite, kKinds };
constexpr std::array<std::string_view, kKinds> kNames{"hostmap dump -, read into memory", "hostmap dump FILE", "memcpy",
                                                      "write and sync a file"};

void require(const Status& status) {
  if (!status.ok()) throw std::runtime_error(std::string(status.message()));
}

std::string file_name() {
  return (std::filesystem::temp_directory_path() / fmt::format("hostmap-bench-{}.dump", ::getpid())).string();
}

std::vector<char> memory_of_a_reader() { return std::vector<char>(2 * kBlock); }

Command dump_to(const std::string& name, const std::string& to) {
  return {.program = sibling_program("hostmap"), .arguments = {"--name", name, "dump", to}};
}

/// Bytes of the dump.
std::uint64_t dump_into_memory(const std::string& name) {
  Child dump(dump_to(name, "-"));
  std::vector<char> memory = memory_of_a_reader();
  const std::uint64_t bytes = dump.drain(memory);
  dump.wait(60s);
  return bytes;
}

void dump_into_file(const std::string& name) {
  Child dump(dump_to(name, file_name()));
  static_cast<void>(dump.hear(30min));
  dump.wait(60s);
}

void write_file(std::span<const char> block, std::uint64_t bytes) {
  Result<NewFile> file = NewFile::create(file_name());
  require(file.status());
  for (std::uint64_t left = bytes; left != 0;) {
    const std::size_t part = std::min<std::uint64_t>(left, block.size());
    require(file->write({block.data(), part}));
    left -= part;
  }
  require(file->finish());
}

void copy_all(std::span<const char> source, std::uint64_t bytes) {
  std::vector<char> memory = memory_of_a_reader();
  for (std::uint64_t at = 0; at < bytes; at += kBlock) {
    std::memcpy(memory.data(), source.data() + at % source.size(), kBlock);
    keep(static_cast<std::uint64_t>(memory[0]));
  }
}

double seconds_of(const auto& work) {
  const Clock::time_point begin = Clock::now();
  work();
  return std::chrono::duration<double>(Clock::now() - begin).count();
}

void compute(Clock::duration time) {
  const Clock::time_point end = Clock::now() + time;
  for (std::uint64_t number = 0; Clock::now() < end; ++number) keep(mix(number));
}

/// Puts a second while `work` runs.
double writes_during(Child& writer, const auto& work) {
  double puts = 0;
  const double seconds = seconds_of([&] {
    writer.say("begin");
    work();
    writer.say("end");
    puts = std::strtod(writer.hear(60s).c_str(), nullptr);
  });
  return puts / seconds;
}

}  // namespace

// In the writer's process: puts into the pairs, or the entries of 16 + 100 bytes, that are loaded.
static int play_dump_writer(std::span<char* const> arguments) {
  Client client = connect_to(arguments[0], 60s);
  const bool pairs = std::string_view(arguments[1]) == "pairs";
  const std::uint64_t entries = std::strtoull(arguments[2], nullptr, 10);
  const EntryValue value = entry_value_of(entries);
  Random random(7);
  constexpr std::uint64_t kPutsPerTurn = 4096;
  send_between_lines(client, [&] {
    for (std::uint64_t put = 0; put < kPutsPerTurn; ++put) {
      const std::uint64_t number = random.below(entries);
      const EntryKey key = entry_key_of(number);
      require(pairs ? client.put_async(bytes_of(key[0]), bytes_of(number))
                    : client.put_async(bytes_of(key), bytes_of(value)));
    }
    return kPutsPerTurn;
  });
  return 0;
}

static void ask_dump(Session& session) {
  session.progress.step("dump");
  const OtherLoad others;
  const unsigned rounds = session.choices.rounds == 0 ? kDefaultRounds : session.choices.rounds;
  const std::uint64_t entries = session.choices.max_entries;
  const std::vector<char> source(std::size_t{256} << 20, 'x');
  Table table(fmt::format("dump · {} entries · MB/s, median of {} rounds", format_count(entries), rounds),
              {"", "MB/s", "of the floor", "goal", ""});
  for (const bool pairs : {true, false}) {
    const std::string form = pairs ? "pairs" : "entries";
    session.progress.detail(fmt::format("loading {}", form));
    Instance instance({"--memory", memory_for(entries)});
    if (pairs) {
      load_hostmap(instance, entries);
    } else {
      load_hostmap_entries(instance, entries);
    }
    const std::uint64_t bytes = dump_into_memory(instance.name());
    std::array<Series, kKinds> speeds;
    interleave(rounds, kKinds, [&](unsigned round, std::size_t kind) {
      session.progress.detail(fmt::format("{}, {}, round {} of {}", form, kNames[kind], round + 1, rounds));
      const double seconds = seconds_of([&] {
        if (kind == kToMemory) dump_into_memory(instance.name());
        if (kind == kToFile) dump_into_file(instance.name());
        if (kind == kFileWrite) write_file(source, bytes);
        if (kind == kMemcpy) copy_all(source, bytes);
      });
      speeds[kind].add(static_cast<double>(bytes) / seconds / kMegabyte);
    });
    std::filesystem::remove(file_name());

    Child writer({.program = own_program(),
                  .arguments = {"--role", "dump-writer", instance.name(), form, std::to_string(entries)}});
    Series beside_loop;
    Series during;
    interleave(rounds, 2, [&](unsigned round, std::size_t kind) {
      session.progress.detail(fmt::format("{}, writer, round {} of {}", form, round + 1, rounds));
      (kind == 0 ? beside_loop : during).add(writes_during(writer, [&] {
        if (kind == 0) {
          compute(2s);
        } else {
          dump_into_memory(instance.name());
        }
      }));
    });
    writer.close_input();
    writer.wait(30s);
    instance.stop();

    const Kind floor = speeds[kMemcpy].median() < speeds[kFileWrite].median() ? kMemcpy : kFileWrite;
    for (std::size_t kind = 0; kind < kKinds; ++kind) {
      const bool of_a_dump = kind == kToMemory || kind == kToFile;
      const Tone tone = of_a_dump ? Tone::kStrong : Tone::kFaint;
      std::vector<Cell> row{{fmt::format("{}: {}", form, kNames[kind]), tone},
                            {format_figure(speeds[kind].median()), tone},
                            {format_figure(speeds[kind].median() / speeds[floor].median()), tone}};
      if (of_a_dump) {
        Finding finding{.name = fmt::format("dump/{} {}", form, kind == kToMemory ? "into memory" : "into a file"),
                        .unit = "MB/s",
                        .hostmap = speeds[kind].median(),
                        .rivals = {{"memcpy", speeds[kMemcpy].median()}, {"file", speeds[kFileWrite].median()}},
                        .floor = speeds[floor].median(),
                        .ratio = ratio_of(speeds[kind], speeds[floor]),
                        .goal = kGoal,
                        .better = Better::kHigher};
        row.push_back({fmt::format("≥ {}", kGoal)});
        row.push_back(verdict(*finding.goal_met()));
        session.report.add(std::move(finding));
      }
      table.row(std::move(row));
    }
    Finding writes{.name = fmt::format("dump/writer of {}", form),
                   .unit = "puts/s",
                   .hostmap = during.median(),
                   .floor = beside_loop.median(),
                   .ratio = ratio_of(during, beside_loop),
                   .goal = kWriterGoal,
                   .better = Better::kHigher};
    session.report.add(writes);
    table.row({{fmt::format("{}: puts/s during a dump", form), Tone::kStrong},
               {format_figure(during.median()), Tone::kStrong},
               {format_figure(during.median() / beside_loop.median()), Tone::kStrong},
               {fmt::format("≥ {}", kWriterGoal)},
               verdict(*writes.goal_met())});
  }
  table.note(others.sentence());
  session.progress.clear();
  table.print();
}

namespace {

const Registered dump_question(Question{225, "dump", "how fast a dump is, and what writers lose meanwhile", ask_dump});
const Registered dump_writer_role(Role{"dump-writer", 3, play_dump_writer});

}  // namespace

}  // namespace hostmap::bench
