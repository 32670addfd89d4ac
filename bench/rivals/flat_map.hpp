// boost::concurrent_flat_map, the map that locks groups of its slots: it has no iterators, a lookup calls a function with
// the entry while the entry's group is locked. Needs Boost 1.84, whose lookups of several keys prefetch; where Boost is
// older, nothing here is declared and kHasFlatMap is false.
#pragma once

#include <boost/version.hpp>
#include <string>

namespace hostmap::bench {

inline constexpr bool kHasFlatMap = BOOST_VERSION >= 108400;

/// Why it is missing from a table.
inline std::string flat_map_sentence() {
  return "boost::concurrent_flat_map is missing: built with Boost " + std::to_string(BOOST_VERSION / 100000) + "." +
         std::to_string(BOOST_VERSION / 100 % 1000) + ", and ./dev setup bench gets a newer one";
}

}  // namespace hostmap::bench

#if BOOST_VERSION >= 108400

#include <array>
#include <boost/container_hash/hash.hpp>
#include <boost/unordered/concurrent_flat_map.hpp>
#include <cstddef>
#include <cstring>
#include <functional>
#include <span>
#include <string_view>

namespace hostmap::bench {

/// Keys and values in the slots themselves: of one size, known when the program is compiled.
template <typename Key, typename Value>
class FlatMap {
 public:
  using Stored = Value;

  void insert(const Key& key, const Value& value) { map_.insert_or_assign(key, value); }
  bool find(const Key& key, Value& value) const {
    return map_.cvisit(key, [&](const auto& entry) { value = entry.second; }) != 0;
  }
  /// Copies the values of the keys that are found, in the order in which the map visits them, and returns their number.
  std::size_t find_all(std::span<const Key> keys, std::span<Value> values) const {
    std::size_t found = 0;
    return map_.cvisit(keys.begin(), keys.end(), [&](const auto& entry) { values[found++] = entry.second; });
  }

 private:
  boost::concurrent_flat_map<Key, Value> map_;
};

/// Keys and values of any size, as in hostmap: strings. A lookup makes no string of its key.
template <typename Key, typename Value>
class FlatStringMap {
 public:
  using Stored = std::string;

  void insert(const Key& key, const Value& value) { map_.insert_or_assign(std::string(view_of(key)), view_of(value)); }
  bool find(const Key& key, Value& value) const {
    return map_.cvisit(view_of(key),
                       [&](const auto& entry) { std::memcpy(&value, entry.second.data(), sizeof value); }) != 0;
  }
  bool find(const Key& key, std::string& value) const {
    return map_.cvisit(view_of(key), [&](const auto& entry) { value = entry.second; }) != 0;
  }
  /// As FlatMap::find_all; at most kMostKeys.
  std::size_t find_all(std::span<const Key> keys, std::span<std::string> values) const {
    std::array<std::string_view, kMostKeys> views;
    for (std::size_t i = 0; i < keys.size(); ++i) views.at(i) = view_of(keys[i]);
    std::size_t found = 0;
    return map_.cvisit(views.begin(), views.begin() + keys.size(),
                       [&](const auto& entry) { values[found++] = entry.second; });
  }

  static constexpr std::size_t kMostKeys = 64;

 private:
  struct Hash : boost::hash<std::string_view> {
    using is_transparent = void;
    using is_avalanching = void;  // as the map assumes of boost::hash<std::string>
  };

  template <typename Bytes>
  static std::string_view view_of(const Bytes& bytes) {
    return {reinterpret_cast<const char*>(&bytes), sizeof bytes};
  }

  boost::concurrent_flat_map<std::string, std::string, Hash, std::equal_to<>> map_;
};

}  // namespace hostmap::bench

#endif
