// Master region: where strangers meet.
//
//   0      RegionHeader
//   64     mailbox_count, lane_count
//   128    counter            last connection id given; clients add 1
//   256    server_bell        rung when a mailbox asks, when a lane is wanted, when a client closes
//   384    worker_bells[32]   rung when a worker is parked (futex calls only: never loaded or stored by a put)
//   4480   idle_hints[32]     one line per worker: which idle channels have a record (futex calls only, likewise)
//   8192   mailboxes[mailbox_count], 64 bytes each; the mailbox of id is id mod mailbox_count
#pragma once

#include <cstddef>
#include <cstdint>

#include "layout/region.hpp"

namespace hostmap {

struct alignas(kLinePair) Bell {
  HalfWord rings;
  std::uint32_t reserved[31];
};
HOSTMAP_LAYOUT(Bell, 128, 128) = {
    HOSTMAP_AT(Bell, rings, 0, "futex; only ever added to"),
    HOSTMAP_AT(Bell, reserved, 4, "zero"),
};

// Mailbox::word = {id : 56 | state : 8}. The futex is its low half.
enum MailboxState : std::uint64_t {
  kMailboxFree = 0,          // by server or whoever gives up; next: claimed
  kMailboxClaimed = 1,       // by a client that will ask
  kMailboxAsked = 2,         // by that client; the server creates the connection
  kMailboxReady = 3,         // by the server; the client attaches and locks
  kMailboxAttached = 4,      // by the client: it holds its lock; the server frees the mailbox
  kMailboxFull = 5,          // by the server: no connection left
  kMailboxNoMemory = 6,      // by the server: the region could not be populated
  kMailboxNoDescriptor = 7,  // by the server: its process may not open another file
};
inline constexpr std::uint64_t kIdMask = (std::uint64_t{1} << 56) - 1;  // ids are the counter's low 56 bits
inline constexpr std::uint64_t mailbox_word(std::uint64_t id, MailboxState state) noexcept { return id << 8 | state; }
inline constexpr std::uint64_t mailbox_id(std::uint64_t word) noexcept { return word >> 8; }
inline constexpr MailboxState mailbox_state(std::uint64_t word) noexcept {
  return static_cast<MailboxState>(word & 0xff);
}

struct alignas(kCacheLine) Mailbox {
  Word word;
  HalfWord pid;
  std::uint32_t reserved[13];
};
HOSTMAP_LAYOUT(Mailbox, 64, 64) = {
    HOSTMAP_AT(Mailbox, word, 0, "id and state, below; its low half is a futex"),
    HOSTMAP_AT(Mailbox, pid, 8, "of the client, for diagnosis; nothing depends on it"),
    HOSTMAP_AT(Mailbox, reserved, 12, "zero"),
};

struct MasterHeader {
  RegionHeader region;
  std::uint32_t mailbox_count;
  std::uint32_t lane_count;
  std::uint64_t reserved_constants[7];
  alignas(kLinePair) Word counter;
  Bell server_bell;
  Bell worker_bells[kMaxLanes];
};
HOSTMAP_LAYOUT(MasterHeader, 4480, 128) = {
    HOSTMAP_AT(MasterHeader, region, 0, "as above"),
    HOSTMAP_AT(MasterHeader, mailbox_count, 64, "the mailbox of id is number id mod this"),
    HOSTMAP_AT(MasterHeader, lane_count, 68, "of the instance"),
    HOSTMAP_AT(MasterHeader, reserved_constants, 72, "zero"),
    HOSTMAP_AT(MasterHeader, counter, 128, "last connection id given; clients add 1"),
    HOSTMAP_AT(MasterHeader, server_bell, 256, "rung when a client requests a connection or a lane, or closes"),
    HOSTMAP_AT(MasterHeader, worker_bells, 384, "rung when that worker is parked"),
};

// Behind the header, and no part of it: its size is part of the fingerprint, and clients that know nothing of hints may stay.
// Bit b of the line stands for the connections whose id is b modulo kIdleBuckets.
inline constexpr std::uint32_t kIdleBuckets = 512;
struct alignas(kCacheLine) IdleHints {
  HalfWord words[kIdleBuckets / 32];
};
HOSTMAP_LAYOUT(IdleHints, 64, 64) = {
    HOSTMAP_AT(IdleHints, words, 0, "a bit for each connection id modulo 512; clients set, the worker clears"),
};
inline constexpr std::uint64_t kIdleHintsOffset = sizeof(MasterHeader);

// One for each connection, and not too few.
inline constexpr std::uint32_t mailboxes_for(std::uint32_t max_connections) noexcept {
  constexpr std::uint32_t kLeast = 1024;
  return max_connections < kLeast ? kLeast : max_connections;
}
inline constexpr std::uint64_t kMailboxesOffset = 8192;
static_assert(kIdleHintsOffset % kCacheLine == 0 &&
              kIdleHintsOffset + kMaxLanes * sizeof(IdleHints) <= kMailboxesOffset);
inline constexpr std::uint64_t master_bytes(std::uint32_t mailboxes) noexcept {
  return round_up(kMailboxesOffset + mailboxes * sizeof(Mailbox), std::uint64_t{kPageSize});
}

}  // namespace hostmap
