// Worker: the thread that owns lanes. It sweeps the rings of all its channels, applies the requests, answers, and parks
// when it has no work.
//
//   sweep     every active channel: copy and validate a batch, prefetch its buckets, then apply and answer one by one
//             -> positions consumed, once a channel and sweep -> one fence -> wake waiting clients
//   idle      channels without records for long drop out of the sweep. Each sweep polls those whose clients have set a
//             hint, and two in turn; before the worker parks, it polls all of them and reclaims the buckets that a clear
//             left
//
// Threads: all private members belong to the worker; add_channel(), drop_channels(), stop(), nudge() and ring() may be called by others.
//
// Invariants
// 1. A channel gets at most kBatch records or kBatchBytes bytes per sweep, and over several sweeps kShareBytes (channel.hpp) in each while
//    other channels have work (deficit round robin, Shreedhar and Varghese 1995): no channel starves another.
// 2. A request that wants an answer is taken only when the answer has room: a client that never takes its answers delays
//    only itself.
// 3. Between the intent of one request and the next read of a ring nothing can fail.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <span>
#include <thread>
#include <vector>

#include "connection/server_end.hpp"
#include "journal/journal.hpp"
#include "journal/piece_store.hpp"
#include "layout/master.hpp"
#include "layout/table.hpp"
#include "message/codec.hpp"
#include "server/run/channel.hpp"
#include "server/run/idle_channels.hpp"
#include "server/run/stream_quota.hpp"
#include "server/run/touch_pages.hpp"
#include "table/write/table.hpp"
#include "wait/park.hpp"
#include "wait/spin.hpp"

namespace hostmap {

class Worker {
 public:
  static constexpr std::size_t kBatch = 64;
  static constexpr std::size_t kBatchBytes = 16384;

  struct Surroundings {
    Table* table;
    StreamQuota* streams;
    Journal journal;
    PieceStore pieces;
    WorkerLine* line;       // in the table region
    std::span<Bell> bells;  // of all workers, in the master region
    IdleHints* hints;       // this worker's, likewise
    bool membarrier;
    HalfWord* service_bell;   // rung when a connection is poisoned or released
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

  void add_channel(std::unique_ptr<ServerChannel> channel) noexcept;
  // From now on takes the notes of what the client of `end` has read (touch_pages.hpp), until drop_channels().
  void add_reader(ServerEnd& end) noexcept;
  // Drains and drops all channels of `end`, then decrements its holders.
  void drop_channels(ServerEnd& end) noexcept;
  bool owns(std::uint32_t lane) const noexcept;

  // Parts of the loop, for tests that drive a worker without its thread.
  bool sweep();
  void take_orders();

 private:
  void run();
  void wait_for_work();
  bool wait_a_moment(unsigned polls) noexcept;
  bool serve(ServerChannel& channel);
  void take_notes(std::uint32_t lane) noexcept;
  bool sweep_all();
  bool reclaim(unsigned buckets);
  std::int64_t ns_to_next_end() const noexcept;
  void poll_idle();
  bool may_leave(ServerChannel& channel) noexcept;
  static void end_idle_time(ServerChannel& channel) noexcept;
  void activate(std::size_t idle_index);
  void activate_all();
  std::size_t channels() const noexcept { return active_.size() + idle_.size(); }
  bool drain(ServerChannel& channel, bool answers_are_read);
  bool drain_a_batch(ServerChannel& channel, bool answers_are_read);
  static void wake(ServerChannel& channel) noexcept;
  void resume_stream(ServerChannel& channel) noexcept;
  void poison(ServerChannel& channel);
  bool try_drop_channels(ServerEnd& end);
  void publish_crowded() noexcept;
  void wake_waiters() noexcept;
  std::size_t place_of(std::uint32_t lane) const noexcept;
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
  TouchPages touch_pages_;
  bool clear_waits_ = false;  // a request for which other lanes must sweep first
  AdaptiveSpin spin_;
  QuickYield yields_;
  unsigned busy_sweeps_ = 0;
  // Of each of its lanes; before the channels, which refer to them
  std::vector<Leases> leases_;
  std::vector<LoneWork> lone_works_;
  std::int64_t wake_at_ns_ = 0;  // while there are requests, waiters are woken from then on
  struct Item {
    Request request;
    HashedKey key;
  };
  std::array<Item, kBatch> items_;  // a batch: here and not on the stack, as it needs no initialisation
  std::vector<std::byte> space_;    // copies of its records

  struct Order {
    std::unique_ptr<ServerChannel> add = nullptr;
    ServerEnd* drop = nullptr;
    ServerEnd* reader = nullptr;
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
