// A reader process of hostmap, for questions that measure a get while something else happens.
#pragma once

#include <chrono>
#include <fmt/format.h>
#include <sstream>
#include <stdexcept>
#include <string>

#include "harness/forms.hpp"
#include "harness/instance.hpp"
#include "harness/process.hpp"
#include "harness/workload.hpp"

namespace hostmap::bench {

/// Plays the role `get-reader` for pairs, uniform keys, all of which must be hits.
class ReaderProcess {
 public:
  ReaderProcess(const Instance& instance, std::uint64_t entries, int cpu)
      : child_({.program = own_program(),
                .arguments = {"--role", "get-reader", "hostmap", std::string(Pairs::kName), std::to_string(entries),
                              instance.name()},
                .cpu = cpu}) {
    if (!child_.hear(std::chrono::seconds(120)).starts_with("ready")) throw std::runtime_error("a reader is not ready");
  }

  void begin(std::uint64_t seed) { child_.say(fmt::format("{} {}", static_cast<int>(Pattern::kUniform), seed)); }
  /// Nanoseconds a get of the round that was begun. Throws unless all were hits.
  double end() {
    Lookups lookups;
    std::istringstream answer(child_.hear(std::chrono::seconds(120)));
    answer >> lookups.nanoseconds_each >> lookups.hits >> lookups.checksum;
    constexpr std::uint64_t kLookupsOfARound = 1'000'000;
    if (lookups.hits != kLookupsOfARound) throw std::runtime_error("a reader missed keys that are there");
    return lookups.nanoseconds_each;
  }
  void finish() {
    child_.close_input();
    child_.wait(std::chrono::seconds(30));
  }

 private:
  Child child_;
};

}  // namespace hostmap::bench
