#include "signal/termination.hpp"

#include <algorithm>
#include <ctime>
#include <initializer_list>
#include <pthread.h>
#include <signal.h>
#include <unistd.h>

namespace hostmap {

namespace {

// Every signal whose default would end the process without a word, and those that stop it in order. Faults and SIGQUIT keep
// their defaults: they are meant to leave a core. SIGUSR1 from the process itself is how a thread ends the wait.
sigset_t awaited_signals() noexcept {
  sigset_t set;
  sigemptyset(&set);
  for (const int number :
       {SIGINT, SIGTERM, SIGHUP, SIGUSR1, SIGUSR2, SIGALRM, SIGVTALRM, SIGPROF, SIGIO, SIGPWR, SIGSTKFLT}) {
    sigaddset(&set, number);
  }
  for (int number = SIGRTMIN; number <= SIGRTMAX; ++number) sigaddset(&set, number);
  return set;
}

}  // namespace

void block_termination_signals() noexcept {
  const sigset_t set = awaited_signals();
  pthread_sigmask(SIG_BLOCK, &set, nullptr);
}

Termination await_termination(const std::function<void(int signal)>& ignored) {
  const sigset_t set = awaited_signals();
  for (;;) {
    siginfo_t facts{};
    const int number = ::sigwaitinfo(&set, &facts);
    if (number <= 0) continue;
    const bool own = number == SIGUSR1 && facts.si_pid == ::getpid();
    if (number == hand_over_signal()) return {number, kWishHandOver};
    // SIGHUP: the terminal that the server was started from is gone. It stops in order, as for SIGTERM.
    if (number != SIGINT && number != SIGTERM && number != SIGHUP && !own) {
      ignored(number);
      continue;
    }
    const int said = facts.si_code == SI_QUEUE ? facts.si_value.sival_int : kWishNothing;
    return {number == SIGUSR1 ? 0 : number,
            said == kWishKeep || said == kWishDrop ? static_cast<TerminationWish>(said) : kWishNothing};
  }
}

int take_stop_signal(std::chrono::nanoseconds patience) noexcept {
  sigset_t set;
  sigemptyset(&set);
  for (const int number : {SIGINT, SIGTERM, SIGHUP}) sigaddset(&set, number);
  const timespec wait{static_cast<time_t>(patience.count() / 1'000'000'000),
                      static_cast<long>(patience.count() % 1'000'000'000)};
  return std::max(0, ::sigtimedwait(&set, nullptr, &wait));
}

void request_termination() noexcept { ::kill(::getpid(), SIGUSR1); }

}  // namespace hostmap
