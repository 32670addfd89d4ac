// Reference simulations of caches, and traces for them: what a cache that evicts by a rule would answer.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <list>
#include <random>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

namespace hostmap::test {

// Exact LRU over keys of one size.
class SimulatedLru {
 public:
  explicit SimulatedLru(std::size_t capacity) : capacity_(capacity) {}
  // Is the key there? If not, it is added.
  bool ask(std::uint64_t key) {
    if (const auto at = places_.find(key); at != places_.end()) {
      keys_.splice(keys_.begin(), keys_, at->second);
      return true;
    }
    keys_.push_front(key);
    places_[key] = keys_.begin();
    if (places_.size() > capacity_) {
      places_.erase(keys_.back());
      keys_.pop_back();
    }
    return false;
  }

 private:
  std::size_t capacity_;
  std::list<std::uint64_t> keys_;
  std::unordered_map<std::uint64_t, std::list<std::uint64_t>::iterator> places_;
};

// CLOCK in the order of hashes: the rule for entries. A new key is not touched.
class SimulatedClock {
 public:
  explicit SimulatedClock(std::size_t capacity)
      : capacity_(capacity), buckets_(std::max<std::size_t>(1, capacity * 2 / 9)) {}
  bool ask(std::uint64_t key) {
    std::vector<Place>& bucket = buckets_[hash(key) % buckets_.size()];
    for (Place& place : bucket) {
      if (place.key == key) {
        place.touched = true;
        return true;
      }
    }
    while (size_ >= capacity_) pass();
    bucket.push_back({key, false});
    ++size_;
    return false;
  }

 private:
  struct Place {
    std::uint64_t key;
    bool touched;
  };
  static std::uint64_t hash(std::uint64_t key) {
    key = (key ^ key >> 33) * 0xff51'afd7'ed55'8ccd;
    key = (key ^ key >> 33) * 0xc4ce'b9fe'1a85'ec53;
    return key ^ key >> 33;
  }
  void pass() {
    std::vector<Place>& bucket = buckets_[hand_];
    hand_ = hand_ + 1 < buckets_.size() ? hand_ + 1 : 0;
    size_ -= std::erase_if(bucket, [](Place& place) { return !std::exchange(place.touched, false); });
  }

  std::size_t capacity_;
  std::vector<std::vector<Place>> buckets_;
  std::size_t hand_ = 0;
  std::size_t size_ = 0;
};

// The rule for pairs: a full bucket of seven places gives one of its own.
class SimulatedPlaces {
 public:
  explicit SimulatedPlaces(std::size_t capacity) : buckets_(std::max<std::size_t>(1, capacity / kPlacesOfBucket)) {}
  bool ask(std::uint64_t key) {
    Bucket& bucket = buckets_[(key * 0x9e37'79b9'7f4a'7c15 >> 20) % buckets_.size()];
    for (std::size_t i = 0; i < bucket.keys.size(); ++i) {
      if (bucket.keys[i].first == key) {
        bucket.keys[i].second = true;
        return true;
      }
    }
    if (bucket.keys.size() < kPlacesOfBucket) {
      bucket.keys.emplace_back(key, false);
      return false;
    }
    while (std::exchange(bucket.keys[bucket.hand].second, false)) bucket.hand = (bucket.hand + 1) % kPlacesOfBucket;
    bucket.keys[bucket.hand] = {key, false};
    bucket.hand = (bucket.hand + 1) % kPlacesOfBucket;
    return false;
  }

 private:
  static constexpr std::size_t kPlacesOfBucket = 7;
  struct Bucket {
    std::vector<std::pair<std::uint64_t, bool>> keys;
    std::size_t hand = 0;
  };
  std::vector<Bucket> buckets_;
};

// A source of keys. `drift`: after so many keys the popular ones are others, one after the other. `scan`: one key in so many is of
// an endless scan. `once`: likewise one that is never used again. 0: none of it.
struct TraceSetup {
  double exponent = 1.0;
  std::size_t keys = 100'000;
  std::uint64_t drift = 0;
  std::uint64_t scan = 0;
  std::uint64_t once = 0;
  std::uint64_t seed = 1;
};

class Trace {
 public:
  explicit Trace(const TraceSetup& setup) : setup_(setup), random_(setup.seed), shares_(setup.keys) {
    double sum = 0;
    for (std::size_t i = 0; i < setup.keys; ++i)
      shares_[i] = sum += std::pow(static_cast<double>(i + 1), -setup.exponent);
    for (double& share : shares_) share /= sum;
  }
  std::uint64_t next() {
    ++count_;
    if (setup_.scan != 0 && count_ % setup_.scan == 0) return kScan + (scanned_++ % (4 * setup_.keys));
    if (setup_.once != 0 && count_ % setup_.once == 0) return kOnce + count_;
    const double at = std::uniform_real_distribution<double>(0, 1)(random_);
    const auto rank = static_cast<std::uint64_t>(std::ranges::lower_bound(shares_, at) - shares_.begin());
    return rank + (setup_.drift == 0 ? 0 : count_ / setup_.drift);
  }

 private:
  static constexpr std::uint64_t kScan = std::uint64_t{1} << 40;
  static constexpr std::uint64_t kOnce = std::uint64_t{1} << 41;
  TraceSetup setup_;
  std::mt19937_64 random_;
  std::vector<double> shares_;
  std::uint64_t count_ = 0;
  std::uint64_t scanned_ = 0;
};

}  // namespace hostmap::test
