#include "client/session.hpp"

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <climits>
#include <cstring>
#include <new>
#include <poll.h>
#include <sched.h>
#include <sys/inotify.h>
#include <thread>
#include <unistd.h>

#include "base/time_namespace.hpp"
#include "layout/master.hpp"
#include "layout/table.hpp"
#include "shm/obstacle.hpp"
#include "shm/owner_lock.hpp"
#include "wait/futex.hpp"

namespace hostmap {

namespace {

constexpr std::chrono::milliseconds kBeforeNextTry{1};

// All files of an instance must belong to the user of its server.
Status strangers(const InstanceName& name) {
  return {StatusCode::kPermission, "the files of '" + name.name() + "' in " + name.dir() +
                                       " belong to different users: another user has replaced some of the server's; "
                                       "remove them, or choose another --name"};
}

// Is the server of these regions alive? Only a server can hold the lock of the file that it created.
Status check_server_lives(const InstanceName& name, uid_t owner) {
  const Result<RegionFile> alive = open_region_file(name.alive(), Access::kReadOnly, name.trust());
  if (alive && alive->owner != owner) return strangers(name);
  if (alive && lock_holder(alive->fd.get()).held) return {};
  // Only an absent file means that there is no server.
  if (!alive && !(alive.status() == StatusCode::kNoServer)) return alive.status();
  // Only the owner of the files can continue the map.
  const std::string who = owner == ::geteuid()
                              ? "start hostmap-server again"
                              : "its files are of user " + user_text(owner) +
                                    ", and only this user can start it again or remove them; choose another --name";
  return {StatusCode::kNoServer, "the server '" + name.name() + "' has died, or has stopped and kept its map; " + who +
                                     ", or wait for it (option wait_for_server, --wait)"};
}

Status no_server(const InstanceName& name, const Status& why) {
  if (!(why == StatusCode::kNoServer)) return why;
  const std::string dir = name.dir() == kDefaultDir ? "" : " --dir " + name.dir();
  return {StatusCode::kNoServer, "no server '" + name.name() + "' in " + name.dir() +
                                     "; start one: hostmap-server --name " + name.name() + dir +
                                     ", or wait for one (option wait_for_server, --wait)"};
}

// Readable as far as its header; the reader makes the rest readable.
Result<Region> attach_table(const InstanceName& name) {
  Result<Region> table = Region::attach(name.table(), RegionKind::kTable, Access::kReadParts, name.trust());
  constexpr std::uint64_t kHead = round_up(sizeof(TableHeader), std::uint64_t{kPageSize});
  if (table && table->bytes() >= kHead && !table->make_readable(0, kHead)) {
    return Status(StatusCode::kFull, "cannot map the head of " + name.table() + ": " + std::strerror(errno) +
                                         "; this process may have too many mappings (vm.max_map_count)");
  }
  return table;
}

bool is_plausible(const Region& table) noexcept {
  return table.bytes() >= sizeof(TableHeader) && TableReader(table.data(), table.bytes()).plausible();
}

// Ends of keys are moments of a clock that has an offset in each time namespace.
Status check_clock(const InstanceName& name, const Region& table) {
  if (!differ(table.at<TableHeader>(0)->time_namespace, time_namespace())) return {};
  return {StatusCode::kOtherVersion,
          "the server '" + name.name() +
              "' is in another time namespace, where the clock by which keys end shows another time; "
              "run client and server in the same one"};
}

Status damaged(const InstanceName& name) {
  return {StatusCode::kInternal,
          "the regions of '" + name.name() + "' are damaged; stop its server and start it again"};
}

}  // namespace

Session::Session(const InstanceName& name, Region table)
    : table_(std::move(table)), successor_(name, table_), reader_(table_), lanes_(reader_.header().shard_count) {}

Session::Session(const InstanceName& name, Region master, Region table)
    : master_region_(std::move(master)),
      table_(std::move(table)),
      successor_(name, table_),
      master_(master_region_.data()),
      reader_(table_),
      lanes_(reader_.header().shard_count) {}

Session::~Session() {
  if (end_ == nullptr || left_) return;
  end_->close();
  master_.ring_server();
}

Result<std::unique_ptr<Session>> Session::open(const InstanceName& name, Deadline& deadline) {
  for (std::string why;;) {
    Result<Region> table = attach_table(name);
    if (!table) return no_server(name, table.status());
    if (Status status = check_server_lives(name, table->owner()); !status.ok()) return status;
    if (!is_plausible(*table)) return damaged(name);
    if (Status status = check_clock(name, *table); !status.ok()) return status;
    Result<RegionFile> file = open_region_file(name.master(), Access::kReadWrite, name.trust());
    if (!file) return no_server(name, file.status());
    if (file->owner != table->owner()) return strangers(name);
    if (is_master_of(*table->at<TableHeader>(0), *file) && file->bytes >= sizeof(MasterHeader)) {
      const std::uint64_t bytes = file->bytes;
      Result<Region> master = Region::map_file(std::move(*file), name.master(), Access::kReadWrite);
      if (!master) return master.status();
      std::unique_ptr<Session> session(new Session(name, std::move(*master), std::move(*table)));
      if (session->master_.attach(session->reader_.header(), bytes)) {
        Status status = session->enter(name, deadline);
        if (status.ok()) return session;
        if (!(status == StatusCode::kClosed)) return status;
        why = status.message();
      } else {
        session->master_.ring_server();  // another client has truncated it: the server restores it
        why = name.master() + " was damaged by another client, and is not restored yet";
      }
    } else {
      why = name.master() + " is not the region of the server that runs";
    }
    // A server was starting or stopping just now, this client was too slow for it, or its master region was damaged.
    if (deadline.left() == 0) {
      return Status(StatusCode::kTimeout, "the server '" + name.name() + "' gave no connection in time (" + why +
                                              "); try again with a longer timeout, and see its state: hostmap ls");
    }
    deadline.pause(kBeforeNextTry);
  }
}

// Requests a connection and attaches to it. kClosed: try again.
Status Session::enter(const InstanceName& name, Deadline& deadline) {
  const bool expedited = reader_.header().membarrier != 0 && register_for_membarrier();
  const Result<std::uint64_t> id = reserve_connection(master_, deadline);
  if (!id) return id.status();
  Result<std::unique_ptr<ClientEnd>> end =
      ClientEnd::attach(name.connection(*id), *id, lanes_, expedited, name.trust(), &successor_);
  // The server removes at once a region that a slow client did not attach to.
  if (!end) {
    withdraw(master_, *id);
    return end.status() == StatusCode::kNoServer ? Status(StatusCode::kClosed) : end.status();
  }
  end_ = std::move(*end);
  // One descriptor stays open: the connection's, which holds the lock.
  master_region_.close_file();
  table_.close_file();
  return confirm_attached(master_, *id);
}

Result<std::unique_ptr<Session>> Session::open_to_read(const InstanceName& name) {
  Result<Region> table = attach_table(name);
  if (!table) return no_server(name, table.status());
  if (Status status = check_server_lives(name, table->owner()); !status.ok()) return status;
  if (!is_plausible(*table)) return damaged(name);
  if (Status status = check_clock(name, *table); !status.ok()) return status;
  table->close_file();
  return std::unique_ptr<Session>(new Session(name, std::move(*table)));
}

Result<ClientChannel*> Session::channel(std::uint32_t channel, Deadline& deadline) {
  const TableHeader& table = reader_.header();
  return end_->channel(channel,
                       {&table.lane_worker[channel < lanes_ ? channel : channel - lanes_], table.workers,
                        &master_.worker_bell(0), master_.idle_hints()},
                       &master_, deadline);
}

void Session::check_for_successor(std::int64_t now_ns) noexcept {
  // relaxed, both: if one of several threads checks too often, it costs a system call
  std::int64_t last = checked_at_ns_.load(std::memory_order_relaxed);
  if (now_ns - last < SuccessorCheck::kEveryNs ||
      !checked_at_ns_.compare_exchange_strong(last, now_ns, std::memory_order_relaxed) ||
      !successor_.successor_serves()) {
    return;
  }
  if (end_ != nullptr) end_->break_off();
  gave_way_.store(true, std::memory_order_relaxed);  // relaxed: it publishes no other data
}

// Another server may evict where the last one did not, or the other way round.
void Session::choose_way() noexcept {
  if (by_ring_) return;
  ReadWay before = evicts() ? ReadWay::kAtOnce : ReadWay::kWithNotes;
  const ReadWay now = evicts() ? ReadWay::kWithNotes : ReadWay::kAtOnce;
  way_without_queue_.store(now, std::memory_order_relaxed);  // relaxed: a hint
  // relaxed: from one way of reading at once to the other; with queued writes it is neither
  way_.compare_exchange_strong(before, now, std::memory_order_relaxed);
}

bool Session::may_read_on(std::int64_t now_ns) noexcept {
  check_for_successor(now_ns);
  choose_way();
  return !gave_way_.load(std::memory_order_relaxed);  // relaxed: it publishes no other data
}

const HalfWord* Session::wait_word(std::uint32_t lane, std::uint32_t group) noexcept {
  if (waiters_ == nullptr) {
    const std::uint64_t words = std::uint64_t{lanes_} * kWaitGroups;
    if (!table_.make_readable(kWaitGroupsOffset, words * sizeof(HalfWord))) return nullptr;
    waiters_.reset(new (std::nothrow) std::uint32_t[words]());
    if (waiters_ == nullptr) return nullptr;
  }
  return &table_.at<WaitGroupWords>(kWaitGroupsOffset)[lane].words[group];
}

// Wakes this process's threads that sleep on words of this session, until they have noticed that it is retired: one that has
// checked the session just before that may fall asleep only now.
void Session::wake_sleepers() noexcept {
  while (sleepers_.load(std::memory_order_relaxed) != 0) {  // relaxed: after the fence of [session.retire]
    const WaitGroupWords* const words = table_.at<WaitGroupWords>(kWaitGroupsOffset);
    for (std::uint32_t lane = 0; lane < lanes_; ++lane) {
      for (const HalfWord& word : words[lane].words) futex_wake(word, INT_MAX);
    }
    ::sched_yield();
  }
}

void Session::retire() noexcept {
  wake_sleepers();
  if (end_ != nullptr) {
    end_->break_off();
    end_->wake_sleepers();
    master_.ring_server();
  }
  stop_growing();
  disown();
}

void Session::disown() noexcept {
  left_ = true;
  if (end_ != nullptr) end_->abandon();
  table_.shorten(reader_.end_extending(/*alone=*/true));
  table_.discard(Access::kReadOnly);
  master_region_.discard(Access::kReadWrite);
}

Status check_server(const InstanceName& name) {
  Result<RegionFile> table = open_region_file(name.table(), Access::kReadOnly, name.trust());
  Status status =
      table ? check_region_header(table->fd.get(), table->bytes, name.table(), RegionKind::kTable) : table.status();
  if (!status.ok()) return no_server(name, status);
  return check_server_lives(name, table->owner);
}

void await_change_of_folder(const InstanceName& name, Deadline& deadline) noexcept {
  const UniqueFd watch(::inotify_init1(IN_CLOEXEC | IN_NONBLOCK));
  if (!watch || ::inotify_add_watch(watch.get(), name.dir().c_str(), IN_CREATE | IN_ATTRIB | IN_MOVED_TO) < 0) {
    // No instance of inotify left, or no folder yet: poll twice a second.
    deadline.pause(std::chrono::milliseconds(500));
    return;
  }
  // The server may have appeared before the watch was added: the caller checks again first, and then at least once a second.
  deadline.sleep(1'000'000'000, [&](std::int64_t ns) noexcept {
    pollfd event{watch.get(), POLLIN, 0};
    ::poll(&event, 1, static_cast<int>((ns + 999'999) / 1'000'000));
    return WaitOutcome::kWoken;
  });
}

}  // namespace hostmap
