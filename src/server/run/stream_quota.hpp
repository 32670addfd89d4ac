// StreamQuota: how much of the table's memory may be held by values that are still arriving in pieces.
//
// Such memory belongs to no key, so no erase frees it, and a client may stall in mid-stream for any time. One
// connection's streams hold a quarter of the memory limit at most, all together half of it; but a stream that is the only one may
// have any size: otherwise no large value could ever be stored.
//
// Threads: any.
#pragma once

#include <atomic>
#include <cstdint>

#include "base/platform.hpp"

namespace hostmap {

class StreamQuota {
 public:
  using Held = std::atomic<std::uint64_t>;

  // `held`: by the connection's other streams. `memory_limit`: as of now. False: too much, and nothing was taken.
  bool take(Held& held, std::uint64_t bytes, std::uint64_t memory_limit) noexcept {
    if (!kGuarded) return true;
    if (!add_within(held, bytes, memory_limit / 4)) return false;
    if (add_within(held_by_all_, bytes, memory_limit / 2)) return true;
    give(held, bytes);
    return false;
  }
  // For what is held only until a request is done, besides the connection's streams: within the limit of all.
  bool take_beside(Held& held, std::uint64_t bytes, std::uint64_t memory_limit) noexcept {
    if (!add_within(held_by_all_, bytes, kGuarded ? memory_limit / 2 : ~std::uint64_t{0})) return false;
    held.fetch_add(bytes, std::memory_order_relaxed);  // relaxed: as in add_within()
    return true;
  }
  // Without a limit: for a stream that a dead server had accepted.
  void charge(Held& held, std::uint64_t bytes) noexcept {
    held.fetch_add(bytes, std::memory_order_relaxed);          // relaxed: as in add_within()
    held_by_all_.fetch_add(bytes, std::memory_order_relaxed);  // relaxed: likewise
  }
  void release(Held& held, std::uint64_t bytes) noexcept {
    give(held, bytes);
    give(held_by_all_, bytes);
  }

 private:
  static bool add_within(Held& held, std::uint64_t bytes, std::uint64_t limit) noexcept {
    std::uint64_t now = held.load(std::memory_order_relaxed);  // relaxed: a sum, which orders nothing
    do {
      if (now != 0 && (now > limit || bytes > limit - now)) return false;
    } while (!held.compare_exchange_weak(now, now + bytes, std::memory_order_relaxed));  // relaxed: likewise
    return true;
  }
  static void give(Held& held, std::uint64_t bytes) noexcept {
    held.fetch_sub(bytes, std::memory_order_relaxed);  // relaxed: as in add_within()
  }

  Held held_by_all_{0};
};

}  // namespace hostmap
