#include "slot/rendezvous.hpp"

#include <climits>

#include "wait/futex.hpp"

namespace hostmap {

std::vector<Rendezvous::Event> Rendezvous::collect(std::int64_t now_ns) {
  // relaxed: gives numbers only. A client that scribbles over it costs at most one look at every mailbox.
  const std::uint64_t counter = master_.header().counter.load(std::memory_order_relaxed);
  if (counter - seen_ > master_.mailboxes()) {
    // Far ahead, or turned back: what is still alive is among the last ids, one for each mailbox.
    pending_.clear();
    seen_ = counter - master_.mailboxes();
  }
  while (seen_ != counter) pending_.push_back({++seen_ & kIdMask, 0, now_ns});

  std::vector<Event> events;
  std::size_t kept = 0;
  for (Pending& pending : pending_) {
    Word& word = master_.mailbox(pending.id).word;
    // [mailbox.collect] acquire; pairs with [mailbox.ask]
    std::uint64_t now = word.load(std::memory_order_acquire);
    // A client that took the number but found the mailbox taken took another number.
    if (mailbox_id(now) != pending.id && now != 0) {
      if (mailbox_state(now) != kMailboxFree || now_ns - pending.since_ns >= kPatienceNs) continue;
    }
    if (now != pending.word) {
      pending.word = now;
      pending.since_ns = now_ns;
      if (mailbox_id(now) == pending.id && mailbox_state(now) == kMailboxAsked) {
        events.push_back({pending.id, Event::kAsks});
      }
    }
    const bool mine = mailbox_id(now) == pending.id;
    if (mine && mailbox_state(now) == kMailboxFree) continue;  // done, or given back after a refusal
    if (mine && mailbox_state(now) == kMailboxAttached) {
      events.push_back({pending.id, Event::kAttached});
      // [mailbox.free] release; pairs with [mailbox.claim]
      word.compare_exchange_strong(now, mailbox_word(pending.id, kMailboxFree), std::memory_order_release,
                                   std::memory_order_relaxed);  // relaxed: on failure it is a stranger's by now
      futex_wake(reinterpret_cast<HalfWord&>(word), INT_MAX);
      continue;
    }
    if (now_ns - pending.since_ns >= kPatienceNs) {
      if (mine) {
        if (mailbox_state(now) == kMailboxReady) events.push_back({pending.id, Event::kGaveUp});
        // [mailbox.free] release; pairs with [mailbox.claim]
        word.compare_exchange_strong(now, mailbox_word(pending.id, kMailboxFree), std::memory_order_release,
                                     std::memory_order_relaxed);  // relaxed: likewise
        futex_wake(reinterpret_cast<HalfWord&>(word), INT_MAX);
      }
      continue;
    }
    pending_[kept++] = pending;
  }
  pending_.resize(kept);
  return events;
}

void Rendezvous::reply(std::uint64_t id, MailboxState answer) noexcept {
  Word& word = master_.mailbox(id).word;
  std::uint64_t expected = mailbox_word(id, kMailboxAsked);
  // [mailbox.reply] release; pairs with [mailbox.answer]: the region is complete
  word.compare_exchange_strong(expected, mailbox_word(id, answer), std::memory_order_release,
                               std::memory_order_relaxed);  // relaxed: on failure the client has scribbled; its loss
  futex_wake(reinterpret_cast<HalfWord&>(word), INT_MAX);
  for (Pending& pending : pending_) {
    if (pending.id == id) pending.word = mailbox_word(id, answer);
  }
}

void turn_everybody_away(const MasterView& master) noexcept {
  for (std::uint32_t i = 0; i < master.mailboxes(); ++i) {
    Word& word = master.mailbox(i).word;
    // relaxed: whatever stands there, nobody answers it any more
    const std::uint64_t id = mailbox_id(word.load(std::memory_order_relaxed));
    word.store(mailbox_word(id, kMailboxFree), std::memory_order_relaxed);  // relaxed: likewise
    futex_wake(reinterpret_cast<HalfWord&>(word), INT_MAX);
  }
}

}  // namespace hostmap
