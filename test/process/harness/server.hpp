// Server: a real hostmap-server with a name of this test's own, and what a test can observe of it from outside.
//
// By default the destructor calls stop_cleanly(), which expects that no sleeper was rescued by a timeout, that SIGTERM leads
// to exit code 0, and that no region is left.
#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include <hostmap/client.hpp>

#include "process/harness/program.hpp"
#include "shm/names.hpp"
#include "support/child.hpp"
#include "support/instance.hpp"

namespace hostmap::test {

struct ServerSetup {
  std::string name = {};  // empty: a fresh one
  std::string dir = {};   // empty: /dev/shm
  ProcessSetup process = {};
};

// "ready name=N buckets=B workers=W memory=BYTES version=V commit=C layout=L"
struct Ready {
  std::string name;
  std::uint64_t buckets = 0;
  std::uint64_t workers = 0;
  std::uint64_t memory = 0;
};
std::optional<Ready> parse_ready(const std::string& line);

// Names of the files in `dir` that belong to the instance `name`, sorted.
std::vector<std::string> files_of_instance(const std::string& name, const std::string& dir = "/dev/shm");

// The figures in the output of `hostmap stat --json`.
std::map<std::string, std::uint64_t> figures_of(const std::string& json);

class Server {
 public:
  explicit Server(std::vector<std::string> arguments = {}, ServerSetup setup = {});
  Server(const Server&) = delete;
  Server& operator=(const Server&) = delete;
  ~Server();

  const std::string& name() const { return name_; }
  const std::string& dir() const { return dir_; }
  InstanceName instance() const { return *InstanceName::parse(name_, dir_); }
  const Ready& ready() const { return ready_; }
  pid_t pid() const { return program_.pid(); }
  Program& program() { return program_; }
  std::string errors() { return program_.errors(); }
  void send(int signal) const { program_.send(signal); }
  // Sends SIGSTOP and waits until all threads are stopped.
  void pause() const;

  std::vector<std::string> files() const { return files_of_instance(name_, dir_); }
  std::vector<std::string> connection_files() const { return instance().connection_files(); }
  // Command lines of the other programs for this instance.
  std::vector<std::string> client_command(const std::vector<std::string>& arguments) const;
  std::vector<std::string> stat_command() const;

  // All figures of `hostmap stat --json`, and one of them.
  std::map<std::string, std::uint64_t> stat() const;
  std::uint64_t stat(const std::string& figure) const;
  // The figures that clients change: all but those that the server's threads change on their own.
  std::map<std::string, std::uint64_t> stat_of_clients() const;
  bool connections_come_to(std::uint64_t count) const;

  // The names by which clients find it.
  Options options(std::chrono::nanoseconds timeout = kPatience, Reads reads = Reads::kDirect) const;
  // A client in the test's own process.
  Client connect(std::chrono::nanoseconds timeout = kPatience, Reads reads = Reads::kDirect) const;

  // Ends it with `signal` and returns its exit status.
  Exit stop(int signal = SIGTERM);
  Exit wait();
  // As stop(), and expects that nothing went wrong.
  void stop_cleanly();
  // The regions stay: the test can examine them, and must call remove_regions().
  void kill();
  void remove_regions() const;

 private:
  void expect_nothing_left() const;
  std::vector<std::string> with_instance(const std::string& program, const std::vector<std::string>& arguments) const;

  std::string name_;
  std::string dir_;
  Program program_;
  Ready ready_;
  std::string user_;  // of the server, for tools that this process runs as root; empty: the same as this process's
  bool ended_ = false;
};

// Runs hostmap-server to its end; it is expected not to serve.
Ran run_server(const std::vector<std::string>& arguments, const std::string& name, const ProcessSetup& setup = {});

// One line on stderr, nothing on stdout, the exit code, and each of `words` in the line.
void expect_refusal(const Ran& ran, int code, const std::vector<std::string>& words);

}  // namespace hostmap::test
