// Journal region: the server's alone. What a restart needs and nobody else may touch.
//
//   0      RegionHeader
//   64     counts
//   128    serials          last connection serial given
//   4096   intents[32]      one per lane: what the worker is about to do
//   12288  connections[max_connections]               64 bytes each
//   then   positions[max_connections][2 * lane_count]  128 bytes each, one per channel
//   then   slab_classes[arena_bytes / slab]         1 byte each
//   behind them, while no server runs: what the last one knew of the arena, if it stopped in order (HandoverHead, then
//          owners[slabs], 1 byte each, then the bits of used blocks of each slab that has an owner)
//   far behind, in the file alone: requests that arrive in pieces while the table is full (journal/piece_store.hpp)
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>

#include "layout/region.hpp"

namespace hostmap {

// Intent::kind: whether a request is about to be committed, and what its commit stores, which shows whether it did.
enum class IntentKind : std::uint64_t {
  kOpen = 0,         //    nothing to say: being written, or its request is done
  kAnswer = 1,       // N: changes nothing                         its answer in the ring shows it
  kValue = 2,        // V: value word in place                     compare the word
  kPairInsert = 3,   // +: pair header, bit on                     compare the bit
  kPairErase = 4,    // -: pair header, bit off                    compare the bit
  kCell = 5,         // C: cell = new word, or 0                   compare the cell
  kMoveToEntry = 6,  // O: cell = entry, then pair header bit off  compare the bit
  kMoveToPair = 7,   // I: pair header bit on, then cell = 0       compare the bit
  kFill = 8,         // F: clear                                   compare fill
};

// The first line is all that most requests write.
struct Intent {
  Word kind;
  Word serial;
  Word channel;
  Word request_next;
  Word answer_next;
  Word place;
  Word new_word;
  Word answer[2];
  Word move_cell;
  Word move_word;
  Word reserved[21];
};
HOSTMAP_LAYOUT(Intent, 256, 8) = {
    HOSTMAP_AT(Intent, kind, 0, "IntentKind: what is stored, and so what shows whether it was; stored last; 0: open"),
    HOSTMAP_AT(Intent, serial, 8, "of the connection"),
    HOSTMAP_AT(Intent, channel, 16, "of the connection"),
    HOSTMAP_AT(Intent, request_next, 24, "position after the request"),
    HOSTMAP_AT(Intent, answer_next, 32,
               "position after its answer; where the channel's answers end already: there is none"),
    HOSTMAP_AT(Intent, place, 40, "offset of value word or cell, or of a pair bucket + occupancy bit"),
    HOSTMAP_AT(Intent, new_word, 48, "of a word, cell or fill: its new value"),
    HOSTMAP_AT(Intent, answer, 56, "header word and, for numbers, payload, if it has one"),
    HOSTMAP_AT(Intent, move_cell, 72, "of a move between the forms: the cell's offset"),
    HOSTMAP_AT(Intent, move_word, 80, "and its word"),
    HOSTMAP_AT(Intent, reserved, 88, "zero"),
};

struct ConnectionRecord {
  Word serial;
  Word id;
  Word request_nonce;
  Word answer_nonce;
  Word channels_open;
  Word inode;
  Word reserved[2];
};
HOSTMAP_LAYOUT(ConnectionRecord, 64, 8) = {
    HOSTMAP_AT(ConnectionRecord, serial, 0, "0: free; stored last when a connection is made, first when it is dropped"),
    HOSTMAP_AT(ConnectionRecord, id, 8,
               "as in the region's name; stored before that file exists, and kept when it is free"),
    HOSTMAP_AT(ConnectionRecord, request_nonce, 16, "the server's own copy"),
    HOSTMAP_AT(ConnectionRecord, answer_nonce, 24, "likewise"),
    HOSTMAP_AT(ConnectionRecord, channels_open, 32, "bit per channel"),
    HOSTMAP_AT(ConnectionRecord, inode, 40, "its region's file, which its client can write; 0: unknown"),
    HOSTMAP_AT(ConnectionRecord, reserved, 48, "zero"),
};

// What requests leave behind besides their effect on the table. A request that changes it writes the one of two memos that
// does not count; which one counts is decided by the store of `request_next`, as everything else about the request is: the one
// with the higher position that is not above request_next.
struct ChannelMemo {
  Word position;
  Word refused;
  Word received;
};
HOSTMAP_LAYOUT(ChannelMemo, 24, 8) = {
    HOSTMAP_AT(ChannelMemo, position, 0, "after the request that wrote it"),
    HOSTMAP_AT(ChannelMemo, refused, 8,
               "unanswered writes refused since the last flush · 256 + the first one's status"),
    HOSTMAP_AT(ChannelMemo, received, 16, "bytes of the request in pieces so far; all ones: no such request"),
};
inline constexpr std::uint64_t kNoStream = ~std::uint64_t{0};
// ChannelPosition::stream_entry: the pieces lie in the journal's file (journal/piece_store.hpp).
inline constexpr std::uint64_t kHeldInJournal = 1;

// The positions of one channel of one connection. The rings' own words are only for the peer.
struct ChannelPosition {
  Word request_next;
  Word answer_next;
  Word stream_entry;
  Word stream_head;
  ChannelMemo memos[2];
  Word stream_end;
  Word reserved[5];
};
HOSTMAP_LAYOUT(ChannelPosition, 128, 8) = {
    HOSTMAP_AT(ChannelPosition, request_next, 0, "next request to read"),
    HOSTMAP_AT(ChannelPosition, answer_next, 8, "next answer to write"),
    HOSTMAP_AT(ChannelPosition, stream_entry, 16,
               "of a request in pieces: offset of the entry that they fill; 0: none; 1: held in the journal's file"),
    HOSTMAP_AT(ChannelPosition, stream_head, 24,
               "and its header word, with a status in place of the flags if the pieces are discarded"),
    HOSTMAP_AT(ChannelPosition, memos, 32, "ChannelMemo each: the higher position not above request_next counts"),
    HOSTMAP_AT(ChannelPosition, stream_end, 80, "when the key of the request in pieces ends"),
    HOSTMAP_AT(ChannelPosition, reserved, 88, "zero"),
};

struct JournalHeader {
  RegionHeader region;
  std::uint32_t max_connections;
  std::uint32_t lane_count;
  std::uint64_t slab_count;
  std::uint64_t ring_bytes;
  std::uint64_t checksum;
  std::uint64_t reserved_constants[4];
  Word serials;
  std::uint8_t reserved[3960];
  Intent intents[kMaxLanes];
};
HOSTMAP_LAYOUT(JournalHeader, 12288, 8) = {
    HOSTMAP_AT(JournalHeader, region, 0, "as above"),
    HOSTMAP_AT(JournalHeader, max_connections, 64, "records and rows of positions"),
    HOSTMAP_AT(JournalHeader, lane_count, 68, "of the instance"),
    HOSTMAP_AT(JournalHeader, slab_count, 72, "slab classes"),
    HOSTMAP_AT(JournalHeader, ring_bytes, 80, "of each ring"),
    HOSTMAP_AT(JournalHeader, checksum, 88, "of all above"),
    HOSTMAP_AT(JournalHeader, reserved_constants, 96, "zero"),
    HOSTMAP_AT(JournalHeader, serials, 128, "last connection serial given"),
    HOSTMAP_AT(JournalHeader, reserved, 136, "zero"),
    HOSTMAP_AT(JournalHeader, intents, 4096, "one per lane"),
};

using SlabClass = std::atomic<std::uint8_t>;
static_assert(sizeof(SlabClass) == 1 && SlabClass::is_always_lock_free);

inline constexpr std::uint64_t kConnectionRecordsOffset = sizeof(JournalHeader);
inline constexpr std::uint64_t positions_offset(std::uint32_t connections) noexcept {
  return kConnectionRecordsOffset + std::uint64_t{connections} * sizeof(ConnectionRecord);
}
inline constexpr std::uint64_t slab_classes_offset(std::uint32_t connections, std::uint32_t lanes) noexcept {
  return positions_offset(connections) + std::uint64_t{connections} * 2 * lanes * sizeof(ChannelPosition);
}
inline constexpr std::uint64_t journal_bytes(std::uint32_t connections, std::uint32_t lanes,
                                             std::uint64_t slabs) noexcept {
  return round_up(slab_classes_offset(connections, lanes) + slabs, std::uint64_t{kPageSize});
}

// The hand-over summary of a server that stops and keeps its map, so that the next one need not read every cell of the table.
// It lies behind the journal proper, is written and read as a file, and counts only as long as nobody has served since.
struct HandoverHead {
  std::uint64_t magic;
  std::uint64_t incarnation;
  std::uint64_t server_generation;
  std::uint64_t slabs;
  std::uint64_t bytes;
  std::uint64_t checksum;
};
HOSTMAP_LAYOUT(HandoverHead, 48, 8) = {
    HOSTMAP_AT(HandoverHead, magic, 0, "\"handover\"; after the journal, present after a stop that keeps the map"),
    HOSTMAP_AT(HandoverHead, incarnation, 8, "the journal's"),
    HOSTMAP_AT(HandoverHead, server_generation, 16, "the table's, of the server that stopped"),
    HOSTMAP_AT(HandoverHead, slabs, 24, "populated; their owners follow, 1 byte each"),
    HOSTMAP_AT(HandoverHead, bytes, 32, "after this head: owners, then used blocks' bits of each owned slab"),
    HOSTMAP_AT(HandoverHead, checksum, 40, "of the above and those bytes"),
};
inline constexpr std::uint64_t kHandoverMagic = 0x7265'766f'646e'6168;  // "handover"

}  // namespace hostmap
