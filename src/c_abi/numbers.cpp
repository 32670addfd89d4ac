// Increments.
#include "c_abi/common.hpp"

using namespace hostmap::c_abi;
using hostmap::Bytes;
using hostmap::Client;

namespace {

// `add(client, key, ttl)` returns a Result of the new number.
template <typename Number, typename Add>
int increment(hostmap_map* map, const void* key, std::size_t key_size, std::int64_t ttl_if_new_ms, Number* number,
              const Add& add) noexcept {
  std::chrono::milliseconds ttl;
  if (!read_ttl(ttl_if_new_ms, ttl)) return refuse_ttl();
  return with_key(map, key, key_size, [&](Client& client, const Bytes& k) noexcept {
    const hostmap::Result<Number> sum = add(client, k, ttl);
    if (!sum) return report(sum.status());
    if (number != nullptr) *number = *sum;
    return static_cast<int>(HOSTMAP_OK);
  });
}

}  // namespace

int hostmap_increment(hostmap_map* map, const void* key, size_t key_size, int64_t by, int64_t* number) {
  return increment(map, key, key_size, HOSTMAP_FOREVER, number,
                   [by](Client& client, const Bytes& k, auto) noexcept { return client.increment(k, by); });
}

int hostmap_increment_from(hostmap_map* map, const void* key, size_t key_size, int64_t by, int64_t initial,
                           int64_t ttl_if_new_ms, int64_t* number) {
  return increment(map, key, key_size, ttl_if_new_ms, number, [=](Client& client, const Bytes& k, auto ttl) noexcept {
    return client.increment(k, by, initial, ttl);
  });
}

int hostmap_increment_double(hostmap_map* map, const void* key, size_t key_size, double by, double initial,
                             int64_t ttl_if_new_ms, double* number) {
  return increment(map, key, key_size, ttl_if_new_ms, number, [=](Client& client, const Bytes& k, auto ttl) noexcept {
    return client.increment(k, by, initial, ttl);
  });
}

int hostmap_increment_stored(hostmap_map* map, const void* key, size_t key_size, int64_t by, int64_t initial,
                             int64_t ttl_if_new_ms, int64_t* number) {
  return increment(map, key, key_size, ttl_if_new_ms, number, [=](Client& client, const Bytes& k, auto ttl) noexcept {
    return client.increment_as<std::int64_t>(k, by, initial, ttl);
  });
}

int hostmap_increment_stored_double(hostmap_map* map, const void* key, size_t key_size, double by, double initial,
                                    int64_t ttl_if_new_ms, double* number) {
  return increment(map, key, key_size, ttl_if_new_ms, number, [=](Client& client, const Bytes& k, auto ttl) noexcept {
    return client.increment_as<double>(k, by, initial, ttl);
  });
}
