// The client's half of the rendezvous: a process that only has a name gets a connection.
//
//   id = counter + 1                          the sketch's monotonic counter; id names the connection's region
//   mailbox of id: free -> {id, claimed}      by compare-exchange; taken -> the next id
//   {id, asked}, ring the server              the server creates the region of this id
//   wait for {id, ready}, or a refusal
//   attach, lock the region                   (connection/)
//   {id, attached}, ring the server           the server now knows which process to watch, and frees the mailbox
//
// A client that dies at any of these steps delays nobody: other clients take other mailboxes, and the server frees a mailbox
// that does not change for 2 s and removes a region that no process locks.
#pragma once

#include <cstdint>

#include <hostmap/status.hpp>

#include "layout/master.hpp"
#include "layout/table.hpp"
#include "shm/region.hpp"
#include "wait/deadline.hpp"

namespace hostmap {

// Is this the file of the master region that belongs to the table? The table names it, and clients cannot write the table.
// The header of the master is not trusted, except with a server that does not name it.
bool is_master_of(const TableHeader& table, const RegionFile& master) noexcept;

// The master region as a client sees it.
class MasterView {
 public:
  MasterView() noexcept = default;
  explicit MasterView(std::byte* region) noexcept : region_(region) {}
  // Does the header describe what fits into `bytes`?
  bool plausible(std::uint64_t bytes) const noexcept { return fits(header().mailbox_count, bytes); }
  // Takes the number of mailboxes from the table, or from the header if the table does not have it. From then on `table`
  // shows when the server has ended, or has made another master region; it must live as long. False: they do not fit into
  // `bytes`.
  bool attach(const TableHeader& table, std::uint64_t bytes) noexcept;
  // Has the server stopped using this region?
  bool ended() const noexcept;

  MasterHeader& header() const noexcept { return *reinterpret_cast<MasterHeader*>(region_); }
  Mailbox& mailbox(std::uint64_t id) const noexcept {
    return reinterpret_cast<Mailbox*>(region_ + kMailboxesOffset)[id % mailboxes_];
  }
  std::uint32_t mailboxes() const noexcept { return mailboxes_; }
  void set_mailboxes(std::uint32_t count) noexcept { mailboxes_ = count; }  // read once, when it was validated
  Bell& worker_bell(std::uint32_t worker) const noexcept { return header().worker_bells[worker]; }
  IdleHints* idle_hints() const noexcept {  // of all workers
    return reinterpret_cast<IdleHints*>(region_ + kIdleHintsOffset);
  }
  void ring_server() const noexcept;

 private:
  static bool fits(std::uint32_t mailboxes, std::uint64_t bytes) noexcept {
    return mailboxes != 0 && mailboxes <= 2 * kMaxConnections && master_bytes(mailboxes) <= bytes;
  }

  std::byte* region_ = nullptr;
  const TableHeader* table_ = nullptr;  // null in tests of this part alone, which use the region's own state
  std::uint64_t inode_ = 0;
  std::uint32_t mailboxes_ = 1;
};

// Requests a connection and waits until its region is ready. Returns its id. Blocks until `deadline`.
// Errors: kFull (no connection left, or no memory for one), kTimeout (the server is stopped or gone), kClosed (this client
// was too slow, or the server ended: try again).
Result<std::uint64_t> reserve_connection(MasterView& master, Deadline& deadline);

// Gives up a request that was not granted in time, or a connection that this client cannot attach: nobody waits for it any
// longer. A connection that is ready is confirmed without a lock, so the server finds it abandoned and removes it at once.
void withdraw(MasterView& master, std::uint64_t id) noexcept;

// The region is attached and locked: returns the mailbox to the server. kClosed: it took too long, the region is gone.
Status confirm_attached(MasterView& master, std::uint64_t id);

}  // namespace hostmap
