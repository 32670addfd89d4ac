// Scan: an object that returns one key after the other.
#include <gtest/gtest.h>
#include <map>
#include <string>

#include <hostmap/scan.hpp>

#include "process/harness/server.hpp"

namespace hostmap::test {
namespace {

class ScanObject : public testing::Test {
 protected:
  Server server_{{"10"}};
  Client client_ = server_.connect();
};

TEST_F(ScanObject, VisitsEachKeyOnceWhateverTheSizesOfTheValues) {
  std::map<std::string, std::string> entries;
  for (int i = 0; i < 600; ++i) {
    entries["user:" + std::to_string(i)] = std::string(i % 50 == 0 ? 300'000u : static_cast<std::size_t>(i % 9), 'v');
    entries["else:" + std::to_string(i)] = "";
  }
  for (const Status& status : client_.multi_put(entries)) ASSERT_EQ(status, StatusCode::kOk);
  std::map<std::string, std::string> seen;
  Scan scan(client_, "user:");
  while (scan.next()) EXPECT_TRUE(seen.emplace(scan.key(), scan.value()).second);
  EXPECT_EQ(scan.status(), StatusCode::kOk);
  EXPECT_FALSE(scan.next());
  std::erase_if(entries, [](const auto& entry) { return entry.first.starts_with("else:"); });
  EXPECT_EQ(seen, entries);
  Scan keys(client_, "user:", Scan::What::kKeys);
  std::size_t count = 0;
  while (keys.next()) {
    ++count;
    EXPECT_TRUE(keys.value().empty());
  }
  EXPECT_EQ(count, entries.size());
}

TEST_F(ScanObject, AnErrorIsReportedAndTheNextCallContinues) {
  for (int i = 0; i < 2'000; ++i) ASSERT_EQ(client_.put("key" + std::to_string(i), "v"), StatusCode::kOk);
  ASSERT_EQ(client_.set_timeout(std::chrono::milliseconds(20)), StatusCode::kOk);
  Scan scan(client_);
  std::map<std::string, int> seen;
  for (int i = 0; i < 100; ++i) {
    ASSERT_TRUE(scan.next()) << scan.status();
    ++seen[std::string(scan.key())];
  }
  // A queued write that a stopped server does not apply: the next page waits for it.
  server_.pause();
  ASSERT_EQ(client_.put_async("queued", "v"), StatusCode::kOk);
  while (scan.next()) ++seen[std::string(scan.key())];
  EXPECT_EQ(scan.status(), StatusCode::kTimeout);
  EXPECT_LT(seen.size(), 2'000u);
  server_.send(SIGCONT);
  ASSERT_EQ(client_.set_timeout(kPatience), StatusCode::kOk);
  while (scan.next()) ++seen[std::string(scan.key())];
  EXPECT_EQ(scan.status(), StatusCode::kOk);
  seen.erase("queued");
  EXPECT_EQ(seen.size(), 2'000u);
  for (const auto& [key, times] : seen) EXPECT_EQ(times, 1) << key;
}

}  // namespace
}  // namespace hostmap::test
