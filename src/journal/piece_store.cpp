#include "journal/piece_store.hpp"

#include <cerrno>
#include <fcntl.h>
#include <linux/falloc.h>
#include <unistd.h>

namespace hostmap {

namespace {

// More than any request is long: a key and, of a compare_exchange, two values. The file is sparse.
constexpr std::uint64_t kPlaceBytes = std::uint64_t{1} << 32;
static_assert(kPlaceBytes > 2 * kMaxValueBytes + kMaxKeyBytes + kPageSize);
// Of a slab, the hand-over summary has its owner and at most as many bytes of bits.
constexpr std::uint64_t kToldOfASlab = 512;

}  // namespace

std::uint64_t PieceStore::first_place(const JournalHeader& header) noexcept {
  return round_up(header.region.bytes + sizeof(HandoverHead) + header.slab_count * kToldOfASlab, kPlaceBytes);
}

std::uint64_t PieceStore::at(Place place) const noexcept {
  return first_ + (std::uint64_t{place.index} * 2 * lanes_ + place.channel) * kPlaceBytes;
}

bool PieceStore::reserve(Place place, std::uint64_t bytes) const noexcept {
  while (::fallocate(file_, 0, static_cast<off_t>(at(place)), static_cast<off_t>(bytes)) != 0) {
    if (errno != EINTR) return false;
  }
  return true;
}

bool PieceStore::write(Place place, std::uint64_t offset, std::span<const std::byte> bytes) const noexcept {
  while (!bytes.empty()) {
    const ssize_t written = ::pwrite(file_, bytes.data(), bytes.size(), static_cast<off_t>(at(place) + offset));
    if (written < 0 && errno == EINTR) continue;
    if (written <= 0) return false;
    offset += static_cast<std::uint64_t>(written);
    bytes = bytes.subspan(static_cast<std::size_t>(written));
  }
  return true;
}

bool PieceStore::read(Place place, std::uint64_t offset, std::span<std::byte> bytes) const noexcept {
  while (!bytes.empty()) {
    const ssize_t got = ::pread(file_, bytes.data(), bytes.size(), static_cast<off_t>(at(place) + offset));
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) return false;
    offset += static_cast<std::uint64_t>(got);
    bytes = bytes.subspan(static_cast<std::size_t>(got));
  }
  return true;
}

void PieceStore::forget(Place place, std::uint64_t bytes) const noexcept {
  // Failing, it leaves them until the next start.
  static_cast<void>(::fallocate(file_, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, static_cast<off_t>(at(place)),
                                static_cast<off_t>(round_up(bytes, std::uint64_t{kPageSize}))));
}

}  // namespace hostmap
