// The tables and worked examples of docs/reference/memory-layout.md, made from the structs themselves.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include "buffer/ring.hpp"
#include "layout/connection.hpp"
#include "layout/journal.hpp"
#include "layout/master.hpp"
#include "layout/table.hpp"
#include "message/codec.hpp"

namespace hostmap::test {

// A part of a struct (bytes), of a region (bytes) or of a word (bits).
struct LayoutRow {
  std::string name;
  std::uint64_t offset;
  std::uint64_t size;
  std::string purpose;
};

// Its rows cover [0, size) without overlap or gap.
struct LayoutTable {
  std::string name;  // "RegionHeader", "word of a mailbox", "table region"
  std::string unit;  // "bytes" or "bits"
  std::uint64_t size;
  std::vector<LayoutRow> rows;
};

namespace layout_detail {

template <typename Member>
LayoutRow field(const char* name, std::uint64_t offset, const char* purpose) {
  std::string shown = name;
  if constexpr (std::is_array_v<Member>) shown += "[" + std::to_string(std::extent_v<Member>) + "]";
  return {shown, offset, sizeof(Member), purpose};
}
#define FIELD(type, member, purpose) field<decltype(type::member)>(#member, offsetof(type, member), purpose)
#define TABLE(type, ...) \
  LayoutTable { #type, "bytes", sizeof(type), __VA_ARGS__ }

inline constexpr const char* kReserved = "zero";
inline LayoutRow gap(std::uint64_t begin, std::uint64_t end) {
  return {"", begin, end - begin, "unused: what follows begins a line pair"};
}

// A row for the bits of `mask`, which are adjacent.
inline LayoutRow bits(const char* name, std::uint64_t mask, const char* purpose) {
  return {name, static_cast<std::uint64_t>(std::countr_zero(mask)), static_cast<std::uint64_t>(std::popcount(mask)),
          purpose};
}

// The bits of a word that change when a part of it goes from 0 to its largest value.
inline constexpr std::uint64_t between(std::uint64_t without, std::uint64_t with) { return without ^ with; }

inline std::span<const std::byte> bytes_of(std::string_view text) { return std::as_bytes(std::span(text)); }

inline std::string hex_dump(std::span<const std::byte> bytes, std::uint64_t address) {
  std::string dump;
  char text[16];
  for (std::size_t line = 0; line < bytes.size(); line += 16) {
    std::snprintf(text, sizeof text, "%06llx ", static_cast<unsigned long long>(address) + line);
    dump += text;
    std::string readable;
    for (std::size_t i = line; i < line + 16; ++i) {
      if (i >= bytes.size()) {
        dump += i % 8 == 0 ? "    " : "   ";
        continue;
      }
      const auto byte = static_cast<unsigned char>(bytes[i]);
      std::snprintf(text, sizeof text, i % 8 == 0 ? "  %02x" : " %02x", byte);
      dump += text;
      readable += byte >= 0x20 && byte < 0x7f ? static_cast<char>(byte) : '.';
    }
    dump += "  |" + readable + "|\n";
  }
  return dump;
}

}  // namespace layout_detail

inline std::vector<LayoutTable> struct_tables() {
  using namespace layout_detail;
  return {
      TABLE(RegionHeader,
            {FIELD(RegionHeader, magic, "\"hostmap\\0\""),
             FIELD(RegionHeader, layout_version, "of this page; another one is refused by number"),
             FIELD(RegionHeader, kind, "1 master, 2 table, 3 journal, 4 connection"),
             FIELD(RegionHeader, fingerprint, "of the hash and of struct sizes: a build that differs is refused"),
             FIELD(RegionHeader, bytes, "size of the file; one that is shorter is refused"),
             FIELD(RegionHeader, incarnation, "random, the same in all regions of one server's start"),
             FIELD(RegionHeader, state, "0 being built, 1 ready, 2 given up; stored last"),
             FIELD(RegionHeader, name_hash, "of the file's name without its folder: a hard link does not count"),
             FIELD(RegionHeader, reserved, kReserved)}),
      TABLE(MasterHeader,
            {FIELD(MasterHeader, region, "as above"),
             FIELD(MasterHeader, mailbox_count, "the mailbox of id is number id mod this"),
             FIELD(MasterHeader, lane_count, "of the instance"),  //
             FIELD(MasterHeader, reserved_constants, kReserved),
             FIELD(MasterHeader, counter, "last connection id given; clients add 1"), gap(136, 256),
             FIELD(MasterHeader, server_bell, "rung when a client requests a connection or a lane, or closes"),
             FIELD(MasterHeader, worker_bells, "rung when that worker is parked")}),
      TABLE(IdleHints,
            {FIELD(IdleHints, words, "a bit for each connection id modulo 512; clients set, the worker clears")}),
      TABLE(Bell, {FIELD(Bell, rings, "futex; only ever added to"), FIELD(Bell, reserved, kReserved)}),
      TABLE(Mailbox, {FIELD(Mailbox, word, "id and state, below; its low half is a futex"),
                      FIELD(Mailbox, pid, "of the client, for diagnosis"), FIELD(Mailbox, reserved, kReserved)}),
      TABLE(TableHeader,
            {FIELD(TableHeader, region, "as above"),
             FIELD(TableHeader, hash_seed, "random: without it nobody can forge collisions"),
             FIELD(TableHeader, shard_count, "shard i belongs to lane i"),
             FIELD(TableHeader, reserved_count, kReserved),
             FIELD(TableHeader, initial_buckets, "of each form, over all shards"),
             FIELD(TableHeader, max_memory, "bytes: `memory_limit` can be raised up to this"),
             FIELD(TableHeader, max_value_bytes, "longest value"),
             FIELD(TableHeader, generations_offset, "of the page generations"),
             FIELD(TableHeader, arena_offset, "of the arena"),
             FIELD(TableHeader, arena_bytes, "its reserved size; populated is arena_populated"),
             FIELD(TableHeader, membarrier, "1: workers fence for registered clients"),
             FIELD(TableHeader, checksum, "of all above, of the next word, and of the shards' constants"),
             FIELD(TableHeader, time_namespace, "inode of the one whose clock the ends count by; 0: not known"),
             FIELD(TableHeader, reserved_constants, kReserved),
             FIELD(TableHeader, change, "below; loaded first and last by every read"),
             FIELD(TableHeader, arena_populated, "bytes of the arena that may be read"),
             FIELD(TableHeader, generations_allocated, "bytes of page generations that have pages"),
             FIELD(TableHeader, arena_allocated, "bytes of the arena that have pages"),
             FIELD(TableHeader, memory_limit, "bytes that may have pages; changes at any time"),
             gap(296, 384),
             FIELD(TableHeader, server_generation, "of servers on this table"),
             FIELD(TableHeader, server_pid, "for diagnosis"),
             FIELD(TableHeader, lane_worker, "which worker serves a lane"),
             FIELD(TableHeader, phase, "of the server: 0 starting, 1 serving, 2 stopped and kept"),
             FIELD(TableHeader, mailbox_count, "of the master region"),
             FIELD(TableHeader, reserved_half, kReserved),
             FIELD(TableHeader, master_inode, "the master region's file; 0: unknown"),
             FIELD(TableHeader, server_version, "text: version, blank, commit; for diagnosis"),
             FIELD(TableHeader, reserved_server, kReserved),
             FIELD(TableHeader, shards, "ShardHeader each"),
             FIELD(TableHeader, workers, "WorkerLine each"),
             FIELD(TableHeader, lane_stats, "LaneStats each"),
             FIELD(TableHeader, server_stats, "ServerStats")}),
      TABLE(ShardHeader, {FIELD(ShardHeader, pair_state, "how deep the directory of its pairs is, below"),
                          FIELD(ShardHeader, entry_state, "likewise of its entries"),
                          FIELD(ShardHeader, pair_directory, "offset"), FIELD(ShardHeader, entry_directory, "offset"),
                          FIELD(ShardHeader, pair_base, "segments of pair buckets at least"),
                          FIELD(ShardHeader, entry_base, "segments of entry buckets at least"),
                          FIELD(ShardHeader, reserved, kReserved),
                          FIELD(ShardHeader, pair_twin, "what a restart must complete, below"),
                          FIELD(ShardHeader, entry_twin, "likewise"),
                          FIELD(ShardHeader, pair_directory_populated, "bytes of the directory that have pages"),
                          FIELD(ShardHeader, entry_directory_populated, "likewise")}),
      TABLE(WorkerLine, {FIELD(WorkerLine, parked, "1: it sleeps or is about to: ring its bell"),
                         FIELD(WorkerLine, cpu, "where it ran last: a waiter there does not spin"),
                         FIELD(WorkerLine, crowded, "1: more active lanes than cpus: waiters do not spin"),
                         FIELD(WorkerLine, reserved, kReserved)}),
      TABLE(LaneStats,
            {FIELD(LaneStats, puts, "each one read, validated and applied"),
             FIELD(LaneStats, erases, "of keys that were there"),
             FIELD(LaneStats, gets_by_ring, "gets by message"),
             FIELD(LaneStats, pair_keys, "keys now in the form of pairs"),
             FIELD(LaneStats, entry_keys, "keys now in the form of entries"),
             FIELD(LaneStats, refused, "mutations refused: no memory, chain full, too large"),
             FIELD(LaneStats, splits, "of segments"),
             FIELD(LaneStats, sweeps, "of the worker"),
             FIELD(LaneStats, parks, "times the worker slept"),
             FIELD(LaneStats, timeout_rescues, "sleeps that ended by timeout although there was work"),
             FIELD(LaneStats, poisoned, "connections closed for what they sent"),
             FIELD(LaneStats, entry_bytes, "in blocks that hold entries"),
             FIELD(LaneStats, fill, "the clear that this lane has noticed: its counts of keys are of this fill"),
             FIELD(LaneStats, swept_fill, "no bucket of this lane is older"),
             FIELD(LaneStats, overflow_bytes, "in overflow buckets of either form"),
             FIELD(LaneStats, pair_segments, "slabs that are pair buckets"),
             FIELD(LaneStats, entry_segments, "slabs that are entry buckets"),
             FIELD(LaneStats, expiring, "keys that have an end"),
             FIELD(LaneStats, expired, "keys removed because their end had passed"),
             FIELD(LaneStats, reserved, kReserved)}),
      TABLE(ServerStats,
            {FIELD(ServerStats, memory_bytes, "populated in the table region"),
             FIELD(ServerStats, huge_page_bytes, "of these, in 2 MiB pages"),
             FIELD(ServerStats, arena_free_bytes, "populated, in no slab and no run"),
             FIELD(ServerStats, connections, "now"), FIELD(ServerStats, connected, "ever"),
             FIELD(ServerStats, reaped, "connections whose client ended without closing"),
             FIELD(ServerStats, recoveries, "restarts on this table"),
             FIELD(ServerStats, replayed, "requests finished by a restart"),
             FIELD(ServerStats, populate_failures, "times the file system had no page left"),
             FIELD(ServerStats, read_retries, "as reported by connections that have ended"),
             FIELD(ServerStats, read_fallbacks, "likewise: gets that went by ring because of writers"),
             FIELD(ServerStats, client_rescues, "likewise: waits that ended by timeout although the answer was there"),
             FIELD(ServerStats, workers, "threads that apply writes"),
             FIELD(ServerStats, cut_off, "connections whose client truncated its region"),
             FIELD(ServerStats, counted_since, "when the table was made, in seconds since 1970"),
             FIELD(ServerStats, reserved, kReserved)}),
      TABLE(PairBucket, {FIELD(PairBucket, header, "version, fill, occupied places, overflow: below"),
                         FIELD(PairBucket, keys, "8 bytes each; place i is number i - 1"),
                         FIELD(PairBucket, link, "a further bucket, if the overflow bit is set"),
                         FIELD(PairBucket, values, "8 bytes each")}),
      TABLE(EntryBucket,
            {FIELD(EntryBucket, header, "version, fill: below"),
             FIELD(EntryBucket, cells, "tag and offset of an entry each; 0 is empty; the last may be a link")}),
      TABLE(ConnectionHeader,
            {FIELD(ConnectionHeader, region, "as above"), FIELD(ConnectionHeader, id, "as in the region's name"),
             FIELD(ConnectionHeader, serial, "names the connection in the journal; never repeats"),
             FIELD(ConnectionHeader, request_nonce, "odd; of the request rings' tags"),
             FIELD(ConnectionHeader, answer_nonce, "odd; of the answer rings' tags"),
             FIELD(ConnectionHeader, ring_bytes, "of each ring; a power of two"),
             FIELD(ConnectionHeader, lane_count, "of the instance"), FIELD(ConnectionHeader, reserved_half, kReserved),
             FIELD(ConnectionHeader, reserved_constants, kReserved),
             FIELD(ConnectionHeader, client, "ClientWords: the client writes"),
             FIELD(ConnectionHeader, server, "ServerWords: the server writes"),
             FIELD(ConnectionHeader, reserved, kReserved)}),
      TABLE(ClientWords,
            {FIELD(ClientWords, closed, "1: the client is done: drain, then drop"),
             FIELD(ClientWords, expedited, "1: it registered for membarrier; its puts need no fence"),
             FIELD(ClientWords, channels_wanted, "bit per channel"),
             FIELD(ClientWords, read_retries, "rounds that a read had to repeat"),
             FIELD(ClientWords, read_fallbacks, "gets that went by ring because of writers"),
             FIELD(ClientWords, timeout_rescues, "waits that ended by timeout although the answer was there"),
             FIELD(ClientWords, channel_attempts, "raised with each request for channels"),
             FIELD(ClientWords, reserved, kReserved)}),
      TABLE(ServerWords, {FIELD(ServerWords, closed, "1: nothing more will be answered"),
                          FIELD(ServerWords, opened, "futex: raised when a channel is opened or refused"),
                          FIELD(ServerWords, channels_open, "bit per channel: its rings are populated and swept"),
                          FIELD(ServerWords, channels_refused, "bit per channel: no memory for its rings"),
                          FIELD(ServerWords, attempts_answered, "the last request for channels that was answered"),
                          FIELD(ServerWords, reserved, kReserved)}),
      TABLE(ChannelControl,
            {FIELD(ChannelControl, waiting, "futex: 0 no, 1 for an answer, 2 for room; the worker clears it"),
             FIELD(ChannelControl, idle, "by the worker: 1: it polls the channel only now and then; set the hint"),
             FIELD(ChannelControl, wake_at, "waiting for room: wake when this position is consumed"),
             FIELD(ChannelControl, reserved_waiting, kReserved),
             FIELD(ChannelControl, answers_consumed, "position in the answer ring"),
             FIELD(ChannelControl, reserved_client, kReserved),
             FIELD(ChannelControl, requests_consumed, "position in the request ring, once a sweep"),
             FIELD(ChannelControl, reserved_server, kReserved)}),
      TABLE(JournalHeader,
            {FIELD(JournalHeader, region, "as above"),
             FIELD(JournalHeader, max_connections, "records and rows of positions"),
             FIELD(JournalHeader, lane_count, "of the instance"), FIELD(JournalHeader, slab_count, "slab classes"),
             FIELD(JournalHeader, ring_bytes, "of each ring"), FIELD(JournalHeader, checksum, "of all above"),
             FIELD(JournalHeader, reserved_constants, kReserved),
             FIELD(JournalHeader, serials, "last connection serial given"), FIELD(JournalHeader, reserved, kReserved),
             FIELD(JournalHeader, intents, "one per lane")}),
      TABLE(Intent, {FIELD(Intent, kind, "what is stored, and so what shows whether it was; stored last; 0: open"),
                     FIELD(Intent, serial, "of the connection"), FIELD(Intent, channel, "of the connection"),
                     FIELD(Intent, request_next, "position after the request"),
                     FIELD(Intent, answer_next, "position after its answer, if it has one"),
                     FIELD(Intent, place, "offset of value word or cell, or of a pair bucket + occupancy bit"),
                     FIELD(Intent, new_word, "of a word, cell or fill: its new value"),
                     FIELD(Intent, answer, "header word and payload, if it has one"),
                     FIELD(Intent, move_cell, "of a move between the forms: the cell's offset"),
                     FIELD(Intent, move_word, "and its word"), FIELD(Intent, reserved, kReserved)}),
      TABLE(
          ConnectionRecord,
          {FIELD(ConnectionRecord, serial, "0: free; stored last, dropped first"),
           FIELD(ConnectionRecord, id,
                 "as in the region's name; stored before that file exists, and kept when it is free"),
           FIELD(ConnectionRecord, request_nonce, "the server's own copy"),
           FIELD(ConnectionRecord, answer_nonce, "likewise"), FIELD(ConnectionRecord, channels_open, "bit per channel"),
           FIELD(ConnectionRecord, inode, "its region's file; 0: unknown"),
           FIELD(ConnectionRecord, reserved, kReserved)}),
      TABLE(
          ChannelPosition,
          {FIELD(ChannelPosition, request_next, "next request to read"),
           FIELD(ChannelPosition, answer_next, "next answer to write"),
           FIELD(ChannelPosition, stream_entry,
                 "of a request in pieces: offset of the entry that they fill; 0: none; 1: held in the journal's file"),
           FIELD(ChannelPosition, stream_head, "and its header word, with a status in place of the flags"),
           FIELD(ChannelPosition, memos, "ChannelMemo each: the higher position not above request_next counts"),
           FIELD(ChannelPosition, stream_end, "when the key of the request in pieces ends"),
           FIELD(ChannelPosition, reserved, kReserved)}),
      TABLE(
          ChannelMemo,
          {FIELD(ChannelMemo, position, "after the request that wrote it"),
           FIELD(ChannelMemo, refused, "unanswered writes refused since the last flush · 256 + the first one's status"),
           FIELD(ChannelMemo, received, "bytes of the request in pieces so far; all ones: no such request")}),
      TABLE(HandoverHead,
            {FIELD(HandoverHead, magic, "\"handover\"; after the journal, present after a stop that keeps the map"),
             FIELD(HandoverHead, incarnation, "the journal's"),
             FIELD(HandoverHead, server_generation, "the table's, of the server that stopped"),
             FIELD(HandoverHead, slabs, "populated; their owners follow, 1 byte each"),
             FIELD(HandoverHead, bytes, "after this head: owners, then used blocks' bits of each owned slab"),
             FIELD(HandoverHead, checksum, "of the above and those bytes")}),
  };
}

// Packed words, bit 0 first.
inline std::vector<LayoutTable> word_tables() {
  using namespace layout_detail;
  const auto request = [](Op op, std::uint8_t flags, std::uint64_t key, std::uint64_t value) {
    return encode(RequestHead{op, flags, key, value});
  };
  constexpr auto kLastKey = kMaxKeyBytes;
  constexpr std::uint64_t kLastValue = 0xffff'ffff;
  constexpr auto kNoState = static_cast<MailboxState>(0);
  const std::uint64_t put = request(Op::kPut, 0, 1, 0);
  return {
      {"word of a mailbox",
       "bits",
       64,
       {bits("state", 0xff, "0 free, 1 claimed, 2 asked, 3 ready, 4 attached, 5 full, 6 no memory, 7 no descriptor"),
        bits("id", mailbox_word(kIdMask, kNoState), "of the connection")}},
      {"header of a pair bucket",
       "bits",
       64,
       {bits("overflow", kOverflowBit, "the link leads to a further bucket"),
        bits("occupied", kOccupiedMask, "bit i: place i (1 to 7) holds a pair"),
        bits("fill", kFillMask, "the filling that wrote it, modulo 256"),
        bits("version", ~(kVersionStep - 1), "raised by every insert and erase")}},
      {"link of a pair bucket",
       "bits",
       64,
       {bits("offset", kOffsetMask, "of the further bucket"), bits("reserved", std::uint64_t{0xf} << 44, kReserved),
        bits("visited", std::uint64_t{0x7f} << 48, "bit per place, for eviction; the server's alone"),
        bits("reserved", std::uint64_t{0x1ff} << 55, kReserved)}},
      {"header of an entry bucket",
       "bits",
       64,
       {bits("flags", 0xff, "none yet: zero"), bits("fill", kFillMask, "the filling that wrote it, modulo 256"),
        bits("version", ~(kVersionStep - 1), "of a primary bucket: raised whenever a cell of its chain was changed")}},
      {"cell of an entry bucket",
       "bits",
       64,
       {bits("offset", kOffsetMask, "of the entry; of a further bucket when the tag is 0"),
        bits("touched", kCellTouched, "for eviction: not used yet, and refused"),
        bits("ends", kCellEnds, "the entry has an end that is not \"never\""),
        bits("reserved", std::uint64_t{3} << 46, kReserved),
        bits("tag", make_cell(0xffff, 0), "low bits of the key's hash, never 0")}},
      {"meta of an entry",
       "bits",
       64,
       {bits("key_bytes - 1", between(make_meta(1, 0), make_meta(kLastKey, 0)), "keys have 1 to 65,536 bytes"),
        bits("reserved", 0x1'0000, kReserved),
        bits("has end", kEntryHasEnd, "behind the value, at a multiple of 8 bytes, stands the end"),
        bits("in larger block", kEntryInLargerBlock,
             "a smaller value that was put while memory was full; readers mask it"),
        bits("reserved", 0xf8'0000, kReserved),
        bits("value_bytes", between(make_meta(1, 0), make_meta(1, (std::uint64_t{1} << 40) - 1)), "")}},
      {"state word",
       "bits",
       64,
       {bits("shift", kStateShiftMask, "63 - depth: the directory's words of that depth are in use"),
        bits("mixed", kStateMixed, "of pairs: some entry has an 8-byte key, so a miss here is no answer yet"),
        bits("closed", kStateClosed, "the table is given up: connect anew"),
        bits("reserved", ~std::uint64_t{0xff}, kReserved)}},
      {"change word",
       "bits",
       64,
       {bits("fill", kTurn - 1, "number of the present filling; clear adds 1"),
        bits("turns", ~(kTurn - 1), "raised after buckets were taken out of use")}},
      {"twin word",
       "bits",
       64,
       {bits("phase", kSlabBytes - 1, "0 none, 1 the last split is being purged, 2 a merge is being published"),
        bits("segment", ~(kSlabBytes - 1), "offset of the merged segment")}},
      {"header of a request",
       "bits",
       64,
       {bits("op", 0xff,
             "1 put, 2 erase, 3 get, 4 flush, 5 stream, 6 piece, 7 insert, 8 compare_exchange, 9 increment, 10 clear, "
             "11 put_if, 12 erase_if, 13 append, 14 replace, 15 add; "
             "0 is padding"),
        bits("flags", between(put, request(Op::kPut, 0xff, 1, 0)), "bit 0: an answer is wanted; others zero"),
        bits("key_bytes - 1", between(put, request(Op::kPut, 0, kLastKey, 0)), "0 for ops without a key"),
        bits("value_bytes", between(put, request(Op::kPut, 0, 1, kLastValue)), "")}},
      {"header of an answer",
       "bits",
       64,
       {bits("code", between(kIsAnswer, encode(AnswerHead{0xff, 0, 0})), "StatusCode"),
        bits("is_answer", 0xff00, "1, so that no answer's header is the 0 of padding"),
        bits("request", between(kIsAnswer, encode(AnswerHead{0, 0xffff, 0})),
             "position of the request / 16, its low bits"),
        bits("value_bytes", between(kIsAnswer, encode(AnswerHead{0, 0, kLastValue})), "")}},
  };
}

// Whole regions, with the default options.
inline std::vector<LayoutTable> region_tables() {
  using namespace layout_detail;
  constexpr std::uint32_t kMailboxes = 1024;
  constexpr std::uint32_t kConnections = 1024;
  constexpr std::uint32_t kLanes = 1;
  constexpr std::uint64_t kRing = 65536;
  constexpr std::uint64_t kMemory = std::uint64_t{1} << 30;
  const TablePlan plan = plan_table(kMemory, kLanes);
  const std::uint64_t slabs = plan.arena_bytes / kSlabBytes;

  // Parts by where they begin; each one reaches to the next.
  const auto region = [](const char* name, std::uint64_t bytes,
                         std::vector<std::pair<std::uint64_t, std::string>> parts) {
    LayoutTable table{name, "bytes", bytes, {}};
    for (std::size_t i = 0; i < parts.size(); ++i) {
      const std::uint64_t end = i + 1 < parts.size() ? parts[i + 1].first : bytes;
      table.rows.push_back({parts[i].second, parts[i].first, end - parts[i].first, ""});
    }
    return table;
  };
  return {
      region("master region", master_bytes(kMailboxes),
             {{0, "MasterHeader"}, {kMailboxesOffset, "1024 mailboxes, 64 bytes each"}}),
      region("table region", plan.file_bytes,
             {{0, "TableHeader"},
              {plan.pair_directory(0), "directory of the shard's pairs, 8 bytes each"},
              {plan.entry_directory(0), "directory of its entries, 8 bytes each"},
              {plan.generations_offset, "page generations, 8 bytes each"},
              {plan.arena_offset, "arena: slabs of 32 KiB"}}),
      region("connection region", connection_bytes(kLanes, kRing),
             {{0, "ConnectionHeader"},
              {channel_control_offset(0), "ChannelControl of channel 0: writes of lane 0"},
              {channel_control_offset(1), "ChannelControl of channel 1: gets by ring of lane 0"},
              {request_ring_offset(0, kLanes, kRing), "request ring of channel 0"},
              {answer_ring_offset(0, kLanes, kRing), "answer ring of channel 0"},
              {request_ring_offset(1, kLanes, kRing), "request ring of channel 1, populated when first used"},
              {answer_ring_offset(1, kLanes, kRing), "answer ring of channel 1, likewise"}}),
      region("journal region", journal_bytes(kConnections, kLanes, slabs),
             {{0, "JournalHeader"},
              {kConnectionRecordsOffset, "1024 connection records, 64 bytes each"},
              {positions_offset(kConnections), "positions of 2 channels of 1024 connections, 128 bytes each"},
              {slab_classes_offset(kConnections, kLanes), "slab classes, 1 byte each"}}),
  };
}

// Markdown of a table, without its name.
inline std::string render(const LayoutTable& table) {
  const bool with_purpose = table.unit == "bits" || !table.rows.front().purpose.empty();
  std::string text = table.unit == "bits" ? "| bits | width | part | purpose |\n|---:|---:|---|---|\n"
                     : with_purpose       ? "| offset | bytes | field | purpose |\n|---:|---:|---|---|\n"
                                          : "| offset | bytes | part |\n|---:|---:|---|\n";
  for (const LayoutRow& row : table.rows) {
    std::string where = std::to_string(row.offset);
    if (table.unit == "bits" && row.size > 1) where += "–" + std::to_string(row.offset + row.size - 1);
    const std::string name = row.name.empty() || !with_purpose ? row.name : "`" + row.name + "`";
    std::vector<std::string> cells = {where, std::to_string(row.size), name};
    if (with_purpose) cells.push_back(row.purpose);
    for (const std::string& cell : cells) text.append("| ").append(cell).append(cell.empty() ? "" : " ");
    text += "|\n";
  }
  return text;
}

// Hex dumps, by name, of bytes that the project's own functions wrote.
inline std::map<std::string, std::string> worked_examples() {
  using namespace layout_detail;
  std::map<std::string, std::string> examples;

  // The put of a pair, at position 96 of a ring, as client and codec write it.
  {
    constexpr std::uint64_t kNonce = 0x0123'4567'89ab'cdef;
    alignas(64) std::byte memory[256] = {};
    RingProducer producer(RingView(memory, sizeof memory, kNonce), 96);
    const std::uint64_t size = record_bytes(16);
    encode_request(producer.begin(size), Op::kPut, true, bytes_of("language"), bytes_of("c++ 2020"));
    producer.publish(size);
    examples["a put of a pair"] = hex_dump(std::span(memory).subspan(96, size), 96);
  }

  // The same pair in its bucket: place 1, the first change of the bucket.
  {
    alignas(PairBucket) std::byte memory[sizeof(PairBucket)] = {};
    auto& bucket = *reinterpret_cast<PairBucket*>(memory);
    std::uint64_t word;
    std::memcpy(&word, "language", 8);
    bucket.keys[0].store(word, std::memory_order_relaxed);
    std::memcpy(&word, "c++ 2020", 8);
    bucket.values[0].store(word, std::memory_order_relaxed);
    bucket.header.store(kVersionStep | 1 << 1, std::memory_order_relaxed);
    examples["a pair bucket"] = hex_dump(memory, 0x200000);
  }

  // "planet" = "Jupiter" as an entry, the hash seed being 0. Its bucket was changed twice before.
  {
    constexpr std::uint64_t kArenaOffset = 0x80400000;
    alignas(EntryBucket) std::byte memory[sizeof(EntryBucket)] = {};
    auto& bucket = *reinterpret_cast<EntryBucket*>(memory);
    bucket.header.store(2 * kVersionStep, std::memory_order_relaxed);
    bucket.cells[0].store(make_cell(tag_of(hash_bytes("planet", 6, 0)), kArenaOffset + 0x18),
                          std::memory_order_relaxed);
    examples["an entry bucket"] = hex_dump(memory, 0x40200000);

    std::byte entry[24] = {};  // a block of the smallest class that holds it
    const std::uint64_t meta = make_meta(6, 7);
    std::memcpy(entry, &meta, sizeof meta);
    std::memcpy(entry + 8, "planetJupiter", 13);
    examples["an entry"] = hex_dump(entry, kArenaOffset + 0x18);
  }
  return examples;
}

#undef FIELD
#undef TABLE

}  // namespace hostmap::test
