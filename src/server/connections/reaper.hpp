// Reaper: detects without polling that clients die, and that regions are removed or truncated: a thread that sleeps in epoll
// on the pidfds of the clients, on an inotify watch of the server's own files and on the guard's event.
//
// watch() and the destructor: the service thread. That thread also fetches the events, after its bell was rung.
#pragma once

#include <cstdint>
#include <mutex>
#include <string>
#include <sys/types.h>
#include <thread>
#include <unordered_map>
#include <vector>

#include "base/unique_fd.hpp"
#include "layout/region.hpp"

namespace hostmap {

class Reaper {
 public:
  // `most`: processes watched at a time.
  Reaper(HalfWord& service_bell, std::size_t most);
  ~Reaper();
  Reaper(const Reaper&) = delete;
  Reaper& operator=(const Reaper&) = delete;

  // Reports `id` once the process is gone. False: it is not visible here (another pid namespace, or gone), or there is
  // no descriptor or memory left to watch it.
  bool watch(std::uint64_t id, pid_t pid) noexcept;
  void unwatch(std::uint64_t id) noexcept;
  // Reports when the file at `path` is unlinked or truncated.
  void watch_file(const std::string& path);
  // False: the system has no more such watches, and nothing is reported.
  bool watches_files() const noexcept { return watches_files_; }

  struct Noticed {
    std::vector<std::uint64_t> dead;  // ids; may include one that was forgotten meanwhile
    bool files_changed = false;
  };
  // The events since the last call; valid until the next one. Allocates nothing.
  const Noticed& fetch() noexcept;

 private:
  void run();

  HalfWord& service_bell_;
  UniqueFd epoll_;
  UniqueFd inotify_;
  UniqueFd stop_;
  bool watches_files_ = true;
  std::mutex mutex_;
  std::unordered_map<std::uint64_t, UniqueFd> processes_;
  Noticed noticed_;
  Noticed fetched_;  // the service thread's
  std::thread thread_;
};

}  // namespace hostmap
