// hostmap: the command line.
#include <CLI/CLI.hpp>
#include <fmt/format.h>
#include <string>
#include <utility>
#include <vector>

#include "client/statistics.hpp"
#include "exit_codes.hpp"
#include "shm/names.hpp"

namespace {

using namespace hostmap;
using namespace hostmap::apps;

int fail(const Status& status) {
  fmt::print(stderr, "hostmap: {}\n", status.message());
  return exit_code_of(status.code());
}

std::string readable_bytes(std::uint64_t bytes) {
  constexpr const char* kUnits[] = {"B", "KiB", "MiB", "GiB", "TiB"};
  double number = static_cast<double>(bytes);
  std::size_t unit = 0;
  while (number >= 1024 && unit + 1 < std::size(kUnits)) {
    number /= 1024;
    ++unit;
  }
  return unit == 0 ? fmt::format("{} B", bytes) : fmt::format("{:.1f} {}", number, kUnits[unit]);
}

std::string grouped(std::uint64_t number) {
  std::string digits = std::to_string(number);
  for (std::size_t at = digits.size(); at > 3;) digits.insert(at -= 3, ",");
  return digits;
}

void print_json(const Statistics& s) {
  // A name is [A-Za-z0-9._-]: nothing in it needs escaping.
  std::string json = fmt::format("{{\n  \"name\": \"{}\"", s.name);
  const std::vector<std::pair<const char*, std::uint64_t>> numbers{{"pid", s.pid},
                                                                   {"entries", s.entries},
                                                                   {"pair_keys", s.pair_keys},
                                                                   {"entry_keys", s.entry_keys},
                                                                   {"buckets", s.buckets},
                                                                   {"pair_buckets", s.pair_buckets},
                                                                   {"entry_buckets", s.entry_buckets},
                                                                   {"memory_bytes", s.memory_bytes},
                                                                   {"memory_limit_bytes", s.memory_limit_bytes},
                                                                   {"entry_bytes", s.entry_bytes},
                                                                   {"fragmented_bytes", s.fragmented_bytes},
                                                                   {"huge_page_bytes", s.huge_page_bytes},
                                                                   {"connections", s.connections},
                                                                   {"connected", s.connected},
                                                                   {"workers", s.workers},
                                                                   {"gets_by_ring", s.gets_by_ring},
                                                                   {"puts", s.puts},
                                                                   {"erases", s.erases},
                                                                   {"refused", s.refused},
                                                                   {"splits", s.splits},
                                                                   {"parks", s.parks},
                                                                   {"read_retries", s.read_retries},
                                                                   {"read_fallbacks", s.read_fallbacks},
                                                                   {"timeout_rescues", s.timeout_rescues},
                                                                   {"populate_failures", s.populate_failures},
                                                                   {"recoveries", s.recoveries},
                                                                   {"replayed", s.replayed},
                                                                   {"reaped", s.reaped},
                                                                   {"poisoned", s.poisoned}};
  for (const auto& [key, number] : numbers) json += fmt::format(",\n  \"{}\": {}", key, number);
  fmt::print("{}\n}}\n", json);
}

void print_table(const Statistics& s) {
  const auto line = [](const char* what, const std::string& value, const std::string& more = {}) {
    fmt::print("  {:<14}{:>16}  {}\n", what, value, more);
  };
  fmt::print("{} (pid {}, {} worker{})\n", s.name, s.pid, s.workers, s.workers == 1 ? "" : "s");
  line("entries", grouped(s.entries),
       fmt::format("{} pairs, {} in the arena", grouped(s.pair_keys), grouped(s.entry_keys)));
  line("buckets", grouped(s.buckets),
       fmt::format("{} of pairs, {} of entries", grouped(s.pair_buckets), grouped(s.entry_buckets)));
  line("memory", readable_bytes(s.memory_bytes),
       fmt::format("of {}; {} in 2 MiB pages, {} free in the arena", readable_bytes(s.memory_limit_bytes),
                   readable_bytes(s.huge_page_bytes), readable_bytes(s.fragmented_bytes)));
  line("connections", grouped(s.connections),
       fmt::format("{} since the start, {} died, {} closed for what they sent", grouped(s.connected), grouped(s.reaped),
                   s.poisoned));
  line("puts", grouped(s.puts), fmt::format("{} refused", grouped(s.refused)));
  line("erases", grouped(s.erases));
  line("gets by ring", grouped(s.gets_by_ring),
       fmt::format("direct gets are not counted; {} retries, {} of them came here", grouped(s.read_retries),
                   grouped(s.read_fallbacks)));
  if (s.timeout_rescues != 0)
    line("rescues", grouped(s.timeout_rescues), "waits that only a timeout ended: please report this");
  if (s.populate_failures != 0) line("out of pages", grouped(s.populate_failures), "times the file system was full");
}

}  // namespace

int main(int argc, char** argv) {
  std::string name = "distributed-memory";
  std::string dir;
  bool json = false;
  CLI::App app{"Looks into the hash maps that hostmap-server keeps in shared memory.", "hostmap"};
  app.add_option("--name", name, "instance")->capture_default_str();
  app.add_option("--dir", dir, "folder of the regions (default: /dev/shm)");
  app.require_subcommand(0, 1);  // none is said below: here an unknown one would not be named
  app.fallthrough();
  CLI::App* stat = app.add_subcommand("stat", "shows what a server holds and has done");
  stat->add_flag("--json", json, "as JSON, for programs");
  try {
    app.parse(argc, argv);
  } catch (const CLI::CallForHelp& help) {
    return app.exit(help);
  } catch (const CLI::ParseError& error) {
    fmt::print(stderr, "hostmap: {}; see hostmap --help\n", error.what());
    return kExitUsage;
  }
  if (app.get_subcommands().empty()) {
    fmt::print(stderr, "hostmap: a subcommand is required; see hostmap --help\n");
    return kExitUsage;
  }
  const Result<InstanceName> instance = InstanceName::parse(name, dir);
  if (!instance) return fail(instance.status());
  const Result<Statistics> statistics = collect_statistics(*instance);
  if (!statistics) return fail(statistics.status());
  if (json) {
    print_json(*statistics);
  } else {
    print_table(*statistics);
  }
  return kExitDone;
}
