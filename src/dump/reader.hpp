// DumpReader: reads a dump front to back, and gives each block's records only after the whole block is verified. The dump may be any
// bytes: each fault ends it with a sentence that names the block. One thread; allocates a block, and never more than 1 MiB
// beyond what the source has given.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include <hostmap/status.hpp>

#include "dump/format.hpp"

namespace hostmap {

class DumpReader {
 public:
  // Reads 1 to room.size() bytes and returns how many; 0 at the end.
  using Source = std::function<Result<std::size_t>(std::span<char> room)>;

  explicit DumpReader(Source source);

  // First of all. kInvalid: no dump, or damaged; kOtherVersion: of another format; and what the source returns.
  Result<DumpHead> read_head();
  // The records of the next block, valid until the next call; none after the last block, when the end is verified, too.
  // kInvalid: damaged, or truncated.
  Result<std::span<const DumpRecord>> next();

  std::uint64_t blocks() const noexcept { return blocks_; }  // given so far
  std::uint64_t records() const noexcept { return records_; }
  std::uint64_t bytes() const noexcept { return bytes_; }  // taken from the source

 private:
  // Returns how many of `bytes` there were before the end of the source.
  Result<std::size_t> read(std::span<char> bytes);
  Result<std::span<const DumpRecord>> finish(const DumpEndBytes& end);
  Status read_payload(std::uint64_t bytes);
  Status truncated() const;
  Status damaged(std::string_view how) const;

  Source source_;
  std::string payload_;
  std::vector<DumpRecord> block_;
  std::uint64_t blocks_ = 0;
  std::uint64_t records_ = 0;
  std::uint64_t bytes_ = 0;
  SumOfSums sums_;
};

}  // namespace hostmap
