// Each function of the C interface on a server: what it does and which status it returns. (What the C++ client promises beyond that
// is tested there.)
#include <bit>
#include <map>
#include <set>
#include <string>
#include <sys/wait.h>
#include <thread>
#include <unistd.h>
#include <vector>

#include <hostmap/version.hpp>

#include "c_abi/connected.hpp"
#include "support/child.hpp"

namespace hostmap::test {
namespace {

using CCalls = ConnectedInC;

hostmap_bytes bytes(std::string_view text) { return {text.data(), text.size()}; }

TEST_F(CCalls, GetCopiesTheValueOrNamesTheSizeThatIsNeeded) {
  EXPECT_EQ(put("k", "value"), HOSTMAP_OK);
  char buffer[5];
  std::size_t size = 99;
  EXPECT_EQ(hostmap_get(map_, "k", 1, buffer, 5, &size), HOSTMAP_OK);
  EXPECT_EQ(std::string_view(buffer, size), "value");
  EXPECT_EQ(hostmap_get(map_, "k", 1, buffer, 5, nullptr), HOSTMAP_OK);
  size = 99;
  EXPECT_EQ(hostmap_get(map_, "k", 1, buffer, 4, &size), HOSTMAP_BUFFER_TOO_SMALL);
  EXPECT_EQ(size, 5u);
  EXPECT_EQ(hostmap_get(map_, "k", 1, nullptr, 0, &size), HOSTMAP_BUFFER_TOO_SMALL);
  EXPECT_EQ(hostmap_get(map_, "absent", 6, buffer, 5, &size), HOSTMAP_NOT_FOUND);
  EXPECT_EQ(put("empty", ""), HOSTMAP_OK);
  EXPECT_EQ(hostmap_get(map_, "empty", 5, nullptr, 0, &size), HOSTMAP_OK);
  EXPECT_EQ(size, 0u);
}

TEST_F(CCalls, GetCopyReturnsValuesOfAnySizeWithAZeroBehindThem) {
  for (const std::size_t size : {0u, 1u, 1023u, 1024u, 1025u, 100'000u}) {
    const std::string value(size, 'v');
    ASSERT_EQ(put("k", value), HOSTMAP_OK);
    EXPECT_EQ(get("k"), value);
  }
  EXPECT_EQ(get("absent"), "HOSTMAP_NOT_FOUND");
}

TEST_F(CCalls, ExistsEraseInsertReplaceSizeAndClear) {
  std::uint64_t keys = 99;
  EXPECT_EQ(hostmap_exists(map_, "k", 1), HOSTMAP_NOT_FOUND);
  EXPECT_EQ(hostmap_replace(map_, "k", 1, "a", 1), HOSTMAP_NOT_FOUND);
  EXPECT_EQ(hostmap_insert(map_, "k", 1, "a", 1), HOSTMAP_OK);
  EXPECT_EQ(hostmap_insert(map_, "k", 1, "b", 1), HOSTMAP_ALREADY_EXISTS);
  EXPECT_EQ(hostmap_replace(map_, "k", 1, "c", 1), HOSTMAP_OK);
  EXPECT_EQ(get("k"), "c");
  EXPECT_EQ(hostmap_exists(map_, "k", 1), HOSTMAP_OK);
  EXPECT_EQ(hostmap_size(map_, &keys), HOSTMAP_OK);
  EXPECT_EQ(keys, 1u);
  EXPECT_EQ(hostmap_erase(map_, "k", 1), HOSTMAP_OK);
  EXPECT_EQ(hostmap_erase(map_, "k", 1), HOSTMAP_NOT_FOUND);
  EXPECT_EQ(put("k", "a"), HOSTMAP_OK);
  EXPECT_EQ(hostmap_clear(map_), HOSTMAP_OK);
  EXPECT_EQ(hostmap_size(map_, &keys), HOSTMAP_OK);
  EXPECT_EQ(keys, 0u);
}

TEST_F(CCalls, TimesToLiveAreMillisecondsForeverOrKept) {
  std::int64_t ttl = 0;
  constexpr std::int64_t kHour = 3'600'000;
  const auto ttl_of = [&](const char* key) {
    ttl = 0;
    EXPECT_EQ(hostmap_ttl(map_, key, 1, &ttl), HOSTMAP_OK);
    return ttl;
  };
  const auto about_an_hour = [&](const char* key) { return ttl_of(key) > kHour - 100'000 && ttl <= kHour; };
  EXPECT_EQ(hostmap_put_ttl(map_, "a", 1, "v", 1, kHour), HOSTMAP_OK);
  EXPECT_TRUE(about_an_hour("a")) << ttl;
  EXPECT_EQ(hostmap_put_ttl(map_, "a", 1, "w", 1, HOSTMAP_KEEP_TTL), HOSTMAP_OK);
  EXPECT_TRUE(about_an_hour("a")) << ttl;
  EXPECT_EQ(hostmap_put_ttl(map_, "a", 1, "w", 1, HOSTMAP_FOREVER), HOSTMAP_OK);
  EXPECT_EQ(ttl_of("a"), HOSTMAP_FOREVER);
  EXPECT_EQ(hostmap_insert_ttl(map_, "b", 1, "v", 1, kHour), HOSTMAP_OK);
  EXPECT_TRUE(about_an_hour("b")) << ttl;
  EXPECT_EQ(hostmap_replace_ttl(map_, "b", 1, "w", 1, HOSTMAP_KEEP_TTL), HOSTMAP_OK);
  EXPECT_EQ(get("b"), "w");
  EXPECT_TRUE(about_an_hour("b")) << ttl;
  EXPECT_EQ(hostmap_replace_ttl(map_, "absent", 6, "w", 1, HOSTMAP_KEEP_TTL), HOSTMAP_NOT_FOUND);
  const hostmap_pair pairs[] = {{bytes("b"), bytes("x")}, {bytes("e"), bytes("x")}};
  std::int32_t statuses[2];
  EXPECT_EQ(hostmap_multi_put_ttl(map_, pairs, 2, HOSTMAP_KEEP_TTL, statuses), HOSTMAP_OK);
  EXPECT_EQ(get("b"), "x");
  EXPECT_TRUE(about_an_hour("b")) << ttl;
  EXPECT_EQ(ttl_of("e"), HOSTMAP_FOREVER);
  hostmap_operation operations[2] = {};
  operations[0].kind = HOSTMAP_OP_PUT;
  operations[1].kind = HOSTMAP_OP_REPLACE;
  for (hostmap_operation& operation : operations) {
    operation.key = bytes("b");
    operation.value = bytes(operation.kind == HOSTMAP_OP_PUT ? "y" : "z");
    operation.ttl_ms = HOSTMAP_KEEP_TTL;
  }
  hostmap_outcome outcomes[2];
  EXPECT_EQ(hostmap_apply(map_, operations, 2, outcomes), HOSTMAP_OK);
  EXPECT_EQ(outcomes[0].status, HOSTMAP_OK);
  EXPECT_EQ(outcomes[1].status, HOSTMAP_OK);
  EXPECT_EQ(get("b"), "z");
  EXPECT_TRUE(about_an_hour("b")) << ttl;
  EXPECT_EQ(hostmap_replace_ttl(map_, "b", 1, "v", 1, HOSTMAP_FOREVER), HOSTMAP_OK);
  EXPECT_EQ(ttl_of("b"), HOSTMAP_FOREVER);
  EXPECT_EQ(hostmap_expire(map_, "b", 1, kHour), HOSTMAP_OK);
  EXPECT_TRUE(about_an_hour("b")) << ttl;
  EXPECT_EQ(hostmap_expire(map_, "b", 1, HOSTMAP_FOREVER), HOSTMAP_OK);
  EXPECT_EQ(ttl_of("b"), HOSTMAP_FOREVER);
  EXPECT_EQ(hostmap_expire(map_, "c", 1, kHour), HOSTMAP_NOT_FOUND);
  EXPECT_EQ(hostmap_put_async_ttl(map_, "c", 1, "v", 1, kHour), HOSTMAP_OK);
  EXPECT_TRUE(about_an_hour("c")) << ttl;
  EXPECT_EQ(hostmap_put_async_ttl(map_, "c", 1, "w", 1, HOSTMAP_KEEP_TTL), HOSTMAP_OK);
  EXPECT_TRUE(about_an_hour("c")) << ttl;
  EXPECT_EQ(hostmap_expire_async(map_, "c", 1, HOSTMAP_FOREVER), HOSTMAP_OK);
  EXPECT_EQ(hostmap_flush(map_), HOSTMAP_OK);
  EXPECT_EQ(ttl_of("c"), HOSTMAP_FOREVER);
  EXPECT_EQ(hostmap_ttl(map_, "absent", 6, &ttl), HOSTMAP_NOT_FOUND);
  EXPECT_EQ(hostmap_put_ttl(map_, "d", 1, "v", 1, 1), HOSTMAP_OK);
  EXPECT_TRUE(eventually([&] { return hostmap_exists(map_, "d", 1) == HOSTMAP_NOT_FOUND; }));
}

TEST_F(CCalls, QueuedWritesAreVisibleToThisMapAndFlushed) {
  for (int i = 0; i < 100; ++i) {
    const std::string key = "key" + std::to_string(i);
    ASSERT_EQ(hostmap_put_async(map_, key.data(), key.size(), "v", 1), HOSTMAP_OK);
    ASSERT_EQ(get(key), "v");
  }
  EXPECT_EQ(hostmap_flush(map_), HOSTMAP_OK);
}

TEST_F(CCalls, AppendAndErasePrefixReturnNumbers) {
  std::uint64_t number = 0;
  EXPECT_EQ(hostmap_append(map_, "p:1", 3, "abc", 3, &number), HOSTMAP_OK);
  EXPECT_EQ(number, 3u);
  EXPECT_EQ(hostmap_append(map_, "p:1", 3, "de", 2, nullptr), HOSTMAP_OK);
  EXPECT_EQ(get("p:1"), "abcde");
  EXPECT_EQ(put("p:2", ""), HOSTMAP_OK);
  EXPECT_EQ(put("q", ""), HOSTMAP_OK);
  EXPECT_EQ(hostmap_erase_prefix(map_, "p:", 2, &number), HOSTMAP_OK);
  EXPECT_EQ(number, 2u);
  EXPECT_EQ(hostmap_erase_prefix(map_, "p:", 2, nullptr), HOSTMAP_OK);
  EXPECT_EQ(hostmap_exists(map_, "q", 1), HOSTMAP_OK);
  number = 99;
  EXPECT_EQ(hostmap_erase_prefix(map_, "", 0, &number), HOSTMAP_INVALID);
  EXPECT_EQ(number, 0u);
}

TEST_F(CCalls, NumbersAsTextAndAsTheirBytes) {
  std::int64_t number = 0;
  double fraction = 0;
  EXPECT_EQ(hostmap_increment(map_, "n", 1, -17, &number), HOSTMAP_OK);
  EXPECT_EQ(number, -17);
  EXPECT_EQ(hostmap_increment(map_, "n", 1, 1, nullptr), HOSTMAP_OK);
  EXPECT_EQ(get("n"), "-16");
  EXPECT_EQ(hostmap_increment_from(map_, "m", 1, 5, 100, 3'600'000, &number), HOSTMAP_OK);
  EXPECT_EQ(number, 105);
  EXPECT_EQ(hostmap_ttl(map_, "m", 1, &number), HOSTMAP_OK);
  EXPECT_GT(number, 0);
  EXPECT_EQ(hostmap_increment_double(map_, "f", 1, 0.5, 1, HOSTMAP_FOREVER, &fraction), HOSTMAP_OK);
  EXPECT_EQ(fraction, 1.5);
  EXPECT_EQ(get("f"), "1.5");
  EXPECT_EQ(hostmap_increment_stored(map_, "s", 1, 2, 40, HOSTMAP_FOREVER, &number), HOSTMAP_OK);
  EXPECT_EQ(number, 42);
  std::int64_t stored = 0;
  EXPECT_EQ(hostmap_get(map_, "s", 1, &stored, sizeof stored, nullptr), HOSTMAP_OK);
  EXPECT_EQ(stored, 42);
  EXPECT_EQ(hostmap_increment_stored_double(map_, "d", 1, 0.25, 1, HOSTMAP_FOREVER, &fraction), HOSTMAP_OK);
  EXPECT_EQ(fraction, 1.25);
  EXPECT_EQ(put("text", "abc"), HOSTMAP_OK);
  EXPECT_EQ(hostmap_increment(map_, "text", 4, 1, &number), HOSTMAP_NOT_A_NUMBER);
  EXPECT_EQ(hostmap_increment_stored(map_, "text", 4, 1, 0, HOSTMAP_FOREVER, &number), HOSTMAP_MISMATCH);
  EXPECT_EQ(hostmap_increment(map_, "n", 1, INT64_MIN, &number), HOSTMAP_OVERFLOW);
}

TEST_F(CCalls, ChangesThatDependOnTheValue) {
  void* value = nullptr;
  std::size_t size = 0;
  EXPECT_EQ(hostmap_compare_exchange(map_, "k", 1, "a", 1, "b", 1), HOSTMAP_NOT_FOUND);
  EXPECT_EQ(put("k", "a"), HOSTMAP_OK);
  EXPECT_EQ(hostmap_compare_exchange(map_, "k", 1, "x", 1, "b", 1), HOSTMAP_MISMATCH);
  EXPECT_EQ(hostmap_compare_exchange(map_, "k", 1, "a", 1, "b", 1), HOSTMAP_OK);
  EXPECT_EQ(hostmap_compare_erase(map_, "k", 1, "a", 1), HOSTMAP_MISMATCH);
  EXPECT_EQ(get("k"), "b");
  EXPECT_EQ(hostmap_compare_erase(map_, "k", 1, "b", 1), HOSTMAP_OK);
  EXPECT_EQ(hostmap_compare_erase(map_, "k", 1, "b", 1), HOSTMAP_NOT_FOUND);

  EXPECT_EQ(hostmap_exchange(map_, "k", 1, "first", 5, &value, &size), HOSTMAP_OK);
  EXPECT_EQ(value, nullptr);
  EXPECT_EQ(hostmap_exchange(map_, "k", 1, "second", 6, &value, &size), HOSTMAP_OK);
  EXPECT_EQ(owned(value, size), "first");
  EXPECT_EQ(hostmap_insert_or_get(map_, "k", 1, "third", 5, &value, &size), HOSTMAP_ALREADY_EXISTS);
  EXPECT_EQ(owned(value, size), "second");
  EXPECT_EQ(hostmap_take(map_, "k", 1, &value, &size), HOSTMAP_OK);
  EXPECT_EQ(owned(value, size), "second");
  EXPECT_EQ(hostmap_take(map_, "k", 1, &value, &size), HOSTMAP_NOT_FOUND);
  EXPECT_EQ(value, nullptr);
  EXPECT_EQ(hostmap_insert_or_get(map_, "k", 1, "third", 5, &value, &size), HOSTMAP_OK);
  EXPECT_EQ(value, nullptr);
  EXPECT_EQ(get("k"), "third");
}

TEST_F(CCalls, TokensAllowAChangeOnce) {
  void* value = nullptr;
  std::size_t size = 0;
  hostmap_token token{};
  const hostmap_token zero{};
  EXPECT_EQ(hostmap_get_with_token(map_, "k", 1, &value, &size, &token), HOSTMAP_NOT_FOUND);
  EXPECT_EQ(hostmap_put_if(map_, "k", 1, "a", 1, &zero), HOSTMAP_OK);
  EXPECT_EQ(hostmap_put_if(map_, "k", 1, "a", 1, &zero), HOSTMAP_ALREADY_EXISTS);
  EXPECT_EQ(hostmap_get_with_token(map_, "k", 1, &value, &size, &token), HOSTMAP_OK);
  EXPECT_EQ(owned(value, size), "a");
  EXPECT_EQ(hostmap_put_if(map_, "k", 1, "b", 1, &token), HOSTMAP_OK);
  EXPECT_EQ(hostmap_put_if(map_, "k", 1, "c", 1, &token), HOSTMAP_MISMATCH);
  EXPECT_EQ(hostmap_erase_if(map_, "k", 1, &token), HOSTMAP_MISMATCH);
  EXPECT_EQ(hostmap_erase_if(map_, "k", 1, &zero), HOSTMAP_INVALID);
  EXPECT_EQ(hostmap_get_with_token(map_, "k", 1, &value, &size, &token), HOSTMAP_OK);
  hostmap_free(value);
  EXPECT_EQ(hostmap_erase_if(map_, "k", 1, &token), HOSTMAP_OK);
  EXPECT_EQ(get("k"), "HOSTMAP_NOT_FOUND");
}

TEST_F(CCalls, SeveralKeysAtOnceHaveAStatusEach) {
  const hostmap_pair pairs[] = {{bytes("a"), bytes("1")}, {bytes(""), bytes("2")}, {bytes("c"), bytes("333")}};
  std::int32_t statuses[3] = {99, 99, 99};
  EXPECT_EQ(hostmap_multi_put(map_, pairs, 3, statuses), HOSTMAP_INVALID);
  EXPECT_EQ(std::vector<std::int32_t>(statuses, statuses + 3),
            (std::vector<std::int32_t>{HOSTMAP_OK, HOSTMAP_INVALID, HOSTMAP_OK}));

  const hostmap_bytes keys[] = {bytes("a"), bytes("absent"), bytes("c")};
  hostmap_value values[3];
  char buffer[10];
  std::size_t used = 0;
  EXPECT_EQ(hostmap_multi_get(map_, keys, 3, values, buffer, sizeof buffer, &used), HOSTMAP_OK);
  EXPECT_EQ(used, 4u);
  EXPECT_EQ(values[1].status, HOSTMAP_NOT_FOUND);
  EXPECT_EQ(std::string_view(buffer + values[0].offset, values[0].size), "1");
  EXPECT_EQ(std::string_view(buffer + values[2].offset, values[2].size), "333");
  EXPECT_EQ(hostmap_multi_get(map_, keys, 3, values, buffer, 3, &used), HOSTMAP_BUFFER_TOO_SMALL);
  EXPECT_EQ(used, 4u);
  EXPECT_EQ(values[0].status, HOSTMAP_OK);
  EXPECT_EQ(values[2].status, HOSTMAP_BUFFER_TOO_SMALL);
  EXPECT_EQ(values[2].size, 3u);
  EXPECT_EQ(hostmap_multi_get(map_, keys, 0, nullptr, nullptr, 0, &used), HOSTMAP_OK);
  // Many keys, of all forms; the buffer has exactly the room that is needed, or one byte less.
  std::vector<std::string> names;
  std::vector<hostmap_bytes> many;
  std::size_t sum = 0;
  for (std::size_t i = 0; i < 100; ++i)
    names.push_back(i % 3 == 0 ? "8 bytes" + std::to_string(i % 10) : std::string(i + 1, 'n'));
  for (const std::string& name : names) {
    const std::string value = name.size() == 8 ? "8 values" : "value of " + name;
    if (name.size() % 5 != 4) {
      ASSERT_EQ(put(name, value), HOSTMAP_OK);
      sum += value.size();
    }
    many.push_back(bytes(name));
  }
  std::vector<hostmap_value> slices(many.size());
  for (const std::size_t missing : {std::size_t{0}, std::size_t{1}, sum}) {
    std::vector<char> room(sum - missing);
    const int result =
        hostmap_multi_get(map_, many.data(), many.size(), slices.data(), room.data(), room.size(), &used);
    EXPECT_EQ(result, missing == 0 ? HOSTMAP_OK : HOSTMAP_BUFFER_TOO_SMALL);
    EXPECT_EQ(used, sum);
    for (std::size_t i = 0; i < many.size(); ++i) {
      const std::string value = names[i].size() == 8 ? "8 values" : "value of " + names[i];
      if (slices[i].status == HOSTMAP_OK) {
        EXPECT_EQ(std::string_view(room.data() + slices[i].offset, slices[i].size), value);
      } else if (slices[i].status == HOSTMAP_BUFFER_TOO_SMALL) {
        EXPECT_EQ(slices[i].size, value.size());
        EXPECT_NE(missing, 0u);
      } else {
        EXPECT_EQ(slices[i].status, HOSTMAP_NOT_FOUND);
        EXPECT_EQ(names[i].size() % 5, 4u);
      }
    }
  }

  EXPECT_EQ(hostmap_multi_erase(map_, keys, 3, statuses), HOSTMAP_OK);
  EXPECT_EQ(std::vector<std::int32_t>(statuses, statuses + 3),
            (std::vector<std::int32_t>{HOSTMAP_OK, HOSTMAP_NOT_FOUND, HOSTMAP_OK}));
  const hostmap_pair one[] = {{bytes("t"), bytes("v")}};
  EXPECT_EQ(hostmap_multi_put_ttl(map_, one, 1, 3'600'000, statuses), HOSTMAP_OK);
  std::int64_t ttl = 0;
  EXPECT_EQ(hostmap_ttl(map_, "t", 1, &ttl), HOSTMAP_OK);
  EXPECT_GT(ttl, 0);
}

TEST_F(CCalls, ApplyMakesEachKindOfOperation) {
  std::vector<hostmap_operation> operations;
  const auto add = [&](std::uint32_t kind, std::string_view key, std::string_view value = "", std::int64_t by = 0) {
    hostmap_operation operation{};
    operation.kind = kind;
    operation.key = bytes(key);
    operation.value = bytes(value);
    operation.by = by;
    operation.ttl_ms = HOSTMAP_FOREVER;
    operations.push_back(operation);
  };
  add(HOSTMAP_OP_PUT, "k", "a");
  add(HOSTMAP_OP_INSERT, "k", "b");
  add(HOSTMAP_OP_APPEND, "k", "bc");
  add(HOSTMAP_OP_GET, "k");
  add(HOSTMAP_OP_COMPARE_EXCHANGE, "k", "d");
  operations.back().expected = bytes("abc");
  add(HOSTMAP_OP_REPLACE, "absent", "x");
  add(HOSTMAP_OP_INCREMENT, "n", "", 5);
  operations.back().initial = 10;
  add(HOSTMAP_OP_INCREMENT_DOUBLE, "f", "", std::bit_cast<std::int64_t>(0.5));
  add(HOSTMAP_OP_INCREMENT_STORED, "s", "", 7);
  add(HOSTMAP_OP_INCREMENT_STORED_DOUBLE, "d", "", std::bit_cast<std::int64_t>(0.25));
  add(HOSTMAP_OP_PUT_IF, "new", "v");
  add(HOSTMAP_OP_EXPIRE, "k");
  operations.back().ttl_ms = 3'600'000;
  add(HOSTMAP_OP_ERASE_IF, "k");
  operations.back().token = {1, 1};
  add(HOSTMAP_OP_ERASE, "k");
  // Invalid ones disturb no other.
  add(99, "k", "x");
  add(HOSTMAP_OP_PUT, "k", "x");
  operations.back().ttl_ms = 0;
  add(HOSTMAP_OP_PUT, "k", "x");
  operations.back().reserved = 1;
  add(HOSTMAP_OP_GET, "k");
  operations.back().key = {nullptr, 3};
  std::vector<hostmap_outcome> outcomes(operations.size());
  ASSERT_EQ(hostmap_apply(map_, operations.data(), operations.size(), outcomes.data()), HOSTMAP_OK);
  std::vector<int> statuses;
  for (const hostmap_outcome& outcome : outcomes) statuses.push_back(outcome.status);
  EXPECT_EQ(statuses,
            (std::vector<int>{HOSTMAP_OK, HOSTMAP_ALREADY_EXISTS, HOSTMAP_OK, HOSTMAP_OK, HOSTMAP_OK, HOSTMAP_NOT_FOUND,
                              HOSTMAP_OK, HOSTMAP_OK, HOSTMAP_OK, HOSTMAP_OK, HOSTMAP_OK, HOSTMAP_OK, HOSTMAP_MISMATCH,
                              HOSTMAP_OK, HOSTMAP_INVALID, HOSTMAP_INVALID, HOSTMAP_INVALID, HOSTMAP_INVALID}));
  EXPECT_EQ(outcomes[2].number, 3);
  EXPECT_EQ(owned(outcomes[3].value, outcomes[3].value_size), "abc");
  EXPECT_EQ(outcomes[6].number, 15);
  EXPECT_EQ(std::bit_cast<double>(outcomes[7].number), 0.5);
  EXPECT_EQ(outcomes[8].number, 7);
  EXPECT_EQ(std::bit_cast<double>(outcomes[9].number), 0.25);
  EXPECT_EQ(get("k"), "HOSTMAP_NOT_FOUND");
  EXPECT_EQ(get("new"), "v");
  EXPECT_EQ(hostmap_apply(map_, nullptr, 0, nullptr), HOSTMAP_OK);
}

TEST_F(CCalls, AScanVisitsEachKeyOnceWithItsValue) {
  std::map<std::string, std::string> entries;
  for (int i = 0; i < 3'000; ++i) {
    const std::string key = (i % 3 == 0 ? "other:" : "user:") + std::to_string(i);
    entries[key] = std::string(static_cast<std::size_t>(i % 200), 'v');
    ASSERT_EQ(put(key, entries[key]), HOSTMAP_OK);
  }
  hostmap_scan* scan = nullptr;
  const void* key;
  const void* value;
  std::size_t key_size;
  std::size_t value_size;
  for (const std::string prefix : {"", "user:", "nothing"}) {
    for (const int keys_only : {0, 1}) {
      ASSERT_EQ(hostmap_scan_begin(map_, prefix.data(), prefix.size(), keys_only, &scan), HOSTMAP_OK);
      std::set<std::string> seen;
      int result;
      while ((result = hostmap_scan_next(scan, &key, &key_size, &value, &value_size)) == HOSTMAP_OK) {
        const std::string found(static_cast<const char*>(key), key_size);
        EXPECT_TRUE(seen.insert(found).second) << found;
        if (keys_only != 0) {
          EXPECT_EQ(value, nullptr);
          EXPECT_EQ(value_size, 0u);
        } else {
          EXPECT_EQ(std::string_view(static_cast<const char*>(value), value_size), entries[found]);
        }
      }
      EXPECT_EQ(result, HOSTMAP_NOT_FOUND) << hostmap_message();
      EXPECT_EQ(hostmap_scan_next(scan, &key, &key_size, nullptr, nullptr), HOSTMAP_NOT_FOUND);
      EXPECT_EQ(seen.size(), prefix.empty() ? 3'000u : prefix == "user:" ? 2'000u : 0u);
      hostmap_scan_end(scan);
    }
  }
}

TEST_F(CCalls, WaitReturnsAChangeAnAbsenceOrATimeout) {
  void* value = nullptr;
  std::size_t size = 0;
  EXPECT_EQ(put("k", "a"), HOSTMAP_OK);
  EXPECT_EQ(hostmap_wait(map_, "k", 1, "a", 1, 0, &value, &size), HOSTMAP_TIMEOUT);
  EXPECT_EQ(value, nullptr);
  EXPECT_EQ(hostmap_wait(map_, "k", 1, nullptr, 0, -1, &value, &size), HOSTMAP_OK);
  EXPECT_EQ(owned(value, size), "a");
  std::thread changes([this] {
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
    EXPECT_EQ(put("k", "b"), HOSTMAP_OK);
  });
  EXPECT_EQ(hostmap_wait(map_, "k", 1, "a", 1, -1, &value, &size), HOSTMAP_OK);
  changes.join();
  EXPECT_EQ(owned(value, size), "b");
  EXPECT_EQ(hostmap_erase(map_, "k", 1), HOSTMAP_OK);
  EXPECT_EQ(hostmap_wait(map_, "k", 1, "b", 1, -1, &value, &size), HOSTMAP_NOT_FOUND);
}

TEST_F(CCalls, ALeaseHasOneHolder) {
  std::uint64_t first = 0;
  std::uint64_t second = 0;
  EXPECT_EQ(hostmap_lease(map_, "k", 1, 60'000, 0, &first), HOSTMAP_OK);
  EXPECT_EQ(hostmap_lease(map_, "k", 1, 60'000, 0, &second), HOSTMAP_ALREADY_EXISTS);
  EXPECT_EQ(hostmap_release(map_, "k", 1, first + 1), HOSTMAP_NOT_FOUND);
  EXPECT_EQ(hostmap_release(map_, "k", 1, first), HOSTMAP_OK);
  EXPECT_EQ(hostmap_lease(map_, "k", 1, 60'000, -1, &second), HOSTMAP_OK);
  EXPECT_GT(second, first);
  EXPECT_EQ(hostmap_lease(map_, "k", 1, 0, 0, &second), HOSTMAP_INVALID);
}

TEST_F(CCalls, OneCallerComputesAndTheOthersGetItsValueOrItsFailure) {
  void* value = nullptr;
  std::size_t size = 0;
  std::uint64_t task = 0;
  for (const bool succeeds : {false, true}) {
    ASSERT_EQ(hostmap_compute_begin(map_, "k", 1, 60'000, &value, &size, &task), HOSTMAP_NOT_FOUND);
    EXPECT_EQ(value, nullptr);
    ASSERT_NE(task, 0u);
    std::thread waits([&] {
      hostmap_map* other = connect(options());
      void* computed = nullptr;
      std::size_t computed_size = 0;
      std::uint64_t none = 1;
      const int result = hostmap_compute_begin(other, "k", 1, 60'000, &computed, &computed_size, &none);
      EXPECT_EQ(result, succeeds ? HOSTMAP_OK : HOSTMAP_TOO_LARGE) << hostmap_message();
      EXPECT_EQ(owned(computed, computed_size), succeeds ? "computed" : "(null)");
      EXPECT_EQ(none, 0u);
      hostmap_close(other);
    });
    EXPECT_TRUE(eventually([&] { return server_.stat("waited") == 1; }));
    if (succeeds) {
      EXPECT_EQ(hostmap_compute_put(map_, "k", 1, "computed", 8, HOSTMAP_FOREVER, task), HOSTMAP_OK);
    } else {
      EXPECT_EQ(hostmap_compute_fail(map_, "k", 1, HOSTMAP_TOO_LARGE, task), HOSTMAP_OK);
    }
    waits.join();
  }
  EXPECT_EQ(hostmap_compute_begin(map_, "k", 1, 60'000, &value, &size, &task), HOSTMAP_OK);
  EXPECT_EQ(owned(value, size), "computed");
  EXPECT_EQ(task, 0u);
  EXPECT_EQ(hostmap_compute_put(map_, "k", 1, "late", 4, HOSTMAP_FOREVER, 12345), HOSTMAP_ALREADY_EXISTS);
  EXPECT_EQ(hostmap_compute_fail(map_, "k", 1, HOSTMAP_FULL, 12345), HOSTMAP_NOT_FOUND);
  // A task that ends with an invalid time to live has ended.
  ASSERT_EQ(hostmap_compute_begin(map_, "m", 1, 60'000, &value, &size, &task), HOSTMAP_NOT_FOUND);
  EXPECT_EQ(hostmap_compute_put(map_, "m", 1, "v", 1, -5, task), HOSTMAP_INVALID);
  EXPECT_EQ(hostmap_compute_fail(map_, "m", 1, HOSTMAP_FULL, task), HOSTMAP_NOT_FOUND);
}

TEST_F(CCalls, TimeoutsAreOfTheMapOrOfTheThread) {
  server_.pause();
  EXPECT_EQ(hostmap_set_timeout(map_, 20'000'000), HOSTMAP_OK);
  EXPECT_EQ(put("k", "v"), HOSTMAP_TIMEOUT);
  EXPECT_EQ(hostmap_set_timeout(map_, -1), HOSTMAP_OK);
  EXPECT_EQ(hostmap_set_limit(20'000'000), 0);
  EXPECT_EQ(put("k", "v"), HOSTMAP_TIMEOUT);
  EXPECT_EQ(hostmap_set_limit(-1), 20'000'000);
  EXPECT_EQ(hostmap_set_limit(0), -1);
  EXPECT_EQ(hostmap_set_timeout(map_, 0), HOSTMAP_OK);
  server_.send(SIGCONT);
  EXPECT_EQ(put("k", "w"), HOSTMAP_OK);
  EXPECT_EQ(get("k"), "w");
}

TEST_F(CCalls, ASleepCallsTheHookWhichEndsTheCall) {
  struct Calls {
    int begins = 0;
    int ends = 0;
  } calls;
  hostmap_options chosen = options();
  chosen.timeout_ns = -1;
  chosen.sleeping = [](void* context, int begins) {
    ++(begins != 0 ? static_cast<Calls*>(context)->begins : static_cast<Calls*>(context)->ends);
    return 1;
  };
  chosen.context = &calls;
  hostmap_map* map = connect(chosen);
  ASSERT_EQ(hostmap_put(map, "k", 1, "v", 1), HOSTMAP_OK);
  server_.pause();
  calls = {};
  EXPECT_EQ(hostmap_put(map, "k", 1, "w", 1), HOSTMAP_TIMEOUT);
  EXPECT_EQ(calls.begins, 1);
  EXPECT_EQ(calls.ends, 1);
  hostmap_close(map);
  server_.send(SIGCONT);
}

TEST_F(CCalls, AChildOfForkConnectsAnew) {
  EXPECT_EQ(put("k", "parent"), HOSTMAP_OK);
  Child child = Child::fork([this] {
    EXPECT_EQ(get("k"), "parent");
    EXPECT_EQ(put("k", "child"), HOSTMAP_OK);
    hostmap_close(map_);
    map_ = nullptr;
    return 0;
  });
  EXPECT_EQ(child.wait(), kSuccess);
  EXPECT_EQ(get("k"), "child");
}

// Its copy of the scan holds the keys that were fetched before the fork; the child fetches the others by a connection of its own.
TEST_F(CCalls, AScanOfTheParentContinuesInAChildOfForkAndHarmsNeither) {
  constexpr std::size_t kKeysOfAll = 5000;
  for (std::size_t i = 0; i < kKeysOfAll; ++i) ASSERT_EQ(put("key " + std::to_string(i), "v"), HOSTMAP_OK);
  hostmap_scan* scan = nullptr;
  ASSERT_EQ(hostmap_scan_begin(map_, nullptr, 0, 0, &scan), HOSTMAP_OK);
  const auto rest = [&] {
    std::size_t keys = 0;
    const void* key;
    std::size_t size;
    int result;
    while ((result = hostmap_scan_next(scan, &key, &size, nullptr, nullptr)) == HOSTMAP_OK) ++keys;
    return result == HOSTMAP_NOT_FOUND ? keys : 0;
  };
  const void* key;
  std::size_t size;
  ASSERT_EQ(hostmap_scan_next(scan, &key, &size, nullptr, nullptr), HOSTMAP_OK);
  Child child = Child::fork([&] {
    if (rest() != kKeysOfAll - 1) return 1;
    hostmap_scan_end(scan);
    hostmap_close(map_);
    return 0;
  });
  EXPECT_EQ(child.wait(), kSuccess);
  EXPECT_EQ(rest(), kKeysOfAll - 1);
  hostmap_scan_end(scan);
}

// Threads that share a map, and threads that connect and close maps of their own, beside each other.
TEST_F(CCalls, ManyThreadsShareAMapAndConnectOthers) {
  constexpr int kThreads = 8;
  constexpr int kRounds = 40;
  std::vector<std::thread> threads;
  for (int thread = 0; thread < kThreads; ++thread) {
    threads.emplace_back([&, thread] {
      for (int round = 0; round < kRounds; ++round) {
        hostmap_map* const used = thread % 2 == 0 ? map_ : connect(options());
        const std::string key = "of " + std::to_string(thread);
        std::int64_t number = 0;
        EXPECT_EQ(hostmap_increment(used, key.data(), key.size(), 1, &number), HOSTMAP_OK) << hostmap_message();
        EXPECT_EQ(number, round + 1);
        EXPECT_EQ(hostmap_increment(used, "all", 3, 1, nullptr), HOSTMAP_OK) << hostmap_message();
        char buffer[32];
        std::size_t size = 0;
        EXPECT_EQ(hostmap_get(used, key.data(), key.size(), buffer, sizeof buffer, &size), HOSTMAP_OK);
        EXPECT_EQ(std::string(buffer, size), std::to_string(round + 1));
        EXPECT_EQ(hostmap_get(used, "absent", 6, buffer, sizeof buffer, &size), HOSTMAP_NOT_FOUND);
        EXPECT_STREQ(hostmap_message(), "no such key");
        EXPECT_EQ(hostmap_put_async(used, "queued", 6, key.data(), key.size()), HOSTMAP_OK);
        EXPECT_EQ(hostmap_flush(used), HOSTMAP_OK);
        hostmap_scan* scan = nullptr;
        EXPECT_EQ(hostmap_scan_begin(used, "of ", 3, 0, &scan), HOSTMAP_OK);
        const void* seen;
        int keys = 0;
        while (hostmap_scan_next(scan, &seen, &size, nullptr, nullptr) == HOSTMAP_OK) ++keys;
        EXPECT_TRUE(keys >= 1 && keys <= kThreads) << keys;
        hostmap_scan_end(scan);
        if (used != map_) hostmap_close(used);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(get("all"), std::to_string(kThreads * kRounds));
}

TEST_F(CCalls, MapsOfEachKindOfOption) {
  hostmap_options chosen = options();
  chosen.flags = HOSTMAP_READ_ONLY;
  hostmap_map* reader = connect(chosen);
  EXPECT_EQ(hostmap_put(reader, "k", 1, "v", 1), HOSTMAP_PERMISSION);
  EXPECT_EQ(hostmap_exists(reader, "k", 1), HOSTMAP_NOT_FOUND);
  hostmap_close(reader);
  chosen.flags = HOSTMAP_READS_BY_RING;
  hostmap_map* by_ring = connect(chosen);
  EXPECT_EQ(hostmap_put(by_ring, "k", 1, "v", 1), HOSTMAP_OK);
  EXPECT_EQ(hostmap_exists(by_ring, "k", 1), HOSTMAP_OK);
  hostmap_close(by_ring);
  chosen = options();
  chosen.flags = HOSTMAP_WAIT_FOR_SERVER;
  chosen.name = "hm-absent";
  chosen.timeout_ns = 20'000'000;
  hostmap_map* none = map_;
  EXPECT_EQ(hostmap_connect(&chosen, &none), HOSTMAP_NO_SERVER);
  EXPECT_EQ(none, nullptr);
}

TEST_F(CCalls, VersionsAreThoseOfTheLibrary) {
  EXPECT_EQ(hostmap_version(), std::string(kVersion));
  EXPECT_EQ(hostmap_layout(), kLayoutVersion);
  EXPECT_EQ(hostmap_commit(), std::string(commit()));
}

}  // namespace
}  // namespace hostmap::test
