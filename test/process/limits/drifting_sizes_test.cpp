// A map whose values slowly become longer and shorter, for as long as the test lasts: whatever sizes it has held before, no put
// is refused while the map is filled to less than 0.85 of what a fresh one takes.
#include <algorithm>
#include <array>
#include <cmath>
#include <gtest/gtest.h>
#include <stdexcept>
#include <string>
#include <vector>

#include "process/harness/sealed.hpp"
#include "process/harness/server.hpp"
#include "support/seed.hpp"

namespace hostmap::test {
namespace {

constexpr std::array<std::size_t, 13> kSizes = {0,   1,   10,    25,    60,    120,   250,
                                                500, 700, 1'500, 3'000, 6'000, 10'000};  // 0: a pair
constexpr double kMostFilled = 0.85;
constexpr std::size_t kBatch = 64;

std::string key_of(std::size_t kind, std::uint64_t number) {
  if (kSizes[kind] == 0) return word_key(number);
  return "size " + std::to_string(kind) + " " + std::to_string(number);
}
// Depends on the key; too short a value for a seal is the key's number.
std::string value_of(std::size_t kind, std::uint64_t number) {
  const std::size_t size = kSizes[kind] == 0 ? 8 : kSizes[kind];
  return size >= 16 ? sealed_value(number, kind, size) : std::to_string(number + 1'000'000'000'000).substr(0, size);
}

class DriftingSizes : public testing::TestWithParam<const char*> {
 protected:
  std::vector<std::string> arguments() const { return {"10", "--memory", "32M", "--workers", GetParam()}; }

  // How many values of one size a fresh map takes.
  double capacity_of(std::size_t kind) const {
    Server server(arguments());
    Client map = server.connect();
    std::array<std::string, kBatch> keys;
    std::array<std::string, kBatch> values;
    std::array<Operation, kBatch> batch;
    std::array<Outcome, kBatch> outcomes;
    for (std::uint64_t number = 0;; number += kBatch) {
      for (std::size_t i = 0; i < kBatch; ++i) {
        keys[i] = key_of(kind, number + i);
        values[i] = value_of(kind, number + i);
        batch[i] = Operation::put(keys[i], values[i]);
      }
      if (const Status status = map.apply(batch, outcomes); !status.ok()) {
        throw std::runtime_error(std::string(status.message()));
      }
      const auto* const refused = std::ranges::find_if(outcomes, [](const Outcome& one) { return !one.status.ok(); });
      if (refused == outcomes.end()) continue;
      EXPECT_EQ(refused->status, StatusCode::kFull) << refused->status.message();
      return static_cast<double>(number) + static_cast<double>(refused - outcomes.begin());
    }
  }

  void drift(std::uint64_t operations);
};

void DriftingSizes::drift(std::uint64_t operations) {
  std::array<double, kSizes.size()> share;  // what a value takes of a fresh map
  for (std::size_t kind = 0; kind < kSizes.size(); ++kind) share[kind] = 1 / capacity_of(kind);
  Server server(arguments());
  Client map = server.connect();
  Random random;
  std::array<std::vector<std::uint64_t>, kSizes.size()> present;
  std::uint64_t next_number = 0;
  double filled = 0;
  double most_filled = 0;
  // The sizes lie around this one, which wanders from one chosen size to the next.
  double centre = 0;
  double target = 0;
  double pace = 0;
  const auto any_kind = [&] {
    const double spread = static_cast<double>(random.below(1'000)) + static_cast<double>(random.below(1'000)) - 999.5;
    const double kind = std::round(centre + spread / 1'000 * 1.5);
    return static_cast<std::size_t>(std::clamp(kind, 0.0, static_cast<double>(kSizes.size() - 1)));
  };
  // Which size is to give way: each as often as it takes memory.
  const auto any_present = [&] {
    double at = filled * static_cast<double>(random.below(1'000'000)) / 1e6;
    for (std::size_t kind = 0; kind < kSizes.size(); ++kind) {
      at -= share[kind] * static_cast<double>(present[kind].size());
      if (at < 0 && !present[kind].empty()) return kind;
    }
    return static_cast<std::size_t>(
        std::ranges::find_if(present, [](const auto& numbers) { return !numbers.empty(); }) - present.begin());
  };

  std::vector<Operation> batch;
  std::vector<std::string> texts;  // of the batch, which refers to them
  texts.reserve(2 * kBatch);
  std::array<Outcome, kBatch> outcomes;
  std::uint64_t done = 0;
  const auto send = [&] {
    ASSERT_EQ(map.apply(batch, outcomes), StatusCode::kOk);
    for (std::size_t i = 0; i < batch.size(); ++i) {
      ASSERT_EQ(outcomes[i].status, StatusCode::kOk)
          << (batch[i].kind == Operation::Kind::kPut ? "a put of " + std::to_string(batch[i].value.size()) + " bytes"
                                                     : std::string("an erase"))
          << " after " << done << " operations, the map filled to " << filled << ": " << outcomes[i].status.message();
    }
    done += batch.size();
    batch.clear();
    texts.clear();
  };
  while (done < operations) {
    if (std::abs(centre - target) <= pace || pace == 0) {
      target = static_cast<double>(random.below(kSizes.size()));
      pace = 1 / static_cast<double>(10'000 + random.below(200'000));
    }
    centre += centre < target ? pace : -pace;
    const std::size_t kind = any_kind();
    while (filled + share[kind] > kMostFilled) {
      const std::size_t victim = any_present();
      std::vector<std::uint64_t>& numbers = present[victim];
      std::swap(numbers[random.below(numbers.size())], numbers.back());
      batch.push_back(Operation::erase(texts.emplace_back(key_of(victim, numbers.back()))));
      numbers.pop_back();
      filled -= share[victim];
      if (batch.size() == kBatch) send();
      if (HasFatalFailure()) return;
    }
    const std::string& key = texts.emplace_back(key_of(kind, next_number));
    batch.push_back(Operation::put(key, texts.emplace_back(value_of(kind, next_number))));
    present[kind].push_back(next_number++);
    filled += share[kind];
    most_filled = std::max(most_filled, filled);
    if (batch.size() == kBatch) send();
    if (HasFatalFailure()) return;
  }
  send();
  EXPECT_GT(most_filled, kMostFilled - 0.01) << "the map was never filled";
  // All that should be there is there, and whole.
  std::uint64_t keys = 0;
  for (std::size_t kind = 0; kind < kSizes.size(); ++kind) {
    keys += present[kind].size();
    for (std::size_t i = 0; i < present[kind].size(); i += 1 + i / 1'000) {
      const std::uint64_t number = present[kind][i];
      const Result<std::string> value = map.get(key_of(kind, number));
      ASSERT_TRUE(value) << value.status();
      ASSERT_TRUE(*value == value_of(kind, number)) << "another value of " << kSizes[kind] << " bytes";
    }
  }
  EXPECT_EQ(*map.size(), keys);
  std::printf("%lu operations, %lu keys at the end, filled to %.2f\n", static_cast<unsigned long>(done),
              static_cast<unsigned long>(keys), filled);
  server.stop_cleanly();
}

class DriftingSizesSlow : public DriftingSizes {};
class DriftingSizesSoak : public DriftingSizes {};
TEST_P(DriftingSizesSlow, RefuseNoPutBelow85PercentOfAFreshMap) { drift(2'000'000); }
TEST_P(DriftingSizesSoak, RefuseNoPutBelow85PercentOfAFreshMap) { drift(100'000'000); }

std::string name_of(const testing::TestParamInfo<const char*>& workers) {
  return std::string(workers.param) + (std::string_view(workers.param) == "1" ? "Worker" : "Workers");
}
INSTANTIATE_TEST_SUITE_P(With, DriftingSizesSlow, testing::Values("1", "4"), name_of);
INSTANTIATE_TEST_SUITE_P(With, DriftingSizesSoak, testing::Values("1", "4"), name_of);

}  // namespace
}  // namespace hostmap::test
