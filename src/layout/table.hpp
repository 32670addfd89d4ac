// The table's region: the server writes it, clients map it read-only. Its buckets, its entries, the words that say which buckets
// exist, its head.
#pragma once

#include <cstddef>
#include <cstdint>

#include "base/hash.hpp"
#include "layout/region.hpp"

namespace hostmap {

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
// read between two loads of an unchanged header belong to an entry that was linked when its cell was loaded.
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
// It lies in a larger block than one of its size: a smaller value that was put while memory was full (table/memory/arena.hpp).
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
//   8192   workers[32]        what clients load before they wait: parked, cpu, crowded
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

// TableHeader::phase, for diagnosis: what the server of this table does or did last. Whether that server lives is shown only by the
// lock of its alive file.
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
  Word arena_populated;        // bytes that have pages and generations: all that readers may load
  Word generations_allocated;  // bytes that have pages; the server's alone
  Word arena_allocated;        // likewise
  alignas(kLinePair) Word server_generation;
  HalfWord server_pid;                // for diagnosis
  LaneWorker lane_worker[kMaxLanes];  // which worker serves a lane; changes when a server starts
  HalfWord phase;                     // a ServerPhase, for diagnosis
  HalfWord mailbox_count;             // of the master region. Clients can write that one, but not this
  std::uint32_t reserved_half;
  Word master_inode;       // the master region's file; 0: a server that does not say
  Word server_version[8];  // text: version, blank, commit; what is left of it is zero. For diagnosis
  std::uint8_t reserved_server[3584];
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
HOSTMAP_AT(TableHeader, server_version, 448);
HOSTMAP_AT(TableHeader, shards, 4096);
HOSTMAP_AT(TableHeader, workers, 8192);
HOSTMAP_AT(TableHeader, lane_stats, 12288);
HOSTMAP_AT(TableHeader, server_stats, 20480);

// Beside the arena: one counter for each of its pages, raised by whoever takes memory that begins in the page. A long
// value is read between two loads of its first page's generation. (Inside the entry, a later entry's payload could forge it.)
using PageGeneration = Word;

// The arena is allocated in slabs; a slab holds blocks of one size class, or belongs to a run that holds one large entry.
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

}  // namespace hostmap
