// Options: how a client finds its server and how long it waits. A plain value; the client keeps a copy.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>

namespace hostmap {

/// Where a get takes its value from.
enum class Reads : std::uint8_t {
  kDirect,  ///< from the shared table, without a message (the default)
  kRing,    ///< by a message to the server and its answer, in order with this client's writes
};

struct Options {
  /// A timeout that never ends.
  static constexpr std::chrono::nanoseconds kForever = std::chrono::nanoseconds::max();

  std::string name = "distributed-memory";                     ///< [A-Za-z0-9._-]{1,64}, the first no '-'
  std::string dir;                                             ///< folder of the regions, absolute; empty: /dev/shm
  std::chrono::nanoseconds timeout = std::chrono::seconds(5);  ///< bound of every blocking call; above 0, or kForever
  Reads reads = Reads::kDirect;                                ///< of get, get_into, exists and multi_get
  /// Trusts the servers of other users if their regions are shared by this group (their --group), and by nobody outside
  /// it; its name or number. Empty: only servers of this process's user or of root.
  std::string group;
  /// Trusts the servers of this user, by name or number. Empty: only those of this process's user and of root. A
  /// process of root trusts root's alone, and names others here.
  std::string user;
  /// Takes no connection of the server and writes nowhere: it is enough that the table may be read. get, get_into,
  /// exists, multi_get, scan and size work; what changes something returns kPermission.
  bool read_only = false;
  bool wait_for_server = false;  ///< connect waits for a server to appear; kNoServer when the timeout has passed
};

}  // namespace hostmap
