// For tests of code with a version for each vector width: runs each width that this processor has.
#pragma once

#include <gtest/gtest.h>
#include <string>

#include "table/form/match.hpp"

namespace hostmap::test {

class EveryWidth : public testing::TestWithParam<VectorWidth> {
 protected:
  void SetUp() override {
    if (GetParam() > widest_vectors()) GTEST_SKIP() << "this processor has no such vectors";
  }
};

inline std::string name_of_width(const testing::TestParamInfo<VectorWidth>& info) {
  constexpr const char* kNames[] = {"Portable", "Sse2", "Avx2", "Avx512"};
  return kNames[static_cast<int>(info.param)];
}

inline auto every_width() {
  return testing::Values(VectorWidth::kPortable, VectorWidth::kSse2, VectorWidth::kAvx2, VectorWidth::kAvx512);
}

}  // namespace hostmap::test
