#include "base/token.hpp"

#include <gtest/gtest.h>
#include <set>
#include <string>

namespace hostmap::test {
namespace {

Token token(std::string_view text, std::uint64_t end = kNoEnd) { return token_of(std::as_bytes(std::span(text)), end); }

// Clients and servers that were built at different times must agree.
TEST(TokenTest, NeverChanges) {
  EXPECT_EQ(token("C++"), (Token{0x7f689ad2e9b2fb1d, 0x77c47d2e6b3d5f81}));
  EXPECT_EQ(token(""), (Token{0x97ceb870bc44874d, 0x63f1713155bbe706}));
  EXPECT_EQ(token(std::string(1000, 'v')), (Token{0x4509fc09de31c513, 0x40d94bcae351cac1}));
  EXPECT_EQ(token("C++", 1'000'000), (Token{0x7e1e54d7960e6f92, 0x8dff9d6b43aee214}));
  EXPECT_EQ(token("C++", 1), (Token{0x71d038caf54ad6cc, 0x272c56394e1ae948}));
}

TEST(TokenTest, DiffersForEachSizeByteAndEnd) {
  std::set<Token> seen;
  std::size_t count = 0;
  for (std::size_t size = 0; size <= 300; ++size) {
    std::string text(size, 'v');
    for (const std::uint64_t end : {std::uint64_t{0}, std::uint64_t{1}, std::uint64_t{1'000'000}}) {
      seen.insert(token(text, end));
      ++count;
    }
    for (char& byte : text) {
      byte ^= 1;
      seen.insert(token(text));
      byte ^= 1;
      ++count;
    }
  }
  EXPECT_EQ(seen.size(), count);
  EXPECT_FALSE(seen.contains(Token{})) << "the zero token stands for an absent key";
}

}  // namespace
}  // namespace hostmap::test
