// Gets and the size.
#include <array>
#include <span>
#include <string>

#include "c_abi/common.hpp"

using namespace hostmap::c_abi;
using hostmap::Bytes;
using hostmap::Client;
using hostmap::Result;
using hostmap::StatusCode;

namespace {

std::span<std::byte> room_of(void* data, std::size_t size) noexcept { return {static_cast<std::byte*>(data), size}; }

}  // namespace

int hostmap_get(hostmap_map* map, const void* key, size_t key_size, void* buffer, size_t buffer_size,
                size_t* value_size) {
  if (!is_given(buffer, buffer_size)) [[unlikely]]
    return refuse_arguments(map);
  return with_key(map, key, key_size, [&](Client& client, const Bytes& bytes) noexcept {
    const Result<std::size_t> size = client.get_into(bytes, room_of(buffer, buffer_size));
    if (size) [[likely]] {
      if (value_size != nullptr) *value_size = *size;
      return static_cast<int>(HOSTMAP_OK);
    }
    if (value_size != nullptr && size.status() == StatusCode::kBufferTooSmall) *value_size = size.status().size();
    return report(size.status());
  });
}

int hostmap_get_copy(hostmap_map* map, const void* key, size_t key_size, void** value, size_t* value_size) {
  if (!clear_result(value, value_size)) return refuse_result();
  return with_key(map, key, key_size, [&](Client& client, const Bytes& bytes) {
    // Most values are copied from the stack; a larger one is read into its own memory.
    std::array<std::byte, 1024> small;
    Result<std::size_t> size = client.get_into(bytes, small);
    if (size) return hand_over({reinterpret_cast<const char*>(small.data()), *size}, value, value_size);
    // So often a value may have grown between two attempts.
    for (int attempts = 0; attempts < 3 && size.status() == StatusCode::kBufferTooSmall; ++attempts) {
      const std::size_t room = size.status().size();
      auto* const memory = static_cast<char*>(std::malloc(room + 1));
      if (memory == nullptr) return out_of_memory();
      size = client.get_into(bytes, room_of(memory, room));
      if (size) {
        memory[*size] = '\0';
        *value = memory;
        *value_size = *size;
        return static_cast<int>(HOSTMAP_OK);
      }
      std::free(memory);
    }
    if (!(size.status() == StatusCode::kBufferTooSmall)) return report(size.status());
    const Result<std::string> whole = client.get(bytes);
    return whole ? hand_over(*whole, value, value_size) : report(whole.status());
  });
}

void hostmap_free(void* value) { std::free(value); }

int hostmap_exists(hostmap_map* map, const void* key, size_t key_size) {
  return with_key(map, key, key_size,
                  [](Client& client, const Bytes& bytes) noexcept { return report(client.exists(bytes)); });
}

int hostmap_ttl(hostmap_map* map, const void* key, size_t key_size, int64_t* ttl_ms) {
  if (ttl_ms == nullptr) return refuse_result();
  return with_key(map, key, key_size, [&](Client& client, const Bytes& bytes) {
    const auto ttl = client.ttl(bytes);
    if (!ttl) return report(ttl.status());
    *ttl_ms = *ttl == hostmap::kForever ? std::int64_t{HOSTMAP_FOREVER} : ttl->count();
    return static_cast<int>(HOSTMAP_OK);
  });
}

int hostmap_size(hostmap_map* map, uint64_t* keys) {
  if (keys == nullptr) return refuse_result();
  if (map == nullptr) return refuse_arguments(map);
  return guarded([&] {
    const auto size = map->client.size();
    if (!size) return report(size.status());
    *keys = *size;
    return static_cast<int>(HOSTMAP_OK);
  });
}
