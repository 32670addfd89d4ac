// Session: all that a client has of one server: its regions, its connection, its reader. A client that reconnects gets a new
// session; the old one is retired but stays in memory, because other threads may still be reading through it.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <memory>

#include <hostmap/status.hpp>

#include "connection/client_end.hpp"
#include "layout/region.hpp"
#include "shm/names.hpp"
#include "shm/region.hpp"
#include "slot/client_reservation.hpp"
#include "table/read/reader.hpp"

namespace hostmap {

class Session {
 public:
  // Finds the server of `name`, requests a connection and attaches to it. Errors as Client::connect.
  static Result<std::unique_ptr<Session>> open(const InstanceName& name, Deadline& deadline);
  // The same without a connection: only the table, and nothing that is visible to another process. It ends (closed()) when
  // the server stops.
  static Result<std::unique_ptr<Session>> open_to_read(const InstanceName& name);
  ~Session();
  Session(const Session&) = delete;
  Session& operator=(const Session&) = delete;

  // The session before this one. A list that one store extends: a child finds it complete, whenever the fork happened.
  std::unique_ptr<Session> previous;

  const TableReader& reader() const noexcept { return reader_; }
  std::uint32_t lanes() const noexcept { return lanes_; }
  ClientEnd& end() noexcept { return *end_; }
  // `channel` of the connection, open. Errors as ClientEnd::channel.
  Result<ClientChannel*> channel(std::uint32_t channel, Deadline& deadline);

  bool closed() const noexcept {
    if (end_ != nullptr) return end_->closed();
    return table_.given_up() || gave_way_.load(std::memory_order_relaxed);  // relaxed: it publishes no other data
  }
  // Any thread: checks whether the name leads to another live server, unless the last check is less than a second old. If it
  // does, closed() is true from then on. `now_ns`: coarse_monotonic_ns().
  void check_for_successor(std::int64_t now_ns) noexcept;
  // The same for a direct read. False: the name leads to another server.
  bool may_read_on(std::int64_t now_ns) noexcept;
  // Counts the attempts of a direct read that were disturbed.
  void count_retries(std::uint64_t retries) noexcept {
    if (end_ == nullptr) return;                                                  // no counters
    end_->counters().read_retries.fetch_add(retries, std::memory_order_relaxed);  // relaxed: a counter
  }
  // The server has ended: unmaps the address space that the table had not grown into. Nothing more of the table becomes
  // readable; what is readable stays so. One thread at a time.
  void stop_growing() noexcept { table_.shorten(reader_.end_extending(/*alone=*/false)); }
  // Leaves the server and frees the memory, while other threads may still be reading it: they see zeroes, and must check that
  // the session is still the current one before they trust what they read.
  void retire() noexcept;
  // The same in a child after fork: the connection is the parent's and stays untouched.
  void disown() noexcept;

  // Writes that were queued without an answer. Only the thread that writes calls these:
  void note_queued(std::uint32_t lane, std::uint64_t position) noexcept {
    // [queued.set] release; pairs with [queued.see]: a thread that sees it finds the channel
    queued_[lane].store(position, std::memory_order_release);
    unreported_[lane] = true;
    // relaxed (the load): only this thread leaves it. Stored only when it changes, so that readers keep their copy of the line.
    if (way_.load(std::memory_order_relaxed) != ReadWay::kWithCare) {
      way_.store(ReadWay::kWithCare, std::memory_order_release);  // [queued.some] release; pairs with [queued.any]
    }
  }
  // All of them are applied (or refused).
  void note_applied(std::uint32_t lane) noexcept {
    if (queued_[lane].load(std::memory_order_relaxed) == 0) return;  // relaxed: this thread's own
    // [queued.done] release; pairs with [queued.see]: another thread that sees it finds the writes applied
    queued_[lane].store(0, std::memory_order_release);
    for (std::uint32_t other = 0; other < lanes_; ++other) {
      if (queued_[other].load(std::memory_order_relaxed) != 0) return;  // relaxed: this thread's own
    }
    // relaxed (the load): a hint
    way_.store(way_without_queue_.load(std::memory_order_relaxed),
               std::memory_order_release);  // [queued.none] release; pairs with [queued.any]
  }
  // A flush has reported their outcome.
  void note_reported(std::uint32_t lane) noexcept { unreported_[lane] = false; }
  bool unreported(std::uint32_t lane) const noexcept { return unreported_[lane]; }
  void note_all_reported() noexcept { std::fill(unreported_, unreported_ + lanes_, false); }
  bool any_unreported() const noexcept {
    return std::find(unreported_, unreported_ + lanes_, true) != unreported_ + lanes_;
  }
  // Before the session is published: all reads of the client use the ring.
  void leave_reads_to_server() noexcept {
    // relaxed, both: published with the session
    way_without_queue_.store(ReadWay::kWithCare, std::memory_order_relaxed);
    way_.store(ReadWay::kWithCare, std::memory_order_relaxed);
    by_ring_ = true;
  }
  // Any thread: may a read use the table directly, without queued writes that it must see? In one of two ways: as it is, or, of
  // a table that evicts keys, with a note of each key that it finds.
  bool reads_at_once() const noexcept { return way() == ReadWay::kAtOnce; }
  bool notes_reads() const noexcept { return way() == ReadWay::kWithNotes; }
  // Where a direct read notes a key that it has found.
  TouchNote note_of(std::uint64_t hash) noexcept {
    const std::uint32_t lane = lanes_ == 1 ? 0 : spread_over_shards(hash, lanes_).shard;
    return {end_->touch_page(lane).words, hash};
  }
  // Counts a direct read of a table that evicts keys.
  void count_read(bool hit) noexcept {
    Word& counter = hit ? end_->counters().read_hits : end_->counters().read_misses;
    // relaxed, both: a figure for diagnosis. No atomic addition, which would cost as much as half of the read: of threads that count
    // at the same time, one count may be lost.
    counter.store(counter.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed);
  }
  // Before the session is published, and from time to time: chooses the way of reads that have no queued writes to wait for.
  void choose_way() noexcept;
  // Does a direct read of this session's table note the keys that it finds? (Not without a connection.)
  bool evicts() const noexcept {
    // relaxed: a number; nothing else is read because of it
    return end_ != nullptr && reader_.header().eviction.load(std::memory_order_relaxed) != 0;
  }
  // Any thread: the position behind the last queued write of a lane that is not known to be applied; 0: none.
  std::uint64_t queued_position(std::uint32_t lane) const noexcept {
    return queued_[lane].load(std::memory_order_acquire);  // [queued.see] acquire; pairs with [queued.set]
  }

  // --- Waiting until a key changes (client/wait.cpp)
  //
  std::uint64_t generation() const noexcept {
    // [generation.read] acquire; pairs with [generation.raise]
    return reader_.header().server_generation.load(std::memory_order_acquire);
  }
  // The word of a group of keys, readable. Null: this process may not map it, or has no memory. Of the thread that writes.
  const HalfWord* wait_word(std::uint32_t lane, std::uint32_t group) noexcept;
  // Threads that wait for a group; returns how many there are now. Of the thread that writes, after wait_word().
  std::uint32_t note_waiter(std::uint32_t lane, std::uint32_t group, int by) noexcept {
    return waiters_[lane * kWaitGroups + group] += static_cast<std::uint32_t>(by);
  }
  void count_rescue() noexcept {
    end_->counters().timeout_rescues.fetch_add(1, std::memory_order_relaxed);  // relaxed: a counter
  }
  // A thread that is about to sleep on a word: it must check that the session is still in use after this, and before it sleeps.
  class Sleeper {
   public:
    explicit Sleeper(Session& session) noexcept : session_(session) {
      session_.sleepers_.fetch_add(1, std::memory_order_relaxed);  // relaxed: the fence orders it
      std::atomic_thread_fence(std::memory_order_seq_cst);  // [sleeper.begin] seq_cst; pairs with [session.retire]
    }
    // relaxed: a count
    ~Sleeper() { session_.sleepers_.fetch_sub(1, std::memory_order_relaxed); }
    Sleeper(const Sleeper&) = delete;
    Sleeper& operator=(const Sleeper&) = delete;

   private:
    Session& session_;
  };

 private:
  void wake_sleepers() noexcept;
  // How a read may proceed.
  enum class ReadWay : std::uint8_t { kWithCare, kAtOnce, kWithNotes };
  ReadWay way() const noexcept {
    return way_.load(std::memory_order_acquire);  // [queued.any] acquire; pairs with [queued.some]
  }
  Session(const InstanceName& name, Region table);  // read-only
  Session(const InstanceName& name, Region master, Region table);
  Status enter(const InstanceName& name, Deadline& deadline);

  Region master_region_;
  Region table_;
  SuccessorCheck successor_;
  MasterView master_;
  TableReader reader_;
  std::uint32_t lanes_;
  std::unique_ptr<ClientEnd> end_;  // null: read-only
  bool left_ = false;               // retired or disowned: nothing more is sent to the server
  Word queued_[kMaxLanes] = {};
  bool unreported_[kMaxLanes] = {};  // of the thread that writes
  std::atomic<ReadWay> way_{ReadWay::kAtOnce};
  std::atomic<ReadWay> way_without_queue_{ReadWay::kAtOnce};
  bool by_ring_ = false;
  std::unique_ptr<std::uint32_t[]> waiters_;  // of each lane's groups; once a thread has waited
  std::atomic<std::uint32_t> sleepers_{0};
  std::atomic<std::int64_t> checked_at_ns_{coarse_monotonic_ns()};  // when the name was last checked
  std::atomic<bool> gave_way_{false};
};

// kOk if a server of this name is alive and its regions can be attached; otherwise the reason.
Status check_server(const InstanceName& name);

// Waits until something changes in the folder of `name`, or the deadline: a server may have appeared.
void await_change_of_folder(const InstanceName& name, Deadline& deadline) noexcept;

}  // namespace hostmap
