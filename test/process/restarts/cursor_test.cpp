// A cursor leads on after its server was killed, and after the table has grown and shrunk meanwhile.
#include <gtest/gtest.h>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "process/harness/sealed.hpp"
#include "process/harness/server.hpp"
#include "support/seed.hpp"

namespace hostmap::test {
namespace {

TEST(CursorRestart, KeysPresentThroughoutAreVisitedOnceAcrossRestarts) {
  Random random;
  const std::string name = unique_name();
  const std::vector<std::string> arguments{"10", "--workers", "2"};
  auto server = std::make_unique<Server>(arguments, ServerSetup{name});
  Client map = server->connect();
  std::vector<std::string> always;
  for (std::uint64_t i = 0; i < 3'000; ++i)
    always.push_back(i % 2 == 0 ? word_key(i * 7919) : "key" + std::to_string(i));
  std::vector<KeyValue> entries;
  for (const std::string& key : always) entries.push_back({key, "12345678"});
  for (const Status& status : map.multi_put(entries)) ASSERT_EQ(status, StatusCode::kOk);

  std::set<std::string> met;
  std::uint64_t cursor = 0;
  std::uint64_t fillers = 0;
  int restarts = 0;
  do {
    const Result<std::uint64_t> next = map.scan_from(
        cursor, 150, "", [&](std::string_view key) { EXPECT_TRUE(met.emplace(key).second) << "visited twice"; });
    ASSERT_TRUE(next) << next.status();
    cursor = *next;
    if (restarts == 12) continue;
    server->kill();
    ++restarts;
    server = std::make_unique<Server>(arguments, ServerSetup{name});
    if (restarts % 4 == 3) {
      EXPECT_TRUE(map.erase_prefix("filler"));  // segments are merged
    } else {
      for (int i = 0; i < 4'000; ++i) {
        ASSERT_EQ(map.put_async("filler" + std::to_string(fillers++), "v"), StatusCode::kOk);
      }
    }
    // Some move between the forms.
    for (int i = 0; i < 100; ++i) {
      const std::string& key = always[random.below(always.size())];
      ASSERT_EQ(map.put(key, random.one_in(2) ? "12345678" : "other"), StatusCode::kOk);
    }
  } while (cursor != 0);
  EXPECT_EQ(restarts, 12);
  for (const std::string& key : always) ASSERT_TRUE(met.contains(key)) << testing::PrintToString(key);
  EXPECT_EQ(map.flush(), StatusCode::kOk);
}

}  // namespace
}  // namespace hostmap::test
