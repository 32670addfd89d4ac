// ServerEnd: the server's end of a connection: create, open channels, close.
//
// Threads: the service thread creates, opens and closes it; each open channel belongs to its lane's worker.
//
// Everything in the region that the client can write is a hint or hostile: the constants are kept in this object, positions
// in the journal. The client can also truncate the file: the mapping is guarded against that before its first access.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>

#include <hostmap/status.hpp>

#include "buffer/ring.hpp"
#include "connection/server_bus_guard.hpp"
#include "layout/connection.hpp"
#include "shm/region.hpp"

namespace hostmap {

class ServerEnd {
 public:
  struct Identity {
    std::uint64_t id = 0;
    std::uint64_t serial = 0;
    std::uint64_t request_nonce = 1;
    std::uint64_t answer_nonce = 1;
    std::uint64_t ring_bytes = 65536;
    std::uint32_t lanes = 1;
    std::uint32_t index = 0;  // in the journal
  };

  // Creates, populates (except the rings) and publishes the region. kFull: no memory or file; kInvalid: the name is taken.
  static Result<std::unique_ptr<ServerEnd>> create(const std::string& path, const Identity& identity,
                                                   std::uint64_t incarnation);
  // Closes the connection of a dead server, wakes all threads that sleep on it, and removes it, whatever its client, or
  // another process that can write it, has stored in it. False: the name leads to another file than `inode`, which stays
  // untouched.
  static bool give_up(const std::string& path, std::uint64_t inode, std::uint32_t lanes) noexcept;
  // The end of a connection whose server died, on its region. `channels_open`: from the journal; their rings are populated.
  // kInvalid: it is not the region of that connection.
  static Result<std::unique_ptr<ServerEnd>> attach(const std::string& path, const Identity& identity,
                                                   std::uint64_t channels_open);
  // For tests without a server: on memory of connection_bytes(), zeroed.
  static std::unique_ptr<ServerEnd> over(std::byte* memory, const Identity& identity);

  // Populates the rings of a channel. open_channel() then reports it to the client, once a worker polls them.
  Status populate_channel(std::uint32_t channel);
  void open_channel(std::uint32_t channel) noexcept;
  void refuse_channel(std::uint32_t channel) noexcept;
  std::uint64_t channels_open() const noexcept { return channels_open_; }
  std::uint64_t all_channels() const noexcept;  // one bit for each channel that exists
  // Channels that the client requests and that are not open. A refusal answers one request: a later request is tried again.
  std::uint64_t channels_wanted() noexcept;
  // After each channel of channels_wanted() was opened or refused: notifies the client.
  void answer_wanted() noexcept;

  bool client_closed() const noexcept {
    // [client.closed] acquire; pairs with [client.close]: all that the client sent is published
    return header_->client.closed.load(std::memory_order_acquire) != 0;
  }
  // Wakes all threads of the client that sleep: the server that they wait for is another one now.
  void wake_sleepers() noexcept;
  // No more answers follow: notifies the client and wakes all its threads that sleep. Any thread.
  void close() noexcept;

  // Has the client truncated its region? (Its content is then lost, and the connection can only be dropped.)
  bool truncated_by_client() noexcept { return guard_.damaged(); }

  const Identity& identity() const noexcept { return identity_; }
  const Region& region() const noexcept { return region_; }
  ClientWords& client() const noexcept { return header_->client; }
  TouchPage& touch_page(std::uint32_t lane) const noexcept {
    return *reinterpret_cast<TouchPage*>(memory_ + touch_page_offset(lane, identity_.lanes));
  }
  ChannelControl& control(std::uint32_t channel) const noexcept {
    return *reinterpret_cast<ChannelControl*>(memory_ + channel_control_offset(channel));
  }
  RingView request_ring(std::uint32_t channel) const noexcept {
    return {memory_ + request_ring_offset(channel, identity_.lanes, identity_.ring_bytes), identity_.ring_bytes,
            identity_.request_nonce};
  }
  RingView answer_ring(std::uint32_t channel) const noexcept {
    return {memory_ + answer_ring_offset(channel, identity_.lanes, identity_.ring_bytes), identity_.ring_bytes,
            identity_.answer_nonce};
  }

  // Set by a worker when the client sent what no correct client sends; the service thread then drops the connection.
  std::atomic<bool> poisoned{false};
  // Bytes that its streams hold (server/run/stream_quota.hpp).
  std::atomic<std::uint64_t> streamed{0};
  // Workers that have not yet released this connection, while it is being dropped.
  std::atomic<std::uint32_t> holders{0};

 private:
  ServerEnd(Region region, std::byte* memory, const Identity& identity) noexcept;
  // The client's threads that wait until a channel is opened or refused.
  void wake_openers() noexcept;

  Region region_;
  BusGuard::Watch guard_;  // of region_: ends before it
  std::byte* memory_;
  ConnectionHeader* header_;
  Identity identity_;
  std::uint64_t channels_open_ = 0;
  std::uint64_t channels_refused_ = 0;  // in the last attempt
  std::uint64_t attempt_ = 0;           // ClientWords::channel_attempts, as channels_wanted() read it
  std::uint64_t attempt_answered_ = 0;
};

// Notifies the client of a connection region left by a dead server that it is closed. All accesses stay within `region`,
// which the caller guards.
void close_left_over_connection(const Region& region) noexcept;

}  // namespace hostmap
