// Dumps of any bytes: what is accepted can be written again; nothing is read beyond the input, and no length makes the reader take
// memory for bytes that never come.
//
// An input is a byte, and what follows the head of a dump. If the byte is even, each block gets its right number and checksum, so
// that the records are reached.
#include <cstdlib>
#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "dump/dump_fixture.hpp"
#include "fuzz/acts.hpp"

namespace {

using namespace hostmap;
using hostmap::test::require;

// Gives each block that lies whole in `dump` its number and the sum of its payload.
void restore_sums(std::string& dump) {
  std::uint64_t number = 0;
  for (std::size_t at = sizeof(DumpHeadBytes); dump.size() - at >= sizeof(DumpBlockBytes);) {
    DumpBlockBytes head{};
    std::memcpy(&head, dump.data() + at, sizeof head);
    const std::size_t begin = at + sizeof head;
    if (std::memcmp(head.magic, kBlockMagic, sizeof head.magic) != 0 || head.bytes > dump.size() - begin) return;
    head.number = ++number;
    head.sum = dump_sum(std::string_view(dump).substr(begin, head.bytes), head.number);
    std::memcpy(dump.data() + at, &head, sizeof head);
    at = begin + head.bytes;
  }
}

// A reader without a limit, which this test must find when it is tested itself.
void trust_its_lengths(const std::string& dump) {
  if (dump.size() < sizeof(DumpHeadBytes) + sizeof(DumpBlockBytes)) return;
  DumpBlockBytes head{};
  std::memcpy(&head, dump.data() + sizeof(DumpHeadBytes), sizeof head);
  if (std::memcmp(head.magic, kBlockMagic, sizeof head.magic) != 0 || head.bytes == 0) return;
  const std::size_t payload = sizeof(DumpHeadBytes) + sizeof head;
  const auto exact = std::make_unique<char[]>(dump.size() - payload + 1);
  std::memcpy(exact.get(), dump.data() + payload, dump.size() - payload);
  static volatile char last;
  last = exact[head.bytes];
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  static const bool canary = std::getenv("HOSTMAP_FUZZ_CANARY") != nullptr;
  std::string dump = test::head_of({1, 2, "fuzz"}) + std::string(reinterpret_cast<const char*>(data) + 1, size - 1);
  if (data[0] % 2 == 0) restore_sums(dump);
  if (canary) trust_its_lengths(dump);
  std::size_t most = 0;
  const DumpReader::Source source = test::source_of(dump, 1 + data[0] / 2U);
  const test::ReadDump read = test::read_dump_of([&](std::span<char> room) {
    most = std::max(most, room.size());
    return source(room);
  });
  require(most <= kMostDumpPayload);
  for (const test::Kept& record : read.records) require(!record.key.empty() && record.key.size() <= kMostDumpKey);
  if (!read.status.ok()) return 0;
  const test::ReadDump again = test::read_dump_of(test::source_of(test::dump_of(read.head, read.records)));
  require(again.status.ok() && again.records == read.records);
  return 0;
}
