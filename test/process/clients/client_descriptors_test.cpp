// The client library's descriptors: one for each client, and never a descriptor that the program has opened itself.
#include <chrono>
#include <csignal>
#include <fcntl.h>
#include <functional>
#include <gtest/gtest.h>
#include <string>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <thread>
#include <unistd.h>
#include <vector>

#include "process/harness/server.hpp"
#include "support/child.hpp"

namespace hostmap::test {
namespace {

std::vector<int> open_descriptors() {
  std::vector<int> open;
  for (int fd = 0; fd < 200; ++fd) {
    if (::fcntl(fd, F_GETFD) >= 0) open.push_back(fd);
  }
  return open;
}

TEST(ClientDescriptors, AClientKeepsOneAndAReadOnlyClientNone) {
  Server server({"10"});
  const std::size_t before = open_descriptors().size();
  {
    const Client map = server.connect();
    EXPECT_EQ(open_descriptors().size(), before + 1);
    Options options = server.options();
    options.read_only = true;
    const Result<Client> reader = Client::connect(options);
    ASSERT_TRUE(reader) << reader.status().message();
    EXPECT_EQ(open_descriptors().size(), before + 1);
  }
  EXPECT_EQ(open_descriptors().size(), before);
}

// The place of a client whose process lives but no longer has its descriptor is given to another client.
TEST(ClientDescriptors, AClientWithoutItsOwnLosesItsPlaceThoughItsProcessLives) {
  const auto close_all = [] {
    for (const int fd : open_descriptors()) {
      if (fd > 2) ::close(fd);
    }
  };
  struct Way {
    const char* what;
    std::function<void()> lose;
  };
  const std::vector<Way> ways{
      {"exec",
       [] {
         const char* arguments[] = {"/bin/sleep", "1000", nullptr};
         ::execv(arguments[0], const_cast<char* const*>(arguments));
         ::_exit(1);
       }},
      {"all closed", close_all},
      {"closed, and a child of a fork keeps it open",
       [&] {
         if (::fork() == 0) {
           ::prctl(PR_SET_PDEATHSIG, SIGKILL);
           ::pause();
         }
         close_all();
       }},
  };
  for (const Way& way : ways) {
    SCOPED_TRACE(way.what);
    Server server({"10", "--max-connections", "1"});
    Child child = Child::fork([&] {
      Client map = server.connect();
      EXPECT_EQ(map.put("key", "value"), StatusCode::kOk);
      way.lose();
      for (;;) ::pause();
      return 0;
    });
    EXPECT_TRUE(eventually([&] { return server.stat("connected") == 1; }));
    EXPECT_TRUE(eventually([&] { return Client::connect(server.options()).has_value(); }));
    child.kill_and_wait();
  }
}

// A forked child that closes its inherited descriptors does not disconnect its parent.
TEST(ClientDescriptors, AForkedChildThatClosesThemLeavesTheParentsClientConnected) {
  Server server({"10"});
  Client map = server.connect();
  ASSERT_TRUE(map.put("key", "value").ok());
  EXPECT_EQ(Child::fork([&] {
              for (const int fd : open_descriptors()) {
                if (fd > 2) ::close(fd);
              }
              return 0;
            }).wait(),
            kSuccess);
  std::this_thread::sleep_for(std::chrono::seconds(7));  // until its lock has been tested
  EXPECT_EQ(server.stat("connections"), 1u);
  EXPECT_EQ(server.stat("reaped"), 0u);
  EXPECT_TRUE(map.put("key", "again").ok());
  EXPECT_EQ(server.stat("connected"), 1u) << "on the same connection";
}

// A client that is used after its program has closed all descriptors connects anew.
TEST(ClientDescriptors, AClientThatLostItsOwnConnectsAnew) {
  Server server({"10"});
  EXPECT_EQ(Child::fork([&] {
              Client map = server.connect();
              EXPECT_TRUE(map.put("key", "value").ok());
              for (const int fd : open_descriptors()) {
                if (fd > 2) ::close(fd);
              }
              EXPECT_TRUE(eventually([&] { return server.stat("reaped") == 1; }));
              EXPECT_TRUE(map.put("key", "again").ok());
              EXPECT_EQ(*map.get("key"), "again");
              EXPECT_EQ(server.stat("connected"), 2u);
              return ::testing::Test::HasFailure() ? 1 : 0;
            }).wait(),
            kSuccess);
}

// A daemon closes all its descriptors and opens its log, which gets the number of the client's.
TEST(ClientDescriptors, AFileOfTheProgramWithTheClientsOldNumberIsNotClosed) {
  Server server({"10"});
  Child child = Child::fork([&] {
    {
      Client map = server.connect();
      EXPECT_EQ(map.put("key", "value"), StatusCode::kOk);
      for (const int fd : open_descriptors()) {
        if (fd > 2) ::close(fd);
      }
      // Enough files to use every number that the client's descriptor may have had.
      std::vector<int> own;
      for (int i = 0; i < 20; ++i) own.push_back(::open("/dev/null", O_RDWR | O_CLOEXEC));
      static_cast<void>(map.put("key", "value"));
      { const Client moved = std::move(map); }
      for (const int fd : own) EXPECT_GE(::fcntl(fd, F_GETFD), 0) << fd << " was closed";
    }
    return ::testing::Test::HasFailure() ? 1 : 0;
  });
  EXPECT_EQ(child.wait(), kSuccess);
  EXPECT_EQ(server.connect().put("key", "new"), StatusCode::kOk);
}

// Whichever descriptor cannot be opened, the error names the cause and does not claim that the server has died.
TEST(ClientDescriptors, AShortageOfThemIsNamed) {
  Server server({"10"});
  Child child = Child::fork([&] {
    const std::size_t used = open_descriptors().size();
    bool connected = false;
    for (rlim_t more = 0; more < 12 && !connected; ++more) {
      const rlimit limit{used + more, 100};
      EXPECT_EQ(::setrlimit(RLIMIT_NOFILE, &limit), 0);
      const Result<Client> map = Client::connect(server.options());
      connected = bool(map);
      if (connected) continue;
      EXPECT_EQ(map.status(), StatusCode::kFull) << map.status().message();
      EXPECT_NE(map.status().message().find("ulimit -n"), std::string_view::npos) << map.status().message();
    }
    EXPECT_TRUE(connected);
    return ::testing::Test::HasFailure() ? 1 : 0;
  });
  EXPECT_EQ(child.wait(), kSuccess);
}

}  // namespace
}  // namespace hostmap::test
