// Writes all of a text to a descriptor, or returns the error.
#pragma once

#include <string_view>

namespace hostmap::apps {

// 0, or errno: EPIPE if there is no reader any more.
int write_all(int descriptor, std::string_view text) noexcept;

}  // namespace hostmap::apps
