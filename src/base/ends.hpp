// When keys and leases end: the words of entries and of requests, and their comparison with the clock.
//
// An end is a moment of CLOCK_MONOTONIC in microseconds, rounded up: not in milliseconds, because a program that sleeps exactly the
// time to live would then still find the key. The client counts from its call: a request that waits for a restart does not make
// its key live longer, and one that is applied again stores the same word.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstdint>

#include <hostmap/ttl.hpp>

#include "base/platform.hpp"

namespace hostmap {

// All others are moments; what ends has ended from that moment on.
inline constexpr std::uint64_t kNoEnd = 0;                      // of a request: the key has none from then on
inline constexpr std::uint64_t kKeepEnd = 1;                    // of a request: the key keeps what it has
inline constexpr std::uint64_t kNeverEnds = ~std::uint64_t{0};  // of an entry that has the word and no end

// 285,000 years, so that no end reaches 2^63; a longer time to live is taken for kForever.
inline constexpr std::chrono::milliseconds kLongestTtl{std::int64_t{1} << 53};

// `now_ns` of CLOCK_MONOTONIC.
inline std::int64_t rounded_up_to_us(std::int64_t now_ns) noexcept {
  constexpr std::int64_t kNsPerUs = 1000;
  return (now_ns + kNsPerUs - 1) / kNsPerUs;
}

// `ttl`: above zero and at most kLongestTtl.
inline std::uint64_t end_after(std::chrono::milliseconds ttl, std::int64_t now_ns = monotonic_ns()) noexcept {
  // A millisecond at least, so it is above kKeepEnd.
  return static_cast<std::uint64_t>(rounded_up_to_us(now_ns) + std::chrono::microseconds(ttl).count());
}
// The rest of the time to live of a key that has an end. The clock is rounded as for the end, so that it is never more than
// what was given; a key that is there has a millisecond at least, even if `end` has come since it was found.
inline std::chrono::milliseconds ttl_until(std::uint64_t end, std::int64_t now_ns) noexcept {
  const std::chrono::microseconds left(static_cast<std::int64_t>(end) - rounded_up_to_us(now_ns));
  return std::max(std::chrono::ceil<std::chrono::milliseconds>(left), std::chrono::milliseconds(1));
}
inline std::uint64_t end_of_put(std::chrono::milliseconds ttl) noexcept {
  return ttl == kKeepTtl ? kKeepEnd : ttl > kLongestTtl ? kNoEnd : end_after(ttl);
}
inline std::uint64_t end_of_expire(std::chrono::milliseconds ttl) noexcept {
  return ttl > kLongestTtl ? kNeverEnds : end_after(ttl);
}

// The moment of a request: between two renew() an end has come or has not, however long that takes.
class Moment {
 public:
  void renew() noexcept { coarse_us_ = 0; }
  // The precise clock is read only if `end` is near: it waits for earlier loads, and takes longer than the coarse one.
  bool is_before(std::uint64_t end) noexcept {
    if (coarse_us_ == 0) {
      coarse_us_ = coarse_monotonic_us();
      precise_us_ = 0;
    }
    if (coarse_us_ + kMostLagUs < end) return true;
    if (precise_us_ == 0) precise_us_ = monotonic_us();
    return precise_us_ < end;
  }

 private:
  // How far the coarse clock is behind, at most: a tick of the kernel, 1 to 10 ms, and as long as a virtual machine is not
  // scheduled (44 ms were seen).
  static constexpr std::uint64_t kMostLagUs = 1'024'000;

  std::uint64_t coarse_us_ = 0;
  std::uint64_t precise_us_ = 0;  // 0: not read
};

inline bool is_before(std::uint64_t end) noexcept { return Moment().is_before(end); }

}  // namespace hostmap
