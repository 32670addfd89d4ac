// Comparison of two byte sequences as memcmp makes it: std::ranges::equal compares std::byte one by one, which takes 2 ms for
// each MiB.
#pragma once

#include <cstddef>
#include <cstring>
#include <span>

namespace hostmap {

inline bool same_bytes(std::span<const std::byte> one, std::span<const std::byte> other) noexcept {
  return one.size() == other.size() && (one.empty() || std::memcmp(one.data(), other.data(), one.size()) == 0);
}

}  // namespace hostmap
