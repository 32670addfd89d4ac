// A Result holds its value or its Status and takes care of the one that it holds.
#include <gtest/gtest.h>
#include <memory>
#include <string>
#include <utility>

#include <hostmap/status.hpp>

namespace hostmap::test {
namespace {

const std::string kLong(100, 'v');  // on the heap, so that the address sanitizer sees what is lost or freed twice

Status detailed() { return {StatusCode::kFull, "a detail that is long enough to lie on the heap, as the value does"}; }

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

TEST(ResultTest, WhatCannotBeCopiedCanBeMoved) {
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

}  // namespace
}  // namespace hostmap::test
