#include "support/stepper.hpp"

#include <algorithm>
#include <chrono>
#include <csignal>
#include <filesystem>
#include <fstream>
#include <gtest/gtest.h>
#include <sched.h>
#include <string>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <unistd.h>

namespace hostmap::test {

namespace {

// A child that stops itself before and after `body`, so that the tracer stops at both ends.
pid_t fork_traced(const std::function<int()>& body) {
  EXPECT_TRUE(others_sleep()) << "a thread of this process does not stop running; the child may wait for its mutex";
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

// Waits for the child's next stop. False if there is none within `limit`: the child is asleep.
bool stops_within(pid_t pid, int& status, std::chrono::milliseconds limit) {
  for (int tries = 0; tries < 1000; ++tries) {
    if (::waitpid(pid, &status, WNOHANG) == pid) return true;
    ::sched_yield();
  }
  const auto end = std::chrono::steady_clock::now() + limit;
  while (std::chrono::steady_clock::now() < end) {
    if (::waitpid(pid, &status, WNOHANG) == pid) return true;
    ::usleep(200);
  }
  return false;
}

// Forks `body` and waits until it is about to begin. Returns 0, with a failure, if it does not begin.
pid_t begin_stepping(const std::function<void()>& body) {
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
  return pid;
}

}  // namespace

bool others_sleep() {
  constexpr std::chrono::seconds kWatchdog{30};
  const auto end = std::chrono::steady_clock::now() + kWatchdog;
  const std::string me = std::to_string(::gettid());
  for (;;) {
    bool all = true;
    for (const auto& thread : std::filesystem::directory_iterator("/proc/self/task")) {
      if (thread.path().filename() == me) continue;
      std::string line;
      std::getline(std::ifstream(thread.path() / "stat"), line);
      const std::size_t name_end = line.rfind(") ");  // the state follows; a thread that has ended has no line
      all = all && (name_end == std::string::npos || line[name_end + 2] == 'S');
    }
    if (all) return true;
    if (std::chrono::steady_clock::now() > end) return false;
    ::sched_yield();
  }
}

StoodAt stop_at(const std::function<void()>& body, std::uint64_t step, const std::function<void()>& meanwhile,
                Afterwards afterwards) {
  constexpr std::chrono::milliseconds kAsleepAfter{300};
  constexpr std::chrono::seconds kWatchdog{30};
  const pid_t pid = begin_stepping(body);
  if (pid == 0) return StoodAt::kEnd;
  StoodAt stood = StoodAt::kInstruction;
  int status = 0;
  for (std::uint64_t at = 0; at < step && stood == StoodAt::kInstruction; ++at) {
    ::ptrace(PTRACE_SINGLESTEP, pid, nullptr, nullptr);
    if (!stops_within(pid, status, kAsleepAfter)) {
      stood = StoodAt::kAsleep;
    } else if (!stopped_by(status, SIGTRAP)) {
      stood = StoodAt::kEnd;
    }
  }
  meanwhile();
  if (afterwards == Afterwards::kIsKilled) {
    ::kill(pid, SIGKILL);
    ::waitpid(pid, nullptr, 0);
    return stood;
  }
  if (stood == StoodAt::kAsleep) {  // its step ends when it is woken
    if (!stops_within(pid, status, kWatchdog)) status = 0;
  }
  if (stood != StoodAt::kEnd) {
    if (stood == StoodAt::kInstruction || stopped_by(status, SIGTRAP)) ::ptrace(PTRACE_CONT, pid, nullptr, nullptr);
    if (!stops_within(pid, status, kWatchdog)) status = 0;
  }
  if (!stopped_by(status, SIGSTOP) || let_go(pid) != 0) abandon(pid, status);
  return stood;
}

std::uint64_t step_through(const std::function<void()>& body, const std::function<void(std::uint64_t)>& look) {
  const pid_t pid = begin_stepping(body);
  if (pid == 0) return 0;
  int status = 0;
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
