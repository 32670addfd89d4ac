// What other programs of this machine did while we measured: a figure taken beside a busy neighbour
// is worth little, and only the kernel counts the neighbour's time.
#pragma once

#include <string>

#include "harness/process.hpp"

namespace hostmap::bench {

class OtherLoad {
 public:
  /// The watch begins.
  OtherLoad();
  /// CPUs that others kept busy since then, on average; 0.5 is half of one CPU. Call it when all
  /// children that ran meanwhile have been waited for: the kernel adds up their times only then.
  [[nodiscard]] double cpus() const;
  /// The same as a sentence for below a table.
  [[nodiscard]] std::string sentence() const;

 private:
  Clock::time_point begun_;
  double others_seconds_;  // since the system started
};

}  // namespace hostmap::bench
