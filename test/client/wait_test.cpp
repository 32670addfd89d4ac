// Waiting until a key changes, through a real server: by direct reads and by ring, with one worker and with four.
#include <atomic>
#include <chrono>
#include <gtest/gtest.h>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "client/ways.hpp"
#include "process/harness/peer.hpp"
#include "process/harness/sealed.hpp"
#include "process/harness/server.hpp"

namespace hostmap::test {
namespace {

using namespace std::chrono_literals;
using Value = std::optional<std::string>;

class Waiting : public testing::TestWithParam<Way> {
 protected:
  // A thread that waits for a key, and what came of it.
  class Waiter {
   public:
    Waiter(Client& map, std::string key, Value known)
        : thread_([this, &map, key = std::move(key), known = std::move(known)] {
            std::optional<Bytes> last;
            if (known) last = *known;
            result_ = map.wait(key, last, kPatience);
            ended_ = true;
          }) {}
    ~Waiter() {
      if (thread_.joinable()) thread_.join();
    }
    bool ended() const { return ended_; }
    Result<Value> result() {
      thread_.join();
      return result_;
    }

   private:
    std::atomic<bool> ended_{false};
    Result<Value> result_{StatusCode::kInternal};
    std::thread thread_;
  };

  static void expect(Waiter& waiter, const Value& value) {
    const Result<Value> result = waiter.result();
    ASSERT_TRUE(result.has_value()) << result.status().message();
    EXPECT_EQ(*result, value);
  }
  // Not before the waiter is likely to sleep; nothing depends on it.
  static void let_it_sleep() { std::this_thread::sleep_for(20ms); }

  Server server_{{"10", "--workers", GetParam().workers, "--ring-size", "16K"}};
  Client map_ = server_.connect(kPatience, GetParam().reads);
  Client other_ = server_.connect(kPatience);
};

TEST_P(Waiting, AValueThatDiffersAlreadyIsReturnedAtOnce) {
  for (const std::string& key : kKeys) {
    EXPECT_EQ(*map_.wait(key, "old", Options::kForever), std::nullopt);
    for (const std::string& value : kValues) {
      ASSERT_EQ(map_.put(key, value), StatusCode::kOk);
      EXPECT_EQ(*map_.wait(key, "another one", Options::kForever), value);
      EXPECT_EQ(*map_.wait(key, std::nullopt, 0s), value);
    }
  }
}

TEST_P(Waiting, AnUnchangedKeyTimesOut) {
  ASSERT_EQ(map_.put("key", "value"), StatusCode::kOk);
  const auto begin = std::chrono::steady_clock::now();
  const Result<Value> result = map_.wait("key", "value", 30ms);
  ASSERT_EQ(result.status(), StatusCode::kTimeout);
  EXPECT_EQ(result.status().message(), "timed out: the key did not change");
  EXPECT_GE(std::chrono::steady_clock::now() - begin, 30ms);
  EXPECT_EQ(map_.wait("key", "value", 0s).status(), StatusCode::kTimeout);
  EXPECT_EQ(map_.wait("absent", std::nullopt, 0s).status(), StatusCode::kTimeout);
}

TEST_P(Waiting, EachKindOfChangeEndsIt) {
  for (const std::string& key : kKeys) {
    const auto after = [&](const Value& known, const Value& next, const auto& change) {
      Waiter waiter(map_, key, known);
      let_it_sleep();
      change();
      expect(waiter, next);
    };
    after(std::nullopt, "1", [&] { ASSERT_EQ(other_.put(key, "1"), StatusCode::kOk); });
    after("1", "2", [&] { ASSERT_EQ(*other_.increment(key), 2); });
    after("2", "23", [&] { ASSERT_EQ(*other_.append(key, "3"), 2u); });
    after("23", "x", [&] { ASSERT_EQ(other_.compare_exchange(key, "23", "x"), StatusCode::kOk); });
    after("x", "y", [&] { ASSERT_EQ(other_.replace(key, "y"), StatusCode::kOk); });
    after("y", "z", [&] { ASSERT_EQ(*other_.exchange(key, "z"), "y"); });
    after("z", "q", [&] { ASSERT_EQ(other_.put_async(key, "q"), StatusCode::kOk); });
    after("q", std::string(30'000, 'v'),
          [&] { ASSERT_EQ(other_.put(key, std::string(30'000, 'v')), StatusCode::kOk); });
    after(std::string(30'000, 'v'), std::nullopt, [&] { ASSERT_EQ(other_.erase(key), StatusCode::kOk); });
    after(std::nullopt, word_key(1), [&] { ASSERT_EQ(other_.insert(key, word_key(1)), StatusCode::kOk); });
    after(word_key(1), std::nullopt, [&] { ASSERT_EQ(other_.clear(), StatusCode::kOk); });
  }
}

TEST_P(Waiting, AKeyThatEndsEndsIt) {
  for (const std::string& key : kKeys) {
    ASSERT_EQ(map_.put(key, "value", 50ms), StatusCode::kOk);
    EXPECT_EQ(*map_.wait(key, "value", kPatience), std::nullopt);
    ASSERT_EQ(map_.put(key, "value"), StatusCode::kOk);
    Waiter waiter(map_, key, "value");
    let_it_sleep();
    ASSERT_EQ(other_.expire(key, 20ms), StatusCode::kOk);
    expect(waiter, std::nullopt);
  }
}

TEST_P(Waiting, ALaterEndIsWaitedFor) {
  ASSERT_EQ(map_.put("key", "value", 100ms), StatusCode::kOk);
  Waiter waiter(map_, "key", "value");
  ASSERT_EQ(other_.persist("key"), StatusCode::kOk);
  std::this_thread::sleep_for(200ms);
  EXPECT_FALSE(waiter.ended());
  ASSERT_EQ(other_.put("key", "other"), StatusCode::kOk);
  expect(waiter, "other");
}

TEST_P(Waiting, ChangesOfOtherKeysDoNotEndIt) {
  Waiter waiter(map_, "key", std::nullopt);
  for (std::uint64_t i = 0; i < 5'000; ++i) ASSERT_EQ(other_.put(word_key(i), "x"), StatusCode::kOk);
  EXPECT_FALSE(waiter.ended());
  ASSERT_EQ(other_.put("key", "value"), StatusCode::kOk);
  expect(waiter, "value");
}

TEST_P(Waiting, ManyThreadsOfOneClientWaitForTheSameAndForDifferentKeys) {
  std::vector<std::unique_ptr<Waiter>> waiters;
  for (std::uint64_t i = 0; i < 48; ++i)
    waiters.push_back(std::make_unique<Waiter>(map_, word_key(i % 24), std::nullopt));
  let_it_sleep();
  for (std::uint64_t i = 0; i < 24; ++i) ASSERT_EQ(other_.put(word_key(i), word_key(i + 1)), StatusCode::kOk);
  for (std::uint64_t i = 0; i < 48; ++i) expect(*waiters[i], word_key(i % 24 + 1));
}

TEST_P(Waiting, AWaiterWithQueuedWritesOfItsOwnSeesThem) {
  ASSERT_EQ(map_.put_async("key", "value"), StatusCode::kOk);
  EXPECT_EQ(*map_.wait("key", std::nullopt, kPatience), "value");
}

TEST_P(Waiting, InvalidArgumentsAreRefusedBeforeAnythingIsSent) {
  EXPECT_EQ(map_.wait("", std::nullopt, 1s).status(), StatusCode::kInvalid);
  EXPECT_EQ(map_.wait(std::string(65'537, 'k'), std::nullopt, 1s).status(), StatusCode::kTooLarge);
  const Status below = map_.wait("key", std::nullopt, -1ns).status();
  EXPECT_EQ(below, StatusCode::kInvalid);
  EXPECT_EQ(below.message(), "the timeout is below zero; give zero to check once, or a longer time");
}

INSTANTIATE_TEST_SUITE_P(Ways, Waiting, testing::ValuesIn(kWays), way_name);

TEST(WaitingOfMany, MoreKeysThanAClientMayWaitForAreRefused) {
  Server server({"10", "--workers", "1"});
  Client map = server.connect();
  Client other = server.connect();
  std::atomic<int> refused{0};
  std::atomic<int> woken{0};
  std::vector<std::thread> threads;
  constexpr int kThreads = 100;
  for (int i = 0; i < kThreads; ++i) {
    threads.emplace_back([&, i] {
      const Result<Value> result = map.wait(word_key(static_cast<std::uint64_t>(i)), std::nullopt, kPatience);
      if (result) {
        ++woken;
      } else if (result.status() == StatusCode::kFull) {
        EXPECT_NE(result.status().message().find("wait for too many keys"), std::string_view::npos);
        ++refused;
      }
    });
  }
  while (refused == 0) std::this_thread::sleep_for(1ms);
  for (std::uint64_t i = 0; i < kThreads; ++i) ASSERT_EQ(other.put(word_key(i), "x"), StatusCode::kOk);
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(woken + refused, kThreads);
  EXPECT_GE(woken, 64);
}

TEST(WaitingOfMany, AReadOnlyClientIsRefused) {
  Server server({"10"});
  Options options = server.options();
  options.read_only = true;
  Result<Client> reader = Client::connect(options);
  ASSERT_TRUE(reader.has_value());
  const Status status = reader->wait("key", std::nullopt, 1s).status();
  EXPECT_EQ(status, StatusCode::kPermission);
  EXPECT_NE(status.message().find("cannot register to be woken"), std::string_view::npos);
}

}  // namespace
}  // namespace hostmap::test
