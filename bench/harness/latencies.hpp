// Latencies: how long single operations took, millions of them in bounded memory.
//
// Buckets are log-linear: each power of two is divided into 128 of equal width, so a bucket is never wider than 1/128 of
// what it holds, and times below 256 ns are exact. A child prints its buckets in one line, the parent adds up those of all
// children: percentiles of percentiles would be no percentiles.
//
// Written here because Debian 12 has no package of HdrHistogram for C or C++.
#pragma once

#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace hostmap::bench {

/// A percentage of all latencies, none of which is longer than the time beside it.
struct LatencyPoint {
  double percent;
  double nanoseconds;
};

/// A recorder for one thread; 58 KiB. Any number of nanoseconds can be added, none is truncated. Figures are in
/// nanoseconds and at most 0.4 % off (the middle of a bucket stands for all of it); max() is exact.
class Latencies {
 public:
  Latencies() : buckets_(kBuckets) {}

  void add(std::uint64_t nanoseconds) {
    ++buckets_[bucket_of(nanoseconds)];
    ++count_;
    max_ = std::max(max_, nanoseconds);
  }
  /// Adds all that another recorder holds.
  void merge(const Latencies& other);

  [[nodiscard]] std::uint64_t count() const { return count_; }
  /// How many are longer; those in the same bucket as `nanoseconds` are not.
  [[nodiscard]] std::uint64_t count_above(std::uint64_t nanoseconds) const;
  /// The longest; 0 if there is none.
  [[nodiscard]] double max() const { return static_cast<double>(max_); }
  /// The least time such that at least `percent` (0 to 100) of all are no longer; 0 if there is none.
  [[nodiscard]] double percentile(double percent) const;
  [[nodiscard]] double p50() const { return percentile(50); }
  [[nodiscard]] double p99() const { return percentile(99); }
  [[nodiscard]] double p999() const { return percentile(99.9); }
  [[nodiscard]] double p9999() const { return percentile(99.99); }
  /// The whole distribution, for a plot: a point for each bucket that holds something, both figures ascending. The last
  /// one is (100, max()).
  [[nodiscard]] std::vector<LatencyPoint> distribution() const;

  /// All of it in one line of text, without a newline: "MAX BUCKET:COUNT BUCKET:COUNT …".
  [[nodiscard]] std::string line() const;
  /// What line() has made. Throws std::runtime_error for any other text.
  [[nodiscard]] static Latencies from_line(std::string_view line);

 private:
  /// 2^7 parts of a power of two: with 2^6 the width would be above 1 %.
  static constexpr unsigned kPartBits = 7;
  static constexpr std::uint64_t kParts = std::uint64_t{1} << kPartBits;
  /// The first two powers of two of kParts share a width of 1 ns; each later one has a width of its own.
  static constexpr std::size_t kBuckets = (64 - kPartBits + 1) * kParts;

  static std::size_t bucket_of(std::uint64_t nanoseconds) {
    if (nanoseconds < 2 * kParts) return nanoseconds;
    const auto width_bits = static_cast<unsigned>(std::bit_width(nanoseconds)) - kPartBits - 1;
    return width_bits * kParts + (nanoseconds >> width_bits);
  }
  /// The middle of a bucket.
  static double time_of(std::size_t bucket);

  std::vector<std::uint64_t> buckets_;
  std::uint64_t count_ = 0;
  std::uint64_t max_ = 0;
};

class Report;

/// The distribution as a curve of a plot: x is how many of one are longer (2 for the median, 100 for p99), y microseconds.
void add_distribution(Report& report, std::string_view plot, std::string_view curve, const Latencies& latencies);

}  // namespace hostmap::bench
