// Another kind of file in a region's place (fault case 20 in docs/internals/failure-model.md): each is refused by name,
// without waiting for it and without changing it; nothing stays open or mapped.
#include <csignal>
#include <functional>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/sysmacros.h>
#include <sys/un.h>

#include "layout/region.hpp"
#include "region_fixture.hpp"
#include "support/child.hpp"

namespace hostmap::test {
namespace {

// Attaches in both ways and expects the same refusal.
void expect_refused(const std::string& path, StatusCode code, const std::string& words,
                    RegionKind kind = RegionKind::kTable) {
  for (const Access access : {Access::kReadOnly, Access::kReadWrite}) {
    const int descriptors = open_descriptors();
    const Result<Region> region = Region::attach(path, kind, access);
    EXPECT_FALSE(region);
    expect_error(region.status(), code, words);
    EXPECT_NE(region.status().message().find(path), std::string_view::npos) << "the path is named";
    EXPECT_EQ(open_descriptors(), descriptors);
    EXPECT_FALSE(is_mapped(path));
  }
}

// Changes one thing in a good region's header and expects that the region is refused and not changed.
void expect_header_refused(const std::function<void(RegionHeader&)>& change, StatusCode code,
                           const std::string& words) {
  RegionOnDisk made;
  ASSERT_TRUE(Region::attach(made.path(), RegionKind::kTable, Access::kReadOnly)) << "good before the change";
  change(made.header());
  made.region().unmap();
  const std::string before = content_of(made.path());
  expect_refused(made.path(), code, words);
  EXPECT_EQ(content_of(made.path()), before) << "refused before any store";
}

TEST(RegionFaultsTest, AMissingFileMeansNoServer) {
  expect_refused("/dev/shm/hm-test-no-such-file", StatusCode::kNoServer, "does not exist");
  expect_refused("/dev/shm/hm-test-no-such-folder/x", StatusCode::kNoServer, "does not exist");
}

TEST(RegionFaultsTest, AFifoIsRefusedWithoutWaitingForItsOtherEnd) {
  const std::string path = unique_path();
  ASSERT_EQ(::mkfifo(path.c_str(), 0600), 0);
  EXPECT_EQ(Child::fork([&] {
              expect_refused(path, StatusCode::kInvalid, "not a regular file");
              return 0;
            }).wait(std::chrono::seconds(30)),
            kSuccess);
  remove_path(path);
}

TEST(RegionFaultsTest, ASymbolicLinkIsNotFollowed) {
  RegionOnDisk made;
  const std::string link = unique_path();
  ASSERT_EQ(::symlink(made.path().c_str(), link.c_str()), 0);
  expect_refused(link, StatusCode::kInvalid, "symbolic link");
  expect_error(Region::create(link, kPageSize, 0600).status(), StatusCode::kInvalid, "exists already");
  remove_path(link);
  ASSERT_EQ(::symlink("/dev/shm/hm-test-nowhere", link.c_str()), 0);
  expect_refused(link, StatusCode::kInvalid, "symbolic link");
  expect_error(Region::create(link, kPageSize, 0600).status(), StatusCode::kInvalid, "exists already");
  EXPECT_NE(::access("/dev/shm/hm-test-nowhere", F_OK), 0) << "nothing is created through the link";
  remove_path(link);
}

TEST(RegionFaultsTest, AFolderIsRefused) {
  const std::string path = unique_path();
  ASSERT_EQ(::mkdir(path.c_str(), 0700), 0);
  for (const Access access : {Access::kReadOnly, Access::kReadWrite}) {
    EXPECT_EQ(Region::attach(path, RegionKind::kTable, access).status().code(), StatusCode::kInvalid);
  }
  remove_path(path);
}

TEST(RegionFaultsTest, ASocketIsRefused) {
  const std::string path = unique_path();
  const UniqueFd socket(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  path.copy(address.sun_path, sizeof address.sun_path - 1);
  ASSERT_EQ(::bind(socket.get(), reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
  expect_refused(path, StatusCode::kInvalid, "");
  remove_path(path);
}

TEST(RegionFaultsTest, ADeviceIsRefused) {
  if (!can_change_users()) GTEST_SKIP() << "needs root to make one";
  const std::string path = unique_path();
  if (::mknod(path.c_str(), S_IFCHR | 0600, makedev(1, 5)) != 0) GTEST_SKIP() << "this container makes no devices";
  for (const Access access : {Access::kReadOnly, Access::kReadWrite}) {
    EXPECT_EQ(Region::attach(path, RegionKind::kTable, access).status().code(), StatusCode::kInvalid);
  }
  remove_path(path);
}

// Any user may be able to give a file a second name. This must neither hide the region nor put it in another one's place.
TEST(RegionFaultsTest, ARegionWithASecondNameIsFoundOnlyUnderItsOwnName) {
  RegionOnDisk made;
  const std::string link = unique_path();
  ASSERT_EQ(::link(made.path().c_str(), link.c_str()), 0);
  expect_refused(link, StatusCode::kInvalid, "hard link");
  EXPECT_TRUE(Region::attach(made.path(), RegionKind::kTable, Access::kReadOnly));
  remove_path(made.path());
  EXPECT_TRUE(Region::attach(link, RegionKind::kTable, Access::kReadOnly)) << "renamed by its owner";
  ASSERT_EQ(::rename(link.c_str(), made.path().c_str()), 0);
}

// --- Its content -----------------------------------------------------------------------------------------------------

TEST(RegionFaultsTest, AnEmptyOrIncompleteHeaderIsNotBuiltYet) {
  for (const std::size_t size : {0u, 1u, 8u, 63u}) {
    const FileOnDisk zeroes(std::string(size, '\0'));
    expect_refused(zeroes.path(), StatusCode::kNoServer, "not built yet");
  }
  const FileOnDisk sized(std::string(kPageSize, '\0'));
  expect_refused(sized.path(), StatusCode::kNoServer, "not built yet");
}

TEST(RegionFaultsTest, ARegionThatIsBeingBuiltMeansNoServerYet) {
  expect_header_refused([](RegionHeader& h) { h.state = kRegionBuilding; }, StatusCode::kNoServer, "not built yet");
}

TEST(RegionFaultsTest, ARegionThatWasGivenUpMeansNoServerAnyMore) {
  expect_header_refused([](RegionHeader& h) { h.state = kRegionClosed; }, StatusCode::kNoServer, "has stopped");
}

TEST(RegionFaultsTest, WrongMagicIsNotARegion) {
  expect_header_refused([](RegionHeader& h) { h.magic ^= 1; }, StatusCode::kInvalid, "not a hostmap region");
  const FileOnDisk text(std::string(500, 'x'));
  expect_refused(text.path(), StatusCode::kInvalid, "not a hostmap region");
}

// Another program's file may have zeroes where the state word would be: it never becomes a region, so waiting for it is
// wrong.
TEST(RegionFaultsTest, WrongMagicIsNotARegionWhateverItsStateWord) {
  const FileOnDisk text("some other program's file" + std::string(500, '\0'));
  expect_refused(text.path(), StatusCode::kInvalid, "not a hostmap region");
}

TEST(RegionFaultsTest, AnotherLayoutVersionIsRefusedByNumber) {
  const std::string other = std::to_string(kLayoutVersion + 1);
  expect_header_refused([](RegionHeader& h) { h.layout_version = kLayoutVersion + 1; }, StatusCode::kOtherVersion,
                        "layout version " + other);
  // Even if all other fields of that version are at other offsets.
  expect_header_refused(
      [](RegionHeader& h) {
        h.layout_version = kLayoutVersion + 1;
        h.kind = static_cast<RegionKind>(77);
        h.fingerprint = 0;
        h.bytes = 0;
      },
      StatusCode::kOtherVersion, "layout version " + other);
}

TEST(RegionFaultsTest, AnotherFingerprintIsRefused) {
  expect_header_refused([](RegionHeader& h) { h.fingerprint ^= 1; }, StatusCode::kOtherVersion, "different build");
}

TEST(RegionFaultsTest, AnotherKindIsRefused) {
  for (const RegionKind kind : {RegionKind::kMaster, RegionKind::kJournal, RegionKind::kConnection}) {
    expect_header_refused([kind](RegionHeader& h) { h.kind = kind; }, StatusCode::kInvalid, "another kind");
  }
}

TEST(RegionFaultsTest, AFileShorterThanItsHeaderSaysIsRefused) {
  expect_header_refused([](RegionHeader& h) { h.bytes += 1; }, StatusCode::kInvalid, "shorter");
  expect_header_refused([](RegionHeader& h) { h.bytes = ~std::uint64_t{0}; }, StatusCode::kInvalid, "shorter");
  expect_header_refused([](RegionHeader& h) { h.bytes = sizeof(RegionHeader) - 1; }, StatusCode::kInvalid, "shorter");
  RegionOnDisk made(4 * kPageSize);
  made.region().unmap();
  ASSERT_EQ(::truncate(made.path().c_str(), 4 * kPageSize - 1), 0);
  expect_refused(made.path(), StatusCode::kInvalid, "shorter");
}

TEST(RegionFaultsTest, AFileLongerThanItsHeaderSaysIsAccepted) {
  RegionOnDisk made;
  ASSERT_EQ(::truncate(made.path().c_str(), 16 * kPageSize), 0);
  EXPECT_TRUE(Region::attach(made.path(), RegionKind::kTable, Access::kReadOnly));
}

TEST(RegionFaultsTest, AnAbsurdlyLongFileIsAnErrorAndNoCrash) {
  RegionOnDisk made;
  ASSERT_EQ(::truncate(made.path().c_str(), std::int64_t{1} << 62), 0);
  expect_error(Region::attach(made.path(), RegionKind::kTable, Access::kReadOnly).status(), StatusCode::kFull,
               "address space");
}

// --- Its owner -------------------------------------------------------------------------------------------------------

class RegionOwnerTest : public testing::Test {
 protected:
  void SetUp() override {
    if (!can_change_users()) GTEST_SKIP() << "needs root, to become two other users";
  }
};

TEST_F(RegionOwnerTest, AStrangersRegionIsRefusedEvenIfItsModeAdmitsEverybody) {
  RegionOnDisk made(2 * kPageSize, 0600);
  ASSERT_EQ(::chmod(made.path().c_str(), 0666), 0);
  ASSERT_EQ(::chown(made.path().c_str(), kOtherUser, kOtherUser), 0);
  made.region().unmap();
  EXPECT_EQ(Child::fork_as(kSomeUser,
                           [&] {
                             expect_refused(made.path(), StatusCode::kPermission, std::to_string(kOtherUser));
                             return 0;
                           })
                .wait(),
            kSuccess);
  EXPECT_EQ(Child::fork_as(kOtherUser,
                           [&] {
                             EXPECT_TRUE(Region::attach(made.path(), RegionKind::kTable, Access::kReadWrite));
                             return 0;
                           })
                .wait(),
            kSuccess);
}

TEST_F(RegionOwnerTest, AStrangersPrivateRegionIsRefused) {
  RegionOnDisk made(2 * kPageSize, 0600);
  ASSERT_EQ(::chown(made.path().c_str(), kOtherUser, kOtherUser), 0);
  made.region().unmap();
  EXPECT_EQ(Child::fork_as(kSomeUser,
                           [&] {
                             expect_refused(made.path(), StatusCode::kPermission, "belongs to another user");
                             return 0;
                           })
                .wait(),
            kSuccess);
}

TEST_F(RegionOwnerTest, RootsRegionIsTrustedByEverybodyWhomItsModeAdmits) {
  RegionOnDisk made(2 * kPageSize, 0600);
  ASSERT_EQ(::chmod(made.path().c_str(), 0644), 0);
  made.region().unmap();
  EXPECT_EQ(Child::fork_as(kSomeUser,
                           [&] {
                             EXPECT_TRUE(Region::attach(made.path(), RegionKind::kTable, Access::kReadOnly));
                             expect_error(Region::attach(made.path(), RegionKind::kTable, Access::kReadWrite).status(),
                                          StatusCode::kPermission, made.path());
                             return 0;
                           })
                .wait(),
            kSuccess);
}

TEST_F(RegionOwnerTest, AStrangersFileInTheWayIsNeitherOpenedNorRemoved) {
  RegionOnDisk made(2 * kPageSize, 0600);
  ASSERT_EQ(::chmod(made.path().c_str(), 0666), 0);
  ASSERT_EQ(::chown(made.path().c_str(), kOtherUser, kOtherUser), 0);
  made.region().unmap();
  const std::string before = content_of(made.path());
  EXPECT_EQ(Child::fork_as(kSomeUser,
                           [&] {
                             expect_error(Region::create(made.path(), kPageSize, 0600).status(), StatusCode::kInvalid,
                                          "exists");
                             return 0;
                           })
                .wait(),
            kSuccess);
  EXPECT_EQ(content_of(made.path()), before);
}

TEST_F(RegionOwnerTest, AFolderWithoutPermissionIsNamed) {
  const std::string folder = unique_path();
  ASSERT_EQ(::mkdir(folder.c_str(), 0700), 0);
  EXPECT_EQ(Child::fork_as(kSomeUser,
                           [&] {
                             for (const Status& status :
                                  {Region::create(folder + "/x", kPageSize, 0600).status(),
                                   Region::attach(folder + "/x", RegionKind::kTable, Access::kReadOnly).status()}) {
                               EXPECT_EQ(status.code(), StatusCode::kPermission) << status.message();
                             }
                             return 0;
                           })
                .wait(),
            kSuccess);
  ::rmdir(folder.c_str());
}

}  // namespace
}  // namespace hostmap::test
