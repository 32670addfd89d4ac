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
// Every offset is asserted below its struct. docs/reference/memory-layout.md shows the same tables; a test compares them.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <type_traits>

#include "base/hash.hpp"
#include "base/platform.hpp"

namespace hostmap {

using Word = std::atomic<std::uint64_t>;
using HalfWord = std::atomic<std::uint32_t>;
using LaneWorker = std::atomic<std::uint8_t>;
static_assert(Word::is_always_lock_free && sizeof(Word) == 8 && alignof(Word) == 8);
static_assert(HalfWord::is_always_lock_free && sizeof(HalfWord) == 4 && alignof(HalfWord) == 4);
static_assert(LaneWorker::is_always_lock_free && sizeof(LaneWorker) == 1);

#define HOSTMAP_AT(type, member, offset) \
  static_assert(offsetof(type, member) == (offset), "layout changed: " #type "::" #member)
#define HOSTMAP_SIZE(type, bytes, alignment)                                                                \
  static_assert(sizeof(type) == (bytes) && alignof(type) == (alignment) && std::is_standard_layout_v<type>, \
                "layout changed: " #type)

// ---------------------------------------------------------------------------------------------------------------------
// Every region begins with this line.
//
//   0       8        12     16            24      32            40      48          56         64
//   | magic | version| kind | fingerprint | bytes | incarnation | state | name_hash | reserved |
//
// Its first 16 bytes and `state` keep their places for ever, so that any version can name any other.

inline constexpr std::uint64_t kMagic = 0x0070616d'74736f68;  // "hostmap\0"
inline constexpr std::uint32_t kLayoutVersion = 1;

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
  std::uint64_t fingerprint;  // of hash and struct sizes: a build that differs is refused
  std::uint64_t bytes;        // size of the file
  std::uint64_t incarnation;  // random, one for all regions that one server created at its start
  Word state;
  std::uint64_t name_hash;  // of the file's name without its folder: which of several names (hard links) counts
  std::uint64_t reserved;
};
HOSTMAP_SIZE(RegionHeader, 64, 8);
HOSTMAP_AT(RegionHeader, magic, 0);
HOSTMAP_AT(RegionHeader, layout_version, 8);
HOSTMAP_AT(RegionHeader, kind, 12);
HOSTMAP_AT(RegionHeader, fingerprint, 16);
HOSTMAP_AT(RegionHeader, bytes, 24);
HOSTMAP_AT(RegionHeader, incarnation, 32);
HOSTMAP_AT(RegionHeader, state, 40);
HOSTMAP_AT(RegionHeader, name_hash, 48);
HOSTMAP_AT(RegionHeader, reserved, 56);

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

// ---------------------------------------------------------------------------------------------------------------------
// Master region: where strangers meet.
//
//   0      RegionHeader
//   64     mailbox_count, lane_count
//   128    counter            last connection id given; clients add 1
//   256    server_bell        rung when a mailbox asks, when a lane is wanted, when a client closes
//   384    worker_bells[32]   rung when a worker is parked (futex calls only: never loaded or stored by a put)
//   4480   idle_hints[32]     one line per worker: which idle channels have a record (futex calls only, likewise)
//   8192   mailboxes[mailbox_count], 64 bytes each; the mailbox of id is id mod mailbox_count

struct alignas(kLinePair) Bell {
  HalfWord rings;  // futex; only ever added to
  std::uint32_t reserved[31];
};
HOSTMAP_SIZE(Bell, 128, 128);

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
  HalfWord pid;  // for people; nothing depends on it
  std::uint32_t reserved[13];
};
HOSTMAP_SIZE(Mailbox, 64, 64);
HOSTMAP_AT(Mailbox, word, 0);
HOSTMAP_AT(Mailbox, pid, 8);

struct MasterHeader {
  RegionHeader region;
  std::uint32_t mailbox_count;
  std::uint32_t lane_count;
  std::uint64_t reserved_constants[7];
  alignas(kLinePair) Word counter;
  Bell server_bell;
  Bell worker_bells[kMaxLanes];
};
HOSTMAP_SIZE(MasterHeader, 4480, 128);
HOSTMAP_AT(MasterHeader, mailbox_count, 64);
HOSTMAP_AT(MasterHeader, lane_count, 68);
HOSTMAP_AT(MasterHeader, counter, 128);
HOSTMAP_AT(MasterHeader, server_bell, 256);
HOSTMAP_AT(MasterHeader, worker_bells, 384);

// Behind the header, and no part of it: its size is part of the fingerprint, and clients that know nothing of hints may stay.
// Bit b of the line stands for the connections whose id is b modulo kIdleBuckets.
inline constexpr std::uint32_t kIdleBuckets = 512;
struct alignas(kCacheLine) IdleHints {
  HalfWord words[kIdleBuckets / 32];  // clients set bits, the worker takes them out
};
HOSTMAP_SIZE(IdleHints, 64, 64);
HOSTMAP_AT(IdleHints, words, 0);
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

// ---------------------------------------------------------------------------------------------------------------------
// Table region, pairs: the form of 8-byte keys with 8-byte values. A bucket is two adjacent lines.
//
//           word 0                                              words 1 to 7
//   line 0  header {version:48 | fill:8 | occupied:7 | overflow:1}   keys
//   line 1  link {visited:7 at bit 48 | offset:48}                   values
//
// Place i (1 to 7) is word i of both lines, and bit i of the header says that it is occupied: so a SIMD compare of line 0
// with the key, ANDed with the header, is the answer. `overflow` (bit 0) says that `link` leads to a further bucket.
//
// How a reader proves that key and value belong together: it loads the header (acquire), compares the keys, loads the value,
// and behind an acquire fence finds the header unchanged. Every insert and erase stores a new header with version + 1, so an
// unchanged header means unchanged keys; an overwrite stores the value word alone.
// Intent compares: an overwrite the value word, insert and erase the occupancy bit. Version: in each bucket's own header.
// Expiry: none; a pair that gets one moves to the entries, as does one whose new value is not 8 bytes (see writer.hpp).
// Visited bit: in the link word, the server's alone.

struct alignas(kLinePair) PairBucket {
  Word header;
  Word keys[7];
  Word link;
  Word values[7];
};
HOSTMAP_SIZE(PairBucket, 128, 128);
HOSTMAP_AT(PairBucket, header, 0);
HOSTMAP_AT(PairBucket, keys, 8);
HOSTMAP_AT(PairBucket, link, 64);
HOSTMAP_AT(PairBucket, values, 72);

inline constexpr unsigned kPlaces = 7;  // of a pair bucket, and cells of an entry bucket

// ---------------------------------------------------------------------------------------------------------------------
// Table region, entries: the form of all keys and values. A bucket is one line; an entry lies in the arena.
//
//           word 0                                   words 1 to 7
//   bucket  header {version:48 | fill:8 | flags:8}   cells {tag:16 | offset:48}; 0 is empty
//
// A full bucket's last cell becomes the link: tag 0 (a key's tag is never 0) and the offset of a further bucket.
//
//   entry   meta {value_bytes:40 | flags:8 | key_bytes - 1:16}   [expiry if flagged]   key   value
//
// How a reader proves that key and value belong together: the *primary* bucket's version covers its whole chain. Whoever
// changes a non-empty cell of the chain raises that version before the old entry's memory is used again, so bytes that were
// read between two looks at an unchanged header belong to an entry that was linked when its cell was loaded.
// Long values are checked against the generation of their first page instead (see PageGeneration).
// What an entry of 16 + 100 bytes takes beyond them once the table has grown: 14.2 bytes of its bucket (64 / 4.5), 2.8 of
// overflow buckets (one for five), 8 of meta, 4 up to the size of its block (124 to 128), 29.0 in all; with what is populated
// ahead or free, 31.2 of the region's populated bytes (`hostmap-bench memory`, 10^6 entries from 10 buckets on).
// Intent compares: the cell with its new word. Version: in the primary's header. Expiry: a flagged word behind meta.
// Visited bit: in meta's flags, the server's alone; readers mask it.

struct alignas(kCacheLine) EntryBucket {
  Word header;
  Word cells[7];
};
HOSTMAP_SIZE(EntryBucket, 64, 64);
HOSTMAP_AT(EntryBucket, header, 0);
HOSTMAP_AT(EntryBucket, cells, 8);

// Header words of both forms share the upper 56 bits.
inline constexpr std::uint64_t kOverflowBit = 1;
inline constexpr std::uint64_t kOccupiedMask = 0xfe;
inline constexpr unsigned kFillShift = 8;
inline constexpr unsigned kVersionShift = 16;
inline constexpr std::uint64_t kVersionStep = std::uint64_t{1} << kVersionShift;
inline constexpr std::uint64_t kFillMask = std::uint64_t{0xff} << kFillShift;
// A bucket knows the low 8 bits of its fill: while none is further behind than this, an old one is never taken for a new.
inline constexpr std::uint64_t kMostFillsBehind = 254;

inline constexpr std::uint8_t header_fill(std::uint64_t header) noexcept {
  return static_cast<std::uint8_t>(header >> kFillShift);
}
// Was the bucket of this header touched since the clear that began `fill`?
inline constexpr bool is_of_fill(std::uint64_t header, std::uint64_t fill) noexcept {
  return header_fill(header) == static_cast<std::uint8_t>(fill);
}
inline constexpr std::uint64_t header_version(std::uint64_t header) noexcept { return header >> kVersionShift; }

// Cells and links.
inline constexpr std::uint64_t kOffsetMask = (std::uint64_t{1} << 48) - 1;
inline constexpr std::uint64_t make_cell(std::uint16_t tag, std::uint64_t offset) noexcept {
  return std::uint64_t{tag} << 48 | offset;
}
inline constexpr std::uint16_t cell_tag(std::uint64_t cell) noexcept { return static_cast<std::uint16_t>(cell >> 48); }
inline constexpr std::uint64_t cell_offset(std::uint64_t cell) noexcept { return cell & kOffsetMask; }
// In one comparison: 0 wraps around, and a tag makes it too large.
inline constexpr bool is_link(std::uint64_t last_cell) noexcept { return last_cell - 1 < kOffsetMask; }

// Entries.
inline constexpr std::uint64_t kEntryMetaBytes = 8;
inline constexpr std::uint64_t kEntryVisited = std::uint64_t{1} << 16;
inline constexpr std::uint64_t kEntryHasExpiry = std::uint64_t{1} << 17;
// It lies in a larger block than one of its size: a smaller value that was put while memory was full (table/arena.hpp).
inline constexpr std::uint64_t kEntryInLargerBlock = std::uint64_t{1} << 18;
inline constexpr std::uint64_t make_meta(std::uint64_t key_bytes, std::uint64_t value_bytes) noexcept {
  return value_bytes << 24 | (key_bytes - 1);
}
inline constexpr std::uint64_t meta_key_bytes(std::uint64_t meta) noexcept { return (meta & 0xffff) + 1; }
inline constexpr std::uint64_t meta_value_bytes(std::uint64_t meta) noexcept { return meta >> 24; }
inline constexpr std::uint64_t entry_bytes(std::uint64_t key_bytes, std::uint64_t value_bytes) noexcept {
  return kEntryMetaBytes + key_bytes + value_bytes;
}

inline constexpr std::uint64_t kSmallestEntry = entry_bytes(1, 0);

// A value longer than this is validated by its page's generation: a busy neighbour in its chain would starve a long copy.
inline constexpr std::uint64_t kLongValueBytes = 1024;

// A chain has at most this many buckets: whoever knows the hash seed could forge keys to one bucket.
inline constexpr unsigned kMaxChain = 8;

// ---------------------------------------------------------------------------------------------------------------------
// State word of a form in a shard: which buckets exist (linear hashing).
//
//   {split:48 | level:8 | reserved:5 | mixed:1 | splitting:1 | closed:1}
//
// Buckets 0 to base * 2^level + split - 1 exist. `splitting`: the last split's removal may be unfinished; readers ignore it.
// `mixed` (pairs only): some entry of this shard has or had an 8-byte key, so a miss among the pairs is no answer yet; it is
// set before the first such entry is linked and never cleared. `closed`: the table is given up; connect anew.

inline constexpr std::uint64_t kStateClosed = 1;
inline constexpr std::uint64_t kStateSplitting = 2;
inline constexpr std::uint64_t kStateMixed = 4;
inline constexpr unsigned kStateLevelShift = 8;
inline constexpr unsigned kStateSplitShift = 16;

inline constexpr std::uint64_t make_state(unsigned level, std::uint64_t split) noexcept {
  return split << kStateSplitShift | std::uint64_t{level} << kStateLevelShift;
}
inline constexpr unsigned state_level(std::uint64_t state) noexcept {
  return static_cast<unsigned>(state >> kStateLevelShift & 0xff);
}
inline constexpr std::uint64_t state_split(std::uint64_t state) noexcept { return state >> kStateSplitShift; }
inline constexpr std::uint64_t state_buckets(std::uint64_t state, std::uint64_t base) noexcept {
  return (base << state_level(state)) + state_split(state);
}
// The state word as a reader compares it: whether a split's removal is finished does not matter.
inline constexpr std::uint64_t stable_state(std::uint64_t state) noexcept { return state & ~kStateSplitting; }
// The bucket of a hash: as if every bucket had been split, or, where that is behind the last one, the bucket that has not been.
// Branch-free: the choice is unpredictable, and mispredicting it costs more than the whole look-up.
[[gnu::always_inline]] inline std::uint64_t bucket_index(std::uint64_t state, std::uint64_t base,
                                                         std::uint64_t fraction, std::uint64_t hash) noexcept {
  const unsigned level = state_level(state);
  const std::uint64_t unsplit = base << level;
  const unsigned unused_bits = ~level & 63;
  const std::uint64_t bits = level_bits(hash) << unused_bits >> unused_bits;  // level + 1 of them
  const std::uint64_t index = scale(fraction, base) + base * bits;
  std::uint64_t there = -static_cast<std::uint64_t>(index < unsplit + state_split(state));
  asm("" : "+r"(there));  // keeps the compiler from turning the mask back into a branch
  return index - unsplit + (there & unsplit);
}

// ---------------------------------------------------------------------------------------------------------------------
// Table region, head.
//
//   0      RegionHeader
//   64     constants          hash seed, counts, limits, offsets of what follows
//   256    fill, arena_populated    read by every get; written by clear and by growth
//   384    server             generation, lane -> worker
//   4096   shards[32]         state words and constants of each shard, 128 bytes each
//   8192   workers[32]        what clients look at before they wait: parked, cpu, crowded
//   12288  lane_stats[32]   counters, 256 bytes each
//   20480  server_stats       256 bytes
//   then, each from a 2 MiB boundary and sparse up to its maximum: pair buckets of each shard, entry buckets of each shard,
//   page generations, arena

struct ShardHeader {
  Word pair_state;
  Word entry_state;
  std::uint64_t pairs_offset;
  std::uint64_t pairs_base;
  std::uint64_t entries_offset;
  std::uint64_t entries_base;
  std::uint64_t reserved[8];
  Word pairs_populated;    // bytes of its pair buckets that have pages; the server's alone
  Word entries_populated;  // likewise of its entry buckets
};
HOSTMAP_SIZE(ShardHeader, 128, 8);
HOSTMAP_AT(ShardHeader, pair_state, 0);
HOSTMAP_AT(ShardHeader, entry_state, 8);
HOSTMAP_AT(ShardHeader, pairs_offset, 16);
HOSTMAP_AT(ShardHeader, pairs_base, 24);
HOSTMAP_AT(ShardHeader, entries_offset, 32);
HOSTMAP_AT(ShardHeader, entries_base, 40);
HOSTMAP_AT(ShardHeader, pairs_populated, 112);
HOSTMAP_AT(ShardHeader, entries_populated, 120);

struct WorkerLine {
  HalfWord parked;   // 1: it sleeps or is about to: ring its bell
  HalfWord cpu;      // where it ran last; a waiter on that cpu does not spin
  HalfWord crowded;  // 1: more lanes were active than cpus are there: waiters do not spin
  std::uint32_t reserved[29];
};
HOSTMAP_SIZE(WorkerLine, 128, 4);
HOSTMAP_AT(WorkerLine, parked, 0);
HOSTMAP_AT(WorkerLine, cpu, 4);
HOSTMAP_AT(WorkerLine, crowded, 8);

// Written by the lane's worker alone, read by `hostmap stat`. Counts of workers stand with the worker's first lane.
struct LaneStats {
  Word puts;    // each one read, validated and applied
  Word erases;  // of keys that were there
  Word gets_by_ring;
  Word pair_keys;   // keys now in the form of pairs
  Word entry_keys;  // keys now in the form of entries
  Word refused;     // mutations refused: no memory, chain full, too large
  Word splits;
  Word sweeps;
  Word parks;
  Word timeout_rescues;  // waits that ended by timeout although there was work
  Word poisoned;         // connections closed because of what they sent
  Word entry_bytes;      // in blocks that hold entries
  Word fill;             // of the clear that this lane has noticed: its counts of keys are of this fill
  Word swept_fill;       // no bucket of this lane is older
  Word overflow_bytes;   // in overflow buckets of either form
  Word reserved[17];
};
HOSTMAP_SIZE(LaneStats, 256, 8);
HOSTMAP_AT(LaneStats, puts, 0);
HOSTMAP_AT(LaneStats, erases, 8);
HOSTMAP_AT(LaneStats, gets_by_ring, 16);
HOSTMAP_AT(LaneStats, pair_keys, 24);
HOSTMAP_AT(LaneStats, entry_keys, 32);
HOSTMAP_AT(LaneStats, refused, 40);
HOSTMAP_AT(LaneStats, splits, 48);
HOSTMAP_AT(LaneStats, sweeps, 56);
HOSTMAP_AT(LaneStats, parks, 64);
HOSTMAP_AT(LaneStats, timeout_rescues, 72);
HOSTMAP_AT(LaneStats, poisoned, 80);
HOSTMAP_AT(LaneStats, entry_bytes, 88);
HOSTMAP_AT(LaneStats, fill, 96);
HOSTMAP_AT(LaneStats, swept_fill, 104);
HOSTMAP_AT(LaneStats, overflow_bytes, 112);

struct ServerStats {
  Word memory_bytes;      // populated in the table region
  Word huge_page_bytes;   // of these, in 2 MiB pages
  Word arena_free_bytes;  // populated, in no slab and no run
  Word connections;       // now
  Word connected;         // ever
  Word reaped;            // connections whose client ended without closing
  Word recoveries;
  Word replayed;
  Word populate_failures;  // the file system had no page left
  Word read_retries;       // as connections that are gone said
  Word read_fallbacks;     // likewise: gets that went through the ring because of writers
  Word client_rescues;     // likewise: clients' waits that ended by timeout although the answer was there
  Word workers;
  Word cut_off;        // connections whose client took pages of their region away
  Word counted_since;  // when the table was made and all counts began, in seconds since 1970
  Word reserved[17];
};
HOSTMAP_SIZE(ServerStats, 256, 8);
HOSTMAP_AT(ServerStats, memory_bytes, 0);
HOSTMAP_AT(ServerStats, huge_page_bytes, 8);
HOSTMAP_AT(ServerStats, arena_free_bytes, 16);
HOSTMAP_AT(ServerStats, connections, 24);
HOSTMAP_AT(ServerStats, connected, 32);
HOSTMAP_AT(ServerStats, reaped, 40);
HOSTMAP_AT(ServerStats, recoveries, 48);
HOSTMAP_AT(ServerStats, replayed, 56);
HOSTMAP_AT(ServerStats, populate_failures, 64);
HOSTMAP_AT(ServerStats, read_retries, 72);
HOSTMAP_AT(ServerStats, read_fallbacks, 80);
HOSTMAP_AT(ServerStats, client_rescues, 88);
HOSTMAP_AT(ServerStats, workers, 96);
HOSTMAP_AT(ServerStats, cut_off, 104);
HOSTMAP_AT(ServerStats, counted_since, 112);

// TableHeader::phase, for people: what the server of this table does or did last. Only with the lock of its alive file does it tell
// whether that server lives.
enum ServerPhase : std::uint32_t {
  kPhaseStarting = 0,  // as in a new table
  kPhaseServing = 1,   // without the lock: it was killed
  kPhaseKept = 2,      // it has stopped in order, and left the map for the next one
};

struct TableHeader {
  RegionHeader region;
  std::uint64_t hash_seed;
  std::uint32_t shard_count;  // shard i belongs to lane i
  std::uint32_t reserved_count;
  std::uint64_t initial_buckets;
  std::uint64_t memory_limit;
  std::uint64_t max_value_bytes;
  std::uint64_t generations_offset;  // page generations
  std::uint64_t arena_offset;
  std::uint64_t arena_bytes;  // at most; populated are arena_populated
  std::uint64_t membarrier;   // 1: workers fence for their clients when they park
  std::uint64_t checksum;     // of all that stands above and of the shards' constants
  std::uint64_t reserved_constants[14];
  alignas(kLinePair) Word fill;
  Word arena_populated;        // bytes that have pages and generations: all that readers may look at
  Word generations_allocated;  // bytes that have pages; the server's alone
  Word arena_allocated;        // likewise
  alignas(kLinePair) Word server_generation;
  HalfWord server_pid;                // for people
  LaneWorker lane_worker[kMaxLanes];  // which worker serves a lane; changes when a server starts
  HalfWord phase;                     // a ServerPhase, for people
  HalfWord mailbox_count;             // of the master region. Clients can write that one, but not this
  std::uint32_t reserved_half;
  Word master_inode;  // the master region's file; 0: a server that does not say
  std::uint8_t reserved_server[3648];
  ShardHeader shards[kMaxLanes];
  WorkerLine workers[kMaxLanes];
  LaneStats lane_stats[kMaxLanes];
  ServerStats server_stats;
};
HOSTMAP_SIZE(TableHeader, 20736, 128);
HOSTMAP_AT(TableHeader, hash_seed, 64);
HOSTMAP_AT(TableHeader, shard_count, 72);
HOSTMAP_AT(TableHeader, initial_buckets, 80);
HOSTMAP_AT(TableHeader, memory_limit, 88);
HOSTMAP_AT(TableHeader, max_value_bytes, 96);
HOSTMAP_AT(TableHeader, generations_offset, 104);
HOSTMAP_AT(TableHeader, arena_offset, 112);
HOSTMAP_AT(TableHeader, arena_bytes, 120);
HOSTMAP_AT(TableHeader, membarrier, 128);
HOSTMAP_AT(TableHeader, checksum, 136);
HOSTMAP_AT(TableHeader, fill, 256);
HOSTMAP_AT(TableHeader, arena_populated, 264);
HOSTMAP_AT(TableHeader, generations_allocated, 272);
HOSTMAP_AT(TableHeader, arena_allocated, 280);
HOSTMAP_AT(TableHeader, server_generation, 384);
HOSTMAP_AT(TableHeader, server_pid, 392);
HOSTMAP_AT(TableHeader, lane_worker, 396);
HOSTMAP_AT(TableHeader, phase, 428);
HOSTMAP_AT(TableHeader, mailbox_count, 432);
HOSTMAP_AT(TableHeader, master_inode, 440);
HOSTMAP_AT(TableHeader, shards, 4096);
HOSTMAP_AT(TableHeader, workers, 8192);
HOSTMAP_AT(TableHeader, lane_stats, 12288);
HOSTMAP_AT(TableHeader, server_stats, 20480);

// Beside the arena: one counter for each of its pages, raised by whoever takes memory that begins in the page. A long
// value is read between two looks at its first page's generation. (Inside the entry, a later entry's payload could forge it.)
using PageGeneration = Word;

// The arena is handed out in slabs; a slab holds blocks of one size class, or belongs to a run that holds one large entry.
inline constexpr std::uint64_t kSlabBytes = 32768;

// Where the parts of a table lie: a pure function of the options, so that writer, tests and documents agree.
struct TablePlan {
  std::uint64_t pairs_offset = 0;  // of shard 0; shard i lies i * pairs_stride further
  std::uint64_t pairs_stride = 0;  // bytes reserved for one shard's pair buckets
  std::uint64_t entries_offset = 0;
  std::uint64_t entries_stride = 0;
  std::uint64_t generations_offset = 0;
  std::uint64_t generations_bytes = 0;
  std::uint64_t arena_offset = 0;
  std::uint64_t arena_bytes = 0;
  std::uint64_t file_bytes = 0;
};

inline constexpr TablePlan plan_table(std::uint64_t memory_limit, std::uint32_t shards) noexcept {
  constexpr std::uint64_t huge = kHugePageSize;
  TablePlan plan;
  // One shard may become several times as large as the others before its reservation ends; address space is cheap.
  const std::uint64_t share = memory_limit / shards * 4;
  const std::uint64_t stride = round_up(share < memory_limit ? share : memory_limit, huge);
  plan.pairs_stride = plan.entries_stride = stride;
  plan.pairs_offset = round_up(std::uint64_t{sizeof(TableHeader)}, huge);
  plan.entries_offset = plan.pairs_offset + shards * plan.pairs_stride;
  plan.arena_bytes = round_up(memory_limit, huge);
  plan.generations_offset = plan.entries_offset + shards * plan.entries_stride;
  plan.generations_bytes = plan.arena_bytes / kPageSize * sizeof(PageGeneration);
  plan.arena_offset = round_up(plan.generations_offset + plan.generations_bytes, huge);
  plan.file_bytes = plan.arena_offset + plan.arena_bytes;
  return plan;
}

// ---------------------------------------------------------------------------------------------------------------------
// Connection region: one client and the server.
//
//   0      RegionHeader
//   64     constants, by the server
//   128    client words: closed, channels wanted, rare-event counters
//   256    server words: closed, channels open
//   4096   channels[2 * lane_count], 384 bytes each: the client's two parts and the server's
//   then, from a page boundary, for each channel: request ring, answer ring (ring_bytes each, populated when first used)
//
// A channel is a ring pair. A connection has two per lane: channel `lane` carries the writes, by the thread whose turn
// it is (client/turn.hpp); channel `lane_count + lane` carries gets by ring, by any thread under a mutex. So a write does not wait
// for a get.

struct ClientWords {
  HalfWord closed;       // the client is done: drain, then drop
  HalfWord expedited;    // 1: this process registered for membarrier; its puts need no fence
  Word channels_wanted;  // bit per channel
  Word read_retries;
  Word read_fallbacks;
  Word timeout_rescues;
  Word channel_attempts;  // raised, after the bits above, with each request for channels
  std::uint64_t reserved[10];
};
// A count of a client, which can write anything there: what one connection says is bounded, so that no sum of many wraps around.
inline std::uint64_t said_by_client(const Word& counter) noexcept {
  constexpr std::uint64_t kMost = std::uint64_t{1} << 32;
  const std::uint64_t said = counter.load(std::memory_order_relaxed);  // relaxed: a figure for people
  return said < kMost ? said : kMost;
}
HOSTMAP_SIZE(ClientWords, 128, 8);
HOSTMAP_AT(ClientWords, closed, 0);
HOSTMAP_AT(ClientWords, expedited, 4);
HOSTMAP_AT(ClientWords, channels_wanted, 8);
HOSTMAP_AT(ClientWords, read_retries, 16);
HOSTMAP_AT(ClientWords, read_fallbacks, 24);
HOSTMAP_AT(ClientWords, timeout_rescues, 32);
HOSTMAP_AT(ClientWords, channel_attempts, 40);

struct ServerWords {
  HalfWord closed;         // 1: nothing more will be answered
  HalfWord opened;         // futex: raised whenever a bit of channels_open is set
  Word channels_open;      // bit per channel: its rings are populated and swept
  Word channels_refused;   // bit per channel: in the last attempt there was no memory for its rings
  Word attempts_answered;  // the last value of channel_attempts that was answered, with the two words above
  std::uint64_t reserved[12];
};
HOSTMAP_SIZE(ServerWords, 128, 8);
HOSTMAP_AT(ServerWords, closed, 0);
HOSTMAP_AT(ServerWords, opened, 4);
HOSTMAP_AT(ServerWords, channels_open, 8);
HOSTMAP_AT(ServerWords, channels_refused, 16);
HOSTMAP_AT(ServerWords, attempts_answered, 24);

// ChannelControl::waiting, a futex that the client sets and the worker clears.
enum WaitWord : std::uint32_t { kNotWaiting = 0, kWaitingForAnswer = 1, kWaitingForRoom = 2 };

// Three parts that lie apart: the worker looks at the first in every sweep, so the client must not dirty its line by taking an
// answer; a call and its answer then move no line but the two of their records.
struct ChannelControl {
  // the client's, stored only when it is about to sleep (but for `idle`)
  HalfWord waiting;
  HalfWord idle;  // the server's, stored seldom: 1: the worker no longer polls this channel in each sweep
  Word wake_at;   // kWaitingForRoom: wake when the requests consumed reach this position
  std::uint64_t reserved_waiting[14];
  // the client's, stored with each answer that it takes; loaded only when the answer ring seems half full
  Word answers_consumed;  // position in the answer ring
  std::uint64_t reserved_client[15];
  // the server's
  Word requests_consumed;  // position in the request ring, published once a sweep; never ahead of the journal's
  std::uint64_t reserved_server[15];
};
HOSTMAP_SIZE(ChannelControl, 384, 8);
HOSTMAP_AT(ChannelControl, waiting, 0);
HOSTMAP_AT(ChannelControl, idle, 4);
HOSTMAP_AT(ChannelControl, wake_at, 8);
HOSTMAP_AT(ChannelControl, answers_consumed, 128);
HOSTMAP_AT(ChannelControl, requests_consumed, 256);

struct ConnectionHeader {
  RegionHeader region;
  std::uint64_t id;
  std::uint64_t serial;         // never repeats while the journal lives; names the connection there
  std::uint64_t request_nonce;  // odd; see ring.hpp
  std::uint64_t answer_nonce;   // odd
  std::uint64_t ring_bytes;
  std::uint32_t lane_count;
  std::uint32_t reserved_half;
  std::uint64_t reserved_constants[2];
  ClientWords client;
  ServerWords server;
  std::uint8_t reserved[3712];
};
HOSTMAP_SIZE(ConnectionHeader, 4096, 8);
HOSTMAP_AT(ConnectionHeader, id, 64);
HOSTMAP_AT(ConnectionHeader, serial, 72);
HOSTMAP_AT(ConnectionHeader, request_nonce, 80);
HOSTMAP_AT(ConnectionHeader, answer_nonce, 88);
HOSTMAP_AT(ConnectionHeader, ring_bytes, 96);
HOSTMAP_AT(ConnectionHeader, lane_count, 104);
HOSTMAP_AT(ConnectionHeader, client, 128);
HOSTMAP_AT(ConnectionHeader, server, 256);

inline constexpr std::uint64_t channel_control_offset(std::uint32_t channel) noexcept {
  return sizeof(ConnectionHeader) + channel * sizeof(ChannelControl);
}
inline constexpr std::uint64_t connection_head_bytes(std::uint32_t lanes) noexcept {
  return round_up(channel_control_offset(2 * lanes), std::uint64_t{kPageSize});
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
// A record of more than a quarter of the ring would make the producer wait for an almost empty one: it is streamed.
inline constexpr std::uint64_t max_record_bytes(std::uint64_t ring_bytes) noexcept { return ring_bytes / 4; }

// ---------------------------------------------------------------------------------------------------------------------
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

// Intent::kind: is a request about to be committed, what does its commit store, and so what tells whether it did?
enum class IntentKind : std::uint64_t {
  kOpen = 0,         //    nothing to say: being written, or its request is done
  kAnswer = 1,       // N: changes nothing                         its answer in the ring tells
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
  Word new_word;      // what stands there afterwards; of a pair's bit nothing
  Word answer[2];     // if there is one: header word and, for numbers, the payload
  Word move_cell;     // a move's cell: offset
  Word move_word;     // and its word
  Word reserved[5];
  // Not part of the sealed record: the primary bucket of the entry chain that is being changed, by requests and upkeep alike.
  Word touched;
  Word reserved_line[15];
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
HOSTMAP_AT(Intent, touched, 128);

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

// Where one channel of one connection stands. The rings' own words are only what the peer is told.
struct ChannelPosition {
  Word request_next;
  Word answer_next;
  Word
      stream_entry;  // of the request that arrives in pieces: offset of the entry that they fill; 0: none; kHeldInJournal
  Word stream_head;  // and its header word, with the StatusCode in place of the flags if the pieces are thrown away
  ChannelMemo memos[2];
  Word reserved[6];
};
HOSTMAP_SIZE(ChannelPosition, 128, 8);
HOSTMAP_AT(ChannelPosition, request_next, 0);
HOSTMAP_AT(ChannelPosition, answer_next, 8);
HOSTMAP_AT(ChannelPosition, stream_entry, 16);
HOSTMAP_AT(ChannelPosition, stream_head, 24);
HOSTMAP_AT(ChannelPosition, memos, 32);

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

// What a server that stops and leaves its regions leaves, too, so that the next one need not look at every cell of the table.
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

// A build with another hash or other structs, or that would take an entry in a larger block for damage, must not touch our
// regions.
inline constexpr std::uint64_t kRevision = 1;
inline constexpr std::uint64_t kFingerprint =
    (kHashId + kRevision) * 0x9e37'79b9'7f4a'7c15 ^
    (sizeof(TableHeader) * 31 + sizeof(PairBucket) * 37 + sizeof(EntryBucket) * 41 + sizeof(ConnectionHeader) * 43 +
     sizeof(ChannelControl) * 47 + sizeof(Intent) * 53 + sizeof(JournalHeader) * 59 + sizeof(MasterHeader) * 61 +
     kSlabBytes * 67 + kMaxLanes * 71 + sizeof(ChannelPosition) * 73);

}  // namespace hostmap
