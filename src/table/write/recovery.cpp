// Restart from the table that a dead server left. It may have been killed between any two stores, and so may this one.
//
//   begin_restart     Table: a turn of the change word, before anything else; a reader that has read a chain which the dead
//                     server was changing then fails its validation
//   settle            the record shows whether its request is in the table; an interrupted move between the forms is
//                     undone or completed
//   complete_resize   resize.cpp: a split or merge is completed
//   survey, rebuild   everything that is reachable is used, the rest of the arena is free
//
// Readers continue all the time. docs/internals/concurrency.md, "Restart", shows that this is correct; the models exactly_once,
// pairs, entries and forms simulate the kills.
#include <algorithm>
#include <bit>
#include <span>

#include "layout/journal.hpp"
#include "layout/table.hpp"
#include "table/memory/census.hpp"
#include "table/memory/parts.hpp"
#include "table/write/writer.hpp"

namespace hostmap {

namespace {

constexpr auto kRelaxed = std::memory_order_relaxed;  // relaxed: as in writer.cpp, one writer

// Prefetch distance for buckets whose overflow buckets are read: enough to hide the latency of memory.
constexpr std::uint64_t kAhead = 16;
constexpr std::uint64_t kSegmentsWorthAThread = 200;

}  // namespace

bool ShardWriter::lies_within(std::uint64_t offset, std::uint64_t size) const noexcept {
  return offset % 8 == 0 && offset >= sizeof(TableHeader) && offset < table_.bytes() && size <= table_.bytes() - offset;
}

bool ShardWriter::plausible() noexcept {
  const TablePlan plan = plan_table(header_.max_memory, header_.shard_count);
  const std::uint64_t populated = header_.arena_populated.load(kRelaxed);
  const auto fits = [&](Directory& directory, const GrowingArea& words) {
    return words.populated() <= words.max_bytes() && directory.read(plan.arena_offset, populated, plan.most_depth);
  };
  return fits(pairs_.directory, pairs_.words) && fits(entries_.directory, entries_.words);
}

std::vector<std::pair<std::uint64_t, SlabKind>> ShardWriter::segments() const {
  std::vector<std::pair<std::uint64_t, SlabKind>> all;
  for (const std::uint64_t segment : pairs_.directory.all()) all.emplace_back(segment, kSlabPairBuckets);
  for (const std::uint64_t segment : entries_.directory.all()) all.emplace_back(segment, kSlabEntryBuckets);
  return all;
}

// Do a chain's links, and for entries the keys, lie where they can be read? survey() reports damage; until then it must only
// cause no fault.
bool ShardWriter::may_be_walked(const PairBucket& primary) const noexcept {
  const PairBucket* bucket = &primary;
  for (unsigned length = 1; (bucket->header.load(kRelaxed) & kOverflowBit) != 0; ++length) {
    const std::uint64_t link = bucket->link.load(kRelaxed) & kOffsetMask;
    if (length == kMaxChain || !lies_within(link, sizeof(PairBucket))) return false;
    bucket = table_.at<PairBucket>(link);
  }
  return true;
}

bool ShardWriter::may_be_walked(const EntryBucket& primary) const noexcept {
  const EntryBucket* bucket = &primary;
  for (unsigned length = 1; bucket != nullptr; ++length) {
    if (length > kMaxChain) return false;
    const EntryBucket* next = nullptr;
    for (const Word& cell : bucket->cells) {
      const std::uint64_t word = cell.load(kRelaxed);
      if (word == 0) continue;
      const std::uint64_t offset = cell_offset(word);
      if (is_link(word)) {
        if (!lies_within(offset, sizeof(EntryBucket))) return false;
        next = table_.at<EntryBucket>(offset);
      } else if (!lies_within(offset, kEntryMetaBytes) ||
                 !lies_within(offset, kEntryMetaBytes + meta_key_bytes(table_.at<Word>(offset)->load(kRelaxed)))) {
        return false;
      }
    }
    bucket = next;
  }
  return true;
}

// An interrupted move between the forms has left an entry that must not be found: empties its cell, if that is unchanged.
void ShardWriter::unlink_cell(std::uint64_t cell, std::uint64_t word) noexcept {
  if (!lies_within(cell, sizeof(Word)) || !lies_within(cell_offset(word), kEntryMetaBytes + 8)) return;
  Word& place = *table_.at<Word>(cell);
  if (place.load(kRelaxed) != word) return;
  swing_cell(entry_home(hashed({entry_payload(cell_offset(word)), sizeof(std::uint64_t)})), place, 0);
}

ShardWriter::Settled ShardWriter::settle(const Intent& intent) noexcept {
  const std::uint64_t place = intent.place.load(kRelaxed);
  const auto bit_is_on = [&] {
    constexpr std::uint64_t kBit = sizeof(PairBucket::header) - 1;
    const std::uint64_t bucket = place & ~kBit;
    return lies_within(bucket, sizeof(PairBucket)) && bucket % alignof(PairBucket) == 0 &&
           (table_.at<PairBucket>(bucket)->header.load(kRelaxed) >> (place & kBit) & 1) != 0;
  };
  bool applied = false;
  switch (static_cast<IntentKind>(intent.kind.load(kRelaxed))) {
    case IntentKind::kOpen:
      break;
    case IntentKind::kAnswer:
      return Settled::kAnswerShows;
    case IntentKind::kValue:
    case IntentKind::kCell:
      applied =
          lies_within(place, sizeof(Word)) && table_.at<Word>(place)->load(kRelaxed) == intent.new_word.load(kRelaxed);
      break;
    case IntentKind::kFill:
      applied = fill_of(header_.change.load(kRelaxed)) == intent.new_word.load(kRelaxed);
      break;
    case IntentKind::kPairInsert:
      applied = bit_is_on();
      break;
    case IntentKind::kPairErase:
      applied = !bit_is_on();
      break;
    case IntentKind::kMoveToEntry:
      applied = !bit_is_on();
      if (!applied) unlink_cell(intent.move_cell.load(kRelaxed), intent.move_word.load(kRelaxed));
      break;
    case IntentKind::kMoveToPair:
      applied = bit_is_on();
      if (applied) unlink_cell(intent.move_cell.load(kRelaxed), intent.move_word.load(kRelaxed));
      break;
  }
  return applied ? Settled::kApplied : Settled::kNothing;
}

std::uint64_t ShardWriter::survey(ArenaCensus& census) {
  fill_ = fill_of(header_.change.load(kRelaxed));
  const std::uint64_t dropped = survey_pairs(census) + survey_entries(census);
  stats_.fill.store(fill_, kRelaxed);  // the counts are of this fill
  return dropped;
}

std::uint64_t ShardWriter::survey_pairs(ArenaCensus& census) {
  const std::vector<std::uint64_t> segments = pairs_.directory.all();
  for (const std::uint64_t segment : segments) census.count_segment(number(), kSlabPairBuckets, segment);
  const auto parts = do_in_parts<PairSurvey>(
      segments.size(), kSegmentsWorthAThread, [&](std::uint64_t first, std::uint64_t last, PairSurvey& found) {
        survey_pairs(census, std::span(segments).subspan(first, last - first), found);
      });
  std::uint64_t keys = 0;
  std::uint64_t dropped = 0;
  for (const PairSurvey& part : parts) {
    keys += part.keys;
    dropped += part.dropped;
  }
  stats_.pair_keys.store(keys, kRelaxed);
  return dropped;
}

// Changes only chains of these segments: a bucket to which two chains lead belongs to the one that has counted it.
void ShardWriter::survey_pairs(ArenaCensus& census, std::span<const std::uint64_t> segments, PairSurvey& found) {
  constexpr std::uint64_t kBuckets = kSegmentBuckets<PairBucket>;
  const std::uint64_t buckets = segments.size() * kBuckets;
  const auto bucket_at = [&](std::uint64_t i) { return bucket_of<PairBucket>(segments[i / kBuckets], i % kBuckets); };
  std::uint64_t keys = 0;
  for (std::uint64_t i = 0; i < buckets; ++i) {
    // The line of a header, then the line of its link if there is one, then where that leads.
    if (i + 3 * kAhead < buckets) __builtin_prefetch(&bucket_at(i + 3 * kAhead)->header);
    if (i + 2 * kAhead < buckets) {
      const PairBucket& later = *bucket_at(i + 2 * kAhead);
      if ((later.header.load(kRelaxed) & kOverflowBit) != 0) __builtin_prefetch(&later.link);
    }
    if (i + kAhead < buckets) {
      const PairBucket& soon = *bucket_at(i + kAhead);
      if ((soon.header.load(kRelaxed) & kOverflowBit) != 0) {
        const std::uint64_t link = soon.link.load(kRelaxed) & kOffsetMask;
        if (census.may_be_entry(link)) __builtin_prefetch(table_.at<std::byte>(link));
      }
    }
    PairBucket* const primary = bucket_at(i);
    PairBucket* bucket = primary;
    std::uint64_t header = bucket->header.load(kRelaxed);
    const bool live = is_of_fill(header, fill_);  // a cleared chain's buckets are used until it is reset
    for (unsigned length = 1;; ++length) {
      if (live) keys += static_cast<unsigned>(std::popcount(header & kOccupiedMask));
      if ((header & kOverflowBit) == 0) break;
      const std::uint64_t link = bucket->link.load(kRelaxed) & kOffsetMask;
      if (length == kMaxChain || !census.count_overflow(number(), kSlabPairOverflow, link)) {
        // [recovery.drop] release; pairs with [pair.header]
        bucket->header.store((header & ~kOverflowBit) + kVersionStep, std::memory_order_release);
        ++found.dropped;
        break;
      }
      end_gathering(*primary, *bucket);
      bucket = table_.at<PairBucket>(link);
      header = bucket->header.load(kRelaxed);
    }
  }
  found.keys = keys;
}

std::uint64_t ShardWriter::survey_entries(ArenaCensus& census) {
  const std::vector<std::uint64_t> segments = entries_.directory.all();
  for (const std::uint64_t segment : segments) census.count_segment(number(), kSlabEntryBuckets, segment);
  const auto parts = do_in_parts<EntrySurvey>(
      segments.size(), kSegmentsWorthAThread, [&](std::uint64_t first, std::uint64_t last, EntrySurvey& found) {
        survey_entries(census, std::span(segments).subspan(first, last - first), found);
      });
  std::uint64_t keys = 0;
  std::uint64_t ends = 0;
  std::uint64_t dropped = 0;
  for (const EntrySurvey& part : parts) {
    keys += part.keys;
    ends += part.ends;
    dropped += part.nowhere.size();
    for (const auto& [primary, cell] : part.nowhere) swing_cell(primary, *cell, 0);
  }
  stats_.entry_keys.store(keys, kRelaxed);
  stats_.expiring.store(ends, kRelaxed);
  return dropped;
}

void ShardWriter::survey_entries(ArenaCensus& census, std::span<const std::uint64_t> segments,
                                 EntrySurvey& found) const {
  const std::uint64_t buckets = segments.size() * kSegmentBuckets<EntryBucket>;
  const auto bucket_at = [&](std::uint64_t i) {
    return bucket_of<EntryBucket>(segments[i / kSegmentBuckets<EntryBucket>], i % kSegmentBuckets<EntryBucket>);
  };
  for (std::uint64_t i = 0; i < buckets; ++i) {
    if (i + kAhead < buckets) {
      const std::uint64_t word = bucket_at(i + kAhead)->cells[kPlaces - 1].load(kRelaxed);
      if (is_link(word) && census.may_be_entry(cell_offset(word))) {
        __builtin_prefetch(table_.at<std::byte>(cell_offset(word)));
      }
    }
    EntryBucket* primary = bucket_at(i);
    const bool live = !is_stale(primary->header);  // a cleared chain's entries are used until it is reset
    unsigned length = 1;
    for (EntryBucket* bucket = primary; bucket != nullptr;) {
      EntryBucket* next = nullptr;
      for (unsigned place = 0; place < kPlaces; ++place) {
        Word& cell = bucket->cells[place];
        const std::uint64_t word = cell.load(kRelaxed);
        if (word == 0) continue;
        const std::uint64_t offset = cell_offset(word);
        if (place == kPlaces - 1 && is_link(word)) {
          if (length++ < kMaxChain && census.count_overflow(number(), kSlabEntryOverflow, offset)) {
            next = table_.at<EntryBucket>(offset);
            continue;
          }
        } else if (!is_link(word) && is_counted(census, offset)) {
          if (live) ++found.keys;
          if (live && (word & kCellEnds) != 0) ++found.ends;
          continue;
        }
        found.nowhere.emplace_back(primary, &cell);
      }
      bucket = next;
    }
  }
}

bool ShardWriter::is_counted(ArenaCensus& census, std::uint64_t offset) const {
  if (!census.may_be_entry(offset)) return false;
  if (!census.is_run(offset)) return census.count_block(number(), offset);
  const std::uint64_t meta = table_.at<Word>(offset)->load(kRelaxed);
  return census.count_entry(number(), offset, entry_bytes(meta));
}

std::uint64_t ShardWriter::drop_entries(const std::vector<std::uint64_t>& misfits) {
  std::uint64_t dropped = 0;
  const std::vector<std::uint64_t> segments = entries_.directory.all();
  for (std::uint64_t i = 0; i < segments.size() * kSegmentBuckets<EntryBucket>; ++i) {
    EntryBucket* primary =
        bucket_of<EntryBucket>(segments[i / kSegmentBuckets<EntryBucket>], i % kSegmentBuckets<EntryBucket>);
    for (EntryBucket* bucket = primary; bucket != nullptr;) {
      EntryBucket* next = nullptr;
      for (Word& cell : bucket->cells) {
        const std::uint64_t word = cell.load(kRelaxed);
        if (is_link(word)) next = table_.at<EntryBucket>(cell_offset(word));
        if (word == 0 || is_link(word) || !std::binary_search(misfits.begin(), misfits.end(), cell_offset(word)))
          continue;
        const std::uint64_t ends = stats_.expiring.load(kRelaxed);
        swing_cell(primary, cell, 0);
        if (is_stale(primary->header)) {
          stats_.expiring.store(ends, kRelaxed);  // a cleared key was not counted
        } else {
          stats_.entry_keys.store(stats_.entry_keys.load(kRelaxed) - 1, kRelaxed);
        }
        ++dropped;
      }
      bucket = next;
    }
  }
  return dropped;
}

void ShardWriter::rebuild(const ArenaCensus& census) {
  const std::uint64_t fill = fill_of(header_.change.load(kRelaxed));
  // A lane whose last worker had not noticed the last clear: its counts are void.
  if (stats_.fill.load(kRelaxed) != fill) begin_sweep(fill);
  fill_ = fill;
  swept_ = stats_.swept_fill.load(kRelaxed) == fill;
  pairs_.swept = entries_.swept = swept_;
  pairs_.swept_fraction = entries_.swept_fraction = 0;
  pairs_.swept_bucket = entries_.swept_bucket = 0;
  pairs_.segments_stat.store(pairs_.directory.segments(), kRelaxed);
  entries_.segments_stat.store(entries_.directory.segments(), kRelaxed);
  resize_due_ = true;
  // The least end is not known: the hand begins a round.
  hand_ = {};
  if (stats_.expiring.load(kRelaxed) != 0) hand_.least_end = 0;
  rest_if_idle();
  blocks_.rebuild(census);
}

void ShardWriter::report(ArenaCensus& census) const {
  blocks_.report(census);
  for (const auto& [segment, kind] : segments()) census.count_segment(number(), kind, segment);
}

void ShardWriter::describe(WriterState& state) const {
  const std::string shard = "shard " + std::to_string(number()) + ": ";
  state.add(shard + "fill", fill_);
  state.add(shard + "every bucket is swept", swept_ ? 1 : 0);
  state.add(shard + "swept pair buckets", pairs_.swept_fraction + pairs_.swept_bucket);
  state.add(shard + "swept entry buckets", entries_.swept_fraction + entries_.swept_bucket);
  state.add(shard + "growth or shrinking may be due", resize_due_ ? 1 : 0);
  state.add(shard + "a split of pairs is under way", pairs_.twin.to != 0 ? 1 : 0);
  state.add(shard + "a split of entries is under way", entries_.twin.to != 0 ? 1 : 0);
  for (const auto& [segment, kind] : segments()) state.add(shard + "segment of kind " + std::to_string(kind), segment);
  state.add(shard + "pair_keys", stats_.pair_keys.load(kRelaxed));
  state.add(shard + "entry_keys", stats_.entry_keys.load(kRelaxed));
  state.add(shard + "expiring", stats_.expiring.load(kRelaxed));
  state.add(shard + "neither sweep nor hand has work", rests_ ? 1 : 0);
  state.add(shard + "fill of the counts", stats_.fill.load(kRelaxed));
  state.add(shard + "swept_fill", stats_.swept_fill.load(kRelaxed));
  state.add(shard + "pair state", shard_.pair_state.load(kRelaxed));
  state.add(shard + "entry state", shard_.entry_state.load(kRelaxed));
  blocks_.describe(state);
}

}  // namespace hostmap
