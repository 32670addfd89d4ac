#include "harness/latencies.hpp"

#include <charconv>
#include <cmath>
#include <fmt/format.h>
#include <iterator>
#include <numeric>
#include <stdexcept>

#include "harness/harness.hpp"

namespace hostmap::bench {
namespace {

/// Takes a number and the character that follows it (unless the text ends there) off the beginning of a text.
std::uint64_t take_number(std::string_view& text, char after) {
  std::uint64_t number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  text.remove_prefix(static_cast<std::size_t>(end - text.data()));
  if (error != std::errc{} || (!text.empty() && text.front() != after)) {
    throw std::runtime_error("a line of latencies is not in its form");
  }
  text.remove_prefix(text.empty() ? 0 : 1);
  return number;
}

}  // namespace

void Latencies::merge(const Latencies& other) {
  for (std::size_t bucket = 0; bucket < kBuckets; ++bucket) buckets_[bucket] += other.buckets_[bucket];
  count_ += other.count_;
  max_ = std::max(max_, other.max_);
}

double Latencies::time_of(std::size_t bucket) {
  if (bucket < 2 * kParts) return static_cast<double>(bucket);
  const std::size_t width_bits = bucket / kParts - 1;
  const std::uint64_t least = (bucket - width_bits * kParts) << width_bits;
  const std::uint64_t width = std::uint64_t{1} << width_bits;
  return static_cast<double>(least) + static_cast<double>(width - 1) / 2;
}

std::uint64_t Latencies::count_above(std::uint64_t nanoseconds) const {
  const auto above = buckets_.begin() + static_cast<std::ptrdiff_t>(bucket_of(nanoseconds)) + 1;
  return std::accumulate(above, buckets_.end(), std::uint64_t{0});
}

double Latencies::percentile(double percent) const {
  // 99.9 is not a binary fraction: without the slack 99.9 % of 1000 would be a little more than 999, and round up.
  constexpr double kSlack = 1e-12;
  const double exact = static_cast<double>(count_) * (percent / 100) * (1 - kSlack);
  const auto rank = std::max(static_cast<std::uint64_t>(std::ceil(exact)), std::uint64_t{1});
  std::uint64_t below = 0;
  for (std::size_t bucket = 0; bucket < kBuckets; ++bucket) {
    below += buckets_[bucket];
    if (below >= rank) return std::min(time_of(bucket), max());
  }
  return max();
}

std::vector<LatencyPoint> Latencies::distribution() const {
  std::vector<LatencyPoint> points;
  std::uint64_t below = 0;
  for (std::size_t bucket = 0; bucket < kBuckets; ++bucket) {
    if (buckets_[bucket] == 0) continue;
    below += buckets_[bucket];
    points.push_back({.percent = 100 * static_cast<double>(below) / static_cast<double>(count_),
                      .nanoseconds = below == count_ ? max() : time_of(bucket)});
  }
  return points;
}

std::string Latencies::line() const {
  fmt::memory_buffer text;
  fmt::format_to(std::back_inserter(text), "{}", max_);
  for (std::size_t bucket = 0; bucket < kBuckets; ++bucket) {
    if (buckets_[bucket] != 0) fmt::format_to(std::back_inserter(text), " {}:{}", bucket, buckets_[bucket]);
  }
  return fmt::to_string(text);
}

Latencies Latencies::from_line(std::string_view line) {
  Latencies latencies;
  latencies.max_ = take_number(line, ' ');
  while (!line.empty()) {
    const std::uint64_t bucket = take_number(line, ':');
    const std::uint64_t count = take_number(line, ' ');
    if (bucket >= kBuckets) throw std::runtime_error("a line of latencies names a bucket that there is not");
    latencies.buckets_[bucket] += count;
    latencies.count_ += count;
  }
  return latencies;
}

void add_distribution(Report& report, std::string_view plot, std::string_view curve, const Latencies& latencies) {
  double last = 0;
  for (const LatencyPoint& point : latencies.distribution()) {
    if (point.percent >= 100) break;
    const double one_in = 100 / (100 - point.percent);
    if (one_in < 1.02 * last) continue;  // not distinguishable on a logarithmic axis
    report.add_point(plot, curve, one_in, point.nanoseconds / 1e3);
    last = one_in;
  }
}

}  // namespace hostmap::bench
