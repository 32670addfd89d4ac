// What the tests of the client's operations vary: how a client reads, how many workers there are, and which keys and values.
#pragma once

#include <gtest/gtest.h>
#include <string>

#include <hostmap/options.hpp>

#include "process/harness/sealed.hpp"

namespace hostmap::test {

struct Way {
  Reads reads;
  const char* workers;
};

inline constexpr Way kWays[] = {{Reads::kDirect, "1"}, {Reads::kRing, "1"}, {Reads::kDirect, "4"}, {Reads::kRing, "4"}};

inline std::string way_name(const testing::TestParamInfo<Way>& info) {
  return std::string(info.param.reads == Reads::kRing ? "ByRing" : "Direct") + "With" + info.param.workers + "Workers";
}

// Keys and values that fit into a record, and some that are streamed (from rings of 16 KiB).
inline const std::string kKeys[] = {"key", word_key(7), std::string(9'000, 'k')};
inline const std::string kValues[] = {"", "value", word_key(1), std::string(30'000, 'v')};

}  // namespace hostmap::test
