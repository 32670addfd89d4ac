// scan_from: a scan in parts.
#include <gtest/gtest.h>
#include <map>
#include <set>
#include <stdexcept>
#include <string>

#include "process/harness/sealed.hpp"
#include "process/harness/server.hpp"
#include "support/seed.hpp"

namespace hostmap::test {
namespace {

class CursorTest : public testing::TestWithParam<const char*> {
 protected:
  CursorTest() {
    for (int i = 0; i < 2'000; ++i) {
      const auto number = static_cast<std::uint64_t>(i);
      entries_[word_key(number * 7919)] = word_key(number);
      entries_["user:" + std::to_string(i)] = std::string(number % 50, 'v');
    }
    for (const Status& status : map_.multi_put(entries_)) EXPECT_EQ(status, StatusCode::kOk);
  }

  Server server_{{"10", "--workers", GetParam()}};
  Client map_ = server_.connect();
  std::map<std::string, std::string> entries_;
};

TEST_P(CursorTest, PartsOfAnySizeTogetherVisitEachKeyOnceWithItsValue) {
  for (const std::size_t limit :
       {std::size_t{1}, std::size_t{10}, std::size_t{1'000}, std::size_t{1'000'000}, SIZE_MAX}) {
    std::map<std::string, std::string> met;
    std::uint64_t cursor = 0;
    std::uint64_t calls = 0;
    do {
      std::size_t visited = 0;
      const Result<std::uint64_t> next =
          map_.scan_from(cursor, limit, "", [&](std::string_view key, std::string_view value) {
            EXPECT_TRUE(met.emplace(key, value).second);
            ++visited;
          });
      ASSERT_TRUE(next) << next.status();
      ASSERT_LT(*next, std::uint64_t{1} << 53);
      ASSERT_TRUE(*next == 0 || visited >= limit);
      ASSERT_TRUE(limit > 100 || visited <= limit + 112) << "more than the chain of a bucket";
      cursor = *next;
      ++calls;
    } while (cursor != 0);
    EXPECT_EQ(met, entries_) << limit;
    EXPECT_TRUE(limit > 1 || calls > 100);
    EXPECT_TRUE(limit < 10'000 || calls == 1);
  }
}

TEST_P(CursorTest, AnotherClientContinuesAndVisitsKeysAlone) {
  Options options = server_.options();
  options.read_only = true;
  Result<Client> reader = Client::connect(options);
  ASSERT_TRUE(reader) << reader.status();
  std::set<std::string> met;
  Client* clients[] = {&map_, &*reader};
  std::uint64_t cursor = 0;
  std::size_t call = 0;
  do {
    const Result<std::uint64_t> next = clients[call++ % 2]->scan_from(cursor, 50, "user:", [&](std::string_view key) {
      EXPECT_TRUE(key.starts_with("user:"));
      EXPECT_TRUE(met.emplace(key).second);
    });
    ASSERT_TRUE(next) << next.status();
    cursor = *next;
  } while (cursor != 0);
  EXPECT_EQ(met.size(), 2'000u);
  std::size_t keys = 0;
  EXPECT_EQ(map_.scan("user:", [&](std::string_view) { return ++keys < 7; }), StatusCode::kOk);
  EXPECT_EQ(keys, 7u);
}

TEST_P(CursorTest, ARarePrefixDoesNotMakeACallLong) {
  // Enough buckets for several calls.
  std::vector<std::string> keys;
  for (int i = 0; i < 200'000; ++i) keys.push_back("filler" + std::to_string(i));
  std::vector<KeyValue> fillers;
  for (const std::string& key : keys) fillers.push_back({key, "v"});
  for (const Status& status : map_.multi_put(fillers)) ASSERT_EQ(status, StatusCode::kOk);
  std::size_t calls = 0;
  std::size_t met = 0;
  std::uint64_t cursor = 0;
  do {
    const Result<std::uint64_t> next = map_.scan_from(cursor, 1, "user:77", [&](std::string_view) { ++met; });
    ASSERT_TRUE(next) << next.status();
    cursor = *next;
    ++calls;
  } while (cursor != 0);
  EXPECT_EQ(met, 11u);  // user:77, user:770 to user:779
  EXPECT_GT(calls, 5u);
}

TEST_P(CursorTest, InvalidArgumentsAreRefusedEachWithItsSentence) {
  const auto nothing = [](std::string_view) { FAIL() << "visited"; };
  const Result<std::uint64_t> no_limit = map_.scan_from(0, 0, "", nothing);
  EXPECT_EQ(no_limit.status(), StatusCode::kInvalid);
  EXPECT_EQ(no_limit.status().message(), "the limit is 0; let a call visit 1 key or more");
  for (const std::uint64_t cursor :
       {std::uint64_t{1} << 53, ~std::uint64_t{0}, std::uint64_t{31} << 47, std::uint64_t{300} << 38}) {
    const Result<std::uint64_t> next = map_.scan_from(cursor, 1, "", nothing);
    EXPECT_EQ(next.status(), StatusCode::kInvalid) << cursor;
    EXPECT_EQ(next.status().message(), "no scan of this map has returned this cursor; begin with the cursor 0");
  }
}

TEST_P(CursorTest, AnyOtherNumberLeadsSomewhereAndEndsWithTheScan) {
  Random random;
  for (int i = 0; i < 2'000; ++i) {
    const std::uint64_t cursor = random.word() >> random.between(11, 60);
    std::uint64_t visited = 0;
    const Result<std::uint64_t> next = map_.scan_from(cursor, 5, "", [&](std::string_view) { ++visited; });
    if (next) {
      ASSERT_TRUE(*next > cursor || *next == 0);
    } else {
      ASSERT_EQ(next.status(), StatusCode::kInvalid);
      ASSERT_EQ(visited, 0u);
    }
  }
}

TEST_P(CursorTest, ExceptionsOfTheVisitorPassThrough) {
  EXPECT_THROW(static_cast<void>(map_.scan_from(
                   0, 10, "", [](std::string_view, std::string_view) { throw std::runtime_error("enough"); })),
               std::runtime_error);
  EXPECT_EQ(*map_.size(), entries_.size());
}

INSTANTIATE_TEST_SUITE_P(Workers, CursorTest, testing::Values("1", "3"),
                         [](const auto& test) { return std::string(test.param) + "Workers"; });

}  // namespace
}  // namespace hostmap::test
