// Before a start or a takeover: can this process get the resources that it will need? Only then does it change anything, or
// send the request to the running server.
#pragma once

#include <cstdint>

#include <hostmap/status.hpp>

#include "layout/connection.hpp"

namespace hostmap {

// The resources that the next server takes over, besides master and table, which are mapped already.
struct Needs {
  std::uint64_t connections = 0;
  std::uint64_t connection_bytes = 0;  // of the region of each
  std::uint64_t threads = 0;
  std::uint64_t memory = 0;  // of this process's own
};

// Acquires all of it at the same time and frees it. kFull: the sentence names the limit.
Status rehearse(const Needs& needs);

// kFull if this process may not make a file of the size of a connection's region: it would refuse every new client.
Status check_file_size_limit(std::uint64_t connection_bytes);

}  // namespace hostmap
