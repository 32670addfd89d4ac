// Every operation of the client, through a real server: by direct reads and by ring, with one worker and with four.
#include <algorithm>
#include <array>
#include <cstring>
#include <deque>
#include <gtest/gtest.h>
#include <limits>
#include <list>
#include <map>
#include <ranges>
#include <set>
#include <stdexcept>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "client/ways.hpp"
#include "process/harness/peer.hpp"
#include "process/harness/sealed.hpp"
#include "process/harness/server.hpp"

namespace hostmap::test {
namespace {

class OperationsTest : public testing::TestWithParam<Way> {
 protected:
  Server server_{{"10", "--workers", GetParam().workers, "--ring-size", "16K"}};
  Client map_ = server_.connect(kPatience, GetParam().reads);

  std::map<std::string, std::string> scanned(std::string_view prefix = "") {
    std::map<std::string, std::string> all;
    const Status status = map_.scan(prefix, [&](std::string_view key, std::string_view value) {
      EXPECT_TRUE(all.emplace(key, value).second) << "visited twice: " << key;
      return true;
    });
    EXPECT_EQ(status, StatusCode::kOk) << status.message();
    return all;
  }
};

TEST_P(OperationsTest, InsertOnlySetsWhatIsAbsent) {
  for (const std::string& key : kKeys) {
    for (const std::string& value : kValues) {
      EXPECT_EQ(map_.insert(key, value), StatusCode::kOk);
      EXPECT_EQ(*map_.get(key), value);
      EXPECT_EQ(map_.insert(key, "other"), StatusCode::kAlreadyExists);
      EXPECT_EQ(map_.insert(key, std::string(30'000, 'o')), StatusCode::kAlreadyExists);
      EXPECT_EQ(*map_.get(key), value);
      EXPECT_EQ(map_.erase(key), StatusCode::kOk);
    }
  }
  EXPECT_EQ(*map_.size(), 0u);
}

TEST_P(OperationsTest, CompareExchangeSetsOnlyWhatIsAsExpected) {
  for (const std::string& key : kKeys) {
    EXPECT_EQ(map_.compare_exchange(key, "", "new"), StatusCode::kNotFound);
    for (const std::string& from : kValues) {
      for (const std::string& to : kValues) {
        ASSERT_EQ(map_.put(key, from), StatusCode::kOk);
        EXPECT_EQ(map_.compare_exchange(key, from + "x", to), StatusCode::kMismatch);
        if (!from.empty()) {
          std::string almost = from;
          almost.back() ^= 1;
          EXPECT_EQ(map_.compare_exchange(key, almost, to), StatusCode::kMismatch);
        }
        EXPECT_EQ(*map_.get(key), from);
        EXPECT_EQ(map_.compare_exchange(key, from, to), StatusCode::kOk);
        EXPECT_EQ(*map_.get(key), to);
      }
    }
    EXPECT_EQ(map_.erase(key), StatusCode::kOk);
    EXPECT_EQ(map_.compare_exchange(key, "value", "new"), StatusCode::kNotFound);
  }
  EXPECT_EQ(server_.stat("entries"), 0u);
}

TEST_P(OperationsTest, IncrementAddsToTheDecimalText) {
  for (const std::string& key : kKeys) {
    EXPECT_EQ(*map_.increment(key), 1) << "an absent key counts as 0";
    EXPECT_EQ(*map_.get(key), "1");
    EXPECT_EQ(*map_.increment(key, 41), 42);
    EXPECT_EQ(*map_.increment(key, -100), -58);
    EXPECT_EQ(*map_.get(key), "-58");
    // The sizes include 8 bytes, at which a number with an 8-byte key is a pair.
    ASSERT_EQ(map_.put(key, "9999999"), StatusCode::kOk);
    EXPECT_EQ(*map_.increment(key), 10'000'000);
    EXPECT_EQ(*map_.get(key), "10000000");
    EXPECT_EQ(*map_.increment(key, 90'000'000), 100'000'000);
    EXPECT_EQ(*map_.increment(key, -90'000'000), 10'000'000);
    EXPECT_EQ(*map_.increment(key, -1), 9'999'999);
    EXPECT_EQ(*map_.get(key), "9999999");
  }
}

TEST_P(OperationsTest, IncrementRefusesWhatIsNotANumberAndWhatWouldOverflow) {
  for (const char* text : {"", " 5", "5 ", "+5", "05", "-0", "0x5", "5.0", "five", "-", "1e3", "9223372036854775808",
                           "-9223372036854775809", "99999999999999999999999"}) {
    ASSERT_EQ(map_.put("n", text), StatusCode::kOk);
    EXPECT_EQ(map_.increment("n").status(), StatusCode::kNotANumber) << "'" << text << "'";
    EXPECT_EQ(*map_.get("n"), text) << "nothing was changed";
  }
  ASSERT_EQ(map_.put(word_key(9), word_key(5)), StatusCode::kOk);
  EXPECT_EQ(map_.increment(word_key(9)).status(), StatusCode::kNotANumber) << "a word is not text";
  constexpr std::int64_t kMost = std::numeric_limits<std::int64_t>::max();
  constexpr std::int64_t kLeast = std::numeric_limits<std::int64_t>::min();
  ASSERT_EQ(map_.put("n", std::to_string(kMost)), StatusCode::kOk);
  EXPECT_EQ(map_.increment("n").status(), StatusCode::kOverflow);
  EXPECT_EQ(*map_.increment("n", kLeast), -1);
  EXPECT_EQ(*map_.increment("n", kLeast + 1), kLeast);
  EXPECT_EQ(map_.increment("n", -1).status(), StatusCode::kOverflow);
  EXPECT_EQ(*map_.get("n"), std::to_string(kLeast));
  EXPECT_EQ(*map_.increment("n", 0), kLeast);
}

TEST_P(OperationsTest, CompareExchangeComparesTheValueOfAKeyThatWasErasedAndCreatedAgain) {
  ASSERT_EQ(map_.put("key", "a"), StatusCode::kOk);
  ASSERT_EQ(map_.erase("key"), StatusCode::kOk);
  ASSERT_EQ(map_.put("key", "a"), StatusCode::kOk);
  EXPECT_EQ(map_.compare_exchange("key", "a", "b"), StatusCode::kOk) << "values are compared, not histories";
}

TEST_P(OperationsTest, IncrementsOfManyClientsAreAllCounted) {
  constexpr int kClients = 4;
  constexpr int kEach = 500;
  std::vector<std::thread> threads;
  std::vector<std::vector<std::int64_t>> seen(kClients);
  for (int i = 0; i < kClients; ++i) {
    threads.emplace_back([&, i] {
      Client map = server_.connect();
      for (int n = 0; n < kEach; ++n) {
        const Result<std::int64_t> number = map.increment("counter");
        if (!number) return;
        seen[static_cast<std::size_t>(i)].push_back(*number);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  std::vector<std::int64_t> all;
  for (const auto& some : seen) all.insert(all.end(), some.begin(), some.end());
  std::sort(all.begin(), all.end());
  ASSERT_EQ(all.size(), std::size_t{kClients * kEach});
  for (std::size_t i = 0; i < all.size(); ++i) ASSERT_EQ(all[i], static_cast<std::int64_t>(i) + 1);
}

TEST_P(OperationsTest, MultiGetReturnsTheSameAsGet) {
  std::vector<std::string> keys;
  for (std::uint64_t i = 0; i < 100; ++i) {
    keys.push_back(i % 2 == 0 ? word_key(i) : "key " + std::to_string(i));
    if (i % 3 != 0) {
      ASSERT_EQ(map_.put_async(keys.back(), i % 7 == 0 ? std::string(20'000, 'v') : word_key(i)), StatusCode::kOk);
    }
  }
  keys.emplace_back();                          // no key
  keys.emplace_back(std::string(65'537, 'k'));  // too long
  keys.push_back(keys[1]);                      // one key twice
  const std::vector<std::string_view> views(keys.begin(), keys.end());
  const std::vector<Result<std::string>> values = map_.multi_get(views);
  ASSERT_EQ(values.size(), keys.size());
  for (std::size_t i = 0; i < keys.size(); ++i) {
    const Result<std::string> alone = map_.get(keys[i]);
    ASSERT_EQ(values[i].status().code(), alone.status().code()) << i;
    if (alone) {
      ASSERT_EQ(*values[i], *alone) << i;
    }
  }
  EXPECT_TRUE(map_.multi_get({}).empty());
}

TEST_P(OperationsTest, MultiGetTakesKeysFromAnyRange) {
  std::vector<std::string> keys;
  for (std::uint64_t i = 0; i < 100; ++i) {
    keys.push_back(i % 2 == 0 ? word_key(i) : "key " + std::to_string(i));
    if (i % 3 != 0) {
      ASSERT_EQ(map_.put(keys.back(), "value " + std::to_string(i)), StatusCode::kOk);
    }
  }
  const auto expect_each = [&](const std::vector<Result<std::string>>& values, std::size_t count) {
    ASSERT_EQ(values.size(), count);
    for (std::size_t i = 0; i < count; ++i) {
      EXPECT_EQ(values[i].value_or("none"), i % 3 != 0 ? "value " + std::to_string(i) : "none") << i;
    }
  };
  expect_each(map_.multi_get(keys), 100);
  expect_each(map_.multi_get(std::list<std::string>(keys.begin(), keys.end())), 100);
  std::deque<std::vector<unsigned char>> bytes;
  for (const std::string& key : keys) bytes.emplace_back(key.begin(), key.end());
  expect_each(map_.multi_get(bytes), 100);
  expect_each(
      map_.multi_get(keys | std::views::transform([](const std::string& key) { return std::string_view(key); })), 100);
  expect_each(map_.multi_get(keys | std::views::take(17)), 17);
  const std::array<const char*, 2> texts{"absent", "key 1"};
  expect_each(map_.multi_get(texts), 2);
  expect_each(map_.multi_get({"absent", "key 1"}), 2);
  expect_each(map_.multi_get(std::set<std::string_view>{"absent", "key 1"}), 2);
  EXPECT_TRUE(map_.multi_get(std::vector<std::string>()).empty());
}

TEST_P(OperationsTest, ExceptionsOfTheRangeOfMultiGetReachTheCaller) {
  const std::vector<std::string> keys(40, "key");
  const auto failing = keys | std::views::transform([&](const std::string& key) {
                         if (&key == &keys[35]) throw std::runtime_error("no such row");
                         return std::string_view(key);
                       });
  EXPECT_THROW(static_cast<void>(map_.multi_get(failing)), std::runtime_error);
  EXPECT_EQ(map_.put("key", "value"), StatusCode::kOk);
  EXPECT_EQ(map_.multi_get(keys).back().value_or(""), "value");
}

struct Order {
  std::int64_t price;
  std::int32_t amount;
  char side;
};

TEST_P(OperationsTest, GetAsReturnsTheStructWhoseBytesWerePut) {
  for (const std::string& key : kKeys) {
    EXPECT_EQ(map_.get_as<Order>(key).status(), StatusCode::kNotFound);
    ASSERT_EQ(map_.put(key, as_bytes_of(Order{-12'345, 7, 'b'})), StatusCode::kOk);
    const Result<Order> order = map_.get_as<Order>(key);
    ASSERT_TRUE(order) << order.status();
    EXPECT_EQ(order->price, -12'345);
    EXPECT_EQ(order->amount, 7);
    EXPECT_EQ(order->side, 'b');
    ASSERT_EQ(map_.put(key, as_bytes_of(std::uint64_t{17})), StatusCode::kOk);
    EXPECT_EQ(map_.get_as<std::uint64_t>(key).value_or(0), 17u);
    ASSERT_EQ(map_.put(key, as_bytes_of(2.5)), StatusCode::kOk);
    EXPECT_EQ(map_.get_as<double>(key).value_or(0), 2.5);
  }
  ASSERT_EQ(map_.put(as_bytes_of(std::uint64_t{9}), "nine"), StatusCode::kOk);
  EXPECT_EQ(map_.get(as_bytes_of(std::uint64_t{9})).value_or(""), "nine");
}

TEST_P(OperationsTest, GetAsOfAValueOfAnotherSizeIsAMismatchThatNamesBothSizes) {
  for (const std::string& key : kKeys) {
    for (const std::size_t size : {0u, 7u, 9u, 30'000u}) {
      ASSERT_EQ(map_.put(key, std::string(size, 'v')), StatusCode::kOk);
      const Result<std::uint64_t> number = map_.get_as<std::uint64_t>(key);
      EXPECT_EQ(number.status(), StatusCode::kMismatch);
      EXPECT_EQ(number.status().message(), "the value has " + std::to_string(size) +
                                               " bytes, but the requested type has 8; read it as the type that was "
                                               "put, or with get");
    }
  }
  EXPECT_EQ(map_.get_as<std::uint64_t>("").status(), StatusCode::kInvalid);
}

TEST_P(OperationsTest, ScanVisitsEveryKeyOnceAndSeesWhatWasQueued) {
  std::map<std::string, std::string> expected;
  for (std::uint64_t i = 0; i < 1000; ++i) {
    const std::string key = i % 2 == 0 ? word_key(i) : (i % 3 == 0 ? "user:" : "other:") + std::to_string(i);
    const std::string value = i % 5 == 0 ? std::string(i, 'v') : word_key(i);
    ASSERT_EQ(map_.put_async(key, value), StatusCode::kOk);
    expected[key] = value;
  }
  EXPECT_EQ(scanned(), expected);
  std::erase_if(expected, [](const auto& item) { return !item.first.starts_with("user:"); });
  EXPECT_EQ(scanned("user:"), expected);
  EXPECT_TRUE(scanned("nobody:").empty());
  int visits = 0;
  EXPECT_EQ(map_.scan("", [&](std::string_view, std::string_view) { return ++visits < 10; }), StatusCode::kOk);
  EXPECT_EQ(visits, 10) << "false stops it";
}

TEST_P(OperationsTest, AVisitMayUseTheClientAndThrow) {
  for (int i = 0; i < 100; ++i) ASSERT_EQ(map_.put("key " + std::to_string(i), "old"), StatusCode::kOk);
  EXPECT_EQ(map_.scan("key ", [&](std::string_view key, std::string_view) { return map_.put(key, "new").ok(); }),
            StatusCode::kOk);
  for (const auto& [key, value] : scanned()) EXPECT_EQ(value, "new") << key;
  EXPECT_THROW(static_cast<void>(map_.scan("", [](std::string_view, std::string_view) -> bool { throw 5; })), int);
  EXPECT_EQ(scanned().size(), 100u);
  EXPECT_EQ(map_.scan("", [&](std::string_view key, std::string_view) { return map_.erase(key).ok(); }),
            StatusCode::kOk);
  EXPECT_EQ(*map_.size(), 0u);
}

TEST_P(OperationsTest, ClearRemovesAllKeysForAllClientsAtOnceAndFreesTheirMemory) {
  Client other = server_.connect(kPatience, GetParam().reads);
  for (int round = 0; round < 3; ++round) {
    for (std::uint64_t i = 0; i < 2000; ++i) {
      ASSERT_EQ(map_.put_async(i % 2 == 0 ? word_key(i) : "key " + std::to_string(i), std::string(i % 200, 'v')),
                StatusCode::kOk);
    }
    ASSERT_EQ(map_.clear(), StatusCode::kOk);
    EXPECT_EQ(*other.size(), 0u);
    EXPECT_EQ(other.get("key 1").status(), StatusCode::kNotFound);
    EXPECT_TRUE(scanned().empty());
    EXPECT_EQ(server_.stat("entries"), 0u);
    EXPECT_EQ(map_.flush(), StatusCode::kOk);
    EXPECT_EQ(other.put("key 1", "new"), StatusCode::kOk);
    EXPECT_EQ(*map_.get("key 1"), "new");
    EXPECT_EQ(*map_.size(), 1u);
    EXPECT_TRUE(eventually([&] {  // all memory that is populated for entries is free, except one block
      const auto figures = server_.stat();
      return figures.at("entry_bytes") <= 32;
    })) << server_.stat("entry_bytes");
  }
}

TEST_P(OperationsTest, SizeIsTheNumberOfKeys) {
  EXPECT_EQ(*map_.size(), 0u);
  for (std::uint64_t i = 0; i < 500; ++i) ASSERT_EQ(map_.put_async(word_key(i), word_key(i)), StatusCode::kOk);
  EXPECT_EQ(*map_.size(), 500u) << "queued writes of this client are seen";
  for (std::uint64_t i = 0; i < 500; i += 2) ASSERT_EQ(map_.put(word_key(i), "an entry"), StatusCode::kOk);
  EXPECT_EQ(*map_.size(), 500u) << "a key that moves to the other form is one key";
  for (std::uint64_t i = 0; i < 100; ++i) ASSERT_EQ(map_.erase(word_key(i)), StatusCode::kOk);
  EXPECT_EQ(*map_.size(), 400u);
}

INSTANTIATE_TEST_SUITE_P(Ways, OperationsTest, testing::ValuesIn(kWays), way_name);

TEST(OperationBounds, KeysAndValuesAtTheirBoundsAreAcceptedAndOneBeyondIsRefused) {
  Server server({"10", "--max-value", "1000"});
  Client map = server.connect();
  const std::string longest_key(65'536, 'k');
  const std::string largest(1000, 'v');
  EXPECT_EQ(map.insert("", "v"), StatusCode::kInvalid);
  EXPECT_EQ(map.increment("").status(), StatusCode::kInvalid);
  EXPECT_EQ(map.compare_exchange("", "a", "b"), StatusCode::kInvalid);
  EXPECT_EQ(map.insert(longest_key + "k", "v"), StatusCode::kTooLarge);
  EXPECT_EQ(map.increment(longest_key + "k").status(), StatusCode::kTooLarge);
  EXPECT_EQ(map.compare_exchange(longest_key + "k", "a", "b"), StatusCode::kTooLarge);
  EXPECT_EQ(map.insert(longest_key, largest), StatusCode::kOk);
  EXPECT_EQ(map.insert("other", largest + "v"), StatusCode::kTooLarge);
  EXPECT_EQ(map.compare_exchange(longest_key, largest, largest + "v"), StatusCode::kTooLarge);
  EXPECT_EQ(map.compare_exchange(longest_key, largest + "v", ""), StatusCode::kTooLarge);
  EXPECT_EQ(map.compare_exchange(longest_key, largest, ""), StatusCode::kOk);
  EXPECT_EQ(map.compare_exchange(longest_key, "", largest), StatusCode::kOk);
  EXPECT_EQ(*map.get(longest_key), largest);
  EXPECT_EQ(server.stat("poisoned"), 0u);
  EXPECT_EQ(*map.size(), 1u);
}

TEST(OperationBounds, WithoutMemoryNothingIsChangedAndEverythingElseWorks) {
  Server server({"10", "--memory", "1M"});
  Client map = server.connect();
  ASSERT_EQ(map.put("number", "5"), StatusCode::kOk);
  // One refusal is not enough: a key whose bucket is full needs a further bucket, and others do not.
  for (int i = 0, refused = 0; refused < 100; ++i) {
    ASSERT_LT(i, 10'000);
    if (!map.put("fill " + std::to_string(i), std::string(500, 'v')).ok()) ++refused;
  }
  EXPECT_EQ(map.insert("new 1", std::string(500, 'v')), StatusCode::kFull);
  EXPECT_EQ(map.insert("number", "value"), StatusCode::kAlreadyExists);
  EXPECT_EQ(map.compare_exchange("number", "5", std::string(500, '5')), StatusCode::kFull);
  EXPECT_EQ(*map.get("number"), "5");
  const std::string long_key(20'000, 'k');
  EXPECT_EQ(map.erase(long_key), StatusCode::kNotFound) << "a streamed erase needs no block of the arena";
  Client by_ring = server.connect(kPatience, Reads::kRing);
  EXPECT_EQ(by_ring.get(long_key).status(), StatusCode::kNotFound);
  EXPECT_EQ(map.increment(long_key).status(), StatusCode::kFull);
  EXPECT_EQ(map.clear(), StatusCode::kOk) << "room can always be made";
  EXPECT_EQ(map.insert("new", std::string(300'000, 'v')), StatusCode::kOk);
}

TEST(Clears, ManyInARowWithFourWorkersOfWhichThreeAreIdle) {
  Server server({"10", "--workers", "4"});
  Client map = server.connect();
  for (int i = 0; i < 1000; ++i) {
    ASSERT_EQ(map.put("key", std::to_string(i)), StatusCode::kOk);
    ASSERT_EQ(map.clear(), StatusCode::kOk) << i;
    ASSERT_EQ(map.get("key").status(), StatusCode::kNotFound);
  }
}

TEST(Clears, ConcurrentWritersLoseOnlyEarlierWrites) {
  Server server({"10", "--workers", "2"});
  Client map = server.connect();
  Peer writer(server);
  writer.say("hammer key 1500");  // put, get, compare
  int clears = 0;
  Reply reply;
  do {
    ASSERT_EQ(map.clear(), StatusCode::kOk);
    ++clears;
  } while (clears < 50);
  reply = writer.reply();
  // A clear may come between the writer's put and its get; it never returns another value.
  EXPECT_TRUE(reply == StatusCode::kOk || reply == StatusCode::kNotFound) << reply;
}

}  // namespace
}  // namespace hostmap::test
