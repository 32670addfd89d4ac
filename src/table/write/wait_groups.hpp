// WaitGroups: which keys of a shard clients wait for, and the words on which they sleep.
//
// A client registers with a group before it loads the group's word, reads its key and sleeps. So a change of a key whose group
// nobody has registered with costs nothing, and a word is raised after the change, before the waiters are woken. A group has many
// keys: whoever wakes must read its key again.
//
// Threads: the lane's worker alone, except for raise_all(), which is called while no worker runs.
//
// Invariants (model: test/models/wait_model.cpp)
// 1. A word is raised after the change is visible, and before the system call that wakes.
// 2. A raised word has its sleepers woken, at most kMostWoken of a group and kMostGroups groups a call of wake(): one call for
//    thousands of sleepers would take milliseconds. The first that slept are the first that wake.
// 3. How many are woken for one change is bounded: sleepers that sleep again at once, without having read their key, do not keep the
//    worker busy forever.
#pragma once

#include <algorithm>
#include <array>
#include <atomic>
#include <climits>
#include <cstddef>
#include <cstdint>

#include "layout/table.hpp"
#include "wait/futex.hpp"

namespace hostmap {

class WaitGroups {
 public:
  static constexpr int kMostWoken = 8;
  static constexpr std::uint32_t kMostGroups = 8;
  // More threads than a kernel runs by default.
  static constexpr std::uint32_t kMostSleepers = 65536;

  explicit WaitGroups(WaitGroupWords& words) noexcept : words_(words), alarm_(&no_alarm_) {}
  WaitGroups(const WaitGroups&) = delete;
  WaitGroups& operator=(const WaitGroups&) = delete;

  // `alarm` is set whenever wake() has something to do.
  void set_alarm(std::atomic<bool>& alarm) noexcept { alarm_ = &alarm; }

  bool any() const noexcept { return registered_ != 0; }
  std::uint32_t registered() const noexcept { return registered_; }
  void add(std::uint32_t group) noexcept {
    ++counts_[group];
    ++registered_;
  }
  void remove(std::uint32_t group) noexcept {
    --counts_[group];
    --registered_;
  }

  // A key of this hash was changed.
  void changed(std::uint64_t hash) noexcept {
    if (const std::uint32_t group = wait_group_of(hash); counts_[group] != 0) raise(group);
  }
  // Every key may have been changed.
  void all_changed() noexcept {
    if (!any()) return;
    for (std::uint32_t group = 0; group < kWaitGroups; ++group) {
      if (counts_[group] != 0) raise(group);
    }
  }
  // Whatever its count.
  void raise(std::uint32_t group) noexcept {
    raise(words_.words[group]);
    left_[group] = kMostSleepers;
    if (!due_[group]) {
      due_[group] = true;
      queue_[(first_ + due_count_++) % kWaitGroups] = static_cast<std::uint16_t>(group);
    }
    alarm_->store(true, std::memory_order_relaxed);  // relaxed: of the same thread
  }
  bool is_due() const noexcept { return due_count_ != 0; }
  // Wakes some, and adds to `count` how many. False: nothing is left to do.
  bool wake(int& count) noexcept {
    // A group that has more sleepers comes again only in a later call.
    for (std::uint32_t groups = std::min(kMostGroups, due_count_); groups != 0; --groups) {
      const std::uint16_t group = queue_[first_];
      first_ = (first_ + 1) % kWaitGroups;
      --due_count_;
      const int woken = futex_wake(words_.words[group], kMostWoken);
      count += std::max(woken, 0);
      if (woken < kMostWoken || left_[group] <= static_cast<std::uint32_t>(kMostWoken)) {
        due_[group] = false;
      } else {
        left_[group] -= static_cast<std::uint32_t>(kMostWoken);
        queue_[(first_ + due_count_++) % kWaitGroups] = group;
      }
    }
    return due_count_ != 0;
  }

  // Of a server that starts or ends, or of a table that is given up: whoever sleeps reads its key again.
  static void raise_all(WaitGroupWords& words) noexcept {
    for (HalfWord& word : words.words) raise(word);
    for (HalfWord& word : words.words) futex_wake(word, INT_MAX);
  }

 private:
  static void raise(HalfWord& word) noexcept {
    const std::uint32_t next = word.load(std::memory_order_relaxed) + 1;  // relaxed: nobody else stores it
    // [group.raise] release; pairs with [group.look]: the change is visible
    word.store(next != 0 ? next : 1, std::memory_order_release);
  }

  WaitGroupWords& words_;
  std::atomic<bool>* alarm_;
  std::atomic<bool> no_alarm_{false};
  std::uint32_t registered_ = 0;
  std::array<std::uint32_t, kWaitGroups> counts_{};  // registrations
  // The groups whose sleepers are to be woken, in a circle.
  std::uint32_t first_ = 0;
  std::uint32_t due_count_ = 0;
  std::array<std::uint16_t, kWaitGroups> queue_{};
  std::array<std::uint32_t, kWaitGroups> left_{};  // to be woken at most
  std::array<bool, kWaitGroups> due_{};
};

}  // namespace hostmap
