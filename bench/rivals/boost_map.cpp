#include "rivals/boost_map.hpp"

#include <boost/functional/hash.hpp>
#include <boost/interprocess/allocators/allocator.hpp>
#include <boost/interprocess/managed_shared_memory.hpp>
#include <boost/interprocess/shared_memory_object.hpp>
#include <boost/interprocess/sync/interprocess_mutex.hpp>
#include <boost/interprocess/sync/interprocess_sharable_mutex.hpp>
#include <boost/interprocess/sync/scoped_lock.hpp>
#include <boost/interprocess/sync/sharable_lock.hpp>
#include <boost/unordered_map.hpp>
#include <cerrno>
#include <cstddef>
#include <functional>
#include <stdexcept>
#include <sys/mman.h>
#include <system_error>
#include <type_traits>

#include "harness/workload.hpp"
#include "layout/table.hpp"

namespace hostmap::bench {
namespace {

namespace ipc = boost::interprocess;
using Segment = ipc::managed_shared_memory;

constexpr const char* kMapName = "map";
constexpr const char* kLockName = "lock";

/// Beside key and value an entry has links, the allocator's header, and its share of two arrays of buckets, the old and
/// the new one, while the map grows. Address space and a file with holes: what is not used takes no memory.
constexpr std::uint64_t kOverheadPerEntry = 160;
constexpr std::uint64_t kLeastBytes = std::uint64_t{1} << 20U;

// Huge pages: hostmap lays its table into 2 MiB pages by itself; Boost.Interprocess has no option for them, but can be
// given the same: a mapping at a huge page's boundary, and a request to move its pages together.
constexpr std::size_t kHugePage = std::size_t{2} << 20U;
#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE 25  // Linux 6.1; missing from older C libraries' headers
#endif

/// An address at a huge page's boundary where so many bytes are free, as long as no other thread maps anything.
void* aligned_free_address(std::size_t bytes) {
  void* const space = mmap(nullptr, bytes + kHugePage, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (space == MAP_FAILED) throw std::system_error(errno, std::generic_category(), "mmap");
  munmap(space, bytes + kHugePage);
  const auto address = reinterpret_cast<std::uintptr_t>(space);
  return reinterpret_cast<void*>((address + kHugePage - 1) / kHugePage * kHugePage);
}

/// The segment's bytes in whole huge pages: so the last one can be one, too.
std::size_t segment_bytes(std::uint64_t entries, std::size_t entry_bytes) {
  const std::uint64_t bytes = kLeastBytes + entries * (entry_bytes + kOverheadPerEntry);
  return (bytes + kHugePage - 1) / kHugePage * kHugePage;
}

std::size_t bytes_of_segment(const std::string& name) {
  ipc::offset_t bytes = 0;
  if (!ipc::shared_memory_object(ipc::open_only, name.c_str(), ipc::read_only).get_size(bytes)) {
    throw std::runtime_error("Boost.Interprocess: the segment has no size");
  }
  return static_cast<std::size_t>(bytes);
}

template <typename T>
T* find_in(Segment& segment, const char* name) {
  T* const found = segment.find<T>(name).first;
  if (found == nullptr) throw std::runtime_error("Boost.Interprocess: the segment lacks its map or lock");
  return found;
}

}  // namespace

BoostSegment::~BoostSegment() { ipc::shared_memory_object::remove(name_.c_str()); }

template <typename Key, typename Value, BoostLock kLock>
struct BoostMap<Key, Value, kLock>::Parts {
  static constexpr bool kSharable = kLock == BoostLock::kSharableMutex;
  using Mutex = std::conditional_t<kSharable, ipc::interprocess_sharable_mutex, ipc::interprocess_mutex>;
  using ReadLock = std::conditional_t<kSharable, ipc::sharable_lock<Mutex>, ipc::scoped_lock<Mutex>>;
  using Allocator = ipc::allocator<std::pair<const Key, Value>, Segment::segment_manager>;
  using Map = boost::unordered_map<Key, Value, boost::hash<Key>, std::equal_to<Key>, Allocator>;

  Segment segment;
  Mutex* mutex;
  Map* map;
};

template <typename Key, typename Value, BoostLock kLock>
BoostMap<Key, Value, kLock>::BoostMap(std::unique_ptr<Parts> parts) : parts_(std::move(parts)) {}

template <typename Key, typename Value, BoostLock kLock>
BoostMap<Key, Value, kLock>::~BoostMap() = default;

template <typename Key, typename Value, BoostLock kLock>
BoostMap<Key, Value, kLock>::BoostMap(BoostMap&&) noexcept = default;

template <typename Key, typename Value, BoostLock kLock>
BoostMap<Key, Value, kLock> BoostMap<Key, Value, kLock>::create(const std::string& name, std::uint64_t entries) {
  const std::size_t bytes = segment_bytes(entries, sizeof(Key) + sizeof(Value));
  Segment segment(ipc::create_only, name.c_str(), bytes, aligned_free_address(bytes));
  auto* const mutex = segment.construct<typename Parts::Mutex>(kLockName)();
  const typename Parts::Allocator allocator(segment.get_segment_manager());
  auto* const map =
      segment.construct<typename Parts::Map>(kMapName)(0, boost::hash<Key>(), std::equal_to<Key>(), allocator);
  return BoostMap(std::make_unique<Parts>(Parts{std::move(segment), mutex, map}));
}

template <typename Key, typename Value, BoostLock kLock>
BoostMap<Key, Value, kLock> BoostMap<Key, Value, kLock>::open(const std::string& name) {
  Segment segment(ipc::open_only, name.c_str(), aligned_free_address(bytes_of_segment(name)));
  auto* const mutex = find_in<typename Parts::Mutex>(segment, kLockName);
  auto* const map = find_in<typename Parts::Map>(segment, kMapName);
  return BoostMap(std::make_unique<Parts>(Parts{std::move(segment), mutex, map}));
}

template <typename Key, typename Value, BoostLock kLock>
void BoostMap<Key, Value, kLock>::put(const Key& key, const Value& value) {
  const ipc::scoped_lock<typename Parts::Mutex> lock(*parts_->mutex);
  parts_->map->insert_or_assign(key, value);
}

template <typename Key, typename Value, BoostLock kLock>
bool BoostMap<Key, Value, kLock>::get(const Key& key, Value& value) {
  const typename Parts::ReadLock lock(*parts_->mutex);
  const auto found = parts_->map->find(key);
  if (found == parts_->map->end()) return false;
  value = found->second;
  return true;
}

template <typename Key, typename Value, BoostLock kLock>
void BoostMap<Key, Value, kLock>::finish() {
  // The segment begins a header's length behind the mapping.
  const auto address = reinterpret_cast<std::uintptr_t>(parts_->segment.get_address()) / kHugePage * kHugePage;
  const std::size_t bytes = (parts_->segment.get_size() + kHugePage - 1) / kHugePage * kHugePage;
  // Refused where the kernel cannot: hostmap has small pages there, too.
  madvise(reinterpret_cast<void*>(address), bytes, MADV_COLLAPSE);
}

template class BoostMap<std::uint64_t, std::uint64_t, BoostLock::kMutex>;
template class BoostMap<std::uint64_t, std::uint64_t, BoostLock::kSharableMutex>;
template class BoostMap<EntryKey, EntryValue, BoostLock::kMutex>;
template class BoostMap<EntryKey, EntryValue, BoostLock::kSharableMutex>;

}  // namespace hostmap::bench
