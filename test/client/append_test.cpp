// append and replace, through a real server.
#include <algorithm>
#include <gtest/gtest.h>
#include <string>
#include <thread>
#include <vector>

#include "process/harness/sealed.hpp"
#include "process/harness/server.hpp"

namespace hostmap::test {
namespace {

class AppendTest : public testing::Test {
 protected:
  Server server_{{"10", "--workers", "2", "--ring-size", "16K"}};
  Client map_ = server_.connect();
};

// Keys and values that fit into a record, and some that are streamed.
const std::string kKeys[] = {"key", word_key(7), std::string(9'000, 'k')};
const std::string kValues[] = {"", "1234", "value", word_key(1), std::string(30'000, 'v')};

TEST_F(AppendTest, AppendAddsToTheEndAndReturnsTheNewSize) {
  for (const std::string& key : kKeys) {
    for (const std::string& first : kValues) {
      for (const std::string& second : kValues) {
        ASSERT_EQ(*map_.append(key, first), first.size()) << "an absent key counts as an empty value";
        ASSERT_EQ(*map_.get(key), first);
        ASSERT_EQ(*map_.append(key, second), first.size() + second.size());
        ASSERT_EQ(*map_.get(key), first + second);
        ASSERT_EQ(*map_.append(key, "!"), first.size() + second.size() + 1);
        ASSERT_EQ(*map_.get(key), first + second + "!");
        ASSERT_EQ(map_.erase(key), StatusCode::kOk);
      }
    }
  }
  EXPECT_EQ(*map_.size(), 0u);
}

TEST_F(AppendTest, ByteByByteFromNothingThroughThePairIsTheWholeText) {
  const std::string key = word_key(7);
  std::string text;
  for (char letter = 'a'; letter <= 'z'; ++letter) {
    text += letter;
    ASSERT_EQ(*map_.append(key, std::string(1, letter)), text.size());
    ASSERT_EQ(*map_.get(key), text);
  }
}

TEST_F(AppendTest, AValueAboveTheLimitIsRefusedAndStays) {
  Server small({"10", "--max-value", "100"});
  Client client = small.connect();
  ASSERT_EQ(*client.append("key", std::string(60, 'a')), 60u);
  EXPECT_EQ(client.append("key", std::string(41, 'b')).status(), StatusCode::kTooLarge);
  EXPECT_EQ(client.append("key", std::string(101, 'b')).status(), StatusCode::kTooLarge);
  EXPECT_EQ(client.get("key")->size(), 60u);
  EXPECT_EQ(*client.append("key", std::string(40, 'b')), 100u);
  EXPECT_EQ(*client.get("key"), std::string(60, 'a') + std::string(40, 'b'));
  EXPECT_EQ(client.append("", "x").status(), StatusCode::kInvalid);
}

// What many clients append is all there, each piece whole, and in the order in which each client appended it.
TEST_F(AppendTest, PiecesOfManyClientsAreAllThere) {
  constexpr int kClients = 4;
  constexpr int kEach = 200;
  std::vector<std::thread> threads;
  for (int i = 0; i < kClients; ++i) {
    threads.emplace_back([&, i] {
      Client map = server_.connect();
      for (int n = 0; n < kEach; ++n) {
        const std::string piece = std::to_string(i) + ":" + std::to_string(n) + ";";
        ASSERT_TRUE(map.append("log", piece));
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  const std::string log = *map_.get("log");
  std::vector<int> next(kClients);
  std::size_t pieces = 0;
  for (std::size_t at = 0; at < log.size(); ++pieces) {
    const std::size_t end = log.find(';', at);
    ASSERT_NE(end, std::string::npos);
    const auto client = static_cast<std::size_t>(log[at] - '0');
    ASSERT_LT(client, next.size());
    ASSERT_EQ(log.substr(at + 2, end - at - 2), std::to_string(next[client]++));
    at = end + 1;
  }
  EXPECT_EQ(pieces, std::size_t{kClients * kEach});
}

// In full memory, an append that no memory remains for is refused and changes nothing; one that fits into the block of the
// old value is served.
TEST_F(AppendTest, InFullMemoryTheValueStaysOrGrowsInItsPlace) {
  Server small({"10", "--memory", "2M"});
  Client client = small.connect();
  const std::string value(700, 'v');
  int keys = 0;
  while (client.put("key " + std::to_string(keys), value).ok()) ++keys;
  ASSERT_GT(keys, 100);
  EXPECT_EQ(client.append("key 1", std::string(30'000, 'x')).status(), StatusCode::kFull);
  EXPECT_EQ(*client.get("key 1"), value);
  EXPECT_EQ(*client.append("key 1", "x"), value.size() + 1);
  EXPECT_EQ(*client.get("key 1"), value + "x");
  const Ran check = run({test::program("hostmap"), "--name", small.name(), "check"});
  EXPECT_EQ(check.exit, kSuccess) << check.output << check.errors;
}

TEST_F(AppendTest, ReplaceOnlySetsWhatIsPresent) {
  for (const std::string& key : kKeys) {
    for (const std::string& from : kValues) {
      for (const std::string& to : kValues) {
        EXPECT_EQ(map_.replace(key, to), StatusCode::kNotFound);
        ASSERT_EQ(map_.exists(key), StatusCode::kNotFound);
        ASSERT_EQ(map_.put(key, from), StatusCode::kOk);
        EXPECT_EQ(map_.replace(key, to), StatusCode::kOk);
        ASSERT_EQ(*map_.get(key), to);
        ASSERT_EQ(map_.erase(key), StatusCode::kOk);
      }
    }
  }
  EXPECT_EQ(map_.replace("", "value"), StatusCode::kInvalid);
  EXPECT_EQ(*map_.size(), 0u);
}

}  // namespace
}  // namespace hostmap::test
