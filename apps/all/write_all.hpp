// Writes text to a descriptor, whole, or says why not.
#pragma once

#include <string_view>

namespace hostmap::apps {

// 0, or errno: EPIPE where nobody reads any more.
int write_all(int descriptor, std::string_view text) noexcept;

}  // namespace hostmap::apps
