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

// A struct's own list of fields, and of what its alignment leaves unused between them.
template <typename Struct>
LayoutTable table_of(const char* name) {
  LayoutTable table{name, "bytes", sizeof(Struct), {}};
  std::uint64_t next = 0;
  for (const LayoutField& field : kLayoutOf<Struct>) {
    if (field.offset > next && field.offset % kLinePair == 0) {
      table.rows.push_back({"", next, field.offset - next, "unused: what follows begins a line pair"});
    }
    const std::string array = field.elements != 0 ? "[" + std::to_string(field.elements) + "]" : "";
    table.rows.push_back({field.name + array, field.offset, field.size, field.purpose});
    next = field.offset + field.size;
  }
  return table;
}
#define TABLE(type) table_of<type>(#type)

inline constexpr const char* kReserved = "zero";

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

// Of every struct in src/layout/.
inline std::vector<LayoutTable> struct_tables() {
  using namespace layout_detail;
  return {
      TABLE(RegionHeader),     TABLE(MasterHeader),  TABLE(IdleHints),    TABLE(Bell),
      TABLE(Mailbox),          TABLE(TableHeader),   TABLE(ShardHeader),  TABLE(WorkerLine),
      TABLE(LaneStats),        TABLE(ServerStats),   TABLE(PairBucket),   TABLE(EntryBucket),
      TABLE(ConnectionHeader), TABLE(ClientWords),   TABLE(ServerWords),  TABLE(ChannelControl),
      TABLE(TouchPage),        TABLE(JournalHeader), TABLE(Intent),       TABLE(ConnectionRecord),
      TABLE(ChannelPosition),  TABLE(ChannelMemo),   TABLE(HandoverHead), TABLE(WaitGroupWords),
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
        bits("touched", kPairTouchedMask, "bit per place: the pair was used; for eviction"),
        bits("gathers", kLinkGathers, "pairs of the further bucket may be in earlier buckets, too: those count"),
        bits("reserved", std::uint64_t{0xff} << 56, kReserved)}},
      {"header of an entry bucket",
       "bits",
       64,
       {bits("flags", 0xff, "none yet: zero"), bits("fill", kFillMask, "the filling that wrote it, modulo 256"),
        bits("version", ~(kVersionStep - 1), "of a primary bucket: raised whenever a cell of its chain was changed")}},
      {"cell of an entry bucket",
       "bits",
       64,
       {bits("offset", kOffsetMask, "of the entry; of a further bucket when the tag is 0"),
        bits("touched", kCellTouched, "the key was used; for eviction"),
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
        bits("mixed", kStateMixed, "of pairs: some entry has an 8-byte key, so a miss here is not an answer yet"),
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
              {kWaitGroupsOffset, "WaitGroupWords of the shard"},
              {plan.pair_directory(0), "directory of the shard's pairs, 8 bytes each"},
              {plan.entry_directory(0), "directory of its entries, 8 bytes each"},
              {plan.generations_offset, "page generations, 8 bytes each"},
              {plan.arena_offset, "arena: slabs of 32 KiB"}}),
      region("connection region", connection_bytes(kLanes, kRing),
             {{0, "ConnectionHeader"},
              {channel_control_offset(0), "ChannelControl of channel 0: writes of lane 0"},
              {channel_control_offset(1), "ChannelControl of channel 1: gets by ring of lane 0"},
              {touch_page_offset(0, kLanes), "TouchPage of lane 0"},
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
