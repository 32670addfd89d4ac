// Journal: typed access to the journal region. The server alone; each lane's part belongs to the lane's worker, the
// connections' to the rendezvous thread.
#pragma once

#include <cstddef>
#include <cstdint>

#include "layout/journal.hpp"
#include "shm/region.hpp"

namespace hostmap {

// What JournalHeader::checksum must be.
inline std::uint64_t checksum_of(const JournalHeader& header) noexcept {
  return checksum_of_head(header.region, offsetof(JournalHeader, checksum));
}

class Journal {
 public:
  explicit Journal(Region& region) noexcept
      : base_(region.data()), connections_(header().max_connections), lanes_(header().lane_count) {}

  JournalHeader& header() const noexcept { return *reinterpret_cast<JournalHeader*>(base_); }
  Intent& intent(std::uint32_t lane) const noexcept { return header().intents[lane]; }
  ConnectionRecord& connection(std::uint32_t index) const noexcept {
    return reinterpret_cast<ConnectionRecord*>(base_ + kConnectionRecordsOffset)[index];
  }
  ChannelPosition& position(std::uint32_t index, std::uint32_t channel) const noexcept {
    return reinterpret_cast<ChannelPosition*>(base_ + positions_offset(connections_))[index * 2 * lanes_ + channel];
  }
  SlabClass& slab_class(std::uint64_t slab) const noexcept {
    return reinterpret_cast<SlabClass*>(base_ + slab_classes_offset(connections_, lanes_))[slab];
  }
  std::uint32_t max_connections() const noexcept { return connections_; }
  std::uint32_t lanes() const noexcept { return lanes_; }

 private:
  std::byte* base_;
  std::uint32_t connections_;
  std::uint32_t lanes_;
};

}  // namespace hostmap
