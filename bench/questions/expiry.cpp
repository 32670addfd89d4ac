// Question `expiry`: ten million keys have ended. What part of a worker's time does it take to remove them within a minute of
// writes?
//
// Two servers one after the other, with the same keys: of one they end before the minute begins, of the other long after it. A
// client puts at a constant rate that leaves the worker idle most of the time. What the first worker has computed for longer
// than the second one is the cost.

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <fmt/format.h>
#include <fstream>
#include <stdexcept>
#include <string>
#include <thread>

#include <hostmap/client.hpp>

#include "harness/harness.hpp"
#include "harness/instance.hpp"
#include "harness/other_load.hpp"
#include "harness/process.hpp"
#include "harness/question.hpp"
#include "harness/workload.hpp"

namespace hostmap::bench {
namespace {

using namespace std::chrono_literals;

constexpr double kGoalPercent = 2;
// In which 10^7 keys are to be removed; fewer in a shorter time.
constexpr std::chrono::milliseconds kMinute = 60s;
constexpr std::uint64_t kEntriesOfAMinute = 10'000'000;
constexpr std::uint64_t kPutsPerMillisecond = 20;
constexpr std::uint64_t kWritten = 1'000;  // different keys, which do not end

std::chrono::milliseconds window_of(std::uint64_t entries) {
  return std::max<std::chrono::milliseconds>(kMinute * entries / kEntriesOfAMinute, 2s);
}

// What all workers of a server have computed, in seconds.
double worker_seconds(const Instance& instance) {
  double seconds = 0;
  for (const auto& task : std::filesystem::directory_iterator(fmt::format("/proc/{}/task", instance.server_pid()))) {
    std::string name;
    std::getline(std::ifstream(task.path() / "comm"), name);
    if (!name.starts_with("worker ")) continue;
    double nanoseconds = 0;
    std::ifstream(task.path() / "schedstat") >> nanoseconds;
    seconds += nanoseconds / 1e9;
  }
  if (seconds == 0) throw std::runtime_error("the kernel does not say how long the workers have computed");
  return seconds;
}

}  // namespace

// Entries of 16 + 100 bytes that end all at one time, so many milliseconds from now on.
static int play_expiry_loader(std::span<char* const> arguments) {
  Client client = connect_to(arguments[0]);
  const std::uint64_t entries = std::strtoull(arguments[1], nullptr, 10);
  const Clock::time_point end = Clock::now() + std::chrono::milliseconds(std::strtoll(arguments[2], nullptr, 10));
  for (std::uint64_t position = 0; position < entries; ++position) {
    const std::uint64_t index = load_order(position, entries);
    const EntryKey key = entry_key_of(index);
    const EntryValue value = entry_value_of(index);
    const auto ttl = std::chrono::ceil<std::chrono::milliseconds>(end - Clock::now());
    if (const Status status = client.put_async(bytes_of(key), bytes_of(value), ttl); !status.ok()) {
      throw std::runtime_error(fmt::format("put_async: {}", status.message()));
    }
  }
  if (const Status status = client.flush(); !status.ok()) {
    throw std::runtime_error(fmt::format("flush: {}", status.message()));
  }
  return 0;
}

// Puts at a constant rate for so many milliseconds.
static int play_expiry_writer(std::span<char* const> arguments) {
  Client client = connect_to(arguments[0]);
  const Clock::time_point end = Clock::now() + std::chrono::milliseconds(std::strtoll(arguments[1], nullptr, 10));
  std::uint64_t number = 0;
  for (Clock::time_point next = Clock::now(); next < end; next += 1ms) {
    std::this_thread::sleep_until(next);
    for (std::uint64_t i = 0; i < kPutsPerMillisecond; ++i, ++number) {
      const EntryKey key = entry_key_of(~(number % kWritten));  // none of those that are loaded
      if (const Status status = client.put_async(bytes_of(key), bytes_of(number)); !status.ok()) {
        throw std::runtime_error(fmt::format("put_async: {}", status.message()));
      }
    }
    if (const Status status = client.flush(); !status.ok()) {
      throw std::runtime_error(fmt::format("flush: {}", status.message()));
    }
  }
  return 0;
}

namespace {

struct Measured {
  double load_seconds = 0;
  double worker_seconds = 0;   // in the window
  double removal_seconds = 0;  // until none that has ended is left; 0: none has ended
  std::uint64_t removed = 0;
};

// `ends_after`: from the begin of the loading.
Measured measure(std::uint64_t entries, std::chrono::milliseconds ends_after, bool they_end) {
  Measured measured;
  const std::chrono::milliseconds window = window_of(entries);
  Instance instance({"--memory", memory_for(entries), "--workers", "1"});
  const Clock::time_point start = Clock::now();
  Child loader({.program = own_program(),
                .arguments = {"--role", "expiry-loader", instance.name(), std::to_string(entries),
                              std::to_string(ends_after.count())}});
  loader.wait(600s);
  measured.load_seconds = std::chrono::duration<double>(Clock::now() - start).count();
  if (instance.stat("expiring") != entries) throw std::runtime_error("the keys have ended before all were loaded");
  // The first worker begins before the end, the second one has nothing to wait for.
  if (they_end) std::this_thread::sleep_until(start + ends_after - 10ms);
  const double before = worker_seconds(instance);
  const Clock::time_point begin = Clock::now();
  Child writer({.program = own_program(),
                .arguments = {"--role", "expiry-writer", instance.name(), std::to_string(window.count())}});
  while (they_end && measured.removal_seconds == 0 && Clock::now() < begin + window) {
    std::this_thread::sleep_for(100ms);
    if (instance.stat("expired") < entries) continue;
    measured.removal_seconds = std::chrono::duration<double>(Clock::now() - begin).count();
  }
  writer.wait(window + 60s);
  measured.worker_seconds = worker_seconds(instance) - before;
  measured.removed = instance.stat("expired");
  instance.stop();
  return measured;
}

}  // namespace

static void ask_expiry(Session& session) {
  session.progress.step("expiry");
  const OtherLoad others;
  const std::uint64_t entries = session.choices.max_entries;
  const auto window_seconds = std::chrono::duration<double>(window_of(entries)).count();
  session.progress.detail("keys that stay");
  const Measured staying = measure(entries, 1h, false);
  session.progress.detail("keys that end");
  const auto end = std::chrono::milliseconds(static_cast<std::int64_t>(staying.load_seconds * 2000) + 5'000);
  const Measured ending = measure(entries, end, true);
  if (ending.removed != entries) {
    throw std::runtime_error(
        fmt::format("of {} keys that have ended, {} were removed in {} s", entries, ending.removed, window_seconds));
  }
  const double seconds = ending.worker_seconds - staying.worker_seconds;
  Finding finding{.name = "expiry/removal",
                  .unit = "% of a worker",
                  .hostmap = seconds / window_seconds * 100,
                  .goal = kGoalPercent};
  session.report.add(finding);

  session.progress.clear();
  Table table(fmt::format("expiry · {} entries of {} + {} bytes, {} puts a second for {} s · s of a worker",
                          format_count(entries), sizeof(EntryKey), sizeof(EntryValue),
                          format_count(kPutsPerMillisecond * 1000), window_seconds),
              {"", "computed", "until removed", "of a worker", "goal", ""});
  table.row({{"they end", Tone::kStrong},
             {fmt::format("{:.2f}", ending.worker_seconds), Tone::kStrong},
             {fmt::format("{:.1f}", ending.removal_seconds)},
             {fmt::format("{:.1f} %", finding.hostmap)},
             {fmt::format("≤ {} %", kGoalPercent)},
             verdict(*finding.goal_met())});
  table.row({{"they stay"}, {fmt::format("{:.2f}", staying.worker_seconds)}, {""}, {""}, {""}, {""}});
  table.note(fmt::format("to remove a key took {:.0f} ns", seconds / static_cast<double>(entries) * 1e9));
  table.note(others.sentence());
  table.print();
}

namespace {

const Registered expiry_question(Question{135, "expiry", "what it costs to remove ten million keys that have ended",
                                          ask_expiry});
const Registered expiry_loader_role(Role{"expiry-loader", 3, play_expiry_loader});
const Registered expiry_writer_role(Role{"expiry-writer", 2, play_expiry_writer});

}  // namespace

}  // namespace hostmap::bench
