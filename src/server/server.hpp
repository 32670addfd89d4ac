// Server: one instance from start to stop.
//
//   start   lock the journal -> discard what a dead server left -> journal, table, alive file, master (published last)
//           -> workers -> service
//   stop    accept nobody -> workers drain every ring -> clients and readers are told -> everything is unlinked
//
// start() and stop() belong to one thread.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

#include <hostmap/status.hpp>

#include "server/options.hpp"
#include "server/service.hpp"
#include "server/worker.hpp"
#include "table/table.hpp"

namespace hostmap {

class Server {
 public:
  // Creates the instance and serves it. `log` gets a line at a time, from any thread; `fatal` is called once if the server
  // can serve nobody any more. Errors: kAlreadyExists (a server of this name runs), kOtherVersion, kPermission, kFull.
  static Result<std::unique_ptr<Server>> start(CheckedOptions options, Log log, std::function<void()> fatal);
  ~Server();
  Server(const Server&) = delete;
  Server& operator=(const Server&) = delete;

  // Drains, tells everybody and removes the regions. Idempotent.
  void stop();

  const CheckedOptions& options() const noexcept { return options_; }

 private:
  Server(CheckedOptions options, Log log) : options_(std::move(options)), log_(std::move(log)) {}
  Status create_regions();
  Status create_journal();
  Status create_table(bool membarrier);
  Status create_master();
  Status start_threads(bool membarrier, std::function<void()> fatal);
  void unlink_all() noexcept;

  CheckedOptions options_;
  Log log_;
  std::uint64_t incarnation_ = 0;
  UniqueFd alive_;  // locked as long as this server lives
  Region journal_region_;
  std::unique_ptr<Table> table_;
  Region master_;
  std::vector<std::unique_ptr<Worker>> workers_;
  std::unique_ptr<Service> service_;
  bool stopped_ = false;
};

}  // namespace hostmap
