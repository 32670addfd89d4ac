// The work of the questions about gets: which keys there are, in which order they are read, and
// the timed loop.
//
// Every contestant, hostmap included, runs this very loop with the same seeds, so that all look up
// the same keys in the same order and pay the same for making them. Each returns the sum of the
// values that it found: equal sums prove that all did the same work.
#pragma once

#include <algorithm>
#include <array>
#include <chrono>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <vector>

namespace hostmap::bench {

/// Keeps the compiler from dropping the computation of a value that nobody reads.
inline void keep(std::uint64_t value) { asm volatile("" : : "r"(value) : "memory"); }

/// A number that looks random, from all bits of a number. Different numbers give different
/// results, and equal low bits of two numbers mean nothing for the results: no table gets a
/// perfect spread as a gift.
[[nodiscard]] inline std::uint64_t mix(std::uint64_t number) {
  number *= 0x9E3779B97F4A7C15U;
  number ^= number >> 32U;
  number *= 0xD6E8FEB86659FD93U;
  number ^= number >> 32U;
  return number;
}

/// The high half of the product: a number below the bound, without a division.
[[nodiscard]] inline std::uint64_t scale(std::uint64_t random, std::uint64_t bound) {
  return static_cast<std::uint64_t>((static_cast<unsigned __int128>(random) * bound) >> 64U);
}

class Random {
 public:
  explicit Random(std::uint64_t seed) : state_(mix(seed)) {}

  std::uint64_t next() {
    state_ += 0xA0761D6478BD642FU;
    const auto product = static_cast<unsigned __int128>(state_) * (state_ ^ 0xE7037ED1A0B428DBU);
    return static_cast<std::uint64_t>(product >> 64U) ^ static_cast<std::uint64_t>(product);
  }
  std::uint64_t below(std::uint64_t bound) { return scale(next(), bound); }
  /// In (0, 1).
  double fraction() { return (static_cast<double>(next() >> 12U) + 0.5) * 0x1p-52; }

 private:
  std::uint64_t state_;
};

// ---- entries ------------------------------------------------------------------------------------

/// Entry `index` has this key and this value; indexes from `entries` on are never loaded.
[[nodiscard]] inline std::uint64_t key_of(std::uint64_t index) { return mix(index + 1); }
[[nodiscard]] inline std::uint64_t value_of(std::uint64_t index) { return ~mix(index + 1); }

/// The other form of entry `index`: 16 bytes of key, 100 of value.
using EntryKey = std::array<std::uint64_t, 2>;
using EntryValue = std::array<std::byte, 100>;

[[nodiscard]] inline EntryKey entry_key_of(std::uint64_t index) { return {key_of(index), index}; }

/// Each word of the value is another one, so that a part of it in the wrong place shows.
[[nodiscard]] inline EntryValue entry_value_of(std::uint64_t index) {
  EntryValue value{};
  for (std::size_t offset = 0; offset < value.size(); offset += sizeof(std::uint64_t)) {
    const std::uint64_t word = value_of(index) + offset;
    std::memcpy(value.data() + offset, &word, std::min(sizeof word, value.size() - offset));
  }
  return value;
}

/// The sum of the value's words, all of its bytes included: what a checksum of lookups adds up. Only loads of constant
/// length: a last word put together from stores of two lengths would wait until both have left the core, and no two
/// lookups would overlap, whoever's map it is.
[[nodiscard]] inline std::uint64_t sum_of(const EntryValue& value) {
  constexpr std::size_t kWords = std::tuple_size_v<EntryValue> / sizeof(std::uint64_t);
  std::uint64_t sum = 0;
  for (std::size_t number = 0; number < kWords; ++number) {
    std::uint64_t word = 0;
    std::memcpy(&word, value.data() + number * sizeof word, sizeof word);
    sum += word;
  }
  std::uint32_t rest = 0;
  static_assert(kWords * sizeof(std::uint64_t) + sizeof rest == sizeof(EntryValue));
  std::memcpy(&rest, value.data() + kWords * sizeof(std::uint64_t), sizeof rest);
  return sum + rest;
}

/// A key or value as the calls take it.
[[nodiscard]] inline std::span<const std::byte> bytes_of(const std::uint64_t& word) {
  return std::as_bytes(std::span(&word, 1));
}
[[nodiscard]] inline std::span<const std::byte> bytes_of(const EntryKey& key) { return std::as_bytes(std::span(key)); }
[[nodiscard]] inline std::span<const std::byte> bytes_of(const EntryValue& value) { return value; }

/// The index that is loaded at a position: another order than that of the indexes, so that the
/// frequent keys of kZipf, which are the lowest indexes, do not lie side by side in memory.
[[nodiscard]] inline std::uint64_t load_order(std::uint64_t position, std::uint64_t entries) {
  constexpr std::uint64_t kPrime = 2'654'435'761;  // divides no number of entries that we use: a permutation
  return position * kPrime % entries;
}

// ---- lookups ------------------------------------------------------------------------------------

enum class Pattern : std::uint8_t {
  kUniform,    // hits, each entry equally often
  kZipf,       // hits, entry number r in proportion to 1 / r^0.99
  kMiss,       // keys that are not there
  kDependent,  // uniform hits, where the next key is known only when the value is there
};

/// Zipf-distributed ranks by rejection-inversion (Hörmann and Derflinger 1996): exact, and
/// without a table.
class Zipf {
 public:
  Zipf(std::uint64_t ranks, double exponent)
      : exponent_(exponent),
        ranks_(static_cast<double>(ranks)),
        first_(integral(1.5) - 1),
        span_(integral(ranks_ + 0.5) - first_),
        shortcut_(2 - inverse(integral(2.5) - weight(2))) {}

  /// A rank from 0 on; 0 is the most frequent one.
  std::uint64_t next(Random& random) const {
    while (true) {
      const double area = first_ + random.fraction() * span_;
      const double exact = inverse(area);
      const double rank = std::fmin(std::fmax(std::floor(exact + 0.5), 1), ranks_);
      if (rank - exact <= shortcut_ || area >= integral(rank + 0.5) - weight(rank)) {
        return static_cast<std::uint64_t>(rank) - 1;
      }
    }
  }

 private:
  [[nodiscard]] double weight(double rank) const { return std::pow(rank, -exponent_); }
  [[nodiscard]] double integral(double rank) const { return std::pow(rank, 1 - exponent_) / (1 - exponent_); }
  [[nodiscard]] double inverse(double area) const { return std::pow(area * (1 - exponent_), 1 / (1 - exponent_)); }

  double exponent_;
  double ranks_;
  double first_;
  double span_;
  double shortcut_;
};

struct Lookups {
  double nanoseconds_each = 0;
  std::uint64_t hits = 0;
  std::uint64_t checksum = 0;  // the sum of the values found
};

/// Ranks made ahead, for to draw one takes longer than a lookup. They are read in sequence, which
/// the processor prefetches; this row, and it alone, includes the reading of four bytes a lookup.
class RankPool {
 public:
  explicit RankPool(std::uint64_t entries) : ranks_(kPoolRanks) {
    const Zipf zipf(entries, 0.99);
    Random random(42);
    for (std::uint32_t& rank : ranks_) rank = static_cast<std::uint32_t>(zipf.next(random));
  }

  /// A different stretch for each seed.
  [[nodiscard]] std::span<const std::uint32_t> stretch(std::uint64_t seed, std::size_t count) const {
    return std::span(ranks_).subspan(mix(seed) % (ranks_.size() - count), count);
  }

 private:
  static constexpr std::size_t kPoolRanks = std::size_t{1} << 22U;
  std::vector<std::uint32_t> ranks_;
};

/// Calls lookup(index) with the index of each key to get; lookup returns the value, which
/// kDependent needs.
template <typename Lookup>
void for_each_index(Pattern pattern, std::uint64_t entries, std::uint64_t seed, std::size_t count,
                    const RankPool& ranks, const Lookup& lookup) {
  Random random(seed);
  switch (pattern) {
    case Pattern::kUniform:
      for (std::size_t done = 0; done < count; ++done) lookup(random.below(entries));
      break;
    case Pattern::kZipf:
      for (const std::uint32_t rank : ranks.stretch(seed, count)) lookup(rank);
      break;
    case Pattern::kMiss:
      for (std::size_t done = 0; done < count; ++done) lookup(entries + random.below(entries));
      break;
    case Pattern::kDependent: {
      std::uint64_t state = random.next();
      for (std::size_t done = 0; done < count; ++done) {
        state = (state ^ lookup(scale(state, entries))) * 0x9E3779B97F4A7C15U;
      }
      break;
    }
  }
}

/// Runs and times `count` lookups by find(index, value), which is true for a hit.
template <typename Find>
Lookups time_lookups(Pattern pattern, std::uint64_t entries, std::uint64_t seed, std::size_t count,
                     const RankPool& ranks, const Find& find) {
  Lookups lookups;
  const auto start = std::chrono::steady_clock::now();
  for_each_index(pattern, entries, seed, count, ranks, [&](std::uint64_t index) {
    std::uint64_t value = 0;
    lookups.hits += find(index, value) ? 1U : 0U;
    lookups.checksum += value;
    return value;
  });
  const std::chrono::duration<double, std::nano> taken = std::chrono::steady_clock::now() - start;
  lookups.nanoseconds_each = taken.count() / static_cast<double>(count);
  return lookups;
}

}  // namespace hostmap::bench
