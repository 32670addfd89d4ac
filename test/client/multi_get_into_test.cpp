// multi_get_into: the values of several keys in one buffer.
#include <array>
#include <gtest/gtest.h>
#include <map>
#include <stdexcept>
#include <string>
#include <vector>

#include "client/ways.hpp"
#include "process/harness/server.hpp"

namespace hostmap::test {
namespace {

class MultiGetInto : public testing::TestWithParam<Way> {
 protected:
  Server server_{{"10", "--workers", GetParam().workers}};
  Client client_ = server_.connect(kPatience, GetParam().reads);
};

std::string text_of(std::span<const std::byte> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

TEST_P(MultiGetInto, GivesEachKeyWhatGetReturns) {
  std::vector<std::string> keys;
  std::size_t sum = 0;
  for (const std::string& key : kKeys) {
    for (std::size_t i = 0; i < std::size(kValues); ++i) {
      keys.push_back(key.size() == 8 ? word_key(i) : key + std::to_string(i));
      ASSERT_EQ(client_.put(keys.back(), kValues[i]), StatusCode::kOk);
      sum += kValues[i].size();
    }
    keys.push_back(key + "absent");
  }
  keys.emplace_back();  // no valid key
  std::vector<std::byte> buffer(sum);
  std::vector<int> taken(keys.size());
  client_.multi_get_into(keys, buffer, [&](std::size_t i, const Result<std::span<std::byte>>& value) {
    ++taken[i];
    const Result<std::string> single = client_.get(keys[i]);
    ASSERT_EQ(value.status().code(), single.status().code()) << keys[i].size();
    EXPECT_EQ(value ? text_of(*value) : "", single.value_or(""));
  });
  EXPECT_EQ(taken, std::vector<int>(keys.size(), 1));
}

TEST_P(MultiGetInto, AValueThatDoesNotFitNamesItsSizeAndSmallerOnesFit) {
  ASSERT_EQ(client_.put("large", std::string(100, 'l')), StatusCode::kOk);
  ASSERT_EQ(client_.put("small", "s"), StatusCode::kOk);
  ASSERT_EQ(client_.put(word_key(1), word_key(2)), StatusCode::kOk);
  std::array<std::byte, 9> buffer{};
  const std::vector<std::string> keys{"large", word_key(1), "small", word_key(1)};
  std::map<std::size_t, std::string> seen;
  client_.multi_get_into(keys, buffer, [&](std::size_t i, const Result<std::span<std::byte>>& value) {
    if (value) {
      seen[i] = text_of(*value);
    } else {
      EXPECT_EQ(value.status(), StatusCode::kBufferTooSmall);
      EXPECT_EQ(value.status().size(), i == 0 ? 100u : 8u);
    }
  });
  EXPECT_FALSE(seen.contains(0));
  EXPECT_EQ(seen[2], "s");
  EXPECT_EQ(seen.size(), 2u) << "one of the two words fits beside it";
  client_.multi_get_into(std::vector<std::string>(), buffer, [](std::size_t, const auto&) { FAIL() << "no key"; });
}

TEST_P(MultiGetInto, ExceptionsOfTheCallerPassThrough) {
  ASSERT_EQ(client_.put("k", "v"), StatusCode::kOk);
  const std::vector<std::string> keys(20, "k");
  std::array<std::byte, 100> buffer{};
  int calls = 0;
  const auto throws = [&calls](std::size_t, const Result<std::span<std::byte>>&) {
    if (++calls == 5) throw std::runtime_error("enough");
  };
  EXPECT_THROW(client_.multi_get_into(keys, buffer, throws), std::runtime_error);
  EXPECT_EQ(calls, 5);
  EXPECT_EQ(client_.put("k", "w"), StatusCode::kOk);
}

INSTANTIATE_TEST_SUITE_P(Ways, MultiGetInto, testing::ValuesIn(kWays), way_name);

TEST(MultiGetIntoEvicting, ATableThatEvictsIsReadInTheSameWay) {
  Server server({"10", "--eviction", "clock"});
  Client client = server.connect();
  ASSERT_EQ(client.put("k", "v"), StatusCode::kOk);
  ASSERT_EQ(client.put(word_key(1), word_key(2)), StatusCode::kOk);
  const std::vector<std::string> keys{"k", "absent", word_key(1)};
  std::array<std::byte, 9> buffer{};
  std::map<std::size_t, std::string> seen;
  client.multi_get_into(keys, buffer, [&](std::size_t i, const Result<std::span<std::byte>>& value) {
    seen[i] = value ? text_of(*value) : std::string(name_of(value.status().code()));
  });
  EXPECT_EQ(seen, (std::map<std::size_t, std::string>{{0, "v"}, {1, "kNotFound"}, {2, word_key(2)}}));
}

}  // namespace
}  // namespace hostmap::test
