// Which times to live a caller may give.
#pragma once

#include <chrono>

#include <hostmap/status.hpp>
#include <hostmap/ttl.hpp>

#include "base/ends.hpp"

namespace hostmap {

inline bool is_ttl(std::chrono::milliseconds ttl) noexcept { return ttl > std::chrono::milliseconds::zero(); }
// Of an operation that stores a whole value over one that may be there.
inline bool is_ttl_of_put(std::chrono::milliseconds ttl) noexcept { return is_ttl(ttl) || ttl == kKeepTtl; }

// Of another one.
Status ttl_status(std::chrono::milliseconds ttl) noexcept;

}  // namespace hostmap
