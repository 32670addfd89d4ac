#include <algorithm>
#include <utility>

#include <hostmap/time_limit.hpp>

#include "wait/thread_limit.hpp"

namespace hostmap {

TimeLimit::TimeLimit(std::chrono::nanoseconds limit) noexcept
    : outer_(exchange(std::max(limit, std::chrono::nanoseconds(1)))) {}

TimeLimit::~TimeLimit() { exchange(outer_); }

std::chrono::nanoseconds TimeLimit::exchange(std::chrono::nanoseconds limit) noexcept {
  return std::exchange(thread_limit, limit);
}

}  // namespace hostmap
