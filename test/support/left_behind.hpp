// NothingIsLeftBehind: lists /dev/shm before and after each test; a test that leaves a file fails.
#pragma once

#include <algorithm>
#include <gtest/gtest.h>
#include <iterator>
#include <string>
#include <vector>

#include "support/instance.hpp"

namespace hostmap::test {

// Tests run beside each other: only names with this process's prefix are compared.
class NothingIsLeftBehind : public testing::EmptyTestEventListener {
 public:
  void OnTestStart(const testing::TestInfo& /*test*/) override { before_ = files_of_this_process(); }

  void OnTestEnd(const testing::TestInfo& /*test*/) override {
    const std::vector<std::string> after = files_of_this_process();
    std::vector<std::string> left;
    std::set_difference(after.begin(), after.end(), before_.begin(), before_.end(), std::back_inserter(left));
    for (const std::string& path : left) {
      ADD_FAILURE() << path << " was left behind";
      remove_path(path);
    }
    std::vector<std::string> gone;
    std::set_difference(before_.begin(), before_.end(), after.begin(), after.end(), std::back_inserter(gone));
    for (const std::string& path : gone) ADD_FAILURE() << path << " was another test's, and was removed";
  }

 private:
  std::vector<std::string> before_;
};

}  // namespace hostmap::test
