// Another kind of file is in a region's place (fault case 20 in docs/internals/failure-model.md). A server refuses with one
// line or removes it; a client refuses. Neither hangs, follows a link, or writes to another user's file.
#include <cstddef>
#include <fcntl.h>
#include <filesystem>
#include <fstream>
#include <functional>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include "layout/fingerprint.hpp"
#include "layout/region.hpp"
#include "process/harness/peer.hpp"
#include "process/harness/proc.hpp"
#include "process/harness/server.hpp"

namespace hostmap::test {
namespace {

using std::filesystem::path;

// A file of another user, to which links may lead: it must not change.
class Victim {
 public:
  Victim() : path_("/dev/shm/" + unique_name() + ".victim") { std::ofstream(path_) << kText; }
  ~Victim() { std::filesystem::remove(path_); }
  const std::string& file() const { return path_; }
  bool unharmed() const { return read_text(path_) == kText; }

 private:
  static constexpr const char* kText = "precious";
  std::string path_;
};

void write_file(const std::string& file, const std::string& bytes) {
  std::ofstream(file, std::ios::binary) << bytes;
  std::filesystem::permissions(file, std::filesystem::perms::owner_read | std::filesystem::perms::owner_write);
}

// A region's head as a server writes it, and what can be wrong with it.
std::string region_head(RegionKind kind, const std::function<void(RegionHeader&)>& change) {
  RegionHeader header{};
  header.magic = kMagic;
  header.layout_version = kLayoutVersion;
  header.kind = kind;
  header.fingerprint = kFingerprint;
  header.bytes = 65536;
  header.incarnation = 1;
  header.state.store(kRegionReady);
  change(header);
  std::string bytes(65536, '\0');
  std::memcpy(bytes.data(), static_cast<const void*>(&header), sizeof header);
  return bytes;
}

RegionKind kind_of(const std::string& region) {
  if (region == "master") return RegionKind::kMaster;
  if (region == "table") return RegionKind::kTable;
  if (region == "journal") return RegionKind::kJournal;
  return RegionKind::kConnection;
}

struct Thing {
  const char* what;
  std::function<void(const std::string& path, const std::string& region, const Victim& victim)> put;
};

const std::vector<Thing>& things() {
  static const std::vector<Thing> all{
      {"FIFO", [](const auto& path, const auto&, const auto&) { ASSERT_EQ(::mkfifo(path.c_str(), 0600), 0); }},
      {"symlink",
       [](const auto& path, const auto&, const auto& victim) { std::filesystem::create_symlink(victim.file(), path); }},
      {"dangling symlink", [](const auto& path, const auto&,
                              const auto&) { std::filesystem::create_symlink("/dev/shm/hm-test-nowhere", path); }},
      {"directory", [](const auto& path, const auto&, const auto&) { std::filesystem::create_directory(path); }},
      {"hard link", [](const auto& path, const auto&,
                       const auto& victim) { std::filesystem::create_hard_link(victim.file(), path); }},
      {"size 0", [](const auto& path, const auto&, const auto&) { write_file(path, ""); }},
      {"half a header", [](const auto& path, const auto&, const auto&) { write_file(path, std::string(40, 'x')); }},
      {"zeroes", [](const auto& path, const auto&, const auto&) { write_file(path, std::string(65536, '\0')); }},
      {"wrong magic",
       [](const auto& path, const auto& region, const auto&) {
         write_file(path, region_head(kind_of(region), [](RegionHeader& h) { h.magic ^= 1; }));
       }},
      {"another kind",
       [](const auto& path, const auto& region, const auto&) {
         write_file(path, region_head(kind_of(region), [](RegionHeader& h) { h.kind = static_cast<RegionKind>(9); }));
       }},
      {"shorter than it says",
       [](const auto& path, const auto& region, const auto&) {
         write_file(path, region_head(kind_of(region), [](RegionHeader& h) { h.bytes = 1 << 30; }));
       }},
      {"a head and nothing behind it",
       [](const auto& path, const auto& region, const auto&) {
         write_file(path, region_head(kind_of(region), [](RegionHeader&) {}));
       }},
      {"noise",
       [](const auto& path, const auto& region, const auto&) {
         std::string bytes = region_head(kind_of(region), [](RegionHeader&) {});
         bytes.replace(64, bytes.size() - 64, pattern(bytes.size() - 64, 5));
         write_file(path, bytes);
       }},
  };
  return all;
}

class InOurPlace : public testing::TestWithParam<const char*> {
 protected:
  std::string place(const std::string& name) const {
    const std::string region = GetParam();
    return "/dev/shm/" + name + "-" + region + (region == "connection" ? "-1" : "");
  }
};

TEST_P(InOurPlace, AServerRemovesItOrRefusesWithOneLine) {
  for (const Thing& thing : things()) {
    SCOPED_TRACE(thing.what);
    const Victim victim;
    const std::string name = unique_name();
    thing.put(place(name), GetParam(), victim);
    const Ran ran = run_server({}, name);
    EXPECT_TRUE(ran.exit == kSuccess || ran.exit == exited(1)) << ran.exit << ": " << ran.errors;
    if (ran.exit == exited(1)) {
      expect_refusal(ran, 1, {place(name)});
      EXPECT_TRUE(std::filesystem::exists(std::filesystem::symlink_status(place(name)))) << "refused, but removed";
    } else {
      EXPECT_TRUE(parse_ready(lines_of(ran.output).at(0)).has_value());
    }
    EXPECT_TRUE(victim.unharmed());
    std::filesystem::remove(place(name));
    EXPECT_EQ(files_of_instance(name), std::vector<std::string>()) << "after " << ran.errors;
    // When it is removed, a server can serve the name.
    Server server({}, {name});
    EXPECT_TRUE(server.connect().put("key", "value").ok());
  }
}

TEST_P(InOurPlace, AClientRefusesAndNeverHangs) {
  if (std::string(GetParam()) == "journal") return;  // no client opens it
  for (const Thing& thing : things()) {
    SCOPED_TRACE(thing.what);
    const Victim victim;
    // In place of a region of a running server: a client finds it when it connects.
    Server server;
    {
      Peer connected(server);  // so that the server continues
      const std::string region = GetParam();
      const std::string at =
          region == "connection" ? "/dev/shm/" + server.name() + "-connection-2" : place(server.name());
      std::filesystem::remove(at);
      thing.put(at, region, victim);
      PeerSetup patient;
      patient.timeout = std::chrono::seconds(2);
      const Reply reply = Peer::unconnected().connect(server, patient);
      if (region == "connection") {
        // The server finds that the name of the next connection is taken: this client, or its next attempt, gets another
        // one.
        EXPECT_TRUE(reply == StatusCode::kOk || reply == StatusCode::kFull) << reply;
      } else {
        EXPECT_TRUE(reply == StatusCode::kNoServer || reply == StatusCode::kInvalid || reply == StatusCode::kInternal ||
                    reply == StatusCode::kPermission || reply == StatusCode::kTimeout)
            << reply;
      }
      EXPECT_EQ(connected.put("key", "value"), StatusCode::kOk);
      std::filesystem::remove(at);
    }
    EXPECT_TRUE(victim.unharmed());
    server.kill();
    server.remove_regions();
  }
}

INSTANTIATE_TEST_SUITE_P(Of, InOurPlace, testing::Values("master", "table", "journal", "alive", "connection"),
                         [](const auto& test) { return std::string(test.param); });

// Two users that are not root, because all users share /dev/shm.
class StrangersFile : public testing::TestWithParam<const char*> {};

TEST_P(StrangersFile, AServerRefusesToTakeOverWhatBelongsToAnotherUser) {
  if (!can_change_users()) GTEST_SKIP() << "two users are needed";
  ProcessSetup as_one;
  as_one.user = kSomeUser;
  for (const char* what : {"wrong magic", "size 0", "a head and nothing behind it", "directory", "FIFO"}) {
    SCOPED_TRACE(what);
    const Victim victim;
    const std::string name = unique_name();
    const std::string place = "/dev/shm/" + name + "-" + GetParam();
    for (const Thing& thing : things()) {
      if (std::string(thing.what) == what) thing.put(place, GetParam(), victim);
    }
    ASSERT_EQ(::lchown(place.c_str(), kOtherUser, kOtherUser), 0);
    ASSERT_EQ(::chmod(place.c_str(), 0666), 0);  // a trap: it could be opened
    const Ran ran = run_server({}, name, as_one);
    expect_refusal(ran, 1, {place});
    struct stat facts {};
    ASSERT_EQ(::lstat(place.c_str(), &facts), 0);
    EXPECT_EQ(facts.st_uid, kOtherUser) << "it is still there, and the stranger's";
    std::filesystem::remove(place);
    EXPECT_EQ(files_of_instance(name), std::vector<std::string>());
  }
}

TEST_P(StrangersFile, ARootServerRefusesItToo) {
  if (!can_change_users()) GTEST_SKIP() << "two users are needed";
  const std::string name = unique_name();
  const std::string place = "/dev/shm/" + name + "-" + GetParam();
  write_file(place, "stranger");
  ASSERT_EQ(::chown(place.c_str(), kOtherUser, kOtherUser), 0);
  const Ran ran = run_server({}, name);
  if (std::string(GetParam()) == "alive") {
    EXPECT_EQ(ran.exit, kSuccess) << "an empty file in /dev/shm: root replaces it; " << ran.errors;
  } else {
    expect_refusal(ran, 1, {place});
  }
  std::filesystem::remove(place);
  EXPECT_EQ(files_of_instance(name), std::vector<std::string>());
}

INSTANTIATE_TEST_SUITE_P(Of, StrangersFile, testing::Values("master", "table", "journal", "alive"),
                         [](const auto& test) { return std::string(test.param); });

TEST(InOurPlaceLeftOvers, ManyStaleConnectionsAreRemoved) {
  const std::string name = unique_name();
  for (int id = 1; id <= 300; ++id) {
    write_file("/dev/shm/" + name + "-connection-" + std::to_string(id),
               id % 3 == 0 ? "" : region_head(RegionKind::kConnection, [](RegionHeader&) {}));
  }
  Server server({}, {name});
  EXPECT_EQ(server.errors(), "hostmap-server: discarded 300 regions of a server that died\n");
  EXPECT_TRUE(server.connection_files().empty());
}

TEST(InOurPlaceLeftOvers, FilesWithSimilarNamesAreNotTouched) {
  const std::string name = unique_name();
  const std::vector<std::string> others{"/dev/shm/" + name + "-connection-", "/dev/shm/" + name + "-connection-1x",
                                        "/dev/shm/" + name + "-connection", "/dev/shm/" + name + "-masters",
                                        "/dev/shm/" + name + "0-connection-1"};
  for (const std::string& other : others) write_file(other, "not ours");
  {
    Server server({}, {name});
    EXPECT_EQ(server.errors(), "");
    EXPECT_EQ(server.stop(), kSuccess);
  }
  for (const std::string& other : others) {
    EXPECT_EQ(read_text(other), "not ours") << other;
    std::filesystem::remove(other);
  }
}

}  // namespace
}  // namespace hostmap::test
