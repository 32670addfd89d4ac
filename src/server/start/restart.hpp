// Restart: going on where a server that died (or stopped with --keep) left off: with its table, its journal and its clients.
//
//   attach   maps the regions and looks at them; nothing is changed, and what cannot be gone on with is told. What clients can
//            write (master and connections) decides nothing: a map whose journal and table are right is gone on with
//   settle   the requests that were under way, splits, the arena; then the instance is as if its server had just been idle
//
// Both may be killed anywhere and begun again by the next server.
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
struct Inheritance {
  explicit operator bool() const noexcept { return table != nullptr; }
  Region journal;
  Region master;              // empty: what is there is not the last server's, and all clients of that one are given up
  std::string why_no_master;  // then
  BusGuard::Watch master_guard;
  std::unique_ptr<Table> table;
  std::vector<std::unique_ptr<ServerEnd>> connections;

  // What settle() found.
  std::uint64_t entries = 0;
  std::uint64_t replayed = 0;  // requests that were under way and had been applied: answered by their record
  std::uint64_t dropped = 0;   // cells and links that led nowhere
  std::uint64_t held = 0;      // requests whose pieces lie in the journal's file
  std::uint64_t given_up = 0;  // connections whose records are damaged, or whose pieces of a request are lost
};

// `journal` is locked, mapped, and by its header a journal; on failure it stays the caller's. Errors: kInvalid with the reason
// (damage, a start or stop that was cut off), kOtherVersion, kFull.
// `prepared`: mapped already.
Result<Inheritance> attach_inheritance(const InstanceName& name, Region& journal, Prepared prepared = {});

// Settles everything, and removes connections that cannot be taken over. kFull: not enough descriptors or memory; whoever has
// more may try again.
Status settle_inheritance(const InstanceName& name, Inheritance& inheritance);

}  // namespace hostmap
