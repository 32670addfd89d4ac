// Question `values`: how many bytes a second does a large value take to be read, and to be written?
//
// The floor of a read is memcpy from memory that another process has written and shares: as many distinct values of the
// same size, in pages of the same size, read in the same order, into the same buffer. 256 MiB of each, so that
// neither comes out of a cache. A put is synchronous: the value goes through the ring in pieces, and the server copies
// it once more.

#include <algorithm>
#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <fcntl.h>
#include <fmt/format.h>
#include <iostream>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <sys/mman.h>
#include <utility>
#include <vector>

#include <hostmap/client.hpp>

#include "base/unique_fd.hpp"
#include "harness/floors.hpp"
#include "harness/harness.hpp"
#include "harness/instance.hpp"
#include "harness/other_load.hpp"
#include "harness/process.hpp"
#include "harness/question.hpp"
#include "harness/workload.hpp"
#include "shm/region.hpp"

namespace hostmap::bench {
namespace {

using namespace std::chrono_literals;

constexpr std::array<std::uint64_t, 3> kSizes{std::uint64_t{64} << 10U, std::uint64_t{1} << 20U,
                                              std::uint64_t{16} << 20U};
constexpr std::uint64_t kSizeOfGoal = std::uint64_t{1} << 20U;
constexpr double kGoal = 0.5;
constexpr std::uint64_t kDistinctBytes = std::uint64_t{256} << 20U;  // eight times a large L3
constexpr std::uint64_t kBytesOfRound = std::uint64_t{512} << 20U;
constexpr unsigned kDefaultRounds = 5;
/// A value of 64 KiB and its key take three slabs of 32 KiB, and a put holds the old value and the new one.
constexpr std::string_view kMemory = "1G";

enum Way : std::size_t { kGet, kCopy, kPut, kWays };

// ---- values -------------------------------------------------------------------------------------

/// All values of one size: each is a window of one stretch of random words, at a place of its own, so that no two are
/// equal and none must be made while the time counts. A put changes a value to its other version.
class Values {
 public:
  explicit Values(std::uint64_t bytes)
      : bytes_(bytes), count_(kDistinctBytes / bytes), words_((bytes + 2 * count_ * kStep) / sizeof(std::uint64_t)) {
    Random random(bytes);
    for (std::uint64_t& word : words_) word = random.next();
  }

  [[nodiscard]] std::uint64_t bytes() const { return bytes_; }
  [[nodiscard]] std::uint64_t count() const { return count_; }
  [[nodiscard]] std::span<const std::byte> value(std::uint64_t index, bool other) const {
    return std::as_bytes(std::span(words_)).subspan((2 * index + (other ? 1 : 0)) * kStep, bytes_);
  }
  /// Throws unless `found` is that value.
  void check(std::span<const std::byte> found, std::uint64_t index, bool other) const {
    const std::span<const std::byte> expected = value(index, other);
    if (found.size() != expected.size() || std::memcmp(found.data(), expected.data(), expected.size()) != 0) {
      throw std::runtime_error("values: a value is not the one that was written");
    }
  }

 private:
  static constexpr std::uint64_t kStep = 64;

  std::uint64_t bytes_;
  std::uint64_t count_;
  std::vector<std::uint64_t> words_;
};

/// Calls act(index) for random values, a round's bytes in all; returns gigabytes (10^9) a second.
template <typename Act>
double time_acts(const Values& values, std::uint64_t round, const Act& act) {
  Random random(round + 1);
  const std::uint64_t acts = kBytesOfRound / values.bytes();
  const Clock::time_point start = Clock::now();
  for (std::uint64_t done = 0; done < acts; ++done) act(random.below(values.count()));
  const std::chrono::duration<double, std::nano> taken = Clock::now() - start;
  return static_cast<double>(acts * values.bytes()) / taken.count();
}

// ---- the memory of another process --------------------------------------------------------------

/// Shared memory with all values one behind the other. It has no name: a reader opens the writer's descriptor,
/// and it goes with the last process that has it.
class SharedValues {
 public:
  explicit SharedValues(const Values& values) {
    UniqueFd file(::memfd_create("hostmap-bench-values", MFD_CLOEXEC));
    if (!file) throw std::runtime_error("values: memfd_create failed");
    Result<Region> region = Region::from_descriptor(std::move(file), "values", kDistinctBytes);
    if (!region || !region->populate(0, kDistinctBytes).ok()) throw std::runtime_error("values: no shared memory");
    region_ = std::move(*region);
    // As the server does for its table's.
    for (std::uint64_t offset = 0; offset < kDistinctBytes; offset += kHugePageSize) {
      huge_bytes_ += region_.collapse(offset, kHugePageSize);
    }
    for (std::uint64_t index = 0; index < values.count(); ++index) {
      std::memcpy(region_.data() + index * values.bytes(), values.value(index, false).data(), values.bytes());
    }
  }
  [[nodiscard]] int descriptor() const { return region_.fd(); }
  /// How much of it lies in 2 MiB pages.
  [[nodiscard]] std::uint64_t huge_bytes() const { return huge_bytes_; }

 private:
  Region region_;
  std::uint64_t huge_bytes_ = 0;
};

std::span<const std::byte> map_shared_values(const std::string& path) {
  const UniqueFd file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  void* memory = file ? ::mmap(nullptr, kDistinctBytes, PROT_READ, MAP_SHARED, file.get(), 0) : MAP_FAILED;
  if (memory == MAP_FAILED) throw std::runtime_error("values: the writer's memory cannot be mapped");
  return {static_cast<const std::byte*>(memory), kDistinctBytes};
}

// ---- the reader ---------------------------------------------------------------------------------

class Reader {
 public:
  Reader(const std::string& instance, const std::string& shared, std::uint64_t bytes)
      : values_(bytes),
        client_(connect_to(instance, 60s)),
        shared_(map_shared_values(shared)),
        buffer_(bytes),
        others_(values_.count()) {
    for (std::uint64_t index = 0; index < values_.count(); ++index) put(index, false);
    check_all();
  }

  /// Gigabytes a second of one round.
  double run(Way way, std::uint64_t round) {
    std::uint64_t last = 0;
    const auto note = [&](std::uint64_t index) { last = index; };
    double rate = 0;
    if (way == kGet) {
      rate = time_acts(values_, round, [&](std::uint64_t index) { get(index), note(index); });
      values_.check(buffer_, last, others_[last]);
    } else if (way == kCopy) {
      rate = time_acts(values_, round, [&](std::uint64_t index) { copy(index), note(index); });
      values_.check(buffer_, last, false);
    } else {
      rate = time_acts(values_, round, [&](std::uint64_t index) { put(index, !others_[index]); });
      check_all();
    }
    return rate;
  }

 private:
  void get(std::uint64_t index) {
    const Result<std::size_t> bytes = client_.get_into(bytes_of(key_of(index)), std::span(buffer_));
    if (!bytes || *bytes != values_.bytes()) {
      throw std::runtime_error(fmt::format("get_into: {}", bytes.status().message()));
    }
  }
  void copy(std::uint64_t index) {
    std::memcpy(buffer_.data(), shared_.data() + index * values_.bytes(), values_.bytes());
    keep(static_cast<std::uint64_t>(buffer_[0]));
  }
  void put(std::uint64_t index, bool other) {
    if (const Status status = client_.put(bytes_of(key_of(index)), values_.value(index, other)); !status.ok()) {
      throw std::runtime_error(fmt::format("put: {}", status.message()));
    }
    others_[index] = other;
  }
  void check_all() {
    for (std::uint64_t index = 0; index < values_.count(); ++index) {
      get(index);
      values_.check(buffer_, index, others_[index]);
      copy(index);
      values_.check(buffer_, index, false);
    }
  }

  Values values_;
  Client client_;
  std::span<const std::byte> shared_;
  std::vector<std::byte> buffer_;
  std::vector<bool> others_;  // which version of each value hostmap has
};

struct Figures {
  std::array<Series, kWays> rates;
  std::uint64_t huge_bytes = 0;         // of the table, in 2 MiB pages
  std::uint64_t shared_huge_bytes = 0;  // of the floor's memory
};

Figures run_size(Session& session, std::uint64_t bytes, unsigned rounds, std::pair<int, int> cpus) {
  session.progress.step(fmt::format("values · {} KiB", bytes >> 10U));
  Instance instance({"--memory", std::string(kMemory)});
  instance.pin_server(cpus.first);
  Child writer({.program = own_program(), .arguments = {"--role", "values-writer", std::to_string(bytes)}});
  const std::string descriptor = writer.hear(60s);
  Figures figures;
  figures.shared_huge_bytes = std::strtoull(writer.hear(60s).c_str(), nullptr, 10);
  Child reader({.program = own_program(),
                .arguments = {"--role", "values-reader", instance.name(),
                              fmt::format("/proc/{}/fd/{}", writer.pid(), descriptor), std::to_string(bytes)},
                .cpu = cpus.second});
  if (reader.hear(120s) != "loaded") throw std::runtime_error("values: the reader has not loaded its values");
  interleave(rounds, kWays, [&](unsigned round, std::size_t way) {
    session.progress.detail(fmt::format("round {} of {}", round + 1, rounds));
    reader.say(fmt::format("{} {}", way, round));
    figures.rates[way].add(std::strtod(reader.hear(120s).c_str(), nullptr));
  });
  reader.wait(30s);
  writer.wait(30s);
  figures.huge_bytes = instance.stat("huge_page_bytes");
  if (instance.stat("gets_by_ring") != 0) throw std::runtime_error("values: a get went to the server");
  instance.stop();
  return figures;
}

std::string size_text(std::uint64_t bytes) {
  return bytes >> 20U == 0 ? fmt::format("{} KiB", bytes >> 10U) : fmt::format("{} MiB", bytes >> 20U);
}

}  // namespace

static int play_values_writer(std::span<char* const> arguments) {
  const SharedValues shared(Values(std::strtoull(arguments[0], nullptr, 10)));
  fmt::print("{}\n{}\n", shared.descriptor(), shared.huge_bytes());
  std::fflush(stdout);
  for (std::string line; std::getline(std::cin, line);) {
  }
  return 0;
}

// In the reader's process: a line on standard input is a way and a round.
static int play_values_reader(std::span<char* const> arguments) {
  Reader reader(arguments[0], arguments[1], std::strtoull(arguments[2], nullptr, 10));
  fmt::print("loaded\n");
  std::fflush(stdout);
  std::size_t way = 0;
  std::uint64_t round = 0;
  while (std::cin >> way >> round) {
    fmt::print("{}\n", reader.run(static_cast<Way>(way), round));
    std::fflush(stdout);
  }
  return 0;
}

static void ask_values(Session& session) {
  const std::vector<int> cpus = allowed_cpus();
  if (cpus.size() < 2) {
    session.progress.step("values · skipped, needs two CPUs");
    return;
  }
  const OtherLoad others;
  const unsigned rounds = session.choices.rounds == 0 ? kDefaultRounds : session.choices.rounds;
  Table table(fmt::format("values · GB (10^9 bytes) a second, median of {} rounds", rounds),
              {"", "get_into", "memcpy", "get_into : memcpy", "goal", "", "put"});
  std::uint64_t huge_bytes = 0;
  std::uint64_t shared_huge_bytes = 0;
  for (const std::uint64_t bytes : kSizes) {
    const Figures figures = run_size(session, bytes, rounds, {cpus[0], cpus[1]});
    huge_bytes = std::max(huge_bytes, figures.huge_bytes);
    shared_huge_bytes = std::max(shared_huge_bytes, figures.shared_huge_bytes);
    Finding get{.name = fmt::format("values/get/{}", bytes),
                .unit = "GB/s",
                .hostmap = figures.rates[kGet].median(),
                .rivals = {{"memcpy", figures.rates[kCopy].median()}},
                .ratio = ratio_of(figures.rates[kGet], figures.rates[kCopy]),
                .better = Better::kHigher};
    if (bytes == kSizeOfGoal) get.goal = kGoal;
    session.report.add(get);
    session.report.add({.name = fmt::format("values/put/{}", bytes),
                        .unit = "GB/s",
                        .hostmap = figures.rates[kPut].median(),
                        .rivals = {{"memcpy", figures.rates[kCopy].median()}},
                        .ratio = ratio_of(figures.rates[kPut], figures.rates[kCopy]),
                        .better = Better::kHigher});
    table.row({{size_text(bytes), Tone::kStrong},
               {format_series(figures.rates[kGet]), Tone::kStrong},
               {format_series(figures.rates[kCopy])},
               {format_ratio(*get.ratio), Tone::kStrong},
               {get.goal ? fmt::format("≥ {:.1f}", kGoal) : ""},
               get.goal ? verdict(*get.goal_met()) : Cell{""},
               {format_series(figures.rates[kPut]), Tone::kStrong}});
  }
  table.note(fmt::format("2 MiB pages: {} MiB of hostmap's table, {} MiB of what memcpy reads; {} MiB of values each",
                         huge_bytes >> 20U, shared_huge_bytes >> 20U, kDistinctBytes >> 20U));
  table.note(others.sentence());
  session.progress.clear();
  table.print();
}

namespace {

const Registered values_question(Question{140, "values", "large values read and written, against memcpy", ask_values});
const Registered values_writer_role(Role{"values-writer", 1, play_values_writer});
const Registered values_reader_role(Role{"values-reader", 3, play_values_reader});

}  // namespace

}  // namespace hostmap::bench
