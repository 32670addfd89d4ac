// Region: one file of shared memory, mapped. RAII over open, mmap, munmap; unlinking is an explicit act.
//
// Threads: create, attach and the destructor belong to one thread; the layout says which threads use the mapping.
//
// Invariants
// 1. A created region is new: O_EXCL and O_NOFOLLOW, so no FIFO, symlink or file of another user is ever opened for it.
// 2. No page of a region is touched before fallocate has populated it: a full tmpfs is an error and never a SIGBUS.
// 3. An attached region was a regular file with one name, of an acceptable owner, ready, of this layout version and
//    fingerprint, and at least as large as its header says, before anything else of it was read.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <sys/types.h>

#include <hostmap/status.hpp>

#include "base/unique_fd.hpp"
#include "layout/region.hpp"
#include "shm/names.hpp"

namespace hostmap {

// kReadParts: read-only, but at first only the first line of the region is readable; see Region::make_readable().
enum class Access : std::uint8_t { kReadOnly, kReadWrite, kReadParts };
// What the members of the group that shares an instance may do with one of its files.
enum class Sharing : std::uint8_t { kRead, kReadAndWrite };

// An existing file, checked before anything of it is mapped for use.
struct RegionFile {
  UniqueFd fd;
  std::uint64_t bytes = 0;
  std::uint64_t inode = 0;
  uid_t owner = 0;
};

class Region {
 public:
  Region() noexcept = default;
  Region(Region&&) noexcept;
  Region& operator=(Region&&) noexcept;
  ~Region();

  // Creates `path`, `bytes` long and sparse, and maps it read-write. kInvalid: a file of this name exists already, or `path`
  // is too long; kFull: no inode, descriptor or address space left; kPermission.
  static Result<Region> create(const std::string& path, std::uint64_t bytes, mode_t mode);

  // Makes a region of a file that the caller has opened and owns (the journal, which is locked before it is sized). On
  // hugetlbfs its length becomes a whole number of that file system's pages.
  static Result<Region> from_descriptor(UniqueFd&& fd, const std::string& path, std::uint64_t bytes);

  // Maps such a region again, as far as its header says; the rest of the file does not belong to the region.
  static Result<Region> map_proper(UniqueFd&& fd, const std::string& path);

  // Maps an existing region of `kind`. kNoServer: no such file, or not ready yet; kOtherVersion; kPermission: not readable,
  // or of an untrusted owner; kInvalid: not a region. A region that its server has given up is kNoServer.
  // `trust`: which other owners are acceptable (see open_region_file).
  static Result<Region> attach(const std::string& path, RegionKind kind, Access access, const Trust& trust = {});
  // The same without an access to the mapping, for a server that must first guard it: every process that can write a region
  // can truncate it. A region that its server has given up is mapped, too.
  static Result<Region> open(const std::string& path, RegionKind kind, Access access, const Trust& trust = {});
  // Maps a file that open_region_file() has opened, whatever its header says. kNoServer: it is empty.
  static Result<Region> map_file(RegionFile&& file, const std::string& path, Access access);

  // Lets the members of `group` open it, and no other user but its owner. kPermission: this process may not change its group.
  Status share(Sharing with, gid_t group) const;
  uid_t owner() const noexcept;

  // The page size of its file system.
  std::uint64_t page_bytes() const noexcept;

  // Populates bytes [offset, offset + size) with zeroed pages; a file that was truncated is extended to that length again.
  // kFull: the file system has no pages left; pages populated before stay. Blocks for as long as the kernel zeroes pages.
  Status populate(std::uint64_t offset, std::uint64_t size);
  // The same, for threads that must not allocate: 0, or the errno of the failure.
  int populate_quietly(std::uint64_t offset, std::uint64_t size) noexcept;

  // Bytes that its file system has free: without a limit, the largest number. Makes a system call.
  std::uint64_t room() const noexcept;

  // For kReadParts: makes [offset, offset + size), whole pages, readable. False: the system refused.
  bool make_readable(std::uint64_t offset, std::uint64_t size) const noexcept;

  // For kReadParts: unmaps all after the first `bytes`, whole pages; the rest no longer counts as locked memory. Nobody may access it, nor make it readable.
  void shorten(std::uint64_t bytes) noexcept;

  // Bytes of the file's pages: more than was populated if a program has mapped all of it and read there. Makes a system call.
  std::uint64_t held_bytes() const noexcept;
  // Frees pages: bytes [offset, offset + size), whole pages, are zeroes again and take no memory.
  void free_pages(std::uint64_t offset, std::uint64_t size) noexcept;

  // Requests 2 MiB pages under [offset, offset + size), both multiples of 2 MiB and populated. Returns the bytes that have
  // them now: 0 if the kernel (before 6.1) or its memory provides none.
  std::uint64_t collapse(std::uint64_t offset, std::uint64_t size) noexcept;

  // Maps the pages that the file has, as far as it can, so that the first stores to them do not fault.
  void prefault() noexcept;

  // Fills the header except `state`; publish() stores that.
  void write_header(RegionKind kind, std::uint64_t incarnation) noexcept;
  void publish() noexcept;
  bool given_up() const noexcept;
  std::uint64_t device() const noexcept { return device_; }
  std::uint64_t inode() const noexcept { return inode_; }

  // Maps the file again at the same place, over pages that were mapped to other memory. Other threads may read there
  // meanwhile. False: the system refused, and the mapping is unchanged.
  bool remap() noexcept;

  // Removes the region's name, if it still leads to this region: it may have been removed, and another server may have
  // created a region of the same name.
  void unlink_name() const noexcept;
  void unmap() noexcept;
  // Unmaps, and returns the file open: closing it would drop its lock.
  UniqueFd release_file() noexcept;
  // Replaces the mapping by private zeroed memory and closes the file: its pages are freed, while threads that still read the
  // mapping see zeroes and no fault.
  // False: the system refused, and the mapping is unchanged.
  bool discard(Access access) noexcept;
  // Closes the file; the mapping stays. If the program that uses this library has closed the descriptor and its number now
  // belongs to another file of the program, nothing is closed.
  void close_file() noexcept;

  explicit operator bool() const noexcept { return data_ != nullptr; }
  std::byte* data() const noexcept { return data_; }
  std::uint64_t bytes() const noexcept { return bytes_; }
  int fd() const noexcept { return fd_.get(); }
  const std::string& path() const noexcept { return path_; }
  RegionHeader& header() const noexcept { return *at<RegionHeader>(0); }

  template <typename T>
  T* at(std::uint64_t offset) const noexcept {
    return reinterpret_cast<T*>(data_ + offset);
  }

 private:
  Region(UniqueFd fd, std::byte* data, std::uint64_t bytes, std::string path) noexcept;
  static Result<Region> map(UniqueFd&& fd, const std::string& path, std::uint64_t bytes, int protection);

  UniqueFd fd_;
  std::byte* data_ = nullptr;
  std::uint64_t bytes_ = 0;
  std::string path_;
  dev_t device_ = 0;  // identifies the file, with the inode
  ino_t inode_ = 0;
};

// The name of a file that was just created: removed again unless keep() is called.
class NewName {
 public:
  explicit NewName(const std::string& path) noexcept : path_(&path) {}
  explicit NewName(std::string&&) = delete;  // it must live as long
  ~NewName();
  NewName(const NewName&) = delete;
  NewName& operator=(const NewName&) = delete;
  void keep() noexcept { path_ = nullptr; }

 private:
  const std::string* path_;
};

// Like Region::share(), for a file that is not a region.
Status share_file(int fd, const std::string& path, Sharing with, gid_t group);

// Does this kernel report that it provides no 2 MiB pages for files in memory? (Before Linux 6.1, or built without.)
bool large_pages_refused() noexcept;

// Removes the name `path` if it leads to the open file `fd`.
void unlink_if_same(const std::string& path, int fd) noexcept;

// Does the name `path` lead to the open file `fd`? Also true where that cannot be determined.
bool is_named(const std::string& path, int fd) noexcept;

// Opens `path` without following links and without blocking on a FIFO, and checks that it is a regular file with an
// acceptable owner: the caller's user, root, or an owner that `trust` names.
Result<RegionFile> open_region_file(const std::string& path, Access access, const Trust& trust = {});

// Reads the header of an open file and checks that it is a region: kNoServer when it is not ready (yet), kOtherVersion,
// kInvalid. `kind` must match. A file with several names (anybody may add one) is the region under the name that it was
// created with, and under no other: kInvalid. `bytes` becomes the current size of the file, which may have been built
// meanwhile.
Status check_region_header(int fd, std::uint64_t& bytes, const std::string& path, RegionKind kind);

}  // namespace hostmap
