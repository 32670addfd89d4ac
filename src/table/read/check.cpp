#include "table/read/check.hpp"

#include <algorithm>
#include <bit>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <thread>

#include "base/ends.hpp"
#include "base/shared_copy.hpp"
#include "layout/table.hpp"
#include "table/read/locate.hpp"

namespace hostmap {

namespace {

// relaxed: racing data that unchanged() validates, or a figure; exceptions are explained at their line
constexpr auto kRelaxed = std::memory_order_relaxed;
constexpr auto kAcquire = std::memory_order_acquire;

// Bits without a meaning yet. Readers of today ignore those of links, headers and state words.
constexpr std::uint64_t kLinkReserved = ~(kOffsetMask | kPairTouchedMask | kLinkGathers);
constexpr std::uint64_t kEntryHeaderReserved = (kVersionStep - 1) & ~kFillMask;
constexpr std::uint64_t kStateReserved = ~(kStateShiftMask | kStateMixed | kStateClosed);

// One attempt takes less than a microsecond; a chain that changed under this many of them, with yields to its writer in
// between, is busy for milliseconds.
constexpr unsigned kAttempts = 1024;
constexpr unsigned kAttemptsPerYield = 32;

// Before suspects are examined again: the first pause is for a writer on another cpu, the last one for a writer that is
// preempted by other threads of its cpu.
constexpr std::chrono::milliseconds kPauses[] = {std::chrono::milliseconds(1), std::chrono::milliseconds(50),
                                                 std::chrono::milliseconds(200)};

}  // namespace

// --- Places and offsets ----------------------------------------------------------------------------------------------

TableCheck::Directory TableCheck::directory_of(Form form, std::uint32_t shard) const noexcept {
  const ShardHeader& words = *reader_.shards_[shard].words;
  // [state.check] acquire; pairs with [segment.depth]
  const std::uint64_t state = (form == Form::kPairs ? words.pair_state : words.entry_state).load(kAcquire);
  // [twin.check] acquire; pairs with [twin.mark]: marked before the split is published
  return {state, (form == Form::kPairs ? words.pair_twin : words.entry_twin).load(kAcquire)};
}

bool TableCheck::depth_is_valid(std::uint64_t state) const noexcept { return state_depth(state) <= most_depth_; }

std::uint64_t TableCheck::segment_at(Form form, std::uint32_t shard, std::uint64_t index) const noexcept {
  const TableReader::Shard& there = reader_.shards_[shard];
  return form == Form::kPairs ? reader_.segment_at<PairBucket>(there, index)
                              : reader_.segment_at<EntryBucket>(there, index);
}

std::uint64_t TableCheck::last_of(const Place& place, std::uint64_t state) const noexcept {
  const std::uint64_t index = directory_index(state, place.fraction);
  return last_fraction(state, place.fraction, segment_at(place.form, place.shard, index),
                       segment_at(place.form, place.shard, index ^ 1));
}

std::uint64_t TableCheck::offset_of(const void* address) const noexcept {
  return static_cast<std::uint64_t>(static_cast<const std::byte*>(address) - reader_.table_);
}

// Whether a key of this hash belongs to the bucket that contains it.
TableCheck::Home TableCheck::home_of(std::uint64_t hash, const Place& place, const Directory& directory,
                                     std::uint64_t segment) const noexcept {
  const Spread spread = spread_over_shards(hash, reader_.shard_count_);
  const std::uint64_t bucket =
      place.form == Form::kPairs ? segment_bucket<PairBucket>(hash) : segment_bucket<EntryBucket>(hash);
  if (spread.shard != place.shard || bucket != place.bucket) return Home::kElsewhere;
  const std::uint64_t index = directory_index(directory.state, spread.fraction);
  if (segment_at(place.form, place.shard, index) == segment) return Home::kHere;
  const bool moved = twin_phase(directory.twin) == kTwinPurge && state_depth(directory.state) > 0 &&
                     segment_at(place.form, place.shard, index ^ 1) == segment;
  return moved ? Home::kMoved : Home::kElsewhere;
}

// --- Examining one chain ---------------------------------------------------------------------------------------------

TableCheck::Outcome TableCheck::examine(const Place& place, Chain& chain) {
  for (unsigned i = 1;; ++i) {
    const Outcome result = examine_once(place, chain);
    if (result != Outcome::kContended || i == kAttempts) return result;
    if (i % kAttemptsPerYield == 0) {
      std::this_thread::yield();
    } else {
      cpu_relax();
    }
  }
}

TableCheck::Outcome TableCheck::examine_once(const Place& place, Chain& chain) {
  chain.keys = chain.lapsed = 0;
  chain.faults.clear();
  chain.overflow.clear();
  chain.words.clear();
  seen_.clear();
  At at{};
  // [change.check] acquire; pairs with [change.turn], [fill.clear]
  at.change = reader_.header().change.load(kAcquire);
  at.directory = directory_of(place.form, place.shard);
  if ((at.directory.state & kStateClosed) != 0) return Outcome::kClosed;
  at.segment = depth_is_valid(at.directory.state)
                   ? segment_at(place.form, place.shard, directory_index(at.directory.state, place.fraction))
                   : 0;
  if (at.segment == 0) return Outcome::kContended;  // the walk reports it
  if (place.form == Form::kPairs) {
    examine_pairs(place, at, chain);
  } else {
    examine_entries(place, at, chain);
  }
  std::atomic_thread_fence(kAcquire);  // [check.same] acquire; pairs with [pair.reuse]
  // relaxed: after the acquire loads of unchanged()
  if (!unchanged() || reader_.header().change.load(kRelaxed) != at.change) return Outcome::kContended;
  return place.form == Form::kPairs ? Outcome::kDone : find_pairs_of(place, chain);
}

bool TableCheck::unchanged() const noexcept { return std::ranges::all_of(seen_, &SeenHeader::unchanged); }

void TableCheck::examine_pairs(const Place& place, const At& at, Chain& chain) {
  const PairBucket* bucket = reader_.at<PairBucket>(at.segment) + place.bucket;
  chain.primary = &bucket->header;
  bool gathers = false;  // what is in this bucket may have been moved into an earlier one
  for (unsigned length = 1;; ++length) {
    // [pair.header-check] acquire; pairs with [pair.insert]
    const std::uint64_t header = bucket->header.load(kAcquire);
    if (length == 1) chain.header = header;
    seen_.push_back({&bucket->header, header});
    if (!is_of_fill(header, at.change)) {
      // Emptied by a clear: the primary is reset only when it is touched, and its overflow buckets with it.
      if (length != 1) chain.faults.push_back({"an overflow bucket is of another fill", offset_of(bucket)});
      return;
    }
    for (std::uint64_t left = header & kOccupiedMask; left != 0; left &= left - 1) {
      const auto place_in_bucket = static_cast<unsigned>(std::countr_zero(left));
      const std::uint64_t key = bucket->keys[place_in_bucket - 1].load(kRelaxed);
      const std::uint64_t offset = offset_of(&bucket->keys[place_in_bucket - 1]);
      const Home home = home_of(reader_.hash_.of_word(key), place, at.directory, at.segment);
      if (home == Home::kMoved) continue;
      const bool is_twice = std::ranges::find(chain.words, key) != chain.words.end();
      if (gathers && is_twice) continue;
      ++chain.keys;
      if (home == Home::kElsewhere) {
        chain.faults.push_back({"a key does not belong to the bucket that contains it", offset});
      }
      if (is_twice) {
        chain.faults.push_back({"a key is twice in one chain", offset});
      }
      chain.words.push_back(key);
    }
    if ((header & kOverflowBit) == 0) return;
    const std::uint64_t word = bucket->link.load(kRelaxed);
    const std::uint64_t link = word & kOffsetMask;
    gathers = (word & kLinkGathers) != 0;
    if ((word & kLinkReserved) != 0) {
      chain.faults.push_back({"a link has a bit that has no meaning", offset_of(&bucket->link)});
    }
    const PairBucket* const next = reader_.view().pair_bucket_at(link);
    if (next == nullptr) {
      chain.faults.push_back({"a link leads out of the populated arena, or is not aligned", offset_of(&bucket->link)});
      return;
    }
    if (length == kMaxChain) {
      chain.faults.push_back({"a chain has more than 8 buckets", offset_of(bucket)});
      return;
    }
    chain.overflow.push_back(link);
    bucket = next;
  }
}

void TableCheck::examine_entries(const Place& place, const At& at, Chain& chain) {
  const EntryBucket* bucket = reader_.at<EntryBucket>(at.segment) + place.bucket;
  chain.primary = &bucket->header;
  entries_seen_.clear();
  // [entry.header-check] acquire; pairs with [chain.raise]: before the first cell of the chain
  chain.header = bucket->header.load(kAcquire);
  seen_.push_back({&bucket->header, chain.header});
  if (!is_of_fill(chain.header, at.change)) return;  // emptied by a clear
  if ((chain.header & kEntryHeaderReserved) != 0) {
    chain.faults.push_back({"a header has a bit that has no meaning", offset_of(&bucket->header)});
  }
  for (unsigned length = 1;; ++length) {
    const EntryBucket* next = nullptr;
    for (unsigned i = 0; i < kPlaces; ++i) {
      // [cell.walk] acquire; pairs with [cell.swing], [cell.link]
      const std::uint64_t cell = bucket->cells[i].load(kAcquire);
      if (cell == 0) continue;
      const std::uint64_t offset = offset_of(&bucket->cells[i]);
      if (!is_link(cell)) {
        examine_cell(place, at, cell, offset, chain);
      } else if (i + 1 != kPlaces) {
        chain.faults.push_back({"a link is not in the last cell", offset});
      } else {
        next = reader_.view().entry_bucket_at(cell_offset(cell));
        if (next == nullptr)
          chain.faults.push_back({"a link leads out of the populated arena, or is not aligned", offset});
      }
    }
    if (next == nullptr) return;
    if (length == kMaxChain) {
      chain.faults.push_back({"a chain has more than 8 buckets", offset_of(bucket)});
      return;
    }
    chain.overflow.push_back(offset_of(next));
    bucket = next;
  }
}

void TableCheck::examine_cell(const Place& place, const At& at, std::uint64_t cell, std::uint64_t offset_of_cell,
                              Chain& chain) {
  const TableView view = reader_.view();
  const auto wrong = [&](const char* what) { chain.faults.push_back({what, offset_of_cell}); };
  const auto copy_key = [](const EntryView& from, std::vector<std::byte>& to) {
    to.resize(from.key_bytes);
    copy_shared(to.data(), from.key(), from.key_bytes);
  };
  EntryView entry;
  if ((cell & kCellReserved) != 0) wrong("a cell has a bit that has no meaning");
  if (!view.entry_at(cell_offset(cell), entry)) {
    ++chain.keys;  // the server counts it, wherever it leads
    return wrong(
        "a cell leads out of the populated arena, is not aligned, or its entry has a flag that has no meaning");
  }
  if (!view.contains_all_of(entry)) {
    ++chain.keys;
    return wrong("an entry is longer than the limits or the arena allow");
  }
  if ((cell & kCellEnds) != 0 && !entry.has_end) wrong("a cell says that its entry has an end, but it has none");
  if (entry.has_end) {
    // relaxed: one word; unchanged() decides about all that was read
    const std::uint64_t end = entry.end().load(kRelaxed);
    if ((cell & kCellEnds) == 0 && end != kNeverEnds) wrong("an entry has an end, but its cell does not say so");
    if (!is_before(end)) ++chain.lapsed;
  }
  copy_key(entry, key_);
  const std::uint64_t hash = reader_.hash_of({key_.data(), key_.size()});
  const Home home = home_of(hash, place, at.directory, at.segment);
  if (home == Home::kMoved) return;
  ++chain.keys;
  if (home == Home::kElsewhere) wrong("a key does not belong to the bucket that contains it");
  if (cell_tag(cell) != tag_of(hash)) wrong("a cell's tag is not that of its key");
  for (const EntrySeen& other : entries_seen_) {
    if (other.hash != hash) continue;
    EntryView there;  // as unchanged() will confirm
    if (!view.entry_at(other.offset, there) || there.key_bytes != key_.size() || !view.contains_key_of(there)) continue;
    copy_key(there, other_key_);
    if (other_key_ == key_) wrong("a key is twice in one chain");
  }
  entries_seen_.push_back({hash, entry.offset});
  if (key_.size() == 8) {
    std::uint64_t word;
    std::memcpy(&word, key_.data(), sizeof word);
    chain.words.push_back(word);
  }
}

// Are 8-byte keys of the entries among the pairs, too? The entries' header is checked again afterwards, so that both forms
// are seen at one moment.
TableCheck::Outcome TableCheck::find_pairs_of(const Place& place, Chain& entries) {
  if (entries.words.empty()) return Outcome::kDone;
  Chain pairs;
  for (const std::uint64_t word : entries.words) {
    const std::uint64_t hash = reader_.hash_.of_word(word);
    const Spread spread = spread_over_shards(hash, reader_.shard_count_);
    if (spread.shard != place.shard) continue;  // already reported as a fault
    if (!depth_is_valid(directory_of(Form::kPairs, place.shard).state)) continue;
    const Outcome outcome =
        examine_once({Form::kPairs, place.shard, segment_bucket<PairBucket>(hash), spread.fraction}, pairs);
    if (outcome != Outcome::kDone) return outcome;
    if (std::ranges::find(pairs.words, word) == pairs.words.end()) continue;
    const Word& header = *entries.primary;
    std::atomic_thread_fence(kAcquire);  // [check.both] acquire; pairs with [chain.raise]
    if (header.load(kRelaxed) != entries.header) return Outcome::kContended;  // relaxed: after the fence
    entries.faults.push_back({"a key is in both forms", offset_of(&header)});
  }
  return Outcome::kDone;
}

// --- Walking over all chains -----------------------------------------------------------------------------------------

TableCheck::Counters TableCheck::counters_of(std::uint32_t shard) const noexcept {
  const LaneStats& lane = reader_.header().lane_stats[shard];
  Counters counters;
  // [change.check] acquire; pairs with [change.turn], [fill.clear]
  counters.change = reader_.header().change.load(kAcquire);
  // [fill.counted] acquire; pairs with [fill.noticed]
  counters.lane_fill = lane.fill.load(kAcquire);
  // relaxed, all of them: figures compared with one another; a count that lags behind its change is compared again
  counters.puts = lane.puts.load(kRelaxed);
  counters.erases = lane.erases.load(kRelaxed);
  counters.pair_keys = lane.pair_keys.load(kRelaxed);
  counters.entry_keys = lane.entry_keys.load(kRelaxed);
  counters.pair_state = reader_.shards_[shard].words->pair_state.load(kRelaxed);
  counters.entry_state = reader_.shards_[shard].words->entry_state.load(kRelaxed);
  // A lane that has not noticed the last clear yet still counts the keys that the clear removed.
  if (counters.lane_fill != fill_of(counters.change)) counters.pair_keys = counters.entry_keys = 0;
  return counters;
}

TableCheck::Report TableCheck::run() {
  std::vector<Counted> counted;
  for (std::uint32_t shard = 0; shard < reader_.shard_count_ && !report_.closed; ++shard) {
    counted.push_back(walk(shard, true));
  }
  if (!report_.closed) examine_again();
  for (std::uint32_t shard = 0; shard < counted.size() && !report_.closed; ++shard) compare(shard, counted[shard]);
  return std::move(report_);
}

TableCheck::Counted TableCheck::walk(std::uint32_t shard, bool record) {
  Counted counted;
  counted.server = counters_of(shard);
  walk_form(Form::kPairs, shard, record, counted);
  walk_form(Form::kEntries, shard, record, counted);
  std::atomic_thread_fence(kAcquire);  // [check.same] acquire; pairs with [pair.reuse]
  counted.quiet = counted.quiet && counters_of(shard) == counted.server;
  return counted;
}

// In the order of a scan: whatever is split or merged meanwhile, every key is visited.
void TableCheck::walk_form(Form form, std::uint32_t shard, bool record, Counted& counted) {
  Chain chain;
  if (record && (directory_of(form, shard).state & kStateReserved) != 0) {
    report_.findings.push_back("shard " + std::to_string(shard) + ": the state word of its " +
                               (form == Form::kPairs ? "pairs" : "entries") + " has a bit that has no meaning");
  }
  const std::uint64_t buckets = form == Form::kPairs ? kSegmentBuckets<PairBucket> : kSegmentBuckets<EntryBucket>;
  for (std::uint64_t bucket = 0; bucket < buckets; ++bucket) {
    Place place{form, shard, bucket, 0};
    do {
      if (reader_.is_behind()) reader_.extend();
      const std::uint64_t state = directory_of(form, shard).state;
      if ((state & kStateClosed) != 0) report_.closed = true;
      if (report_.closed) return;
      if (!depth_is_valid(state) || segment_at(form, shard, directory_index(state, place.fraction)) == 0) {
        counted.quiet = false;  // nothing to compare with
        if (record) {
          report_.findings.push_back(describe(place) + (depth_is_valid(state)
                                                            ? ": the directory leads out of the populated arena"
                                                            : ": the state word has a depth that cannot be"));
        }
        return;
      }
      visit(place, record, chain, counted);
      if (report_.closed) return;
      place.fraction = last_of(place, state) + 1;
    } while (place.fraction != 0);
  }
}

void TableCheck::visit(const Place& place, bool record, Chain& chain, Counted& counted) {
  const Outcome outcome = examine(place, chain);
  if (outcome == Outcome::kClosed) report_.closed = true;
  if (outcome == Outcome::kContended) counted.quiet = false;
  if (outcome == Outcome::kDone) (place.form == Form::kPairs ? counted.pair_keys : counted.entry_keys) += chain.keys;
  if (!record) return;
  ++report_.buckets;
  if (outcome == Outcome::kContended) busy_.push_back(place);
  if (outcome != Outcome::kDone) return;
  report_.entries += chain.keys;
  report_.lapsed += chain.lapsed;
  if (!chain.faults.empty()) suspects_.push_back(place);
  record_owners(place, chain);
}

// Records the owners of the overflow buckets, and which of them were also seen in another chain.
void TableCheck::record_owners(const Place& place, const Chain& chain) {
  const std::uint64_t lines = (place.form == Form::kPairs ? sizeof(PairBucket) : sizeof(EntryBucket)) / kCacheLine;
  for (const std::uint64_t offset : chain.overflow) {
    for (std::uint64_t line = offset / kCacheLine; line < offset / kCacheLine + lines; ++line) {
      const auto [at, fresh] = owner_of_line_.try_emplace(line, place);
      if (!fresh && !(at->second == place)) {
        shared_.push_back({at->second, place, line * kCacheLine});
        break;
      }
    }
  }
}

// Is this line still in both chains, at one moment? The first chain holds it before and after the second is examined.
bool TableCheck::still_shared(const Shared& shared) {
  const auto holds = [&](const Place& place, Chain& chain) {
    const std::uint64_t bytes = place.form == Form::kPairs ? sizeof(PairBucket) : sizeof(EntryBucket);
    return examine(place, chain) == Outcome::kDone && std::ranges::any_of(chain.overflow, [&](std::uint64_t offset) {
             return shared.offset >= offset && shared.offset < offset + bytes;
           });
  };
  Chain before;
  Chain other;
  Chain after;
  return holds(shared.first, before) && holds(shared.second, other) && holds(shared.first, after) &&
         before.header == after.header;
}

// Keeps only the faults that are found in every further attempt.
void TableCheck::examine_again() {
  Chain chain;
  std::vector<std::string> found;
  for (const auto pause : kPauses) {
    if (suspects_.empty() && busy_.empty() && shared_.empty()) break;
    std::this_thread::sleep_for(pause);
    found.clear();
    std::uint64_t unsure = 0;
    std::vector<Place> still_wrong;
    std::vector<Place> still_busy;
    const auto examine_place = [&](const Place& place, bool was_busy) {
      const Outcome outcome = examine(place, chain);
      if (outcome == Outcome::kClosed) report_.closed = true;
      if (outcome == Outcome::kContended) {
        (was_busy ? still_busy : still_wrong).push_back(place);
        ++unsure;
      }
      if (outcome != Outcome::kDone) return;
      if (was_busy) report_.entries += chain.keys;
      if (was_busy) report_.lapsed += chain.lapsed;
      if (chain.faults.empty()) return;
      still_wrong.push_back(place);
      for (const Fault& fault : chain.faults) {
        found.push_back(describe(place) + ": " + fault.what + " (offset " + std::to_string(fault.offset) + ")");
      }
    };
    for (const Place& place : suspects_) examine_place(place, false);
    for (const Place& place : busy_) examine_place(place, true);
    suspects_ = std::move(still_wrong);
    busy_ = std::move(still_busy);
    report_.busy_buckets = unsure;
    std::erase_if(shared_, [this](const Shared& shared) { return !still_shared(shared); });
    if (report_.closed) return;
  }
  for (std::string& line : found) report_.findings.push_back(std::move(line));
  for (const Shared& shared : shared_) {
    report_.findings.push_back(describe(shared.first) + ": an overflow bucket is in the chain of " +
                               describe(shared.second) + ", too (offset " + std::to_string(shared.offset) + ")");
  }
}

void TableCheck::compare(std::uint32_t shard, Counted counted) {
  const auto differs = [](const Counted& c) {
    return c.pair_keys != c.server.pair_keys || c.entry_keys != c.server.entry_keys;
  };
  for (const auto pause : kPauses) {
    if (!counted.quiet || !differs(counted)) break;
    std::this_thread::sleep_for(pause);
    counted = walk(shard, false);
  }
  report_.counts_compared = report_.counts_compared && counted.quiet;
  if (!counted.quiet || !differs(counted)) return;
  const auto line = [&](const char* form, std::uint64_t here, std::uint64_t there) {
    if (here == there) return;
    report_.findings.push_back("shard " + std::to_string(shard) + ": " + std::to_string(here) + " keys are in its " +
                               form + ", but its server counts " + std::to_string(there));
  };
  line("pairs", counted.pair_keys, counted.server.pair_keys);
  line("entries", counted.entry_keys, counted.server.entry_keys);
}

std::string TableCheck::describe(const Place& place) const {
  char fraction[2 * sizeof place.fraction + 1];
  std::snprintf(fraction, sizeof fraction, "%016llx", static_cast<unsigned long long>(place.fraction));
  return std::string(place.form == Form::kPairs ? "pair" : "entry") + " bucket " + std::to_string(place.bucket) +
         " of the segment at fraction 0x" + fraction + " of shard " + std::to_string(place.shard);
}

}  // namespace hostmap
