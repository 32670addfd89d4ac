#include "shm/region.hpp"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <linux/magic.h>
#include <string_view>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <unistd.h>
#include <utility>

#include "base/file.hpp"
#include "base/hash.hpp"
#include "layout/fingerprint.hpp"
#include "shm/obstacle.hpp"

#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23  // Linux 5.14
#endif
#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE 25  // Linux 6.1; missing from older C libraries' headers
#endif

namespace hostmap {

namespace {

// A client cannot know whether such a file belongs to a server; in any case its owner does not share it.
Status open_error(const std::string& path, int error) {
  struct stat facts {};
  if ((error == EACCES || error == EPERM) && ::lstat(path.c_str(), &facts) == 0 && facts.st_uid != ::geteuid()) {
    return {StatusCode::kPermission, path + " belongs to another user, " + user_text(facts.st_uid) +
                                         ", who does not share it with you; choose another --name or --dir, or let "
                                         "that user share it (--group for server and client)"};
  }
  return obstacle("open", path, error);
}

// RegionHeader::name_hash.
std::uint64_t name_hash_of(const std::string& path) noexcept {
  const std::string_view name = std::string_view(path).substr(path.rfind('/') + 1);
  return hash_bytes(name.data(), name.size(), 0);
}

Status map_error(const std::string& path, std::uint64_t bytes, int error) {
  switch (error) {
    case EACCES:
    case EPERM:
      return {StatusCode::kPermission, "cannot map " + path + ": " + error_text(error)};
    case EAGAIN:  // of mmap only if the process locks its memory
      return {StatusCode::kFull, "cannot map " + std::to_string(bytes) + " bytes of " + path +
                                     ": this process locks its memory (mlockall), and its limit is too low; raise it "
                                     "(ulimit -l)"};
    case ENOMEM:
      return {StatusCode::kFull,
              "no address space for " + std::to_string(bytes) + " bytes of " + path + "; raise the limit (ulimit -v)"};
    default:
      return {StatusCode::kFull, "cannot map " + path + ": " + error_text(error)};
  }
}

}  // namespace

Region::Region(UniqueFd fd, std::byte* data, std::uint64_t bytes, std::string path) noexcept
    : fd_(std::move(fd)), data_(data), bytes_(bytes), path_(std::move(path)) {
  struct stat facts {};
  if (::fstat(fd_.get(), &facts) != 0) return;
  device_ = facts.st_dev;
  inode_ = facts.st_ino;
}

Region::Region(Region&& other) noexcept
    : fd_(std::move(other.fd_)),
      data_(std::exchange(other.data_, nullptr)),
      bytes_(std::exchange(other.bytes_, 0)),
      path_(std::move(other.path_)),
      device_(other.device_),
      inode_(other.inode_) {}

Region& Region::operator=(Region&& other) noexcept {
  if (this != &other) {
    unmap();
    fd_ = std::move(other.fd_);
    data_ = std::exchange(other.data_, nullptr);
    bytes_ = std::exchange(other.bytes_, 0);
    path_ = std::move(other.path_);
    device_ = other.device_;
    inode_ = other.inode_;
  }
  return *this;
}

Region::~Region() { unmap(); }

void Region::unmap() noexcept {
  if (data_ != nullptr) ::munmap(data_, bytes_);
  data_ = nullptr;
  close_file();
}

void Region::close_file() noexcept {
  if (!fd_) return;
  struct stat facts {};
  const bool ours = ::fstat(fd_.get(), &facts) == 0 && facts.st_dev == device_ && facts.st_ino == inode_;
  if (ours) {
    fd_.reset();
  } else {
    static_cast<void>(fd_.release());
  }
}

UniqueFd Region::release_file() noexcept {
  UniqueFd file = std::move(fd_);
  unmap();
  return file;
}

void unlink_if_same(const std::string& path, int fd) noexcept {
  struct stat mine {};
  struct stat named {};
  if (::fstat(fd, &mine) == 0 && ::lstat(path.c_str(), &named) == 0 && mine.st_ino == named.st_ino &&
      mine.st_dev == named.st_dev) {
    ::unlink(path.c_str());
  }
}

bool is_named(const std::string& path, int fd) noexcept {
  struct stat mine {};
  struct stat named {};
  if (::fstat(fd, &mine) != 0) return true;
  if (::lstat(path.c_str(), &named) != 0) return errno != ENOENT;
  return mine.st_ino == named.st_ino && mine.st_dev == named.st_dev;
}

void Region::unlink_name() const noexcept {
  if (fd_) unlink_if_same(path_, fd_.get());
}

NewName::~NewName() {
  if (path_ != nullptr) ::unlink(path_->c_str());
}

uid_t Region::owner() const noexcept {
  struct stat facts {};
  return ::fstat(fd_.get(), &facts) == 0 ? facts.st_uid : static_cast<uid_t>(-1);
}

Status Region::share(Sharing with, gid_t group) const { return share_file(fd_.get(), path_, with, group); }

Status share_file(int fd, const std::string& path, Sharing with, gid_t group) {
  const mode_t mode = group == kNoGroup ? 0600 : with == Sharing::kRead ? 0640 : 0660;
  // The group first: in the other order the old group would have the rights of the new one for a moment.
  if (group != kNoGroup && ::fchown(fd, static_cast<uid_t>(-1), group) != 0) {
    return {StatusCode::kPermission, "cannot give " + path + " to the group " + std::to_string(group) + ": " +
                                         error_text(errno) + "; run the server as a member of that group"};
  }
  if (::fchmod(fd, mode) != 0) return {StatusCode::kPermission, "cannot share " + path + ": " + error_text(errno)};
  return {};
}

bool Region::discard(Access access) noexcept {
  close_file();
  if (data_ == nullptr) return true;
  const int protection = access == Access::kReadWrite ? PROT_READ | PROT_WRITE : PROT_READ;
  constexpr int kFlags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED;
  // Neither old nor new pages count as locked memory (mlockall).
  ::munlock(data_, bytes_);
  if (::mmap(data_, bytes_, protection, kFlags, -1, 0) == MAP_FAILED) return false;
  ::munlock(data_, bytes_);
  return true;
}

bool large_pages_refused() noexcept {
  // Tested with memory that is a file like the regions. Only EINVAL counts: an exhausted limit proves nothing.
  UniqueFd file(::memfd_create("hostmap-probe", MFD_CLOEXEC));
  if (!file) return false;
  Result<Region> probe = Region::from_descriptor(std::move(file), "hostmap-probe", kHugePageSize);
  if (!probe || !probe->populate(0, kHugePageSize).ok()) return false;
  return ::madvise(probe->data(), kHugePageSize, MADV_COLLAPSE) != 0 && errno == EINVAL;
}

// Maps at a 2 MiB boundary, so that 2 MiB pages of the file can be mapped as such.
Result<Region> Region::map(UniqueFd&& fd, const std::string& path, std::uint64_t bytes, int protection) {
  std::string kept_path = path;  // before the mapping: it would leak if this allocation failed
  const std::size_t reserved = bytes + kHugePageSize;
  void* space = ::mmap(nullptr, reserved, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (space == MAP_FAILED) {
    return map_error(path, bytes, errno);
  }
  // A process that locks its memory (mlockall) would need twice the size within its limit: for this and for the file.
  if (protection == PROT_NONE) ::munlock(space, reserved);
  auto* begin = static_cast<std::byte*>(space);
  auto* aligned =
      reinterpret_cast<std::byte*>(round_up(reinterpret_cast<std::uintptr_t>(begin), std::uintptr_t{kHugePageSize}));
  if (aligned != begin) ::munmap(begin, static_cast<std::size_t>(aligned - begin));
  std::byte* end = aligned + round_up(bytes, std::uint64_t{kPageSize});
  if (begin + reserved > end) ::munmap(end, static_cast<std::size_t>(begin + reserved - end));
  if (::mmap(aligned, bytes, protection, MAP_SHARED | MAP_FIXED, fd.get(), 0) == MAP_FAILED) {
    const int error = errno;
    ::munmap(aligned, bytes);
    return map_error(path, bytes, error);
  }
  // A region is of no use in a core file.
  ::madvise(aligned, bytes, MADV_DONTDUMP);
  return Region(std::move(fd), aligned, bytes, std::move(kept_path));
}

Result<Region> Region::create(const std::string& path, std::uint64_t bytes, mode_t mode) {
  UniqueFd fd(::open(path.c_str(), O_CREAT | O_EXCL | O_RDWR | O_NOFOLLOW | O_CLOEXEC, mode));
  if (!fd) return open_error(path, errno);
  NewName name(path);
  if (::fchmod(fd.get(), mode) != 0) return open_error(path, errno);  // independent of the umask
  Result<Region> region = from_descriptor(std::move(fd), path, bytes);
  if (region) name.keep();
  return region;
}

Result<Region> Region::from_descriptor(UniqueFd&& fd, const std::string& path, std::uint64_t bytes) {
  // A file on hugetlbfs consists of whole pages of its file system.
  struct statfs facts {};
  if (::fstatfs(fd.get(), &facts) == 0 && facts.f_type == HUGETLBFS_MAGIC) {
    bytes = round_up(bytes, static_cast<std::uint64_t>(facts.f_bsize));
  }
  if (::ftruncate(fd.get(), static_cast<off_t>(bytes)) != 0) {
    return Status(StatusCode::kFull, "cannot make " + path + " " + std::to_string(bytes) + " bytes long: " +
                                         error_text(errno) + (errno == EFBIG ? "; raise the limit (ulimit -f)" : ""));
  }
  return map(std::move(fd), path, bytes, PROT_READ | PROT_WRITE);
}

Result<Region> Region::map_proper(UniqueFd&& fd, const std::string& path) {
  RegionHeader header{};
  if (::pread(fd.get(), static_cast<void*>(&header), sizeof header, 0) != static_cast<ssize_t>(sizeof header)) {
    return Status(StatusCode::kInvalid, path + " cannot be read: " + error_text(errno));
  }
  return map(std::move(fd), path, header.bytes, PROT_READ | PROT_WRITE);
}

Result<RegionFile> open_region_file(const std::string& path, Access access, const Trust& trust) {
  const int flags = access == Access::kReadWrite ? O_RDWR : O_RDONLY;
  RegionFile file;
  file.fd = UniqueFd(::open(path.c_str(), flags | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC));
  if (!file.fd) return open_error(path, errno);
  struct stat facts {};
  if (::fstat(file.fd.get(), &facts) != 0) return open_error(path, errno);
  if (!S_ISREG(facts.st_mode)) {
    return Status(StatusCode::kInvalid, path + " is not a regular file; remove it");
  }
  const bool shared = trust.group != kNoGroup && facts.st_gid == trust.group && (facts.st_mode & S_IRWXO) == 0;
  const uid_t owner = facts.st_uid;
  if (owner != ::geteuid() && owner != 0 && owner != trust.user && !shared && !trust.everybody) {
    const std::string me = ::geteuid() == 0 ? ", who is not you (root)" : ", who is neither you nor root";
    return Status(StatusCode::kPermission, path + " belongs to user " + user_text(owner) + me +
                                               "; if you trust that user, name it (option user, --user " +
                                               user_name(owner) + ")" +
                                               (trust.group == kNoGroup ? ", or name a group that shares it (--group)"
                                                                        : "; it is not shared by that group alone"));
  }
  file.bytes = static_cast<std::uint64_t>(facts.st_size);
  file.inode = facts.st_ino;
  file.owner = facts.st_uid;
  return file;
}

Status check_region_header(int fd, std::uint64_t& bytes_now, const std::string& path, RegionKind kind) {
  // By pread and not through a mapping: a file that shrinks meanwhile gives a short read here, and never a SIGBUS.
  alignas(RegionHeader) std::byte bytes[sizeof(RegionHeader)];
  const ssize_t got = ::pread(fd, bytes, sizeof bytes, 0);
  if (got != static_cast<ssize_t>(sizeof bytes)) {
    return {StatusCode::kNoServer, path + " is not built yet, or its server died while building it"};
  }
  RegionHeader header{};
  std::memcpy(static_cast<void*>(&header), bytes, sizeof bytes);
  // relaxed: a private copy; the process that maps the region checks it again
  const std::uint64_t state = header.state.load(std::memory_order_relaxed);
  if (header.magic != 0 && header.magic != kMagic) {
    return {StatusCode::kInvalid, path + " is not a hostmap region"};
  }
  if (header.magic == 0 || state == kRegionBuilding) {
    return {StatusCode::kNoServer, path + " is not built yet, or its server died while building it"};
  }
  if (header.layout_version != kLayoutVersion) {
    return {StatusCode::kOtherVersion, path + " has layout version " + std::to_string(header.layout_version) +
                                           ", this program has " + std::to_string(kLayoutVersion) +
                                           "; use programs of the same version, or stop that server first"};
  }
  if (header.kind != kind) return {StatusCode::kInvalid, path + " is a region of another kind"};
  if (header.fingerprint != kFingerprint) {
    return {StatusCode::kOtherVersion,
            path + " has the layout of a different build; build server and client from the same source"};
  }
  struct stat facts {};
  if (::fstat(fd, &facts) == 0) bytes_now = static_cast<std::uint64_t>(facts.st_size);
  if (facts.st_nlink > 1 && header.name_hash != name_hash_of(path)) {
    return hard_link(path);
  }
  if (header.bytes > bytes_now || header.bytes < sizeof(RegionHeader)) {
    return {StatusCode::kInvalid, path + " is shorter than its header states"};
  }
  return {};
}

Result<Region> Region::open(const std::string& path, RegionKind kind, Access access, const Trust& trust) {
  Result<RegionFile> file = open_region_file(path, access, trust);
  if (!file) return file.status();
  if (Status status = check_region_header(file->fd.get(), file->bytes, path, kind); !status.ok()) return status;
  return map_file(std::move(*file), path, access);
}

Result<Region> Region::map_file(RegionFile&& file, const std::string& path, Access access) {
  if (file.bytes == 0) return Status(StatusCode::kNoServer, path + " is empty");
  const int protection = access == Access::kReadParts  ? PROT_NONE
                         : access == Access::kReadOnly ? PROT_READ
                                                       : PROT_READ | PROT_WRITE;
  const std::uint64_t bytes = file.bytes;
  Result<Region> region = map(std::move(file.fd), path, bytes, protection);
  if (region && access == Access::kReadParts && !region->make_readable(0, std::min<std::uint64_t>(bytes, kPageSize))) {
    return map_error(path, bytes, errno);
  }
  return region;
}

bool Region::remap() noexcept {
  constexpr int kProtection = PROT_READ | PROT_WRITE;
  if (::mmap(data_, bytes_, kProtection, MAP_SHARED | MAP_FIXED, fd_.get(), 0) == MAP_FAILED) return false;
  ::madvise(data_, bytes_, MADV_DONTDUMP);
  return true;
}

Result<Region> Region::attach(const std::string& path, RegionKind kind, Access access, const Trust& trust) {
  Result<Region> region = open(path, kind, access, trust);
  if (region && region->given_up()) {
    return Status(StatusCode::kNoServer, "the server of " + path + " has stopped");
  }
  return region;
}

bool Region::given_up() const noexcept {
  // [region.attach] acquire; pairs with [region.publish]: the rest of the region is complete
  return header().state.load(std::memory_order_acquire) == kRegionClosed;
}

std::uint64_t Region::page_bytes() const noexcept {
  struct stat facts {};
  return ::fstat(fd_.get(), &facts) == 0 ? static_cast<std::uint64_t>(facts.st_blksize) : kPageSize;
}

int Region::populate_quietly(std::uint64_t offset, std::uint64_t size) noexcept {
  return allocate_pages(fd_.get(), offset, size);
}

Status Region::populate(std::uint64_t offset, std::uint64_t size) {
  const int error = populate_quietly(offset, size);
  if (error == 0) return {};
  if (error == EFBIG) {
    return {StatusCode::kFull, "cannot populate " + path_ + ": the file size limit (ulimit -f) is too low"};
  }
  return {StatusCode::kFull, "cannot populate " + std::to_string(size) + " bytes of " + path_ + ": " +
                                 error_text(error) +
                                 "; enlarge the file system (in a container --shm-size), or use another one (--dir)"};
}

std::uint64_t Region::room() const noexcept {
  struct statfs facts {};
  // A file system in memory without a limit reports 0 blocks.
  if (::fstatfs(fd_.get(), &facts) != 0 || facts.f_blocks == 0) return ~std::uint64_t{0};
  return static_cast<std::uint64_t>(facts.f_bavail) * static_cast<std::uint64_t>(facts.f_bsize);
}

bool Region::make_readable(std::uint64_t offset, std::uint64_t size) const noexcept {
  return ::mprotect(data_ + offset, size, PROT_READ) == 0;
}

void Region::shorten(std::uint64_t bytes) noexcept {
  if (data_ == nullptr || bytes >= bytes_) return;
  ::munlock(data_, bytes_);
  if (::munmap(data_ + bytes, bytes_ - bytes) == 0) bytes_ = bytes;
}

std::uint64_t Region::held_bytes() const noexcept {
  constexpr std::uint64_t kStatBlock = 512;  // stat(2): st_blocks counts these, whatever the file system's own blocks
  struct stat facts {};
  return ::fstat(fd_.get(), &facts) == 0 ? static_cast<std::uint64_t>(facts.st_blocks) * kStatBlock : 0;
}

void Region::free_pages(std::uint64_t offset, std::uint64_t size) noexcept {
  hostmap::free_pages(fd_.get(), offset, size);
}

std::uint64_t Region::collapse(std::uint64_t offset, std::uint64_t size) noexcept {
  return ::madvise(data_ + offset, size, MADV_COLLAPSE) == 0 ? size : 0;
}

void Region::prefault() noexcept {
  off_t begin = 0;
  while ((begin = ::lseek(fd_.get(), begin, SEEK_DATA)) >= 0 && static_cast<std::uint64_t>(begin) < bytes_) {
    off_t end = ::lseek(fd_.get(), begin, SEEK_HOLE);
    if (end < 0) return;
    const std::uint64_t size = std::min(static_cast<std::uint64_t>(end), bytes_) - static_cast<std::uint64_t>(begin);
    if (::madvise(data_ + begin, size, MADV_POPULATE_WRITE) != 0) return;  // before Linux 5.14
    begin = end;
  }
}

void Region::write_header(RegionKind kind, std::uint64_t incarnation) noexcept {
  RegionHeader& h = header();
  h.magic = kMagic;
  h.layout_version = kLayoutVersion;
  h.kind = kind;
  h.fingerprint = kFingerprint;
  h.bytes = bytes_;
  h.incarnation = incarnation;
  h.name_hash = name_hash_of(path_);
}

void Region::publish() noexcept {
  // [region.publish] release; pairs with [region.attach]
  header().state.store(kRegionReady, std::memory_order_release);
}

}  // namespace hostmap
