// Where a server lives, and who else is there: a second server (FAULTS 17), removed regions (19), strangers' files in our place
// (20), full file systems and small limits (13, 23), other users.
#include <filesystem>
#include <fstream>
#include <gtest/gtest.h>
#include <string>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "process/support/server.hpp"
#include "support/private_tmpfs.hpp"

namespace hostmap::test {
namespace {

const std::string kShm = "/dev/shm/";

// --- 17: a second server of the same name ------------------------------------------------------------------------------

TEST(Case17SecondServerTest, IsRefusedWhileTheFirstOneRuns) {
  Server first;
  expect_refusal(run_server({}, first.name()), 1, {"running", std::to_string(first.pid()), "--name"});
  Client map = first.connect();
  EXPECT_EQ(map.put("key", "value"), StatusCode::kOk) << "and the first one has not noticed";
}

TEST(Case17SecondServerTest, IsRefusedWhileTheFirstOneIsStoppedAndReadsGoOn) {
  Server first;
  Client map = first.connect();
  ASSERT_EQ(map.put("key", "value"), StatusCode::kOk);
  first.pause();
  expect_refusal(run_server({}, first.name()), 1, {"running"});
  EXPECT_EQ(*map.get("key"), "value");
  first.send(SIGCONT);
  EXPECT_EQ(map.put("key", "other"), StatusCode::kOk);
}

// --- 19: regions removed under a running server --------------------------------------------------------------------------

TEST(Case19RemovedRegionsTest, ThoseConnectedAreServedAndTheServerEndsWithTheLastOne) {
  Server server;
  {
    Client first = server.connect();
    Client second = server.connect();
    ASSERT_EQ(first.put("key", "value"), StatusCode::kOk);
    server.remove_regions();
    EXPECT_EQ(first.put("key", "other"), StatusCode::kOk);
    EXPECT_EQ(*second.get("key"), "other");
    Options options = server.options();
    const Result<Client> newcomer = Client::connect(options);
    ASSERT_FALSE(newcomer);
    EXPECT_EQ(newcomer.status(), StatusCode::kNoServer) << newcomer.status().message();
    EXPECT_TRUE(eventually([&] { return server.errors().find("were removed") != std::string::npos; }));
    EXPECT_TRUE(server.program().running());
    EXPECT_EQ(second.put("key", "still"), StatusCode::kOk);
  }
  EXPECT_EQ(server.wait(), exited(1));
  EXPECT_EQ(lines_of(server.errors()).size(), 1u) << "said once: " << server.errors();
}

TEST(Case19RemovedRegionsTest, WithoutAClientTheServerEndsAtOnce) {
  Server server;
  server.remove_regions();
  EXPECT_EQ(server.wait(), exited(1));
}

// --- 20: something else in our place ---------------------------------------------------------------------------------------

class Case20InOurPlaceTest : public testing::TestWithParam<const char*> {
 protected:
  void SetUp() override {
    name_ = unique_name();
    path_ = kShm + name_ + "-" + GetParam();
  }
  void TearDown() override {
    for (const std::string& file : files_of_instance(name_)) std::filesystem::remove_all(kShm + file);
    std::filesystem::remove(other_);
  }
  // The server either refuses with one clear line and exit code 1, or sweeps the thing away and serves; it never hangs.
  void expect_refused_or_swept(const std::vector<std::string>& words) {
    Program started({program("hostmap-server"), "--name", name_});
    if (started.next_line(kPatience)) {
      started.send(SIGTERM);
      EXPECT_EQ(started.wait(), kSuccess);
      EXPECT_TRUE(files_of_instance(name_).empty());
      return;
    }
    EXPECT_EQ(started.wait(), exited(1));
    const std::vector<std::string> lines = lines_of(started.errors());
    ASSERT_EQ(lines.size(), 1u) << started.errors();
    for (const std::string& word : words) EXPECT_NE(lines[0].find(word), std::string::npos) << lines[0];
  }
  // A client never hangs either.
  void expect_client_refused() {
    Options options;
    options.name = name_;
    const Result<Client> client = Client::connect(options);
    ASSERT_FALSE(client);
    EXPECT_NE(client.status(), StatusCode::kTimeout) << client.status().message();
  }
  std::string name_;
  std::string path_;
  std::string other_ = kShm + unique_name() + "-other";
};

TEST_P(Case20InOurPlaceTest, AFifoHangsNobody) {
  ASSERT_EQ(::mkfifo(path_.c_str(), 0600), 0);
  expect_client_refused();
  expect_refused_or_swept({path_});
}

TEST_P(Case20InOurPlaceTest, ASymlinkIsNotFollowed) {
  std::ofstream(other_) << "precious";
  ASSERT_EQ(::symlink(other_.c_str(), path_.c_str()), 0);
  expect_client_refused();
  expect_refused_or_swept({path_});
  std::ifstream file(other_);
  std::string content;
  file >> content;
  EXPECT_EQ(content, "precious");
}

TEST_P(Case20InOurPlaceTest, ADirectoryIsNamed) {
  ASSERT_EQ(::mkdir(path_.c_str(), 0700), 0);
  expect_client_refused();
  expect_refused_or_swept({path_});
}

TEST_P(Case20InOurPlaceTest, AFileWithAnotherNameIsNotWrittenTo) {
  std::ofstream(other_) << "precious";
  ASSERT_EQ(::link(other_.c_str(), path_.c_str()), 0);
  expect_client_refused();
  expect_refused_or_swept({path_});
  std::ifstream file(other_);
  std::string content;
  file >> content;
  EXPECT_EQ(content, "precious");
}

TEST_P(Case20InOurPlaceTest, AnEmptyFileAndOneOfAnotherProgramAreSwept) {
  for (const std::string& content : {std::string(), std::string(100'000, 'x')}) {
    std::ofstream(path_) << content;
    expect_client_refused();
    expect_refused_or_swept({path_});
  }
}

// Two users: what the other one has put in our place is neither used nor removed, and is named.
TEST_P(Case20InOurPlaceTest, AStrangersFileIsRefusedByItsOwnersName) {
  if (!can_change_users()) GTEST_SKIP() << "needs two unprivileged users";
  std::ofstream(path_) << "mine";
  ASSERT_EQ(::chown(path_.c_str(), kOtherUser, kOtherUser), 0);
  ASSERT_EQ(::chmod(path_.c_str(), 0666), 0);
  ProcessSetup as_user;
  as_user.user = kSomeUser;
  expect_refusal(run_server({}, name_, as_user), 1, {path_});
  struct stat facts {};
  ASSERT_EQ(::stat(path_.c_str(), &facts), 0);
  EXPECT_EQ(facts.st_uid, kOtherUser);
  EXPECT_EQ(files_of_instance(name_).size(), 1u) << "nothing half-made is left beside it";
}

std::string place_name(const testing::TestParamInfo<const char*>& info) { return info.param; }
INSTANTIATE_TEST_SUITE_P(Files, Case20InOurPlaceTest, testing::Values("master", "table", "journal", "alive"),
                         place_name);

// --- Other users -----------------------------------------------------------------------------------------------------------

TEST(OtherUsersTest, MayNeitherConnectNorLookNorRemove) {
  if (!can_change_users()) GTEST_SKIP() << "needs two unprivileged users";
  ProcessSetup as_owner;
  as_owner.user = kSomeUser;
  Server server({}, {.process = as_owner});
  ProcessSetup as_other;
  as_other.user = kOtherUser;
  expect_refusal(run(server.client_command({"1", "--seconds", "1"}), as_other), 4, {"another user"});
  expect_refusal(run(server.stat_command(), as_other), 4, {"another user"});
  expect_refusal(run_server({}, server.name(), as_other), 1, {server.name()});
  for (const std::string& file : server.files()) {
    struct stat facts {};
    ASSERT_EQ(::stat((kShm + file).c_str(), &facts), 0);
    EXPECT_EQ(facts.st_uid, kSomeUser);
    EXPECT_EQ(facts.st_mode & 077, 0u) << file;
  }
  EXPECT_EQ(run(server.client_command({"1", "--seconds", "0.1"}), as_owner).exit, kSuccess) << "its own user may";
}

// --- 13, 23: no room ---------------------------------------------------------------------------------------------------------

// In a child whose /dev/shm is a small tmpfs: it starts a server there and looks on.
class Case23NoRoomTest : public testing::Test {
 protected:
  void SetUp() override {
    if (!can_replace_dev_shm()) GTEST_SKIP() << "needs a private mount namespace";
  }
  static void in_small_shm(const std::string& options, const std::function<void()>& look) {
    Child child = Child::fork([&] {
      if (!replace_dev_shm(options)) return kChildSetupFailed;
      look();
      return testing::Test::HasFailure() ? kChildFailed : 0;
    });
    EXPECT_EQ(child.wait(), kSuccess);
  }
};

TEST_F(Case23NoRoomTest, AFullFileSystemAtTheStartIsNamedAndNothingIsLeft) {
  in_small_shm("size=64k", [] {
    expect_refusal(run_server({}, "full"), 1, {"/dev/shm"});
    expect_refusal(run_server({"--memory", "1M"}, "full"), 1, {"--shm-size"});
    EXPECT_TRUE(files_of_instance("full").empty());
  });
}

TEST_F(Case23NoRoomTest, ASmallContainersFileSystemServesWithAWarning) {
  in_small_shm("size=64m", [] {
    Server server({}, {.name = "small"});
    EXPECT_NE(server.errors().find("--shm-size"), std::string::npos) << server.errors();
    Client map = server.connect();
    EXPECT_EQ(map.put("key", "value"), StatusCode::kOk);
  });
}

TEST_F(Case23NoRoomTest, NoInodeLeftIsNamedAndNothingIsLeft) {
  in_small_shm("size=16m,nr_inodes=3", [] {  // the root and two files
    const Ran ran = run_server({}, "inodes");
    EXPECT_EQ(ran.exit, exited(1));
    EXPECT_EQ(lines_of(ran.errors).back().find("warning"), std::string::npos) << ran.errors;
    EXPECT_TRUE(files_of_instance("inodes").empty());
  });
}

TEST_F(Case23NoRoomTest, AClientForWhoseRingsThereIsNoRoomIsRefusedAndTheOthersGoOn) {
  in_small_shm("size=16m", [] {
    Server server({"--memory", "1M", "--ring-size", "1M"}, {.name = "rings"});
    Client first = server.connect();
    std::vector<Client> others;
    Status refused;
    for (int i = 0; i < 20 && refused.ok(); ++i) {
      Result<Client> client = Client::connect(server.options());
      if (client) {
        others.push_back(std::move(*client));
      } else {
        refused = client.status();
      }
    }
    EXPECT_EQ(refused, StatusCode::kFull) << refused.message();
    EXPECT_EQ(first.put("key", "value"), StatusCode::kOk);
    others.clear();
    EXPECT_TRUE(eventually([&] { return static_cast<bool>(Client::connect(server.options())); })) << "room came back";
  });
}

TEST_F(Case23NoRoomTest, Case13GrowthIntoAFullFileSystemRefusesPutsAndEverythingElseGoesOn) {
  in_small_shm("size=4m", [] {
    Server server({"10", "--memory", "1G", "--ring-size", "4K"}, {.name = "grow"});
    Client map = server.connect();
    Status status;
    int stored = 0;
    while ((status = map.put("key " + std::to_string(stored), std::string(200, 'v'))).ok()) ++stored;
    EXPECT_EQ(status, StatusCode::kFull) << status.message();
    EXPECT_GT(stored, 1000);
    EXPECT_GE(server.stat("populate_failures"), 1u);
    for (int i = 0; i < stored; i += 100) EXPECT_TRUE(map.exists("key " + std::to_string(i)).ok());
    EXPECT_EQ(map.erase("key 0"), StatusCode::kOk);
    EXPECT_EQ(map.put("key 0", std::string(200, 'w')), StatusCode::kOk);
    // One size is exhausted: another one gets memory as soon as a slab of it is free.
    EXPECT_EQ(map.put("large", std::string(10'000, 'l')), StatusCode::kFull);
    for (int i = 0; i < stored; ++i) EXPECT_EQ(map.erase("key " + std::to_string(i)), StatusCode::kOk);
    EXPECT_EQ(map.put("large", std::string(10'000, 'l')), StatusCode::kOk);
  });
}

TEST(Case23LimitsTest, EachLimitIsNamedAndNothingIsLeft) {
  struct Limit {
    int what;
    rlim_t value;
    const char* word;
  };
  for (const Limit& limit :
       {Limit{RLIMIT_FSIZE, 4096, "ulimit -f"}, Limit{RLIMIT_AS, rlim_t{512} << 20, "ulimit -v"}}) {
    const std::string name = unique_name();
    ProcessSetup setup;
    setup.limits = {{limit.what, limit.value}};
    expect_refusal(run_server({}, name, setup), 1, {limit.word});
    EXPECT_TRUE(files_of_instance(name).empty()) << limit.word;
  }
}

TEST(Case23LimitsTest, WithFewDescriptorsTheServerServesAsManyClientsAsItCan) {
  ProcessSetup setup;
  setup.limits = {{RLIMIT_NOFILE, 24}};
  Server server({}, {.process = setup});
  std::vector<Client> clients;
  Status refused;
  for (int i = 0; i < 40 && refused.ok(); ++i) {
    Result<Client> client = Client::connect(server.options());
    if (client) {
      clients.push_back(std::move(*client));
    } else {
      refused = client.status();
    }
  }
  EXPECT_EQ(refused, StatusCode::kFull) << refused.message();
  ASSERT_FALSE(clients.empty());
  for (Client& client : clients) EXPECT_EQ(client.put("key", "value"), StatusCode::kOk);
  clients.clear();
  EXPECT_TRUE(server.connections_come_to(0));
}

TEST(Case23LimitsTest, NothingNeedsLockedMemory) {
  ProcessSetup setup;
  setup.limits = {{RLIMIT_MEMLOCK, 0}};
  Server server({}, {.process = setup});
  EXPECT_EQ(server.connect().put("key", "value"), StatusCode::kOk);
}

}  // namespace
}  // namespace hostmap::test
