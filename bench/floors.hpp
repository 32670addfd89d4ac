// Floors: what this machine takes for the bare thing that no program can avoid, measured
// in the same run.
//
// A figure far above its floor leaves room for better code; a floor that moved between two runs
// says that the machine did, and not the program. On virtual machines the one-line ping-pong is
// known to be bimodal (two-, even fourfold) with nothing else running.
#pragma once

#include <optional>

namespace hostmap::bench {

/// Nanoseconds. Nothing where a floor needs two CPUs and there is only one.
struct Floors {
  /// One cache line to another core and back: two threads store to it in turn, neither waits
  /// in the kernel.
  std::optional<double> ping_pong_round_trip;
  /// A futex wake of a sleeper on another core, and its wake of the sleeping asker.
  std::optional<double> futex_round_trip;
  /// A random line of 256 MiB in 4 KiB pages, where the address depends on the line read before.
  double memory_dependent = 0;
  /// The same where the addresses are known ahead, so that the processor overlaps the reads.
  double memory_independent = 0;
  /// Both again in 2 MiB pages, if the system gives them: fewer page walks.
  double memory_dependent_huge = 0;
  double memory_independent_huge = 0;
};

class Report;
class Progress;

/// Measures the floors when first asked for, prints them and adds them to the report.
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
