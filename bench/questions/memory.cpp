// Question `memory`: how many bytes does an entry take beyond its key and value?
//
// What counts is what the table has populated, head, buckets and slack included, for populated memory never goes back
// to the system. Freshly loaded, and after values of changing sizes have been put in their places. Redis is given the
// same entries. A second table shows how much of the memory of erased entries those of another size can use. Nothing
// here depends on the speed of the machine: there is one round.

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdint>
#include <cstdlib>
#include <fmt/format.h>
#include <fstream>
#include <iostream>
#include <optional>
#include <span>
#include <sstream>
#include <stdexcept>
#include <string>
#include <string_view>
#include <sys/stat.h>
#include <vector>

#include <hostmap/client.hpp>

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

/// The goals are stated for so many.
constexpr std::uint64_t kEntries = 1'000'000;
constexpr std::uint64_t kKeyBytes = 16;
constexpr std::uint64_t kValueBytes = 100;
constexpr std::uint64_t kPairBytes = 16;
constexpr std::uint64_t kOverwritesOfEach = 2;
constexpr std::uint64_t kLeastChurned = 50;
constexpr std::uint64_t kMostChurned = 200;
constexpr std::uint64_t kLargeValueBytes = 1024;
/// One key may find no room in its bucket while another does; after so many refusals in a row the server is full.
constexpr unsigned kRefusalsOfFull = 100;
constexpr std::uint64_t kRefillMemoryMebibytes = 64;
constexpr double kGoalFresh = 32;
constexpr double kGoalChurned = 48;
constexpr double kGoalReused = 0.8;
/// The server counts what it populates, the file system what it holds: they must agree to this.
constexpr double kTolerance = 0.01;

// ---- entries ------------------------------------------------------------------------------------

void check(const Status& status, std::string_view call) {
  if (!status.ok()) throw std::runtime_error(fmt::format("memory: {}: {}", call, status.message()));
}

void check_value(Client& client, const EntryKey& key, std::string_view expected) {
  const Result<std::string> found = client.get(bytes_of(key));
  if (!found || *found != expected) throw std::runtime_error("memory: a value is not the one that was put last");
}

// ---- churn --------------------------------------------------------------------------------------

/// Put in place of 100 bytes each, which leaves blocks of a size that hardly any put needs any more; or of values of
/// the same sizes, as a map has them that has been used for long.
enum Before : std::size_t { kOneSize, kSameSizes };
constexpr std::array<std::string_view, 2> kBeforeNames{"one-size", "same-sizes"};

/// The value of an entry after put number `version`, counted from 1; 0 is what load_hostmap_entries has loaded.
std::string churned_value(std::uint64_t index, std::uint32_t version) {
  if (version == 0) {
    const EntryValue loaded = entry_value_of(index);
    return {reinterpret_cast<const char*>(loaded.data()), loaded.size()};
  }
  const std::uint64_t bytes = kLeastChurned + scale(mix(version), kMostChurned - kLeastChurned + 1);
  std::string value(bytes, static_cast<char>('a' + version % 26));
  value.replace(0, sizeof version, reinterpret_cast<const char*>(&version), sizeof version);
  return value;
}

// ---- fill, erase, fill again --------------------------------------------------------------------

/// Puts new keys until the server is full; each run of them is a range of numbers.
class Filler {
 public:
  explicit Filler(Client& client) : client_(client) {}

  /// The numbers of the keys that found room.
  std::vector<std::uint64_t> fill(const std::string& value) {
    std::vector<std::uint64_t> stored;
    for (unsigned refused = 0; refused < kRefusalsOfFull;) {
      const EntryKey key = entry_key_of(next_);
      const Status status = client_.put(bytes_of(key), value);
      if (status.ok()) {
        stored.push_back(next_);
        refused = 0;
      } else if (status == StatusCode::kFull) {
        ++refused;
      } else {
        check(status, "put");
      }
      ++next_;
    }
    return stored;
  }

 private:
  Client& client_;
  std::uint64_t next_ = 0;
};

struct Refill {
  std::uint64_t stored = 0;     // entries until it was full
  std::uint64_t unasked = 0;    // new ones that found room before anything was erased
  std::uint64_t erased = 0;     // entries
  std::uint64_t refilled = 0;   // new entries after that
  std::uint64_t new_bytes = 0;  // of a new entry, key and value

  [[nodiscard]] double freed_bytes() const { return static_cast<double>(erased * (kKeyBytes + kValueBytes)); }
  [[nodiscard]] double used_bytes() const { return static_cast<double>(refilled * new_bytes); }
  [[nodiscard]] double reused() const { return used_bytes() / freed_bytes(); }
};

// ---- what the table takes -----------------------------------------------------------------------

/// Bytes of the server's mapping of the table that are in memory (smaps, Rss).
std::uint64_t resident_bytes(const Instance& instance) {
  std::ifstream smaps(fmt::format("/proc/{}/smaps", instance.server_pid()));
  const std::string path = fmt::format("/dev/shm/{}-table", instance.name());
  std::uint64_t bytes = 0;
  bool of_table = false;
  for (std::string line; std::getline(smaps, line);) {
    // A mapping's first line begins with its addresses, in lower case; the others with a name.
    if (!line.empty() && (line[0] < 'A' || line[0] > 'Z')) of_table = line.ends_with(path);
    constexpr std::string_view kRss = "Rss:";
    if (of_table && line.starts_with(kRss)) bytes += 1024 * std::strtoull(&line[kRss.size()], nullptr, 10);
  }
  return bytes;
}

/// Bytes that the file system holds for the table's file.
std::uint64_t file_bytes(const Instance& instance) {
  constexpr std::uint64_t kBlock = 512;  // of st_blocks, whatever the file system
  struct stat facts {};
  if (::stat(fmt::format("/dev/shm/{}-table", instance.name()).c_str(), &facts) != 0) {
    throw std::runtime_error("memory: the table has no file in /dev/shm");
  }
  return static_cast<std::uint64_t>(facts.st_blocks) * kBlock;
}

struct Taken {
  std::uint64_t populated = 0;
  std::uint64_t resident = 0;
  std::uint64_t live = 0;  // keys and values
  std::uint64_t entries = 0;

  [[nodiscard]] double each() const { return static_cast<double>(populated) / static_cast<double>(entries); }
  [[nodiscard]] double overhead() const {
    return (static_cast<double>(populated) - static_cast<double>(live)) / static_cast<double>(entries);
  }
};

Taken taken_by(const Instance& instance, std::uint64_t entries, std::uint64_t live) {
  if (const std::uint64_t found = instance.stat("entries"); found != entries) {
    throw std::runtime_error(fmt::format("memory: there are {} entries, not {}", found, entries));
  }
  const Taken taken{.populated = instance.stat("memory_bytes"),
                    .resident = resident_bytes(instance),
                    .live = live,
                    .entries = entries};
  const double file = static_cast<double>(file_bytes(instance));
  if (std::abs(static_cast<double>(taken.populated) - file) > kTolerance * file) {
    throw std::runtime_error(
        fmt::format("memory: the server counts {} bytes, the file system {}", taken.populated, file));
  }
  return taken;
}

Taken taken_by_redis(const std::string& form, std::uint64_t entries, std::uint64_t live) {
  const RedisServer redis;
  Child loader({.program = own_program(),
                .arguments = {"--role", "memory-redis", redis.socket(), form, std::to_string(entries)}});
  loader.wait(300s);
  RedisClient client(redis.socket());
  if (client.size() != entries) throw std::runtime_error("memory: redis-server does not have the entries");
  return {.populated = client.memory("used_memory"),
          .resident = client.memory("used_memory_rss"),
          .live = live,
          .entries = entries};
}

struct Figures {
  Taken fresh;
  std::array<Taken, kBeforeNames.size()> churned;
  Taken redis_entries;
  Taken pairs;
  Taken redis_pairs;
};

Taken taken_after_churn(const Instance& instance, std::uint64_t entries, Before before) {
  Child churner({.program = own_program(),
                 .arguments = {"--role", "memory-churn", instance.name(), std::to_string(entries),
                               std::string(kBeforeNames[before])}});
  const std::uint64_t live = std::strtoull(churner.hear(300s).c_str(), nullptr, 10);
  churner.wait(30s);
  return taken_by(instance, entries, live);
}

Figures take_figures(Session& session, std::uint64_t entries) {
  Figures figures;
  const std::uint64_t live = entries * (kKeyBytes + kValueBytes);
  {
    session.progress.detail("entries");
    Instance instance({"10", "--memory", memory_for(entries)});
    load_hostmap_entries(instance, entries);
    figures.fresh = taken_by(instance, entries, live);
    session.progress.detail("churn");
    figures.churned[kOneSize] = taken_after_churn(instance, entries, kOneSize);
    instance.stop();
  }
  {
    Instance instance({"10", "--memory", memory_for(entries)});
    figures.churned[kSameSizes] = taken_after_churn(instance, entries, kSameSizes);
    instance.stop();
  }
  {
    session.progress.detail("pairs");
    Instance instance({"10", "--memory", memory_for(entries)});
    load_hostmap(instance, entries);
    figures.pairs = taken_by(instance, entries, entries * kPairBytes);
    instance.stop();
  }
  session.progress.detail("redis");
  figures.redis_entries = taken_by_redis("entries", entries, live);
  figures.redis_pairs = taken_by_redis("pairs", entries, entries * kPairBytes);
  return figures;
}

Refill run_refill(Session& session, std::uint64_t value_bytes) {
  session.progress.detail(fmt::format("filled again with values of {} bytes", value_bytes));
  Instance instance({"10", "--memory", fmt::format("{}M", kRefillMemoryMebibytes)});
  Child filler({.program = own_program(),
                .arguments = {"--role", "memory-refill", instance.name(), std::to_string(value_bytes)}});
  Refill refill{.new_bytes = kKeyBytes + value_bytes};
  std::istringstream line(filler.hear(300s));
  line >> refill.stored >> refill.unasked >> refill.erased >> refill.refilled;
  if (!line) throw std::runtime_error("memory: the client did not print how much it stored");
  filler.wait(30s);
  if (const std::uint64_t found = instance.stat("entries");
      found != refill.stored + refill.unasked - refill.erased + refill.refilled) {
    throw std::runtime_error(fmt::format("memory: there are {} entries, not those that were put", found));
  }
  instance.stop();
  return refill;
}

// ---- what is printed ----------------------------------------------------------------------------

std::string mebibytes(std::uint64_t bytes) { return format_figure(static_cast<double>(bytes) / 0x1p20); }

void report_taken(Session& session, const Figures& figures, std::uint64_t entries, const OtherLoad& others) {
  Finding fresh{.name = fmt::format("memory/entries/{}", entries),
                .unit = "bytes",
                .hostmap = figures.fresh.overhead(),
                .rivals = {{"redis", figures.redis_entries.overhead()}}};
  Finding churned{.name = fmt::format("memory/churned/{}", entries),
                  .unit = "bytes",
                  .hostmap = figures.churned[kOneSize].overhead()};
  if (entries == kEntries) {
    fresh.goal = kGoalFresh;
    churned.goal = kGoalChurned;
  }
  session.report.add(fresh);
  session.report.add(churned);
  session.report.add({.name = fmt::format("memory/churned-same-sizes/{}", entries),
                      .unit = "bytes",
                      .hostmap = figures.churned[kSameSizes].overhead()});
  session.report.add({.name = fmt::format("memory/pairs/{}", entries),
                      .unit = "bytes",
                      .hostmap = figures.pairs.each(),
                      .rivals = {{"redis", figures.redis_pairs.each()}}});

  Table table(fmt::format("memory · {} entries", format_count(entries)),
              {"", "MiB", "resident", "bytes each", "of which overhead", "goal", ""});
  const auto row = [&](std::string name, const Taken& taken, const Finding* finding, Tone tone) {
    const bool has_goal = finding != nullptr && finding->goal;
    table.row({{std::move(name), tone},
               {mebibytes(taken.populated), tone},
               {mebibytes(taken.resident), tone},
               {fmt::format("{:.1f}", taken.each()), tone},
               {fmt::format("{:.1f}", taken.overhead()), tone},
               {has_goal ? fmt::format("≤ {:.0f}", *finding->goal) : ""},
               has_goal ? verdict(*finding->goal_met()) : Cell{""}});
  };
  row(fmt::format("hostmap, {} + {} bytes", kKeyBytes, kValueBytes), figures.fresh, &fresh, Tone::kStrong);
  row(fmt::format("redis, {} + {} bytes", kKeyBytes, kValueBytes), figures.redis_entries, nullptr, Tone::kPlain);
  row(fmt::format("hostmap, then {} overwrites by {} to {} bytes", format_count(kOverwritesOfEach * entries),
                  kLeastChurned, kMostChurned),
      figures.churned[kOneSize], &churned, Tone::kStrong);
  row("hostmap, the same where values had these sizes before", figures.churned[kSameSizes], nullptr, Tone::kPlain);
  table.rule();
  row("hostmap, 8 + 8 bytes", figures.pairs, nullptr, Tone::kStrong);
  row("redis, 8 + 8 bytes", figures.redis_pairs, nullptr, Tone::kPlain);
  table.note("hostmap: started with 10 buckets; MiB: memory_bytes of hostmap stat, all that the table has populated");
  table.note("redis: no snapshots, no append-only file, defaults else; MiB: used_memory, resident: used_memory_rss");
  table.note(others.sentence());
  table.print();
}

void report_refill(Session& session, const Refill& large, const Refill& same, const OtherLoad& others) {
  Finding finding{.name = "memory/reused",
                  .unit = "of the freed bytes",
                  .hostmap = large.reused(),
                  .goal = kGoalReused,
                  .better = Better::kHigher};
  session.report.add(finding);
  session.report.add({.name = "memory/reused-same-size",
                      .unit = "of the freed bytes",
                      .hostmap = same.reused(),
                      .better = Better::kHigher});
  Table table(
      fmt::format("memory · {} MiB filled with {} + {} bytes, half erased at random, filled again",
                  kRefillMemoryMebibytes, kKeyBytes, kValueBytes),
      {"filled again with", "entries", "erased", "MiB freed", "new entries", "MiB used", "used : freed", "goal", ""});
  const auto row = [&](const Refill& refill, bool has_goal) {
    table.row({{fmt::format("{} + {} bytes", kKeyBytes, refill.new_bytes - kKeyBytes), Tone::kStrong},
               {format_count(refill.stored)},
               {format_count(refill.erased)},
               {format_figure(refill.freed_bytes() / 0x1p20)},
               {format_count(refill.refilled)},
               {format_figure(refill.used_bytes() / 0x1p20)},
               {format_figure(refill.reused()), Tone::kStrong},
               {has_goal ? fmt::format("≥ {:.1f}", kGoalReused) : ""},
               has_goal ? verdict(*finding.goal_met()) : Cell{""}});
  };
  row(large, true);
  row(same, false);
  table.note(fmt::format("before anything was erased, {} and {} of the new entries found room; they are not counted",
                         large.unasked, same.unasked));
  table.note(others.sentence());
  table.print();
}

}  // namespace

static int play_memory_churn(std::span<char* const> arguments) {
  Client client = connect_to(arguments[0]);
  const std::uint64_t entries = std::strtoull(arguments[1], nullptr, 10);
  std::vector<std::uint32_t> versions(entries);
  std::uint32_t version = 0;
  const auto put = [&](std::uint64_t number) {
    versions[number] = ++version;
    check(client.put_async(bytes_of(entry_key_of(number)), churned_value(number, version)), "put_async");
  };
  if (arguments[2] == kBeforeNames[kSameSizes]) {
    for (std::uint64_t number = 0; number < entries; ++number) put(number);
  }
  Random random(11);
  for (std::uint64_t done = 0; done < kOverwritesOfEach * entries; ++done) put(random.below(entries));
  check(client.flush(), "flush");
  std::uint64_t live = 0;
  for (std::uint64_t number = 0; number < entries; ++number) {
    const std::string value = churned_value(number, versions[number]);
    check_value(client, entry_key_of(number), value);
    live += kKeyBytes + value.size();
  }
  fmt::print("{}\n", live);
  return 0;
}

static int play_memory_refill(std::span<char* const> arguments) {
  Client client = connect_to(arguments[0]);
  const std::string small(kValueBytes, 's');
  const std::string large(std::strtoull(arguments[1], nullptr, 10), 'l');
  Filler filler(client);
  const std::vector<std::uint64_t> stored = filler.fill(small);
  const std::vector<std::uint64_t> unasked = filler.fill(large);
  const auto is_erased = [](std::uint64_t number) { return mix(~number) % 2 == 0; };
  std::uint64_t erased = 0;
  for (const std::uint64_t number : stored) {
    if (!is_erased(number)) continue;
    check(client.erase(bytes_of(entry_key_of(number))), "erase");
    ++erased;
  }
  const std::vector<std::uint64_t> refilled = filler.fill(large);
  for (const std::uint64_t number : stored) {
    const EntryKey key = entry_key_of(number);
    if (!is_erased(number)) {
      check_value(client, key, small);
    } else if (client.exists(bytes_of(key)) != StatusCode::kNotFound) {
      throw std::runtime_error("memory: an erased key is there");
    }
  }
  for (const std::vector<std::uint64_t>* numbers : {&unasked, &refilled}) {
    for (const std::uint64_t number : *numbers) check_value(client, entry_key_of(number), large);
  }
  fmt::print("{} {} {} {}\n", stored.size(), unasked.size(), erased, refilled.size());
  return 0;
}

static int play_memory_redis(std::span<char* const> arguments) {
  RedisClient client(arguments[0]);
  const bool pairs = std::string_view(arguments[1]) == "pairs";
  const std::uint64_t entries = std::strtoull(arguments[2], nullptr, 10);
  for (std::uint64_t number = 0; number < entries; ++number) {
    if (pairs) {
      const std::uint64_t index = load_order(number, entries);
      client.put_later(bytes_of(key_of(index)), bytes_of(value_of(index)));
    } else {
      const std::uint64_t index = load_order(number, entries);
      client.put_later(bytes_of(entry_key_of(index)), bytes_of(entry_value_of(index)));
    }
  }
  client.finish();
  return 0;
}

static void ask_memory(Session& session) {
  const std::uint64_t entries = std::min(kEntries, session.choices.max_entries);
  session.progress.step(fmt::format("memory · {} entries", format_count(entries)));
  const OtherLoad others;
  const Figures figures = take_figures(session, entries);
  session.progress.clear();
  report_taken(session, figures, entries, others);

  session.progress.step("memory · filled, half erased, filled again");
  const OtherLoad others_of_refill;
  const Refill large = run_refill(session, kLargeValueBytes);
  const Refill same = run_refill(session, kValueBytes);
  session.progress.clear();
  report_refill(session, large, same, others_of_refill);
}

namespace {

const Registered memory_question(Question{130, "memory", "bytes that an entry takes beyond its key and value",
                                          ask_memory});
const Registered memory_churn_role(Role{"memory-churn", 3, play_memory_churn});
const Registered memory_refill_role(Role{"memory-refill", 2, play_memory_refill});
const Registered memory_redis_role(Role{"memory-redis", 3, play_memory_redis});

}  // namespace

}  // namespace hostmap::bench
