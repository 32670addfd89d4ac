// Worker: the thread that owns lanes. It sweeps the rings of all its channels, applies the requests, answers, and parks
// when it has no work.
//
//   sweep     every active channel: copy and validate a batch, prefetch its buckets, then apply and answer one by one
//             -> positions consumed, once a channel and sweep -> one fence -> wake waiting clients
//   idle      channels without records for long drop out of the sweep. Each sweep polls those whose clients have set a
//             hint, and two in turn; before the worker parks, it polls all of them and reclaims the buckets that a clear
//             left
//
// Threads: all private members belong to the worker; attach(), detach(), stop(), nudge() and ring() may be called by others.
//
// Invariants
// 1. A channel gets at most kBatch records or kBatchBytes bytes per sweep, and over several sweeps kShareBytes in each while
//    other channels have work (deficit round robin, Shreedhar and Varghese 1995): no channel starves another.
// 2. A request that wants an answer is taken only when the answer has room: a client that never takes its answers delays
//    only itself.
// 3. Between the intent of one request and the next read of a ring nothing can fail.
#pragma once

#include <algorithm>
#include <array>
#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <new>
#include <optional>
#include <span>
#include <thread>
#include <vector>

#include "connection/server_end.hpp"
#include "journal/journal.hpp"
#include "journal/memos.hpp"
#include "journal/piece_store.hpp"
#include "layout/connection.hpp"
#include "layout/journal.hpp"
#include "layout/master.hpp"
#include "layout/table.hpp"
#include "message/codec.hpp"
#include "server/run/idle_channels.hpp"
#include "server/run/stream_quota.hpp"
#include "table/write/table.hpp"
#include "wait/park.hpp"
#include "wait/spin.hpp"

namespace hostmap {

// One channel as its worker sees it.
struct ServerChannel {
  ServerChannel(ServerEnd& owner, std::uint32_t number, ChannelPosition& where) noexcept
      : end(&owner),
        channel(number),
        lane(number % owner.identity().lanes),
        control(&owner.control(number)),
        position(&where),
        // relaxed, both: the service thread's own stores, or a dead server's
        requests(owner.request_ring(number), where.request_next.load(std::memory_order_relaxed)),
        consumed(requests.position()),
        answers(owner.answer_ring(number), where.answer_next.load(std::memory_order_relaxed)),
        memos(where) {
    end_idling(*control);  // a server that died may have left it idling
    answers.resume();
    // After a takeover the client reports its position; until then, there is no room.
    const std::uint64_t capacity = answers.view().capacity();
    answers_consumed = answers.head() - std::min(answers.head(), capacity);
    if (memos.received() != kNoStream) stream.resume(where, memos.received());
  }

  ServerEnd* end;
  std::uint32_t channel;
  std::uint32_t lane;
  ChannelControl* control;
  ChannelPosition* position;
  RingConsumer requests;
  // After the last request that was applied, as in the journal, and as published to the client. Excludes padding that was
  // skipped since: with it, the client would write where a restarted server continues to read.
  std::uint64_t consumed;
  RingProducer answers;
  ChannelMemos memos;
  std::uint64_t answers_consumed = 0;  // as the client last reported; only its own answers depend on it
  std::uint64_t debt = 0;  // bytes served beyond its share; the channel is skipped in sweeps until they are paid off
  unsigned idle_sweeps = 0;
  bool sets_hints = false;  // its client does, as the channel is idle or about to be
  IdlePlace idle;
  bool answered = false;  // in this sweep
  // The effort made to find room for the request at this position.
  Effort effort;
  std::uint64_t effort_position = 0;
  std::optional<std::uint64_t> drain_end;  // of the last service, once it has begun

  // Bytes free in the answer ring. A false position that the client reports can only harm itself.
  std::uint64_t answer_room() noexcept {
    const std::uint64_t capacity = answers.view().capacity();
    if (capacity - (answers.head() - answers_consumed) < capacity / 2) {
      // [answers.room] acquire; pairs with [answers.consumed]
      const std::uint64_t said = control->answers_consumed.load(std::memory_order_acquire);
      if (said >= answers_consumed && said <= answers.head()) answers_consumed = said;
    }
    return capacity - (answers.head() - answers_consumed);
  }
  Effort& effort_for(std::uint64_t request) noexcept {
    if (effort_position != request) {
      effort_position = request;
      effort = {};
    }
    return effort;
  }
  // A request that arrives in pieces.
  struct Stream {
    Op op = Op::kPadding;  // kPadding: none
    std::uint64_t key_bytes = 0;
    std::uint64_t value_bytes = 0;
    std::uint64_t received = 0;
    std::uint64_t entry = 0;               // the block that the pieces fill
    std::uint64_t charged = 0;             // to the quota
    StatusCode refused = StatusCode::kOk;  // why the pieces are discarded
    bool held = false;                     // there was no block: the pieces are in the journal's file (PieceStore)
    // In this process's own memory: the held pieces at the end; or all pieces of an erase or get, if that file cannot grow.
    std::vector<std::byte> bytes;
    std::uint64_t total() const noexcept { return key_bytes + value_bytes; }
    // False: the process has no memory left.
    bool hold_bytes(std::uint64_t size) noexcept {
      try {
        bytes.resize(size);
        return true;
      } catch (const std::bad_alloc&) {
        return false;
      }
    }
    RequestHead head() const noexcept { return {op, static_cast<std::uint8_t>(refused), key_bytes, value_bytes}; }
    // Resumes a stream that a dead server had received in part.
    void resume(const ChannelPosition& where, std::uint64_t received_bytes) noexcept {
      // relaxed, both: a dead server's stores
      const RequestHead said = decode_request_head(where.stream_head.load(std::memory_order_relaxed));
      op = said.op;
      key_bytes = said.key_bytes;
      value_bytes = said.value_bytes;
      refused = static_cast<StatusCode>(said.flags);
      received = received_bytes;
      entry = where.stream_entry.load(std::memory_order_relaxed);  // relaxed: likewise
      held = entry == kHeldInJournal;
      if (held) entry = 0;
    }
  } stream;
};

class Worker {
 public:
  static constexpr std::size_t kBatch = 64;
  static constexpr std::size_t kBatchBytes = 16384;
  // Requests and answers together. A batch of 64 pairs is about half as much.
  static constexpr std::uint64_t kShareBytes = 4096;

  struct Surroundings {
    Table* table;
    StreamQuota* streams;
    Journal journal;
    PieceStore pieces;
    WorkerLine* line;       // in the table region
    std::span<Bell> bells;  // of all workers, in the master region
    IdleHints* hints;       // this worker's, likewise
    bool membarrier;
    HalfWord* service_bell;   // rung when a connection is poisoned or let go
    std::size_t connections;  // the maximum: all that this thread allocates is for them, at its construction
    std::uint64_t ring_bytes;
  };
  // `number`: its bell. `lanes`: owned by this worker; the first one carries its counters.
  Worker(Surroundings surroundings, std::uint32_t number, std::vector<std::uint32_t> lanes);
  ~Worker();
  Worker(const Worker&) = delete;
  Worker& operator=(const Worker&) = delete;

  void start();
  // Drains every channel once more, then ends the thread.
  void stop();
  // If it sleeps, it wakes soon, whatever has happened to its bell.
  void nudge() noexcept;

  void attach(std::unique_ptr<ServerChannel> channel) noexcept;
  // Drains and drops all channels of `end`, then decrements its holders.
  void detach(ServerEnd& end) noexcept;
  bool owns(std::uint32_t lane) const noexcept;

  // Parts of the loop, for tests that drive a worker without its thread.
  bool sweep();
  void take_orders();

 private:
  friend class Dispatcher;
  void run();
  void wait_for_work();
  bool wait_a_moment(unsigned looks) noexcept;
  bool serve(ServerChannel& channel);
  bool sweep_all();
  bool reclaim(unsigned buckets);
  void look_at_idle();
  bool may_leave(ServerChannel& channel) noexcept;
  static void end_idle_time(ServerChannel& channel) noexcept;
  void activate(std::size_t idle_index);
  void activate_all();
  std::size_t channels() const noexcept { return active_.size() + idle_.size(); }
  bool drain(ServerChannel& channel, bool answers_are_read);
  static void wake(ServerChannel& channel) noexcept;
  void resume_stream(ServerChannel& channel) noexcept;
  void poison(ServerChannel& channel);
  bool forget(ServerEnd& end);
  void note_crowd() noexcept;
  void ring() noexcept;
  void ring_others() noexcept;
  LaneStats& stats() noexcept { return around_.table->header().lane_stats[lanes_.front()]; }

  Surroundings around_;
  std::uint32_t number_;
  std::vector<std::uint32_t> lanes_;
  WorkerPark park_;
  unsigned cpus_;

  std::vector<std::unique_ptr<ServerChannel>> active_;
  IdleChannels idle_;
  std::vector<ServerChannel*> served_;
  bool clear_waits_ = false;  // a request for which other lanes must sweep first
  AdaptiveSpin spin_;
  QuickYield yields_;
  unsigned busy_sweeps_ = 0;
  struct Item {
    Request request;
    HashedKey key;
  };
  std::array<Item, kBatch> items_;  // a batch: here and not on the stack, as it needs no initialisation
  std::vector<std::byte> space_;    // copies of its records

  struct Order {
    std::unique_ptr<ServerChannel> attach;
    ServerEnd* detach = nullptr;
  };
  std::mutex orders_mutex_;
  std::vector<Order> orders_;
  std::vector<Order> taken_;  // this thread's batch of orders
  std::atomic<bool> has_orders_{false};
  std::atomic<bool> stopping_{false};
  std::atomic<bool> ended_{false};
  std::thread thread_;
};

}  // namespace hostmap
