// Scans.
#include <hostmap/scan.hpp>

#include "c_abi/common.hpp"

struct hostmap_scan {
  hostmap::Scan scan;
  bool keys_only;
};

using namespace hostmap::c_abi;

int hostmap_scan_begin(hostmap_map* map, const void* prefix, size_t prefix_size, int keys_only, hostmap_scan** scan) {
  if (scan == nullptr) return refuse_result();
  *scan = nullptr;
  return with_key(map, prefix, prefix_size, [&](hostmap::Client& client, const hostmap::Bytes& bytes) {
    const auto what = keys_only != 0 ? hostmap::Scan::What::kKeys : hostmap::Scan::What::kKeysAndValues;
    *scan = new hostmap_scan{hostmap::Scan(client, bytes, what), keys_only != 0};
    return static_cast<int>(HOSTMAP_OK);
  });
}

int hostmap_scan_next(hostmap_scan* scan, const void** key, size_t* key_size, const void** value, size_t* value_size) {
  if (scan == nullptr) return refuse("the scan is a null pointer; hostmap_scan_begin returns one");
  if (key == nullptr || key_size == nullptr) return refuse_result();
  return guarded([&]() noexcept {
    if (!scan->scan.next()) {
      return report(scan->scan.status().ok() ? hostmap::Status(hostmap::StatusCode::kNotFound) : scan->scan.status());
    }
    *key = scan->scan.key().data();
    *key_size = scan->scan.key().size();
    if (value != nullptr) *value = scan->keys_only ? nullptr : scan->scan.value().data();
    if (value_size != nullptr) *value_size = scan->scan.value().size();
    return static_cast<int>(HOSTMAP_OK);
  });
}

void hostmap_scan_end(hostmap_scan* scan) { delete scan; }
