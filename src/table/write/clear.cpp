// Clear: the whole table is emptied by one store.
//
// Every bucket stores the fill (its low 8 bits) to which it belongs; a bucket of another fill counts as empty, for readers and
// writers alike. One more in the change word therefore empties all of them at one moment. Their memory is reclaimed in bounded
// steps: when a request touches a stale bucket, when a split does, or by the sweep after each request and while the worker is
// idle.
//
//   reset of a pair bucket       header = {version + 1, fill, no places, no overflow}: one store
//   reset of an entry bucket     its cells = 0; header = {version + 1, fill}; then its entries are free
//
// A kill in between leaves a stale bucket, which is reset again.
#include "layout/table.hpp"
#include "table/write/writer.hpp"

namespace hostmap {

namespace {

constexpr auto kRelaxed = std::memory_order_relaxed;  // relaxed: as in writer.cpp, one writer

}  // namespace

bool ShardWriter::is_stale(const Word& header) const noexcept { return !is_of_fill(header.load(kRelaxed), fill_); }

void ShardWriter::clear() noexcept {
  const std::uint64_t next = fill_of(header_.change.load(kRelaxed) + 1);
  intent_.seal({IntentKind::kFill, 0, next});
  // An addition, as other lanes turn the same word.
  header_.change.fetch_add(1, std::memory_order_release);  // [fill.clear] release; pairs with [change.read]
  begin_sweep(next);
}

bool ShardWriter::may_clear() const noexcept {
  const std::uint64_t next = header_.change.load(kRelaxed) + 1;
  for (std::uint32_t i = 0; i < header_.shard_count; ++i) {
    // [fill.may-clear] acquire; pairs with [fill.swept]
    const std::uint64_t swept = header_.lane_stats[i].swept_fill.load(std::memory_order_acquire);
    if (fill_of(next - swept) > kMostFillsBehind) return false;
  }
  return true;
}

// From here on the counts of keys are of the new fill. A sum of the counts skips lanes that have not noticed the clear yet.
void ShardWriter::begin_sweep(std::uint64_t fill) noexcept {
  end_twin(pairs_);
  end_twin(entries_);
  fill_ = fill;
  swept_ = pairs_.swept = entries_.swept = false;
  pairs_.swept_fraction = entries_.swept_fraction = 0;
  pairs_.swept_bucket = entries_.swept_bucket = 0;
  resize_due_ = true;
  stats_.pair_keys.store(0, kRelaxed);
  stats_.entry_keys.store(0, kRelaxed);
  stats_.expiring.store(0, kRelaxed);
  hand_ = {};
  rests_ = false;
  wait_groups_.all_changed();
  stats_.fill.store(fill, std::memory_order_release);  // [fill.noticed] release; pairs with [fill.counts]
}

// In the order of fractions: a split or merge in between omits no bucket, as both reset the stale buckets that they copy.
template <typename Bucket>
unsigned ShardWriter::sweep(Form<Bucket>& form, unsigned buckets) noexcept {
  for (; buckets > 0 && !form.swept; --buckets) {
    fresh(bucket_of<Bucket>(form.directory.segment(form.swept_fraction), form.swept_bucket));
    if (++form.swept_bucket < kSegmentBuckets<Bucket>) continue;
    form.swept_bucket = 0;
    form.swept_fraction = form.directory.last_of(form.swept_fraction) + 1;
    form.swept = form.swept_fraction == 0;
  }
  return buckets;
}

bool ShardWriter::sweep(unsigned buckets) noexcept {
  if (swept_) return false;
  sweep(entries_, sweep(pairs_, buckets));
  if (pairs_.swept && entries_.swept) {
    swept_ = true;
    rest_if_idle();
    lowered_ = false;
    // [fill.swept] release; pairs with [fill.may-clear]: every bucket is of this fill
    stats_.swept_fill.store(fill_, std::memory_order_release);
  }
  return true;
}

void ShardWriter::reset(PairBucket& primary) noexcept {
  const std::uint64_t header = primary.header.load(kRelaxed);
  PairBucket* overflow = pair_next(primary);
  // [clear.pairs] release; pairs with [pair.header]
  primary.header.store((header_version(header) + 1) << kVersionShift | fill_bits(), std::memory_order_release);
  release_pair_overflow(overflow);
}

void ShardWriter::reset(EntryBucket& primary) noexcept {
  std::uint64_t cells[kPlaces];
  for (unsigned i = 0; i < kPlaces; ++i) {
    cells[i] = primary.cells[i].load(kRelaxed);
    primary.cells[i].store(0, std::memory_order_release);  // [clear.cells] release; pairs with [cell.load]
  }
  const std::uint64_t version = header_version(primary.header.load(kRelaxed)) + 1;
  // [clear.entries] release; pairs with [cell.check]
  primary.header.store(version << kVersionShift | fill_bits(), std::memory_order_release);
  for (;;) {
    std::uint64_t overflow = 0;
    for (const std::uint64_t cell : cells) {
      if (cell == 0) continue;
      if (is_link(cell)) {
        overflow = cell_offset(cell);
      } else {
        blocks_.release(cell_offset(cell), entry_size(cell));
      }
    }
    if (overflow == 0) return;
    const auto& bucket = *table_.at<EntryBucket>(overflow);
    for (unsigned i = 0; i < kPlaces; ++i) cells[i] = bucket.cells[i].load(kRelaxed);
    blocks_.release_overflow(kSlabEntryOverflow, overflow);
  }
}

}  // namespace hostmap
