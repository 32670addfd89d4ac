// ls and stop: the instances, from their files and locks. Nothing here is a client, and nothing is written to a region.
#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <cstddef>
#include <cstring>
#include <dirent.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <memory>
#include <optional>
#include <poll.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>
#include <vector>

#include "base/folder.hpp"
#include "client/statistics.hpp"
#include "commands.hpp"
#include "json.hpp"
#include "layout/table.hpp"
#include "output.hpp"
#include "shm/obstacle.hpp"
#include "shm/owner_lock.hpp"
#include "shm/region.hpp"
#include "wait/deadline.hpp"

namespace hostmap::apps {

namespace {

// --- ls --------------------------------------------------------------------------------------------------------------

constexpr std::string_view kTableSuffix = "-table";

// The state of an instance is read from its files and locks, by calls that no owner of a file can turn against the reader.
// Figures are read from a mapping, and therefore only for instances whose owner is trusted.
constexpr Trust kEverybody{kNoGroup, kNoUser, true};

// An instance. A member that is not known has no value.
struct Instance {
  std::string name;
  std::string state;
  std::optional<std::uint64_t> entries;
  std::optional<std::uint64_t> memory_bytes;
  std::optional<std::uint64_t> connections;
  std::optional<std::uint64_t> pid;
  std::string owner;
};

// Names of the instances that have a table in `dir`; errno if it cannot be read.
int find_instances(const std::string& dir, const Options& options, std::vector<InstanceName>& found) {
  const Folder folder = open_folder(dir.c_str());
  if (folder == nullptr) return errno;
  while (const dirent* file = ::readdir(folder.get())) {  // NOLINT(concurrency-mt-unsafe): this stream is ours alone
    const std::string_view name = file->d_name;
    if (!name.ends_with(kTableSuffix)) continue;
    Result<InstanceName> instance =
        InstanceName::parse(name.substr(0, name.size() - kTableSuffix.size()), dir, options.group, options.user);
    if (instance) found.push_back(std::move(*instance));
  }
  std::ranges::sort(found, {}, &InstanceName::name);
  return 0;
}

// A number in a file, or `otherwise` if the file is too short. By pread and not through a mapping: a file that shrinks gives a
// short read, and never a SIGBUS.
template <typename Number>
Number read_number(int fd, std::size_t offset, Number otherwise) {
  Number number = otherwise;
  return ::pread(fd, &number, sizeof number, static_cast<off_t>(offset)) == sizeof number ? number : otherwise;
}

// The activity that the server of this table reports, or reported last.
std::uint32_t phase_of(int table) {
  return read_number<std::uint32_t>(table, offsetof(TableHeader, phase), kPhaseStarting);
}

// Is this process stopped (SIGSTOP, a debugger)? In /proc/PID/stat the state follows the name, which may contain any
// character.
bool is_stopped(pid_t pid) {
  const UniqueFd file(::open(fmt::format("/proc/{}/stat", pid).c_str(), O_RDONLY | O_CLOEXEC));
  char text[512];
  const ssize_t size = file ? ::read(file.get(), text, sizeof text) : 0;
  const std::string_view stat(text, size > 0 ? static_cast<std::size_t>(size) : 0);
  const std::size_t name_end = stat.rfind(')');
  if (name_end == stat.npos || name_end + 2 >= stat.size()) return false;
  const char state = stat[name_end + 2];
  return state == 'T' || state == 't';
}

void add_figures(const InstanceName& name, Instance& instance) {
  if (open_region_file(name.table(), Access::kReadOnly, name.trust()).status() == StatusCode::kPermission) return;
  const Result<Statistics> statistics = collect_statistics(name);
  if (!statistics) {
    instance.state = statistics.status() == StatusCode::kNoServer       ? "stopping"  // just now
                     : statistics.status() == StatusCode::kPermission   ? "no permission"
                     : statistics.status() == StatusCode::kOtherVersion ? "other layout version"
                                                                        : "damaged";
    return;
  }
  instance.entries = (*statistics)["entries"];
  instance.memory_bytes = (*statistics)["memory_bytes"];
  instance.connections = (*statistics)["connections"];
}

// False: this file belongs to no instance.
bool examine(const InstanceName& name, Instance& instance) {
  instance.name = name.name();
  // The table and the lock: every process that may connect can write the master region.
  struct stat facts {};
  if (::lstat(name.table().c_str(), &facts) == 0) instance.owner = user_name(facts.st_uid);
  Result<RegionFile> table = open_region_file(name.table(), Access::kReadOnly, kEverybody);
  const Result<RegionFile> alive = open_region_file(name.alive(), Access::kReadOnly, kEverybody);
  if (table.status() == StatusCode::kPermission || alive.status() == StatusCode::kPermission) {
    instance.state = "no permission";
    return true;
  }
  if (!table) return false;  // removed meanwhile, or another file of this name
  const LockHolder holder = alive ? lock_holder(alive->fd.get()) : LockHolder{};
  if (holder.pid != 0) instance.pid = static_cast<std::uint64_t>(holder.pid);
  const Status header = check_region_header(table->fd.get(), table->bytes, name.table(), RegionKind::kTable);
  if (header == StatusCode::kOtherVersion) {
    instance.state = "other layout version";
  } else if (header == StatusCode::kInvalid && !holder.held) {
    return false;
  } else if (!holder.held) {
    instance.state = header.ok() && phase_of(table->fd.get()) == kPhaseKept ? "kept" : "dead";
  } else if (header == StatusCode::kNoServer) {
    instance.state = "starting";
  } else if (!header.ok()) {
    instance.state = "damaged";
  } else if (read_number<std::uint64_t>(table->fd.get(), offsetof(RegionHeader, state), kRegionBuilding) ==
             kRegionClosed) {
    instance.state = "stopping";
  } else {
    const std::uint32_t phase = phase_of(table->fd.get());
    // A server in another pid namespace has no number here, and its stopped state is not visible.
    const bool stopped = holder.pid != 0 && is_stopped(holder.pid);
    instance.state = phase == kPhaseKept       ? "stopping"
                     : phase == kPhaseStarting ? "starting"
                     : stopped                 ? "stopped"
                     : is_loading(phase)       ? fmt::format("loading {} %", percent_of_loading(phase))
                                               : "serving";
    add_figures(name, instance);
  }
  return true;
}

std::string table_of(const std::vector<Instance>& instances) {
  using Line = std::array<std::string, 7>;
  constexpr std::array kIsNumber{false, false, true, true, true, true, false};
  const auto shown = [](const std::optional<std::uint64_t>& number, std::string (*text)(std::uint64_t)) {
    return number ? text(*number) : "-";
  };
  const auto plain = [](std::uint64_t number) { return std::to_string(number); };
  std::vector<Line> lines{{"name", "state", "entries", "memory", "connections", "pid", "owner"}};
  for (const Instance& one : instances) {
    lines.push_back({one.name, one.state, shown(one.entries, grouped), shown(one.memory_bytes, readable_bytes),
                     shown(one.connections, grouped), shown(one.pid, plain), one.owner.empty() ? "-" : one.owner});
  }
  std::array<std::size_t, kIsNumber.size()> widths{};
  for (const Line& line : lines) {
    for (std::size_t i = 0; i < line.size(); ++i) widths[i] = std::max(widths[i], line[i].size());
  }
  std::string table;
  for (const Line& line : lines) {
    std::string text;
    for (std::size_t i = 0; i < line.size(); ++i) {
      text += kIsNumber[i] ? fmt::format("{:>{}}  ", line[i], widths[i]) : fmt::format("{:<{}}  ", line[i], widths[i]);
    }
    table += text.substr(0, text.find_last_not_of(' ') + 1) + "\n";
  }
  return table;
}

std::string json_of(const std::vector<Instance>& instances) {
  std::vector<std::string> list;
  for (const Instance& one : instances) {
    JsonObject json;
    json.add("name", one.name);
    json.add("state", one.state);
    json.add("entries", one.entries);
    json.add("memory_bytes", one.memory_bytes);
    json.add("connections", one.connections);
    json.add("pid", one.pid);
    json.add("owner", one.owner);
    list.push_back(json.line());
  }
  return json_list(list) + "\n";
}

// --- stop ------------------------------------------------------------------------------------------------------------

// By number: the glibc 2.36 header that declares them cannot be used from C++.
UniqueFd open_process(pid_t pid) { return UniqueFd(static_cast<int>(::syscall(SYS_pidfd_open, pid, 0))); }

// The longest sleep between two checks of the lock: a server may drop it some time before its process has ended.
constexpr std::int64_t kLookEveryMs = 20;

int no_server(const InstanceName& name) {
  if (::access(name.journal().c_str(), F_OK) == 0) {
    return fail(fmt::format("no server '{}' runs in {}, but a map remains there; hostmap-server --name {} continues "
                            "it, and --fresh discards it",
                            name.name(), name.dir(), name.name()),
                kExitNoServer);
  }
  return fail(
      fmt::format("no server '{}' runs in {}; see which do: hostmap --dir {} ls", name.name(), name.dir(), name.dir()),
      kExitNoServer);
}

}  // namespace

int list(const InstanceName& any, const Options& options, bool json) {
  const std::string& dir = any.dir();
  std::vector<InstanceName> names;
  if (const int error = find_instances(dir, options, names); error != 0) {
    return fail(fmt::format("cannot read the folder {}: {}; give another --dir", dir, std::strerror(error)),
                error == EACCES ? kExitRefused : kExitUsage);
  }
  std::vector<Instance> instances;
  for (const InstanceName& name : names) {
    if (Instance instance; examine(name, instance)) instances.push_back(std::move(instance));
  }
  Output output;
  output.write(json                ? json_of(instances)
               : instances.empty() ? fmt::format("no instances in {}\n", dir)
                                   : table_of(instances));
  return output.finish();
}

int stop(const InstanceName& name, TerminationWish wish, std::chrono::nanoseconds timeout) {
  Deadline deadline(timeout);
  // The lock alone identifies the process, whatever its version: so a server of another version can be stopped, too.
  const Result<RegionFile> alive = open_region_file(name.alive(), Access::kReadOnly, name.trust());
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
  // Checked again now that the process is pinned: its number may have been reused before.
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
      return fail(
          fmt::format(
              "the server '{}' (pid {}) has not stopped yet; wait longer with --timeout, or end it with kill -9 {}",
              name.name(), holder.pid, holder.pid),
          kExitTimedOut);
    }
    pollfd ended{process.get(), POLLIN, 0};
    ::poll(&ended, 1, static_cast<int>(std::min(left / 1'000'000 + 1, kLookEveryMs)));
  }
  return kExitDone;
}

}  // namespace hostmap::apps
