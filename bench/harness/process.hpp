// Child processes of the benchmark: start them, talk to them by lines, and leave none behind.
//
// Every contestant runs in a process of its own, exec'ed anew, because that is what hostmap is
// for and because a page-size policy or a CPU can be given to a whole process only. The parent
// says "go" on the child's standard input and reads figures from its standard output; nothing
// else is shared.
//
// Used by the benchmark's one thread. A failure of any kind throws std::runtime_error
// with one sentence.
#pragma once

#include <chrono>
#include <csignal>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <sys/types.h>
#include <vector>

namespace hostmap::bench {

/// steady_clock is CLOCK_MONOTONIC here: the same clock in every process.
using Clock = std::chrono::steady_clock;

/// The CPUs that this process may run on, in ascending order (taskset narrows them).
[[nodiscard]] std::vector<int> allowed_cpus();

/// Binds the calling thread to one CPU.
void pin_to(int cpu);

/// A program of the same build, found beside this one (`hostmap-server`, `hostmap-client`, …).
[[nodiscard]] std::filesystem::path sibling_program(std::string_view name);

/// This very program, for roles that it plays in another process (see question.hpp).
[[nodiscard]] std::filesystem::path own_program();

struct Command {
  std::filesystem::path program;
  std::vector<std::string> arguments;
  std::vector<std::string> extra_environment = {};  // "NAME=value", added to what is inherited
  std::optional<int> cpu = {};
  bool without_huge_pages = false;        // transparent huge pages are off, whatever the system says
  bool without_errors = false;            // its standard error goes nowhere
  int signal_when_parent_dies = SIGKILL;  // SIGTERM for servers, which then unlink their regions

  /// A map that the program allocates lies in pages of 2 MiB where they can be had, or in none of them.
  void use_huge_pages(bool huge) {
    without_huge_pages = !huge;
    if (huge) extra_environment = {"GLIBC_TUNABLES=glibc.malloc.hugetlb=1", "TBB_MALLOC_USE_HUGE_PAGES=1"};
  }
};

/// One running child with pipes to its standard input and from its standard output; its standard
/// error is ours.
class Child {
 public:
  explicit Child(const Command& command);
  /// Kills the child unless wait() has seen its end.
  ~Child();
  Child(Child&& other) noexcept;
  Child& operator=(Child&&) = delete;

  [[nodiscard]] pid_t pid() const { return pid_; }

  void say(std::string_view line);
  /// End of file on the child's standard input: by convention its request to end.
  void close_input();
  /// The next line of the child's output, without its newline; nothing at its end. Throws when
  /// patience ends.
  [[nodiscard]] std::optional<std::string> next_line(std::chrono::nanoseconds patience);
  /// The same, where the end of the output would be an error.
  [[nodiscard]] std::string hear(std::chrono::nanoseconds patience);
  /// Reads all of the rest of its output, whatever it is, into `room` again and again. Returns how many bytes it was.
  std::uint64_t drain(std::span<char> room);
  void signal(int number) const;
  /// Has it ended, in whatever way? wait() must still be called.
  [[nodiscard]] bool ended() const;
  /// Waits for the child's end and throws unless it exited with 0.
  void wait(std::chrono::nanoseconds patience);

 private:
  void close_pipes();

  std::string what_;  // the command line, for error messages
  pid_t pid_ = -1;
  int input_ = -1;
  int output_ = -1;
  std::string heard_;  // read from the pipe, but not yet returned
};

/// In a child: prints `line`, then returns when close_input() was called.
void report_and_wait(std::string_view line);

/// In a child: works between two lines of the parent, whatever they contain, and prints what `answer` returns; again and again, until
/// close_input() is called. `work` is called at least once each time, and should take microseconds to milliseconds.
void work_between_lines(const std::function<void()>& work, const std::function<std::string()>& answer);

/// An empty folder of a name that nobody else uses, removed with all that is in it at the end.
class TemporaryFolder {
 public:
  explicit TemporaryFolder(const std::filesystem::path& parent = std::filesystem::temp_directory_path());
  ~TemporaryFolder();
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;

  [[nodiscard]] const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
};

/// Runs a command to its end and returns the whole of its output.
[[nodiscard]] std::string output_of(const Command& command, std::chrono::nanoseconds patience);

}  // namespace hostmap::bench
