// Map<K, V> through a real server: what is stored, each call, and many threads and processes at once.
#include <algorithm>
#include <array>
#include <atomic>
#include <gtest/gtest.h>
#include <limits>
#include <map>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include <hostmap/map.hpp>

#include "client/ways.hpp"
#include "process/harness/server.hpp"
#include "support/child.hpp"

namespace hostmap::test {
namespace {

using std::chrono::milliseconds;

enum class Currency : std::uint16_t { kEuro = 1, kYen = 300 };

struct Place {
  std::int32_t row;
  std::int32_t column;
  friend bool operator==(const Place&, const Place&) = default;
  friend auto operator<=>(const Place&, const Place&) = default;
};

struct Price {
  double bid;
  float ask;
  friend bool operator==(const Price&, const Price&) = default;
};

template <typename K, typename V>
Map<K, V> map_of(Client& client, std::string_view name) {
  if (name.empty()) return Map<K, V>(client);
  Result<Map<K, V>> map = Map<K, V>::named(client, name);
  EXPECT_TRUE(map) << map.status();
  return std::move(*map);
}

std::string bytes_of_hash(std::uint32_t hash) {
  std::string bytes;
  for (int shift = 0; shift < 32; shift += 8) bytes += static_cast<char>(hash >> shift & 255);
  return bytes;
}

class MapTest : public testing::TestWithParam<Way> {
 protected:
  Server server_{{"10", "--workers", GetParam().workers, "--ring-size", "16K"}};
  Client client_ = server_.connect(kPatience, GetParam().reads);

  // Two keys, two values, through each call; in a map with the name `name`.
  template <typename K, typename V>
  void expect_every_call_works(std::string_view name, const K& key, const K& other, const V& first, const V& second) {
    Map<K, V> map = map_of<K, V>(client_, name);
    EXPECT_EQ(map.find(key).status(), StatusCode::kNotFound);
    EXPECT_EQ(map.contains(key), StatusCode::kNotFound);
    EXPECT_EQ(map.erase(key), StatusCode::kNotFound);
    EXPECT_EQ(map.ttl(key).status(), StatusCode::kNotFound);
    EXPECT_EQ(map.visit(key, [](const V&) { FAIL() << "there is no value"; }), StatusCode::kNotFound);
    EXPECT_EQ(*map.size(), 0u);

    EXPECT_EQ(map.insert(key, first), StatusCode::kOk);
    EXPECT_EQ(map.insert(key, second), StatusCode::kAlreadyExists);
    EXPECT_EQ(map.try_emplace(key, second), StatusCode::kAlreadyExists);
    EXPECT_EQ(map.find(key).value_or(second), first);
    EXPECT_EQ(map.contains(key), StatusCode::kOk);
    EXPECT_EQ(map.contains(other), StatusCode::kNotFound);
    EXPECT_EQ(map.try_emplace(other, second), StatusCode::kOk);
    EXPECT_EQ(map.insert_or_assign(key, second), StatusCode::kOk);
    EXPECT_EQ(map.insert_or_assign(other, first), StatusCode::kOk);
    EXPECT_EQ(*map.size(), 2u);

    int visits = 0;
    EXPECT_EQ(map.visit(key, [&](const V& value) { visits += value == second ? 1 : 100; }), StatusCode::kOk);
    EXPECT_EQ(visits, 1);
    std::map<K, V> seen;
    EXPECT_EQ(map.for_each([&](const K& k, const V& v) { EXPECT_TRUE(seen.emplace(k, v).second); }), StatusCode::kOk);
    EXPECT_EQ(seen, (std::map<K, V>{{key, second}, {other, first}}));
    EXPECT_EQ(map.for_each([&](const K&, const V&) { return ++visits < 2; }), StatusCode::kOk);
    EXPECT_EQ(visits, 2) << "a visitor that returns false ends the call";

    EXPECT_EQ(map.update(key,
                         [&](std::optional<V> now) {
                           EXPECT_EQ(now, second);
                           return first;
                         }),
              StatusCode::kOk);
    EXPECT_EQ(map.find(key).value_or(second), first);
    EXPECT_EQ(map.update(key, [](const std::optional<V>&) { return std::nullopt; }), StatusCode::kOk);
    EXPECT_EQ(map.find(key).value_or(second), first);
    EXPECT_EQ(map.erase(key), StatusCode::kOk);
    EXPECT_EQ(map.update(key,
                         [&](std::optional<V> now) {
                           EXPECT_EQ(now, std::nullopt);
                           return std::optional<V>(second);
                         }),
              StatusCode::kOk);
    EXPECT_EQ(map.find(key).value_or(first), second);

    using Waited = std::optional<V>;
    EXPECT_EQ(map.wait(key, first, kPatience).value_or(Waited()), second) << "another value than the known one";
    EXPECT_EQ(map.wait(key, std::nullopt, kPatience).value_or(Waited()), second);
    EXPECT_EQ(map.wait(key, second, milliseconds(1)).status(), StatusCode::kTimeout);

    EXPECT_EQ(map.ttl(key).value_or(milliseconds(0)), kForever);
    EXPECT_EQ(map.expire(key, std::chrono::hours(1)), StatusCode::kOk);
    EXPECT_LE(map.ttl(key).value_or(kForever), std::chrono::hours(1));
    EXPECT_EQ(map.persist(key), StatusCode::kOk);
    EXPECT_EQ(map.ttl(key).value_or(milliseconds(0)), kForever);
    EXPECT_EQ(map.insert_or_assign(key, first, std::chrono::hours(2)), StatusCode::kOk);
    EXPECT_GT(map.ttl(key).value_or(milliseconds(0)), std::chrono::hours(1));
    EXPECT_EQ(map.insert_or_assign(key, first, milliseconds(0)), StatusCode::kInvalid);
    EXPECT_EQ(map.erase(key), StatusCode::kOk);
    EXPECT_EQ(map.insert(key, first, milliseconds(1)), StatusCode::kOk);
    while (map.contains(key).ok()) std::this_thread::sleep_for(milliseconds(1));
    EXPECT_EQ(map.find(key).status(), StatusCode::kNotFound);
    EXPECT_EQ(map.erase(other), StatusCode::kOk);
  }

  template <typename K, typename V>
  void expect_every_call_works(const K& key, const K& other, const V& first, const V& second) {
    for (const char* name : {"", "name"}) {
      SCOPED_TRACE(name);
      expect_every_call_works<K, V>(name, key, other, first, second);
      EXPECT_EQ(client_.clear(), StatusCode::kOk);
    }
  }
};

TEST_P(MapTest, EveryCallWorksForEveryKindOfKeyAndValue) {
  using Digest = std::array<unsigned char, 32>;
  expect_every_call_works<std::uint64_t, std::uint64_t>(0, ~0ULL, 1, ~0ULL);
  expect_every_call_works<std::int8_t, double>(-1, 1, 0.5, -1e300);
  expect_every_call_works<std::uint32_t, std::string>(7, 8, "", std::string(30'000, 'v'));
  expect_every_call_works<Currency, Price>(Currency::kEuro, Currency::kYen, {1.5, 1.25F}, {150, 151});
  expect_every_call_works<Place, Currency>({1, -2}, {-2, 1}, Currency::kYen, Currency::kEuro);
  expect_every_call_works<Digest, Digest>({1}, {2}, {3}, {4});
  expect_every_call_works<std::string, float>("key", std::string(9'000, 'k'), 0.5F, 2.0F);
  expect_every_call_works<std::string, std::string>("a", std::string("a\0", 2), "value", std::string("\0", 1));
}

TEST_P(MapTest, StoresNameZeroTypesAndTheBytesOfTheKey) {
  using Counts = Map<std::uint32_t, std::int16_t>;
  // FNV-1a of u, 4, i, 2; computed by another program.
  EXPECT_EQ(Counts::kTypes, 0x88ec1655U);
  EXPECT_EQ((Map<std::string, Price>::kTypes), 0x6d15ff12U);
  Result<Counts> counts = Counts::named(client_, "counts");
  ASSERT_TRUE(counts) << counts.status();
  ASSERT_EQ(counts->insert(0x01020304, -2), StatusCode::kOk);
  const std::string stored = std::string("counts") + '\0' + bytes_of_hash(Counts::kTypes) + "\x04\x03\x02\x01";
  EXPECT_EQ(client_.get(stored).value_or("none"), "\xfe\xff");
}

TEST_P(MapTest, WithoutANameKeysAndValuesOf8BytesArePairs) {
  Map<std::int64_t, Place> map(client_);
  ASSERT_EQ(map.insert(7, Place{1, 2}), StatusCode::kOk);
  EXPECT_EQ(client_.get(word_key(7)).value_or("none"), std::string("\1\0\0\0\2\0\0\0", 8));
  EXPECT_EQ(server_.stat("pair_keys"), 1u);
}

TEST_P(MapTest, NamesAndTypesKeepMapsApart) {
  auto numbers = map_of<std::uint32_t, std::uint32_t>(client_, "map");
  auto signs = map_of<std::int32_t, std::uint32_t>(client_, "map");
  auto enums = map_of<Currency, std::uint32_t>(client_, "map");
  auto texts = map_of<std::string, std::uint32_t>(client_, "map");
  auto values = map_of<std::uint32_t, float>(client_, "map");
  auto longer = map_of<std::uint32_t, std::uint32_t>(client_, "map2");
  Map<std::uint32_t, std::uint32_t> unnamed(client_);
  ASSERT_EQ(numbers.insert(1, 10), StatusCode::kOk);
  ASSERT_EQ(signs.insert(1, 20), StatusCode::kOk);
  ASSERT_EQ(enums.insert(Currency::kEuro, 30), StatusCode::kOk);
  ASSERT_EQ(texts.insert(std::string("\1\0\0\0", 4), 40), StatusCode::kOk);
  ASSERT_EQ(texts.insert("", 45), StatusCode::kOk) << "with a name, a key may be empty";
  ASSERT_EQ(values.insert(1, 0.5F), StatusCode::kOk);
  ASSERT_EQ(longer.insert(1, 60), StatusCode::kOk);
  ASSERT_EQ(unnamed.insert(1, 70), StatusCode::kOk);
  EXPECT_EQ(numbers.find(1).value_or(0), 10u);
  EXPECT_EQ(signs.find(1).value_or(0), 20u);
  EXPECT_EQ(enums.find(Currency::kEuro).value_or(0), 30u);
  EXPECT_EQ(texts.find(std::string("\1\0\0\0", 4)).value_or(0), 40u);
  EXPECT_EQ(texts.find("").value_or(0), 45u);
  EXPECT_EQ(values.find(1).value_or(0), 0.5F);
  EXPECT_EQ(longer.find(1).value_or(0), 60u);
  EXPECT_EQ(unnamed.find(1).value_or(0), 70u);
  EXPECT_EQ(*numbers.size(), 1u);
  EXPECT_EQ(*texts.size(), 2u);
  EXPECT_EQ(*unnamed.size(), 8u) << "without a name: all of the instance";

  const auto sum = [](auto& map) {
    double all = 0;
    EXPECT_EQ(map.for_each([&](const auto&, const auto& value) { all += static_cast<double>(value); }),
              StatusCode::kOk);
    return all;
  };
  EXPECT_EQ(sum(numbers), 10);
  EXPECT_EQ(sum(signs), 20);
  EXPECT_EQ(sum(enums), 30);
  EXPECT_EQ(sum(texts), 85);
  EXPECT_EQ(sum(values), 0.5);
  EXPECT_EQ(sum(longer), 60);
  EXPECT_EQ(sum(unnamed), 70) << "other keys do not have the size of this map's";
}

TEST_P(MapTest, ClearOfANamedMapLeavesTheOtherMaps) {
  constexpr std::uint32_t kKeys = 200;  // several batches
  auto numbers = map_of<std::uint32_t, std::uint32_t>(client_, "map");
  auto signs = map_of<std::int32_t, std::uint32_t>(client_, "map");
  auto longer = map_of<std::uint32_t, std::uint32_t>(client_, "map2");
  Map<std::uint32_t, std::uint32_t> unnamed(client_);
  for (std::uint32_t i = 0; i < kKeys; ++i) ASSERT_EQ(numbers.insert(i, i), StatusCode::kOk);
  ASSERT_EQ(signs.insert(1, 20), StatusCode::kOk);
  ASSERT_EQ(longer.insert(1, 60), StatusCode::kOk);
  ASSERT_EQ(unnamed.insert(1, 70), StatusCode::kOk);
  EXPECT_EQ(numbers.clear(), StatusCode::kOk);
  EXPECT_EQ(numbers.size().value_or(kKeys), 0u);
  EXPECT_EQ(numbers.find(1).status(), StatusCode::kNotFound);
  EXPECT_EQ(numbers.clear(), StatusCode::kOk) << "of an empty map";
  EXPECT_EQ(signs.find(1).value_or(0), 20u);
  EXPECT_EQ(longer.find(1).value_or(0), 60u);
  EXPECT_EQ(unnamed.find(1).value_or(0), 70u);
  EXPECT_EQ(numbers.insert(1, 11), StatusCode::kOk);
  EXPECT_EQ(numbers.size().value_or(0), 1u);

  EXPECT_EQ(unnamed.clear(), StatusCode::kOk);
  EXPECT_EQ(unnamed.size().value_or(kKeys), 0u);
  EXPECT_EQ(signs.find(1).status(), StatusCode::kNotFound) << "without a name: all of the instance";
}

TEST_P(MapTest, ClearOfANamedMapReportsThatTheServerDoesNotAnswer) {
  Client brief = server_.connect(std::chrono::milliseconds(200), GetParam().reads);
  auto numbers = map_of<std::uint32_t, std::uint32_t>(brief, "map");
  ASSERT_EQ(numbers.insert(1, 10), StatusCode::kOk);
  server_.pause();
  EXPECT_EQ(numbers.clear(), StatusCode::kTimeout);
  server_.send(SIGCONT);
  while (numbers.clear() == StatusCode::kTimeout) {
  }
  EXPECT_EQ(numbers.size().value_or(1), 0u) << "a later call removes them";
}

TEST_P(MapTest, BytesOfAnotherTypeAreAMismatchAndStay) {
  Map<std::uint64_t, std::uint64_t> map(client_);
  ASSERT_EQ(client_.put(word_key(1), "seven b"), StatusCode::kOk);
  EXPECT_EQ(map.find(1).status(), StatusCode::kMismatch);
  EXPECT_EQ(map.visit(1, [](std::uint64_t) { FAIL() << "there is no number"; }), StatusCode::kMismatch);
  EXPECT_EQ(map.update(1, [](std::optional<std::uint64_t>) { return 1; }), StatusCode::kMismatch);
  EXPECT_EQ(map.fetch_add(1, 1).status(), StatusCode::kMismatch);
  EXPECT_EQ(map.wait(1, 5, kPatience).status(), StatusCode::kMismatch);
  EXPECT_EQ((Map<std::uint64_t, std::int64_t>(client_).fetch_add(1, 1).status()), StatusCode::kMismatch);
  EXPECT_EQ(map.for_each([](std::uint64_t, std::uint64_t) { FAIL() << "there is no number"; }), StatusCode::kOk);
  EXPECT_EQ(client_.get(word_key(1)).value_or("none"), "seven b");
}

template <typename V>
void expect_sums(Client& client, V first, V second) {
  Map<std::uint64_t, V> map(client);
  EXPECT_EQ(client.clear(), StatusCode::kOk);
  const auto added = [&](V by) {
    const Result<V> before = map.fetch_add(1, by);
    EXPECT_TRUE(before) << before.status();
    return before.value_or(V{99});
  };
  EXPECT_EQ(added(first), V{0});
  EXPECT_EQ(added(second), first);
  EXPECT_EQ(map.find(1).value_or(V{99}), static_cast<V>(first + second));
  EXPECT_EQ(map.insert_or_assign(1, std::numeric_limits<V>::max()), StatusCode::kOk);
  EXPECT_EQ(map.fetch_add(1, std::is_integral_v<V> ? V{1} : std::numeric_limits<V>::max()).status(),
            StatusCode::kOverflow);
  EXPECT_EQ(map.find(1).value_or(V{0}), std::numeric_limits<V>::max()) << "after an overflow nothing is changed";
}

TEST_P(MapTest, WaitEndsWithAChangeOfAnotherThread) {
  auto map = map_of<std::uint32_t, Place>(client_, "places");
  for (std::int32_t row = 0; row < 20; ++row) {
    const std::optional<Place> known = row == 0 ? std::nullopt : std::optional(Place{row - 1, 0});
    std::jthread mover([&] {
      Client other = server_.connect();
      EXPECT_EQ((map_of<std::uint32_t, Place>(other, "places").insert_or_assign(7, Place{row, 0})), StatusCode::kOk);
    });
    const Result<std::optional<Place>> moved = map.wait(7, known, kPatience);
    ASSERT_TRUE(moved) << moved.status();
    EXPECT_EQ(*moved, (Place{row, 0}));
  }
  std::jthread eraser([&] {
    Client other = server_.connect();
    EXPECT_EQ((map_of<std::uint32_t, Place>(other, "places").erase(7)), StatusCode::kOk);
  });
  const Result<std::optional<Place>> gone = map.wait(7, Place{19, 0}, kPatience);
  ASSERT_TRUE(gone) << gone.status();
  EXPECT_EQ(*gone, std::nullopt);
}

TEST_P(MapTest, FetchAddReturnsTheNumberBeforeAndRefusesOverflow) {
  expect_sums<std::int64_t>(client_, -5, 7);
  expect_sums<std::uint64_t>(client_, 5, 7);
  expect_sums<std::int8_t>(client_, -100, 20);
  expect_sums<std::uint16_t>(client_, 5, 7);
  expect_sums<double>(client_, -0.5, 1.25);
  expect_sums<float>(client_, 0.5F, 1.25F);
}

TEST_P(MapTest, InvalidNamesKeysAndValuesAreRefused) {
  using Texts = Map<std::string, std::string>;
  EXPECT_EQ(Texts::named(client_, "").status(), StatusCode::kInvalid);
  EXPECT_EQ(Texts::named(client_, "").status().message(), "the name of a map is empty");
  EXPECT_EQ(Texts::named(client_, std::string_view("a\0b", 3)).status(), StatusCode::kInvalid);
  EXPECT_EQ(Texts::named(client_, std::string_view("a\0b", 3)).status().message(),
            "the name of a map contains a zero byte");
  EXPECT_EQ(Texts::named(client_, std::string(256, 'n')).status(), StatusCode::kTooLarge);
  EXPECT_EQ(Texts::named(client_, std::string(256, 'n')).status().message(),
            "the name of a map has more than 255 bytes");

  Texts named = map_of<std::string, std::string>(client_, std::string(255, 'n'));
  EXPECT_EQ(named.insert(std::string(65'536 - 260, 'k'), "longest"), StatusCode::kOk);
  EXPECT_EQ(named.insert(std::string(65'536 - 259, 'k'), "too long"), StatusCode::kTooLarge);
  EXPECT_EQ(named.find(std::string(65'536 - 260, 'k')).value_or("none"), "longest");
  EXPECT_EQ(*named.size(), 1u);
  Texts unnamed(client_);
  EXPECT_EQ(unnamed.insert("", "value"), StatusCode::kInvalid) << "without a name, an empty key is none of Client's";
}

TEST_P(MapTest, ExceptionsOfTheCallersFunctionsPassThrough) {
  Map<int, int> map(client_);
  ASSERT_EQ(map.insert(1, 1), StatusCode::kOk);
  const auto raise = [](auto&&...) -> int { throw std::runtime_error("raised"); };
  EXPECT_THROW(static_cast<void>(map.visit(1, raise)), std::runtime_error);
  EXPECT_THROW(static_cast<void>(map.update(1, raise)), std::runtime_error);
  EXPECT_THROW(static_cast<void>(map.for_each(raise)), std::runtime_error);
  EXPECT_EQ(map.find(1).value_or(0), 1);
}

TEST_P(MapTest, AVisitorMayUseTheMap) {
  auto map = map_of<int, int>(client_, "squares");
  for (int i = 0; i < 300; ++i) ASSERT_EQ(map.insert(i, i), StatusCode::kOk);
  EXPECT_EQ(
      map.for_each([&](int key, int value) { EXPECT_EQ(map.insert_or_assign(key, value * value), StatusCode::kOk); }),
      StatusCode::kOk);
  for (int i = 0; i < 300; ++i) EXPECT_EQ(map.find(i).value_or(-1), i * i);
}

TEST_P(MapTest, ThreadsAndProcessesLoseNoUpdate) {
  constexpr int kEach = 300;
  constexpr int kKeys = 3;
  const auto work = [](Client& client) {
    auto counts = map_of<std::string, std::uint32_t>(client, "counts");
    auto sums = map_of<Place, std::int64_t>(client, "sums");
    auto texts = map_of<int, std::string>(client, "texts");
    for (int i = 0; i < kEach; ++i) {
      ASSERT_TRUE(counts.fetch_add(std::to_string(i % kKeys), 1));
      ASSERT_TRUE(sums.fetch_add(Place{i % kKeys, 0}, 2));
      ASSERT_EQ(texts.update(i % kKeys, [](std::optional<std::string> now) { return now.value_or("") + "x"; }),
                StatusCode::kOk);
    }
  };
  // Two processes with two threads each.
  Child other = Child::fork([&] {
    Client client = server_.connect(kPatience, GetParam().reads);
    std::jthread thread([&] { work(client); });
    work(client);
    return 0;
  });
  {
    std::jthread thread([&] { work(client_); });
    work(client_);
  }
  EXPECT_EQ(other.wait(), kSuccess);
  auto counts = map_of<std::string, std::uint32_t>(client_, "counts");
  auto sums = map_of<Place, std::int64_t>(client_, "sums");
  auto texts = map_of<int, std::string>(client_, "texts");
  for (int i = 0; i < kKeys; ++i) {
    EXPECT_EQ(counts.find(std::to_string(i)).value_or(0), std::uint32_t{4 * kEach / kKeys});
    EXPECT_EQ(sums.find(Place{i, 0}).value_or(0), 2 * 4 * kEach / kKeys);
    EXPECT_EQ(texts.find(i).value_or(""), std::string(4 * kEach / kKeys, 'x'));
  }
}

TEST(MapWithoutServer, CallsReturnWhatTheClientReturns) {
  std::optional<Server> server(std::in_place, std::vector<std::string>{"10"});
  Client client = server->connect(milliseconds(200));
  Map<int, int> map(client);
  ASSERT_EQ(map.insert(1, 1), StatusCode::kOk);
  server.reset();
  EXPECT_EQ(map.insert_or_assign(1, 2), StatusCode::kNoServer);
  EXPECT_EQ(map.find(1).status(), StatusCode::kNoServer);
  EXPECT_EQ(map.size().status(), StatusCode::kNoServer);
  EXPECT_EQ(map.fetch_add(1, 1).status(), StatusCode::kNoServer);
  EXPECT_EQ(map.for_each([](int, int) {}), StatusCode::kNoServer);
}

INSTANTIATE_TEST_SUITE_P(Ways, MapTest, testing::ValuesIn(kWays), way_name);

}  // namespace
}  // namespace hostmap::test
