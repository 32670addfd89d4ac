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
  Word kind;    // the seal: stored last, and back to kOpen when the request's positions are stored
  Word serial;  // of the connection
  Word channel;
  Word request_next;  // behind the request
  Word answer_next;   // behind its answer; where the channel's answers stand already: there is none to give
  Word place;         // offset of the value word or cell; of a pair's bit the bucket's offset + the bit
  Word new_word;      // its new value; nothing for a pair's bit
  Word answer[2];     // if there is one: header word and, for numbers, the payload
  Word move_cell;     // a move's cell: offset
  Word move_word;     // and its word
  Word reserved[21];
};
HOSTMAP_SIZE(Intent, 256, 8);
HOSTMAP_AT(Intent, kind, 0);
HOSTMAP_AT(Intent, serial, 8);
HOSTMAP_AT(Intent, channel, 16);
HOSTMAP_AT(Intent, request_next, 24);
HOSTMAP_AT(Intent, answer_next, 32);
HOSTMAP_AT(Intent, place, 40);
HOSTMAP_AT(Intent, new_word, 48);
HOSTMAP_AT(Intent, answer, 56);
HOSTMAP_AT(Intent, move_cell, 72);
HOSTMAP_AT(Intent, move_word, 80);

struct ConnectionRecord {
  Word serial;  // 0: free. Stored last when a connection is made, first when it is dropped
  Word id;
  Word request_nonce;
  Word answer_nonce;
  Word channels_open;
  Word inode;  // its region's file, which its client can write; 0: not said
  Word reserved[2];
};
HOSTMAP_SIZE(ConnectionRecord, 64, 8);
HOSTMAP_AT(ConnectionRecord, serial, 0);
HOSTMAP_AT(ConnectionRecord, id, 8);
HOSTMAP_AT(ConnectionRecord, request_nonce, 16);
HOSTMAP_AT(ConnectionRecord, answer_nonce, 24);
HOSTMAP_AT(ConnectionRecord, channels_open, 32);
HOSTMAP_AT(ConnectionRecord, inode, 40);

// What requests leave behind besides their effect on the table. A request that changes it writes the one of two memos that
// does not count; which one counts is decided by the store of `request_next`, as everything else about the request is: the one
// with the higher position that is not above request_next.
struct ChannelMemo {
  Word position;  // behind the request that left it
  Word refused;   // fire-and-forget writes refused since the last flush: {count:56 | StatusCode of the first one:8}
  Word received;  // bytes of the request that arrives in pieces, so far; kNoStream: there is none
};
HOSTMAP_SIZE(ChannelMemo, 24, 8);
HOSTMAP_AT(ChannelMemo, position, 0);
HOSTMAP_AT(ChannelMemo, refused, 8);
HOSTMAP_AT(ChannelMemo, received, 16);
inline constexpr std::uint64_t kNoStream = ~std::uint64_t{0};
// ChannelPosition::stream_entry: the pieces lie in the journal's file (journal/piece_store.hpp).
inline constexpr std::uint64_t kHeldInJournal = 1;

// The positions of one channel of one connection. The rings' own words are only for the peer.
struct ChannelPosition {
  Word request_next;
  Word answer_next;
  Word
      stream_entry;  // of the request that arrives in pieces: offset of the entry that they fill; 0: none; kHeldInJournal
  Word stream_head;  // and its header word, with the StatusCode in place of the flags if the pieces are thrown away
  ChannelMemo memos[2];
  Word stream_end;  // when the key of that request ends
  Word reserved[5];
};
HOSTMAP_SIZE(ChannelPosition, 128, 8);
HOSTMAP_AT(ChannelPosition, request_next, 0);
HOSTMAP_AT(ChannelPosition, answer_next, 8);
HOSTMAP_AT(ChannelPosition, stream_entry, 16);
HOSTMAP_AT(ChannelPosition, stream_head, 24);
HOSTMAP_AT(ChannelPosition, memos, 32);
HOSTMAP_AT(ChannelPosition, stream_end, 80);

struct JournalHeader {
  RegionHeader region;
  std::uint32_t max_connections;
  std::uint32_t lane_count;
  std::uint64_t slab_count;
  std::uint64_t ring_bytes;
  std::uint64_t checksum;  // of all that stands above
  std::uint64_t reserved_constants[4];
  Word serials;
  std::uint8_t reserved[3960];
  Intent intents[kMaxLanes];
};
HOSTMAP_SIZE(JournalHeader, 12288, 8);
HOSTMAP_AT(JournalHeader, max_connections, 64);
HOSTMAP_AT(JournalHeader, lane_count, 68);
HOSTMAP_AT(JournalHeader, slab_count, 72);
HOSTMAP_AT(JournalHeader, ring_bytes, 80);
HOSTMAP_AT(JournalHeader, checksum, 88);
HOSTMAP_AT(JournalHeader, serials, 128);
HOSTMAP_AT(JournalHeader, intents, 4096);

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
  std::uint64_t magic;              // kHandoverMagic
  std::uint64_t incarnation;        // the journal's
  std::uint64_t server_generation;  // the table's, as the server that stopped had it
  std::uint64_t slabs;              // of the arena that are populated
  std::uint64_t bytes;              // behind this head
  std::uint64_t checksum;           // of all that stands above and of those bytes
};
HOSTMAP_SIZE(HandoverHead, 48, 8);
HOSTMAP_AT(HandoverHead, magic, 0);
HOSTMAP_AT(HandoverHead, incarnation, 8);
HOSTMAP_AT(HandoverHead, server_generation, 16);
HOSTMAP_AT(HandoverHead, slabs, 24);
HOSTMAP_AT(HandoverHead, bytes, 32);
HOSTMAP_AT(HandoverHead, checksum, 40);
inline constexpr std::uint64_t kHandoverMagic = 0x7265'766f'646e'6168;  // "handover"

}  // namespace hostmap
