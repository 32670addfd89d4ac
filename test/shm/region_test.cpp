#include "shm/region.hpp"

#include <algorithm>
#include <atomic>
#include <csignal>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <thread>

#include "layout/region.hpp"
#include "region_fixture.hpp"
#include "support/child.hpp"

namespace hostmap::test {
namespace {

std::uint64_t populated_bytes(const Region& region) {
  struct stat facts {};
  ::fstat(region.fd(), &facts);
  return static_cast<std::uint64_t>(facts.st_blocks) * 512;
}

TEST(RegionTest, ACreatedRegionIsNewAndZeroAndSparse) {
  const std::string path = unique_path();
  Result<Region> region = Region::create(path, 10 * kPageSize, 0640);
  ASSERT_TRUE(region);
  struct stat facts {};
  ASSERT_EQ(::stat(path.c_str(), &facts), 0);
  EXPECT_EQ(facts.st_mode & 0777, 0640u);
  EXPECT_EQ(facts.st_size, 10 * kPageSize);
  EXPECT_EQ(facts.st_blocks, 0);
  EXPECT_EQ(region->bytes(), 10 * kPageSize);
  EXPECT_EQ(region->path(), path);
  ASSERT_TRUE(region->populate(0, region->bytes()).ok());
  EXPECT_TRUE(
      std::all_of(region->data(), region->data() + region->bytes(), [](std::byte b) { return b == std::byte{}; }));
  remove_path(path);
}

TEST(RegionTest, ItIsMappedAtA2MiBBoundarySoThatLargePagesFit) {
  for (const std::uint64_t bytes : {std::uint64_t{1}, std::uint64_t{kPageSize}, std::uint64_t{3 * kHugePageSize + 5}}) {
    const std::string path = unique_path();
    const Result<Region> region = Region::create(path, bytes, 0600);
    ASSERT_TRUE(region);
    EXPECT_EQ(reinterpret_cast<std::uintptr_t>(region->data()) % kHugePageSize, 0u);
    remove_path(path);
  }
}

TEST(RegionTest, PopulateAllocatesTheRangeAndNothingElse) {
  const std::string path = unique_path();
  Result<Region> region = Region::create(path, 64 * kPageSize, 0600);
  ASSERT_TRUE(region);
  ASSERT_TRUE(region->populate(8 * kPageSize, 4 * kPageSize).ok());
  EXPECT_EQ(populated_bytes(*region), 4 * kPageSize);
  region->data()[8 * kPageSize] = std::byte{7};
  ASSERT_TRUE(region->populate(8 * kPageSize, 8 * kPageSize).ok());  // again, and further
  EXPECT_EQ(populated_bytes(*region), 8 * kPageSize);
  EXPECT_EQ(region->data()[8 * kPageSize], std::byte{7}) << "what stood there stays";
  remove_path(path);
}

// When a signal comes, the kernel frees what it had allocated; populate repeats the call.
TEST(RegionTest, PopulateSurvivesASignal) {
  const std::string path = unique_path();
  constexpr std::uint64_t kBytes = std::uint64_t{64} << 20;
  EXPECT_EQ(Child::fork([&] {
              static volatile std::sig_atomic_t signals = 0;
              struct sigaction action {};  // without SA_RESTART
              action.sa_handler = [](int) { signals = signals + 1; };
              ::sigaction(SIGALRM, &action, nullptr);
              Result<Region> region = Region::create(path, kBytes, 0600);
              if (!region) return 1;
              const itimerval soon{{0, 0}, {0, 2000}};
              ::setitimer(ITIMER_REAL, &soon, nullptr);
              EXPECT_TRUE(region->populate(0, kBytes).ok());
              while (signals == 0) ::usleep(1000);
              EXPECT_EQ(populated_bytes(*region), kBytes);
              return 0;
            }).wait(),
            kSuccess);
  remove_path(path);
}

TEST(RegionTest, CreatingTwiceIsRefusedAndDoesNotChangeTheFirst) {
  RegionOnDisk first;
  const std::string before = content_of(first.path());
  const int descriptors = open_descriptors();
  expect_error(Region::create(first.path(), kPageSize, 0600).status(), StatusCode::kInvalid, "exists already");
  EXPECT_EQ(open_descriptors(), descriptors);
  EXPECT_EQ(content_of(first.path()), before);
}

TEST(RegionTest, ANameThatIsTooLongIsInvalid) {
  expect_error(Region::create("/dev/shm/hm-test-" + std::string(300, 'x'), kPageSize, 0600).status(),
               StatusCode::kInvalid, "too long");
}

TEST(RegionTest, AttachSeesTheSameMemory) {
  RegionOnDisk made;
  Result<Region> writer = Region::attach(made.path(), RegionKind::kTable, Access::kReadWrite);
  Result<Region> reader = Region::attach(made.path(), RegionKind::kTable, Access::kReadOnly);
  ASSERT_TRUE(writer);
  ASSERT_TRUE(reader);
  EXPECT_EQ(reader->bytes(), made.region().bytes());
  EXPECT_EQ(reader->header().incarnation, kIncarnation);
  EXPECT_EQ(reader->header().bytes, made.region().bytes());
  EXPECT_EQ(reader->header().state.load(), kRegionReady);
  writer->data()[5000] = std::byte{42};
  EXPECT_EQ(reader->data()[5000], std::byte{42});
  EXPECT_EQ(made.region().data()[5000], std::byte{42});
}

TEST(RegionTest, AReadOnlyMappingCannotBeWritten) {
  RegionOnDisk made;
  EXPECT_EQ(Child::fork([&] {
              ::signal(SIGSEGV, SIG_DFL);  // a sanitizer's handler would print
              const Result<Region> reader = Region::attach(made.path(), RegionKind::kTable, Access::kReadOnly);
              if (!reader) return 1;
              EXPECT_NE(::mprotect(reader->data(), kPageSize, PROT_READ | PROT_WRITE), 0) << "nor be made writable";
              if (testing::Test::HasFailure()) return 2;
              *static_cast<volatile std::byte*>(reader->data() + 5000) = std::byte{1};
              return 3;
            }).wait(),
            killed_by(SIGSEGV));
}

TEST(RegionTest, AMovedFromRegionIsEmptyAndTheMappingLivesOn) {
  RegionOnDisk made;
  Region first = std::move(made.region());
  EXPECT_FALSE(made.region());
  EXPECT_EQ(made.region().bytes(), 0u);
  first.data()[100] = std::byte{1};
  Region second;
  second = std::move(first);
  EXPECT_FALSE(first);  // NOLINT(bugprone-use-after-move): the test is that it is empty
  Region& same = second;
  second = std::move(same);
  ASSERT_TRUE(second);
  EXPECT_EQ(second.data()[100], std::byte{1});
}

TEST(RegionTest, ItsDestructorUnmapsAndClosesButDoesNotUnlink) {
  const int descriptors = open_descriptors();
  const std::string path = unique_path();
  {
    const Result<Region> region = Region::create(path, kPageSize, 0600);
    ASSERT_TRUE(region);
    EXPECT_TRUE(is_mapped(path));
  }
  EXPECT_FALSE(is_mapped(path));
  EXPECT_EQ(open_descriptors(), descriptors);
  EXPECT_EQ(::access(path.c_str(), F_OK), 0);
  remove_path(path);
}

TEST(RegionTest, DiscardFreesThePagesWhileReadersSeeZeroesAndNoFault) {
  RegionOnDisk made(64 * kPageSize);
  Region& region = made.region();
  std::fill(region.data() + kPageSize, region.data() + region.bytes(), std::byte{9});
  std::atomic<bool> stop{false};
  std::atomic<std::uint64_t> nines{0};
  std::atomic<std::uint64_t> zeroes{0};
  std::atomic<std::uint64_t> others{0};
  std::thread reader([&] {
    for (std::uint64_t i = 0; !stop.load(); ++i) {
      // Reads words as the table's readers do: relaxed, while the mapping changes.
      const std::uint64_t word = region.at<Word>(kPageSize + i % 8000 * 8)->load(std::memory_order_relaxed);
      (word == 0 ? zeroes : word == 0x0909'0909'0909'0909 ? nines : others).fetch_add(1);
    }
  });
  while (nines.load() < 1000) std::this_thread::yield();
  EXPECT_TRUE(region.discard(Access::kReadOnly));
  while (zeroes.load() < 1000) std::this_thread::yield();
  stop.store(true);
  reader.join();
  EXPECT_EQ(others.load(), 0u);
  EXPECT_EQ(region.fd(), -1);
  EXPECT_FALSE(is_mapped(made.path()));
  EXPECT_EQ(content_of(made.path())[kPageSize], 9) << "the file is untouched";
}

TEST(RegionTest, AShortenedRegionKeepsItsFirstPagesAndNoOtherMapping) {
  const std::string path = unique_path();
  Result<Region> made = Region::create(path, 64 * kPageSize, 0600);
  ASSERT_TRUE(static_cast<bool>(made)) << made.status().message();
  ASSERT_TRUE(made->populate(0, made->bytes()).ok());
  made->data()[kPageSize] = std::byte{7};
  std::byte* const after = made->data() + 2 * kPageSize;
  made->shorten(2 * kPageSize);
  EXPECT_EQ(made->bytes(), 2 * kPageSize);
  EXPECT_EQ(made->data()[kPageSize], std::byte{7});
  made->shorten(64 * kPageSize);
  EXPECT_EQ(made->bytes(), 2 * kPageSize) << "it never grows";
  // Another mapping that takes the place is left alone, whatever happens to the region.
  void* const other =
      ::mmap(after, kPageSize, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
  ASSERT_EQ(other, static_cast<void*>(after)) << "the place is free";
  *after = std::byte{9};
  EXPECT_TRUE(made->discard(Access::kReadOnly));
  EXPECT_EQ(made->data()[kPageSize], std::byte{0});
  made->unmap();
  EXPECT_EQ(*after, std::byte{9});
  ::munmap(other, kPageSize);
  ::unlink(path.c_str());
}

TEST(RegionTest, CollapseKeepsTheContent) {
  const std::string path = unique_path();
  Result<Region> region = Region::create(path, 2 * kHugePageSize, 0600);
  ASSERT_TRUE(region);
  ASSERT_TRUE(region->populate(0, region->bytes()).ok());
  std::fill(region->data(), region->data() + region->bytes(), std::byte{3});
  const std::uint64_t collapsed = region->collapse(0, kHugePageSize);
  EXPECT_TRUE(collapsed == 0 || collapsed == kHugePageSize) << collapsed;
  EXPECT_TRUE(
      std::all_of(region->data(), region->data() + region->bytes(), [](std::byte b) { return b == std::byte{3}; }));
  remove_path(path);
}

// The content of a region is of no use in a core file, and may be secret.
TEST(RegionTest, ItIsLeftOutOfCoreFiles) {
  RegionOnDisk made;
  std::ifstream maps("/proc/self/smaps");
  bool inside = false;
  bool found = false;
  for (std::string line; std::getline(maps, line);) {
    if (line.find(made.path()) != std::string::npos) inside = true;
    if (inside && line.starts_with("VmFlags:")) {
      EXPECT_NE((line + " ").find(" dd "), std::string::npos) << line;
      found = true;
      break;
    }
  }
  EXPECT_TRUE(found);
}

TEST(RegionTest, AdoptTakesAFileThatIsOpenAlready) {
  const std::string path = unique_path();
  UniqueFd fd(::open(path.c_str(), O_CREAT | O_EXCL | O_RDWR | O_CLOEXEC, 0600));
  const int number = fd.get();
  Result<Region> region = Region::from_descriptor(std::move(fd), path, 3 * kPageSize);
  ASSERT_TRUE(region);
  EXPECT_EQ(region->fd(), number);
  EXPECT_EQ(region->bytes(), 3 * kPageSize);
  remove_path(path);
}

}  // namespace
}  // namespace hostmap::test
