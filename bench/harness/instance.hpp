// A hostmap instance for one measurement: a server that is started, inspected and stopped from outside, as
// any user would.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <hostmap/client.hpp>

#include "harness/process.hpp"

namespace hostmap::bench {

/// Which pages a server may have its table in.
enum class Pages : std::uint8_t { kLargest, kSmall };

class Instance {
 public:
  /// Starts `hostmap-server ARGUMENT…`, or another build of it, under a name that no other run uses; returns when it
  /// serves.
  explicit Instance(std::vector<std::string> arguments, std::string_view program = "hostmap-server",
                    Pages pages = Pages::kLargest);
  /// Stops the server if stop() has not; never throws.
  ~Instance();
  Instance(const Instance&) = delete;
  Instance& operator=(const Instance&) = delete;

  [[nodiscard]] const std::string& name() const { return name_; }
  [[nodiscard]] pid_t server_pid() const { return server_->pid(); }
  /// Binds each thread that the server has now to one CPU; the number of CPUs that it assumes does not change.
  void pin_server(int cpu) const;
  /// The same for its workers alone: its helper threads stay where the system puts them.
  void pin_workers(int cpu) const;
  /// One figure of `hostmap stat --json`.
  [[nodiscard]] std::uint64_t stat(std::string_view figure) const;
  /// SIGKILL, and another server in its place. Returns how many milliseconds that one took from exec to `ready`.
  double kill_and_restart();
  /// Another server takes its place with --takeover; returns when that one serves and this one has ended in order.
  void hand_over();
  /// SIGTERM, then the server's end; throws unless it ends in order.
  void stop();

 private:
  static void await_ready(Child& server);
  void pin_threads(int cpu, std::string_view name) const;

  std::string name_;
  Command command_;
  std::optional<Child> server_;
};

/// A client of the instance of that name; throws if it cannot connect.
[[nodiscard]] Client connect_to(const std::string& name, std::chrono::nanoseconds timeout = Options().timeout);

/// In a child: work_between_lines() with a function that sends requests and returns how many. The answer is how many were sent, and
/// is printed once all are applied.
void send_between_lines(Client& client, const std::function<std::uint64_t()>& send);

/// --memory of an instance that takes so many pairs, or entries of 16 + 100 bytes.
[[nodiscard]] std::string memory_for(std::uint64_t entries);
/// Loads the entries of 16 + 100 bytes of workload.hpp, by a client in a process of its own (the role restart-loader).
void load_hostmap_entries(const Instance& instance, std::uint64_t entries);
/// Loads the entries of workload.hpp, by a client in a process of its own; throws unless all are there then.
void load_hostmap(const Instance& instance, std::uint64_t entries);

/// "hostmap-bench-PID-NUMBER": names of regions and instances of this run, a new one each time.
[[nodiscard]] std::string unique_name();

}  // namespace hostmap::bench
