// Process signals of the server: SIGINT and SIGTERM end it in order; SIGPIPE and SIGXFSZ become errors of the calls that
// meet them. The server's alone: the client library leaves its process's signals as they are.
#pragma once

#include "signal/wish.hpp"

namespace hostmap {

// Blocks SIGINT and SIGTERM in this thread and all that it starts. To be called first in main().
void block_termination_signals() noexcept;

struct Termination {
  int signal;  // 0: request_termination()
  TerminationWish wish;
};

// Sleeps until SIGINT or SIGTERM arrives, or until request_termination().
Termination await_termination() noexcept;

// Ends await_termination() from another thread.
void request_termination() noexcept;

}  // namespace hostmap
