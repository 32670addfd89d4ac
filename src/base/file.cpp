#include "base/file.hpp"

#include <cerrno>
#include <fcntl.h>
#include <linux/falloc.h>
#include <unistd.h>

namespace hostmap {

namespace {

// Calls move(done) until it has moved `size` bytes: it moves some from `done` on, and returns how many, as pread and pwrite do.
template <typename Move>
bool move_all(std::uint64_t size, const Move& move) noexcept {
  for (std::uint64_t done = 0; done < size;) {
    const ssize_t moved = move(done);
    if (moved < 0 && errno == EINTR) continue;
    if (moved <= 0) return false;
    done += static_cast<std::uint64_t>(moved);
  }
  return true;
}

}  // namespace

bool write_all(int file, std::span<const std::byte> bytes, std::uint64_t offset) noexcept {
  return move_all(bytes.size(), [&](std::uint64_t done) {
    return ::pwrite(file, bytes.data() + done, bytes.size() - done, static_cast<off_t>(offset + done));
  });
}

bool read_all(int file, std::span<std::byte> bytes, std::uint64_t offset) noexcept {
  return move_all(bytes.size(), [&](std::uint64_t done) {
    return ::pread(file, bytes.data() + done, bytes.size() - done, static_cast<off_t>(offset + done));
  });
}

int allocate_pages(int file, std::uint64_t offset, std::uint64_t size) noexcept {
  while (::fallocate(file, 0, static_cast<off_t>(offset), static_cast<off_t>(size)) != 0) {
    if (errno != EINTR) return errno;
  }
  return 0;
}

void free_pages(int file, std::uint64_t offset, std::uint64_t size) noexcept {
  static_cast<void>(::fallocate(file, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, static_cast<off_t>(offset),
                                static_cast<off_t>(size)));
}

}  // namespace hostmap
