// Connection region: one client and the server.
//
//   0      RegionHeader
//   64     constants, by the server
//   128    client words: closed, channels wanted, rare-event counters
//   256    server words: closed, channels open
//   4096   channels[2 * lane_count], 384 bytes each: the client's two parts and the server's
//   then, from a page boundary, a touch page for each lane: which keys this client has read
//   then, from a page boundary, for each channel: request ring, answer ring (ring_bytes each, populated when first used)
//
// A channel is a ring pair. A connection has two per lane: channel `lane` carries the writes, by the thread whose turn
// it is (client/turn.hpp); channel `lane_count + lane` carries gets by ring, by any thread under a mutex. So a write does not wait
// for a get.
#pragma once

#include <cstddef>
#include <cstdint>

#include "layout/region.hpp"

namespace hostmap {

struct ClientWords {
  HalfWord closed;
  HalfWord expedited;
  Word channels_wanted;
  Word read_retries;
  Word read_fallbacks;
  Word timeout_rescues;
  Word channel_attempts;
  Word read_hits;
  Word read_misses;
  std::uint64_t reserved[8];
};
// A count of a client, which can write anything there: what one connection says is bounded, so that no sum of many wraps around.
inline std::uint64_t said_by_client(const Word& counter) noexcept {
  constexpr std::uint64_t kMost = std::uint64_t{1} << 32;
  const std::uint64_t said = counter.load(std::memory_order_relaxed);  // relaxed: a figure for diagnosis
  return said < kMost ? said : kMost;
}
HOSTMAP_LAYOUT(ClientWords, 128, 8) = {
    HOSTMAP_AT(ClientWords, closed, 0, "1: the client is done: drain, then drop"),
    HOSTMAP_AT(ClientWords, expedited, 4, "1: it registered for membarrier; its puts need no fence"),
    HOSTMAP_AT(ClientWords, channels_wanted, 8, "bit per channel"),
    HOSTMAP_AT(ClientWords, read_retries, 16, "rounds that a read had to repeat"),
    HOSTMAP_AT(ClientWords, read_fallbacks, 24, "gets that went by ring because of writers"),
    HOSTMAP_AT(ClientWords, timeout_rescues, 32, "waits that ended by timeout although the answer was there"),
    HOSTMAP_AT(ClientWords, channel_attempts, 40, "raised with each request for channels, after channels_wanted"),
    HOSTMAP_AT(ClientWords, read_hits, 48, "direct gets that found their key, counted while keys are evicted"),
    HOSTMAP_AT(ClientWords, read_misses, 56, "likewise: that did not"),
    HOSTMAP_AT(ClientWords, reserved, 64, "zero"),
};

struct ServerWords {
  HalfWord closed;
  HalfWord opened;
  Word channels_open;
  Word channels_refused;
  Word attempts_answered;
  std::uint64_t reserved[12];
};
HOSTMAP_LAYOUT(ServerWords, 128, 8) = {
    HOSTMAP_AT(ServerWords, closed, 0, "1: nothing more will be answered"),
    HOSTMAP_AT(ServerWords, opened, 4, "futex: raised when a channel is opened or refused"),
    HOSTMAP_AT(ServerWords, channels_open, 8, "bit per channel: its rings are populated and swept"),
    HOSTMAP_AT(ServerWords, channels_refused, 16,
               "bit per channel: at the last request there was no memory for its rings"),
    HOSTMAP_AT(ServerWords, attempts_answered, 24,
               "the last channel_attempts that was answered, with the two words above"),
    HOSTMAP_AT(ServerWords, reserved, 32, "zero"),
};

// ChannelControl::waiting, a futex that the client sets and the worker clears.
enum WaitWord : std::uint32_t { kNotWaiting = 0, kWaitingForAnswer = 1, kWaitingForRoom = 2 };

// Three parts that lie apart: the worker loads the first in every sweep, so the client must not dirty its line by taking an
// answer; a call and its answer then move no line but the two of their records.
struct ChannelControl {
  // the client's, stored only when it is about to sleep (except `idle`)
  HalfWord waiting;
  HalfWord idle;
  Word wake_at;
  std::uint64_t reserved_waiting[14];
  // the client's, stored with each answer that it takes; loaded only when the answer ring seems half full
  Word answers_consumed;
  std::uint64_t reserved_client[15];
  // the server's
  Word requests_consumed;
  std::uint64_t reserved_server[15];
};
HOSTMAP_LAYOUT(ChannelControl, 384, 8) = {
    HOSTMAP_AT(ChannelControl, waiting, 0, "futex: 0 no, 1 for an answer, 2 for room; the worker clears it"),
    HOSTMAP_AT(ChannelControl, idle, 4, "by the worker: 1: it polls the channel only now and then; set the hint"),
    HOSTMAP_AT(ChannelControl, wake_at, 8, "waiting for room: wake when this position is consumed"),
    HOSTMAP_AT(ChannelControl, reserved_waiting, 16, "zero"),
    HOSTMAP_AT(ChannelControl, answers_consumed, 128, "position in the answer ring"),
    HOSTMAP_AT(ChannelControl, reserved_client, 136, "zero"),
    HOSTMAP_AT(ChannelControl, requests_consumed, 256,
               "position in the request ring, once a sweep; never ahead of the journal's"),
    HOSTMAP_AT(ChannelControl, reserved_server, 264, "zero"),
};

struct ConnectionHeader {
  RegionHeader region;
  std::uint64_t id;
  std::uint64_t serial;
  std::uint64_t request_nonce;
  std::uint64_t answer_nonce;
  std::uint64_t ring_bytes;
  std::uint32_t lane_count;
  std::uint32_t reserved_half;
  std::uint64_t reserved_constants[2];
  ClientWords client;
  ServerWords server;
  std::uint8_t reserved[3712];
};
HOSTMAP_LAYOUT(ConnectionHeader, 4096, 8) = {
    HOSTMAP_AT(ConnectionHeader, region, 0, "as above"),
    HOSTMAP_AT(ConnectionHeader, id, 64, "as in the region's name"),
    HOSTMAP_AT(ConnectionHeader, serial, 72, "names the connection in the journal; never repeats"),
    HOSTMAP_AT(ConnectionHeader, request_nonce, 80, "odd; of the request rings' tags (buffer/ring.hpp)"),
    HOSTMAP_AT(ConnectionHeader, answer_nonce, 88, "odd; of the answer rings' tags"),
    HOSTMAP_AT(ConnectionHeader, ring_bytes, 96, "of each ring; a power of two"),
    HOSTMAP_AT(ConnectionHeader, lane_count, 104, "of the instance"),
    HOSTMAP_AT(ConnectionHeader, reserved_half, 108, "zero"),
    HOSTMAP_AT(ConnectionHeader, reserved_constants, 112, "zero"),
    HOSTMAP_AT(ConnectionHeader, client, 128, "ClientWords: the client writes"),
    HOSTMAP_AT(ConnectionHeader, server, 256, "ServerWords: the server writes"),
    HOSTMAP_AT(ConnectionHeader, reserved, 384, "zero"),
};

inline constexpr std::uint64_t channel_control_offset(std::uint32_t channel) noexcept {
  return sizeof(ConnectionHeader) + channel * sizeof(ChannelControl);
}
inline constexpr std::uint64_t touch_page_offset(std::uint32_t lane, std::uint32_t lanes) noexcept {
  return round_up(channel_control_offset(2 * lanes), std::uint64_t{kPageSize}) + lane * std::uint64_t{kPageSize};
}
inline constexpr std::uint64_t connection_head_bytes(std::uint32_t lanes) noexcept {
  return touch_page_offset(lanes, lanes);
}
inline constexpr std::uint64_t request_ring_offset(std::uint32_t channel, std::uint32_t lanes,
                                                   std::uint64_t ring_bytes) noexcept {
  return connection_head_bytes(lanes) + channel * 2 * ring_bytes;
}
inline constexpr std::uint64_t answer_ring_offset(std::uint32_t channel, std::uint32_t lanes,
                                                  std::uint64_t ring_bytes) noexcept {
  return request_ring_offset(channel, lanes, ring_bytes) + ring_bytes;
}
inline constexpr std::uint64_t connection_bytes(std::uint32_t lanes, std::uint64_t ring_bytes) noexcept {
  return request_ring_offset(2 * lanes, lanes, ring_bytes);
}

// ---------------------------------------------------------------------------------------------------------------------
// Touch page: while keys are evicted, a client notes here which keys it has read, so that they stay. A note replaces another one
// of the same word; the worker of the lane takes notes out, a few lines at a time, and a note that is lost or false costs no more
// than the wrong choice of a key to evict.
//
//   word   0: none; else {hash, except the eight bits below}
//   bits   33: of a pair | 32: of an entry | 26-28: which bucket of the chain | 29-31: which place of the bucket, for pairs
//
// Those eight bits of a hash choose neither a segment (bits 33 and above, of any table) nor a bucket (16 to 24) nor a tag (0 to 15).
struct TouchPage {
  Word words[512];
};
HOSTMAP_LAYOUT(TouchPage, 4096, 8) = {
    HOSTMAP_AT(TouchPage, words, 0, "notes, each at a place that its hash chooses"),
};

inline constexpr std::uint64_t kTouchOfEntry = std::uint64_t{1} << 32;
inline constexpr std::uint64_t kTouchOfPair = std::uint64_t{1} << 33;
inline constexpr unsigned kTouchBucketShift = 26;
inline constexpr unsigned kTouchPlaceShift = 29;
inline constexpr std::uint64_t kTouchBits = std::uint64_t{0xff} << kTouchBucketShift;
inline constexpr std::uint64_t touch_of_entry(std::uint64_t hash) noexcept {
  return (hash & ~kTouchBits) | kTouchOfEntry;
}
inline constexpr std::uint64_t touch_of_pair(std::uint64_t hash, unsigned bucket, unsigned place) noexcept {
  return (hash & ~kTouchBits) | kTouchOfPair | std::uint64_t{bucket} << kTouchBucketShift |
         std::uint64_t{place} << kTouchPlaceShift;
}
// Where in its page a key's note lies.
inline constexpr std::size_t touch_index(std::uint64_t hash) noexcept { return hash >> 17 & 511; }

// ---------------------------------------------------------------------------------------------------------------------
// A record in a ring: a whole number of 16-byte units.
//
//   0     8        16
//   | tag | header | payload, padded ... |
//
// The tag says that the record is there (buffer/ring.hpp), the header what it is (message/wire.hpp).

inline constexpr std::uint64_t kRecordUnit = 16;
inline constexpr std::uint64_t kRecordHeadBytes = 16;  // tag and header
inline constexpr std::uint64_t record_bytes(std::uint64_t payload_bytes) noexcept {
  return kRecordHeadBytes + round_up(payload_bytes, kRecordUnit);
}
// The smallest ring that a server creates.
inline constexpr std::uint64_t kLeastRingBytes = 4096;
// A record of more than a quarter of the ring would make the producer wait for an almost empty one: it is streamed.
inline constexpr std::uint64_t max_record_bytes(std::uint64_t ring_bytes) noexcept { return ring_bytes / 4; }

}  // namespace hostmap
