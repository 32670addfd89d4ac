// The system limits each user's inotify instances, and other programs may use all of them. Then a client that waits for a
// server checks for it twice a second, and a server checks its files once a second.
#include <cerrno>
#include <chrono>
#include <fcntl.h>
#include <fstream>
#include <gtest/gtest.h>
#include <sys/inotify.h>
#include <sys/resource.h>
#include <thread>
#include <unistd.h>

#include "process/harness/peer.hpp"
#include "process/harness/proc.hpp"
#include "process/harness/server.hpp"
#include "support/child.hpp"

namespace hostmap::test {
namespace {

// Another program of that user, which takes all of them, also those that are freed later: another test may have used some.
class TakenInstances {
 public:
  explicit TakenInstances(uid_t user)
      : holder_(Child::fork_as(user, [] {
          rlimit descriptors{};
          ::getrlimit(RLIMIT_NOFILE, &descriptors);
          descriptors.rlim_cur = descriptors.rlim_max;
          ::setrlimit(RLIMIT_NOFILE, &descriptors);
          for (;;) {
            while (::inotify_init1(IN_CLOEXEC) >= 0) {
            }
            if (errno != EMFILE) return 1;
            std::this_thread::sleep_for(std::chrono::milliseconds(5));
          }
        })) {
    // Until no process of that user gets one.
    EXPECT_TRUE(eventually([&] {
      return Child::fork_as(user, [] { return ::inotify_init1(IN_CLOEXEC) < 0 ? 0 : 1; }).wait() == kSuccess;
    }));
  }

 private:
  Child holder_;
};

class WithoutInotify : public testing::Test {
 protected:
  void SetUp() override {
    if (!can_change_users()) GTEST_SKIP() << "another user's instances are needed";
    rlimit descriptors{};
    ASSERT_EQ(::getrlimit(RLIMIT_NOFILE, &descriptors), 0);
    std::uint64_t instances = 0;
    std::ifstream("/proc/sys/fs/inotify/max_user_instances") >> instances;
    if (instances + 16 > descriptors.rlim_max) GTEST_SKIP() << "a process cannot open as many as a user may have";
    as_user_.user = kSomeUser;
  }
  ProcessSetup as_user_;
};

TEST_F(WithoutInotify, AClientThatWaitsForAServerSleepsAndFindsIt) {
  const TakenInstances taken(kSomeUser);
  const std::string name = unique_name();
  PeerSetup setup;
  setup.wait_for_server = true;
  setup.timeout = 2 * kPatience;
  setup.process = as_user_;
  Peer peer = Peer::unconnected(as_user_);
  peer.begin_connect(name, "/dev/shm", setup);
  std::this_thread::sleep_for(std::chrono::seconds(1));
  const std::uint64_t switches = voluntary_switches(peer.pid());
  const std::uint64_t ticks = cpu_ticks(peer.pid());
  std::this_thread::sleep_for(std::chrono::seconds(3));
  EXPECT_GE(voluntary_switches(peer.pid()), switches + 1) << "it looks";
  EXPECT_LE(voluntary_switches(peer.pid()), switches + 30) << "it spins";
  EXPECT_LE(cpu_ticks(peer.pid()), ticks + 10) << "it spins";
  Server server({"10"}, {name, "", as_user_});
  EXPECT_EQ(peer.reply(), StatusCode::kOk);
  EXPECT_EQ(peer.put("key", "value"), StatusCode::kOk);
}

TEST_F(WithoutInotify, AServerNoticesThatItsMasterIsTruncatedAndThatItsFilesAreRemoved) {
  const TakenInstances taken(kSomeUser);
  Server server({"10"}, {"", "", as_user_});
  PeerSetup setup;
  setup.process = as_user_;
  Peer peer(server, setup);
  const std::string master = server.instance().master();
  ASSERT_EQ(::truncate(master.c_str(), 0), 0);
  Peer newcomer(server, setup);
  EXPECT_EQ(newcomer.put("key", "value"), StatusCode::kOk);
  server.remove_regions();
  EXPECT_TRUE(eventually([&] { return server.errors().find("removed") != std::string::npos; })) << server.errors();
  EXPECT_EQ(newcomer.leave(), kSuccess);
  EXPECT_EQ(peer.leave(), kSuccess);
  EXPECT_EQ(server.wait(), exited(1));
}

}  // namespace
}  // namespace hostmap::test
