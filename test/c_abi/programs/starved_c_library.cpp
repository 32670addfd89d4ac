// starved_c_library NAME: functions of the C interface that return memory, or need some, while this process has none left.
//
// Of each call the first, second, third … allocation fails, until the call needs no further one; first that one alone, then all
// later ones, too. The call then returns HOSTMAP_FULL, hands over nothing, and has changed nothing; or it returns HOSTMAP_OK. Prints
// "CALL FULL-RESULTS" for each call. Exit code 0: no error; otherwise stderr names them.
#include <cstdio>
#include <cstring>
#include <functional>
#include <string>
#include <unistd.h>
#include <vector>

#include <hostmap/hostmap.h>

#include "process/programs/starvation.hpp"

namespace {

const std::string kValue(5'000, 'v');
const std::string kOther(5'000, 'w');
const std::string kLonger = kValue + "x";
hostmap_map* map;
const char* instance;

struct Memory {
  void* data = nullptr;
  std::size_t size = 0;
};

struct Call {
  const char* name;
  std::function<int(Memory&)> make;
  int usual = HOSTMAP_OK;
  bool returns_value = true;
  const std::string* later = &kValue;  // the value of the key after success; null: absent
};

std::vector<Call> calls() {
  return {
      {"connect",
       [](Memory&) {
         hostmap_options options = HOSTMAP_OPTIONS_INIT;
         options.name = instance;
         hostmap_map* another;
         const int result = hostmap_connect(&options, &another);
         hostmap_close(another);  // null, if it failed
         return result;
       },
       HOSTMAP_OK, false},
      {"get_copy", [](Memory& to) { return hostmap_get_copy(map, "key", 3, &to.data, &to.size); }},
      {"get_with_token",
       [](Memory& to) {
         hostmap_token token;
         return hostmap_get_with_token(map, "key", 3, &to.data, &to.size, &token);
       }},
      {"exchange",
       [](Memory& to) { return hostmap_exchange(map, "key", 3, kOther.data(), kOther.size(), &to.data, &to.size); },
       HOSTMAP_OK, true, &kOther},
      {"take", [](Memory& to) { return hostmap_take(map, "key", 3, &to.data, &to.size); }, HOSTMAP_OK, true, nullptr},
      {"compare_erase", [](Memory&) { return hostmap_compare_erase(map, "key", 3, kValue.data(), kValue.size()); },
       HOSTMAP_OK, false, nullptr},
      {"insert_or_get", [](Memory& to) { return hostmap_insert_or_get(map, "key", 3, "x", 1, &to.data, &to.size); },
       HOSTMAP_ALREADY_EXISTS},
      {"wait", [](Memory& to) { return hostmap_wait(map, "key", 3, "x", 1, 0, &to.data, &to.size); }},
      {"compute_begin",
       [](Memory& to) {
         std::uint64_t task;
         return hostmap_compute_begin(map, "key", 3, 1000, &to.data, &to.size, &task);
       }},
      {"multi_put",
       [](Memory&) {
         const hostmap_pair pair{{"key", 3}, {kOther.data(), kOther.size()}};
         std::int32_t status = HOSTMAP_OK;
         const int result = hostmap_multi_put(map, &pair, 1, &status);
         return result == status ? result : HOSTMAP_INTERNAL;
       },
       HOSTMAP_OK, false, &kOther},
      {"apply",
       [](Memory& to) {
         hostmap_operation get{};
         get.kind = HOSTMAP_OP_GET;
         get.key = {"key", 3};
         hostmap_outcome outcome;
         int result = hostmap_apply(map, &get, 1, &outcome);
         if (result != HOSTMAP_OK && result != outcome.status) return static_cast<int>(HOSTMAP_INTERNAL);
         result = outcome.status;
         to = {outcome.value, outcome.value_size};
         return result;
       }},
      {"scan",
       [](Memory&) {
         hostmap_scan* scan;
         int result = hostmap_scan_begin(map, nullptr, 0, 0, &scan);
         if (result != HOSTMAP_OK) return result;
         const void* key;
         std::size_t size;
         std::size_t keys = 0;
         while ((result = hostmap_scan_next(scan, &key, &size, nullptr, nullptr)) == HOSTMAP_OK) ++keys;
         hostmap_scan_end(scan);
         if (result != HOSTMAP_NOT_FOUND) return result;
         return keys == 1 ? static_cast<int>(HOSTMAP_OK) : static_cast<int>(HOSTMAP_INTERNAL);
       },
       HOSTMAP_OK, false},
      {"get",
       [](Memory&) {
         char buffer[8'000];
         std::size_t size;
         return hostmap_get(map, "key", 3, buffer, sizeof buffer, &size);
       },
       HOSTMAP_OK, false},
      {"exists", [](Memory&) { return hostmap_exists(map, "key", 3); }, HOSTMAP_OK, false},
      {"ttl",
       [](Memory&) {
         std::int64_t ttl;
         return hostmap_ttl(map, "key", 3, &ttl);
       },
       HOSTMAP_OK, false},
      {"size",
       [](Memory&) {
         std::uint64_t keys;
         return hostmap_size(map, &keys);
       },
       HOSTMAP_OK, false},
      {"multi_get",
       [](Memory&) {
         const hostmap_bytes keys[] = {{"key", 3}, {"absent", 6}};
         hostmap_value values[2];
         char buffer[8'000];
         std::size_t used;
         const int result = hostmap_multi_get(map, keys, 2, values, buffer, sizeof buffer, &used);
         return result == values[0].status ? result : static_cast<int>(HOSTMAP_INTERNAL);
       },
       HOSTMAP_OK, false},
      {"put", [](Memory&) { return hostmap_put(map, "key", 3, kOther.data(), kOther.size()); }, HOSTMAP_OK, false,
       &kOther},
      {"put_ttl", [](Memory&) { return hostmap_put_ttl(map, "key", 3, kOther.data(), kOther.size(), 3'600'000); },
       HOSTMAP_OK, false, &kOther},
      {"put_async",
       [](Memory&) {
         const int result = hostmap_put_async(map, "key", 3, kOther.data(), kOther.size());
         return result == HOSTMAP_OK ? hostmap_flush(map) : result;
       },
       HOSTMAP_OK, false, &kOther},
      {"insert", [](Memory&) { return hostmap_insert(map, "key", 3, "x", 1); }, HOSTMAP_ALREADY_EXISTS, false},
      {"replace", [](Memory&) { return hostmap_replace(map, "key", 3, kOther.data(), kOther.size()); }, HOSTMAP_OK,
       false, &kOther},
      {"erase", [](Memory&) { return hostmap_erase(map, "key", 3); }, HOSTMAP_OK, false, nullptr},
      {"expire", [](Memory&) { return hostmap_expire(map, "key", 3, 3'600'000); }, HOSTMAP_OK, false},
      {"append",
       [](Memory&) {
         std::uint64_t size;
         return hostmap_append(map, "key", 3, "x", 1, &size);
       },
       HOSTMAP_OK, false, &kLonger},
      {"erase_prefix",
       [](Memory&) {
         std::uint64_t keys;
         return hostmap_erase_prefix(map, "ke", 2, &keys);
       },
       HOSTMAP_OK, false, nullptr},
      {"clear", [](Memory&) { return hostmap_clear(map); }, HOSTMAP_OK, false, nullptr},
      {"increment",
       [](Memory&) {
         std::int64_t number;
         return hostmap_increment(map, "key", 3, 1, &number);
       },
       HOSTMAP_NOT_A_NUMBER, false},
      {"compare_exchange",
       [](Memory&) {
         return hostmap_compare_exchange(map, "key", 3, kValue.data(), kValue.size(), kOther.data(), kOther.size());
       },
       HOSTMAP_OK, false, &kOther},
      {"put_if",
       [](Memory&) {
         const hostmap_token absent{0, 0};
         return hostmap_put_if(map, "key", 3, "x", 1, &absent);
       },
       HOSTMAP_ALREADY_EXISTS, false},
      {"erase_if",
       [](Memory&) {
         const hostmap_token another{1, 1};
         return hostmap_erase_if(map, "key", 3, &another);
       },
       HOSTMAP_MISMATCH, false},
      {"multi_erase",
       [](Memory&) {
         const hostmap_bytes key{"key", 3};
         std::int32_t status = HOSTMAP_OK;
         const int result = hostmap_multi_erase(map, &key, 1, &status);
         return result == status ? result : static_cast<int>(HOSTMAP_INTERNAL);
       },
       HOSTMAP_OK, false, nullptr},
      {"lease",
       [](Memory&) {
         std::uint64_t lease;
         const int result = hostmap_lease(map, "key", 3, 3'600'000, 0, &lease);
         return result == HOSTMAP_OK ? hostmap_release(map, "key", 3, lease) : result;
       },
       HOSTMAP_OK, false},
      {"compute_put", [](Memory&) { return hostmap_compute_put(map, "key", 3, "x", 1, 1, 3'600'000); },
       HOSTMAP_ALREADY_EXISTS, false},
      {"compute_fail", [](Memory&) { return hostmap_compute_fail(map, "key", 3, HOSTMAP_FULL, 1); }, HOSTMAP_NOT_FOUND,
       false},
      {"set_timeout", [](Memory&) { return hostmap_set_timeout(map, 60'000'000'000); }, HOSTMAP_OK, false},
  };
}

bool key_is(const std::string* wanted) {
  std::string buffer(2 * kValue.size(), '\0');  // longer than all that the calls store
  std::size_t size = 0;
  const int result = hostmap_get(map, "key", 3, buffer.data(), buffer.size(), &size);
  return wanted == nullptr ? result == HOSTMAP_NOT_FOUND : result == HOSTMAP_OK && buffer.substr(0, size) == *wanted;
}

int complain(const Call& call, unsigned long allocation, const char* what, int result) {
  std::fprintf(stderr, "%s, allocation %lu: %s, %s: %s\n", call.name, allocation, what, hostmap_status_name(result),
               hostmap_message());
  return 1;
}

// Returns how many runs ended with HOSTMAP_FULL; below 0: an error.
int starve_one(const Call& call, bool onward) {
  int full = 0;
  for (unsigned long k = 1;; ++k) {
    if (hostmap_put(map, "key", 3, kValue.data(), kValue.size()) != HOSTMAP_OK) return -complain(call, k, "no put", 0);
    Memory memory;
    hostmap::test::starve(k, onward);
    const int result = call.make(memory);
    const std::string_view message = hostmap_message();
    const bool says_memory = message == "this process is out of memory";
    const bool failed = hostmap::test::feed();
    if (result == HOSTMAP_FULL) {
      ++full;
      if (!says_memory) return -complain(call, k, "another message", result);
      if (memory.data != nullptr) return -complain(call, k, "a value beside an error", result);
      if (!key_is(&kValue)) return -complain(call, k, "changed the key", result);
    } else {
      if (result != call.usual) return -complain(call, k, "another result", result);
      if (!key_is(call.later)) return -complain(call, k, "the key has another value", result);
      if (call.returns_value &&
          (memory.size != kValue.size() || std::memcmp(memory.data, kValue.c_str(), kValue.size() + 1) != 0)) {
        return -complain(call, k, "another value", result);
      }
    }
    hostmap_free(memory.data);
    if (!failed) return full;
  }
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 2) return 2;
  instance = argv[1];
  hostmap_options options = HOSTMAP_OPTIONS_INIT;
  options.name = instance;
  if (hostmap_connect(&options, &map) != HOSTMAP_OK) return 3;
  for (const Call& call : calls()) {
    int sum = 0;
    for (const bool onward : {false, true}) {
      const int full = starve_one(call, onward);
      if (full < 0) return 1;
      sum += full;
    }
    std::printf("%s %d\n", call.name, sum);
  }
  hostmap_close(map);
  return 0;
}
