// A Result holds a value or a Status, and copies, moves and destroys it correctly.
#include <gtest/gtest.h>
#include <memory>
#include <set>
#include <sstream>
#include <string>
#include <string_view>
#include <utility>

#include <hostmap/status.hpp>

namespace hostmap::test {
namespace {

const std::string kLong(100, 'v');  // on the heap, so that the address sanitizer finds leaks and double frees

Status detailed() { return {StatusCode::kFull, "a detail that is long enough to lie on the heap, as the value does"}; }

TEST(StatusTest, PrintsTheNameOfItsCodeAndItsMessage) {
  std::ostringstream out;
  out << StatusCode::kNotFound << "; " << Status(StatusCode::kNotFound) << "; " << detailed() << "; " << Status();
  EXPECT_EQ(out.str(),
            "kNotFound; kNotFound: no such key; kFull: " + std::string(detailed().message()) + "; kOk: done");
}

TEST(StatusTest, EachCodeHasAnotherNameAndAnotherSentence) {
  std::set<std::string_view> names;
  std::set<std::string_view> sentences;
  constexpr int kCodes = 16;
  for (int code = 0; code < kCodes; ++code) {
    names.insert(name_of(static_cast<StatusCode>(code)));
    sentences.insert(describe(static_cast<StatusCode>(code)));
  }
  EXPECT_EQ(names.size(), std::size_t{kCodes});
  EXPECT_EQ(sentences.size(), std::size_t{kCodes});
  EXPECT_EQ(names.count("unknown"), 0u);
  EXPECT_EQ(name_of(static_cast<StatusCode>(kCodes)), "unknown");
}

TEST(ResultTest, HoldsAValueOrAStatus) {
  const Result<std::string> value(kLong);
  EXPECT_TRUE(value);
  EXPECT_EQ(*value, kLong);
  EXPECT_EQ(value->size(), kLong.size());
  EXPECT_TRUE(value.status().ok());
  const Result<std::string> made(std::in_place, 3u, 'x');
  EXPECT_EQ(*made, "xxx");
  const Result<std::string> failed(detailed());
  EXPECT_FALSE(failed);
  EXPECT_EQ(failed.status(), StatusCode::kFull);
  EXPECT_EQ(failed.status().message(), detailed().message());
  const Result<std::string> code(StatusCode::kNotFound);
  EXPECT_FALSE(code);
  EXPECT_EQ(code.status(), StatusCode::kNotFound);
}

TEST(ResultTest, IsCopiedAndMovedBetweenBothStates) {
  const Result<std::string> value(kLong);
  const Result<std::string> failed(detailed());
  for (const Result<std::string>* from : {&value, &failed}) {
    for (const Result<std::string>* to : {&value, &failed}) {
      Result<std::string> copy(*to);
      copy = *from;
      EXPECT_EQ(static_cast<bool>(copy), static_cast<bool>(*from));
      EXPECT_EQ(copy.status().message(), from->status().message());
      if (copy) {
        EXPECT_EQ(*copy, kLong);
      }
      Result<std::string> moved(*to);
      moved = std::move(copy);
      EXPECT_EQ(static_cast<bool>(moved), static_cast<bool>(*from));
      EXPECT_EQ(moved.status().message(), from->status().message());
      const Result<std::string> built(std::move(moved));
      EXPECT_EQ(static_cast<bool>(built), static_cast<bool>(*from));
      EXPECT_EQ(built.status().message(), from->status().message());
    }
  }
  Result<std::string> itself(kLong);
  Result<std::string>& alias = itself;
  itself = alias;
  EXPECT_EQ(*itself, kLong);
}

TEST(ResultTest, MoveOnlyValuesCanBeMoved) {
  using Owner = std::unique_ptr<int>;
  static_assert(!std::is_copy_constructible_v<Result<Owner>>);
  static_assert(!std::is_copy_assignable_v<Result<Owner>>);
  static_assert(std::is_nothrow_move_constructible_v<Result<Owner>>);
  Result<Owner> first(std::make_unique<int>(7));
  Result<Owner> second(std::move(first));
  ASSERT_TRUE(second);
  EXPECT_EQ(**second, 7);
  const Owner out = *std::move(second);
  EXPECT_EQ(*out, 7);
}

TEST(ResultTest, ValueAndValueOrGiveTheValueOfEachKindOfReference) {
  Result<std::string> result(kLong);
  const Result<std::string>& constant = result;
  EXPECT_TRUE(result.has_value());
  EXPECT_EQ(result.value(), kLong);
  EXPECT_EQ(constant.value(), kLong);
  EXPECT_EQ(constant.value_or("other"), kLong);
  result.value() = "changed";
  EXPECT_EQ(*constant, "changed");
  EXPECT_EQ(*std::move(constant), "changed");
  EXPECT_EQ(Result<std::string>(kLong).value(), kLong);
  EXPECT_EQ(Result<std::string>(kLong).value_or("other"), kLong);
  const Result<std::string> failed(detailed());
  EXPECT_FALSE(failed.has_value());
  EXPECT_EQ(failed.value_or("other"), "other");
  EXPECT_EQ(Result<std::string>(StatusCode::kNotFound).value_or(kLong), kLong);
  Result<std::unique_ptr<int>> owner(std::make_unique<int>(7));
  EXPECT_EQ(*std::move(owner).value_or(nullptr), 7);
}

#if !defined(NDEBUG) && GTEST_HAS_DEATH_TEST
// With a value they work; without one, the caller's mistake ends the process at once, before a missing value is read.
TEST(ResultDeathTest, AccessWithoutAValueIsAsserted) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  const Result<std::string> failed(StatusCode::kNotFound);
  Result<std::string> changeable(StatusCode::kNotFound);
  EXPECT_DEATH(static_cast<void>(*failed), "has_value");
  EXPECT_DEATH(static_cast<void>(*changeable), "has_value");
  EXPECT_DEATH(static_cast<void>(failed->size()), "has_value");
  EXPECT_DEATH(static_cast<void>(changeable->size()), "has_value");
  EXPECT_DEATH(static_cast<void>(std::string(*Result<std::string>(StatusCode::kTimeout))), "has_value");
}
#endif

#if GTEST_HAS_DEATH_TEST
TEST(ResultDeathTest, ValueWithoutAValueEndsTheProcessWithTheReason) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  const Result<std::string> failed(StatusCode::kNotFound);
  EXPECT_DEATH(static_cast<void>(failed.value()), "no such key");
  EXPECT_DEATH(static_cast<void>(Result<std::string>(detailed()).value()), "a detail that is long");
}
#endif

}  // namespace
}  // namespace hostmap::test
