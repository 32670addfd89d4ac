// hostmap-server: owns one instance and serves it until SIGINT or SIGTERM.
#include <CLI/CLI.hpp>
#include <atomic>
#include <cstdio>
#include <fmt/format.h>
#include <string>

#include "exit_codes.hpp"
#include "server/notify.hpp"
#include "server/server.hpp"
#include "signal/termination.hpp"

namespace {

using namespace hostmap;
using namespace hostmap::apps;

void log_line(const std::string& line) { fmt::print(stderr, "hostmap-server: {}\n", line); }

int fail(const Status& status, ExitCode code) {
  log_line(std::string(status.message()));
  return code;
}

// Sizes are given as text so that 64K and 1G work; an empty text keeps the default.
Status read_size(const std::string& text, std::uint64_t& size) {
  if (text.empty()) return {};
  const Result<std::uint64_t> parsed = parse_size(text);
  if (!parsed) return parsed.status();
  if (*parsed == 0) return {StatusCode::kInvalid, "a size of 0 makes no sense"};
  size = *parsed;
  return {};
}

}  // namespace

int main(int argc, char** argv) {
  ServerOptions options;
  std::string memory;
  std::string ring_size;
  std::string max_value;
  CLI::App app{"Serves a hash map in shared memory to every process on this host.", "hostmap-server"};
  app.add_option("BUCKETS", options.buckets, "initial buckets of each form, over all shards; the table grows by itself")
      ->capture_default_str();
  app.add_option("--name", options.name, "instance: 1 to 64 of A-Z a-z 0-9 . _ -")->capture_default_str();
  app.add_option("--memory", memory,
                 "hard limit of the table, as 512M or 4G (default: 1G, or half of what is free if that is less)");
  auto* workers =
      app.add_option("--workers", options.workers, "threads that apply writes (default: one for every 4 cpus)");
  app.add_option("--max-connections", options.max_connections, "clients at once")->capture_default_str();
  app.add_option("--ring-size", ring_size, "of each ring, a power of two (default: 64K)");
  app.add_option("--max-value", max_value, "longest value (default: 64M)");
  app.add_option("--dir", options.dir, "folder of the regions, on tmpfs or hugetlbfs (default: /dev/shm)");
  try {
    app.parse(argc, argv);
  } catch (const CLI::CallForHelp& help) {
    return app.exit(help);
  } catch (const CLI::ParseError& error) {
    log_line(fmt::format("{}; see hostmap-server --help", error.what()));
    return kExitUsage;
  }
  if (*workers && options.workers == 0) {
    return fail({StatusCode::kInvalid, "--workers 0 makes no sense; leave it out for the default"}, kExitUsage);
  }
  for (const auto& [text, size] : {std::pair{&memory, &options.memory}, std::pair{&ring_size, &options.ring_bytes},
                                   std::pair{&max_value, &options.max_value_bytes}}) {
    if (const Status status = read_size(*text, *size); !status.ok()) return fail(status, kExitUsage);
  }
  Result<CheckedOptions> checked = check_options(options);
  if (!checked) {
    return fail(checked.status(), checked.status() == StatusCode::kInvalid ? kExitUsage : kExitFalse);
  }

  block_termination_signals();
  std::atomic<bool> failed{false};
  Result<std::unique_ptr<Server>> server = Server::start(std::move(*checked), log_line, [&failed] {
    failed = true;
    request_termination();
  });
  if (!server) {
    return fail(server.status(), server.status() == StatusCode::kOtherVersion ? kExitOtherVersion : kExitFalse);
  }
  const CheckedOptions& served = (*server)->options();
  fmt::print("ready name={} buckets={} workers={} memory={}\n", served.name.name(), served.buckets, served.workers,
             served.memory);
  std::fflush(stdout);
  notify_service_manager("READY=1");

  const int signal = await_termination();
  notify_service_manager("STOPPING=1");
  if (signal != 0) log_line(fmt::format("signal {}: draining and stopping", signal));
  (*server)->stop();
  return failed ? kExitFalse : kExitDone;
}
