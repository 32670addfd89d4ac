// Before a takeover: does this process get what it will need to serve? The running server is asked only if it does.
#pragma once

#include <cstdint>

#include <hostmap/status.hpp>

#include "layout/connection.hpp"

namespace hostmap {

// What the next server takes over, beside master and table, which are mapped already.
struct Needs {
  std::uint64_t connections = 0;
  std::uint64_t connection_bytes = 0;  // of the region of each
  std::uint64_t threads = 0;
  std::uint64_t memory = 0;  // of this process's own
};

// Takes all of it at the same time and gives it back. kFull: the sentence names the limit.
Status rehearse(const Needs& needs);

}  // namespace hostmap
