#include "harness/floors.hpp"

#include <array>
#include <atomic>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <linux/futex.h>
#include <span>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <system_error>
#include <thread>
#include <unistd.h>
#include <utility>
#include <vector>

#include "harness/harness.hpp"
#include "harness/process.hpp"
#include "harness/workload.hpp"

namespace hostmap::bench {
namespace {

constexpr std::size_t kLine = 64;
constexpr std::size_t kMemoryBytes = std::size_t{256} << 20U;  // eight times a large L3
constexpr unsigned kBatches = 7;

double nanoseconds_since(Clock::time_point start) {
  return std::chrono::duration<double, std::nano>(Clock::now() - start).count();
}

/// Two threads on two CPUs store to one line in turn; each loads at once what the other stored.
double measure_ping_pong(std::pair<int, int> cpus) {
  constexpr std::uint64_t kRoundTrips = 20'000;
  alignas(2 * kLine) std::atomic<std::uint64_t> turn{0};
  const auto await = [&](std::uint64_t awaited) {
    while (turn.load(std::memory_order_acquire) != awaited) {
    }
  };
  std::jthread answerer([&] {
    pin_to(cpus.second);
    for (std::uint64_t round = 0; round <= kRoundTrips; ++round) {
      await(2 * round + 1);
      turn.store(2 * round + 2, std::memory_order_release);
    }
  });
  Clock::time_point start;
  std::jthread asker([&] {
    pin_to(cpus.first);
    for (std::uint64_t round = 0; round <= kRoundTrips; ++round) {
      if (round == 1) start = Clock::now();  // round 0 waits for both threads to start
      turn.store(2 * round + 1, std::memory_order_release);
      await(2 * round + 2);
    }
  });
  asker.join();
  return nanoseconds_since(start) / kRoundTrips;
}

/// Two threads on two CPUs wake each other. Both are given the time to fall asleep, which is not
/// counted: without it the answer is there before the asker sleeps, and nobody ever wakes anybody.
class FutexPingPong {
 public:
  explicit FutexPingPong(std::chrono::nanoseconds pause) : pause_(pause) {}

  /// The median of the round trips in which both had slept; nothing if there was none.
  std::optional<double> measure(std::pair<int, int> cpus) {
    Series round_trips;
    std::jthread answerer([&] {
      pin_to(cpus.second);
      answer();
    });
    std::jthread asker([&] {
      pin_to(cpus.first);
      round_trips = ask();
    });
    asker.join();
    answerer.join();
    if (round_trips.figures().empty()) return std::nullopt;
    return round_trips.median();
  }

 private:
  static constexpr std::uint32_t kRoundTrips = 200;
  static constexpr std::chrono::microseconds kTimeToFallAsleep{30};

  Series ask() {
    Series round_trips;
    for (std::uint32_t round = 0; round < kRoundTrips; ++round) {
      if (pause_ > std::chrono::nanoseconds(0)) {
        std::this_thread::sleep_for(pause_);
      } else {
        let_the_other_fall_asleep();
      }
      const Clock::time_point asked = pass_on(2 * round + 1);
      const bool slept = sleep_until(2 * round + 2);
      const Clock::time_point woken = Clock::now();
      const auto taken = (answerer_woken_ - asked) + (woken - answered_);
      if (slept && answerer_slept_) {
        round_trips.add(std::chrono::duration<double, std::nano>(taken).count());
      }
    }
    return round_trips;
  }

  void answer() {
    for (std::uint32_t round = 0; round < kRoundTrips; ++round) {
      const bool slept = sleep_until(2 * round + 1);
      answerer_woken_ = Clock::now();
      answerer_slept_ = slept;
      let_the_other_fall_asleep();
      pass_on(2 * round + 2, &answered_);
    }
  }

  static void let_the_other_fall_asleep() {
    const Clock::time_point asleep = Clock::now() + kTimeToFallAsleep;
    while (Clock::now() < asleep) {
    }
  }

  /// Wakes the other; returns when that began.
  Clock::time_point pass_on(std::uint32_t next, Clock::time_point* begun = nullptr) {
    const Clock::time_point now = Clock::now();
    if (begun != nullptr) *begun = now;
    turn_.store(next, std::memory_order_release);
    futex(FUTEX_WAKE, 1);
    return now;
  }

  /// True if the thread has slept, and not found its turn at once.
  bool sleep_until(std::uint32_t awaited) {
    bool slept = false;
    for (std::uint32_t seen = turn_.load(std::memory_order_acquire); seen != awaited;
         seen = turn_.load(std::memory_order_acquire)) {
      slept |= futex(FUTEX_WAIT, seen) == 0;
    }
    return slept;
  }

  // Not FUTEX_PRIVATE: between processes a futex is looked up by its page, which costs more, and
  // hostmap pays it.
  long futex(int operation, std::uint32_t value) {
    return syscall(SYS_futex, &turn_, operation, value, nullptr, nullptr, 0);
  }

  alignas(2 * kLine) std::atomic<std::uint32_t> turn_{0};
  // Written by the answerer before it stores the turn, read by the asker after it has loaded it.
  alignas(2 * kLine) Clock::time_point answerer_woken_;
  Clock::time_point answered_;
  bool answerer_slept_ = false;
  const std::chrono::nanoseconds pause_;
};

/// Two ends of a unix stream socket, each with a thread on a CPU of its own that blocks in read: what Redis and every
/// other server behind a socket pays at the very least.
class SocketEcho {
 public:
  SocketEcho() {
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends_.data()) != 0) {
      throw std::system_error(errno, std::generic_category(), "socketpair");
    }
  }
  ~SocketEcho() {
    for (const int end : ends_) close(end);
  }
  SocketEcho(const SocketEcho&) = delete;
  SocketEcho& operator=(const SocketEcho&) = delete;

  double measure(std::pair<int, int> cpus) {
    std::jthread answerer([&] {
      pin_to(cpus.second);
      for (unsigned round = 0; round <= kRoundTrips; ++round) {
        receive(ends_[1]);
        send(ends_[1]);
      }
    });
    Clock::time_point start;
    std::jthread asker([&] {
      pin_to(cpus.first);
      for (unsigned round = 0; round <= kRoundTrips; ++round) {
        if (round == 1) start = Clock::now();  // round 0 waits for both threads to start
        send(ends_[0]);
        receive(ends_[0]);
      }
    });
    asker.join();
    return nanoseconds_since(start) / kRoundTrips;
  }

 private:
  static constexpr unsigned kRoundTrips = 2'000;
  static constexpr std::size_t kBytes = 32;  // a put of 8 + 8 bytes with its head

  // So few bytes are written and read whole on a socket that holds nothing else.
  static void send(int end) {
    const std::array<std::byte, kBytes> bytes{};
    if (write(end, bytes.data(), kBytes) != kBytes) throw std::system_error(errno, std::generic_category(), "write");
  }
  static void receive(int end) {
    std::array<std::byte, kBytes> bytes;
    if (read(end, bytes.data(), kBytes) != kBytes) throw std::system_error(errno, std::generic_category(), "read");
  }

  std::array<int, 2> ends_{};
};

/// By syscall(2), so that no library answers from a cache.
double measure_system_call() {
  constexpr unsigned kCalls = 100'000;
  const Clock::time_point start = Clock::now();
  for (unsigned call = 0; call < kCalls; ++call) keep(static_cast<std::uint64_t>(syscall(SYS_getppid)));
  return nanoseconds_since(start) / kCalls;
}

/// 256 MiB of lines, each of which holds the number of another: one cycle through all of them.
class LineCycle {
 public:
  explicit LineCycle(bool huge_pages) {
    // Room to align: the kernel only makes huge pages of aligned 2 MiB.
    constexpr std::size_t kHugePage = std::size_t{2} << 20U;
    mapped_bytes_ = kMemoryBytes + kHugePage;
    mapping_ = mmap(nullptr, mapped_bytes_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (mapping_ == MAP_FAILED) throw std::system_error(errno, std::generic_category(), "mmap");
    madvise(mapping_, mapped_bytes_, huge_pages ? MADV_HUGEPAGE : MADV_NOHUGEPAGE);
    const auto address = reinterpret_cast<std::uintptr_t>(mapping_);
    const std::uintptr_t aligned = (address + kHugePage - 1) & ~(kHugePage - 1);
    lines_ = std::span(reinterpret_cast<Line*>(aligned), kMemoryBytes / kLine);
    // A full-period generator modulo a power of two (Hull and Dobell: odd increment, multiplier 1
    // modulo 4) visits every line once, in an order that no prefetcher follows.
    for (std::uint64_t number = 0; number < lines_.size(); ++number) {
      lines_[number].next = (number * 6364136223846793005U + 1442695040888963407U) % lines_.size();
    }
  }
  ~LineCycle() { munmap(mapping_, mapped_bytes_); }
  LineCycle(const LineCycle&) = delete;
  LineCycle& operator=(const LineCycle&) = delete;

  [[nodiscard]] double measure_dependent() {
    constexpr unsigned kReads = 100'000;
    const Clock::time_point start = Clock::now();
    for (unsigned read = 0; read < kReads; ++read) position_ = lines_[position_].next;
    keep(position_);
    return nanoseconds_since(start) / kReads;
  }

  [[nodiscard]] double measure_independent() {
    constexpr unsigned kReads = 500'000;
    std::uint64_t sum = 0;
    const Clock::time_point start = Clock::now();
    for (unsigned read = 0; read < kReads; ++read) {
      sum += lines_[random_.below(lines_.size())].next;
    }
    keep(sum);
    return nanoseconds_since(start) / kReads;
  }

 private:
  struct alignas(kLine) Line {
    std::uint64_t next;
  };

  void* mapping_ = nullptr;
  std::size_t mapped_bytes_ = 0;
  std::span<Line> lines_;
  std::uint64_t position_ = 0;
  Random random_{1};
};

/// A floor is what the machine can do, so the least of some batches: whatever else runs
/// only adds to it.
template <typename Measure>
double least_of_batches(const Measure& measure) {
  Series series;
  for (unsigned batch = 0; batch < kBatches; ++batch) series.add(measure());
  return series.least();
}

Floors measure_floors() {
  Floors floors;
  const std::vector<int> cpus = allowed_cpus();
  if (cpus.size() >= 2) {
    const std::pair<int, int> two{cpus[0], cpus[1]};
    floors.ping_pong_round_trip = measure_line_round_trip(two);
    floors.futex_round_trip = measure_futex_round_trip(two);
    floors.socket_round_trip = least_of_batches([&] { return SocketEcho().measure(two); });
  }
  floors.system_call = least_of_batches(measure_system_call);
  floors.clock_gaps = measure_clock_gaps(cpus.back());  // where clients that are measured are pinned
  for (const bool huge : {false, true}) {
    LineCycle lines(huge);
    (huge ? floors.memory_dependent_huge : floors.memory_dependent) =
        least_of_batches([&] { return lines.measure_dependent(); });
    (huge ? floors.memory_independent_huge : floors.memory_independent) =
        least_of_batches([&] { return lines.measure_independent(); });
  }
  return floors;
}

}  // namespace

Latencies measure_clock_gaps(int cpu) {
  constexpr std::chrono::seconds kWatched{1};
  Latencies gaps;
  std::jthread watcher([&] {
    const Clock::time_point end = Clock::now() + kWatched;
    watch_clock_gaps(cpu, gaps, [&](Clock::time_point now) { return now >= end; });
  });
  watcher.join();
  return gaps;
}

double measure_line_round_trip(std::pair<int, int> cpus) {
  return least_of_batches([&] { return measure_ping_pong(cpus); });
}

std::optional<double> measure_futex_round_trip(std::pair<int, int> cpus, std::chrono::nanoseconds pause) {
  return FutexPingPong(pause).measure(cpus);
}

const Floors& FloorFigures::get() {
  if (floors_) return *floors_;
  progress_.step("floors of this machine");
  floors_ = measure_floors();
  const Floors& floors = *floors_;

  Table table("floors of this machine · ns", {"", "4 KiB pages", "2 MiB pages"});
  const auto add = [&](std::string name, double figure, std::optional<double> huge) {
    table.row({{name}, {format_figure(figure)}, {huge ? format_figure(*huge) : ""}});
    report_.add_floor(name, figure);
    if (huge) report_.add_floor(name + ", 2 MiB pages", *huge);
  };
  add("random line of 256 MiB, dependent", floors.memory_dependent, floors.memory_dependent_huge);
  add("random line of 256 MiB, independent", floors.memory_independent, floors.memory_independent_huge);
  if (floors.ping_pong_round_trip) {
    add("one line to another core and back", *floors.ping_pong_round_trip, std::nullopt);
  }
  if (floors.futex_round_trip) {
    add("futex wake of another core and back", *floors.futex_round_trip, std::nullopt);
  }
  if (floors.socket_round_trip) {
    add("32 bytes to another core and back, unix socket", *floors.socket_round_trip, std::nullopt);
  }
  add("system call (getppid)", floors.system_call, std::nullopt);
  add("jitter: gap between reads of the clock, p99.99", floors.clock_gaps.p9999(), std::nullopt);
  add("jitter: gap between reads of the clock, longest", floors.clock_gaps.max(), std::nullopt);
  progress_.clear();
  table.print();
  return floors;
}

}  // namespace hostmap::bench
