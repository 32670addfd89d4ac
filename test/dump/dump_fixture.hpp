// What the tests of dumps share: dumps in memory.
#pragma once

#include <algorithm>
#include <cstring>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "dump/reader.hpp"
#include "dump/writer.hpp"

namespace hostmap::test {

// A record that owns its bytes.
struct Kept {
  std::string key;
  std::string value;
  std::optional<std::uint64_t> end_ms = {};
  friend bool operator==(const Kept&, const Kept&) = default;
};

inline DumpRecord record_of(const Kept& kept) { return {kept.key, kept.value, kept.end_ms}; }

// The dump of which docs/reference/dump-format.md shows the bytes: written on 2026-01-01 00:00 UTC; one key ends in 2100.
inline const DumpHead kGoldenHead{1'767'225'600'000, 3, "example"};
inline const std::vector<Kept> kGoldenRecords = {
    {"language", "C++"},
    {std::string("\7\0\0\0\0\0\0\0", 8), std::string("\xe8\3\0\0\0\0\0\0", 8)},
    {"session", "", 4'102'444'800'000},
};

inline std::string dump_of(const DumpHead& head, const std::vector<Kept>& records) {
  std::string dump;
  DumpWriter writer([&dump](std::string_view bytes) {
    dump += bytes;
    return Status();
  });
  Status status = writer.begin(head);
  for (const Kept& record : records) {
    if (status.ok()) status = writer.add(record_of(record));
  }
  if (status.ok()) status = writer.finish();
  return status.ok() ? dump : std::string();
}

// Gives the bytes of `dump` in parts of at most `part`.
inline DumpReader::Source source_of(std::string_view dump, std::size_t part = ~std::size_t{0}) {
  return [dump, part](std::span<char> room) mutable -> Result<std::size_t> {
    const std::size_t size = std::min({dump.size(), room.size(), part});
    std::memcpy(room.data(), dump.data(), size);
    dump.remove_prefix(size);
    return size;
  };
}

struct ReadDump {
  Status status;
  DumpHead head;
  std::vector<Kept> records;  // of the blocks before the fault
};
inline ReadDump read_dump_of(DumpReader::Source source) {
  ReadDump read;
  DumpReader reader(std::move(source));
  const Result<DumpHead> head = reader.read_head();
  read.status = head.status();
  if (!head) return read;
  read.head = *head;
  for (;;) {
    const Result<std::span<const DumpRecord>> block = reader.next();
    read.status = block.status();
    if (!block || block->empty()) return read;
    for (const DumpRecord& record : *block) {
      read.records.push_back({std::string(record.key), std::string(record.value), record.end_ms});
    }
  }
}

// A block with right sums, whatever its content.
inline std::string block_of(std::string_view payload, std::uint32_t records, std::uint64_t number = 1) {
  DumpBlockBytes head{};
  std::memcpy(head.magic, kBlockMagic, sizeof head.magic);
  head.records = records;
  head.bytes = payload.size();
  head.number = number;
  head.sum = dump_sum(payload, number);
  return std::string(reinterpret_cast<const char*>(&head), sizeof head) + std::string(payload);
}
inline std::string head_of(const DumpHead& head) {
  const DumpHeadBytes bytes = encode_head(head);
  return {reinterpret_cast<const char*>(&bytes), sizeof bytes};
}

}  // namespace hostmap::test
