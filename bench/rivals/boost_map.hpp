// Boost.Interprocess: a boost::unordered_map in a managed shared memory segment, under one lock that lies there, too.
//
// As its own documents show it: the map with the segment's allocator, default hash, grown from empty, keys and values
// as plain types (no serialization, no second allocation for an entry), an anonymous interprocess_mutex or
// interprocess_sharable_mutex in the segment. The segment has its full size from the start, since one in use cannot
// grow. It lies in pages of the size that hostmap's table has.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <utility>

namespace hostmap::bench {

enum class BoostLock : std::uint8_t {
  kMutex,          // interprocess_mutex: a futex-based mutex of the C library
  kSharableMutex,  // interprocess_sharable_mutex: a get takes it shared
};

/// Removes the segment of that name, if there is one, when it goes out of scope.
class BoostSegment {
 public:
  explicit BoostSegment(std::string name) : name_(std::move(name)) {}
  ~BoostSegment();
  BoostSegment(const BoostSegment&) = delete;
  BoostSegment& operator=(const BoostSegment&) = delete;

  [[nodiscard]] const std::string& name() const { return name_; }

 private:
  std::string name_;
};

/// Of std::uint64_t to std::uint64_t, or EntryKey to EntryValue (boost_map.cpp has them all). Throws on any error.
template <typename Key, typename Value, BoostLock kLock>
class BoostMap {
 public:
  /// Makes the segment, with room for so many entries.
  static BoostMap create(const std::string& name, std::uint64_t entries);
  static BoostMap open(const std::string& name);
  ~BoostMap();
  BoostMap(BoostMap&&) noexcept;
  BoostMap& operator=(BoostMap&&) = delete;

  void put(const Key& key, const Value& value);
  /// False, and the value as it was, if the key is not there.
  [[nodiscard]] bool get(const Key& key, Value& value);
  /// All is loaded: moves the segment into huge pages where the kernel can.
  void finish();

 private:
  struct Parts;
  explicit BoostMap(std::unique_ptr<Parts> parts);

  std::unique_ptr<Parts> parts_;
};

}  // namespace hostmap::bench
