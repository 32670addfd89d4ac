#include "shm/owner_lock.hpp"

#include <atomic>
#include <csignal>
#include <fcntl.h>
#include <filesystem>
#include <gtest/gtest.h>
#include <sched.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "region_fixture.hpp"
#include "support/aligned_memory.hpp"
#include "support/child.hpp"
#include "support/stepper.hpp"

namespace hostmap::test {
namespace {

ino_t inode_at(const std::string& path) {
  struct stat facts {};
  return ::stat(path.c_str(), &facts) == 0 ? facts.st_ino : 0;
}

ino_t inode_of(int fd) {
  struct stat facts {};
  return ::fstat(fd, &facts) == 0 ? facts.st_ino : 0;
}

UniqueFd open_file(const std::string& path, int flags = O_RDWR) {
  return UniqueFd(::open(path.c_str(), flags | O_CLOEXEC, 0600));
}

// A child that takes the lock of `path` and sleeps with it. `locked` is set once it has it.
Child lock_and_sleep(const std::string& path, std::atomic<bool>& locked) {
  Child child = Child::fork([&] {
    const Result<UniqueFd> lock = lock_named_file(path);
    locked = static_cast<bool>(lock);
    return ::pause();
  });
  while (!locked) {
    if (!child.running()) throw std::runtime_error("the locking child ended");
    ::usleep(500);
  }
  return child;
}

class OwnerLockTest : public testing::Test {
 protected:
  ~OwnerLockTest() override { remove_path(path_); }

  const std::string path_ = unique_path();
  const AlignedMemory memory_{kPageSize};
  std::atomic<bool>& locked_ = memory_.at<std::atomic<bool>>(0);
};

TEST_F(OwnerLockTest, AFreshNameIsCreatedAndLocked) {
  const Result<UniqueFd> lock = lock_named_file(path_);
  ASSERT_TRUE(lock);
  EXPECT_EQ(inode_of(lock->get()), inode_at(path_));
  struct stat facts {};
  ASSERT_EQ(::stat(path_.c_str(), &facts), 0);
  EXPECT_EQ(facts.st_mode & 0777, 0600u);
  EXPECT_EQ(Child::fork([&] {
              const LockHolder holder = lock_holder(open_file(path_).get());
              EXPECT_TRUE(holder.held);
              EXPECT_EQ(holder.pid, ::getppid());
              return 0;
            }).wait(),
            kSuccess);
}

TEST_F(OwnerLockTest, AnotherProcessIsRefusedAndLearnsTheOwnersPid) {
  Child owner = lock_and_sleep(path_, locked_);
  const Result<UniqueFd> mine = lock_named_file(path_);
  expect_error(mine.status(), StatusCode::kAlreadyExists, "pid " + std::to_string(owner.pid()));
  const UniqueFd file = open_file(path_);
  EXPECT_EQ(try_lock_file(file.get()), LockOutcome::kHeldByOther);
}

// A stopped server still owns its name.
TEST_F(OwnerLockTest, AStoppedOwnerKeepsIt) {
  Child owner = lock_and_sleep(path_, locked_);
  owner.send(SIGSTOP);
  const UniqueFd file = open_file(path_);
  EXPECT_EQ(try_lock_file(file.get()), LockOutcome::kHeldByOther);
  EXPECT_TRUE(lock_holder(file.get()).held);
}

TEST_F(OwnerLockTest, ItIsReleasedWhenItsOwnerIsKilled) {
  Child owner = lock_and_sleep(path_, locked_);
  EXPECT_EQ(owner.kill_and_wait(), killed_by(SIGKILL));
  EXPECT_FALSE(lock_holder(open_file(path_).get()).held);
  EXPECT_TRUE(lock_named_file(path_)) << "the file is still there, and free";
}

TEST_F(OwnerLockTest, AForkedChildDoesNotInheritIt) {
  const Result<UniqueFd> lock = lock_named_file(path_);
  ASSERT_TRUE(lock);
  EXPECT_EQ(Child::fork([&] {
              // Through the same open file that the parent locked.
              EXPECT_EQ(lock_holder(lock->get()).pid, ::getppid());
              EXPECT_EQ(try_lock_file(lock->get()), LockOutcome::kHeldByOther);
              return 0;
            }).wait(),
            kSuccess);
  // The parent keeps the lock also when the child ends and so closes its copy of the descriptor.
  EXPECT_EQ(Child::fork([&] { return lock_holder(open_file(path_).get()).held ? 0 : 1; }).wait(), kSuccess);
}

// The slot of a dead client is freed although its child still has the inherited descriptor.
TEST_F(OwnerLockTest, ItIsReleasedWithItsOwnerAlthoughAChildLives) {
  auto& grandchild = memory_.at<std::atomic<pid_t>>(64);
  const int death[2] = {0, 0};
  ASSERT_EQ(::pipe2(const_cast<int*>(death), O_CLOEXEC), 0);
  Child owner = Child::fork([&] {
    const Result<UniqueFd> lock = lock_named_file(path_);
    const pid_t pid = ::fork();
    if (pid == 0) {  // outlives its parent, until the test closes the pipe
      ::close(death[1]);
      char byte;
      return static_cast<int>(::read(death[0], &byte, 1));
    }
    grandchild = pid;
    locked_ = static_cast<bool>(lock);
    return ::pause();
  });
  ::close(death[0]);
  while (!locked_) ::usleep(500);
  ASSERT_TRUE(lock_holder(open_file(path_).get()).held);
  owner.kill_and_wait();
  EXPECT_EQ(::kill(grandchild, 0), 0) << "it lives";
  EXPECT_FALSE(lock_holder(open_file(path_).get()).held);
  EXPECT_TRUE(lock_named_file(path_));
  ::close(death[1]);
}

TEST_F(OwnerLockTest, AProcessDoesNotSeeItsOwnLock) {
  const Result<UniqueFd> lock = lock_named_file(path_);
  ASSERT_TRUE(lock);
  EXPECT_FALSE(lock_holder(lock->get()).held);
}

TEST_F(OwnerLockTest, AHolderInAnotherPidNamespaceIsPidZero) {
  const Result<UniqueFd> lock = lock_named_file(path_);
  ASSERT_TRUE(lock);
  const Exit exit = Child::fork([&] {
                      if (::unshare(CLONE_NEWPID) != 0) return kChildSetupFailed;
                      return Child::fork([&] {
                               const LockHolder holder = lock_holder(open_file(path_).get());
                               EXPECT_TRUE(holder.held);
                               EXPECT_EQ(holder.pid, 0);
                               expect_error(lock_named_file(path_).status(), StatusCode::kAlreadyExists, "is running;");
                               return 0;
                             })
                          .wait()
                          .code;
                    }).wait();
  if (exit == exited(kChildSetupFailed)) GTEST_SKIP() << "needs the right to make a pid namespace";
  EXPECT_EQ(exit, kSuccess);
}

// --- Other files in its place ----------------------------------------------------------------------------------------

TEST_F(OwnerLockTest, AFifoInItsPlaceIsRefusedWithoutWaiting) {
  ASSERT_EQ(::mkfifo(path_.c_str(), 0600), 0);
  EXPECT_EQ(Child::fork([&] {
              expect_error(lock_named_file(path_).status(), StatusCode::kInvalid, "not a regular file");
              return 0;
            }).wait(std::chrono::seconds(30)),
            kSuccess);
}

TEST_F(OwnerLockTest, ALinkInItsPlaceIsNotFollowed) {
  const std::string victim = unique_path();
  ASSERT_EQ(::symlink(victim.c_str(), path_.c_str()), 0);
  EXPECT_EQ(lock_named_file(path_).status().code(), StatusCode::kInvalid);
  EXPECT_NE(::access(victim.c_str(), F_OK), 0) << "nothing is created through it";
  remove_path(path_);
}

// Any user can create a link there to another file of the server's user. The server still starts, and does not use that
// file.
TEST_F(OwnerLockTest, AHardLinkInItsPlaceIsRemovedAndItsFileIsNotTouched) {
  const FileOnDisk other("precious", 0640);
  ASSERT_EQ(::link(other.path().c_str(), path_.c_str()), 0);
  const Result<UniqueFd> lock = lock_named_file(path_);
  ASSERT_TRUE(lock) << lock.status().message();
  struct stat mine {};
  struct stat theirs {};
  ASSERT_EQ(::fstat(lock->get(), &mine), 0);
  ASSERT_EQ(::stat(other.path().c_str(), &theirs), 0);
  EXPECT_NE(mine.st_ino, theirs.st_ino);
  EXPECT_EQ(mine.st_size, 0);
  EXPECT_EQ(theirs.st_mode & 07777, 0640u);
  EXPECT_EQ(content_of(other.path()), "precious");
}

TEST_F(OwnerLockTest, AFolderInItsPlaceIsRefused) {
  ASSERT_EQ(::mkdir(path_.c_str(), 0700), 0);
  EXPECT_EQ(lock_named_file(path_).status().code(), StatusCode::kInvalid);
  EXPECT_EQ(create_locked_file(path_, 0600).status().code(), StatusCode::kInvalid);
}

TEST_F(OwnerLockTest, AStrangersFileInItsPlaceIsRefusedAndStays) {
  if (!can_change_users()) GTEST_SKIP() << "needs root, to become two other users";
  const FileOnDisk file("theirs", 0666);
  ASSERT_EQ(::chown(file.path().c_str(), kOtherUser, kOtherUser), 0);
  EXPECT_EQ(Child::fork_as(kSomeUser,
                           [&] {
                             EXPECT_EQ(lock_named_file(file.path()).status().code(), StatusCode::kPermission);
                             // The folder is sticky: a user cannot remove another user's files.
                             EXPECT_EQ(create_locked_file(file.path(), 0644).status().code(), StatusCode::kPermission);
                             return 0;
                           })
                .wait(),
            kSuccess);
  EXPECT_EQ(content_of(file.path()), "theirs");
}

// --- The name may lead to another file when the lock is taken -----------------------------------------------------------

// A stopping server unlinks its file while it holds the lock. A process that had opened that file must not trust its lock.
TEST_F(OwnerLockTest, AFileReplacedBeforeItsLockIsTakenIsLeftForTheNewOne) {
  const FileOnDisk first("");
  const FileOnDisk second("");
  ASSERT_EQ(::rename(first.path().c_str(), path_.c_str()), 0);
  const ino_t old_inode = inode_at(path_);
  const ino_t new_inode = inode_at(second.path());
  auto& locked_inode = memory_.at<std::atomic<ino_t>>(64);
  int tries = 0;
  const int code = trace_system_calls(
      [&] {
        const Result<UniqueFd> lock = lock_named_file(path_);
        if (lock) locked_inode = inode_of(lock->get());
        return lock ? 0 : 1;
      },
      [&](const SystemCall& call) {
        if (call.number != SYS_fcntl || call.arguments[1] != F_SETLK) return;
        if (++tries == 1) ::rename(second.path().c_str(), path_.c_str());  // between its open and its lock
      });
  EXPECT_EQ(code, 0);
  EXPECT_EQ(tries, 2) << "it started over";
  EXPECT_NE(locked_inode, old_inode);
  EXPECT_EQ(locked_inode, new_inode);
}

TEST_F(OwnerLockTest, AFileRemovedBeforeItsLockIsTakenIsCreatedAnew) {
  auto& locked_inode = memory_.at<std::atomic<ino_t>>(64);
  int tries = 0;
  const int code = trace_system_calls(
      [&] {
        const Result<UniqueFd> lock = lock_named_file(path_);
        if (lock) locked_inode = inode_of(lock->get());
        return lock ? 0 : 1;
      },
      [&](const SystemCall& call) {
        if (call.number != SYS_fcntl || call.arguments[1] != F_SETLK) return;
        if (++tries <= 3) ::unlink(path_.c_str());
      });
  EXPECT_EQ(code, 0);
  EXPECT_EQ(tries, 4);
  EXPECT_NE(inode_at(path_), 0u);
  EXPECT_EQ(locked_inode, inode_at(path_));
}

// Servers that start and stop for a while: each locks the name, works, unlinks the file and releases the lock. Two never own
// the name.
class Ownership {
 public:
  explicit Ownership(const AlignedMemory& memory) : memory_(memory) {}
  std::atomic<int>& owners() const { return memory_.at<std::atomic<int>>(0); }
  std::atomic<int>& collisions() const { return memory_.at<std::atomic<int>>(64); }
  std::atomic<int>& turns() const { return memory_.at<std::atomic<int>>(128); }

  // Between locking and releasing the name.
  void own() const {
    if (owners().fetch_add(1) != 0) collisions().fetch_add(1);
    ::sched_yield();
    owners().fetch_sub(1);
    turns().fetch_add(1);
  }

 private:
  const AlignedMemory& memory_;
};

TEST_F(OwnerLockTest, TwoNeverOwnANameThoughEachUnlinksItAtItsEnd) {
  const Ownership ownership(memory_);
  constexpr int kTurns = 1000;
  std::vector<Child> servers;
  servers.reserve(3);
  for (int i = 0; i < 3; ++i) {
    servers.push_back(Child::fork([&] {
      while (ownership.turns() < kTurns) {
        const Result<UniqueFd> lock = lock_named_file(path_);
        if (!lock) {
          if (lock.status() == StatusCode::kAlreadyExists) continue;
          ADD_FAILURE() << lock.status().message();
          return 1;
        }
        ownership.own();
        ::unlink(path_.c_str());
      }
      return 0;
    }));
  }
  for (Child& server : servers) EXPECT_EQ(server.wait(), kSuccess);
  EXPECT_GE(ownership.turns(), kTurns);
  EXPECT_EQ(ownership.collisions(), 0);
}

// The check is tested, too: if the name is not verified again after locking, there are two owners.
TEST_F(OwnerLockTest, WithoutTheSecondCheckThereAreTwoOwners) {
  const Ownership ownership(memory_);
  std::vector<Child> servers;
  servers.reserve(3);
  for (int i = 0; i < 3; ++i) {
    servers.push_back(Child::fork([&] {
      while (ownership.collisions() == 0) {
        const UniqueFd fd = open_file(path_, O_CREAT | O_RDWR);
        if (try_lock_file(fd.get()) != LockOutcome::kLocked) continue;
        ownership.own();
        ::unlink(path_.c_str());
      }
      return 0;
    }));
  }
  for (Child& server : servers) EXPECT_EQ(server.wait(), kSuccess);
  EXPECT_GT(ownership.collisions(), 0);
}

// --- create_locked_file ----------------------------------------------------------------------------------------------

// A process that can open the file can trust its lock: at no moment is the file unlocked, and a file that is replaced is
// never missing.
TEST_F(OwnerLockTest, AnAliveFileIsLockedAtEveryMoment) {
  if (::geteuid() != 0) GTEST_SKIP() << "needs root, to open a file without permissions";
  for (const bool replaced : {false, true}) {
    const Result<UniqueFd> before = replaced ? create_locked_file(path_, 0600) : UniqueFd();
    int absent_looks = 0;
    int looks = 0;
    const int code = trace_system_calls(
        [&] {
          static const Result<UniqueFd> lock = create_locked_file(path_, 0644);  // held until the child's end
          return lock ? 0 : 1;
        },
        [&](const SystemCall&) {
          const UniqueFd fd = open_file(path_);
          if (!fd) {
            ++absent_looks;
            return;
          }
          ++looks;
          // A process cannot query its own lock.
          if (before && *before && inode_of(fd.get()) == inode_of(before->get())) return;
          EXPECT_TRUE(lock_holder(fd.get()).held);
          struct stat facts {};
          EXPECT_EQ(::fstat(fd.get(), &facts), 0);
          EXPECT_EQ(facts.st_mode & 0777, 0644u);
        });
    EXPECT_EQ(code, 0);
    EXPECT_GT(looks, 0);
    EXPECT_EQ(absent_looks == 0, replaced) << "a look must have fallen before its creation, or none";
    std::filesystem::remove(path_);
  }
}

TEST_F(OwnerLockTest, AnAliveFileIsAlwaysANewOne) {
  const Result<UniqueFd> first = create_locked_file(path_, 0600);
  ASSERT_TRUE(first);
  const UniqueFd reader = open_file(path_, O_RDONLY);
  const ino_t before = inode_of(reader.get());
  const Result<UniqueFd> second = create_locked_file(path_, 0640);
  ASSERT_TRUE(second);
  EXPECT_NE(inode_at(path_), before) << "whoever has the old one open sees nothing of the new one's lock";
  EXPECT_EQ(inode_of(second->get()), inode_at(path_));
}

TEST_F(OwnerLockTest, AMissingFolderIsNamed) {
  const std::string path = "/dev/shm/hm-test-no-such-folder/x";
  for (const Status& status : {lock_named_file(path).status(), create_locked_file(path, 0600).status()}) {
    EXPECT_EQ(status.code(), StatusCode::kInvalid) << status.message();
    EXPECT_NE(status.message().find(path), std::string_view::npos);
  }
}

TEST_F(OwnerLockTest, NothingIsLeftOpenAfterARefusal) {
  Child owner = lock_and_sleep(path_, locked_);
  const int descriptors = open_descriptors();
  for (int i = 0; i < 3; ++i) EXPECT_FALSE(lock_named_file(path_));
  EXPECT_EQ(open_descriptors(), descriptors);
}

}  // namespace
}  // namespace hostmap::test
