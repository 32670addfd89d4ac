// Numbers with an initial value, with fractions and as 8 bytes, through a real server. (Integers as text: operations_test.cpp.)
#include <cmath>
#include <gtest/gtest.h>
#include <limits>
#include <string>
#include <thread>
#include <vector>

#include "process/harness/sealed.hpp"
#include "process/harness/server.hpp"

namespace hostmap::test {
namespace {

class NumbersTest : public testing::Test {
 protected:
  Server server_{{"10", "--workers", "2", "--ring-size", "16K"}};
  Client map_ = server_.connect();
};

constexpr std::int64_t kMost = std::numeric_limits<std::int64_t>::max();
constexpr double kLargest = std::numeric_limits<double>::max();
constexpr double kInfinity = std::numeric_limits<double>::infinity();

// The last one is sent in pieces.
const std::string kKeys[] = {"key", word_key(7), "a sixteen b. key", std::string(9'000, 'k')};

TEST_F(NumbersTest, AnAbsentKeyCountsAsTheInitialNumber) {
  for (const std::string& key : kKeys) {
    EXPECT_EQ(*map_.increment(key, 5, 100), 105);
    EXPECT_EQ(*map_.get(key), "105");
    EXPECT_EQ(*map_.increment(key, -6, 100), 99) << "it is present now";
    ASSERT_EQ(map_.erase(key), StatusCode::kOk);
    EXPECT_EQ(*map_.increment(key, 0.25, 1.5), 1.75);
    EXPECT_EQ(*map_.increment(key, 0.25, 1.5), 2);
    EXPECT_EQ(*map_.get(key), "2");
    ASSERT_EQ(map_.erase(key), StatusCode::kOk);
    EXPECT_EQ(*map_.increment_as<std::int64_t>(key, 5, 100), 105);
    EXPECT_EQ(*map_.increment_as<std::int64_t>(key, 5, 100), 110);
    ASSERT_EQ(map_.erase(key), StatusCode::kOk);
    EXPECT_EQ(*map_.increment_as<double>(key, 0.5, 0.25), 0.75);
    ASSERT_EQ(map_.erase(key), StatusCode::kOk);
  }
  EXPECT_EQ(map_.increment("most", 1, kMost).status(), StatusCode::kOverflow);
  EXPECT_EQ(map_.exists("most"), StatusCode::kNotFound);
}

TEST_F(NumbersTest, AFractionIsStoredAsTheShortestTextThatGivesIt) {
  const struct {
    double by;
    const char* text;
  } steps[] = {{0.1, "0.1"},    {0.2, "0.30000000000000004"}, {1e22, "1e+22"}, {-1e22, "0"}, {-2.5, "-2.5"},
               {5e-324, "-2.5"}};
  for (const std::string& key : kKeys) {
    double sum = 0;
    for (const auto& [by, text] : steps) {
      sum += by;
      const Result<double> now = map_.increment(key, by);
      ASSERT_TRUE(now) << now.status();
      EXPECT_EQ(*now, sum);
      EXPECT_EQ(*map_.get(key), text);
    }
    // The longest text of all.
    ASSERT_EQ(map_.put(key, "0"), StatusCode::kOk);
    EXPECT_EQ(*map_.increment(key, -kLargest), -kLargest);
    EXPECT_EQ(*map_.get(key), "-1.7976931348623157e+308");
    EXPECT_EQ(*map_.increment(key, 0.5F), -kLargest);
  }
}

TEST_F(NumbersTest, AnyDecimalTextOfAFiniteDoubleIsAccepted) {
  const struct {
    const char* text;
    double number;
  } texts[] = {{"5", 5},    {"-0", 0},     {"005", 5},     {"5.", 5},
               {".5", 0.5}, {"1e3", 1000}, {"1E-2", 0.01}, {"-7.25", -7.25}};
  for (const auto& [text, number] : texts) {
    ASSERT_EQ(map_.put("n", text), StatusCode::kOk);
    const Result<double> sum = map_.increment("n", 1.0);
    ASSERT_TRUE(sum) << text << ": " << sum.status();
    EXPECT_EQ(*sum, number + 1) << text;
  }
  ASSERT_EQ(map_.put("n", std::string(128, '0')), StatusCode::kOk);
  EXPECT_EQ(*map_.increment("n", 6.0), 6);
  // A whole number is one for both kinds of increment, a fraction only for one.
  EXPECT_EQ(*map_.increment("n", 1), 7);
  EXPECT_EQ(*map_.increment("n", 0.5), 7.5);
  EXPECT_EQ(map_.increment("n", 1).status(), StatusCode::kNotANumber);
}

TEST_F(NumbersTest, AnythingButAFiniteDecimalNumberIsRefusedAndStays) {
  std::vector<std::string> texts;
  for (const char* text : {"", " 5", "5 ", "+5", "0x5", "five", "-", "1e", "inf", "-infinity", "nan", "1e999", "1,5"}) {
    texts.emplace_back(text);
  }
  texts.emplace_back(129, '0');
  texts.emplace_back("5\0", 2);
  for (const std::string& text : texts) {
    ASSERT_EQ(map_.put("n", text), StatusCode::kOk);
    EXPECT_EQ(map_.increment("n", 1.0).status(), StatusCode::kNotANumber) << text;
    EXPECT_EQ(*map_.get("n"), text) << "nothing was changed";
  }
}

TEST_F(NumbersTest, InfiniteNumbersAndThoseThatAreNoneAreRefused) {
  constexpr std::string_view kSentence = "the summand, the initial number or the sum is infinite or not a number";
  const auto expect_refused = [&](const Result<double>& result) {
    EXPECT_EQ(result.status(), StatusCode::kOverflow);
    EXPECT_EQ(result.status().message(), kSentence);
  };
  for (const double wrong : {kInfinity, -kInfinity, std::nan("")}) {
    expect_refused(map_.increment("n", wrong));
    expect_refused(map_.increment("n", 1.0, wrong));
    expect_refused(map_.increment_as<double>("n", wrong));
    expect_refused(map_.increment_as<double>("n", 1, wrong));
    EXPECT_EQ(map_.exists("n"), StatusCode::kNotFound);
    ASSERT_EQ(map_.put("stored", as_bytes_of(wrong)), StatusCode::kOk);
    expect_refused(map_.increment_as<double>("stored", 1));
  }
  ASSERT_TRUE(map_.increment("n", kLargest));
  expect_refused(map_.increment("n", kLargest));
  EXPECT_EQ(*map_.increment("n", -kLargest), 0);
}

TEST_F(NumbersTest, IncrementAsReadsAndStoresTheBytesThatGetAsReads) {
  for (const std::string& key : kKeys) {
    ASSERT_EQ(map_.put(key, as_bytes_of(std::int64_t{41})), StatusCode::kOk);
    EXPECT_EQ(*map_.increment_as<std::int64_t>(key, 1), 42);
    EXPECT_EQ(*map_.get_as<std::int64_t>(key), 42);
    EXPECT_EQ(*map_.increment_as<std::int64_t>(key, -50), -8);
    EXPECT_EQ(*map_.get_as<std::int64_t>(key), -8);
    ASSERT_EQ(map_.put(key, as_bytes_of(2.5)), StatusCode::kOk);
    EXPECT_EQ(*map_.increment_as<double>(key, 0.25), 2.75);
    EXPECT_EQ(*map_.get_as<double>(key), 2.75);
    ASSERT_EQ(map_.put(key, as_bytes_of(kMost)), StatusCode::kOk);
    EXPECT_EQ(map_.increment_as<std::int64_t>(key, 1).status(), StatusCode::kOverflow);
    EXPECT_EQ(*map_.get_as<std::int64_t>(key), kMost);
    for (const std::size_t size : {0u, 7u, 9u, 30'000u}) {
      ASSERT_EQ(map_.put(key, std::string(size, 'v')), StatusCode::kOk);
      EXPECT_EQ(map_.increment_as<std::int64_t>(key, 1).status(), StatusCode::kMismatch);
      const Result<double> sum = map_.increment_as<double>(key, 1);
      EXPECT_EQ(sum.status(), StatusCode::kMismatch);
      EXPECT_EQ(sum.status().message(), "the value does not have the 8 bytes of a number");
      EXPECT_EQ(map_.get(key)->size(), size);
    }
  }
}

TEST_F(NumbersTest, AdditionsOfManyClientsAreAllCounted) {
  constexpr int kClients = 4;
  constexpr int kEach = 300;
  std::vector<std::thread> threads;
  for (int i = 0; i < kClients; ++i) {
    threads.emplace_back([&] {
      Client map = server_.connect();
      for (int n = 0; n < kEach; ++n) {
        ASSERT_TRUE(map.increment("fractions", 0.25));
        ASSERT_TRUE(map.increment_as<std::int64_t>(word_key(1), 3));
        ASSERT_TRUE(map.increment_as<double>(word_key(2), 0.5));
        ASSERT_TRUE(map.increment("from 7", 1, 7));
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(*map_.get("fractions"), std::to_string(kClients * kEach / 4));
  EXPECT_EQ(*map_.get_as<std::int64_t>(word_key(1)), 3 * kClients * kEach);
  EXPECT_EQ(*map_.get_as<double>(word_key(2)), kClients * kEach / 2);
  EXPECT_EQ(*map_.get("from 7"), std::to_string(7 + kClients * kEach));
}

TEST_F(NumbersTest, AnInvalidKeyIsRefused) {
  EXPECT_EQ(map_.increment("", 1, 2).status(), StatusCode::kInvalid);
  EXPECT_EQ(map_.increment("", 1.5).status(), StatusCode::kInvalid);
  EXPECT_EQ(map_.increment_as<double>(std::string(65'537, 'k'), 1).status(), StatusCode::kTooLarge);
}

}  // namespace
}  // namespace hostmap::test
