// The server's half of the rendezvous: collects the requests for connections, and answers them.
//
// Called by the server's service thread alone. Nothing in the master region is trusted: a word there is at most a request.
// The counter, which any client may change, is not read: every mailbox is read instead, some microseconds for a thousand of
// them.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "layout/master.hpp"
#include "shm/region.hpp"
#include "slot/client_reservation.hpp"

namespace hostmap {

class Rendezvous {
 public:
  // How long a mailbox may stay unchanged between two steps of its client.
  static constexpr std::int64_t kPatienceNs = 2'000'000'000;

  explicit Rendezvous(MasterView master) : master_(master), seen_(master.mailboxes()) {
    events_.reserve(2 * master.mailboxes());
  }

  struct Event {
    std::uint64_t id;
    enum Kind : std::uint8_t { kRequested, kAttached, kGaveUp } kind;  // kGaveUp: it never attached to its region
  };
  // The events since the last call: at most two of each mailbox; valid until the next call. Frees mailboxes that are done,
  // and those that their clients no longer change. Allocates nothing.
  std::span<const Event> collect(std::int64_t now_ns) noexcept;
  // Answers a request: kMailboxReady, kMailboxFull, kMailboxNoMemory, kMailboxNoDescriptor, or kMailboxFree for "try another
  // id". False: its client has given up.
  bool reply(std::uint64_t id, MailboxState answer) noexcept;
  // Defers a request: the next collect() reports it again.
  void defer(std::uint64_t id) noexcept { seen_[id % seen_.size()].word = 0; }
  // Is an id that was answered kMailboxReady still in its mailbox? If not, no client will attach: it has given up, or the
  // word was corrupted.
  bool awaited(std::uint64_t id) const noexcept;
  // Are there mailboxes that a timer must watch?
  bool waiting() const noexcept { return waiting_; }

 private:
  struct Observed {
    std::uint64_t word = 0;     // as last read
    std::int64_t since_ns = 0;  // when it was first read
  };

  MasterView master_;
  std::vector<Observed> seen_;  // by mailbox
  std::vector<Event> events_;
  bool waiting_ = false;
};

// Fills the header of a master region, which is new, left by a dead server, or was truncated; the caller calls publish().
void lay_out_master(Region& master, std::uint64_t incarnation, std::uint32_t max_connections,
                    std::uint32_t lanes) noexcept;

// Does the header have these values? Every process that may connect can write it.
bool is_laid_out(const Region& master, std::uint64_t incarnation, std::uint32_t max_connections,
                 std::uint32_t lanes) noexcept;

// Frees every mailbox and wakes the clients that wait there: the server of this region is ending, so they try another one.
void refuse_all_clients(const MasterView& master) noexcept;

}  // namespace hostmap
