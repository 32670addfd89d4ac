#include "hostmap_server/background.hpp"

#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <fcntl.h>
#include <initializer_list>
#include <sys/prctl.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <thread>
#include <unistd.h>

#include "exit_codes.hpp"

namespace hostmap::apps {

namespace {

volatile sig_atomic_t child = 0;
volatile sig_atomic_t stopped_by = 0;

void hand_on(int signal) {
  const int saved_errno = errno;
  stopped_by = signal;
  ::kill(static_cast<pid_t>(child), signal);
  errno = saved_errno;
}

// A signal that also ends the program before it can catch it ends it in the same way later, so that whoever sent it sees one
// outcome.
[[noreturn]] void end_by(int signal) noexcept {
  ::signal(signal, SIG_DFL);
  ::raise(signal);
  ::_exit(kExitFalse);  // the caller has blocked the signal
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
  if (stopped_by != 0) end_by(stopped_by);
  if (WIFEXITED(end)) ::_exit(WEXITSTATUS(end) == kExitDone ? kExitFalse : WEXITSTATUS(end));
  std::fprintf(stderr, "hostmap-server: signal %d killed the server before it was ready\n", WTERMSIG(end));
  ::_exit(kExitFalse);
}

// Returns in a child, which holds the write end of a pipe to its parent; the parent waits (see wait_for_server).
Result<UniqueFd> fork_child() {
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
    return write_end;
  }
  write_end.reset();
  child = made;
  struct sigaction action {};
  action.sa_handler = hand_on;
  for (const int signal : {SIGINT, SIGTERM, SIGHUP}) ::sigaction(signal, &action, nullptr);
  ::sigprocmask(SIG_SETMASK, &before, nullptr);
  wait_for_server(read_end);
}

// The parent may be gone: SIGPIPE is ignored.
void end_parent(UniqueFd& pipe) noexcept {
  const char yes = 1;
  static_cast<void>(::write(pipe.get(), &yes, 1));
  pipe.reset();
}

}  // namespace

Result<Background> Background::begin() {
  Result<UniqueFd> caller = fork_child();
  if (!caller) return caller.status();
  Result<UniqueFd> watcher = fork_child();
  if (!watcher) return watcher.status();
  return Background(std::move(*caller), std::move(*watcher));
}

void Background::stays() noexcept {
  ::prctl(PR_SET_PDEATHSIG, 0);
  const pid_t watcher = ::getppid();
  end_parent(watcher_);
  // Its end needs nothing but its own time, unless it was stopped by a signal: then the service is worth more than its parent.
  constexpr std::chrono::milliseconds kPatience{1000};
  constexpr std::chrono::microseconds kInterval{100};
  const auto end = std::chrono::steady_clock::now() + kPatience;
  while (::getppid() == watcher && std::chrono::steady_clock::now() < end) std::this_thread::sleep_for(kInterval);
}

void Background::serves() noexcept { end_parent(caller_); }

}  // namespace hostmap::apps
