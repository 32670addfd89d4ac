// An instance can be used by its server's user and by root only. The test uses two users that are not root.
#include <fcntl.h>
#include <filesystem>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include "base/unique_fd.hpp"
#include "process/harness/peer.hpp"
#include "process/harness/server.hpp"
#include "shm/obstacle.hpp"

namespace hostmap::test {
namespace {

class Permissions : public testing::Test {
 protected:
  void SetUp() override {
    if (!can_change_users()) GTEST_SKIP() << "two users are needed";
    owner_.user = kSomeUser;
    stranger_.user = kOtherUser;
  }
  ServerSetup owned() const {
    ServerSetup setup;
    setup.process = owner_;
    return setup;
  }

  ProcessSetup owner_;
  ProcessSetup stranger_;
};

TEST_F(Permissions, RegionsArePrivateToTheirOwner) {
  Server server({"10"}, owned());
  PeerSetup mine;
  mine.process = owner_;
  Peer peer(server, mine);
  EXPECT_EQ(peer.put("key", "value"), StatusCode::kOk);
  EXPECT_EQ(server.files().size(), 5u);
  for (const std::string& file : server.files()) {
    struct stat facts {};
    ASSERT_EQ(::stat((server.dir() + "/" + file).c_str(), &facts), 0);
    EXPECT_EQ(facts.st_uid, kSomeUser) << file;
    EXPECT_EQ(facts.st_mode & 07777, 0600u) << file;
  }
}

TEST_F(Permissions, TheOwnerUsesEverythingWithoutRoot) {
  Server server({"10", "--workers", "2"}, owned());
  const Ran load = run(server.client_command({"--seconds", "0.1", "1"}), owner_);
  EXPECT_EQ(load.exit, kSuccess) << load.errors;
  EXPECT_EQ(run(server.stat_command(), owner_).exit, kSuccess);
  PeerSetup mine;
  mine.process = owner_;
  for (const Reads reads : {Reads::kDirect, Reads::kRing}) {
    mine.reads = reads;
    Peer peer(server, mine);
    EXPECT_EQ(peer.put("key", "#300000:1"), StatusCode::kOk);
    EXPECT_EQ(peer.get("key").text, Peer::told_of(pattern(300'000, 1)));
    peer.kill();
    EXPECT_TRUE(eventually([&] { return server.connection_files().empty(); }))
        << "a death is noticed without root, too";
  }
}

TEST_F(Permissions, AStrangerIsRefusedClearlyAndChangesNothing) {
  Server server({"10"}, owned());
  PeerSetup mine;
  mine.process = owner_;
  Peer peer(server, mine);
  EXPECT_EQ(peer.put("key", "value"), StatusCode::kOk);
  const std::vector<std::string> files = server.files();
  const auto figures = server.stat_of_clients();

  expect_refusal(run(server.client_command({"1"}), stranger_), 4, {server.name(), "another user"});
  expect_refusal(run(server.stat_command(), stranger_), 4, {server.name(), "another user"});
  Peer other = Peer::unconnected(stranger_);
  const Reply reply = other.connect(server);
  EXPECT_EQ(reply, StatusCode::kPermission);
  expect_refusal(run_server({}, server.name(), stranger_), 1, {server.name()});
  EXPECT_NE(run({"rm", "-f", "/dev/shm/" + server.name() + "-master"}, stranger_).exit, kSuccess);

  EXPECT_EQ(server.files(), files);
  EXPECT_EQ(server.stat_of_clients(), figures) << "something was counted";
  EXPECT_EQ(peer.get("key").text, Peer::told_of("value"));
  EXPECT_EQ(peer.put("key", "other"), StatusCode::kOk);
}

// The default name belongs to the user who takes it first; the next user gets a message with that user's name and a remedy.
TEST_F(Permissions, TheSecondUserOfANameLearnsWhoHasItAndWhatToDo) {
  const std::string name = unique_name();
  {
    Server server({"10"}, {.name = name, .process = owner_});
    expect_refusal(run_server({}, name, stranger_), 1,
                   {name + "-journal", "user " + user_text(kSomeUser), "another --name"});
    server.kill();
  }
  expect_refusal(run_server({}, name, stranger_), 1,
                 {name + "-journal", "user " + user_text(kSomeUser), "another --name"});
  for (const std::string& file : files_of_instance(name)) std::filesystem::remove("/dev/shm/" + file);
}

TEST_F(Permissions, AnAliveFileThatCannotBeReplacedIsNamedWithItsOwner) {
  const std::string name = unique_name();
  const std::string alive = "/dev/shm/" + name + "-alive";
  UniqueFd(::open(alive.c_str(), O_CREAT | O_EXCL | O_RDWR | O_CLOEXEC, 0600)).reset();
  ASSERT_EQ(::chown(alive.c_str(), kOtherUser, kOtherUser), 0);
  expect_refusal(run_server({}, name, owner_), 1,
                 {alive, "user " + user_text(kOtherUser), "another --name", "removed"});
  EXPECT_EQ(files_of_instance(name), std::vector<std::string>{name + "-alive"}) << "the refused start leaves nothing";
  std::filesystem::remove(alive);
}

TEST_F(Permissions, AFolderThatMayNotBeWrittenToIsNamed) {
  const std::string dir = "/dev/shm/" + unique_name();
  std::filesystem::create_directory(dir);
  ASSERT_EQ(::chmod(dir.c_str(), 0755), 0);
  expect_refusal(run_server({"--dir", dir}, unique_name(), owner_), 1, {"folder " + dir, "another --dir"});
  std::filesystem::remove(dir);
}

TEST_F(Permissions, AStrangersServerOfTheSameNameInAnotherFolderIsAnotherInstance) {
  Server server({"10"}, owned());
  ServerSetup elsewhere;
  elsewhere.process = stranger_;
  elsewhere.name = server.name();
  elsewhere.dir = "/dev/shm/" + unique_name();
  std::filesystem::create_directory(elsewhere.dir);
  std::filesystem::permissions(elsewhere.dir, std::filesystem::perms::all);
  {
    Server other({"10"}, elsewhere);
    PeerSetup theirs;
    theirs.process = stranger_;
    Peer peer(other, theirs);
    EXPECT_EQ(peer.put("key", "theirs"), StatusCode::kOk);
    PeerSetup mine;
    mine.process = owner_;
    EXPECT_EQ(Peer(server, mine).get("key"), StatusCode::kNotFound);
    EXPECT_EQ(peer.leave(), kSuccess);
  }
  std::filesystem::remove(elsewhere.dir);
}

TEST_F(Permissions, AClientDoesNotTrustRegionsOfAnotherUserEvenIfItCouldOpenThem) {
  Server server({"10"}, owned());
  for (const std::string& file : server.files()) ASSERT_EQ(::chmod(("/dev/shm/" + file).c_str(), 0666), 0);
  expect_refusal(run(server.client_command({"1"}), stranger_), 4, {server.name(), std::to_string(kSomeUser)});
}

// Any user can start a server under a name that root uses. Therefore root names the user that it trusts.
TEST_F(Permissions, RootTrustsItsOwnServersAndThoseOfTheUserThatItNames) {
  Server server({"10"}, owned());
  const std::string owner = std::to_string(kSomeUser);
  const auto hostmap = [&](std::vector<std::string> words) {
    words.insert(words.begin(), {program("hostmap"), "--name", server.name()});
    return run(words);
  };
  for (const char* verb : {"stat", "check", "stop", "ping", "clear"}) {
    SCOPED_TRACE(verb);
    expect_refusal(hostmap({verb}), 4, {"user " + user_text(kSomeUser), "--user " + user_name(kSomeUser)});
    expect_refusal(hostmap({verb, "--user", std::to_string(kOtherUser)}), 4, {"user " + user_text(kSomeUser)});
  }
  expect_refusal(run(server.client_command({"1"})), 4, {"--user"});
  Peer peer = Peer::unconnected();
  EXPECT_EQ(peer.connect(server), StatusCode::kPermission);
  PeerSetup read_only;
  read_only.read_only = true;
  EXPECT_EQ(peer.connect(server, read_only), StatusCode::kPermission);
  EXPECT_EQ(server.stat("connected"), 0u) << "nobody was let in, and nobody was counted";

  PeerSetup naming;
  naming.user = owner;
  ASSERT_EQ(peer.connect(server, naming), StatusCode::kOk);
  EXPECT_EQ(peer.put("key", "value"), StatusCode::kOk);
  EXPECT_EQ(hostmap({"get", "key", "--user", owner}).output, "value");
  EXPECT_EQ(hostmap({"get", "key", "--user", user_name(kSomeUser)}).output, "value") << "by name";
  EXPECT_EQ(hostmap({"check", "--user", owner}).exit, kSuccess);
  EXPECT_EQ(run(server.client_command({"--user", owner, "--seconds", "0.1", "1"})).exit, kSuccess);
  expect_refusal(hostmap({"stat", "--user", "no such user"}), 2, {"--user", "'no such user'"});
  EXPECT_EQ(peer.leave(), kSuccess);
  EXPECT_EQ(hostmap({"stop", "--user", owner}).exit, kSuccess);
  EXPECT_EQ(server.wait(), kSuccess);
}

TEST_F(Permissions, LsListsEverybodysServersAndTheFiguresOfTrustedOnes) {
  Server server({"10"}, owned());
  const auto row_of = [&](const std::vector<std::string>& more) {
    std::vector<std::string> words{program("hostmap"), "ls"};
    words.insert(words.end(), more.begin(), more.end());
    for (const std::string& line : lines_of(run(words).output)) {
      if (line.starts_with(server.name() + " ")) return line;
    }
    return std::string();
  };
  const std::string row = row_of({});
  EXPECT_NE(row.find(" serving "), std::string::npos) << row;
  EXPECT_NE(row.find(" -  "), std::string::npos) << "no figures: " << row;
  EXPECT_EQ(row.find(" KiB "), std::string::npos) << row;
  EXPECT_TRUE(row.ends_with(" " + user_name(kSomeUser))) << row;
  EXPECT_NE(row_of({"--user", std::to_string(kSomeUser)}).find(" KiB "), std::string::npos);
}

// A named user is trusted as root is; the system decides which of that user's files can be opened.
TEST_F(Permissions, AnyUserMayNameAnotherUserToTrust) {
  Server server({"10"}, owned());
  PeerSetup naming;
  naming.process = stranger_;
  naming.user = std::to_string(kSomeUser);
  Peer peer = Peer::unconnected(stranger_);
  EXPECT_EQ(peer.connect(server, naming), StatusCode::kPermission) << "its files are not shared";
  for (const std::string& file : server.files()) ASSERT_EQ(::chmod(("/dev/shm/" + file).c_str(), 0644), 0);
  naming.read_only = true;
  EXPECT_EQ(peer.connect(server, naming), StatusCode::kOk);
  naming.user = "";
  EXPECT_EQ(Peer::unconnected(stranger_).connect(server, naming), StatusCode::kPermission);
}

TEST_F(Permissions, AnUnreadableFolderIsNamed) {
  const std::string dir = "/dev/shm/" + unique_name();
  std::filesystem::create_directory(dir);
  ASSERT_EQ(::chmod(dir.c_str(), 0700), 0);
  const Ran ran = run_server({"--dir", dir}, unique_name(), owner_);
  EXPECT_TRUE(ran.exit == exited(1) || ran.exit == exited(2)) << ran.exit;
  EXPECT_EQ(lines_of(ran.errors).size(), 1u) << ran.errors;
  EXPECT_TRUE(ran.errors.find(dir) != std::string::npos) << ran.errors;
  const Ran client = run({program("hostmap-client"), "--dir", dir, "1"}, owner_);
  EXPECT_EQ(client.exit, exited(4)) << client.errors;
  EXPECT_TRUE(client.errors.find(dir) != std::string::npos) << client.errors;
  std::filesystem::remove(dir);
}

}  // namespace
}  // namespace hostmap::test
