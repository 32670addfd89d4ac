// A server is started without some of its standard streams, or a client's program has closed some: no file that they open gets
// their numbers.
#include <csignal>
#include <cstdlib>
#include <fcntl.h>
#include <filesystem>
#include <gtest/gtest.h>
#include <memory>
#include <string>
#include <unistd.h>
#include <vector>

#include "process/harness/server.hpp"
#include "support/child.hpp"

namespace hostmap::test {
namespace {

constexpr const char* kClosings[] = {"<&-", ">&-", "2>&-"};

// Which of the three are closed, a bit each.
std::string closed_by(unsigned subset) {
  std::string redirections;
  for (unsigned stream = 0; stream < 3; ++stream) {
    if ((subset >> stream & 1) != 0) redirections += std::string(" ") + kClosings[stream];
  }
  return redirections;
}

// A server started so, and a client of it.
class ServerWithout {
 public:
  ServerWithout(const std::string& name, unsigned subset)
      : process_({"sh", "-c", "exec \"$0\" \"$@\"" + closed_by(subset), test::program("hostmap-server"), "10", "--name",
                  name}) {
    options_.name = name;
    options_.timeout = kPatience;
    EXPECT_TRUE(eventually([&] { return bool(Client::connect(options_)); }));
  }
  Program& process() { return process_; }
  Client connect() const { return std::move(*Client::connect(options_)); }

 private:
  Program process_;
  Options options_;
};

TEST(StandardStreams, WhicheverAreClosedTheMapSurvivesAKill) {
  for (unsigned subset = 0; subset < 8; ++subset) {
    SCOPED_TRACE("closed:" + closed_by(subset));
    const std::string name = unique_name();
    {
      ServerWithout first(name, subset);
      ASSERT_TRUE(first.connect().put("kept", "value").ok());
      for (const int fd : {0, 1, 2}) {
        const auto file = std::filesystem::read_symlink("/proc/" + std::to_string(first.process().pid()) + "/fd/" +
                                                        std::to_string(fd));
        EXPECT_EQ(file.string().find(name), std::string::npos) << fd << " is " << file;
      }
      first.process().kill();
    }
    ServerWithout second(name, subset);
    EXPECT_EQ(*second.connect().get("kept"), "value");
    second.process().send(SIGTERM);
    EXPECT_EQ(second.process().wait().code, 0);
    EXPECT_TRUE(files_of_instance(name).empty());
  }
}

// What its program prints must not reach the map. It connects to a second server, too.
TEST(StandardStreams, WhicheverAClientHasClosedItsFilesGetOtherNumbers) {
  for (unsigned subset = 1; subset < 8; ++subset) {
    SCOPED_TRACE("closed:" + closed_by(subset));
    auto server = std::make_unique<Server>(std::vector<std::string>{"10", "--workers", "4"});
    const std::string name = server->name();
    Options options = server->options();
    options.wait_for_server = true;
    Child client = Child::fork([&] {
      for (int stream = 0; stream < 3; ++stream) {
        if ((subset >> stream & 1) != 0) ::close(stream);
      }
      Result<Client> map = Client::connect(options);
      if (!map) return EXIT_FAILURE;
      while (!map->exists("end").ok()) {
        if (!eventually([&] { return map->put("key", "value").ok(); })) return EXIT_FAILURE;
        for (int stream = 0; stream < 3; ++stream) {
          if ((subset >> stream & 1) != 0 && ::fcntl(stream, F_GETFD) >= 0) return EXIT_FAILURE;
        }
        ::usleep(1000);
      }
      return EXIT_SUCCESS;
    });
    ASSERT_TRUE(eventually([&] { return server->stat("puts") >= 10; }));
    EXPECT_EQ(server->stop(), kSuccess);
    server = std::make_unique<Server>(std::vector<std::string>{"10", "--workers", "4"}, ServerSetup{name});
    ASSERT_TRUE(eventually([&] { return server->stat("puts") >= 10; })) << "that client has connected to it";
    EXPECT_TRUE(server->connect().put("end", "value").ok());
    EXPECT_EQ(client.wait(), kSuccess);
    EXPECT_EQ(*server->connect().get("key"), "value");
  }
}

}  // namespace
}  // namespace hostmap::test
