// get_or_compute and leases, in the test's own process: by direct reads and by ring, with one worker and with four.
#include <atomic>
#include <chrono>
#include <csignal>
#include <functional>
#include <gtest/gtest.h>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "client/ways.hpp"
#include "process/harness/server.hpp"

namespace hostmap::test {
namespace {

using namespace std::chrono_literals;

class LeasesOfThreads : public testing::TestWithParam<Way> {
 protected:
  Server server_{{"10", "--workers", GetParam().workers, "--ring-size", "16K"}};
  Client map_ = server_.connect(kPatience, GetParam().reads);
};

TEST_P(LeasesOfThreads, AnAbsentValueIsComputedOnceAndStored) {
  for (const std::string& key : kKeys) {
    for (const std::string& value : kValues) {
      int calls = 0;
      const auto compute = [&] {
        ++calls;
        return value;
      };
      EXPECT_EQ(*map_.get_or_compute(key, kForever, compute), value);
      EXPECT_EQ(*map_.get_or_compute(key, kForever, compute), value);
      EXPECT_EQ(calls, 1);
      EXPECT_EQ(*map_.get(key), value);
      EXPECT_EQ(*map_.ttl(key), kForever);
      ASSERT_EQ(map_.erase(key), StatusCode::kOk);
    }
  }
}

TEST_P(LeasesOfThreads, TheValueEndsAfterItsTimeToLive) {
  ASSERT_EQ(*map_.get_or_compute("key", 1h, [] { return std::string("value"); }), "value");
  EXPECT_LE(*map_.ttl("key"), 1h);
  ASSERT_EQ(map_.expire("key", 1ms), StatusCode::kOk);
  std::this_thread::sleep_for(30ms);
  EXPECT_EQ(*map_.get_or_compute("key", 1h, [] { return std::string("next"); }), "next");
}

TEST_P(LeasesOfThreads, OfManyThreadsOneComputes) {
  std::atomic<int> calls{0};
  std::vector<std::thread> threads;
  for (int i = 0; i < 16; ++i) {
    threads.emplace_back([&] {
      const Result<std::string> value = map_.get_or_compute("key", kForever, [&] {
        ++calls;
        std::this_thread::sleep_for(20ms);
        return std::string("value");
      });
      ASSERT_TRUE(value.has_value()) << value.status().message();
      EXPECT_EQ(*value, "value");
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(calls, 1);
}

TEST_P(LeasesOfThreads, AFailureIsReturnedAndNothingIsStored) {
  const auto fail = []() -> Result<std::string> { return Status(StatusCode::kNotANumber, "no"); };
  const Status status = map_.get_or_compute("key", kForever, fail).status();
  EXPECT_EQ(status, StatusCode::kNotANumber);
  EXPECT_EQ(status.message(), "no");
  EXPECT_EQ(map_.exists("key"), StatusCode::kNotFound);
  EXPECT_EQ(*map_.get_or_compute("key", kForever, [] { return std::string("value"); }), "value");
}

TEST_P(LeasesOfThreads, AnExceptionPassesThroughAndTheLeaseIsReleased) {
  const auto raise = []() -> std::string { throw std::runtime_error("no"); };
  EXPECT_THROW(map_.get_or_compute("key", kForever, raise), std::runtime_error);
  EXPECT_EQ(*map_.get_or_compute("key", kForever, [] { return std::string("value"); }), "value");
}

TEST_P(LeasesOfThreads, AFunctionMayComputeAnotherKeyButNotItsOwn) {
  const auto value = [] { return std::string("inner"); };
  const Result<std::string> outer = map_.get_or_compute("outer", kForever, [&]() -> Result<std::string> {
    const Status own = map_.get_or_compute("outer", kForever, value).status();
    EXPECT_EQ(own, StatusCode::kInvalid);
    EXPECT_EQ(own.message(), "this value was requested by the function that computes it");
    return map_.get_or_compute("inner", kForever, value);
  });
  EXPECT_EQ(*outer, "inner");
  EXPECT_EQ(*map_.get("outer"), "inner");
}

TEST_P(LeasesOfThreads, AClientWithoutALeaseLeftComputesNevertheless) {
  Server server({"10", "--workers", "1"});
  Client map = server.connect(kPatience, GetParam().reads);
  for (int i = 0; i < 64; ++i) ASSERT_TRUE(map.lease("held " + std::to_string(i), 10min));
  EXPECT_EQ(map.compute_begin("key").status(), StatusCode::kFull);

  const auto fail = []() -> Result<std::string> { return Status(StatusCode::kNotANumber, "no"); };
  EXPECT_EQ(map.get_or_compute("key", 1h, fail).status(), StatusCode::kNotANumber);
  EXPECT_EQ(map.exists("key"), StatusCode::kNotFound);

  int calls = 0;
  const auto compute = [&] { return "value " + std::to_string(++calls); };
  EXPECT_EQ(*map.get_or_compute("key", 1h, compute), "value 1");
  EXPECT_EQ(*map.get_or_compute("key", 1h, compute), "value 1");
  EXPECT_EQ(calls, 1);
  EXPECT_LE(*map.ttl("key"), 1h);

  const auto late = [&] {
    EXPECT_EQ(map.insert("other", "first"), StatusCode::kOk);
    return std::string("second");
  };
  EXPECT_EQ(*map.get_or_compute("other", 1h, late), "first");
}

TEST_P(LeasesOfThreads, ComputationsNestedDeeperThanThereAreLeasesReturnTheirValues) {
  Server server({"10", "--workers", "1"});
  Client map = server.connect(kPatience, GetParam().reads);
  std::function<Result<std::string>(int)> nested = [&](int depth) {
    return map.get_or_compute("depth " + std::to_string(depth), kForever, [&, depth]() -> Result<std::string> {
      return depth == 100 ? std::string("innermost") : nested(depth + 1);
    });
  };
  EXPECT_EQ(*nested(1), "innermost");
  EXPECT_EQ(*map.size(), 100u);
}

TEST_P(LeasesOfThreads, AValueThatCannotBeStoredIsAnError) {
  Server small({"10", "--max-value", "100"});
  Client map = small.connect();
  EXPECT_EQ(map.get_or_compute("key", kForever, [] { return std::string(101, 'v'); }).status(), StatusCode::kTooLarge);
  EXPECT_EQ(*map.get_or_compute("key", kForever, [] { return std::string(100, 'v'); }), std::string(100, 'v'));
}

TEST_P(LeasesOfThreads, InvalidArgumentsAreRefusedBeforeAnythingIsSent) {
  const auto value = [] { return std::string("value"); };
  EXPECT_EQ(map_.get_or_compute("key", 0ms, value).status(), StatusCode::kInvalid);
  EXPECT_EQ(map_.get_or_compute("key", 1h, value, 0ms).status(), StatusCode::kInvalid);
  EXPECT_EQ(map_.get_or_compute("key", 1h, value, kForever).status(), StatusCode::kInvalid);
  EXPECT_EQ(map_.get_or_compute("", 1h, value).status(), StatusCode::kInvalid);
  EXPECT_EQ(map_.get_or_compute(std::string(65'537, 'k'), 1h, value).status(), StatusCode::kTooLarge);
  EXPECT_EQ(map_.lease("key", 0ms).status(), StatusCode::kInvalid);
  EXPECT_EQ(map_.lease("key", kForever).status(), StatusCode::kInvalid);
  EXPECT_EQ(map_.lease("key", 1s, -1ns).status(), StatusCode::kInvalid);
  EXPECT_EQ(map_.lease("", 1s).status(), StatusCode::kInvalid);
  EXPECT_EQ(map_.release("", 1), StatusCode::kInvalid);
  const Status unknown = map_.release("key", 1);
  EXPECT_EQ(unknown, StatusCode::kNotFound);
  EXPECT_NE(unknown.message().find("does not hold the lease"), std::string_view::npos);
}

TEST_P(LeasesOfThreads, ALeaseThatIsHeldIsWaitedForOrNot) {
  const Result<std::uint64_t> first = map_.lease("key", 1h);
  ASSERT_TRUE(first.has_value()) << first.status().message();
  const Status held = map_.lease("key", 1h).status();
  EXPECT_EQ(held, StatusCode::kAlreadyExists);
  EXPECT_EQ(held.message(), "another process or thread holds the lease of this key");
  const auto begin = std::chrono::steady_clock::now();
  EXPECT_EQ(map_.lease("key", 1h, 30ms).status(), StatusCode::kAlreadyExists);
  EXPECT_GE(std::chrono::steady_clock::now() - begin, 30ms);
  ASSERT_EQ(map_.release("key", *first), StatusCode::kOk);
  const Result<std::uint64_t> second = map_.lease("key", 20ms);
  ASSERT_TRUE(second.has_value());
  EXPECT_GT(*second, *first);
  EXPECT_GT(*map_.lease("key", 1h, kPatience), *second);
}

TEST_P(LeasesOfThreads, TheLongestLeaseIsHeld) {
  constexpr std::chrono::milliseconds kLongest = kForever - 1ms;
  const Result<std::uint64_t> lease = map_.lease("key", kLongest);
  ASSERT_TRUE(lease.has_value()) << lease.status();
  EXPECT_EQ(map_.lease("key", kLongest).status(), StatusCode::kAlreadyExists);
  EXPECT_EQ(map_.release("key", *lease), StatusCode::kOk);
}

TEST_P(LeasesOfThreads, ATaskThatFailsFreesTheLeaseForWhoeverWaitsForIt) {
  const Result<ValueOrTask> begun = map_.compute_begin("key", 1h);
  ASSERT_TRUE(begun.has_value()) << begun.status().message();
  Result<std::uint64_t> second = Status(StatusCode::kInternal);
  std::thread waiting([&] { second = map_.lease("key", 1h, kPatience); });
  std::this_thread::sleep_for(20ms);
  EXPECT_EQ(map_.compute_fail("key", StatusCode::kMismatch, begun->task), StatusCode::kOk);
  waiting.join();
  ASSERT_TRUE(second.has_value()) << second.status().message();
  EXPECT_GT(*second, begun->task);
}

// The server serves what a call has sent also if the call has timed out meanwhile.
class LeasesGrantedTooLate : public LeasesOfThreads {
 protected:
  void SetUp() override { ASSERT_EQ(map_.exists("key"), StatusCode::kNotFound); }
  // Its calls for the leases of `count` keys time out, and only then the server serves them.
  void ask_in_vain(int count) {
    ASSERT_EQ(map_.set_timeout(30ms), StatusCode::kOk);
    server_.pause();
    for (int i = 0; i < count; ++i) EXPECT_EQ(map_.lease(key_of(i), 1h).status(), StatusCode::kTimeout);
    server_.send(SIGCONT);
    ASSERT_EQ(map_.set_timeout(kPatience), StatusCode::kOk);
  }
  static std::string key_of(int i) { return i == 0 ? "key" : "key " + std::to_string(i); }

  void expect_free_for_others(int count) {
    Client other = server_.connect();
    for (int i = 0; i < count; ++i) {
      const Result<std::uint64_t> lease = other.lease(key_of(i), 1h, kPatience);
      EXPECT_TRUE(lease.has_value()) << i << ": " << lease.status().message();
    }
  }
};

TEST_P(LeasesGrantedTooLate, TheNextCallOfTheClientIsGrantedTheLease) {
  const Result<std::uint64_t> before = map_.lease("another", 1h);
  ask_in_vain(1);
  const Result<std::uint64_t> lease = map_.lease("key", 1h);
  ASSERT_TRUE(lease.has_value()) << lease.status().message();
  EXPECT_EQ(map_.lease("key", 1h).status(), StatusCode::kAlreadyExists) << "now it is held";
  EXPECT_EQ(map_.release("key", *lease), StatusCode::kOk);
  EXPECT_EQ(map_.release("another", *before), StatusCode::kOk) << "what it held is not touched";
}

TEST_P(LeasesGrantedTooLate, ACallWithPatienceAsksAgainAndIsGrantedTheLease) {
  ASSERT_EQ(map_.set_timeout(30ms), StatusCode::kOk);
  server_.pause();
  std::thread resume([&] {
    std::this_thread::sleep_for(200ms);
    server_.send(SIGCONT);
  });
  const Result<std::uint64_t> lease = map_.lease("key", 1h, kPatience);
  resume.join();
  ASSERT_TRUE(lease.has_value()) << lease.status().message();
}

TEST_P(LeasesGrantedTooLate, AValueIsComputedWithoutWaitingForTheEndOfTheLease) {
  ask_in_vain(1);
  EXPECT_EQ(*map_.get_or_compute("key", kForever, [] { return std::string("value"); }), "value");
}

TEST_P(LeasesGrantedTooLate, AnyLaterCallOfTheClientInTheLaneFreesThemForOthers) {
  ask_in_vain(1);
  EXPECT_EQ(map_.put("key", "value"), StatusCode::kOk);
  expect_free_for_others(1);
}

TEST_P(LeasesGrantedTooLate, AsManyAsAClientMayHoldAreReleased) {
  constexpr int kMost = 64;
  ask_in_vain(kMost);
  const Result<std::uint64_t> lease = map_.lease("one more", 1h);
  ASSERT_TRUE(lease.has_value()) << lease.status().message();
  for (int i = 0; i < kMost; ++i) EXPECT_EQ(map_.put(key_of(i), "value"), StatusCode::kOk) << "in each lane";
  expect_free_for_others(kMost);
}

INSTANTIATE_TEST_SUITE_P(Ways, LeasesGrantedTooLate, testing::ValuesIn(kWays), way_name);
INSTANTIATE_TEST_SUITE_P(Ways, LeasesOfThreads, testing::ValuesIn(kWays), way_name);

TEST(LeasesOfServers, NumbersGrowFromOneServerToTheNextAlsoWhenTheMapIsNew) {
  Server first({"10"});
  Client map = first.connect();
  const Result<std::uint64_t> before = map.lease("key", 1h);
  ASSERT_TRUE(before.has_value()) << before.status().message();
  first.stop_cleanly();
  Server second({"10"}, {first.name()});
  const Result<std::uint64_t> after = map.lease("key", 1h);
  ASSERT_TRUE(after.has_value()) << after.status().message();
  EXPECT_GT(*after, *before);
}

TEST(LeasesOfReaders, AReadOnlyClientGetsWhatIsThereAndComputesNothing) {
  Server server({"10"});
  Client map = server.connect();
  Options options = server.options();
  options.read_only = true;
  Result<Client> reader = Client::connect(options);
  ASSERT_TRUE(reader.has_value());
  const auto value = [] { return std::string("value"); };
  EXPECT_EQ(reader->get_or_compute("key", 1h, value).status(), StatusCode::kPermission);
  EXPECT_EQ(reader->lease("key", 1h).status(), StatusCode::kPermission);
  ASSERT_EQ(map.put("key", "there"), StatusCode::kOk);
  EXPECT_EQ(*reader->get_or_compute("key", 1h, value), "there");
}

}  // namespace
}  // namespace hostmap::test
