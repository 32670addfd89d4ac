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
void for_each_of(Keys set, const Act& act) noexcept {
  for (; set != 0; set &= set - 1) act(static_cast<std::size_t>(std::countr_zero(set)));
}

class Group {
 public:
  // At most kGroup keys.
  void set_out(Client::Impl& impl, std::span<const std::string_view> keys) noexcept;
  // Appends the results.
  void arrive(Client::Impl& impl, std::vector<Result<std::string>>& results) noexcept;

 private:
  void look_up(Client::Impl& impl, std::size_t i, Result<std::string>& result) noexcept;

  std::span<const std::string_view> keys_;
  const Session* session_;  // from session_to_read()
  std::uint64_t change_;    // the reader's, from before the first step
  // For each key. Zero and empty if there is no session, or if it is not a valid key.
  std::array<std::uint64_t, kGroup> hashes_;
  std::array<TableReader::PrefetchCursor, kGroup> cursors_;
};

void Group::set_out(Client::Impl& impl, std::span<const std::string_view> keys) noexcept {
  const Session* const session = impl.session_to_read();
  session_ = session;
  const Session* const noting = session == nullptr ? impl.session_to_note() : nullptr;
  change_ = session != nullptr ? session->reader().load_change_first() : 0;
  keys_ = keys;
  for (std::size_t i = 0; i < keys.size(); ++i) {
    const bool way = session != nullptr && is_key(keys[i]);
    hashes_[i] = way ? session->reader().hash_of(span_of(keys[i])) : 0;
    cursors_[i] = way ? session->reader().begin_prefetch(span_of(keys[i]), hashes_[i]) : TableReader::PrefetchCursor{};
    // Keys of a table that evicts are read by get(), which notes them: only their buckets are prefetched.
    if (noting != nullptr && is_key(keys[i])) [[unlikely]]
      noting->reader().begin_prefetch(span_of(keys[i]), noting->reader().hash_of(span_of(keys[i])));
  }
}

void Group::arrive(Client::Impl& impl, std::vector<Result<std::string>>& results) noexcept {
  Keys open = 0;  // without a result
  for (std::size_t i = 0; i < keys_.size(); ++i) {
    if (cursors_[i].pairs != nullptr) [[likely]] {
      std::uint64_t word;
      std::uint64_t value;
      std::memcpy(&word, keys_[i].data(), sizeof word);
      if (session_->reader().try_get_at(cursors_[i], change_, word, value) && impl.still_current(session_)) [[likely]] {
        results.emplace_back(std::in_place, reinterpret_cast<const char*>(&value), sizeof value);
        continue;
      }
    }
    results.emplace_back(std::in_place);
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
  const std::span<Result<std::string>> mine = std::span(results).last(keys_.size());
  const auto look_up_each_of = [&](Keys set) noexcept {
    for_each_of(set, [&](std::size_t i) noexcept { look_up(impl, i, mine[i]); });
  };
  look_up_each_of(open & ~later & kHalf);
  for_each_of(later, continue_prefetch);
  look_up_each_of(open & ~later & ~kHalf);
  look_up_each_of(later);
}

// Not inlined: otherwise its caller would save registers for it.
[[gnu::noinline]] void Group::look_up(Client::Impl& impl, std::size_t i, Result<std::string>& result) noexcept {
  if (cursors_[i].entries != nullptr) {
    std::uint64_t size;
    if (session_->reader().try_get_at(cursors_[i], change_, span_of(keys_[i]), hashes_[i], ValueTarget::string(*result),
                                      size) &&
        impl.still_current(session_)) {
      return;
    }
  }
  impl.look_up_into(result, session_, keys_[i], hashes_[i]);
}

// `group_of(number)`: the keys of this group, which stay valid until the group after the next one is set out.
template <typename GroupOf>
std::vector<Result<std::string>> get_in_groups(Client::Impl& impl, std::size_t count, const GroupOf& group_of) {
  std::vector<Result<std::string>> results;
  try {
    results.reserve(count);
  } catch (...) {
    return {};
  }
  Group groups[2];
  groups[0].set_out(impl, group_of(0));
  for (std::size_t number = 0; number * kGroup < count; ++number) {
    groups[(number + 1) % 2].set_out(impl, group_of(number + 1));
    groups[number % 2].arrive(impl, results);
  }
  return results;
}

}  // namespace

std::vector<Result<std::string>> Client::multi_get(std::span<const std::string_view> keys) noexcept {
  return get_in_groups(*impl_, keys.size(), [keys](std::size_t number) noexcept {
    const std::size_t begin = std::min(number * kGroup, keys.size());
    return keys.subspan(begin, std::min(kGroup, keys.size() - begin));
  });
}

std::vector<Result<std::string>> Client::multi_get_from(std::size_t count, NextKeys next, void* from) {
  std::array<std::array<std::string_view, kGroup>, 2> keys;
  return get_in_groups(*impl_, count, [&](std::size_t number) {
    const std::size_t begin = std::min(number * kGroup, count);
    const std::span<std::string_view> group(keys[number % 2].data(), std::min(kGroup, count - begin));
    next(from, group);
    return group;
  });
}

}  // namespace hostmap
