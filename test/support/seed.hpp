// Replayable randomness: the seed is printed when the test begins and with each failure, and is taken from HOSTMAP_SEED if
// that is set.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <gtest/gtest.h>
#include <random>
#include <span>
#include <string>

namespace hostmap::test {

class Random {
 public:
  Random() : Random(chosen_seed()) {}
  // For a thread or child with its own stream, derived from the test's seed.
  explicit Random(std::uint64_t seed)
      : seed_(seed), engine_(seed), trace_(__FILE__, __LINE__, "replay with HOSTMAP_SEED=" + std::to_string(seed)) {}

  std::uint64_t seed() const { return seed_; }
  std::uint64_t word() { return engine_(); }
  // Below `bound`, which is not 0.
  std::uint64_t below(std::uint64_t bound) { return engine_() % bound; }
  // Both ends inclusive.
  std::uint64_t between(std::uint64_t least, std::uint64_t most) { return least + below(most - least + 1); }
  bool one_in(std::uint64_t n) { return below(n) == 0; }
  template <typename Container>
  const auto& one_of(const Container& choices) {
    return choices[below(std::size(choices))];
  }
  void fill(std::span<std::byte> bytes) {
    for (std::byte& byte : bytes) byte = static_cast<std::byte>(engine_());
  }

 private:
  static std::uint64_t chosen_seed() {
    std::uint64_t seed = std::random_device{}();
    if (const char* text = std::getenv("HOSTMAP_SEED"); text != nullptr) seed = std::strtoull(text, nullptr, 0);
    // Printed at once, not only with a failure, because a crash or a hang needs its seed, too.
    std::printf("[   SEED   ] HOSTMAP_SEED=%llu\n", static_cast<unsigned long long>(seed));
    std::fflush(stdout);
    return seed;
  }

  std::uint64_t seed_;
  std::mt19937_64 engine_;
  testing::ScopedTrace trace_;
};

}  // namespace hostmap::test
