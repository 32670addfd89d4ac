// Clients without a server, and programs of another version: refused by name, before anything shared is written.
#include <csignal>
#include <fstream>
#include <gtest/gtest.h>

#include "layout/fingerprint.hpp"
#include "layout/region.hpp"
#include "process/harness/peer.hpp"
#include "process/harness/proc.hpp"
#include "process/harness/server.hpp"

namespace hostmap::test {
namespace {

TEST(MissingServer, ClientsPrintHowToStartOne) {
  const std::string name = unique_name();
  const std::string advice = "hostmap-server --name " + name;
  expect_refusal(run({program("hostmap-client"), "--name", name, "1"}), 3, {name, advice, "wait_for_server", "--wait"});
  expect_refusal(run({program("hostmap"), "--name", name, "stat"}), 3, {name, advice});
  expect_refusal(run({program("hostmap"), "--name", name, "stat", "--json"}), 3, {name, advice});
  expect_refusal(run({program("hostmap-client"), "--name", name, "--dir", "/dev", "1"}), 3,
                 {name, advice + " --dir /dev"});
  expect_refusal(run({program("hostmap-client"), "--name", name, "--dir", "/nonexistent", "1"}), 3, {name});
}

TEST(MissingServer, ClientsOfADeadServerReportIt) {
  Server server;
  server.kill();
  expect_refusal(run(server.client_command({"1"})), 3, {server.name(), "died", "hostmap-server", "--wait"});
  expect_refusal(run(server.stat_command()), 3, {server.name(), "died"});
  server.remove_regions();
}

// The regions in /dev/shm that a killed server has left.
class LeftOver {
 public:
  LeftOver() : peer_(server_) {
    EXPECT_EQ(peer_.put("key", "value"), StatusCode::kOk);
    server_.kill();
    peer_.kill();
  }
  ~LeftOver() { server_.remove_regions(); }

  const Server& server() const { return server_; }
  std::string path(const std::string& region) const {
    if (region == "connection") return server_.connection_files().at(0);
    return server_.dir() + "/" + server_.name() + "-" + region;
  }
  template <typename T>
  void patch(const std::string& region, std::size_t offset, T value) const {
    std::fstream file(path(region), std::ios::in | std::ios::out | std::ios::binary);
    file.seekp(static_cast<std::streamoff>(offset));
    file.write(reinterpret_cast<const char*>(&value), sizeof value);
    ASSERT_TRUE(file.good()) << path(region);
  }
  // The heads of all regions, to verify that nothing was written.
  std::string heads() const {
    std::string bytes;
    for (const std::string& name : server_.files()) {
      std::ifstream file(server_.dir() + "/" + name, std::ios::binary);
      std::string head(65536, '\0');
      file.read(head.data(), static_cast<std::streamsize>(head.size()));
      bytes += name + head;
    }
    return bytes;
  }

 private:
  Server server_;
  Peer peer_;
};

class OtherVersion : public testing::TestWithParam<const char*> {};

TEST_P(OtherVersion, AServerOnRegionsOfAnotherVersionRefusesByNameAndTouchesNothing) {
  for (const std::uint32_t version : {kLayoutVersion + 1, kLayoutVersion - 1}) {
    const LeftOver left;
    left.patch(GetParam(), offsetof(RegionHeader, layout_version), version);
    const std::string before = left.heads();
    expect_refusal(run_server({}, left.server().name()), 6, {left.path(GetParam()), "version"});
    EXPECT_TRUE(left.heads() == before) << "something was written";
  }
}

TEST_P(OtherVersion, AServerOnRegionsOfAnotherBuildRefusesByName) {
  const LeftOver left;
  left.patch(GetParam(), offsetof(RegionHeader, fingerprint), kFingerprint + 1);
  expect_refusal(run_server({}, left.server().name()), 6, {left.path(GetParam()), "build"});
}

// Not the master region, because clients can write to its head.
INSTANTIATE_TEST_SUITE_P(Regions, OtherVersion, testing::Values("table", "journal"),
                         [](const auto& test) { return std::string(test.param); });

TEST(OtherVersionOfTheServer, IsRefusedByNameByClientsAndStat) {
  for (const bool version : {true, false}) {
    Server server;  // it runs: only the table shows another version
    const std::string path = "/dev/shm/" + server.name() + "-table";
    std::fstream file(path, std::ios::in | std::ios::out | std::ios::binary);
    if (version) {
      const std::uint32_t other = kLayoutVersion + 1;
      file.seekp(offsetof(RegionHeader, layout_version));
      file.write(reinterpret_cast<const char*>(&other), sizeof other);
    } else {
      const std::uint64_t other = kFingerprint + 1;
      file.seekp(offsetof(RegionHeader, fingerprint));
      file.write(reinterpret_cast<const char*>(&other), sizeof other);
    }
    file.close();
    expect_refusal(run(server.client_command({"1"})), 6, {path});
    expect_refusal(run(server.stat_command()), 6, {path});
    EXPECT_EQ(server.stop(), kSuccess);
  }
}

}  // namespace
}  // namespace hostmap::test
