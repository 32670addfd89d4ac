#include "signal/termination.hpp"

#include <pthread.h>
#include <signal.h>
#include <unistd.h>

namespace hostmap {

namespace {

// SIGUSR1 to the process itself is how a thread ends the wait; it is blocked like the others.
sigset_t termination_signals() noexcept {
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGINT);
  sigaddset(&set, SIGTERM);
  sigaddset(&set, SIGUSR1);
  return set;
}

}  // namespace

void block_termination_signals() noexcept {
  const sigset_t set = termination_signals();
  pthread_sigmask(SIG_BLOCK, &set, nullptr);
  ::signal(SIGPIPE, SIG_IGN);
  ::signal(SIGXFSZ, SIG_IGN);
}

int await_termination() noexcept {
  const sigset_t set = termination_signals();
  for (;;) {
    const int number = ::sigwaitinfo(&set, nullptr);
    if (number > 0) return number == SIGUSR1 ? 0 : number;
  }
}

void request_termination() noexcept { ::kill(::getpid(), SIGUSR1); }

}  // namespace hostmap
