// Several keys or operations at once.
#include <algorithm>
#include <cstddef>
#include <limits>
#include <span>
#include <string>
#include <vector>

#include "c_abi/common.hpp"

using namespace hostmap::c_abi;
using hostmap::Bytes;
using hostmap::Client;
using hostmap::KeyValue;
using hostmap::Operation;
using hostmap::Outcome;
using hostmap::Status;
using hostmap::StatusCode;

namespace {

bool are_given(const hostmap_bytes& bytes) noexcept { return is_given(bytes.data, bytes.size); }
bool are_given(const hostmap_pair& pair) noexcept { return are_given(pair.key) && are_given(pair.value); }

// Are the map, the array `items` of the caller and all bytes in it valid?
template <typename Item>
bool is_valid(const hostmap_map* map, const Item* items, std::size_t count) noexcept {
  return map != nullptr && is_given(items, count) &&
         std::all_of(items, items + count, [](const Item& item) { return are_given(item); });
}

// Can the caller have an array of `count` results at `results`? A count that no memory has, such as -1, writes nowhere.
template <typename Result>
bool is_array(const Result* results, std::size_t count) noexcept {
  constexpr std::size_t kMostBytes = std::numeric_limits<std::ptrdiff_t>::max();
  constexpr std::size_t kMost =
      kMostBytes / std::max({sizeof(Result), sizeof(hostmap_operation), sizeof(hostmap_pair)});
  return is_given(results, count) && count <= kMost;
}

int refuse_array(const void* results) noexcept {
  return results == nullptr ? refuse_result() : refuse("count is more than memory can hold");
}

std::string_view view_of(const hostmap_bytes& bytes) noexcept {
  return {static_cast<const char*>(bytes.data), bytes.data == nullptr ? 0 : bytes.size};
}

// Stores a status for each of `count` items; returns HOSTMAP_OK, or the first one that is an error of its own.
int give_statuses(const std::vector<Status>& found, std::size_t count, std::int32_t* statuses) noexcept {
  const bool no_memory = found.size() < count;
  const Status* first = nullptr;
  for (std::size_t i = 0; i < count && !no_memory; ++i) {
    statuses[i] = static_cast<std::int32_t>(found[i].code());
    if (first == nullptr && !found[i].ok() && !(found[i] == StatusCode::kNotFound)) first = &found[i];
  }
  if (no_memory) {
    std::fill_n(statuses, count, std::int32_t{HOSTMAP_FULL});
    return out_of_memory();
  }
  return first == nullptr ? static_cast<int>(HOSTMAP_OK) : report(*first);
}

// Runs `call`, which returns a status for each item. Without memory for it nothing was sent.
template <typename Call>
int with_statuses(std::size_t count, std::int32_t* statuses, const Call& call) noexcept {
  std::vector<Status> found;
  try {
    found = call();
  } catch (...) {
    found.clear();
  }
  return give_statuses(found, count, statuses);
}

// A call that is refused as a whole refuses each of its items.
void refuse_each(std::size_t count, std::int32_t* statuses) noexcept {
  std::fill_n(statuses, count, std::int32_t{HOSTMAP_INVALID});
}

int multi_put(hostmap_map* map, const hostmap_pair* pairs, std::size_t count, std::chrono::milliseconds ttl,
              std::int32_t* statuses) noexcept {
  if (!is_array(statuses, count)) return refuse_array(statuses);
  refuse_each(count, statuses);
  if (!is_valid(map, pairs, count)) return refuse_arguments(map);
  return with_statuses(count, statuses, [&] {
    std::vector<KeyValue> entries(count);
    std::transform(pairs, pairs + count, entries.begin(), [](const hostmap_pair& pair) {
      return KeyValue{bytes_of(pair.key), bytes_of(pair.value)};
    });
    return map->client.multi_put(entries, ttl);
  });
}

bool has_ttl(Operation::Kind kind) noexcept {
  switch (kind) {
    case Operation::Kind::kPut:
    case Operation::Kind::kInsert:
    case Operation::Kind::kReplace:
    case Operation::Kind::kExpire:
    case Operation::Kind::kIncrement:
    case Operation::Kind::kIncrementFraction:
    case Operation::Kind::kIncrementStored:
    case Operation::Kind::kIncrementStoredFraction:
      return true;
    default:
      return false;
  }
}

// The operation in the form of C++. One that is not valid becomes an operation that is refused without disturbing the others: a
// put of the empty key.
Operation operation_of(const hostmap_operation& given) noexcept {
  Operation operation;
  if (given.kind > HOSTMAP_OP_INCREMENT_STORED_DOUBLE || given.reserved != 0 || !are_given(given.key) ||
      !are_given(given.value) || !are_given(given.expected)) {
    return operation;
  }
  const auto kind = static_cast<Operation::Kind>(given.kind);
  if (has_ttl(kind) && !read_ttl(given.ttl_ms, operation.ttl)) return Operation();
  operation.kind = kind;
  operation.key = bytes_of(given.key);
  operation.value = bytes_of(given.value);
  operation.expected = bytes_of(given.expected);
  operation.by = given.by;
  operation.initial = given.initial;
  operation.token = {given.token.low, given.token.high};
  return operation;
}

void give_outcome(const hostmap_operation& operation, const Outcome& found, hostmap_outcome& outcome) noexcept {
  outcome = {static_cast<std::int32_t>(found.status.code()), 0, found.number, nullptr, 0};
  if (operation.kind != HOSTMAP_OP_GET || !found.status.ok()) return;
  outcome.value = copy_of(found.value);
  if (outcome.value == nullptr) {
    outcome.status = HOSTMAP_FULL;
  } else {
    outcome.value_size = found.value.size();
  }
}

// The keys of C as a range of keys for C++, without a copy. (clang 14 cannot compile libstdc++'s views::transform.)
class Keys {
 public:
  class Iterator {
   public:
    using value_type = Bytes;
    using difference_type = std::ptrdiff_t;
    Iterator() = default;
    explicit Iterator(const hostmap_bytes* at) noexcept : at_(at) {}
    Bytes operator*() const noexcept { return bytes_of(*at_); }
    Iterator& operator++() noexcept {
      ++at_;
      return *this;
    }
    Iterator operator++(int) noexcept { return Iterator(at_++); }
    friend bool operator==(const Iterator&, const Iterator&) noexcept = default;

   private:
    const hostmap_bytes* at_ = nullptr;
  };
  Keys(const hostmap_bytes* keys, std::size_t count) noexcept : begin_(keys), end_(keys + count) {}
  Iterator begin() const noexcept { return Iterator(begin_); }
  Iterator end() const noexcept { return Iterator(end_); }

 private:
  const hostmap_bytes* begin_;
  const hostmap_bytes* end_;
};

}  // namespace

int hostmap_multi_get(hostmap_map* map, const hostmap_bytes* keys, size_t count, hostmap_value* values, void* buffer,
                      size_t buffer_size, size_t* used) {
  if (!is_array(values, count)) return refuse_array(values);
  if (used == nullptr) return refuse_result();
  const bool valid = is_valid(map, keys, count) && is_given(buffer, buffer_size);
  std::fill_n(values, count, hostmap_value{valid ? HOSTMAP_FULL : HOSTMAP_INVALID, 0, 0, 0});
  if (!valid) return refuse_arguments(map);
  return guarded([&] {
    const std::span<std::byte> room(static_cast<std::byte*>(buffer), buffer_size);
    std::size_t needed = 0;
    std::size_t first = count;  // of the errors of their own
    Status why;
    map->client.multi_get_into(
        Keys(keys, count), room, [&](std::size_t i, const hostmap::Result<std::span<std::byte>>& value) {
          const std::size_t bytes = value ? value->size() : value.status().size();
          const std::size_t offset = value ? static_cast<std::size_t>(value->data() - room.data()) : 0;
          values[i] = {static_cast<std::int32_t>(value.status().code()), 0, offset, bytes};
          needed += bytes;
          if (value || value.status() == StatusCode::kNotFound || i > first) return;
          first = i;
          why = value.status();
        });
    *used = needed;
    return report(why);
  });
}

int hostmap_multi_put(hostmap_map* map, const hostmap_pair* pairs, size_t count, int32_t* statuses) {
  return multi_put(map, pairs, count, hostmap::kForever, statuses);
}

int hostmap_multi_put_ttl(hostmap_map* map, const hostmap_pair* pairs, size_t count, int64_t ttl_ms,
                          int32_t* statuses) {
  std::chrono::milliseconds ttl;
  if (!read_ttl(ttl_ms, ttl)) {
    if (is_array(statuses, count)) refuse_each(count, statuses);
    return refuse_ttl();
  }
  return multi_put(map, pairs, count, ttl, statuses);
}

int hostmap_multi_erase(hostmap_map* map, const hostmap_bytes* keys, size_t count, int32_t* statuses) {
  if (!is_array(statuses, count)) return refuse_array(statuses);
  refuse_each(count, statuses);
  if (!is_valid(map, keys, count)) return refuse_arguments(map);
  return with_statuses(count, statuses, [&] {
    std::vector<std::string_view> views(count);
    std::transform(keys, keys + count, views.begin(), view_of);
    return map->client.multi_erase(std::span<const std::string_view>(views));
  });
}

int hostmap_apply(hostmap_map* map, const hostmap_operation* operations, size_t count, hostmap_outcome* outcomes) {
  if (!is_array(outcomes, count)) return refuse_array(outcomes);
  const bool valid = map != nullptr && is_given(operations, count);
  std::fill_n(outcomes, count, hostmap_outcome{valid ? HOSTMAP_FULL : HOSTMAP_INVALID, 0, 0, nullptr, 0});
  if (!valid) return refuse_arguments(map);
  return guarded([&] {
    std::vector<Operation> sent(count);
    std::vector<Outcome> found(count);
    std::transform(operations, operations + count, sent.begin(), operation_of);
    const int status = report(map->client.apply(sent, found));
    for (std::size_t i = 0; i < count; ++i) give_outcome(operations[i], found[i], outcomes[i]);
    return status;
  });
}
