// The token of a value: what put_if and erase_if compare. Client and server compute the same one from the value that each
// of them has read, so that nothing is stored for it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include <hostmap/token.hpp>

#include "base/ends.hpp"
#include "base/hash.hpp"

namespace hostmap {

// XXH3 with 128 bits of the value, and then of that and its end, if it has one. (An end in the seed could be cancelled by a
// changed byte: XXH3 adds the seed to short inputs.) Never the zero token, which stands for an absent key. The seed is not the
// table's: a token is the same in every map.
inline constexpr std::uint64_t kTokenSeed = 0x686f'7374'6d61'7074;  // "hostmapt"

inline Token token_of_digest(XXH128_hash_t digest, std::uint64_t end) noexcept {
  if (end != kNoEnd) {
    const std::uint64_t words[] = {digest.low64, digest.high64, end};
    digest = XXH3_128bits_withSeed(words, sizeof words, kTokenSeed);
  }
  return {digest.low64 + (digest.low64 == 0 && digest.high64 == 0), digest.high64};
}

inline Token token_of(std::span<const std::byte> value, std::uint64_t end) noexcept {
  return token_of_digest(XXH3_128bits_withSeed(value.data(), value.size(), kTokenSeed), end);
}

// The same of a value that is read in parts.
class TokenDigest {
 public:
  void begin() noexcept { XXH3_128bits_reset_withSeed(&state_, kTokenSeed); }
  void add(std::span<const std::byte> part) noexcept { XXH3_128bits_update(&state_, part.data(), part.size()); }
  Token token(std::uint64_t end) const noexcept { return token_of_digest(XXH3_128bits_digest(&state_), end); }

 private:
  XXH3_state_t state_;
};

}  // namespace hostmap
