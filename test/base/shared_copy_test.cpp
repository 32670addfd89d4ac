#include "base/shared_copy.hpp"

#include <algorithm>
#include <atomic>
#include <gtest/gtest.h>
#include <thread>
#include <vector>

#include "support/copy_checks.hpp"

namespace hostmap::test {
namespace {

TEST(SharedCopyTest, CopiesExactlyTheRequestedBytes) { expect_exact_copies(copy_shared); }

TEST(SharedCopyTest, ReadsAndWritesNothingBeyondTheLastByte) { expect_no_fault_at_the_end(copy_shared); }

// The bytes change while they are copied. The copy may be torn, but each byte is one that was there, and the thread
// sanitizer reports nothing.
TEST(SharedCopyTest, ARacingWriterCausesNoDataRace) {
  constexpr std::size_t kSize = 256;
  std::vector<std::byte> shared(kSize, std::byte{0});
  std::atomic<bool> stop{false};
  std::thread writer([&] {
    const std::vector<std::byte> zeroes(kSize, std::byte{0});
    const std::vector<std::byte> ones(kSize, std::byte{0xff});
    while (!stop.load()) {
      copy_shared(shared.data(), ones.data(), kSize);
      copy_shared(shared.data(), zeroes.data(), kSize);
    }
  });
  std::vector<std::byte> copy(kSize);
  std::size_t others = 0;
  bool seen_zero = false;
  bool seen_one = false;
  for (int i = 0; i < 20'000 || !seen_zero || !seen_one; ++i) {
    copy_shared(copy.data(), shared.data(), kSize);
    const auto zeroes = static_cast<std::size_t>(std::count(copy.begin(), copy.end(), std::byte{0}));
    const auto ones = static_cast<std::size_t>(std::count(copy.begin(), copy.end(), std::byte{0xff}));
    others += kSize - zeroes - ones;
    seen_zero = seen_zero || zeroes != 0;
    seen_one = seen_one || ones != 0;
  }
  stop.store(true);
  writer.join();
  EXPECT_EQ(others, 0u);
}

}  // namespace
}  // namespace hostmap::test
