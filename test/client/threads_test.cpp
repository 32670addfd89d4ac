// Several threads use one Client: the calls are made one after the other, and no acknowledged change is lost.
#include <atomic>
#include <gtest/gtest.h>
#include <string>
#include <sys/wait.h>
#include <thread>
#include <unistd.h>
#include <vector>

#include "process/harness/server.hpp"

namespace hostmap::test {
namespace {

constexpr int kThreads = 4;

template <typename Body>
void in_threads(const Body& body) {
  std::vector<std::jthread> threads;
  for (int i = 0; i < kThreads; ++i) threads.emplace_back([&body, i] { body(i); });
}

class ThreadsOnOneClient : public testing::TestWithParam<const char*> {
 protected:
  Server server_{{"10", "--workers", GetParam(), "--ring-size", "8K"}};
  Client map_ = server_.connect();
};

TEST_P(ThreadsOnOneClient, LoseNoIncrement) {
  constexpr int kEach = 5000;
  in_threads([&](int) {
    for (int i = 0; i < kEach; ++i) ASSERT_TRUE(map_.increment("counter"));
  });
  EXPECT_EQ(*map_.get("counter"), std::to_string(kThreads * kEach));
}

TEST_P(ThreadsOnOneClient, LoseNoQueuedOrAcknowledgedPut) {
  constexpr int kEach = 5000;
  in_threads([&](int thread) {
    for (int i = 0; i < kEach; ++i) {
      const std::string key = std::to_string(thread) + " " + std::to_string(i);
      if (i % 3 == 0) {
        ASSERT_EQ(map_.put(key, key), StatusCode::kOk);
      } else {
        ASSERT_EQ(map_.put_async(key, key), StatusCode::kOk);
      }
      if (i % 500 == 0) {
        ASSERT_EQ(map_.flush(), StatusCode::kOk);
      }
      if (i % 7 == 0) {
        const Result<std::string> own = map_.get(key);
        ASSERT_TRUE(own) << key << ": " << own.status().message();
        ASSERT_EQ(*own, key) << "a thread sees what it has queued";
      }
    }
  });
  ASSERT_EQ(map_.flush(), StatusCode::kOk);
  ASSERT_EQ(*map_.size(), std::uint64_t{kThreads} * kEach);
  for (int thread = 0; thread < kThreads; ++thread) {
    for (int i = 0; i < kEach; ++i) {
      const std::string key = std::to_string(thread) + " " + std::to_string(i);
      const Result<std::string> value = map_.get(key);
      ASSERT_TRUE(value) << key;
      ASSERT_EQ(*value, key);
    }
  }
}

// Each thread has a key of its own and makes every kind of call; each call's result agrees with the history of that key.
TEST_P(ThreadsOnOneClient, EachGetTheAnswersToTheirOwnCalls) {
  std::atomic<int> wrong{0};
  in_threads([&](int thread) {
    const std::string key = "own " + std::to_string(thread);
    const auto expect = [&](bool right) { wrong += right ? 0 : 1; };
    const std::string large(20'000, static_cast<char>('a' + thread));
    for (int i = 0; i < 300; ++i) {
      expect(map_.insert(key, "1") == StatusCode::kOk);
      expect(map_.insert(key, "2") == StatusCode::kAlreadyExists);
      expect(map_.compare_exchange(key, "1", large) == StatusCode::kOk);
      expect(map_.compare_exchange(key, "1", "2") == StatusCode::kMismatch);
      const Result<std::string> got = map_.get(key);
      expect(got && *got == large);
      expect(map_.increment(key).status() == StatusCode::kNotANumber);
      expect(map_.put(key, "41") == StatusCode::kOk);
      const Result<std::int64_t> number = map_.increment(key);
      expect(number && *number == 42);
      if (i % 50 == 0) {
        bool found = false;
        expect(map_.scan(key, [&](std::string_view seen, std::string_view) {
          found = found || seen == key;
          return map_.exists(key).ok();  // the visitor may use the client
        }) == StatusCode::kOk);
        expect(found);
      }
      expect(map_.erase(key) == StatusCode::kOk);
      expect(map_.erase(key) == StatusCode::kNotFound);
    }
  });
  EXPECT_EQ(wrong, 0);
}

INSTANTIATE_TEST_SUITE_P(Workers, ThreadsOnOneClient, testing::Values("1", "4"),
                         [](const auto& workers) { return std::string(workers.param) + "Workers"; });

// A thread that cannot get the client before its deadline returns kTimeout, and its write was not sent.
TEST(ThreadsOnOneClientOfAStoppedServer, EndAtTheirDeadline) {
  Server server({"10", "--ring-size", "8K"});
  Client map = server.connect(std::chrono::milliseconds(300));
  while (!map.put("key", "old").ok()) {
  }
  server.pause();
  const auto begin = std::chrono::steady_clock::now();
  in_threads([&](int thread) {
    EXPECT_EQ(map.put("key", std::to_string(thread)), StatusCode::kTimeout);
    EXPECT_EQ(map.erase("key"), StatusCode::kTimeout);
  });
  EXPECT_LT(std::chrono::steady_clock::now() - begin, std::chrono::seconds(30));
  server.send(SIGCONT);
  EXPECT_TRUE(eventually([&] { return map.put("key", "new").ok(); }));
  EXPECT_EQ(*map.get("key"), "new");
}

// A child uses a client that was locked by another thread of its parent at the fork.
TEST(ThreadsOnOneClientAndAFork, TheChildWritesOnItsOwnConnection) {
  Server server({"10"});
  Client map = server.connect();
  std::atomic<bool> stop{false};
  std::jthread writer([&] {
    while (!stop) EXPECT_EQ(map.put_async("parent", "value"), StatusCode::kOk);
  });
  for (int i = 0; i < 20; ++i) {
    const pid_t child = ::fork();
    ASSERT_GE(child, 0);
    if (child == 0) ::_exit(map.put("child", std::to_string(i)).ok() && map.get("child") ? 0 : 1);
    int status = -1;
    ASSERT_EQ(::waitpid(child, &status, 0), child);
    EXPECT_EQ(status, 0) << i;
    EXPECT_EQ(*map.get("child"), std::to_string(i));
  }
  stop = true;
}

}  // namespace
}  // namespace hostmap::test
