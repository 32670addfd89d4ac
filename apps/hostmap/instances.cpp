// ls and stop: instances as their files and locks show them. Nothing here is a client, and nothing is written to a region.
#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstddef>
#include <cstring>
#include <dirent.h>
#include <fmt/format.h>
#include <memory>
#include <poll.h>
#include <sys/syscall.h>
#include <unistd.h>
#include <vector>

#include "base/folder.hpp"
#include "client/statistics.hpp"
#include "commands.hpp"
#include "output.hpp"
#include "shm/layout.hpp"
#include "shm/owner_lock.hpp"
#include "shm/region.hpp"
#include "wait/deadline.hpp"

namespace hostmap::apps {

namespace {

// --- ls --------------------------------------------------------------------------------------------------------------

constexpr std::string_view kMasterSuffix = "-master";

struct Row {
  std::string name;
  std::string state;
  std::string entries = "-";
  std::string memory = "-";
  std::string connections = "-";
  std::string pid = "-";
};

// Names of the instances that have a master region in `dir`; errno if it cannot be read.
int find_instances(const std::string& dir, const std::string& group, std::vector<InstanceName>& found) {
  const Folder folder = open_folder(dir.c_str());
  if (folder == nullptr) return errno;
  while (const dirent* file = ::readdir(folder.get())) {  // NOLINT(concurrency-mt-unsafe): this stream is ours alone
    const std::string_view name = file->d_name;
    if (!name.ends_with(kMasterSuffix)) continue;
    Result<InstanceName> instance = InstanceName::parse(name.substr(0, name.size() - kMasterSuffix.size()), dir, group);
    if (instance) found.push_back(std::move(*instance));
  }
  std::ranges::sort(found, {}, &InstanceName::name);
  return 0;
}

// The state word of a region whose header is known to be one of ours.
std::uint64_t region_state(int fd) {
  std::uint64_t state = kRegionBuilding;
  // By pread and not through a mapping: a file that shrinks gives a short read, and never a SIGBUS.
  const ssize_t got = ::pread(fd, &state, sizeof state, offsetof(RegionHeader, state));
  return got == static_cast<ssize_t>(sizeof state) ? state : std::uint64_t{kRegionBuilding};
}

void add_figures(const InstanceName& name, Row& row) {
  const Result<Statistics> statistics = collect_statistics(name);
  if (!statistics) {
    row.state = statistics.status() == StatusCode::kNoServer       ? "stopping"  // just now
                : statistics.status() == StatusCode::kPermission   ? "no permission"
                : statistics.status() == StatusCode::kOtherVersion ? "other layout version"
                                                                   : "damaged";
    return;
  }
  row.entries = grouped(statistics->entries);
  row.memory = readable_bytes(statistics->memory_bytes);
  row.connections = grouped(statistics->connections);
}

// False: there is no instance behind this file.
bool look_at(const InstanceName& name, Row& row) {
  row.name = name.name();
  Result<RegionFile> master = open_region_file(name.master(), Access::kReadOnly, name.group());
  const Result<RegionFile> alive = open_region_file(name.alive(), Access::kReadOnly, name.group());
  if (master.status() == StatusCode::kPermission || alive.status() == StatusCode::kPermission) {
    row.state = "no permission";
    return true;
  }
  if (!master) return false;  // gone meanwhile, or something else of this name
  const LockHolder holder = alive ? lock_holder(alive->fd.get()) : LockHolder{};
  if (holder.pid != 0) row.pid = std::to_string(holder.pid);
  const Status header = check_region_header(master->fd.get(), master->bytes, name.master(), RegionKind::kMaster);
  if (header == StatusCode::kOtherVersion) {
    row.state = "other layout version";
  } else if (header == StatusCode::kInvalid && !holder.held) {
    return false;
  } else if (!holder.held) {
    row.state = "dead";
  } else if (header == StatusCode::kNoServer) {
    row.state = "starting";
  } else if (!header.ok()) {
    row.state = "damaged";
  } else if (region_state(master->fd.get()) == kRegionClosed) {
    row.state = "stopping";
  } else {
    row.state = "serving";
    add_figures(name, row);
  }
  return true;
}

std::string table_of(const std::vector<Row>& rows) {
  std::size_t name = 4;
  std::size_t state = 7;
  for (const Row& row : rows) {
    name = std::max(name, row.name.size());
    state = std::max(state, row.state.size());
  }
  std::string table;
  for (const Row& row : rows) {
    table += fmt::format("{:<{}}  {:<{}}  {:>15}  {:>11}  {:>11}  {:>8}\n", row.name, name, row.state, state,
                         row.entries, row.memory, row.connections, row.pid);
  }
  return table;
}

// --- stop ------------------------------------------------------------------------------------------------------------

// By number: the header that glibc 2.36 has for them cannot be used from C++.
UniqueFd open_process(pid_t pid) { return UniqueFd(static_cast<int>(::syscall(SYS_pidfd_open, pid, 0))); }

// How long to sleep at most between two looks at the lock: a server may drop it some time before its process has ended.
constexpr std::int64_t kLookEveryMs = 20;

int no_server(const InstanceName& name) {
  if (::access(name.journal().c_str(), F_OK) == 0) {
    return fail(
        fmt::format("no server '{}' runs in {}, but one has left its map there; hostmap-server --name {} goes on "
                    "with it, and with --fresh discards it",
                    name.name(), name.dir(), name.name()),
        kExitNoServer);
  }
  return fail(
      fmt::format("no server '{}' runs in {}; see which do: hostmap --dir {} ls", name.name(), name.dir(), name.dir()),
      kExitNoServer);
}

}  // namespace

int list(const std::string& dir, const std::string& group) {
  std::vector<InstanceName> instances;
  if (const int error = find_instances(dir, group, instances); error != 0) {
    return fail(fmt::format("cannot look into the folder {}: {}; give another --dir", dir, std::strerror(error)),
                error == EACCES ? kExitRefused : kExitUsage);
  }
  std::vector<Row> rows{{"name", "state", "entries", "memory used", "connections", "pid"}};
  for (const InstanceName& instance : instances) {
    if (Row row; look_at(instance, row)) rows.push_back(std::move(row));
  }
  Output output;
  output.write(rows.size() == 1 ? fmt::format("no instances in {}\n", dir) : table_of(rows));
  return output.finish();
}

int stop(const InstanceName& name, TerminationWish wish, std::chrono::nanoseconds timeout) {
  Deadline deadline(timeout);
  // The lock alone says who it is, whatever version it has: so a server of another version can be stopped, too.
  const Result<RegionFile> alive = open_region_file(name.alive(), Access::kReadOnly, name.group());
  if (!alive) return alive.status() == StatusCode::kNoServer ? no_server(name) : fail(alive.status());
  const LockHolder holder = lock_holder(alive->fd.get());
  if (!holder.held) return no_server(name);
  if (holder.pid == 0) {
    return fail(fmt::format("the server '{}' runs in another pid namespace, which cannot be signalled from here; run "
                            "hostmap stop in its container, or stop the container",
                            name.name()),
                kExitRefused);
  }
  const UniqueFd process = open_process(holder.pid);
  const int open_error = errno;
  const auto still_holds = [&] {
    const LockHolder now = lock_holder(alive->fd.get());
    return now.held && now.pid == holder.pid;
  };
  // Asked again now that the process is pinned: its number may have gone to another one before.
  if (!still_holds()) return no_server(name);
  const int error = !process ? open_error : send_termination(process.get(), wish) ? 0 : errno;
  if (error != 0 && error != ESRCH) {  // ESRCH: it has ended by itself
    return fail(fmt::format("cannot signal the server '{}' (pid {}): {}; run as its user", name.name(), holder.pid,
                            std::strerror(error)),
                kExitRefused);
  }
  while (still_holds()) {
    const std::int64_t left = deadline.left();
    if (left == 0) {
      return fail(fmt::format("the server '{}' (pid {}) was asked to stop but has not yet; wait longer with --timeout, "
                              "or end it with kill -9 {}",
                              name.name(), holder.pid, holder.pid),
                  kExitTimedOut);
    }
    pollfd ended{process.get(), POLLIN, 0};
    ::poll(&ended, 1, static_cast<int>(std::min(left / 1'000'000 + 1, kLookEveryMs)));
  }
  return kExitDone;
}

}  // namespace hostmap::apps
