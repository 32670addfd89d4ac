// The time namespace of this process: CLOCK_MONOTONIC, by which keys end, has an offset in each.
#pragma once

#include <cstdint>
#include <sys/stat.h>

namespace hostmap {

// An inode number; 0: not known, as there is no /proc or the kernel has no time namespaces. One system call.
inline std::uint64_t time_namespace() noexcept {
  struct stat facts {};
  return ::stat("/proc/self/ns/time", &facts) == 0 ? facts.st_ino : 0;
}

// Do these two certainly differ?
inline bool differ(std::uint64_t one, std::uint64_t other) noexcept { return one != 0 && other != 0 && one != other; }

}  // namespace hostmap
