// Puts, erases, appends, expiry.
#include "c_abi/common.hpp"

using namespace hostmap::c_abi;
using hostmap::Bytes;
using hostmap::Client;

int hostmap_put(hostmap_map* map, const void* key, size_t key_size, const void* value, size_t value_size) {
  return with_value(map, key, key_size, value, value_size,
                    [](Client& client, const Bytes& k, const Bytes& v) noexcept { return report(client.put(k, v)); });
}

int hostmap_put_ttl(hostmap_map* map, const void* key, size_t key_size, const void* value, size_t value_size,
                    int64_t ttl_ms) {
  std::chrono::milliseconds ttl;
  if (!read_ttl(ttl_ms, ttl, KeepTtl::kAllowed)) return refuse_ttl(KeepTtl::kAllowed);
  return with_value(
      map, key, key_size, value, value_size,
      [ttl](Client& client, const Bytes& k, const Bytes& v) noexcept { return report(client.put(k, v, ttl)); });
}

int hostmap_put_async(hostmap_map* map, const void* key, size_t key_size, const void* value, size_t value_size) {
  return with_value(map, key, key_size, value, value_size, [](Client& client, const Bytes& k, const Bytes& v) noexcept {
    return report(client.put_async(k, v));
  });
}

int hostmap_put_async_ttl(hostmap_map* map, const void* key, size_t key_size, const void* value, size_t value_size,
                          int64_t ttl_ms) {
  std::chrono::milliseconds ttl;
  if (!read_ttl(ttl_ms, ttl, KeepTtl::kAllowed)) return refuse_ttl(KeepTtl::kAllowed);
  return with_value(
      map, key, key_size, value, value_size,
      [ttl](Client& client, const Bytes& k, const Bytes& v) noexcept { return report(client.put_async(k, v, ttl)); });
}

int hostmap_flush(hostmap_map* map) {
  if (map == nullptr) return refuse_arguments(map);
  return guarded([&] { return report(map->client.flush()); });
}

int hostmap_insert(hostmap_map* map, const void* key, size_t key_size, const void* value, size_t value_size) {
  return with_value(map, key, key_size, value, value_size, [](Client& client, const Bytes& k, const Bytes& v) noexcept {
    return report(client.insert(k, v));
  });
}

int hostmap_insert_ttl(hostmap_map* map, const void* key, size_t key_size, const void* value, size_t value_size,
                       int64_t ttl_ms) {
  std::chrono::milliseconds ttl;
  if (!read_ttl(ttl_ms, ttl)) return refuse_ttl();
  return with_value(
      map, key, key_size, value, value_size,
      [ttl](Client& client, const Bytes& k, const Bytes& v) noexcept { return report(client.insert(k, v, ttl)); });
}

int hostmap_replace(hostmap_map* map, const void* key, size_t key_size, const void* value, size_t value_size) {
  return with_value(map, key, key_size, value, value_size, [](Client& client, const Bytes& k, const Bytes& v) noexcept {
    return report(client.replace(k, v));
  });
}

int hostmap_replace_ttl(hostmap_map* map, const void* key, size_t key_size, const void* value, size_t value_size,
                        int64_t ttl_ms) {
  std::chrono::milliseconds ttl;
  if (!read_ttl(ttl_ms, ttl, KeepTtl::kAllowed)) return refuse_ttl(KeepTtl::kAllowed);
  return with_value(
      map, key, key_size, value, value_size,
      [ttl](Client& client, const Bytes& k, const Bytes& v) noexcept { return report(client.replace(k, v, ttl)); });
}

int hostmap_erase(hostmap_map* map, const void* key, size_t key_size) {
  return with_key(map, key, key_size, [](Client& client, const Bytes& k) noexcept { return report(client.erase(k)); });
}

int hostmap_expire(hostmap_map* map, const void* key, size_t key_size, int64_t ttl_ms) {
  std::chrono::milliseconds ttl;
  if (!read_ttl(ttl_ms, ttl)) return refuse_ttl();
  return with_key(map, key, key_size,
                  [ttl](Client& client, const Bytes& k) noexcept { return report(client.expire(k, ttl)); });
}

int hostmap_expire_async(hostmap_map* map, const void* key, size_t key_size, int64_t ttl_ms) {
  std::chrono::milliseconds ttl;
  if (!read_ttl(ttl_ms, ttl)) return refuse_ttl();
  return with_key(map, key, key_size,
                  [ttl](Client& client, const Bytes& k) noexcept { return report(client.expire_async(k, ttl)); });
}

int hostmap_append(hostmap_map* map, const void* key, size_t key_size, const void* more, size_t more_size,
                   uint64_t* value_size) {
  return with_value(map, key, key_size, more, more_size, [&](Client& client, const Bytes& k, const Bytes& v) noexcept {
    const auto size = client.append(k, v);
    if (!size) return report(size.status());
    if (value_size != nullptr) *value_size = *size;
    return static_cast<int>(HOSTMAP_OK);
  });
}

int hostmap_erase_prefix(hostmap_map* map, const void* prefix, size_t prefix_size, uint64_t* erased) {
  std::uint64_t count = 0;
  if (erased != nullptr) *erased = 0;
  return with_key(map, prefix, prefix_size, [&](Client& client, const Bytes& p) {
    const int result = report(client.erase_prefix(p, count));
    if (erased != nullptr) *erased = count;
    return result;
  });
}

int hostmap_clear(hostmap_map* map) {
  if (map == nullptr) return refuse_arguments(map);
  return guarded([&] { return report(map->client.clear()); });
}
