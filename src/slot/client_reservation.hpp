// The client's half of the rendezvous: how a process that has nothing but a name gets a connection.
//
//   id = counter + 1                          the sketch's monotonic counter; id names the connection's region
//   mailbox of id: free -> {id, claimed}      by compare-exchange; taken -> the next id
//   {id, asked}, ring the server              the server creates the region of this id
//   wait for {id, ready}, or a refusal
//   attach, lock the region                   (connection/)
//   {id, attached}, ring the server           the server learns whom to watch, and frees the mailbox
//
// A client that dies anywhere in between holds up nobody: others take other mailboxes, and the server frees one that
// stands still for 2 s and takes back a region that nobody locks.
#pragma once

#include <cstdint>

#include <hostmap/status.hpp>

#include "layout/master.hpp"
#include "layout/table.hpp"
#include "shm/region.hpp"
#include "wait/deadline.hpp"

namespace hostmap {

// Is this the file of the master region that belongs to the table? The table says so, which clients cannot write. Nothing in the
// master's header is believed, but that of a server that does not say.
bool is_master_of(const TableHeader& table, const RegionFile& master) noexcept;

// The master region as a client sees it.
class MasterView {
 public:
  MasterView() noexcept = default;
  explicit MasterView(std::byte* region) noexcept : region_(region) {}
  // Does the header describe what fits into `bytes`?
  bool plausible(std::uint64_t bytes) const noexcept { return fits(header().mailbox_count, bytes); }
  // Takes the number of mailboxes from the table, or from the header for a server that does not say. `table` tells from now on
  // when the server has ended, or has made another master region, and must live as long. False: they do not fit into `bytes`.
  bool attach(const TableHeader& table, std::uint64_t bytes) noexcept;
  // Does the server use this region no longer?
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
  const TableHeader* table_ = nullptr;  // null in tests of this part alone: the region's own state counts
  std::uint64_t inode_ = 0;
  std::uint32_t mailboxes_ = 1;
};

// Asks for a connection and waits until its region stands ready. Returns its id. Blocks until `deadline`.
// Errors: kFull (no connection left, or no memory for one), kTimeout (the server is stopped or gone), kClosed (this
// client was too slow, or the server ended: try again).
Result<std::uint64_t> reserve_connection(MasterView& master, Deadline& deadline);

// The region is attached and locked: the mailbox goes back to the server. kClosed: it took too long, the region is gone.
Status confirm_attached(MasterView& master, std::uint64_t id);

}  // namespace hostmap
