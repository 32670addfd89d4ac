// Questions `intents` and `guards`: what does it cost that a restart can finish or undo whatever a killed server was doing; and
// what, that clients may be hostile?
//
// Before each change the worker writes down what it is about to do. And it is guarded against files that are truncated, shares
// itself out by bytes, counts what streams hold and filters its own system calls. The same server without the one or the other
// is built for these questions alone; both run at once and take turns, so that both have the same machine.

#include <chrono>
#include <cstdlib>
#include <fmt/format.h>
#include <iostream>
#include <stdexcept>
#include <string>
#include <vector>

#include <hostmap/client.hpp>

#include "harness/floors.hpp"
#include "harness/harness.hpp"
#include "harness/instance.hpp"
#include "harness/other_load.hpp"
#include "harness/process.hpp"
#include "harness/question.hpp"
#include "harness/workload.hpp"

namespace hostmap::bench {
namespace {

using namespace std::chrono_literals;

constexpr std::uint64_t kEntries = 1'000;  // in the caches: nothing else is as fast, so nothing shows the cost better
constexpr std::uint64_t kPuts = 2'000'000;
constexpr unsigned kDefaultRounds = 15;

void put_all(Client& client, std::uint64_t count, Random& random) {
  for (std::uint64_t i = 0; i < count; ++i) {
    if (const Status status = client.put_async(bytes_of(key_of(random.below(kEntries))), bytes_of(i)); !status.ok()) {
      throw std::runtime_error(fmt::format("put_async: {}", status.message()));
    }
  }
  if (const Status status = client.flush(); !status.ok()) {
    throw std::runtime_error(fmt::format("flush: {}", status.message()));
  }
}

}  // namespace

// In the client's process: a line on standard input is a round; nanoseconds a put are the answer.
static int play_intents_client(std::span<char* const> arguments) {
  Client client = connect_to(arguments[0]);
  Random random(7);
  for (std::string line; std::getline(std::cin, line);) {
    put_all(client, kPuts / 10, random);
    const Clock::time_point start = Clock::now();
    put_all(client, kPuts, random);
    fmt::print("{}\n", std::chrono::duration<double, std::nano>(Clock::now() - start).count() / kPuts);
    std::fflush(stdout);
  }
  return 0;
}

namespace {

// hostmap against `program`, which is hostmap without something.
void compare(Session& session, const std::string& question, const std::string& program, double goal) {
  const std::vector<int> cpus = allowed_cpus();
  if (cpus.size() < 2) {
    session.progress.step(question + " · skipped, needs two CPUs");
    return;
  }
  session.progress.step(question);
  const OtherLoad others;
  Instance with({});
  Instance without({}, program);
  const auto client_of = [&](const Instance& instance) {
    instance.pin_server(cpus[0]);
    return Child(
        {.program = own_program(), .arguments = {"--role", "intents-client", instance.name()}, .cpu = cpus[1]});
  };
  Child clients[] = {client_of(with), client_of(without)};
  const unsigned rounds = session.choices.rounds == 0 ? kDefaultRounds : session.choices.rounds;
  Series series[2];
  interleave(rounds, 2, [&](unsigned round, std::size_t contestant) {
    session.progress.detail(fmt::format("round {} of {}", round + 1, rounds));
    clients[contestant].say("round");
    series[contestant].add(std::strtod(clients[contestant].hear(120s).c_str(), nullptr));
  });
  for (Child& child : clients) {
    child.close_input();
    child.wait(30s);
  }
  with.stop();
  without.stop();
  const Ratio ratio = ratio_of(series[0], series[1]);
  Finding finding{.name = question,
                  .unit = "ns",
                  .hostmap = series[0].median(),
                  .rivals = {{"without " + question, series[1].median()}},
                  .ratio = ratio,
                  .goal = goal};
  session.report.add(finding);

  session.progress.clear();
  Table table(fmt::format("{} · pipelined puts of 8 + 8 bytes, {} entries · ns a put, median of {} rounds", question,
                          format_count(kEntries), rounds),
              {"", "ns", "hostmap : this", "goal", ""});
  table.row({{"hostmap", Tone::kStrong}, {format_series(series[0]), Tone::kStrong}, {""}, {""}, {""}});
  table.row({{"without " + question},
             {format_series(series[1])},
             {format_ratio(ratio)},
             {fmt::format("≤ {}", goal)},
             verdict(*finding.goal_met())});
  table.note(others.sentence());
  table.print();
}

}  // namespace

static void ask_intents(Session& session) { compare(session, "intents", "hostmap-server-without-intents", 1.1); }
static void ask_guards(Session& session) { compare(session, "guards", "hostmap-server-without-guards", 1.02); }

namespace {

const Registered intents_question(Question{190, "intents", "what it costs to write down each change before it is made",
                                           ask_intents});
const Registered guards_question(Question{200, "guards", "what it costs that clients may be hostile", ask_guards});
const Registered intents_client_role(Role{"intents-client", 1, play_intents_client});

}  // namespace

}  // namespace hostmap::bench
