// DumpWriter: writes a dump front to back, a block at a time. One thread; allocates a block.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <string_view>

#include <hostmap/status.hpp>

#include "dump/format.hpp"

namespace hostmap {

class DumpWriter {
 public:
  // Writes all of the bytes. Its error ends the dump: no call may follow.
  using Sink = std::function<Status(std::string_view bytes)>;

  explicit DumpWriter(Sink sink);

  Status begin(const DumpHead& head);
  // A key of 1 to 65,536 bytes and a value of at most 1 GiB.
  Status add(const DumpRecord& record);
  // Without it the dump is truncated.
  Status finish();

  std::uint64_t records() const noexcept { return records_; }
  std::uint64_t bytes() const noexcept { return bytes_; }  // given to the sink

 private:
  Status write(std::string_view bytes);
  Status write_block();

  Sink sink_;
  std::string block_;  // its head, of which only the room is used, and its payload
  std::uint32_t block_records_ = 0;
  std::uint64_t blocks_ = 0;
  std::uint64_t records_ = 0;
  std::uint64_t bytes_ = 0;
  SumOfSums sums_;
};

}  // namespace hostmap
