#include "dump/file.hpp"

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>
#include <utility>

namespace hostmap {

namespace {

// The sentence for a system call that failed, and what to do.
Status failed(const std::string& what, int error) {
  const bool full = error == ENOSPC || error == EDQUOT || error == EFBIG;
  const bool denied = error == EACCES || error == EPERM || error == EROFS;
  const StatusCode code = full ? StatusCode::kFull : denied ? StatusCode::kPermission : StatusCode::kInvalid;
  return {code, what + ": " + std::strerror(error) +  // NOLINT(concurrency-mt-unsafe): known numbers only
                    (full ? "; free space or write elsewhere" : "")};
}

// The name in a folder becomes durable with the folder.
Status sync_folder_of(const std::string& path) {
  const std::size_t slash = path.rfind('/');
  const std::string folder = slash == std::string::npos ? "." : path.substr(0, slash + 1);
  const UniqueFd opened(::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  // Some file systems cannot sync a folder, and say EINVAL.
  if (!opened || (::fsync(opened.get()) != 0 && errno != EINVAL))
    return failed("cannot sync the folder " + folder, errno);
  return {};
}

}  // namespace

NewFile::NewFile(std::string path, std::string part, UniqueFd file) noexcept
    : path_(std::move(path)), part_(std::move(part)), file_(std::move(file)) {}

NewFile::NewFile(NewFile&& other) noexcept
    : path_(std::move(other.path_)), part_(std::exchange(other.part_, {})), file_(std::move(other.file_)) {}

NewFile::~NewFile() {
  if (!part_.empty()) ::unlink(part_.c_str());
}

Result<NewFile> NewFile::create(const std::string& path) {
  struct stat facts {};
  if (::stat(path.c_str(), &facts) == 0 && !S_ISREG(facts.st_mode)) {
    return Status(StatusCode::kInvalid,
                  path + " exists and is not a regular file; to write to it, give - and redirect");
  }
  std::string part = path + "." + std::to_string(::getpid()) + ".part";
  const auto open_new = [&part] {
    return UniqueFd(::open(part.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600));
  };
  UniqueFd file = open_new();
  if (!file && errno == EEXIST && ::unlink(part.c_str()) == 0) file = open_new();  // left by a process that was killed
  if (!file) return failed("cannot create " + part, errno);
  return NewFile(path, std::move(part), std::move(file));
}

Status NewFile::write(std::string_view bytes) { return write_dump(file_.get(), bytes, part_); }

Status NewFile::finish() {
  if (::fsync(file_.get()) != 0) return failed("cannot write " + part_, errno);
  if (::rename(part_.c_str(), path_.c_str()) != 0) return failed("cannot rename " + part_ + " to " + path_, errno);
  part_.clear();
  return sync_folder_of(path_);
}

Result<UniqueFd> open_dump(const std::string& path) {
  UniqueFd file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!file) return failed("cannot open " + path, errno);
  return file;
}

Status write_dump(int file, std::string_view bytes, const std::string& what) {
  while (!bytes.empty()) {
    const ssize_t written = ::write(file, bytes.data(), bytes.size());
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) return failed("cannot write " + what, errno);
    bytes.remove_prefix(static_cast<std::size_t>(written));
  }
  return {};
}

Result<std::size_t> read_dump(int file, std::span<char> room, const std::string& what) {
  for (;;) {
    const ssize_t got = ::read(file, room.data(), room.size());
    if (got >= 0) return static_cast<std::size_t>(got);
    if (errno != EINTR) return failed("cannot read " + what, errno);
  }
}

}  // namespace hostmap
