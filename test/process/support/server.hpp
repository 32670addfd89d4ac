// Server: a real hostmap-server with a name of this test's own, and what a test wants to know of it from outside.
//
// A test that does not say otherwise ends with stop_cleanly(), called by the destructor at the latest: nobody was rescued
// by a timeout, SIGTERM is answered with exit code 0, and no region is left.
#pragma once

#include <chrono>
#include <cstdint>
#include <exception>
#include <filesystem>
#include <gtest/gtest.h>
#include <map>
#include <regex>
#include <string>
#include <utility>
#include <vector>

#include <hostmap/client.hpp>

#include "process/support/proc.hpp"
#include "process/support/program.hpp"
#include "shm/names.hpp"
#include "support/child.hpp"
#include "support/instance.hpp"

namespace hostmap::test {

struct ServerSetup {
  std::string name = {};  // empty: a fresh one
  std::string dir = {};   // empty: /dev/shm
  ProcessSetup process = {};
};

// "ready name=N buckets=B workers=W memory=BYTES"
struct Ready {
  std::string name;
  std::uint64_t buckets = 0;
  std::uint64_t workers = 0;
  std::uint64_t memory = 0;
};
inline std::optional<Ready> parse_ready(const std::string& line) {
  static const std::regex form("ready name=([^ ]+) buckets=([0-9]+) workers=([0-9]+) memory=([0-9]+)");
  std::smatch part;
  if (!std::regex_match(line, part, form)) return std::nullopt;
  return Ready{part[1], std::stoull(part[2]), std::stoull(part[3]), std::stoull(part[4])};
}

// Names of the files in `dir` that belong to the instance `name`, sorted.
inline std::vector<std::string> files_of_instance(const std::string& name, const std::string& dir = "/dev/shm") {
  std::vector<std::string> files;
  for (const auto& entry : std::filesystem::directory_iterator(dir)) {
    std::string file = entry.path().filename().string();
    if (file.starts_with(name + "-")) files.push_back(std::move(file));
  }
  std::sort(files.begin(), files.end());
  return files;
}

class Server {
 public:
  explicit Server(std::vector<std::string> arguments = {}, ServerSetup setup = {})
      : name_(setup.name.empty() ? unique_name() : setup.name),
        dir_(setup.dir.empty() ? std::string(kDefaultDir) : setup.dir),
        program_(command(std::move(arguments)), setup.process) {
    const std::optional<std::string> line = program_.next_line(kPatience);
    const std::optional<Ready> said = line ? parse_ready(*line) : std::nullopt;
    if (!said) {
      program_.kill();
      remove_regions();
      throw std::runtime_error(program_.command_line() + " is not ready; on stderr: " + program_.errors());
    }
    ready_ = *said;
  }
  // Only the process is moved; the old object has nothing to stop.
  Server(const Server&) = delete;
  Server& operator=(const Server&) = delete;
  ~Server() {
    if (ended_) return;
    if (std::uncaught_exceptions() > 0) {
      kill();
      remove_regions();
    } else {
      stop_cleanly();
    }
  }

  const std::string& name() const { return name_; }
  const std::string& dir() const { return dir_; }
  InstanceName instance() const { return *InstanceName::parse(name_, dir_); }
  const Ready& ready() const { return ready_; }
  pid_t pid() const { return program_.pid(); }
  Program& program() { return program_; }
  std::string errors() { return program_.errors(); }
  void send(int signal) const { program_.send(signal); }
  // SIGSTOP, until all of its threads stand still.
  void pause() const {
    send(SIGSTOP);
    if (!eventually([&] { return is_stopped(pid()); })) throw std::runtime_error("the server does not stand still");
  }

  std::vector<std::string> files() const { return files_of_instance(name_, dir_); }
  std::vector<std::string> connection_files() const { return instance().connection_files(); }
  // Command lines of the other programs for this instance.
  std::vector<std::string> client_command(const std::vector<std::string>& arguments) const {
    return with_instance(test::program("hostmap-client"), arguments);
  }
  std::vector<std::string> stat_command() const { return with_instance(test::program("hostmap"), {"stat", "--json"}); }

  // All figures of `hostmap stat --json`.
  std::map<std::string, std::uint64_t> stat() const {
    const Ran ran = run(stat_command());
    if (ran.exit != kSuccess) throw std::runtime_error("hostmap stat failed: " + ran.errors);
    std::map<std::string, std::uint64_t> figures;
    static const std::regex figure("\"([a-z_]+)\": ([0-9]+)");
    for (std::sregex_iterator at(ran.output.begin(), ran.output.end(), figure), end; at != end; ++at) {
      figures[(*at)[1]] = std::stoull((*at)[2]);
    }
    return figures;
  }
  std::uint64_t stat(const std::string& figure) const {
    const auto figures = stat();
    const auto at = figures.find(figure);
    if (at == figures.end()) throw std::runtime_error("hostmap stat has no " + figure);
    return at->second;
  }
  bool connections_come_to(std::uint64_t count) const {
    return eventually([&] { return stat("connections") == count && connection_files().size() == count; });
  }

  // How clients find it.
  Options options(std::chrono::nanoseconds timeout = kPatience, Reads reads = Reads::kDirect) const {
    Options options;
    options.name = name_;
    options.dir = dir_ == kDefaultDir ? "" : dir_;
    options.timeout = timeout;
    options.reads = reads;
    return options;
  }
  // A client in the test's own process.
  Client connect(std::chrono::nanoseconds timeout = kPatience, Reads reads = Reads::kDirect) const {
    Result<Client> client = Client::connect(options(timeout, reads));
    if (!client) throw std::runtime_error("cannot connect: " + std::string(client.status().message()));
    return std::move(*client);
  }

  // Ends it with `signal` and says how it went.
  Exit stop(int signal = SIGTERM) {
    send(signal);
    return wait();
  }
  Exit wait() {
    ended_ = true;
    const Exit exit = program_.wait();
    if (exit == killed_by(SIGKILL)) remove_regions();  // the watchdog did that, and the test has failed
    return exit;
  }
  // As stop(), where nothing may have gone wrong.
  void stop_cleanly() {
    if (ended_) return;
    EXPECT_EQ(stat("timeout_rescues"), 0u) << "somebody slept although there was work";
    EXPECT_EQ(stop(), kSuccess) << program_.errors();
    expect_nothing_left();
  }
  // The regions stay: for the test to look at, and to remove_regions().
  void kill() {
    program_.kill();
    ended_ = true;
  }
  void remove_regions() const {
    for (const std::string& file : files()) remove_path(dir_ + "/" + file);
  }

 private:
  void expect_nothing_left() const {
    const std::vector<std::string> left = files();
    EXPECT_TRUE(left.empty()) << left.size() << " files are left, the first one is " << left.front();
    if (!left.empty()) remove_regions();
  }
  std::vector<std::string> with_instance(const std::string& program, const std::vector<std::string>& arguments) const {
    std::vector<std::string> words{program, "--name", name_};
    if (dir_ != kDefaultDir) words.insert(words.end(), {"--dir", dir_});
    words.insert(words.end(), arguments.begin(), arguments.end());
    return words;
  }
  std::vector<std::string> command(std::vector<std::string> arguments) const {
    return with_instance(test::program("hostmap-server"), std::move(arguments));
  }

  std::string name_;
  std::string dir_;
  Program program_;
  Ready ready_;
  bool ended_ = false;
};

// hostmap-server run to its end, where it is expected not to serve.
inline Ran run_server(const std::vector<std::string>& arguments, const std::string& name,
                      const ProcessSetup& setup = {}) {
  std::vector<std::string> words{program("hostmap-server"), "--name", name};
  words.insert(words.end(), arguments.begin(), arguments.end());
  Program started(std::move(words), setup);
  if (started.next_line(kPatience)) started.send(SIGTERM);  // it serves; the caller will see it by the exit code
  const Exit exit = started.wait();
  return {exit, started.output(), started.errors()};
}

// One line on stderr, nothing on stdout, the exit code, and each of `words` in the line.
inline void expect_refusal(const Ran& ran, int code, const std::vector<std::string>& words) {
  EXPECT_EQ(ran.exit, exited(code)) << ran.errors;
  EXPECT_EQ(ran.output, "");
  EXPECT_EQ(lines_of(ran.errors).size(), 1u) << ran.errors;
  for (const std::string& word : words) {
    EXPECT_TRUE(ran.errors.find(word) != std::string::npos) << "'" << word << "' is not in: " << ran.errors;
  }
}

}  // namespace hostmap::test
