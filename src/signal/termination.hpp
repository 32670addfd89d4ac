// Process signals of the server: SIGINT, SIGTERM and SIGHUP end it in order; no other signal ends it silently, except those that
// leave a core. (SIGPIPE and SIGXFSZ are ignored in every program, see apps/all/standard_streams.hpp.) The client library leaves
// the signals of its process as they are.
#pragma once

#include <chrono>
#include <functional>

#include "signal/wish.hpp"

namespace hostmap {

// Blocks the signals that are awaited in this thread and all that it starts. To be called first in main().
void block_termination_signals() noexcept;

struct Termination {
  int signal;  // 0: request_termination()
  TerminationWish wish;
};

// Sleeps until SIGINT, SIGTERM, SIGHUP or a request to hand over arrives, or until request_termination(). Calls `ignored` for
// each other signal.
Termination await_termination(const std::function<void(int signal)>& ignored);

// Waits for at most `patience` until SIGINT, SIGTERM or SIGHUP arrives, and takes it: its number, or 0.
int take_stop_signal(std::chrono::nanoseconds patience) noexcept;

// Ends await_termination() from another thread.
void request_termination() noexcept;

}  // namespace hostmap
