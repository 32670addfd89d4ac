// Options: how a client finds its server and how long calls block. A plain value; the client keeps a copy.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>

namespace hostmap {

/// Where a get reads its value.
enum class Reads : std::uint8_t {
  kDirect,  ///< from the shared table, without a message (the default)
  kRing,    ///< by a message to the server and its answer, in order with this client's writes
};

struct Options {
  /// No timeout.
  static constexpr std::chrono::nanoseconds kForever = std::chrono::nanoseconds::max();

  std::string name = "distributed-memory";                     ///< [A-Za-z0-9._-]{1,64}, the first no '-'
  std::string dir;                                             ///< folder of the regions, absolute; empty: /dev/shm
  std::chrono::nanoseconds timeout = std::chrono::seconds(5);  ///< bound of every blocking call; above 0, or kForever
  Reads reads = Reads::kDirect;                                ///< of get, get_into, exists and multi_get
  /// Trusts servers of other users if their regions are shared with this group (their --group) and with nobody outside it;
  /// its name or number. Empty: only servers of this process's user or of root.
  std::string group;
  /// Trusts the servers of this user, too, by name or number. Those of this process's user and of root are trusted in any case,
  /// and by a process of root only root's.
  std::string user;
  /// Creates no connection and writes nothing: read permission on the table is enough. get, get_into, exists, multi_get, scan
  /// and size work; calls that change the map return kPermission.
  bool read_only = false;
  /// connect, and a call that must connect again, wait for a server; kNoServer when the timeout has passed.
  bool wait_for_server = false;
  /// For bindings of other languages; null: none. A thread calls it when it is about to sleep (begins = 1), and again when it has
  /// slept (begins = 0): a language whose threads share a lock releases it in between, and checks for signals afterwards. A result
  /// other than 0 after the sleep ends the call as if its time had passed (kTimeout); that of begins = 1 is ignored. A sleep lasts
  /// 0.5 s at most (0.1 s if it waits for another thread of the same Client), and any signal ends it earlier. It must not throw, and
  /// must call no function of this library.
  int (*sleeping)(void* context, int begins) = nullptr;
  void* context = nullptr;  ///< of `sleeping`
};

}  // namespace hostmap
