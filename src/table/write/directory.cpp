#include "table/write/directory.hpp"

namespace hostmap {

namespace {

constexpr auto kRelaxed = std::memory_order_relaxed;  // relaxed: this thread is the only writer of all these words

}  // namespace

void Directory::fill(const std::vector<std::uint64_t>& segments) noexcept {
  segments_ = segments.size();
  const unsigned depth = directory_depth(segments_);
  if (depth == 0) {
    word(0, 0).store(segments[0], kRelaxed);
    write_ahead(0, 0);
  }
  const std::uint64_t split = segments_ - prefixes(depth);
  for (std::uint64_t prefix = 0, next = 0; prefix < prefixes(depth); ++prefix) {
    word(depth - 1, prefix).store(segments[next], kRelaxed);
    word(depth, 2 * prefix).store(segments[next], kRelaxed);
    if (prefix < split) ++next;
    word(depth, 2 * prefix + 1).store(segments[next++], kRelaxed);
    write_ahead(depth, 2 * prefix);
    write_ahead(depth, 2 * prefix + 1);
  }
  set_depth(depth);
}

std::uint64_t Directory::last_of(std::uint64_t fraction) const noexcept {
  const std::uint64_t state = state_.load(kRelaxed);
  const std::uint64_t index = directory_index(state, fraction);
  return last_fraction(state, fraction, words_[index].load(kRelaxed), words_[index ^ 1].load(kRelaxed));
}

std::vector<std::uint64_t> Directory::all() const {
  std::vector<std::uint64_t> all;
  all.reserve(segments_);
  for (std::uint64_t prefix = 0; prefix < std::uint64_t{1} << depth(); ++prefix) {
    const std::uint64_t segment = word(depth(), prefix).load(kRelaxed);
    if (all.empty() || all.back() != segment) all.push_back(segment);
  }
  return all;
}

void Directory::set_depth(unsigned depth) noexcept {
  const std::uint64_t flags = state_.load(kRelaxed) & ~kStateShiftMask;
  // [segment.depth] release; pairs with [state.read]: the words of this depth lead to the same segments
  state_.store(make_state(depth) | flags, std::memory_order_release);
}

// Writes the two words of the next depth that belong to a prefix at this one. A reader that has loaded the state before the
// depth was lowered may follow them to a segment that has been built since.
void Directory::write_ahead(unsigned depth, std::uint64_t prefix) noexcept {
  const std::uint64_t segment = word(depth, prefix).load(kRelaxed);
  // [segment.ahead] release; pairs with [segment.load]
  word(depth + 1, 2 * prefix).store(segment, std::memory_order_release);
  // [segment.ahead] release; pairs with [segment.load]
  word(depth + 1, 2 * prefix + 1).store(segment, std::memory_order_release);
}

void Directory::publish_split(std::uint64_t half) noexcept {
  if (all_are_split()) set_depth(depth() + 1);
  const std::uint64_t prefix = split();
  mark(kTwinPurge);
  // [segment.publish] release; pairs with [segment.load]: the new segment is complete
  word(depth(), 2 * prefix + 1).store(half, std::memory_order_release);
  write_ahead(depth(), 2 * prefix);
  write_ahead(depth(), 2 * prefix + 1);
  ++segments_;
  // Before anything is removed from the old segment: a reader that was led there by the old word must not miss it.
  turn();
  std::atomic_thread_fence(std::memory_order_release);  // [change.purge] release; pairs with [change.header]
}

std::pair<std::uint64_t, std::uint64_t> Directory::last_halves() noexcept {
  if (split() == 0) set_depth(depth() - 1);
  const std::uint64_t prefix = split() - 1;
  return {word(depth(), 2 * prefix).load(kRelaxed), word(depth(), 2 * prefix + 1).load(kRelaxed)};
}

// Both words of a prefix. They are two stores: after a kill in between, recover() completes them.
void Directory::replace_both(std::uint64_t prefix, std::uint64_t segment) noexcept {
  mark(segment | kTwinMerge);
  // [segment.ahead] release; pairs with [segment.load]
  word(depth() - 1, prefix).store(segment, std::memory_order_release);
  // [segment.publish] release; pairs with [segment.load]: the new segment is complete
  word(depth(), 2 * prefix).store(segment, std::memory_order_release);
  // [segment.publish] release; pairs with [segment.load]: likewise
  word(depth(), 2 * prefix + 1).store(segment, std::memory_order_release);
  turn();
  mark(kTwinNone);
}

bool Directory::is_half_replaced(std::uint64_t prefix) const noexcept {
  const std::uint64_t twin = twin_.load(kRelaxed);
  return twin_phase(twin) == kTwinMerge && word(depth(), 2 * prefix).load(kRelaxed) == twin_segment(twin) &&
         word(depth(), 2 * prefix + 1).load(kRelaxed) != twin_segment(twin);
}

void Directory::publish_merge(std::uint64_t whole) noexcept {
  const std::uint64_t prefix = split() - 1;
  --segments_;
  replace_both(prefix, whole);
}

void Directory::publish_move(std::uint64_t fraction, std::uint64_t copy) noexcept {
  const std::uint64_t index = directory_index(state_.load(kRelaxed), fraction);
  const std::uint64_t prefix = index % (std::uint64_t{1} << depth());
  if (depth() > 0 && words_[index].load(kRelaxed) == words_[index ^ 1].load(kRelaxed)) {
    replace_both(prefix / 2, copy);
    return;
  }
  words_[index].store(copy, std::memory_order_release);  // [segment.publish] release; pairs with [segment.load]
  write_ahead(depth(), prefix);
  turn();
}

bool Directory::read(std::uint64_t arena, std::uint64_t populated, unsigned most_depth) noexcept {
  if (depth() > most_depth || directory_bytes_at(depth()) > populated_.load(kRelaxed)) return false;
  const auto is_slab = [&](std::uint64_t segment) {
    return segment >= arena && (segment - arena) % kSlabBytes == 0 && segment - arena < populated;
  };
  segments_ = depth() == 0 ? 1 : prefixes(depth());
  if (depth() == 0) return is_slab(word(0, 0).load(kRelaxed));
  bool split = true;
  for (std::uint64_t prefix = 0; prefix < prefixes(depth()); ++prefix) {
    const std::uint64_t left = word(depth(), 2 * prefix).load(kRelaxed);
    const std::uint64_t right = word(depth(), 2 * prefix + 1).load(kRelaxed);
    const bool different = left != right && !is_half_replaced(prefix);
    if (!is_slab(left) || !is_slab(right) || (different && !split)) return false;
    split = different;
    segments_ += split ? 1 : 0;
  }
  return segments_ >= base_;
}

std::pair<std::uint64_t, std::uint64_t> Directory::recover() noexcept {
  std::pair<std::uint64_t, std::uint64_t> purged{};
  const std::uint64_t twin = twin_.load(kRelaxed);
  for (std::uint64_t prefix = 0; prefix < prefixes(depth()); ++prefix) {
    if (is_half_replaced(prefix)) replace_both(prefix, twin_segment(twin));
  }
  if (twin_phase(twin) == kTwinPurge && depth() > 0 && split() > 0) purged = last_halves();
  for (std::uint64_t prefix = 0; prefix < prefixes(depth()); ++prefix) {
    if (prefix < split()) {
      write_ahead(depth(), 2 * prefix);
      write_ahead(depth(), 2 * prefix + 1);
    } else {
      word(depth() - 1, prefix)
          .store(word(depth(), 2 * prefix).load(kRelaxed), kRelaxed);  // relaxed: as in publish_merge()
    }
  }
  if (depth() == 0) write_ahead(0, 0);
  if (purged.first == 0) mark(kTwinNone);
  return purged;
}

}  // namespace hostmap
