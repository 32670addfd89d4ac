// A small file system for one test: its body runs in a child with a private /dev/shm.
#pragma once

#include <cstdio>
#include <fcntl.h>
#include <filesystem>
#include <functional>
#include <gtest/gtest.h>
#include <string>
#include <sys/mount.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "base/unique_fd.hpp"
#include "process/harness/program.hpp"
#include "support/child.hpp"
#include "support/private_tmpfs.hpp"

namespace hostmap::test {

// Runs `body` where /dev/shm is a tmpfs with the mount options given. Skips the test where that is not possible.
inline void in_own_shm(const std::string& options, const std::function<void()>& body) {
  if (!can_replace_dev_shm()) GTEST_SKIP() << "this system does not allow mounts in a namespace";
  Child child = Child::fork([&] {
    if (!replace_dev_shm(options)) return kChildSetupFailed;
    body();
    return 0;
  });
  EXPECT_EQ(child.wait(std::chrono::minutes(9)), kSuccess);
}

// Another tmpfs for --dir, within such a body.
class SmallFolder {
 public:
  explicit SmallFolder(const std::string& options) {
    std::filesystem::create_directory(path_);
    EXPECT_EQ(::mount("tmpfs", path_.c_str(), "tmpfs", MS_NOSUID | MS_NODEV, ("mode=1777," + options).c_str()), 0);
  }
  SmallFolder(const SmallFolder&) = delete;
  SmallFolder& operator=(const SmallFolder&) = delete;
  ~SmallFolder() {
    ::umount2(path_.c_str(), MNT_DETACH);
    std::filesystem::remove(path_);
  }
  const std::string& path() const { return path_; }
  std::uint64_t free_bytes() const {
    struct statvfs facts {};
    return ::statvfs(path_.c_str(), &facts) == 0 ? facts.f_bavail * facts.f_frsize : 0;
  }
  bool empty() const { return std::filesystem::is_empty(path_); }

  // Uses all free space but `left` bytes. Repeated if a server's helper thread has populated memory meanwhile.
  void fill(std::uint64_t left = 0) const {
    const UniqueFd file(::open((path_ + "/filler").c_str(), O_CREAT | O_RDWR | O_CLOEXEC, 0600));
    EXPECT_TRUE(eventually([&] {
      const std::uint64_t now = free_bytes();
      const off_t filled = ::lseek(file.get(), 0, SEEK_END);
      return now <= left || ::posix_fallocate(file.get(), filled, static_cast<off_t>(now - left)) == 0;
    }));
  }
  void unfill() const { std::filesystem::remove(path_ + "/filler"); }

 private:
  std::string path_ = "/dev/shm/small";
};

}  // namespace hostmap::test
