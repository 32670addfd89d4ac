// Restart: continues from the state of a server that died (or stopped with --keep): its table, its journal and its clients.
//
//   attach   maps the regions and verifies them; nothing is changed, and what prevents a restart is reported. Regions that
//            clients can write (master and connections) do not prevent one: a valid journal and table suffice
//   settle   completes or drops requests and splits in progress, and counts the arena's use; the instance is then as if its
//            server had been idle
//
// Both may be killed at any point and are started again by the next server.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include <hostmap/status.hpp>

#include "connection/server_bus_guard.hpp"
#include "connection/server_end.hpp"
#include "journal/journal.hpp"
#include "server/start/handover.hpp"
#include "shm/names.hpp"
#include "table/write/table.hpp"

namespace hostmap {

// A dead server's regions, mapped.
struct LeftOverMap {
  explicit operator bool() const noexcept { return table != nullptr; }
  Region journal;
  Region master;              // empty: the file is not the last server's, and all of its clients are given up
  std::string why_no_master;  // if it is empty
  BusGuard::Watch master_guard;
  std::unique_ptr<Table> table;
  std::vector<std::unique_ptr<ServerEnd>> connections;

  // The results of settle().
  std::uint64_t entries = 0;
  std::uint64_t replayed = 0;  // requests in progress that had been applied: answered from their record
  std::uint64_t dropped = 0;   // cells and links that led nowhere
  std::uint64_t held = 0;      // requests whose pieces lie in the journal's file
  std::uint64_t given_up = 0;  // connections whose records are damaged, or whose pieces of a request are lost
  std::uint64_t released = 0;  // connections whose clients had left in the middle of a request
};

// `journal` is locked, mapped, and has a journal's header; on failure it stays the caller's. Errors: kInvalid with the reason
// (damage, an interrupted start or stop), kOtherVersion, kFull.
// `prepared`: regions that are mapped already.
Result<LeftOverMap> attach_left_over_map(const InstanceName& name, Region& journal, Prepared prepared = {});

// Settles everything, and removes connections that cannot be taken over. kFull: not enough descriptors or memory; a process
// that has more may retry.
Status settle_left_over_map(const InstanceName& name, LeftOverMap& left);

}  // namespace hostmap
