// Question `idle`: what do a server and 64 connected clients cost while nobody does anything?
//
// The kernel's own accounts are read from /proc before and after: processor time of every thread,
// and how often it was switched to. Nothing of ours runs in between. The sketch, whose ends spin,
// is shown beside it.

#include <algorithm>
#include <charconv>
#include <chrono>
#include <csignal>
#include <filesystem>
#include <fmt/format.h>
#include <fstream>
#include <map>
#include <sstream>
#include <stdexcept>
#include <string>
#include <thread>
#include <unistd.h>
#include <vector>

#include <hostmap/client.hpp>

#include "harness/floors.hpp"
#include "harness/harness.hpp"
#include "harness/instance.hpp"
#include "harness/process.hpp"
#include "harness/question.hpp"
#include "rivals/sketch.hpp"

namespace hostmap::bench {
namespace {

using namespace std::chrono_literals;

constexpr unsigned kClients = 64;
/// From the last connection to the first measurement: whoever spins before it sleeps has long
/// gone to sleep.
constexpr auto kSettle = 2s;
constexpr double kServerSwitchesGoal = 20;

/// What a thread has used since it began.
struct ThreadUsage {
  std::uint64_t nanoseconds = 0;  // of processor time, as the scheduler counts it
  std::uint64_t voluntary_switches = 0;
  std::uint64_t forced_switches = 0;
};

/// What a process has used since it began.
struct Usage {
  std::uint64_t ticks = 0;  // processor time of all its threads, user and system, as ps shows it
  std::map<std::string, ThreadUsage> threads = {};
};

/// What was used between two measurements, by one process or by several.
struct Difference {
  std::uint64_t ticks = 0;
  ThreadUsage threads = {};

  Difference& operator+=(const Difference& other) {
    ticks += other.ticks;
    threads.nanoseconds += other.threads.nanoseconds;
    threads.voluntary_switches += other.threads.voluntary_switches;
    threads.forced_switches += other.threads.forced_switches;
    return *this;
  }
};

Difference operator-(const Usage& later, const Usage& earlier) {
  Difference difference{.ticks = later.ticks - earlier.ticks};
  for (const auto& [thread, usage] : later.threads) {
    // A thread that was not there before has used all of it since.
    const auto found = earlier.threads.find(thread);
    const ThreadUsage before = found == earlier.threads.end() ? ThreadUsage{} : found->second;
    ThreadUsage& sum = difference.threads;
    sum.nanoseconds += usage.nanoseconds - before.nanoseconds;
    sum.voluntary_switches += usage.voluntary_switches - before.voluntary_switches;
    sum.forced_switches += usage.forced_switches - before.forced_switches;
  }
  return difference;
}

std::string contents_of(const std::filesystem::path& path) {
  std::ifstream file(path);
  return {std::istreambuf_iterator<char>(file), {}};
}

std::uint64_t number_after(const std::string& text, std::string_view label) {
  const std::size_t at = text.find(label);
  if (at == std::string::npos) return 0;
  return std::strtoull(text.c_str() + at + label.size(), nullptr, 10);
}

ThreadUsage usage_of_thread(const std::filesystem::path& directory) {
  ThreadUsage usage;
  std::istringstream(contents_of(directory / "schedstat")) >> usage.nanoseconds;
  const std::string status = contents_of(directory / "status");
  usage.voluntary_switches = number_after(status, "\nvoluntary_ctxt_switches:");
  usage.forced_switches = number_after(status, "\nnonvoluntary_ctxt_switches:");
  return usage;
}

Usage usage_of(pid_t pid) {
  Usage usage;
  const std::filesystem::path directory = fmt::format("/proc/{}", pid);
  // The command in parentheses may contain anything; what follows the last parenthesis is numbers:
  // state is field 3, utime 14 and stime 15 (man 5 proc).
  const std::string stat = contents_of(directory / "stat");
  std::istringstream fields(stat.substr(std::min(stat.size(), stat.rfind(')') + 1)));
  std::string skipped;
  for (int field = 3; field < 14; ++field) fields >> skipped;
  std::uint64_t user = 0;
  std::uint64_t system = 0;
  if (!(fields >> user >> system)) throw std::runtime_error(fmt::format("{} is gone", pid));
  usage.ticks = user + system;
  for (const auto& thread : std::filesystem::directory_iterator(directory / "task")) {
    usage.threads[thread.path().filename()] = usage_of_thread(thread.path());
  }
  return usage;
}

struct IdleFigures {
  Difference server = {};
  Difference clients = {};                      // all of them together
  std::uint64_t most_switches_of_a_client = 0;  // voluntary
};

IdleFigures watch(pid_t server, const std::vector<Child>& clients, double seconds) {
  std::this_thread::sleep_for(kSettle);
  std::vector<Usage> before;
  before.reserve(clients.size());
  for (const Child& client : clients) before.push_back(usage_of(client.pid()));
  const Usage server_before = usage_of(server);

  std::this_thread::sleep_for(std::chrono::duration<double>(seconds));

  IdleFigures figures{.server = usage_of(server) - server_before};
  for (std::size_t number = 0; number < clients.size(); ++number) {
    const Difference client = usage_of(clients[number].pid()) - before[number];
    figures.clients += client;
    figures.most_switches_of_a_client = std::max(figures.most_switches_of_a_client, client.threads.voluntary_switches);
  }
  return figures;
}

/// Starts 64 clients by a role of this program and returns when each has printed that it is connected.
std::vector<Child> start_clients(std::string_view role, const std::string& name) {
  std::vector<Child> clients;
  clients.reserve(kClients);
  for (unsigned id = 0; id < kClients; ++id) {
    clients.emplace_back(Command{
        .program = own_program(),
        .arguments = {"--role", std::string(role), name, std::to_string(id)},
    });
  }
  for (Child& client : clients) {
    if (client.hear(30s) != "connected") throw std::runtime_error("an idle client cannot connect");
  }
  return clients;
}

IdleFigures watch_hostmap(double seconds) {
  Instance instance({});
  std::vector<Child> clients = start_clients("idle-client", instance.name());
  const IdleFigures figures = watch(instance.server_pid(), clients, seconds);
  for (Child& client : clients) client.wait(30s);
  instance.stop();
  return figures;
}

IdleFigures watch_sketch(double seconds) {
  const std::string name = unique_name();
  const sketch::RegionGuard guard(name);
  Child server({.program = own_program(),
                .arguments = {"--role", "sketch-server", name, "10", "0"},
                .signal_when_parent_dies = SIGTERM});
  if (server.hear(10s) != "ready") throw std::runtime_error("the sketch's server does not start");
  std::vector<Child> clients = start_clients("sketch-idle", name);
  const IdleFigures figures = watch(server.pid(), clients, seconds);
  for (Child& client : clients) client.wait(30s);
  server.signal(SIGTERM);
  (void)server.hear(30s);
  server.wait(10s);
  return figures;
}

struct Line {
  std::string name;
  std::string unit;
  double hostmap;
  double sketch;
  std::optional<double> goal;
};

std::vector<Line> lines_of(const IdleFigures& hostmap, const IdleFigures& sketch) {
  const auto line = [](std::string name, std::string unit, std::uint64_t ours, std::uint64_t theirs,
                       std::optional<double> goal) {
    return Line{std::move(name), std::move(unit), static_cast<double>(ours), static_cast<double>(theirs), goal};
  };
  return {
      line("server, processor time", "ticks", hostmap.server.ticks, sketch.server.ticks, 0),
      line("all clients, processor time", "ticks", hostmap.clients.ticks, sketch.clients.ticks, 0),
      line("server, voluntary switches", "switches", hostmap.server.threads.voluntary_switches,
           sketch.server.threads.voluntary_switches, kServerSwitchesGoal),
      line("most of a client, voluntary switches", "switches", hostmap.most_switches_of_a_client,
           sketch.most_switches_of_a_client, 0),
      line("server, forced switches", "switches", hostmap.server.threads.forced_switches,
           sketch.server.threads.forced_switches, std::nullopt),
      line("all clients, forced switches", "switches", hostmap.clients.threads.forced_switches,
           sketch.clients.threads.forced_switches, std::nullopt),
      line("server, exact time", "us", hostmap.server.threads.nanoseconds / 1000,
           sketch.server.threads.nanoseconds / 1000, std::nullopt),
      line("all clients, exact time", "us", hostmap.clients.threads.nanoseconds / 1000,
           sketch.clients.threads.nanoseconds / 1000, std::nullopt),
  };
}

}  // namespace

static int play_idle_client(std::span<char* const> arguments) {
  Client client = connect_to(arguments[0]);
  const std::string key = fmt::format("idle-{}", arguments[1]);
  const Status status = client.put(key, std::string_view("value"));
  if (!status.ok()) throw std::runtime_error(fmt::format("put: {}", status.message()));
  report_and_wait("connected");
  return 0;
}

static void ask_idle(Session& session) {
  const double seconds = session.choices.seconds;
  session.progress.step(fmt::format("idle · hostmap for {} s", seconds));
  const IdleFigures hostmap = watch_hostmap(seconds);
  session.progress.step(fmt::format("idle · sketch for {} s", seconds));
  const IdleFigures sketch = watch_sketch(seconds);
  session.progress.clear();

  Table table(fmt::format("idle · a server and {} connected clients over {} s", kClients, seconds),
              {"", "unit", "hostmap", "sketch", "goal", ""});
  for (const Line& line : lines_of(hostmap, sketch)) {
    Finding finding{.name = fmt::format("idle/{}", line.name),
                    .unit = line.unit,
                    .hostmap = line.hostmap,
                    .rivals = {{"sketch", line.sketch}},
                    .floor = 0,
                    .goal = line.goal};
    table.row({{line.name},
               {line.unit, Tone::kFaint},
               {format_count(static_cast<std::uint64_t>(line.hostmap)), Tone::kStrong},
               {format_count(static_cast<std::uint64_t>(line.sketch))},
               {line.goal ? fmt::format("≤ {}", *line.goal) : "none", Tone::kFaint},
               finding.goal ? verdict(*finding.goal_met()) : Cell{}});
    session.report.add(std::move(finding));
  }
  table.note(fmt::format("a tick is 1/{} s; floor: 0 of everything", sysconf(_SC_CLK_TCK)));
  table.print();
}

namespace {

const Registered idle_question(Question{230, "idle", "what a server and 64 idle clients cost", ask_idle});
const Registered idle_client_role(Role{"idle-client", 2, play_idle_client});

}  // namespace

}  // namespace hostmap::bench
