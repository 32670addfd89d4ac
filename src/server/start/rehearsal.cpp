#include "server/start/rehearsal.hpp"

#include <condition_variable>
#include <fcntl.h>
#include <mutex>
#include <string>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <system_error>
#include <thread>
#include <unistd.h>
#include <utility>
#include <vector>

#include "base/unique_fd.hpp"
#include "layout/connection.hpp"

namespace hostmap {

namespace {

// Of a server: epoll, inotify, the files of its regions, briefly a socket; and some to spare for new clients.
constexpr std::uint64_t kOtherDescriptors = 32;

// Address space: nothing is populated.
class Reserved {
 public:
  Reserved(std::uint64_t bytes, int protection) noexcept
      : bytes_(bytes), data_(::mmap(nullptr, bytes, protection, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0)) {}
  ~Reserved() {
    if (*this) ::munmap(data_, bytes_);
  }
  Reserved(const Reserved&) = delete;
  Reserved& operator=(const Reserved&) = delete;
  explicit operator bool() const noexcept { return data_ != MAP_FAILED; }

 private:
  std::uint64_t bytes_;
  void* data_;
};

// Threads that wait until the last of them exists.
class Threads {
 public:
  explicit Threads(std::uint64_t count) {
    threads_.reserve(count);
    for (std::uint64_t i = 0; i < count; ++i) {
      try {
        threads_.emplace_back([this] {
          std::unique_lock<std::mutex> lock(mutex_);
          changed_.wait(lock, [this] { return done_; });
        });
      } catch (const std::system_error&) {
        return;
      }
    }
    all_ = true;
  }
  ~Threads() {
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      done_ = true;
    }
    changed_.notify_all();
    for (std::thread& thread : threads_) thread.join();
  }
  Threads(const Threads&) = delete;
  Threads& operator=(const Threads&) = delete;
  explicit operator bool() const noexcept { return all_; }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<std::thread> threads_;
  bool done_ = false;
  bool all_ = false;
};

Status too_little(const std::string& what) { return {StatusCode::kFull, what}; }

}  // namespace

Status check_file_size_limit(std::uint64_t connection_bytes) {
  rlimit limit{};
  if (::getrlimit(RLIMIT_FSIZE, &limit) != 0 || limit.rlim_cur >= connection_bytes) return {};
  return too_little("this process cannot create files of " + std::to_string(connection_bytes) +
                    " bytes, which each client needs; raise the limit (ulimit -f, LimitFSIZE)");
}

Status rehearse(const Needs& needs) {
  if (Status status = check_file_size_limit(needs.connection_bytes); !status.ok()) return status;
  // A connection needs its region's file and its client's process.
  const std::uint64_t wanted = 2 * needs.connections + kOtherDescriptors;
  std::vector<UniqueFd> descriptors;
  descriptors.reserve(wanted);
  const UniqueFd any(::eventfd(0, EFD_CLOEXEC));
  for (std::uint64_t i = 1; any && i < wanted; ++i) {
    UniqueFd another(::fcntl(any.get(), F_DUPFD_CLOEXEC, STDERR_FILENO + 1));
    if (!another) break;
    descriptors.push_back(std::move(another));
  }
  if (descriptors.size() + 1 != wanted) {
    return too_little("this process cannot open the " + std::to_string(wanted) +
                      " descriptors that its clients and regions need; raise the limit (ulimit -n)");
  }
  const Reserved regions(needs.connections * needs.connection_bytes + 1, PROT_NONE);
  const Reserved own(needs.memory + 1, PROT_READ | PROT_WRITE);
  if (!regions || !own) return too_little("this process cannot map enough memory; raise the limit (ulimit -v)");
  const Threads threads(needs.threads);
  if (!threads) {
    return too_little("this process cannot start " + std::to_string(needs.threads) +
                      " threads; raise the limit (ulimit -u, or ulimit -v for their stacks)");
  }
  return {};
}

}  // namespace hostmap
