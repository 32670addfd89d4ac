#include "dump/reader.hpp"

#include <algorithm>
#include <cstring>
#include <utility>

namespace hostmap {

DumpReader::DumpReader(Source source) : source_(std::move(source)) {}

Result<std::size_t> DumpReader::read(std::span<char> bytes) {
  std::size_t done = 0;
  while (done < bytes.size()) {
    const Result<std::size_t> got = source_(bytes.subspan(done));
    if (!got) return got.status();
    if (*got == 0) break;
    done += *got;
  }
  bytes_ += done;
  return done;
}

Status DumpReader::truncated() const {
  return {StatusCode::kInvalid,
          "the dump is truncated in block " + std::to_string(blocks_ + 1) + ", or before its end: it has no END1"};
}

Status DumpReader::damaged(std::string_view how) const {
  return {StatusCode::kInvalid,
          "block " + std::to_string(blocks_ + 1) + " of the dump is damaged: " + std::string(how)};
}

Result<DumpHead> DumpReader::read_head() {
  DumpHeadBytes head{};
  const Result<std::size_t> got = read({reinterpret_cast<char*>(&head), sizeof head});
  if (!got) return got.status();
  if (*got != sizeof head && std::memcmp(head.magic, kDumpMagic, std::min(*got, sizeof head.magic)) == 0) {
    return Status(StatusCode::kInvalid,
                  "the dump is truncated in its head: it has only " + std::to_string(*got) + " bytes");
  }
  return decode_head(head);
}

// Grows with what arrives: a length is not yet a promise of bytes.
Status DumpReader::read_payload(std::uint64_t bytes) {
  payload_.clear();
  while (payload_.size() < bytes) {
    const std::size_t before = payload_.size();
    const std::size_t part = std::min<std::uint64_t>(bytes - before, kMostDumpPayload);
    payload_.resize(before + part);
    const Result<std::size_t> got = read(std::span(payload_).subspan(before));
    if (!got) return got.status();
    if (*got != part) return truncated();
  }
  return {};
}

Result<std::span<const DumpRecord>> DumpReader::next() {
  DumpBlockBytes head{};
  const Result<std::size_t> got = read({reinterpret_cast<char*>(&head), sizeof head});
  if (!got) return got.status();
  if (*got != sizeof head) return truncated();
  if (std::memcmp(head.magic, kEndMagic, sizeof head.magic) == 0) {
    DumpEndBytes end{};
    std::memcpy(&end, &head, sizeof end);
    return finish(end);
  }
  if (std::memcmp(head.magic, kBlockMagic, sizeof head.magic) != 0) {
    return damaged("it begins with neither BLK1 nor END1");
  }
  if (head.number != blocks_ + 1) return damaged("its number is " + std::to_string(head.number));
  if (head.records == 0 || head.bytes == 0 || head.bytes > (head.records == 1 ? kMostDumpRecord : kMostDumpPayload)) {
    return damaged("it cannot have " + std::to_string(head.records) + " records in " + std::to_string(head.bytes) +
                   " bytes");
  }
  if (Status status = read_payload(head.bytes); !status.ok()) return status;
  if (dump_sum(payload_, head.number) != head.sum) return damaged("its checksum is wrong");
  block_.clear();
  for (std::string_view left = payload_; !left.empty();) {
    DumpRecord record;
    if (!take_record(left, record)) {
      return damaged("record " + std::to_string(block_.size() + 1) + " of it is not valid");
    }
    block_.push_back(record);
  }
  if (block_.size() != head.records) {
    return damaged("it has " + std::to_string(block_.size()) + " records, and its head says " +
                   std::to_string(head.records));
  }
  sums_.add(head.sum);
  ++blocks_;
  records_ += block_.size();
  return std::span<const DumpRecord>(block_);
}

Result<std::span<const DumpRecord>> DumpReader::finish(const DumpEndBytes& end) {
  if (end.zero != 0 || end.records != records_ || end.blocks != blocks_ || end.sum != sums_.sum()) {
    return Status(StatusCode::kInvalid, "the end of the dump does not match its " + std::to_string(blocks_) +
                                            " blocks: it says that there are " + std::to_string(end.records) +
                                            " records in " + std::to_string(end.blocks) + " blocks");
  }
  char more = 0;
  const Result<std::size_t> got = read({&more, 1});
  if (!got) return got.status();
  if (*got != 0) {
    return Status(StatusCode::kInvalid,
                  "something follows the end of the dump, after " + std::to_string(blocks_) + " blocks");
  }
  return std::span<const DumpRecord>();
}

}  // namespace hostmap
