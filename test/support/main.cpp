// main() of every test binary: GoogleTest, and a check of /dev/shm after each test.
#include <gtest/gtest.h>

#include "support/instance.hpp"
#include "support/left_behind.hpp"

int main(int argc, char** argv) {
  testing::InitGoogleTest(&argc, argv);
  // A process that had the same pid may have been killed in the middle of a test.
  for (const std::string& path : hostmap::test::files_of_this_process()) hostmap::test::remove_path(path);
  testing::UnitTest::GetInstance()->listeners().Append(new hostmap::test::NothingIsLeftBehind);  // GoogleTest owns it
  return RUN_ALL_TESTS();
}
