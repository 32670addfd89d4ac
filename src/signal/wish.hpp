// What SIGTERM may say beside its number, by sigqueue(): how this one stop is to end, whatever the server's options say.
#pragma once

#include <csignal>
#include <sys/syscall.h>
#include <unistd.h>

namespace hostmap {

enum TerminationWish : int {
  kWishNothing = 0,
  kWishKeep = 1,
  kWishDrop = 2,
  kWishHandOver = 3  // not by SIGTERM, see send_hand_over_request()
};

// A request to hand over is a signal of its own: one that is pending while its sender gives up must not swallow a SIGTERM that
// comes later, as a second SIGTERM would be.
inline int hand_over_signal() noexcept { return SIGRTMIN; }

// To the process that a pidfd pins. False: errno says why not.
inline bool send_termination(int process, TerminationWish wish) noexcept {
  siginfo_t facts{};
  facts.si_signo = SIGTERM;
  facts.si_code = SI_QUEUE;
  facts.si_pid = ::getpid();
  facts.si_uid = ::getuid();
  facts.si_value.sival_int = wish;
  siginfo_t* said = wish == kWishNothing ? nullptr : &facts;
  return ::syscall(SYS_pidfd_send_signal, process, SIGTERM, said, 0) == 0;
}

inline bool send_hand_over_request(int process) noexcept {
  return ::syscall(SYS_pidfd_send_signal, process, hand_over_signal(), nullptr, 0) == 0;
}

}  // namespace hostmap
