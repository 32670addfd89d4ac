// starved_server NAME DIR: a server whose process has no memory left.
//
// First it starts repeatedly: the first, second, third … allocation of the start fails, then that one and all later ones,
// until the start needs no further one. A line for each start that failed:
//
//   start once|onward K CODE MESSAGE
//
// Then it serves, prints "ready", and executes commands, one a line:
//
//   starve K once|onward   from here on the K-th allocation fails     answer: starved
//   feed                   no allocation fails any more               answer: reached 0|1
//
// until its input ends. Exit code 0: it stopped in order.
#include <cstdio>
#include <fmt/format.h>
#include <memory>
#include <string>
#include <string_view>
#include <unistd.h>

#include "process/programs/starvation.hpp"
#include "server/server.hpp"

namespace {

using namespace hostmap;

// Prints without an allocation, so it works when no memory is left.
void log_line(std::string_view /*kind*/, const std::string& line) {
  static_cast<void>(::write(STDERR_FILENO, line.data(), line.size()));
  static_cast<void>(::write(STDERR_FILENO, "\n", 1));
}

void say(const std::string& line) {
  fmt::print("{}\n", line);
  std::fflush(stdout);
}

Result<std::unique_ptr<Server>> start(const ServerOptions& options) {
  Result<CheckedOptions> checked = check_options(options);
  if (!checked) return checked.status();
  return Server::start(std::move(*checked), Log(log_line), [] {});
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 3) return 2;
  ServerOptions options;
  options.name = argv[1];
  options.dir = argv[2];
  options.buckets = 10;
  options.memory = std::uint64_t{64} << 20;
  for (const bool onward : {false, true}) {
    for (unsigned long k = 1;; ++k) {
      Result<CheckedOptions> checked = check_options(options);
      if (!checked) return 1;
      test::starve(k, onward);
      Result<std::unique_ptr<Server>> server = Server::start(std::move(*checked), Log(log_line), [] {});
      const bool reached = test::feed();
      if (!reached) break;
      if (!server) {
        say(fmt::format("start {} {} {} {}", onward ? "onward" : "once", k, static_cast<int>(server.status().code()),
                        server.status().message()));
      }
    }
  }
  Result<std::unique_ptr<Server>> server = start(options);
  if (!server) return 1;
  say("ready");
  char line[64];
  while (std::fgets(line, sizeof line, stdin) != nullptr) {
    unsigned long k = 0;
    char kind[16];
    if (std::sscanf(line, "starve %lu %15s", &k, kind) == 2) {
      say("starved");
      test::starve(k, std::string_view(kind) == "onward");
    } else {
      say(test::feed() ? "reached 1" : "reached 0");
    }
  }
  (*server)->stop();
  return 0;
}
