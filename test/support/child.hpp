// Child: another process, forked or started, that cannot outlive its test and cannot hang it.
//
// A child dies with the *thread* that started it (PR_SET_PDEATHSIG): start children from threads that live as long as they
// are needed. wait() has a watchdog, and the destructor kills and reaps.
#pragma once

#include <chrono>
#include <functional>
#include <iosfwd>
#include <optional>
#include <string>
#include <sys/types.h>
#include <vector>

#include "base/unique_fd.hpp"

namespace hostmap::test {

// How a child ended.
struct Exit {
  int code = -1;   // its exit code; -1: it did not exit
  int signal = 0;  // the signal that ended it
  friend bool operator==(const Exit&, const Exit&) = default;
};
std::ostream& operator<<(std::ostream& out, const Exit& exit);
inline constexpr Exit kSuccess{0, 0};
inline constexpr Exit exited(int code) { return {code, 0}; }
inline constexpr Exit killed_by(int signal) { return {-1, signal}; }

// Exit codes of forked children, beside those that their bodies return.
inline constexpr int kChildSetupFailed = 97;  // the user, program or kernel feature does not exist
inline constexpr int kChildThrew = 98;
inline constexpr int kChildFailed = 99;  // an EXPECT_ or ASSERT_ failed in it

// Two different users that are not root.
inline constexpr uid_t kSomeUser = 65534;
inline constexpr uid_t kOtherUser = 64321;
bool can_change_users();  // otherwise tests of two users are skipped

class Child {
 public:
  static constexpr std::chrono::seconds kWatchdog{60};
  using Body = std::function<int()>;

  Child() = default;
  // Runs `body` in a forked child and exits with what it returns, or with kChildFailed if an expectation failed in it.
  // Fork from a process with one thread, or call nothing in `body` that may need a mutex of another thread.
  static Child fork(const Body& body);
  // The same as user and group `uid`, without any privilege of root.
  static Child fork_as(uid_t uid, const Body& body);
  // Starts a program; its standard output and error output are collected. `environment` is added to this process's own.
  static Child exec(const std::vector<std::string>& command, const std::vector<std::string>& environment = {});

  Child(Child&&) noexcept;
  Child& operator=(Child&&) noexcept;
  ~Child();  // kills and reaps what still runs

  pid_t pid() const { return pid_; }
  void send(int signal) const;
  // Has it not ended yet? (Also true while it is stopped.)
  bool running() const;
  // Waits for the end. A child that lives longer than `watchdog` is killed, and the test fails.
  Exit wait(std::chrono::milliseconds watchdog = kWatchdog);
  Exit kill_and_wait();

  // After exec: the next line of the standard output, without its newline; none if it ended or `watchdog` is over.
  std::optional<std::string> read_line(std::chrono::milliseconds watchdog = kWatchdog);
  // After exec: the output so far; all of it after wait().
  const std::string& output() const { return output_; }
  const std::string& errors() const { return errors_; }

 private:
  explicit Child(pid_t pid);
  // Collects output until the child ends, `enough` is true or the time is over. Returns whether the child ended.
  bool collect(std::chrono::milliseconds limit, const std::function<bool()>& enough);

  pid_t pid_ = -1;
  UniqueFd process_;  // pidfd
  UniqueFd output_pipe_;
  UniqueFd errors_pipe_;
  std::string output_;
  std::string errors_;
  std::size_t read_ = 0;  // of output_, by read_line
  std::optional<Exit> exit_;
};

// Path of one of the project's programs or of a test's helper program: in HOSTMAP_PROGRAMS (another build's), in
// HOSTMAP_BIN_DIR, or beside the test's folder.
std::string program(const std::string& name);

}  // namespace hostmap::test
