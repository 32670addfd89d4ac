// Question `crowd`: what does a busy client lose beside 1000 that are connected and do nothing?
//
// Two instances, one with the idle connections and one without; the same client (that of `put-sync`) sends requests to each in turn.
// Each idle connection has put a key, so the server has a channel of it to poll.

#include <array>
#include <chrono>
#include <cstdint>
#include <cstdlib>
#include <fmt/format.h>
#include <span>
#include <stdexcept>
#include <string>
#include <sys/resource.h>
#include <vector>

#include <hostmap/client.hpp>

#include "harness/floors.hpp"
#include "harness/harness.hpp"
#include "harness/idle_crowd.hpp"
#include "harness/instance.hpp"
#include "harness/other_load.hpp"
#include "harness/process.hpp"
#include "harness/question.hpp"
#include "harness/workload.hpp"
#include "layout/region.hpp"

namespace hostmap::bench {
namespace {

using namespace std::chrono_literals;

constexpr std::uint64_t kEntries = 1'000;  // as many as the busy client's
constexpr unsigned kDefaultRounds = 9;
constexpr double kGoal = 1.2;
/// Of both servers: the idle ones, the busy one, and some to spare.
constexpr unsigned kMaxConnections = kIdle + 100;
/// A connection takes two descriptors of the server and three of its client (docs/operate/starting.md, hostmap/client.hpp); a
/// process has some of its own.
constexpr rlim_t kOwnDescriptors = 100;
constexpr rlim_t kServerDescriptors = 2 * (kIdle + 1) + kOwnDescriptors;
constexpr rlim_t kHolderDescriptors = 3 * kIdleOfHolder + kOwnDescriptors;

rlimit descriptor_limit() {
  rlimit limit{};
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0) throw std::runtime_error("getrlimit failed");
  return limit;
}

/// Raises the soft limit of this process if it is lower. no_idle_crowd() has seen that the hard one allows it.
void allow_descriptors(rlim_t needed) {
  rlimit limit = descriptor_limit();
  if (limit.rlim_cur >= needed) return;
  limit.rlim_cur = needed;
  if (setrlimit(RLIMIT_NOFILE, &limit) != 0) throw std::runtime_error("cannot raise the limit of descriptors");
}

}  // namespace

std::vector<std::string> arguments_for_idle_crowd() { return {"--max-connections", std::to_string(kMaxConnections)}; }

std::string no_idle_crowd() {
  const rlim_t hard = descriptor_limit().rlim_max;
  if (hard >= kServerDescriptors) return {};
  return fmt::format("needs a hard limit of {} descriptors (ulimit -Hn), and it is {}", kServerDescriptors, hard);
}

std::vector<Child> start_idle_crowd(const Instance& instance) {
  std::vector<Child> holders;
  holders.reserve(kIdleHolders);
  for (unsigned number = 0; number < kIdleHolders; ++number) {
    holders.emplace_back(Command{.program = own_program(),
                                 .arguments = {"--role", "crowd-idle", instance.name(), std::to_string(number)}});
  }
  for (Child& holder : holders) {
    // The server accepts clients with a tenth of a CPU.
    if (holder.hear(300s) != "connected") throw std::runtime_error("an idle client cannot connect");
  }
  return holders;
}

void expect_connections(const Instance& instance, std::uint64_t expected) {
  if (const std::uint64_t connections = instance.stat("connections"); connections != expected) {
    throw std::runtime_error(fmt::format("the server has {} connections, not {}", connections, expected));
  }
}

static int play_crowd_idle(std::span<char* const> arguments) {
  allow_descriptors(kHolderDescriptors);
  const std::uint64_t first = std::strtoull(arguments[1], nullptr, 10) * kIdleOfHolder;
  std::vector<Client> clients;
  clients.reserve(kIdleOfHolder);
  for (std::uint64_t i = first; i < first + kIdleOfHolder; ++i) {
    clients.push_back(connect_to(arguments[0], 120s));
    const Status status = clients.back().put(bytes_of(key_of(i % kEntries)), bytes_of(i));
    if (!status.ok()) throw std::runtime_error(fmt::format("put: {}", status.message()));
  }
  report_and_wait("connected");
  return 0;
}

static void ask_crowd(Session& session) {
  const Floors& floors = session.floors.get();
  const std::vector<int> cpus = allowed_cpus();
  if (cpus.size() < 2) {
    session.progress.step("crowd · skipped, needs two CPUs");
    return;
  }
  if (const std::string why = no_idle_crowd(); !why.empty()) {
    session.progress.step(fmt::format("crowd · skipped, {}", why));
    return;
  }
  session.progress.step("crowd");
  const OtherLoad others;
  std::array<Instance, 2> instances{Instance(arguments_for_idle_crowd()), Instance(arguments_for_idle_crowd())};
  const Instance& crowded = instances[0];
  session.progress.detail(fmt::format("connecting {} idle clients", kIdle));
  std::vector<Child> holders = start_idle_crowd(crowded);
  const auto busy_client_of = [&](const Instance& instance) {
    instance.pin_server(cpus[0]);
    return Child(
        {.program = own_program(), .arguments = {"--role", "put-sync-client", instance.name()}, .cpu = cpus[1]});
  };
  std::array<Child, 2> busy{busy_client_of(instances[0]), busy_client_of(instances[1])};
  const unsigned rounds = session.choices.rounds == 0 ? kDefaultRounds : session.choices.rounds;
  std::array<Series, 2> series;
  interleave(rounds, series.size(), [&](unsigned round, std::size_t contestant) {
    session.progress.detail(fmt::format("round {} of {}", round + 1, rounds));
    busy[contestant].say("round");
    series[contestant].add(std::strtod(busy[contestant].hear(120s).c_str(), nullptr));
  });
  expect_connections(crowded, kIdle + 1);
  expect_connections(instances[1], 1);
  for (Child& client : busy) client.wait(30s);
  for (Child& holder : holders) holder.wait(30s);
  for (Instance& instance : instances) instance.stop();

  const Finding finding{.name = "crowd",
                        .unit = "ns",
                        .hostmap = series[0].median(),
                        .rivals = {{"alone", series[1].median()}},
                        .floor = floors.ping_pong_round_trip,
                        .ratio = ratio_of(series[0], series[1]),
                        .goal = kGoal};
  session.report.add(finding);
  session.progress.clear();
  Table table(fmt::format("crowd · a synchronous client, {} entries of 8 + 8 bytes · ns a put, median of {} rounds",
                          format_count(kEntries), rounds),
              {"", "ns", "crowded : alone", "goal", ""});
  table.row({{fmt::format("beside {} idle connections", format_count(kIdle)), Tone::kStrong},
             {format_series(series[0]), Tone::kStrong},
             {format_ratio(*finding.ratio)},
             {fmt::format("≤ {:.1f}", kGoal)},
             verdict(*finding.goal_met())});
  table.row({{"alone"}, {format_series(series[1])}, {""}, {""}, {""}});
  table.row({{"floor: one line and back", Tone::kFaint},
             {format_figure(*floors.ping_pong_round_trip), Tone::kFaint},
             {""},
             {""},
             {""}});
  table.note(fmt::format("{} processes hold the idle connections, each of which has put a key", kIdleHolders));
  table.note(others.sentence());
  table.print();
}

namespace {

const Registered crowd_question(Question{80, "crowd", "a busy client beside 1000 idle connections against alone",
                                         ask_crowd});
const Registered crowd_idle_role(Role{"crowd-idle", 2, play_crowd_idle});

}  // namespace

}  // namespace hostmap::bench
