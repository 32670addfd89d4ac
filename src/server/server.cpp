#include "server/server.hpp"

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <iterator>
#include <new>
#include <sys/resource.h>
#include <system_error>
#include <unistd.h>

#include "base/random.hpp"
#include "base/time_namespace.hpp"
#include "layout/connection.hpp"
#include "layout/counter.hpp"
#include "layout/journal.hpp"
#include "layout/master.hpp"
#include "layout/table.hpp"
#include "server/environment/notify.hpp"
#include "server/start/left_over.hpp"
#include "server/start/loading.hpp"
#include "server/start/rehearsal.hpp"
#include "shm/owner_lock.hpp"
#include "signal/nudge.hpp"
#include "signal/termination.hpp"

namespace hostmap {

namespace {

// Runs a step of the start that may fail to get memory or a thread, and returns that as a status.
template <typename Step>
Status guarded(const Step& step) noexcept {
  try {
    return step();
  } catch (const std::system_error&) {
    return {StatusCode::kFull, "cannot create a thread or descriptor; raise the limits (ulimit -u, ulimit -n)"};
  } catch (const std::bad_alloc&) {
    return Status::out_of_memory();
  }
}

// A journal that this start has created. If the start fails, its name is unlinked while the lock on it is held: after that,
// the name could belong to another server. Does nothing once the lock's descriptor has been moved away.
class NewJournal {
 public:
  NewJournal(const std::string& path, const UniqueFd& lock) noexcept
      : path_(path), lock_(lock), is_new_(::lseek(lock.get(), 0, SEEK_END) == 0) {}
  ~NewJournal() {
    if (is_new_ && lock_) unlink_if_same(path_, lock_.get());
  }
  NewJournal(const NewJournal&) = delete;
  NewJournal& operator=(const NewJournal&) = delete;
  bool is_new() const noexcept { return is_new_; }

 private:
  const std::string& path_;
  const UniqueFd& lock_;
  bool is_new_;
};

// kAlreadyExists: a server of this name is alive, though its journal is gone.
Status refuse_if_alive(const InstanceName& name) {
  const Result<RegionFile> alive = open_region_file(name.alive(), Access::kReadOnly);
  if (!alive) return {};
  const LockHolder holder = lock_holder(alive->fd.get());
  if (!holder.held) return {};
  return {StatusCode::kAlreadyExists,
          "a server with this name is running" +
              (holder.pid > 0 ? " (pid " + std::to_string(holder.pid) + ")" : std::string()) + ", though its file " +
              name.journal() + " was removed; stop it, or choose another --name"};
}

// kTimeout: SIGINT, SIGTERM or SIGHUP arrived while this server took over.
Status refuse_if_signalled() {
  const int signal = take_stop_signal(std::chrono::nanoseconds(0));
  if (signal == 0) return {};
  return {StatusCode::kTimeout,
          "signal " + std::to_string(signal) + " ended the takeover; the previous server starts again"};
}

// Each connection needs two descriptors (its region, its client's pidfd): raise the limit as far as allowed.
void raise_descriptor_limit() noexcept {
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0) return;
  limit.rlim_cur = limit.rlim_max;
  ::setrlimit(RLIMIT_NOFILE, &limit);
}

}  // namespace

Result<std::unique_ptr<Server>> Server::start(CheckedOptions options, Log log, std::function<void()> fatal) {
  std::unique_ptr<Server> server;
  const Status status = guarded([&] {
    server.reset(new Server(std::move(options), std::move(log)));
    return server->begin(std::move(fatal));
  });
  if (!status.ok()) return status;
  return server;
}

Status Server::begin(std::function<void()> fatal) {
  stopped_ = true;  // until everything is set up, there is nothing to stop
  raise_descriptor_limit();
  install_nudge();
  if (!BusGuard::install()) return {StatusCode::kFull, "no file descriptor left; raise the limit (ulimit -n)"};
  large_pages_refused_ = large_pages_refused();
  Prepared prepared;
  Result<UniqueFd> lock = options_.takeover ? take_lock_of_running(options_, log_, prepared) : UniqueFd();
  if (!lock) return lock.status();
  took_over_ = static_cast<bool>(*lock);
  if (took_over_) {
    next_alive_.emplace(std::move(*prepared.alive));
  } else {
    lock = lock_named_file(options_.name.journal());
  }
  if (!lock) return lock.status();
  const NewJournal journal(options_.name.journal(), *lock);
  if (journal.is_new()) {
    // Either there was no server, or its journal was removed while it ran: then it still holds the lock of its alive file.
    if (Status status = refuse_if_alive(options_.name); !status.ok()) return status;
  }
  Status status = attach_left_over(*lock, std::move(prepared));
  if (!status.ok()) return status;
  if (left_over_) {
    status = check_clock(options_, left_over_.table->header());
    if (status.ok()) status = check_limit(options_, left_over_.table->header());
    const JournalHeader& kept = *left_over_.journal.at<JournalHeader>(0);
    if (status.ok()) status = check_file_size_limit(connection_bytes(kept.lane_count, kept.ring_bytes));
    if (!status.ok()) return status;
    // If anything fails here, the regions stay for the next attempt, made by the server that has handed over.
    HalfWord& phase = left_over_.table->header().phase;
    const std::uint32_t before = phase.exchange(kPhaseStarting, std::memory_order_relaxed);  // relaxed: for diagnosis
    status = recover();
    if (status.ok() && took_over_) status = refuse_if_signalled();
    if (status.ok()) status = start_threads(std::move(fatal));
    // Not before: the server that has handed over would find the new limit if this start failed.
    if (status.ok()) store_memory_limit();
    if (!status.ok()) phase.store(before, std::memory_order_relaxed);  // relaxed: for diagnosis
  } else {
    status = create(std::move(*lock), std::move(fatal));
  }
  if (!status.ok()) return status;
  stopped_ = false;
  return {};
}

// Starts with an empty map.
Status Server::create(UniqueFd lock, std::function<void()> fatal) {
  const NewJournal journal(options_.name.journal(), lock);
  if (Status status = check_memory(options_); !status.ok()) return status;
  if (Status status = check_file_size_limit(connection_bytes(options_.workers, options_.ring_bytes)); !status.ok()) {
    return status;
  }
  if (Status status = discard_left_over(lock); !status.ok()) return status;
  // From here on this process owns the names, as it holds the journal's lock.
  Status status = guarded([&] {
    Status created = create_journal(std::move(lock));
    if (created.ok()) created = create_table(membarrier_available());
    if (created.ok()) created = create_alive();
    // Before clients can connect.
    if (created.ok() && !options_.load.empty()) created = load_dump(*table_, options_, log_);
    if (created.ok()) created = create_master(options_.workers);
    if (created.ok()) created = share_regions();
    if (created.ok()) created = start_threads(std::move(fatal));
    return created;
  });
  if (!status.ok()) unlink_all();
  return status;
}

Server::~Server() { stop(); }

// Maps and validates the regions that a dead server, or the one that has handed over, left: left_over_. If they cannot be
// recovered, the lock is returned to the caller.
Status Server::attach_left_over(UniqueFd& lock, Prepared prepared) {
  const std::string path = options_.name.journal();
  std::uint64_t bytes = 0;
  Status found = check_region_header(lock.get(), bytes, path, RegionKind::kJournal);
  if (found == StatusCode::kOtherVersion) return found;
  if (!found.ok() && took_over_) return found;
  if (!found.ok() || options_.fresh) return {};
  Result<Region> journal = Region::map_proper(std::move(lock), path);
  if (!journal) return journal.status();
  Result<LeftOverMap> left = attach_left_over_map(options_.name, *journal, std::move(prepared));
  if (left) {
    // relaxed: a dead server's word
    if (!is_loading(left->table->header().phase.load(std::memory_order_relaxed))) {
      left_over_ = std::move(*left);
      return {};
    }
    log_("the map of a server that ended while it loaded a dump is incomplete; starting with an empty map");
    lock = left->journal.release_file();
    return {};
  }
  lock = journal->release_file();
  if (left.status() == StatusCode::kOtherVersion || left.status() == StatusCode::kFull) {
    return left.status();
  }
  if (took_over_) {
    return {StatusCode::kInvalid, "the map cannot be taken over: " + std::string(left.status().message()) +
                                      ". The previous server starts again"};
  }
  log_("the map of a server that died cannot be continued; starting with an empty map: " +
       std::string(left.status().message()));
  return {};
}

// Completes what was in progress in the attached regions, and makes them this server's.
Status Server::recover() {
  const std::int64_t begin = monotonic_ns();
  // First of all: new clients check this file's lock to see whether a server is alive.
  if (Status status = create_alive(); !status.ok()) return status;
  if (Status status = settle_left_over_map(options_.name, left_over_); !status.ok()) return status;
  journal_region_ = std::move(left_over_.journal);
  master_ = std::move(left_over_.master);
  master_guard_ = std::move(left_over_.master_guard);
  table_ = std::move(left_over_.table);
  incarnation_ = journal_region_.header().incarnation;
  const JournalHeader& journal = *journal_region_.at<JournalHeader>(0);
  TableHeader& table = table_->header();
  options_.buckets = table.initial_buckets;
  if (!options_.load.empty()) {
    log_("not applied: --load " + options_.load + ": the map that this server continues keeps its keys");
  }
  take_memory_limit();
  report_other_eviction();
  // relaxed: a dead server's figure
  const std::uint64_t populated = table.server_stats.memory_bytes.load(std::memory_order_relaxed);
  options_.warning = warning_of_room(options_.name, options_.memory - std::min(populated, options_.memory));
  options_.max_value_bytes = table.max_value_bytes;
  options_.max_connections = journal.max_connections;
  options_.ring_bytes = journal.ring_bytes;
  options_.workers = std::min(options_.workers, journal.lane_count);

  if (!master_) {
    bool existed = false;
    Status status = remove_left_over_file(options_.name.master(), existed);
    if (status.ok()) status = create_master(journal.lane_count);
    if (!status.ok()) return status;
    log_("the master region was created again, and clients connect again, because " + left_over_.why_no_master);
  }
  if (Status status = share_regions(); !status.ok()) return status;
  lay_out_master(master_, incarnation_, journal.max_connections, journal.lane_count);
  add_to(table.server_stats.recoveries, 1);
  add_to(table.server_stats.replayed, left_over_.replayed);
  if (left_over_.dropped != 0) {
    log_("repaired the table: " + std::to_string(left_over_.dropped) +
         " places and links that led nowhere were emptied");
  }
  if (left_over_.given_up != 0) {
    log_("closed " + std::to_string(left_over_.given_up) +
         " connections that could not be recovered: their clients connect again");
  }
  if (left_over_.released != 0) {
    log_("removed " + std::to_string(left_over_.released) +
         " connections whose clients had left in the middle of a request");
  }
  log_("recovered entries=" + std::to_string(left_over_.entries) + " connections=" +
       std::to_string(left_over_.connections.size()) + " replayed=" + std::to_string(left_over_.replayed) +
       " ms=" + std::to_string((monotonic_ns() - begin) / 1'000'000));
  return {};
}

// The limit that the map has holds: a start with the options of the last one must not silently undo `hostmap limit`.
void Server::take_memory_limit() {
  const TableHeader& table = table_->header();
  const std::uint64_t limit = memory_limit_of(table);
  const std::uint64_t word = table.memory_limit.load(std::memory_order_relaxed);  // relaxed: a number
  options_.max_memory = table.max_memory;
  if (options_.set_limit) {
    log_("the memory limit is " + size_text(options_.memory) + ", by --memory and --set-limit; the map had " +
         size_text(limit));
    return;
  }
  if (word != limit) {
    log_("the memory limit of the map is damaged (" + std::to_string(word) + " bytes); it is now " + size_text(limit));
  } else if (options_.memory_given && options_.memory != limit) {
    log_("the memory limit is that of the map; not applied: --memory " + size_text(options_.memory) + " (it has " +
         size_text(limit) + "); to apply it, add --set-limit");
  } else {
    log_("the memory limit is that of the map, " + size_text(limit));
  }
  options_.memory = limit;
}

// The policy is of each server, not of the map: a start that was given another one by mistake begins to refuse writes, or to
// remove keys.
void Server::report_other_eviction() {
  // relaxed: a dead server's setting; introduce() stores this one's
  const auto before = static_cast<Eviction>(table_->header().eviction.load(std::memory_order_relaxed));
  const std::string_view name = name_of(before);
  if (before == options_.eviction || name.empty()) return;
  log_("the eviction policy is " + std::string(name_of(options_.eviction)) + "; the map was served with --eviction " +
       std::string(name) + ", which is to be given with each start");
}

// `hostmap limit` may have set another one meanwhile: it is overwritten only for a reason.
void Server::store_memory_limit() noexcept {
  TableHeader& table = table_->header();
  const std::uint64_t limit = options_.set_limit ? options_.memory : memory_limit_of(table);
  // relaxed, both: a number
  if (table.memory_limit.load(std::memory_order_relaxed) != limit) {
    table.memory_limit.store(limit, std::memory_order_relaxed);
  }
}

// Removes the dead server's regions of this name, except the journal.
Status Server::discard_left_over(const UniqueFd& journal) {
  const bool old_journal = ::lseek(journal.get(), 0, SEEK_END) > 0;
  Result<std::uint64_t> discarded = discard_left_over_regions(options_.name);
  if (!discarded) return discarded.status();
  const std::uint64_t regions = *discarded + (old_journal ? 1 : 0);
  if (regions != 0) log_("discarded " + std::to_string(regions) + " regions of a server that died");
  return {};
}

Status Server::create_journal(UniqueFd lock) {
  const TablePlan plan = plan_table(options_.max_memory, options_.workers);
  const std::uint64_t bytes = journal_bytes(options_.max_connections, options_.workers, plan.arena_bytes / kSlabBytes);
  if (::ftruncate(lock.get(), 0) != 0) return {StatusCode::kInvalid, "cannot empty " + options_.name.journal()};
  const NewJournal name(options_.name.journal(), lock);
  Result<Region> journal = Region::from_descriptor(std::move(lock), options_.name.journal(), bytes);
  if (!journal) return journal.status();
  if (Status status = journal->populate(0, round_up(bytes, std::uint64_t{kPageSize})); !status.ok()) {
    journal->unlink_name();  // the lock is still held
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
  header.checksum = checksum_of(header);
  journal_region_.publish();
  return {};
}

Status Server::create_table(bool membarrier) {
  TableOptions options;
  options.buckets = options_.buckets;
  options.memory_limit = options_.memory;
  options.max_memory = options_.max_memory;
  options.max_value_bytes = options_.max_value_bytes;
  options.shards = options_.workers;  // lanes = workers at creation
  options.hash_seed = random_word();
  options.incarnation = incarnation_;
  options.membarrier = membarrier;
  options.time_namespace = time_namespace();
  Result<std::unique_ptr<Table>> table = Table::create(options_.name.table(), options, Journal(journal_region_));
  if (!table) return table.status();
  table_ = std::move(*table);
  const auto now = std::chrono::system_clock::now().time_since_epoch();
  table_->header().server_stats.counted_since.store(
      static_cast<std::uint64_t>(std::chrono::duration_cast<std::chrono::seconds>(now).count()),
      std::memory_order_relaxed);  // relaxed: for diagnosis
  // A map that is incomplete is marked from its begin on: the next start discards it.
  // relaxed: before the table is published
  if (!options_.load.empty()) table_->header().phase.store(loading_phase(0), std::memory_order_relaxed);
  table_->region().publish();
  return {};
}

// Publishes to the table's readers which server serves it now.
void Server::introduce() noexcept {
  TableHeader& header = table_->header();
  // relaxed: if seen late, clients ring once in vain; the first sweep serves them
  constexpr auto kRelaxed = std::memory_order_relaxed;
  for (WorkerLine& line : header.workers) line.parked.store(0, kRelaxed);
  for (std::uint32_t lane = 0; lane < table_->shard_count(); ++lane) {
    header.lane_worker[lane].store(static_cast<std::uint8_t>(lane % options_.workers), kRelaxed);
  }
  table_->set_eviction(options_.eviction);
  header.server_pid.store(static_cast<std::uint32_t>(::getpid()), kRelaxed);
  char version[sizeof header.server_version] = {};
  std::snprintf(version, sizeof version, "%.*s %.*s", static_cast<int>(kVersion.size()), kVersion.data(),
                static_cast<int>(commit().size()), commit().data());
  for (std::size_t i = 0; i < std::size(header.server_version); ++i) {
    std::uint64_t word = 0;
    std::memcpy(&word, version + i * sizeof word, sizeof word);
    header.server_version[i].store(word, kRelaxed);
  }
  header.mailbox_count.store(mailboxes_for(options_.max_connections), kRelaxed);
  // [master.made] release; pairs with [master.inode]: the region and how many mailboxes it has
  header.master_inode.store(master_.inode(), std::memory_order_release);
  header.server_stats.workers.store(options_.workers, kRelaxed);
  // By the clock, so that the first server of a new map also has a larger one than the servers of the map before: numbers of
  // leases begin with it. The one of a server before counts if the clock was set back.
  const auto now = std::chrono::system_clock::now().time_since_epoch();
  const auto now_ms = static_cast<std::uint64_t>(std::chrono::duration_cast<std::chrono::milliseconds>(now).count());
  // [generation.raise] release; pairs with [generation.read]: before the words, as a client that finds its word raised must find
  // that its registration was with another server
  header.server_generation.store(std::max(header.server_generation.load(kRelaxed) + 1, now_ms),
                                 std::memory_order_release);
  table_->wake_waiters();
}

Status Server::create_alive() {
  if (!next_alive_) {
    Result<NewLockedFile> made = NewLockedFile::create(options_.name.alive(), 0600);
    if (!made) return made.status();
    Status shared = share_file(made->fd(), options_.name.alive(), Sharing::kRead, options_.name.group());
    if (!shared.ok()) return shared;
    next_alive_.emplace(std::move(*made));
  }
  Result<UniqueFd> alive = next_alive_->replace();
  if (!alive) return alive.status();
  alive_ = std::move(*alive);
  next_alive_.reset();
  return {};
}

// Sets the group of table, master and existing connections to the current one: the dead server's may have been another one.
Status Server::share_regions() {
  const gid_t group = options_.name.group();
  if (Status status = table_->region().share(Sharing::kRead, group); !status.ok()) return status;
  for (const auto& end : left_over_.connections) {
    if (Status status = end->region().share(Sharing::kReadAndWrite, group); !status.ok()) return status;
  }
  return master_.share(Sharing::kReadAndWrite, group);
}

Status Server::create_master(std::uint32_t lanes) {
  const std::uint32_t mailboxes = mailboxes_for(options_.max_connections);
  Result<Region> master = Region::create(options_.name.master(), master_bytes(mailboxes), 0600);
  if (!master) return master.status();
  master_ = std::move(*master);
  if (Status status = master_.populate(0, master_.bytes()); !status.ok()) return status;
  master_guard_ = BusGuard::Watch(master_, BusGuard::OnDamage::kRestore);
  lay_out_master(master_, incarnation_, options_.max_connections, lanes);
  return {};
}

Status Server::start_threads(std::function<void()> fatal) {
  MasterHeader& master = *master_.at<MasterHeader>(0);
  const bool membarrier = table_->header().membarrier != 0;
  introduce();
  for (std::uint32_t i = 0; i < options_.workers; ++i) {
    std::vector<std::uint32_t> lanes;
    for (std::uint32_t lane = i; lane < table_->shard_count(); lane += options_.workers) lanes.push_back(lane);
    const Worker::Surroundings around{table_.get(),
                                      &streams_,
                                      Journal(journal_region_),
                                      PieceStore(journal_region_.fd(), *journal_region_.at<JournalHeader>(0)),
                                      &table_->header().workers[i],
                                      std::span(master.worker_bells).first(options_.workers),
                                      master_.at<IdleHints>(kIdleHintsOffset) + i,
                                      membarrier,
                                      &master.server_bell.rings,
                                      options_.max_connections,
                                      options_.ring_bytes};
    workers_.push_back(std::make_unique<Worker>(around, i, std::move(lanes)));
    workers_.back()->start();
  }
  service_ = std::make_unique<Service>(Service::Surroundings{&options_, &master_, table_.get(), alive_.get(),
                                                             Journal(journal_region_), &workers_, incarnation_, log_,
                                                             std::move(fatal), &master_guard_});
  for (std::unique_ptr<ServerEnd>& end : left_over_.connections) service_->add(std::move(end));
  left_over_.connections.clear();
  service_->start();
  if (!options_.warning.empty()) log_("warning: " + options_.warning);
  if (large_pages_refused_) {
    log_(
        "this kernel gives no 2 MiB pages to shared memory (Linux 6.1 and later do): a table larger than the caches is "
        "read somewhat slower");
  }
  service_->open();
  table_->header().phase.store(kPhaseServing, std::memory_order_relaxed);  // relaxed: for diagnosis
  return {};
}

void Server::stop(Ending ending) {
  if (stopped_) return;
  stopped_ = true;
  service_->stop();
  for (const auto& worker : workers_) worker->stop();
  // The next start finds the same state as after a kill: clients wait for it in the same way.
  if (ending == Ending::kKeep || (ending == Ending::kAsOptions && options_.keep)) {
    write_summary(journal_region_, *table_);
    table_->header().phase.store(kPhaseKept, std::memory_order_relaxed);  // relaxed: for diagnosis
    // Unlock now, not after this process has freed its memory: the next server may be waiting. It owns everything now.
    unlock_file(journal_region_.fd());
    return;
  }
  // Every reader of the table and every client waiting for an answer sees that the region is closed, and connects anew.
  // [region.close] release; pairs with [region.attach]
  master_.header().state.store(kRegionClosed, std::memory_order_release);
  table_->region().header().state.store(
      kRegionClosed, std::memory_order_release);        // [region.close] release; pairs with [region.attach]
  std::atomic_thread_fence(std::memory_order_seq_cst);  // [region.close-fence] seq_cst; pairs with [mailbox.ask-fence]
  table_->close();
  table_->wake_waiters();
  service_->close_all();
  unlink_all();
}

void Server::end_takeover() noexcept {
  if (took_over_) hostmap::end_takeover(journal_region_);
}

bool Server::takeover_waits() const noexcept { return hostmap::takeover_waits(journal_region_); }

bool Server::hand_over() {
  stop(Ending::kKeep);
  return await_next_server(journal_region_);
}

void Server::unlink_all() noexcept {
  const InstanceName& name = options_.name;
  try {
    remove_unfinished_files(name.alive());  // of a takeover that was killed
  } catch (const std::bad_alloc&) {         // they are empty, and the next start removes them
  }
  master_.unlink_name();
  if (alive_) unlink_if_same(name.alive(), alive_.get());
  if (table_) table_->region().unlink_name();
  journal_region_.unlink_name();  // last: until then the lock prevents other servers from using the name
}

}  // namespace hostmap
