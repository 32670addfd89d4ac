#include "shm/owner_lock.hpp"

#include <cerrno>
#include <fcntl.h>
#include <string_view>
#include <sys/stat.h>
#include <unistd.h>

#include "base/folder.hpp"
#include "base/random.hpp"
#include "shm/obstacle.hpp"
#include "shm/region.hpp"

namespace hostmap {

namespace {

constexpr const char* kNewFileMark = "-new-";  // followed by a random number

struct flock whole_file(short type) noexcept {
  struct flock lock {};
  lock.l_type = type;
  lock.l_whence = SEEK_SET;
  return lock;
}

}  // namespace

LockOutcome try_lock_file(int fd) noexcept {
  struct flock lock = whole_file(F_WRLCK);
  while (::fcntl(fd, F_SETLK, &lock) != 0) {
    if (errno == EINTR) continue;
    return errno == EACCES || errno == EAGAIN ? LockOutcome::kHeldByOther : LockOutcome::kError;
  }
  return LockOutcome::kLocked;
}

void unlock_file(int fd) noexcept {
  struct flock lock = whole_file(F_UNLCK);
  ::fcntl(fd, F_SETLK, &lock);
}

LockHolder lock_holder(int fd) noexcept {
  struct flock lock = whole_file(F_RDLCK);
  if (::fcntl(fd, F_GETLK, &lock) != 0 || lock.l_type == F_UNLCK) return {};
  return {true, lock.l_pid > 0 ? lock.l_pid : 0};
}

Result<UniqueFd> lock_named_file(const std::string& path) {
  for (;;) {
    UniqueFd fd(::open(path.c_str(), O_CREAT | O_RDWR | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC, 0600));
    if (!fd) return obstacle(errno == ENOENT ? "create" : "open", path, errno);
    struct stat mine {};
    if (::fstat(fd.get(), &mine) != 0) return obstacle("examine", path, errno);
    if (!S_ISREG(mine.st_mode)) {
      return Status(StatusCode::kInvalid, path + " is not a regular file; remove it");
    }
    if (mine.st_uid != ::geteuid()) {
      return taken_by(path, mine.st_uid);
    }
    // Anybody may give this name to another file of this user: that file stays untouched.
    const bool other_names = mine.st_nlink > 1;
    if (!other_names && (mine.st_mode & 07777) != 0600 && ::fchmod(fd.get(), 0600) != 0)
      return obstacle("set the mode of", path, errno);
    switch (try_lock_file(fd.get())) {
      case LockOutcome::kHeldByOther: {
        const LockHolder holder = lock_holder(fd.get());
        return Status(StatusCode::kAlreadyExists,
                      "a server with this name is running" +
                          (holder.pid > 0 ? " (pid " + std::to_string(holder.pid) + ")" : std::string()) +
                          "; stop it or choose another --name");
      }
      case LockOutcome::kError:
        return obstacle("lock", path, errno);
      case LockOutcome::kLocked:
        break;
    }
    // A stopping server unlinks the file while it holds the lock: then the name leads to another file, so start over.
    struct stat named {};
    if (::stat(path.c_str(), &named) != 0 || named.st_ino != mine.st_ino || named.st_dev != mine.st_dev) continue;
    if (other_names) {
      std::uint64_t bytes = 0;
      const Status made_here = check_region_header(fd.get(), bytes, path, RegionKind::kJournal);
      if (!made_here.ok() && !(made_here == StatusCode::kOtherVersion)) {
        if (::unlink(path.c_str()) != 0) return obstacle("remove", path, errno);
        continue;
      }
    }
    return fd;
  }
}

void remove_unfinished_files(const std::string& path) {
  const std::size_t slash = path.rfind('/');
  const std::string prefix = path.substr(slash + 1) + kNewFileMark;
  const std::string folder_path = path.substr(0, slash + 1);
  const Folder folder = open_folder(folder_path.c_str());
  if (folder == nullptr) return;
  while (const dirent* file = ::readdir(folder.get())) {  // NOLINT(concurrency-mt-unsafe): this stream is ours alone
    const std::string_view name = file->d_name;
    if (!name.starts_with(prefix) || name.find_first_not_of("0123456789", prefix.size()) != name.npos) continue;
    const std::string found = folder_path + file->d_name;
    struct stat facts {};
    if (::lstat(found.c_str(), &facts) == 0 && facts.st_uid == ::geteuid()) ::unlink(found.c_str());
  }
}

NewLockedFile::~NewLockedFile() {
  if (!fresh_.empty()) ::unlink(fresh_.c_str());
}

Result<NewLockedFile> NewLockedFile::create(const std::string& path, mode_t mode) {
  // No other process can guess this name and take it first. A server that is killed before the rename leaves the file.
  remove_unfinished_files(path);
  NewLockedFile file;
  file.path_ = path;
  const std::string fresh = path + kNewFileMark + std::to_string(random_word());
  file.fd_ = UniqueFd(::open(fresh.c_str(), O_CREAT | O_EXCL | O_RDWR | O_NOFOLLOW | O_CLOEXEC, 0));
  if (!file.fd_) return obstacle("create", fresh, errno);
  NewName name(fresh);
  file.fresh_ = fresh;
  name.keep();
  if (try_lock_file(file.fd()) != LockOutcome::kLocked) return obstacle("lock", fresh, errno);
  if (::fchmod(file.fd(), mode) != 0) return obstacle("set the mode of", fresh, errno);
  return file;
}

Result<UniqueFd> NewLockedFile::replace() {
  if (::rename(fresh_.c_str(), path_.c_str()) != 0) return obstacle("replace", path_, errno);
  fresh_.clear();
  return std::move(fd_);
}

Result<UniqueFd> create_locked_file(const std::string& path, mode_t mode) {
  Result<NewLockedFile> file = NewLockedFile::create(path, mode);
  if (!file) return file.status();
  return file->replace();
}

}  // namespace hostmap
