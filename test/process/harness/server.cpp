#include "process/harness/server.hpp"

#include <algorithm>
#include <csignal>
#include <exception>
#include <filesystem>
#include <gtest/gtest.h>
#include <regex>
#include <stdexcept>
#include <utility>

#include "process/harness/proc.hpp"

namespace hostmap::test {

namespace {

std::vector<std::string> command_line(const std::string& program, const std::string& name, const std::string& dir,
                                      const std::vector<std::string>& arguments) {
  std::vector<std::string> words{program, "--name", name};
  if (dir != kDefaultDir) words.insert(words.end(), {"--dir", dir});
  words.insert(words.end(), arguments.begin(), arguments.end());
  return words;
}

}  // namespace

std::optional<Ready> parse_ready(const std::string& line) {
  static const std::regex form(
      "ready name=([^ ]+) buckets=([0-9]+) workers=([0-9]+) memory=([0-9]+)"
      " version=([^ ]+) commit=([^ ]+) layout=([0-9]+)");
  std::smatch part;
  if (!std::regex_match(line, part, form)) return std::nullopt;
  return Ready{part[1], std::stoull(part[2]), std::stoull(part[3]), std::stoull(part[4])};
}

std::vector<std::string> files_of_instance(const std::string& name, const std::string& dir) {
  std::vector<std::string> files;
  for (const auto& entry : std::filesystem::directory_iterator(dir)) {
    std::string file = entry.path().filename().string();
    if (file.starts_with(name + "-")) files.push_back(std::move(file));
  }
  std::sort(files.begin(), files.end());
  return files;
}

Server::Server(std::vector<std::string> arguments, ServerSetup setup)
    : name_(setup.name.empty() ? unique_name() : setup.name),
      dir_(setup.dir.empty() ? std::string(kDefaultDir) : setup.dir),
      program_(command_line(test::program("hostmap-server"), name_, dir_, arguments), setup.process),
      user_(setup.process.user ? std::to_string(*setup.process.user) : "") {
  const std::optional<std::string> line = program_.next_line(kPatience);
  const std::optional<Ready> said = line ? parse_ready(*line) : std::nullopt;
  if (!said) {
    program_.kill();
    remove_regions();
    throw std::runtime_error(program_.command_line() + " is not ready; on stderr: " + program_.errors());
  }
  ready_ = *said;
}

Server::~Server() {
  if (ended_) return;
  if (std::uncaught_exceptions() > 0) {
    kill();
    remove_regions();
  } else {
    stop_cleanly();
  }
}

void Server::pause() const {
  send(SIGSTOP);
  if (!eventually([&] { return is_stopped(pid()); })) throw std::runtime_error("the server does not stand still");
}

std::vector<std::string> Server::client_command(const std::vector<std::string>& arguments) const {
  return with_instance(test::program("hostmap-client"), arguments);
}

std::vector<std::string> Server::stat_command() const {
  return with_instance(test::program("hostmap"), {"stat", "--json"});
}

std::map<std::string, std::uint64_t> figures_of(const std::string& json) {
  std::map<std::string, std::uint64_t> figures;
  static const std::regex figure("\"([a-z_]+)\": ([0-9]+)");
  for (std::sregex_iterator at(json.begin(), json.end(), figure), end; at != end; ++at) {
    figures[(*at)[1]] = std::stoull((*at)[2]);
  }
  return figures;
}

std::map<std::string, std::uint64_t> Server::stat() const {
  std::vector<std::string> command = stat_command();
  if (!user_.empty()) command.insert(command.end(), {"--user", user_});  // root trusts its own servers only
  const Ran ran = run(command);
  if (ran.exit != kSuccess) throw std::runtime_error("hostmap stat failed: " + ran.errors);
  return figures_of(ran.output);
}

std::map<std::string, std::uint64_t> Server::stat_of_clients() const {
  std::map<std::string, std::uint64_t> figures = stat();
  // Workers park, and the helper thread populates ahead.
  for (const char* own : {"parks", "memory_bytes", "file_bytes", "free_bytes", "huge_page_bytes"}) figures.erase(own);
  return figures;
}

std::uint64_t Server::stat(const std::string& figure) const {
  const auto figures = stat();
  const auto at = figures.find(figure);
  if (at == figures.end()) throw std::runtime_error("hostmap stat has no " + figure);
  return at->second;
}

bool Server::connections_come_to(std::uint64_t count) const {
  return eventually([&] { return connection_files().size() == count && stat("connections") == count; });
}

Options Server::options(std::chrono::nanoseconds timeout, Reads reads) const {
  Options options;
  options.name = name_;
  options.dir = dir_ == kDefaultDir ? "" : dir_;
  options.timeout = timeout;
  options.reads = reads;
  options.user = user_;
  return options;
}

Client Server::connect(std::chrono::nanoseconds timeout, Reads reads) const {
  Result<Client> client = Client::connect(options(timeout, reads));
  if (!client) throw std::runtime_error("cannot connect: " + std::string(client.status().message()));
  return std::move(*client);
}

Exit Server::stop(int signal) {
  send(signal);
  return wait();
}

Exit Server::wait() {
  ended_ = true;
  const Exit exit = program_.wait();
  if (exit == killed_by(SIGKILL)) remove_regions();  // the watchdog killed it, and the test has failed
  return exit;
}

void Server::stop_cleanly() {
  if (ended_) return;
  const auto figures = stat();
  EXPECT_EQ(figures.at("timeout_rescues"), 0u) << "a worker slept although there was work";
  EXPECT_EQ(figures.at("client_timeout_rescues"), 0u) << "a client slept although its answer was there";
  EXPECT_EQ(stop(), kSuccess) << program_.errors();
  expect_nothing_left();
}

void Server::kill() {
  program_.kill();
  ended_ = true;
}

void Server::remove_regions() const {
  for (const std::string& file : files()) remove_path(dir_ + "/" + file);
}

void Server::expect_nothing_left() const {
  const std::vector<std::string> left = files();
  EXPECT_TRUE(left.empty()) << left.size() << " files are left, the first one is " << left.front();
  if (!left.empty()) remove_regions();
}

std::vector<std::string> Server::with_instance(const std::string& program,
                                               const std::vector<std::string>& arguments) const {
  return command_line(program, name_, dir_, arguments);
}

Ran run_server(const std::vector<std::string>& arguments, const std::string& name, const ProcessSetup& setup) {
  std::vector<std::string> words{program("hostmap-server"), "--name", name};
  words.insert(words.end(), arguments.begin(), arguments.end());
  Program started(std::move(words), setup);
  if (started.next_line(kPatience)) started.send(SIGTERM);  // it serves; the exit code shows this to the caller
  const Exit exit = started.wait();
  return {exit, started.output(), started.errors()};
}

void expect_refusal(const Ran& ran, int code, const std::vector<std::string>& words) {
  EXPECT_EQ(ran.exit, exited(code)) << ran.errors;
  EXPECT_EQ(ran.output, "");
  // The leak sanitizer prints a line of its own if a thread ends just then.
  std::vector<std::string> lines = lines_of(ran.errors);
  std::erase_if(lines,
                [](const std::string& line) { return line.ends_with("was not suspended. False leaks are possible."); });
  EXPECT_EQ(lines.size(), 1u) << ran.errors;
  for (const std::string& word : words) {
    EXPECT_TRUE(ran.errors.find(word) != std::string::npos) << "'" << word << "' is not in: " << ran.errors;
  }
}

}  // namespace hostmap::test
