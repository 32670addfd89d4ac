// Shared by the fuzz targets: an input as a list of acts, and the end of a run that found an error.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>

namespace hostmap::test {

struct Act {
  std::uint8_t kind;
  std::uint8_t unused[3];
  std::uint32_t where;
  std::uint64_t value;
};
static_assert(sizeof(Act) == 16);

// An incomplete act at the end of the input is ignored.
template <typename Do>
void for_each_act(const std::uint8_t* data, std::size_t size, const Do& act_out) {
  for (std::size_t at = 0; at + sizeof(Act) <= size; at += sizeof(Act)) {
    Act act;
    std::memcpy(&act, data + at, sizeof act);
    act_out(act);
  }
}

inline void require(bool holds) {
  if (!holds) std::abort();
}

}  // namespace hostmap::test
