// The table's region: the server writes it, clients map it read-only. Its buckets, its entries, the words that say which buckets
// exist, its head.
#pragma once

#include <algorithm>
#include <atomic>
#include <bit>
#include <cstddef>
#include <cstdint>

#include "base/ends.hpp"
#include "base/hash.hpp"
#include "layout/entry.hpp"
#include "layout/region.hpp"

namespace hostmap {

// ---------------------------------------------------------------------------------------------------------------------
// Table region, pairs: the form of 8-byte keys with 8-byte values. A bucket is two adjacent lines.
//
//           word 0                                              words 1 to 7
//   line 0  header {version:48 | fill:8 | occupied:7 | overflow:1}   keys
//   line 1  link {gathers:1 at bit 55 | touched:7 at bit 48 | offset:44}   values
//
// Place i (1 to 7) is word i of both lines, and bit i of the header says that it is occupied: so a SIMD compare of line 0
// with the key, ANDed with the header, is the answer. `overflow` (bit 0) says that `link` leads to a further bucket.
//
// How a reader proves that key and value belong together: it loads the header (acquire), compares the keys, loads the value,
// and after an acquire fence finds the header unchanged. Every insert and erase stores a new header with version + 1, so an
// unchanged header means unchanged keys; an overwrite stores the value word alone.
// Intent compares: an overwrite the value word, insert and erase the occupancy bit. Version: in each bucket's own header.
// Expiry: none; a pair that gets one moves to the entries, as does one whose new value is not 8 bytes (see writer.hpp).
// Touched bits, one for each place, are in the link word: see "Eviction" below.

struct alignas(kLinePair) PairBucket {
  Word header;
  Word keys[7];
  Word link;
  Word values[7];
};
HOSTMAP_LAYOUT(PairBucket, 128, 128) = {
    HOSTMAP_AT(PairBucket, header, 0, "version, fill, occupied places, overflow: below"),
    HOSTMAP_AT(PairBucket, keys, 8, "8 bytes each; place i is number i - 1"),
    HOSTMAP_AT(PairBucket, link, 64, "a further bucket, if the overflow bit is set"),
    HOSTMAP_AT(PairBucket, values, 72, "8 bytes each"),
};

inline constexpr unsigned kPlaces = 7;  // of a pair bucket, and cells of an entry bucket

// ---------------------------------------------------------------------------------------------------------------------
// Table region, entries: the form of all keys and values. A bucket is one line; an entry (layout/entry.hpp) lies in the arena.
//
//           word 0                                   words 1 to 7
//   bucket  header {version:48 | fill:8 | flags:8}   cells {tag:16 | 0:2 | ends:1 | touched:1 | offset:44}; 0 is empty
//
// A full bucket's last cell becomes the link: tag 0 (a key's tag is never 0), no bit beside it, and the offset of a further
// bucket.
//
// How a reader proves that key and value belong together: the *primary* bucket's version covers its whole chain. Whoever
// changes a non-empty cell of the chain raises that version before the old entry's memory is used again, so bytes that were
// read between two loads of an unchanged header belong to an entry that was linked when its cell was loaded.
// Long values (kLongValueBytes) are checked against the generation of their first page instead (see PageGeneration).
// What an entry of 16 + 100 bytes takes beyond them once the table has grown: 14.2 bytes of its bucket (64 / 4.5), 2.8 of
// overflow buckets (one for five), 8 of meta, 4 up to the size of its block (124 to 128), 29.0 in all; with what is populated
// ahead or free, 31.2 of the region's populated bytes (`hostmap-bench memory`, 10^6 entries from 10 buckets on).
// Intent compares: the cell with its new word; of a new end, the end word. Version: in the primary's header.

struct alignas(kCacheLine) EntryBucket {
  Word header;
  Word cells[7];
};
HOSTMAP_LAYOUT(EntryBucket, 64, 64) = {
    HOSTMAP_AT(EntryBucket, header, 0, "version, fill: below"),
    HOSTMAP_AT(EntryBucket, cells, 8, "tag and offset of an entry each; 0 is empty; the last may be a link"),
};

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

// Cells and links. A cell with a bit that has no meaning yet is refused, as is a link with any bit beside its offset.
inline constexpr std::uint64_t kOffsetMask = (std::uint64_t{1} << 44) - 1;
inline constexpr std::uint64_t kCellTouched = std::uint64_t{1} << 44;
inline constexpr std::uint64_t kCellEnds = std::uint64_t{1} << 45;
inline constexpr std::uint64_t kCellReserved = std::uint64_t{3} << 46;
inline constexpr std::uint64_t make_cell(std::uint16_t tag, std::uint64_t offset) noexcept {
  return std::uint64_t{tag} << 48 | offset;
}
inline constexpr std::uint16_t cell_tag(std::uint64_t cell) noexcept { return static_cast<std::uint16_t>(cell >> 48); }
inline constexpr std::uint64_t cell_offset(std::uint64_t cell) noexcept { return cell & kOffsetMask; }
// In one comparison: 0 wraps around, and any other bit makes it too large.
inline constexpr bool is_link(std::uint64_t last_cell) noexcept { return last_cell - 1 < kOffsetMask; }

// Eviction: a key that was read or written since the hand last came by is touched. Of a pair: the bit of its place (1 to 7) in
// the link word of its bucket; of an entry: kCellTouched in its cell. The writer alone stores these bits; nothing else depends on
// them, so they may change between two loads of a validation. Policies are numbers in TableHeader::eviction.
enum class Eviction : std::uint32_t {
  kNone = 0,
  kClock = 1,     // any key
  kExpiring = 2,  // only keys that have an end
};
inline constexpr std::uint64_t pair_touched(unsigned place) noexcept { return std::uint64_t{1} << (47 + place); }
inline constexpr std::uint64_t kPairTouchedMask = std::uint64_t{0x7f} << 48;
// In the link word of a pair bucket that has an overflow bucket: pairs of that one are being moved into earlier buckets of the chain,
// so some may be in both. The earlier one counts.
inline constexpr std::uint64_t kLinkGathers = std::uint64_t{1} << 55;

// A chain has at most this many buckets: whoever knows the hash seed could forge keys to one bucket.
inline constexpr unsigned kMaxChain = 8;

// ---------------------------------------------------------------------------------------------------------------------
// Segments and directories: where the buckets of a form in a shard lie.
//
// Buckets come in segments of one slab of the arena, so that buckets, overflow buckets and entries take slabs from one pool and
// return them to it. A directory leads from a hash to its segment:
//
//   state      {reserved:56 | closed:1 | mixed:1 | shift:6}     shift = 63 - depth
//   directory  words in heap order: word [2^depth | the fraction's top `depth` bits] is the offset of a segment
//   bucket     of a segment: the bits of the hash from bit 16 upwards
//
// `mixed` (pairs only): some entry of this shard has or had an 8-byte key, so a miss among the pairs is not an answer yet; it is
// set before the first such entry is linked and never cleared. `closed`: the table is given up; connect anew. Its shift is 0
// then, which leads to no word: the fast path needs no test of its own.
//
// Invariants (models: test/models/segments_model.cpp)
// 1. Segments are split in the order of their prefixes, and merged in the reverse order: at depth d, prefixes of d - 1 bits
//    below some `split` have two segments, one for each next bit; each of the others has one, behind two adjacent words.
// 2. The words of level d - 1 of prefixes that are not split, and the words of level d + 1 of those that are, lead to the same
//    segments as level d. So the depth changes by one store of the state.
// 3. Of a segment, nothing is written before the change word was raised after the last word that led to it was replaced.

inline constexpr std::uint64_t kStateShiftMask = 63;
inline constexpr std::uint64_t kStateMixed = 64;
inline constexpr std::uint64_t kStateClosed = 128;

// The arena is allocated in slabs; a slab holds blocks of one size class, a segment of buckets, or belongs to a run that holds
// one large entry.
inline constexpr std::uint64_t kSlabBytes = 32768;

template <typename Bucket>
inline constexpr std::uint64_t kSegmentBuckets = kSlabBytes / sizeof(Bucket);

inline constexpr std::uint64_t make_state(unsigned depth) noexcept { return 63 - depth; }
inline constexpr unsigned state_depth(std::uint64_t state) noexcept {
  return 63 - static_cast<unsigned>(state & kStateShiftMask);
}
inline void close_state(Word& state) noexcept {
  const std::uint64_t flags = state.load(std::memory_order_relaxed) & kStateMixed;  // relaxed: nobody else stores it
  // [state.close] release; pairs with [state.read]
  state.store(flags | kStateClosed, std::memory_order_release);
}
// The number of the directory word of a fraction.
[[gnu::always_inline]] inline constexpr std::uint64_t directory_index(std::uint64_t state,
                                                                      std::uint64_t fraction) noexcept {
  return (fraction >> 1 | std::uint64_t{1} << 63) >> (state & kStateShiftMask);
}
// The last fraction of the segment that a fraction leads to. `segment`: where the word of the fraction leads; `beside`: where the
// adjacent word leads, the one at directory_index() ^ 1. (At depth 0 there is one word, and that one does not matter.)
inline constexpr std::uint64_t last_fraction(std::uint64_t state, std::uint64_t fraction, std::uint64_t segment,
                                             std::uint64_t beside) noexcept {
  const unsigned depth = state_depth(state);
  const unsigned bits = depth > 0 && segment == beside ? depth - 1 : depth;  // two words of a segment that is not split
  return fraction | (bits == 0 ? ~std::uint64_t{0} : ~std::uint64_t{0} >> bits);
}
// The bucket within its segment.
template <typename Bucket>
[[gnu::always_inline]] inline constexpr std::uint64_t segment_bucket(std::uint64_t hash) noexcept {
  return bucket_bits(hash) % kSegmentBuckets<Bucket>;
}

// The change word: {turns:48 | fill:16}. Every reader loads it first and again last; an unchanged one proves that no memory
// which it read was given to another use, and that the table was not cleared.
//
//   clear           adds 1 (a carry into the turns is harmless); buckets carry the low 8 bits of the fill
//   whatever takes buckets out of use, or makes a miss elsewhere possible, adds a turn, after it has taken them out
//
// It lies where no client can store, and does not repeat.
inline constexpr std::uint64_t kTurn = std::uint64_t{1} << 16;
inline constexpr std::uint64_t fill_of(std::uint64_t change) noexcept { return change & (kTurn - 1); }

// ShardHeader::pair_twin, entry_twin: what a restart must complete. {offset of a slab:49 | TwinPhase:15}
enum TwinPhase : std::uint64_t {
  kTwinNone = 0,
  kTwinPurge = 1,  // the last split is published; what moved may still be in the old segment, too
  kTwinMerge = 2,  // the segment at the offset replaces the last two halves
};
inline constexpr std::uint64_t twin_phase(std::uint64_t twin) noexcept { return twin % kSlabBytes; }
inline constexpr std::uint64_t twin_segment(std::uint64_t twin) noexcept { return twin - twin % kSlabBytes; }

// ---------------------------------------------------------------------------------------------------------------------
// Table region, head.
//
//   0      RegionHeader
//   64     constants          hash seed, counts, limits, offsets of what follows
//   256    change, arena_populated    read by every get; written by clear, growth and shrinking
//   384    server             generation, lane -> worker
//   4096   shards[32]         state words and constants of each shard, 128 bytes each
//   8192   workers[32]        what clients load before they wait: parked, cpu, crowded
//   12288  lane_stats[32]   counters, 256 bytes each
//   20480  server_stats       256 bytes
//   24576  wait_groups[shard_count]  the words that clients sleep on, 4096 bytes a shard
//   then, each sparse up to its maximum: the directories of each shard, page generations, and from a 2 MiB boundary the arena

struct ShardHeader {
  Word pair_state;
  Word entry_state;
  std::uint64_t pair_directory;
  std::uint64_t entry_directory;
  std::uint64_t pair_base;
  std::uint64_t entry_base;
  std::uint64_t reserved[6];
  Word pair_twin;
  Word entry_twin;
  Word pair_directory_populated;
  Word entry_directory_populated;
};
HOSTMAP_LAYOUT(ShardHeader, 128, 8) = {
    HOSTMAP_AT(ShardHeader, pair_state, 0, "how deep the directory of its pairs is, below"),
    HOSTMAP_AT(ShardHeader, entry_state, 8, "likewise of its entries"),
    HOSTMAP_AT(ShardHeader, pair_directory, 16, "offset of its pairs' directory"),
    HOSTMAP_AT(ShardHeader, entry_directory, 24, "offset of its entries' directory"),
    HOSTMAP_AT(ShardHeader, pair_base, 32, "segments of pair buckets at least"),
    HOSTMAP_AT(ShardHeader, entry_base, 40, "segments of entry buckets at least"),
    HOSTMAP_AT(ShardHeader, reserved, 48, "zero"),
    HOSTMAP_AT(ShardHeader, pair_twin, 96,
               "what a restart must complete, below; the server's alone, as are the next three"),
    HOSTMAP_AT(ShardHeader, entry_twin, 104, "likewise"),
    HOSTMAP_AT(ShardHeader, pair_directory_populated, 112, "bytes of the directory that have pages"),
    HOSTMAP_AT(ShardHeader, entry_directory_populated, 120, "likewise"),
};

struct WorkerLine {
  HalfWord parked;
  HalfWord cpu;
  HalfWord crowded;
  std::uint32_t reserved[29];
};
HOSTMAP_LAYOUT(WorkerLine, 128, 4) = {
    HOSTMAP_AT(WorkerLine, parked, 0, "1: it sleeps or is about to: ring its bell"),
    HOSTMAP_AT(WorkerLine, cpu, 4, "where it ran last: a waiter there does not spin"),
    HOSTMAP_AT(WorkerLine, crowded, 8, "1: more active lanes than cpus: waiters do not spin"),
    HOSTMAP_AT(WorkerLine, reserved, 12, "zero"),
};

// Written by the lane's worker alone, read by `hostmap stat`. Counts of workers stand with the worker's first lane.
struct LaneStats {
  Word puts;
  Word erases;
  Word gets_by_ring;
  Word pair_keys;
  Word entry_keys;
  Word refused;
  Word splits;
  Word sweeps;
  Word parks;
  Word timeout_rescues;
  Word poisoned;
  Word entry_bytes;
  Word fill;
  Word swept_fill;
  Word overflow_bytes;
  Word pair_segments;
  Word entry_segments;
  Word expiring;
  Word expired;
  Word waited;
  Word evicted;
  Word hits;
  Word misses;
  Word reserved[9];
};
HOSTMAP_LAYOUT(LaneStats, 256, 8) = {
    HOSTMAP_AT(LaneStats, puts, 0, "each one read, validated and applied"),
    HOSTMAP_AT(LaneStats, erases, 8, "of keys that were there"),
    HOSTMAP_AT(LaneStats, gets_by_ring, 16, "gets by message"),
    HOSTMAP_AT(LaneStats, pair_keys, 24, "keys now in the form of pairs"),
    HOSTMAP_AT(LaneStats, entry_keys, 32, "keys now in the form of entries"),
    HOSTMAP_AT(LaneStats, refused, 40, "mutations refused: no memory, chain full, too large"),
    HOSTMAP_AT(LaneStats, splits, 48, "of segments"),
    HOSTMAP_AT(LaneStats, sweeps, 56, "of the worker"),
    HOSTMAP_AT(LaneStats, parks, 64, "times the worker slept"),
    HOSTMAP_AT(LaneStats, timeout_rescues, 72, "sleeps that ended by timeout although there was work"),
    HOSTMAP_AT(LaneStats, poisoned, 80, "connections closed for what they sent"),
    HOSTMAP_AT(LaneStats, entry_bytes, 88, "in blocks that hold entries"),
    HOSTMAP_AT(LaneStats, fill, 96, "the clear that this lane has noticed: its counts of keys are of this fill"),
    HOSTMAP_AT(LaneStats, swept_fill, 104, "no bucket of this lane is older"),
    HOSTMAP_AT(LaneStats, overflow_bytes, 112, "in overflow buckets of either form"),
    HOSTMAP_AT(LaneStats, pair_segments, 120, "slabs that are pair buckets"),
    HOSTMAP_AT(LaneStats, entry_segments, 128, "slabs that are entry buckets"),
    HOSTMAP_AT(LaneStats, expiring, 136, "keys that have an end"),
    HOSTMAP_AT(LaneStats, expired, 144, "keys removed because their end had passed"),
    HOSTMAP_AT(LaneStats, waited, 152, "groups of keys for which clients wait, those of each client counted"),
    HOSTMAP_AT(LaneStats, evicted, 160, "keys removed to make room for others"),
    HOSTMAP_AT(LaneStats, hits, 168, "gets by message that found their key"),
    HOSTMAP_AT(LaneStats, misses, 176, "gets by message that did not"),
    HOSTMAP_AT(LaneStats, reserved, 184, "zero"),
};

struct ServerStats {
  Word memory_bytes;
  Word huge_page_bytes;
  Word arena_free_bytes;
  Word connections;
  Word connected;
  Word reaped;
  Word recoveries;
  Word replayed;
  Word populate_failures;
  Word read_retries;
  Word read_fallbacks;
  Word client_rescues;
  Word workers;
  Word cut_off;
  Word counted_since;
  Word read_hits;
  Word read_misses;
  Word reserved[15];
};
HOSTMAP_LAYOUT(ServerStats, 256, 8) = {
    HOSTMAP_AT(ServerStats, memory_bytes, 0, "populated in the table region"),
    HOSTMAP_AT(ServerStats, huge_page_bytes, 8, "of these, in 2 MiB pages"),
    HOSTMAP_AT(ServerStats, arena_free_bytes, 16, "populated, in no slab and no run"),
    HOSTMAP_AT(ServerStats, connections, 24, "now"),
    HOSTMAP_AT(ServerStats, connected, 32, "ever"),
    HOSTMAP_AT(ServerStats, reaped, 40, "connections whose client ended without closing"),
    HOSTMAP_AT(ServerStats, recoveries, 48, "restarts on this table"),
    HOSTMAP_AT(ServerStats, replayed, 56, "requests finished by a restart"),
    HOSTMAP_AT(ServerStats, populate_failures, 64, "times the file system had no page left"),
    HOSTMAP_AT(ServerStats, read_retries, 72, "as reported by connections that have ended"),
    HOSTMAP_AT(ServerStats, read_fallbacks, 80, "likewise: gets that went by ring because of writers"),
    HOSTMAP_AT(ServerStats, client_rescues, 88, "likewise: waits that ended by timeout although the answer was there"),
    HOSTMAP_AT(ServerStats, workers, 96, "threads that apply writes"),
    HOSTMAP_AT(ServerStats, cut_off, 104, "connections whose client truncated its region"),
    HOSTMAP_AT(ServerStats, counted_since, 112, "when the table was made and all counts began, in seconds since 1970"),
    HOSTMAP_AT(ServerStats, read_hits, 120,
               "as reported by connections that have ended: direct gets that found their key, while keys are evicted"),
    HOSTMAP_AT(ServerStats, read_misses, 128, "likewise: that did not"),
    HOSTMAP_AT(ServerStats, reserved, 136, "zero"),
};

// TableHeader::phase: what the server of this table does or did last. Whether that server lives is shown only by the lock of its
// alive file. A map that was being loaded is not continued; all else is for diagnosis.
enum ServerPhase : std::uint32_t {
  kPhaseStarting = 0,  // as in a new table
  kPhaseServing = 1,   // without the lock: it was killed
  kPhaseKept = 2,      // it has stopped in order, and left the map for the next one
  kPhaseLoading = 3,   // it fills a new map from a dump; in the upper half of the word, how far it is in percent
};
constexpr std::uint32_t loading_phase(std::uint32_t percent) noexcept { return percent << 16 | kPhaseLoading; }
constexpr bool is_loading(std::uint32_t phase) noexcept { return (phase & 0xffff) == kPhaseLoading; }
constexpr std::uint32_t percent_of_loading(std::uint32_t phase) noexcept { return phase >> 16; }

struct TableHeader {
  RegionHeader region;
  std::uint64_t hash_seed;
  std::uint32_t shard_count;
  std::uint32_t reserved_count;
  std::uint64_t initial_buckets;
  std::uint64_t max_memory;
  std::uint64_t max_value_bytes;
  std::uint64_t generations_offset;
  std::uint64_t arena_offset;
  std::uint64_t arena_bytes;
  std::uint64_t membarrier;
  std::uint64_t checksum;
  std::uint64_t time_namespace;
  std::uint64_t reserved_constants[13];
  alignas(kLinePair) Word change;
  Word arena_populated;
  Word generations_allocated;
  Word arena_allocated;
  Word memory_limit;
  alignas(kLinePair) Word server_generation;
  HalfWord server_pid;
  LaneWorker lane_worker[kMaxLanes];
  HalfWord phase;
  HalfWord mailbox_count;
  HalfWord eviction;
  Word master_inode;
  Word server_version[8];
  std::uint8_t reserved_server[3584];
  ShardHeader shards[kMaxLanes];
  WorkerLine workers[kMaxLanes];
  LaneStats lane_stats[kMaxLanes];
  ServerStats server_stats;
};
HOSTMAP_LAYOUT(TableHeader, 20736, 128) = {
    HOSTMAP_AT(TableHeader, region, 0, "as above"),
    HOSTMAP_AT(TableHeader, hash_seed, 64, "random: without it nobody can forge collisions"),
    HOSTMAP_AT(TableHeader, shard_count, 72, "shard i belongs to lane i"),
    HOSTMAP_AT(TableHeader, reserved_count, 76, "zero"),
    HOSTMAP_AT(TableHeader, initial_buckets, 80, "of each form, over all shards"),
    HOSTMAP_AT(TableHeader, max_memory, 88,
               "bytes: `memory_limit` can be raised up to this; the size of all parts follows from it"),
    HOSTMAP_AT(TableHeader, max_value_bytes, 96, "longest value"),
    HOSTMAP_AT(TableHeader, generations_offset, 104, "of the page generations"),
    HOSTMAP_AT(TableHeader, arena_offset, 112, "of the arena"),
    HOSTMAP_AT(TableHeader, arena_bytes, 120, "its reserved size; populated is arena_populated"),
    HOSTMAP_AT(TableHeader, membarrier, 128, "1: workers fence for registered clients when they park"),
    HOSTMAP_AT(TableHeader, checksum, 136, "of all above, of the next word, and of the shards' constants"),
    HOSTMAP_AT(TableHeader, time_namespace, 144, "inode of the one whose clock the ends count by; 0: not known"),
    HOSTMAP_AT(TableHeader, reserved_constants, 152, "zero"),
    HOSTMAP_AT(TableHeader, change, 256, "below; loaded first and last by every read"),
    HOSTMAP_AT(TableHeader, arena_populated, 264,
               "bytes of the arena that have pages and generations: all that may be read"),
    HOSTMAP_AT(TableHeader, generations_allocated, 272,
               "bytes of page generations that have pages; the server's alone"),
    HOSTMAP_AT(TableHeader, arena_allocated, 280, "bytes of the arena that have pages; the server's alone"),
    HOSTMAP_AT(TableHeader, memory_limit, 288,
               "bytes that may have pages; the server's user can change it at any time"),
    HOSTMAP_AT(TableHeader, server_generation, 384,
               "of the server: milliseconds since 1970 at its start, and above that of the server before"),
    HOSTMAP_AT(TableHeader, server_pid, 392, "for diagnosis"),
    HOSTMAP_AT(TableHeader, lane_worker, 396, "which worker serves a lane; changes when a server starts"),
    HOSTMAP_AT(TableHeader, phase, 428,
               "of the server: 0 starting, 1 serving, 2 stopped and kept, 3 loading a dump (with the percentage in the "
               "upper 16 bits)"),
    HOSTMAP_AT(TableHeader, mailbox_count, 432, "of the master region, where clients could change it"),
    HOSTMAP_AT(TableHeader, eviction, 436, "what the server does when memory is full: 0 refuse, 1 clock, 2 expiring"),
    HOSTMAP_AT(TableHeader, master_inode, 440, "the master region's file; 0: unknown"),
    HOSTMAP_AT(TableHeader, server_version, 448, "text: version, blank, commit, zeros; for diagnosis"),
    HOSTMAP_AT(TableHeader, reserved_server, 512, "zero"),
    HOSTMAP_AT(TableHeader, shards, 4096, "ShardHeader each"),
    HOSTMAP_AT(TableHeader, workers, 8192, "WorkerLine each"),
    HOSTMAP_AT(TableHeader, lane_stats, 12288, "LaneStats each"),
    HOSTMAP_AT(TableHeader, server_stats, 20480, "ServerStats"),
};

// The keys of a shard are divided into groups by their hash. A client that waits until a key changes sleeps on the word of its group,
// which the lane's worker raises after each change of a key of the group, if a client has registered with it. Never 0, so that
// a word of a mapping that was discarded is another one.
inline constexpr std::uint32_t kWaitGroups = 1024;
struct WaitGroupWords {
  HalfWord words[kWaitGroups];
};
HOSTMAP_LAYOUT(WaitGroupWords, 4096, 4) = {
    HOSTMAP_AT(WaitGroupWords, words, 0, "futexes; raised by the lane's worker"),
};
inline constexpr std::uint64_t kWaitGroupsOffset =
    round_up(std::uint64_t{sizeof(TableHeader)}, std::uint64_t{kPageSize});
inline constexpr std::uint32_t wait_group_of(std::uint64_t hash) noexcept {
  return static_cast<std::uint32_t>(hash % kWaitGroups);
}

// Bounds of --memory and --max-memory.
inline constexpr std::uint64_t kLeastMemory = 512 * 1024;
inline constexpr std::uint64_t kMostMemory = std::uint64_t{1} << 40;

// A word out of bounds, which is damage, counts as the nearest bound.
inline std::uint64_t memory_limit_of(const TableHeader& header) noexcept {
  // relaxed: a number; nothing else is read because of it
  return std::clamp(header.memory_limit.load(std::memory_order_relaxed), std::min(kLeastMemory, header.max_memory),
                    header.max_memory);
}

// Beside the arena: one counter for each of its pages, raised by whoever takes memory that begins in the page. A long
// value is read between two loads of its first page's generation. (Inside the entry, a later entry's payload could forge it.)
using PageGeneration = Word;

// Where the parts of a table lie: a pure function of the options, so that writer, tests and documents agree.
struct TablePlan {
  std::uint64_t head_bytes = 0;          // populated from the beginning: the header and the words of all groups
  std::uint64_t directories_offset = 0;  // of shard 0: its pairs', then its entries', then shard 1's
  std::uint64_t directory_bytes = 0;     // reserved for one
  unsigned most_depth = 0;               // of a directory
  std::uint64_t generations_offset = 0;
  std::uint64_t generations_bytes = 0;
  std::uint64_t arena_offset = 0;
  std::uint64_t arena_bytes = 0;
  std::uint64_t file_bytes = 0;

  constexpr std::uint64_t pair_directory(std::uint32_t shard) const noexcept {
    return directories_offset + 2 * shard * directory_bytes;
  }
  constexpr std::uint64_t entry_directory(std::uint32_t shard) const noexcept {
    return pair_directory(shard) + directory_bytes;
  }
};

// Bytes of the words of a directory of this depth: of all levels up to the one after it.
inline constexpr std::uint64_t directory_bytes_at(unsigned depth) noexcept {
  return (std::uint64_t{4} << depth) * sizeof(Word);
}
// The depth of a directory of so many segments, at least one.
inline constexpr unsigned directory_depth(std::uint64_t segments) noexcept {
  return static_cast<unsigned>(std::bit_width(segments - 1));
}

inline constexpr TablePlan plan_table(std::uint64_t max_memory, std::uint32_t shards) noexcept {
  TablePlan plan;
  plan.arena_bytes = round_up(max_memory, std::uint64_t{kHugePageSize});
  // Any shard may use all slabs for either form. One level more is written ahead (invariant 2).
  plan.most_depth = directory_depth(plan.arena_bytes / kSlabBytes);
  plan.directory_bytes = round_up(directory_bytes_at(plan.most_depth), std::uint64_t{kPageSize});
  plan.head_bytes = kWaitGroupsOffset + shards * sizeof(WaitGroupWords);
  plan.directories_offset = plan.head_bytes;
  plan.generations_offset = plan.directories_offset + 2 * shards * plan.directory_bytes;
  plan.generations_bytes = round_up(plan.arena_bytes / kPageSize * sizeof(PageGeneration), std::uint64_t{kPageSize});
  plan.arena_offset = round_up(plan.generations_offset + plan.generations_bytes, std::uint64_t{kHugePageSize});
  plan.file_bytes = plan.arena_offset + plan.arena_bytes;
  return plan;
}

}  // namespace hostmap
