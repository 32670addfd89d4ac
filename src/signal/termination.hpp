// Process signals of the server: SIGINT and SIGTERM end it in order; SIGPIPE and SIGXFSZ become errors of the calls that
// meet them. The server's alone: the client library leaves its process's signals as they are.
#pragma once

namespace hostmap {

// Blocks SIGINT and SIGTERM in this thread and all that it starts. To be called first in main().
void block_termination_signals() noexcept;

// What a signal may say beside its number, by sigqueue(): how this one stop is to end, whatever the options say.
enum TerminationWish : int { kWishNothing = 0, kWishKeep = 1, kWishDrop = 2 };

struct Termination {
  int signal;  // 0: request_termination()
  TerminationWish wish;
};

// Sleeps until SIGINT or SIGTERM arrives, or until request_termination().
Termination await_termination() noexcept;

// Ends await_termination() from another thread.
void request_termination() noexcept;

}  // namespace hostmap
