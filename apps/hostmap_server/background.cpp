#include "hostmap_server/background.hpp"

#include <cerrno>
#include <csignal>
#include <cstdio>
#include <fcntl.h>
#include <initializer_list>
#include <sys/prctl.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <unistd.h>

#include "exit_codes.hpp"

namespace hostmap::apps {

namespace {

volatile sig_atomic_t child = 0;

void hand_on(int signal) {
  const int saved_errno = errno;
  ::kill(static_cast<pid_t>(child), signal);
  errno = saved_errno;
}

[[noreturn]] void wait_for_server(const UniqueFd& pipe) noexcept {
  char serves = 0;
  ssize_t got = 0;
  do {
    got = ::read(pipe.get(), &serves, 1);
  } while (got < 0 && errno == EINTR);
  if (got == 1) ::_exit(kExitDone);
  int end = 0;
  while (::waitpid(static_cast<pid_t>(child), &end, 0) < 0 && errno == EINTR) {
  }
  if (WIFEXITED(end)) ::_exit(WEXITSTATUS(end) == kExitDone ? kExitFalse : WEXITSTATUS(end));
  std::fprintf(stderr, "hostmap-server: signal %d killed the server before it was ready\n", WTERMSIG(end));
  ::_exit(kExitFalse);
}

}  // namespace

Result<Background> Background::begin() {
  const Status none(StatusCode::kFull, "cannot create a background process; raise the limits (ulimit -u, ulimit -n)");
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0) return none;
  const UniqueFd read_end(ends[0]);
  UniqueFd write_end(ends[1]);
  if (!read_end || !write_end) return none;
  // A signal that arrives before the child exists stays pending.
  sigset_t stops;
  sigset_t before;
  sigemptyset(&stops);
  for (const int signal : {SIGINT, SIGTERM, SIGHUP}) sigaddset(&stops, signal);
  ::sigprocmask(SIG_BLOCK, &stops, &before);
  const pid_t made = ::fork();
  if (made < 0) {
    ::sigprocmask(SIG_SETMASK, &before, nullptr);
    return none;
  }
  if (made == 0) {
    ::prctl(PR_SET_PDEATHSIG, SIGTERM);  // a signal that kills the waiting parent also ends the child
    ::setsid();                          // the server survives the end of the caller's terminal
    ::sigprocmask(SIG_SETMASK, &before, nullptr);
    return Background(std::move(write_end));
  }
  write_end.reset();
  child = made;
  struct sigaction action {};
  action.sa_handler = hand_on;
  for (const int signal : {SIGINT, SIGTERM, SIGHUP}) ::sigaction(signal, &action, nullptr);
  ::sigprocmask(SIG_SETMASK, &before, nullptr);
  wait_for_server(read_end);
}

void Background::stays() noexcept { ::prctl(PR_SET_PDEATHSIG, 0); }

void Background::serves() noexcept {
  const char yes = 1;
  static_cast<void>(::write(parent_.get(), &yes, 1));  // the parent may be gone: SIGPIPE is ignored
  parent_.reset();
}

}  // namespace hostmap::apps
