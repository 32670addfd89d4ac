#include "dump/writer.hpp"

#include <cstring>
#include <utility>

namespace hostmap {

namespace {

constexpr std::size_t kHead = sizeof(DumpBlockBytes);

}  // namespace

DumpWriter::DumpWriter(Sink sink) : sink_(std::move(sink)) {
  block_.reserve(kHead + kMostDumpPayload);
  block_.resize(kHead);
}

Status DumpWriter::write(std::string_view bytes) {
  bytes_ += bytes.size();
  return sink_(bytes);
}

Status DumpWriter::begin(const DumpHead& head) {
  const DumpHeadBytes bytes = encode_head(head);
  return write({reinterpret_cast<const char*>(&bytes), sizeof bytes});
}

Status DumpWriter::add(const DumpRecord& record) {
  if (block_records_ != 0 && block_.size() - kHead + record_bytes(record) > kMostDumpPayload) {
    if (Status status = write_block(); !status.ok()) return status;
  }
  append_record(block_, record);
  ++block_records_;
  ++records_;
  return {};
}

Status DumpWriter::write_block() {
  DumpBlockBytes head{};
  std::memcpy(head.magic, kBlockMagic, sizeof head.magic);
  head.records = block_records_;
  head.bytes = block_.size() - kHead;
  head.number = ++blocks_;
  head.sum = dump_sum(std::string_view(block_).substr(kHead), head.number);
  std::memcpy(block_.data(), &head, sizeof head);
  sums_.add(head.sum);
  Status status = write(block_);
  block_.resize(kHead);
  block_records_ = 0;
  return status;
}

Status DumpWriter::finish() {
  if (block_records_ != 0) {
    if (Status status = write_block(); !status.ok()) return status;
  }
  DumpEndBytes end{};
  std::memcpy(end.magic, kEndMagic, sizeof end.magic);
  end.records = records_;
  end.blocks = blocks_;
  end.sum = sums_.sum();
  return write({reinterpret_cast<const char*>(&end), sizeof end});
}

}  // namespace hostmap
