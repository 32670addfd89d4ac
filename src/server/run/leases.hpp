// Leases: who may compute the value of a key, or do something else that only one process at a time should do.
//
// A lease belongs to a connection and ends when it is released, at its end, or with the connection. It is kept in the server's
// memory alone: a new server has none, and its clients compete again. Numbers of leases of a key only grow, also from
// one server to the next: whoever guards something outside the map can refuse a holder that was too slow.
//
// The lane's worker alone.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <new>
#include <unordered_map>
#include <vector>

#include <hostmap/status.hpp>

#include "base/ends.hpp"

namespace hostmap {

// The hashes of the keys whose leases a channel holds, or whose last lease has failed there.
using HeldLeases = std::vector<std::uint64_t>;

class Leases {
 public:
  static constexpr std::size_t kMostOfChannel = 64;
  struct Lease {
    std::uint64_t number = 0;
    std::uint64_t end = 0;                 // a moment
    HeldLeases* holder = nullptr;          // of the channel
    StatusCode failure = StatusCode::kOk;  // else: it was released with this, and is kept for those that wait for it
  };

  // `generation`: of the server, at least the milliseconds since 1970 at which it started.
  void begin(std::uint64_t generation) noexcept { last_number_ = generation << kBitsOfCount; }

  // Null: there is none, or it has ended. By hash: two keys of one hash have one lease.
  const Lease* find(std::uint64_t hash, Moment& now) const noexcept {
    const auto at = leases_.find(hash);
    return at != leases_.end() && now.is_before(at->second.end) ? &at->second : nullptr;
  }
  // In place of the one that find() does not return, or that has failed. Null: the channel has too many, or there is no memory.
  const Lease* grant(std::uint64_t hash, std::uint64_t end, Moment& now, HeldLeases& holder) noexcept {
    remove(hash);
    if (holder.size() >= kMostOfChannel) forget_ended(holder, now);
    if (holder.size() >= kMostOfChannel) return nullptr;
    try {
      holder.reserve(kMostOfChannel);
      Lease& lease = leases_[hash];
      lease = {++last_number_, end, &holder, StatusCode::kOk};
      holder.push_back(hash);
      return &lease;
    } catch (const std::bad_alloc&) {
      return nullptr;
    }
  }
  // False: the channel does not hold it, or not any more.
  bool release(std::uint64_t hash, std::uint64_t number, StatusCode failure, Moment& now,
               const HeldLeases& holder) noexcept {
    const auto at = leases_.find(hash);
    if (at == leases_.end()) return false;
    Lease& lease = at->second;
    if (lease.holder != &holder || lease.number != number || lease.failure != StatusCode::kOk) return false;
    const bool in_time = now.is_before(lease.end);
    if (in_time && failure != StatusCode::kOk) {
      lease.failure = failure;
    } else {
      remove(hash);
    }
    return in_time;
  }
  // Of a channel that ends. Calls free(hash) for each of its leases.
  template <typename Free>
  void drop(HeldLeases& holder, const Free& free) noexcept {
    while (!holder.empty()) {
      const std::uint64_t hash = holder.back();
      remove(hash);
      free(hash);
    }
  }

 private:
  void remove(std::uint64_t hash) noexcept {
    const auto at = leases_.find(hash);
    if (at == leases_.end()) return;
    HeldLeases& holder = *at->second.holder;
    const auto held = std::ranges::find(holder, hash);
    *held = holder.back();
    holder.pop_back();
    leases_.erase(at);
  }
  void forget_ended(HeldLeases& holder, Moment& now) noexcept {
    for (std::size_t i = holder.size(); i-- > 0;) {
      const Lease& lease = leases_.find(holder[i])->second;
      if (!now.is_before(lease.end) || lease.failure != StatusCode::kOk) remove(holder[i]);
    }
  }

  // 4 million leases a millisecond, so that no server reaches the numbers of the next one; enough until the year 2109.
  static constexpr unsigned kBitsOfCount = 22;

  std::unordered_map<std::uint64_t, Lease> leases_;
  std::uint64_t last_number_ = 0;
};

}  // namespace hostmap
