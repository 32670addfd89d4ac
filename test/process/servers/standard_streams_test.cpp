// A server is started without some of its standard streams: no file that it opens gets their numbers.
#include <csignal>
#include <filesystem>
#include <gtest/gtest.h>
#include <string>

#include "process/harness/server.hpp"

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

}  // namespace
}  // namespace hostmap::test
