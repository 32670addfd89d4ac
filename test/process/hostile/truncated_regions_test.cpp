// Clients truncate, shrink, extend or punch holes into the files that they may write, and fill the file system (fault case
// 24 in docs/internals/failure-model.md). The server survives every access to them, and other clients are not affected.
#include <cerrno>
#include <chrono>
#include <fcntl.h>
#include <functional>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <thread>
#include <unistd.h>
#include <vector>

#include "process/harness/own_shm.hpp"
#include "process/harness/peer.hpp"
#include "process/harness/server.hpp"
#include "support/seed.hpp"

namespace hostmap::test {
namespace {

// Changes the size of a file as any user with write permission could. By name, because the tests must not access a truncated
// mapping.
void cut(const std::string& path, std::uint64_t bytes) {
  // The server may have removed it already: it closes a client that truncates its region.
  ASSERT_TRUE(::truncate(path.c_str(), static_cast<off_t>(bytes)) == 0 || errno == ENOENT) << path;
}
void punch_hole(const std::string& path, std::uint64_t bytes) {
  const UniqueFd file(::open(path.c_str(), O_RDWR | O_CLOEXEC));
  ASSERT_TRUE(file);
  ASSERT_EQ(::fallocate(file.get(), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, static_cast<off_t>(bytes)), 0);
}
std::uint64_t size_of(const std::string& path) {
  struct stat facts {};
  return ::stat(path.c_str(), &facts) == 0 ? static_cast<std::uint64_t>(facts.st_size) : 0;
}

class Truncated : public testing::TestWithParam<const char*> {
 protected:
  Truncated() : server_({"10", "--workers", GetParam()}), bystander_(server_) {
    EXPECT_EQ(bystander_.put("bystander", "value"), StatusCode::kOk);
  }
  void TearDown() override {
    EXPECT_EQ(bystander_.get("bystander").text, Peer::told_of("value"));
    Peer newcomer(server_);
    EXPECT_EQ(newcomer.put("#9:7", "again"), StatusCode::kOk);
    EXPECT_TRUE(server_.connections_come_to(2));
    EXPECT_EQ(newcomer.leave(), kSuccess);
    EXPECT_TRUE(server_.connections_come_to(1));
    EXPECT_EQ(server_.connection_files().size(), 1u);
  }
  // The other connection region, not the bystander's.
  std::string victims_region() {
    for (const std::string& path : server_.connection_files()) {
      if (path != bystanders_region_) return path;
    }
    return {};
  }
  // The workers wake and sweep: each lane has some of these keys.
  void disturb() {
    for (int i = 0; i < 20; ++i) {
      ASSERT_EQ(bystander_.put("key" + std::to_string(i), "value"), StatusCode::kOk);
    }
  }

  Server server_;
  Peer bystander_;
  std::string bystanders_region_ = server_.connection_files().at(0);
};

TEST_P(Truncated, AClientThatTruncatesItsRegionToNothingIsClosedAndCounted) {
  for (int round = 0; round < 5; ++round) {
    Peer attacker(server_);
    EXPECT_EQ(attacker.put("attacker", "value"), StatusCode::kOk);
    const std::uint64_t poisoned = server_.stat("poisoned");
    cut(victims_region(), 0);
    EXPECT_TRUE(eventually([&] {
      disturb();
      return server_.stat("poisoned") == poisoned + 1;
    }));
    EXPECT_TRUE(server_.connections_come_to(1));
    attacker.kill();
  }
}

TEST_P(Truncated, AnyOtherLengthAndHolesHarmNobodyElse) {
  const std::uint64_t full = size_of(bystanders_region_);
  for (const std::uint64_t bytes : {full - 1, full - 4096, full / 2, std::uint64_t{8192}, std::uint64_t{4097},
                                    std::uint64_t{4096}, std::uint64_t{1}, full + 4096, 1000 * full}) {
    SCOPED_TRACE(bytes);
    Peer attacker(server_);
    EXPECT_EQ(attacker.put("attacker", "value"), StatusCode::kOk);
    cut(victims_region(), bytes);
    disturb();
    attacker.kill();
    EXPECT_TRUE(server_.connections_come_to(1));
  }
  for (const std::uint64_t bytes : {std::uint64_t{4096}, full / 2, full}) {
    SCOPED_TRACE(bytes);
    Peer attacker(server_);
    punch_hole(victims_region(), bytes);
    disturb();
    attacker.kill();
    EXPECT_TRUE(server_.connections_come_to(1));
  }
}

TEST_P(Truncated, TruncationWhileRequestsAreServedHarmsNobodyElse) {
  Random random;
  for (int round = 0; round < 20; ++round) {
    // The load client writes without a pause, and its own region ends it with SIGBUS.
    Program attacker(server_.client_command({"--seconds", "20", "1"}));
    ASSERT_TRUE(eventually([&] { return !victims_region().empty(); }));
    const std::string region = victims_region();
    std::this_thread::sleep_for(std::chrono::microseconds(random.below(20'000)));
    const std::uint64_t full = size_of(region);
    for (int i = 0; i < 3; ++i) {
      cut(region, random.below(full));
      disturb();
      cut(region, full);
    }
    attacker.kill();
    EXPECT_TRUE(server_.connections_come_to(1));
  }
}

TEST_P(Truncated, ATruncatedMasterIsRestoredAndConnectedClientsContinue) {
  const std::string master = server_.instance().master();
  const std::uint64_t full = size_of(master);
  for (const std::uint64_t bytes : {std::uint64_t{0}, std::uint64_t{100}, std::uint64_t{4096}, full - 1}) {
    SCOPED_TRACE(bytes);
    cut(master, bytes);
    disturb();
    EXPECT_TRUE(eventually([&] { return run(server_.client_command({"--seconds", "0.01", "1"})).exit == kSuccess; }));
    EXPECT_EQ(size_of(master), full);
  }
  // Repeatedly, while a client works: it and the server access a part of the region all the time.
  for (int i = 0; i < 300; ++i) {
    cut(master, 0);
    ASSERT_EQ(bystander_.put("key" + std::to_string(i), "value"), StatusCode::kOk) << i;
  }
  EXPECT_TRUE(eventually([&] { return run(server_.client_command({"--seconds", "0.01", "1"})).exit == kSuccess; }));
  // Bytes, too.
  const UniqueFd file(::open(master.c_str(), O_RDWR | O_CLOEXEC));
  const std::string zeroes(4096, '\0');
  ASSERT_EQ(::pwrite(file.get(), zeroes.data(), zeroes.size(), 0), 4096);
  EXPECT_TRUE(eventually([&] { return run(server_.client_command({"--seconds", "0.01", "1"})).exit == kSuccess; }));
  std::size_t said = 0;
  for (const std::string& line : lines_of(server_.errors()))
    said += line.find("master region") != std::string::npos ? 1 : 0;
  EXPECT_EQ(said, 1u) << server_.errors();
}

INSTANTIATE_TEST_SUITE_P(Workers, Truncated, testing::Values("1", "3"),
                         [](const auto& test) { return std::string(test.param) + "Workers"; });

TEST(TruncatedAndFull, HolesInAFullFileSystemHarmNobodyElse) {
  in_own_shm("size=64m", [] {
    const SmallFolder folder("size=8m");
    ServerSetup setup;
    setup.dir = folder.path();
    Server server({"10", "--memory", "1M"}, setup);
    Peer bystander(server);
    EXPECT_EQ(bystander.put("bystander", "value"), StatusCode::kOk);
    const std::string its_region = server.connection_files().at(0);
    Peer attacker(server);
    EXPECT_EQ(attacker.put("attacker", "value"), StatusCode::kOk);
    std::vector<std::string> regions = server.connection_files();
    std::erase(regions, its_region);
    // Once the file system is full, the kernel has no page for an access there. A worker that is awake may access it before.
    EXPECT_TRUE(eventually([&] {
      if (server.stat("poisoned") == 1) return true;
      for (const std::string& path : regions) punch_hole(path, size_of(path));
      folder.fill(0);
      EXPECT_EQ(bystander.put("bystander", "again"), StatusCode::kOk);
      return false;
    }));
    folder.unfill();
    EXPECT_EQ(bystander.get("bystander").text, Peer::told_of("again"));
    attacker.kill();
    EXPECT_TRUE(server.connections_come_to(1));
  });
}

}  // namespace
}  // namespace hostmap::test
