#include "journal/journal.hpp"

#include <gtest/gtest.h>
#include <map>
#include <unistd.h>

#include "layout/journal.hpp"
#include "support/instance.hpp"

namespace hostmap::test {
namespace {

// A journal of the given size on disk, removed at the end.
class JournalOnDisk {
 public:
  JournalOnDisk(std::uint32_t connections, std::uint32_t lanes, std::uint64_t slabs) {
    Result<Region> region = Region::create(path_, journal_bytes(connections, lanes, slabs), 0600);
    if (!region || !region->populate(0, region->bytes()).ok()) throw std::runtime_error("no journal");
    region_ = std::move(*region);
    auto& header = *region_.at<JournalHeader>(0);
    header.max_connections = connections;
    header.lane_count = lanes;
    header.slab_count = slabs;
  }
  ~JournalOnDisk() { remove_path(path_); }
  Region& region() { return region_; }

 private:
  const std::string path_ = unique_path();
  Region region_;
};

// The bytes that accessors returned; each may be returned by one accessor only.
class Claims {
 public:
  explicit Claims(const Region& region) : region_(region) {}
  template <typename T>
  void claim(const T& object, const char* what) {
    const auto begin = static_cast<std::uint64_t>(reinterpret_cast<const std::byte*>(&object) - region_.data());
    const std::uint64_t end = begin + sizeof(T);
    ASSERT_LE(end, region_.bytes()) << what << " beyond the region";
    ASSERT_EQ(begin % alignof(T), 0u) << what;
    const auto next = taken_.lower_bound(begin + 1);  // ordered by their ends
    ASSERT_TRUE(next == taken_.end() || next->second >= end) << what << " overlaps another at " << begin;
    taken_[end] = begin;
  }

 private:
  const Region& region_;
  std::map<std::uint64_t, std::uint64_t> taken_;  // end -> begin
};

TEST(JournalTest, NoTwoPartsOverlap) {
  for (const std::uint32_t connections : {1u, 2u, 5u}) {
    for (const std::uint32_t lanes : {1u, 2u, kMaxLanes}) {
      JournalOnDisk disk(connections, lanes, 100);
      const Journal journal(disk.region());
      ASSERT_EQ(journal.max_connections(), connections);
      ASSERT_EQ(journal.lanes(), lanes);
      Claims claims(disk.region());
      ASSERT_NO_FATAL_FAILURE(claims.claim(journal.header().region, "header"));
      ASSERT_NO_FATAL_FAILURE(claims.claim(journal.header().serials, "serials"));
      for (std::uint32_t lane = 0; lane < lanes; ++lane) {
        ASSERT_NO_FATAL_FAILURE(claims.claim(journal.intent(lane), "intent"));
      }
      for (std::uint32_t i = 0; i < connections; ++i) {
        ASSERT_NO_FATAL_FAILURE(claims.claim(journal.connection(i), "connection"));
        for (std::uint32_t channel = 0; channel < 2 * lanes; ++channel) {
          ASSERT_NO_FATAL_FAILURE(claims.claim(journal.position(i, channel), "position"));
        }
      }
      for (std::uint64_t slab = 0; slab < 100; ++slab) {
        ASSERT_NO_FATAL_FAILURE(claims.claim(journal.slab_class(slab), "slab class"));
      }
    }
  }
}

TEST(JournalTest, WhatIsWrittenThroughOneViewIsReadThroughAnother) {
  JournalOnDisk disk(3, 2, 16);
  const Journal writer(disk.region());
  writer.position(2, 3).request_next.store(11);
  writer.connection(1).serial.store(22);
  writer.intent(1).kind.store(33);
  writer.slab_class(15).store(44);
  const Journal reader(disk.region());
  EXPECT_EQ(reader.position(2, 3).request_next.load(), 11u);
  EXPECT_EQ(reader.connection(1).serial.load(), 22u);
  EXPECT_EQ(reader.intent(1).kind.load(), 33u);
  EXPECT_EQ(reader.slab_class(15).load(), 44u);
}

TEST(JournalTest, AFreshJournalHasNoRecords) {
  JournalOnDisk disk(4, 2, 16);
  const Journal journal(disk.region());
  for (std::uint32_t lane = 0; lane < 2; ++lane) {
    EXPECT_EQ(static_cast<IntentKind>(journal.intent(lane).kind.load()), IntentKind::kOpen);
  }
  for (std::uint32_t i = 0; i < 4; ++i) EXPECT_EQ(journal.connection(i).serial.load(), 0u) << "free";
  EXPECT_EQ(journal.header().serials.load(), 0u);
}

}  // namespace
}  // namespace hostmap::test
