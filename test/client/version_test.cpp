// The versions that the library reports to programs.
#include <gtest/gtest.h>
#include <regex>
#include <string>

#include <hostmap/version.hpp>

namespace hostmap::test {
namespace {

TEST(VersionTest, IsOfThreeNumbers) {
  EXPECT_TRUE(std::regex_match(std::string(kVersion), std::regex("[0-9]+\\.[0-9]+\\.[0-9]+"))) << kVersion;
  EXPECT_GE(kLayoutVersion, 1u);
}

TEST(VersionTest, CommitIsAShortHashOrUnknownAndOneWord) {
  EXPECT_TRUE(std::regex_match(std::string(commit()), std::regex("[A-Za-z0-9._+-]+"))) << commit();
}

}  // namespace
}  // namespace hostmap::test
