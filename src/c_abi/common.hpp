// What the files of the C interface share: the handle, the message of the thread, the checks of arguments, copies for the caller.
//
//   map.cpp         connecting, times, errors, versions
//   reads.cpp       gets, size
//   writes.cpp      puts, erases, appends, expiry
//   numbers.cpp     increments
//   conditions.cpp  changes that depend on the value
//   batches.cpp     several keys or operations at once
//   scan.cpp        scans
//   waiting.cpp     wait, leases, values that one process computes for all
//   numbering.cpp   proves that the numbers and offsets of hostmap.h are those of the C++ headers
//
// Every function of hostmap.h returns an error where C++ would throw: whatever may allocate is inside guarded().
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <string_view>
#include <utility>

#include <hostmap/client.hpp>
#include <hostmap/hostmap.h>

struct hostmap_map {
  hostmap::Client client;
};

namespace hostmap::c_abi {

// Stores what hostmap_message returns, and returns the number of the code.
[[gnu::cold]] int report_error(const Status& status) noexcept;
inline int report(const Status& status) noexcept { return status.ok() ? HOSTMAP_OK : report_error(status); }
// HOSTMAP_INVALID with this sentence.
[[gnu::cold]] int refuse(std::string_view sentence) noexcept;
[[gnu::cold]] int out_of_memory() noexcept;
// Why a map or bytes are refused.
[[gnu::cold]] int refuse_arguments(const hostmap_map* map) noexcept;
[[gnu::cold]] int refuse_result() noexcept;

template <typename Call>
int guarded(const Call& call) noexcept {
  try {
    return call();
  } catch (...) {
    return out_of_memory();
  }
}

constexpr bool is_given(const void* data, std::size_t size) noexcept { return data != nullptr || size == 0; }

inline Bytes bytes_of(const void* data, std::size_t size) noexcept {
  return std::string_view(static_cast<const char*>(data), data == nullptr ? 0 : size);
}
inline Bytes bytes_of(const hostmap_bytes& bytes) noexcept { return bytes_of(bytes.data, bytes.size); }

// Calls `call(client, key)` if the arguments are valid.
template <typename Call>
int with_key(hostmap_map* map, const void* key, std::size_t key_size, const Call& call) noexcept {
  if (map == nullptr || !is_given(key, key_size)) [[unlikely]]
    return refuse_arguments(map);
  return guarded([&] { return call(map->client, bytes_of(key, key_size)); });
}
// The same for `call(client, key, value)`.
template <typename Call>
int with_value(hostmap_map* map, const void* key, std::size_t key_size, const void* value, std::size_t value_size,
               const Call& call) noexcept {
  if (!is_given(value, value_size)) [[unlikely]]
    return refuse_arguments(map);
  return with_key(map, key, key_size,
                  [&](Client& client, const Bytes& bytes) { return call(client, bytes, bytes_of(value, value_size)); });
}

// A time to live of the C interface in that of C++. False: it is not valid; refuse_ttl() says so.
enum class KeepTtl : std::uint8_t { kRefused, kAllowed };
inline bool read_ttl(std::int64_t ttl_ms, std::chrono::milliseconds& ttl, KeepTtl keep = KeepTtl::kRefused) noexcept {
  ttl = ttl_ms == HOSTMAP_FOREVER    ? kForever
        : ttl_ms == HOSTMAP_KEEP_TTL ? kKeepTtl
                                     : std::chrono::milliseconds(ttl_ms);
  return ttl > std::chrono::milliseconds::zero() ||
         (ttl == kKeepTtl && keep == KeepTtl::kAllowed && ttl_ms == HOSTMAP_KEEP_TTL);
}
[[gnu::cold]] int refuse_ttl(KeepTtl keep = KeepTtl::kRefused) noexcept;

// A time of the C interface that is below 0 if it has no end.
inline std::chrono::nanoseconds time_of(std::int64_t ns) noexcept {
  return ns < 0 ? Options::kForever : std::chrono::nanoseconds(ns);
}

// A copy with a zero byte behind it, for hostmap_free. Null: no memory.
inline void* copy_of(std::string_view value) noexcept {
  void* const copy = std::malloc(value.size() + 1);
  if (copy == nullptr) return nullptr;
  if (!value.empty()) std::memcpy(copy, value.data(), value.size());
  static_cast<char*>(copy)[value.size()] = '\0';
  return copy;
}

// Stores such a copy where the caller wants it.
inline int hand_over(std::string_view value, void** copy, std::size_t* size) noexcept {
  *copy = copy_of(value);
  if (*copy == nullptr) return out_of_memory();
  *size = value.size();
  return HOSTMAP_OK;
}

// Where the caller wants a value and its size: not null; and empty until there is one.
inline bool clear_result(void** value, std::size_t* size) noexcept {
  if (value != nullptr) *value = nullptr;
  if (size != nullptr) *size = 0;
  return value != nullptr && size != nullptr;
}

// Owns a copy until the caller gets it.
class Copy {
 public:
  Copy() = default;
  ~Copy() { std::free(data_); }
  Copy(const Copy&) = delete;
  Copy& operator=(const Copy&) = delete;

  // Throws std::bad_alloc.
  void set(std::string_view value);
  void clear() noexcept {
    std::free(std::exchange(data_, nullptr));
    size_ = 0;
  }
  void give(void** value, std::size_t* size) noexcept {
    *value = std::exchange(data_, nullptr);
    *size = size_;
  }

 private:
  void* data_ = nullptr;
  std::size_t size_ = 0;
};

}  // namespace hostmap::c_abi
