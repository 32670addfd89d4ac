#include "support/stepper.hpp"

#include <algorithm>
#include <csignal>
#include <gtest/gtest.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <unistd.h>

namespace hostmap::test {

namespace {

// A child that stops itself before and after `body`: so the tracer knows where both ends are.
pid_t fork_traced(const std::function<int()>& body) {
  std::fflush(nullptr);
  const pid_t pid = ::fork();
  if (pid != 0) return pid;
  ::ptrace(PTRACE_TRACEME, 0, nullptr, nullptr);
  ::raise(SIGSTOP);
  const int code = body();
  ::raise(SIGSTOP);
  ::_exit(code);
}

bool stopped_by(int status, int signal) { return WIFSTOPPED(status) && WSTOPSIG(status) == signal; }

// Lets a child that has left `body` end, and returns its exit code.
int let_go(pid_t pid) {
  int status = 0;
  ::ptrace(PTRACE_CONT, pid, nullptr, nullptr);
  ::waitpid(pid, &status, 0);
  return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

void abandon(pid_t pid, int status) {
  ADD_FAILURE() << "the traced child did not come to its end: wait status " << status;
  ::kill(pid, SIGKILL);
  ::waitpid(pid, nullptr, 0);
}

}  // namespace

std::uint64_t step_through(const std::function<void()>& body, const std::function<void(std::uint64_t)>& look) {
  const pid_t pid = fork_traced([&body] {
    body();
    return 0;
  });
  int status = 0;
  ::waitpid(pid, &status, 0);
  if (!stopped_by(status, SIGSTOP)) {
    abandon(pid, status);
    return 0;
  }
  ::ptrace(PTRACE_SETOPTIONS, pid, nullptr, PTRACE_O_EXITKILL);
  for (std::uint64_t steps = 0;; ++steps) {
    look(steps);
    ::ptrace(PTRACE_SINGLESTEP, pid, nullptr, nullptr);
    ::waitpid(pid, &status, 0);
    if (stopped_by(status, SIGTRAP)) continue;
    if (stopped_by(status, SIGSTOP) && let_go(pid) == 0) return steps;
    abandon(pid, status);
    return 0;
  }
}

int trace_system_calls(const std::function<int()>& body, const std::function<void(const SystemCall&)>& look) {
  const pid_t pid = fork_traced(body);
  int status = 0;
  ::waitpid(pid, &status, 0);
  if (!stopped_by(status, SIGSTOP)) {
    abandon(pid, status);
    return -1;
  }
  ::ptrace(PTRACE_SETOPTIONS, pid, nullptr, PTRACE_O_EXITKILL | PTRACE_O_TRACESYSGOOD);
  for (;;) {
    ::ptrace(PTRACE_SYSCALL, pid, nullptr, nullptr);
    ::waitpid(pid, &status, 0);
    if (stopped_by(status, SIGTRAP | 0x80)) {
      __ptrace_syscall_info info{};
      ::ptrace(PTRACE_GET_SYSCALL_INFO, pid, sizeof info, &info);
      if (info.op != PTRACE_SYSCALL_INFO_ENTRY) continue;
      SystemCall call{info.entry.nr, {}};
      std::copy(std::begin(info.entry.args), std::end(info.entry.args), std::begin(call.arguments));
      look(call);
    } else if (stopped_by(status, SIGSTOP)) {
      return let_go(pid);
    } else {
      abandon(pid, status);
      return -1;
    }
  }
}

}  // namespace hostmap::test
