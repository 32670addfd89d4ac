// THE MAP of every region: what lies where in shared memory, who writes it, who reads it.
//
//   /NAME-master          rendezvous: counter, mailboxes, bells        clients and server write; nothing here is trusted
//   /NAME-table           the hash table                               the server writes, clients map it read-only
//   /NAME-journal         intents, positions, slab classes             the server's alone (mode 0600)
//   /NAME-connection-ID   one client's rings                           this client and the server write
//   /NAME-alive           an empty file whose lock says: a server lives
//
// Rules for everything here: fixed-width integers and lock-free atomics of them; offsets instead of pointers, counted from
// the region's start; 64-byte lines, hot words of different writers 128 bytes apart; reserved bytes are zero; little-endian.
// Below each struct, HOSTMAP_LAYOUT lists its fields with offset and purpose; docs/reference/memory-layout.md shows the same.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <type_traits>

#include <hostmap/version.hpp>  // kLayoutVersion

#include "base/hash.hpp"
#include "base/platform.hpp"

namespace hostmap {

using Word = std::atomic<std::uint64_t>;
using HalfWord = std::atomic<std::uint32_t>;
using LaneWorker = std::atomic<std::uint8_t>;
static_assert(Word::is_always_lock_free && sizeof(Word) == 8 && alignof(Word) == 8);
static_assert(HalfWord::is_always_lock_free && sizeof(HalfWord) == 4 && alignof(HalfWord) == 4);
static_assert(LaneWorker::is_always_lock_free && sizeof(LaneWorker) == 1);

// The fields of a struct, as listed below it by HOSTMAP_LAYOUT: the one place that says where a field lies and what it is for. The
// compiler verifies the offsets; a test verifies that no byte is left out, and that docs/reference/memory-layout.md shows
// the same rows. (Only that test uses the lists.)
struct LayoutField {
  const char* name;
  std::uint64_t offset;
  std::uint64_t size;
  std::uint64_t elements;  // of an array; 0: it is none
  const char* purpose;
};
template <typename Struct>
inline constexpr LayoutField kLayoutOf[1] = {};

template <typename Member, bool kIsAtThisOffset>
consteval LayoutField layout_field(const char* name, std::uint64_t offset, const char* purpose) {
  static_assert(kIsAtThisOffset, "the layout has changed: this field is not at this offset");
  return {name, offset, sizeof(Member), std::extent_v<Member>, purpose};
}

#define HOSTMAP_LAYOUT(type, bytes, alignment)                                                              \
  static_assert(sizeof(type) == (bytes) && alignof(type) == (alignment) && std::is_standard_layout_v<type>, \
                "the layout has changed: " #type);                                                          \
  template <>                                                                                               \
  inline constexpr LayoutField kLayoutOf<type>[]
#define HOSTMAP_AT(type, member, offset, purpose) \
  layout_field<decltype(type::member), offsetof(type, member) == (offset)>(#member, offset, purpose)

// ---------------------------------------------------------------------------------------------------------------------
// Every region begins with this line.
//
//   0       8        12     16            24      32            40      48          56         64
//   | magic | version| kind | fingerprint | bytes | incarnation | state | name_hash | reserved |
//
// Its first 16 bytes and `state` never move, so that any version can identify any other.

inline constexpr std::uint64_t kMagic = 0x0070616d'74736f68;  // "hostmap\0"

enum class RegionKind : std::uint32_t { kMaster = 1, kTable = 2, kJournal = 3, kConnection = 4 };

// RegionHeader::state. Stored last when a region is built: whoever sees kReady sees everything before it.
enum RegionState : std::uint64_t {
  kRegionBuilding = 0,
  kRegionReady = 1,
  kRegionClosed = 2,  // its server has given it up: connect anew
};

struct RegionHeader {
  std::uint64_t magic;
  std::uint32_t layout_version;
  RegionKind kind;
  std::uint64_t fingerprint;
  std::uint64_t bytes;
  std::uint64_t incarnation;
  Word state;
  std::uint64_t name_hash;
  std::uint64_t reserved;
};
HOSTMAP_LAYOUT(RegionHeader, 64, 8) = {
    HOSTMAP_AT(RegionHeader, magic, 0, "\"hostmap\\0\""),
    HOSTMAP_AT(RegionHeader, layout_version, 8, "of this page; another one is refused by number"),
    HOSTMAP_AT(RegionHeader, kind, 12, "1 master, 2 table, 3 journal, 4 connection"),
    HOSTMAP_AT(RegionHeader, fingerprint, 16, "of the hash and of struct sizes: a build that differs is refused"),
    HOSTMAP_AT(RegionHeader, bytes, 24, "size of the file; one that is shorter is refused"),
    HOSTMAP_AT(RegionHeader, incarnation, 32, "random, the same in all regions of one server's start"),
    HOSTMAP_AT(RegionHeader, state, 40, "0 being built, 1 ready, 2 given up; stored last"),
    HOSTMAP_AT(RegionHeader, name_hash, 48, "of the file's name without its folder: a hard link does not count"),
    HOSTMAP_AT(RegionHeader, reserved, 56, "zero"),
};

// Of the constants of a region's head: what never changes in this header, and what follows it up to byte `end` of the region.
inline std::uint64_t checksum_of_head(const RegionHeader& header, std::uint64_t end) noexcept {
  const auto* bytes = reinterpret_cast<const std::byte*>(&header);
  const std::uint64_t sum = hash_bytes(bytes, offsetof(RegionHeader, state), 0);
  return hash_bytes(bytes + sizeof(RegionHeader), end - sizeof(RegionHeader), sum);
}

// ---------------------------------------------------------------------------------------------------------------------
// Limits that size structs.

inline constexpr std::uint32_t kMaxLanes = 32;
inline constexpr std::uint32_t kMaxChannels = 2 * kMaxLanes;  // of a connection; fit one word's bits
inline constexpr std::uint32_t kMaxConnections = 65536;
inline constexpr std::uint64_t kMaxKeyBytes = 65536;
inline constexpr std::uint64_t kMaxValueBytes = std::uint64_t{1} << 30;  // upper bound of --max-value

}  // namespace hostmap
