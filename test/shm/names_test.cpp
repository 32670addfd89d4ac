#include "shm/names.hpp"

#include <algorithm>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include "support/instance.hpp"

namespace hostmap::test {
namespace {

InstanceName named(std::string_view name, std::string_view dir = "") {
  Result<InstanceName> parsed = InstanceName::parse(name, dir);
  EXPECT_TRUE(parsed) << name;
  return *parsed;
}

TEST(InstanceNameTest, LettersDigitsDotsUnderscoresAndHyphensAreAllowed) {
  for (const std::string name : {"a", "distributed-memory", "A.b_c-9", "_", "...", ".a", "0", "0-"}) {
    EXPECT_TRUE(InstanceName::parse(name, "")) << name;
  }
}

TEST(InstanceNameTest, EveryOtherByteIsRefused) {
  for (int byte = 0; byte < 256; ++byte) {
    const char c = static_cast<char>(byte);
    const bool known =
        (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' || c == '_' || c == '-';
    for (const std::string& name : {std::string(1, c), "ab" + std::string(1, c), std::string(1, c) + "ab"}) {
      const bool allowed = known && name.front() != '-' && name != ".";
      const Result<InstanceName> parsed = InstanceName::parse(name, "");
      ASSERT_EQ(static_cast<bool>(parsed), allowed) << "byte " << byte;
      if (!allowed) {
        EXPECT_EQ(parsed.status().code(), StatusCode::kInvalid);
      }
    }
  }
}

// On a command line such a name is an option, and `rm` takes its files for options, too. "." and ".." are folders.
TEST(InstanceNameTest, NamesInTheFormOfAnOptionOrAFolderAreRefused) {
  for (const std::string name : {"-", "--", "-master", "--bogus", "-9", ".", ".."}) {
    const Result<InstanceName> parsed = InstanceName::parse(name, "");
    ASSERT_FALSE(parsed) << name;
    EXPECT_EQ(parsed.status(), StatusCode::kInvalid);
    EXPECT_NE(parsed.status().message().find("'" + name + "'"), std::string_view::npos) << parsed.status().message();
  }
}

TEST(InstanceNameTest, LengthsFromOneTo64AreAllowed) {
  for (std::size_t length = 0; length <= 130; ++length) {
    EXPECT_EQ(static_cast<bool>(InstanceName::parse(std::string(length, 'x'), "")), length >= 1 && length <= 64)
        << length;
  }
}

TEST(InstanceNameTest, TheErrorShowsTheNameButNotAllOfALongOne) {
  const Result<InstanceName> slash = InstanceName::parse("a/b", "");
  EXPECT_NE(slash.status().message().find("'a/b'"), std::string_view::npos) << slash.status().message();
  EXPECT_LT(InstanceName::parse(std::string(100'000, 'x'), "").status().message().size(), 300u);
}

TEST(InstanceNameTest, TheFolderIsDevShmUnlessGiven) {
  EXPECT_EQ(named("a").dir(), "/dev/shm");
  EXPECT_EQ(named("a", "/mnt/huge").dir(), "/mnt/huge");
  EXPECT_EQ(named("a", "/mnt/huge///").dir(), "/mnt/huge");
  EXPECT_EQ(named("a", "/").dir(), "/");
  for (const std::string dir : {"relative", "./x", "../x", "~"}) {
    EXPECT_EQ(InstanceName::parse("a", dir).status().code(), StatusCode::kInvalid) << dir;
  }
}

TEST(InstanceNameTest, EachRegionHasItsPath) {
  const InstanceName name = named("data", "/mnt");
  EXPECT_EQ(name.master(), "/mnt/data-master");
  EXPECT_EQ(name.table(), "/mnt/data-table");
  EXPECT_EQ(name.journal(), "/mnt/data-journal");
  EXPECT_EQ(name.alive(), "/mnt/data-alive");
  EXPECT_EQ(name.connection(7), "/mnt/data-connection-7");
  EXPECT_EQ(name.connection(~std::uint64_t{0}), "/mnt/data-connection-18446744073709551615");
}

TEST(InstanceNameTest, ConnectionFilesAreDistinguishedFromAllOthers) {
  const InstanceName name = named("a");
  EXPECT_TRUE(name.is_connection("a-connection-0"));
  EXPECT_TRUE(name.is_connection("a-connection-18446744073709551615"));
  for (const std::string file : {"", "a", "a-", "a-connection", "a-connection-", "a-connection-1x", "a-connection--1",
                                 "a-connection-1-", "a-connection- 1", "xa-connection-1", "a-connection-1.old",
                                 "a-master", "a-table", "a-journal", "a-alive", "b-connection-1", "A-connection-1"}) {
    EXPECT_FALSE(name.is_connection(file)) << file;
  }
}

// An instance may have the name of another one's connection. Neither takes the other's files for its own.
TEST(InstanceNameTest, AnInstanceNamedLikeAConnectionOfAnotherOwnsOnlyItsOwnFiles) {
  const InstanceName outer = named("a");
  const InstanceName inner = named("a-connection-1");
  const InstanceName third = named("a-connection");
  for (const InstanceName& owner : {outer, inner, third}) {
    for (const InstanceName& other : {outer, inner, third}) {
      const bool same = owner.name() == other.name();
      for (const std::string& path : {other.master(), other.table(), other.journal(), other.alive()}) {
        EXPECT_FALSE(owner.is_connection(path.substr(path.rfind('/') + 1))) << owner.name() << " and " << path;
      }
      const std::string path = other.connection(5);
      EXPECT_EQ(owner.is_connection(path.substr(path.rfind('/') + 1)), same) << owner.name() << " and " << path;
    }
  }
}

TEST(InstanceNameTest, ConnectionFilesListsThoseOfThisInstanceThatExist) {
  const InstanceName name = named(unique_name());
  const InstanceName other = named(name.name() + "-connection-3");
  EXPECT_TRUE(name.connection_files().empty());
  std::vector<std::string> mine = {name.connection(1), name.connection(20), name.connection(300)};
  std::vector<std::string> all = mine;
  all.insert(all.end(), {name.master(), name.table(), other.connection(4), name.connection(5) + "-old"});
  for (const std::string& path : all) ::close(::open(path.c_str(), O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0600));
  std::vector<std::string> found = name.connection_files();
  std::sort(mine.begin(), mine.end());
  std::sort(found.begin(), found.end());
  EXPECT_EQ(found, mine);
  for (const std::string& path : all) remove_path(path);
}

TEST(InstanceNameTest, AMissingFolderHoldsNoConnections) {
  EXPECT_TRUE(named("a", "/dev/shm/hm-test-no-such-folder").connection_files().empty());
}

}  // namespace
}  // namespace hostmap::test
