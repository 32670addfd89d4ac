// The limit of this thread's calls, which <hostmap/time_limit.hpp> sets.
#pragma once

#include <chrono>

namespace hostmap {

// Zero: none. initial-exec, as read_countdown: it is reached without a call, also in a shared object.
extern constinit thread_local std::chrono::nanoseconds thread_limit [[gnu::tls_model("initial-exec")]];

}  // namespace hostmap
