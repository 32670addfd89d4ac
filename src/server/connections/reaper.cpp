#include "server/connections/reaper.hpp"

#include <array>
#include <cerrno>
#include <cstring>
#include <new>
#include <pthread.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <sys/syscall.h>
#include <system_error>
#include <unistd.h>

#include "connection/server_bus_guard.hpp"
#include "layout/region.hpp"
#include "server/connections/reset_bell.hpp"

namespace hostmap {

namespace {

// Ids of connections have 56 bits and never reach these.
constexpr std::uint64_t kStop = ~std::uint64_t{0};
constexpr std::uint64_t kFiles = ~std::uint64_t{0} - 1;
constexpr std::uint64_t kFaults = ~std::uint64_t{0} - 2;

void add(int epoll, int fd, std::uint64_t what, std::uint32_t how = EPOLLIN) noexcept {
  epoll_event event{};
  event.events = how;
  event.data.u64 = what;
  ::epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event);
}

}  // namespace

Reaper::Reaper(HalfWord& service_bell, std::size_t most)
    : service_bell_(service_bell),
      epoll_(UniqueFd(::epoll_create1(EPOLL_CLOEXEC))),
      inotify_(UniqueFd(::inotify_init1(IN_CLOEXEC | IN_NONBLOCK))),
      stop_(UniqueFd(::eventfd(0, EFD_CLOEXEC))) {
  // A process is registered again at most twice between two rounds of the service thread.
  for (Noticed* noticed : {&noticed_, &fetched_}) noticed->dead.reserve(2 * most);
  if (!epoll_ || !stop_) throw std::system_error(errno, std::generic_category(), "epoll");
  add(epoll_.get(), stop_.get(), kStop);
  if (inotify_) add(epoll_.get(), inotify_.get(), kFiles);
  if (BusGuard::events() >= 0) add(epoll_.get(), BusGuard::events(), kFaults);
  thread_ = std::thread([this] { run(); });
  pthread_setname_np(thread_.native_handle(), "reaper");
}

Reaper::~Reaper() {
  const std::uint64_t one = 1;
  static_cast<void>(::write(stop_.get(), &one, sizeof one));
  thread_.join();
}

bool Reaper::watch(std::uint64_t id, pid_t pid) noexcept {
  if (pid <= 0) return false;
  UniqueFd process(static_cast<int>(::syscall(SYS_pidfd_open, pid, 0)));
  if (!process) return false;
  const std::lock_guard<std::mutex> lock(mutex_);
  try {
    UniqueFd& kept = processes_[id];
    // Once: if a forked child has a copy of the descriptor, closing it here does not remove it from the set.
    add(epoll_.get(), process.get(), id, EPOLLIN | EPOLLONESHOT);
    kept = std::move(process);
    return true;
  } catch (const std::bad_alloc&) {
    return false;
  }
}

void Reaper::unwatch(std::uint64_t id) noexcept {
  const std::lock_guard<std::mutex> lock(mutex_);
  processes_.erase(id);  // closing the descriptor removes it from the epoll set
}

void Reaper::watch_file(const std::string& path) {
  // IN_ATTRIB comes when the last name is unlinked, although the file lives on in mappings; IN_MODIFY when it is truncated,
  // but not for stores through mappings.
  constexpr std::uint32_t kEvents = IN_ATTRIB | IN_DELETE_SELF | IN_MOVE_SELF | IN_MODIFY;
  const bool watched = inotify_ && ::inotify_add_watch(inotify_.get(), path.c_str(), kEvents) >= 0;
  watches_files_ = watches_files_ && watched;
}

const Reaper::Noticed& Reaper::fetch() noexcept {
  fetched_.dead.clear();
  fetched_.files_changed = false;
  const std::lock_guard<std::mutex> lock(mutex_);
  std::swap(fetched_, noticed_);
  return fetched_;
}

void Reaper::run() {
  std::array<epoll_event, 16> events;
  for (;;) {
    const int count = ::epoll_wait(epoll_.get(), events.data(), static_cast<int>(events.size()), -1);
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      for (int i = 0; i < count; ++i) {
        const std::uint64_t what = events[static_cast<std::size_t>(i)].data.u64;
        if (what == kStop) return;
        if (what == kFiles) {
          std::array<char, 4096> ignored;
          while (::read(inotify_.get(), ignored.data(), ignored.size()) > 0) {
          }
          noticed_.files_changed = true;
        } else if (what == kFaults) {
          std::uint64_t ignored;
          static_cast<void>(::read(BusGuard::events(), &ignored, sizeof ignored));
          noticed_.files_changed = true;
        } else if (processes_.erase(what) != 0) {
          noticed_.dead.push_back(what);
        }
      }
    }
    // The bell's own page may have been truncated.
    if (count > 0) reset_bell(service_bell_);
  }
}

}  // namespace hostmap
