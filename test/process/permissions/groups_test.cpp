// --group: a server of one user is shared with another user who is a member of the group, and with no other. The test uses
// three users that are not root.
#include <fcntl.h>
#include <filesystem>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include "process/harness/peer.hpp"
#include "process/harness/server.hpp"
#include "shm/obstacle.hpp"

namespace hostmap::test {
namespace {

constexpr uid_t kServerUser = 64101;
constexpr uid_t kMemberUser = 64102;
constexpr uid_t kOutsideUser = 64103;
constexpr gid_t kGroup = 64111;
const std::string kGroupText = "64111";

class Groups : public testing::Test {
 protected:
  void SetUp() override {
    if (!can_change_users()) GTEST_SKIP() << "three users are needed";
    owner_.user = kServerUser;
    owner_.groups = {kGroup};
    member_.process.user = kMemberUser;
    member_.process.groups = {kGroup};
    member_.group = kGroupText;
    outsider_.process.user = kOutsideUser;
    outsider_.group = kGroupText;
  }
  ServerSetup owned(const std::string& name = {}) const {
    ServerSetup setup;
    setup.name = name;
    setup.process = owner_;
    return setup;
  }
  static std::vector<std::string> shared(std::vector<std::string> more = {}) {
    more.insert(more.begin(), {"10", "--group", kGroupText});
    return more;
  }
  static std::vector<std::string> hostmap(const Server& server, std::vector<std::string> words) {
    words.insert(words.begin(), {program("hostmap"), "--name", server.name(), "--group", kGroupText});
    return words;
  }
  static struct stat facts_of(const std::string& path) {
    struct stat facts {};
    EXPECT_EQ(::stat(path.c_str(), &facts), 0) << path;
    return facts;
  }

  ProcessSetup owner_;
  PeerSetup member_;
  PeerSetup outsider_;
};

TEST_F(Groups, EachFileIsSharedAsFarAsItMustBe) {
  Server server(shared(), owned());
  Peer member(server, member_);
  ASSERT_EQ(server.files().size(), 5u);
  for (const std::string& file : server.files()) {
    const struct stat facts = facts_of("/dev/shm/" + file);
    const bool read = file.ends_with("-table") || file.ends_with("-alive");
    const bool journal = file.ends_with("-journal");
    EXPECT_EQ(facts.st_uid, kServerUser) << file;
    EXPECT_EQ(facts.st_mode & 07777, journal ? 0600u : read ? 0640u : 0660u) << file;
    if (!journal) {
      EXPECT_EQ(facts.st_gid, kGroup) << file;
    }
  }
}

TEST_F(Groups, AMemberUsesEverythingAndMayNotStopIt) {
  Server server(shared({"--workers", "2"}), owned());
  for (const Reads reads : {Reads::kDirect, Reads::kRing}) {
    PeerSetup setup = member_;
    setup.reads = reads;
    Peer member(server, setup);
    EXPECT_EQ(member.put("key", "#300000:1"), StatusCode::kOk);
    EXPECT_EQ(member.get("key").text, Peer::told_of(pattern(300'000, 1)));
    EXPECT_EQ(member.put_async("other", "value"), StatusCode::kOk);
    EXPECT_EQ(member.flush(), StatusCode::kOk);
    member.kill();
    EXPECT_TRUE(eventually([&] { return server.connection_files().empty(); })) << "the death of another user's client";
  }
  const ProcessSetup& who = member_.process;
  EXPECT_EQ(run(server.client_command({"--group", kGroupText, "--seconds", "0.1", "1"}), who).exit, kSuccess);
  EXPECT_EQ(run(hostmap(server, {"get", "other"}), who).output, "value");
  EXPECT_EQ(run(hostmap(server, {"stat"}), who).exit, kSuccess);
  EXPECT_EQ(run(hostmap(server, {"check"}), who).exit, kSuccess);
  EXPECT_NE(run(hostmap(server, {"ls"}), who).output.find("serving"), std::string::npos);
  expect_refusal(run(hostmap(server, {"stop"}), who), 4, {server.name(), "run as its user"});
  EXPECT_EQ(run(hostmap(server, {"ping"}), who).exit, kSuccess);
}

TEST_F(Groups, AMemberWhoDoesNotNameTheGroupIsAdvisedToDoSo) {
  Server server(shared(), owned());
  const Ran ran = run({program("hostmap"), "--name", server.name(), "get", "key"}, member_.process);
  expect_refusal(ran, 4, {server.name(), std::to_string(kServerUser), "--group"});
}

TEST_F(Groups, AnOutsiderIsRefusedWhicheverGroupTheyName) {
  Server server(shared(), owned());
  Peer member(server, member_);
  EXPECT_EQ(member.put("key", "value"), StatusCode::kOk);
  const auto figures = server.stat_of_clients();
  PeerSetup setup = outsider_;
  for (const bool read_only : {false, true}) {
    setup.read_only = read_only;
    Peer outsider = Peer::unconnected(setup.process);
    EXPECT_EQ(outsider.connect(server, setup), StatusCode::kPermission);
  }
  for (const std::string& file : server.files()) {
    for (const char* how : {"-r", "-w"}) {
      EXPECT_NE(run({"test", how, "/dev/shm/" + file}, outsider_.process).exit, kSuccess) << file;
    }
  }
  EXPECT_TRUE(server.stat_of_clients() == figures) << "something was counted";
}

// What a member can open: the table for reading only; the journal not at all; and `alive` not for writing.
TEST_F(Groups, AMemberCanWriteNeitherTableNorJournal) {
  Server server(shared(), owned());
  const auto may = [&](const char* how, const char* which) {
    return run({"test", how, "/dev/shm/" + server.name() + which}, member_.process).exit == kSuccess;
  };
  EXPECT_TRUE(may("-r", "-table"));
  EXPECT_FALSE(may("-w", "-table"));
  EXPECT_FALSE(may("-r", "-journal"));
  EXPECT_FALSE(may("-w", "-journal"));
  EXPECT_FALSE(may("-w", "-alive"));
  EXPECT_NE(run({"rm", "-f", "/dev/shm/" + server.name() + "-table"}, member_.process).exit, kSuccess);
  EXPECT_TRUE(std::filesystem::exists("/dev/shm/" + server.name() + "-table"));
}

TEST_F(Groups, AServerOutsideTheGroupCannotShareWithIt) {
  ProcessSetup nobody;
  nobody.user = kServerUser;
  const std::string name = unique_name();
  expect_refusal(run_server({"--group", kGroupText}, name, nobody), 1, {kGroupText, "member"});
  EXPECT_EQ(files_of_instance(name), std::vector<std::string>());
}

// A member has created files in the server's place, shared with the group like the server's: the server does not start with
// them, and no client uses some of them together with the server's.
TEST_F(Groups, ASquatterIsNotTakenForTheServer) {
  const std::string name = unique_name();
  {
    ServerSetup squatting;
    squatting.name = name;
    squatting.process = member_.process;
    Server squatter(shared(), squatting);
    expect_refusal(run_server({"--group", kGroupText}, name, owner_), 1, {name});
    // A client that does not trust the group refuses them.
    Peer owner = Peer::unconnected(owner_);
    EXPECT_EQ(owner.connect(squatter), StatusCode::kPermission);
  }
  Server server(shared(), owned(name));
  // One file is replaced by a member's (only root can do this in a sticky folder).
  const std::string alive = "/dev/shm/" + name + "-alive";
  const std::string kept = alive + ".kept";
  std::filesystem::rename(alive, kept);
  UniqueFd forged(::open(alive.c_str(), O_CREAT | O_EXCL | O_RDWR, 0640));
  ASSERT_TRUE(forged);
  ASSERT_EQ(::fchown(forged.get(), kMemberUser, kGroup), 0);
  ASSERT_EQ(::fchmod(forged.get(), 0640), 0);
  Peer member = Peer::unconnected(member_.process);
  const Reply reply = member.connect(server, member_);
  EXPECT_EQ(reply, StatusCode::kPermission);
  EXPECT_NE(reply.text.find("different users"), std::string::npos) << reply.text;
  std::filesystem::rename(kept, alive);
  EXPECT_EQ(member.connect(server, member_), StatusCode::kOk);
}

// To trust a group does not mean to trust all users.
TEST_F(Groups, FilesThatAreOpenToAllAreNotTrusted) {
  Server server(shared(), owned());
  for (const std::string& file : server.files()) {
    if (file.ends_with("-journal")) continue;
    ASSERT_EQ(::chmod(("/dev/shm/" + file).c_str(), 0666), 0);
  }
  Peer member = Peer::unconnected(member_.process);
  EXPECT_EQ(member.connect(server, member_), StatusCode::kPermission);
}

TEST_F(Groups, ARestartSharesTheMapWithTheNewGroupAndKeepsItsClients) {
  auto first = std::make_unique<Server>(shared(), owned());
  const std::string name = first->name();
  Peer member(*first, member_);
  EXPECT_EQ(member.put("key", "value"), StatusCode::kOk);
  first->kill();
  {
    Server alone({"10"}, owned(name));
    for (const std::string& file : alone.files())
      EXPECT_EQ(facts_of("/dev/shm/" + file).st_mode & 07777, 0600u) << file;
    EXPECT_EQ(member.put("key", "again"), StatusCode::kOk) << "the member was accepted";
    Peer next = Peer::unconnected(member_.process);
    EXPECT_EQ(next.connect(alone, member_), StatusCode::kPermission);
    alone.kill();
  }
  Server again(shared(), owned(name));
  Peer next(again, member_);
  EXPECT_EQ(next.get("key").text, Peer::told_of("again"));
  EXPECT_EQ(member.put("key", "once more"), StatusCode::kOk);
  EXPECT_EQ(again.stat("connected"), 2u);
}

// A member finds the files of another user's dead server: the message names their owner and what the member can do.
TEST_F(Groups, LeftoversOfAnotherUserAreNamedWithTheirOwnerAndARemedy) {
  Server server(shared(), owned());
  const std::string name = server.name();
  server.kill();
  const std::string owner = "user " + user_text(kServerUser);
  const ProcessSetup& who = member_.process;
  expect_refusal(run(hostmap(server, {"get", "key"}), who), 3, {name, owner, "another --name", "--wait"});
  expect_refusal(run(hostmap(server, {"stat"}), who), 3, {name, owner});
  expect_refusal(run_server({"--group", kGroupText}, name, who), 1, {name, owner, "another --name", "removed"});
  expect_refusal(run_server({"--group", kGroupText, "--fresh"}, name, who), 1, {name, owner, "another --name"});
  const Ran listed = run(hostmap(server, {"ls"}), who);
  EXPECT_NE(listed.output.find("dead"), std::string::npos) << listed.output;
  EXPECT_NE(listed.output.find(user_name(kServerUser)), std::string::npos) << listed.output;
  server.remove_regions();
}

// --- read_only ---------------------------------------------------------------------------------------------------------

TEST_F(Groups, ReadingNeedsOnlyReadableTableAndAliveFiles) {
  Server server(shared(), owned());
  Peer writer(server, member_);
  EXPECT_EQ(writer.put("key", "#100000:3"), StatusCode::kOk);
  EXPECT_EQ(writer.put("=5", "=7"), StatusCode::kOk);
  ASSERT_EQ(::chmod(("/dev/shm/" + server.name() + "-master").c_str(), 0600), 0);
  PeerSetup setup = member_;
  Peer other = Peer::unconnected(member_.process);
  EXPECT_EQ(other.connect(server, setup), StatusCode::kPermission);
  setup.read_only = true;
  ASSERT_EQ(other.connect(server, setup), StatusCode::kOk);
  EXPECT_EQ(server.connection_files().size(), 1u) << "it takes no connection";
  EXPECT_EQ(other.get("key").text, Peer::told_of(pattern(100'000, 3)));
  EXPECT_EQ(other.get("=5").text, Peer::told_of(word_key(7)));
  EXPECT_EQ(other.exists("nothing"), StatusCode::kNotFound);
  for (const Reply& reply : {other.put("key", "value"), other.put_async("key", "value"), other.erase("key")}) {
    EXPECT_EQ(reply, StatusCode::kPermission);
    EXPECT_NE(reply.text.find("read_only"), std::string::npos) << reply.text;
  }
  EXPECT_EQ(other.flush(), StatusCode::kOk) << "nothing is queued";
  const ProcessSetup& who = member_.process;
  EXPECT_EQ(run(hostmap(server, {"--read-only", "exists", "key"}), who).exit, kSuccess);
  EXPECT_EQ(run(hostmap(server, {"--read-only", "scan"}), who).output,
            "\\x05\\x00\\x00\\x00\\x00\\x00\\x00\\x00\nkey\n");
  expect_refusal(run(hostmap(server, {"--read-only", "put", "key", "value"}), who), 4, {"read_only"});
}

}  // namespace
}  // namespace hostmap::test
