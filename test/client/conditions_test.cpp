// Changes that depend on the value of a key, by its token, through a real server: by direct reads and by ring.
#include <algorithm>
#include <gtest/gtest.h>
#include <string>
#include <thread>
#include <vector>

#include "process/harness/sealed.hpp"
#include "process/harness/server.hpp"

namespace hostmap::test {
namespace {

class ConditionsTest : public testing::TestWithParam<Reads> {
 protected:
  Token token_of_key(const std::string& key) {
    const Result<ValueAndToken> found = map_.get_with_token(key);
    EXPECT_TRUE(found) << found.status();
    return found ? found->token : Token{};
  }

  Server server_{{"10", "--workers", "2", "--ring-size", "16K"}};
  Client map_ = server_.connect(kPatience, GetParam());
};

// Keys and values that fit into a record, and some that are streamed.
const std::string kKeys[] = {"key", word_key(7), std::string(9'000, 'k')};
const std::string kValues[] = {"", "value", word_key(1), std::string(30'000, 'v')};

TEST_P(ConditionsTest, GetWithTokenReturnsTheValueAndTheTokenOfItsBytes) {
  for (const std::string& key : kKeys) {
    EXPECT_EQ(map_.get_with_token(key).status(), StatusCode::kNotFound);
    for (const std::string& value : kValues) {
      ASSERT_EQ(map_.put(key, value), StatusCode::kOk);
      ASSERT_EQ(map_.put("other key", value), StatusCode::kOk);
      const Result<ValueAndToken> found = map_.get_with_token(key);
      ASSERT_TRUE(found) << found.status();
      EXPECT_EQ(found->value, value);
      EXPECT_NE(found->token, Token{});
      EXPECT_EQ(found->token, token_of_key("other key")) << "equal values have equal tokens";
      ASSERT_EQ(map_.put("other key", value + "x"), StatusCode::kOk);
      EXPECT_NE(found->token, token_of_key("other key"));
    }
  }
}

TEST_P(ConditionsTest, PutIfSetsOnlyTheValueWhoseTokenItHas) {
  for (const std::string& key : kKeys) {
    for (const std::string& from : kValues) {
      for (const std::string& to : kValues) {
        ASSERT_EQ(map_.put(key, from), StatusCode::kOk);
        const Token token = token_of_key(key);
        for (const Token& wrong : {Token{token.low ^ 1, token.high}, Token{token.low, token.high ^ 1}, Token{1, 0}}) {
          EXPECT_EQ(map_.put_if(key, to, wrong), StatusCode::kMismatch);
        }
        EXPECT_EQ(*map_.get(key), from);
        EXPECT_EQ(map_.put_if(key, to, token), StatusCode::kOk);
        EXPECT_EQ(*map_.get(key), to);
        EXPECT_EQ(map_.put_if(key, "third", token), from == to ? StatusCode::kOk : StatusCode::kMismatch);
      }
    }
    const Token token = token_of_key(key);
    EXPECT_EQ(map_.erase(key), StatusCode::kOk);
    EXPECT_EQ(map_.put_if(key, "value", token), StatusCode::kNotFound);
    EXPECT_EQ(map_.exists(key), StatusCode::kNotFound);
  }
}

TEST_P(ConditionsTest, PutIfWithTheZeroTokenSetsOnlyWhatIsAbsent) {
  for (const std::string& key : kKeys) {
    for (const std::string& value : kValues) {
      EXPECT_EQ(map_.put_if(key, value, Token{}), StatusCode::kOk);
      EXPECT_EQ(*map_.get(key), value);
      EXPECT_EQ(map_.put_if(key, "other", Token{}), StatusCode::kAlreadyExists);
      EXPECT_EQ(*map_.get(key), value);
      EXPECT_EQ(map_.erase(key), StatusCode::kOk);
    }
  }
}

TEST_P(ConditionsTest, EraseIfRemovesOnlyTheValueWhoseTokenItHas) {
  for (const std::string& key : kKeys) {
    for (const std::string& value : kValues) {
      ASSERT_EQ(map_.put(key, value), StatusCode::kOk);
      const Token token = token_of_key(key);
      EXPECT_EQ(map_.erase_if(key, Token{token.low ^ 1, token.high}), StatusCode::kMismatch);
      EXPECT_EQ(*map_.get(key), value);
      EXPECT_EQ(map_.erase_if(key, token), StatusCode::kOk);
      EXPECT_EQ(map_.exists(key), StatusCode::kNotFound);
      EXPECT_EQ(map_.erase_if(key, token), StatusCode::kNotFound);
    }
  }
  EXPECT_EQ(*map_.size(), 0u);
}

TEST_P(ConditionsTest, TheZeroTokenErasesNothing) {
  ASSERT_EQ(map_.put("key", "value"), StatusCode::kOk);
  const Status status = map_.erase_if("key", Token{});
  EXPECT_EQ(status, StatusCode::kInvalid);
  EXPECT_EQ(status.message(), "the zero token stands for an absent key, which cannot be erased");
  EXPECT_EQ(*map_.get("key"), "value");
}

TEST_P(ConditionsTest, AnInvalidKeyOrAValueAboveTheLimitIsRefused) {
  const Token token{1, 2};
  EXPECT_EQ(map_.get_with_token("").status(), StatusCode::kInvalid);
  EXPECT_EQ(map_.put_if("", "value", token), StatusCode::kInvalid);
  EXPECT_EQ(map_.erase_if("", token), StatusCode::kInvalid);
  EXPECT_EQ(map_.put_if(std::string(65'537, 'k'), "value", token), StatusCode::kTooLarge);
  Server small({"10", "--max-value", "100"});
  Client client = small.connect();
  ASSERT_EQ(client.put("key", "value"), StatusCode::kOk);
  const Token present = client.get_with_token("key")->token;
  EXPECT_EQ(client.put_if("key", std::string(101, 'v'), present), StatusCode::kTooLarge);
  EXPECT_EQ(client.put_if("key", std::string(100, 'v'), present), StatusCode::kOk) << "the token does not count";
}

TEST_P(ConditionsTest, AValueThatWasPutAgainIsTheSameValue) {
  ASSERT_EQ(map_.put("key", "a"), StatusCode::kOk);
  const Token token = token_of_key("key");
  ASSERT_EQ(map_.put("key", "b"), StatusCode::kOk);
  EXPECT_EQ(map_.put_if("key", "c", token), StatusCode::kMismatch);
  ASSERT_EQ(map_.put("key", "a"), StatusCode::kOk);
  EXPECT_EQ(map_.put_if("key", "c", token), StatusCode::kOk) << "as documented: only the value is compared";
}

// Each change by token is made on the value that was read: none is lost.
TEST_P(ConditionsTest, ChangesOfManyClientsAreAllApplied) {
  constexpr int kClients = 4;
  constexpr int kEach = 200;
  std::vector<std::thread> threads;
  for (int i = 0; i < kClients; ++i) {
    threads.emplace_back([&, i] {
      Client map = server_.connect();
      for (int done = 0; done < kEach;) {
        const Result<ValueAndToken> now = map.get_with_token("changes");
        const Status status = now ? map.put_if("changes", now->value + static_cast<char>('a' + i), now->token)
                                  : map.put_if("changes", std::string(1, static_cast<char>('a' + i)), Token{});
        if (status.ok()) ++done;
        ASSERT_TRUE(status.ok() || status == StatusCode::kMismatch || status == StatusCode::kAlreadyExists) << status;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  const std::string all = *map_.get("changes");
  EXPECT_EQ(all.size(), std::size_t{kClients * kEach});
  for (int i = 0; i < kClients; ++i) EXPECT_EQ(std::count(all.begin(), all.end(), 'a' + i), kEach);
}

INSTANTIATE_TEST_SUITE_P(Of, ConditionsTest, testing::Values(Reads::kDirect, Reads::kRing),
                         [](const auto& test) { return test.param == Reads::kRing ? "Ring" : "Direct"; });

}  // namespace
}  // namespace hostmap::test
