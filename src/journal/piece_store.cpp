#include "journal/piece_store.hpp"

#include "base/file.hpp"
#include "layout/journal.hpp"

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
  return allocate_pages(file_, at(place), bytes) == 0;
}

bool PieceStore::write(Place place, std::uint64_t offset, std::span<const std::byte> bytes) const noexcept {
  return write_all(file_, bytes, at(place) + offset);
}

bool PieceStore::read(Place place, std::uint64_t offset, std::span<std::byte> bytes) const noexcept {
  return read_all(file_, bytes, at(place) + offset);
}

void PieceStore::forget(Place place, std::uint64_t bytes) const noexcept {
  free_pages(file_, at(place), round_up(bytes, std::uint64_t{kPageSize}));
}

}  // namespace hostmap
