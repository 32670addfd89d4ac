// Changes that depend on the value of a key, by its token, through a real server: by direct reads and by ring.
#include <algorithm>
#include <atomic>
#include <chrono>
#include <gtest/gtest.h>
#include <optional>
#include <set>
#include <stdexcept>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "client/ways.hpp"
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

TEST_P(ConditionsTest, UpdateSetsWhatTheFunctionMakesOfTheValue) {
  for (const std::string& key : kKeys) {
    for (const std::string& value : kValues) {
      int calls = 0;
      EXPECT_EQ(map_.update(key,
                            [&](std::optional<std::string_view> now) {
                              ++calls;
                              EXPECT_FALSE(now) << "the key is absent";
                              return value;
                            }),
                StatusCode::kOk);
      EXPECT_EQ(map_.update(key,
                            [&](std::optional<std::string_view> now) {
                              ++calls;
                              return std::string(now.value_or("absent")) + "+";
                            }),
                StatusCode::kOk);
      EXPECT_EQ(calls, 2);
      EXPECT_EQ(*map_.get(key), value + "+");
      EXPECT_EQ(map_.update(key, [](std::optional<std::string_view>) { return std::nullopt; }), StatusCode::kOk);
      EXPECT_EQ(*map_.get(key), value + "+") << "the function left it";
      ASSERT_EQ(map_.erase(key), StatusCode::kOk);
    }
  }
}

TEST_P(ConditionsTest, AnExceptionOfTheFunctionOfUpdateReachesTheCaller) {
  ASSERT_EQ(map_.put("key", "value"), StatusCode::kOk);
  const auto failing = [](std::optional<std::string_view>) -> std::optional<std::string> {
    throw std::runtime_error("no idea");
  };
  EXPECT_THROW(static_cast<void>(map_.update("key", failing)), std::runtime_error);
  EXPECT_EQ(*map_.get("key"), "value");
  EXPECT_EQ(map_.put("key", "next"), StatusCode::kOk);
}

// Each change of the function's key by somebody else starts a new attempt: with two, three calls. With one in every attempt, none
// succeeds, and what would be sent after the time limit is not sent.
TEST_P(ConditionsTest, UpdateBeginsAgainWhenTheKeyWasChangedMeanwhile) {
  Client other = server_.connect();
  int calls = 0;
  const auto add_x = [](std::optional<std::string_view> now) { return std::string(now.value_or("")) + "x"; };
  EXPECT_EQ(map_.update("key",
                        [&](std::optional<std::string_view> now) {
                          ++calls;
                          if (calls == 1) {
                            EXPECT_EQ(other.put("key", "other"), StatusCode::kOk);
                          } else if (calls == 2) {
                            EXPECT_EQ(other.erase("key"), StatusCode::kOk);
                          }
                          return add_x(now);
                        }),
            StatusCode::kOk);
  EXPECT_EQ(calls, 3);
  EXPECT_EQ(*map_.get("key"), "x");
  constexpr std::chrono::seconds kTimeLimit(1);
  Client hasty = server_.connect(kTimeLimit, GetParam());
  const int before = calls;
  const Status status = hasty.update("key", [&](std::optional<std::string_view> now) {
    EXPECT_EQ(other.put("key", "change " + std::to_string(++calls)), StatusCode::kOk);
    // The time begins with the first change that is sent, and is over before the second one.
    if (calls == before + 2) std::this_thread::sleep_for(kTimeLimit);
    return add_x(now);
  });
  EXPECT_EQ(calls, before + 2);
  EXPECT_EQ(status, StatusCode::kTimeout);
  EXPECT_TRUE(status.message().starts_with("timed out: ")) << status;
  EXPECT_EQ(*map_.get("key"), "change " + std::to_string(calls)) << "a change that comes too late is not sent";
}

TEST_P(ConditionsTest, UpdatesOfManyClientsAreAllApplied) {
  constexpr int kClients = 4;
  constexpr int kEach = 200;
  std::vector<std::thread> threads;
  for (int i = 0; i < kClients; ++i) {
    threads.emplace_back([&] {
      Client map = server_.connect(kPatience, GetParam());
      for (int n = 0; n < kEach; ++n) {
        ASSERT_EQ(map.update("sum",
                             [](std::optional<std::string_view> now) {
                               return std::to_string(std::stoi(std::string(now.value_or("0"))) + 1);
                             }),
                  StatusCode::kOk);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(*map_.get("sum"), std::to_string(kClients * kEach));
}

TEST_P(ConditionsTest, ExchangeReturnsWhatItReplaces) {
  for (const std::string& key : kKeys) {
    std::optional<std::string> before;
    for (const std::string& value : kValues) {
      const Result<std::optional<std::string>> old = map_.exchange(key, value);
      ASSERT_TRUE(old) << old.status();
      EXPECT_EQ(*old, before);
      EXPECT_EQ(*map_.get(key), value);
      before = value;
    }
  }
}

// Each value is replaced, and returned, once.
TEST_P(ConditionsTest, ExchangesOfManyClientsReturnEachValueOnce) {
  constexpr int kClients = 4;
  constexpr int kEach = 100;
  std::vector<std::vector<std::string>> replaced(kClients);
  std::vector<std::thread> threads;
  for (int i = 0; i < kClients; ++i) {
    threads.emplace_back([&, i] {
      Client map = server_.connect(kPatience, GetParam());
      for (int n = 0; n < kEach; ++n) {
        const auto old = map.exchange("key", std::to_string(i) + " " + std::to_string(n));
        ASSERT_TRUE(old) << old.status();
        replaced[static_cast<std::size_t>(i)].push_back(old->value_or("absent"));
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  std::multiset<std::string> all{*map_.get("key")};
  for (const auto& some : replaced) all.insert(some.begin(), some.end());
  std::multiset<std::string> expected{"absent"};
  for (int i = 0; i < kClients; ++i) {
    for (int n = 0; n < kEach; ++n) expected.insert(std::to_string(i) + " " + std::to_string(n));
  }
  EXPECT_EQ(all, expected);
}

TEST_P(ConditionsTest, TakeReturnsTheValueAndRemovesTheKey) {
  for (const std::string& key : kKeys) {
    EXPECT_EQ(map_.take(key).status(), StatusCode::kNotFound);
    for (const std::string& value : kValues) {
      ASSERT_EQ(map_.put(key, value), StatusCode::kOk);
      EXPECT_EQ(*map_.take(key), value);
      EXPECT_EQ(map_.take(key).status(), StatusCode::kNotFound);
      EXPECT_EQ(map_.exists(key), StatusCode::kNotFound);
    }
  }
}

// Some clients put values that occur once, others take them: each value is taken once, or was replaced by nobody.
TEST_P(ConditionsTest, EachValueIsTakenByOneClient) {
  constexpr int kTakers = 3;
  constexpr int kValuesToTake = 300;
  std::atomic<bool> done{false};
  std::vector<std::vector<std::string>> taken(kTakers);
  std::vector<std::thread> threads;
  for (int i = 0; i < kTakers; ++i) {
    threads.emplace_back([&, i] {
      Client map = server_.connect(kPatience, GetParam());
      for (;;) {
        const bool last = done;
        const Result<std::string> value = map.take("job");
        if (value) {
          taken[static_cast<std::size_t>(i)].push_back(*value);
          continue;
        }
        ASSERT_EQ(value.status(), StatusCode::kNotFound);
        if (last) return;
        std::this_thread::yield();
      }
    });
  }
  for (int n = 0; n < kValuesToTake;) {
    const Status status = map_.insert("job", "job " + std::to_string(n));
    if (status.ok()) ++n;
    EXPECT_TRUE(status.ok() || status == StatusCode::kAlreadyExists) << status;
  }
  done = true;
  for (std::thread& thread : threads) thread.join();
  std::multiset<std::string> all;
  for (const auto& some : taken) all.insert(some.begin(), some.end());
  std::multiset<std::string> expected;
  for (int n = 0; n < kValuesToTake; ++n) expected.insert("job " + std::to_string(n));
  EXPECT_EQ(all, expected);
}

TEST_P(ConditionsTest, InsertOrGetReturnsTheValueThatIsPresent) {
  for (const std::string& key : kKeys) {
    for (const std::string& value : kValues) {
      EXPECT_EQ(*map_.insert_or_get(key, value), std::nullopt);
      EXPECT_EQ(*map_.get(key), value);
      EXPECT_EQ(*map_.insert_or_get(key, "other"), value);
      EXPECT_EQ(*map_.get(key), value);
      ASSERT_EQ(map_.erase(key), StatusCode::kOk);
    }
  }
}

TEST_P(ConditionsTest, OfManyInsertsAtOnceOneIsMadeAndTheOthersGetItsValue) {
  constexpr int kClients = 4;
  for (int round = 0; round < 50; ++round) {
    const std::string key = "key " + std::to_string(round);
    std::atomic<int> inserted{0};
    std::vector<std::string> values(kClients);
    std::vector<std::thread> threads;
    for (int i = 0; i < kClients; ++i) {
      threads.emplace_back([&, i] {
        const std::string own = std::to_string(i);
        const auto present = map_.insert_or_get(key, own);
        ASSERT_TRUE(present) << present.status();
        if (!*present) ++inserted;
        values[static_cast<std::size_t>(i)] = present->value_or(own);
      });
    }
    for (std::thread& thread : threads) thread.join();
    ASSERT_EQ(inserted, 1);
    for (const std::string& value : values) ASSERT_EQ(value, *map_.get(key));
  }
}

TEST_P(ConditionsTest, ExchangeAndTakeShowTheOldValueBeforeTheyChangeTheKey) {
  std::vector<std::optional<std::string>> seen;
  const auto keep = [&seen](std::optional<std::string_view> old) {
    seen.emplace_back();
    if (old) seen.back() = *old;
  };
  EXPECT_EQ(map_.take("key", keep), StatusCode::kNotFound);
  EXPECT_TRUE(seen.empty());
  EXPECT_EQ(map_.exchange("key", "a", keep), StatusCode::kOk);
  EXPECT_EQ(map_.exchange("key", "b", keep), StatusCode::kOk);
  const auto refuses = [](std::optional<std::string_view>) { throw std::runtime_error("no memory"); };
  EXPECT_THROW(static_cast<void>(map_.exchange("key", "c", refuses)), std::runtime_error);
  EXPECT_THROW(static_cast<void>(map_.take("key", refuses)), std::runtime_error);
  EXPECT_EQ(*map_.get("key"), "b") << "nothing was changed";
  EXPECT_EQ(map_.take("key", keep), StatusCode::kOk);
  EXPECT_EQ(seen, (std::vector<std::optional<std::string>>{std::nullopt, "a", "b"}));
  EXPECT_EQ(map_.exists("key"), StatusCode::kNotFound);
}

TEST_P(ConditionsTest, CompareEraseRemovesTheKeyOnlyWithItsValue) {
  for (const std::string& key : kKeys) {
    EXPECT_EQ(map_.compare_erase(key, "v"), StatusCode::kNotFound);
    for (const std::string& value : kValues) {
      ASSERT_EQ(map_.put(key, value), StatusCode::kOk);
      EXPECT_EQ(map_.compare_erase(key, value + "x"), StatusCode::kMismatch);
      ASSERT_EQ(map_.expire(key, std::chrono::hours(1)), StatusCode::kOk);
      EXPECT_EQ(map_.compare_erase(key, value), StatusCode::kOk) << "a key with an end, too";
      EXPECT_EQ(map_.exists(key), StatusCode::kNotFound);
    }
  }
  EXPECT_EQ(map_.compare_erase("", "v"), StatusCode::kInvalid);
}

TEST_P(ConditionsTest, OfManyThatEraseAValueOneSucceeds) {
  std::atomic<int> erased{0};
  std::atomic<int> absent{0};
  for (int round = 0; round < 50; ++round) {
    ASSERT_EQ(map_.put("key", "v"), StatusCode::kOk);
    std::vector<std::thread> threads;
    for (int i = 0; i < 3; ++i) {
      threads.emplace_back([&] {
        const Status status = map_.compare_erase("key", "v");
        if (status.ok()) ++erased;
        if (status == StatusCode::kNotFound) ++absent;
      });
    }
    for (std::thread& thread : threads) thread.join();
  }
  EXPECT_EQ(erased, 50);
  EXPECT_EQ(absent, 100);
}

TEST_P(ConditionsTest, ChangesOnTopOfTokensRefuseAnInvalidKeyAndWhatAClientThatOnlyReadsMayNot) {
  const auto never = [](std::optional<std::string_view>) -> std::optional<std::string> {
    ADD_FAILURE() << "it must not be called";
    return std::nullopt;
  };
  EXPECT_EQ(map_.update("", never), StatusCode::kInvalid);
  EXPECT_EQ(map_.exchange("", "value").status(), StatusCode::kInvalid);
  EXPECT_EQ(map_.take("").status(), StatusCode::kInvalid);
  EXPECT_EQ(map_.insert_or_get("", "value").status(), StatusCode::kInvalid);
  Options options;
  options.name = server_.name();
  options.read_only = true;
  Result<Client> reader = Client::connect(options);
  ASSERT_TRUE(reader) << reader.status();
  EXPECT_EQ(reader->update("key", never), StatusCode::kPermission);
  EXPECT_EQ(reader->exchange("key", "value").status(), StatusCode::kPermission);
  EXPECT_EQ(reader->take("key").status(), StatusCode::kPermission);
  EXPECT_EQ(reader->insert_or_get("key", "value").status(), StatusCode::kPermission);
}

INSTANTIATE_TEST_SUITE_P(Of, ConditionsTest, testing::Values(Reads::kDirect, Reads::kRing),
                         [](const auto& test) { return test.param == Reads::kRing ? "Ring" : "Direct"; });

}  // namespace
}  // namespace hostmap::test
