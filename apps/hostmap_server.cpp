// hostmap-server: owns one instance and serves it until SIGINT or SIGTERM.
#include <CLI/CLI.hpp>
#include <algorithm>
#include <atomic>
#include <fmt/format.h>
#include <iterator>
#include <new>
#include <optional>
#include <span>
#include <string>
#include <unistd.h>
#include <utility>

#include <hostmap/version.hpp>

#include "all/arguments.hpp"
#include "all/help.hpp"
#include "all/numbers.hpp"
#include "all/print.hpp"
#include "all/standard_streams.hpp"
#include "base/platform.hpp"
#include "exit_codes.hpp"
#include "hostmap_server/background.hpp"
#include "hostmap_server/line_writer.hpp"
#include "server/environment/notify.hpp"
#include "server/environment/system_calls.hpp"
#include "server/server.hpp"
#include "signal/termination.hpp"

namespace {

using namespace hostmap;
using namespace hostmap::apps;

// For print and fail, which report before the LineWriter exists.
constexpr std::string_view kProgram = "hostmap-server";

// Numbers and sizes are taken as text, so that all errors in them have the same form. The text "default" keeps the default.
constexpr const char* kDefault = "default";
struct TextOption {
  const char* name;
  std::string text;
  Result<std::uint64_t> (*parse)(const std::string&);
};

Status read(const TextOption& option, std::uint64_t& number) {
  if (option.text == kDefault) return {};
  const Result<std::uint64_t> parsed = option.parse(option.text);
  if (!parsed) return {StatusCode::kInvalid, fmt::format("{} {}", option.name, parsed.status().message())};
  if (*parsed == 0 && number == 0) {  // 0 is a default that depends on the machine
    return {StatusCode::kInvalid, fmt::format("{} must be above 0; leave it out for the default", option.name)};
  }
  number = *parsed;
  return {};
}

// The options that were given, but not applied because the map that this server continues has its own values: a line for the
// log that names each. Empty if there are none.
std::string not_applied(std::span<const std::pair<const TextOption*, std::uint64_t>> in_use) {
  std::string names;
  for (const auto& [option, value] : in_use) {
    if (option->text == kDefault) continue;
    const Result<std::uint64_t> given = option->parse(option->text);
    if (!given || *given == value) continue;
    const std::string used = option->parse == parse_size ? size_text(value) : std::to_string(value);
    names += fmt::format("{}{} {} (it has {})", names.empty() ? "" : ", ", option->name, option->text, used);
  }
  if (names.empty()) return {};
  return "not applied, because the map that this server continues keeps the values that it was created with: " + names +
         "; to change that, start with --fresh, which discards the map";
}

int serve(int argc, char** argv) {
  ServerOptions options;
  TextOption buckets{"BUCKETS", kDefault, parse_number};
  TextOption memory{"--memory", kDefault, parse_size};
  TextOption max_memory{"--max-memory", kDefault, parse_size};
  TextOption workers{"--workers", kDefault, parse_number};
  TextOption max_connections{"--max-connections", kDefault, parse_number};
  TextOption ring_size{"--ring-size", kDefault, parse_size};
  TextOption max_value{"--max-value", kDefault, parse_size};
  CLI::App app{"Serves a hash map in shared memory to every process on this host.", "hostmap-server"};
  add_help_and_version(app);
  app.add_option("BUCKETS", buckets.text,
                 "initial number of buckets of each form, over all shards; the table grows by itself (default: 1024)");
  app.add_option("--name", options.name,
                 "name of the instance: 1 to 64 of A-Z a-z 0-9 . _ - (default: distributed-memory)")
      ->type_name("NAME");
  app.add_option("--memory", memory.text,
                 "hard limit of the table, such as 512M or 4G (default: 1G, or half of the free space if that is less)")
      ->type_name("SIZE");
  app.add_option("--max-memory", max_memory.text,
                 "size up to which `hostmap limit` can raise that limit (default: twice --memory)")
      ->type_name("SIZE");
  app.add_flag("--set-limit", options.set_limit,
               "apply --memory to the map that this server continues, too, in place of the limit that the map has");
  app.add_option("--eviction", options.eviction,
                 "what to remove when memory is full: none, writes are refused; clock, keys that were not used lately; "
                 "expiring, likewise, but only keys with a time to live (default: none)")
      ->type_name("POLICY");
  app.add_option("--workers", workers.text, "threads that apply writes (default: one for every 4 cpus)")
      ->type_name("N");
  app.add_option("--max-connections", max_connections.text, "clients at the same time (default: 1024)")->type_name("N");
  app.add_option("--ring-size", ring_size.text, "size of each ring, a power of two (default: 64K)")->type_name("SIZE");
  app.add_option("--max-value", max_value.text, "longest value (default: 64M)")->type_name("SIZE");
  app.add_option("--group", options.group,
                 "allow the members of this group, a name or number, to connect and to read everything")
      ->type_name("GROUP");
  app.add_flag("--keep", options.keep, "when stopped, keep the map for the next server; connected clients wait for it");
  app.add_flag("--fresh", options.fresh, "discard the map of a server that died or was stopped with --keep");
  app.add_flag("--takeover", options.takeover,
               "take over map and clients from the running server of this name, if there is one");
  app.add_option(
         "--load", options.load,
         "begin a new map with the keys of this dump, which hostmap dump or save wrote; a map that is continued "
         "keeps its own")
      ->type_name("FILE");
  bool in_background = false;
  app.add_flag("--background", in_background,
               "return when the server is ready and leave it running; if it fails, return its exit code");
  app.add_option("--dir", options.dir, "folder of the shared memory files, on tmpfs or hugetlbfs (default: /dev/shm)")
      ->type_name("DIR");
  app.footer(
      "SIGINT, SIGTERM, SIGHUP and `hostmap stop` stop the server. Exit codes: 0 stopped, 1 cannot serve, 2 usage, 6 "
      "other layout version.");
  if (const std::optional<ExitCode> code = parse(app, argc, argv)) return *code;
  if (buckets.text == "help") return print(kProgram, app.help());
  const std::pair<const TextOption*, std::uint64_t*> numbers[] = {{&buckets, &options.buckets},
                                                                  {&memory, &options.memory},
                                                                  {&max_memory, &options.max_memory},
                                                                  {&workers, &options.workers},
                                                                  {&max_connections, &options.max_connections},
                                                                  {&ring_size, &options.ring_bytes},
                                                                  {&max_value, &options.max_value_bytes}};
  for (const auto& [option, number] : numbers) {
    if (const Status status = read(*option, *number); !status.ok()) return fail(kProgram, status.message(), kExitUsage);
  }
  Result<CheckedOptions> checked = check_options(options);
  if (!checked) {
    return fail(kProgram, checked.status().message(),
                checked.status() == StatusCode::kInvalid ? kExitUsage : kExitFalse);
  }

  std::optional<Background> background;
  if (in_background) {
    Result<Background> begun = Background::begin();
    if (!begun) return fail(kProgram, begun.status().message(), kExitFalse);
    background.emplace(std::move(*begun));
  }
  block_termination_signals();
  LineWriter output;
  const Log log_line(Log::Write([&output](std::string_view kind, const std::string& line) { output.log(kind, line); }));
  std::atomic<bool> failed{false};
  const auto fatal = [&failed] {
    failed = true;
    request_termination();
  };
  Result<std::unique_ptr<Server>> server = Server::start(*checked, log_line, fatal);
  if (!server) {
    log_line(std::string(server.status().message()));
    if (server.status() == StatusCode::kTooLarge) return kExitUsage;  // --set-limit
    if (server.status() == StatusCode::kClosed) return kExitDone;     // by a signal, while it loaded a dump
    return server.status() == StatusCode::kOtherVersion ? kExitOtherVersion : kExitFalse;
  }
  const CheckedOptions& served = (*server)->options();
  const std::pair<const TextOption*, std::uint64_t> in_use[] = {
      {&buckets, served.buckets},      {&max_memory, served.max_memory},
      {&workers, served.workers},      {&max_connections, served.max_connections},
      {&ring_size, served.ring_bytes}, {&max_value, served.max_value_bytes}};
  if (const std::string line = not_applied(in_use); !line.empty()) log_line(line);
  if (background) background->stays();
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
  // The sanitizers' own threads and their checks at exit need other calls.
  if (kGuarded) {
    if (const Status status = restrict_system_calls(); !status.ok()) log_line(std::string(status.message()));
  }
#endif
  output.write(
      STDOUT_FILENO,
      fmt::format("ready name={} buckets={} workers={} memory={} version={} commit={} layout={}\n", served.name.name(),
                  served.buckets, served.workers, served.memory, kVersion, commit(), kLayoutVersion));
  const auto main_pid = [] { notify_service_manager(fmt::format("MAINPID={}", ::getpid())); };
  // Before the former server ends: the service manager must not take its end for the end of the service.
  if ((*server)->took_over()) main_pid();
  notify_service_manager("READY=1");
  (*server)->end_takeover();
  if (background) background->serves();

  Termination end{};
  for (;;) {
    end = await_termination([&](int signal) {
      log_line("signal ignored", fmt::format("signal {} is ignored; SIGTERM stops the server", signal));
    });
    if (end.wish != kWishHandOver) break;
    if (!(*server)->takeover_waits()) {
      log_line("signal ignored", fmt::format("signal {} is ignored: no other server waits to take over", end.signal));
      continue;
    }
    log_line("handing over to the next server");
    if ((*server)->hand_over()) return kExitDone;
    server->reset();
    CheckedOptions again = *checked;
    // What `hostmap limit` has set since stays.
    again.takeover = again.fresh = again.set_limit = false;
    server = Server::start(std::move(again), log_line, fatal);
    if (!server) {
      log_line("the server that was to take over ended before it was ready, and this one cannot start again: " +
               std::string(server.status().message()) + "; the map is kept for the next server");
      return kExitFalse;
    }
    log_line("the server that was to take over ended before it was ready; this one serves again");
    main_pid();
    notify_service_manager("READY=1");
  }
  notify_service_manager("STOPPING=1");
  if (end.signal != 0) log_line("stopping", fmt::format("signal {}: draining and stopping", end.signal));
  (*server)->stop(end.wish == kWishKeep   ? Server::Ending::kKeep
                  : end.wish == kWishDrop ? Server::Ending::kDrop
                                          : Server::Ending::kAsOptions);
  return failed ? kExitFalse : kExitDone;
}

}  // namespace

int main(int argc, char** argv) {
  guard_standard_streams(kExitFalse);
  try {
    return serve(argc, argv);
  } catch (const std::bad_alloc&) {
    return fail(kProgram, Status::out_of_memory().message(), kExitFalse);
  }
}
