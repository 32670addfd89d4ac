// FAULTS 21: a fork after connect. Never are two processes on one ring, and a dead client's slot comes back although its
// child inherited the lock's descriptor.
#include <csignal>
#include <gtest/gtest.h>
#include <string>
#include <unistd.h>

#include "process/support/server.hpp"

namespace hostmap::test {
namespace {

int checked(bool condition, int code) { return condition ? 0 : code; }

TEST(Case21ForkTest, ParentAndChildGoOnWithConnectionsOfTheirOwn) {
  Server server;
  Client map = server.connect();
  ASSERT_EQ(map.put("before", "fork"), StatusCode::kOk);
  Child child = Child::fork([&] {
    for (int i = 0; i < 200; ++i) {
      if (!map.put("child " + std::to_string(i), std::to_string(i)).ok()) return 1;
      if (*map.get("before") != "fork") return 2;
    }
    return 0;
  });
  for (int i = 0; i < 200; ++i) ASSERT_EQ(map.put("parent " + std::to_string(i), std::to_string(i)), StatusCode::kOk);
  EXPECT_EQ(child.wait(kPatience), kSuccess);
  for (int i = 0; i < 200; ++i) {
    ASSERT_EQ(*map.get("child " + std::to_string(i)), std::to_string(i));
    ASSERT_EQ(*map.get("parent " + std::to_string(i)), std::to_string(i));
  }
  EXPECT_EQ(server.stat("connected"), 2u);
  EXPECT_EQ(server.stat("poisoned"), 0u);
  EXPECT_TRUE(server.connections_come_to(1)) << "the child's connection comes back";
}

TEST(Case21ForkTest, WritesQueuedBeforeTheForkAreTheParentsAndAreAppliedOnce) {
  Server server;
  Client map = server.connect();
  for (std::uint64_t i = 0; i < 100; ++i) ASSERT_EQ(map.put_async("key", std::to_string(i)), StatusCode::kOk);
  Child child = Child::fork([&] { return checked(map.flush().ok(), 1); });  // nothing of its own to flush
  EXPECT_EQ(child.wait(kPatience), kSuccess);
  ASSERT_EQ(map.flush(), StatusCode::kOk);
  EXPECT_EQ(*map.get("key"), "99");
  EXPECT_EQ(server.stat("puts"), 100u);
}

TEST(Case21ForkTest, AChildThatOnlyExitsLeavesTheParentsConnectionAlone) {
  Server server;
  Client map = server.connect();
  for (int round = 0; round < 5; ++round) {
    Child child = Child::fork([] { return 0; });
    ASSERT_EQ(child.wait(kPatience), kSuccess);
    ASSERT_EQ(map.put("key", std::to_string(round)), StatusCode::kOk);
  }
  EXPECT_EQ(server.stat("connected"), 1u);
  EXPECT_EQ(server.stat("connections"), 1u);
}

TEST(Case21ForkTest, AChildThatExecsLeavesTheParentsConnectionAlone) {
  Server server;
  Client map = server.connect();
  Child child = Child::fork([] {
    ::execl("/bin/true", "true", static_cast<char*>(nullptr));
    return 1;
  });
  ASSERT_EQ(child.wait(kPatience), kSuccess);
  ASSERT_EQ(map.put("key", "value"), StatusCode::kOk);
  EXPECT_EQ(server.stat("connections"), 1u);
}

// The middle process connects, forks and dies; its child lives on with the inherited descriptor.
TEST(Case21ForkTest, TheSlotOfADeadParentComesBackAlthoughItsChildLives) {
  Server server;
  std::array<int, 2> go{};
  ASSERT_EQ(::pipe(go.data()), 0);
  Child parent = Child::fork([&] {
    Client map = server.connect();
    if (!map.put("parent", "was here").ok()) return 1;
    const pid_t child = ::fork();
    if (child == 0) {
      ::close(go[1]);
      char byte;
      while (::read(go[0], &byte, 1) > 0) {
      }
      ::_exit(map.put("child", "lives").ok() ? 0 : 1);  // connects anew
    }
    ::raise(SIGKILL);
    return 2;
  });
  EXPECT_EQ(parent.wait(kPatience), killed_by(SIGKILL));
  EXPECT_TRUE(server.connections_come_to(0)) << "the parent's connection must come back while the child sleeps";
  EXPECT_EQ(server.stat("reaped"), 1u);
  ::close(go[0]);
  ::close(go[1]);
  Client map = server.connect();
  EXPECT_TRUE(eventually([&] { return map.exists("child").ok(); }));
  EXPECT_TRUE(server.connections_come_to(1));
}

}  // namespace
}  // namespace hostmap::test
