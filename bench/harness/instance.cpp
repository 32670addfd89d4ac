#include "harness/instance.hpp"

#include <charconv>
#include <chrono>
#include <csignal>
#include <filesystem>
#include <fmt/format.h>
#include <fstream>
#include <sched.h>
#include <stdexcept>
#include <string>
#include <unistd.h>
#include <utility>

namespace hostmap::bench {
namespace {

using namespace std::chrono_literals;

Command server_command(std::string_view program, const std::string& name, std::vector<std::string> arguments,
                       Pages pages) {
  arguments.insert(arguments.end(), {"--name", name});
  return {.program = sibling_program(program),
          .arguments = std::move(arguments),
          .without_huge_pages = pages == Pages::kSmall,
          .signal_when_parent_dies = SIGTERM};
}

}  // namespace

std::string unique_name() {
  static unsigned number = 0;
  return fmt::format("hostmap-bench-{}-{}", getpid(), ++number);
}

Instance::Instance(std::vector<std::string> arguments, std::string_view program, Pages pages)
    : name_(unique_name()), command_(server_command(program, name_, std::move(arguments), pages)), server_(command_) {
  await_ready(*server_);
}

void Instance::await_ready(Child& server) {
  const std::string line = server.hear(30s);
  if (!line.starts_with("ready ")) {
    throw std::runtime_error(fmt::format("hostmap-server said \"{}\", not ready", line));
  }
}

Instance::~Instance() {
  if (!server_ || server_->pid() < 0) return;
  try {
    stop();
  } catch (const std::exception& error) {
    fmt::print(stderr, "{}\n", error.what());
  }
}

void Instance::pin_server(int cpu) const { pin_threads(cpu, ""); }

void Instance::pin_workers(int cpu) const { pin_threads(cpu, "worker "); }

/// Those whose names begin with `name`.
void Instance::pin_threads(int cpu, std::string_view name) const {
  cpu_set_t set;
  CPU_ZERO(&set);
  CPU_SET(static_cast<std::size_t>(cpu), &set);
  for (const auto& task : std::filesystem::directory_iterator(fmt::format("/proc/{}/task", server_pid()))) {
    std::string thread_name;
    std::getline(std::ifstream(task.path() / "comm"), thread_name);
    if (!thread_name.starts_with(name)) continue;
    const auto thread = static_cast<pid_t>(std::stol(task.path().filename().string()));
    if (sched_setaffinity(thread, sizeof set, &set) != 0) throw std::runtime_error("sched_setaffinity failed");
  }
}

std::uint64_t Instance::stat(std::string_view figure) const {
  const std::string json =
      output_of({.program = sibling_program("hostmap"), .arguments = {"--name", name_, "stat", "--json"}}, 10s);
  // One flat object of names and numbers: no reason for a parser.
  const std::string key = fmt::format("\"{}\":", figure);
  std::size_t at = json.find(key);
  if (at != std::string::npos) at = json.find_first_not_of(" \t\n", at + key.size());
  std::uint64_t value = 0;
  if (at == std::string::npos ||
      std::from_chars(json.data() + at, json.data() + json.size(), value).ec != std::errc{}) {
    throw std::runtime_error(fmt::format("hostmap stat --json has no {}: {}", figure, json));
  }
  return value;
}

double Instance::kill_and_restart() {
  server_->signal(SIGKILL);
  server_.reset();  // waits for its end
  const Clock::time_point start = Clock::now();
  server_.emplace(command_);
  await_ready(*server_);
  return std::chrono::duration<double, std::milli>(Clock::now() - start).count();
}

void Instance::hand_over() {
  Command command = command_;
  command.arguments.emplace_back("--takeover");
  Child next(command);
  await_ready(next);
  server_->wait(30s);
  server_.reset();
  server_.emplace(std::move(next));
}

void Instance::stop() {
  server_->signal(SIGTERM);
  server_->wait(30s);
}

Client connect_to(const std::string& name, std::chrono::nanoseconds timeout) {
  Options options;
  options.name = name;
  options.timeout = timeout;
  Result<Client> client = Client::connect(options);
  if (!client) throw std::runtime_error(fmt::format("connect: {}", client.status().message()));
  return std::move(*client);
}

void send_between_lines(Client& client, const std::function<std::uint64_t()>& send) {
  std::uint64_t sent = 0;
  work_between_lines([&] { sent += send(); },
                     [&] {
                       if (const Status status = client.flush(); !status.ok()) {
                         throw std::runtime_error(fmt::format("flush: {}", status.message()));
                       }
                       return std::to_string(std::exchange(sent, 0));
                     });
}

std::string memory_for(std::uint64_t entries) { return fmt::format("{}M", 64 + entries * 250 / 1'000'000); }

void load_hostmap_entries(const Instance& instance, std::uint64_t entries) {
  Child loader(
      {.program = own_program(), .arguments = {"--role", "restart-loader", instance.name(), std::to_string(entries)}});
  loader.wait(300s);
}

void load_hostmap(const Instance& instance, std::uint64_t entries) {
  Child loader(
      {.program = own_program(), .arguments = {"--role", "get-loader", instance.name(), std::to_string(entries)}});
  loader.wait(180s);
  if (const std::uint64_t loaded = instance.stat("entries"); loaded != entries) {
    throw std::runtime_error(fmt::format("hostmap has {} entries, not {}", loaded, entries));
  }
}

}  // namespace hostmap::bench
