// The start of a server: its options, and what it prints.
#include <algorithm>
#include <cstddef>
#include <gtest/gtest.h>
#include <poll.h>
#include <regex>
#include <string>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/un.h>
#include <thread>

#include <hostmap/version.hpp>

#include "layout/table.hpp"
#include "process/harness/peer.hpp"
#include "process/harness/proc.hpp"
#include "process/harness/server.hpp"
#include "signal/wish.hpp"

namespace hostmap::test {
namespace {

TEST(ServerStart, TheFirstLineOnStdoutSaysWhatIsServed) {
  Server server({"10", "--memory", "32M", "--workers", "2"});
  const std::regex form("ready name=" + server.name() + " buckets=10 workers=2 memory=33554432 version=[0-9.]+ " +
                        "commit=[A-Za-z0-9.-]+ layout=" + std::to_string(kLayoutVersion) + "\n");
  EXPECT_TRUE(std::regex_match(server.program().output(), form)) << server.program().output();
  server.stop_cleanly();
  EXPECT_EQ(lines_of(server.program().output()).size(), 1u) << "nothing else belongs on stdout";
}

TEST(ServerStart, DefaultsAre1024BucketsAWorkerForFourCpusAndAtMost1GOfMemory) {
  struct statvfs facts {};
  ASSERT_EQ(::statvfs("/dev/shm", &facts), 0);
  const std::uint64_t half = facts.f_bavail * facts.f_frsize / 2;
  Server server;
  EXPECT_EQ(server.ready().buckets, 1024u);
  EXPECT_EQ(server.ready().workers, std::clamp(std::thread::hardware_concurrency() / 4, 1u, 16u));
  // Other tests use /dev/shm, too, so half of it is not known to the byte.
  if (half > std::uint64_t{2} << 30) {
    EXPECT_EQ(server.ready().memory, std::uint64_t{1} << 30);
  }
  EXPECT_LE(server.ready().memory, std::uint64_t{1} << 30);
}

// In whole segments: 256 buckets of pairs, 512 of entries.
TEST(ServerStart, AtLeastSoManyBucketsAreTaken) {
  for (const std::uint64_t buckets : {1, 3, 10, 1000}) {
    SCOPED_TRACE(buckets);
    Server server({std::to_string(buckets)});
    EXPECT_EQ(server.ready().buckets, buckets);
    EXPECT_EQ(server.stat("pair_buckets"), round_up(buckets, kSegmentBuckets<PairBucket>));
    EXPECT_EQ(server.stat("entry_buckets"), round_up(buckets, kSegmentBuckets<EntryBucket>));
    EXPECT_EQ(server.stat("buckets"), server.stat("pair_buckets") + server.stat("entry_buckets"));
    Client client = server.connect();
    for (int i = 0; i < 3000; ++i) ASSERT_TRUE(client.put(word_key(i), word_key(i + 1)).ok());
    for (int i = 0; i < 3000; ++i) ASSERT_EQ(*client.get(word_key(i)), word_key(i + 1));
  }
}

// Whatever the limit, memory is taken only as it is needed: below 512 KiB by an instance, below 16 MiB by one with 32 lanes.
TEST(ServerStart, AnEmptyMapTakesLittleMemoryAndHoldsKeys) {
  struct Case {
    std::vector<std::string> arguments;
    std::uint64_t most_bytes;
  };
  for (const auto& [arguments, most_bytes] : {Case{{"1"}, 512 * 1024},
                                              {{"1", "--memory", "512K"}, 512 * 1024},
                                              {{"32", "--workers", "32"}, 16 << 20},
                                              {{"32", "--workers", "32", "--memory", "15M"}, 16 << 20}}) {
    SCOPED_TRACE(testing::PrintToString(arguments));
    Server server(arguments);
    EXPECT_LT(server.stat("memory_bytes"), most_bytes);
    struct stat table {};
    ASSERT_EQ(::stat(server.instance().table().c_str(), &table), 0);
    EXPECT_LT(static_cast<std::uint64_t>(table.st_blocks) * 512, most_bytes) << "as the system counts it";
    Client client = server.connect();
    const auto value = [](int i) { return std::string(100, static_cast<char>('0' + i % 10)); };
    for (int i = 0; i < 200; ++i) {
      ASSERT_EQ(client.put("key " + std::to_string(i), value(i)), StatusCode::kOk);
      ASSERT_EQ(client.put(word_key(i), word_key(i)), StatusCode::kOk);
    }
    for (int i = 0; i < 200; ++i) {
      ASSERT_EQ(client.get("key " + std::to_string(i)).value_or("?"), value(i));
      ASSERT_EQ(client.get(word_key(i)).value_or("?"), word_key(i));
    }
    EXPECT_LT(server.stat("memory_bytes"), most_bytes);
  }
}

TEST(ServerStart, ABucketCountIsADecimalNumber) {
  Server server({"010"});
  EXPECT_EQ(server.ready().buckets, 10u) << "a leading zero does not make a number octal";
}

TEST(ServerStart, FourWorkersShareTenBuckets) {
  Server server({"10", "--workers", "4"});
  EXPECT_EQ(server.ready().workers, 4u);
  EXPECT_EQ(server.stat("workers"), 4u);
  EXPECT_EQ(server.ready().buckets, 10u);
  EXPECT_EQ(server.stat("buckets"), 4 * (kSegmentBuckets<PairBucket> + kSegmentBuckets<EntryBucket>));
  Peer peer(server);
  for (int i = 0; i < 100; ++i) EXPECT_EQ(peer.put("key" + std::to_string(i), "v"), StatusCode::kOk);
  for (int i = 0; i < 100; ++i) EXPECT_EQ(peer.get("key" + std::to_string(i)).text, Peer::told_of("v"));
  EXPECT_EQ(server.stat("entries"), 100u);
}

TEST(ServerStart, SizesAreBytesOrPowersOf1024) {
  for (const auto& [text, bytes] :
       {std::pair{"524288", std::uint64_t{524288}}, std::pair{"600K", std::uint64_t{614400}},
        std::pair{"64M", std::uint64_t{64} << 20}, std::pair{"2g", std::uint64_t{2} << 30}}) {
    Server server({"1", "--memory", text});
    EXPECT_EQ(server.ready().memory, bytes) << text;
    EXPECT_EQ(server.stat("memory_limit_bytes"), bytes) << text;
  }
}

TEST(ServerStart, EveryLimitItselfIsAccepted) {
  const std::vector<std::vector<std::string>> rows{
      {"1"},
      {"1", "--memory", "512K"},
      {"1", "--memory", "1024G"},
      {"32", "--workers", "32"},
      {"1", "--workers", "1"},
      {"1", "--max-connections", "1"},
      {"1", "--max-connections", "65536"},
      {"1", "--ring-size", "4096"},
      {"1", "--ring-size", "64M"},
      {"1", "--max-value", "8"},
      {"1", "--max-value", "1G"},
      {"1", "--dir", "/dev/shm"},
      {"1", "--dir", "/dev/shm/"},
  };
  for (const std::vector<std::string>& row : rows) {
    Server server(row);
    SCOPED_TRACE(server.program().command_line());
    Client client = server.connect();
    EXPECT_TRUE(client.put("key", "value").ok());
    EXPECT_EQ(*client.get("key"), "value");
  }
}

TEST(ServerStart, ANameMayHave64CharactersOfEveryAllowedKind) {
  std::string name = unique_name() + "-Az09._-";
  name += std::string(64 - name.size(), 'x');
  Server server({}, {name});
  EXPECT_EQ(server.ready().name, name);
  EXPECT_TRUE(server.connect().put("key", "value").ok());
}

// A service manager's end of sd_notify: the datagrams that came, in order.
class NotifySocket {
 public:
  // `path`: of a file, or "@name" for an abstract socket.
  explicit NotifySocket(const std::string& path) : socket_(::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0)) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    path.copy(address.sun_path, sizeof address.sun_path - 1);
    if (path[0] == '@') address.sun_path[0] = '\0';
    const auto length = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + path.size());
    EXPECT_EQ(::bind(socket_.get(), reinterpret_cast<const sockaddr*>(&address), length), 0);
  }
  std::string next() const {
    pollfd event{socket_.get(), POLLIN, 0};
    if (::poll(&event, 1, 30'000) != 1) return "nothing";
    char text[256];
    const ssize_t got = ::recv(socket_.get(), text, sizeof text, 0);
    return {text, static_cast<std::size_t>(std::max<ssize_t>(got, 0))};
  }
  bool empty() const {
    pollfd event{socket_.get(), POLLIN, 0};
    return ::poll(&event, 1, 0) == 0;
  }

 private:
  UniqueFd socket_;
};

TEST(ServerStart, AServiceManagerIsNotifiedWhenItServesAndWhenItStops) {
  const std::string path = "/tmp/" + unique_name();
  for (const std::string& address : {path, "@" + unique_name()}) {
    SCOPED_TRACE(address);
    const NotifySocket manager(address);
    ServerSetup setup;
    setup.process.environment = {"NOTIFY_SOCKET=" + address};
    Server server({}, setup);
    EXPECT_EQ(manager.next(), "READY=1");
    EXPECT_TRUE(manager.empty());
    server.stop_cleanly();
    EXPECT_EQ(manager.next(), "STOPPING=1");
    EXPECT_TRUE(manager.empty());
  }
  remove_path(path);
}

TEST(ServerStart, AServiceManagerIsNotifiedThatTheRegionsWereRemoved) {
  const std::string address = "@" + unique_name();
  const NotifySocket manager(address);
  ServerSetup setup;
  setup.process.environment = {"NOTIFY_SOCKET=" + address};
  Server server({}, setup);
  EXPECT_EQ(manager.next(), "READY=1");
  {
    const Client client = server.connect();
    server.remove_regions();
    EXPECT_TRUE(manager.next().starts_with("STATUS="));
  }
  EXPECT_EQ(server.wait(), exited(1));
  EXPECT_EQ(manager.next(), "STOPPING=1");
}

// The service manager must get the new server's pid before the old server ends, or it would consider the service ended; and
// no server reports that the service stops.
TEST(ServerStart, AServiceManagerIsNotifiedOfATakeover) {
  const std::string address = "@" + unique_name();
  const NotifySocket manager(address);
  ServerSetup setup;
  setup.process.environment = {"NOTIFY_SOCKET=" + address};
  Server old({"10"}, setup);
  EXPECT_EQ(manager.next(), "READY=1");
  setup.name = old.name();
  Server next({"10", "--takeover"}, setup);
  EXPECT_EQ(old.wait(), kSuccess);
  EXPECT_EQ(manager.next(), "MAINPID=" + std::to_string(next.pid()));
  EXPECT_EQ(manager.next(), "READY=1");
  EXPECT_TRUE(manager.empty());
}

TEST(ServerStart, AServiceManagerThatDoesNotListenDoesNoHarm) {
  ServerSetup setup;
  setup.process.environment = {"NOTIFY_SOCKET=/tmp/" + unique_name()};
  Server server({}, setup);
  EXPECT_TRUE(server.connect().put("key", "value").ok());
}

// --background. The server keeps the standard streams that it was started with, so the test redirects them.
Program in_background(const std::string& name, const std::string& more = {}) {
  return Program({"bash", "-c", "exec \"$0\" --background --name \"$1\" " + more + " >/dev/null 2>&1",
                  program("hostmap-server"), name});
}

TEST(Background, TheProgramEndsAsSoonAsItsServerServes) {
  const std::string name = unique_name();
  EXPECT_EQ(in_background(name).wait(), kSuccess);
  Options options;
  options.name = name;
  Result<Client> client = Client::connect(options);
  ASSERT_TRUE(client) << client.status().message();
  EXPECT_EQ(client->put("key", "value"), StatusCode::kOk);
  EXPECT_EQ(in_background(name, "--takeover").wait(), kSuccess) << "and takes over";
  EXPECT_EQ(*client->get("key"), "value");
  EXPECT_EQ(run({program("hostmap"), "--name", name, "stop"}).exit, kSuccess);
  EXPECT_TRUE(files_of_instance(name).empty());
}

TEST(Background, AServerThatCannotServeGivesItsExitCode) {
  Server other({"10"});
  EXPECT_EQ(in_background(other.name()).wait(), exited(1));
  EXPECT_EQ(in_background(other.name(), "--workers 99").wait(), exited(2));
}

TEST(Background, ASignalEndsServerAndProgramWhileTheyWait) {
  for (const int signal : {SIGTERM, SIGINT, SIGKILL}) {
    Server other({"10"});
    other.pause();
    Program waiting = in_background(other.name(), "--takeover");
    pid_t watcher = 0;
    pid_t server = 0;
    ASSERT_TRUE(eventually([&] { return (watcher = first_child(waiting.pid())) != 0; }));
    ASSERT_TRUE(eventually([&] { return (server = first_child(watcher)) != 0; }));
    ASSERT_TRUE(eventually([&] { return is_pending(other.pid(), hand_over_signal()); }));
    waiting.send(signal);
    EXPECT_EQ(waiting.wait(), killed_by(signal));
    EXPECT_TRUE(eventually([&] { return process_state(server) == 0 || process_state(server) == 'Z'; }));
    other.send(SIGCONT);
    EXPECT_EQ(other.connect().put("key", "value"), StatusCode::kOk);
  }
}

}  // namespace
}  // namespace hostmap::test
