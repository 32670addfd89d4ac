// Keys and values of every size, through a real server: by direct reads and by ring, with one worker and with four.
#include <algorithm>
#include <cstring>
#include <gtest/gtest.h>
#include <span>
#include <string>
#include <vector>

#include "process/harness/server.hpp"

namespace hostmap::test {
namespace {

std::string patterned(std::size_t size, std::size_t seed) {
  std::string text(size, '\0');
  for (std::size_t i = 0; i < size; ++i) text[i] = static_cast<char>((i * 131 + seed * 7 + i / 251) & 0xff);
  return text;
}

struct Case {
  Reads reads;
  const char* workers;
};
class ValuesTest : public testing::TestWithParam<Case> {};

TEST_P(ValuesTest, EverySizeOfKeyAndValueComesBackWhole) {
  Server server({"10", "--workers", GetParam().workers, "--ring-size", "16K"});
  Client map = server.connect(kPatience, GetParam().reads);
  // Around a word, a record's share of the ring (4 KiB here), the ring, long values and runs of slabs.
  const std::vector<std::size_t> value_sizes{0,    1,    7,    8,    9,     100,   1023,  1024,  1025,      4055,
                                             4056, 4057, 4072, 4073, 16384, 16385, 32768, 32769, 1'000'000, 1 << 20};
  const std::vector<std::size_t> key_sizes{1, 7, 8, 9, 16, 255, 4064, 4065, 65535, 65536};
  for (std::size_t i = 0; i < std::max(value_sizes.size(), key_sizes.size()); ++i) {
    const std::string key = patterned(key_sizes[i % key_sizes.size()], i);
    const std::string value = patterned(value_sizes[i % value_sizes.size()], i + 1);
    SCOPED_TRACE(std::to_string(key.size()) + " -> " + std::to_string(value.size()));
    ASSERT_EQ(map.put(key, value), StatusCode::kOk);
    const Result<std::string> got = map.get(key);
    ASSERT_TRUE(got) << got.status().message();
    ASSERT_EQ(*got, value);
    std::vector<std::byte> buffer(value.size());
    const Result<std::size_t> size = map.get_into(key, buffer);
    ASSERT_TRUE(size) << size.status().message();
    ASSERT_EQ(*size, value.size());
    ASSERT_TRUE(std::ranges::equal(buffer, std::as_bytes(std::span(value))));
    if (!value.empty()) {
      buffer.resize(value.size() - 1);
      const Result<std::size_t> cut = map.get_into(key, buffer);
      ASSERT_EQ(cut.status(), StatusCode::kBufferTooSmall);
      ASSERT_EQ(cut.status().size(), value.size());
    }
    ASSERT_EQ(map.exists(key), StatusCode::kOk);
    ASSERT_EQ(map.put_async(key, value + "!"), StatusCode::kOk);
    ASSERT_EQ(*map.get(key), value + "!") << "a later call sees what was queued";
    ASSERT_EQ(map.flush(), StatusCode::kOk);
    ASSERT_EQ(map.erase(key), StatusCode::kOk);
    ASSERT_EQ(map.get(key).status(), StatusCode::kNotFound);
    ASSERT_EQ(map.exists(key), StatusCode::kNotFound);
    ASSERT_EQ(map.erase(key), StatusCode::kNotFound);
  }
  EXPECT_EQ(server.stat("entries"), 0u);
  const std::uint64_t by_ring = server.stat("gets_by_ring");
  EXPECT_EQ(by_ring != 0, GetParam().reads == Reads::kRing) << by_ring;
}

std::string case_name(const testing::TestParamInfo<Case>& info) {
  return std::string(info.param.reads == Reads::kRing ? "ByRing" : "Direct") + "With" + info.param.workers + "Workers";
}
INSTANTIATE_TEST_SUITE_P(Ways, ValuesTest,
                         testing::Values(Case{Reads::kDirect, "1"}, Case{Reads::kRing, "1"}, Case{Reads::kDirect, "4"},
                                         Case{Reads::kRing, "4"}),
                         case_name);

TEST(BoundsTest, WhatIsTooLargeOrEmptyIsRefusedAndNothingChanges) {
  Server server({"10", "--max-value", "1000"});
  Client map = server.connect();
  EXPECT_EQ(map.put("", "v"), StatusCode::kInvalid);
  EXPECT_EQ(map.get("").status(), StatusCode::kInvalid);
  EXPECT_EQ(map.put(std::string(65537, 'k'), "v"), StatusCode::kTooLarge);
  EXPECT_EQ(map.put_async(std::string(65537, 'k'), "v"), StatusCode::kTooLarge);
  EXPECT_EQ(map.erase(std::string(65537, 'k')), StatusCode::kTooLarge);
  EXPECT_EQ(map.put("key", std::string(1000, 'v')), StatusCode::kOk);
  EXPECT_EQ(map.put("key", std::string(1001, 'x')), StatusCode::kTooLarge);
  EXPECT_EQ(map.put_async("key", std::string(1001, 'x')), StatusCode::kTooLarge);
  EXPECT_EQ(*map.get("key"), std::string(1000, 'v'));
  EXPECT_EQ(server.stat("entries"), 1u);
  EXPECT_EQ(server.stat("poisoned"), 0u);
}

TEST(BoundsTest, AFullTableRefusesPutsAndEverythingElseWorks) {
  Server server({"10", "--memory", "1M"});
  Client map = server.connect();
  int stored = 0;
  Status status;
  for (; stored < 100'000; ++stored) {
    status = map.put("key " + std::to_string(stored), std::string(100, 'v'));
    if (!status.ok()) break;
  }
  ASSERT_EQ(status, StatusCode::kFull) << status.message();
  EXPECT_FALSE(status.message().empty());
  EXPECT_EQ(*map.get("key 0"), std::string(100, 'v'));
  EXPECT_EQ(map.put("key 0", std::string(100, 'w')), StatusCode::kOk) << "it needs no more room than the key has";
  // The next flush reports refused queued writes, with their number, once.
  // Smaller values might fit, because the server can empty a slab.
  ASSERT_EQ(map.put_async("more", std::string(400'000, 'v')), StatusCode::kOk);
  ASSERT_EQ(map.put_async("and more", std::string(400'000, 'v')), StatusCode::kOk);
  const Status refused = map.flush();
  EXPECT_EQ(refused, StatusCode::kFull);
  EXPECT_NE(refused.message().find("queued writes refused: 2;"), std::string_view::npos) << refused.message();
  EXPECT_EQ(map.flush(), StatusCode::kOk);
  EXPECT_EQ(map.erase("key 0"), StatusCode::kOk);
  EXPECT_EQ(map.put("key 0", std::string(100, 'w')), StatusCode::kOk) << "an erasure makes room";
  const auto figures = server.stat();
  EXPECT_LE(figures.at("memory_bytes"), figures.at("memory_limit_bytes"));
  EXPECT_GE(figures.at("refused"), 3u);
}

TEST(ValuesSlowTest, TheLargestValueComesBackWhole) {
  Server server({"10", "--memory", "256M"});
  Client map = server.connect();
  Client by_ring = server.connect(kPatience, Reads::kRing);
  const std::string value = patterned(std::size_t{64} << 20, 3);
  ASSERT_EQ(map.put("large", value), StatusCode::kOk);
  EXPECT_TRUE(*map.get("large") == value);
  EXPECT_TRUE(*by_ring.get("large") == value);
  EXPECT_EQ(map.put("larger", value + "x"), StatusCode::kTooLarge);
}

}  // namespace
}  // namespace hostmap::test
