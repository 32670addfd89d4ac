// How much work a test may do in a build: under a sanitizer a fork takes forty times as long, and everything else ten times.
#pragma once

#include "base/platform.hpp"

namespace hostmap::test {

#if defined(__SANITIZE_ADDRESS__)
inline constexpr bool kSanitized = true;
#else
inline constexpr bool kSanitized = HOSTMAP_TSAN != 0;
#endif

// Repetitions: `plain` in a build without sanitizers, `sanitized` in one with.
template <typename Number>
constexpr Number times(Number plain, Number sanitized) {
  return kSanitized ? sanitized : plain;
}

}  // namespace hostmap::test
