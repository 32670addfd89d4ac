#include "dump/format.hpp"

#include <algorithm>
#include <cstring>
#include <string>

#include "base/hash.hpp"

namespace hostmap {

namespace {

constexpr unsigned char kHasEnd = 1;
constexpr unsigned kMostVarintBytes = 5;  // 35 bits: every length that is allowed

constexpr std::uint64_t varint_bytes(std::uint64_t number) noexcept {
  std::uint64_t bytes = 1;
  while ((number >>= 7) != 0) ++bytes;
  return bytes;
}

// Seven bits a byte, the low ones first; the top bit says that more follow.
void append_varint(std::string& payload, std::uint64_t number) {
  for (; number >= 128; number >>= 7) payload += static_cast<char>(number | 128);
  payload += static_cast<char>(number);
}

bool take_varint(std::string_view& payload, std::uint64_t& number) noexcept {
  number = 0;
  for (unsigned taken = 0; taken < std::min<std::size_t>(kMostVarintBytes, payload.size()); ++taken) {
    const auto byte = static_cast<unsigned char>(payload[taken]);
    number |= std::uint64_t{byte & 127U} << (7 * taken);
    if (byte < 128) {
      payload.remove_prefix(taken + 1);
      return true;
    }
  }
  return false;
}

std::uint64_t sum_of(const DumpHeadBytes& bytes) noexcept {
  return hash_bytes(&bytes, offsetof(DumpHeadBytes, sum), 0);
}

}  // namespace

DumpHeadBytes encode_head(const DumpHead& head) noexcept {
  DumpHeadBytes bytes{};
  std::memcpy(bytes.magic, kDumpMagic, sizeof bytes.magic);
  bytes.format = kDumpFormat;
  bytes.head_bytes = sizeof bytes;
  bytes.created_ms = head.created_ms;
  bytes.keys_hint = head.keys_hint;
  std::memcpy(bytes.name, head.name.data(), std::min(head.name.size(), sizeof bytes.name));
  bytes.sum = sum_of(bytes);
  return bytes;
}

Result<DumpHead> decode_head(const DumpHeadBytes& bytes) {
  if (std::memcmp(bytes.magic, kDumpMagic, sizeof bytes.magic) != 0) {
    return Status(StatusCode::kInvalid, "this is not a dump of hostmap: it does not begin with hostmapD");
  }
  // Before the sum, which may lie elsewhere in another format.
  if (bytes.format != kDumpFormat) {
    return Status(StatusCode::kOtherVersion, "the dump has format " + std::to_string(bytes.format) +
                                                 ", and this program reads format " + std::to_string(kDumpFormat) +
                                                 "; use the version of hostmap that wrote it");
  }
  if (bytes.sum != sum_of(bytes)) {
    return Status(StatusCode::kInvalid, "the head of the dump is damaged: its checksum is wrong");
  }
  if (bytes.head_bytes != sizeof bytes || bytes.flags != 0) {
    return Status(StatusCode::kInvalid, "the head of the dump has a size or flags that format 1 does not have");
  }
  DumpHead head;
  head.created_ms = bytes.created_ms;
  head.keys_hint = bytes.keys_hint;
  head.name.assign(bytes.name, ::strnlen(bytes.name, sizeof bytes.name));
  return head;
}

std::uint64_t record_bytes(const DumpRecord& record) noexcept {
  return 1 + varint_bytes(record.key.size()) + varint_bytes(record.value.size()) + (record.end_ms ? 8 : 0) +
         record.key.size() + record.value.size();
}

void append_record(std::string& payload, const DumpRecord& record) {
  payload += static_cast<char>(record.end_ms ? kHasEnd : 0);
  append_varint(payload, record.key.size());
  append_varint(payload, record.value.size());
  if (record.end_ms) payload.append(reinterpret_cast<const char*>(&*record.end_ms), sizeof *record.end_ms);
  payload += record.key;
  payload += record.value;
}

bool take_record(std::string_view& payload, DumpRecord& record) noexcept {
  if (payload.empty()) return false;
  const auto flags = static_cast<unsigned char>(payload[0]);
  payload.remove_prefix(1);
  std::uint64_t key_bytes = 0;
  std::uint64_t value_bytes = 0;
  if ((flags & ~kHasEnd) != 0 || !take_varint(payload, key_bytes) || !take_varint(payload, value_bytes)) return false;
  if (key_bytes == 0 || key_bytes > kMostDumpKey || value_bytes > kMostDumpValue) return false;
  record.end_ms.reset();
  if (flags == kHasEnd) {
    std::uint64_t end = 0;
    if (payload.size() < sizeof end) return false;
    std::memcpy(&end, payload.data(), sizeof end);
    payload.remove_prefix(sizeof end);
    record.end_ms = end;
  }
  if (key_bytes + value_bytes > payload.size()) return false;
  record.key = payload.substr(0, key_bytes);
  record.value = payload.substr(key_bytes, value_bytes);
  payload.remove_prefix(key_bytes + value_bytes);
  return true;
}

std::uint64_t dump_sum(std::string_view bytes, std::uint64_t seed) noexcept {
  return hash_bytes(bytes.data(), bytes.size(), seed);
}

struct SumOfSums::State {
  XXH3_state_t xxh3;
};

SumOfSums::SumOfSums() : state_(new State) { XXH3_64bits_reset(&state_->xxh3); }
SumOfSums::~SumOfSums() { delete state_; }

void SumOfSums::add(std::uint64_t sum) noexcept {
  // Where it knows what the address is of, GCC 12 warns of reads beyond it that XXH3 does for other sizes only.
  const void* bytes = &sum;
  asm("" : "+r"(bytes) : : "memory");
  XXH3_64bits_update(&state_->xxh3, bytes, sizeof sum);
}
std::uint64_t SumOfSums::sum() const noexcept { return XXH3_64bits_digest(&state_->xxh3); }

}  // namespace hostmap
