#include "wait/deadline.hpp"

namespace hostmap {

constinit thread_local std::chrono::nanoseconds thread_limit{0};

}  // namespace hostmap
