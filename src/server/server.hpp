// Server: one instance from start to stop.
//
//   start   lock the journal -> recover the regions that a dead server left, or discard them and create journal, table,
//           alive file and master (published last) -> workers -> service
//   stop    stop accepting -> workers drain every ring -> regions are kept; or clients and readers are notified, and
//           everything is unlinked
//
// start() and stop() belong to one thread.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <vector>

#include <hostmap/status.hpp>

#include "server/connections/service.hpp"
#include "server/environment/options.hpp"
#include "server/run/stream_quota.hpp"
#include "server/run/worker.hpp"
#include "server/start/restart.hpp"
#include "shm/owner_lock.hpp"
#include "table/write/table.hpp"

namespace hostmap {

class Server {
 public:
  // Creates the instance, or recovers it, or takes it over from a running server; then serves it. `log` gets one line at a time, from any thread;
  // `fatal` is called once if the server can no longer serve anybody. Errors: kAlreadyExists (a server of this name runs),
  // kOtherVersion, kPermission, kFull.
  static Result<std::unique_ptr<Server>> start(CheckedOptions options, Log log, std::function<void()> fatal);
  ~Server();
  Server(const Server&) = delete;
  Server& operator=(const Server&) = delete;

  // Drains. Then the regions are kept for the next start, or all clients are notified and the regions removed. Idempotent.
  enum class Ending : std::uint8_t { kAsOptions, kKeep, kDrop };
  void stop(Ending ending = Ending::kAsOptions);

  // Completes a takeover: until then the server that handed over waits in reserve.
  void end_takeover() noexcept;
  // Is another server waiting for this one to hand over?
  bool takeover_waits() const noexcept;
  // Stops, and leaves the regions to that server. False: that server ended before it served; this program can start again.
  // Call it in the thread for which the signals that stop a server are blocked: they end the wait.
  bool hand_over();

  // Has a running server handed over to this one?
  bool took_over() const noexcept { return took_over_; }
  const CheckedOptions& options() const noexcept { return options_; }

 private:
  Server(CheckedOptions options, Log log) : options_(std::move(options)), log_(std::move(log)) {}
  Status begin(std::function<void()> fatal);
  Status create(UniqueFd lock, std::function<void()> fatal);
  Status discard_left_over(const UniqueFd& journal);
  Status attach_left_over(UniqueFd& lock, Prepared prepared);
  Status recover();
  void take_memory_limit();
  void report_other_eviction();
  void store_memory_limit() noexcept;
  Status create_journal(UniqueFd lock);
  Status create_table(bool membarrier);
  Status create_master(std::uint32_t lanes);
  Status create_alive();
  Status share_regions();
  void introduce() noexcept;
  Status start_threads(std::function<void()> fatal);
  void unlink_all() noexcept;

  CheckedOptions options_;
  Log log_;
  std::uint64_t incarnation_ = 0;
  UniqueFd alive_;  // locked as long as this server is alive
  std::optional<NewLockedFile> next_alive_;
  bool took_over_ = false;  // a running server has handed over to this one
  Region journal_region_;
  std::unique_ptr<Table> table_;
  Region master_;
  BusGuard::Watch master_guard_;
  LeftOverMap left_over_;  // between attach_left_over() and start_threads()
  StreamQuota streams_;
  std::vector<std::unique_ptr<Worker>> workers_;
  std::unique_ptr<Service> service_;
  bool large_pages_refused_ = false;
  bool stopped_ = false;
};

}  // namespace hostmap
