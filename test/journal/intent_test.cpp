// A worker may be killed between any two instructions. The intent must then contain all of one request, or show that it is
// not complete. Every instruction is a step here.
#include "journal/intent.hpp"

#include <algorithm>
#include <array>
#include <bitset>
#include <gtest/gtest.h>

#include "layout/journal.hpp"
#include "support/aligned_memory.hpp"
#include "support/stepper.hpp"

namespace hostmap::test {
namespace {

// Never kOpen.
IntentKind kind_of(std::uint64_t n) { return static_cast<IntentKind>(1 + n % 8); }

// Request number `n`: every field depends on the number.
void begin(IntentWriter& writer, std::uint64_t n) {
  writer.choose(n * 1000 + 1, n * 1000 + 2);
  writer.begin(n * 1000 + 3, n * 1000 + 4);
  writer.begin_answer(n * 1000 + 5, n * 1000 + 6);
}
void seal(IntentWriter& writer, std::uint64_t n) {
  writer.seal({kind_of(n), n * 1000 + 7, n * 1000 + 8}, {n * 1000 + 9, n * 1000 + 10});
}

// The sealed fields except `kind`.
std::array<std::uint64_t, 10> fields_of(const Intent& intent) {
  return {intent.serial.load(),    intent.channel.load(),   intent.request_next.load(), intent.answer_next.load(),
          intent.answer[0].load(), intent.answer[1].load(), intent.place.load(),        intent.new_word.load(),
          intent.move_cell.load(), intent.move_word.load()};
}
IntentKind kind_now(const Intent& intent) { return static_cast<IntentKind>(intent.kind.load()); }

// Do all fields of the record belong to request `n`?
bool is_whole(const Intent& intent, std::uint64_t n) {
  const auto fields = fields_of(intent);
  for (std::size_t i = 0; i < fields.size(); ++i) {
    if (fields[i] != n * 1000 + i + 1) return false;
  }
  return true;
}

void apply(IntentWriter& writer, std::uint64_t n, Word& committed) {
  begin(writer, n);
  seal(writer, n);
  committed.store(n, std::memory_order_release);
  writer.end();
}

class IntentTest : public testing::Test {
 protected:
  const AlignedMemory memory_{kPageSize};
  Intent& intent_ = memory_.at<Intent>(0);
  Word& committed_ = memory_.at<Word>(sizeof(Intent));  // in place of the word in the table
  IntentWriter writer_{intent_};
};

TEST_F(IntentTest, ASealedRecordContainsTheRequest) {
  begin(writer_, 3);
  seal(writer_, 3);
  EXPECT_EQ(kind_now(intent_), kind_of(3));
  EXPECT_TRUE(is_whole(intent_, 3));
}

TEST_F(IntentTest, ARecordIsOpenOnceItHasEndedAndUntilItIsSealed) {
  apply(writer_, 3, committed_);
  EXPECT_EQ(kind_now(intent_), IntentKind::kOpen);
  begin(writer_, 4);
  EXPECT_EQ(kind_now(intent_), IntentKind::kOpen);
}

// A request that moves nothing stores no field of a move, and one without an answer none of an answer; the record must not
// need these fields.
TEST_F(IntentTest, FieldsThatARequestDoesNotUseStayUnchanged) {
  apply(writer_, 3, committed_);
  writer_.begin(4003, 4004);
  writer_.seal({IntentKind::kValue, 4007, 4008});
  const std::array<std::uint64_t, 10> expected{3001, 3002, 4003, 4004, 3005, 3006, 4007, 4008, 3009, 3010};
  EXPECT_EQ(fields_of(intent_), expected);
}

// Several requests, one after the other; the record is examined after each instruction.
TEST_F(IntentTest, AtEveryInstructionTheSealIsCorrect) {
  constexpr std::uint64_t kFirst = 1;
  constexpr std::uint64_t kLast = 4;
  apply(writer_, kFirst, committed_);
  bool open_seen = false;
  std::bitset<kLast + 1> sealed_requests;
  int mixed = 0;
  const std::uint64_t steps = step_through(
      [this] {
        for (std::uint64_t n = kFirst + 1; n <= kLast; ++n) apply(writer_, n, committed_);
      },
      [&](std::uint64_t step) {
        const std::uint64_t committed = committed_.load();
        std::uint64_t whole = 0;
        for (std::uint64_t n = kFirst; n <= kLast; ++n) whole = is_whole(intent_, n) ? n : whole;
        if (whole == 0) ++mixed;
        const IntentKind kind = kind_now(intent_);
        if (kind == IntentKind::kOpen) {  // no request is in progress: the last one is committed, the next one is not
          open_seen = true;
          return;
        }
        // Complete, and either committed or not.
        ASSERT_NE(whole, 0u) << "sealed with fields of two requests at step " << step;
        ASSERT_EQ(kind, kind_of(whole)) << "step " << step;
        ASSERT_TRUE(committed == whole || committed == whole - 1) << "step " << step;
        sealed_requests.set(whole);
      });
  EXPECT_GT(steps, 60u);
  EXPECT_TRUE(open_seen);
  EXPECT_EQ(sealed_requests.count(), kLast - kFirst);
  EXPECT_GT(mixed, 10) << "fields of two requests were never seen together: the test proves nothing";
  EXPECT_TRUE(is_whole(intent_, kLast));
}

// No commit comes before its seal: at any step, each committed request was sealed.
TEST_F(IntentTest, NothingIsCommittedBeforeItIsSealed) {
  apply(writer_, 1, committed_);
  std::uint64_t last_sealed = 1;
  bool committed_seen = false;
  step_through([this] { apply(writer_, 2, committed_); },
               [&](std::uint64_t step) {
                 if (kind_now(intent_) == kind_of(2) && is_whole(intent_, 2)) last_sealed = 2;
                 ASSERT_LE(committed_.load(), last_sealed) << "step " << step;
                 committed_seen = committed_seen || committed_.load() == 2;
               });
  EXPECT_TRUE(committed_seen);
}

}  // namespace
}  // namespace hostmap::test
