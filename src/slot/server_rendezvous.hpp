// The server's half of the rendezvous: who asks for a connection, and what is told to them.
//
// The server's service thread alone. Nothing in the master region is trusted: a word there is at most a request. So the
// counter is not looked at, which anybody may turn: every mailbox is, some microseconds for a thousand of them.
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
  // How long a mailbox may stand between two steps of its client.
  static constexpr std::int64_t kPatienceNs = 2'000'000'000;

  explicit Rendezvous(MasterView master) : master_(master), seen_(master.mailboxes()) {
    events_.reserve(2 * master.mailboxes());
  }

  struct Event {
    std::uint64_t id;
    enum Kind : std::uint8_t { kAsks, kAttached, kGaveUp } kind;  // kGaveUp: it never attached to what it was given
  };
  // What happened since the last call: at most two events of each mailbox; valid until the next call. Frees mailboxes that
  // are done, and those whose clients stand still. Allocates nothing.
  std::span<const Event> collect(std::int64_t now_ns) noexcept;
  // Answers an id that asks: kMailboxReady, kMailboxFull, kMailboxNoMemory, kMailboxNoDescriptor, or kMailboxFree for "try another id".
  void reply(std::uint64_t id, MailboxState answer) noexcept;
  // Does not answer an id that asks yet: the next collect() tells of it again.
  void defer(std::uint64_t id) noexcept { seen_[id % seen_.size()].word = 0; }
  // Does an id that was answered kMailboxReady still stand in its mailbox? If not, nobody comes for it: its client has given
  // up, or somebody has scribbled.
  bool awaited(std::uint64_t id) const noexcept;
  // Are there mailboxes that a timer must watch?
  bool waiting() const noexcept { return waiting_; }

 private:
  struct Seen {
    std::uint64_t word = 0;     // as of the last look
    std::int64_t since_ns = 0;  // when it was first seen so
  };

  MasterView master_;
  std::vector<Seen> seen_;  // by mailbox
  std::vector<Event> events_;
  bool waiting_ = false;
};

// Fills the header of a master region, which is new, inherited or was cut off; publish() is the caller's.
void lay_out_master(Region& master, std::uint64_t incarnation, std::uint32_t max_connections,
                    std::uint32_t lanes) noexcept;

// Does its header say so? Everybody who may connect can write there.
bool is_laid_out(const Region& master, std::uint64_t incarnation, std::uint32_t max_connections,
                 std::uint32_t lanes) noexcept;

// Frees every mailbox and wakes whoever waits at one: the server of this region is at its end, try elsewhere.
void turn_everybody_away(const MasterView& master) noexcept;

}  // namespace hostmap
