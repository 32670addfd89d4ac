// Times to live with a meaning of their own.
#pragma once

#include <chrono>

namespace hostmap {

/// A time to live of a key that has none: it stays until it is erased.
inline constexpr std::chrono::milliseconds kForever = std::chrono::milliseconds::max();
/// The time to live that a key has when its value is replaced. One that is absent has none.
inline constexpr std::chrono::milliseconds kKeepTtl = std::chrono::milliseconds::min();

}  // namespace hostmap
