// A resource is exhausted when a server starts or a client connects (fault case 23 in docs/internals/failure-model.md). The
// error names the resource, the exit code shows it, and nothing incomplete is left.
#include <atomic>
#include <gtest/gtest.h>
#include <memory>
#include <string>
#include <sys/resource.h>
#include <thread>
#include <vector>

#include "process/harness/own_shm.hpp"
#include "process/harness/peer.hpp"
#include "process/harness/proc.hpp"
#include "process/harness/server.hpp"

namespace hostmap::test {
namespace {

// Starts a server with too little or with enough of a resource. Either it names in one line what is missing, exits with 1
// and leaves nothing; or it serves, does not spin, and stops in order. Returns whether it served.
bool serves_or_says_why(const std::vector<std::string>& arguments, const ProcessSetup& process, const std::string& name,
                        const std::string& dir = "/dev/shm") {
  std::vector<std::string> words{program("hostmap-server"), "--name", name, "--dir", dir};
  words.insert(words.end(), arguments.begin(), arguments.end());
  Program server(words, process);
  const std::optional<std::string> line = server.next_line(kPatience);
  bool served = false;
  if (line) {
    served = true;
    EXPECT_TRUE(parse_ready(*line).has_value()) << *line;
    // Each of several clients is served or refused with one line.
    for (int i = 0; i < 3; ++i) {
      const Ran client =
          run({program("hostmap-client"), "--name", name, "--dir", dir, "--seconds", "0.001", std::to_string(i)});
      EXPECT_TRUE(client.exit == kSuccess || client.exit == exited(4)) << client.exit << ": " << client.errors;
      EXPECT_EQ(lines_of(client.errors).size(), client.exit == kSuccess ? 0u : 1u) << client.errors;
    }
    const std::uint64_t before = cpu_ticks(server.pid());
    std::this_thread::sleep_for(std::chrono::milliseconds(200));
    EXPECT_LT(cpu_ticks(server.pid()) - before, 10u) << "it spins";
    server.send(SIGTERM);
    EXPECT_EQ(server.wait(), kSuccess) << server.errors();
  } else {
    const Exit exit = server.wait();
    EXPECT_EQ(exit, exited(1)) << server.errors();
    EXPECT_EQ(lines_of(server.errors()).size(), 1u) << server.errors();
    EXPECT_TRUE(server.errors().starts_with("hostmap-server: ")) << server.errors();
  }
  const std::vector<std::string> left = files_of_instance(name, dir);
  EXPECT_EQ(left, std::vector<std::string>());
  for (const std::string& file : left) std::filesystem::remove(dir + "/" + file);
  return served;
}

// If the program cannot be loaded, the message is the loader's, not the server's.
constexpr rlim_t kFilesToLoad = 8;

TEST(Limits, AServerWithFewDescriptorsServesOrSaysWhy) {
  int served = 0;
  int refused = 0;
  for (rlim_t files = kFilesToLoad; files <= 20; ++files) {
    SCOPED_TRACE("RLIMIT_NOFILE " + std::to_string(files));
    ProcessSetup setup;
    setup.limits = {{RLIMIT_NOFILE, files}};
    ++(serves_or_says_why({"10"}, setup, unique_name()) ? served : refused);
    if (HasFailure()) return;  // one is enough to read
  }
  EXPECT_GT(served, 0);
  EXPECT_GT(refused, 0);
}

TEST(Limits, WithoutDescriptorsNewClientsAreRefusedAndConnectedOnesKept) {
  ServerSetup setup;
  setup.process.limits = {{RLIMIT_NOFILE, 40}};
  Server server({"10"}, setup);
  std::vector<Peer> peers;
  for (int i = 0; i < 60; ++i) {
    Peer peer = Peer::unconnected();
    const Reply reply = peer.connect(server);
    if (reply == StatusCode::kOk) {
      peers.push_back(std::move(peer));
    } else {
      EXPECT_EQ(reply, StatusCode::kFull) << reply;
      EXPECT_NE(reply.text.find("descriptor"), std::string::npos) << "not: no memory; " << reply.text;
      EXPECT_NE(reply.text.find("ulimit -Hn"), std::string::npos) << reply.text;
    }
  }
  EXPECT_GT(peers.size(), 10u);
  EXPECT_LT(peers.size(), 60u);
  EXPECT_EQ(server.connection_files().size(), peers.size()) << "a refusal leaves no region";
  EXPECT_NE(server.errors().find("ulimit -n"), std::string::npos) << server.errors();
  for (Peer& peer : peers) EXPECT_EQ(peer.put("key", "value"), StatusCode::kOk);
  // A death is noticed also without a free descriptor.
  peers.back().kill();
  peers.pop_back();
  EXPECT_TRUE(server.connections_come_to(peers.size()));
  Peer next = Peer::unconnected();
  EXPECT_TRUE(eventually([&] { return next.connect(server) == StatusCode::kOk; }));
}

TEST(LimitsSlow, AServerWithLittleAddressSpaceServesOrSaysWhy) {
  int served = 0;
  int refused = 0;
  for (rlim_t megabytes = 10; megabytes <= 200; megabytes += megabytes < 90 ? 1 : 10) {
    SCOPED_TRACE("RLIMIT_AS " + std::to_string(megabytes) + " MiB");
    ProcessSetup setup;
    setup.limits = {{RLIMIT_AS, megabytes << 20}};
    ++(serves_or_says_why({"10", "--memory", "4M"}, setup, unique_name()) ? served : refused);
    if (HasFailure()) return;
  }
  EXPECT_GT(served, 0);
  EXPECT_GT(refused, 0);
}

std::uint64_t address_space() {
  const std::string status = read_text("/proc/self/status");
  return std::stoull(status.substr(status.find("VmSize:") + 7)) << 10;
}

// A session that has ended keeps addresses only where the table had memory, and other threads may still read it there.
TEST(Limits, AClientThatConnectsAnewGivesItsAddressSpaceBack) {
  constexpr std::uint64_t kTable = std::uint64_t{1} << 30;
  constexpr int kRounds = 4;
  const ServerSetup setup{unique_name()};
  const auto start = [&] {
    return std::make_unique<Server>(std::vector<std::string>{"10", "--memory", "64M", "--max-memory", "1G"}, setup);
  };
  std::unique_ptr<Server> server = start();
  Client client = server->connect();
  ASSERT_TRUE(client.put("key", std::string(100, 'x')).ok());
  std::atomic<bool> stop{false};
  std::atomic<std::uint64_t> hits{0};
  std::vector<std::thread> readers;
  for (int i = 0; i < 2; ++i) {
    readers.emplace_back([&] {
      while (!stop.load()) {
        const Result<std::string> got = client.get("key");
        if (!got) continue;
        EXPECT_EQ(*got, std::string(100, 'x'));
        hits.fetch_add(1);
      }
    });
  }
  const std::uint64_t before = address_space();
  for (int round = 0; round < kRounds; ++round) {
    server->kill();
    server->remove_regions();
    server = start();
    EXPECT_TRUE(eventually([&] { return client.put("key", std::string(100, 'x')).ok(); })) << round;
    // More becomes readable while the others read.
    for (int i = 0; i < 2000; ++i) ASSERT_TRUE(client.put("more " + std::to_string(i), std::string(1000, 'y')).ok());
    const std::uint64_t seen = hits.load();
    EXPECT_TRUE(eventually([&] { return hits.load() > seen + 100; })) << "reads continue";
  }
  EXPECT_LT(address_space(), before + kTable / 2) << "of " << kRounds << " tables that are no longer there";
  stop.store(true);
  for (std::thread& reader : readers) reader.join();
}

TEST(Limits, AServerWhoseFilesMayNotGrowServesOrSaysWhy) {
  int served = 0;
  int refused = 0;
  for (const int bits : {0, 12, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 40}) {
    SCOPED_TRACE("RLIMIT_FSIZE 2^" + std::to_string(bits));
    ProcessSetup setup;
    setup.limits = {{RLIMIT_FSIZE, rlim_t{1} << bits}};
    ++(serves_or_says_why({"10", "--memory", "4M", "--max-connections", "16"}, setup, unique_name()) ? served
                                                                                                     : refused);
    if (HasFailure()) return;
  }
  EXPECT_GT(served, 0);
  EXPECT_GT(refused, 0);
}

// Its table was created without the limit, and is large enough.
TEST(Limits, AServerWhoseConnectionsExceedTheFileSizeLimitDoesNotStartAndKeepsTheMap) {
  Server server({"10", "--memory", "4M", "--ring-size", "1M"});
  ASSERT_EQ(server.connect().put("key", "value"), StatusCode::kOk);
  server.kill();
  ProcessSetup setup;
  setup.limits = {{RLIMIT_FSIZE, rlim_t{2} << 20}};
  Program limited({program("hostmap-server"), "10", "--name", server.name()}, setup);
  EXPECT_EQ(limited.wait(), exited(1));
  EXPECT_NE(limited.errors().find("ulimit -f"), std::string::npos) << limited.errors();
  setup.limits = {{RLIMIT_FSIZE, rlim_t{16} << 20}};
  Program unlimited({program("hostmap-server"), "10", "--name", server.name()}, setup);
  ASSERT_TRUE(unlimited.next_line(kPatience)) << unlimited.errors();
  EXPECT_EQ(*server.connect().get("key"), "value");
  // A new map has its own limit: that of the table suffices, that of the connections does not.
  setup.limits = {{RLIMIT_FSIZE, rlim_t{64} << 20}};
  Program large_rings({program("hostmap-server"), "--name", unique_name(), "--memory", "4M", "--ring-size", "64M"},
                      setup);
  EXPECT_EQ(large_rings.wait(), exited(1));
  EXPECT_NE(large_rings.errors().find("which each client needs"), std::string::npos) << large_rings.errors();
  unlimited.send(SIGTERM);
  EXPECT_EQ(unlimited.wait(), kSuccess);
}

TEST(Limits, AServerThatMayStartFewThreadsServesOrSaysWhy) {
  if (!can_change_users()) GTEST_SKIP() << "the limit does not bind root";
  int served = 0;
  int refused = 0;
  for (rlim_t threads = 1; threads <= 8; ++threads) {
    SCOPED_TRACE("RLIMIT_NPROC " + std::to_string(threads));
    ProcessSetup setup;
    setup.user = static_cast<uid_t>(100'000 + ::getpid() % 100'000);  // a user without other processes
    setup.limits = {{RLIMIT_NPROC, threads}};
    const std::string name = unique_name();
    // Its clients run as root: they need no thread.
    ++(serves_or_says_why({"10"}, setup, name) ? served : refused);
    if (HasFailure()) return;
  }
  EXPECT_GT(served, 0);
  EXPECT_GT(refused, 0);
}

TEST(Limits, NoLockedMemoryIsNeeded) {
  ProcessSetup setup;
  setup.limits = {{RLIMIT_MEMLOCK, 0}};
  EXPECT_TRUE(serves_or_says_why({"10"}, setup, unique_name()));
  Server server;
  EXPECT_EQ(run(server.client_command({"--seconds", "0.01", "1"}), setup).exit, kSuccess);
}

TEST(Limits, AClientWithTooLittleIsRefusedAndLeavesNothing) {
  Server server({"10", "--memory", "4M"});
  const auto done_or_refused = [&](const ProcessSetup& setup) {
    const Ran ran = run(server.client_command({"--seconds", "0.01", "1"}), setup);
    EXPECT_TRUE(ran.exit == kSuccess || ran.exit == exited(4)) << ran.exit << ": " << ran.errors;
    EXPECT_EQ(lines_of(ran.errors).size(), ran.exit == kSuccess ? 0u : 1u) << ran.errors;
    return ran.exit == kSuccess;
  };
  int served = 0;
  int refused = 0;
  for (rlim_t files = kFilesToLoad; files <= 12; ++files) {
    SCOPED_TRACE("RLIMIT_NOFILE " + std::to_string(files));
    ProcessSetup setup;
    setup.limits = {{RLIMIT_NOFILE, files}};
    ++(done_or_refused(setup) ? served : refused);
    if (HasFailure()) return;
  }
  for (rlim_t megabytes = 10; megabytes <= 100; ++megabytes) {
    SCOPED_TRACE("RLIMIT_AS " + std::to_string(megabytes) + " MiB");
    ProcessSetup setup;
    setup.limits = {{RLIMIT_AS, megabytes << 20}};
    ++(done_or_refused(setup) ? served : refused);
    if (HasFailure()) return;
  }
  ProcessSetup no_files;
  no_files.limits = {{RLIMIT_FSIZE, 0}};
  EXPECT_TRUE(done_or_refused(no_files)) << "a client makes no file";
  EXPECT_GT(served, 0);
  EXPECT_GT(refused, 0);
  EXPECT_TRUE(server.connections_come_to(0));
}

TEST(FullFileSystem, AServerServesOrSaysWhyAtEverySize) {
  in_own_shm("size=64m", [] {
    int served = 0;
    int refused = 0;
    // 0 would mean no limit.
    for (int kilobytes = 4; kilobytes <= 4096; kilobytes += kilobytes < 1024 ? 60 : 512) {
      for (const bool memory_given : {true, false}) {
        SCOPED_TRACE("tmpfs of " + std::to_string(kilobytes) + " KiB");
        const SmallFolder folder("size=" + std::to_string(kilobytes) + "k");
        std::vector<std::string> arguments{"10"};
        if (memory_given) arguments.insert(arguments.end(), {"--memory", "512K"});
        std::vector<std::string> words{program("hostmap-server"), "--name", "small", "--dir", folder.path()};
        words.insert(words.end(), arguments.begin(), arguments.end());
        Program server(words);
        if (server.next_line(kPatience)) {
          ++served;
          const Ran client =
              run({program("hostmap-client"), "--name", "small", "--dir", folder.path(), "--seconds", "0.001", "1"});
          EXPECT_TRUE(client.exit == kSuccess || client.exit == exited(4)) << client.exit << ": " << client.errors;
          server.send(SIGTERM);
          EXPECT_EQ(server.wait(), kSuccess) << server.errors();
        } else {
          ++refused;
          EXPECT_EQ(server.wait(), exited(1)) << server.errors();
          EXPECT_EQ(lines_of(server.errors()).size(), 1u) << server.errors();
          EXPECT_TRUE(server.errors().find("--dir") != std::string::npos) << server.errors();
        }
        EXPECT_TRUE(folder.empty()) << "something half-made is left";
      }
    }
    std::printf("%d starts served, %d refused\n", served, refused);
    EXPECT_GT(served, 0);
    EXPECT_GT(refused, 0);
  });
}

TEST(FullFileSystem, AServerOnASmallOneWarnsAndSaysWhatToDo) {
  in_own_shm("size=64m", [] {
    Server server({"10"});
    EXPECT_LE(server.ready().memory, std::uint64_t{32} << 20) << "half of what is free";
    const std::vector<std::string> log = lines_of(server.errors());
    ASSERT_EQ(log.size(), 1u) << server.errors();
    EXPECT_TRUE(log[0].find("warning") != std::string::npos && log[0].find("--shm-size") != std::string::npos)
        << log[0];
    EXPECT_TRUE(server.connect().put("key", "value").ok());
  });
}

TEST(FullFileSystem, AConnectionThatFindsNoRoomIsRefusedAndTheServerContinues) {
  in_own_shm("size=64m", [] {
    const SmallFolder folder("size=8m");
    ServerSetup setup;
    setup.dir = folder.path();
    Server server({"10", "--memory", "1M", "--workers", "2"}, setup);
    Peer inside(server);
    EXPECT_EQ(inside.put("key", "value"), StatusCode::kOk);
    const std::vector<std::string> files = server.files();
    // From no free space to almost enough for a connection.
    for (std::uint64_t left = 0; left <= 160 * 1024; left += 16 * 1024) {
      SCOPED_TRACE(left);
      folder.fill(left);
      const Ran ran = run(server.client_command({"--seconds", "0.01", "1"}));
      EXPECT_TRUE(ran.exit == kSuccess || ran.exit == exited(4)) << ran.exit << ": " << ran.errors;
      if (left < 64 * 1024) {
        expect_refusal(ran, 4, {"memory", "connection"});
      }
      EXPECT_TRUE(eventually([&] { return server.files() == files; })) << server.files().size() << " files";
      EXPECT_EQ(inside.put("key", "value"), StatusCode::kOk);
      folder.unfill();
    }
    EXPECT_EQ(run(server.client_command({"--seconds", "0.01", "1"})).exit, kSuccess);
  });
}

TEST(FullFileSystem, ALaneThatFindsNoRoomForItsRingsIsRefusedOnce) {
  in_own_shm("size=64m", [] {
    const SmallFolder folder("size=8m");
    ServerSetup setup;
    setup.dir = folder.path();
    Server server({"10", "--memory", "1M", "--workers", "4"}, setup);
    Peer peer(server);
    folder.fill();
    // Lane 0 has its rings from the beginning; there is no space for the others' now.
    int done = 0;
    int refused = 0;
    for (int i = 0; i < 40; ++i) {
      const Reply reply = peer.put("=" + std::to_string(i), "=1");  // pairs, whose buckets exist already
      EXPECT_TRUE(reply == StatusCode::kOk || reply == StatusCode::kFull) << reply;
      ++(reply == StatusCode::kOk ? done : refused);
    }
    EXPECT_GT(done, 0);
    EXPECT_GT(refused, 0);
    folder.unfill();
    EXPECT_EQ(Peer(server).put("key1", "value"), StatusCode::kOk);
  });
}

TEST(FullFileSystem, WithoutInodesAServerOrConnectionIsRefused) {
  in_own_shm("size=64m", [] {
    int served = 0;
    int refused = 0;
    for (int inodes = 1; inodes <= 8; ++inodes) {
      SCOPED_TRACE(std::to_string(inodes) + " inodes");
      const SmallFolder folder("size=16m,nr_inodes=" + std::to_string(inodes));
      Program server({program("hostmap-server"), "10", "--memory", "1M", "--name", "small", "--dir", folder.path()});
      if (server.next_line(kPatience)) {
        ++served;
        int clients = 0;
        for (int i = 0; i < 3; ++i) {
          const Ran client =
              run({program("hostmap-client"), "--name", "small", "--dir", folder.path(), "--seconds", "0.001", "1"});
          EXPECT_TRUE(client.exit == kSuccess || client.exit == exited(4)) << client.exit << ": " << client.errors;
          clients += client.exit == kSuccess ? 1 : 0;
        }
        if (inodes == 5) {  // the folder itself, journal, table, alive, master
          EXPECT_EQ(clients, 0);
          EXPECT_TRUE(server.errors().find("inodes") != std::string::npos) << server.errors();
        }
        server.send(SIGTERM);
        EXPECT_EQ(server.wait(), kSuccess) << server.errors();
      } else {
        ++refused;
        EXPECT_LT(inodes, 5);
        EXPECT_EQ(server.wait(), exited(1));
        EXPECT_EQ(lines_of(server.errors()).size(), 1u) << server.errors();
      }
      EXPECT_TRUE(folder.empty());
    }
    EXPECT_GT(served, 0);
    EXPECT_GT(refused, 0);
  });
}

}  // namespace
}  // namespace hostmap::test
