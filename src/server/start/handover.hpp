// Handover: from a server that runs to the next one, while the clients wait for as short as can be.
//
//   the next one       excludes other takeovers by flock on the journal; does everything that can fail (maps the table,
//                      creates the alive file, tries whether descriptors, memory and threads suffice), and only then sends
//                      its request (a signal of its own)
//   the one that runs  ignores a request if nobody holds that flock. Else it lets its workers end at a request's boundary,
//                      writes its view of the arena behind the journal, and unlocks it; from there on it touches nothing and
//                      stands by
//   the next one       has the lock, reads that view instead of the whole table, serves, and gives up the flock
//   the one that ran   ends. If the flock is free but the journal is not locked, the next one has died: it starts again
//
// What was told counts only if nobody has served since: the table's server_generation says so, and who has read it cuts it
// off. A kill anywhere leaves what a kill always leaves, and the next start looks at every cell.
#pragma once

#include <cstddef>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include <hostmap/status.hpp>

#include "base/unique_fd.hpp"
#include "layout/table.hpp"
#include "server/environment/options.hpp"
#include "shm/names.hpp"
#include "shm/owner_lock.hpp"
#include "shm/region.hpp"
#include "table/write/table.hpp"

namespace hostmap {

using TakeoverLog = std::function<void(const std::string&)>;

// The table of a server that still runs, mapped and with its pages faulted in; and the next one's alive file.
struct Prepared {
  Region table;
  std::optional<NewLockedFile> alive;
};

// Requests the running server of this name to hand over, and waits until it has: the journal's file, locked, also by the flock
// that keeps other takeovers off, until end_takeover(). None runs: an empty descriptor. Blocks as long as that server lives and
// does not hand over, or until SIGINT, SIGTERM or SIGHUP arrives; `log` is told when that takes long.
// Errors: kOtherVersion, kPermission, kInvalid, kFull: no request was sent. kTimeout (a signal), kAlreadyExists (another server
// or takeover was first), kNoServer (it stopped and removed its map): nothing is left to take over, or it serves on.
Result<UniqueFd> take_lock_of_running(const CheckedOptions& options, const TakeoverLog& log, Prepared& prepared);

// For the next server, once it serves: the last one need not stand by any longer.
void end_takeover(const Region& journal) noexcept;

// For the one that runs: does a next server wait?
bool takeover_waits(const Region& journal) noexcept;
// For the one that has handed over: waits until the next server serves (true), or has ended without (false). A signal that
// stops servers ends the wait, too: true.
bool stand_by(const Region& journal) noexcept;

// Writes what the next server can use. Where there is no room for it, it does without.
void tell_next(const Region& journal, Table& table) noexcept;
// What the last server told; empty: nothing that counts.
std::vector<std::byte> told_by_last(const Region& journal, const TableHeader& table);
// `pieces_are_held`: there are requests in the same file, behind that (journal/piece_store.hpp).
void forget_told(const Region& journal, bool pieces_are_held) noexcept;

}  // namespace hostmap
