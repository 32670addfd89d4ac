#include "slot/client_reservation.hpp"

#include <algorithm>
#include <climits>
#include <cstddef>
#include <unistd.h>

#include "layout/master.hpp"
#include "layout/table.hpp"
#include "wait/park.hpp"

namespace hostmap {

namespace {

// The futex of a mailbox is the low half of its word, which holds the state and the low bits of the id.
const HalfWord& low_half(const Word& word) noexcept { return reinterpret_cast<const HalfWord&>(word); }

// Another client can truncate the page of the mailbox, and this one's wake-up is then lost.
constexpr std::int64_t kLookAgainNs = 1'000'000'000;

// Sleeps until the mailbox's word is not `seen` any more, or for a while. False: the deadline has passed.
bool wait_for_change(const Mailbox& mailbox, std::uint64_t seen, Deadline& deadline) noexcept {
  if (deadline.left() <= 0) return false;
  deadline.sleep_on(low_half(mailbox.word), static_cast<std::uint32_t>(seen), patience_ns(kLookAgainNs));
  return true;
}

}  // namespace

bool is_master_of(const TableHeader& table, const RegionFile& master) noexcept {
  // [master.inode] acquire; pairs with [master.made]
  const std::uint64_t inode = table.master_inode.load(std::memory_order_acquire);
  if (inode != 0) return master.inode == inode;
  std::uint64_t incarnation = 0;
  // By pread: every process that can write the region can truncate it.
  return ::pread(master.fd.get(), &incarnation, sizeof incarnation, offsetof(RegionHeader, incarnation)) ==
             static_cast<ssize_t>(sizeof incarnation) &&
         incarnation == table.region.incarnation;
}

bool MasterView::attach(const TableHeader& table, std::uint64_t bytes) noexcept {
  // relaxed, all: [master.inode] has ordered them
  const std::uint64_t inode = table.master_inode.load(std::memory_order_relaxed);
  const std::uint32_t said = table.mailbox_count.load(std::memory_order_relaxed);
  const std::uint32_t count = inode != 0 ? said : header().mailbox_count;
  if (!fits(count, bytes)) return false;
  table_ = &table;
  inode_ = inode;
  mailboxes_ = count;
  return true;
}

bool MasterView::ended() const noexcept {
  const RegionHeader& region = table_ == nullptr ? header().region : table_->region;
  // relaxed, both: a caller that must see them promptly has fenced
  if (region.state.load(std::memory_order_relaxed) == kRegionClosed) return true;
  return table_ != nullptr && table_->master_inode.load(std::memory_order_relaxed) != inode_;
}

void MasterView::ring_server() const noexcept { futex_add_and_wake(header().server_bell.rings); }

Result<std::uint64_t> reserve_connection(MasterView& master, Deadline& deadline) {
  std::uint64_t id;
  for (std::uint32_t tries = 0;; ++tries) {
    // relaxed: the counter only allocates numbers; the mailbox carries all other data
    id = (master.header().counter.fetch_add(1, std::memory_order_relaxed) + 1) & kIdMask;
    Word& word = master.mailbox(id).word;
    std::uint64_t seen = word.load(std::memory_order_relaxed);  // relaxed: the compare-exchange decides
    if (mailbox_state(seen) == kMailboxFree &&
        // [mailbox.claim] acq_rel; pairs with [mailbox.free]
        word.compare_exchange_strong(seen, mailbox_word(id, kMailboxClaimed), std::memory_order_acq_rel)) {
      break;
    }
    // All taken: more clients than mailboxes connect at this moment. Wait until the mailbox changes.
    if (tries >= master.mailboxes() && !wait_for_change(master.mailbox(id), seen, deadline)) {
      return Status(StatusCode::kTimeout, "too many clients are connecting at once, or the server is stopped");
    }
  }
  Mailbox& mailbox = master.mailbox(id);
  mailbox.pid.store(static_cast<std::uint32_t>(::getpid()), std::memory_order_relaxed);  // relaxed: for diagnosis
  std::uint64_t expected = mailbox_word(id, kMailboxClaimed);
  // [mailbox.ask] release; pairs with [mailbox.collect]. Fails if the server has freed this mailbox (this client was stopped
  // for long).
  if (!mailbox.word.compare_exchange_strong(expected, mailbox_word(id, kMailboxAsked), std::memory_order_release,
                                            std::memory_order_relaxed)) {  // relaxed: on failure nothing is read
    return Status(StatusCode::kClosed, "the server did not wait any longer for this client");
  }
  std::atomic_thread_fence(std::memory_order_seq_cst);  // [mailbox.ask-fence] seq_cst; pairs with [region.close-fence]
  // Either a server that stops sees the request in this mailbox, or this client sees that it has stopped.
  if (master.ended()) return Status(StatusCode::kClosed, "the server has just stopped");
  master.ring_server();
  for (;;) {
    // [mailbox.answer] acquire; pairs with [mailbox.reply]: the connection's region is complete
    const std::uint64_t word = mailbox.word.load(std::memory_order_acquire);
    if (mailbox_id(word) != id)
      return Status(StatusCode::kClosed, "the server did not wait any longer for this client");
    switch (mailbox_state(word)) {
      case kMailboxReady:
        return id;
      case kMailboxFull:
      case kMailboxNoMemory:
      case kMailboxNoDescriptor: {
        std::uint64_t refused = word;
        // [mailbox.free] release; pairs with [mailbox.claim]
        mailbox.word.compare_exchange_strong(refused, mailbox_word(id, kMailboxFree), std::memory_order_release,
                                             std::memory_order_relaxed);  // relaxed: on failure nothing is read
        futex_wake(low_half(mailbox.word), INT_MAX);                      // others may wait for a mailbox
        if (mailbox_state(word) == kMailboxNoMemory) {
          return Status(
              StatusCode::kFull,
              "the server has no memory for another connection: free space in the folder of its files (--dir; "
              "df and df -i show which space is low), or create a new map with a smaller --ring-size");
        }
        if (mailbox_state(word) == kMailboxNoDescriptor) {
          return Status(StatusCode::kFull,
                        "the server has no file descriptor for another connection: raise its hard limit (ulimit -Hn, "
                        "LimitNOFILE) and start it again, or close a client");
        }
        return Status(StatusCode::kFull,
                      "the server has as many connections as it allows; close one, or create a new map with a larger "
                      "--max-connections");
      }
      case kMailboxAsked:
        if (master.ended()) return Status(StatusCode::kClosed, "the server has just stopped");
        if (wait_for_change(mailbox, word, deadline)) continue;
        withdraw(master, id);
        return Status(StatusCode::kTimeout, "the server did not answer; it is stopped, or died");
      default:
        return Status(StatusCode::kClosed, "the server did not wait any longer for this client");
    }
  }
}

void withdraw(MasterView& master, std::uint64_t id) noexcept {
  Word& word = master.mailbox(id).word;
  std::uint64_t seen = word.load(std::memory_order_relaxed);  // relaxed: the compare-exchange decides
  while (mailbox_id(seen) == id) {
    const MailboxState state = mailbox_state(seen);
    if (state == kMailboxFree || state == kMailboxAttached) return;
    const MailboxState next = state == kMailboxReady ? kMailboxAttached : kMailboxFree;
    // [mailbox.free] release; pairs with [mailbox.claim]
    if (!word.compare_exchange_weak(seen, mailbox_word(id, next), std::memory_order_release,
                                    std::memory_order_relaxed)) {  // relaxed: tried again with what is there now
      continue;
    }
    if (next == kMailboxAttached) master.ring_server();
    futex_wake(low_half(word), INT_MAX);  // others may wait for a mailbox
    return;
  }
}

Status confirm_attached(MasterView& master, std::uint64_t id) {
  std::uint64_t expected = mailbox_word(id, kMailboxReady);
  // [mailbox.attached] release; pairs with [mailbox.collect]. On failure relaxed: nothing is read.
  const bool in_time = master.mailbox(id).word.compare_exchange_strong(
      expected, mailbox_word(id, kMailboxAttached), std::memory_order_release, std::memory_order_relaxed);
  if (!in_time) return {StatusCode::kClosed, "the server did not wait any longer for this client"};
  master.ring_server();
  return {};
}

}  // namespace hostmap
