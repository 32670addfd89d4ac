#include "slot/server_rendezvous.hpp"

#include <climits>

#include "layout/fingerprint.hpp"
#include "layout/master.hpp"
#include "wait/futex.hpp"

namespace hostmap {

std::span<const Rendezvous::Event> Rendezvous::collect(std::int64_t now_ns) noexcept {
  events_.clear();
  waiting_ = false;
  for (std::uint32_t i = 0; i < seen_.size(); ++i) {
    Word& word = master_.mailbox(i).word;
    // [mailbox.collect] acquire; pairs with [mailbox.ask]
    std::uint64_t now = word.load(std::memory_order_acquire);
    const MailboxState state = mailbox_state(now);
    if (state == kMailboxFree) continue;
    const std::uint64_t id = mailbox_id(now);
    const bool mine = id % seen_.size() == i;  // else the word was corrupted
    Observed& seen = seen_[i];
    if (now != seen.word) {
      seen = {now, now_ns};
      if (mine && state == kMailboxAsked) events_.push_back({id, Event::kRequested});
    }
    const bool attached = mine && state == kMailboxAttached;
    const bool is_stale = now_ns - seen.since_ns >= kPatienceNs;
    if (!attached && !is_stale) {
      waiting_ = true;
      continue;
    }
    if (attached) events_.push_back({id, Event::kAttached});
    if (!attached && mine && state == kMailboxReady) events_.push_back({id, Event::kGaveUp});
    seen.word = 0;
    // [mailbox.free] release; pairs with [mailbox.claim]
    word.compare_exchange_strong(now, mailbox_word(id, kMailboxFree), std::memory_order_release,
                                 std::memory_order_relaxed);  // relaxed: on failure its client changed it; next time
    futex_wake(reinterpret_cast<HalfWord&>(word), INT_MAX);
  }
  return events_;
}

bool Rendezvous::reply(std::uint64_t id, MailboxState answer) noexcept {
  Word& word = master_.mailbox(id).word;
  std::uint64_t expected = mailbox_word(id, kMailboxAsked);
  // [mailbox.reply] release; pairs with [mailbox.answer]: the region is complete
  const bool taken = word.compare_exchange_strong(expected, mailbox_word(id, answer), std::memory_order_release,
                                                  std::memory_order_relaxed);  // relaxed: the client has given up
  futex_wake(reinterpret_cast<HalfWord&>(word), INT_MAX);
  return taken;
}

bool Rendezvous::awaited(std::uint64_t id) const noexcept {
  // relaxed: a hint; the connection's lock shows whether its client is alive
  const std::uint64_t now = master_.mailbox(id).word.load(std::memory_order_relaxed);
  return now == mailbox_word(id, kMailboxReady) || now == mailbox_word(id, kMailboxAttached);
}

void lay_out_master(Region& master, std::uint64_t incarnation, std::uint32_t max_connections,
                    std::uint32_t lanes) noexcept {
  master.write_header(RegionKind::kMaster, incarnation);
  auto& header = *master.at<MasterHeader>(0);
  header.mailbox_count = mailboxes_for(max_connections);
  header.lane_count = lanes;
}

bool is_laid_out(const Region& master, std::uint64_t incarnation, std::uint32_t max_connections,
                 std::uint32_t lanes) noexcept {
  const auto& header = *master.at<MasterHeader>(0);
  const RegionHeader& region = header.region;
  return region.magic == kMagic && region.layout_version == kLayoutVersion && region.kind == RegionKind::kMaster &&
         region.fingerprint == kFingerprint && region.bytes == master.bytes() && region.incarnation == incarnation &&
         region.state.load(std::memory_order_relaxed) == kRegionReady &&  // relaxed: this server's own, or corrupted
         header.mailbox_count == mailboxes_for(max_connections) && header.lane_count == lanes;
}

void refuse_all_clients(const MasterView& master) noexcept {
  for (std::uint32_t i = 0; i < master.mailboxes(); ++i) {
    Word& word = master.mailbox(i).word;
    // relaxed: whatever the word is, it is not answered any more
    const std::uint64_t id = mailbox_id(word.load(std::memory_order_relaxed));
    word.store(mailbox_word(id, kMailboxFree), std::memory_order_relaxed);  // relaxed: likewise
    futex_wake(reinterpret_cast<HalfWord&>(word), INT_MAX);
  }
}

}  // namespace hostmap
