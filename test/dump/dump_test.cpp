// The format of dumps: what is written is read; nothing that is damaged, truncated or forged is.
#include <cstdlib>
#include <fmt/format.h>
#include <fstream>
#include <gtest/gtest.h>
#include <iterator>
#include <string>
#include <vector>

#include "dump/dump_fixture.hpp"
#include "support/seed.hpp"

namespace hostmap::test {
namespace {

std::string source_folder() {
  const char* folder = std::getenv("HOSTMAP_SOURCE_DIR");
  return folder == nullptr ? "." : folder;
}

std::string file_of(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  EXPECT_TRUE(file) << path;
  return {std::istreambuf_iterator<char>(file), {}};
}

// As docs/reference/dump-format.md shows bytes.
std::string picture_of(std::string_view bytes) {
  std::string text;
  for (std::size_t at = 0; at < bytes.size(); at += 16) {
    std::string line = fmt::format("{:04x} ", at);
    std::string readable;
    for (std::size_t i = at; i < std::min(at + 16, bytes.size()); ++i) {
      line += fmt::format("{}{:02x}", i % 16 == 8 ? "  " : " ", static_cast<unsigned char>(bytes[i]));
      readable += bytes[i] >= ' ' && bytes[i] <= '~' ? bytes[i] : '.';
    }
    text += fmt::format("{:<56}{}\n", line, readable);
  }
  return text;
}

TEST(DumpGolden, TheFileOfFormat1IsWrittenAndReadAsEver) {
  const std::string golden = file_of(source_folder() + "/test/dump/golden.dump");
  EXPECT_EQ(picture_of(dump_of(kGoldenHead, kGoldenRecords)), picture_of(golden));
  const ReadDump read = read_dump_of(source_of(golden));
  EXPECT_EQ(read.status, StatusCode::kOk) << read.status;
  EXPECT_EQ(read.head.created_ms, kGoldenHead.created_ms);
  EXPECT_EQ(read.head.keys_hint, kGoldenHead.keys_hint);
  EXPECT_EQ(read.head.name, kGoldenHead.name);
  EXPECT_EQ(read.records, kGoldenRecords);
}

TEST(DumpGolden, TheDocumentShowsItsBytes) {
  const std::string document = file_of(source_folder() + "/docs/reference/dump-format.md");
  const std::string picture = picture_of(file_of(source_folder() + "/test/dump/golden.dump"));
  EXPECT_NE(document.find("```\n" + picture + "```"), std::string::npos) << "it should contain\n" << picture;
}

TEST(Dump, WhatIsWrittenIsReadHoweverItArrives) {
  Random random;
  std::vector<Kept> records = {{std::string(65'536, 'k'), ""}, {"k", std::string((1 << 20) + 1, 'v')}, {"after", "it"}};
  for (int i = 0; i < 3000; ++i) {
    Kept record{std::string(random.between(1, 20), static_cast<char>(random.word())),
                std::string(random.below(2000), 'v')};
    if (random.one_in(3)) record.end_ms = random.word();
    records.push_back(record);
  }
  const std::string dump = dump_of({1, records.size(), std::string(20, 'n')}, records);
  for (const std::size_t part : {~std::size_t{0}, std::size_t{1'000'003}, std::size_t{7}}) {
    const ReadDump read = read_dump_of(source_of(dump, part));
    EXPECT_EQ(read.status, StatusCode::kOk) << read.status;
    EXPECT_EQ(read.head.name, std::string(kDumpNameBytes, 'n')) << "a longer name is cut";
    EXPECT_TRUE(read.records == records);
  }
}

TEST(Dump, BlocksOfSeveralRecordsHaveAtMost1MiB) {
  std::vector<Kept> records;
  for (int i = 0; i < 9; ++i) records.push_back({"k", std::string(i % 3 == 0 ? 2'000'000 : 400'000, 'v')});
  const std::string dump = dump_of({}, records);
  DumpReader reader(source_of(dump));
  ASSERT_TRUE(reader.read_head());
  for (std::size_t size; (size = reader.next()->size()) != 0;) EXPECT_LE(size, 2u);
  EXPECT_EQ(reader.records(), 9u);
  EXPECT_EQ(reader.blocks(), 6u);
  EXPECT_EQ(reader.bytes(), dump.size());
}

TEST(Dump, AMapWithoutKeysHasADumpWithoutBlocks) {
  const std::string dump = dump_of({}, {});
  EXPECT_EQ(dump.size(), sizeof(DumpHeadBytes) + sizeof(DumpEndBytes));
  EXPECT_EQ(read_dump_of(source_of(dump)).status, StatusCode::kOk);
}

TEST(DumpFaults, EachTruncationIsNoticed) {
  const std::string dump = dump_of(kGoldenHead, kGoldenRecords);
  for (std::size_t size = 0; size < dump.size(); ++size) {
    const ReadDump read = read_dump_of(source_of(std::string_view(dump).substr(0, size)));
    EXPECT_EQ(read.status, StatusCode::kInvalid) << size;
    EXPECT_TRUE(read.status.message().starts_with("the dump is truncated in")) << size << read.status;
    EXPECT_TRUE(read.records.empty() || read.records == kGoldenRecords) << size;
  }
}

TEST(DumpFaults, EachFlippedBitIsNoticed) {
  const std::string dump = dump_of(kGoldenHead, kGoldenRecords);
  for (std::size_t bit = 0; bit < 8 * dump.size(); ++bit) {
    std::string flipped = dump;
    flipped[bit / 8] = static_cast<char>(flipped[bit / 8] ^ (1 << bit % 8));
    const ReadDump read = read_dump_of(source_of(flipped));
    const bool format = bit / 8 >= offsetof(DumpHeadBytes, format) && bit / 8 < offsetof(DumpHeadBytes, head_bytes);
    EXPECT_EQ(read.status, format ? StatusCode::kOtherVersion : StatusCode::kInvalid) << bit;
    EXPECT_TRUE(read.records.empty() || read.records == kGoldenRecords) << bit << ": a damaged block was given";
  }
}

// The message for a dump of this head and these blocks.
std::string fault_of(const std::string& blocks) {
  const ReadDump read = read_dump_of(source_of(head_of({}) + blocks));
  EXPECT_EQ(read.status, StatusCode::kInvalid);
  return std::string(read.status.message());
}

TEST(DumpFaults, EachHasItsSentenceWithTheNumberOfTheBlock) {
  const std::string record("\0\1\1kv", 5);
  EXPECT_EQ(fault_of("BLK2" + std::string(28, '\0')),
            "block 1 of the dump is damaged: it begins with neither BLK1 nor END1");
  EXPECT_EQ(fault_of(block_of(record, 1) + block_of(record, 1, 1)), "block 2 of the dump is damaged: its number is 1");
  EXPECT_EQ(fault_of(block_of(record, 1, 2)), "block 1 of the dump is damaged: its number is 2");
  std::string wrong = block_of(record, 1);
  wrong.back() ^= 1;
  EXPECT_EQ(fault_of(wrong), "block 1 of the dump is damaged: its checksum is wrong");
  EXPECT_EQ(fault_of(block_of(record, 2)), "block 1 of the dump is damaged: it has 1 records, and its head says 2");
  EXPECT_EQ(fault_of(block_of("", 1)), "block 1 of the dump is damaged: it cannot have 1 records in 0 bytes");
  EXPECT_EQ(fault_of(block_of(record, 0)), "block 1 of the dump is damaged: it cannot have 0 records in 5 bytes");
  EXPECT_EQ(fault_of(block_of(record, 1)), "the dump is truncated in block 2, or before its end: it has no END1");
  EXPECT_EQ(fault_of(block_of(record, 1) + dump_of({}, {}).substr(sizeof(DumpHeadBytes))),
            "the end of the dump does not match its 1 blocks: it says that there are 0 records in 0 blocks");
  EXPECT_EQ(fault_of(dump_of({}, {}).substr(sizeof(DumpHeadBytes)) + "x"),
            "something follows the end of the dump, after 0 blocks");
  EXPECT_EQ(read_dump_of(source_of(head_of({}).substr(0, 20))).status.message(),
            "the dump is truncated in its head: it has only 20 bytes");
  EXPECT_EQ(read_dump_of(source_of("no dump")).status.message(),
            "this is not a dump of hostmap: it does not begin with hostmapD");

  DumpHeadBytes head = encode_head({});
  head.format = 2;
  const ReadDump other = read_dump_of(source_of({reinterpret_cast<const char*>(&head), sizeof head}));
  EXPECT_EQ(other.status, StatusCode::kOtherVersion);
  EXPECT_EQ(other.status.message(),
            "the dump has format 2, and this program reads format 1; use the version of hostmap that wrote it");
  head = encode_head({});
  head.flags = 4;
  head.sum = dump_sum({reinterpret_cast<const char*>(&head), offsetof(DumpHeadBytes, sum)}, 0);
  EXPECT_EQ(read_dump_of(source_of({reinterpret_cast<const char*>(&head), sizeof head})).status.message(),
            "the head of the dump has a size or flags that format 1 does not have");
}

TEST(DumpFaults, RecordsThatDoNotFitAreRefusedWithRightSums) {
  const std::string good("\0\1\1kv", 5);
  const std::vector<std::string> bad = {
      std::string("\2\1\1kv", 5),                                 // a flag that does not exist
      std::string("\0\0\1v", 4),                                  // an empty key
      std::string("\0\1\2kv", 5),                                 // a value beyond the block
      std::string("\0\3\1kv", 5),                                 // a key beyond the block
      std::string("\1\1\1kv", 5),                                 // no room for the end
      std::string("\0\x81", 2),                                   // an unfinished number
      std::string("\0\x80\x80\x80\x80\x80\1kv", 9),               // a number of six bytes
      std::string("\0\1\xff\xff\xff\xff\x7fkv", 9),               // a value of 32 GiB
      std::string("\0\x81\x80\4", 4) + std::string(65'537, 'k'),  // a key of 65,537 bytes, no value
      std::string("\0", 1),
  };
  for (std::size_t i = 0; i < bad.size(); ++i) {
    EXPECT_EQ(fault_of(block_of(good + bad[i], 2)), "block 1 of the dump is damaged: record 2 of it is not valid") << i;
  }
}

TEST(DumpFaults, ALengthWithoutBytesTakesNoMemory) {
  DumpBlockBytes head{};
  std::memcpy(head.magic, kBlockMagic, sizeof head.magic);
  head.records = 1;
  head.number = 1;
  for (const std::uint64_t bytes : {kMostDumpRecord, kMostDumpRecord + 1, ~std::uint64_t{0}}) {
    head.bytes = bytes;
    const std::string dump = head_of({}) + std::string(reinterpret_cast<const char*>(&head), sizeof head) + "some";
    std::size_t most = 0;
    const DumpReader::Source source = source_of(dump);
    const ReadDump read = read_dump_of([&](std::span<char> room) {
      most = std::max(most, room.size());
      return source(room);
    });
    EXPECT_EQ(read.status, StatusCode::kInvalid);
    EXPECT_EQ(read.status.message(),
              bytes == kMostDumpRecord
                  ? "the dump is truncated in block 1, or before its end: it has no END1"
                  : "block 1 of the dump is damaged: it cannot have 1 records in " + std::to_string(bytes) + " bytes");
    EXPECT_LE(most, kMostDumpPayload);
  }
  head.records = 2;
  head.bytes = kMostDumpPayload + 1;
  EXPECT_EQ(fault_of(std::string(reinterpret_cast<const char*>(&head), sizeof head)),
            "block 1 of the dump is damaged: it cannot have 2 records in 1048577 bytes");
}

TEST(DumpFaults, ErrorsOfSourceAndSinkEndTheDump) {
  const std::string dump = dump_of(kGoldenHead, kGoldenRecords);
  for (const std::size_t size : {std::size_t{0}, std::size_t{64}, std::size_t{100}, dump.size()}) {
    const DumpReader::Source source = source_of(std::string_view(dump).substr(0, size));
    const ReadDump read = read_dump_of([&](std::span<char> room) -> Result<std::size_t> {
      const Result<std::size_t> got = source(room);
      if (*got == 0) return Status(StatusCode::kFull, "the disk is on fire");
      return got;
    });
    EXPECT_EQ(read.status.message(), "the disk is on fire") << size;
  }
  for (int failing = 0; failing < 3; ++failing) {
    int call = 0;
    DumpWriter writer(
        [&](std::string_view) { return Status(call++ == failing ? StatusCode::kFull : StatusCode::kOk); });
    Status status = writer.begin(kGoldenHead);
    if (status.ok()) status = writer.add(record_of(kGoldenRecords[0]));
    if (status.ok()) status = writer.finish();
    EXPECT_EQ(status, StatusCode::kFull) << failing;
  }
}

}  // namespace
}  // namespace hostmap::test
