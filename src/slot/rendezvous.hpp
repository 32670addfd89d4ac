// The server's half of the rendezvous: which ids ask for a connection, and what is told to them.
//
// The server's service thread alone. Nothing in the master region is trusted: a word there is at most a request.
#pragma once

#include <cstdint>
#include <vector>

#include "slot/reservation.hpp"

namespace hostmap {

class Rendezvous {
 public:
  // How long a mailbox may stand between two steps of its client.
  static constexpr std::int64_t kPatienceNs = 2'000'000'000;

  explicit Rendezvous(MasterView master) noexcept : master_(master) {}

  struct Event {
    std::uint64_t id;
    enum Kind : std::uint8_t { kAsks, kAttached, kGaveUp } kind;  // kGaveUp: it never attached to what it was given
  };
  // What happened since the last call. Frees mailboxes whose clients stand still.
  std::vector<Event> collect(std::int64_t now_ns);
  // Answers an id that asks: kMailboxReady, kMailboxFull or kMailboxNoMemory.
  void reply(std::uint64_t id, MailboxState answer) noexcept;
  // Are there mailboxes that a timer must watch?
  bool waiting() const noexcept { return !pending_.empty(); }

 private:
  struct Pending {
    std::uint64_t id;
    std::uint64_t word;     // as last seen
    std::int64_t since_ns;  // when it was first seen so
  };

  MasterView master_;
  std::uint64_t seen_ = 0;  // the counter
  std::vector<Pending> pending_;
};

// Frees every mailbox and wakes whoever waits at one: the server of this region is at its end, try elsewhere.
void turn_everybody_away(const MasterView& master) noexcept;

}  // namespace hostmap
