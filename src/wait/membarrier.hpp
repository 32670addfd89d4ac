// The system call membarrier(2): a fence on other threads, so that they need none of their own.
#pragma once

#include <linux/membarrier.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace hostmap {

// `command`: MEMBARRIER_CMD_... Returns what the call returns: below 0 where the kernel or a sandbox does not allow it.
inline int membarrier(int command) noexcept { return static_cast<int>(::syscall(SYS_membarrier, command, 0, 0)); }

}  // namespace hostmap
