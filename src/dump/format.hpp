// The bytes of a dump: a file or stream that holds the keys and values of a map. docs/reference/dump-format.md describes it for
// programs in other languages.
//
//   head    64 bytes
//   block   32 bytes and a payload: records, of 1 MiB in all, or a single larger one; any number of blocks
//   end     32 bytes; a dump without it is truncated
//
// Pure functions. What is decoded may be any bytes.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>

#include <hostmap/status.hpp>

namespace hostmap {

inline constexpr std::uint32_t kDumpFormat = 1;
inline constexpr std::size_t kDumpNameBytes = 16;
inline constexpr std::uint64_t kMostDumpPayload = std::uint64_t{1} << 20;  // of a block of several records

inline constexpr std::uint64_t kMostDumpKey = 65'536;
inline constexpr std::uint64_t kMostDumpValue = std::uint64_t{1} << 30;
// Flags, two varints of at most 5 bytes, an end.
inline constexpr std::uint64_t kMostDumpRecord = 1 + 5 + 5 + 8 + kMostDumpKey + kMostDumpValue;

struct DumpHeadBytes {
  char magic[8];              // "hostmapD"
  std::uint32_t format;       // kDumpFormat
  std::uint32_t head_bytes;   // 64
  std::uint64_t created_ms;   // Unix time
  std::uint64_t flags;        // 0
  std::uint64_t keys_hint;    // about how many records follow
  char name[kDumpNameBytes];  // first bytes of the instance's name, then zeros
  std::uint64_t sum;          // XXH3 of all above
};
static_assert(sizeof(DumpHeadBytes) == 64 && std::is_trivially_copyable_v<DumpHeadBytes>);

struct DumpBlockBytes {
  char magic[4];  // "BLK1"
  std::uint32_t records;
  std::uint64_t bytes;   // of the payload, which follows
  std::uint64_t number;  // the first block has 1
  std::uint64_t sum;     // XXH3 of the payload, with the number as seed
};
static_assert(sizeof(DumpBlockBytes) == 32 && std::is_trivially_copyable_v<DumpBlockBytes>);

struct DumpEndBytes {
  char magic[4];  // "END1"
  std::uint32_t zero;
  std::uint64_t records;  // of all blocks
  std::uint64_t blocks;
  std::uint64_t sum;  // XXH3 of the sums of all blocks, 8 bytes each
};
static_assert(sizeof(DumpEndBytes) == sizeof(DumpBlockBytes) && std::is_trivially_copyable_v<DumpEndBytes>);

inline constexpr char kDumpMagic[9] = "hostmapD";
inline constexpr char kBlockMagic[5] = "BLK1";
inline constexpr char kEndMagic[5] = "END1";

// What a head says.
struct DumpHead {
  std::uint64_t created_ms = 0;
  std::uint64_t keys_hint = 0;
  std::string name;
};

// Refers to memory of its owner.
struct DumpRecord {
  std::string_view key;
  std::string_view value;
  std::optional<std::uint64_t> end_ms;  // Unix time; none: the key stays
};

DumpHeadBytes encode_head(const DumpHead& head) noexcept;
// kInvalid: no dump, or a damaged head. kOtherVersion: another format.
Result<DumpHead> decode_head(const DumpHeadBytes& bytes);

// flags 1 | varint key bytes | varint value bytes | [end 8] | key | value
std::uint64_t record_bytes(const DumpRecord& record) noexcept;
void append_record(std::string& payload, const DumpRecord& record);
// Takes the first record from `payload`. False: it is none, or longer than that.
bool take_record(std::string_view& payload, DumpRecord& record) noexcept;

std::uint64_t dump_sum(std::string_view bytes, std::uint64_t seed) noexcept;

// XXH3 of the sums of all blocks, of any number of them.
class SumOfSums {
 public:
  SumOfSums();
  SumOfSums(const SumOfSums&) = delete;
  SumOfSums& operator=(const SumOfSums&) = delete;
  ~SumOfSums();
  void add(std::uint64_t sum) noexcept;
  std::uint64_t sum() const noexcept;

 private:
  struct State;
  State* state_;
};

}  // namespace hostmap
