// Another user has created files under the names that the server would use next: connecting, starting and restarting still
// work, and those files stay as they are.
#include <csignal>
#include <fcntl.h>
#include <filesystem>
#include <fstream>
#include <gtest/gtest.h>
#include <string>
#include <unistd.h>

#include "process/harness/own_shm.hpp"
#include "process/harness/server.hpp"

namespace hostmap::test {
namespace {

void create_as_somebody_else(const std::string& path) {
  const int fd = ::open(path.c_str(), O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0666);
  ASSERT_GE(fd, 0) << path;
  EXPECT_EQ(::fchown(fd, kSomeUser, static_cast<gid_t>(kSomeUser)), 0);
  ::close(fd);
}

TEST(TakenNames, OfConnectionsAndOfTheAliveFilePreventNoConnection) {
  if (::geteuid() != 0) GTEST_SKIP() << "only root can create another user's files";
  in_own_shm("size=256m,nr_inodes=100k", [] {
    constexpr std::uint64_t kTaken = 20'000;
    const std::string name = "taken";
    const InstanceName instance = *InstanceName::parse(name, "");
    for (std::uint64_t id = 1; id <= kTaken; ++id) {
      create_as_somebody_else(instance.connection(id));
      if (testing::Test::HasFailure()) return;
    }
    create_as_somebody_else(instance.alive() + "-new");
    {
      Program first({program("hostmap-server"), "10", "--name", name, "--memory", "16M"});
      first.hear();
      Options options;
      options.name = name;
      options.timeout = kPatience;
      for (int i = 0; i < 20; ++i) {
        Result<Client> map = Client::connect(options);
        ASSERT_TRUE(map) << map.status().message();
        EXPECT_EQ(map->put("key", "value"), StatusCode::kOk);
      }
      first.kill();
      Program second({program("hostmap-server"), "10", "--name", name});
      second.hear();
      Result<Client> map = Client::connect(options);
      ASSERT_TRUE(map) << map.status().message();
      EXPECT_EQ(*map->get("key"), "value");
      second.send(SIGTERM);
      EXPECT_EQ(second.wait(), kSuccess);
      for (const char* words : {"has created a file of that name", "remove such files, or use --dir"}) {
        EXPECT_NE(first.errors().find(words), std::string::npos) << first.errors();
      }
    }
    for (const std::uint64_t id : {std::uint64_t{1}, kTaken / 2, kTaken}) {
      EXPECT_EQ(::access(instance.connection(id).c_str(), F_OK), 0) << "another user's file is not removed";
    }
  });
}

// The journal names the regions that a killed server has left, so a start need not examine every file in the folder.
TEST(TakenNames, ARestartExaminesOnlyTheFilesThatItsJournalNames) {
  Server first({"10"});
  Client client = first.connect();
  ASSERT_TRUE(client.put("key", "value").ok());
  first.kill();
  // A file of this user, which a start removes when it finds it.
  const std::string other = first.instance().connection(123'456'789);
  std::ofstream(other) << "no connection of this journal";
  {
    Server second({"10"}, {first.name()});
    EXPECT_TRUE(std::filesystem::exists(other));
    EXPECT_TRUE(eventually([&] { return client.put("key", "value").ok(); }));
    remove_path(other);
  }
}

}  // namespace
}  // namespace hostmap::test
