// Every loop of a client ends by its deadline: with a value that changes all the time, a stopped server, two full rings, and
// a server that ends.
#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <functional>
#include <gtest/gtest.h>
#include <optional>
#include <stop_token>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include "process/harness/server.hpp"

namespace hostmap::test {
namespace {

using Clock = std::chrono::steady_clock;
// A watchdog: on an idle machine the calls end some milliseconds after their deadline.
constexpr std::chrono::seconds kWatchdog{20};

// The value of "key", replaced by two clients faster than it can be read in pieces, until this object ends.
class ChangingValue {
 public:
  explicit ChangingValue(const Server& server) {
    for (const char letter : {'a', 'b'}) {
      writers_.emplace_back([&server, letter](const std::stop_token& stop) {
        Client writer = server.connect();
        const std::string value(kBytes, letter);
        while (!stop.stop_requested()) ASSERT_EQ(writer.put("key", value), StatusCode::kOk);
      });
    }
  }

  static constexpr std::size_t kBytes = 100'000;

 private:
  std::vector<std::jthread> writers_;
};

// By how much this machine delayed a thread of this process, at most, during the life of this object.
class DelayOfThreads {
 public:
  DelayOfThreads()
      : sleeper_([this](const std::stop_token& stop) {
          constexpr std::chrono::milliseconds kSleep{5};
          while (!stop.stop_requested()) {
            const Clock::time_point begin = Clock::now();
            std::this_thread::sleep_for(kSleep);
            longest_ = std::max(longest_, Clock::now() - begin - kSleep);
          }
        }) {}
  Clock::duration end() {
    sleeper_.request_stop();
    sleeper_.join();
    return longest_;
  }

 private:
  Clock::duration longest_{0};
  std::jthread sleeper_;
};

TEST(Deadlines, AGetByRingOfAValueThatKeepsChangingEnds) {
  Server server({"10", "--ring-size", "4K"});
  Client reader = server.connect(std::chrono::milliseconds(300), Reads::kRing);
  const ChangingValue changing(server);
  ASSERT_TRUE(eventually([&] { return !(reader.exists("key") == StatusCode::kNotFound); }));
  for (int i = 0; i < 20; ++i) {
    const Clock::time_point begin = Clock::now();
    const Result<std::string> value = reader.get("key");
    EXPECT_LT(Clock::now() - begin, kWatchdog);
    if (value) {
      EXPECT_EQ(value->find_first_not_of(value->front()), std::string::npos) << "a torn value";
    } else {
      EXPECT_EQ(value.status(), StatusCode::kTimeout) << value.status().message();
    }
  }
}

// Each call that reads a value reads again when the value has changed meanwhile, in the way of its client.
TEST(Deadlines, EachCallThatReadsAValueThatKeepsChangingEnds) {
  Server server({"10", "--ring-size", "4K", "--memory", "64M"});
  const ChangingValue changing(server);
  for (const Reads reads : {Reads::kDirect, Reads::kRing}) {
    Client map = server.connect(std::chrono::milliseconds(200), reads);
    ASSERT_TRUE(eventually([&] { return map.exists("key").ok(); }));
    std::vector<std::byte> buffer(ChangingValue::kBytes);
    const auto is_whole = [](std::string_view value) { return value.find_first_not_of(value.front()) == value.npos; };
    const std::pair<const char*, std::function<Status()>> calls[] = {
        {"get", [&] { return map.get("key").status(); }},
        {"get_into", [&] { return map.get_into("key", buffer).status(); }},
        {"get_with_token", [&] { return map.get_with_token("key").status(); }},
        {"multi_get",
         [&] {
           return map.multi_get({"other", "key"})[1].status();
         }},
        {"apply",
         [&] {
           const Operation get = Operation::get("key");
           Outcome outcome;
           const Status status = map.apply({&get, 1}, {&outcome, 1});
           return status.ok() ? outcome.status : status;
         }},
        {"update",
         [&] {
           return map.update("key", [](std::optional<std::string_view> now) -> std::optional<std::string> {
             return now ? std::string(*now) : std::string();
           });
         }},
        {"exchange", [&] { return map.exchange("key", std::string(ChangingValue::kBytes, 'x')).status(); }},
        {"take", [&] { return map.take("key").status(); }},
        {"insert_or_get", [&] { return map.insert_or_get("key", std::string(ChangingValue::kBytes, 'y')).status(); }},
        {"wait", [&] { return map.wait("key", "another", std::chrono::milliseconds(200)).status(); }},
        {"scan",
         [&] {
           return map.scan("key", [&](std::string_view, std::string_view value) {
             EXPECT_TRUE(is_whole(value)) << "a torn value";
             return true;
           });
         }},
    };
    for (const auto& [name, call] : calls) {
      SCOPED_TRACE(name);
      for (int i = 0; i < 2; ++i) {
        const Clock::time_point begin = Clock::now();
        const Status status = call();
        EXPECT_LT(Clock::now() - begin, kWatchdog);
        // A take removes the key for a moment.
        EXPECT_TRUE(status.ok() || status == StatusCode::kTimeout || status == StatusCode::kNotFound)
            << status.message();
        // And it holds no lock of the client.
        EXPECT_TRUE(eventually([&] { return map.put("other", "value").ok(); }));
      }
    }
  }
}

// Answers to calls that have timed out fill the answer ring; a later call needs room in the request ring, which comes only
// when those answers are taken.
TEST(Deadlines, ACallThatWaitsForRoomTakesTheAnswersThatBlockIt) {
  for (const char* ring : {"4K", "8K", "64K"}) {
    SCOPED_TRACE(ring);
    Server server({"10", "--ring-size", ring, "--memory", "64M"});
    Client map = server.connect(std::chrono::milliseconds(150), Reads::kRing);
    const std::string long_key(65536, 'k');
    const auto until_in_time = [](const auto& call) {
      return eventually([&] { return !(call() == StatusCode::kTimeout); });
    };
    ASSERT_TRUE(until_in_time([&] { return map.put("small", std::string(20'000, 'v')); }));
    ASSERT_TRUE(until_in_time([&] { return map.put(long_key, "x"); }));
    ASSERT_TRUE(until_in_time([&] { return map.get("small").status(); }));
    server.pause();
    for (int i = 0; i < 6; ++i) {
      EXPECT_EQ(map.get("small").status(), StatusCode::kTimeout);
      EXPECT_EQ(map.put("small key", "v"), StatusCode::kTimeout);
    }
    server.send(SIGCONT);
    ASSERT_TRUE(until_in_time([&] { return map.put_async("queued", "1"); }));
    Result<std::string> value = StatusCode::kTimeout;
    ASSERT_TRUE(until_in_time([&] {
      value = map.get(long_key);
      return value.status();
    }));
    ASSERT_TRUE(value) << value.status().message();
    EXPECT_EQ(*value, "x");
    Status flushed;
    ASSERT_TRUE(until_in_time([&] {
      flushed = map.flush();
      return flushed;
    }));
    EXPECT_TRUE(flushed.ok()) << flushed.message();
    EXPECT_EQ(*map.get("queued"), "1");
  }
}

// A request in pieces whose deadline passes between two of them is withdrawn. With the connection the client would lose its leases
// and queued writes.
TEST(Deadlines, ARequestInPiecesThatRunsOutOfTimeIsWithdrawnAndTheConnectionStays) {
  for (const char* ring : {"4K", "8K"}) {
    for (const Reads reads : {Reads::kDirect, Reads::kRing}) {
      Server server({"10", "--ring-size", ring, "--memory", "64M", "--workers", "1"});
      Client map = server.connect(kPatience, reads);
      const std::string long_key(30'000, 'k');
      const std::string large(100'000, 'v');
      ASSERT_EQ(map.put("large", "old"), StatusCode::kOk);
      ASSERT_EQ(map.put(long_key, large), StatusCode::kOk);
      ASSERT_EQ(*map.get(long_key), large);
      const Result<std::uint64_t> lease = map.lease("lease", std::chrono::hours(1));
      ASSERT_TRUE(lease.has_value()) << lease.status().message();
      ASSERT_EQ(map.set_timeout(std::chrono::milliseconds(30)), StatusCode::kOk);
      server.pause();
      for (int i = 0; i < 3; ++i) {
        EXPECT_EQ(map.put("large", large), StatusCode::kTimeout);
        EXPECT_EQ(map.put_async("large", large), StatusCode::kTimeout);
        EXPECT_EQ(map.append(long_key, large).status(), StatusCode::kTimeout);
        // A direct read of the value is the same as the one that is known; it is one by ring that has no time.
        EXPECT_EQ(map.wait(long_key, large, std::chrono::milliseconds(20)).status(), StatusCode::kTimeout);
        EXPECT_EQ(map.lease(long_key, std::chrono::hours(1), std::chrono::milliseconds(20)).status(),
                  StatusCode::kTimeout);
      }
      server.send(SIGCONT);
      ASSERT_EQ(map.set_timeout(kPatience), StatusCode::kOk);
      EXPECT_EQ(*map.get("large"), "old") << "nothing of what was withdrawn is applied";
      EXPECT_EQ(*map.get(long_key), large);
      EXPECT_EQ(map.flush(), StatusCode::kOk);
      EXPECT_EQ(map.put("large", large), StatusCode::kOk);
      EXPECT_EQ(*map.get("large"), large);
      EXPECT_EQ(map.release("lease", *lease), StatusCode::kOk) << "the connection is the same";
      EXPECT_EQ(server.stat("connected"), 1u);
      EXPECT_EQ(run({program("hostmap"), "--name", server.name(), "check"}).exit, kSuccess);
    }
  }
}

// A stop that keeps the map answers what its clients have sent, and wakes them.
TEST(Deadlines, AKeptStopWakesTheClientsWhoseRequestsItServes) {
  for (int round = 0; round < 5; ++round) {
    Server server({"10", "--keep"});
    constexpr std::chrono::milliseconds kTimeout{300};
    DelayOfThreads delay;
    std::vector<Clock::duration> longest(8);
    std::vector<std::jthread> clients;
    std::atomic<std::size_t> ready{0};
    for (std::size_t i = 0; i < longest.size(); ++i) {
      clients.emplace_back([&, i] {
        Client map = server.connect(kTimeout);
        ++ready;
        for (Status status; status.ok();) {
          const Clock::time_point begin = Clock::now();
          status = map.put("key " + std::to_string(i), "value");
          longest[i] = std::max(longest[i], Clock::now() - begin);
        }
      });
    }
    while (ready < longest.size()) std::this_thread::yield();
    std::this_thread::sleep_for(std::chrono::milliseconds(20 + 3 * round));
    EXPECT_EQ(server.stop(), kSuccess);
    clients.clear();
    // A call that was not woken took up to a second more than its timeout. A call can be delayed several times, a thread each time.
    const Clock::duration allowed = std::chrono::milliseconds(600) + 4 * delay.end();
    EXPECT_LT((*std::max_element(longest.begin(), longest.end()) - kTimeout).count(), allowed.count());
    server.remove_regions();
  }
}

}  // namespace
}  // namespace hostmap::test
