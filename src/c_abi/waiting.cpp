// Waiting until a key changes, leases, values that one process computes for all.
#include <optional>
#include <string>

#include "c_abi/common.hpp"

using namespace hostmap::c_abi;
using hostmap::Bytes;
using hostmap::Client;
using hostmap::StatusCode;

int hostmap_wait(hostmap_map* map, const void* key, size_t key_size, const void* known, size_t known_size,
                 int64_t timeout_ns, void** value, size_t* value_size) {
  if (!clear_result(value, value_size)) return refuse_result();
  return with_value(map, key, key_size, known, known_size, [&](Client& client, const Bytes& k, const Bytes& v) {
    const auto changed = client.wait(k, known == nullptr ? std::nullopt : std::optional(v), time_of(timeout_ns));
    if (!changed) return report(changed.status());
    return *changed ? hand_over(**changed, value, value_size) : report(StatusCode::kNotFound);
  });
}

int hostmap_lease(hostmap_map* map, const void* key, size_t key_size, int64_t length_ms, int64_t patience_ns,
                  uint64_t* number) {
  if (number == nullptr) return refuse_result();
  return with_key(map, key, key_size, [&](Client& client, const Bytes& k) {
    const auto lease = client.lease(k, std::chrono::milliseconds(length_ms), time_of(patience_ns));
    if (!lease) return report(lease.status());
    *number = *lease;
    return static_cast<int>(HOSTMAP_OK);
  });
}

int hostmap_release(hostmap_map* map, const void* key, size_t key_size, uint64_t number) {
  return with_key(map, key, key_size,
                  [number](Client& client, const Bytes& k) { return report(client.release(k, number)); });
}

int hostmap_compute_begin(hostmap_map* map, const void* key, size_t key_size, int64_t lease_ms, void** value,
                          size_t* value_size, uint64_t* number) {
  if (!clear_result(value, value_size) || number == nullptr) return refuse_result();
  *number = 0;
  return with_key(map, key, key_size, [&](Client& client, const Bytes& k) {
    const hostmap::Result<hostmap::ValueOrTask> begun = client.compute_begin(k, std::chrono::milliseconds(lease_ms));
    if (!begun) return report(begun.status());
    if (begun->value) return hand_over(*begun->value, value, value_size);
    *number = begun->task;
    return report(StatusCode::kNotFound);
  });
}

int hostmap_compute_put(hostmap_map* map, const void* key, size_t key_size, const void* value, size_t value_size,
                        int64_t ttl_ms, uint64_t number) {
  // A time to live that is refused ends the task, too: it is the client that refuses it.
  std::chrono::milliseconds ttl;
  if (!read_ttl(ttl_ms, ttl)) ttl = std::chrono::milliseconds::zero();
  return with_value(map, key, key_size, value, value_size, [&](Client& client, const Bytes& k, const Bytes& v) {
    return report(client.compute_put(k, v, number, ttl));
  });
}

int hostmap_compute_fail(hostmap_map* map, const void* key, size_t key_size, int status, uint64_t number) {
  if (status <= HOSTMAP_OK || status > HOSTMAP_INTERNAL) {
    return refuse("a task fails with one of the statuses of hostmap.h, and not with HOSTMAP_OK");
  }
  return with_key(map, key, key_size, [&](Client& client, const Bytes& k) {
    return report(client.compute_fail(k, static_cast<StatusCode>(status), number));
  });
}
