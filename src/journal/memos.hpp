// ChannelMemos: the state of a channel's requests outside the table, so that a restart can continue with it.
//
// A change belongs to a request, and must count exactly if the request does: when its next position is stored. So it is
// written into the memo that does not count, with that position, before.
//
// The lane's worker alone. All stores keep program order, so that a kill leaves a prefix.
#pragma once

#include <cstdint>

#include "layout/journal.hpp"

namespace hostmap {

class ChannelMemos {
 public:
  // Continues at the channel's position: request_next.
  explicit ChannelMemos(ChannelPosition& where) noexcept : memos_(where.memos) {
    // relaxed: this thread's own, or a dead server's, whose lock has been taken since
    constexpr auto kRelaxed = std::memory_order_relaxed;
    const std::uint64_t now = where.request_next.load(kRelaxed);
    for (unsigned i = 0; i < 2; ++i) {
      positions_[i] = memos_[i].position.load(kRelaxed);
      if (positions_[i] > now) positions_[i] = 0;  // of a request that did not come to its end
    }
    counts_ = positions_[1] > positions_[0] ? 1 : 0;
    refused_ = memos_[counts_].refused.load(kRelaxed);
    received_ = memos_[counts_].received.load(kRelaxed);
  }

  // Writes refused since the last flush, {count:56 | first StatusCode:8}, and bytes of a stream, or kNoStream.
  std::uint64_t refused() const noexcept { return refused_; }
  std::uint64_t received() const noexcept { return received_; }

  void set_refused(std::uint64_t refused, std::uint64_t next_position) noexcept {
    refused_ = refused;
    write(next_position);
  }
  void set_received(std::uint64_t received, std::uint64_t next_position) noexcept {
    received_ = received;
    write(next_position);
  }
  // The position of a channel of a new connection.
  static void clear(ChannelPosition& where) noexcept {
    // relaxed: published with the connection's record
    constexpr auto kRelaxed = std::memory_order_relaxed;
    where.request_next.store(0, kRelaxed);
    where.answer_next.store(0, kRelaxed);
    for (ChannelMemo& memo : where.memos) {
      memo.position.store(0, kRelaxed);
      memo.refused.store(0, kRelaxed);
      memo.received.store(kNoStream, kRelaxed);
    }
  }

 private:
  void write(std::uint64_t next_position) noexcept {
    unsigned spare = 1 - counts_;
    // The last one written counts by now, unless this very request has written it.
    if (positions_[spare] > positions_[counts_] && positions_[spare] != next_position) {
      counts_ = spare;
      spare = 1 - counts_;
    }
    ChannelMemo& memo = memos_[spare];
    memo.refused.store(refused_, std::memory_order_release);    // [memo.refused] release; pairs with [position.next]
    memo.received.store(received_, std::memory_order_release);  // [memo.received] release; pairs with [position.next]
    memo.position.store(next_position,
                        std::memory_order_release);  // [memo.position] release; pairs with [position.next]
    positions_[spare] = next_position;
  }

  ChannelMemo* memos_;
  std::uint64_t positions_[2];
  unsigned counts_;
  std::uint64_t refused_;
  std::uint64_t received_;
};

}  // namespace hostmap
