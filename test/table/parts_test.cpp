// do_in_parts: each item is in one part, and no thread is needed besides the caller's.
#include "table/memory/parts.hpp"

#include <algorithm>
#include <cstdint>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <system_error>
#include <thread>
#include <vector>

#include "support/child.hpp"

namespace hostmap::test {
namespace {

using Items = std::vector<std::uint64_t>;

Items items_of(const std::vector<Items>& parts) {
  Items all;
  for (const Items& part : parts) all.insert(all.end(), part.begin(), part.end());
  return all;
}

void note_items(std::uint64_t first, std::uint64_t last, Items& items) {
  for (std::uint64_t i = first; i < last; ++i) items.push_back(i);
}

TEST(DoInParts, EachItemIsInOnePartAndThePartsAreInOrder) {
  const std::uint64_t cpus = std::max(1u, std::thread::hardware_concurrency());
  for (const std::uint64_t items : {0, 1, 99, 199, 200, 1001}) {
    const std::vector<Items> parts = do_in_parts<Items>(items, 100, note_items);
    Items expected;
    note_items(0, items, expected);
    EXPECT_EQ(items_of(parts), expected);
    EXPECT_EQ(parts.size(), std::clamp<std::uint64_t>(items / 100, 1, cpus)) << items;
  }
}

TEST(DoInParts, WhereNoThreadCanBeCreatedTheCallerDoesAllParts) {
  if (!can_change_users()) GTEST_SKIP() << "the limit does not bind root";
  EXPECT_EQ(Child::fork_as(kOtherUser,
                           [] {
                             const rlimit none{0, 0};
                             EXPECT_EQ(::setrlimit(RLIMIT_NPROC, &none), 0);
                             EXPECT_THROW(std::jthread([] {}), std::system_error);
                             const std::thread::id caller = std::this_thread::get_id();
                             const auto note = [caller](std::uint64_t first, std::uint64_t last, Items& items) {
                               EXPECT_EQ(std::this_thread::get_id(), caller);
                               note_items(first, last, items);
                             };
                             Items expected;
                             note_items(0, 1000, expected);
                             EXPECT_EQ(items_of(do_in_parts<Items>(1000, 100, note)), expected);
                             return 0;
                           })
                .wait(),
            kSuccess);
}

}  // namespace
}  // namespace hostmap::test
