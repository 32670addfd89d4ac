// Random numbers of the kernel: nonces, seeds, incarnations.
#pragma once

#include <cstdint>
#include <sys/random.h>

namespace hostmap {

inline std::uint64_t random_word() noexcept {
  std::uint64_t word = 0;
  while (::getrandom(&word, sizeof word, 0) != static_cast<ssize_t>(sizeof word)) {
  }
  return word;
}

}  // namespace hostmap
