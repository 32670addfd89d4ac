// Nudge: ends a wait of one of the server's threads, whatever it sleeps on.
//
// The bells of a server lie in memory that clients can write and truncate, and whose sleepers they can requeue to another
// futex. So a ring may wake nobody. A signal always ends the sleep, and its handler does nothing.
//
// Threads: install_nudge() once, before the first thread begins; the rest by any.
#pragma once

#include <atomic>
#include <thread>

namespace hostmap {

// Installs the handler. The signal is SIGURG, which is ignored by default.
void install_nudge() noexcept;

// By the thread that is to be nudged: its creator may have the signal blocked.
void accept_nudges() noexcept;

// The thread's sleep, if it sleeps, ends soon. `thread` has not been joined.
void nudge(std::thread& thread) noexcept;

// Joins a thread that has been requested to end and stores `ended` as the last thing it does. It is nudged if it does not end at
// once. Blocks for as long as the thread has work to finish.
void join_nudged(std::thread& thread, const std::atomic<bool>& ended) noexcept;

}  // namespace hostmap
