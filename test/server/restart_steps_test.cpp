// kill -9 at every instruction of a worker, from its first look at a request to its next look at the ring, and at every
// instruction of the restart that follows: whatever a kill leaves, the next server goes on as if nothing had happened.
//
// The worker is stepped in a forked child; what a kill would leave is what lies in the shared regions between two steps.
// Each image that differs from the one before is laid out under another name and recovered.
#include <gtest/gtest.h>

#include "server/restart_fixture.hpp"
#include "support/seed.hpp"
#include "support/stepper.hpp"

namespace hostmap::test {
namespace {

struct Scenario {
  const char* name;
  std::vector<Call> before = {};
  std::vector<Call> calls = {};  // what is stepped through
  bool split = false;            // it must have split a bucket
  bool overflow = false;         // it must have linked an overflow bucket
};

std::string word(std::uint64_t number) { return {reinterpret_cast<const char*>(&number), sizeof number}; }
std::string letters(std::size_t size, char letter) { return std::string(size, letter); }

std::vector<Call> puts(std::uint64_t first, std::uint64_t last, bool pairs) {
  std::vector<Call> calls;
  for (std::uint64_t i = first; i < last; ++i) {
    calls.push_back({.key = pairs ? word(i) : "key " + std::to_string(i), .value = pairs ? word(~i) : letters(20, 'v')});
  }
  return calls;
}

// Applies calls to a map, as the answers that they name say.
Content apply(Content content, const std::vector<Call>& calls) {
  for (const Call& call : calls) {
    if (call.code != StatusCode::kOk) continue;
    switch (call.op) {
      case Op::kPut:
      case Op::kInsert:
      case Op::kCompareExchange:
        content[call.key] = call.value;
        break;
      case Op::kErase:
        content.erase(call.key);
        break;
      case Op::kIncrement: {
        std::int64_t by;
        std::memcpy(&by, call.value.data(), sizeof by);
        const std::int64_t now = content.count(call.key) != 0 ? std::stoll(content[call.key]) : 0;
        content[call.key] = std::to_string(now + by);
        break;
      }
      case Op::kClear:
        content.clear();
        break;
      default:
        break;
    }
  }
  return content;
}

std::vector<Scenario> scenarios() {
  const std::string pair = word(7);
  const std::string forty = letters(40, 'o');
  std::vector<Scenario> all{
      {"InsertPair", {}, {{.key = pair, .value = word(1)}}},
      {"OverwritePair", {{.key = pair, .value = word(1)}}, {{.key = pair, .value = word(2)}}},
      {"ErasePair", {{.key = pair, .value = word(1)}}, {{.op = Op::kErase, .key = pair}}},
      {"InsertEntry", {}, {{.key = "key", .value = forty}}},
      {"OverwriteSame", {{.key = "key", .value = forty}}, {{.key = "key", .value = letters(40, 'n')}}},
      {"OverwriteLarger", {{.key = "key", .value = forty}}, {{.key = "key", .value = letters(900, 'n')}}},
      {"OverwriteSmaller", {{.key = "key", .value = forty}}, {{.key = "key", .value = "n"}}},
      {"OverwriteInPlace",
       {{.key = "a sixteen b. key", .value = word(1)}},
       {{.key = "a sixteen b. key", .value = word(2)}}},
      {"EraseEntry", {{.key = "key", .value = forty}}, {{.op = Op::kErase, .key = "key"}}},
      {"PairBecomesEntry", {{.key = pair, .value = word(1)}}, {{.key = pair, .value = forty}}},
      {"EntryBecomesPair", {{.key = pair, .value = forty}}, {{.key = pair, .value = word(1)}}},
      {"IncrementAbsent", {}, {{.op = Op::kIncrement, .key = "n", .value = word(5)}}},
      {"Increment",
       {{.op = Op::kIncrement, .key = "n", .value = word(5)}},
       {{.op = Op::kIncrement, .key = "n", .value = word(1)}}},
      {"IncrementOfAPair",
       {{.key = pair, .value = "10000000"}},
       {{.op = Op::kIncrement, .key = pair, .value = word(1)}, {.op = Op::kIncrement, .key = pair, .value = word(1)}}},
      {"CompareExchangeHit",
       {{.key = "key", .value = forty}},
       {{.op = Op::kCompareExchange, .key = "key", .value = "new", .expected = forty}}},
      {"CompareExchangeMiss",
       {{.key = "key", .value = forty}},
       {{.op = Op::kCompareExchange, .key = "key", .value = "new", .expected = "?", .code = StatusCode::kMismatch}}},
      {"InsertHit",
       {{.key = "key", .value = forty}},
       {{.op = Op::kInsert, .key = "key", .value = "new", .code = StatusCode::kAlreadyExists}}},
      {"EraseMiss", {}, {{.op = Op::kErase, .key = "key", .code = StatusCode::kNotFound}}},
      {"ClearPairsAndEntries", puts(0, 4, true), {{.op = Op::kClear}}},
      {"AfterAClear", puts(0, 4, false), {{.op = Op::kClear}, {.key = "key 1", .value = "new"}}},
      {"StreamedPut", {{.key = "key", .value = forty}}, {{.key = "key", .value = letters(2500, 's')}}},
      {"Batch",
       {{.key = "key", .value = forty}},
       {{.key = pair, .value = word(1), .answered = false},
        {.op = Op::kIncrement, .key = "n", .value = word(5)},
        {.key = "key", .value = letters(2000, 's'), .answered = false},
        {.op = Op::kErase, .key = "key"},
        {.op = Op::kIncrement, .key = "n", .value = word(5)}}},
      {"SplitOfPairs", puts(0, 7, true), puts(7, 9, true), true},
      {"SplitOfEntries", puts(0, 9, false), puts(9, 11, false), true},
  };
  // A bucket of either form that overflows: the load is low, the keys are chosen.
  for (const bool pairs : {true, false}) {
    Scenario scenario{pairs ? "OverflowOfPairs" : "OverflowOfEntries"};
    scenario.overflow = true;
    Regions probe(64);
    std::vector<Call> same;
    for (std::uint64_t i = 0; same.size() < 9; ++i) {
      Call call{.key = pairs ? word(i) : "key " + std::to_string(i), .value = pairs ? word(i) : std::string("value")};
      std::uint32_t shard;
      const HashedKey key = probe.table().hash(as_bytes_of(call.key), shard);
      if (bucket_index(make_state(0, 0), 64, key.fraction, key.hash) == 5) same.push_back(call);
    }
    scenario.before.assign(same.begin(), same.begin() + 7);
    scenario.calls = {same[7], same[8]};
    all.push_back(scenario);
  }
  return all;
}

class RestartSteps : public testing::TestWithParam<Scenario> {
 protected:
  struct Expected {
    std::vector<std::string> keys;
    std::vector<Content> states;  // after none, one, two … of the calls
    std::vector<StatusCode> answers;
    std::uint64_t first_answer = 0;
    std::uint64_t end = 0;  // request position when all are done
  };

  static Expected expected_of(const Scenario& scenario) {
    Expected expected;
    Content content = apply({}, scenario.before);
    for (const auto* calls : {&scenario.before, &scenario.calls}) {
      for (const Call& call : *calls) {
        if (!call.key.empty()) expected.keys.push_back(call.key);
      }
    }
    expected.states.push_back(content);
    for (const Call& call : scenario.calls) {
      content = apply(content, {call});
      expected.states.push_back(content);
      if (call.answered) expected.answers.push_back(call.code);
    }
    return expected;
  }

  // What the next server makes of an image, and then of the requests that are still in the ring.
  static void check(const Image& image, const Expected& expected) {
    const InstanceName name = Regions::lay_out(image);
    check(name, expected);
  }
  static void check(const InstanceName& name, const Expected& expected) {
    std::vector<std::uint64_t> usage;
    {
      Regions next(name);
      ASSERT_TRUE(next.has_connection());
      EXPECT_EQ(next.dropped(), 0u);
      const Content found = next.content(expected.keys);
      EXPECT_TRUE(std::find(expected.states.begin(), expected.states.end(), found) != expected.states.end())
          << "recovered to what never was";
      EXPECT_EQ(next.findings(), std::vector<std::string>());
      next.work();
      EXPECT_EQ(next.content(expected.keys), expected.states.back()) << "the rest of the requests";
      EXPECT_EQ(next.answers_from(expected.first_answer), expected.answers);
      EXPECT_EQ(next.request_position(), expected.end);
      EXPECT_EQ(next.refused(), 0u);
      EXPECT_EQ(next.findings(), std::vector<std::string>());
      usage = next.usage();
    }
  }

  static Regions& prepare(std::unique_ptr<Regions>& regions, const Scenario& scenario, Expected& expected) {
    regions = std::make_unique<Regions>(scenario.overflow ? 64 : 2);
    for (const Call& call : scenario.before) regions->call(call);
    expected.first_answer = regions->answer_position();
    for (const Call& call : scenario.calls) regions->send(call);
    return *regions;
  }
};

TEST_P(RestartSteps, AKillAtAnyInstructionOfTheWorkerIsGoneOnFrom) {
  const Scenario& scenario = GetParam();
  Expected expected = expected_of(scenario);
  std::unique_ptr<Regions> regions;
  Regions& worked = prepare(regions, scenario, expected);
  // First without being watched: where does it end, and in how many steps?
  {
    Expected unwatched = expected_of(scenario);
    std::unique_ptr<Regions> others;
    Regions& other = prepare(others, scenario, unwatched);
    const std::uint64_t splits = other.table().header().lane_stats[0].splits.load();
    const std::uint64_t overflow = other.table().header().lane_stats[0].overflow_bytes.load();
    other.work();
    ASSERT_EQ(other.content(expected.keys), expected.states.back());
    ASSERT_EQ(other.answers_from(unwatched.first_answer), expected.answers);
    expected.end = other.request_position();
    if (scenario.split) {
      ASSERT_GT(other.table().header().lane_stats[0].splits.load(), splits);
    }
    if (scenario.overflow) {
      ASSERT_GT(other.table().header().lane_stats[0].overflow_bytes.load(), overflow);
    }
  }
  std::vector<Image> images;
  const std::uint64_t steps = step_through([&] { worked.work(); }, [&](std::uint64_t) {
    Image now = worked.image();
    if (images.empty() || !(now == images.back())) images.push_back(std::move(now));
  });
  ASSERT_GT(steps, 0u);
  ASSERT_GT(images.size(), 3u);
  std::printf("%s: %lu instructions, %zu distinct images\n", scenario.name, static_cast<unsigned long>(steps),
              images.size());
  for (std::size_t i = 0; i < images.size(); ++i) {
    SCOPED_TRACE("image " + std::to_string(i));
    check(images[i], expected);
    if (HasFailure()) return;
  }
}

INSTANTIATE_TEST_SUITE_P(Of, RestartSteps, testing::ValuesIn(scenarios()),
                         [](const auto& test) { return test.param.name; });

}  // namespace
}  // namespace hostmap::test
