// Liveness is a kernel lock (DESIGN: D2): a POSIX write lock on a whole file, which the kernel drops when its process
// dies, in every pid namespace, and which fork does not inherit.
//
// Closing *any* descriptor of the file in the owning process drops the lock: owners open the file once.
#pragma once

#include <string>
#include <sys/types.h>

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

// Who holds the write lock, as seen from another process (one's own lock does not show).
LockHolder lock_holder(int fd) noexcept;

// Opens `path`, creating it with mode 0600 if need be, and takes its write lock; the name leads to the locked inode
// when this returns. kAlreadyExists: somebody else holds the lock (message: who).
Result<UniqueFd> lock_named_file(const std::string& path);

// Gives a lock back while the file stays open.
void unlock_file(int fd) noexcept;

// Puts a new file with `mode` in the place of `path`, at one moment and already locked: whoever opens it, this one or the
// one before, can trust what its lock says. The caller holds the lock that lets only one process do so at a time.
Result<UniqueFd> create_locked_file(const std::string& path, mode_t mode);

}  // namespace hostmap
