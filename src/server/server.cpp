#include "server/server.hpp"

#include <algorithm>
#include <new>
#include <sys/random.h>
#include <sys/resource.h>
#include <system_error>
#include <unistd.h>

#include "server/left_over.hpp"
#include "server/notify.hpp"
#include "shm/owner_lock.hpp"

namespace hostmap {

namespace {

constexpr std::uint32_t kLeastMailboxes = 1024;

std::uint64_t random_word() noexcept {
  std::uint64_t word = 0;
  while (::getrandom(&word, sizeof word, 0) != static_cast<ssize_t>(sizeof word)) {
  }
  return word;
}

// Runs a step of the start that may fail to get memory or a thread, and says so in a status.
Status guarded(const std::function<Status()>& step) {
  try {
    return step();
  } catch (const std::system_error& error) {
    return {StatusCode::kFull, std::string("cannot get a thread or descriptor: ") + error.what() +
                                   "; raise the limits (ulimit -u, ulimit -n)"};
  } catch (const std::bad_alloc&) {
    return {StatusCode::kFull, "this process is out of memory; raise the limit (ulimit -v)"};
  }
}

// Each connection takes two descriptors (its region, its client's pidfd): ask for what is allowed.
void raise_descriptor_limit() noexcept {
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0) return;
  limit.rlim_cur = limit.rlim_max;
  ::setrlimit(RLIMIT_NOFILE, &limit);
}

}  // namespace

Result<std::unique_ptr<Server>> Server::start(CheckedOptions options, Log log, std::function<void()> fatal) {
  std::unique_ptr<Server> server(new Server(std::move(options), std::move(log)));
  raise_descriptor_limit();
  const bool membarrier = membarrier_available();
  if (Status status = server->create_journal(); !status.ok()) {
    server->stopped_ = true;  // nothing is ours to remove
    return status;
  }
  for (const auto& create : {std::function<Status()>([&] { return server->create_table(membarrier); }),
                             std::function<Status()>([&] { return server->create_master(); }),
                             std::function<Status()>([&] { return server->start_threads(membarrier, fatal); })}) {
    if (Status status = guarded(create); !status.ok()) {
      // The names are ours: what was there before is discarded, and the journal's lock is held.
      ::unlink(server->options_.name.table().c_str());
      server->unlink_all();
      server->stopped_ = true;
      return status;
    }
  }
  return server;
}

Server::~Server() { stop(); }

// Locks the name, removes what a dead server left under it, and lays out the journal.
Status Server::create_journal() {
  Result<UniqueFd> lock = lock_named_file(options_.name.journal());
  if (!lock) return lock.status();
  const off_t old_size = ::lseek(lock->get(), 0, SEEK_END);
  std::uint64_t old_bytes = 0;
  Status old = check_region_header(lock->get(), old_bytes, options_.name.journal(), RegionKind::kJournal);
  if (old == StatusCode::kOtherVersion) return old;
  Result<std::uint64_t> discarded = discard_left_over_regions(options_.name);
  if (!discarded) {
    if (old_size == 0) ::unlink(options_.name.journal().c_str());
    return discarded.status();
  }
  const std::uint64_t regions = *discarded + (old_size > 0 ? 1 : 0);
  if (regions != 0) log_("discarded " + std::to_string(regions) + " regions of a server that died");

  const TablePlan plan = plan_table(options_.memory, options_.workers);
  const std::uint64_t bytes = journal_bytes(options_.max_connections, options_.workers, plan.arena_bytes / kSlabBytes);
  if (::ftruncate(lock->get(), 0) != 0) return {StatusCode::kInvalid, "cannot empty " + options_.name.journal()};
  Result<Region> journal = Region::adopt(std::move(*lock), options_.name.journal(), bytes);
  Status status = journal ? journal->populate(0, round_up(bytes, std::uint64_t{kPageSize})) : journal.status();
  if (!status.ok()) {
    ::unlink(options_.name.journal().c_str());
    return status;
  }
  journal_region_ = std::move(*journal);
  incarnation_ = random_word();
  journal_region_.write_header(RegionKind::kJournal, incarnation_);
  auto& header = *journal_region_.at<JournalHeader>(0);
  header.max_connections = options_.max_connections;
  header.lane_count = options_.workers;
  header.slab_count = plan.arena_bytes / kSlabBytes;
  header.ring_bytes = options_.ring_bytes;
  journal_region_.publish();
  return {};
}

Status Server::create_table(bool membarrier) {
  TableOptions options;
  options.buckets = options_.buckets;
  options.memory_limit = options_.memory;
  options.max_value_bytes = options_.max_value_bytes;
  options.shards = options_.workers;  // lanes = workers at creation
  options.hash_seed = random_word();
  options.incarnation = incarnation_;
  options.membarrier = membarrier;
  Result<std::unique_ptr<Table>> table = Table::create(options_.name.table(), options, Journal(journal_region_));
  if (!table) return table.status();
  table_ = std::move(*table);
  TableHeader& header = table_->header();
  // relaxed, all of them: publish() below stands behind them
  header.server_generation.store(1, std::memory_order_relaxed);
  header.server_pid.store(static_cast<std::uint32_t>(::getpid()), std::memory_order_relaxed);
  header.server_stats.workers.store(options_.workers, std::memory_order_relaxed);
  for (std::uint32_t lane = 0; lane < options_.workers; ++lane)
    header.lane_worker[lane] = static_cast<std::uint8_t>(lane);
  table_->region().publish();
  return {};
}

Status Server::create_master() {
  Result<UniqueFd> alive = create_locked_file(options_.name.alive(), 0600);
  if (!alive) return alive.status();
  alive_ = std::move(*alive);
  const std::uint32_t mailboxes = std::max(kLeastMailboxes, options_.max_connections);
  Result<Region> master = Region::create(options_.name.master(), master_bytes(mailboxes), 0600);
  if (!master) return master.status();
  master_ = std::move(*master);
  if (Status status = master_.populate(0, master_.bytes()); !status.ok()) return status;
  master_.write_header(RegionKind::kMaster, incarnation_);
  auto& header = *master_.at<MasterHeader>(0);
  header.mailbox_count = mailboxes;
  header.lane_count = options_.workers;
  return {};
}

Status Server::start_threads(bool membarrier, std::function<void()> fatal) {
  MasterHeader& master = *master_.at<MasterHeader>(0);
  for (std::uint32_t i = 0; i < options_.workers; ++i) {
    const Worker::Surroundings around{table_.get(),
                                      Journal(journal_region_),
                                      &table_->header().workers[i],
                                      std::span(master.worker_bells).first(options_.workers),
                                      membarrier,
                                      &master.server_bell.rings};
    workers_.push_back(std::make_unique<Worker>(around, i, std::vector<std::uint32_t>{i}));
    workers_.back()->start();
  }
  service_ = std::make_unique<Service>(Service::Surroundings{
      &options_, &master_, table_.get(), Journal(journal_region_), &workers_, incarnation_, log_, std::move(fatal)});
  service_->start();
  if (!options_.warning.empty()) log_("warning: " + options_.warning);
  if (large_pages_refused()) {
    log_(
        "this kernel gives no 2 MiB pages to shared memory (Linux 6.1 and later do): a table larger than the caches is "
        "read somewhat slower");
  }
  master_.publish();  // from here on clients find us
  return {};
}

void Server::stop() {
  if (stopped_) return;
  stopped_ = true;
  service_->stop();
  for (const auto& worker : workers_) worker->stop();
  // Everybody who looks at the table or waits for an answer learns that this is the end, and connects anew.
  // [region.close] release; pairs with [region.attach]
  master_.header().state.store(kRegionClosed, std::memory_order_release);
  std::atomic_thread_fence(std::memory_order_seq_cst);  // [region.close-fence] seq_cst; pairs with [mailbox.ask-fence]
  table_->region().header().state.store(
      kRegionClosed, std::memory_order_release);  // [region.close] release; pairs with [region.attach]
  table_->close();
  service_->close_all();
  unlink_all();
}

void Server::unlink_all() noexcept {
  const InstanceName& name = options_.name;
  master_.unlink_name();
  if (alive_) unlink_if_same(name.alive(), alive_.get());
  if (table_) table_->region().unlink_name();
  journal_region_.unlink_name();  // last: until then the lock keeps others off the name
}

}  // namespace hostmap
