// The maps that a program can have in its own process, each as its users would write it: default
// hash, default allocator, grown from empty. All but the last may be used by many threads at once,
// as hostmap may.
//
// hostmap is measured against the fastest of the rivals that are marked `names_goal`.
#pragma once

#include <absl/container/flat_hash_map.h>
#include <absl/synchronization/mutex.h>
#include <array>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <libcuckoo/cuckoohash_map.hh>
#include <mutex>
#include <shared_mutex>
#include <span>
#include <stdexcept>
#include <string_view>
#include <tbb/concurrent_hash_map.h>
#include <unordered_map>
#include <vector>

#include "harness/forms.hpp"
#include "harness/workload.hpp"
#include "rivals/flat_map.hpp"

namespace hostmap::bench {

/// The concept that all of them model.
template <typename Map, typename Key, typename Value>
concept InProcessMap = requires(Map& map, const Key& key, Value& value) {
  map.insert(key, value);
  { map.find(key, value) } -> std::same_as<bool>;  // value is untouched by a miss
};

/// A map that has one call for several keys: it copies the values found to `values`, in its own order.
template <typename Map, typename Key>
concept FindsSeveral = requires(const Map& map, std::span<const Key> keys, std::span<typename Map::Stored> values) {
  { map.find_all(keys, values) } -> std::same_as<std::size_t>;
};

/// What the library has for a type; of keys of two words, for which it has nothing, that of their bytes.
template <typename Key>
struct DefaultHash : std::hash<Key> {};
template <>
struct DefaultHash<EntryKey> {
  std::size_t operator()(const EntryKey& key) const {
    return std::hash<std::string_view>()({reinterpret_cast<const char*>(key.data()), sizeof key});
  }
};

template <typename Key, typename Value>
class CuckooMap {
 public:
  void insert(const Key& key, const Value& value) { map_.insert_or_assign(key, value); }
  bool find(const Key& key, Value& value) { return map_.find(key, value); }

 private:
  libcuckoo::cuckoohash_map<Key, Value, DefaultHash<Key>> map_;
};

template <typename Key>
struct TbbHash {
  std::size_t hash(const Key& key) const { return DefaultHash<Key>()(key); }
  bool equal(const Key& one, const Key& other) const { return one == other; }
};
/// For words TBB has a hash of its own.
template <>
struct TbbHash<std::uint64_t> : tbb::tbb_hash_compare<std::uint64_t> {};

template <typename Key, typename Value>
class TbbMap {
 public:
  void insert(const Key& key, const Value& value) { map_.insert({key, value}); }
  bool find(const Key& key, Value& value) {
    typename Map::const_accessor entry;  // holds a read lock on the entry
    if (!map_.find(entry, key)) return false;
    value = entry->second;
    return true;
  }

 private:
  using Map = tbb::concurrent_hash_map<Key, Value, TbbHash<Key>>;
  Map map_;
};

/// Any map of the standard shape under a lock of its own; a lookup takes it shared.
template <typename Map, typename Mutex, typename SharedLock>
class LockedMap {
 public:
  void insert(const typename Map::key_type& key, const typename Map::mapped_type& value) {
    const std::lock_guard lock(mutex_);
    map_.insert_or_assign(key, value);
  }
  bool find(const typename Map::key_type& key, typename Map::mapped_type& value) {
    const SharedLock lock(mutex_);
    const auto found = map_.find(key);
    if (found == map_.end()) return false;
    value = found->second;
    return true;
  }

 private:
  Mutex mutex_;
  Map map_;
};

template <typename Key, typename Value>
using StdMap = std::unordered_map<Key, Value, DefaultHash<Key>>;
template <typename Key, typename Value>
using AbseilMap = absl::flat_hash_map<Key, Value>;

/// absl::Mutex under the names that std::lock_guard and std::shared_lock call.
class AbseilMutex {
 public:
  void lock() { mutex_.Lock(); }
  void unlock() { mutex_.Unlock(); }
  void lock_shared() { mutex_.ReaderLock(); }
  void unlock_shared() { mutex_.ReaderUnlock(); }

 private:
  absl::Mutex mutex_;
};

/// For one thread only: what a lookup costs when nothing is shared with anybody.
struct NoMutex {
  void lock() {}
  void unlock() {}
  void lock_shared() {}
  void unlock_shared() {}
};

template <typename Map, typename Mutex>
using Locked = LockedMap<Map, Mutex, std::shared_lock<Mutex>>;

struct MapRival {
  std::string_view name;
  bool names_goal = false;        // the goal is stated against the fastest of these
  bool thread_safe = true;        // without, it is shown as a bound only
  bool for_entries_only = false;  // it differs from another one only where keys and values are long
  bool finds_several = false;     // it has one call for several keys
  bool is_built = true;           // false: the libraries of this build lack it
};

inline constexpr std::string_view kFlatMap = "concurrent_flat_map";
inline constexpr std::string_view kFlatStringMap = "concurrent_flat_map, strings";

inline constexpr std::array kMapRivals{
    MapRival{.name = "libcuckoo", .names_goal = true},
    MapRival{.name = "tbb", .names_goal = true},
    MapRival{.name = "std + shared_mutex", .names_goal = true},
    MapRival{.name = kFlatMap, .finds_several = true, .is_built = kHasFlatMap},
    MapRival{.name = kFlatStringMap, .for_entries_only = true, .finds_several = true, .is_built = kHasFlatMap},
    MapRival{.name = "absl + shared_mutex"},
    MapRival{.name = "absl + absl::Mutex"},
    MapRival{.name = "absl, no lock", .thread_safe = false},
};

/// Those that this build measures with entries of that form.
inline std::vector<MapRival> map_rivals(std::string_view form) {
  std::vector<MapRival> rivals;
  for (const MapRival& rival : kMapRivals) {
    if (rival.is_built && (!rival.for_entries_only || form == Entries::kName)) rivals.push_back(rival);
  }
  return rivals;
}

/// Makes an empty map of that name and returns what the function makes of it.
template <typename Key, typename Value, typename Function>
auto with_map(std::string_view name, const Function& function) {
  const auto with = [&]<InProcessMap<Key, Value> Map>() {
    Map map;
    return function(map);
  };
  if (name == "libcuckoo") return with.template operator()<CuckooMap<Key, Value>>();
  if (name == "tbb") return with.template operator()<TbbMap<Key, Value>>();
  if (name == "std + shared_mutex") return with.template operator()<Locked<StdMap<Key, Value>, std::shared_mutex>>();
#if BOOST_VERSION >= 108400
  if (name == kFlatMap) return with.template operator()<FlatMap<Key, Value>>();
  if (name == kFlatStringMap) return with.template operator()<FlatStringMap<Key, Value>>();
#endif
  if (name == "absl + shared_mutex") {
    return with.template operator()<Locked<AbseilMap<Key, Value>, std::shared_mutex>>();
  }
  if (name == "absl + absl::Mutex") return with.template operator()<Locked<AbseilMap<Key, Value>, AbseilMutex>>();
  if (name == "absl, no lock") return with.template operator()<Locked<AbseilMap<Key, Value>, NoMutex>>();
  throw std::runtime_error("no such map");
}

/// All entries of a form, in the order in which hostmap is loaded.
template <typename Form, typename Map>
void load_map(Map& map, std::uint64_t entries) {
  for (std::uint64_t position = 0; position < entries; ++position) {
    const std::uint64_t index = load_order(position, entries);
    map.insert(Form::key(index), Form::value(index));
  }
}

}  // namespace hostmap::bench
