// A process forks while it has a client (fault case 21 in docs/internals/failure-model.md). Two processes never share a
// ring, and a dead parent's connection is freed although its child inherited the descriptor that holds the lock.
#include <array>
#include <chrono>
#include <gtest/gtest.h>
#include <sstream>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <thread>
#include <unistd.h>

#include "process/harness/peer.hpp"
#include "process/harness/proc.hpp"
#include "process/harness/server.hpp"

namespace hostmap::test {
namespace {

// A pipe for one byte, which means "now".
class Signal {
 public:
  Signal() {
    if (::pipe(ends_.data()) != 0) throw std::runtime_error("no pipe");
  }
  ~Signal() {
    for (const int end : ends_) ::close(end);
  }
  Signal(const Signal&) = delete;
  Signal& operator=(const Signal&) = delete;
  void give() const { EXPECT_EQ(::write(ends_[1], "!", 1), 1); }
  void await() const {
    char byte;
    EXPECT_EQ(::read(ends_[0], &byte, 1), 1);
  }

 private:
  std::array<int, 2> ends_{};
};

void use(Client& client, const std::string& who, int rounds) {
  for (int i = 0; i < rounds; ++i) {
    const std::string key = who + std::to_string(i % 50);
    const std::string value = who + " value " + std::to_string(i);
    ASSERT_TRUE(client.put_async(key, value + "?").ok());
    if (i % 7 == 0) {
      ASSERT_TRUE(client.flush().ok());
    }
    ASSERT_TRUE(client.put(key, value).ok());
    const Result<std::string> got = client.get(key);
    ASSERT_TRUE(static_cast<bool>(got)) << got.status().message();
    ASSERT_EQ(*got, value);
    if (i % 10 == 9) {
      ASSERT_TRUE(client.erase(key).ok());
    }
  }
}

class Fork : public testing::TestWithParam<Reads> {};

TEST_P(Fork, ParentAndChildrenAllUseTheClient) {
  Server server({"10", "--workers", "2"});
  {
    Client client = server.connect(kPatience, GetParam());
    use(client, "before ", 100);
    std::vector<Child> children;
    for (int i = 0; i < 4; ++i) {
      children.push_back(Child::fork([&client, i] {
        use(client, "child " + std::to_string(i) + " ", 1500);
        return 0;
      }));
    }
    use(client, "parent ", 1500);
    for (Child& child : children) EXPECT_EQ(child.wait(), kSuccess);
    use(client, "after ", 100);
    EXPECT_TRUE(server.connections_come_to(1));
    EXPECT_EQ(server.stat("connected"), 5u) << "each child has a connection of its own";
    EXPECT_EQ(server.stat("poisoned"), 0u);
  }
  EXPECT_TRUE(server.connections_come_to(0));
}

TEST_P(Fork, AGrandchildUsesTheClientToo) {
  Server server({"10"});
  Client client = server.connect(kPatience, GetParam());
  Child child = Child::fork([&client] {
    use(client, "child ", 100);
    Child grandchild = Child::fork([&client] {
      use(client, "grandchild ", 100);
      return 0;
    });
    use(client, "child ", 100);
    return grandchild.wait() == kSuccess ? 0 : 1;
  });
  use(client, "parent ", 100);
  EXPECT_EQ(child.wait(), kSuccess);
  EXPECT_TRUE(server.connections_come_to(1));
  EXPECT_EQ(server.stat("connected"), 3u);
}

INSTANTIATE_TEST_SUITE_P(Reading, Fork, testing::Values(Reads::kDirect, Reads::kRing),
                         [](const auto& test) { return test.param == Reads::kDirect ? "Direct" : "Ring"; });

TEST(Forks, AChildThatExitsDoesNotEndItsParentsConnection) {
  Server server({"10"});
  Client client = server.connect();
  ASSERT_TRUE(client.put("key", "value").ok());
  for (const bool with_destructors : {false, true}) {
    Child child = Child::fork([&client, with_destructors] {
      if (with_destructors) Client(std::move(client));  // destroys it, as exit() would
      return 0;
    });
    EXPECT_EQ(child.wait(), kSuccess);
    EXPECT_TRUE(client.put("key", "value").ok());
    EXPECT_EQ(*client.get("key"), "value");
  }
  EXPECT_EQ(server.stat("connected"), 1u) << "the parent never had to connect anew";
  EXPECT_EQ(server.stat("connections"), 1u);
}

TEST(Forks, AChildThatExecsTakesNothingWithIt) {
  Server server({"10"});
  Client client = server.connect();
  ASSERT_TRUE(client.put("key", "value").ok());
  Peer peer(server);  // forked from this process, with the client in it, and exec'ed
  for (const auto& file : std::filesystem::directory_iterator("/proc/" + std::to_string(peer.pid()) + "/fd")) {
    std::error_code error;
    const std::string target = std::filesystem::read_symlink(file.path(), error).string();
    EXPECT_EQ(target.find(server.name() + "-connection-1"), std::string::npos) << target;
  }
  EXPECT_EQ(peer.put("key", "peer"), StatusCode::kOk);
  EXPECT_EQ(*client.get("key"), "peer");
  EXPECT_TRUE(client.put("key", "parent").ok());
  EXPECT_EQ(peer.get("key").text, Peer::told_of("parent"));
  EXPECT_EQ(peer.leave(), kSuccess);
  EXPECT_TRUE(client.put("key", "value").ok());
  EXPECT_EQ(server.stat("connected"), 2u);
}

TEST(Forks, WritesQueuedBeforeTheForkAreSentByTheParentOnly) {
  Server server({"10"});
  Client client = server.connect();
  std::uint64_t puts = 0;
  for (int round = 0; round < 20; ++round) {
    for (int i = 0; i < 100; ++i) ASSERT_TRUE(client.put_async("key" + std::to_string(i), std::to_string(round)).ok());
    puts += 100;
    Child child = Child::fork([&client] {
      EXPECT_TRUE(client.flush().ok()) << "the child has queued nothing";
      EXPECT_TRUE(client.put("child", "value").ok());
      return 0;
    });
    puts += 1;
    EXPECT_EQ(child.wait(), kSuccess);
    EXPECT_TRUE(client.flush().ok());
    for (int i = 0; i < 100; ++i) ASSERT_EQ(*client.get("key" + std::to_string(i)), std::to_string(round));
  }
  EXPECT_EQ(server.stat("puts"), puts) << "each write is applied once";
}

TEST(Forks, AChildContinuesAfterItsParentHasDied) {
  // When its parent is dead, this test must be able to wait for the grandchild.
  ASSERT_EQ(::prctl(PR_SET_CHILD_SUBREAPER, 1), 0);
  for (const bool child_has_used_it : {false, true}) {
    SCOPED_TRACE(child_has_used_it ? "the child has its own connection" : "the child only inherited");
    Server server({"10", "--workers", "2"});
    const Signal parent_may_die;
    const Signal child_may_go_on;
    std::array<int, 2> report{};
    ASSERT_EQ(::pipe(report.data()), 0);
    Child parent = Child::fork([&] {
      Client client = server.connect();
      EXPECT_TRUE(client.put("key", "parent").ok());
      const pid_t child = ::fork();
      if (child == 0) {
        ::alarm(60);  // a limit, because it outlives its parent
        if (child_has_used_it) {
          EXPECT_TRUE(client.put("key", "child").ok());
        }
        parent_may_die.give();
        child_may_go_on.await();
        use(client, "child ", 200);
        const char verdict = testing::Test::HasFailure() ? 'n' : 'y';
        static_cast<void>(!::write(report[1], &verdict, 1));
        ::close(report[1]);
        ::raise(SIGSTOP);  // until the test has examined it
        ::_exit(0);
      }
      ::pause();
      return 0;
    });
    parent_may_die.await();
    const std::uint64_t before = child_has_used_it ? 2 : 1;
    EXPECT_TRUE(server.connections_come_to(before));
    parent.kill_and_wait();
    // The child holds a copy of the descriptor and nothing else.
    EXPECT_TRUE(server.connections_come_to(before - 1));
    EXPECT_EQ(server.stat("reaped"), 1u);
    child_may_go_on.give();
    char verdict = '?';
    EXPECT_EQ(::read(report[0], &verdict, 1), 1);
    EXPECT_EQ(verdict, 'y');
    EXPECT_TRUE(server.connections_come_to(1));
    EXPECT_EQ(server.stat("poisoned"), 0u);
    // The orphan is the only remaining child whose pid this process has not stored.
    const std::string id = std::to_string(::getpid());
    std::istringstream pids(read_text("/proc/" + id + "/task/" + id + "/children"));
    for (pid_t pid; pids >> pid;) {
      if (pid == server.pid()) continue;
      ::kill(pid, SIGKILL);
      EXPECT_EQ(::waitpid(pid, nullptr, 0), pid);
    }
    EXPECT_TRUE(server.connections_come_to(0));
    ::close(report[0]);
    ::close(report[1]);
  }
}

TEST(Forks, AChildForkedWithoutAServerConnectsToTheNextOne) {
  const std::string name = unique_name();
  auto first = std::make_unique<Server>(std::vector<std::string>{"10"}, ServerSetup{name, {}, {}});
  Client client = first->connect();
  ASSERT_TRUE(client.put("key", "value").ok());
  first->kill();
  first.reset();
  Child early = Child::fork([&client] { return static_cast<int>(client.put("key", "value").code()); });
  EXPECT_EQ(early.wait(), exited(static_cast<int>(StatusCode::kNoServer)));
  Server second({"10"}, {name});
  Child child = Child::fork([&client] {
    use(client, "child ", 20);
    return 0;
  });
  EXPECT_EQ(child.wait(), kSuccess);
  use(client, "parent ", 20);
}

}  // namespace
}  // namespace hostmap::test
