#include "table/memory/growth.hpp"

#include <algorithm>
#include <pthread.h>
#include <utility>

namespace hostmap {

namespace {

// relaxed: counters on which nothing else depends, or that a compare-exchange guards by itself
constexpr auto kRelaxed = std::memory_order_relaxed;

}  // namespace

std::uint64_t MemoryBudget::directory_share() const noexcept {
  const std::uint64_t shards = std::max(header_.shard_count, 1u);
  const std::uint64_t segments = round_up(extent() / kSlabBytes, shards) / shards;
  return round_up(directory_bytes_at(directory_depth(std::max<std::uint64_t>(segments, 1))), std::uint64_t{kPageSize});
}

std::uint64_t MemoryBudget::withheld() const noexcept {
  const std::uint64_t share = directory_share();
  std::uint64_t missing = 0;
  for (std::uint32_t i = 0; i < header_.shard_count; ++i) {
    const ShardHeader& shard = header_.shards[i];
    for (const Word* populated : {&shard.pair_directory_populated, &shard.entry_directory_populated}) {
      missing += share - std::min(share, populated->load(kRelaxed));
    }
  }
  return missing;
}

bool MemoryBudget::reserve(std::uint64_t bytes, std::uint64_t due) noexcept {
  // A directory gets its share even if the limit has fallen below what is used.
  const std::uint64_t apart = bytes == due ? 0 : withheld() - due;
  std::uint64_t used = stats_.memory_bytes.load(kRelaxed);
  do {
    const std::uint64_t limit = this->limit();
    if (bytes != due && (bytes > limit || apart > limit - bytes || used > limit - bytes - apart)) return false;
  } while (!stats_.memory_bytes.compare_exchange_weak(used, used + bytes, kRelaxed));
  return true;
}

std::uint64_t MemoryBudget::left() const noexcept {
  const std::uint64_t limit = this->limit();
  return limit - std::min(limit, stats_.memory_bytes.load(kRelaxed) + withheld());
}

std::uint64_t MemoryBudget::extent() const noexcept {
  return std::max(limit(), std::min(stats_.memory_bytes.load(kRelaxed), header_.max_memory));
}

void MemoryBudget::release(std::uint64_t bytes) noexcept { stats_.memory_bytes.fetch_sub(bytes, kRelaxed); }

void MemoryBudget::count_huge(std::uint64_t bytes) noexcept { stats_.huge_page_bytes.fetch_add(bytes, kRelaxed); }

void MemoryBudget::recount(std::uint64_t bytes) noexcept { stats_.memory_bytes.store(bytes, kRelaxed); }

void MemoryBudget::count_failure() noexcept { stats_.populate_failures.fetch_add(1, kRelaxed); }

std::uint64_t GrowingArea::next_step() const noexcept {
  const std::uint64_t have = populated();
  // From 2 MiB on, steps end at 2 MiB boundaries: such a step can become one large page.
  if (have >= kHugePageSize) return round_up(have + 1, std::uint64_t{kHugePageSize}) - have;
  const std::uint64_t step = std::clamp(round_up(have, smallest_step_), smallest_step_, std::uint64_t{kHugePageSize});
  return std::min(step, kHugePageSize - have);
}

bool GrowingArea::extend_to(std::uint64_t bytes) {
  const std::lock_guard<std::mutex> lock(mutex_);
  while (populated() < bytes) {
    if (!extend_once(bytes)) return false;
  }
  return true;
}

bool GrowingArea::reserve(std::uint64_t bytes) noexcept {
  const std::uint64_t share = is_directory_ ? budget_.directory_share() : 0;
  return budget_.reserve(bytes, std::min(bytes, share - std::min(share, populated())));
}

bool GrowingArea::extend_once(std::uint64_t bytes) {
  const std::uint64_t have = populated();
  if (bytes > max_bytes_) return false;
  const std::lock_guard<std::mutex> between_steps(budget_.step());
  std::uint64_t step = std::min(next_step(), max_bytes_ - have);
  if (!reserve(step)) {  // use the last bytes below the limit, too
    step = std::min(step, round_up(bytes - have, std::uint64_t{kPageSize}));
    if (!reserve(step)) return false;
  }
  while (region_.populate_quietly(offset_ + have, step) != 0) {
    const std::uint64_t least = std::min(step, round_up(bytes - have, std::uint64_t{kPageSize}));
    budget_.release(step - least);
    if (least == step) {
      budget_.release(step);
      budget_.count_failure();
      return false;
    }
    step = least;  // use the last pages of the file system, too
  }
  const std::uint64_t end = offset_ + have + step;
  if (end % kHugePageSize == 0 && end - offset_ >= kHugePageSize)
    budget_.count_huge(region_.collapse(end - kHugePageSize, kHugePageSize));
  populated_.store(have + step, std::memory_order_release);  // [area.extend] release; pairs with [area.populated]
  return true;
}

Populator::Populator() {
  jobs_.reserve(kMostAreas);
  thread_ = std::thread([this] { run(); });
  pthread_setname_np(thread_.native_handle(), "populator");
}

Populator::~Populator() {
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    stopping_ = true;
  }
  wake_.notify_one();
  thread_.join();
}

void Populator::request(std::function<void()> job) noexcept {
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    jobs_.push_back(std::move(job));
  }
  wake_.notify_one();
}

void Populator::run() {
  std::unique_lock<std::mutex> lock(mutex_);
  for (;;) {
    wake_.wait(lock, [this] { return stopping_ || !jobs_.empty(); });
    if (stopping_) return;
    const std::function<void()> job = std::move(jobs_.front());
    jobs_.erase(jobs_.begin());
    lock.unlock();
    job();
    lock.lock();
  }
}

}  // namespace hostmap
