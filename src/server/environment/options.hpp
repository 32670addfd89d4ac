// ServerOptions: the requested settings of a server, checked and completed before anything is created.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include <hostmap/status.hpp>

#include "layout/table.hpp"
#include "shm/names.hpp"

namespace hostmap {

struct ServerOptions {
  std::uint64_t buckets = 1024;
  std::string name = "distributed-memory";
  std::string dir;               // empty: /dev/shm
  std::string group;             // whose members may connect, too; empty: the server's user alone
  std::uint64_t memory = 0;      // bytes; 0: 1 GiB, or half of what the file system has free if that is less
  std::uint64_t max_memory = 0;  // the limit can be raised up to this while the map exists; 0: twice the memory
  std::uint64_t workers = 0;     // 0: by the number of cpus
  std::uint64_t max_connections = 1024;
  std::uint64_t ring_bytes = 64 * 1024;
  std::uint64_t max_value_bytes = std::uint64_t{64} << 20;
  std::string eviction = "none";  // what is done when memory is full: none, clock or expiring
  bool keep = false;              // a stop leaves the regions for the next start
  bool fresh = false;             // a dead server's regions are discarded
  bool takeover = false;          // a running server hands over
  bool set_limit = false;         // `memory` becomes the limit of a map that is continued, too
  std::string load;               // a dump whose keys a new map gets; empty: none
};

// Checked options, ready to be served, except for the memory of a map that begins empty.
struct CheckedOptions {
  InstanceName name;
  std::uint64_t buckets;
  std::uint64_t memory;  // of a map that is continued: its limit when this server began to serve it
  std::uint64_t max_memory;
  bool memory_given;
  bool set_limit;
  std::uint32_t workers;
  std::uint32_t max_connections;
  std::uint64_t ring_bytes;
  std::uint64_t max_value_bytes;
  Eviction eviction;
  bool keep;
  bool fresh;
  bool takeover;
  std::string load;
  std::string warning;  // for the log; empty if all is well
};

// kInvalid with a sentence that names the option and its bounds.
Result<CheckedOptions> check_options(const ServerOptions& options);
// "1G", "1536": a size in the form of the options.
std::string size_text(std::uint64_t bytes);
// As in --eviction; empty: there is no such policy.
std::string_view name_of(Eviction policy) noexcept;
// The log's warning about room in the file system, where a map may still grow by `bytes`. Empty: there is enough.
std::string warning_of_room(const InstanceName& name, std::uint64_t bytes);
// kFull when the file system cannot hold the minimum that a new map needs. (A map that is taken over may fill it.)
Status check_memory(const CheckedOptions& options);

}  // namespace hostmap
