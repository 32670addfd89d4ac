// A client's process has no memory left: each allocation within each call fails once, and the call still returns a code that
// it documents (programs/starved_client.cpp).
#include <gtest/gtest.h>
#include <map>
#include <regex>
#include <string>
#include <vector>

#include "process/harness/program.hpp"
#include "process/harness/server.hpp"

namespace hostmap::test {
namespace {

struct Figures {
  unsigned long allocations = 0;
  unsigned long full = 0;
};

TEST(StarvedClient, EachCallSurvivesTheFailureOfEachOfItsAllocations) {
  Server server;
  Program client({program("starved_client"), server.name()});
  static const std::regex form("([a-z_]+) (fresh|used|inherited) (once|onward) allocations=([0-9]+) full=([0-9]+)");
  std::map<std::string, Figures> figures;  // by call, state and kind
  bool closed = false;
  while (const auto line = client.next_line(std::chrono::seconds(60))) {
    closed = *line == "closed";
    if (closed) break;
    std::smatch part;
    ASSERT_TRUE(std::regex_match(*line, part, form)) << *line;
    figures[part.str(1) + " " + part.str(2) + " " + part.str(3)] = {std::stoul(part[4]), std::stoul(part[5])};
  }
  ASSERT_TRUE(closed) << client.errors();
  // The process lives but its clients are closed: nothing is left of those that failed.
  EXPECT_TRUE(server.connections_come_to(0));
  client.close_input();
  EXPECT_EQ(client.wait(), kSuccess) << client.errors();

  const std::vector<std::string> calls{"put",
                                       "put_large",
                                       "put_async",
                                       "put_async_large",
                                       "flush",
                                       "get",
                                       "exists",
                                       "get_behind_writes",
                                       "get_into",
                                       "erase",
                                       "insert",
                                       "compare_exchange",
                                       "get_with_token",
                                       "put_if",
                                       "erase_if",
                                       "append",
                                       "replace",
                                       "increment_fraction",
                                       "exchange",
                                       "take",
                                       "insert_or_get",
                                       "increment",
                                       "multi_get",
                                       "scan",
                                       "clear",
                                       "size",
                                       "get_by_ring"};
  for (const std::string kind : {"once", "onward"}) {
    ASSERT_TRUE(figures.contains("connect fresh " + kind));
    EXPECT_GE(figures["connect fresh " + kind].full, 5u);
    for (const std::string& call : calls) {
      for (const std::string state : {"fresh", "used", "inherited"}) {
        ASSERT_TRUE(figures.contains(call + " " + state + " " + kind)) << call << " " << state << " " << kind;
      }
      EXPECT_GE(figures[call + " inherited " + kind].full, 5u) << call << ": it connects, and that allocates";
    }
    // A client that has worked before allocates only what it returns and what a scan visits.
    for (const std::string& call : calls) {
      const Figures& used = figures[call + " used " + kind];
      if (call == "multi_get") {
        EXPECT_EQ(used.allocations, 3u);  // the vector and two values
      } else if (call == "scan") {
        EXPECT_GE(used.full, 1u);
      } else if ((call.starts_with("get") && call != "get_into") || call == "exchange" || call == "take" ||
                 call == "insert_or_get") {
        EXPECT_EQ(used.allocations, 1u) << call;
        // If the fast path cannot allocate the value, the slow path retries.
        const bool asks_again = call == "get" && kind == "once";
        EXPECT_EQ(used.full, asks_again ? 0u : 1u) << call;
      } else {
        EXPECT_EQ(used.allocations, 0u) << call;
      }
    }
  }
}

}  // namespace
}  // namespace hostmap::test
