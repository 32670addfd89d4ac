// multi_get: the cost is not in the look-ups, but in the cache misses of each key. So the keys are processed in groups, and
// each group in two parts: set_out() prefetches all its buckets; arrive() reads them, prefetches what they refer to, and reads
// that. set_out() of the next group precedes arrive() of this one. (Overlapping the parts of arrive() with other groups gained
// nothing.)
//
// Nothing read on the way is trusted later: the fast path validates each value on its own, and a key that it cannot decide is
// looked up by get().
#include <algorithm>
#include <array>
#include <bit>
#include <cstring>
#include <optional>
#include <utility>

#include "client/impl.hpp"
#include "layout/table.hpp"
#include "table/read/fast_path.hpp"

namespace hostmap {

namespace {

// Keys of a group: large enough that the first lines have arrived when the last prefetch is issued.
constexpr std::size_t kGroup = 16;

// A set of keys of a group: bit i is key i.
using Keys = std::uint32_t;
static_assert(kGroup <= 32);

template <typename Act>
void for_each_of(Keys set, const Act& act) {
  for (; set != 0; set &= set - 1) act(static_cast<std::size_t>(std::countr_zero(set)));
}

// Where the values go. A sink first gets the number of the next group's first key; then, for each of its keys in order, put() or
// open(); then, for those that were open and in any order, target() and finish().

// Each into a string of its own.
class Strings {
 public:
  // At most `count`. Throws if there is no memory for them.
  explicit Strings(std::size_t count) { results_.reserve(count); }
  void begin_group(std::size_t first) noexcept { first_ = first; }
  void put(std::size_t, std::uint64_t value) noexcept {
    results_.emplace_back(std::in_place, reinterpret_cast<const char*>(&value), sizeof value);
  }
  void open(std::size_t) noexcept { results_.emplace_back(std::in_place); }
  ValueTarget target(std::size_t i) noexcept { return ValueTarget::string(*results_[first_ + i]); }
  void finish(std::size_t i, const Result<std::uint64_t>& size) noexcept {
    if (!size) results_[first_ + i] = size.status();
  }
  std::vector<Result<std::string>> take() noexcept { return std::move(results_); }

 private:
  std::vector<Result<std::string>> results_;
  std::size_t first_ = 0;
};

// One behind the other into a buffer.
template <typename Take>
class Buffer {
 public:
  Buffer(std::span<std::byte> buffer, const Take& take) noexcept : rest_(buffer), take_(take) {}
  void begin_group(std::size_t first) noexcept { first_ = first; }
  void put(std::size_t i, std::uint64_t value) {
    if (rest_.size() < sizeof value) return take_(first_ + i, Status::buffer_too_small(sizeof value));
    std::memcpy(rest_.data(), &value, sizeof value);
    finish(i, sizeof value);
  }
  void open(std::size_t) noexcept {}
  ValueTarget target(std::size_t) noexcept { return ValueTarget::buffer(rest_); }
  void finish(std::size_t i, const Result<std::uint64_t>& size) {
    if (!size) return take_(first_ + i, size.status());
    take_(first_ + i, rest_.first(*size));
    rest_ = rest_.subspan(*size);
  }

 private:
  std::span<std::byte> rest_;
  const Take& take_;
  std::size_t first_ = 0;
};

class Group {
 public:
  // At most kGroup keys.
  void set_out(Client::Impl& impl, std::span<const std::string_view> keys) noexcept;
  // Gives the values to the sink. `limit`: of all that has to wait.
  template <typename Sink>
  void arrive(Client::Impl& impl, Sink& sink, Deadline& limit);

 private:
  // `kNotes`: a table that evicts keys, in whose touch page each hit is noted and counted.
  template <bool kNotes, typename Sink>
  void arrive_at(Client::Impl& impl, Sink& sink, Deadline& limit);
  template <bool kNotes, typename Sink>
  void look_up(Client::Impl& impl, std::size_t i, Sink& sink, Deadline& limit);
  template <bool kNotes>
  auto note_of(std::size_t i) const noexcept {
    if constexpr (kNotes) {
      return session_->note_of(hashes_[i]);
    } else {
      return NoNote();
    }
  }

  std::span<const std::string_view> keys_;
  Session* session_;  // from session_to_read(), or, if notes_, from session_to_note()
  bool notes_;
  std::uint64_t change_;  // the reader's, from before the first step
  // For each key. Zero and empty if there is no session, or if it is not a valid key.
  std::array<std::uint64_t, kGroup> hashes_;
  std::array<TableReader::PrefetchCursor, kGroup> cursors_;
};

void Group::set_out(Client::Impl& impl, std::span<const std::string_view> keys) noexcept {
  Session* session = impl.session_to_read();
  notes_ = false;
  if (session == nullptr) [[unlikely]] {
    session = impl.session_to_note();
    notes_ = session != nullptr;
  }
  session_ = session;
  change_ = session != nullptr ? session->reader().load_change_first() : 0;
  keys_ = keys;
  for (std::size_t i = 0; i < keys.size(); ++i) {
    const bool way = session != nullptr && is_key(keys[i]);
    hashes_[i] = way ? session->reader().hash_of(span_of(keys[i])) : 0;
    cursors_[i] = way ? session->reader().begin_prefetch(span_of(keys[i]), hashes_[i]) : TableReader::PrefetchCursor{};
  }
}

template <typename Sink>
void Group::arrive(Client::Impl& impl, Sink& sink, Deadline& limit) {
  if (notes_) [[unlikely]]
    return arrive_at<true>(impl, sink, limit);
  arrive_at<false>(impl, sink, limit);
}

template <bool kNotes, typename Sink>
void Group::arrive_at(Client::Impl& impl, Sink& sink, Deadline& limit) {
  Keys open = 0;  // without a result
  for (std::size_t i = 0; i < keys_.size(); ++i) {
    if (cursors_[i].pairs != nullptr) [[likely]] {
      std::uint64_t word;
      std::uint64_t value;
      std::memcpy(&word, keys_[i].data(), sizeof word);
      if (session_->reader().try_get_at(cursors_[i], change_, word, value, note_of<kNotes>(i)) &&
          impl.still_current(session_)) [[likely]] {
        if constexpr (kNotes) session_->count_read(true);
        sink.put(i, value);
        continue;
      }
    }
    sink.open(i);
    open |= Keys{1} << i;
  }
  if (open == 0) [[likely]]
    return;
  const auto continue_prefetch = [&](std::size_t i) noexcept {
    session_->reader().continue_prefetch(cursors_[i], span_of(keys_[i]), hashes_[i]);
  };
  Keys later = 0;  // those whose first bucket leads to another one
  if (session_ != nullptr) {
    for_each_of(open, [&](std::size_t i) noexcept {
      continue_prefetch(i);
      later |= Keys{cursors_[i].next != nullptr} << i;
    });
  }
  // Half of the remaining keys are looked up while the later buckets arrive, and half while what those buckets refer to
  // arrives.
  constexpr Keys kHalf = (Keys{1} << kGroup / 2) - 1;
  const auto look_up_each_of = [&](Keys set) {
    for_each_of(set, [&](std::size_t i) { look_up<kNotes>(impl, i, sink, limit); });
  };
  look_up_each_of(open & ~later & kHalf);
  for_each_of(later, continue_prefetch);
  look_up_each_of(open & ~later & ~kHalf);
  look_up_each_of(later);
}

// Not inlined: otherwise its caller would save registers for it.
template <bool kNotes, typename Sink>
[[gnu::noinline]] void Group::look_up(Client::Impl& impl, std::size_t i, Sink& sink, Deadline& limit) {
  if (cursors_[i].entries != nullptr) {
    std::uint64_t size;
    if (session_->reader().try_get_at(cursors_[i], change_, span_of(keys_[i]), hashes_[i], sink.target(i), size,
                                      note_of<kNotes>(i)) &&
        impl.still_current(session_)) {
      if constexpr (kNotes) session_->count_read(true);
      sink.finish(i, size);
      return;
    }
  }
  // Of a table that evicts keys, look_up_within() notes and counts what it finds without a session.
  sink.finish(i, impl.look_up_within(limit, kNotes ? nullptr : session_, keys_[i], hashes_[i], sink.target(i)));
}

// `group_of(number)`: the keys of this group, which stay valid until the group after the next one is set out.
template <typename GroupOf, typename Sink>
void get_in_groups(Client::Impl& impl, std::size_t count, const GroupOf& group_of, Sink& sink) {
  Deadline limit = impl.deadline();
  Group groups[2];
  groups[0].set_out(impl, group_of(0));
  for (std::size_t number = 0; number * kGroup < count; ++number) {
    groups[(number + 1) % 2].set_out(impl, group_of(number + 1));
    sink.begin_group(number * kGroup);
    groups[number % 2].arrive(impl, sink, limit);
  }
}

// Their strings; none if there is no memory for the vector.
template <typename GroupOf>
std::vector<Result<std::string>> strings_in_groups(Client::Impl& impl, std::size_t count, const GroupOf& group_of) {
  std::optional<Strings> sink;
  try {
    sink.emplace(count);
  } catch (...) {
    return {};
  }
  get_in_groups(impl, count, group_of, *sink);
  return sink->take();
}

// The groups of `count` keys that `next` stores one after the other.
class NextGroups {
 public:
  NextGroups(std::size_t count, void (*next)(void* from, std::span<std::string_view> group), void* from) noexcept
      : count_(count), next_(next), from_(from) {}
  std::span<const std::string_view> operator()(std::size_t number) const {
    const std::size_t begin = std::min(number * kGroup, count_);
    const std::span<std::string_view> group(keys_[number % 2].data(), std::min(kGroup, count_ - begin));
    next_(from_, group);
    return group;
  }

 private:
  std::size_t count_;
  void (*next_)(void* from, std::span<std::string_view> group);
  void* from_;
  mutable std::array<std::array<std::string_view, kGroup>, 2> keys_;
};

}  // namespace

std::vector<Result<std::string>> Client::multi_get(std::span<const std::string_view> keys) noexcept {
  const auto group_of = [keys](std::size_t number) noexcept {
    const std::size_t begin = std::min(number * kGroup, keys.size());
    return keys.subspan(begin, std::min(kGroup, keys.size() - begin));
  };
  try {
    return strings_in_groups(*impl_, keys.size(), group_of);
  } catch (...) {  // neither the keys nor the sink throw, which the compiler does not see
    return {};
  }
}

std::vector<Result<std::string>> Client::multi_get_from(std::size_t count, NextKeys next, void* from) {
  return strings_in_groups(*impl_, count, NextGroups(count, next, from));
}

void Client::multi_get_into_from(std::size_t count, NextKeys next, void* from, std::span<std::byte> buffer,
                                 TakeOne take_each, void* to) {
  const auto take_one = [take_each, to](std::size_t index, const Result<std::span<std::byte>>& value) {
    take_each(to, index, value);
  };
  Buffer sink(buffer, take_one);
  get_in_groups(*impl_, count, NextGroups(count, next, from), sink);
}

}  // namespace hostmap
