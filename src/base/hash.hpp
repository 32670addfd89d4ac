// The hash of a key: XXH3 with the table's secret seed, so that nobody who cannot read the table forges collisions.
//
// One 64-bit value is cut into three parts that share no bits as long as a table has fewer than 2^48 buckets:
//   shard and base bucket: the top bits, by multiplication (no division, any number of shards and buckets)
//   level bits of linear hashing: from bit 16 upwards
//   tag of a cell: the low 16 bits, 0 becoming 1 (tag 0 marks a link)
#pragma once

#include <cstddef>
#include <cstdint>

#define XXH_INLINE_ALL
#include <xxhash.h>

namespace hostmap {

// Stands in every table's fingerprint: a client that hashes otherwise is refused.
inline constexpr std::uint64_t kHashId = 0x5858'4833'0001;  // "XXH3", output frozen since xxHash 0.8.0

inline std::uint64_t hash_bytes(const void* key, std::size_t size, std::uint64_t seed) noexcept {
  return XXH3_64bits_withSeed(key, size, seed);
}

// The same function for keys of 8 and of 16 bytes. Flattened, as otherwise GCC takes the whole of XXH3 for too large to be
// inlined, and the constant size no longer picks its short path: the call costs as much as the rest of a get.
[[gnu::flatten]] inline std::uint64_t hash_word(std::uint64_t key, std::uint64_t seed) noexcept {
  return XXH3_64bits_withSeed(&key, sizeof key, seed);
}
[[gnu::flatten]] inline std::uint64_t hash_two_words(const void* key, std::uint64_t seed) noexcept {
  return XXH3_64bits_withSeed(key, 16, seed);
}

struct Spread {
  std::uint32_t shard;
  std::uint64_t fraction;  // what remains of the top bits, uniform over 64 bits: chooses the base bucket
};

__extension__ using Uint128 = unsigned __int128;  // a user may build this with -Wpedantic

inline Spread spread_over_shards(std::uint64_t hash, std::uint32_t shards) noexcept {
  const auto product = static_cast<Uint128>(hash) * shards;
  return {static_cast<std::uint32_t>(product >> 64), static_cast<std::uint64_t>(product)};
}

inline std::uint64_t scale(std::uint64_t fraction, std::uint64_t range) noexcept {
  return static_cast<std::uint64_t>((static_cast<Uint128>(fraction) * range) >> 64);
}

inline std::uint64_t level_bits(std::uint64_t hash) noexcept { return hash >> 16; }

inline std::uint16_t tag_of(std::uint64_t hash) noexcept {
  const auto tag = static_cast<std::uint16_t>(hash);
  return tag != 0 ? tag : std::uint16_t{1};
}

}  // namespace hostmap
