// Nothing depends on memory that clients can write: whatever happens to the master region and to connections, while the
// server runs or before the next one starts, the map is kept, clients can connect, and the server stops when it is
// requested.
#include <atomic>
#include <chrono>
#include <cstring>
#include <fcntl.h>
#include <filesystem>
#include <functional>
#include <gtest/gtest.h>
#include <linux/futex.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <thread>
#include <unistd.h>
#include <vector>

#include "layout/connection.hpp"
#include "layout/master.hpp"
#include "process/harness/peer.hpp"
#include "process/harness/server.hpp"
#include "shm/region.hpp"
#include "slot/client_reservation.hpp"
#include "support/seed.hpp"

namespace hostmap::test {
namespace {

using Damage = std::function<void(const std::string& path)>;
struct NamedDamage {
  const char* what;
  Damage damage;
  bool other_file;  // afterwards the name leads to another file, or to none
};

void write_at(const std::string& path, std::uint64_t offset, const std::string& bytes) {
  const UniqueFd file(::open(path.c_str(), O_RDWR | O_CLOEXEC));
  ASSERT_TRUE(file);
  ASSERT_EQ(::pwrite(file.get(), bytes.data(), bytes.size(), static_cast<off_t>(offset)),
            static_cast<ssize_t>(bytes.size()));
}

std::string word(std::uint64_t value) { return {reinterpret_cast<const char*>(&value), sizeof value}; }

void cut(const std::string& path, std::uint64_t bytes) {
  ASSERT_EQ(::truncate(path.c_str(), static_cast<off_t>(bytes)), 0) << path;
}

void replace_by(const std::string& path, const std::string& bytes) {
  std::filesystem::remove(path);
  const UniqueFd file(::open(path.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600));
  ASSERT_EQ(::write(file.get(), bytes.data(), bytes.size()), static_cast<ssize_t>(bytes.size()));
}

const std::vector<NamedDamage>& damages() {
  static const std::vector<NamedDamage> all{
      {"given up", [](const auto& path) { write_at(path, offsetof(RegionHeader, state), word(kRegionClosed)); }, false},
      {"being built", [](const auto& path) { write_at(path, offsetof(RegionHeader, state), word(0)); }, false},
      {"another incarnation", [](const auto& path) { write_at(path, offsetof(RegionHeader, incarnation), word(1)); },
       false},
      {"another version", [](const auto& path) { write_at(path, offsetof(RegionHeader, layout_version), "xxxx"); },
       false},
      {"another magic", [](const auto& path) { write_at(path, 0, word(1)); }, false},
      {"noise", [](const auto& path) { write_at(path, 0, pattern(8192, 1)); }, false},
      {"truncated to nothing", [](const auto& path) { cut(path, 0); }, false},
      {"cut in the middle", [](const auto& path) { cut(path, 10'000); }, false},
      {"longer", [](const auto& path) { cut(path, 100 << 20); }, false},
      {"two names", [](const auto& path) { std::filesystem::create_hard_link(path, path + "-too"); }, false},
      {"removed", [](const auto& path) { std::filesystem::remove(path); }, true},
      {"replaced by noise", [](const auto& path) { replace_by(path, pattern(100'000, 2)); }, true},
      {"replaced by an empty file", [](const auto& path) { replace_by(path, ""); }, true},
      {"replaced by a link",
       [](const auto& path) {
         std::filesystem::remove(path);
         std::filesystem::create_symlink("/dev/shm/hm-test-nowhere", path);
       },
       true},
  };
  return all;
}

// A client of the previous server continues: it may have to connect anew, and one call may report that.
void expect_goes_on(Client& client) {
  Status status = client.put("again", "value");
  if (status == StatusCode::kClosed) status = client.put("again", "value");
  EXPECT_TRUE(status.ok()) << status.message();
  const Result<std::string> value = client.get("key");
  ASSERT_TRUE(value) << value.status().message();
  EXPECT_EQ(*value, "value");
}

TEST(HostileMaster, AStartKeepsTheMapAndItsClientsWhateverHappenedToTheMaster) {
  for (const NamedDamage& damage : damages()) {
    SCOPED_TRACE(damage.what);
    Server first({"10"});
    const std::string path = first.instance().master();
    Client client = first.connect();
    ASSERT_TRUE(client.put("key", "value").ok());
    first.kill();
    damage.damage(path);
    {
      Server second({"10"}, {first.name()});
      EXPECT_EQ(second.errors().find("starting with an empty map"), std::string::npos) << second.errors();
      EXPECT_EQ(second.errors().find("created again") != std::string::npos, damage.other_file) << second.errors();
      expect_goes_on(client);
      Peer newcomer(second);
      EXPECT_EQ(newcomer.get("key").text, Peer::told_of("value"));
      EXPECT_EQ(newcomer.leave(), kSuccess);
      std::filesystem::remove(path + "-too");
    }
  }
}

TEST(HostileMaster, ATakeoverKeepsTheMapWhateverHappenedToTheMaster) {
  for (const NamedDamage& damage : damages()) {
    SCOPED_TRACE(damage.what);
    Server first({"10"});
    Client client = first.connect();
    ASSERT_TRUE(client.put("key", "value").ok());
    first.pause();  // or it would repair its master region
    damage.damage(first.instance().master());
    std::thread later([&] {
      std::this_thread::sleep_for(std::chrono::milliseconds(200));
      first.send(SIGCONT);
    });
    {
      Server second({"10", "--takeover"}, {first.name()});
      later.join();
      EXPECT_EQ(first.wait(), kSuccess);
      expect_goes_on(client);
      Peer newcomer(second);
      EXPECT_EQ(newcomer.get("key").text, Peer::told_of("value"));
      EXPECT_EQ(newcomer.leave(), kSuccess);
      std::filesystem::remove(first.instance().master() + "-too");
    }
  }
}

TEST(HostileMaster, ARunningServerAcceptsClientsWhateverIsWrittenThere) {
  for (const NamedDamage& damage : damages()) {
    if (damage.other_file) continue;  // this needs permission to remove it: see RemovedRegions
    SCOPED_TRACE(damage.what);
    Server server({"10"});
    damage.damage(server.instance().master());
    Peer newcomer(server);
    EXPECT_EQ(newcomer.put("key", "value"), StatusCode::kOk);
    EXPECT_EQ(run(server.stat_command()).exit, kSuccess);
    std::filesystem::remove(server.instance().master() + "-too");
  }
}

TEST(HostileMaster, AServerWhoseMasterIsWrittenAllTheTimeAcceptsClientsAndStops) {
  Server server({"10", "--workers", "2"});
  std::atomic<bool> done{false};
  std::thread attacker([&] {
    const Result<Region> master = Region::open(server.instance().master(), RegionKind::kMaster, Access::kReadWrite);
    while (!done) {
      master->header().state.store(kRegionClosed);
      master->header().incarnation = 1;
      master->at<MasterHeader>(0)->mailbox_count = 0;
    }
  });
  for (int i = 0; i < 5; ++i) {
    Peer newcomer(server);
    EXPECT_EQ(newcomer.put("key", "value"), StatusCode::kOk);
    EXPECT_EQ(newcomer.leave(), kSuccess);
  }
  EXPECT_EQ(server.stop(), kSuccess);
  done = true;
  attacker.join();
}

TEST(HostileMaster, AServerWhoseMasterWasTruncatedThousandsOfTimesServesAsBefore) {
  Server server({"10", "--workers", "2"});
  Peer connected(server);
  const UniqueFd file(::open(server.instance().master().c_str(), O_RDWR | O_CLOEXEC));
  // The workers read the bells as often; each bell loses its page repeatedly.
  std::atomic<bool> done{false};
  std::thread attacker([&] {
    for (int i = 0; i < 20'000 && !done; ++i) ASSERT_EQ(::ftruncate(file.get(), 0), 0);
  });
  for (int i = 0; i < 5'000; ++i) {
    ASSERT_EQ(connected.put("key" + std::to_string(i % 10), "value"), StatusCode::kOk) << i;
  }
  done = true;
  attacker.join();
  for (int i = 0; i < 3; ++i) {
    Peer newcomer(server);
    EXPECT_EQ(newcomer.put("key", "value"), StatusCode::kOk);
    EXPECT_EQ(newcomer.leave(), kSuccess);
  }
  EXPECT_EQ(server.stop(), kSuccess);
}

// A futex that can no longer be woken: a process that maps it can move its sleepers to another word (FUTEX_REQUEUE).
TEST(HostileMaster, AServerWhoseSleepersWereMovedToAnotherFutexStops) {
  for (const bool cut_off : {false, true}) {
    SCOPED_TRACE(cut_off ? "and the region truncated" : "");
    Server server({"10", "--workers", "2"});
    const Result<Region> master = Region::open(server.instance().master(), RegionKind::kMaster, Access::kReadWrite);
    auto* header = master->at<MasterHeader>(0);
    HalfWord& elsewhere = *master->at<HalfWord>(master->bytes() - 64);
    long moved = 0;
    EXPECT_TRUE(eventually([&] {
      for (HalfWord* bell :
           {&header->server_bell.rings, &header->worker_bells[0].rings, &header->worker_bells[1].rings}) {
        moved += ::syscall(SYS_futex, bell, FUTEX_REQUEUE, 0, INT_MAX, &elsewhere, 0);
      }
      return moved >= 3;
    }));
    if (cut_off) cut(server.instance().master(), 0);
    EXPECT_EQ(server.stop(), kSuccess);
  }
}

TEST(HostileMaster, AConnectionThatCannotBeContinuedIsClosedAndItsSleeperWoken) {
  const std::vector<NamedDamage> of_connections{
      {"given up", [](const auto& path) { write_at(path, offsetof(RegionHeader, state), word(kRegionClosed)); }, false},
      {"noise", [](const auto& path) { write_at(path, 0, pattern(64, 1)); }, false},
      {"another id", [](const auto& path) { write_at(path, offsetof(ConnectionHeader, id), word(77)); }, false},
      {"two names and noise",
       [](const auto& path) {
         write_at(path, 0, pattern(64, 1));
         std::filesystem::create_hard_link(path, path + "-too");
       },
       false},
  };
  for (const NamedDamage& damage : of_connections) {
    SCOPED_TRACE(damage.what);
    Server first({"10"});
    PeerSetup patient;
    patient.timeout = 4 * kPatience;
    Peer sleeper(first, patient);
    ASSERT_EQ(sleeper.put("key", "value"), StatusCode::kOk);
    const std::string path = first.connection_files().at(0);
    first.pause();
    sleeper.say("put key later");
    std::this_thread::sleep_for(std::chrono::milliseconds(200));  // until it sleeps
    first.kill();
    damage.damage(path);
    Server second({"10"}, {first.name()});
    EXPECT_EQ(sleeper.reply(), StatusCode::kClosed);
    EXPECT_EQ(sleeper.put("key", "again"), StatusCode::kOk);
    EXPECT_EQ(sleeper.get("key").text, Peer::told_of("again"));
    std::filesystem::remove(path + "-too");
  }
}

// --- Other names for a server's files --------------------------------------------------------------------------------

TEST(HostileLinks, FilesWithSecondNamesAreServedAndKept) {
  Server first({"10"});
  ASSERT_EQ(Peer(first).put("key", "value"), StatusCode::kOk);
  std::vector<std::string> links;
  const auto link_all = [&] {
    for (const char* region : {"master", "table", "journal", "alive"}) {
      const std::string path = "/dev/shm/" + first.name() + "-" + region;
      links.push_back(unique_path());
      std::filesystem::create_hard_link(path, links.back());
    }
  };
  link_all();
  EXPECT_EQ(Peer(first).get("key").text, Peer::told_of("value"));
  EXPECT_EQ(run(first.stat_command()).exit, kSuccess);
  first.kill();
  {
    Server second({"10"}, {first.name()});
    EXPECT_EQ(Peer(second).get("key").text, Peer::told_of("value"));
    link_all();
    EXPECT_EQ(run(second.stat_command()).exit, kSuccess);
  }
  for (const std::string& path : links) remove_path(path);
}

// A user who can link files could put those of one instance in the place of another's.
TEST(HostileLinks, AnotherInstancesFilesInOurPlaceAreNotServedAndNotTouched) {
  Server one({"10"});
  ASSERT_EQ(Peer(one).put("key", "value"), StatusCode::kOk);
  one.kill();
  const std::string other = unique_name();
  for (const char* region : {"master", "table", "journal", "alive"}) {
    const std::string path = "/dev/shm/" + one.name() + "-" + region;
    std::filesystem::create_hard_link(path, "/dev/shm/" + other + "-" + region);
  }
  {
    Server two({"10"}, {other});
    EXPECT_EQ(Peer(two).get("key"), StatusCode::kNotFound);
    EXPECT_EQ(Peer(two).put("key", "another"), StatusCode::kOk);
  }
  Server again({"10"}, {one.name()});
  EXPECT_EQ(Peer(again).get("key").text, Peer::told_of("value"));
}

}  // namespace
}  // namespace hostmap::test
