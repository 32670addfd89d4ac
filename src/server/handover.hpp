// Handover: from a server that runs to the next one, while the clients wait for as short as can be.
//
//   the next one       maps master and table and faults their pages in, and only then asks (SIGTERM, "keep")
//   the one that runs  lets its workers end at a request's boundary, tells what it knows of the arena behind the journal,
//                      and unlocks that; from there on it touches nothing
//   the next one       has the lock, reads what was told instead of the whole table, and serves
//
// What was told counts only if nobody has served since: the table's server_generation says so, and who has read it cuts it
// off. A kill anywhere leaves what a kill always leaves, and the next start looks at every cell.
#pragma once

#include <cstddef>
#include <functional>
#include <string>
#include <vector>

#include <hostmap/status.hpp>

#include "base/unique_fd.hpp"
#include "shm/names.hpp"
#include "shm/region.hpp"
#include "table/table.hpp"

namespace hostmap {

// The regions of a server that still runs, mapped and with their pages faulted in.
struct Prepared {
  Region master;
  Region table;
};

// Asks the server that runs under `name` to hand over, and waits until it has: the journal's file, locked. None runs: an
// empty descriptor. `prepared` is filled before anything is asked. Blocks as long as that server lives and does not hand
// over; `log` is told when that takes long.
// Errors: kOtherVersion (nothing was asked), kPermission, kInvalid (it runs in another pid namespace), kFull.
Result<UniqueFd> take_lock_of_running(const InstanceName& name, const std::function<void(const std::string&)>& log,
                                      Prepared& prepared);

// Writes what the next server can use. Where there is no room for it, it does without.
void tell_next(const Region& journal, Table& table) noexcept;
// What the last server told; empty: nothing that counts.
std::vector<std::byte> told_by_last(const Region& journal, const TableHeader& table);
void forget_told(const Region& journal) noexcept;

}  // namespace hostmap
