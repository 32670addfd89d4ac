#include "base/hash.hpp"

#include <array>
#include <cmath>
#include <gtest/gtest.h>
#include <span>
#include <vector>

#include "support/seed.hpp"

namespace hostmap::test {
namespace {

// The largest deviation of counts from their common mean that occurs by chance about once in 10^9 runs (Poisson
// distribution).
double most_chance_gives(double mean) { return 6.5 * std::sqrt(mean) + 10; }

void expect_even(const std::vector<std::uint64_t>& counts, std::uint64_t total, const std::string& what) {
  const double mean = static_cast<double>(total) / static_cast<double>(counts.size());
  for (std::size_t i = 0; i < counts.size(); ++i) {
    EXPECT_NEAR(static_cast<double>(counts[i]), mean, most_chance_gives(mean)) << what << ", place " << i;
  }
}

TEST(HashTest, WordsHashLikeTheirBytes) {
  Random random;
  for (int i = 0; i < 100'000; ++i) {
    const std::uint64_t key = random.one_in(4) ? random.below(100) : random.word();
    const std::uint64_t seed = random.one_in(4) ? random.below(3) : random.word();
    ASSERT_EQ(KeyHash(seed).of_word(key), hash_bytes(&key, sizeof key, seed)) << key << " with seed " << seed;
    const std::array<std::uint64_t, 2> two{key, random.one_in(4) ? random.below(100) : random.word()};
    ASSERT_EQ(KeyHash(seed)(std::as_bytes(std::span(two))), hash_bytes(two.data(), sizeof two, seed))
        << two[0] << ", " << two[1] << " with seed " << seed;
  }
}

// Regions outlive programs: a hash that changes with a library's version would lose every key. kHashId identifies these
// values.
TEST(HashTest, TheFunctionIsTheOneThatHashIdNames) {
  EXPECT_EQ(kHashId, 0x5858'4833'0001u);
  EXPECT_EQ(hash_bytes("", 0, 0), 0x2d06'8005'38d3'94c2u);  // XXH3_64bits of nothing, from xxHash's own test vectors
  EXPECT_EQ(KeyHash(0).of_word(0), hash_bytes("\0\0\0\0\0\0\0\0", 8, 0));
}

TEST(HashTest, TheSeedDecides) {
  Random random;
  for (int i = 0; i < 1000; ++i) {
    const std::uint64_t key = random.word();
    const std::uint64_t seed = random.word();
    EXPECT_NE(KeyHash(seed).of_word(key), KeyHash(seed ^ 1).of_word(key));
    EXPECT_NE(hash_bytes(&key, 7, seed), hash_bytes(&key, 7, seed ^ 1));
  }
}

TEST(HashTest, ATagIsNeverZeroAndElseTheLowBits) {
  for (std::uint64_t low = 0; low < 0x10000; ++low) {
    const std::uint64_t hash = 0xabcd'0000'0000'0000 | low;
    ASSERT_EQ(tag_of(hash), low == 0 ? 1 : low);
  }
}

TEST(HashTest, KeysSpreadEvenlyOverShards) {
  const std::uint64_t seed = Random().word();
  for (const std::uint32_t shards : {1u, 2u, 3u, 7u, 32u}) {
    std::vector<std::uint64_t> counts(shards);
    constexpr std::uint64_t kKeys = 100'000;
    for (std::uint64_t key = 0; key < kKeys; ++key) {
      const Spread spread = spread_over_shards(KeyHash(seed).of_word(key), shards);
      ASSERT_LT(spread.shard, shards);
      ++counts[spread.shard];
    }
    expect_even(counts, kKeys, std::to_string(shards) + " shards");
  }
}

// Within one shard the fraction is uniform, too: segments fill evenly, though all keys share their top bits.
TEST(HashTest, KeysOfOneShardSpreadEvenlyOverItsSegments) {
  const std::uint64_t seed = Random().word();
  for (const unsigned depth : {0u, 1u, 3u, 6u, 10u}) {
    std::vector<std::uint64_t> counts(std::size_t{1} << depth);
    std::uint64_t keys = 0;
    for (std::uint64_t key = 0; key < 400'000; ++key) {
      const Spread spread = spread_over_shards(KeyHash(seed).of_word(key), 4);
      if (spread.shard != 2) continue;
      ++counts[depth == 0 ? 0 : spread.fraction >> (64 - depth)];
      ++keys;
    }
    ASSERT_GT(keys, 90'000u);
    expect_even(counts, keys, std::to_string(counts.size()) + " segments");
  }
}

// Shard, segment, bucket and tag are taken from one hash: the tag does not depend on the others.
TEST(HashTest, TagsAreEvenWithinOneBucket) {
  const std::uint64_t seed = Random().word();
  std::vector<std::uint64_t> counts(64);
  std::uint64_t keys = 0;
  for (std::uint64_t key = 0; keys < 30'000; ++key) {
    const std::uint64_t hash = KeyHash(seed).of_word(key);
    const Spread spread = spread_over_shards(hash, 2);
    if (spread.shard != 1 || spread.fraction >> 62 != 3 || (bucket_bits(hash) & 7) != 6) continue;
    ++counts[tag_of(hash) % 64];
    ++keys;
  }
  expect_even(counts, keys, "tags");
}

}  // namespace
}  // namespace hostmap::test
