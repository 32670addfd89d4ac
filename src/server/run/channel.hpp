// ServerChannel: one channel as its worker uses it: its two rings, its journal records, and a request that arrives in pieces.
//
// The channel's worker alone, once it was added to it.
#pragma once

#include <algorithm>
#include <array>
#include <atomic>
#include <cstdint>
#include <new>
#include <optional>
#include <span>
#include <vector>

#include "buffer/ring.hpp"
#include "connection/server_end.hpp"
#include "journal/memos.hpp"
#include "layout/connection.hpp"
#include "layout/journal.hpp"
#include "message/codec.hpp"
#include "server/run/idle_channels.hpp"
#include "server/run/leases.hpp"
#include "server/run/long_work.hpp"
#include "table/write/table.hpp"
#include "wait/park.hpp"

namespace hostmap {

// What a channel may be served in each sweep while others have work: bytes of requests and answers, and of values that were
// read for a request. A batch of 64 pairs is about half as much.
inline constexpr std::uint64_t kShareBytes = 4096;

struct ServerChannel {
  ServerChannel(ServerEnd& owner, std::uint32_t number, ChannelPosition& where) noexcept
      : end(&owner),
        channel(number),
        lane(number % owner.identity().lanes),
        control(&owner.control(number)),
        position(&where),
        // relaxed, both: the service thread's own stores, or a dead server's
        requests(owner.request_ring(number), where.request_next.load(std::memory_order_relaxed)),
        consumed(requests.position()),
        answers(owner.answer_ring(number), where.answer_next.load(std::memory_order_relaxed)),
        memos(where) {
    end_idling(*control);  // a server that died may have left it idling
    answers.resume();
    // After a takeover the client reports its position; until then, there is no room.
    const std::uint64_t capacity = answers.view().capacity();
    answers_consumed = answers.head() - std::min(answers.head(), capacity);
    if (memos.received() != kNoStream) stream.resume(where, memos.received());
  }

  ServerEnd* end;
  std::uint32_t channel;
  std::uint32_t lane;
  ChannelControl* control;
  ChannelPosition* position;
  RingConsumer requests;
  // After the last request that was applied, as in the journal, and as published to the client. Excludes padding that was
  // skipped since: with it, the client would write where a restarted server continues to read.
  std::uint64_t consumed;
  RingProducer answers;
  ChannelMemos memos;
  std::uint64_t answers_consumed = 0;  // as the client last reported; only its own answers depend on it
  std::uint64_t debt = 0;  // bytes served beyond its share; the channel is skipped in sweeps until they are paid off
  unsigned idle_sweeps = 0;
  bool sets_hints = false;  // its client does, as the channel is idle or about to be
  IdlePlace idle;
  bool answered = false;  // in this sweep
  // The effort made to find room for the request at this position.
  Effort effort;
  std::uint64_t effort_position = 0;
  std::optional<std::uint64_t> drain_end;  // of the last service, once it has begun

  // Bytes free in the answer ring. A false position that the client reports can only harm itself.
  std::uint64_t answer_room() noexcept {
    const std::uint64_t capacity = answers.view().capacity();
    if (capacity - (answers.head() - answers_consumed) < capacity / 2) {
      // [answers.room] acquire; pairs with [answers.consumed]
      const std::uint64_t reported = control->answers_consumed.load(std::memory_order_acquire);
      if (reported >= answers_consumed && reported <= answers.head()) answers_consumed = reported;
    }
    return capacity - (answers.head() - answers_consumed);
  }
  Effort& effort_for(std::uint64_t request) noexcept {
    if (effort_position != request) {
      effort_position = request;
      effort = {};
    }
    return effort;
  }
  // A request that arrives in pieces.
  struct Stream {
    Op op = Op::kPadding;  // kPadding: none
    std::uint64_t key_bytes = 0;
    std::uint64_t value_bytes = 0;
    std::uint64_t end = kNoEnd;  // of its key
    std::uint64_t received = 0;
    std::uint64_t entry = 0;               // the block that the pieces fill
    std::uint64_t charged = 0;             // to the quota
    StatusCode refused = StatusCode::kOk;  // why the pieces are discarded
    bool held = false;                     // there was no block: the pieces are in the journal's file (PieceStore)
    // In this process's own memory: the held pieces at the end; or all pieces of an erase or get, if that file cannot grow.
    std::vector<std::byte> bytes;
    std::uint64_t total() const noexcept { return key_bytes + value_bytes; }
    // False: the process has no memory left.
    bool hold_bytes(std::uint64_t size) noexcept {
      try {
        bytes.resize(size);
        return true;
      } catch (const std::bad_alloc&) {
        return false;
      }
    }
    // Before bytes are added step by step: none of them is moved later.
    bool reserve_bytes() noexcept {
      try {
        bytes.reserve(total());
        return true;
      } catch (const std::bad_alloc&) {
        return false;
      }
    }
    RequestHead head() const noexcept { return {op, static_cast<std::uint8_t>(refused), key_bytes, value_bytes}; }
    // Resumes a stream that a dead server had received in part.
    void resume(const ChannelPosition& where, std::uint64_t received_bytes) noexcept {
      // relaxed, both: a dead server's stores
      const RequestHead head = decode_request_head(where.stream_head.load(std::memory_order_relaxed));
      op = head.op;
      key_bytes = head.key_bytes;
      value_bytes = head.value_bytes;
      end = where.stream_end.load(std::memory_order_relaxed);  // relaxed: likewise
      refused = static_cast<StatusCode>(head.flags);
      received = received_bytes;
      entry = where.stream_entry.load(std::memory_order_relaxed);  // relaxed: likewise
      held = entry == kHeldInJournal;
      if (held) entry = 0;
    }
  } stream;
  LongWork long_work;             // of the request at the ring's position
  LoneWork* lone_work = nullptr;  // of the lane; null while no worker has the channel
  // The groups of keys for which this client waits, each once.
  class Watches {
   public:
    static constexpr std::size_t kMost = 64;
    std::span<const std::uint16_t> all() const noexcept { return std::span(groups_).first(count_); }
    bool contains(std::uint16_t group) const noexcept { return std::ranges::find(all(), group) != all().end(); }
    // False: there are kMost.
    bool add(std::uint16_t group) noexcept {
      if (count_ == kMost) return false;
      groups_[count_++] = group;
      return true;
    }
    // False: it is none of them.
    bool remove(std::uint16_t group) noexcept {
      const auto at = std::find(groups_.begin(), groups_.begin() + count_, group);
      if (at == groups_.begin() + count_) return false;
      *at = groups_[--count_];
      return true;
    }

   private:
    std::array<std::uint16_t, kMost> groups_{};
    std::uint32_t count_ = 0;
  } watches;
  // Of the lane; null while no worker has the channel.
  Leases* leases = nullptr;
  HeldLeases held_leases;
};

}  // namespace hostmap
