// Histories that the checker must accept, and histories that it must reject.
#include "process/harness/history.hpp"

#include <gtest/gtest.h>

namespace hostmap::test {
namespace {

Operation put(std::int64_t begin, std::int64_t end, std::uint64_t value) {
  return {begin, end, 0, Operation::kPut, value, 0};
}
Operation get(std::int64_t begin, std::int64_t end, std::uint64_t value) {
  return {begin, end, 0, Operation::kGet, 0, value};
}
Operation exchange(std::int64_t begin, std::int64_t end, std::uint64_t old, std::uint64_t value) {
  return {begin, end, 0, Operation::kExchange, value, old};
}
Operation clear(std::int64_t begin, std::int64_t end) { return {begin, end, 0, Operation::kClear, 0, 0}; }
Operation increment(std::int64_t begin, std::int64_t end, std::uint64_t number) {
  return {begin, end, 0, Operation::kIncrement, 0, number};
}

TEST(HistoryOfARegister, PossibleHistoriesAreAccepted) {
  EXPECT_EQ(contradiction_of_register({}), "");
  EXPECT_EQ(contradiction_of_register({get(1, 2, 0), put(3, 4, 7), get(5, 6, 7)}), "");
  EXPECT_EQ(contradiction_of_register({put(1, 10, 7), get(2, 3, 0), get(4, 5, 7)}), "")
      << "while it is written, either";
  EXPECT_EQ(contradiction_of_register({put(1, 10, 7), put(2, 9, 8), get(11, 12, 7), get(13, 14, 7)}), "");
  EXPECT_EQ(contradiction_of_register({put(1, kOpen, 7), get(5, 6, 0), get(50, 60, 7)}), "") << "an open write, late";
  EXPECT_EQ(contradiction_of_register({put(1, kOpen, 7), put(3, 4, 8), get(50, 60, 8)}), "") << "or never";
  EXPECT_EQ(contradiction_of_register({put(1, 2, 7), exchange(3, 4, 7, 8), get(5, 6, 8)}), "");
}

TEST(HistoryOfARegister, ImpossibleHistoriesAreRejected) {
  EXPECT_NE(contradiction_of_register({put(1, 2, 7), get(3, 4, 0)}), "") << "a lost write";
  EXPECT_NE(contradiction_of_register({put(1, 2, 7), put(3, 4, 8), get(5, 6, 7)}), "") << "a stale read";
  EXPECT_NE(contradiction_of_register({put(1, 10, 7), get(2, 3, 7), get(4, 5, 0)}), "") << "back in time";
  EXPECT_NE(contradiction_of_register({put(1, 10, 7), put(1, 10, 8), get(11, 12, 7), get(13, 14, 8), get(15, 16, 7)}),
            "")
      << "to and fro";
  EXPECT_NE(contradiction_of_register({get(1, 2, 7), put(3, 4, 7)}), "") << "before it was written";
  EXPECT_NE(contradiction_of_register({get(1, 2, 7)}), "") << "never written";
  EXPECT_NE(contradiction_of_register({put(1, 2, 7), exchange(3, 9, 7, 8), exchange(3, 9, 7, 9)}), "")
      << "exchanged twice";
}

TEST(HistoryOfARegister, PossibleHistoriesWithClearsAreAccepted) {
  EXPECT_EQ(contradiction_of_register({put(1, 2, 7), clear(3, 4), get(5, 6, 0), put(7, 8, 9), get(9, 10, 9)}), "");
  EXPECT_EQ(contradiction_of_register({put(1, 2, 7), clear(3, 10), get(4, 5, 7), get(6, 7, 0)}), "") << "either";
  EXPECT_EQ(contradiction_of_register({put(1, 10, 7), clear(2, 9), get(11, 12, 7)}), "") << "the clear came first";
  EXPECT_EQ(contradiction_of_register({put(1, 10, 7), clear(2, 9), get(11, 12, 0)}), "") << "or the put";
  EXPECT_EQ(contradiction_of_register({put(1, 2, 7), clear(3, kOpen), get(50, 60, 7), get(70, 80, 0)}), "") << "late";
  EXPECT_EQ(contradiction_of_register({put(1, 2, 7), clear(3, kOpen), get(50, 60, 7)}), "") << "or never";
  EXPECT_EQ(contradiction_of_register({clear(1, 2), clear(3, 4), get(5, 6, 0), put(7, kOpen, 7), get(8, 9, 0)}), "");
}

TEST(HistoryOfARegister, ImpossibleHistoriesWithClearsAreRejected) {
  EXPECT_NE(contradiction_of_register({put(1, 2, 7), clear(3, 4), get(5, 6, 7)}), "") << "a value that came back";
  EXPECT_NE(contradiction_of_register({put(1, 2, 7), get(3, 4, 0), clear(5, 6)}), "") << "absent before the clear";
  EXPECT_NE(contradiction_of_register({clear(1, 2), put(3, 4, 7), get(5, 6, 0)}), "") << "a lost write";
  EXPECT_NE(contradiction_of_register({clear(1, 9), put(10, 11, 7), get(12, 13, 7), get(14, 15, 0), get(16, 17, 7)}),
            "")
      << "away and back";
  EXPECT_NE(contradiction_of_register({clear(1, 2), put(3, 4, 7), put(5, 6, 8), get(7, 8, 7)}), "") << "a stale read";
  EXPECT_NE(contradiction_of_register({clear(1, 2), put(3, 4, 7), exchange(5, 9, 7, 8), exchange(5, 9, 7, 9)}), "");
}

constexpr std::int64_t kMs = 1'000'000;  // ends are rounded up to whole milliseconds

Operation with_ttl(Operation operation, std::int64_t ttl) {
  operation.ttl = ttl;
  return operation;
}
Operation erase(std::int64_t begin, std::int64_t end, std::uint64_t value) {
  return {begin, end, 0, Operation::kErase, 0, value};
}
Operation expire(std::int64_t begin, std::int64_t end, std::int64_t ttl) {
  return {begin, end, 0, Operation::kExpire, 0, 0, ttl};
}

TEST(HistoryOfAKeyThatEnds, PossibleHistoriesAreAccepted) {
  const Operation put_of_5ms = with_ttl(put(1 * kMs, 2 * kMs, 7), 5 * kMs);
  EXPECT_EQ(contradiction_of_register({put_of_5ms, get(3 * kMs, 4 * kMs, 7), get(8 * kMs, 9 * kMs, 0)}), "");
  EXPECT_EQ(contradiction_of_register({put_of_5ms, get(6 * kMs, 7 * kMs, 7)}), "") << "from 6 ms to 7 ms either";
  EXPECT_EQ(contradiction_of_register({put_of_5ms, get(5 * kMs, 6 * kMs + 1, 0)}), "");
  EXPECT_EQ(contradiction_of_register({put_of_5ms, put(3 * kMs, 4 * kMs, 8), get(50 * kMs, 51 * kMs, 8)}), "");
  EXPECT_EQ(contradiction_of_register({put_of_5ms, expire(3 * kMs, 4 * kMs, 50 * kMs), get(40 * kMs, 41 * kMs, 7)}),
            "");
  EXPECT_EQ(contradiction_of_register({put_of_5ms, expire(3 * kMs, 4 * kMs, kStays), get(90 * kMs, 91 * kMs, 7)}), "");
  EXPECT_EQ(contradiction_of_register({put_of_5ms, expire(3 * kMs, kOpen, 50 * kMs), get(40 * kMs, 41 * kMs, 7)}), "");
  EXPECT_EQ(contradiction_of_register({put_of_5ms, put(8 * kMs, 9 * kMs, 8), get(10 * kMs, 11 * kMs, 8)}), "");
  EXPECT_EQ(contradiction_of_register({put(1, 2, 7), expire(3, 4, kMs), get(3 * kMs, 4 * kMs, 0)}), "");
  EXPECT_EQ(contradiction_of_register({put(1, 2, 7), erase(3, 4, 7), get(5, 6, 0), put(7, 8, 9), get(9, 10, 9)}), "");
  EXPECT_EQ(contradiction_of_register({with_ttl(put(1, kOpen, 7), kMs), get(90 * kMs, 91 * kMs, 7)}), "")
      << "the moment from which the call counted is unknown";
}

TEST(HistoryOfAKeyThatEnds, ImpossibleHistoriesAreRejected) {
  const Operation put_of_5ms = with_ttl(put(1 * kMs, 2 * kMs, 7), 5 * kMs);
  EXPECT_NE(contradiction_of_register({put_of_5ms, get(7 * kMs, 8 * kMs, 7)}), "") << "seen after its end";
  EXPECT_NE(contradiction_of_register({put_of_5ms, get(3 * kMs, 4 * kMs, 0)}), "") << "absent before its end";
  EXPECT_NE(contradiction_of_register(
                {put_of_5ms, with_ttl(exchange(3 * kMs, 4 * kMs, 7, 8), kKeeps), get(7 * kMs, 8 * kMs, 8)}),
            "")
      << "the new value keeps the end";
  EXPECT_NE(contradiction_of_register({put_of_5ms, expire(8 * kMs, 9 * kMs, 50 * kMs), get(20 * kMs, 21 * kMs, 7)}), "")
      << "expire of a key that has lapsed";
  EXPECT_NE(contradiction_of_register({put_of_5ms, expire(3 * kMs, 4 * kMs, 10 * kMs), get(14 * kMs, 15 * kMs, 7)}),
            "");
  EXPECT_NE(contradiction_of_register({put_of_5ms, put(9 * kMs, 10 * kMs, 8), get(11 * kMs, 12 * kMs, 0)}), "")
      << "an end that was gone already";
  EXPECT_NE(contradiction_of_register({put(1, 2, 7), erase(3, 4, 7), get(5, 6, 7)}), "");
  EXPECT_NE(contradiction_of_register({put(1, 2, 7), erase(3, 9, 7), erase(3, 9, 7)}), "") << "erased twice";
  EXPECT_NE(
      contradiction_of_register({put(1, 2, 7), expire(3, 4, kMs), put(5 * kMs, 6 * kMs, 8), get(7 * kMs, 8 * kMs, 0)}),
      "");
}

// A put that keeps the end finds an unknown value.
TEST(HistoryOfAKeyThatEnds, APutThatKeepsTheEndEndsWithWhatItMayHaveReplaced) {
  const Operation put_of_5ms = with_ttl(put(1 * kMs, 2 * kMs, 7), 5 * kMs);
  const auto kept = [](std::int64_t begin, std::int64_t end, std::uint64_t value) {
    return with_ttl(put(begin, end, value), kKeepsIfThere);
  };
  const auto replaced = [](std::int64_t begin, std::int64_t end, std::uint64_t value) {
    return with_ttl(put(begin, end, value), kKeeps);
  };
  const auto seen = [](std::int64_t moment, std::uint64_t value) { return get(moment, moment + 1, value); };
  for (const auto& write : {kept(3 * kMs, 4 * kMs, 8), replaced(3 * kMs, 4 * kMs, 8)}) {
    EXPECT_EQ(contradiction_of_register({put_of_5ms, write, seen(5 * kMs, 8), seen(8 * kMs, 0)}), "");
    EXPECT_NE(contradiction_of_register({put_of_5ms, write, seen(7 * kMs, 8)}), "") << "seen after the end";
    EXPECT_NE(contradiction_of_register({put_of_5ms, write, seen(5 * kMs, 0)}), "") << "absent before it";
    EXPECT_EQ(contradiction_of_register({put_of_5ms, write, expire(5 * kMs, 6 * kMs - 1, 9 * kMs), seen(14 * kMs, 8)}),
              "");
    EXPECT_EQ(contradiction_of_register({put_of_5ms, write, put(5 * kMs, 6 * kMs, 9), seen(50 * kMs, 9)}), "");
    EXPECT_NE(contradiction_of_register({put(1, 2, 6), put_of_5ms, write, seen(7 * kMs, 8)}), "")
        << "the one before was replaced";
    EXPECT_EQ(contradiction_of_register({put(2 * kMs, 3 * kMs + 1, 6), put_of_5ms, write, seen(7 * kMs, 8)}), "")
        << "either was replaced";
    EXPECT_EQ(contradiction_of_register({put_of_5ms, expire(2 * kMs, kOpen, 9 * kMs), write, seen(90 * kMs, 8)}), "");
    EXPECT_NE(contradiction_of_register({put_of_5ms, write, replaced(4 * kMs, 5 * kMs, 9), seen(7 * kMs, 9)}), "")
        << "kept twice";
    EXPECT_NE(contradiction_of_register(
                  {put_of_5ms, write, with_ttl(exchange(4 * kMs, 5 * kMs, 8, 9), kKeeps), seen(7 * kMs, 9)}),
              "");
  }
  EXPECT_EQ(contradiction_of_register({kept(1, 2, 8), seen(90 * kMs, 8)}), "") << "there was nothing";
  EXPECT_EQ(contradiction_of_register({put_of_5ms, kept(7 * kMs, 8 * kMs, 8), seen(90 * kMs, 8)}), "") << "or no more";
  EXPECT_EQ(contradiction_of_register({put_of_5ms, kept(5 * kMs, 7 * kMs, 8), seen(90 * kMs, 8)}), "") << "either";
  EXPECT_EQ(contradiction_of_register(
                {put_of_5ms, kept(5 * kMs, 7 * kMs, 8), replaced(8 * kMs, 9 * kMs, 9), seen(90 * kMs, 9)}),
            "")
      << "and kept again";
  EXPECT_NE(contradiction_of_register({put_of_5ms, kept(8 * kMs, 9 * kMs, 8), seen(20 * kMs, 0)}), "")
      << "it stays, as there was nothing";
  EXPECT_NE(contradiction_of_register({put_of_5ms, replaced(5 * kMs, 7 * kMs, 8), seen(90 * kMs, 8)}), "")
      << "what replaces has found something";
}

TEST(HistoryOfACounter, BetweenClearsNoNumberOccursTwiceOrTooLate) {
  const auto verdict = [](const std::vector<Operation>& operations, const std::vector<Operation>& clears) {
    const CounterVerdict found = verdict_of_cleared_counter(operations, clears);
    return std::vector<std::uint64_t>{found.lost, found.duplicated, found.out_of_order};
  };
  const std::vector<std::uint64_t> fine{0, 0, 0};
  EXPECT_EQ(verdict({increment(1, 2, 1), increment(5, 6, 1), increment(7, 8, 2)}, {clear(3, 4)}), fine);
  EXPECT_EQ(verdict({increment(1, 2, 5), increment(3, 9, 1), increment(4, 9, 6)}, {clear(5, 6)}), fine);
  EXPECT_EQ(verdict({increment(1, 2, 1), increment(3, 4, 1)}, {clear(5, 6)}), (std::vector<std::uint64_t>{0, 1, 0}));
  EXPECT_EQ(verdict({increment(7, 8, 1), increment(9, 10, 1)}, {clear(5, 6)}), (std::vector<std::uint64_t>{0, 1, 0}));
  EXPECT_EQ(verdict({increment(7, 8, 2), increment(9, 10, 1)}, {clear(5, 6)}), (std::vector<std::uint64_t>{0, 0, 1}));
}

TEST(HistoryOfACounter, LostAndDuplicatedNumbersAreDistinguished) {
  const auto verdict = [](const std::vector<Operation>& operations, std::uint64_t last) {
    const CounterVerdict found = verdict_of_counter(operations, last);
    return std::vector<std::uint64_t>{found.lost, found.duplicated, found.out_of_order};
  };
  const std::vector<std::uint64_t> fine{0, 0, 0};
  EXPECT_EQ(verdict({increment(1, 2, 1), increment(3, 4, 2)}, 2), fine);
  EXPECT_EQ(verdict({increment(1, 2, 1), increment(1, kOpen, 0)}, 2), fine) << "an open one may have happened";
  EXPECT_EQ(verdict({increment(1, 2, 1), increment(1, kOpen, 0)}, 1), fine) << "or not";
  EXPECT_EQ(verdict({increment(1, 2, 1), increment(3, 4, 2)}, 1), (std::vector<std::uint64_t>{2, 0, 0}));
  EXPECT_EQ(verdict({increment(1, 2, 1), increment(3, 4, 3)}, 3), (std::vector<std::uint64_t>{0, 1, 0}));
  EXPECT_EQ(verdict({increment(1, 2, 1), increment(3, 4, 1)}, 2), (std::vector<std::uint64_t>{0, 1, 0}));
  EXPECT_EQ(verdict({increment(3, 4, 1), increment(1, 2, 2)}, 2), (std::vector<std::uint64_t>{0, 0, 1}));
}

}  // namespace
}  // namespace hostmap::test
