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

Termination await_termination() noexcept {
  const sigset_t set = termination_signals();
  for (;;) {
    siginfo_t facts{};
    const int number = ::sigwaitinfo(&set, &facts);
    if (number <= 0) continue;
    const int said = facts.si_code == SI_QUEUE ? facts.si_value.sival_int : kWishNothing;
    return {number == SIGUSR1 ? 0 : number,
            said == kWishKeep || said == kWishDrop ? static_cast<TerminationWish>(said) : kWishNothing};
  }
}

void request_termination() noexcept { ::kill(::getpid(), SIGUSR1); }

}  // namespace hostmap
