// A server whose output cannot be written or is not read serves and stops as any other. And signals that do not end it.
#include <array>
#include <csignal>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <string>
#include <sys/stat.h>
#include <unistd.h>

#include "process/harness/own_shm.hpp"
#include "process/harness/server.hpp"

namespace hostmap::test {
namespace {

// Starts a server with its output redirected, has it log (a second client's death, a signal), and stops it.
class Redirected : public testing::TestWithParam<const char*> {};

TEST_P(Redirected, TheServerServesRestartsAndStops) {
  const std::string name = unique_name();
  Options options;
  options.name = name;
  options.timeout = kPatience;
  options.wait_for_server = true;
  for (const bool stopped_in_order : {false, true}) {
    Program server({"bash", "-c", std::string("exec \"$0\" \"$@\" ") + GetParam(), program("hostmap-server"), "10",
                    "--name", name});
    Result<Client> map = Client::connect(options);
    ASSERT_TRUE(map) << map.status().message();
    // Enough lines to fill a pipe that is not read, if all of them were written.
    for (int i = 0; i < 3000; ++i) server.send(SIGUSR1);
    ASSERT_EQ(map->put("key", "value"), StatusCode::kOk);
    EXPECT_EQ(*map->get("key"), "value");
    if (stopped_in_order) {
      server.send(SIGTERM);
      EXPECT_EQ(server.wait(), kSuccess);
    } else {
      server.kill();
    }
  }
  EXPECT_TRUE(files_of_instance(name).empty());
}

INSTANTIATE_TEST_SUITE_P(
    To, Redirected,
    testing::Values(">/dev/full 2>/dev/full",                // the disk is full
                    "> >(exec true) 2>&1",                   // a pipe whose reader has ended
                    "> >(exec sleep 30 <&0 >&- 2>&-) 2>&1",  // a pipe that nobody reads
                    ">&- 2>&-"),
    [](const auto& where) {
      return std::string(std::array{"AFullDisk", "AClosedPipe", "AnUnreadPipe", "Nowhere"}[where.index]);
    });

TEST(Signals, ThatAreNotForStoppingAreIgnoredAndLogged) {
  Server server({"10"});
  Client map = server.connect();
  for (const int signal :
       {SIGUSR1, SIGUSR2, SIGALRM, SIGVTALRM, SIGPROF, SIGIO, SIGPIPE, SIGPWR, SIGSTKFLT, SIGRTMIN, SIGRTMAX}) {
    server.send(signal);
    ASSERT_EQ(map.put("key", std::to_string(signal)), StatusCode::kOk) << "signal " << signal;
  }
  EXPECT_TRUE(eventually(
      [&] { return server.errors().find("signal " + std::to_string(SIGUSR1) + " is ignored") != std::string::npos; }));
  EXPECT_EQ(server.stop(SIGHUP), kSuccess) << "SIGHUP stops in order";
}

TEST(Signals, ALineThatIsRepeatedOftenIsWrittenAFewTimes) {
  Server server({"10"});
  Client map = server.connect();
  for (int i = 0; i < 2000; ++i) server.send(SIGUSR2);
  ASSERT_EQ(map.put("key", "value"), StatusCode::kOk);
  EXPECT_EQ(server.stop(), kSuccess);
  EXPECT_LT(lines_of(server.errors()).size(), 60u);
}

TEST(JournalFile, IsPrivateToItsOwnerWhateverTheUmaskIs) {
  for (const mode_t mask : {mode_t{0}, mode_t{0777}}) {
    const mode_t before = ::umask(mask);
    Server server({"10"});
    ::umask(before);
    struct stat facts {};
    ASSERT_EQ(::stat(server.instance().journal().c_str(), &facts), 0);
    EXPECT_EQ(facts.st_mode & 07777, 0600u);
    EXPECT_EQ(server.connect().put("key", "value"), StatusCode::kOk);
  }
}

TEST(JournalFile, IfItIsRemovedTheNextStartIsRefused) {
  Server server({"10"});
  Client map = server.connect();
  ASSERT_EQ(map.put("key", "value"), StatusCode::kOk);
  ASSERT_EQ(::unlink(server.instance().journal().c_str()), 0);
  const Ran second = run_server({"10"}, server.name());
  expect_refusal(second, 1, {"running", std::to_string(server.pid()), "was removed"});
  EXPECT_NE(::access(server.instance().journal().c_str(), F_OK), 0) << "the refused start leaves no journal";
  EXPECT_EQ(*map.get("key"), "value");
  EXPECT_EQ(server.connect().put("key", "new"), StatusCode::kOk);
}

// A client that got no rings because memory was short for a moment gets them at its next call.
TEST(Channels, ARefusedOneIsOpenedOnceThereIsMemory) {
  in_own_shm("size=64m", [] {
    for (const char* workers : {"1", "4"}) {
      SCOPED_TRACE(workers);
      const SmallFolder folder("size=16m");
      Server server({"10", "--memory", "4M", "--workers", workers}, {.dir = folder.path()});
      Client map = server.connect(kPatience, Reads::kRing);
      folder.fill();
      EXPECT_EQ(map.get("key").status(), StatusCode::kFull);
      EXPECT_EQ(map.get("key").status(), StatusCode::kFull) << "and again";
      folder.unfill();
      for (int i = 0; i < 50; ++i) {
        const std::string key = "key " + std::to_string(i);
        ASSERT_EQ(map.put(key, "value"), StatusCode::kOk);
        ASSERT_EQ(*map.get(key), "value");
      }
    }
  });
}

}  // namespace
}  // namespace hostmap::test
