// Keys that end, through a real server: by direct reads and by ring, with one worker and with four.
#include <chrono>
#include <gtest/gtest.h>
#include <limits>
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

class ExpiryOfKeys : public testing::TestWithParam<Way> {
 protected:
  Server server_{{"10", "--workers", GetParam().workers, "--ring-size", "16K"}};
  Client map_ = server_.connect(kPatience, GetParam().reads);

  // Until the key is absent; never before the end that the caller has named.
  void await_end(const std::string& key, std::chrono::steady_clock::time_point no_earlier) {
    Status status;
    while ((status = map_.exists(key)).ok()) std::this_thread::sleep_for(1ms);
    ASSERT_EQ(status, StatusCode::kNotFound);
    EXPECT_GE(std::chrono::steady_clock::now(), no_earlier);
  }
};

TEST_P(ExpiryOfKeys, AKeyIsAbsentOnceItsTimeHasPassed) {
  for (const std::string& key : kKeys) {
    for (const std::string& value : kValues) {
      const auto begin = std::chrono::steady_clock::now();
      ASSERT_EQ(map_.put(key, value, 30ms), StatusCode::kOk);
      await_end(key, begin + 30ms);
      EXPECT_EQ(map_.get(key).status(), StatusCode::kNotFound);
      EXPECT_EQ(map_.ttl(key).status(), StatusCode::kNotFound);
      EXPECT_EQ(map_.erase(key), StatusCode::kNotFound);
      EXPECT_EQ(map_.expire(key, 1h), StatusCode::kNotFound);
      EXPECT_EQ(map_.persist(key), StatusCode::kNotFound);
      EXPECT_EQ(map_.replace(key, value), StatusCode::kNotFound);
      EXPECT_EQ(map_.compare_exchange(key, value, "x"), StatusCode::kNotFound);
      ASSERT_EQ(map_.insert(key, value, 1h), StatusCode::kOk);
      EXPECT_EQ(*map_.get(key), value);
      EXPECT_EQ(map_.insert(key, value, 1h), StatusCode::kAlreadyExists);
      ASSERT_EQ(map_.erase(key), StatusCode::kOk);
    }
  }
}

// A program that sleeps for the time to live does not find the key again; one that has not slept so long does.
TEST_P(ExpiryOfKeys, AKeyEndsExactlyWhenItsTimeHasPassed) {
  using Clock = std::chrono::steady_clock;
  for (int round = 0; round < 50; ++round) {
    for (const std::string& value : kValues) {
      const auto ttl = std::chrono::milliseconds(1 + round % 4);
      const Clock::time_point before = Clock::now();
      ASSERT_EQ(map_.put("key", value, ttl), StatusCode::kOk);
      const Clock::time_point end = Clock::now() + ttl + 1us;  // at the latest
      for (Status status; status.ok();) {
        const Clock::time_point begin = Clock::now();
        status = map_.get("key").status();
        if (status.ok()) {
          ASSERT_LT(begin, end) << "present after its end";
        } else {
          ASSERT_EQ(status, StatusCode::kNotFound);
          ASSERT_GE(Clock::now(), before + ttl) << "absent before its end";
        }
      }
      EXPECT_EQ(map_.expire("key", 1h), StatusCode::kNotFound);
    }
  }
}

TEST_P(ExpiryOfKeys, ALeaseAndAWaitEndExactlyWhenTheirTimeHasPassed) {
  using Clock = std::chrono::steady_clock;
  for (int round = 0; round < 20; ++round) {
    const auto length = std::chrono::milliseconds(1 + round % 4);
    const Clock::time_point before = Clock::now();
    ASSERT_TRUE(map_.lease("task", length).has_value());
    const Clock::time_point end = Clock::now() + length + 1us;  // at the latest
    for (bool held = true; held;) {
      const Clock::time_point begin = Clock::now();
      const Result<std::uint64_t> next = map_.lease("task", 1h);
      held = !next.has_value();
      if (held) {
        ASSERT_EQ(next.status(), StatusCode::kAlreadyExists);
        ASSERT_LT(begin, end) << "held after its end";
      } else {
        ASSERT_GE(Clock::now(), before + length) << "granted before the end of the one before";
        ASSERT_EQ(map_.release("task", *next), StatusCode::kOk);
      }
    }
    const Clock::time_point put = Clock::now();
    ASSERT_EQ(map_.put("key", "value", length), StatusCode::kOk);
    const Result<std::optional<std::string>> waited = map_.wait("key", "value", kPatience);
    ASSERT_TRUE(waited.has_value()) << waited.status();
    EXPECT_EQ(*waited, std::nullopt);
    EXPECT_GE(Clock::now(), put + length);
  }
}

TEST_P(ExpiryOfKeys, TheRestOfItsTimeIsReturnedAndChanged) {
  const auto expect_hours = [&](const std::string& key, int hours) {
    const Result<std::chrono::milliseconds> left = map_.ttl(key);
    ASSERT_TRUE(left.has_value()) << left.status().message();
    EXPECT_GT(*left, std::chrono::hours(hours - 1));
    EXPECT_LE(*left, std::chrono::hours(hours));
  };
  for (const std::string& key : kKeys) {
    for (const std::string& value : kValues) {
      ASSERT_EQ(map_.put(key, value), StatusCode::kOk);
      EXPECT_EQ(*map_.ttl(key), kForever);
      ASSERT_EQ(map_.expire(key, 2h), StatusCode::kOk);
      expect_hours(key, 2);
      EXPECT_EQ(*map_.get(key), value);
      ASSERT_EQ(map_.expire_async(key, 5h), StatusCode::kOk);
      ASSERT_EQ(map_.flush(), StatusCode::kOk);
      expect_hours(key, 5);
      ASSERT_EQ(map_.put(key, value + "x", kKeepTtl), StatusCode::kOk);
      expect_hours(key, 5);
      ASSERT_EQ(map_.compare_exchange(key, value + "x", value), StatusCode::kOk);
      expect_hours(key, 5);
      ASSERT_TRUE(map_.append(key, "y").has_value());
      expect_hours(key, 5);
      EXPECT_EQ(*map_.get(key), value + "y");
      const Result<ValueAndToken> read = map_.get_with_token(key);
      ASSERT_EQ(map_.expire(key, 6h), StatusCode::kOk);
      EXPECT_EQ(map_.put_if(key, "z", read->token), StatusCode::kMismatch) << "a token is of value and end";
      ASSERT_EQ(map_.put_if(key, value, map_.get_with_token(key)->token), StatusCode::kOk);
      expect_hours(key, 6);
      ASSERT_EQ(map_.persist(key), StatusCode::kOk);
      EXPECT_EQ(*map_.ttl(key), kForever);
      ASSERT_EQ(map_.replace(key, value, 3h), StatusCode::kOk);
      expect_hours(key, 3);
      ASSERT_EQ(map_.put_async(key, value, 4h), StatusCode::kOk);
      expect_hours(key, 4);
      ASSERT_EQ(map_.put(key, value), StatusCode::kOk);
      EXPECT_EQ(*map_.ttl(key), kForever);
      EXPECT_EQ(*map_.get(key), value);
    }
  }
  ASSERT_EQ(map_.put("number", "41", 1h), StatusCode::kOk);
  EXPECT_EQ(*map_.increment("number"), 42);
  expect_hours("number", 1);
}

// Of a rate limiter: the first event of a window gives the counter its end, the others keep it.
TEST_P(ExpiryOfKeys, AnIncrementGivesOnlyANewNumberATime) {
  const auto hours_left = [&](const std::string& key) {
    const Result<std::chrono::milliseconds> left = map_.ttl(key);
    EXPECT_TRUE(left.has_value()) << left.status();
    return left ? std::chrono::ceil<std::chrono::hours>(*left) : 0h;
  };
  for (const std::string& key : kKeys) {
    EXPECT_EQ(*map_.increment(key, 1, 0, 2h), 1);
    EXPECT_EQ(hours_left(key), 2h);
    EXPECT_EQ(*map_.increment(key, 1, 0, 5h), 2);
    EXPECT_EQ(*map_.increment(key, 0.5, 0, 5h), 2.5);
    EXPECT_EQ(hours_left(key), 2h);
    ASSERT_EQ(map_.put(key, "7"), StatusCode::kOk);
    EXPECT_EQ(*map_.increment(key, 1, 0, 5h), 8);
    EXPECT_EQ(*map_.ttl(key), kForever) << "it is not new";
    ASSERT_EQ(map_.erase(key), StatusCode::kOk);

    EXPECT_EQ(*map_.increment(key, 0.25, 1, 3h), 1.25);
    EXPECT_EQ(hours_left(key), 3h);
    ASSERT_EQ(map_.erase(key), StatusCode::kOk);
    EXPECT_EQ(*map_.increment_as<std::int64_t>(key, 1, 6, 4h), 7);
    EXPECT_EQ(*map_.increment_as<std::int64_t>(key, 1, 6, 5h), 8);
    EXPECT_EQ(hours_left(key), 4h);
    ASSERT_EQ(map_.erase(key), StatusCode::kOk);
    EXPECT_EQ(*map_.increment_as<double>(key, 1, 0.5, 5h), 1.5);
    EXPECT_EQ(hours_left(key), 5h);
    ASSERT_EQ(map_.erase(key), StatusCode::kOk);

    // What has lapsed is new again.
    const auto begin = std::chrono::steady_clock::now();
    EXPECT_EQ(*map_.increment(key, 1, 0, 30ms), 1);
    EXPECT_LE(*map_.ttl(key), 30ms);
    await_end(key, begin + 30ms);
    EXPECT_EQ(*map_.increment(key, 1, 40, 2h), 41);
    EXPECT_EQ(hours_left(key), 2h);
    for (const std::chrono::milliseconds wrong : {0ms, -1ms, kKeepTtl}) {
      EXPECT_EQ(map_.increment(key, 1, 0, wrong).status(), StatusCode::kInvalid);
      EXPECT_EQ(map_.increment(key, 0.5, 0, wrong).status(), StatusCode::kInvalid);
      EXPECT_EQ(map_.increment_as<double>(key, 1, 0, wrong).status(), StatusCode::kInvalid);
      EXPECT_NE(map_.increment_as<std::int64_t>(key, 1, 0, wrong).status().message().find("above zero"),
                std::string_view::npos);
    }
    EXPECT_EQ(*map_.get(key), "41") << "nothing was changed";
  }
}

TEST_P(ExpiryOfKeys, AScanGivesEachKeyItsValueAndItsTime) {
  for (const std::string& key : kKeys) {
    for (const std::string& value : kValues) {
      const std::string timed = key + "ends";
      ASSERT_EQ(map_.put(key, value), StatusCode::kOk);
      ASSERT_EQ(map_.put(timed, value, 1h), StatusCode::kOk);
      int seen = 0;
      EXPECT_EQ(map_.scan(key,
                          [&](std::string_view found, std::string_view content, std::chrono::milliseconds ttl) {
                            EXPECT_EQ(content, value);
                            if (found == key) {
                              EXPECT_EQ(ttl, kForever);
                            } else {
                              EXPECT_EQ(found, timed);
                              EXPECT_TRUE(ttl > 50min && ttl <= 1h) << ttl.count();
                            }
                            return ++seen < 2;
                          }),
                StatusCode::kOk);
      EXPECT_EQ(seen, 2);
      ASSERT_EQ(map_.put(word_key(9), word_key(8), 1h), StatusCode::kOk);
      EXPECT_EQ(map_.scan(word_key(9),
                          [&](std::string_view, std::string_view content, std::chrono::milliseconds ttl) {
                            EXPECT_EQ(content, word_key(8));
                            return ttl > 50min && ttl <= 1h;
                          }),
                StatusCode::kOk);
      ASSERT_EQ(map_.clear(), StatusCode::kOk);
    }
  }
}

// Nothing is sent, and nothing is changed.
TEST_P(ExpiryOfKeys, ATimeToLiveMustBeAboveZero) {
  ASSERT_EQ(map_.put("key", "value"), StatusCode::kOk);
  const auto puts = server_.stat("puts");
  for (const std::chrono::milliseconds ttl : {0ms, -1ms, -3'600'000ms}) {
    for (const Status& status :
         {map_.put("key", "new", ttl), map_.put_async("key", "new", ttl), map_.insert("other", "new", ttl),
          map_.replace("key", "new", ttl), map_.expire("key", ttl), map_.expire_async("key", ttl)}) {
      EXPECT_EQ(status, StatusCode::kInvalid);
      EXPECT_NE(status.message().find("above zero"), std::string::npos) << status.message();
    }
  }
  EXPECT_EQ(map_.expire("key", kKeepTtl), StatusCode::kInvalid);
  EXPECT_EQ(map_.insert("other", "new", kKeepTtl), StatusCode::kInvalid) << "there is nothing to keep";
  EXPECT_EQ(map_.put("", "v", 1h), StatusCode::kInvalid);
  EXPECT_EQ(map_.expire("", 1h), StatusCode::kInvalid);
  EXPECT_EQ(map_.ttl("").status(), StatusCode::kInvalid);
  EXPECT_EQ(server_.stat("puts"), puts);
  EXPECT_EQ(*map_.get("key"), "value");
  EXPECT_EQ(*map_.ttl("key"), kForever);
  // The longest of all.
  const std::chrono::milliseconds longest(std::numeric_limits<std::int64_t>::max() - 1);
  ASSERT_EQ(map_.put("key", "value", longest), StatusCode::kOk);
  EXPECT_GT(*map_.ttl("key"), longest / 2);
  EXPECT_EQ(*map_.get("key"), "value");
  ASSERT_EQ(map_.put("key", "value", kForever), StatusCode::kOk);
  EXPECT_EQ(*map_.ttl("key"), kForever);
}

// The moment is that of the call: neither a stopped server nor a dead one lets a key live longer.
TEST_P(ExpiryOfKeys, AKeyEndsWhileItsServerIsStoppedOrDead) {
  ASSERT_EQ(map_.put("a", "value", 40ms), StatusCode::kOk);
  ASSERT_EQ(map_.put("b", "value", 1h), StatusCode::kOk);
  server_.pause();
  if (GetParam().reads == Reads::kDirect) await_end("a", {});
  std::this_thread::sleep_for(50ms);
  server_.send(SIGCONT);
  EXPECT_EQ(map_.get("a").status(), StatusCode::kNotFound);
  ASSERT_EQ(map_.put("a", "value", 40ms), StatusCode::kOk);
  server_.kill();
  std::this_thread::sleep_for(50ms);
  Server next({}, {.name = server_.name()});
  EXPECT_EQ(map_.get("a").status(), StatusCode::kNotFound);
  EXPECT_EQ(*map_.get("b"), "value");
  EXPECT_GT(*map_.ttl("b"), 30min);
  const auto figures = next.stat();
  EXPECT_EQ(figures.at("expiring"), figures.at("entries"));
}

TEST_P(ExpiryOfKeys, WhatHasLapsedIsRemovedAndCounted) {
  constexpr int kKeysOfEach = 2000;
  for (int i = 0; i < kKeysOfEach; ++i) {
    ASSERT_EQ(map_.put_async("short " + std::to_string(i), "value", 1ms), StatusCode::kOk);
    ASSERT_EQ(map_.put_async("long " + std::to_string(i), "value", 1h), StatusCode::kOk);
  }
  ASSERT_EQ(map_.flush(), StatusCode::kOk);
  // An idle worker comes back to it by itself; until then both are counted.
  while (server_.stat("expired") != kKeysOfEach) std::this_thread::sleep_for(10ms);
  EXPECT_EQ(server_.stat("entries"), kKeysOfEach + 0u);
  EXPECT_EQ(server_.stat("expiring"), kKeysOfEach + 0u);
  EXPECT_EQ(*map_.size(), kKeysOfEach + 0u);
  unsigned seen = 0;
  EXPECT_EQ(map_.scan("",
                      [&](std::string_view key, std::string_view) {
                        EXPECT_TRUE(key.starts_with("long ")) << key;
                        ++seen;
                        return true;
                      }),
            StatusCode::kOk);
  EXPECT_EQ(seen, kKeysOfEach + 0u);
  std::vector<std::string> keys;
  for (int i = 0; i < 100; ++i) keys.push_back((i % 2 == 0 ? "short " : "long ") + std::to_string(i));
  const auto values = map_.multi_get(keys);
  for (std::size_t i = 0; i < keys.size(); ++i) EXPECT_EQ(values[i].has_value(), i % 2 == 1) << keys[i];
}

TEST_P(ExpiryOfKeys, EachOperationOfABatchMayNameATime) {
  const std::string large(30'000, 'v');
  const std::vector<Operation> operations = {
      Operation::put("a", "1", 1h),        Operation::put("b", large, 2h),         Operation::put("c", "3"),
      Operation::insert("d", "4", 1h),     Operation::insert("d", "5", 1h),        Operation::put("a", "6", kKeepTtl),
      Operation::put("e", "7", 0ms),       Operation::insert("e", "7", kKeepTtl),  Operation::expire("c", 3h),
      Operation::expire("none", 3h),       Operation::expire("a", -1ms),           Operation::expire("d", kForever),
      Operation::replace("none", "8", 1h), Operation::replace("c", "9", kKeepTtl), Operation::get("c"),
      Operation::expire(word_key(9), 1h)};
  const StatusCode expected[] = {
      StatusCode::kOk,      StatusCode::kOk,      StatusCode::kOk,       StatusCode::kOk, StatusCode::kAlreadyExists,
      StatusCode::kOk,      StatusCode::kInvalid, StatusCode::kInvalid,  StatusCode::kOk, StatusCode::kNotFound,
      StatusCode::kInvalid, StatusCode::kOk,      StatusCode::kNotFound, StatusCode::kOk, StatusCode::kOk,
      StatusCode::kNotFound};
  std::vector<Outcome> outcomes(operations.size());
  ASSERT_EQ(map_.apply(operations, outcomes), StatusCode::kOk);
  for (std::size_t i = 0; i < operations.size(); ++i) EXPECT_EQ(outcomes[i].status, expected[i]) << i;
  EXPECT_EQ(outcomes[14].value, "9");
  EXPECT_GT(*map_.ttl("a"), 30min);
  EXPECT_EQ(*map_.get("a"), "6");
  EXPECT_GT(*map_.ttl("b"), 90min);
  EXPECT_EQ(*map_.get("b"), large);
  EXPECT_GT(*map_.ttl("c"), 150min);
  EXPECT_EQ(*map_.ttl("d"), kForever);
  EXPECT_EQ(map_.exists("e"), StatusCode::kNotFound);
}

INSTANTIATE_TEST_SUITE_P(Ways, ExpiryOfKeys, testing::ValuesIn(kWays), way_name);

// Server and client are stopped for a minute in which keys end, the client also in the middle of its gets. What was queued before
// ends when it was to end, too.
TEST(ExpirySlow, AKeyEndsWhileItsServerAndItsClientsAreStoppedForAMinute) {
  Server server({"10"});
  Client map = server.connect(5 * kPatience);
  Client by_ring = server.connect(5 * kPatience, Reads::kRing);
  Peer reader(server);
  ASSERT_EQ(map.put("short", "value", 30s), StatusCode::kOk);
  ASSERT_EQ(map.put("long", "value", 1h), StatusCode::kOk);
  ASSERT_EQ(map.put(word_key(1), word_key(2), 30s), StatusCode::kOk);
  reader.say("get short");
  ASSERT_EQ(reader.reply(), StatusCode::kOk);
  server.pause();
  ASSERT_EQ(map.put_async("queued", "value", 30s), StatusCode::kOk);
  ASSERT_EQ(map.expire_async("long", 45s), StatusCode::kOk);
  ASSERT_EQ(map.put_async("queued for long", "value", 1h), StatusCode::kOk);
  reader.program().send(SIGSTOP);
  reader.say("get short");
  std::this_thread::sleep_for(60s);
  reader.program().send(SIGCONT);
  EXPECT_EQ(reader.reply(), StatusCode::kNotFound);
  server.send(SIGCONT);
  ASSERT_EQ(map.flush(), StatusCode::kOk);
  for (const std::string& key : {std::string("short"), std::string("long"), word_key(1), std::string("queued")}) {
    EXPECT_EQ(map.exists(key), StatusCode::kNotFound) << key;
    EXPECT_EQ(by_ring.exists(key), StatusCode::kNotFound) << key;
    EXPECT_EQ(map.replace(key, "value"), StatusCode::kNotFound) << key;
  }
  EXPECT_LE(*map.ttl("queued for long"), 1h - 60s);
  EXPECT_GT(*map.ttl("queued for long"), 30min);
  while (server.stat("entries") != 1) std::this_thread::sleep_for(10ms);
}

TEST(ExpiryOfAReader, AReadOnlyClientReadsTimesToLiveAndChangesNone) {
  Server server({"10"});
  Client writer = server.connect();
  ASSERT_EQ(writer.put("key", "value", 1h), StatusCode::kOk);
  Options options = server.options();
  options.read_only = true;
  Result<Client> reader = Client::connect(options);
  ASSERT_TRUE(reader.has_value());
  EXPECT_GT(*reader->ttl("key"), 30min);
  EXPECT_EQ(reader->expire("key", 1h), StatusCode::kPermission);
  EXPECT_EQ(reader->put("key", "value", 1h), StatusCode::kPermission);
}

}  // namespace
}  // namespace hostmap::test
