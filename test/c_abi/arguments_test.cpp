// Arguments that are never valid are refused with a sentence, and messages belong to their thread.
#include <cstdlib>
#include <functional>
#include <string>
#include <thread>
#include <vector>

#include <hostmap/status.hpp>

#include "c_abi/connected.hpp"

namespace hostmap::test {
namespace {

using CArguments = ConnectedInC;

void expect_refused(int result, std::string_view words) {
  EXPECT_EQ(result, HOSTMAP_INVALID);
  EXPECT_NE(std::string_view(hostmap_message()).find(words), std::string_view::npos) << hostmap_message();
}

TEST_F(CArguments, ANullMapIsRefusedByEachFunction) {
  void* value = nullptr;
  std::size_t size = 0;
  std::int64_t number = 0;
  std::uint64_t count = 0;
  std::int32_t status = 0;
  double fraction = 0;
  hostmap_token token{1, 1};
  hostmap_value found{};
  hostmap_operation operation{};
  hostmap_outcome outcome{};
  hostmap_scan* scan = nullptr;
  const hostmap_bytes key{"k", 1};
  const hostmap_pair pair{{"k", 1}, {"v", 1}};
  const std::vector<int> results = {hostmap_set_timeout(nullptr, 1),
                                    hostmap_get(nullptr, "k", 1, nullptr, 0, &size),
                                    hostmap_get_copy(nullptr, "k", 1, &value, &size),
                                    hostmap_exists(nullptr, "k", 1),
                                    hostmap_ttl(nullptr, "k", 1, &number),
                                    hostmap_multi_get(nullptr, &key, 1, &found, nullptr, 0, &size),
                                    hostmap_size(nullptr, &count),
                                    hostmap_put(nullptr, "k", 1, "v", 1),
                                    hostmap_put_ttl(nullptr, "k", 1, "v", 1, 1),
                                    hostmap_put_async(nullptr, "k", 1, "v", 1),
                                    hostmap_put_async_ttl(nullptr, "k", 1, "v", 1, 1),
                                    hostmap_flush(nullptr),
                                    hostmap_insert(nullptr, "k", 1, "v", 1),
                                    hostmap_insert_ttl(nullptr, "k", 1, "v", 1, 1),
                                    hostmap_replace(nullptr, "k", 1, "v", 1),
                                    hostmap_replace_ttl(nullptr, "k", 1, "v", 1, 1),
                                    hostmap_erase(nullptr, "k", 1),
                                    hostmap_expire(nullptr, "k", 1, 1),
                                    hostmap_expire_async(nullptr, "k", 1, 1),
                                    hostmap_append(nullptr, "k", 1, "v", 1, &count),
                                    hostmap_erase_prefix(nullptr, "k", 1, &count),
                                    hostmap_clear(nullptr),
                                    hostmap_increment(nullptr, "k", 1, 1, &number),
                                    hostmap_increment_from(nullptr, "k", 1, 1, 1, 1, &number),
                                    hostmap_increment_double(nullptr, "k", 1, 1, 1, 1, &fraction),
                                    hostmap_increment_stored(nullptr, "k", 1, 1, 1, 1, &number),
                                    hostmap_increment_stored_double(nullptr, "k", 1, 1, 1, 1, &fraction),
                                    hostmap_compare_exchange(nullptr, "k", 1, "v", 1, "w", 1),
                                    hostmap_compare_erase(nullptr, "k", 1, "v", 1),
                                    hostmap_get_with_token(nullptr, "k", 1, &value, &size, &token),
                                    hostmap_put_if(nullptr, "k", 1, "v", 1, &token),
                                    hostmap_erase_if(nullptr, "k", 1, &token),
                                    hostmap_exchange(nullptr, "k", 1, "v", 1, &value, &size),
                                    hostmap_take(nullptr, "k", 1, &value, &size),
                                    hostmap_insert_or_get(nullptr, "k", 1, "v", 1, &value, &size),
                                    hostmap_multi_put(nullptr, &pair, 1, &status),
                                    hostmap_multi_put_ttl(nullptr, &pair, 1, 1, &status),
                                    hostmap_multi_erase(nullptr, &key, 1, &status),
                                    hostmap_apply(nullptr, &operation, 1, &outcome),
                                    hostmap_scan_begin(nullptr, "k", 1, 0, &scan),
                                    hostmap_wait(nullptr, "k", 1, "v", 1, 0, &value, &size),
                                    hostmap_lease(nullptr, "k", 1, 1, 0, &count),
                                    hostmap_release(nullptr, "k", 1, 1),
                                    hostmap_compute_begin(nullptr, "k", 1, 1, &value, &size, &count),
                                    hostmap_compute_put(nullptr, "k", 1, "v", 1, 1, 1),
                                    hostmap_compute_fail(nullptr, "k", 1, HOSTMAP_FULL, 1)};
  for (std::size_t i = 0; i < results.size(); ++i) EXPECT_EQ(results[i], HOSTMAP_INVALID) << "the call number " << i;
  expect_refused(hostmap_flush(nullptr), "the map is a null pointer");
  hostmap_close(nullptr);
  hostmap_scan_end(nullptr);
  hostmap_free(nullptr);
}

TEST_F(CArguments, ANullPointerWithASizeIsRefusedAndOneWithoutIsEmpty) {
  const char* words = "null, but their size is not 0";
  std::size_t size = 0;
  expect_refused(hostmap_put(map_, nullptr, 1, "v", 1), words);
  expect_refused(hostmap_put(map_, "k", 1, nullptr, 1), words);
  expect_refused(hostmap_get(map_, "k", 1, nullptr, 1, &size), words);
  expect_refused(hostmap_compare_exchange(map_, "k", 1, nullptr, 1, "v", 1), words);
  expect_refused(hostmap_compare_exchange(map_, "k", 1, "v", 1, nullptr, 1), words);
  const hostmap_bytes keys[] = {{"k", 1}, {nullptr, 1}};
  std::int32_t statuses[2];
  hostmap_value values[2];
  expect_refused(hostmap_multi_erase(map_, keys, 2, statuses), words);
  expect_refused(hostmap_multi_get(map_, keys, 2, values, nullptr, 0, &size), words);
  expect_refused(hostmap_multi_erase(map_, nullptr, 2, statuses), words);
  EXPECT_EQ(hostmap_put(map_, "k", 1, nullptr, 0), HOSTMAP_OK);
  EXPECT_EQ(get("k"), "");
  expect_refused(hostmap_put(map_, nullptr, 0, "v", 1), "the key is empty");
  const std::string long_key(65'537, 'k');
  EXPECT_EQ(put(long_key, "v"), HOSTMAP_TOO_LARGE);
  EXPECT_EQ(put(long_key.substr(1), "v"), HOSTMAP_OK);
}

// Such as -1, the result of a function that has failed. No byte of it is read.
TEST_F(CArguments, ASizeThatNothingHasIsTooLarge) {
  ASSERT_EQ(put("k", "v"), HOSTMAP_OK);
  for (const std::size_t size : {SIZE_MAX, SIZE_MAX - 7, SIZE_MAX / 2 + 1, std::size_t{1} << 47}) {
    const char byte = 'x';
    void* value = nullptr;
    std::size_t value_size = 0;
    std::int64_t number = 0;
    std::uint64_t count = 0;
    double fraction = 0;
    std::int32_t status = HOSTMAP_OK;
    hostmap_token token{1, 1};
    hostmap_value found{};
    hostmap_outcome outcome{};
    hostmap_scan* scan = nullptr;
    char buffer[8];
    const hostmap_bytes key{&byte, size};
    const hostmap_pair by_key{{&byte, size}, {"v", 1}};
    const hostmap_pair by_value{{"k", 1}, {&byte, size}};
    const std::vector<int> of_keys = {hostmap_get(map_, &byte, size, buffer, sizeof buffer, &value_size),
                                      hostmap_get_copy(map_, &byte, size, &value, &value_size),
                                      hostmap_exists(map_, &byte, size),
                                      hostmap_ttl(map_, &byte, size, &number),
                                      hostmap_multi_get(map_, &key, 1, &found, buffer, sizeof buffer, &value_size),
                                      hostmap_put(map_, &byte, size, "v", 1),
                                      hostmap_put_ttl(map_, &byte, size, "v", 1, 1),
                                      hostmap_put_async(map_, &byte, size, "v", 1),
                                      hostmap_put_async_ttl(map_, &byte, size, "v", 1, 1),
                                      hostmap_insert(map_, &byte, size, "v", 1),
                                      hostmap_insert_ttl(map_, &byte, size, "v", 1, 1),
                                      hostmap_replace(map_, &byte, size, "v", 1),
                                      hostmap_replace_ttl(map_, &byte, size, "v", 1, 1),
                                      hostmap_erase(map_, &byte, size),
                                      hostmap_expire(map_, &byte, size, 1),
                                      hostmap_expire_async(map_, &byte, size, 1),
                                      hostmap_append(map_, &byte, size, "v", 1, &count),
                                      hostmap_increment(map_, &byte, size, 1, &number),
                                      hostmap_increment_from(map_, &byte, size, 1, 1, 1, &number),
                                      hostmap_increment_double(map_, &byte, size, 1, 1, 1, &fraction),
                                      hostmap_increment_stored(map_, &byte, size, 1, 1, 1, &number),
                                      hostmap_increment_stored_double(map_, &byte, size, 1, 1, 1, &fraction),
                                      hostmap_compare_exchange(map_, &byte, size, "v", 1, "w", 1),
                                      hostmap_compare_erase(map_, &byte, size, "v", 1),
                                      hostmap_get_with_token(map_, &byte, size, &value, &value_size, &token),
                                      hostmap_put_if(map_, &byte, size, "v", 1, &token),
                                      hostmap_erase_if(map_, &byte, size, &token),
                                      hostmap_exchange(map_, &byte, size, "v", 1, &value, &value_size),
                                      hostmap_take(map_, &byte, size, &value, &value_size),
                                      hostmap_insert_or_get(map_, &byte, size, "v", 1, &value, &value_size),
                                      hostmap_multi_put(map_, &by_key, 1, &status),
                                      hostmap_multi_put_ttl(map_, &by_key, 1, 1, &status),
                                      hostmap_multi_erase(map_, &key, 1, &status),
                                      hostmap_wait(map_, &byte, size, "v", 1, 0, &value, &value_size),
                                      hostmap_lease(map_, &byte, size, 1, 0, &count),
                                      hostmap_release(map_, &byte, size, 1),
                                      hostmap_compute_begin(map_, &byte, size, 1, &value, &value_size, &count),
                                      hostmap_compute_put(map_, &byte, size, "v", 1, 1, 1),
                                      hostmap_compute_fail(map_, &byte, size, HOSTMAP_FULL, 1)};
    for (std::size_t i = 0; i < of_keys.size(); ++i) {
      EXPECT_EQ(of_keys[i], HOSTMAP_TOO_LARGE) << "a key of " << size << " bytes, the call number " << i;
    }
    const std::vector<int> of_values = {hostmap_put(map_, "k", 1, &byte, size),
                                        hostmap_put_ttl(map_, "k", 1, &byte, size, 1000),
                                        hostmap_put_async(map_, "k", 1, &byte, size),
                                        hostmap_put_async_ttl(map_, "k", 1, &byte, size, 1000),
                                        hostmap_insert(map_, "absent", 6, &byte, size),
                                        hostmap_insert_ttl(map_, "absent", 6, &byte, size, 1000),
                                        hostmap_replace(map_, "k", 1, &byte, size),
                                        hostmap_replace_ttl(map_, "k", 1, &byte, size, 1000),
                                        hostmap_append(map_, "k", 1, &byte, size, &count),
                                        hostmap_compare_exchange(map_, "k", 1, "v", 1, &byte, size),
                                        hostmap_compare_exchange(map_, "k", 1, &byte, size, "w", 1),
                                        hostmap_put_if(map_, "k", 1, &byte, size, &token),
                                        hostmap_exchange(map_, "k", 1, &byte, size, &value, &value_size),
                                        hostmap_insert_or_get(map_, "absent", 6, &byte, size, &value, &value_size),
                                        hostmap_multi_put(map_, &by_value, 1, &status),
                                        hostmap_multi_put_ttl(map_, &by_value, 1, 1000, &status),
                                        hostmap_compute_put(map_, "absent", 6, &byte, size, 1, 1000)};
    for (std::size_t i = 0; i < of_values.size(); ++i) {
      EXPECT_EQ(of_values[i], HOSTMAP_TOO_LARGE) << "a value of " << size << " bytes, the call number " << i;
    }
    for (std::uint32_t kind = HOSTMAP_OP_PUT; kind <= HOSTMAP_OP_INCREMENT_STORED_DOUBLE; ++kind) {
      hostmap_operation operation{};
      operation.kind = kind;
      operation.ttl_ms = 1000;
      operation.key = {&byte, size};
      EXPECT_EQ(hostmap_apply(map_, &operation, 1, &outcome), HOSTMAP_OK);
      EXPECT_EQ(outcome.status, HOSTMAP_TOO_LARGE) << kind;
    }
    // No key has such a prefix, and no value is equal to such a value.
    EXPECT_EQ(hostmap_erase_prefix(map_, &byte, size, &count), HOSTMAP_OK) << hostmap_message();
    EXPECT_EQ(count, 0u);
    ASSERT_EQ(hostmap_scan_begin(map_, &byte, size, 1, &scan), HOSTMAP_OK) << hostmap_message();
    const void* seen;
    EXPECT_EQ(hostmap_scan_next(scan, &seen, &value_size, nullptr, nullptr), HOSTMAP_NOT_FOUND);
    hostmap_scan_end(scan);
    ASSERT_EQ(hostmap_wait(map_, "k", 1, &byte, size, 0, &value, &value_size), HOSTMAP_OK);
    EXPECT_EQ(owned(value, value_size), "v");
    EXPECT_EQ(get("k"), "v");
    EXPECT_EQ(get("absent"), "HOSTMAP_NOT_FOUND");
  }
}

TEST_F(CArguments, ACountThatNoArrayHasIsRefusedAndNothingIsWritten) {
  const hostmap_bytes key{"k", 1};
  const hostmap_pair pair{{"k", 1}, {"v", 1}};
  std::int32_t status = 99;
  hostmap_value value{99, 0, 0, 0};
  hostmap_operation operation{};
  hostmap_outcome outcome{99, 0, 0, nullptr, 0};
  std::size_t used = 0;
  for (const std::size_t count : {SIZE_MAX, SIZE_MAX / sizeof(hostmap_pair), SIZE_MAX / 2 / sizeof(hostmap_pair)}) {
    const char* words = "count is more than memory can hold";
    expect_refused(hostmap_multi_get(map_, &key, count, &value, nullptr, 0, &used), words);
    expect_refused(hostmap_multi_put(map_, &pair, count, &status), words);
    expect_refused(hostmap_multi_put_ttl(map_, &pair, count, 1, &status), words);
    expect_refused(hostmap_multi_put_ttl(map_, &pair, count, 0, &status), words);
    expect_refused(hostmap_multi_erase(map_, &key, count, &status), words);
    expect_refused(hostmap_apply(map_, &operation, count, &outcome), words);
  }
  EXPECT_EQ(status, 99);
  EXPECT_EQ(value.status, 99);
  EXPECT_EQ(outcome.status, 99);
}

// The place for the results is checked first, whatever else is wrong; then all other arguments, of which each item gets the refusal.
TEST_F(CArguments, ARefusedCallOfSeveralKeysRefusesEachOfThem) {
  const hostmap_bytes keys[] = {{"k", 1}, {"m", 1}};
  const hostmap_bytes bad_keys[] = {{"k", 1}, {nullptr, 1}};
  const hostmap_pair pairs[] = {{{"k", 1}, {"v", 1}}, {{"m", 1}, {"v", 1}}};
  const hostmap_pair bad_pairs[] = {{{"k", 1}, {"v", 1}}, {{"m", 1}, {nullptr, 1}}};
  const hostmap_operation operations[2] = {};
  char buffer[8];
  std::size_t used = 99;
  constexpr std::int64_t kBadTtl = 0;

  const char* no_place = "a pointer to a result is null";
  expect_refused(hostmap_multi_get(nullptr, bad_keys, 2, nullptr, nullptr, 1, &used), no_place);
  expect_refused(hostmap_multi_put(nullptr, bad_pairs, 2, nullptr), no_place);
  expect_refused(hostmap_multi_put_ttl(nullptr, bad_pairs, 2, kBadTtl, nullptr), no_place);
  expect_refused(hostmap_multi_erase(nullptr, bad_keys, 2, nullptr), no_place);
  expect_refused(hostmap_apply(nullptr, nullptr, 2, nullptr), no_place);
  hostmap_value untouched[2] = {{99, 1, 1, 1}, {99, 1, 1, 1}};
  expect_refused(hostmap_multi_get(map_, keys, 2, untouched, buffer, sizeof buffer, nullptr), no_place);
  EXPECT_EQ(untouched[0].status, 99);

  const auto refuses_each = [](const char* words, const auto& call) {
    std::int32_t statuses[2] = {99, 99};
    expect_refused(call(statuses), words);
    EXPECT_EQ(statuses[0], HOSTMAP_INVALID);
    EXPECT_EQ(statuses[1], HOSTMAP_INVALID);
  };
  const char* no_map = "the map is a null pointer";
  const char* no_bytes = "null, but their size is not 0";
  refuses_each(no_map, [&](auto* statuses) { return hostmap_multi_put(nullptr, pairs, 2, statuses); });
  refuses_each(no_map, [&](auto* statuses) { return hostmap_multi_put_ttl(nullptr, pairs, 2, kBadTtl, statuses); });
  refuses_each(no_map, [&](auto* statuses) { return hostmap_multi_erase(nullptr, keys, 2, statuses); });
  refuses_each(no_bytes, [&](auto* statuses) { return hostmap_multi_put(map_, nullptr, 2, statuses); });
  refuses_each(no_bytes, [&](auto* statuses) { return hostmap_multi_put_ttl(map_, bad_pairs, 2, kBadTtl, statuses); });
  refuses_each(no_bytes, [&](auto* statuses) { return hostmap_multi_erase(map_, bad_keys, 2, statuses); });
  refuses_each("a time to live is above 0 ms",
               [&](auto* statuses) { return hostmap_multi_put_ttl(map_, pairs, 2, kBadTtl, statuses); });

  const auto refuses_each_get = [&](const char* words, hostmap_map* map, const hostmap_bytes* given, void* room) {
    hostmap_value values[2] = {{99, 1, 1, 1}, {99, 1, 1, 1}};
    expect_refused(hostmap_multi_get(map, given, 2, values, room, sizeof buffer, &used), words);
    for (const hostmap_value& value : values) {
      EXPECT_EQ(value.status, HOSTMAP_INVALID);
      EXPECT_EQ(value.size, 0u);
    }
  };
  refuses_each_get(no_map, nullptr, keys, buffer);
  refuses_each_get(no_bytes, map_, bad_keys, buffer);
  refuses_each_get(no_bytes, map_, nullptr, buffer);
  refuses_each_get(no_bytes, map_, keys, nullptr);
  EXPECT_EQ(used, 99u);

  for (hostmap_map* const map : {static_cast<hostmap_map*>(nullptr), map_}) {
    hostmap_outcome outcomes[2] = {{99, 1, 1, buffer, 1}, {99, 1, 1, buffer, 1}};
    expect_refused(hostmap_apply(map, map == nullptr ? operations : nullptr, 2, outcomes),
                   map == nullptr ? no_map : no_bytes);
    for (const hostmap_outcome& outcome : outcomes) {
      EXPECT_EQ(outcome.status, HOSTMAP_INVALID);
      EXPECT_EQ(outcome.value, nullptr);
    }
  }
  EXPECT_EQ(get("k"), "HOSTMAP_NOT_FOUND");
}

TEST_F(CArguments, AMissingPlaceForAResultIsRefused) {
  const char* words = "a pointer to a result is null";
  void* value = nullptr;
  std::size_t size = 0;
  EXPECT_EQ(put("k", "v"), HOSTMAP_OK);
  expect_refused(hostmap_connect(nullptr, nullptr), words);
  expect_refused(hostmap_get_copy(map_, "k", 1, nullptr, &size), words);
  expect_refused(hostmap_get_copy(map_, "k", 1, &value, nullptr), words);
  expect_refused(hostmap_ttl(map_, "k", 1, nullptr), words);
  expect_refused(hostmap_size(map_, nullptr), words);
  expect_refused(hostmap_take(map_, "k", 1, nullptr, &size), words);
  expect_refused(hostmap_exchange(map_, "k", 1, "w", 1, &value, nullptr), words);
  expect_refused(hostmap_get_with_token(map_, "k", 1, &value, &size, nullptr), words);
  expect_refused(hostmap_put_if(map_, "k", 1, "w", 1, nullptr), "the token is a null pointer");
  expect_refused(hostmap_scan_begin(map_, nullptr, 0, 0, nullptr), words);
  expect_refused(hostmap_scan_next(nullptr, nullptr, nullptr, nullptr, nullptr), "the scan is a null pointer");
  expect_refused(hostmap_lease(map_, "k", 1, 1000, 0, nullptr), words);
  expect_refused(hostmap_apply(map_, nullptr, 1, nullptr), words);
  EXPECT_EQ(get("k"), "v");
}

TEST_F(CArguments, TimesToLiveThatAreNeverValid) {
  const char* words = "a time to live is above 0 ms";
  const hostmap_pair pair{{"k", 1}, {"v", 1}};
  for (const std::int64_t ttl : {std::int64_t{0}, std::int64_t{-1}, INT64_MIN, std::int64_t{HOSTMAP_FOREVER} - 1}) {
    expect_refused(hostmap_put_ttl(map_, "k", 1, "v", 1, ttl), words);
    expect_refused(hostmap_put_async_ttl(map_, "k", 1, "v", 1, ttl), words);
    expect_refused(hostmap_insert_ttl(map_, "k", 1, "v", 1, ttl), words);
    expect_refused(hostmap_replace_ttl(map_, "k", 1, "v", 1, ttl), words);
    expect_refused(hostmap_expire(map_, "k", 1, ttl), words);
    expect_refused(hostmap_expire_async(map_, "k", 1, ttl), words);
    expect_refused(hostmap_increment_from(map_, "k", 1, 1, 1, ttl, nullptr), words);
    std::int32_t status = 99;
    expect_refused(hostmap_multi_put_ttl(map_, &pair, 1, ttl, &status), words);
    EXPECT_EQ(status, HOSTMAP_INVALID) << "of the pair itself";
  }
  expect_refused(hostmap_insert_ttl(map_, "k", 1, "v", 1, HOSTMAP_KEEP_TTL), words);
  expect_refused(hostmap_expire(map_, "k", 1, HOSTMAP_KEEP_TTL), words);
  expect_refused(hostmap_expire_async(map_, "k", 1, HOSTMAP_KEEP_TTL), words);
  expect_refused(hostmap_increment_from(map_, "k", 1, 1, 1, HOSTMAP_KEEP_TTL, nullptr), words);
  for (const std::uint32_t kind : {HOSTMAP_OP_INSERT, HOSTMAP_OP_EXPIRE, HOSTMAP_OP_INCREMENT}) {
    hostmap_operation operation{};
    operation.kind = kind;
    operation.key = {"k", 1};
    operation.ttl_ms = HOSTMAP_KEEP_TTL;
    hostmap_outcome outcome{};
    EXPECT_EQ(hostmap_apply(map_, &operation, 1, &outcome), HOSTMAP_OK);
    EXPECT_EQ(outcome.status, HOSTMAP_INVALID) << kind;
  }
  EXPECT_EQ(get("k"), "HOSTMAP_NOT_FOUND");
  expect_refused(hostmap_compute_fail(map_, "k", 1, HOSTMAP_OK, 1), "a task fails with one of the statuses");
  expect_refused(hostmap_compute_fail(map_, "k", 1, 16, 1), "a task fails with one of the statuses");
  expect_refused(hostmap_compute_put(map_, "k", 1, "v", 1, 1000, 0), "0 is the number of no task");
}

TEST_F(CArguments, OptionsOfAnotherVersion) {
  hostmap_map* map = map_;
  const auto refused = [&](const std::function<void(hostmap_options&)>& change, std::string_view words) {
    hostmap_options chosen = options();
    change(chosen);
    expect_refused(hostmap_connect(&chosen, &map), words);
    EXPECT_EQ(map, nullptr);
  };
  refused([](hostmap_options& chosen) { chosen.struct_size = 0; }, "struct_size");
  refused([](hostmap_options& chosen) { chosen.struct_size -= 1; }, "struct_size");
  refused([](hostmap_options& chosen) { chosen.struct_size = SIZE_MAX; }, "struct_size");
  for (std::size_t size = 0; size < sizeof(hostmap_options); ++size) {
    refused([&](hostmap_options& chosen) { chosen.struct_size = size; }, "struct_size");
  }
  // Each is smaller than the size in it: nothing beyond it is read.
  for (const std::size_t size : {std::size_t{4097}, std::size_t{1} << 32, SIZE_MAX / 2, SIZE_MAX - 1}) {
    refused([&](hostmap_options& chosen) { chosen.struct_size = size; }, "struct_size");
  }
  refused([](hostmap_options& chosen) { chosen.flags = 8; }, "flags");
  refused([](hostmap_options& chosen) { chosen.reserved = 1; }, "reserved");
  refused([](hostmap_options& chosen) { chosen.flags = HOSTMAP_READ_ONLY | HOSTMAP_READS_BY_RING; }, "has no ring");
  refused([](hostmap_options& chosen) { chosen.name = ""; }, "name");
  // Of a newer header: a field behind those that this library has.
  struct Newer {
    hostmap_options known;
    std::uint64_t more;
  } newer{options(), 0};
  newer.known.struct_size = sizeof newer;
  EXPECT_EQ(hostmap_connect(&newer.known, &map), HOSTMAP_OK) << hostmap_message();
  hostmap_close(map);
  newer.more = 1;
  expect_refused(hostmap_connect(&newer.known, &map), "upgrade libhostmap");
  EXPECT_EQ(map, nullptr);
}

TEST_F(CArguments, MessagesBelongToTheirThreadAndAreCutAtACharacter) {
  EXPECT_EQ(get("absent"), "HOSTMAP_NOT_FOUND");
  EXPECT_STREQ(hostmap_message(), "no such key");
  std::thread([] { EXPECT_STREQ(hostmap_message(), ""); }).join();
  // A success leaves it as it is.
  EXPECT_EQ(put("k", "v"), HOSTMAP_OK);
  EXPECT_STREQ(hostmap_message(), "no such key");
  for (const std::size_t pad : {0u, 1u, 2u}) {
    std::string name = "/" + std::string(pad, 'x');
    for (int i = 0; i < 300; ++i) name += "\u00e4\u20ac";
    hostmap_options chosen = options();
    chosen.dir = name.c_str();
    hostmap_map* map = nullptr;
    EXPECT_NE(hostmap_connect(&chosen, &map), HOSTMAP_OK);
    const std::string message = hostmap_message();
    EXPECT_GT(message.size(), 450u);
    // Whole characters: each begins with a byte that gives how many follow.
    for (std::size_t at = 0; at < message.size();) {
      const auto first = static_cast<unsigned char>(message[at]);
      at += first < 0x80 ? 1 : first < 0xE0 ? 2 : 3;
      EXPECT_LE(at, message.size());
    }
  }
}

TEST(CStatuses, EachHasItsNameAndItsSentence) {
  for (int status = HOSTMAP_OK; status <= HOSTMAP_INTERNAL; ++status) {
    EXPECT_EQ(hostmap_describe(status), std::string(describe(static_cast<StatusCode>(status))));
    EXPECT_TRUE(std::string_view(hostmap_status_name(status)).starts_with("HOSTMAP_"));
  }
  EXPECT_STREQ(hostmap_status_name(HOSTMAP_NOT_FOUND), "HOSTMAP_NOT_FOUND");
  EXPECT_STREQ(hostmap_status_name(HOSTMAP_OTHER_VERSION), "HOSTMAP_OTHER_VERSION");
  for (const int unknown : {-1, 16, 256, INT_MAX}) {
    EXPECT_STREQ(hostmap_status_name(unknown), "HOSTMAP_?");
    EXPECT_STREQ(hostmap_describe(unknown), "unknown status");
  }
}

}  // namespace
}  // namespace hostmap::test
