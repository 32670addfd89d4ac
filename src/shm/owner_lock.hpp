// Liveness is determined by a kernel lock: a POSIX write lock on a whole file, which the kernel drops when its process
// dies, in every pid namespace, and which fork does not inherit.
//
// Closing *any* descriptor of the file in the owning process drops the lock: owners open the file once.
#pragma once

#include <string>
#include <sys/types.h>
#include <utility>

#include <hostmap/status.hpp>

#include "base/unique_fd.hpp"

namespace hostmap {

enum class LockOutcome : unsigned char { kLocked, kHeldByOther, kError };

// Takes the write lock without waiting.
LockOutcome try_lock_file(int fd) noexcept;

struct LockHolder {
  bool held = false;
  pid_t pid = 0;  // as this process sees it; 0: in another pid namespace
};

// The process that holds the write lock, as seen from another process (one's own lock is not reported).
LockHolder lock_holder(int fd) noexcept;

// Opens `path`, creating it with mode 0600 if necessary, and takes its write lock; the name leads to the locked inode when
// this returns. kAlreadyExists: another process holds the lock (message: which).
Result<UniqueFd> lock_named_file(const std::string& path);

// Releases a lock while the file stays open.
void unlock_file(int fd) noexcept;

// A new file that replaces the file at a path, and is locked before it gets that name: a process that opens the path, before
// or after, can trust the lock. The caller holds a lock that lets only one process do this at a time.
class NewLockedFile {
 public:
  NewLockedFile() noexcept = default;
  NewLockedFile(NewLockedFile&& other) noexcept
      : fd_(std::move(other.fd_)), path_(std::move(other.path_)), fresh_(std::exchange(other.fresh_, {})) {}
  NewLockedFile& operator=(NewLockedFile&&) = delete;
  ~NewLockedFile();

  // Creates it with `mode` beside `path`, under a name that cannot be guessed.
  static Result<NewLockedFile> create(const std::string& path, mode_t mode);
  int fd() const noexcept { return fd_.get(); }
  explicit operator bool() const noexcept { return static_cast<bool>(fd_); }
  // Gives it the name `path`, in one step. The caller gets the descriptor that holds the lock.
  Result<UniqueFd> replace();

 private:
  UniqueFd fd_;
  std::string path_;
  std::string fresh_;  // its temporary name; empty: none
};

// Removes the files that NewLockedFile of killed processes of this user has left beside `path`. Requires the same lock.
void remove_unfinished_files(const std::string& path);

// Creates and replaces in one call.
Result<UniqueFd> create_locked_file(const std::string& path, mode_t mode);

}  // namespace hostmap
