// Growth of the table region: pages are populated ahead of need, in small steps, within a hard limit.
//
// A GrowingArea is a contiguous, sparse part of the region of which a prefix is populated. Nothing may point beyond that
// prefix. Steps begin small and end at 2 MiB, each then requested as a 2 MiB page before any of it is used.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

#include "layout/table.hpp"
#include "shm/region.hpp"

namespace hostmap {

// The limit of the table region's populated bytes. It can fall below what is populated: then nothing grows, and nothing is
// freed for it. Any thread.
class MemoryBudget {
 public:
  explicit MemoryBudget(TableHeader& header) noexcept : header_(header), stats_(header.server_stats) {}

  // Of the bytes, `due` belong to what is withheld for the directory that reserves them.
  bool reserve(std::uint64_t bytes, std::uint64_t due = 0) noexcept;
  void release(std::uint64_t bytes) noexcept;
  void count_huge(std::uint64_t bytes) noexcept;
  void count_failure() noexcept;
  // At a restart: sets the populated bytes.
  void recount(std::uint64_t bytes) noexcept;
  std::uint64_t limit() const noexcept { return memory_limit_of(header_); }
  // Bytes of words that one directory must be able to have: all memory may become segments of either form, evenly over the
  // shards. What is still missing of that is withheld from everything else. Otherwise pairs could take all memory, and when
  // entries follow, their directory could not grow although all slabs are free.
  std::uint64_t directory_share() const noexcept;
  // The limit, or what was populated before it fell.
  std::uint64_t extent() const noexcept;
  // Bytes that could be reserved now.
  std::uint64_t left() const noexcept;
  // Held while an area takes a step. A step that fails reserves memory for a moment and returns it: a thread that needs the
  // exact remainder reads it between two steps.
  std::mutex& step() noexcept { return step_; }

 private:
  std::uint64_t withheld() const noexcept;

  const TableHeader& header_;
  ServerStats& stats_;
  std::mutex step_;
};

// Any thread; extend_to() serialises its callers.
class GrowingArea {
 public:
  // `populated`: in the region, so that a restart knows it; its value is counted in the budget.
  // `smallest_step`: bytes, whole pages. `is_directory`: of words that lead to segments.
  GrowingArea(Region& region, MemoryBudget& budget, std::uint64_t offset, std::uint64_t max_bytes, Word& populated,
              std::uint64_t smallest_step, bool is_directory = false) noexcept
      : region_(region),
        budget_(budget),
        offset_(offset),
        max_bytes_(max_bytes),
        smallest_step_(smallest_step),
        is_directory_(is_directory),
        populated_(populated) {}

  std::uint64_t offset() const noexcept { return offset_; }
  std::uint64_t max_bytes() const noexcept { return max_bytes_; }
  std::uint64_t populated() const noexcept {
    return populated_.load(std::memory_order_acquire);  // [area.populated] acquire; pairs with [area.extend]
  }
  // The size of the next step.
  std::uint64_t next_step() const noexcept;
  // True once until release_request(): the caller that gets it notifies the helper thread, others need not.
  bool claim_request() noexcept {
    // relaxed, both: a request too many or too late is harmless
    return !requested_.load(std::memory_order_relaxed) && !requested_.exchange(true, std::memory_order_relaxed);
  }
  void release_request() noexcept { requested_.store(false, std::memory_order_relaxed); }  // relaxed: likewise
  // Populates at least the first `bytes`. False: the limit, the area or the file system does not allow it; pages already
  // populated stay. Makes system calls.
  bool extend_to(std::uint64_t bytes);
  // Frees pages after that prefix, which exist if a program has mapped the whole file and read there. Call before
  // anything grows.
  void free_rest() noexcept {
    if (const std::uint64_t have = round_up(populated(), std::uint64_t{kPageSize}); have < max_bytes_) {
      region_.free_pages(offset_ + have, max_bytes_ - have);
    }
  }

 private:
  bool extend_once(std::uint64_t bytes);
  bool reserve(std::uint64_t bytes) noexcept;

  Region& region_;
  MemoryBudget& budget_;
  std::uint64_t offset_;
  std::uint64_t max_bytes_;
  std::uint64_t smallest_step_;
  bool is_directory_;
  std::mutex mutex_;
  Word& populated_;
  std::atomic<bool> requested_{false};
};

// The helper thread that extends areas before their users need it.
class Populator {
 public:
  Populator();
  ~Populator();  // waits for the step in progress
  Populator(const Populator&) = delete;
  Populator& operator=(const Populator&) = delete;

  // Runs `job` soon. Jobs not yet begun at destruction are dropped. Allocates nothing: each area has one job at most (it
  // claims its request), and a std::function of two words needs no memory of its own.
  void request(std::function<void()> job) noexcept;

 private:
  static constexpr std::size_t kMostAreas = 1 + 2 * kMaxLanes;  // the arena, and the directories of both forms

  void run();

  std::mutex mutex_;
  std::condition_variable wake_;
  std::vector<std::function<void()>> jobs_;
  bool stopping_ = false;
  std::thread thread_;
};

}  // namespace hostmap
