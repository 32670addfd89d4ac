#include "server/connections/service.hpp"

#include <algorithm>
#include <bit>
#include <chrono>
#include <ctime>
#include <fcntl.h>
#include <new>
#include <pthread.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/random.hpp"
#include "layout/connection.hpp"
#include "layout/counter.hpp"
#include "layout/journal.hpp"
#include "layout/master.hpp"
#include "layout/table.hpp"
#include "server/connections/pace.hpp"
#include "server/connections/reset_bell.hpp"
#include "server/environment/notify.hpp"
#include "shm/owner_lock.hpp"
#include "signal/nudge.hpp"

namespace hostmap {

namespace {

// How long a new region may stay unlocked, and how often the locks of invisible clients are tested.
constexpr std::int64_t kLockPatienceNs = 2'000'000'000;
constexpr std::int64_t kTimerNs = 1'000'000'000;
// How often the locks of clients whose processes are watched are tested, and how many in a round at most (about a millisecond): a
// program that closes all of its descriptors, or execs another one, stays alive without its client.
constexpr std::int64_t kVisiblePatienceNs = 5'000'000'000;
constexpr std::uint32_t kMostVisibleTests = 1024;
// How often it runs a round without a bell: a hostile process can requeue its futex waiter elsewhere.
constexpr std::int64_t kRarelyNs = 5'000'000'000;
// The most regions created for clients that have not attached to them yet. A process that writes arbitrary values to the
// mailboxes requests regions, and never attaches to them.
constexpr std::size_t kMostWaiting = 64;

MasterView view_of(Region& master) noexcept {
  MasterView view(master.data());
  view.set_mailboxes(view.header().mailbox_count);
  return view;
}

std::int64_t thread_cpu_ns() noexcept { return clock_ns(CLOCK_THREAD_CPUTIME_ID); }

void append(std::string& line, std::string_view text) { line += text; }
void append(std::string& line, std::uint64_t number) { line += std::to_string(number); }

// May this process open another file? (No lock depends on `fd`: closing the copy would drop it.)
bool has_descriptor(int fd) noexcept { return bool(UniqueFd(::fcntl(fd, F_DUPFD_CLOEXEC, 0))); }

}  // namespace

Service::Service(Surroundings surroundings)
    : around_(std::move(surroundings)),
      rendezvous_(view_of(*around_.master)),
      bell_(around_.master->at<MasterHeader>(0)->server_bell),
      reaper_(bell_.rings, around_.options->max_connections) {
  for (std::uint32_t i = around_.options->max_connections; i > 0; --i) free_indices_.push_back(i - 1);
  connections_.reserve(around_.options->max_connections);
  reaper_.watch_file(around_.options->name.master());
  reaper_.watch_file(around_.options->name.table());
  reaper_.watch_file(around_.options->name.alive());
}

Service::~Service() {
  if (thread_.joinable()) stop();
}

void Service::add(std::unique_ptr<ServerEnd> end) {
  const ServerEnd::Identity identity = end->identity();
  std::erase(free_indices_, identity.index);
  // No two of them are the same file: the id is the file's name.
  Connection& kept = connections_[identity.id];
  kept.end = std::move(end);
  kept.life = lock_holder(kept.end->region().fd()).held ? Life::kLive : Life::kWaiting;
  count(kept, 1);
  kept.test_lock_at_ns = kept.life == Life::kLive ? 0 : monotonic_ns() + kLockPatienceNs;
  give_reader_to_workers(*kept.end);
  for (std::uint64_t open = kept.end->channels_open(); open != 0; open &= open - 1) {
    give_to_worker(make_channel(kept, static_cast<std::uint32_t>(std::countr_zero(open))));
  }
  kept.end->wake_sleepers();
}

void Service::start() {
  thread_ = std::thread([this] { run(); });
  pthread_setname_np(thread_.native_handle(), "service");
}

void Service::open() {
  around_.master->publish();
  open_.store(true, std::memory_order_relaxed);  // relaxed: if seen late, the header is repaired a round later
}

void Service::stop() {
  stopping_.store(true, std::memory_order_release);  // [service.stop] release; pairs with [service.stopping]
  futex_add_and_wake(bell_.rings);
  join_nudged(thread_, ended_);
}

void Service::run() {
  accept_nudges();
  Pace pace(monotonic_ns());
  for (;;) {
    // [service.bell] acquire; pairs with [mailbox.ask]: whatever was done before the bell is seen in this round, or the wait
    // returns at once
    const std::uint32_t seen = bell_.rings.load(std::memory_order_acquire);
    // [service.stopping] acquire; pairs with [service.stop]
    if (stopping_.load(std::memory_order_acquire)) break;
    const std::int64_t begun = thread_cpu_ns();
    round(monotonic_ns());
    const std::int64_t pause = pace.pause_after(thread_cpu_ns() - begun, monotonic_ns());
    if (kGuarded && pause > 0) [[unlikely]] {
      std::this_thread::sleep_for(std::chrono::nanoseconds(pause));
    }
    if (removed_ && connections_.empty() && !gave_up_) {
      gave_up_ = true;
      around_.fatal();
    }
    futex_wait(bell_.rings, seen, next_wait());
  }
  ended_.store(true, std::memory_order_relaxed);  // relaxed: see join_nudged()
}

void Service::round(std::int64_t now) {
  deferred_ = false;
  visible_tests_left_ = kMostVisibleTests;
  const std::span<const Rendezvous::Event> events = rendezvous_.collect(now);
  for (const Rendezvous::Event& event : events) {
    if (event.kind != Rendezvous::Event::kRequested) handle(event, now);
  }
  const Reaper::Noticed& noticed = reaper_.fetch();
  for (const std::uint64_t id : noticed.dead) {
    Connection* const connection = find(id);
    if (connection == nullptr) continue;
    set_state(*connection, connection->life, false);
    connection->test_lock_at_ns = now;
  }
  if (noticed.files_changed || !reaper_.watches_files()) check_removal();
  check_master(now);
  check_table_size(now);
  examine_later_ = now < examine_at_ns_;
  if (!examine_later_) examine_all(now);
  // After the examination: a connection that was closed before the request was made does not count any more.
  for (const Rendezvous::Event& event : events) {
    if (event.kind == Rendezvous::Event::kRequested) accept(event.id, now);
  }
  count_connections();
}

void Service::examine_all(std::int64_t now) {
  examine_at_ns_ = now + kExamineGapNs * static_cast<std::int64_t>(connections_.size());
  examined_ += connections_.size();
  for (auto at = connections_.begin(); at != connections_.end();) {
    examine(at->second, now);
    at = free_if_released(at->second) ? connections_.erase(at) : std::next(at);
  }
}

// A short timer is needed only while a client may die, or the master may be truncated, without an event.
std::int64_t Service::next_wait() {
  if (deferred_ && waiting_ < kMostWaiting && !free_indices_.empty()) return 0;
  if (examine_later_) return std::max(std::int64_t{0}, examine_at_ns_ - monotonic_ns());
  if (!reaper_.watches_files() || has_private_pages() || visible_tests_left_ == 0) return patience_ns(kTimerNs);
  return unwatched_ != 0 || rendezvous_.waiting() ? kTimerNs : patience_ns(kRarelyNs);
}

void Service::handle(const Rendezvous::Event& event, std::int64_t now) {
  Connection* connection = find(event.id);
  if (connection == nullptr || connection->life != Life::kWaiting) return;
  if (event.kind == Rendezvous::Event::kAttached) {
    client_attached(*connection, now);
  } else {
    reap_if_dead(*connection, now);
  }
}

// Writes one line to the log. It begins with a literal, which is the kind of the line. If memory is short, it is dropped.
template <std::size_t kSize, typename... Parts>
void Service::log_line(const char (&kind)[kSize], const Parts&... parts) noexcept {
  try {
    std::string line(kind);
    (append(line, parts), ...);
    around_.log(kind, line);
  } catch (const std::bad_alloc&) {
  }
}

Service::Connection* Service::find(std::uint64_t id) noexcept {
  const auto at = connections_.find(id);
  return at == connections_.end() ? nullptr : &at->second;
}

// Adds a connection to the counts, or, with -1, removes it from them.
void Service::count(const Connection& connection, std::size_t by) noexcept {
  if (connection.life == Life::kWaiting) waiting_ += by;
  if (connection.life == Life::kDropping) dropping_ += by;
  if (connection.life != Life::kDropping && !connection.visible) unwatched_ += by;
}

void Service::set_state(Connection& connection, Life life, bool visible) noexcept {
  count(connection, -std::size_t{1});
  connection.life = life;
  connection.visible = visible;
  count(connection, 1);
}

void Service::accept(std::uint64_t id, std::int64_t now) {
  // One that is being dropped, or was closed and not examined yet, is free soon; the workers and the examination wake this
  // thread.
  const bool frees_soon = dropping_ != 0 || examine_later_;
  if (waiting_ >= kMostWaiting || (free_indices_.empty() && frees_soon)) {
    deferred_ = true;
    return rendezvous_.defer(id);
  }
  MailboxState answer = kMailboxNoMemory;
  try {
    answer = free_indices_.empty() ? kMailboxFull : create_connection(id, now);
  } catch (const std::bad_alloc&) {
    log_line("refused connection ", id, ": this process is out of memory; raise the limit (ulimit -v)");
  }
  count_connections();  // before the client can know that it is one of them
  if (!rendezvous_.reply(id, answer) && answer == kMailboxReady) reap_if_dead(*find(id), now);
}

// All steps that can fail come first, and leave nothing.
MailboxState Service::create_connection(std::uint64_t id, std::int64_t now) {
  if (find(id) != nullptr) return kMailboxFree;  // the counter has wrapped around, or a process has corrupted it
  JournalHeader& journal = around_.journal.header();
  const std::uint64_t serial = journal.serials.load(std::memory_order_relaxed) + 1;  // relaxed: this thread alone
  journal.serials.store(serial, std::memory_order_release);  // [serial.give] release; pairs with [serial.record]

  ServerEnd::Identity identity;
  identity.id = id;
  identity.serial = serial;
  identity.request_nonce = random_word() | 1;
  identity.answer_nonce = random_word() | 1;
  identity.ring_bytes = around_.options->ring_bytes;
  identity.lanes = around_.table->shard_count();
  identity.index = free_indices_.back();

  const std::string path = around_.options->name.connection(id);
  std::unordered_map<std::uint64_t, Connection> one;
  Connection& connection = one[id];
  ConnectionRecord& record = around_.journal.connection(identity.index);
  // Before a file of that name exists: the next start removes it if this server is killed before the record is valid.
  record.id.store(id, std::memory_order_relaxed);  // relaxed: the system call that creates the file follows
  Result<std::unique_ptr<ServerEnd>> end = ServerEnd::create(path, identity, around_.incarnation);
  if (!end) {
    // A file of this name exists, which belongs to no connection: the client takes another id.
    if (end.status() == StatusCode::kInvalid) {
      skip_taken_names(path);
      return kMailboxFree;
    }
    log_line("refused connection ", id, ": ", end.status().message());
    return has_descriptor(around_.master->fd()) ? kMailboxNoMemory : kMailboxNoDescriptor;
  }
  NewName name(path);
  if (Status status = (*end)->region().share(Sharing::kReadAndWrite, around_.options->name.group()); !status.ok()) {
    log_line("refused connection ", id, ": ", status.message());
    return kMailboxNoMemory;
  }
  connection.end = std::move(*end);
  connection.test_lock_at_ns = now + kLockPatienceNs;
  for (std::uint32_t channel = 0; channel < 2 * identity.lanes; ++channel) {
    ChannelMemos::clear(around_.journal.position(identity.index, channel));
  }
  std::unique_ptr<ServerChannel> first = make_channel(connection, 0);  // populated by create()
  name.keep();

  free_indices_.pop_back();
  // relaxed, all four: the serial, stored after them, makes the record valid
  record.request_nonce.store(identity.request_nonce, std::memory_order_relaxed);
  record.answer_nonce.store(identity.answer_nonce, std::memory_order_relaxed);
  record.channels_open.store(0, std::memory_order_relaxed);                         // relaxed: likewise
  record.inode.store(connection.end->region().inode(), std::memory_order_relaxed);  // relaxed: likewise
  record.serial.store(serial, std::memory_order_release);  // [serial.record] release; pairs with [serial.give]

  const auto kept = connections_.insert(one.extract(id)).position;
  count(kept->second, 1);
  give_reader_to_workers(*kept->second.end);
  open_channel(kept->second, std::move(first));
  add_to(around_.table->header().server_stats.connected, 1);
  return kMailboxReady;
}

// Any user who may write to the folder can take the names that come next, any number of them. So the counter continues from
// a number that cannot be guessed.
void Service::skip_taken_names(const std::string& path) noexcept {
  const std::uint64_t next = random_word() & kIdMask;
  // relaxed: the counter only assigns numbers
  around_.master->at<MasterHeader>(0)->counter.store(next, std::memory_order_relaxed);
  if (std::exchange(logged_taken_, true)) return;
  log_line("a new connection could not be named ", path,
           ", because another program has created a file of that name. Connections get random numbers instead (logged "
           "once); remove such files, or use --dir with a folder that others cannot write to");
}

void Service::client_attached(Connection& connection, std::int64_t now) {
  set_state(connection, Life::kLive, connection.visible);
  connection.test_lock_at_ns = now;
  reap_if_dead(connection, now);
}

// Tests the lock. If a client is alive, its process is watched; if none is, the connection is dropped.
void Service::reap_if_dead(Connection& connection, std::int64_t now) {
  const int fd = connection.end->region().fd();
  const LockHolder holder = lock_holder(fd);
  if (!holder.held && try_lock_file(fd) == LockOutcome::kLocked) {
    if (!connection.end->client_closed()) add_to(around_.table->header().server_stats.reaped, 1);
    return drop(connection);
  }
  bool visible = reaper_.watch(connection.end->identity().id, holder.pid);
  // Between the two calls the process may have died and its number been reused.
  if (visible && !lock_holder(fd).held) {
    reaper_.unwatch(connection.end->identity().id);
    visible = false;
  }
  set_state(connection, connection.life, visible);
  connection.test_lock_at_ns = now + (connection.visible ? kVisiblePatienceNs : kLockPatienceNs);
}

void Service::examine(Connection& connection, std::int64_t now) {
  if (connection.life == Life::kDropping) return;
  ServerEnd& end = *connection.end;
  if (end.truncated_by_client()) {
    add_to(around_.table->header().server_stats.cut_off, 1);
    end.poisoned.store(true, std::memory_order_relaxed);  // relaxed: seen a batch later, that batch reads zeroes
  }
  if (end.client_closed() ||
      end.poisoned.load(std::memory_order_relaxed)) {  // relaxed: the bell's futex call orders it
    return drop(connection);
  }
  const bool forgotten = connection.life == Life::kWaiting && !rendezvous_.awaited(end.identity().id);
  if (connection.visible && now >= connection.test_lock_at_ns && visible_tests_left_ != 0) {
    --visible_tests_left_;
    connection.test_lock_at_ns = now + kVisiblePatienceNs;
    if (!lock_holder(end.region().fd()).held) {
      reaper_.unwatch(end.identity().id);
      set_state(connection, connection.life, false);
      connection.test_lock_at_ns = now;
    }
  }
  if (!connection.visible && (now >= connection.test_lock_at_ns || forgotten)) {
    reap_if_dead(connection, now);
    if (connection.life == Life::kDropping) return;
  }
  for (std::uint64_t wanted = end.channels_wanted(); wanted != 0; wanted &= wanted - 1) {
    const auto channel = static_cast<std::uint32_t>(std::countr_zero(wanted));
    std::unique_ptr<ServerChannel> made;
    try {
      if (Status status = end.populate_channel(channel); status.ok()) {
        made = make_channel(connection, channel);
      } else {
        log_refusal_once(connection, status.message());
      }
    } catch (const std::bad_alloc&) {
      log_refusal_once(connection, "this process is out of memory; raise the limit (ulimit -v)");
    }
    if (made == nullptr) {
      end.refuse_channel(channel);
    } else {
      open_channel(connection, std::move(made));
    }
  }
  end.answer_wanted();
}

// A client may request channels without limit: the log gets one line a connection.
void Service::log_refusal_once(Connection& connection, std::string_view why) noexcept {
  if (std::exchange(connection.logged_refused, true)) return;
  log_line("connection ", connection.end->identity().id, " got no rings: ", why,
           "; logged once; the client may try again");
}

std::unique_ptr<ServerChannel> Service::make_channel(Connection& connection, std::uint32_t channel) {
  const std::uint32_t index = connection.end->identity().index;
  return std::make_unique<ServerChannel>(*connection.end, channel, around_.journal.position(index, channel));
}

void Service::open_channel(Connection& connection, std::unique_ptr<ServerChannel> made) noexcept {
  const std::uint32_t channel = made->channel;
  ConnectionRecord& record = around_.journal.connection(connection.end->identity().index);
  const std::uint64_t open =
      record.channels_open.load(std::memory_order_relaxed) | std::uint64_t{1} << channel;  // relaxed: this thread alone
  record.channels_open.store(open, std::memory_order_release);  // [channels.record] release; pairs with [serial.record]
  give_to_worker(std::move(made));
  connection.end->open_channel(channel);
}

// Passes a channel to the worker of its lane.
void Service::give_to_worker(std::unique_ptr<ServerChannel> channel) noexcept {
  // [consumed.publish] release; pairs with [consumed.load]: the client may not know yet of a dead server's last sweep
  channel->control->requests_consumed.store(channel->consumed, std::memory_order_release);
  for (const auto& worker : *around_.workers) {
    if (worker->owns(channel->lane)) return worker->add_channel(std::move(channel));
  }
}

void Service::give_reader_to_workers(ServerEnd& end) noexcept {
  for (const auto& worker : *around_.workers) worker->add_reader(end);
}

void Service::drop(Connection& connection) {
  set_state(connection, Life::kDropping, false);
  reaper_.unwatch(connection.end->identity().id);
  connection.end->holders.store(static_cast<std::uint32_t>(around_.workers->size()),
                                std::memory_order_relaxed);  // relaxed: the orders' mutex publishes it
  for (const auto& worker : *around_.workers) worker->drop_channels(*connection.end);
}

bool Service::free_if_released(Connection& connection) {
  if (connection.life != Life::kDropping) return false;
  ServerEnd& end = *connection.end;
  // [end.free] acquire; pairs with [end.let-go]
  if (end.holders.load(std::memory_order_acquire) != 0) return false;
  end.close();
  ServerStats& stats = around_.table->header().server_stats;
  add_to(stats.read_retries, said_by_client(end.client().read_retries));
  add_to(stats.read_fallbacks, said_by_client(end.client().read_fallbacks));
  add_to(stats.client_rescues, said_by_client(end.client().timeout_rescues));
  add_to(stats.read_hits, said_by_client(end.client().read_hits));
  add_to(stats.read_misses, said_by_client(end.client().read_misses));
  end.region().unlink_name();
  around_.journal.connection(end.identity().index)
      .serial.store(0, std::memory_order_release);  // [serial.record] release; pairs with [serial.give]
  free_indices_.push_back(end.identity().index);
  count(connection, -std::size_t{1});
  return true;
}

void Service::count_connections() noexcept {
  // relaxed: a figure for diagnosis
  around_.table->header().server_stats.connections.store(connections_.size(), std::memory_order_relaxed);
}

// Without its master region, its table or its alive file no client finds this server. Connected clients are served as before.
// A file that was removed is lost; one that was only renamed can be renamed back.
void Service::check_removal() {
  if (removed_) return;
  const InstanceName& name = around_.options->name;
  const std::pair<const std::string&, int> files[] = {{name.master(), around_.master->fd()},
                                                      {name.table(), around_.table->region().fd()},
                                                      {name.alive(), around_.alive}};
  for (const auto& [path, fd] : files) {
    if (is_named(path, fd)) continue;
    struct stat facts {};
    removed_ = ::fstat(fd, &facts) == 0 && facts.st_nlink == 0;
    if (removed_) break;
    if (std::exchange(logged_renamed_, true)) continue;
    log_line("the name ", path,
             " no longer leads to the file of this server, so no other client can connect; rename the file "
             "back, or stop this server with hostmap stop --keep and start it again");
  }
  if (!removed_) return;
  notify_service_manager("STATUS=the regions were removed; serving the connected clients, then stopping");
  log_line("the regions of '", name.name(), "' were removed under this server; it serves the ", connections_.size(),
           " connected clients until they leave, and then stops; start it again to accept others");
}

bool Service::has_private_pages() const noexcept {
  return around_.master_guard != nullptr && around_.master_guard->has_private_pages();
}

// A process that maps the whole table and reads where nothing is populated makes the file larger than the table. The kernel
// allows it; it is logged, and the next start truncates the file.
void Service::check_table_size(std::int64_t now) {
  if (now < check_table_at_ns_) return;
  check_table_at_ns_ = now + kRarelyNs;
  constexpr std::uint64_t kMiB = std::uint64_t{1} << 20;
  const std::uint64_t held = around_.table->region().held_bytes();
  // More than the limit if that was lowered since.
  const std::uint64_t limit = around_.table->memory_extent();
  if (held <= limit + kHugePageSize) {
    logged_larger_ = false;
  } else if (!std::exchange(logged_larger_, true)) {
    log_line(
        "the table's file takes ", held / kMiB, " MiB, more than --memory (", limit / kMiB,
        " MiB): a program that is not a client has mapped all of it and read it; the next start returns the pages");
  }
}

// Every process that may connect can write the master region, and truncate it: it is restored to its initial state.
// Clients that were just connecting retry.
void Service::check_master(std::int64_t now) {
  if (!open_.load(std::memory_order_relaxed)) return;  // relaxed: as in open()
  Region& master = *around_.master;
  const std::uint32_t connections = around_.options->max_connections;
  const std::uint32_t lanes = around_.table->shard_count();
  struct stat facts {};
  const bool shorter = ::fstat(master.fd(), &facts) == 0 && static_cast<std::uint64_t>(facts.st_size) < master.bytes();
  // Clients cannot ring a bell in private pages. If a process truncates the file repeatedly, this runs once a second.
  const bool unshared = has_private_pages() && now >= remap_at_ns_;
  if (!shorter && !unshared && is_laid_out(master, around_.incarnation, connections, lanes)) return;
  if (master.populate_quietly(0, master.bytes()) != 0) return;  // the guard's pages serve instead
  if (unshared) {
    remap_at_ns_ = now + kTimerNs;
    around_.master_guard->begin_anew();
    if (!master.remap()) return;
  }
  lay_out_master(master, around_.incarnation, connections, lanes);
  master.publish();
  // Rings since the truncation were lost.
  auto& header = *master.at<MasterHeader>(0);
  std::for_each_n(header.worker_bells, around_.workers->size(), [](Bell& bell) { reset_bell(bell.rings); });
  if (unshared) {  // some clients may sleep on a page that no longer exists
    for (const auto& worker : *around_.workers) worker->nudge();
  }
  if (std::exchange(logged_damaged_, true)) return;
  log_line("a client has overwritten or truncated the master region of '", around_.options->name.name(),
           "'; the server has restored it (logged once); find the program that writes to files of this name");
}

void Service::close_all() {
  refuse_all_clients(view_of(*around_.master));
  for (auto& [id, connection] : connections_) {
    connection.end->close();
    connection.end->region().unlink_name();
  }
  connections_.clear();
}

}  // namespace hostmap
