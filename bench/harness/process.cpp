#include "harness/process.hpp"

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fcntl.h>
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <poll.h>
#include <sched.h>
#include <stdexcept>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <system_error>
#include <unistd.h>
#include <utility>

namespace hostmap::bench {
namespace {

[[noreturn]] void fail_with_errno(std::string_view what) {
  throw std::system_error(errno, std::generic_category(), std::string(what));
}

/// Milliseconds left for poll(2), never negative; rounded up, so that the wait is not cut short.
int milliseconds_until(Clock::time_point deadline) {
  const auto left = std::chrono::ceil<std::chrono::milliseconds>(deadline - Clock::now());
  return static_cast<int>(std::clamp<std::int64_t>(left.count(), 0, 1'000'000'000));
}

bool try_pin_to(int cpu) {
  cpu_set_t set;
  CPU_ZERO(&set);
  CPU_SET(cpu, &set);
  return sched_setaffinity(0, sizeof set, &set) == 0;
}

std::vector<char*> pointers_to(std::vector<std::string>& strings) {
  std::vector<char*> pointers;
  pointers.reserve(strings.size() + 1);
  for (std::string& string : strings) pointers.push_back(string.data());
  pointers.push_back(nullptr);
  return pointers;
}

}  // namespace

std::vector<int> allowed_cpus() {
  cpu_set_t set;
  if (sched_getaffinity(0, sizeof set, &set) != 0) fail_with_errno("sched_getaffinity");
  std::vector<int> cpus;
  for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
    if (CPU_ISSET(cpu, &set)) cpus.push_back(cpu);
  }
  return cpus;
}

void pin_to(int cpu) {
  if (!try_pin_to(cpu)) fail_with_errno("sched_setaffinity");
}

std::filesystem::path own_program() { return std::filesystem::read_symlink("/proc/self/exe"); }

std::filesystem::path sibling_program(std::string_view name) {
  std::filesystem::path path = own_program().parent_path() / name;
  if (!std::filesystem::exists(path)) {
    throw std::runtime_error(fmt::format("{} is missing: build it first", path.string()));
  }
  return path;
}

Child::Child(const Command& command)
    : what_(fmt::format("{} {}", command.program.filename().string(), fmt::join(command.arguments, " "))) {
  // Everything that allocates is done before fork: the child only makes system calls.
  std::vector<std::string> arguments = command.arguments;
  arguments.insert(arguments.begin(), command.program.string());
  std::vector<std::string> environment;
  for (char** variable = environ; *variable != nullptr; ++variable) {
    environment.emplace_back(*variable);
  }
  environment.insert(environment.end(), command.extra_environment.begin(), command.extra_environment.end());
  const std::vector<char*> argument_pointers = pointers_to(arguments);
  const std::vector<char*> environment_pointers = pointers_to(environment);

  std::array<int, 2> to_child{};
  std::array<int, 2> from_child{};
  // Close-on-exec keeps every pipe out of all other children; dup2 clears it for the two
  // ends that matter.
  if (pipe2(to_child.data(), O_CLOEXEC) != 0) fail_with_errno("pipe2");
  if (pipe2(from_child.data(), O_CLOEXEC) != 0) fail_with_errno("pipe2");

  const pid_t parent = getpid();
  pid_ = fork();
  if (pid_ < 0) fail_with_errno("fork");
  if (pid_ == 0) {
    prctl(PR_SET_PDEATHSIG, command.signal_when_parent_dies);
    if (getppid() != parent) _exit(126);  // the parent died before prctl took effect
    if (command.without_huge_pages) prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0);
    if (command.cpu && !try_pin_to(*command.cpu)) _exit(126);
    std::signal(SIGPIPE,
                SIG_DFL);  // we ignore it, see main; an ignored signal would survive the exec
    dup2(to_child[0], STDIN_FILENO);
    dup2(from_child[1], STDOUT_FILENO);
    if (command.without_errors) dup2(open("/dev/null", O_WRONLY), STDERR_FILENO);
    execve(command.program.c_str(), argument_pointers.data(), environment_pointers.data());
    _exit(127);
  }
  close(to_child[0]);
  close(from_child[1]);
  input_ = to_child[1];
  output_ = from_child[0];
}

Child::Child(Child&& other) noexcept
    : what_(std::move(other.what_)),
      pid_(std::exchange(other.pid_, -1)),
      input_(std::exchange(other.input_, -1)),
      output_(std::exchange(other.output_, -1)),
      heard_(std::move(other.heard_)) {}

Child::~Child() {
  close_pipes();
  if (pid_ < 0) return;
  kill(pid_, SIGKILL);
  while (waitpid(pid_, nullptr, 0) < 0 && errno == EINTR) {
  }
}

void Child::close_pipes() {
  close_input();
  if (output_ >= 0) close(std::exchange(output_, -1));
}

void Child::close_input() {
  if (input_ >= 0) close(std::exchange(input_, -1));
}

void Child::say(std::string_view line) {
  const std::string message = fmt::format("{}\n", line);
  // A message is far shorter than PIPE_BUF, so it is written whole or not at all.
  if (write(input_, message.data(), message.size()) != static_cast<ssize_t>(message.size())) {
    fail_with_errno(what_);
  }
}

std::optional<std::string> Child::next_line(std::chrono::nanoseconds patience) {
  const Clock::time_point deadline = Clock::now() + patience;
  while (true) {
    if (const std::size_t end = heard_.find('\n'); end != std::string::npos) {
      std::string line = heard_.substr(0, end);
      heard_.erase(0, end + 1);
      return line;
    }
    pollfd readable{.fd = output_, .events = POLLIN, .revents = 0};
    const int ready = poll(&readable, 1, milliseconds_until(deadline));
    if (ready < 0 && errno != EINTR) fail_with_errno("poll");
    if (ready == 0) throw std::runtime_error(fmt::format("no answer in time from: {}", what_));
    if (ready < 0) continue;
    std::array<char, 4096> bytes{};
    const ssize_t count = read(output_, bytes.data(), bytes.size());
    if (count < 0 && errno != EINTR) fail_with_errno(what_);
    if (count == 0) return std::nullopt;
    if (count > 0) heard_.append(bytes.data(), static_cast<std::size_t>(count));
  }
}

std::string Child::hear(std::chrono::nanoseconds patience) {
  if (std::optional<std::string> line = next_line(patience)) return *std::move(line);
  throw std::runtime_error(fmt::format("ended before it answered: {}", what_));
}

std::uint64_t Child::drain(std::span<char> room) {
  std::uint64_t bytes = std::exchange(heard_, {}).size();
  for (;;) {
    const ssize_t count = read(output_, room.data(), room.size());
    if (count < 0 && errno != EINTR) fail_with_errno(what_);
    if (count == 0) return bytes;
    if (count > 0) bytes += static_cast<std::uint64_t>(count);
  }
}

bool Child::ended() const {
  siginfo_t info{};
  return ::waitid(P_PID, static_cast<id_t>(pid_), &info, WEXITED | WNOHANG | WNOWAIT) == 0 && info.si_pid == pid_;
}

void Child::signal(int number) const {
  if (pid_ > 0) kill(pid_, number);
}

void Child::wait(std::chrono::nanoseconds patience) {
  close_input();
  const Clock::time_point deadline = Clock::now() + patience;
  // A pidfd becomes readable at the end of its process, so that the wait has a deadline and
  // does not poll.
  const int handle = static_cast<int>(syscall(SYS_pidfd_open, pid_, 0));
  if (handle < 0) fail_with_errno("pidfd_open");
  pollfd ended{.fd = handle, .events = POLLIN, .revents = 0};
  int ready = 0;
  do {
    ready = poll(&ended, 1, milliseconds_until(deadline));
  } while (ready < 0 && errno == EINTR);
  close(handle);
  if (ready == 0) throw std::runtime_error(fmt::format("did not end in time: {}", what_));

  int status = 0;
  while (waitpid(pid_, &status, 0) < 0) {
    if (errno != EINTR) fail_with_errno("waitpid");
  }
  pid_ = -1;
  close_pipes();
  if (WIFSIGNALED(status)) {
    throw std::runtime_error(fmt::format("{}: {}", strsignal(WTERMSIG(status)), what_));
  }
  if (WEXITSTATUS(status) == 127) throw std::runtime_error(fmt::format("cannot run: {}", what_));
  if (WEXITSTATUS(status) != 0) {
    throw std::runtime_error(fmt::format("exit code {}: {}", WEXITSTATUS(status), what_));
  }
}

namespace {

void print_line(std::string_view line) {
  fmt::print("{}\n", line);
  std::fflush(stdout);
}

/// Is there a line of the parent, or has it called close_input()?
bool input_waits() {
  pollfd input{STDIN_FILENO, POLLIN, 0};
  return ::poll(&input, 1, 0) > 0;
}

/// False: close_input() was called. Byte by byte: a buffer would hide the line after this one from input_waits().
bool read_line() {
  char byte = 0;
  while (::read(STDIN_FILENO, &byte, 1) > 0) {
    if (byte == '\n') return true;
  }
  return false;
}

}  // namespace

void report_and_wait(std::string_view line) {
  print_line(line);
  while (read_line()) {
  }
}

void work_between_lines(const std::function<void()>& work, const std::function<std::string()>& answer) {
  while (read_line()) {
    do {
      work();
    } while (!input_waits());
    static_cast<void>(read_line());
    print_line(answer());
  }
}

TemporaryFolder::TemporaryFolder(const std::filesystem::path& parent) {
  std::string name = (parent / "hostmap-bench-XXXXXX").string();
  if (mkdtemp(name.data()) == nullptr) fail_with_errno(fmt::format("a folder in {}", parent.string()));
  path_ = name;
}

TemporaryFolder::~TemporaryFolder() {
  std::error_code ignored;
  std::filesystem::remove_all(path_, ignored);
}

std::string output_of(const Command& command, std::chrono::nanoseconds patience) {
  Child child(command);
  std::string output;
  const Clock::time_point deadline = Clock::now() + patience;
  while (const std::optional<std::string> line = child.next_line(deadline - Clock::now())) {
    output += *line + '\n';
  }
  child.wait(deadline - Clock::now());
  return output;
}

}  // namespace hostmap::bench
