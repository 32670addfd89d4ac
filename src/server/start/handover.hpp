// Handover: from a running server to the next one, with as short a pause for clients as possible.
//
//   next server        excludes other takeovers by flock on the journal; does everything that can fail (maps the table,
//                      creates the alive file, checks that descriptors, memory and threads suffice), and only then sends
//                      its request (a signal of its own)
//   running server     ignores a request if no process holds that flock. Otherwise it lets its workers end at a request's
//                      boundary, writes its view of the arena (the hand-over summary) to the end of the journal, and unlocks
//                      it; from then on it touches nothing and waits in reserve
//   next server        has the lock, reads the summary instead of the whole table, serves, and releases the flock
//   previous server    ends. If the flock is free but the journal is not locked, the next one has died: it starts again
//
// The summary is valid only if no server has served since: the table's server_generation shows that, and the server that has
// read it truncates it. A kill anywhere leaves the same state as any kill, and the next start examines every cell.
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

// The table of a running server, mapped and with its pages faulted in; and the next one's alive file.
struct Prepared {
  Region table;
  std::optional<NewLockedFile> alive;
};

// kTooLarge: --set-limit requests more than the table's region can ever hold.
Status check_limit(const CheckedOptions& options, const TableHeader& table);
// kOtherVersion: this process is in another time namespace, where the ends of the map's keys are other moments.
Status check_clock(const CheckedOptions& options, const TableHeader& table);

// Requests the running server of this name to hand over, and waits until it has: returns the journal, locked, also by the
// flock that excludes other takeovers, until end_takeover(). None runs: an empty descriptor. Blocks as long as that server is
// alive and does not hand over, or until SIGINT, SIGTERM or SIGHUP arrives; `log` gets a line when that takes long.
// Errors: kOtherVersion, kPermission, kInvalid, kFull: no request was sent. kTimeout (a signal), kAlreadyExists (another server
// or takeover was first), kNoServer (it stopped and removed its map): nothing is left to take over, or it continues to serve.
Result<UniqueFd> take_lock_of_running(const CheckedOptions& options, const TakeoverLog& log, Prepared& prepared);

// Called by the next server, once it serves: the previous one need not wait any longer.
void end_takeover(const Region& journal) noexcept;

// Called by the running server: does a next server wait for the takeover?
bool takeover_waits(const Region& journal) noexcept;
// Called by the server that has handed over: waits until the next one serves (true), or has ended without (false). A signal
// that stops servers ends the wait, too: true.
bool await_next_server(const Region& journal) noexcept;

// Writes the hand-over summary for the next server. If there is no room for it, there is none, and the next server counts the
// table's use itself.
void write_summary(const Region& journal, Table& table) noexcept;
// Returns the previous server's hand-over summary; empty: there is no valid one.
std::vector<std::byte> read_summary(const Region& journal, const TableHeader& table);
// Removes the summary. `pieces_are_held`: the same file also holds requests, after the summary (journal/piece_store.hpp).
void remove_summary(const Region& journal, bool pieces_are_held) noexcept;

}  // namespace hostmap
