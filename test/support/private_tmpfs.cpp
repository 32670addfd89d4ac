#include "support/private_tmpfs.hpp"

#include <sched.h>
#include <sys/mount.h>

#include "support/child.hpp"

namespace hostmap::test {

bool replace_dev_shm(const std::string& options) {
  if (::unshare(CLONE_NEWNS) != 0) return false;
  // Otherwise the new mount would appear in all other processes.
  if (::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0) return false;
  return ::mount("tmpfs", "/dev/shm", "tmpfs", MS_NOSUID | MS_NODEV, ("mode=1777," + options).c_str()) == 0;
}

bool can_replace_dev_shm() {
  return Child::fork([] { return replace_dev_shm("size=64k") ? 0 : 1; }).wait() == kSuccess;
}

}  // namespace hostmap::test
