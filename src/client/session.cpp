#include "client/session.hpp"

#include <algorithm>
#include <climits>
#include <poll.h>
#include <sys/inotify.h>

#include "shm/owner_lock.hpp"

namespace hostmap {

namespace {

// All files of an instance are its server's.
Status strangers(const InstanceName& name) {
  return {StatusCode::kPermission, "the files of '" + name.name() + "' in " + name.dir() +
                                       " belong to different users: somebody has put some in place of the server's; "
                                       "remove them, or choose another --name"};
}

// Is the server behind these regions alive? Only a server can hold the lock of the file that it made.
Status check_server_lives(const InstanceName& name, uid_t owner) {
  const Result<RegionFile> alive = open_region_file(name.alive(), Access::kReadOnly, name.group());
  if (alive && alive->owner != owner) return strangers(name);
  if (alive && lock_holder(alive->fd.get()).held) return {};
  // Only a file that is not there says that there is no server.
  if (!alive && !(alive.status() == StatusCode::kNoServer)) return alive.status();
  return {StatusCode::kNoServer,
          "the server '" + name.name() +
              "' has died, or has stopped and kept its map; start hostmap-server again, or wait for that "
              "(Options::wait_for_server, --wait)"};
}

Status no_server(const InstanceName& name, const Status& why) {
  if (!(why == StatusCode::kNoServer)) return why;
  const std::string dir = name.dir() == kDefaultDir ? "" : " --dir " + name.dir();
  return {StatusCode::kNoServer, "no server '" + name.name() + "' in " + name.dir() +
                                     "; start one: hostmap-server --name " + name.name() + dir +
                                     ", or wait for one (Options::wait_for_server, --wait)"};
}

bool is_plausible(const Region& table) noexcept {
  return table.bytes() >= sizeof(TableHeader) && TableReader(table.data(), table.bytes()).plausible();
}

Status damaged(const InstanceName& name) {
  return {StatusCode::kInternal,
          "the regions of '" + name.name() + "' are damaged; stop its server and start it again"};
}

}  // namespace

Session::Session(Region table) noexcept
    : table_(std::move(table)), reader_(table_.data(), table_.bytes()), lanes_(reader_.header().shard_count) {}

Session::Session(Region master, Region table) noexcept
    : master_region_(std::move(master)),
      table_(std::move(table)),
      master_(master_region_.data()),
      reader_(table_.data(), table_.bytes()),
      lanes_(reader_.header().shard_count) {
  master_.set_mailboxes(master_.header().mailbox_count);
}

Session::~Session() {
  if (end_ == nullptr || left_) return;
  end_->close();
  master_.ring_server();
}

Result<std::unique_ptr<Session>> Session::open(const InstanceName& name, Deadline& deadline) {
  for (std::string why;;) {
    Result<Region> master = Region::attach(name.master(), RegionKind::kMaster, Access::kReadWrite, name.group());
    if (!master) return no_server(name, master.status());
    if (Status status = check_server_lives(name, master->owner()); !status.ok()) return status;
    Result<Region> table = Region::attach(name.table(), RegionKind::kTable, Access::kReadOnly, name.group());
    if (!table) return no_server(name, table.status());
    if (table->owner() != master->owner()) return strangers(name);
    const bool same_server = master->header().incarnation == table->header().incarnation;
    const bool plausible = master->bytes() >= sizeof(MasterHeader) &&
                           MasterView(master->data()).plausible(master->bytes()) && is_plausible(*table);
    if (!plausible) return damaged(name);
    if (same_server) {
      std::unique_ptr<Session> session(new Session(std::move(*master), std::move(*table)));
      const bool expedited = session->reader_.header().membarrier != 0 && register_for_membarrier();
      Result<std::uint64_t> id = reserve_connection(session->master_, deadline);
      Status status = id ? Status() : id.status();
      if (id) {
        Result<std::unique_ptr<ClientEnd>> end =
            ClientEnd::attach(name.connection(*id), *id, session->lanes_, expedited, name.group());
        if (!end) {
          // The server takes back at once what a slow client did not take: try again.
          status = end.status() == StatusCode::kNoServer ? Status(StatusCode::kClosed) : end.status();
        } else {
          session->end_ = std::move(*end);
          // One descriptor stays: the connection's, which holds the lock.
          session->master_region_.close_file();
          session->table_.close_file();
          status = confirm_attached(session->master_, *id);
          if (status.ok()) return session;
        }
      }
      if (!(status == StatusCode::kClosed)) return status;
      why = status.message();
    } else {
      why = "its master and its table are of different starts";
    }
    // A server was starting or stopping just now, or we were too slow for it.
    if (deadline.left() == 0) {
      return Status(StatusCode::kTimeout, "the server '" + name.name() + "' gave no connection in time (" + why +
                                              "); try again with a longer timeout, and see what it does: hostmap ls");
    }
  }
}

Result<std::unique_ptr<Session>> Session::open_to_read(const InstanceName& name) {
  Result<Region> table = Region::attach(name.table(), RegionKind::kTable, Access::kReadOnly, name.group());
  if (!table) return no_server(name, table.status());
  if (Status status = check_server_lives(name, table->owner()); !status.ok()) return status;
  if (!is_plausible(*table)) return damaged(name);
  table->close_file();
  return std::unique_ptr<Session>(new Session(std::move(*table)));
}

Result<ClientChannel*> Session::channel(std::uint32_t channel, Deadline& deadline) {
  const TableHeader& table = reader_.header();
  return end_->channel(channel,
                       {&table.lane_worker[channel < lanes_ ? channel : channel - lanes_], table.workers,
                        &master_.worker_bell(0), master_.idle_hints()},
                       &master_, deadline);
}

void Session::retire() noexcept {
  if (end_ != nullptr) {
    end_->break_off();
    end_->wake_sleepers();
    master_.ring_server();
  }
  disown();
}

void Session::disown() noexcept {
  left_ = true;
  if (end_ != nullptr) end_->abandon();
  table_.discard(Access::kReadOnly);
  master_region_.discard(Access::kReadWrite);
}

Status check_server(const InstanceName& name) {
  Result<RegionFile> master = open_region_file(name.master(), Access::kReadOnly, name.group());
  Status status = master ? check_region_header(master->fd.get(), master->bytes, name.master(), RegionKind::kMaster)
                         : master.status();
  if (!status.ok()) return no_server(name, status);
  return check_server_lives(name, master->owner);
}

void await_change_of_folder(const InstanceName& name, Deadline& deadline) noexcept {
  const UniqueFd watch(::inotify_init1(IN_CLOEXEC | IN_NONBLOCK));
  if (!watch || ::inotify_add_watch(watch.get(), name.dir().c_str(), IN_CREATE | IN_ATTRIB | IN_MOVED_TO) < 0) {
    // No instance of inotify left, or no folder yet: twice a second is often enough.
    constexpr std::int64_t kPause = 500;
    ::poll(nullptr, 0, static_cast<int>(std::min(deadline.left() / 1'000'000 + 1, kPause)));
    return;
  }
  // The server may have appeared before the watch did: look again first, and then at least once a second.
  const std::int64_t milliseconds = std::min<std::int64_t>(deadline.left() / 1'000'000, 1000);
  pollfd event{watch.get(), POLLIN, 0};
  ::poll(&event, 1, static_cast<int>(milliseconds));
}

}  // namespace hostmap
