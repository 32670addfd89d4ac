// Shared by the tests of the rendezvous: a master region in memory, a client whose steps are called one by one, and a server
// that answers.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstring>
#include <gtest/gtest.h>
#include <span>
#include <thread>
#include <vector>

#include "layout/master.hpp"
#include "slot/client_reservation.hpp"
#include "slot/server_rendezvous.hpp"
#include "support/aligned_memory.hpp"
#include "wait/futex.hpp"

namespace hostmap::test {

inline constexpr std::int64_t kSecond = 1'000'000'000;
inline constexpr std::int64_t kPatience = Rendezvous::kPatienceNs;

class MasterMemory {
 public:
  explicit MasterMemory(std::uint32_t mailboxes) : memory_(master_bytes(mailboxes)), view_(memory_.data()) {
    view_.header().mailbox_count = mailboxes;
    view_.set_mailboxes(mailboxes);
  }
  MasterView& view() { return view_; }
  const AlignedMemory& memory() const { return memory_; }
  Word& counter() const { return view_.header().counter; }
  Word& word(std::uint64_t id) const { return view_.mailbox(id).word; }
  MailboxState state(std::uint64_t id) const { return mailbox_state(word(id).load()); }
  std::uint32_t mailboxes() const { return view_.mailboxes(); }
  std::uint32_t taken_mailboxes() const {
    std::uint32_t taken = 0;
    for (std::uint32_t i = 0; i < mailboxes(); ++i) taken += state(i) != kMailboxFree ? 1 : 0;
    return taken;
  }

 private:
  AlignedMemory memory_;
  MasterView view_;
};

// The client's half of the protocol, one call for each step of the drawing in slot/client_reservation.hpp, so that a test
// can stop or abandon a client between any two of them.
class ClientSteps {
 public:
  explicit ClientSteps(MasterMemory& master) : master_(master) {}

  void take_number() { id_ = (master_.counter().fetch_add(1) + 1) & kIdMask; }
  bool claim() {
    std::uint64_t seen = master_.word(id_).load();
    return mailbox_state(seen) == kMailboxFree &&
           master_.word(id_).compare_exchange_strong(seen, mailbox_word(id_, kMailboxClaimed));
  }
  bool ask() { return change(kMailboxClaimed, kMailboxAsked); }
  bool ready() const { return master_.word(id_).load() == mailbox_word(id_, kMailboxReady); }
  bool attach() { return change(kMailboxReady, kMailboxAttached); }
  std::uint64_t id() const { return id_; }

  // All steps up to the request.
  void ask_for_connection() {
    take_number();
    EXPECT_TRUE(claim());
    EXPECT_TRUE(ask());
  }

 private:
  bool change(MailboxState from, MailboxState to) {
    std::uint64_t expected = mailbox_word(id_, from);
    return master_.word(id_).compare_exchange_strong(expected, mailbox_word(id_, to));
  }

  MasterMemory& master_;
  std::uint64_t id_ = 0;
};

inline std::vector<std::uint64_t> ids_of(std::span<const Rendezvous::Event> events, Rendezvous::Event::Kind kind) {
  std::vector<std::uint64_t> ids;
  for (const Rendezvous::Event& event : events) {
    if (event.kind == kind) ids.push_back(event.id);
  }
  return ids;
}

// Collects at `now` and answers all requests with kMailboxReady, as the service does. Returns the events.
inline std::vector<Rendezvous::Event> serve_once(Rendezvous& rendezvous, std::int64_t now,
                                                 MailboxState answer = kMailboxReady) {
  const std::span<const Rendezvous::Event> collected = rendezvous.collect(now);
  std::vector<Rendezvous::Event> events(collected.begin(), collected.end());
  for (const std::uint64_t id : ids_of(events, Rendezvous::Event::kRequested)) rendezvous.reply(id, answer);
  return events;
}

// The service's loop, as a thread: sleeps on the bell, with a timer while a client may die.
class ServerThread {
 public:
  explicit ServerThread(MasterMemory& master) : master_(master), thread_([this] { run(); }) {}
  ~ServerThread() {
    stop_.store(true);
    master_.view().ring_server();
    thread_.join();
  }
  ServerThread(const ServerThread&) = delete;
  ServerThread& operator=(const ServerThread&) = delete;

  std::uint64_t asked() const { return asked_.load(); }
  std::uint64_t attached() const { return attached_.load(); }
  std::uint64_t gave_up() const { return gave_up_.load(); }
  bool waiting() const { return waiting_.load(); }

 private:
  void run() {
    Rendezvous rendezvous(master_.view());
    HalfWord& bell = master_.view().header().server_bell.rings;
    while (!stop_.load()) {
      const std::uint32_t seen = bell.load(std::memory_order_acquire);
      const auto events = serve_once(rendezvous, monotonic_ns());
      asked_ += ids_of(events, Rendezvous::Event::kRequested).size();
      attached_ += ids_of(events, Rendezvous::Event::kAttached).size();
      gave_up_ += ids_of(events, Rendezvous::Event::kGaveUp).size();
      waiting_ = rendezvous.waiting();
      if (stop_.load()) return;
      futex_wait(bell, seen, rendezvous.waiting() ? kSecond : kNoTimeout);
    }
  }

  MasterMemory& master_;
  std::atomic<bool> stop_{false};
  std::atomic<bool> waiting_{false};
  std::atomic<std::uint64_t> asked_{0};
  std::atomic<std::uint64_t> attached_{0};
  std::atomic<std::uint64_t> gave_up_{0};
  std::thread thread_;
};

}  // namespace hostmap::test
