// A limit of the process or of the file system is reached while a region is created or attached (fault case 23 in
// docs/internals/failure-model.md): the error names it, and nothing incomplete is left.
#include <csignal>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <vector>

#include "region_fixture.hpp"
#include "support/child.hpp"
#include "support/private_tmpfs.hpp"

namespace hostmap::test {
namespace {

void limit(int resource, std::uint64_t value) {
  const rlimit both{value, value};
  if (::setrlimit(static_cast<__rlimit_resource_t>(resource), &both) != 0) throw std::runtime_error("setrlimit");
}

std::uint64_t address_space_in_use() {
  std::ifstream statm("/proc/self/statm");
  std::uint64_t pages = 0;
  statm >> pages;
  return pages * kPageSize;
}

// In a child: `create` fails as expected, with no file, descriptor or mapping left.
void expect_create_fails(const std::string& path, std::uint64_t bytes, const std::string& words) {
  const int descriptors = open_descriptors();
  const Result<Region> region = Region::create(path, bytes, 0600);
  EXPECT_FALSE(region);
  expect_error(region.status(), StatusCode::kFull, words);
  EXPECT_NE(::access(path.c_str(), F_OK), 0) << "the file is left";
  EXPECT_EQ(open_descriptors(), descriptors);
  EXPECT_FALSE(is_mapped(path));
}

TEST(RegionResourcesTest, TheFileSizeLimitIsNamed) {
  const std::string path = unique_path();
  EXPECT_EQ(Child::fork([&] {
              ::signal(SIGXFSZ, SIG_IGN);  // as the server does
              limit(RLIMIT_FSIZE, 10 * kPageSize);
              expect_create_fails(path, 11 * kPageSize, "ulimit -f");
              EXPECT_TRUE(Region::create(path, 10 * kPageSize, 0600)) << "just as much as allowed";
              return 0;
            }).wait(),
            kSuccess);
  remove_path(path);
}

TEST(RegionResourcesTest, TheFileSizeLimitIsNamedWhenPopulating) {
  const std::string path = unique_path();
  EXPECT_EQ(Child::fork([&] {
              ::signal(SIGXFSZ, SIG_IGN);
              Result<Region> region = Region::create(path, 4 * kPageSize, 0600);
              EXPECT_TRUE(region);
              limit(RLIMIT_FSIZE, 4 * kPageSize);
              expect_error(region->populate(0, 5 * kPageSize), StatusCode::kFull, "ulimit -f");
              EXPECT_TRUE(region->populate(0, 4 * kPageSize).ok());
              return 0;
            }).wait(),
            kSuccess);
  remove_path(path);
}

TEST(RegionResourcesTest, TheAddressSpaceLimitIsNamed) {
  const std::string path = unique_path();
  EXPECT_EQ(Child::fork([&] {
              limit(RLIMIT_AS, address_space_in_use() + (std::uint64_t{256} << 20));
              expect_create_fails(path, std::uint64_t{1} << 30, "ulimit -v");
              EXPECT_TRUE(Region::create(path, std::uint64_t{1} << 20, 0600)) << "a smaller one fits";
              return 0;
            }).wait(),
            kSuccess);
  remove_path(path);
}

TEST(RegionResourcesTest, TheAddressSpaceLimitIsNamedWhenAttaching) {
  RegionOnDisk made;
  ASSERT_EQ(::truncate(made.path().c_str(), std::int64_t{1} << 30), 0);
  EXPECT_EQ(Child::fork([&] {
              limit(RLIMIT_AS, address_space_in_use() + (std::uint64_t{256} << 20));
              const int descriptors = open_descriptors();
              expect_error(Region::attach(made.path(), RegionKind::kTable, Access::kReadOnly).status(),
                           StatusCode::kFull, "ulimit -v");
              EXPECT_EQ(open_descriptors(), descriptors);
              return 0;
            }).wait(),
            kSuccess);
}

TEST(RegionResourcesTest, TheDescriptorLimitIsNamed) {
  const std::string path = unique_path();
  RegionOnDisk made;
  EXPECT_EQ(Child::fork([&] {
              std::vector<UniqueFd> all;
              limit(RLIMIT_NOFILE, 32);
              for (int fd = 0; (fd = ::open("/dev/null", O_RDONLY | O_CLOEXEC)) >= 0;) all.emplace_back(fd);
              const Status created = Region::create(path, kPageSize, 0600).status();
              const Status attached = Region::attach(made.path(), RegionKind::kTable, Access::kReadOnly).status();
              all.clear();  // the check needs descriptors, too
              expect_error(created, StatusCode::kFull, "ulimit -n");
              expect_error(attached, StatusCode::kFull, "ulimit -n");
              EXPECT_NE(::access(path.c_str(), F_OK), 0);
              return 0;
            }).wait(),
            kSuccess);
}

// Nothing here locks memory, so it works in a process that must not lock any.
TEST(RegionResourcesTest, AMemlockLimitOfZeroChangesNothing) {
  if (!can_change_users()) GTEST_SKIP() << "needs root, to become a user whom the limit binds";
  EXPECT_EQ(Child::fork_as(kSomeUser,
                           [path = unique_path()] {
                             limit(RLIMIT_MEMLOCK, 0);
                             Result<Region> region = Region::create(path, kHugePageSize, 0600);
                             EXPECT_TRUE(region);
                             EXPECT_TRUE(region && region->populate(0, kHugePageSize).ok());
                             remove_path(path);
                             return 0;
                           })
                .wait(),
            kSuccess);
}

class FullFileSystemTest : public testing::Test {
 protected:
  void SetUp() override {
    if (!can_replace_dev_shm()) GTEST_SKIP() << "needs the right to mount a tmpfs";
  }
};

TEST_F(FullFileSystemTest, PopulateReportsItAndNeverFaults) {
  EXPECT_EQ(Child::fork([] {
              if (!replace_dev_shm("size=64k")) return kChildSetupFailed;
              Result<Region> region = Region::create("/dev/shm/x", kHugePageSize, 0600);
              EXPECT_TRUE(region) << "sparse: takes nothing yet";
              EXPECT_TRUE(region->populate(0, 8 * kPageSize).ok());
              region->data()[0] = std::byte{5};
              const Status full = region->populate(8 * kPageSize, 100 * kPageSize);
              expect_error(full, StatusCode::kFull, "--shm-size");
              EXPECT_NE(full.message().find("/dev/shm/x"), std::string_view::npos) << full.message();
              EXPECT_EQ(region->data()[0], std::byte{5}) << "what was populated before stays";
              EXPECT_TRUE(region->populate(8 * kPageSize, 8 * kPageSize).ok()) << "the failed call took nothing";
              region->data()[16 * kPageSize - 1] = std::byte{6};
              return 0;
            }).wait(),
            kSuccess);
}

TEST_F(FullFileSystemTest, NoInodeLeftIsNamed) {
  EXPECT_EQ(Child::fork([] {
              if (!replace_dev_shm("size=1m,nr_inodes=3")) return kChildSetupFailed;
              std::vector<Region> made;
              for (int i = 0; i < 10; ++i) {
                Result<Region> region = Region::create("/dev/shm/x" + std::to_string(i), kPageSize, 0600);
                if (!region) {
                  expect_error(region.status(), StatusCode::kFull, "df -i");
                  return i == 0 ? 1 : 0;
                }
                made.push_back(std::move(*region));
              }
              return 2;
            }).wait(),
            kSuccess);
}

}  // namespace
}  // namespace hostmap::test
