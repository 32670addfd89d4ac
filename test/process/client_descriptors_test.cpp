// The client library's descriptors: one a client, and never one that the program has made its own.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <string>
#include <sys/resource.h>
#include <unistd.h>
#include <vector>

#include "process/support/server.hpp"
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

TEST(ClientDescriptors, AClientKeepsOneAndAReadOnlyOneNone) {
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

// A daemon closes all its descriptors and opens its log, which gets the number of the client's.
TEST(ClientDescriptors, ThoseOfTheProgramAreNotClosedUnderTheClientsOldNumber) {
  Server server({"10"});
  Child child = Child::fork([&] {
    {
      Client map = server.connect();
      EXPECT_EQ(map.put("key", "value"), StatusCode::kOk);
      for (const int fd : open_descriptors()) {
        if (fd > 2) ::close(fd);
      }
      // As many files of its own as there can have been numbers.
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

// Whichever descriptor is the one too many: the cause is named, and no server is said to have died.
TEST(ClientDescriptors, AreNamedWhenTheyAreShort) {
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
