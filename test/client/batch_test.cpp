// Batches: apply, with each kind of operation, its refusals, its order, and what ends a batch early.
#include <array>
#include <chrono>
#include <gtest/gtest.h>
#include <limits>
#include <map>
#include <string>
#include <thread>
#include <tuple>
#include <vector>

#include <hostmap/client.hpp>

#include "process/harness/sealed.hpp"
#include "process/harness/server.hpp"
#include "support/seed.hpp"

namespace hostmap::test {
namespace {

struct Shape {
  const char* workers;
  const char* ring;
  Reads reads;
};

class BatchTest : public testing::TestWithParam<Shape> {
 protected:
  Server server_{{"10", "--workers", GetParam().workers, "--ring-size", GetParam().ring, "--max-value", "100K"}};
  Client map_ = server_.connect(kPatience, GetParam().reads);

  std::vector<Outcome> apply(const std::vector<Operation>& operations) {
    std::vector<Outcome> outcomes(operations.size());
    const Status status = map_.apply(operations, outcomes);
    EXPECT_EQ(status, StatusCode::kOk) << status.message();
    return outcomes;
  }
};

TEST_P(BatchTest, EachKindOfOperationHasTheOutcomeOfItsSingleCall) {
  ASSERT_EQ(map_.put("there", "1"), StatusCode::kOk);
  const std::vector<Outcome> outcomes = apply({
      Operation::put("new", "value"),
      Operation::insert("there", "2"),
      Operation::insert("inserted", "3"),
      Operation::erase("absent"),
      Operation::erase("inserted"),
      Operation::compare_exchange("there", "0", "4"),
      Operation::compare_exchange("there", "1", "5"),
      Operation::compare_exchange("absent", "1", "5"),
      Operation::increment("there"),
      Operation::increment("new"),
      Operation::increment("counter", -7),
      Operation::get("there"),
      Operation::get("absent"),
  });
  const StatusCode expected[] = {
      StatusCode::kOk,      StatusCode::kAlreadyExists, StatusCode::kOk, StatusCode::kNotFound,
      StatusCode::kOk,      StatusCode::kMismatch,      StatusCode::kOk, StatusCode::kNotFound,
      StatusCode::kOk,      StatusCode::kNotANumber,    StatusCode::kOk, StatusCode::kOk,
      StatusCode::kNotFound};
  for (std::size_t i = 0; i < outcomes.size(); ++i) EXPECT_EQ(outcomes[i].status, expected[i]) << i;
  EXPECT_EQ(outcomes[8].number, 6);
  EXPECT_EQ(outcomes[10].number, -7);
  EXPECT_EQ(outcomes[11].value, "6");
  EXPECT_EQ(*map_.get("new"), "value");
  EXPECT_EQ(map_.exists("inserted"), StatusCode::kNotFound);
}

TEST_P(BatchTest, ChangesByTokenHaveTheOutcomesOfTheirSingleCalls) {
  ASSERT_EQ(map_.put("k", "1"), StatusCode::kOk);
  const Token one = map_.get_with_token("k")->token;
  const std::vector<Outcome> outcomes =
      apply({Operation::put_if("k", "2", one), Operation::put_if("k", "3", one), Operation::erase_if("k", one),
             Operation::put_if("new", "4", Token{}), Operation::put_if("new", "5", Token{}),
             Operation::erase_if("k", Token{}), Operation::put("k", "1"), Operation::erase_if("k", one),
             Operation::put_if("k", "6", one)});
  const StatusCode expected[] = {StatusCode::kOk,
                                 StatusCode::kMismatch,
                                 StatusCode::kMismatch,
                                 StatusCode::kOk,
                                 StatusCode::kAlreadyExists,
                                 StatusCode::kInvalid,
                                 StatusCode::kOk,
                                 StatusCode::kOk,
                                 StatusCode::kNotFound};
  for (std::size_t i = 0; i < outcomes.size(); ++i) EXPECT_EQ(outcomes[i].status, expected[i]) << i;
  EXPECT_EQ(outcomes[5].status.message(), "the zero token stands for an absent key, which cannot be erased");
  EXPECT_EQ(map_.exists("k"), StatusCode::kNotFound);
  EXPECT_EQ(*map_.get("new"), "4");
}

TEST_P(BatchTest, AppendsAndReplacementsHaveTheOutcomesOfTheirSingleCalls) {
  const std::string much(90'000, 'm');
  const std::vector<Outcome> outcomes =
      apply({Operation::replace("k", "1"), Operation::append("k", "a"), Operation::append("k", "bc"),
             Operation::get("k"), Operation::replace("k", much), Operation::append("k", much),
             Operation::replace("k", "2"), Operation::append("k", "3")});
  const StatusCode expected[] = {StatusCode::kNotFound, StatusCode::kOk,       StatusCode::kOk, StatusCode::kOk,
                                 StatusCode::kOk,       StatusCode::kTooLarge, StatusCode::kOk, StatusCode::kOk};
  for (std::size_t i = 0; i < outcomes.size(); ++i) EXPECT_EQ(outcomes[i].status, expected[i]) << i;
  EXPECT_EQ(outcomes[1].number, 1);
  EXPECT_EQ(outcomes[2].number, 3);
  EXPECT_EQ(outcomes[3].value, "abc");
  EXPECT_EQ(*map_.get("k"), "23");
}

TEST_P(BatchTest, IncrementsOfEachFormHaveTheOutcomesOfTheirSingleCalls) {
  using std::chrono_literals::operator""h;
  using std::chrono_literals::operator""ms;
  const std::string pair = word_key(9);
  const std::string long_key(9'000, 'k');  // it is sent in pieces
  ASSERT_EQ(map_.put("text", "five"), StatusCode::kOk);
  const double infinity = std::numeric_limits<double>::infinity();
  const std::vector<Outcome> outcomes = apply({
      Operation::increment("n", 1, 40, 1h),
      Operation::increment("n", 1, 40, 5h),
      Operation::increment("n", 0.5),
      Operation::increment(pair, 1, 2),
      Operation::increment(long_key, 0.25, 0.5, 1h),
      Operation::increment_as<std::int64_t>("stored", 5, 100),
      Operation::increment_as<std::int64_t>("stored", 5, 100, 1h),
      Operation::increment_as<double>("fraction", 0.5, 0.25, 1h),
      Operation::increment_as<double>("text", 1),
      Operation::increment("text", 1.0),
      Operation::increment("text", 1, 2),
      Operation::increment("new", infinity),
      Operation::increment("new", 1, 0, 0ms),
      Operation::increment("new", std::numeric_limits<std::int64_t>::max(), 1),
      Operation::increment("last", 1, 1),
  });
  const StatusCode expected[] = {StatusCode::kOk,         StatusCode::kOk,         StatusCode::kOk,
                                 StatusCode::kOk,         StatusCode::kOk,         StatusCode::kOk,
                                 StatusCode::kOk,         StatusCode::kOk,         StatusCode::kMismatch,
                                 StatusCode::kNotANumber, StatusCode::kNotANumber, StatusCode::kOverflow,
                                 StatusCode::kInvalid,    StatusCode::kOverflow,   StatusCode::kOk};
  for (std::size_t i = 0; i < outcomes.size(); ++i) EXPECT_EQ(outcomes[i].status, expected[i]) << i;
  EXPECT_EQ(outcomes[0].number, 41);
  EXPECT_EQ(outcomes[1].number, 42);
  EXPECT_EQ(outcomes[2].fraction(), 42.5);
  EXPECT_EQ(outcomes[3].number, 3);
  EXPECT_EQ(outcomes[4].fraction(), 0.75);
  EXPECT_EQ(outcomes[5].number, 105);
  EXPECT_EQ(outcomes[6].number, 110);
  EXPECT_EQ(outcomes[7].fraction(), 0.75);
  EXPECT_EQ(outcomes[14].number, 2);
  for (const std::string& key : {std::string("n"), long_key, std::string("fraction")}) {
    EXPECT_GT(*map_.ttl(key), 0ms);
    EXPECT_LE(*map_.ttl(key), 1h) << "only a new key is given an end";
  }
  EXPECT_EQ(*map_.ttl("stored"), kForever);
  EXPECT_EQ(*map_.get("n"), "42.5");
  EXPECT_EQ(*map_.get_as<std::int64_t>("stored"), 110);
  EXPECT_EQ(*map_.get_as<double>("fraction"), 0.75);
  EXPECT_EQ(map_.exists("new"), StatusCode::kNotFound);
  // In the words of the single calls, too.
  EXPECT_EQ(outcomes[8].status.message(), map_.increment_as<double>("text", 1).status().message());
  EXPECT_EQ(outcomes[9].status.message(), map_.increment("text", 1.0).status().message());
  EXPECT_EQ(outcomes[11].status.message(), map_.increment("new", infinity).status().message());
  EXPECT_EQ(outcomes[12].status.message(), map_.increment("new", 1, 0, 0ms).status().message());
  EXPECT_EQ(outcomes[13].status.message(),
            map_.increment("new", std::numeric_limits<std::int64_t>::max(), 1).status().message());
}

TEST_P(BatchTest, AnInvalidOperationDisturbsNoOther) {
  const std::string long_key(65'537, 'k');
  const std::string long_value(100 * 1024 + 1, 'v');
  Operation unknown = Operation::put("unknown", "value");
  unknown.kind = static_cast<Operation::Kind>(99);
  const std::vector<Outcome> outcomes =
      apply({Operation::put("a", "1"), Operation::put("", "1"), Operation::put(long_key, "1"),
             Operation::put("big", long_value), Operation::compare_exchange("a", long_value, "1"), unknown,
             Operation::get(""), Operation::put("b", "2")});
  EXPECT_EQ(outcomes[0].status, StatusCode::kOk);
  EXPECT_EQ(outcomes[1].status, StatusCode::kInvalid);
  EXPECT_EQ(outcomes[1].status.message(), "the key is empty; a key has 1 to 65,536 bytes");
  EXPECT_EQ(outcomes[2].status, StatusCode::kTooLarge);
  EXPECT_EQ(outcomes[2].status.message(), "the key is longer than 65,536 bytes");
  EXPECT_EQ(outcomes[3].status, StatusCode::kTooLarge);
  EXPECT_EQ(outcomes[4].status, StatusCode::kTooLarge);
  EXPECT_EQ(outcomes[5].status, StatusCode::kInvalid);
  EXPECT_EQ(outcomes[5].status.message(), "there is no such kind of operation");
  EXPECT_EQ(outcomes[6].status, StatusCode::kInvalid);
  EXPECT_EQ(outcomes[7].status, StatusCode::kOk);
  EXPECT_EQ(*map_.size(), 2u);
}

TEST_P(BatchTest, TooFewOutcomesAreRefusedAndNothingIsSent) {
  const Operation operations[] = {Operation::put("a", "1"), Operation::put("b", "2")};
  std::array<Outcome, 1> outcomes;
  outcomes[0].number = 77;
  const Status status = map_.apply(operations, outcomes);
  EXPECT_EQ(status, StatusCode::kInvalid);
  EXPECT_EQ(status.message(), "there are fewer outcomes than operations; nothing was sent");
  EXPECT_EQ(outcomes[0].number, 77);
  EXPECT_EQ(*map_.size(), 0u);
}

TEST_P(BatchTest, AnEmptyBatchIsDone) { EXPECT_EQ(map_.apply({}, {}), StatusCode::kOk); }

TEST_P(BatchTest, OutcomesOfAnEarlierBatchAreReplaced) {
  std::array<Outcome, 1> outcome;
  ASSERT_EQ(map_.put("k", "41"), StatusCode::kOk);
  for (const auto& [operation, status, number, value] :
       {std::tuple(Operation::increment("k"), StatusCode::kOk, 42, ""),
        std::tuple(Operation::get("k"), StatusCode::kOk, 0, "42"),
        std::tuple(Operation::put("", ""), StatusCode::kInvalid, 0, ""),
        std::tuple(Operation::put("k", "x"), StatusCode::kOk, 0, "")}) {
    ASSERT_EQ(map_.apply(std::span(&operation, 1), outcome), StatusCode::kOk);
    EXPECT_EQ(outcome[0].status, status);
    EXPECT_EQ(outcome[0].number, number);
    EXPECT_EQ(outcome[0].value, value);
  }
}

// More refusals than can be outstanding, and than the smallest ring has room for, between requests that are answered always.
TEST_P(BatchTest, ThousandsOfRefusalsEachReachTheirOperation) {
  std::vector<std::string> keys;
  for (int i = 0; i < 5'000; ++i) keys.push_back("key" + std::to_string(i));
  std::vector<Operation> operations;
  for (int i = 0; i < 5'000; ++i) {
    const std::string& key = keys[static_cast<std::size_t>(i)];
    operations.push_back(i % 3 == 0   ? Operation::put(key, "1")
                         : i % 3 == 1 ? Operation::erase(key)
                                      : Operation::increment(key, i));
  }
  for (int round = 0; round < 2; ++round) {
    const std::vector<Outcome> outcomes = apply(operations);
    for (int i = 0; i < 5'000; ++i) {
      const Outcome& outcome = outcomes[static_cast<std::size_t>(i)];
      ASSERT_EQ(outcome.status, i % 3 == 1 ? StatusCode::kNotFound : StatusCode::kOk) << i;
      ASSERT_EQ(outcome.number, i % 3 == 2 ? (round + 1) * i : 0) << i;
    }
  }
}

// Random batches against a map of this process: outcomes and content are those of the operations one by one.
TEST_P(BatchTest, ABatchDoesWhatItsOperationsDoOneByOne) {
  Random random;
  std::map<std::string, std::string> model;
  std::vector<std::string> keys;
  for (int i = 0; i < 40; ++i)
    keys.push_back(i % 2 == 0 ? word_key(static_cast<std::uint64_t>(i)) : "key" + std::to_string(i));
  const std::array<std::string, 3> numbers = {"n", word_key(1'000), "number"};
  std::array<std::int64_t, 3> sums{};
  const auto value = [&] {
    if (random.one_in(30)) return std::string(random.below(60'000), 'l');
    return random.one_in(2) ? word_key(random.below(5)) : std::to_string(random.below(5));
  };
  for (int round = 0; round < 150; ++round) {
    const std::size_t count = random.below(120);
    std::vector<std::string> values;
    std::vector<Operation> operations;
    values.reserve(3 * count);
    const auto keep = [&](std::string text) -> const std::string& { return values.emplace_back(std::move(text)); };
    std::vector<Outcome> expected(count);
    for (std::size_t i = 0; i < count; ++i) {
      const std::string& key = keys[random.below(keys.size())];
      const auto found = model.find(key);
      const bool there = found != model.end();
      switch (random.below(6)) {
        case 0:
          operations.push_back(Operation::put(key, keep(value())));
          model[key] = values.back();
          break;
        case 1:
          operations.push_back(Operation::insert(key, keep(value())));
          if (there) expected[i].status = StatusCode::kAlreadyExists;
          model.emplace(key, values.back());
          break;
        case 2:
          operations.push_back(Operation::erase(key));
          if (!there) expected[i].status = StatusCode::kNotFound;
          model.erase(key);
          break;
        case 3: {
          const std::string& wanted = keep(value());
          operations.push_back(Operation::compare_exchange(key, wanted, keep(value())));
          if (!there) {
            expected[i].status = StatusCode::kNotFound;
          } else if (found->second != wanted) {
            expected[i].status = StatusCode::kMismatch;
          } else {
            found->second = values.back();
          }
          break;
        }
        case 4: {
          const std::size_t which = random.below(numbers.size());
          operations.push_back(Operation::increment(numbers[which], 3));
          expected[i].number = sums[which] += 3;
          break;
        }
        default:
          operations.push_back(Operation::get(key));
          if (there) {
            expected[i].value = found->second;
          } else {
            expected[i].status = StatusCode::kNotFound;
          }
          break;
      }
    }
    const std::vector<Outcome> outcomes = apply(operations);
    for (std::size_t i = 0; i < count; ++i) {
      ASSERT_EQ(outcomes[i].status.code(), expected[i].status.code()) << "round " << round << ", operation " << i;
      ASSERT_EQ(outcomes[i].number, expected[i].number) << "round " << round << ", operation " << i;
      ASSERT_EQ(outcomes[i].value, expected[i].value) << "round " << round << ", operation " << i;
    }
    for (const std::string& key : keys) {
      const Result<std::string> now = map_.get(key);
      ASSERT_EQ(now.has_value(), model.contains(key));
      if (now) {
        ASSERT_EQ(*now, model[key]);
      }
    }
  }
}

TEST_P(BatchTest, AGetSeesQueuedWritesOfThisClient) {
  for (int i = 0; i < 200; ++i) {
    const std::string text = std::to_string(i);
    ASSERT_EQ(map_.put_async("k", text), StatusCode::kOk);
    const std::vector<Outcome> outcomes = apply({Operation::get("k"), Operation::put("l", text), Operation::get("k")});
    EXPECT_EQ(outcomes[0].value, text);
    EXPECT_EQ(outcomes[2].value, text);
  }
  EXPECT_EQ(map_.flush(), StatusCode::kOk);
}

TEST_P(BatchTest, AFlushReportsQueuedWritesAndNotThoseOfABatch) {
  ASSERT_EQ(map_.put_async("k", "1"), StatusCode::kOk);
  const std::vector<Outcome> outcomes = apply({Operation::erase("absent"), Operation::insert("k", "2")});
  EXPECT_EQ(outcomes[0].status, StatusCode::kNotFound);
  EXPECT_EQ(outcomes[1].status, StatusCode::kAlreadyExists);
  EXPECT_EQ(map_.flush(), StatusCode::kOk);
}

TEST_P(BatchTest, ThreadsApplyBatchesAtOnce) {
  constexpr int kThreads = 4;
  constexpr int kRounds = 100;
  std::vector<std::thread> threads;
  for (int t = 0; t < kThreads; ++t) {
    threads.emplace_back([this, t] {
      const std::string own = "own" + std::to_string(t);
      for (int round = 0; round < kRounds; ++round) {
        const Operation operations[] = {Operation::increment("all"), Operation::increment(own), Operation::get(own),
                                        Operation::insert("once", own)};
        std::array<Outcome, 4> outcomes;
        ASSERT_EQ(map_.apply(operations, outcomes), StatusCode::kOk);
        ASSERT_EQ(outcomes[1].number, round + 1);
        ASSERT_EQ(outcomes[2].value, std::to_string(round + 1));
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(*map_.get("all"), std::to_string(kThreads * kRounds));
}

TEST_P(BatchTest, MultiPutAndMultiEraseReturnAStatusForEach) {
  std::map<std::string, std::string> entries;
  for (int i = 0; i < 300; ++i) entries["key" + std::to_string(i)] = std::to_string(i);
  for (const Status& status : map_.multi_put(entries)) ASSERT_EQ(status, StatusCode::kOk);
  for (const auto& [key, value] : entries) ASSERT_EQ(*map_.get(key), value);

  const std::vector<Status> put = map_.multi_put({{"a", "1"}, {"", "2"}, {"b", "3"}});
  ASSERT_EQ(put.size(), 3u);
  EXPECT_EQ(put[0], StatusCode::kOk);
  EXPECT_EQ(put[1], StatusCode::kInvalid);
  EXPECT_EQ(put[2], StatusCode::kOk);

  std::vector<std::string> keys;
  for (int i = 0; i < 200; ++i) keys.push_back("key" + std::to_string(2 * i));
  const std::vector<Status> erased = map_.multi_erase(keys);
  ASSERT_EQ(erased.size(), keys.size());
  for (std::size_t i = 0; i < keys.size(); ++i) {
    ASSERT_EQ(erased[i], i < 150 ? StatusCode::kOk : StatusCode::kNotFound) << keys[i];
  }
  const std::vector<Status> few = map_.multi_erase({"a", "", "absent"});
  ASSERT_EQ(few.size(), 3u);
  EXPECT_EQ(few[0], StatusCode::kOk);
  EXPECT_EQ(few[1], StatusCode::kInvalid);
  EXPECT_EQ(few[2], StatusCode::kNotFound);
  EXPECT_EQ(*map_.size(), 151u);
  EXPECT_TRUE(map_.multi_put(std::span<const KeyValue>()).empty());
  EXPECT_TRUE(map_.multi_erase(std::vector<std::string>()).empty());
}

TEST_P(BatchTest, ErasePrefixRemovesTheKeysOfThePrefixAndNoOther) {
  const Result<std::uint64_t> all = map_.erase_prefix("");
  EXPECT_EQ(all.status(), StatusCode::kInvalid);
  EXPECT_EQ(all.status().message(), "the prefix is empty; call clear to remove every key");
  for (int i = 0; i < 1'000; ++i) {
    const std::string number = std::to_string(1'000 + i);
    // Pairs and entries, with and without the prefix.
    for (const std::string& key : {"user" + number, "user:" + number, "other" + number, "othe" + number}) {
      ASSERT_EQ(map_.put_async(key, i % 2 == 0 ? word_key(1) : "value"), StatusCode::kOk);
    }
  }
  EXPECT_EQ(*map_.erase_prefix("nobody"), 0u);
  EXPECT_EQ(*map_.size(), 4'000u);
  EXPECT_EQ(*map_.erase_prefix("user1500"), 1u);
  EXPECT_EQ(*map_.erase_prefix("user"), 1'999u);
  EXPECT_EQ(*map_.erase_prefix("user"), 0u);
  EXPECT_EQ(*map_.size(), 2'000u);
  std::uint64_t left = 0;
  EXPECT_EQ(map_.scan("",
                      [&](std::string_view key, std::string_view) {
                        EXPECT_TRUE(key.starts_with("othe"));
                        ++left;
                        return true;
                      }),
            StatusCode::kOk);
  EXPECT_EQ(left, 2'000u);
  EXPECT_EQ(map_.flush(), StatusCode::kOk);
}

INSTANTIATE_TEST_SUITE_P(Shapes, BatchTest,
                         testing::Values(Shape{"1", "64K", Reads::kDirect}, Shape{"1", "4096", Reads::kDirect},
                                         Shape{"4", "4096", Reads::kDirect}, Shape{"1", "4096", Reads::kRing}),
                         [](const testing::TestParamInfo<Shape>& shape) {
                           return std::string(shape.param.workers) + "Workers" + shape.param.ring +
                                  (shape.param.reads == Reads::kRing ? "ByRing" : "Direct");
                         });

TEST(ReadOnlyBatchTest, ChangesAreRefusedAndGetsAreDone) {
  Server server({"10"});
  Client writer = server.connect(kPatience);
  ASSERT_EQ(writer.put("k", "1"), StatusCode::kOk);
  Options options = server.options();
  options.read_only = true;
  Result<Client> reader = Client::connect(options);
  ASSERT_TRUE(reader) << reader.status();
  const Operation operations[] = {Operation::put("k", "2"), Operation::get("k"), Operation::put("", "")};
  std::array<Outcome, 3> outcomes;
  EXPECT_EQ(reader->apply(operations, outcomes), StatusCode::kOk);
  EXPECT_EQ(outcomes[0].status, StatusCode::kPermission);
  EXPECT_EQ(outcomes[1].value, "1");
  EXPECT_EQ(outcomes[2].status, StatusCode::kInvalid);
  EXPECT_EQ(reader->multi_put({{"k", "2"}}).front(), StatusCode::kPermission);
  EXPECT_EQ(reader->multi_erase({"k"}).front(), StatusCode::kPermission);
  EXPECT_EQ(reader->erase_prefix("k").status(), StatusCode::kPermission);
  EXPECT_EQ(*reader->get("k"), "1");
}

}  // namespace
}  // namespace hostmap::test
