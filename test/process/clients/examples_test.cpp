// The programs in examples/: each works with a running server, and without one prints what to do.
#include <gtest/gtest.h>
#include <regex>
#include <string>
#include <vector>

#include "process/harness/server.hpp"

namespace hostmap::test {
namespace {

Ran example(const std::string& which, const std::string& instance) {
  return run({program("examples/" + which), instance});
}

class Examples : public testing::Test {
 protected:
  // Twice: the keys that the first run has left do not disturb the second one.
  void expect_twice(const std::string& which, const std::string& last_line) {
    for (int i = 0; i < 2; ++i) {
      const Ran ran = example(which, server_.name());
      EXPECT_EQ(ran.exit, kSuccess) << ran.output << ran.errors;
      EXPECT_EQ(ran.errors, "");
      const std::vector<std::string> lines = lines_of(ran.output);
      ASSERT_FALSE(lines.empty());
      EXPECT_TRUE(std::regex_match(lines.back(), std::regex(last_line))) << ran.output;
    }
  }

  Server server_{{"10"}};
};

TEST_F(Examples, SharedCounterLosesNoIncrement) {
  expect_twice("shared_counter", "4 workers, 5000 increments each: the counter is 20000");
  EXPECT_EQ(server_.connect().get("visits").value_or("none"), "20000");
}

TEST_F(Examples, CacheLeavesEveryPageInTheMap) {
  expect_twice("cache", "<h1>about</h1> +[0-9.]+ us");
  Client client = server_.connect();
  for (const std::string page : {"home", "news", "about"}) {
    EXPECT_EQ(client.get("page:" + page).value_or("none"), "<h1>" + page + "</h1>");
  }
}

TEST_F(Examples, ProducerAndConsumersDoEachJobOnce) {
  expect_twice("producer_consumer", "3000 jobs done, the sum of their numbers is 4501500");
  EXPECT_EQ(*server_.connect().size(), 2u) << "jobs are left";
}

TEST_F(Examples, PriceBoardIsReadWithoutTornPrices) { expect_twice("price_board", "USDJPY [0-9]+ / [0-9]+"); }

TEST_F(Examples, PreforkWorkersRenderEachPageOnce) {
  expect_twice("prefork_cache", "8 workers, 3 pages each: 3 renders");
}

TEST_F(Examples, TheRateLimiterAllowsAsManyAsTheLimit) { expect_twice("rate_limiter", "400 requests, 50 allowed"); }

TEST_F(Examples, TheLockGuardsALedgerOutsideOfTheMapAndFencesASlowHolder) {
  expect_twice("lock", "4 workers, 50 deposits each, and one more: the balance is 201");
  EXPECT_NE(example("lock", server_.name()).output.find("the slow holder was refused\n"), std::string::npos);
}

TEST_F(Examples, TypedMapLosesNoUpdate) { expect_twice("typed_map", "3000 changes, all accounts together hold 1000"); }

TEST_F(Examples, SessionsInCBeginAndEnd) { expect_twice("c/sessions", "1000 sessions, 1000 ended"); }

TEST_F(Examples, APageIsRenderedByOneOfTheWorkersInC) { expect_twice("c/computed_once", "8 workers, 1 render"); }

TEST(ExamplesAlone, SayThatNoServerRuns) {
  for (const char* which : {"shared_counter", "cache", "prefork_cache", "producer_consumer", "price_board",
                            "rate_limiter", "lock", "typed_map", "c/sessions", "c/computed_once"}) {
    const Ran ran = example(which, unique_name());
    EXPECT_EQ(ran.exit, exited(1));
    EXPECT_EQ(ran.output, "");
    const std::string name = which;
    EXPECT_TRUE(ran.errors.starts_with(name.substr(name.find('/') + 1) + ": no server ")) << ran.errors;
  }
}

}  // namespace
}  // namespace hostmap::test
