// Owns a file descriptor, which is never 0, 1 or 2: whatever opens a descriptor hands it to a UniqueFd at once
// (scripts/check_descriptors). Where a program runs without standard streams, the system gives their numbers to the next
// files that are opened, and what somebody prints then lands in a region.
#pragma once

#include <cerrno>
#include <fcntl.h>
#include <unistd.h>
#include <utility>

namespace hostmap {

// `fd`, or what it is duplicated to if it has the number of a standard stream: `fd` itself is closed then. -1 and errno if it
// is -1 or there is no other number. To be called before the file is locked: closing `fd` drops POSIX locks.
inline int above_standard(int fd) noexcept {
  if (fd < 0 || fd > STDERR_FILENO) return fd;
  const int moved = ::fcntl(fd, F_DUPFD_CLOEXEC, STDERR_FILENO + 1);
  ::close(fd);
  if (moved < 0) errno = EMFILE;  // EINVAL, where the limit itself is that low
  return moved;
}

class UniqueFd {
 public:
  UniqueFd() noexcept = default;
  // Moves it above 2. Keeps errno as the call that opened it has left it.
  explicit UniqueFd(int fd) noexcept : fd_(above_standard(fd)) {}
  UniqueFd(UniqueFd&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  UniqueFd& operator=(UniqueFd&& other) noexcept {
    if (this != &other) {
      reset();
      fd_ = std::exchange(other.fd_, -1);
    }
    return *this;
  }
  UniqueFd(const UniqueFd&) = delete;
  UniqueFd& operator=(const UniqueFd&) = delete;
  ~UniqueFd() { reset(); }

  int get() const noexcept { return fd_; }
  explicit operator bool() const noexcept { return fd_ >= 0; }
  // Somebody else closes it from here on.
  [[nodiscard]] int release() noexcept { return std::exchange(fd_, -1); }
  void reset() noexcept {
    if (fd_ >= 0) ::close(fd_);
    fd_ = -1;
  }

 private:
  int fd_ = -1;
};

}  // namespace hostmap
