// A round in batches: for ends that poll, a mean is worth little on a machine that others use.
//
// When one of two ends that poll loses its CPU to another program, the other one waits for a whole time slice, which is
// as long as some thousands of operations. A batch is short against a time slice, so most batches contain none of that;
// their median is what the operation takes, and it is taken for every contestant in the same way.
#pragma once

#include <chrono>
#include <cstdint>

#include "harness/harness.hpp"
#include "harness/process.hpp"

namespace hostmap::bench {

inline constexpr std::uint64_t kBatches = 50;
inline constexpr std::uint64_t kUntimedBatches = kBatches / 10;

/// How many operations time_batches(count, …) runs, the untimed ones included.
[[nodiscard]] constexpr std::uint64_t operations_of_batches(std::uint64_t count) {
  return count / kBatches * (kUntimedBatches + kBatches);
}

/// Nanoseconds of one operation: the median of batches, `count` operations in all, after some more that are not timed.
/// run(operations) runs a batch; what it returns from is acknowledged.
template <typename Run>
double time_batches(std::uint64_t count, const Run& run) {
  const std::uint64_t operations = count / kBatches;
  for (std::uint64_t batch = 0; batch < kUntimedBatches; ++batch) run(operations);
  Series batches;
  for (std::uint64_t batch = 0; batch < kBatches; ++batch) {
    const Clock::time_point start = Clock::now();
    run(operations);
    batches.add(std::chrono::duration<double, std::nano>(Clock::now() - start).count());
  }
  return batches.median() / static_cast<double>(operations);
}

}  // namespace hostmap::bench
