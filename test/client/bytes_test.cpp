// What Bytes can be made from, and that as_bytes_of gives the bytes of an object as they are.
#include <array>
#include <cstring>
#include <gtest/gtest.h>
#include <memory_resource>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <hostmap/bytes.hpp>

namespace hostmap::test {
namespace {

std::string text_of(const Bytes& bytes) { return {reinterpret_cast<const char*>(bytes.data()), bytes.size()}; }

enum class Letter : char { kA = 'a', kB = 'b' };

TEST(BytesTest, AreMadeFromEveryContiguousRangeOfBytes) {
  const std::vector<unsigned char> numbers{'a', 0, 'b'};
  std::vector<char> letters{'a', 0, 'b'};
  const std::array<std::byte, 3> bytes{std::byte{'a'}, std::byte{0}, std::byte{'b'}};
  const signed char array[] = {'a', 0, 'b'};
  const std::pmr::string text("a\0b", 3);
  const std::array<std::byte, 3>& all = bytes;
  const std::string expected("a\0b", 3);
  EXPECT_EQ(text_of(numbers), expected);
  EXPECT_EQ(text_of(letters), expected);
  EXPECT_EQ(text_of(bytes), expected);
  EXPECT_EQ(text_of(array), expected);
  EXPECT_EQ(text_of(text), expected);
  EXPECT_EQ(text_of(std::span(all)), expected);
  EXPECT_EQ(text_of(std::span(letters)), expected);
  EXPECT_EQ(text_of(std::vector<Letter>{Letter::kA, Letter::kB}), "ab");
  EXPECT_EQ(text_of(std::vector<unsigned char>{}), "");
}

TEST(BytesTest, ReferToTheMemoryOfTheirCaller) {
  const std::vector<unsigned char> numbers{1, 2, 3};
  const Bytes bytes = numbers;
  EXPECT_EQ(static_cast<const void*>(bytes.data()), numbers.data());
}

TEST(BytesTest, OfAnArrayOfCharactersEndAtItsZero) {
  const char buffer[16] = "text";
  EXPECT_EQ(text_of(buffer), "text");
  EXPECT_EQ(text_of("text"), "text");
  EXPECT_EQ(text_of(std::string_view(buffer, 16)).size(), 16u);
}

TEST(BytesTest, AreNotMadeFromWiderElementsOrScatteredOnes) {
  EXPECT_FALSE((std::convertible_to<std::vector<int>, Bytes>));
  EXPECT_FALSE((std::convertible_to<std::vector<bool>, Bytes>));
  EXPECT_FALSE((std::convertible_to<const char8_t(&)[5], Bytes>));
  EXPECT_FALSE((std::convertible_to<unsigned char*, Bytes>));
  EXPECT_FALSE((std::convertible_to<std::nullptr_t, Bytes>));
}

struct Position {
  std::int32_t x;
  std::int32_t y;
};

TEST(AsBytesOfTest, GivesTheBytesOfNumbersStructsAndArrays) {
  const Position position{1, -2};
  const Bytes bytes = as_bytes_of(position);
  ASSERT_EQ(bytes.size(), sizeof position);
  EXPECT_EQ(static_cast<const void*>(bytes.data()), &position);
  const std::uint64_t number = 0x0102'0304'0506'0708;
  EXPECT_EQ(text_of(as_bytes_of(number)), std::string("\x08\x07\x06\x05\x04\x03\x02\x01"));
  const int several[] = {1, 2, 3};
  EXPECT_EQ(as_bytes_of(several).size(), sizeof several);
}

TEST(AsBytesOfTest, RefusesWhatOnlyRefersToMemory) {
  EXPECT_TRUE(PlainValue<Position>);
  EXPECT_TRUE((PlainValue<std::array<double, 4>>));
  EXPECT_FALSE(PlainValue<const char*>);
  EXPECT_FALSE(PlainValue<std::string>);
  EXPECT_FALSE(PlainValue<std::string_view>);
  EXPECT_FALSE(PlainValue<std::span<int>>);
  EXPECT_FALSE(PlainValue<Bytes>);
  EXPECT_FALSE(PlainValue<char[5]>);  // is its zero meant, too?
  EXPECT_FALSE(PlainValue<int Position::*>);
}

}  // namespace
}  // namespace hostmap::test
