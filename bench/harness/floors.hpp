// Floors: what this machine takes for the bare thing that no program can avoid, measured
// in the same run.
//
// A figure far above its floor leaves room for better code; a floor that moved between two runs
// shows that the machine did, and not the program. On virtual machines the one-line ping-pong is
// known to be bimodal (two-, even fourfold) with nothing else running.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <utility>

#include "harness/harness.hpp"
#include "harness/latencies.hpp"
#include "harness/process.hpp"

namespace hostmap::bench {

/// Nanoseconds. Nothing where a floor needs two CPUs and there is only one.
struct Floors {
  /// One cache line to another core and back: two threads store to it in turn, neither waits
  /// in the kernel.
  std::optional<double> ping_pong_round_trip;
  /// A futex wake of a sleeper on another core, and its wake of the sleeping asker.
  std::optional<double> futex_round_trip;
  /// 32 bytes to another process's end of a unix stream socket and back: two threads on two CPUs, both block in read.
  std::optional<double> socket_round_trip;
  /// A system call that does next to nothing.
  double system_call = 0;
  /// The gaps between two reads of the clock by a loop on one CPU within a second. Long ones are times when
  /// something else had the CPU: interrupts, other programs, the host of a virtual machine.
  Latencies clock_gaps;
  /// A random line of 256 MiB in 4 KiB pages, where the address depends on the line read before.
  double memory_dependent = 0;
  /// The same where the addresses are known ahead, so that the processor overlaps the reads.
  double memory_independent = 0;
  /// Both again in 2 MiB pages, if the system gives them: fewer page walks.
  double memory_dependent_huge = 0;
  double memory_independent_huge = 0;
};

/// Measures ping_pong_round_trip anew, in nanoseconds.
[[nodiscard]] double measure_line_round_trip(std::pair<int, int> cpus);

/// Measures futex_round_trip anew, in nanoseconds: the first CPU's thread wakes the second's, which wakes it. Questions call it
/// in their rounds. The first thread sleeps for `pause` before each round trip; without one it keeps its CPU busy for just long
/// enough that the second one falls asleep, as in the table of floors. Nothing if no round trip had both asleep.
[[nodiscard]] std::optional<double> measure_futex_round_trip(std::pair<int, int> cpus,
                                                             std::chrono::nanoseconds pause = {});

/// Adds the gaps between two reads of the clock by a loop on a CPU, until `over(now)`. Pins the calling thread.
template <typename Over>
void watch_clock_gaps(int cpu, Latencies& gaps, const Over& over) {
  pin_to(cpu);
  for (Clock::time_point last = Clock::now(); !over(last);) {
    const Clock::time_point now = Clock::now();
    gaps.add(static_cast<std::uint64_t>((now - last).count()));
    last = now;
  }
}

/// Floors::clock_gaps of a CPU, by a thread of its own that reads the clock for a second.
[[nodiscard]] Latencies measure_clock_gaps(int cpu);

class Report;
class Progress;

/// Measures the floors at the first call, prints them and adds them to the report.
class FloorFigures {
 public:
  FloorFigures(Report& report, Progress& progress) : report_(report), progress_(progress) {}
  const Floors& get();

 private:
  Report& report_;
  Progress& progress_;
  std::optional<Floors> floors_;
};

}  // namespace hostmap::bench
