// Callers that make every mistake which a C compiler lets pass: null pointers, sizes and times that nothing has, numbers of
// operations, leases and statuses that do not exist. Each call returns a status of the header, and the map works afterwards. (With the
// asan-ubsan preset: no call touches memory that is not the caller's, or computes what C++ does not define.)
#include <array>
#include <climits>
#include <limits>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "c_abi/connected.hpp"
#include "support/child.hpp"
#include "support/sanitizer.hpp"
#include "support/seed.hpp"

namespace hostmap::test {
namespace {

constexpr int kThreads = 3;
constexpr int kCallsOfEach = times(2'000, 1'000);

// One caller: it chooses a function and each of its arguments at random. Its map and scans are its own or shared.
class HostileCaller {
 public:
  HostileCaller(hostmap_map* map, const char* server, std::uint64_t seed) : map_(map), server_(server), random_(seed) {}
  ~HostileCaller() { hostmap_scan_end(scan_); }
  HostileCaller(const HostileCaller&) = delete;
  HostileCaller& operator=(const HostileCaller&) = delete;

  void call() {
    switch (below(8)) {
      case 0:
        return read();
      case 1:
        return write();
      case 2:
        return add();
      case 3:
        return change_by_value();
      case 4:
        return several();
      case 5:
        return scan();
      case 6:
        return wait();
      default:
        return connect();
    }
  }

 private:
  std::size_t below(std::size_t count) { return random_.below(count); }
  bool rarely() { return random_.one_in(16); }

  hostmap_map* map() { return rarely() ? nullptr : map_; }
  // Of a result: null or `place`.
  template <typename Place>
  Place* at(Place& place) {
    return rarely() ? nullptr : &place;
  }
  hostmap_bytes bytes() {
    static const std::string most(65'536, 'k');
    static const std::string more(65'537, 'k');
    static const std::string large(200'000, 'v');
    // A size of up to SIZE_MAX is checked before a byte is read.
    const std::array<hostmap_bytes, 16> all = {{{nullptr, 0},
                                                {nullptr, 1},
                                                {nullptr, SIZE_MAX},
                                                {"", 0},
                                                {"k", 1},
                                                {"k", 1},
                                                {"m", 1},
                                                {"8 bytes.", 8},
                                                {"12", 2},
                                                {"-9223372036854775808", 20},
                                                {"nan", 3},
                                                {most.data(), most.size()},
                                                {more.data(), more.size()},
                                                {large.data(), large.size()},
                                                {"k", SIZE_MAX},
                                                {"k", std::size_t{1} << 62}}};
    return random_.one_of(all);
  }
  std::int64_t number() {
    return random_.one_of(std::array<std::int64_t, 12>{INT64_MIN, INT64_MIN + 1, HOSTMAP_FOREVER, HOSTMAP_KEEP_TTL, -1,
                                                       0, 1, 2, 1'000, INT64_MAX / 1'000'000, INT64_MAX - 1,
                                                       INT64_MAX});
  }
  double fraction() {
    using Limits = std::numeric_limits<double>;
    return random_.one_of(std::array<double, 8>{0, -0.0, 0.5, -1e308, Limits::max(), Limits::denorm_min(),
                                                Limits::infinity(), Limits::quiet_NaN()});
  }

  // A status that the header names, and that blames the caller or the server's state, not hostmap.
  void expect_known(int status) {
    EXPECT_GE(status, HOSTMAP_OK);
    EXPECT_LT(status, HOSTMAP_INTERNAL) << hostmap_message();
    seen_.insert(status);
  }
  // What every call returns: such a status, with its sentence.
  void expect(int status) {
    expect_known(status);
    if (status != HOSTMAP_OK) {
      EXPECT_STRNE(hostmap_message(), "");
    }
  }
  // The same of a function that hands over a copy, with one status or two. (`value` by reference: it is read after the call.)
  void expect_copy(int status, void*& value, int also = HOSTMAP_OK) {
    expect(status);
    if (value != nullptr) {
      EXPECT_TRUE(status == HOSTMAP_OK || status == also) << status;
    }
    hostmap_free(value);
  }

  void read() {
    const hostmap_bytes key = bytes();
    std::array<char, 64> room{};
    std::size_t size = 0;
    std::int64_t ttl = 0;
    std::uint64_t keys = 0;
    void* value = nullptr;
    hostmap_token token{};
    void* const buffer = rarely() ? nullptr : room.data();
    switch (below(6)) {
      case 0:
        return expect(hostmap_get(map(), key.data, key.size, buffer,
                                  random_.one_of(std::array<std::size_t, 3>{0, 1, 64}), at(size)));
      case 1:
        return expect_copy(hostmap_get_copy(map(), key.data, key.size, at(value), at(size)), value);
      case 2:
        return expect(hostmap_exists(map(), key.data, key.size));
      case 3:
        return expect(hostmap_ttl(map(), key.data, key.size, at(ttl)));
      case 4:
        return expect(hostmap_size(map(), at(keys)));
      default:
        return expect_copy(hostmap_get_with_token(map(), key.data, key.size, at(value), at(size), at(token)), value);
    }
  }

  void write() {
    const hostmap_bytes key = bytes();
    const hostmap_bytes value = bytes();
    std::uint64_t count = 0;
    switch (below(14)) {
      case 0:
        return expect(hostmap_put(map(), key.data, key.size, value.data, value.size));
      case 1:
        return expect(hostmap_put_ttl(map(), key.data, key.size, value.data, value.size, number()));
      case 2:
        return expect(hostmap_put_async(map(), key.data, key.size, value.data, value.size));
      case 3:
        return expect(hostmap_put_async_ttl(map(), key.data, key.size, value.data, value.size, number()));
      case 4:
        return expect(hostmap_flush(map()));
      case 5:
        return expect(hostmap_insert(map(), key.data, key.size, value.data, value.size));
      case 6:
        return expect(hostmap_insert_ttl(map(), key.data, key.size, value.data, value.size, number()));
      case 7:
        return expect(hostmap_replace(map(), key.data, key.size, value.data, value.size));
      case 8:
        return expect(hostmap_replace_ttl(map(), key.data, key.size, value.data, value.size, number()));
      case 9:
        return expect(hostmap_erase(map(), key.data, key.size));
      case 10:
        return expect(hostmap_expire(map(), key.data, key.size, number()));
      case 11:
        return expect(hostmap_expire_async(map(), key.data, key.size, number()));
      case 12:
        return expect(hostmap_append(map(), key.data, key.size, value.data, value.size, at(count)));
      default:
        return expect(rarely() ? hostmap_clear(map()) : hostmap_erase_prefix(map(), key.data, key.size, at(count)));
    }
  }

  void add() {
    const hostmap_bytes key = bytes();
    std::int64_t sum = 0;
    double real = 0;
    switch (below(5)) {
      case 0:
        return expect(hostmap_increment(map(), key.data, key.size, number(), at(sum)));
      case 1:
        return expect(hostmap_increment_from(map(), key.data, key.size, number(), number(), number(), at(sum)));
      case 2:
        return expect(hostmap_increment_double(map(), key.data, key.size, fraction(), fraction(), number(), at(real)));
      case 3:
        return expect(hostmap_increment_stored(map(), key.data, key.size, number(), number(), number(), at(sum)));
      default:
        return expect(
            hostmap_increment_stored_double(map(), key.data, key.size, fraction(), fraction(), number(), at(real)));
    }
  }

  void change_by_value() {
    const hostmap_bytes key = bytes();
    const hostmap_bytes value = bytes();
    const hostmap_bytes other = bytes();
    const hostmap_token token{below(2), below(2)};
    void* old = nullptr;
    std::size_t size = 0;
    switch (below(7)) {
      case 0:
        return expect(
            hostmap_compare_exchange(map(), key.data, key.size, value.data, value.size, other.data, other.size));
      case 1:
        return expect(hostmap_compare_erase(map(), key.data, key.size, value.data, value.size));
      case 2:
        return expect(hostmap_put_if(map(), key.data, key.size, value.data, value.size, rarely() ? nullptr : &token));
      case 3:
        return expect(hostmap_erase_if(map(), key.data, key.size, rarely() ? nullptr : &token));
      case 4:
        return expect_copy(hostmap_exchange(map(), key.data, key.size, value.data, value.size, at(old), at(size)), old);
      case 5:
        return expect_copy(hostmap_take(map(), key.data, key.size, at(old), at(size)), old);
      default:
        return expect_copy(hostmap_insert_or_get(map(), key.data, key.size, value.data, value.size, at(old), at(size)),
                           old, HOSTMAP_ALREADY_EXISTS);
    }
  }

  void several() {
    std::array<hostmap_bytes, 4> keys;
    std::array<hostmap_pair, 4> pairs;
    std::array<hostmap_operation, 4> operations{};
    for (std::size_t i = 0; i < keys.size(); ++i) {
      keys[i] = bytes();
      pairs[i] = {bytes(), bytes()};
      operations[i] = {
          static_cast<std::uint32_t>(rarely() ? random_.word() : below(HOSTMAP_OP_INCREMENT_STORED_DOUBLE + 2)),
          rarely() ? 1u : 0u,
          bytes(),
          bytes(),
          bytes(),
          number(),
          number(),
          {below(2), below(2)},
          number()};
    }
    // More than there are is refused, since no memory has so many.
    const std::size_t count = rarely() ? SIZE_MAX / (below(64) + 1) : below(keys.size() + 1);
    std::array<std::int32_t, 4> statuses{};
    std::array<hostmap_value, 4> values{};
    std::array<hostmap_outcome, 4> outcomes{};
    std::array<char, 100> buffer;
    std::size_t used = 0;
    const bool has_items = !rarely();
    const bool has_place = !rarely();
    auto* const places = has_place ? statuses.data() : nullptr;
    switch (below(5)) {
      case 0:
        return expect(hostmap_multi_get(map(), has_items ? keys.data() : nullptr, count,
                                        has_place ? values.data() : nullptr, rarely() ? nullptr : buffer.data(),
                                        random_.one_of(std::array<std::size_t, 3>{0, 1, 100}), at(used)));
      case 1:
        return expect(hostmap_multi_put(map(), has_items ? pairs.data() : nullptr, count, places));
      case 2:
        return expect(hostmap_multi_put_ttl(map(), has_items ? pairs.data() : nullptr, count, number(), places));
      case 3:
        return expect(hostmap_multi_erase(map(), has_items ? keys.data() : nullptr, count, places));
      default:
        expect(hostmap_apply(map(), has_items ? operations.data() : nullptr, count,
                             has_place ? outcomes.data() : nullptr));
        for (const hostmap_outcome& outcome : outcomes) {
          expect_known(outcome.status);
          EXPECT_TRUE(outcome.value == nullptr || outcome.status == HOSTMAP_OK) << outcome.status;
          hostmap_free(outcome.value);
        }
    }
  }

  void scan() {
    if (scan_ == nullptr || rarely()) {
      const hostmap_bytes prefix = bytes();
      hostmap_scan_end(scan_);
      scan_ = nullptr;
      return expect(hostmap_scan_begin(map(), prefix.data, prefix.size, static_cast<int>(below(3)) - 1, at(scan_)));
    }
    const void* key = nullptr;
    const void* value = nullptr;
    std::size_t key_size = 0;
    std::size_t value_size = 0;
    expect(hostmap_scan_next(rarely() ? nullptr : scan_, at(key), at(key_size), at(value), at(value_size)));
  }

  // These sleep, if they are lucky; the hook ends them then.
  void wait() {
    const hostmap_bytes key = bytes();
    const hostmap_bytes value = bytes();
    void* found = nullptr;
    std::size_t size = 0;
    std::uint64_t lease = 0;
    switch (below(6)) {
      case 0:
        return expect_copy(
            hostmap_wait(map(), key.data, key.size, value.data, value.size, number(), at(found), at(size)), found);
      case 1:
        return expect(hostmap_lease(map(), key.data, key.size, number(), number(), at(lease)));
      case 2:
        return expect(hostmap_release(map(), key.data, key.size, static_cast<std::uint64_t>(number())));
      case 3:
        return expect_copy(hostmap_compute_begin(map(), key.data, key.size, number(), at(found), at(size), at(lease)),
                           found);
      case 4:
        return expect(hostmap_compute_put(map(), key.data, key.size, value.data, value.size, number(),
                                          static_cast<std::uint64_t>(number())));
      default:
        return expect(hostmap_compute_fail(map(), key.data, key.size, static_cast<int>(below(20)) - 2,
                                           static_cast<std::uint64_t>(number())));
    }
  }

  void connect() {
    static const std::string longest(5'000, 'n');
    const std::array<const char*, 8> words = {nullptr,        nullptr,        "", ".", "a/b", "/dev/null",
                                              "no such \xff", longest.c_str()};
    hostmap_options options = HOSTMAP_OPTIONS_INIT;
    options.struct_size =
        random_.one_of(std::array<std::size_t, 6>{sizeof options, sizeof options, 0, 8, sizeof options - 1, SIZE_MAX});
    options.name = rarely() ? random_.one_of(words) : server_;
    options.dir = random_.one_of(words);
    options.group = random_.one_of(words);
    options.user = random_.one_of(words);
    options.timeout_ns = number();
    options.flags = static_cast<std::uint32_t>(rarely() ? random_.word() : below(2) * HOSTMAP_READS_BY_RING);
    options.reserved = rarely() ? 1 : 0;
    options.sleeping = end_each_call;
    hostmap_map* other = nullptr;
    const int status = hostmap_connect(&options, at(other));
    expect(status);
    EXPECT_TRUE(other == nullptr || status == HOSTMAP_OK) << status;
    if (other != nullptr) {
      expect(hostmap_put(other, "k", 1, "v", 1));
      expect(hostmap_set_timeout(other, number()));
      expect(hostmap_put(other, "k", 1, "v", 1));
    }
    hostmap_close(other);
    EXPECT_STRNE(hostmap_describe(static_cast<int>(random_.word())), nullptr);
    EXPECT_STRNE(hostmap_status_name(static_cast<int>(number())), nullptr);
    const std::int64_t limit = hostmap_set_limit(number());
    expect(hostmap_exists(map_, "k", 1));
    hostmap_set_limit(limit);
  }

 public:
  const std::set<int>& seen() const { return seen_; }

  // A hook that ends each call that sleeps.
  static int end_each_call(void*, int) { return 1; }

 private:
  hostmap_map* map_;
  const char* server_;
  Random random_;
  hostmap_scan* scan_ = nullptr;
  std::set<int> seen_;  // statuses
};

class CHostile : public ConnectedInC {
 protected:
  CHostile() {
    hostmap_close(map_);
    hostmap_options chosen = options();
    chosen.sleeping = HostileCaller::end_each_call;
    map_ = connect(chosen);
  }
  void make_calls(std::uint64_t seed) {
    HostileCaller caller(map_, server_.name().c_str(), seed);
    for (int i = 0; i < kCallsOfEach && !HasFailure(); ++i) caller.call();
    // Otherwise the arguments would be too far from valid ones to get beyond the first check.
    for (const int status : {HOSTMAP_OK, HOSTMAP_NOT_FOUND, HOSTMAP_ALREADY_EXISTS, HOSTMAP_MISMATCH,
                             HOSTMAP_NOT_A_NUMBER, HOSTMAP_BUFFER_TOO_SMALL, HOSTMAP_TOO_LARGE, HOSTMAP_INVALID}) {
      EXPECT_TRUE(caller.seen().contains(status)) << hostmap_status_name(status);
    }
  }
  // A map that no caller has spoiled serves this one.
  void expect_service() {
    hostmap_close(map_);
    map_ = connect(options());
    EXPECT_EQ(hostmap_clear(map_), HOSTMAP_OK) << hostmap_message();
    EXPECT_EQ(put("k", "v"), HOSTMAP_OK) << hostmap_message();
    EXPECT_EQ(get("k"), "v");
  }
};

TEST_F(CHostile, RandomArgumentsGetAStatusFromEachFunctionInEachThread) {
  const Random random;
  const std::uint64_t seed = random.seed();
  std::vector<std::thread> threads;
  for (int thread = 0; thread < kThreads; ++thread) {
    threads.emplace_back([this, seed, thread] { make_calls(seed + static_cast<std::uint64_t>(thread)); });
  }
  for (std::thread& thread : threads) thread.join();
  expect_service();
}

TEST_F(CHostile, RandomArgumentsGetAStatusInAChildOfForkAndHarmNotItsParent) {
  const Random random;
  const std::uint64_t seed = random.seed();
  make_calls(seed);
  Child child = Child::fork([&] {
    make_calls(seed + 1);
    hostmap_close(map_);
    map_ = nullptr;
    return 0;
  });
  EXPECT_EQ(child.wait(), kSuccess);
  make_calls(seed + 2);
  expect_service();
}

}  // namespace
}  // namespace hostmap::test
