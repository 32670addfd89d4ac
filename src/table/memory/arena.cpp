#include "table/memory/arena.hpp"

#include <algorithm>
#include <bit>
#include <iterator>
#include <new>
#include <utility>

#include "layout/table.hpp"
#include "table/memory/census.hpp"

namespace hostmap {

namespace {

constexpr std::uint64_t kWordBits = 64;
// A run that is longer than this part of the memory has no reserve: that would double the memory of a few large values.
constexpr std::uint64_t kReservedPart = 8;
constexpr std::uint64_t kSmallestStep = 64 * 1024;  // by which the arena grows

}  // namespace

// --- SlabPool --------------------------------------------------------------------------------------------------------

SlabPool::SlabPool(Region& table, Journal& journal, MemoryBudget& budget, Populator& populator)
    : table_(table),
      journal_(journal),
      budget_(budget),
      populator_(populator),
      arena_offset_(table.at<TableHeader>(0)->arena_offset),
      generations_(table.at<PageGeneration>(table.at<TableHeader>(0)->generations_offset)),
      generation_area_(table, budget, table.at<TableHeader>(0)->generations_offset,
                       table.at<TableHeader>(0)->arena_bytes / kPageSize * sizeof(PageGeneration),
                       table.at<TableHeader>(0)->generations_allocated, kPageSize),
      arena_(table, budget, arena_offset_, table.at<TableHeader>(0)->arena_bytes,
             table.at<TableHeader>(0)->arena_allocated, kSmallestStep),
      singles_(table.at<TableHeader>(0)->shard_count),
      slabs_of_blocks_(singles_),
      shards_without_blocks_(singles_) {
  free_bits_.reserve(arena_.max_bytes() / kSlabBytes / kWordBits + 1);
  owners_.reserve(arena_.max_bytes() / kSlabBytes);
  runs_.resize(arena_.max_bytes() / kSlabBytes / kReservedPart + 1);
  follow_limit();
}

// The lowest run of `count` free slabs. Slabs that are not populated yet count as free between `beyond` (not below the
// populated part) and `end`.
std::uint64_t SlabPool::find(std::uint64_t count, std::uint64_t beyond, std::uint64_t end) const noexcept {
  std::uint64_t length = 0;
  for (std::uint64_t slab = first_free_word_ * kWordBits; slab < slabs_;) {
    const std::uint64_t word = free_bits_[slab / kWordBits];
    if (slab % kWordBits == 0 && slab + kWordBits <= slabs_ && (word == 0 || word == ~std::uint64_t{0})) {
      length = word == 0 ? 0 : length + kWordBits;
      slab += kWordBits;
      if (length >= count) return slab - length;
      continue;
    }
    length = (word >> slab % kWordBits & 1) != 0 ? length + 1 : 0;
    ++slab;
    if (length == count) return slab - count;
  }
  if (beyond != slabs_) length = 0;
  return beyond - length + count <= end ? beyond - length : kNone;
}

// Requires that there is one.
std::uint64_t SlabPool::first_free() noexcept {
  while (free_bits_[first_free_word_] == 0) ++first_free_word_;
  return first_free_word_ * kWordBits + static_cast<std::uint64_t>(std::countr_zero(free_bits_[first_free_word_]));
}

void SlabPool::mark(std::uint64_t first, std::uint64_t count, bool is_free) noexcept {
  for (std::uint64_t slab = first; slab < first + count; ++slab) {
    const std::uint64_t bit = std::uint64_t{1} << slab % kWordBits;
    if (is_free) {
      free_bits_[slab / kWordBits] |= bit;
    } else {
      free_bits_[slab / kWordBits] &= ~bit;
    }
  }
  if (is_free) {
    free_slabs_ += count;
    first_free_word_ = std::min(first_free_word_, static_cast<std::size_t>(first / kWordBits));
  } else {
    free_slabs_ -= count;
  }
}

// Marks the slabs free in the journal, for a restart. A reader that still copies the value of a run checks the generation of
// its first page, and not of those that are reused first.
void SlabPool::mark_unowned(std::uint64_t first, std::uint64_t count) noexcept {
  for (std::uint64_t slab = first; slab < first + count; ++slab) {
    note_blocks(slab, false);
    // relaxed: under the mutex, or nothing runs
    if (journal_.slab_class(slab).load(std::memory_order_relaxed) == kSlabRunHead) raise_generation(slab_offset(slab));
    // [slab.free] release; pairs with [slab.class]
    journal_.slab_class(slab).store(kSlabFree, std::memory_order_release);
  }
}

void SlabPool::assign(std::uint64_t first, std::uint64_t count, SlabKind kind, std::uint32_t shard) noexcept {
  for (std::uint64_t slab = first; slab < first + count; ++slab) {
    owners_[slab] = static_cast<std::uint8_t>(shard);
    // [slab.class] release; pairs with [slab.free]: stored (for a restart) before any block is allocated
    journal_.slab_class(slab).store(slab == first ? kind : kSlabRunRest, std::memory_order_release);
    note_blocks(slab, true);
  }
  count_run(count);
  note_free();
  raise_generations(slab_offset(first), count * kSlabBytes);
}

// --- Growth of the arena

// Bytes that --memory and the file system still have for the arena.
std::uint64_t SlabPool::room() noexcept {
  const std::lock_guard<std::mutex> between_steps(budget_.step());
  const std::uint64_t allowed = budget_.left();
  const std::uint64_t there = table_.room();
  return std::min(allowed, there);
}

// Slabs that could be populated after the present ones.
std::uint64_t SlabPool::growable() noexcept {
  // Each with its pages' generations, which take whole pages.
  constexpr std::uint64_t kWithGenerations = kSlabBytes + kSlabBytes / kPageSize * sizeof(PageGeneration);
  const std::uint64_t bytes = room();
  const std::uint64_t slabs = bytes < kPageSize ? 0 : (bytes - kPageSize) / kWithGenerations;
  return std::min(slabs, arena_.max_bytes() / kSlabBytes - slabs_);
}

// Populates the arena up to `bytes`, and a step further if there is room. The areas' own mutexes serialise this.
bool SlabPool::populate(std::uint64_t bytes) {
  const std::uint64_t step = arena_.next_step();
  const std::uint64_t generous = std::min(arena_.populated() + step, arena_.max_bytes());
  const std::uint64_t goal = generous > bytes && room() >= 2 * step ? generous : bytes;
  // The generations first: a page without one must never be published.
  const std::uint64_t pages = round_up(goal, std::uint64_t{kPageSize}) / kPageSize;
  return generation_area_.extend_to(pages * sizeof(PageGeneration)) && arena_.extend_to(goal);
}

// Adds newly populated slabs to the free ones. Called with the mutex held.
void SlabPool::note_populated() {
  const std::uint64_t usable =
      std::min(arena_.populated(), generation_area_.populated() / sizeof(PageGeneration) * kPageSize);
  const std::uint64_t now = usable / kSlabBytes;
  if (now <= slabs_) return;
  free_bits_.resize(now / kWordBits + 1, 0);  // reserved
  owners_.resize(now, 0);                     // reserved
  const std::uint64_t before = slabs_;
  slabs_ = now;
  mark(before, now - before, true);
  // [arena.grow] release; pairs with [arena.clamp]: no reader reads beyond it
  table_.at<TableHeader>(0)->arena_populated.store(now * kSlabBytes, std::memory_order_release);
}

// False: there is not enough room; nothing was populated.
bool SlabPool::grow_to(std::uint64_t slabs) {
  constexpr int kTries = 3;  // another area may take the room, or reserve it for a moment
  for (int i = 0; i < kTries; ++i) {
    const std::uint64_t more = growable();
    note_populated();  // slabs populated by the helper thread
    if (slabs <= slabs_) return true;
    if (slabs - slabs_ > more) {
      if (table_.room() < budget_.left()) budget_.count_failure();
      return false;
    }
    populate(slabs * kSlabBytes);
    note_populated();
  }
  return slabs <= slabs_;
}

// Requests more from the helper thread before the last free slab is taken.
void SlabPool::grow_ahead() {
  constexpr std::uint64_t kAhead = 4;  // as a part of a step: 512 KiB last half a millisecond at a gigabyte a second
  const std::uint64_t left = free_slabs_ - std::min(free_slabs_, singles_);
  if (left * kSlabBytes >= arena_.next_step() / kAhead || arena_.populated() >= arena_.max_bytes() ||
      !arena_.claim_request()) {
    return;
  }
  populator_.request([this] {
    populate(std::min(arena_.populated() + kSlabBytes, arena_.max_bytes()));
    arena_.release_request();
    const std::lock_guard<std::mutex> lock(mutex_);
    note_populated();
    note_free();
    growing_ = false;
  });
}

// For growth that would keep this thread from its other work for long; the caller of allocate() retries until it is done.
void SlabPool::grow_in_background(std::uint64_t slabs) {
  // Set under the mutex, which the helper's job takes at its end, be it this job or one in progress.
  growing_ = true;
  if (!arena_.claim_request()) return;
  populator_.request([this, slabs] {
    for (bool more = true; more;) {
      more = populate(std::min(arena_.populated() + kHugePageSize, slabs * kSlabBytes));
      const std::lock_guard<std::mutex> lock(mutex_);
      note_populated();
      note_free();
      growth_failed_ = !more;
      more = more && slabs_ < slabs;
      if (!more) {
        arena_.release_request();
        growing_ = false;
      }
    }
  });
}

// --- Taking

std::uint64_t SlabPool::allocate(std::uint64_t count, SlabKind kind, std::uint32_t shard) {
  const std::lock_guard<std::mutex> lock(mutex_);
  if (count > 1) follow_limit();
  const std::uint64_t kept = kept_from(shard, kind);
  const std::uint64_t first = count == 1 ? find_one(kept) : find_run(count, kept);
  if (first == kNone || first == kLater) return first;
  assign(first, count, kind, shard);
  grow_ahead();
  return first;
}

std::uint64_t SlabPool::allocate_below(std::uint64_t slab, SlabKind kind, std::uint32_t shard) {
  const std::lock_guard<std::mutex> lock(mutex_);
  if (free_slabs_ <= kept_from(shard, kind)) return kNone;
  const std::uint64_t lower = first_free();
  if (lower > slab) return kNone;
  mark(lower, 1, false);
  assign(lower, 1, kind, shard);
  return lower;
}

// Leaves `kept` slabs free.
std::uint64_t SlabPool::find_one(std::uint64_t kept) {
  if (free_slabs_ <= kept && !grow_to(slabs_ + kept + 1 - free_slabs_)) {
    short_.store(true, std::memory_order_relaxed);  // relaxed: a hint
    note_free();
    return kNone;
  }
  const std::uint64_t slab = first_free();
  mark(slab, 1, false);
  return slab;
}

// Determines the place of the run, and a longer reserve if it needs one, before it takes or populates anything.
std::uint64_t SlabPool::find_run(std::uint64_t count, std::uint64_t kept) {
  if (growing_) return kLater;
  const std::uint64_t more = growable();
  note_populated();
  const Run before = reserved_;
  const bool longer = keeps_run_reserve_ && count <= most_reserved_ && count > reserved_.count;
  if (longer && on_loan_) return kLater;
  if (longer) reserve_run({});
  const std::uint64_t end = std::min(slabs_ + more, arena_.max_bytes() / kSlabBytes);
  const std::uint64_t first = find(count, slabs_, end);
  std::uint64_t reserve = kNone;
  if (longer && first != kNone) {
    const std::uint64_t populated = first + count <= slabs_ ? count : slabs_ - std::min(first, slabs_);
    mark(first, populated, false);
    reserve = find(count, std::max(slabs_, first + count), end);
    mark(first, populated, true);
  }
  bool later = false;
  bool fits = first != kNone && (!longer || reserve != kNone);
  if (fits) {
    std::uint64_t goal = std::max({slabs_, first + count, longer ? reserve + count : 0});
    const std::uint64_t left = free_slabs_ + (goal - slabs_) - count - (longer ? count : 0);
    goal += kept - std::min(left, kept);
    constexpr std::uint64_t kMostAtOnce = kHugePageSize / kSlabBytes;
    fits = goal <= end && !std::exchange(growth_failed_, false);
    later = fits && goal > slabs_ + kMostAtOnce;
    if (later) grow_in_background(goal);
    fits = fits && !later && grow_to(goal);
  }
  if (!fits) {
    if (longer) reserve_run(before);
    return later ? kLater : kNone;
  }
  mark(first, count, false);
  if (longer) reserve_run({reserve, count});
  return first;
}

void SlabPool::release(std::uint64_t first, std::uint64_t count) {
  const std::lock_guard<std::mutex> lock(mutex_);
  mark_unowned(first, count);
  mark(first, count, true);
  uncount_run(count);
  note_free();
}

void SlabPool::turn() noexcept {
  // [change.turn] release; pairs with [change.first]: after all that led there was replaced
  table_.at<TableHeader>(0)->change.fetch_add(kTurn, std::memory_order_release);
}

// --- A first slab for each shard of a cache

// Called with the mutex held, before the slab's class is replaced and after it is stored.
void SlabPool::note_blocks(std::uint64_t slab, bool taken) noexcept {
  if (kind_of(slab) < kSlabFirstClass) return;
  std::uint64_t& slabs = slabs_of_blocks_[owners_[slab]];
  if (taken && slabs++ == 0) --shards_without_blocks_;
  if (!taken && --slabs == 0) ++shards_without_blocks_;
}

void SlabPool::count_shards_without_blocks() noexcept {
  std::ranges::fill(slabs_of_blocks_, 0);
  shards_without_blocks_ = slabs_of_blocks_.size();
  for (std::uint64_t slab = 0; slab < slabs_; ++slab) {
    if (!is_free(slab)) note_blocks(slab, true);
  }
}

bool SlabPool::keeps_first_slabs() const noexcept { return !keeps_run_reserve_ && singles_ > 1; }

// The slabs that are free and still not for everybody.
std::uint64_t SlabPool::kept() const noexcept { return singles_ + (keeps_first_slabs() ? shards_without_blocks_ : 0); }

// A shard's first slab is its own, even while another shard has one of the reserve.
std::uint64_t SlabPool::kept_from(std::uint32_t shard, SlabKind kind) const noexcept {
  const bool is_first = kind >= kSlabFirstClass && slabs_of_blocks_[shard] == 0;
  return is_first && keeps_first_slabs() ? shards_without_blocks_ - 1 : kept();
}

// --- The reserve

std::uint64_t SlabPool::allocate_reserved(SlabKind kind, std::uint32_t shard) {
  std::unique_lock<std::mutex> lock(mutex_);
  merge_ends_.wait(lock, [this] { return free_slabs_ != 0 || !merging_; });
  if (free_slabs_ == 0) return kNone;
  const std::uint64_t slab = first_free();
  mark(slab, 1, false);
  assign(slab, 1, kind, shard);
  return slab;
}

std::uint64_t SlabPool::borrow_for_merge(SlabKind kind, std::uint32_t shard) {
  const std::lock_guard<std::mutex> lock(mutex_);
  if (merging_ || free_slabs_ < singles_) return kNone;
  merging_ = true;
  const std::uint64_t slab = first_free();
  mark(slab, 1, false);
  assign(slab, 1, kind, shard);
  return slab;
}

void SlabPool::end_merge() noexcept {
  const std::lock_guard<std::mutex> lock(mutex_);
  merging_ = false;
  merge_ends_.notify_all();
}

std::uint64_t SlabPool::borrow_run(std::uint64_t count, std::uint32_t shard) {
  const std::lock_guard<std::mutex> lock(mutex_);
  if (count > reserved_.count) return kNone;
  if (on_loan_) return kLater;
  on_loan_ = true;
  assign(reserved_.first, count, kSlabRunHead, shard);
  return reserved_.first;
}

bool SlabPool::exchange_run(std::uint64_t borrowed, std::uint64_t count, std::uint64_t old, std::uint64_t old_count) {
  const std::lock_guard<std::mutex> lock(mutex_);
  if (old_count < reserved_.count) return false;
  mark_unowned(old, old_count);
  mark(borrowed + count, reserved_.count - count, true);
  mark(old + reserved_.count, old_count - reserved_.count, true);
  reserved_.first = old;
  on_loan_ = false;
  uncount_run(old_count);
  note_free();
  return true;
}

void SlabPool::return_run(std::uint64_t borrowed, std::uint64_t count, std::uint64_t old, std::uint64_t old_count) {
  const std::lock_guard<std::mutex> lock(mutex_);
  mark_unowned(borrowed, count);
  mark_unowned(old + count, old_count - count);
  mark(old + count, old_count - count, true);
  on_loan_ = false;
  uncount_run(old_count);
  note_free();
}

void SlabPool::return_unused_run(std::uint64_t borrowed, std::uint64_t count) {
  const std::lock_guard<std::mutex> lock(mutex_);
  mark_unowned(borrowed, count);
  on_loan_ = false;
  uncount_run(count);
  note_free();
}

void SlabPool::reserve_run(Run run) noexcept {
  mark(reserved_.first, reserved_.count, true);
  reserved_ = run;
  mark(reserved_.first, reserved_.count, false);
}

void SlabPool::count_run(std::uint64_t count) noexcept {
  if (count < 2 || count >= runs_.size()) return;
  ++runs_[count];
  if (count <= most_reserved_) longest_ = std::max(longest_, count);
}

// The limit decides which runs have a reserve. When it falls, none is taken away before the next start: values that the map
// has accepted stay replaceable.
void SlabPool::follow_limit() noexcept {
  const std::uint64_t memory = round_up(budget_.extent(), std::uint64_t{kHugePageSize});
  const std::uint64_t most = std::min(memory / kSlabBytes / kReservedPart, runs_.size() - 1);
  if (most <= most_reserved_) return;
  longest_ = most_reserved_ = most;
  find_longest();
}

// From the present longest_ downwards.
void SlabPool::find_longest() noexcept {
  while (longest_ > 1 && runs_[longest_] == 0) --longest_;
  if (longest_ < 2) longest_ = 0;
}

void SlabPool::uncount_run(std::uint64_t count) noexcept {
  if (count > 1) {
    if (count < runs_.size()) --runs_[count];
    find_longest();
    follow_limit();
  }
  if (!on_loan_) fit_reserve();
}

// Makes the reserve as long as the longest run, if there is a place for it. A kill, or an older server, may have left it too
// short.
void SlabPool::fit_reserve() noexcept {
  if (reserved_.count == longest_ || !keeps_run_reserve_) return;
  const Run before = reserved_;
  if (before.count > longest_) {
    reserve_run({before.first, longest_});
    return;
  }
  if (!may_grow_reserve()) return;
  reserve_run({});
  const std::uint64_t first = find(longest_, slabs_, slabs_);
  reserve_run(first == kNone ? before : Run{first, longest_});
}

void SlabPool::keep_run_reserve(bool keep) noexcept {
  const std::lock_guard<std::mutex> lock(mutex_);
  keeps_run_reserve_ = keep;
  if (!keep && !on_loan_) reserve_run({});
  if (keep) fit_reserve();
  note_free();
}

std::uint8_t SlabPool::kind_of(std::uint64_t slab) const noexcept {
  return journal_.slab_class(slab).load(std::memory_order_relaxed);  // relaxed: stored under the mutex
}

// Is it neither free nor a slab of entries of this shard?
bool SlabPool::is_of_others(std::uint64_t slab, std::uint32_t shard) const noexcept {
  if (is_free(slab)) return false;
  const std::uint8_t kind = kind_of(slab);
  return owners_[slab] != shard || (kind < kSlabFirstClass && kind != kSlabRunHead && kind != kSlabRunRest);
}

SlabPool::Use SlabPool::use_of(std::uint64_t slab, std::uint32_t shard) {
  const std::lock_guard<std::mutex> lock(mutex_);
  if (is_free(slab)) return {Use::Kind::kFree, slab};
  if (is_of_others(slab, shard)) return {Use::Kind::kOther, slab};
  if (kind_of(slab) >= kSlabFirstClass) return {Use::Kind::kBlocks, slab};
  std::uint64_t first = slab;
  while (kind_of(first) == kSlabRunRest) --first;
  return {Use::Kind::kRun, first};
}

std::uint64_t SlabPool::find_window(std::uint64_t count, std::uint32_t shard, std::uint64_t from) {
  const std::lock_guard<std::mutex> lock(mutex_);
  if (count > slabs_) return kNone;
  if (from >= slabs_) from = 0;
  std::uint64_t length = 0;
  for (std::uint64_t i = 0; i < slabs_ + count; ++i) {
    const std::uint64_t slab = (from + i) % slabs_;
    if (slab == 0) length = 0;  // a window does not wrap around
    length = is_of_others(slab, shard) ? 0 : length + 1;
    if (length == count) return slab + 1 - count;
  }
  return kNone;
}

// Without using the single slabs of the reserve for its run.
bool SlabPool::may_grow_reserve() const noexcept { return free_slabs_ + reserved_.count >= longest_ + singles_; }

// The number of slabs of the run that begins here; 0: no run in use begins here.
std::uint64_t SlabPool::run_at(std::uint64_t slab) const noexcept {
  // relaxed, both: nothing runs at a start
  if (is_free(slab) || journal_.slab_class(slab).load(std::memory_order_relaxed) != kSlabRunHead) return 0;
  std::uint64_t end = slab + 1;
  while (end < slabs_ && !is_free(end) && journal_.slab_class(end).load(std::memory_order_relaxed) == kSlabRunRest)
    ++end;
  return end - slab;
}

// The place to which a run in use can move, so that the reserve's run fits where it is now. kNone: there is none.
std::uint64_t SlabPool::place_beside(std::uint64_t first, std::uint64_t count) noexcept {
  std::uint64_t begin = first;
  while (begin > 0 && is_free(begin - 1)) --begin;
  std::uint64_t end = first + count;
  while (end < slabs_ && is_free(end)) ++end;
  if (end - begin < longest_) return kNone;
  const std::uint64_t before = first - begin;
  const std::uint64_t behind = end - (first + count);
  mark(begin, before, false);
  mark(first + count, behind, false);
  const std::uint64_t elsewhere = find(count, slabs_, slabs_);
  mark(begin, before, true);
  mark(first + count, behind, true);
  if (elsewhere != kNone || end - begin - count < longest_) return elsewhere;
  if (before >= count) return begin;
  return behind >= count ? end - count : kNone;
}

std::vector<SlabPool::Move> SlabPool::moves_for_reserve() {
  const std::lock_guard<std::mutex> lock(mutex_);
  std::vector<Move> moves;
  if (reserved_.count >= longest_ || !may_grow_reserve()) return moves;
  const Run before = reserved_;
  reserve_run({});
  for (std::uint64_t slab = 0; slab < slabs_;) {
    const std::uint64_t count = run_at(slab);
    if (count != 0) {
      if (const std::uint64_t to = place_beside(slab, count); to != kNone)
        moves.push_back({owners_[slab], slab, to, count});
    }
    slab += std::max<std::uint64_t>(count, 1);
  }
  reserve_run(before);
  return moves;
}

void SlabPool::allocate_for(const Move& move) noexcept {
  const std::lock_guard<std::mutex> lock(mutex_);
  reserve_run({});  // too short, and perhaps in the way
  mark(move.to, move.count, false);
  assign(move.to, move.count, kSlabRunHead, move.shard);
}

bool SlabPool::reserve_is_short() {
  const std::lock_guard<std::mutex> lock(mutex_);
  return free_slabs_ < singles_;
}

std::uint64_t SlabPool::reserved_bytes() {
  const std::lock_guard<std::mutex> lock(mutex_);
  return std::max<std::uint64_t>(reserved_.count, 1) * kSlabBytes;
}

std::uint64_t SlabPool::slabs_within_reach() {
  const std::lock_guard<std::mutex> lock(mutex_);
  return free_slabs_ - std::min(free_slabs_, singles_) + growable();
}

void SlabPool::note_free() noexcept {
  const std::uint64_t bytes = free_slabs_ * kSlabBytes;
  free_bytes_.store(bytes, std::memory_order_relaxed);  // relaxed: an estimate for its readers
  constexpr std::uint64_t kPlenty = 64;
  // relaxed, all of them: hints
  if (short_.load(std::memory_order_relaxed) && free_slabs_ > singles_ + kPlenty) {
    short_.store(false, std::memory_order_relaxed);
  }
  // relaxed, both: hints
  exhausted_.store(short_.load(std::memory_order_relaxed) && free_slabs_ <= kept(), std::memory_order_relaxed);
  constexpr std::uint64_t kTightPart = 32;
  const std::uint64_t free = free_slabs_ - std::min(free_slabs_, singles_);
  // relaxed: likewise
  tight_.store(free * kTightPart <= slabs_ && budget_.left() * kTightPart <= slabs_ * kSlabBytes,
               std::memory_order_relaxed);
  table_.at<TableHeader>(0)->server_stats.arena_free_bytes.store(bytes + (on_loan_ ? 0 : reserved_.count * kSlabBytes),
                                                                 std::memory_order_relaxed);  // relaxed: likewise
}

// --- State that a start takes over, and a stop leaves

void SlabPool::rebuild(const ArenaCensus& census) {
  const std::lock_guard<std::mutex> lock(mutex_);
  slabs_ = census.slabs();
  free_bits_.assign(slabs_ / kWordBits + 1, 0);
  owners_.assign(slabs_, 0);
  free_slabs_ = 0;
  first_free_word_ = 0;
  std::ranges::fill(runs_, 0);
  follow_limit();
  longest_ = 0;
  reserved_ = {};
  for (std::uint64_t slab = 0; slab < slabs_; ++slab) {
    if (census.owner(slab) != ArenaCensus::kNobody) owners_[slab] = static_cast<std::uint8_t>(census.owner(slab));
    if (census.owner(slab) != ArenaCensus::kNobody) continue;
    mark_unowned(slab, 1);
    mark(slab, 1, true);
  }
  for (std::uint64_t slab = 0; slab < slabs_;) {
    std::uint64_t end = slab + 1;
    if (census.kind(slab) == kSlabRunHead && census.owner(slab) != ArenaCensus::kNobody) {
      while (end < slabs_ && census.kind(end) == kSlabRunRest && census.owner(end) != ArenaCensus::kNobody) ++end;
      count_run(end - slab);
    }
    slab = end;
  }
  count_shards_without_blocks();
  fit_reserve();
  note_free();
}

void SlabPool::report(ArenaCensus& census) const {
  for (std::uint64_t slab = 0; slab < slabs_; ++slab) {
    const std::uint8_t kind = census.kind(slab);
    const bool is_free = (free_bits_[slab / kWordBits] >> slab % kWordBits & 1) != 0;
    if (is_free || (kind != kSlabRunHead && kind != kSlabRunRest)) continue;
    // For a run, only the first slab counts as a used block.
    census.note(slab, owners_[slab]).front() = kind == kSlabRunHead ? 1 : 0;
  }
}

void SlabPool::describe(WriterState& state) const {
  state.add("pool: slabs", slabs_);
  state.add("pool: free slabs", free_slabs_);
  state.add("pool: shards without blocks", shards_without_blocks_);
  state.add("pool: the longest run", longest_);
  state.add("pool: the reserve's run begins", reserved_.first);
  state.add("pool: the reserve's run", reserved_.count);
  for (std::uint64_t length = 0; length < runs_.size(); ++length) {
    if (runs_[length] != 0) state.add("pool: runs of " + std::to_string(length), runs_[length]);
  }
  std::uint64_t first_free = 0;
  while (first_free < free_bits_.size() && free_bits_[first_free] == 0) ++first_free;
  // This hint must not lie above the first free slab.
  state.add("pool: the first free slab can be found", first_free_word_ <= first_free ? 1 : 0);
  for (std::uint64_t slab = 0; slab < slabs_; ++slab) {
    const std::uint8_t kind = journal_.slab_class(slab).load(std::memory_order_relaxed);  // relaxed: nothing runs
    const std::string name = "slab " + std::to_string(slab);
    state.add(name + ": is free", free_bits_[slab / kWordBits] >> slab % kWordBits & 1);
    state.add(name + ": kind", kind);
    if (kind == kSlabRunHead || kind == kSlabRunRest) state.add(name + ": owner", owners_[slab]);
  }
}

void SlabPool::raise_generation(std::uint64_t offset) noexcept {
  PageGeneration& generation = generations_[(offset - arena_offset_) / kPageSize];
  // relaxed: pages are shared by shards only through the pool, so one thread at a time raises each
  const std::uint64_t next = generation.load(std::memory_order_relaxed) + 1;
  generation.store(next, std::memory_order_release);    // [generation.raise] release; pairs with [generation.check]
  std::atomic_thread_fence(std::memory_order_release);  // [generation.fence] release; pairs with [generation.check]
}

void SlabPool::raise_generations(std::uint64_t offset, std::uint64_t bytes) noexcept {
  for (std::uint64_t page = offset; page < offset + bytes; page += kPageSize) raise_generation(page);
}

// --- BlockAllocator --------------------------------------------------------------------------------------------------

BlockAllocator::BlockAllocator(SlabPool& pool, LaneStats& stats, std::uint32_t shard)
    : pool_(pool), stats_(stats), shard_(shard) {}

namespace {

// At least doubles the capacity, so that many small steps cost no more than push_back's.
template <typename T>
void make_room(std::vector<T>& list, std::size_t size) {
  if (list.capacity() < size) list.reserve(std::max(size, 2 * list.capacity()));
}

void account(Word& figure, std::int64_t bytes) noexcept {
  // relaxed: one writer; a figure for diagnosis
  const std::uint64_t now = figure.load(std::memory_order_relaxed);
  figure.store(now + static_cast<std::uint64_t>(bytes), std::memory_order_relaxed);
}

}  // namespace

BlockAllocator::Slab* BlockAllocator::new_slab(unsigned block_class) {
  const std::uint64_t number = pool_.allocate(1, kind_of_class(block_class), shard_);
  if (number == SlabPool::kNone) return nullptr;
  if (block_class >= kSizeClasses) {
    // It may have held entries: versions begin at 0 again. Nothing leads here, and allocate() has fenced.
    Word* words = pool_.words(number);
    for (std::uint64_t word = 0; word < kSlabBytes / sizeof(Word); ++word) {
      words[word].store(0, std::memory_order_relaxed);  // relaxed: published with the link that leads here
    }
  }
  try {
    Slab* slab = add_slab(number, block_class);
    list(*slab);
    return slab;
  } catch (const std::bad_alloc&) {
    pool_.release(number, 1);
    return nullptr;
  }
}

// A slab with all its blocks free, not listed. All or nothing.
BlockAllocator::Slab* BlockAllocator::add_slab(std::uint64_t number, unsigned block_class) {
  auto slab = std::make_unique<Slab>();
  slab->number = number;
  slab->block_class = block_class;
  slab->blocks = static_cast<unsigned>(kSlabBytes / block_size(block_class));
  slab->used = 0;
  slab->hint = 0;
  slab->place = kNotListed;
  slab->free_bits.assign((slab->blocks + kWordBits - 1) / kWordBits, ~std::uint64_t{0});
  if (slab->blocks % kWordBits != 0) slab->free_bits.back() = (std::uint64_t{1} << slab->blocks % kWordBits) - 1;
  if (number >= slabs_.size()) slabs_.resize(number + number / 2 + 1);
  make_room(partial_[block_class], owned_[block_class] + 1);
  ++owned_[block_class];
  free_blocks_[block_class] += slab->blocks;
  if (block_class < kSizeClasses) free_bytes_ += slab->blocks * block_size(block_class);
  Slab* raw = slab.get();
  slabs_[number] = std::move(slab);
  return raw;
}

void BlockAllocator::remove_slab(std::uint64_t number) noexcept {
  const Slab& slab = *slabs_[number];
  --owned_[slab.block_class];
  free_blocks_[slab.block_class] -= slab.blocks - slab.used;
  if (slab.block_class < kSizeClasses) free_bytes_ -= (slab.blocks - slab.used) * block_size(slab.block_class);
  slabs_[number].reset();
}

// Returns an empty slab, not listed, to the pool.
void BlockAllocator::discard(Slab& slab) noexcept {
  if (slab.block_class >= kSizeClasses) pool_.turn();
  pool_.release(slab.number, 1);
  remove_slab(slab.number);
}

void BlockAllocator::rebuild(const ArenaCensus& census) {
  for (auto& list : partial_) list.clear();
  slabs_.clear();
  std::fill(std::begin(owned_), std::end(owned_), 0);
  std::fill(std::begin(free_blocks_), std::end(free_blocks_), 0);
  free_bytes_ = 0;
  loan_ = {};
  set_evacuated(nullptr, false);
  next_candidate_ = 0;
  std::uint64_t entry_bytes = 0;
  std::uint64_t overflow_bytes = 0;
  for (std::uint64_t number = 0; number < census.slabs(); ++number) {
    const std::uint32_t owner = census.owner(number);
    const std::uint64_t* used = census.used(number);
    const auto kind = static_cast<SlabKind>(census.kind(number));
    if (owner != shard_) continue;
    if (kind == kSlabRunHead || kind == kSlabRunRest) entry_bytes += kSlabBytes;
    if (kind < kSlabFirstClass && !holds_overflow(kind)) continue;
    Slab& slab = *add_slab(number, class_of_kind(kind));
    for (std::size_t word = 0; word < slab.free_bits.size(); ++word) {
      slab.free_bits[word] &= ~used[word];
      slab.used += static_cast<unsigned>(std::popcount(used[word]));
    }
    free_blocks_[slab.block_class] -= slab.used;
    if (slab.block_class < kSizeClasses) free_bytes_ -= slab.used * block_size(slab.block_class);
    if (slab.used < slab.blocks) list(slab);
    (slab.block_class < kSizeClasses ? entry_bytes : overflow_bytes) += slab.used * block_size(slab.block_class);
  }
  // relaxed, both: figures for diagnosis, and nothing runs yet
  stats_.entry_bytes.store(entry_bytes, std::memory_order_relaxed);
  stats_.overflow_bytes.store(overflow_bytes, std::memory_order_relaxed);
}

void BlockAllocator::report(ArenaCensus& census) const {
  for (const std::unique_ptr<Slab>& slab : slabs_) {
    if (slab == nullptr || slab->used == 0) continue;
    const std::span<std::uint64_t> used = census.note(slab->number, shard_);
    for (std::size_t word = 0; word < slab->free_bits.size(); ++word) used[word] = ~slab->free_bits[word];
    if (slab->blocks % kWordBits != 0) used.back() &= (std::uint64_t{1} << slab->blocks % kWordBits) - 1;
  }
}

void BlockAllocator::describe(WriterState& state) const {
  const std::string shard = "shard " + std::to_string(shard_) + ": ";
  for (unsigned block_class = 0; block_class < kBlockClasses; ++block_class) {
    const std::string name = shard + (block_class < kSizeClasses ? "class of " : "overflow buckets of ") +
                             std::to_string(block_size(block_class)) + " bytes: ";
    state.add(name + "slabs", owned_[block_class]);
    state.add(name + "slabs with a free block", partial_[block_class].size());
    state.add(name + "free blocks", free_blocks_[block_class]);
  }
  state.add(shard + "free bytes in slabs", free_bytes_);
  state.add(shard + "a slab is being emptied", evacuated_ != nullptr ? 1 : 0);
  for (const std::unique_ptr<Slab>& slab : slabs_) {
    if (slab == nullptr) continue;
    const std::string name = shard + "slab " + std::to_string(slab->number) + ": ";
    state.add(name + "used blocks", slab->used);
    for (const std::uint64_t word : slab->free_bits) state.add(name + "free blocks", word);
  }
  // relaxed, both: nothing runs
  state.add(shard + "entry_bytes", stats_.entry_bytes.load(std::memory_order_relaxed));
  state.add(shard + "overflow_bytes", stats_.overflow_bytes.load(std::memory_order_relaxed));
}

void BlockAllocator::list(Slab& slab) noexcept {
  std::vector<Slab*>& partial = partial_[slab.block_class];
  slab.place = static_cast<unsigned>(partial.size());
  partial.push_back(&slab);
}

void BlockAllocator::unlist(Slab& slab) noexcept {
  std::vector<Slab*>& partial = partial_[slab.block_class];
  partial[slab.place] = partial.back();
  partial[slab.place]->place = slab.place;
  partial.pop_back();
  slab.place = kNotListed;
}

std::uint64_t BlockAllocator::allocate(std::uint64_t bytes) {
  if (bytes > kLargestBlock) {
    const std::uint64_t count = round_up(bytes, kSlabBytes) / kSlabBytes;
    const std::uint64_t first = pool_.allocate(count, kSlabRunHead, shard_);
    run_is_coming_ = first == SlabPool::kLater;
    if (first == SlabPool::kNone || run_is_coming_) return 0;
    account(stats_.entry_bytes, static_cast<std::int64_t>(count * kSlabBytes));
    return pool_.slab_offset(first);
  }
  const unsigned wanted = size_class(bytes);
  const bool another = partial_[wanted].empty();
  Slab* slab = another ? new_slab(wanted) : partial_[wanted].back();
  if (slab == nullptr) return 0;
  const std::uint64_t offset = take_block(*slab);
  if (another) consider_evacuation();
  return offset;
}

// Requires a slab with a free block.
std::uint64_t BlockAllocator::take_block(Slab& slab) noexcept {
  unsigned word = slab.hint;
  while (slab.free_bits[word] == 0) word = word + 1 == slab.free_bits.size() ? 0 : word + 1;
  const unsigned bit = static_cast<unsigned>(std::countr_zero(slab.free_bits[word]));
  slab.free_bits[word] &= slab.free_bits[word] - 1;
  slab.hint = word;
  if (++slab.used == slab.blocks && slab.place != kNotListed) unlist(slab);
  const std::uint64_t size = block_size(slab.block_class);
  --free_blocks_[slab.block_class];
  const std::uint64_t offset = pool_.slab_offset(slab.number) + (word * kWordBits + bit) * size;
  if (slab.block_class >= kSizeClasses) {
    account(stats_.overflow_bytes, static_cast<std::int64_t>(size));
    return offset;
  }
  free_bytes_ -= size;
  pool_.raise_generation(offset);
  account(stats_.entry_bytes, static_cast<std::int64_t>(size));
  return offset;
}

void BlockAllocator::release(std::uint64_t offset, std::uint64_t bytes) noexcept {
  const std::uint64_t number = pool_.slab_of(offset);
  if (bytes > kLargestBlock) {
    const std::uint64_t count = round_up(bytes, kSlabBytes) / kSlabBytes;
    account(stats_.entry_bytes, -static_cast<std::int64_t>(count * kSlabBytes));
    if (borrows(offset)) {
      pool_.return_unused_run(number, count);
      if (loan_.old_count != 0) pool_.release(loan_.old, loan_.old_count);
      forget_loan();
    } else if (loan_.old_count == 0 || number != loan_.old) {
      pool_.release(number, count);
    }  // else it becomes the reserve, or its key's place again: that is settled later
    return;
  }
  Slab& slab = *slabs_[number];
  const std::uint64_t size = block_size(slab.block_class);
  free_bytes_ += size;
  account(stats_.entry_bytes, -static_cast<std::int64_t>(size));
  release_block(slab, offset);
}

void BlockAllocator::release_block(Slab& slab, std::uint64_t offset) noexcept {
  const auto block = static_cast<unsigned>((offset - pool_.slab_offset(slab.number)) / block_size(slab.block_class));
  slab.free_bits[block / kWordBits] |= std::uint64_t{1} << block % kWordBits;
  slab.hint = block / kWordBits;
  ++free_blocks_[slab.block_class];
  if (slab.used-- == slab.blocks && &slab != evacuated_) list(slab);
  // One empty slab per class is kept, so that a key that is added and removed repeatedly does not move slabs back and forth;
  // but not while another class or shard may be refused for lack of it.
  if (slab.used != 0 || slab.place == kNotListed) return;
  if (partial_[slab.block_class].size() == 1 && !pool_.is_short()) {
    keeps_empty_ = true;
    return;
  }
  unlist(slab);
  discard(slab);
}

void BlockAllocator::trim() noexcept {
  keeps_empty_ = false;
  for (std::vector<Slab*>& partial : partial_) {
    for (std::size_t i = partial.size(); i-- > 0;) {
      Slab& slab = *partial[i];
      if (slab.used != 0) continue;
      unlist(slab);  // the last of the list takes its place, and was examined
      discard(slab);
    }
  }
}

// --- Blocks from the reserve

std::uint64_t BlockAllocator::allocate_reserved(std::uint64_t old, std::uint64_t old_bytes, std::uint64_t bytes) {
  if (bytes > room_at(old, old_bytes)) return 0;
  if (bytes > kLargestBlock) {
    const std::uint64_t count = round_up(bytes, kSlabBytes) / kSlabBytes;
    // One slab needs no loan: the old one takes its place in the reserve.
    const std::uint64_t first =
        count == 1 ? pool_.allocate_reserved(kSlabRunHead, shard_) : pool_.borrow_run(count, shard_);
    run_is_coming_ = first == SlabPool::kLater;
    if (first == SlabPool::kNone || run_is_coming_) return 0;
    if (count > 1) loan_ = {.first = first, .count = count};
    account(stats_.entry_bytes, static_cast<std::int64_t>(count * kSlabBytes));
    return pool_.slab_offset(first);
  }
  const unsigned wanted = size_class(bytes);
  if (evacuated_ != nullptr) {  // it can be emptied later
    Slab& other = *evacuated_;
    set_evacuated(nullptr, false);
    if (other.used == 0) {
      discard(other);
    } else if (other.used < other.blocks) {
      list(other);
    }
  }
  const std::uint64_t number = pool_.allocate_reserved(static_cast<SlabKind>(kSlabFirstClass + wanted), shard_);
  if (number == SlabPool::kNone) return 0;
  try {
    set_evacuated(add_slab(number, wanted), true);
  } catch (const std::bad_alloc&) {
    pool_.release(number, 1);
    return 0;
  }
  return take_block(*evacuated_);
}

std::uint64_t BlockAllocator::allocate_elsewhere(std::uint64_t bytes) {
  if (const std::uint64_t offset = allocate(bytes); offset != 0 || !into_larger_) return offset;
  return allocate_in_larger(bytes);
}

std::uint64_t BlockAllocator::allocate_in_larger(std::uint64_t bytes) noexcept {
  if (bytes > kLargestBlock) return 0;
  for (unsigned larger = size_class(bytes) + 1; larger < kSizeClasses; ++larger) {
    if (!partial_[larger].empty()) return take_block(*partial_[larger].back());
  }
  return 0;
}

void BlockAllocator::replaces(std::uint64_t old, std::uint64_t old_bytes) noexcept {
  loan_.old = pool_.slab_of(old);
  loan_.old_count = round_up(old_bytes, kSlabBytes) / kSlabBytes;
  unsettled_ = true;
}

std::uint64_t BlockAllocator::settle_run() noexcept {
  if (!loan_.moves && pool_.exchange_run(loan_.first, loan_.count, loan_.old, loan_.old_count)) {
    forget_loan();
    return 0;
  }
  if (!std::exchange(loan_.moves, true)) {
    pool_.raise_generations(pool_.slab_offset(loan_.old), loan_.count * kSlabBytes);
    unsettled_ = evacuating();
  }
  return pool_.slab_offset(loan_.old);
}

void BlockAllocator::end_loan() noexcept {
  pool_.return_run(loan_.first, loan_.count, loan_.old, loan_.old_count);
  forget_loan();
}

void BlockAllocator::forget_loan() noexcept {
  loan_ = {};
  unsettled_ = evacuating();
}

// --- Emptying slabs

void BlockAllocator::set_evacuated(Slab* slab, bool into_larger) noexcept {
  evacuated_ = slab;
  into_larger_ = into_larger;
  next_block_ = 0;
  unsettled_ = slab != nullptr || (must_settle_run() && !loan_.moves);
}

std::uint64_t BlockAllocator::slabs_to_empty() const noexcept {
  std::uint64_t slabs = 0;
  for (unsigned size_class = 0; size_class < kSizeClasses; ++size_class) {
    slabs += free_blocks_[size_class] / blocks_of(static_cast<std::uint8_t>(kSlabFirstClass + size_class));
  }
  return slabs;
}

// A slab of the reserve that a kill has left with an entry in it: the block to which this was to move may be a larger one.
BlockAllocator::Slab* BlockAllocator::slab_in_reserve() noexcept {
  bool larger = false;  // is there a free block of a larger class?
  for (unsigned size_class = kSizeClasses; size_class-- > 0;) {
    for (Slab* slab : partial_[size_class]) {
      if (slab->used == 1 && (larger || free_blocks_[size_class] > slab->blocks - slab->used)) return slab;
    }
    larger = larger || free_blocks_[size_class] != 0;
  }
  return nullptr;
}

// The class with most free bytes among those whose free blocks are at least a slab's: when any of its slabs is emptied, the
// others have room. kSizeClasses: there is none.
unsigned BlockAllocator::sparsest_class() const noexcept {
  unsigned sparsest = kSizeClasses;
  std::uint64_t most = 0;
  for (unsigned size_class = 0; size_class < kSizeClasses; ++size_class) {
    const std::uint64_t free = free_blocks_[size_class] * class_bytes(size_class);
    if (free <= most || free_blocks_[size_class] < blocks_of(static_cast<std::uint8_t>(kSlabFirstClass + size_class)))
      continue;
    sparsest = size_class;
    most = free;
  }
  return sparsest;
}

// A sparse one, or else the next one in the arena.
bool BlockAllocator::begin_emptying_any() noexcept {
  constexpr std::size_t kMostLooks = 32;
  const auto by_holes = [this](unsigned one, unsigned other) {
    return std::pair(free_blocks_[one] * class_bytes(one), owned_[one]) <
           std::pair(free_blocks_[other] * class_bytes(other), owned_[other]);
  };
  unsigned chosen_class = 0;
  for (unsigned size_class = 1; size_class < kSizeClasses; ++size_class) {
    if (by_holes(chosen_class, size_class)) chosen_class = size_class;
  }
  if (owned_[chosen_class] == 0) return false;
  const std::vector<Slab*>& partial = partial_[chosen_class];
  Slab* chosen = nullptr;
  for (std::size_t look = 0; look < std::min(kMostLooks, partial.size()); ++look) {
    Slab* slab = partial[next_candidate_++ % partial.size()];
    if (chosen == nullptr || slab->used < chosen->used) chosen = slab;
  }
  if (chosen != nullptr) {
    unlist(*chosen);
  } else {
    while (chosen == nullptr) {
      next_full_ = next_full_ + 1 < slabs_.size() ? next_full_ + 1 : 0;
      Slab* const slab = slabs_[next_full_].get();
      if (slab != nullptr && slab->block_class == chosen_class) chosen = slab;
    }
  }
  set_evacuated(chosen, false);
  return true;
}

void BlockAllocator::begin_emptying(std::uint64_t number) noexcept {
  Slab& slab = *slabs_[number];
  if (slab.place != kNotListed) unlist(slab);
  set_evacuated(&slab, false);
}

std::uint64_t BlockAllocator::allocate_in_hole(std::uint64_t bytes) noexcept {
  if (bytes > kLargestBlock || !has_room(bytes)) return 0;
  return take_block(*partial_[size_class(bytes)].back());
}

// Holes are filled again by entries of their size. But when sizes change they stay, and the table would grow forever.
void BlockAllocator::consider_evacuation() noexcept {
  constexpr std::uint64_t kToleratedPart = 16;  // of the used bytes
  // Free slabs elsewhere: more than is populated ahead, or the table would grow before a slab is emptied.
  constexpr std::uint64_t kEnough = kHugePageSize * 3 / 2;
  if (evacuated_ != nullptr || pool_.free_bytes() > kEnough) return;
  // relaxed: this thread wrote it last
  if (free_bytes_ > stats_.entry_bytes.load(std::memory_order_relaxed) / kToleratedPart) begin_evacuation();
}

bool BlockAllocator::begin_evacuation() {
  constexpr std::size_t kMostLooks = 32;  // a class may have thousands of slabs, and each access is a cache miss
  const unsigned size_class = sparsest_class();
  if (size_class == kSizeClasses) {
    Slab* const left = pool_.reserve_is_short() ? slab_in_reserve() : nullptr;
    if (left == nullptr) return false;
    unlist(*left);
    set_evacuated(left, true);
    return true;
  }
  const std::vector<Slab*>& partial = partial_[size_class];
  Slab* sparsest = nullptr;
  for (std::size_t look = 0; look < std::min(kMostLooks, partial.size()); ++look) {
    Slab* slab = partial[next_candidate_++ % partial.size()];
    if (sparsest == nullptr || slab->used < sparsest->used) sparsest = slab;
  }
  unlist(*sparsest);
  set_evacuated(sparsest, false);
  return true;
}

std::uint64_t BlockAllocator::next_to_evacuate() noexcept {
  for (; next_block_ < evacuated_->blocks; ++next_block_) {
    if ((evacuated_->free_bits[next_block_ / kWordBits] >> next_block_ % kWordBits & 1) != 0) continue;
    return pool_.slab_offset(evacuated_->number) + next_block_++ * block_size(evacuated_->block_class);
  }
  return 0;
}

bool BlockAllocator::end_evacuation(bool begins_another) noexcept {
  Slab& slab = *evacuated_;
  set_evacuated(nullptr, false);
  const bool emptied = slab.used == 0;
  if (emptied) {
    discard(slab);
  } else if (slab.used < slab.blocks) {
    list(slab);
  }
  if (begins_another) consider_evacuation();
  return emptied;
}

std::uint64_t BlockAllocator::allocate_overflow(SlabKind kind) {
  const unsigned block_class = class_of_kind(kind);
  Slab* slab = partial_[block_class].empty() ? new_slab(block_class) : partial_[block_class].back();
  return slab == nullptr ? 0 : take_block(*slab);
}

void BlockAllocator::release_overflow(SlabKind kind, std::uint64_t offset) noexcept {
  account(stats_.overflow_bytes, -static_cast<std::int64_t>(overflow_size(kind)));
  release_block(*slabs_[pool_.slab_of(offset)], offset);
}

}  // namespace hostmap
