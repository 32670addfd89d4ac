// Question `hostile`: what do 63 honest load clients keep when the 64th is not honest?
//
// The 64th takes its share of the processor whatever it does, so the measure is an honest 64th: each kind of hostile client
// takes its place in turn, and what counts is what the other 63 write. The hostile ones begin when the honest ones are in.

#include <array>
#include <atomic>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <fmt/format.h>
#include <iostream>
#include <span>
#include <stdexcept>
#include <string>
#include <thread>
#include <unistd.h>
#include <vector>

#include "base/platform.hpp"
#include "client/session.hpp"
#include "harness/floors.hpp"
#include "harness/harness.hpp"
#include "harness/instance.hpp"
#include "harness/other_load.hpp"
#include "harness/process.hpp"
#include "harness/question.hpp"
#include "harness/workload.hpp"
#include "layout/master.hpp"
#include "shm/names.hpp"
#include "wait/futex.hpp"

namespace hostmap::bench {
namespace {

using namespace std::chrono_literals;

constexpr unsigned kHonest = 63;
constexpr unsigned kDefaultRounds = 3;
constexpr double kGoal = 0.9;
constexpr std::string_view kHonestKind = "honest";
// What no map can keep from anybody: the system gives a process that never sleeps its share of the cpus.
constexpr std::string_view kFloorKind = "spins, and touches nothing";

// ---- the hostile ones: each runs until it is killed ---------------------------------------------

class Attacker {
 public:
  explicit Attacker(const InstanceName& name)
      : deadline_(30s),
        session_(must(hostmap::Session::open(name, deadline_))),
        channel_(*must(session_->channel(0, deadline_))) {}

  /// The largest requests that fit a record, as many as the ring takes.
  [[noreturn]] void flood() {
    const std::vector<std::byte> value(channel_.largest_payload() - 8);
    for (std::uint64_t i = 0;; ++i) {
      if (!channel_.try_send(Op::kPut, bytes_of(key_of(i % 16)), value)) await_room(channel_.largest_payload());
    }
  }
  /// A value of 64 MiB after the other, in pieces; and in the middle of one this process stops.
  [[noreturn]] void stall() {
    std::jthread stopper([] {
      std::this_thread::sleep_for(200ms);
      std::raise(SIGSTOP);
    });
    const std::vector<std::byte> value(std::size_t{64} << 20);
    for (;;) static_cast<void>(channel_.send_any(Op::kPut, false, bytes_of(key_of(1)), std::span(value), deadline_));
  }
  /// Gets by ring, and no answer is read.
  [[noreturn]] void leave_answers() {
    for (;;) {
      await_room(8);
      channel_.send(Op::kGet, true, bytes_of(key_of(1)), {});
    }
  }

  /// Thousands of threads that sleep on the words of as many groups of keys as a client may register with, and sleep again as soon
  /// as they are woken. Each change of a key of such a group wakes some.
  [[noreturn]] void sleep_in_crowds() {
    constexpr unsigned kThreads = 2'000;
    constexpr std::uint64_t kGroups = 64;
    std::array<const HalfWord*, kGroups> words{};
    for (std::uint64_t group = 0; group < kGroups; ++group) {
      const auto number = std::as_bytes(std::span(&group, 1));
      if (!channel_.send_any(Op::kWatch, true, {}, number, deadline_).ok() || !channel_.await_answer(deadline_).ok()) {
        throw std::runtime_error("the server gave no answer");
      }
      channel_.release();
      words[group] = session_->wait_word(0, static_cast<std::uint32_t>(group));
    }
    for (unsigned i = 0; i < kThreads; ++i) {
      std::thread([&word = *words[i % kGroups]] {
        // relaxed: whatever it is
        for (;;) futex_wait(word, word.load(std::memory_order_relaxed), kNoTimeout);
      }).detach();
    }
    for (;;) ::pause();
  }

 private:
  void await_room(std::uint64_t payload) {
    Deadline long_time(std::chrono::hours(1));
    if (!channel_.await_room(payload, long_time).ok()) throw std::runtime_error("the server closed the connection");
  }
  template <typename T>
  static T must(Result<T> result) {
    if (!result) throw std::runtime_error(std::string(result.status().message()));
    return std::move(*result);
  }

  Deadline deadline_;
  std::unique_ptr<hostmap::Session> session_;
  ClientChannel& channel_;
};

/// Random words all over the master region, and every bell rung.
[[noreturn]] void scribble(const InstanceName& name) {
  Result<Region> master = Region::attach(name.master(), RegionKind::kMaster, Access::kReadWrite);
  if (!master) throw std::runtime_error(std::string(master.status().message()));
  Random random(7);
  for (;;) {
    for (int i = 0; i < 64; ++i) {
      // relaxed: whatever the server makes of it
      master->at<Word>(8 * random.below(master->bytes() / 8))->store(random.next(), std::memory_order_relaxed);
    }
    auto& header = *master->at<MasterHeader>(0);
    futex_add_and_wake(header.server_bell.rings);
    for (Bell& bell : header.worker_bells) futex_add_and_wake(bell.rings);
  }
}

[[noreturn]] void spin() {
  for (std::atomic<std::uint64_t> count{0};;)
    count.fetch_add(1, std::memory_order_relaxed);  // relaxed: nobody reads it
}

struct Kind {
  std::string_view name;
  void (*attack)(const InstanceName& name);
};
constexpr std::size_t kFloor = 1;
constexpr std::array kKinds{
    Kind{kHonestKind, nullptr},
    Kind{kFloorKind, [](const InstanceName&) { spin(); }},
    Kind{"floods", [](const InstanceName& name) { Attacker(name).flood(); }},
    Kind{"stalls in mid-stream", [](const InstanceName& name) { Attacker(name).stall(); }},
    Kind{"takes no answers", [](const InstanceName& name) { Attacker(name).leave_answers(); }},
    Kind{"sleeps 2,000 times on keys", [](const InstanceName& name) { Attacker(name).sleep_in_crowds(); }},
    Kind{"scribbles, master region", [](const InstanceName& name) { scribble(name); }},
};

// ---- one round ----------------------------------------------------------------------------------

Command load_client(const Instance& instance, unsigned id, double seconds) {
  return {.program = sibling_program("hostmap-client"),
          .arguments = {std::to_string(id), "--seconds", fmt::format("{}", seconds), "--name", instance.name()}};
}

/// Million writes a second of the honest 63.
double run_round(std::size_t kind, double seconds) {
  Instance instance({"10"});
  const auto patience = std::chrono::ceil<std::chrono::seconds>(std::chrono::duration<double>(4 * seconds + 60));
  std::vector<Child> honest;
  honest.reserve(kHonest);
  const Clock::time_point start = Clock::now();
  for (unsigned id = 0; id < kHonest; ++id) honest.emplace_back(load_client(instance, id, seconds));
  Child last(kKinds[kind].attack == nullptr
                 ? load_client(instance, kHonest, seconds)
                 : Command{.program = own_program(),
                           .arguments = {"--role", "hostile", instance.name(), std::to_string(kind)},
                           .without_errors = true});
  if (kKinds[kind].attack != nullptr) {
    while (instance.stat("connected") < kHonest) std::this_thread::sleep_for(50ms);
    last.say("go");
  }
  std::uint64_t total = 0;
  for (Child& client : honest) {
    const std::string line = client.hear(patience);
    std::uint64_t writes = 0;
    if (std::sscanf(line.c_str(), "Done (%lu writes)", &writes) != 1) {
      throw std::runtime_error(fmt::format("beside one that {}, a load client said \"{}\"", kKinds[kind].name, line));
    }
    total += writes;
  }
  const std::chrono::duration<double> taken = Clock::now() - start;
  for (Child& client : honest) client.wait(30s);
  if (kKinds[kind].attack == nullptr) {
    static_cast<void>(last.hear(patience));
    last.wait(30s);
  } else {
    if (last.ended()) throw std::runtime_error(fmt::format("the one that {} has ended", kKinds[kind].name));
    last.signal(SIGKILL);
  }
  instance.stop();
  return static_cast<double>(total) / taken.count() / 1e6;
}

}  // namespace

static int play_hostile(std::span<char* const> arguments) {
  const Result<InstanceName> name = InstanceName::parse(arguments[0], {});
  const std::size_t kind = std::stoul(arguments[1]);
  std::string line;
  std::getline(std::cin, line);
  kKinds.at(kind).attack(*name);
  return 1;
}

static void ask_hostile(Session& session) {
  const unsigned rounds = session.choices.rounds == 0 ? kDefaultRounds : session.choices.rounds;
  const double seconds = session.choices.seconds;
  const OtherLoad others;
  std::array<Series, kKinds.size()> rates;
  interleave(rounds, kKinds.size(), [&](unsigned round, std::size_t kind) {
    session.progress.step(fmt::format("hostile · the 64th {} · round {} of {}", kKinds[kind].name, round + 1, rounds));
    rates[kind].add(run_round(kind, seconds));
  });
  session.progress.clear();
  Table table(
      fmt::format("hostile · million writes/s of 63 honest load clients, {} s, median of {} rounds", seconds, rounds),
      {"the 64th", "63 honest", "kept", "goal", "", "of the floor's"});
  table.row({{std::string(kHonestKind)}, {format_series(rates[0])}});
  for (std::size_t kind = 1; kind < kKinds.size(); ++kind) {
    const Ratio kept = ratio_of(rates[kind], rates[0]);
    if (kind == kFloor) {
      table.row({{fmt::format("floor: {}", kFloorKind), Tone::kFaint},
                 {format_series(rates[kind]), Tone::kFaint},
                 {format_ratio(kept), Tone::kFaint}});
      continue;
    }
    Finding finding{.name = fmt::format("hostile/{}", kKinds[kind].name),
                    .unit = "million writes/s",
                    .hostmap = rates[kind].median(),
                    .rivals = {{"beside an honest one", rates[0].median()}},
                    .floor = rates[kFloor].median(),
                    .ratio = kept,
                    .goal = kGoal,
                    .better = Better::kHigher};
    table.row({{std::string(kKinds[kind].name), Tone::kStrong},
               {format_series(rates[kind]), Tone::kStrong},
               {format_ratio(kept)},
               {fmt::format("≥ {:.1f}", kGoal)},
               verdict(*finding.goal_met()),
               {format_ratio(ratio_of(rates[kind], rates[kFloor])), Tone::kFaint}});
    session.report.add(std::move(finding));
  }
  table.note(others.sentence());
  table.print();
}

namespace {

const Registered hostile_question(Question{180, "hostile", "what 63 honest load clients keep beside one that is not",
                                           ask_hostile});
const Registered hostile_role(Role{"hostile", 2, play_hostile});

}  // namespace

}  // namespace hostmap::bench
