// Statistics: the figures of `hostmap stat`, read from the regions of a running server without a message to it.
#pragma once

#include <cstdint>
#include <string>

#include <hostmap/status.hpp>

#include "layout/table.hpp"
#include "shm/names.hpp"

namespace hostmap {

// Each count is since counted_since, over all servers of this map; each size is in bytes. Read one after the other while the
// server works: exact while there are no writes.
struct Statistics {
  std::string name;
  std::string version = "unknown";  // of the server
  std::string commit = "unknown";   // that the server was built from
  std::uint64_t layout_version = 0;
  std::uint64_t pid = 0;
  std::uint64_t entries = 0;  // keys of both forms
  std::uint64_t pair_keys = 0;
  std::uint64_t entry_keys = 0;
  std::uint64_t buckets = 0;  // of both forms, now
  std::uint64_t pair_buckets = 0;
  std::uint64_t entry_buckets = 0;
  std::uint64_t memory_bytes = 0;  // populated in the table region
  std::uint64_t memory_limit_bytes = 0;
  std::uint64_t file_bytes = 0;      // of the table's file, whichever program populated them
  std::uint64_t entry_bytes = 0;     // in blocks that hold entries
  std::uint64_t overflow_bytes = 0;  // in overflow buckets of either form
  std::uint64_t free_bytes = 0;      // populated for entries, in whole slabs that any put can use
  std::uint64_t fragmented_bytes =
      0;  // populated for entries, in slabs that are used, but in no entry or overflow bucket
  std::uint64_t huge_page_bytes = 0;  // of memory_bytes, in 2 MiB pages
  std::uint64_t connections = 0;      // now
  std::uint64_t connected = 0;        // ever
  std::uint64_t workers = 0;
  std::uint64_t puts = 0;  // each one read, validated and applied
  std::uint64_t erases = 0;
  std::uint64_t gets_by_ring = 0;
  std::uint64_t refused = 0;  // for lack of memory, or too large
  std::uint64_t splits = 0;
  std::uint64_t parks = 0;
  std::uint64_t counted_since = 0;      // when the map was created, in seconds since 1970
  std::uint64_t timeout_rescues = 0;    // sleeps of workers that a timeout ended although there was work
  std::uint64_t populate_failures = 0;  // the file system had no page left
  std::uint64_t recoveries = 0;
  std::uint64_t replayed = 0;
  std::uint64_t reaped = 0;    // connections whose client ended without closing
  std::uint64_t poisoned = 0;  // connections closed because of what they sent, or of what they did to their region
  // Reported by the clients. A client can write any number there; the value of one connection is limited.
  std::uint64_t read_retries = 0;            // retries of direct gets
  std::uint64_t read_fallbacks = 0;          // gets by ring because writers kept changing the key
  std::uint64_t client_timeout_rescues = 0;  // waits that a timeout ended although the answer was there
};

// Errors: kNoServer, kOtherVersion, kPermission.
Result<Statistics> collect_statistics(const InstanceName& name);

}  // namespace hostmap
