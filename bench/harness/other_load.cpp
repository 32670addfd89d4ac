#include "harness/other_load.hpp"

#include <algorithm>
#include <array>
#include <fmt/format.h>
#include <fstream>
#include <string>
#include <sys/resource.h>
#include <unistd.h>

namespace hostmap::bench {
namespace {

double seconds_of(const rusage& usage) {
  const auto seconds = [](const timeval& time) {
    return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_usec) / 1e6;
  };
  return seconds(usage.ru_utime) + seconds(usage.ru_stime);
}

double own_seconds() {
  double seconds = 0;
  for (const int who : {RUSAGE_SELF, RUSAGE_CHILDREN}) {
    rusage usage{};
    getrusage(who, &usage);
    seconds += seconds_of(usage);
  }
  return seconds;
}

/// Processor time of all programs, and what the host of a virtual machine took for others.
double busy_seconds() {
  std::ifstream stat("/proc/stat");
  std::string label;
  stat >> label;
  enum { kUser, kNice, kSystem, kIdle, kInputOutput, kInterrupt, kSoftInterrupt, kSteal, kFields };
  std::array<double, kFields> ticks{};
  for (double& field : ticks) stat >> field;
  const double busy =
      ticks[kUser] + ticks[kNice] + ticks[kSystem] + ticks[kInterrupt] + ticks[kSoftInterrupt] + ticks[kSteal];
  return busy / static_cast<double>(sysconf(_SC_CLK_TCK));
}

}  // namespace

OtherLoad::OtherLoad() : begun_(Clock::now()), others_seconds_(busy_seconds() - own_seconds()) {}

double OtherLoad::cpus() const {
  const std::chrono::duration<double> watched = Clock::now() - begun_;
  const double others = busy_seconds() - own_seconds() - others_seconds_;
  return std::max(others, 0.0) / watched.count();
}

std::string OtherLoad::sentence() const {
  constexpr double kWorthMentioning = 0.1;
  const double others = cpus();
  return fmt::format("other programs kept {:.2f} CPUs busy meanwhile{}", others,
                     others < kWorthMentioning ? "" : ": repeat it when they do not");
}

}  // namespace hostmap::bench
