// hostmap-server --load: a new map begins with the keys of a dump, or the start is refused and leaves nothing.
#include <array>
#include <csignal>
#include <fcntl.h>
#include <filesystem>
#include <fstream>
#include <gtest/gtest.h>
#include <poll.h>
#include <string>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>
#include <vector>

#include "dump/dump_fixture.hpp"
#include "process/harness/sealed.hpp"
#include "process/harness/server.hpp"

namespace hostmap::test {
namespace {

namespace fs = std::filesystem;

class LoadingServer : public testing::Test {
 protected:
  LoadingServer() { fs::create_directory(folder_); }
  ~LoadingServer() override { fs::remove_all(folder_); }

  std::string write(const std::string& bytes) const {
    std::ofstream(folder_ + "/dump", std::ios::binary) << bytes;
    return folder_ + "/dump";
  }
  void expect_nothing_left() const { EXPECT_EQ(files_of_instance(name_), std::vector<std::string>{}); }

  std::string folder_ = unique_path();
  std::string name_ = unique_name();
};

// A pipe as the file of a server, of which the test decides how far it is.
class SlowDump {
 public:
  explicit SlowDump(const std::string& path) : path_(path) {
    for (std::uint64_t i = 0; i < 4; ++i) records_.push_back({word_key(i), pattern(1'500'000, i)});
    dump_ = dump_of({1, records_.size(), "slow"}, records_);
    EXPECT_EQ(::mkfifo(path.c_str(), 0600), 0);
    file_ = UniqueFd(::open(path.c_str(), O_RDWR | O_NONBLOCK | O_CLOEXEC));
  }
  const std::string& path() const { return path_; }
  // Blocks until the server has taken almost all of it: a pipe holds 64 KiB.
  void give_half() { give(2 * dump_.size() / 4 + 70'000); }
  void give_rest() {
    give(dump_.size() - given_);
    file_.reset();
  }

 private:
  void give(std::size_t bytes) {
    while (bytes != 0) {
      pollfd room{file_.get(), POLLOUT, 0};
      ASSERT_EQ(::poll(&room, 1, 30'000), 1) << "the server does not read";
      const ssize_t written = ::write(file_.get(), dump_.data() + given_, bytes);
      ASSERT_GT(written, 0);
      given_ += static_cast<std::size_t>(written);
      bytes -= static_cast<std::size_t>(written);
    }
  }

  std::string path_;
  std::vector<Kept> records_;
  std::string dump_;
  UniqueFd file_;
  std::size_t given_ = 0;
};

std::string listed(const std::vector<std::string>& words = {}) {
  std::vector<std::string> command{program("hostmap"), "ls"};
  command.insert(command.end(), words.begin(), words.end());
  return run(command).output;
}

TEST_F(LoadingServer, IsReadyOnlyWhenAllKeysAreThere) {
  std::vector<Kept> records = kGoldenRecords;
  records.push_back({"lapsed", "1", 1'000'000'000'000});
  for (std::uint64_t i = 0; i < 2'000; ++i) records.push_back({"key " + std::to_string(i), pattern(i, i)});
  const std::string file = write(dump_of({}, records));
  Server server({"10", "--workers", "2", "--load", file});
  Client client = server.connect();
  EXPECT_EQ(client.size().value_or(0), 2'003u);
  EXPECT_EQ(client.get("language").value_or("none"), "C++");
  EXPECT_NE(client.ttl("session").value_or(kForever), kForever);
  for (std::uint64_t i = 0; i < 2'000; ++i)
    EXPECT_EQ(client.get("key " + std::to_string(i)).value_or(""), pattern(i, i));
  EXPECT_NE(server.errors().find("loaded keys=2003 lapsed=1 ms="), std::string::npos) << server.errors();
  EXPECT_EQ(client.put("key", "value"), StatusCode::kOk);
}

TEST_F(LoadingServer, SaysHowFarItIs) {
  SlowDump dump(folder_ + "/pipe");
  const std::string socket_path = folder_ + "/notify";
  const UniqueFd socket(::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  socket_path.copy(address.sun_path, sizeof address.sun_path - 1);
  ASSERT_EQ(::bind(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address), 0);
  Program starting({program("hostmap-server"), "--name", name_, "--load", dump.path()},
                   {.environment = {"NOTIFY_SOCKET=" + socket_path}});
  dump.give_half();
  EXPECT_TRUE(eventually([&] { return listed().find("loading 50 %") != std::string::npos; })) << listed();
  EXPECT_NE(listed({"--json"}).find("\"state\": \"loading 50 %\""), std::string::npos) << listed({"--json"});
  EXPECT_EQ(starting.output(), "") << "it is not ready yet";
  dump.give_rest();
  EXPECT_TRUE(starting.hear().starts_with("ready "));
  EXPECT_NE(listed().find("serving"), std::string::npos);
  std::vector<std::string> states;
  std::array<char, 256> message;
  while (states.empty() || states.back() != "READY=1") {
    const ssize_t size = ::recv(socket.get(), message.data(), message.size(), 0);
    ASSERT_GT(size, 0);
    states.emplace_back(message.data(), static_cast<std::size_t>(size));
  }
  const std::string more = "\nEXTEND_TIMEOUT_USEC=120000000";
  EXPECT_EQ(states, (std::vector<std::string>{"STATUS=loading 0 %" + more, "STATUS=loading 25 %" + more,
                                              "STATUS=loading 50 %" + more, "STATUS=loading 75 %" + more,
                                              "STATUS=loading 100 %" + more, "STATUS=", "READY=1"}));
  starting.send(SIGTERM);
  EXPECT_EQ(starting.wait(), kSuccess);
  expect_nothing_left();
}

TEST_F(LoadingServer, StoppedMeanwhileItLeavesNothing) {
  for (const int signal : {SIGTERM, SIGINT, SIGHUP}) {
    fs::remove(folder_ + "/pipe");
    SlowDump dump(folder_ + "/pipe");
    Program starting({program("hostmap-server"), "--name", name_, "--keep", "--load", dump.path()});
    dump.give_half();
    starting.send(signal);
    EXPECT_EQ(starting.wait(), kSuccess);
    EXPECT_EQ(starting.output(), "");
    EXPECT_NE(starting.errors().find("signal " + std::to_string(signal) + " ended the start"), std::string::npos)
        << starting.errors();
    expect_nothing_left();
  }
}

TEST_F(LoadingServer, KilledMeanwhileItsMapIsNotContinued) {
  SlowDump dump(folder_ + "/pipe");
  Program starting({program("hostmap-server"), "--name", name_, "--load", dump.path()});
  dump.give_half();
  EXPECT_TRUE(eventually([&] { return listed().find("loading 50 %") != std::string::npos; })) << listed();
  starting.kill();
  EXPECT_NE(files_of_instance(name_), std::vector<std::string>{});
  Server server({"--load", write(dump_of(kGoldenHead, kGoldenRecords))}, {.name = name_});
  EXPECT_NE(server.errors().find("ended while it loaded a dump is incomplete; starting with an empty map"),
            std::string::npos)
      << server.errors();
  EXPECT_EQ(server.connect().size().value_or(0), kGoldenRecords.size());
}

TEST_F(LoadingServer, AMapThatIsContinuedKeepsItsKeys) {
  const std::string file = write(dump_of(kGoldenHead, kGoldenRecords));
  {
    Server first({"--keep", "--load", file}, {.name = name_});
    EXPECT_EQ(first.connect().put("language", "C"), StatusCode::kOk);
    EXPECT_EQ(first.stop(), kSuccess);
  }
  Server second({"--keep", "--load", file}, {.name = name_});
  EXPECT_EQ(second.connect().get("language").value_or("none"), "C");
  EXPECT_NE(second.errors().find("not applied: --load " + file + ": the map that this server continues keeps its keys"),
            std::string::npos)
      << second.errors();
  EXPECT_EQ(run({program("hostmap"), "--name", name_, "stop", "--drop"}).exit, kSuccess);
  EXPECT_EQ(second.wait(), kSuccess);
}

TEST_F(LoadingServer, ABadFileRefusesTheStartAndLeavesNothing) {
  const std::string good = dump_of(kGoldenHead, kGoldenRecords);
  const auto expect_refused = [&](const std::string& file, const std::string& why, int code = 1) {
    for (const char* option : {"--keep", "--background"}) {
      const Ran ran = run_server({option, "--load", file}, name_);
      expect_refusal(ran, code, {"--load " + file + ": " + why});
      expect_nothing_left();
    }
  };
  expect_refused(folder_ + "/none", "cannot open " + folder_ + "/none: No such file or directory");
  expect_refused(folder_, "cannot read " + folder_ + ": Is a directory");
  expect_refused(write(""), "the dump is truncated in its head");
  expect_refused(write("no dump"), "this is not a dump of hostmap");
  expect_refused(write(good.substr(0, good.size() - 1)), "the dump is truncated in block 2");
  std::string bad = good;
  bad[100] ^= 1;
  expect_refused(write(bad), "block 1 of the dump is damaged: its checksum is wrong");
  bad = good;
  bad[8] = 3;
  expect_refused(write(bad), "the dump has format 3, and this program reads format 1", 6);
}

TEST_F(LoadingServer, ADumpThatDoesNotFitRefusesTheStart) {
  std::vector<Kept> records;
  for (std::uint64_t i = 0; i < 40; ++i) records.push_back({word_key(i), pattern(1'000'000, i)});
  const std::string file = write(dump_of({}, records));
  const Ran full = run_server({"--memory", "16M", "--load", file}, name_);
  expect_refusal(full, 1, {"--load " + file + ": the map is full after ", "start with a larger --memory than 16M"});
  expect_nothing_left();
  const Ran longer = run_server({"--max-value", "64K", "--load", file}, name_);
  expect_refusal(longer, 1, {"--load " + file + ": a value of 1000000 bytes is longer than --max-value 64K"});
  expect_nothing_left();
}

TEST_F(LoadingServer, ALoadedMapIsContinuedAfterAKill) {
  std::vector<Kept> records = kGoldenRecords;
  for (std::uint64_t i = 0; i < 5'000; ++i) {
    records.push_back({word_key(100 + i), word_key(i)});
    records.push_back({"key " + std::to_string(i), pattern(i % 300, i)});
  }
  const std::string file = write(dump_of({}, records));
  for (const char* workers : {"1", "4"}) {
    {
      Server first({"10", "--workers", workers, "--load", file}, {.name = name_});
      first.kill();
    }
    Server second({"10", "--workers", workers}, {.name = name_});
    EXPECT_EQ(run({program("hostmap"), "--name", name_, "check"}).exit, kSuccess);
    Client client = second.connect();
    EXPECT_EQ(client.size().value_or(0), records.size());
    for (const Kept& record : records) EXPECT_EQ(client.get(record.key).value_or("none"), record.value);
  }
}

}  // namespace
}  // namespace hostmap::test
