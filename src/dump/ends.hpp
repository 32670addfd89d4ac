// Ends of keys in a dump are wall-clock time: here they become times to live, and back.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <optional>

#include <hostmap/ttl.hpp>

namespace hostmap {

// Milliseconds of Unix time.
inline std::uint64_t wall_clock_ms() noexcept {
  const auto now = std::chrono::system_clock::now().time_since_epoch();
  const auto ms = std::chrono::duration_cast<std::chrono::milliseconds>(now).count();
  return static_cast<std::uint64_t>(std::max<std::int64_t>(ms, 0));
}

// How long a key with this end still lives: kForever without one; nothing if it has lapsed. At most 2^62 ms: an end may be any
// number.
inline std::optional<std::chrono::milliseconds> ttl_of(std::optional<std::uint64_t> end_ms,
                                                       std::uint64_t now_ms) noexcept {
  constexpr std::uint64_t kMost = std::uint64_t{1} << 62;
  if (!end_ms) return kForever;
  if (*end_ms <= now_ms) return std::nullopt;
  return std::chrono::milliseconds(static_cast<std::int64_t>(std::min(*end_ms - now_ms, kMost)));
}

}  // namespace hostmap
