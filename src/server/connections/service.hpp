// Service: the thread that manages the connections. It sleeps on the master region's bell until a client connects, requests a
// channel, closes or dies; then it creates, opens, drops and frees.
//
// Threads: everything but the constructor and stop() belongs to that thread, once start() has created it.
//
// A connection's life:  waiting (created, not locked by a client yet) -> live -> dropping (workers drain it) -> freed.
// A region is freed only when its client has reported that it is done, or the server holds its lock: so never while its
// client is alive.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <thread>
#include <unordered_map>
#include <vector>

#include "connection/server_bus_guard.hpp"
#include "connection/server_end.hpp"
#include "journal/journal.hpp"
#include "layout/master.hpp"
#include "server/connections/reaper.hpp"
#include "server/environment/log.hpp"
#include "server/environment/options.hpp"
#include "server/run/worker.hpp"
#include "slot/server_rendezvous.hpp"

namespace hostmap {

// Once it runs, only accepting a connection or channel allocates memory: then either all of it succeeds or nothing changes,
// and the client gets the error.
class Service {
 public:
  struct Surroundings {
    const CheckedOptions* options;
    Region* master;
    Table* table;
    int alive;  // descriptor of the file whose lock new clients check
    Journal journal;
    std::vector<std::unique_ptr<Worker>>* workers;
    std::uint64_t incarnation;
    Log log;
    std::function<void()> fatal;  // called once, when the regions were removed and the last client has left
    BusGuard::Watch* master_guard = nullptr;
  };
  explicit Service(Surroundings surroundings);
  ~Service();
  Service(const Service&) = delete;
  Service& operator=(const Service&) = delete;

  // Before start(): a connection that a dead server had accepted is served as if this server had.
  void add(std::unique_ptr<ServerEnd> end);
  void start();
  // From here on clients find this server.
  void open();
  // Stops accepting connections and ends the thread. Existing connections stay as they are.
  void stop();
  // After stop(), and after the workers have ended: notifies every client, connecting ones included, that the server has
  // stopped, and unlinks its region.
  void close_all();

  // One round of its loop, between two sleeps; public for tests that drive it without its thread.
  void round(std::int64_t now);
  std::size_t connections() const noexcept { return connections_.size(); }
  // How many times it has examined a connection for requests of its client; for tests.
  std::uint64_t examined() const noexcept { return examined_; }
  // All connections are examined together, at intervals of at least this time multiplied by their number. So a client that
  // rings without end, and each client of a crowd that connects or leaves, costs the same for any number of connections. (An
  // examination takes about 0.03 us, so that is a thirtieth of a cpu at most.)
  static constexpr std::int64_t kExamineGapNs = 1000;

 private:
  enum class Life : std::uint8_t { kWaiting, kLive, kDropping };
  struct Connection {
    std::unique_ptr<ServerEnd> end;
    // set_state() changes these two
    Life life = Life::kWaiting;
    bool visible = false;              // the reaper watches its process
    bool logged_refused = false;       // the refusal of a channel was logged
    std::int64_t test_lock_at_ns = 0;  // when its lock is tested next: rarely if its process is watched
  };

  void run();
  std::int64_t next_wait();
  void handle(const Rendezvous::Event& event, std::int64_t now);
  void accept(std::uint64_t id, std::int64_t now);
  MailboxState create_connection(std::uint64_t id, std::int64_t now);
  template <std::size_t kSize, typename... Parts>
  void log_line(const char (&kind)[kSize], const Parts&... parts) noexcept;
  Connection* find(std::uint64_t id) noexcept;
  void count(const Connection& connection, std::size_t by) noexcept;
  void set_state(Connection& connection, Life life, bool visible) noexcept;
  void examine_all(std::int64_t now);
  void skip_taken_names(const std::string& path) noexcept;
  void client_attached(Connection& connection, std::int64_t now);
  void examine(Connection& connection, std::int64_t now);
  void log_refusal_once(Connection& connection, std::string_view why) noexcept;
  std::unique_ptr<ServerChannel> make_channel(Connection& connection, std::uint32_t channel);
  void open_channel(Connection& connection, std::unique_ptr<ServerChannel> channel) noexcept;
  void give_reader_to_workers(ServerEnd& end) noexcept;
  void give_to_worker(std::unique_ptr<ServerChannel> channel) noexcept;
  void reap_if_dead(Connection& connection, std::int64_t now);
  void drop(Connection& connection);
  bool free_if_released(Connection& connection);
  void count_connections() noexcept;
  void check_removal();
  bool has_private_pages() const noexcept;
  void check_master(std::int64_t now);
  void check_table_size(std::int64_t now);

  Surroundings around_;
  Rendezvous rendezvous_;
  Bell& bell_;
  Reaper reaper_;
  std::unordered_map<std::uint64_t, Connection> connections_;  // by id
  std::size_t waiting_ = 0;                                    // connections that no client has locked yet
  std::size_t dropping_ =
      0;  // workers are letting go of them; then their places are free for clients that have been deferred
  std::size_t unwatched_ = 0;       // connections that may die without an event: neither visible nor being dropped
  std::int64_t examine_at_ns_ = 0;  // not before this time
  bool examine_later_ = false;      // a round has left it to a later one
  std::uint64_t examined_ = 0;
  std::vector<std::uint32_t> free_indices_;  // in the journal
  std::uint32_t visible_tests_left_ = 0;     // in this round
  bool deferred_ = false;  // a client's request waits until fewer connections are waiting, or until one is free
  bool removed_ = false;
  std::int64_t remap_at_ns_ = 0;  // not before this time
  std::int64_t check_table_at_ns_ = 0;
  bool logged_larger_ = false;  // it was logged that the table's file is too large
  bool logged_damaged_ = false;
  bool logged_taken_ = false;
  bool logged_renamed_ = false;
  std::atomic<bool> open_{false};
  bool gave_up_ = false;
  std::atomic<bool> stopping_{false};
  std::atomic<bool> ended_{false};
  std::thread thread_;
};

}  // namespace hostmap
