// IdleChannels: a worker's channels that have had no request for long and are no longer polled in each sweep. Clients report
// a request by setting a bit (IdleHints). A bit represents a bucket of channels: those of some connections.
//
// The worker's thread alone. Allocates in its constructor only.
//
// Invariants
// 1. A channel whose bit was taken after the last poll of it is returned by next_hinted() because of that bit.
// 2. Buckets take turns, channel by channel, and so do the channels within a bucket: whatever bits clients set, they delay
//    the channels of other connections by at most kIdleBuckets calls each.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "layout/master.hpp"

namespace hostmap {

struct ServerChannel;
class ServerEnd;

// The position of an idle channel.
struct IdlePlace {
  std::size_t index = 0;                               // in the list of all
  ServerChannel *next = nullptr, *previous = nullptr;  // in the circular list of its bucket
};

class IdleChannels {
 public:
  explicit IdleChannels(std::size_t most);
  ~IdleChannels();
  IdleChannels(const IdleChannels&) = delete;
  IdleChannels& operator=(const IdleChannels&) = delete;

  void add(std::unique_ptr<ServerChannel> channel) noexcept;
  std::unique_ptr<ServerChannel> take(std::size_t index) noexcept;
  std::size_t size() const noexcept { return channels_.size(); }
  bool empty() const noexcept { return channels_.empty(); }
  // A channel that belongs to `end`, or null. Searches one bucket.
  ServerChannel* find(const ServerEnd& end) const noexcept;
  ServerChannel& operator[](std::size_t index) const noexcept { return *channels_[index]; }

  // Takes the bits that clients have set.
  void take_hints(IdleHints& hints) noexcept;
  // The next channel to be polled because of a bit that was taken, or null. It stays here until take().
  ServerChannel* next_hinted() noexcept;
  // The next of all channels, in turn; there must be one.
  ServerChannel& next_in_turn() noexcept;

 private:
  struct Bucket {
    ServerChannel* first = nullptr;  // the next one to poll
    std::uint32_t size = 0;
    std::uint32_t unpolled = 0;  // since its bit was taken
  };
  static std::size_t bucket_of(const ServerEnd& end) noexcept;

  std::vector<std::unique_ptr<ServerChannel>> channels_;
  std::array<Bucket, kIdleBuckets> buckets_{};
  std::array<std::uint32_t, kIdleBuckets / 32> hinted_{};  // a bit for each bucket that may have unpolled channels
  std::uint32_t next_bucket_ = 0;
  std::size_t next_ = 0;
};

}  // namespace hostmap
