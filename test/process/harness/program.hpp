// Program: one of hostmap's programs, which runs beside the test with its three standard streams connected to the test.
//
// Built on Child: it dies with the test, and each wait has a watchdog. Used by one thread at a time.
#pragma once

#include <algorithm>
#include <chrono>
#include <optional>
#include <string>
#include <string_view>
#include <sys/resource.h>
#include <thread>
#include <utility>
#include <vector>

#include "base/unique_fd.hpp"
#include "support/child.hpp"

namespace hostmap::test {

inline constexpr std::chrono::seconds kPatience{30};

// Repeats `condition()`, less and less often, until it is true; returns false when the watchdog's time is over. Less often,
// because a condition that starts a program takes more processor time than what it waits for.
template <typename Condition>
bool eventually(Condition&& condition, std::chrono::milliseconds watchdog = kPatience) {
  const auto end = std::chrono::steady_clock::now() + watchdog;
  std::chrono::milliseconds pause{5};
  while (!condition()) {
    if (std::chrono::steady_clock::now() > end) return false;
    std::this_thread::sleep_for(pause);
    pause = std::min(2 * pause, std::chrono::milliseconds(80));
  }
  return true;
}

// How a program's process differs from the test that starts it.
struct ProcessSetup {
  std::vector<std::string> environment = {};        // "NAME=value"
  std::vector<std::pair<int, rlim_t>> limits = {};  // {RLIMIT_NOFILE, 16}; both soft and hard
  std::optional<uid_t> user = {};                   // without any privilege of root
  std::vector<gid_t> groups = {};                   // of that user, in addition to the group with the user's number
  std::vector<std::string> wrapper = {};            // {"unshare", "-pf"}: a program that starts it
};

class Program {
 public:
  // Throws if no pipe can be created.
  explicit Program(std::vector<std::string> command, const ProcessSetup& setup = {});
  Program(Program&&) noexcept = default;
  Program& operator=(Program&&) noexcept = default;

  pid_t pid() const { return child_.pid(); }
  void send(int signal) const { child_.send(signal); }
  bool running() const { return child_.running(); }

  // Writes a line to its standard input.
  void say(std::string_view line) const;
  void close_input() { in_.reset(); }

  // The next line of its standard output, without the newline. Throws if it ends or prints nothing for too long.
  std::string hear(std::chrono::milliseconds watchdog = kPatience);
  // The same; nothing if it ends or the time is over.
  std::optional<std::string> next_line(std::chrono::milliseconds watchdog);

  // Waits for its end and collects its output until then.
  Exit wait(std::chrono::milliseconds watchdog = kPatience);
  Exit kill();

  // What it has printed so far; all of it after wait() or kill().
  const std::string& output();
  const std::string& errors();
  std::string command_line() const;

 private:
  void pump();
  void wait_for_output(std::chrono::milliseconds limit) const;

  std::vector<std::string> command_;
  Child child_;
  UniqueFd in_;
  UniqueFd out_;
  UniqueFd err_;
  std::string output_;
  std::string errors_;
  std::size_t heard_ = 0;  // of output_
};

// A program that was run to its end.
struct Ran {
  Exit exit;
  std::string output;
  std::string errors;
};
Ran run(std::vector<std::string> command, const ProcessSetup& setup = {});

std::vector<std::string> lines_of(const std::string& text);

}  // namespace hostmap::test
