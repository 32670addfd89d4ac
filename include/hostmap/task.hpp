// ValueOrTask: what Client::compute_begin returns.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

namespace hostmap {

/// The value of a key; or, if it is absent, the task to compute it, which this caller alone has.
struct ValueOrTask {
  std::optional<std::string> value;
  std::uint64_t task = 0;  ///< not 0 if there is no value: to be ended by compute_put or compute_fail
};

}  // namespace hostmap
