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

int accept_if(bool valid, const hostmap_map* map) noexcept {
  return valid ? static_cast<int>(HOSTMAP_OK) : refuse_arguments(map);
}

// A result without an answer.
void set_status(std::int32_t& result, int status) noexcept { result = status; }
void set_status(hostmap_value& result, int status) noexcept { result = {status, 0, 0, 0}; }
void set_status(hostmap_outcome& result, int status) noexcept { result = {status, 0, 0, nullptr, 0}; }

// The order of each call of this file. A call without a place for its results is refused and writes nothing. Then `check` returns
// HOSTMAP_OK, or refuses the call as a whole and so each of its items. Each result is HOSTMAP_FULL until `call` stores its answer:
// nothing but a lack of memory prevents one.
template <typename Result, typename Check, typename Call>
int with_results(Result* results, std::size_t count, const Check& check, const Call& call) noexcept {
  if (!is_array(results, count)) return refuse_array(results);
  const int refused = check();
  const int status = refused == HOSTMAP_OK ? static_cast<int>(HOSTMAP_FULL) : refused;
  std::for_each(results, results + count, [status](Result& result) { set_status(result, status); });
  return refused == HOSTMAP_OK ? guarded(call) : refused;
}

std::string_view view_of(const hostmap_bytes& bytes) noexcept {
  return {static_cast<const char*>(bytes.data), bytes.data == nullptr ? 0 : bytes.size};
}

// Stores a status for each of `count` items; returns HOSTMAP_OK, or the first one that is an error of its own.
int give_statuses(const std::vector<Status>& found, std::size_t count, std::int32_t* statuses) noexcept {
  if (found.size() < count) return out_of_memory();
  const Status* first = nullptr;
  for (std::size_t i = 0; i < count; ++i) {
    statuses[i] = static_cast<std::int32_t>(found[i].code());
    if (first == nullptr && !found[i].ok() && !(found[i] == StatusCode::kNotFound)) first = &found[i];
  }
  return first == nullptr ? static_cast<int>(HOSTMAP_OK) : report(*first);
}

int multi_put(hostmap_map* map, const hostmap_pair* pairs, std::size_t count, std::int64_t ttl_ms,
              std::int32_t* statuses) noexcept {
  std::chrono::milliseconds ttl = hostmap::kForever;
  const auto check = [&] {
    if (!is_valid(map, pairs, count)) return refuse_arguments(map);
    return read_ttl(ttl_ms, ttl, KeepTtl::kAllowed) ? static_cast<int>(HOSTMAP_OK) : refuse_ttl(KeepTtl::kAllowed);
  };
  return with_results(statuses, count, check, [&] {
    std::vector<KeyValue> entries(count);
    std::transform(pairs, pairs + count, entries.begin(), [](const hostmap_pair& pair) {
      return KeyValue{bytes_of(pair.key), bytes_of(pair.value)};
    });
    return give_statuses(map->client.multi_put(entries, ttl), count, statuses);
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

// May the key keep the end that it has?
KeepTtl keep_ttl_of(Operation::Kind kind) noexcept {
  return kind == Operation::Kind::kPut || kind == Operation::Kind::kReplace ? KeepTtl::kAllowed : KeepTtl::kRefused;
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
  if (has_ttl(kind) && !read_ttl(given.ttl_ms, operation.ttl, keep_ttl_of(kind))) return Operation();
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
  if (used == nullptr) return refuse_result();
  const auto check = [&] { return accept_if(is_valid(map, keys, count) && is_given(buffer, buffer_size), map); };
  return with_results(values, count, check, [&] {
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
  return multi_put(map, pairs, count, HOSTMAP_FOREVER, statuses);
}

int hostmap_multi_put_ttl(hostmap_map* map, const hostmap_pair* pairs, size_t count, int64_t ttl_ms,
                          int32_t* statuses) {
  return multi_put(map, pairs, count, ttl_ms, statuses);
}

int hostmap_multi_erase(hostmap_map* map, const hostmap_bytes* keys, size_t count, int32_t* statuses) {
  const auto check = [&] { return accept_if(is_valid(map, keys, count), map); };
  return with_results(statuses, count, check, [&] {
    std::vector<std::string_view> views(count);
    std::transform(keys, keys + count, views.begin(), view_of);
    return give_statuses(map->client.multi_erase(std::span<const std::string_view>(views)), count, statuses);
  });
}

int hostmap_apply(hostmap_map* map, const hostmap_operation* operations, size_t count, hostmap_outcome* outcomes) {
  const auto check = [&] { return accept_if(map != nullptr && is_given(operations, count), map); };
  return with_results(outcomes, count, check, [&] {
    std::vector<Operation> sent(count);
    std::vector<Outcome> found(count);
    std::transform(operations, operations + count, sent.begin(), operation_of);
    const int status = report(map->client.apply(sent, found));
    for (std::size_t i = 0; i < count; ++i) give_outcome(operations[i], found[i], outcomes[i]);
    return status;
  });
}
