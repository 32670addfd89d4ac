// PieceStore: where the bytes of a request that arrives in pieces lie while the table has no block for them.
//
// They lie in the journal's file, far behind the journal proper and behind the hand-over summary, at a place of their own for
// each channel: so a server that takes over finds what its predecessor had received, however full the table is. They are
// written and read as a file and never mapped; no client can reach them. Nothing of the file is taken but what is written.
//
// Threads: each channel's place belongs to the channel's worker.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "journal/journal.hpp"
#include "layout/journal.hpp"

namespace hostmap {

class PieceStore {
 public:
  PieceStore(int journal_file, const JournalHeader& header) noexcept
      : file_(journal_file), first_(first_place(header)), lanes_(header.lane_count) {}

  // Where the first place begins; the journal's file needs nothing behind it while no request is held.
  static std::uint64_t first_place(const JournalHeader& header) noexcept;

  // The place of channel `channel` of connection `index`.
  struct Place {
    std::uint32_t index;
    std::uint32_t channel;
  };
  // Takes memory for `bytes`. False: the file system has none.
  bool reserve(Place place, std::uint64_t bytes) const noexcept;
  bool write(Place place, std::uint64_t offset, std::span<const std::byte> bytes) const noexcept;
  bool read(Place place, std::uint64_t offset, std::span<std::byte> bytes) const noexcept;
  // Frees the memory of its first `bytes`.
  void forget(Place place, std::uint64_t bytes) const noexcept;

 private:
  std::uint64_t at(Place place) const noexcept;

  int file_;
  std::uint64_t first_;
  std::uint32_t lanes_;
};

}  // namespace hostmap
