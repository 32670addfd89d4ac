// Client and server compared with std::unordered_map: random calls, keys and values of all kinds, a replayable seed.
#include <cstring>
#include <gtest/gtest.h>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "base/token.hpp"
#include "process/harness/sealed.hpp"
#include "process/harness/server.hpp"
#include "support/seed.hpp"

namespace hostmap::test {
namespace {

struct Case {
  const char* buckets;
  const char* workers;
  Reads reads;
};
class ClientModelTest : public testing::TestWithParam<Case> {};

std::int64_t word_of(const std::string& bytes) {
  std::int64_t word = 0;
  std::memcpy(&word, bytes.data(), sizeof word);
  return word;
}

TEST_P(ClientModelTest, AgreesWithAMap) {
  Random random;
  std::vector<std::string> arguments{GetParam().buckets, "--ring-size", "8K"};
  if (std::string_view(GetParam().workers) != "1") arguments.insert(arguments.end(), {"--workers", GetParam().workers});
  Server server(arguments);
  Client map = server.connect(kPatience, GetParam().reads);
  std::unordered_map<std::string, std::string> model;
  const auto any_key = [&] {
    const std::uint64_t number = random.below(500);
    if (random.one_in(2)) return std::string(reinterpret_cast<const char*>(&number), sizeof number);
    return "key " + std::string(number % 60, 'k') + std::to_string(number);
  };
  const auto any_value = [&] {
    const std::uint64_t word = random.word();
    if (random.one_in(2)) return std::string(reinterpret_cast<const char*>(&word), sizeof word);
    return std::string(random.one_in(20) ? random.below(20'000) : random.below(100), static_cast<char>(word));
  };
  for (int call = 0; call < 6'000; ++call) {
    const std::string key = any_key();
    const auto expected = model.find(key);
    switch (random.below(18)) {
      case 10: {
        const std::string value = any_value();
        ASSERT_EQ(map.insert(key, value), expected == model.end() ? StatusCode::kOk : StatusCode::kAlreadyExists)
            << call;
        model.emplace(key, value);
        break;
      }
      case 11: {
        const std::string desired = any_value();
        const bool right = random.one_in(2);
        const std::string guess = right && expected != model.end() ? expected->second : any_value();
        const StatusCode code = expected == model.end()     ? StatusCode::kNotFound
                                : guess == expected->second ? StatusCode::kOk
                                                            : StatusCode::kMismatch;
        if (random.one_in(2)) {
          ASSERT_EQ(map.compare_exchange(key, guess, desired), code) << call;
        } else {
          const Token token = token_of(std::as_bytes(std::span(guess)), kNoEnd);
          if (random.one_in(3)) {
            ASSERT_EQ(map.erase_if(key, token), code) << call;
            if (code == StatusCode::kOk) model.erase(key);
            break;
          }
          ASSERT_EQ(map.put_if(key, desired, token), code) << call;
        }
        if (code == StatusCode::kOk) model[key] = desired;
        break;
      }
      case 12: {  // keys of their own, so that they hold numbers
        const std::string counter = random.one_in(2) ? "n" + key.substr(0, 2) : std::string("counters");
        const auto by = static_cast<std::int64_t>(random.below(2'000'000)) - 1'000'000;
        const std::int64_t sum = (model.contains(counter) ? std::stoll(model[counter]) : 0) + by;
        const Result<std::int64_t> number =
            random.one_in(2) ? map.increment(counter, by) : map.increment(counter, by, 0);
        ASSERT_TRUE(number) << call << ": " << number.status().message();
        ASSERT_EQ(*number, sum) << call;
        model[counter] = std::to_string(sum);
        break;
      }
      case 13: {
        std::vector<std::string> keys(random.below(40));
        for (std::string& one : keys) one = any_key();
        const std::vector<std::string_view> views(keys.begin(), keys.end());
        const std::vector<Result<std::string>> values = map.multi_get(views);
        ASSERT_EQ(values.size(), keys.size());
        for (std::size_t i = 0; i < keys.size(); ++i) {
          const auto at = model.find(keys[i]);
          ASSERT_EQ(static_cast<bool>(values[i]), at != model.end()) << call;
          if (at != model.end()) {
            ASSERT_EQ(*values[i], at->second) << call;
          }
        }
        break;
      }
      case 14:
        if (random.one_in(100)) {
          ASSERT_EQ(map.clear(), StatusCode::kOk) << call;
          model.clear();
        } else if (random.one_in(20)) {
          std::unordered_map<std::string, std::string> all;
          ASSERT_EQ(map.scan("", [&](std::string_view k, std::string_view v) { return all.emplace(k, v).second; }),
                    StatusCode::kOk)
              << call;
          ASSERT_EQ(all, model) << call;
        } else {
          ASSERT_EQ(*map.size(), model.size()) << call;
        }
        break;
      case 15: {
        const std::string value = any_value();
        switch (random.below(4)) {
          case 0: {
            const Result<std::optional<std::string>> old = map.exchange(key, value);
            ASSERT_TRUE(old) << call << ": " << old.status().message();
            ASSERT_EQ(*old, expected == model.end() ? std::nullopt : std::optional(expected->second)) << call;
            model[key] = value;
            break;
          }
          case 1: {
            const Result<std::optional<std::string>> present = map.insert_or_get(key, value);
            ASSERT_TRUE(present) << call << ": " << present.status().message();
            ASSERT_EQ(*present, expected == model.end() ? std::nullopt : std::optional(expected->second)) << call;
            model.emplace(key, value);
            break;
          }
          case 2: {
            const Result<std::string> taken = map.take(key);
            ASSERT_EQ(taken.status(), expected == model.end() ? StatusCode::kNotFound : StatusCode::kOk) << call;
            if (taken) {
              ASSERT_EQ(*taken, expected->second) << call;
            }
            model.erase(key);
            break;
          }
          default: {
            const bool right = expected != model.end() && random.one_in(2);
            const std::string guess = right ? expected->second : value;
            const StatusCode code = expected == model.end()     ? StatusCode::kNotFound
                                    : guess == expected->second ? StatusCode::kOk
                                                                : StatusCode::kMismatch;
            ASSERT_EQ(map.compare_erase(key, guess), code) << call;
            if (code == StatusCode::kOk) model.erase(key);
          }
        }
        break;
      }
      case 16: {  // several at once, of which a later one may have the key of an earlier one
        std::vector<std::string> texts(2 * random.below(80));
        std::vector<KeyValue> pairs(texts.size() / 2);
        std::vector<std::string_view> keys(pairs.size());
        for (std::size_t i = 0; i < pairs.size(); ++i) {
          texts[2 * i] = any_key();
          texts[2 * i + 1] = any_value();
          pairs[i] = {texts[2 * i], texts[2 * i + 1]};
          keys[i] = texts[2 * i];
        }
        if (random.one_in(20)) {
          std::uint64_t erased = 0;
          const std::string prefix = random.one_in(2) ? key : "key kkk";
          ASSERT_EQ(map.erase_prefix(prefix, erased), StatusCode::kOk) << call;
          ASSERT_EQ(erased, std::erase_if(model, [&](const auto& item) { return item.first.starts_with(prefix); }))
              << call;
        } else if (random.one_in(2)) {
          for (const Status& status : map.multi_put(pairs)) ASSERT_EQ(status, StatusCode::kOk) << call;
          for (std::size_t i = 0; i < pairs.size(); ++i) model[texts[2 * i]] = texts[2 * i + 1];
        } else {
          const std::vector<Status> statuses = map.multi_erase(keys);
          ASSERT_EQ(statuses.size(), keys.size()) << call;
          for (std::size_t i = 0; i < keys.size(); ++i) {
            ASSERT_EQ(statuses[i], model.erase(texts[2 * i]) == 1 ? StatusCode::kOk : StatusCode::kNotFound) << call;
          }
        }
        break;
      }
      case 17: {  // keys of their own, as above
        const auto by = static_cast<std::int64_t>(random.below(2'000)) - 1'000;
        const std::string stored = random.one_in(2) ? word_key(1'000'000) : std::string("stored");
        const std::int64_t sum = (model.contains(stored) ? word_of(model[stored]) : 40) + by;
        ASSERT_EQ(map.increment_as<std::int64_t>(stored, by, 40).value_or(~sum), sum) << call;
        model[stored] = word_key(static_cast<std::uint64_t>(sum));
        const double fraction = (model.contains("fraction") ? std::stod(model["fraction"]) : 0.5) + 0.25;
        ASSERT_EQ(map.increment("fraction", 0.25, 0.5).value_or(-1), fraction) << call;
        model["fraction"] = *map.get("fraction");
        ASSERT_EQ(std::stod(model["fraction"]), fraction) << call;
        if (!random.one_in(20)) break;
        std::unordered_map<std::string, std::string> all;
        std::uint64_t cursor = 0;
        do {
          const Result<std::uint64_t> next = map.scan_from(
              cursor, 1 + random.below(50), "", [&](std::string_view k, std::string_view v) { all.emplace(k, v); });
          ASSERT_TRUE(next) << call << ": " << next.status().message();
          cursor = *next;
        } while (cursor != 0);
        ASSERT_EQ(all, model) << call;
        break;
      }
      case 0: {
        const std::string value = any_value();
        if (random.one_in(2)) {
          ASSERT_EQ(map.replace(key, value), expected == model.end() ? StatusCode::kNotFound : StatusCode::kOk) << call;
          if (expected != model.end()) model[key] = value;
        } else {
          ASSERT_EQ(map.put(key, value), StatusCode::kOk) << call;
          model[key] = value;
        }
        break;
      }
      case 1: {
        const std::string more = any_value();
        ASSERT_EQ(*map.append(key, more), model[key].size() + more.size()) << call;
        model[key] += more;
        break;
      }
      case 2:
      case 3:
      case 4: {
        const std::string value = any_value();
        ASSERT_EQ(map.put_async(key, value), StatusCode::kOk) << call;
        model[key] = value;
        break;
      }
      case 5:
        ASSERT_EQ(map.erase(key), expected != model.end() ? StatusCode::kOk : StatusCode::kNotFound) << call;
        model.erase(key);
        break;
      case 6:
        ASSERT_EQ(map.exists(key), expected != model.end() ? StatusCode::kOk : StatusCode::kNotFound) << call;
        break;
      case 7:
        if (random.one_in(10)) {
          ASSERT_EQ(map.flush(), StatusCode::kOk) << call;
        }
        break;
      default: {
        const Result<std::string> value = map.get(key);
        if (expected == model.end()) {
          ASSERT_EQ(value.status(), StatusCode::kNotFound) << call;
        } else {
          ASSERT_TRUE(value) << call << ": " << value.status().message();
          ASSERT_EQ(*value, expected->second) << call;
        }
      }
    }
  }
  ASSERT_EQ(map.flush(), StatusCode::kOk);
  EXPECT_EQ(server.stat("entries"), model.size());
  for (const auto& [key, value] : model) ASSERT_EQ(*map.get(key), value);
}

std::string case_name(const testing::TestParamInfo<Case>& info) {
  return std::string(info.param.buckets) + "BucketsWith" + info.param.workers + "Workers" +
         (info.param.reads == Reads::kRing ? "ByRing" : "Direct");
}
INSTANTIATE_TEST_SUITE_P(Servers, ClientModelTest,
                         testing::Values(Case{"1", "1", Reads::kDirect}, Case{"3", "1", Reads::kRing},
                                         Case{"10", "1", Reads::kDirect}, Case{"1000", "1", Reads::kRing},
                                         Case{"10", "4", Reads::kDirect}, Case{"4", "4", Reads::kRing}),
                         case_name);

}  // namespace
}  // namespace hostmap::test
