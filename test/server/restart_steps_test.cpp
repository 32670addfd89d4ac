// SIGKILL at every instruction of a worker, from its first load of a request to its next poll of the ring, and at every
// instruction of the restart that follows: whatever a kill leaves, the next server continues as if nothing had happened.
//
// The worker is stepped in a forked child; a kill would leave the content that the shared regions have between two steps.
// Each image that differs from the previous one is written under another name and recovered.
#include <bit>
#include <functional>
#include <gtest/gtest.h>

#include "layout/journal.hpp"
#include "layout/table.hpp"
#include "server/restart_fixture.hpp"
#include "server/start/handover.hpp"
#include "support/seed.hpp"
#include "support/stepper.hpp"

namespace hostmap::test {
namespace {

struct Scenario {
  const char* name;
  std::vector<Call> before = {};
  std::vector<Call> calls = {};  // what is stepped through
  // Before the calls, so many steps of splits that no load requires are done, and those of the calls' upkeep follow; the calls
  // must have split a segment then. A split of pairs takes one step to begin, 256 of copying and 256 of purging, and one of
  // entries twice as many.
  int split_steps = 0;
  // Or: before the calls, both forms are split so many times, and the calls' upkeep and so many steps of an idle worker merge
  // or move segments.
  int splits = 0;
  int idle_steps = 0;
  bool overflow = false;  // it must have linked an overflow bucket
  bool gathers = false;   // it must have returned one
  // After this many of the earlier calls, memory is filled completely: only the reserve of slabs remains.
  std::size_t full_after = 0;
  // Then these are erased without upkeep, which would empty sparse slabs.
  std::vector<std::string> erased = {};
  // Or these lapse without upkeep: the hand must remove them in that of the calls.
  std::vector<std::string> lapsed = {};
  bool held = false;  // the pieces of a request must have been held in the journal's file
  // Then the server begins to evict: the calls must evict keys, but not their own.
  bool evicts = false;
  // A value that is longer is handled in steps of so many bytes, and the calls must have so many. 0: as usual.
  std::uint64_t step_bytes = 0;
  std::uint64_t steps = 0;
  // Put before all others: too long for the ring. What is copied to and from a run of slabs, which each of them has, is seen
  // byte by byte; of images that differ in nothing else only some are tried.
  std::vector<Call> long_values = {};
};

constexpr std::size_t kLongKey = 2000;          // it arrives in pieces
constexpr std::uint64_t kManyKeys = 1'000'000;  // which splits are due for

std::string letters(std::size_t size, char letter) { return std::string(size, letter); }

// A number's 8 bytes, and what an add carries.
template <typename Number>
std::string stored(Number number) {
  return text_of(std::bit_cast<std::uint64_t>(number));
}
template <typename Number>
std::string added(NumberForm form, Number by, Number initial) {
  return text_of(static_cast<std::uint64_t>(form)) + stored(by) + stored(initial);
}

std::vector<Call> puts(std::uint64_t first, std::uint64_t last, bool pairs) {
  std::vector<Call> calls;
  for (std::uint64_t i = first; i < last; ++i) {
    calls.push_back(
        {.key = pairs ? text_of(i) : "key " + std::to_string(i), .value = pairs ? text_of(~i) : letters(20, 'v')});
  }
  return calls;
}

// Of the end of a key: long ago, and long after this test.
constexpr std::uint64_t kEarlier = 5;
constexpr std::uint64_t kLater = std::uint64_t{1} << 50;

std::uint64_t word_of(const std::string& text) {
  std::uint64_t word;
  std::memcpy(&word, text.data(), sizeof word);
  return word;
}
// What with_end() has added to a value.
std::string end_text(const std::string& content) {
  const std::size_t at = content.find(" until ");
  return at == std::string::npos ? std::string() : content.substr(at);
}

// Applies calls to a map, according to their expected answers.
Content apply(Content content, const std::vector<Call>& calls) {
  for (const Call& call : calls) {
    if (call.code != StatusCode::kOk || call.withdrawn) continue;
    switch (call.op) {
      case Op::kPut:
      case Op::kInsert:
      case Op::kReplace:
        content[call.key] =
            call.end == kKeepEnd ? call.value + end_text(content[call.key]) : with_end(call.value, call.end);
        if (call.end == kEarlier) content.erase(call.key);
        break;
      case Op::kCompareExchange:
      case Op::kPutIf:
        content[call.key] = call.value + end_text(content[call.key]);
        break;
      case Op::kAppend: {
        const std::string end = end_text(content[call.key]);
        content[call.key] = content[call.key].substr(0, content[call.key].size() - end.size()) + call.value + end;
        break;
      }
      case Op::kAdd:
        content[call.key] = content.count(call.key) == 0 ? with_end(call.expected, call.end)
                                                         : call.expected + end_text(content[call.key]);
        break;
      case Op::kExpire: {
        const std::uint64_t end = word_of(call.value);
        std::string& now = content[call.key];
        now = with_end(now.substr(0, now.size() - end_text(now).size()), end == kNeverEnds ? kNoEnd : end);
        if (end == kEarlier) content.erase(call.key);
        break;
      }
      case Op::kErase:
      case Op::kEraseIf:
        content.erase(call.key);
        break;
      case Op::kIncrement: {
        std::int64_t by;
        std::memcpy(&by, call.value.data(), sizeof by);
        const std::int64_t now = content.count(call.key) != 0 ? std::stoll(content[call.key]) : 0;
        content[call.key] = std::to_string(now + by) + end_text(content[call.key]);
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
  const std::string pair = text_of(7);
  const std::string forty = letters(40, 'o');
  std::vector<Scenario> all{
      {"InsertPair", {}, {{.key = pair, .value = text_of(1)}}},
      {"OverwritePair", {{.key = pair, .value = text_of(1)}}, {{.key = pair, .value = text_of(2)}}},
      {"ErasePair", {{.key = pair, .value = text_of(1)}}, {{.op = Op::kErase, .key = pair}}},
      {"InsertEntry", {}, {{.key = "key", .value = forty}}},
      {"OverwriteSame", {{.key = "key", .value = forty}}, {{.key = "key", .value = letters(40, 'n')}}},
      {"OverwriteLarger", {{.key = "key", .value = forty}}, {{.key = "key", .value = letters(900, 'n')}}},
      {"OverwriteSmaller", {{.key = "key", .value = forty}}, {{.key = "key", .value = "n"}}},
      {"OverwriteInPlace",
       {{.key = "a sixteen b. key", .value = text_of(1)}},
       {{.key = "a sixteen b. key", .value = text_of(2)}}},
      {"EraseEntry", {{.key = "key", .value = forty}}, {{.op = Op::kErase, .key = "key"}}},
      {"PairBecomesEntry", {{.key = pair, .value = text_of(1)}}, {{.key = pair, .value = forty}}},
      {"EntryBecomesPair", {{.key = pair, .value = forty}}, {{.key = pair, .value = text_of(1)}}},
      {"IncrementAbsent", {}, {{.op = Op::kIncrement, .key = "n", .value = text_of(5)}}},
      {"Increment",
       {{.op = Op::kIncrement, .key = "n", .value = text_of(5)}},
       {{.op = Op::kIncrement, .key = "n", .value = text_of(1)}}},
      {"IncrementOfAPair",
       {{.key = pair, .value = "10000000"}},
       {{.op = Op::kIncrement, .key = pair, .value = text_of(1)},
        {.op = Op::kIncrement, .key = pair, .value = text_of(1)}}},
      {"CompareExchangeHit",
       {{.key = "key", .value = forty}},
       {{.op = Op::kCompareExchange, .key = "key", .value = "new", .expected = forty}}},
      {"CompareExchangeMiss",
       {{.key = "key", .value = forty}},
       {{.op = Op::kCompareExchange, .key = "key", .value = "new", .expected = "?", .code = StatusCode::kMismatch}}},
      {"PutIfHit",
       {{.key = "key", .value = forty}},
       {{.op = Op::kPutIf, .key = "key", .value = "new", .expected = forty},
        {.op = Op::kPutIf, .key = "key", .value = "newer", .expected = forty, .code = StatusCode::kMismatch}}},
      {"PutIfMiss",
       {{.key = "key", .value = forty}},
       {{.op = Op::kPutIf, .key = "key", .value = "new", .expected = "?", .code = StatusCode::kMismatch}}},
      {"PutIfAbsent", {}, {{.op = Op::kPutIf, .key = "key", .value = "new", .code = StatusCode::kNotFound}}},
      {"PutIfOfAPair",
       {{.key = pair, .value = text_of(1)}},
       {{.op = Op::kPutIf, .key = pair, .value = text_of(2), .expected = text_of(1)},
        {.op = Op::kPutIf, .key = pair, .value = forty, .expected = text_of(2)}}},
      {"StreamedPutIf",
       {{.key = "key", .value = forty}},
       {{.op = Op::kPutIf, .key = "key", .value = letters(2500, 's'), .expected = forty}}},
      {"EraseIfHit",
       {{.key = "key", .value = forty}},
       {{.op = Op::kEraseIf, .key = "key", .expected = forty},
        {.op = Op::kEraseIf, .key = "key", .expected = forty, .code = StatusCode::kNotFound}}},
      {"EraseIfMiss",
       {{.key = "key", .value = forty}},
       {{.op = Op::kEraseIf, .key = "key", .expected = "?", .code = StatusCode::kMismatch}}},
      {"EraseIfOfAPair",
       {{.key = pair, .value = text_of(1)}},
       {{.op = Op::kEraseIf, .key = pair, .expected = text_of(1)}}},
      {"AppendToNothing", {}, {{.op = Op::kAppend, .key = "key", .value = "new"}}},
      {"Append",
       {{.key = "key", .value = forty}},
       {{.op = Op::kAppend, .key = "key", .value = "a"}, {.op = Op::kAppend, .key = "key", .value = forty}}},
      {"AppendToAPair",
       {{.key = pair, .value = text_of(1)}},
       {{.op = Op::kAppend, .key = pair, .value = "a"}, {.op = Op::kAppend, .key = pair, .value = "b"}}},
      {"AppendThatGivesAPair",
       {{.key = pair, .value = "1234"}},
       {{.op = Op::kAppend, .key = pair, .value = "5678"}, {.op = Op::kAppend, .key = pair}}},
      {"StreamedAppend",
       {{.key = "key", .value = forty}},
       {{.op = Op::kAppend, .key = "key", .value = letters(2500, 's')}}},
      {"ReplaceHit", {{.key = "key", .value = forty}}, {{.op = Op::kReplace, .key = "key", .value = "new"}}},
      {"ReplaceMiss", {}, {{.op = Op::kReplace, .key = "key", .value = "new", .code = StatusCode::kNotFound}}},
      {"StreamedReplace",
       {{.key = "key", .value = forty}},
       {{.op = Op::kReplace, .key = "key", .value = letters(2500, 's')}}},
      {"AddFraction",
       {{.key = "n", .value = "1.25"}},
       {{.op = Op::kAdd, .key = "n", .value = added(NumberForm::kDecimalDouble, 0.5, 7.0), .expected = "1.75"},
        {.op = Op::kAdd, .key = "n", .value = added(NumberForm::kDecimalDouble, 0.5, 7.0), .expected = "2.25"}}},
      {"AddToNothing",
       {},
       {{.op = Op::kAdd, .key = "n", .value = added(NumberForm::kDecimalInteger, 5l, 7l), .expected = "12"},
        {.op = Op::kAdd, .key = "m", .value = added(NumberForm::kDouble, 1.0, 2.0), .expected = stored(3.0)}}},
      {"AddToAPair",
       {{.key = pair, .value = stored(40l)}},
       {{.op = Op::kAdd, .key = pair, .value = added(NumberForm::kInteger, 1l, 0l), .expected = stored(41l)},
        {.op = Op::kAdd, .key = pair, .value = added(NumberForm::kInteger, 1l, 0l), .expected = stored(42l)}}},
      {"AddInPlace",
       {{.key = "a sixteen b. key", .value = stored(0.5)}},
       {{.op = Op::kAdd,
         .key = "a sixteen b. key",
         .value = added(NumberForm::kDouble, 1.0, 0.0),
         .expected = stored(1.5)},
        {.op = Op::kAdd,
         .key = "a sixteen b. key",
         .value = added(NumberForm::kDouble, 1.0, 0.0),
         .expected = stored(2.5)}}},
      {"AddToNoNumber",
       {{.key = "n", .value = "x"}},
       {{.op = Op::kAdd,
         .key = "n",
         .value = added(NumberForm::kDecimalDouble, 1.0, 0.0),
         .code = StatusCode::kNotANumber}}},
      {"PutWithAnEnd", {}, {{.key = "key", .value = forty, .end = kLater}}},
      {"PutWithAnEndOverAPair",
       {{.key = pair, .value = text_of(1)}},
       {{.key = pair, .value = text_of(2), .end = kLater}}},
      {"PutWithoutAnEndOverOneWithIt",
       {{.key = "a sixteen b. key", .value = text_of(1), .end = kLater}},
       {{.key = "a sixteen b. key", .value = text_of(2)}}},
      {"APairAgainWithoutAnEnd",
       {{.key = pair, .value = text_of(1), .end = kLater}},
       {{.key = pair, .value = text_of(2)}}},
      {"PutOverWhatHasLapsed",
       {{.key = "key", .value = forty, .end = kEarlier}},
       {{.op = Op::kErase, .key = "key", .code = StatusCode::kNotFound},
        {.op = Op::kInsert, .key = "key", .value = "n"}}},
      {"ExpireInPlace",
       {{.key = "key", .value = forty, .end = kLater}},
       {{.op = Op::kExpire, .key = "key", .value = text_of(kLater + 1)}}},
      {"ExpireByANewEntry",
       {{.key = "key", .value = forty}},
       {{.op = Op::kExpire, .key = "key", .value = text_of(kLater)}}},
      {"ExpireOfAPair",
       {{.key = pair, .value = text_of(1)}},
       {{.op = Op::kExpire, .key = pair, .value = text_of(kLater)}}},
      {"ExpireAtOnce",
       {{.key = "key", .value = forty, .end = kLater}, {.key = "other", .value = forty}},
       {{.op = Op::kExpire, .key = "key", .value = text_of(kEarlier)}, {.key = "other", .value = "n"}}},
      {"Persist",
       {{.key = "key", .value = forty, .end = kLater}},
       {{.op = Op::kExpire, .key = "key", .value = text_of(kNeverEnds)},
        {.op = Op::kExpire, .key = "key", .value = text_of(kLater)}}},
      {"ExpireOfWhatIsAbsent",
       {},
       {{.op = Op::kExpire, .key = "key", .value = text_of(kLater), .code = StatusCode::kNotFound}}},
      {"IncrementKeepsTheEnd",
       {{.key = "n", .value = "41", .end = kLater}},
       {{.op = Op::kIncrement, .key = "n", .value = text_of(5)},
        {.op = Op::kIncrement, .key = "n", .value = text_of(5)}}},
      {"AddGivesANewKeyAnEndAndKeepsThatOfAnOldOne",
       {},
       {{.op = Op::kAdd,
         .key = "n",
         .value = added(NumberForm::kDecimalInteger, 1l, 6l),
         .expected = "7",
         .end = kLater},
        {.op = Op::kAdd,
         .key = "n",
         .value = added(NumberForm::kDecimalInteger, 1l, 6l),
         .expected = "8",
         .end = kLater + 1}}},
      {"AddToWhatHasLapsed",
       {{.key = pair, .value = stored(40l), .end = kEarlier}},
       {{.op = Op::kAdd,
         .key = pair,
         .value = added(NumberForm::kInteger, 1l, 2l),
         .expected = stored(3l),
         .end = kLater}}},
      {"CompareExchangeKeepsTheEnd",
       {{.key = "key", .value = forty, .end = kLater}},
       {{.op = Op::kCompareExchange, .key = "key", .value = "new", .expected = forty}}},
      {"AppendKeepsTheEnd",
       {{.key = "key", .value = forty, .end = kLater}},
       {{.op = Op::kAppend, .key = "key", .value = "a"}}},
      {"ReplaceWithAnEnd",
       {{.key = "key", .value = forty}},
       {{.op = Op::kReplace, .key = "key", .value = letters(40, 'n'), .end = kLater}}},
      {"StreamedPutWithAnEnd",
       {{.key = "key", .value = forty, .end = kLater}},
       {{.key = "key", .value = letters(2500, 's'), .end = kLater + 1}}},
      {"PutThatKeepsTheEnd",
       {{.key = "key", .value = forty, .end = kLater}},
       {{.key = "key", .value = letters(40, 'n'), .end = kKeepEnd},
        {.key = "key", .value = letters(900, 'm'), .end = kKeepEnd}}},
      {"PutOverAPairThatKeepsItsEnd",
       {{.key = pair, .value = text_of(1)}},
       {{.key = pair, .value = text_of(2), .end = kKeepEnd},
        {.op = Op::kExpire, .key = pair, .value = text_of(kLater)},
        {.key = pair, .value = text_of(3), .end = kKeepEnd}}},
      {"StreamedPutThatKeepsTheEnd",
       {{.key = "key", .value = forty, .end = kLater}},
       {{.key = "key", .value = letters(2500, 's'), .end = kKeepEnd}}},
      {"InsertWithAnEnd", {}, {{.op = Op::kInsert, .key = "key", .value = forty, .end = kLater}}},
      {"StreamedInsertWithAnEnd", {}, {{.op = Op::kInsert, .key = "key", .value = letters(2500, 's'), .end = kLater}}},
      {"ReplaceThatKeepsTheEnd",
       {{.key = "key", .value = forty, .end = kLater}},
       {{.op = Op::kReplace, .key = "key", .value = "n", .end = kKeepEnd}}},
      {"PutIfKeepsTheEnd",
       {{.key = "key", .value = forty, .end = kLater}},
       {{.op = Op::kPutIf, .key = "key", .value = "new", .expected = forty, .code = StatusCode::kMismatch},
        {.op = Op::kPutIf, .key = "key", .value = "new", .expected = forty, .expected_end = kLater}}},
      {"EraseIfOfAKeyThatEnds",
       {{.key = "key", .value = forty, .end = kLater}},
       {{.op = Op::kEraseIf, .key = "key", .expected = forty, .code = StatusCode::kMismatch},
        {.op = Op::kEraseIf, .key = "key", .expected = forty, .expected_end = kLater}}},
      {"StreamedCompareExchangeKeepsTheEnd",
       {{.key = "key", .value = forty, .end = kLater}},
       {{.op = Op::kCompareExchange, .key = "key", .value = letters(1100, 's'), .expected = forty}}},
      {"ExpireOfAStreamedValue",
       {{.key = "key", .value = letters(1100, 's')}},
       {{.op = Op::kExpire, .key = "key", .value = text_of(kLater)}}},
      {"ChangesOfWhatHasLapsed",
       {{.key = "a", .value = "41", .end = kEarlier},
        {.key = "b", .value = forty, .end = kEarlier},
        {.key = "c", .value = forty, .end = kEarlier}},
       {{.op = Op::kIncrement, .key = "a", .value = text_of(5)},
        {.op = Op::kAppend, .key = "b", .value = "a"},
        {.op = Op::kReplace, .key = "c", .value = "n", .code = StatusCode::kNotFound},
        {.op = Op::kExpire, .key = "c", .value = text_of(kLater), .code = StatusCode::kNotFound},
        {.op = Op::kCompareExchange, .key = "c", .value = "n", .expected = forty, .code = StatusCode::kNotFound},
        {.op = Op::kEraseIf, .key = "c", .expected = forty, .expected_end = kEarlier, .code = StatusCode::kNotFound}}},
      {"InsertHit",
       {{.key = "key", .value = forty}},
       {{.op = Op::kInsert, .key = "key", .value = "new", .code = StatusCode::kAlreadyExists}}},
      {"EraseMiss", {}, {{.op = Op::kErase, .key = "key", .code = StatusCode::kNotFound}}},
      {"ClearPairsAndEntries", puts(0, 4, true), {{.op = Op::kClear}}},
      {"AfterAClear", puts(0, 4, false), {{.op = Op::kClear}, {.key = "key 1", .value = "new"}}},
      {"StreamedPut", {{.key = "key", .value = forty}}, {{.key = "key", .value = letters(2500, 's')}}},
      {"WithdrawnPut",
       {{.key = "key", .value = forty}},
       {{.key = "key", .value = letters(20'000, 's'), .answered = false, .withdrawn = true}}},
      {"Batch",
       {{.key = "key", .value = forty}},
       {{.key = pair, .value = text_of(1), .answered = false},
        {.op = Op::kIncrement, .key = "n", .value = text_of(5)},
        {.key = "key", .value = letters(2000, 's'), .answered = false},
        {.op = Op::kErase, .key = "key"},
        {.op = Op::kIncrement, .key = "n", .value = text_of(5)}}},
      {"AnsweredOnlyIfRefused",
       {{.key = "key", .value = forty}},
       {{.key = pair, .value = text_of(1), .quiet = true},
        {.op = Op::kErase, .key = "absent", .code = StatusCode::kNotFound, .quiet = true},
        {.op = Op::kIncrement, .key = "n", .value = text_of(5)},
        {.op = Op::kInsert, .key = "key", .value = "new", .code = StatusCode::kAlreadyExists, .quiet = true},
        {.op = Op::kErase, .key = "key", .quiet = true},
        {.op = Op::kErase, .key = "key", .code = StatusCode::kNotFound, .quiet = true}}},
      {"RefusedWritesAndFlush",
       {{.key = "key", .value = forty}},
       {{.key = "large", .value = letters(3000, 'l'), .answered = false},
        {.key = "key", .value = "new", .answered = false},
        {.op = Op::kFlush}}},
  };
  // Requests on values that are hashed and copied in three steps each.
  const std::string in_steps = letters(40'000, 'l');
  for (const Scenario& long_work : {
           Scenario{
               "AppendInSteps",
               {{.key = "key", .value = forty}},
               {{.op = Op::kAppend, .key = "long", .value = "a"}, {.op = Op::kAppend, .key = "long", .value = "b"}}},
           Scenario{"PutIfInSteps",
                    {{.key = "key", .value = forty}},
                    {{.op = Op::kPutIf, .key = "long", .value = "new", .expected = in_steps}}},
           Scenario{"EraseIfInSteps",
                    {{.key = "key", .value = forty}},
                    {{.op = Op::kEraseIf, .key = "long", .expected = in_steps},
                     {.op = Op::kEraseIf, .key = "long", .expected = in_steps, .code = StatusCode::kNotFound}}},
       }) {
    all.push_back(long_work);
    all.back().long_values = {{.key = "long", .value = in_steps}};
    all.back().step_bytes = 16'000;
    all.back().steps = 3;
  }
  // The expected value travels with the request, and the ring takes no longer one.
  const std::string compared = letters(2400, 'c');
  all.push_back({"CompareExchangeInSteps",
                 {{.key = "key", .value = compared}},
                 {{.op = Op::kCompareExchange, .key = "key", .value = "new", .expected = compared}}});
  all.back().step_bytes = 800;
  all.back().steps = 3;
  // A split that is about to be published, and one that is about to end: the calls change keys of buckets that were copied
  // already, that are copied next, and that are to be purged; the last key is one that moves.
  for (const bool pairs : {true, false}) {
    Regions probe;
    const std::uint64_t buckets = pairs ? kSegmentBuckets<PairBucket> : kSegmentBuckets<EntryBucket>;
    const auto key_of = [&](std::uint64_t bucket, bool moves, std::uint64_t skip) {
      for (std::uint64_t i = 0;; ++i) {
        const std::string key = pairs ? text_of(i) : "a key " + std::to_string(100'000 + i);
        std::uint32_t shard;
        const HashedKey hashed = probe.table().hash(bytes_of(key), shard);
        const std::uint64_t own =
            pairs ? segment_bucket<PairBucket>(hashed.hash) : segment_bucket<EntryBucket>(hashed.hash);
        if (own == bucket && (hashed.fraction >> 63 != 0) == moves && skip-- == 0) return key;
      }
    };
    std::vector<Call> before;
    for (const std::uint64_t bucket : {std::uint64_t{5}, std::uint64_t{9}, buckets - 2, buckets - 1}) {
      for (const bool moves : {true, false}) {
        for (std::uint64_t i = 0; i < 5; ++i) {  // more than a bucket holds
          before.push_back({.key = key_of(bucket, moves, i), .value = pairs ? text_of(i) : letters(20, 'v')});
        }
      }
    }
    const std::string other = pairs ? text_of(99) : letters(30, 'n');
    const std::vector<Call> calls = {{.key = key_of(5, true, 0), .value = other},
                                     {.op = Op::kErase, .key = key_of(buckets - 1, true, 0)},
                                     {.key = key_of(9, true, 7), .value = other},
                                     {.key = key_of(9, true, 0), .value = other}};
    Scenario published{pairs ? "SplitOfPairs" : "SplitOfEntries", before, calls};
    published.split_steps = static_cast<int>(buckets) - 3;
    all.push_back(published);
    Scenario purged{pairs ? "PurgeOfPairs" : "PurgeOfEntries", before, calls};
    purged.split_steps = 2 * static_cast<int>(buckets) - 3;
    all.push_back(purged);
    Scenario merged{pairs ? "MergeOfPairs" : "MergeOfEntries", before, {{.op = Op::kErase, .key = before[0].key}}};
    merged.splits = 1;
    all.push_back(merged);
    Scenario moved{pairs ? "MoveOfPairs" : "MoveOfEntries", before, {{.op = Op::kErase, .key = before[0].key}}};
    moved.splits = 2;
    moved.idle_steps = 6;
    all.push_back(moved);
    // The split that moves a number: applied and moved, it must not be applied again.
    if (!pairs) {
      Scenario number{"SplitThatMovesTheNumber",
                      {},
                      {{.op = Op::kIncrement, .key = key_of(5, true, 0), .value = text_of(5)},
                       {.op = Op::kIncrement, .key = key_of(5, true, 0), .value = text_of(5)}}};
      number.split_steps = static_cast<int>(buckets) - 1;
      all.push_back(number);
    }
  }
  // A bucket of either form that overflows: the load is low, the keys are chosen.
  for (const bool pairs : {true, false}) {
    Scenario scenario{pairs ? "OverflowOfPairs" : "OverflowOfEntries"};
    scenario.overflow = true;
    Regions probe;
    std::vector<Call> same;
    for (std::uint64_t i = 0; same.size() < 2 * kPlaces + 1; ++i) {
      Call call{.key = pairs ? text_of(i) : "key " + std::to_string(i),
                .value = pairs ? text_of(i) : std::string("value")};
      std::uint32_t shard;
      const HashedKey key = probe.table().hash(bytes_of(call.key), shard);
      const std::uint64_t bucket = pairs ? segment_bucket<PairBucket>(key.hash) : segment_bucket<EntryBucket>(key.hash);
      if (bucket == (pairs ? 5u : 0u)) same.push_back(call);
    }
    scenario.before.assign(same.begin(), same.begin() + 7);
    scenario.calls = {same[7], same[8]};
    all.push_back(scenario);
    if (!pairs) {
      // The hand begins with this bucket, the first one.
      for (const std::vector<std::size_t>& lapsed : {std::vector<std::size_t>{0}, std::vector<std::size_t>{1, 6, 9}}) {
        Scenario hand{lapsed.size() == 1 ? "TheHandRemovesOne" : "TheHandRemovesThreeOfAChain", same};
        for (const std::size_t which : lapsed) hand.lapsed.push_back(same[which].key);
        hand.calls = {{.key = same[2].key, .value = "n"}, {.key = same[8].key, .value = "n"}};
        all.push_back(hand);
      }
      continue;
    }
    // A chain of three buckets loses a pair of its first one, which then takes that of the last one.
    Scenario gathering{"GatheringOfPairs", same};
    gathering.gathers = true;
    gathering.calls = {{.op = Op::kErase, .key = same[0].key}, {.key = same.back().key, .value = text_of(~0ul)}};
    all.push_back(gathering);
  }
  // Memory is full of entries, and every second one is erased: a value of another size fits only into a slab that is
  // emptied.
  const std::string long_key = letters(kLongKey, 'k');
  const std::string absent_key = letters(kLongKey, 'a');
  const std::vector<Call> there = {{.key = "count", .value = "41"}, {.key = long_key, .value = letters(1300, 'v')}};
  std::vector<Call> fill = there;
  Regions full(2);
  for (const Call& call : there) full.call(call);
  for (std::uint64_t i = 0;; ++i) {
    const Call call{.key = "key " + std::to_string(i), .value = letters(700, 'f')};
    full.send(call);
    full.work();
    if (full.receive() != StatusCode::kOk) break;
    fill.push_back(call);
  }
  constexpr std::size_t kWhatMayNotFitAgain = 100;
  fill.resize(fill.size() - kWhatMayNotFitAgain);
  Scenario compaction{"CompactionMakesRoom", fill};
  compaction.full_after = fill.size();
  for (std::size_t i = there.size(); i < fill.size(); i += 2) {
    compaction.erased.push_back(fill[i].key);
  }
  compaction.calls = {{.key = "new", .value = letters(200, 'n')}};
  all.push_back(compaction);
  // Memory is full: a new value that needs no more memory than the old one uses the reserve. Requests in pieces, for which
  // there is no block, are stored where the next server finds them.
  std::vector<Call> fill_and_one = fill;
  fill_and_one.push_back({.op = Op::kFlush});
  for (const Scenario& of_full : {
           Scenario{"FullAndAsLarge", fill_and_one, {{.key = "key 5", .value = letters(700, 'n')}}},
           Scenario{"FullAndSmaller",
                    fill_and_one,
                    {{.key = "key 5", .value = letters(300, 'n')},
                     {.key = "key 5", .value = letters(700, 'm')},
                     {.key = "key 6", .value = letters(100, 'n')}}},
           Scenario{"FullAndAppended",
                    fill_and_one,
                    {{.op = Op::kAppend, .key = "key 5", .value = "x"},
                     {.op = Op::kAppend, .key = "key 6", .value = letters(900, 'x'), .code = StatusCode::kFull}}},
           Scenario{"FullAndCounted", fill_and_one, {{.op = Op::kIncrement, .key = "count", .value = text_of(5)}}},
       }) {
    all.push_back(of_full);
    all.back().full_after = fill.size();
  }
  // A new value of several slabs is written to the reserve in steps. One as long as the longest leaves its old place to the reserve;
  // another moves there, in steps as well.
  std::vector<Call> half_and_one(fill.begin(), fill.begin() + static_cast<std::ptrdiff_t>(fill.size() / 2));
  half_and_one.push_back({.op = Op::kFlush});
  for (const Scenario& in_reserve : {
           Scenario{
               "FullAndLongestAppendedInSteps", half_and_one, {{.op = Op::kAppend, .key = "longest", .value = "tail"}}},
           Scenario{"FullAndLongAppendedInSteps", half_and_one, {{.op = Op::kAppend, .key = "long", .value = "tail"}}},
       }) {
    all.push_back(in_reserve);
    all.back().full_after = half_and_one.size() - 1;
    all.back().long_values = {{.key = "long", .value = letters(40'000, 'l')},
                              {.key = "longest", .value = letters(70'000, 'm')}};
    all.back().step_bytes = 16'000;
    all.back().steps = 3;
  }
  for (const Scenario& of_evicting : {
           Scenario{"EvictingForTheSameSize", fill_and_one, {{.key = "new", .value = letters(700, 'n')}}},
           Scenario{"EvictingForAnotherSize", fill_and_one, {{.key = "new", .value = letters(200, 'n')}}},
           Scenario{
               "EvictingAndCounting", fill_and_one, {{.op = Op::kAppend, .key = "count", .value = letters(900, '7')}}},
       }) {
    all.push_back(of_evicting);
    all.back().full_after = fill.size();
    all.back().evicts = true;
  }
  for (const Scenario& of_held : {
           Scenario{"FullAndALongKeyErased", fill_and_one, {{.op = Op::kErase, .key = long_key}}},
           Scenario{"FullAndALongKeyOverwritten", fill_and_one, {{.key = long_key, .value = "w"}}},
           Scenario{"FullAndALongKeyRefused",
                    fill_and_one,
                    {{.key = absent_key, .value = "w", .code = StatusCode::kFull}, {.op = Op::kErase, .key = "key 5"}}},
           Scenario{"FullAndALongKeyInsertedAgain",
                    fill_and_one,
                    {{.op = Op::kInsert, .key = long_key, .value = "w", .code = StatusCode::kAlreadyExists}}},
       }) {
    all.push_back(of_held);
    all.back().full_after = fill.size();
    all.back().held = true;
  }
  return all;
}

class RestartSteps : public testing::TestWithParam<Scenario> {
 protected:
  struct Expected {
    std::vector<std::string> keys;
    std::vector<Content> states;  // after none, one, two … of the calls
    std::vector<bool> answered;   // for each call: does it have an answer?
    std::vector<StatusCode> answers;
    std::vector<Regions::Answer> whole_answers;  // those of a server that was not killed, with their values
    std::uint64_t first_answer = 0;
    std::uint64_t end = 0;  // request position when all are done
    std::uint64_t refused = 0;
    bool evicts = false;  // each server does
    std::uint64_t step_bytes = 0;
    std::vector<Call> long_values;
  };

  static Expected expected_of(const Scenario& scenario) {
    Expected expected;
    expected.evicts = scenario.evicts;
    expected.step_bytes = scenario.step_bytes;
    expected.long_values = scenario.long_values;
    Content content = apply(apply({}, scenario.long_values), scenario.before);
    for (const auto* keys : {&scenario.erased, &scenario.lapsed}) {
      for (const std::string& key : *keys) content.erase(key);
    }
    for (const auto* calls : {&scenario.long_values, &scenario.before, &scenario.calls}) {
      if (scenario.evicts && calls == &scenario.before) continue;  // these may be gone
      for (const Call& call : *calls) {
        if (!call.key.empty()) expected.keys.push_back(call.key);
      }
    }
    if (scenario.evicts) {
      std::erase_if(content, [&](const auto& item) { return std::ranges::count(expected.keys, item.first) == 0; });
    }
    expected.states.push_back(content);
    for (const Call& call : scenario.calls) {
      content = apply(content, {call});
      expected.states.push_back(content);
      expected.answered.push_back(call.has_answer());
      if (call.has_answer()) expected.answers.push_back(call.code);
    }
    return expected;
  }

  // Readers continue while no server runs: each key has its value from one of the contents, and no read is delayed.
  static std::string blocked_reads(const InstanceName& name, const Expected& expected) {
    const Region table = Regions::table_of(name);
    const TableReader reader(table.data(), table.bytes());
    std::map<std::string, unsigned> met;
    TableScan scan(reader, {});
    for (TableScan::Step step = scan.next(); step != TableScan::Step::kDone; step = scan.next()) {
      if (step != TableScan::Step::kItems) return "a scan is kept waiting";
      for (const TableScan::Item& item : scan.items()) ++met[item.key];
    }
    for (const std::string& key : expected.keys) {
      const Found found = get_with_end(reader, key);
      if (found.outcome != ReadOutcome::kHit && found.outcome != ReadOutcome::kMiss) return "a read is kept waiting";
      const bool possible = std::any_of(expected.states.begin(), expected.states.end(), [&](const Content& state) {
        const auto at = state.find(key);
        return at == state.end() ? found.outcome == ReadOutcome::kMiss
                                 : found.outcome == ReadOutcome::kHit && found.value == at->second;
      });
      if (!possible) return "a read without a server returns a value that the key never had";
      if (met[key] != (found.outcome == ReadOutcome::kHit ? 1u : 0u))
        return "a scan without a server misses a key, or meets it twice";
    }
    return {};
  }

  // The number of calls that must have taken effect, because the client has their answers.
  static std::ptrdiff_t acknowledged_calls(const InstanceName& name, const Expected& expected) {
    std::size_t answers = Regions::answers_in(Regions::connection_of(name), expected.first_answer).size();
    std::ptrdiff_t calls = 0;
    for (std::size_t i = 0; answers > 0 && i < expected.answered.size(); ++i) {
      ++calls;
      if (expected.answered[i]) --answers;
    }
    return calls;
  }

  // Lets the next server recover an image and then serve the requests that are still in the ring. Returns the error, or "".
  static std::string violation(const Image& image, const Expected& expected) {
    const InstanceName name = Regions::lay_out(image);
    const std::ptrdiff_t acknowledged = acknowledged_calls(name, expected);
    if (std::string what = blocked_reads(name, expected); !what.empty()) return what;
    Regions next(name);
    const auto broken = [&next] {
      const std::vector<std::string> findings = next.findings();
      return findings.empty() ? std::string() : "the table is broken: " + findings.front();
    };
    if (!next.has_connection()) return "the connection is lost";
    if (next.dropped() != 0) return "places led nowhere";
    const Content found = next.content(expected.keys);
    const auto state = std::find(expected.states.rbegin(), expected.states.rend(), found);
    if (state == expected.states.rend()) return "the content was never that of the map";
    if (expected.states.rend() - state <= acknowledged) return "a change that was answered is missing";
    if (std::string what = broken(); !what.empty()) return what;
    if (expected.evicts) evict_others(next, expected.keys);
    set_steps(next, expected.step_bytes);
    next.work();
    end_loan(next, expected.long_values);
    if (next.content(expected.keys) != expected.states.back()) return "the rest of the requests led to another content";
    if (next.answers_from(expected.first_answer) != expected.answers) return "the answers are wrong";
    if (next.whole_answers_from(expected.first_answer) != expected.whole_answers)
      return "the value of an answer is wrong";
    if (next.request_position() != expected.end) return "the ring is not empty";
    if (next.refused() != expected.refused) return "refused writes are counted wrong";
    if (std::string what = broken(); !what.empty()) return "in the end " + what;
    // Its count of used memory equals the memory that can be reached.
    const std::vector<std::uint64_t> usage = next.usage();
    Regions again(Regions::lay_out(Image(next.view())));
    if (again.usage() != usage) return "it leaks, or has lost count";
    for (Regions* regions : {&next, &again}) {
      for (const Call& call : expected.long_values) {
        if (regions->put(call.key, call.value) != StatusCode::kOk) return "the reserve is not whole";
        end_loan(*regions, expected.long_values);
      }
    }
    return {};
  }

  static void set_steps(Regions& regions, std::uint64_t step_bytes) {
    if (step_bytes != 0) regions.table().shard(0).set_step_bytes(step_bytes);
  }
  // What a worker without requests does.
  static void end_loan(Regions& regions, const std::vector<Call>& long_values) {
    if (!long_values.empty()) regions.table().shard(0).end_upkeep();
  }

  // From now on keys are evicted, but not these: at the first visit of the hand, as it begins anew with each server.
  static void evict_others(Regions& regions, const std::vector<std::string>& keys) {
    regions.table().set_eviction(Eviction::kClock);
    for (const std::string& key : keys) {
      std::uint32_t number;
      regions.table().shard(0).touch(regions.table().hash(bytes_of(key), number));
    }
  }

  // How much fits depends on when the helper thread has populated what.
  static void fill_up(Regions& regions) {
    for (int more = 0;; ++more) {
      regions.send({.key = "more " + std::to_string(more), .value = letters(700, 'f')});
      regions.work();
      if (regions.receive() != StatusCode::kOk) return;
    }
  }
  // Until there is no block for a long key that arrives in pieces. A put may be refused because its bucket is full: then it
  // continues with another key.
  static void take_blocks_of_long_keys(Regions& regions) {
    constexpr int kMostPuts = 10'000;
    ShardWriter& shard = regions.table().shard(0);
    for (int more = 0; more < kMostPuts; ++more) {
      EXPECT_TRUE(others_sleep()) << "the helper thread may be about to populate more";
      const std::uint64_t entry = shard.begin_entry(kLongKey, 1);
      if (entry == 0) return;
      shard.drop_entry(entry);
      regions.send({.key = "long " + std::to_string(more), .value = letters(kLongKey, 'f')});
      regions.work();
      regions.receive();
    }
    ADD_FAILURE() << "memory does not get full";
  }
  // The count of keys of the form that a scenario splits.
  static Word& pretended_keys(Regions& regions, const Scenario& scenario) {
    LaneStats& stats = regions.table().header().lane_stats[0];
    return std::string_view(scenario.name).ends_with("Pairs") ? stats.pair_keys : stats.entry_keys;
  }
  static void prepare(std::unique_ptr<Regions>& regions, const Scenario& scenario, Expected& expected) {
    regions = std::make_unique<Regions>();
    for (const Call& call : scenario.long_values) EXPECT_EQ(regions->put(call.key, call.value), StatusCode::kOk);
    for (std::size_t i = 0; i < scenario.before.size(); ++i) {
      if (i != 0 && i == scenario.full_after) fill_up(*regions);
      regions->call(scenario.before[i]);
    }
    if (scenario.full_after != 0 && scenario.full_after == scenario.before.size()) fill_up(*regions);
    if (scenario.held) take_blocks_of_long_keys(*regions);
    ShardWriter& shard = regions->table().shard(0);
    for (const std::string& key : scenario.erased) {
      std::uint32_t number;
      EXPECT_EQ(shard.erase(regions->table().hash(bytes_of(key), number)), StatusCode::kOk);
      shard.intent().end();
    }
    for (const std::string& key : scenario.lapsed) {
      std::uint32_t number;
      shard.begin_request();
      EXPECT_EQ(shard.expire(regions->table().hash(bytes_of(key), number), kEarlier), StatusCode::kOk);
      shard.intent().end();
    }
    if (scenario.evicts) evict_others(*regions, expected.keys);
    LaneStats& stats = regions->table().header().lane_stats[0];
    if (scenario.split_steps != 0) {
      pretended_keys(*regions, scenario) += kManyKeys;
      for (int i = 0; i < scenario.split_steps; ++i) shard.reclaim(1);
    }
    for (int i = 0; i < scenario.splits; ++i) {
      for (Word* count : {&stats.pair_keys, &stats.entry_keys}) {
        count->store(count->load() + kManyKeys);
        const std::uint64_t now = stats.splits.load();
        while (stats.splits.load() == now) shard.reclaim(1);
        count->store(count->load() - kManyKeys);
      }
    }
    set_steps(*regions, scenario.step_bytes);
    expected.first_answer = regions->answer_position();
    for (const Call& call : scenario.calls) regions->send(call);
  }

  // All distinct images of a scenario, and the contents that are expected. Prints their number.
  static std::vector<Image> step(const Scenario& scenario, Expected& expected) {
    expected = expected_of(scenario);
    std::unique_ptr<Regions> watched;
    prepare(watched, scenario, expected);
    run_unwatched(scenario, expected);
    std::vector<Image> images;
    const Image::Spans runs = runs_of(*watched, scenario);
    const std::uint64_t steps = step_through([&] { work(*watched, scenario); },
                                             [&](std::uint64_t instruction) {
                                               constexpr std::uint64_t kSome = 499;
                                               const bool all = runs.empty() || instruction % kSome == 0;
                                               Image::add(images, watched->view(), all ? Image::Spans() : runs);
                                             });
    if (!runs.empty()) Image::add(images, watched->view());
    expected.end = watched->request_position();
    EXPECT_GT(steps, 0u);
    EXPECT_GT(images.size(), 3u);
    EXPECT_TRUE(!scenario.held || std::ranges::any_of(images, holds_pieces));
    EXPECT_TRUE(images.back().shows(watched->view()));
    EXPECT_EQ(watched->content(expected.keys), expected.states.back()) << "the last image is that of the end";
    std::printf("%s: %lu instructions, %zu distinct images", scenario.name, static_cast<unsigned long>(steps),
                images.size());
    return images;
  }
  // Where long values lie, or may come to lie: the slabs of runs, and those that are free.
  static Image::Spans runs_of(Regions& regions, const Scenario& scenario) {
    Image::Spans spans;
    if (scenario.long_values.empty()) return spans;
    const Region& table = regions.table().region();
    const TableHeader& header = regions.table().header();
    for (std::uint64_t slab = 0; slab < header.arena_populated.load() / kSlabBytes; ++slab) {
      const std::uint8_t kind = Journal(regions.journal()).slab_class(slab).load();
      if (kind != kSlabRunHead && kind != kSlabRunRest && kind != kSlabFree) continue;
      spans.emplace_back(table.data() + header.arena_offset + slab * kSlabBytes, kSlabBytes);
    }
    return spans;
  }
  static bool holds_pieces(const Image& image) {
    return std::ranges::any_of(image.parts.back().bytes, [](std::byte byte) { return byte != std::byte{0}; });
  }
  static std::uint64_t work(Regions& regions, const Scenario& scenario) {
    const std::uint64_t sweeps = regions.work();
    for (int i = 0; i < scenario.idle_steps; ++i) regions.table().shard(0).reclaim(1);
    end_loan(regions, scenario.long_values);
    return sweeps;
  }
  static void run_unwatched(const Scenario& scenario, Expected& expected) {
    std::unique_ptr<Regions> regions;
    Expected own = expected;
    prepare(regions, scenario, own);
    const LaneStats& lane = regions->table().header().lane_stats[0];
    const std::uint64_t splits = lane.splits.load();
    const std::uint64_t overflow = lane.overflow_bytes.load();
    const ServerStats& server = regions->table().header().server_stats;
    const std::uint64_t longest = regions->table().shard(0).most_replaced_bytes();
    const std::uint64_t reserve = kSlabBytes + (scenario.long_values.empty() ? 0 : longest);
    EXPECT_TRUE(scenario.full_after == 0 || server.arena_free_bytes.load() <= reserve);
    const auto moves = [&] { return lane.pair_segments.load() + lane.entry_segments.load(); };
    const std::uint64_t segments = moves();
    const std::vector<std::pair<std::uint64_t, SlabKind>> places = regions->table().shard(0).segments();
    EXPECT_GE(work(*regions, scenario), scenario.steps);
    EXPECT_EQ(regions->content(expected.keys), expected.states.back());
    EXPECT_EQ(regions->answers_from(own.first_answer), expected.answers);
    expected.whole_answers = regions->whole_answers_from(own.first_answer);
    EXPECT_TRUE(scenario.split_steps == 0 || lane.splits.load() > splits || moves() > segments);
    EXPECT_TRUE(scenario.splits == 0 || moves() < segments);
    EXPECT_EQ(scenario.evicts, lane.evicted.load() != 0);
    EXPECT_TRUE(scenario.lapsed.empty() || lane.expired.load() == scenario.lapsed.size());
    EXPECT_TRUE(scenario.idle_steps == 0 || regions->table().shard(0).segments() != places);
    EXPECT_TRUE(!scenario.overflow || lane.overflow_bytes.load() > overflow);
    EXPECT_TRUE(!scenario.gathers || lane.overflow_bytes.load() < overflow);
    expected.refused = regions->refused();
  }

  static void every_kill_is_recovered_from(const Scenario& scenario) {
    Expected expected;
    const std::vector<Image> images = step(scenario, expected);
    const std::size_t violations =
        count_violations(images, scenario.name, [&](const Image& image) { return violation(image, expected); });
    std::printf(", %zu recoveries, %zu violations\n", images.size(), violations);
  }

  // Also kills the next server at every instruction of its restart, and the one after it, `depth` in total: each begins with
  // an image that the seed chooses among those that the previous one has left.
  static void every_kill_of_a_restart_is_recovered_from(const Scenario& scenario, Random& random, int depth) {
    Expected expected;
    std::vector<Image> images = step(scenario, expected);
    for (int restart = 1; restart <= depth; ++restart) {
      const std::size_t chosen = random.below(images.size());
      std::uint64_t steps = 0;
      images = images_of_a_restart(images[chosen], steps);
      ASSERT_GT(steps, 0u);
      const std::string whose =
          "restart " + std::to_string(restart) + " from image " + std::to_string(chosen) + ", then";
      const std::size_t violations =
          count_violations(images, whose, [&](const Image& image) { return violation(image, expected); });
      std::printf("; restart %d from image %zu: %lu instructions, %zu distinct images, %zu violations", restart, chosen,
                  static_cast<unsigned long>(steps), images.size(), violations);
    }
    std::printf("\n");
  }
  static std::vector<Image> images_of_a_restart(const Image& image, std::uint64_t& steps) {
    const InstanceName name = Regions::lay_out(image);
    std::vector<Image> images;
    {
      LeftOverMap left = Regions::attach(name);
      const Region connection = Regions::connection_of(name);
      steps = step_through([&] { static_cast<void>(settle_left_over_map(name, left)); },
                           [&](std::uint64_t) {
                             Image::add(images,
                                        Regions::view_of(left.journal, left.table->region(), left.master, connection));
                           });
    }
    Regions::remove(name);
    return images;
  }
};
class RestartStepsSlow : public RestartSteps {};
class RestartStepsSoak : public RestartSteps {};

// A server hands over in the middle of a split, a merge or a move, and the next one is killed at each instruction of its start,
// which reads the summary of the old one instead of the table: another start must find everything.
class TakeoverStepsSlow : public RestartSteps {
 protected:
  // A server that stops now leaves a change of segments in progress, unless it has been completed by `steps_more`.
  static std::unique_ptr<Regions> at_the_end_of_an_old_server(const Scenario& scenario, std::uint64_t steps_more,
                                                              Expected& expected) {
    expected = expected_of(scenario);
    std::unique_ptr<Regions> old;
    prepare(old, scenario, expected);
    run_unwatched(scenario, expected);
    // Before a merge, its call is served; before the end of a split, it waits in the ring.
    const bool is_split = scenario.split_steps != 0;
    if (!is_split) old->work();
    for (std::uint64_t i = 0; i < steps_more; ++i) old->table().shard(0).reclaim(1);
    expected.end = expected_end(scenario, old->request_position());
    if (is_split) pretended_keys(*old, scenario) -= kManyKeys;  // prepare() has pretended these
    return old;
  }
  static std::uint64_t steps_before_the_stop(const Scenario& scenario, Random& random) {
    return random.below(scenario.split_steps != 0 ? 6 : 300);
  }
  static void every_kill_of_a_takeover_is_recovered_from(const Scenario& scenario, Random& random) {
    Expected expected;
    const std::uint64_t steps_more = steps_before_the_stop(scenario, random);
    const std::unique_ptr<Regions> old = at_the_end_of_an_old_server(scenario, steps_more, expected);
    write_summary(old->journal(), old->table());
    ASSERT_FALSE(read_summary(old->journal(), old->table().header()).empty());
    std::uint64_t steps = 0;
    const std::vector<Image> images = images_of_a_restart(Image(old->view()), steps);
    ASSERT_GT(steps, 0u);
    report(scenario, "the next server", steps_more, steps, images, expected);
  }
  // The old server is killed while it ends its splits, and while it writes the summary. (What is stepped through changes the
  // shared memory, but not the state of this process's writer: the second part begins anew.)
  static void every_kill_of_the_old_server_is_recovered_from(const Scenario& scenario, Random& random) {
    Expected expected;
    std::vector<Image> images;
    for (const std::uint64_t steps_more : {std::uint64_t{0}, steps_before_the_stop(scenario, random)}) {
      images.clear();
      const std::unique_ptr<Regions> old = at_the_end_of_an_old_server(scenario, steps_more, expected);
      const std::uint64_t steps = step_through([&] { old->table().shard(0).end_upkeep(); },
                                               [&](std::uint64_t) { Image::add(images, old->view()); });
      ASSERT_GT(steps, 0u);
      EXPECT_TRUE(scenario.split_steps == 0 || steps_more != 0 || images.size() > 1u) << "a split was in progress";
      report(scenario, "the end of its splits", steps_more, steps, images, expected);
    }
    images.clear();
    const std::uint64_t steps_more = steps_before_the_stop(scenario, random);
    const std::unique_ptr<Regions> old = at_the_end_of_an_old_server(scenario, steps_more, expected);
    // The first summary also ends the helper thread, which a forked child does not have.
    write_summary(old->journal(), old->table());
    remove_summary(old->journal(), true);
    const std::uint64_t steps = step_through([&] { write_summary(old->journal(), old->table()); },
                                             [&](std::uint64_t) { Image::add(images, old->view()); });
    EXPECT_GT(images.size(), 1u);
    EXPECT_FALSE(read_summary(old->journal(), old->table().header()).empty());
    report(scenario, "its summary", steps_more, steps, images, expected);
  }
  static void report(const Scenario& scenario, const char* what, std::uint64_t steps_more, std::uint64_t steps,
                     const std::vector<Image>& images, const Expected& expected) {
    const std::size_t violations =
        count_violations(images, scenario.name, [&](const Image& image) { return violation(image, expected); });
    std::printf("%s and %lu steps, %s: %lu instructions, %zu distinct images, %zu violations\n", scenario.name,
                static_cast<unsigned long>(steps_more), what, static_cast<unsigned long>(steps), images.size(),
                violations);
  }
  // Where the request ring is empty.
  static std::uint64_t expected_end(const Scenario& scenario, std::uint64_t position) {
    if (scenario.split_steps == 0) return position;
    std::unique_ptr<Regions> regions;
    Expected own = expected_of(scenario);
    prepare(regions, scenario, own);
    work(*regions, scenario);
    return regions->request_position();
  }
};
class RestartStepsOfFullMemorySlow : public RestartSteps {};

// A server stops in order, for a later start or a takeover, after it has read a part of a put, or none. The client withdraws the
// put while no server runs. (WithdrawnPut is for the kills.)
class RestartOfAWithdrawnPut : public RestartSteps {
 protected:
  static std::string violation_after_a_stop(const std::string& key, std::size_t value_bytes, bool is_read) {
    const Call put{.key = key, .value = letters(value_bytes, 's'), .answered = false, .withdrawn = true};
    const Call next{.key = "next", .value = "short", .answered = false};
    const Scenario scenario{"WithdrawnPut", {{.key = key, .value = letters(40, 'o')}}, {put, next}};
    Expected expected = expected_of(scenario);
    Regions old;
    for (const Call& call : scenario.before) old.call(call);
    expected.first_answer = old.answer_position();
    const std::uint64_t sent = old.send_a_part(put);
    if (is_read) old.work();
    EXPECT_EQ(Journal(old.journal()).position(0, 0).stream_entry.load() != 0, is_read) << "the put is under way";
    old.table().shard(0).end_upkeep();
    write_summary(old.journal(), old.table());
    EXPECT_FALSE(read_summary(old.journal(), old.table().header()).empty());
    expected.end = old.withdraw(sent, next);
    return violation(Image(old.view()), expected);
  }
};

TEST_P(RestartSteps, AKillAtAnyInstructionIsRecoveredFrom) { every_kill_is_recovered_from(GetParam()); }
TEST_P(RestartStepsSlow, AKillAtAnyInstructionIsRecoveredFrom) { every_kill_is_recovered_from(GetParam()); }
TEST_P(RestartStepsOfFullMemorySlow, AKillAtAnyInstructionIsRecoveredFrom) { every_kill_is_recovered_from(GetParam()); }
TEST_P(RestartStepsSlow, AKillAtAnyInstructionOfARestartIsRecoveredFrom) {
  Random random;
  every_kill_of_a_restart_is_recovered_from(GetParam(), random, 1);
}
TEST_P(RestartStepsSoak, KillsAtAnyInstructionOfThreeRestartsInARowAreRecoveredFrom) {
  Random random;
  every_kill_of_a_restart_is_recovered_from(GetParam(), random, 3);
}

// Does the test detect a restart that omits a step? Instead of the step, its data are removed from the images.
TEST_P(TakeoverStepsSlow, AKillAtAnyInstructionIsRecoveredFrom) {
  Random random;
  every_kill_of_a_takeover_is_recovered_from(GetParam(), random);
}
TEST_P(TakeoverStepsSlow, AKillOfTheOldServerAtAnyInstructionIsRecoveredFrom) {
  Random random;
  every_kill_of_the_old_server_is_recovered_from(GetParam(), random);
}

TEST_F(RestartOfAWithdrawnPut, AfterAStopInOrderTheNextServerDropsIt) {
  for (const std::string& key : {std::string("key"), std::string("8 bytes!"), letters(kLongKey, 'k')}) {
    for (const std::size_t value_bytes : {std::size_t{3000}, std::size_t{20'000}, std::size_t{100'000}}) {
      for (const bool is_read : {true, false}) {
        EXPECT_EQ(violation_after_a_stop(key, value_bytes, is_read), "")
            << "a key of " << key.size() << " and a value of " << value_bytes
            << " bytes, a part of it read: " << is_read;
      }
    }
  }
}

// What is only in a server's own memory: that a client waits for a key, and leases. Whatever a kill leaves, the change of the key raises
// the word on which the client may sleep; a lease is held if the server that granted it runs, and is free otherwise; numbers of
// leases grow; and each request has one answer.
class RestartStepsOfLeases : public RestartSteps {
 protected:
  static constexpr std::size_t kCalls = 7;
  enum : std::size_t { kWatches, kLeases, kPuts, kReleases, kLeasesOther, kLeasesAgain, kLeasesOtherAgain };

  RestartStepsOfLeases() {
    std::uint32_t shard;
    const std::uint64_t hash = regions_.table().hash(bytes_of("key"), shard).hash;
    group_ = wait_group_of(hash);
    const auto lease = [&](std::string_view key) {
      return Call{.op = Op::kLease,
                  .value = stored(regions_.table().hash(bytes_of(key), shard).hash) + stored(kLater) + stored(0l)};
    };
    regions_.call({.key = "key", .value = "old"});
    first_answer_ = regions_.answer_position();
    const Call release{.op = Op::kRelease,
                       .value = stored(regions_.table().hash(bytes_of("lock"), shard).hash) + stored(1l) + stored(0l)};
    for (const Call& call :
         {Call{.op = Op::kWatch, .value = stored(std::uint64_t{group_})}, lease("lock"),
          Call{.key = "key", .value = "new"}, release, lease("other"), lease("lock"), lease("other")}) {
      regions_.send(call);
    }
  }

  std::vector<Image> all_images() {
    std::vector<Image> images;
    EXPECT_GT(step_through([&] { regions_.work(); }, [&](std::uint64_t) { Image::add(images, regions_.view()); }), 0u);
    end_ = regions_.request_position();
    return images;
  }

  std::uint32_t word(const Region& table) const {
    return table.at<WaitGroupWords>(kWaitGroupsOffset)->words[group_].load();
  }

  std::string violation(const Image& image) const {
    const InstanceName name = Regions::lay_out(image);
    // How many requests the killed server has answered.
    const std::size_t answered = Regions::answers_in(Regions::connection_of(name), first_answer_).size();
    const Region table = Regions::table_of(name);
    const std::uint32_t word_before = word(table);
    const bool was_changed = get_with_end(TableReader(table.data(), table.bytes()), "key").value == "new";
    Regions next(name);
    const std::uint32_t word_started = word(table);
    next.work();
    if (!next.findings().empty()) return "the table is broken: " + next.findings().front();
    if (next.request_position() != end_) return "the ring is not empty";
    if (next.content({"key"}) != Content{{"key", "new"}}) return "the change is lost";
    if (!was_changed && word(table) == word_before) return "a client that waits is not woken";
    if (answered <= kWatches && word(table) == word_started) return "the new server does not know who waits";
    return violation(next.whole_answers_from(first_answer_), answered);
  }

  static std::string violation(const std::vector<Regions::Answer>& answers, std::size_t answered) {
    if (answers.size() != kCalls) return std::to_string(answers.size()) + " answers";
    const auto old_server = [&](std::size_t call) { return answered > call; };
    std::uint64_t last_number = 0;
    std::array<LeaseAnswer, kCalls> leases{};
    for (std::size_t call = 0; call < kCalls; ++call) {
      const auto& [code, value] = answers[call];
      const std::string which = "call " + std::to_string(call) + " after " + std::to_string(answered) + " answers: ";
      if (call == kReleases) {
        const bool is_held = old_server(kReleases);  // by this number
        if (code != (is_held ? StatusCode::kOk : StatusCode::kNotFound)) return which + "the release is answered wrong";
        continue;
      }
      if (code != StatusCode::kOk) return which + "it has failed";
      if (call == kWatches || call == kPuts) continue;
      if (value.size() != sizeof(LeaseAnswer)) return which + "it is too short";
      std::memcpy(&leases[call], value.data(), sizeof leases[call]);
      const std::size_t former = call == kLeasesAgain ? kLeases : call == kLeasesOtherAgain ? kLeasesOther : kCalls;
      const bool is_held =
          former != kCalls && old_server(former) == old_server(call) && !(former == kLeases && old_server(kReleases));
      if (leases[call].state() != (is_held ? LeaseState::kHeld : LeaseState::kGranted)) return which + "wrong state";
      if (is_held) {
        if (leases[call].number != leases[former].number) return which + "another lease is held";
        continue;
      }
      if (leases[call].number <= last_number) return which + "the number does not grow";
      last_number = leases[call].number;
    }
    return {};
  }

  Regions regions_;
  std::uint32_t group_ = 0;
  std::uint64_t first_answer_ = 0;
  std::uint64_t end_ = 0;
};

TEST_F(RestartStepsOfLeases, AKillAtAnyInstructionIsRecoveredFrom) {
  const std::vector<Image> images = all_images();
  EXPECT_GT(images.size(), kCalls);
  const std::size_t violations =
      count_violations(images, "leases", [&](const Image& image) { return violation(image); });
  std::printf("%zu distinct images, %zu violations\n", images.size(), violations);
}

TEST_F(RestartStepsOfLeases, AKillAtAnyInstructionOfTheRestartIsRecoveredFrom) {
  Random random;
  const std::vector<Image> images = all_images();
  const std::size_t chosen = random.below(images.size());
  std::uint64_t steps = 0;
  const std::vector<Image> later = images_of_a_restart(images[chosen], steps);
  ASSERT_GT(steps, 0u);
  count_violations(later, "restart from image " + std::to_string(chosen),
                   [&](const Image& image) { return violation(image); });
}

class RestartCanary : public RestartSteps {
 protected:
  // Is some image a violation once `spoil` has changed its journal?
  static bool found(const char* scenario, const std::function<void(JournalHeader&, ChannelPosition&)>& spoil) {
    for (const Scenario& candidate : scenarios()) {
      if (std::string(candidate.name) != scenario) continue;
      Expected expected;
      std::vector<Image> images = step(candidate, expected);
      std::printf("\n");
      for (Image& image : images) {
        std::byte* journal = image.parts[0].bytes.data();
        spoil(*reinterpret_cast<JournalHeader*>(journal),
              *reinterpret_cast<ChannelPosition*>(journal + positions_offset(2)));
        if (!violation(image, expected).empty()) return true;
      }
      return false;
    }
    throw std::runtime_error("no such scenario");
  }
  static void set_kind(JournalHeader& journal, IntentKind kind) {
    journal.intents[0].kind = static_cast<std::uint64_t>(kind);
  }
};

TEST_F(RestartCanary, WithoutTheRecordARequestIsAppliedTwice) {
  EXPECT_TRUE(
      found("Increment", [](JournalHeader& journal, ChannelPosition&) { set_kind(journal, IntentKind::kOpen); }));
}
TEST_F(RestartCanary, WithoutTheCheckOfTheTableARequestIsLost) {
  // Read as a bit of a pair bucket's header, the cell's lowest bit is always off, as if the request were applied.
  EXPECT_TRUE(found("Increment", [](JournalHeader& journal, ChannelPosition&) {
    if (journal.intents[0].kind == static_cast<std::uint64_t>(IntentKind::kCell))
      set_kind(journal, IntentKind::kPairErase);
  }));
}
TEST_F(RestartCanary, WithoutItsCellAMoveStaysIncomplete) {
  const auto forget = [](JournalHeader& journal, ChannelPosition&) { journal.intents[0].move_cell = 0; };
  EXPECT_TRUE(found("PairBecomesEntry", forget));
  EXPECT_TRUE(found("EntryBecomesPair", forget));
}
TEST_F(RestartCanary, WithoutTheMemosAStreamIsLost) {
  EXPECT_TRUE(found("StreamedPut", [](JournalHeader&, ChannelPosition& where) {
    for (ChannelMemo& memo : where.memos) memo.received = kNoStream;
  }));
}
TEST_F(RestartCanary, WithOnlyThePositionOfTheAnswerTheRequestIsRepeated) {
  EXPECT_TRUE(
      found("Increment", [](JournalHeader& journal, ChannelPosition&) { journal.intents[0].request_next = 0; }));
}

// A split was in progress in a chain whose link was damaged: the restart reports it and continues.
class RestartDamage : public RestartSteps {
 protected:
  // The keys of the calls.
  static std::vector<std::string> call_all(Regions& regions, const std::vector<Call>& calls) {
    std::vector<std::string> keys;
    for (const Call& call : calls) {
      regions.call(call);
      keys.push_back(call.key);
    }
    return keys;
  }
  // Recovers each image in which a split of the form is in progress, after `damage` was applied to its first bucket.
  template <typename Bucket>
  static std::size_t recovered(const char* name, const std::function<void(Bucket&)>& damage) {
    std::size_t count = 0;
    for (const Scenario& scenario : scenarios()) {
      if (std::string(scenario.name) != name) continue;
      Expected expected;
      for (Image& image : step(scenario, expected)) {
        auto& header = *reinterpret_cast<TableHeader*>(image.parts[1].bytes.data());
        constexpr bool kPairs = std::is_same_v<Bucket, PairBucket>;
        const std::uint64_t twin = kPairs ? header.shards[0].pair_twin : header.shards[0].entry_twin;
        if (twin_phase(twin) != kTwinPurge) continue;
        const auto* directory = reinterpret_cast<const Word*>(image.parts[kPairs ? 2 : 3].bytes.data());
        const std::uint64_t segment = directory[2].load() - image.parts[5].offset;
        damage(reinterpret_cast<Bucket*>(image.parts[5].bytes.data() + segment)[kSegmentBuckets<Bucket> - 1]);
        Regions next(Regions::lay_out(image));
        EXPECT_GT(next.dropped(), 0u);
        next.work();
        EXPECT_EQ(next.request_position(), expected.end) << "it serves the rest of the requests";
        ++count;
      }
      std::printf(", %zu of them recovered from damage\n", count);
    }
    return count;
  }
};

constexpr std::uint64_t kNowhere = kOffsetMask & ~std::uint64_t{127};

TEST_F(RestartDamage, ALinkOfPairsThatLeadsNowhere) {
  EXPECT_GT(recovered<PairBucket>("PurgeOfPairs",
                                  [](PairBucket& bucket) {
                                    bucket.link = kNowhere;
                                    bucket.header = bucket.header | kOverflowBit;
                                  }),
            0u);
}
TEST_F(RestartDamage, ACellThatLeadsNowhere) {
  EXPECT_GT(
      recovered<EntryBucket>("PurgeOfEntries", [](EntryBucket& bucket) { bucket.cells[2] = make_cell(7, kNowhere); }),
      0u);
}

// Only the connection whose record in the journal is damaged is closed.
TEST_F(RestartDamage, ARecordOfAConnection) {
  Regions regions;
  const std::vector<std::string> keys = call_all(regions, puts(0, 6, true));
  const Content expected = regions.content(keys);
  using Spoil = void (*)(ConnectionRecord&, ChannelPosition&);
  for (const Spoil spoil : {
           Spoil([](ConnectionRecord&record, ChannelPosition&) { record.channels_open = 0b101; }),  // there are two
           Spoil([](ConnectionRecord&record, ChannelPosition&) { record.channels_open = ~std::uint64_t{0}; }),
           Spoil([](ConnectionRecord&, ChannelPosition&where) { where.request_next = 8; }),
           Spoil([](ConnectionRecord&, ChannelPosition&where) { where.answer_next = 24; }),
       }) {
    Image image(regions.view());
    std::byte* journal = image.parts[0].bytes.data();
    spoil(*reinterpret_cast<ConnectionRecord*>(journal + kConnectionRecordsOffset),
          *reinterpret_cast<ChannelPosition*>(journal + positions_offset(2)));
    Regions next(Regions::lay_out(image));
    EXPECT_EQ(next.given_up(), 1u);
    EXPECT_FALSE(next.has_connection());
    EXPECT_TRUE(next.name().connection_files().empty()) << "its region is removed";
    EXPECT_EQ(next.content(keys), expected);
    EXPECT_EQ(next.findings(), std::vector<std::string>());
  }
}

// A server stops when a connection has just ended in the middle of a stream: the stream's block belongs to another entry
// since, and the next server, which gets the summary of used memory, does not assign it to the stream again.
TEST(Restart, TheBlockOfADroppedStreamBelongsToItsNewEntry) {
  constexpr std::size_t kLong = 20'000;
  Regions regions;
  regions.send_a_part_and_leave({.key = "12345", .value = letters(kLong, 's')});
  const std::uint64_t block = Journal(regions.journal()).position(0, 0).stream_entry.load();
  ASSERT_NE(block, 0u);
  regions.let_go_of_connection();
  ShardWriter& shard = regions.table().shard(0);
  std::uint32_t number;
  const HashedKey key = regions.table().hash(bytes_of("other"), number);
  ASSERT_EQ(shard.put(key, bytes_of(letters(kLong, 'o'))), StatusCode::kOk);
  shard.intent().end();
  ASSERT_EQ(shard.find(key).entry, block);
  write_summary(regions.journal(), regions.table());
  ASSERT_FALSE(read_summary(regions.journal(), regions.table().header()).empty());

  Regions next(regions.name());
  EXPECT_EQ(next.given_up(), 0u);
  EXPECT_EQ(next.released(), 1u) << "its client had left";
  EXPECT_FALSE(next.has_connection());
  EXPECT_EQ(next.dropped(), 0u);
  const HashedKey third = next.table().hash(bytes_of("third"), number);
  ASSERT_EQ(next.table().shard(0).put(third, bytes_of(letters(kLong, 't'))), StatusCode::kOk);
  const Content expected{{"other", letters(kLong, 'o')}, {"third", letters(kLong, 't')}};
  EXPECT_EQ(next.content({"other", "third"}), expected);
}

// States that no split produces are refused, and the next start begins with an empty map.
TEST_F(RestartDamage, AnImpossibleState) {
  Regions regions;
  call_all(regions, puts(0, 6, true));
  for (const std::uint64_t state : {make_state(39), make_state(6), std::uint64_t{0}}) {
    for (Word ShardHeader::*word : {&ShardHeader::pair_state, &ShardHeader::entry_state}) {
      Image image(regions.view());
      reinterpret_cast<TableHeader*>(image.parts[1].bytes.data())->shards[0].*word = state;
      const InstanceName name = Regions::lay_out(image);
      EXPECT_THROW(Regions next(name), Refused) << std::hex << state;
      Regions::remove(name);
    }
  }
}

// Only the entry whose size is damaged is dropped; the others in the same slab stay.
TEST_F(RestartDamage, AnEntryWithAWrongSize) {
  Regions regions;
  const std::vector<std::string> keys = call_all(regions, puts(0, 6, false));
  Content expected = regions.content(keys);
  regions.send({.key = "key 9", .value = "sent before the kill"});
  for (const std::uint64_t meta : {std::uint64_t{0}, ~std::uint64_t{0}, make_meta(5, 100'000), make_meta(5, 60)}) {
    Image image(regions.view());
    const EntryBucket& bucket =
        regions.table().region().at<EntryBucket>(regions.table().shard(0).segments()[1].first)[0];
    std::uint64_t entry = 0;
    for (std::uint64_t i = 0; i < kSegmentBuckets<EntryBucket> && entry == 0; ++i) {
      entry = cell_offset((&bucket)[i].cells[0].load());
    }
    ASSERT_NE(entry, 0u);
    std::byte* place = image.parts[5].bytes.data() + (entry - image.parts[5].offset);
    const std::string key(reinterpret_cast<const char*>(place + kEntryMetaBytes), 5);
    std::memcpy(place, &meta, sizeof meta);
    Regions next(Regions::lay_out(image));
    EXPECT_EQ(next.dropped(), 1u);
    Content rest = expected;
    EXPECT_EQ(rest.erase(key), 1u) << key;
    EXPECT_EQ(next.content(keys), rest);
    EXPECT_EQ(next.findings(), std::vector<std::string>());
    next.work();
    EXPECT_EQ(next.content({"key 9"})["key 9"], "sent before the kill") << "it serves";
  }
}

std::vector<Scenario> some(bool quick) {
  std::vector<Scenario> chosen;
  for (Scenario& scenario : scenarios()) {
    const std::string name = scenario.name;
    const bool is_quick =
        name == "ErasePair" || name == "PairBecomesEntry" || name == "Increment" || name == "StreamedPut";
    if (name.starts_with("Full")) continue;  // below
    if (is_quick == quick) chosen.push_back(std::move(scenario));
  }
  return chosen;
}

std::vector<Scenario> of_changes_of_segments() {
  std::vector<Scenario> chosen = scenarios();
  std::erase_if(chosen, [](const Scenario& scenario) { return scenario.split_steps == 0 && scenario.splits == 0; });
  return chosen;
}

std::vector<Scenario> of_full_memory() {
  std::vector<Scenario> chosen = scenarios();
  std::erase_if(chosen, [](const Scenario& scenario) { return !std::string(scenario.name).starts_with("Full"); });
  return chosen;
}

INSTANTIATE_TEST_SUITE_P(Of, RestartStepsOfFullMemorySlow, testing::ValuesIn(of_full_memory()),
                         [](const auto& test) { return test.param.name; });
INSTANTIATE_TEST_SUITE_P(Of, TakeoverStepsSlow, testing::ValuesIn(of_changes_of_segments()),
                         [](const auto& test) { return test.param.name; });
INSTANTIATE_TEST_SUITE_P(Of, RestartSteps, testing::ValuesIn(some(true)),
                         [](const auto& test) { return test.param.name; });
INSTANTIATE_TEST_SUITE_P(Of, RestartStepsSlow, testing::ValuesIn(some(false)),
                         [](const auto& test) { return test.param.name; });
INSTANTIATE_TEST_SUITE_P(Of, RestartStepsSoak, testing::ValuesIn(some(false)),
                         [](const auto& test) { return test.param.name; });

}  // namespace
}  // namespace hostmap::test
