// The hash of a key: XXH3 with the table's secret seed, so that nobody who cannot read the table forges collisions.
//
// One 64-bit value is cut into parts that share no bits as long as a shard has fewer than 2^34 segments:
//   shard: the top bits, by multiplication (no division, any number of shards); what remains is the fraction
//   segment: the top bits of the fraction
//   bucket of the segment: from bit 16 upwards
//   tag of a cell: the low 16 bits, 0 becoming 1 (tag 0 marks a link)
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>

#define XXH_INLINE_ALL
#include <xxhash.h>

namespace hostmap {

__extension__ using Uint128 = unsigned __int128;  // a user may build this with -Wpedantic

// Part of every table's fingerprint: a client with another hash is refused.
inline constexpr std::uint64_t kHashId = 0x5858'4833'0001;  // "XXH3", output frozen since xxHash 0.8.0

inline std::uint64_t hash_bytes(const void* key, std::size_t size, std::uint64_t seed) noexcept {
  return XXH3_64bits_withSeed(key, size, seed);
}

// The same function as a table's readers and its writer call it: what XXH3 makes of the seed, a third of all that it does with a
// short key, is done once. Keys of 8 and of 16 bytes are hashed in line.
// Source: XXH3_len_4to8_64b, XXH3_len_9to16_64b, XXH3_rrmxmx and XXH3_avalanche of xxHash 0.8.
class KeyHash {
 public:
  explicit KeyHash(std::uint64_t seed) noexcept
      : seed_(seed),
        word_(0xc73a'b174'c5ec'd5a2 -
              (seed ^ std::uint64_t{__builtin_bswap32(static_cast<std::uint32_t>(seed))} << 32)),
        low_(0x6782'737b'ea42'39b9 + seed),
        high_(0xaf56'bc3b'0996'523a - seed) {}

  [[gnu::always_inline]] std::uint64_t operator()(std::span<const std::byte> key) const noexcept {
    std::uint64_t words[2];
    if (key.size() == 8) [[likely]] {
      std::memcpy(words, key.data(), 8);
      return of_word(words[0]);
    }
    if (key.size() == 16) {
      std::memcpy(words, key.data(), 16);
      return of_words(words[0], words[1]);
    }
    return hash_bytes(key.data(), key.size(), seed_);
  }

  [[gnu::always_inline]] std::uint64_t of_word(std::uint64_t key) const noexcept {
    constexpr std::uint64_t kPrime = 0x9fb2'1c65'1e98'df25;
    std::uint64_t hash = std::rotl(key, 32) ^ word_;
    hash ^= std::rotl(hash, 49) ^ std::rotl(hash, 24);
    hash *= kPrime;
    hash ^= (hash >> 35) + sizeof key;
    hash *= kPrime;
    return hash ^ hash >> 28;
  }

 private:
  [[gnu::always_inline]] std::uint64_t of_words(std::uint64_t first, std::uint64_t second) const noexcept {
    const std::uint64_t low = first ^ low_;
    const std::uint64_t high = second ^ high_;
    const Uint128 product = static_cast<Uint128>(low) * high;
    const std::uint64_t folded = static_cast<std::uint64_t>(product) ^ static_cast<std::uint64_t>(product >> 64);
    std::uint64_t hash = 2 * sizeof low + __builtin_bswap64(low) + high + folded;
    hash ^= hash >> 37;
    hash *= 0x1656'6791'9e37'79f9;
    return hash ^ hash >> 32;
  }

  std::uint64_t seed_;
  // With words of XXH3's secret, each two of which are xored:
  std::uint64_t word_;
  std::uint64_t low_;
  std::uint64_t high_;
};

struct Spread {
  std::uint32_t shard;
  std::uint64_t fraction;  // what remains of the top bits, uniform over 64 bits: chooses the segment
};

inline Spread spread_over_shards(std::uint64_t hash, std::uint32_t shards) noexcept {
  const auto product = static_cast<Uint128>(hash) * shards;
  return {static_cast<std::uint32_t>(product >> 64), static_cast<std::uint64_t>(product)};
}

inline constexpr std::uint64_t bucket_bits(std::uint64_t hash) noexcept { return hash >> 16; }

inline std::uint16_t tag_of(std::uint64_t hash) noexcept {
  const auto tag = static_cast<std::uint16_t>(hash);
  return static_cast<std::uint16_t>(tag + (tag == 0));
}

}  // namespace hostmap
