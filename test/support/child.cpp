#include "support/child.hpp"

#include <array>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <fcntl.h>
#include <filesystem>
#include <grp.h>
#include <gtest/gtest.h>
#include <ostream>
#include <poll.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
#include <utility>

extern "C" void __gcov_dump() __attribute__((weak));  // NOLINT: of the coverage build, which _exit would cheat

namespace hostmap::test {

namespace {

using Clock = std::chrono::steady_clock;

void die_with(pid_t parent) {
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  const pid_t now = ::getppid();                              // 0 in a pid namespace of its own
  if (now != parent && now != 0) ::_exit(kChildSetupFailed);  // the parent has already died
}

int run_body(const Child::Body& body) {
  const bool failed_before = testing::Test::HasFailure();
  int code = kChildThrew;
  try {
    code = body();
  } catch (const std::exception& error) {
    std::fprintf(stderr, "child: %s\n", error.what());
  } catch (...) {
    std::fprintf(stderr, "child: unknown exception\n");
  }
  return !failed_before && testing::Test::HasFailure() ? kChildFailed : code;
}

[[noreturn]] void finish(int code) {
  std::fflush(nullptr);
  if (__gcov_dump != nullptr) __gcov_dump();
  ::_exit(code);
}

bool become(uid_t user) {
  return ::setgroups(0, nullptr) == 0 && ::setresgid(user, user, user) == 0 && ::setresuid(user, user, user) == 0;
}

pid_t fork_running(const Child::Body& body, const std::function<bool()>& prepare) {
  std::fflush(nullptr);  // or the child would print it again
  const pid_t parent = ::getpid();
  const pid_t pid = ::fork();
  if (pid != 0) return pid;
  if (!prepare()) ::_exit(kChildSetupFailed);
  die_with(parent);  // after prepare, because a change of user resets it
  finish(run_body(body));
}

// Reads the available output; false at the end of the pipe.
bool drain(int fd, std::string& into) {
  std::array<char, 4096> buffer;
  const ssize_t got = ::read(fd, buffer.data(), buffer.size());
  if (got > 0) into.append(buffer.data(), static_cast<std::size_t>(got));
  return got > 0 || (got < 0 && errno == EINTR);
}

}  // namespace

std::ostream& operator<<(std::ostream& out, const Exit& exit) {
  if (exit.signal != 0) return out << "killed by signal " << exit.signal;
  if (exit.code == kChildFailed) return out << "an expectation failed in the child";
  if (exit.code == kChildThrew) return out << "an exception ended the child";
  if (exit.code == kChildSetupFailed) return out << "the child could not be set up";
  return out << "exit code " << exit.code;
}

bool can_change_users() { return ::geteuid() == 0; }

Child::Child(pid_t pid) : pid_(pid), process_(static_cast<int>(::syscall(SYS_pidfd_open, pid, 0))) {
  if (pid < 0 || !process_) ADD_FAILURE() << "cannot start a child: errno " << errno;
}

Child Child::fork(const Body& body) {
  return Child(fork_running(body, [] { return true; }));
}

Child Child::fork_as(uid_t uid, const Body& body) {
  return Child(fork_running(body, [uid] { return become(uid); }));
}

Child Child::exec(const std::vector<std::string>& command, const std::vector<std::string>& environment) {
  std::vector<char*> arguments;
  arguments.reserve(command.size() + 1);
  for (const std::string& argument : command) arguments.push_back(const_cast<char*>(argument.c_str()));
  arguments.push_back(nullptr);
  std::array<int, 2> out{};
  std::array<int, 2> err{};
  if (::pipe2(out.data(), O_CLOEXEC) != 0 || ::pipe2(err.data(), O_CLOEXEC) != 0) {
    ADD_FAILURE() << "no pipe: errno " << errno;
    return {};
  }
  const pid_t pid = fork_running(
      [&] {
        ::dup2(out[1], STDOUT_FILENO);
        ::dup2(err[1], STDERR_FILENO);
        for (const std::string& variable : environment) ::putenv(const_cast<char*>(variable.c_str()));
        ::execvp(arguments[0], arguments.data());
        return kChildSetupFailed;
      },
      [] { return true; });
  ::close(out[1]);
  ::close(err[1]);
  Child child(pid);
  child.output_pipe_ = UniqueFd(out[0]);
  child.errors_pipe_ = UniqueFd(err[0]);
  return child;
}

Child::Child(Child&& other) noexcept { *this = std::move(other); }

Child& Child::operator=(Child&& other) noexcept {
  if (this != &other) {
    if (pid_ > 0) kill_and_wait();
    pid_ = std::exchange(other.pid_, -1);
    process_ = std::move(other.process_);
    output_pipe_ = std::move(other.output_pipe_);
    errors_pipe_ = std::move(other.errors_pipe_);
    output_ = std::move(other.output_);
    errors_ = std::move(other.errors_);
    read_ = std::exchange(other.read_, 0);
    exit_ = std::exchange(other.exit_, std::nullopt);
  }
  return *this;
}

Child::~Child() {
  if (pid_ > 0) kill_and_wait();
}

void Child::send(int signal) const {
  if (pid_ > 0 && !exit_) ::kill(pid_, signal);
}

bool Child::running() const {
  if (pid_ <= 0 || exit_) return false;
  pollfd ended{process_.get(), POLLIN, 0};
  return ::poll(&ended, 1, 0) == 0;
}

bool Child::collect(std::chrono::milliseconds limit, const std::function<bool()>& enough) {
  const Clock::time_point end = Clock::now() + limit;
  while (!enough()) {
    const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(end - Clock::now());
    if (left.count() <= 0) return false;
    // poll ignores a negative descriptor.
    std::array<pollfd, 3> events{
        {{process_.get(), POLLIN, 0}, {output_pipe_.get(), POLLIN, 0}, {errors_pipe_.get(), POLLIN, 0}}};
    ::poll(events.data(), events.size(), static_cast<int>(left.count()));
    if (events[1].revents != 0 && !drain(output_pipe_.get(), output_)) output_pipe_.reset();
    if (events[2].revents != 0 && !drain(errors_pipe_.get(), errors_)) errors_pipe_.reset();
    if (events[0].revents != 0 && events[1].revents == 0 && events[2].revents == 0) return true;
  }
  return false;
}

Exit Child::wait(std::chrono::milliseconds watchdog) {
  if (pid_ <= 0) return {};
  if (exit_) return *exit_;
  if (!collect(watchdog, [] { return false; })) {
    ADD_FAILURE() << "child " << pid_ << " still ran after " << watchdog.count() << " ms and was killed";
    ::kill(pid_, SIGKILL);
  }
  int status = 0;
  while (::waitpid(pid_, &status, 0) < 0 && errno == EINTR) {
  }
  exit_ = WIFEXITED(status) ? exited(WEXITSTATUS(status)) : killed_by(WTERMSIG(status));
  return *exit_;
}

Exit Child::kill_and_wait() {
  send(SIGKILL);
  return wait();
}

std::optional<std::string> Child::read_line(std::chrono::milliseconds watchdog) {
  std::size_t end = std::string::npos;
  collect(watchdog, [&] { return (end = output_.find('\n', read_)) != std::string::npos; });
  if (end == std::string::npos) return std::nullopt;
  std::string line = output_.substr(read_, end - read_);
  read_ = end + 1;
  return line;
}

std::string program(const std::string& name) {
  for (const char* variable : {"HOSTMAP_PROGRAMS", "HOSTMAP_BIN_DIR"}) {
    if (const char* folder = std::getenv(variable); folder != nullptr) return std::string(folder) + "/" + name;
  }
  return (std::filesystem::read_symlink("/proc/self/exe").parent_path().parent_path() / name).string();
}

}  // namespace hostmap::test
