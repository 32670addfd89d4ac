// hostmap-bench NAME… [--json FILE] [--list]: asks the questions named (all of them when none is
// named), prints a table for each and ends with how many goals are met. README.md in this folder
// explains how to read them.
//
// Exit codes: 0 measured (whether or not the goals are met: machines differ), 1 could not measure,
// or a check of the work itself failed, 2 wrong usage.

#include <CLI/CLI.hpp>
#include <algorithm>
#include <array>
#include <csignal>
#include <cstdio>
#include <exception>
#include <fmt/format.h>
#include <fstream>
#include <stdexcept>
#include <string>
#include <vector>

#include "floors.hpp"
#include "harness.hpp"
#include "question.hpp"
#include "rivals/sketch.hpp"

namespace hostmap::bench {
namespace {

constexpr std::array kQuestions{
    Question{"get", "a read from another process against maps inside one's own", ask_get},
    Question{"get-under-write", "a get while the worker writes at full rate", ask_get_under_write},
    Question{"pages", "a get from a table in 2 MiB pages against one in 4 KiB pages", ask_pages},
    Question{"readers", "two reading processes against one", ask_readers},
    Question{"multi-get", "several keys at once against one by one, table in DRAM", ask_multi_get},
    Question{"put-sync", "a put that waits for its answer, against the bare ring and Redis", ask_put_sync},
    Question{"wake", "a put to a server that sleeps, against the futex ping-pong", ask_wake},
    Question{"crowd", "a busy client beside 1000 idle connections against alone", ask_crowd},
    Question{"occasional", "a put now and then beside a flooding client and 1000 idle connections", ask_occasional},
    Question{"peers", "a get from another process against what people use between processes", ask_peers},
    Question{"put-pipelined", "a put that is not waited for, against the bare ring and Redis", ask_put_pipelined},
    Question{"growth", "the longest puts while the table grows, against a presized one", ask_growth},
    Question{"memory", "bytes that an entry takes beyond its key and value", ask_memory},
    Question{"values", "large values read and written, against memcpy", ask_values},
    Question{"load64", "64 load clients at once against the sketch's design", ask_load64},
    Question{"sync64", "64 synchronous clients at once against Redis: rate and latencies", ask_sync64},
    Question{"busy", "a put that is waited for beside processes that only compute, against Redis and LMDB", ask_busy},
    Question{"hostile", "what 63 honest load clients keep beside one that is not", ask_hostile},
    Question{"intents", "what it costs to write down each change before it is made", ask_intents},
    Question{"guards", "what it costs that clients may be hostile", ask_guards},
    Question{"restart", "how long a killed server's successor takes until it serves", ask_restart},
    Question{"takeover", "the longest put while a server hands over to the next", ask_takeover},
    Question{"idle", "what a server and 64 idle clients cost", ask_idle},
    Question{"instructions", "how many instructions a get and a put are", ask_instructions},
};

constexpr std::array kRoles{
    Role{"get-loader", 2, play_get_loader},
    Role{"get-reader", 4, play_get_reader},
    Role{"steady-writer", 2, play_steady_writer},
    Role{"idle-client", 2, play_idle_client},
    Role{"sketch-server", 3, sketch::serve},
    Role{"sketch-load", 4, sketch::load},
    Role{"sketch-idle", 2, sketch::idle},
    Role{"multi-get-reader", 3, play_multi_get_reader},
    Role{"put-sync-client", 1, play_put_sync_client},
    Role{"put-sync-redis", 1, play_put_sync_redis},
    Role{"wake-client", 1, play_wake_client},
    Role{"crowd-idle", 2, play_crowd_idle},
    Role{"occasional-flooder", 1, play_occasional_flooder},
    Role{"occasional-client", 1, play_occasional_client},
    Role{"sync64-client", 3, play_sync64_client},
    Role{"peers-loader", 4, play_peers_loader},
    Role{"peers-client", 4, play_peers_client},
    Role{"put-pipelined-client", 2, play_put_pipelined_client},
    Role{"put-pipelined-redis", 1, play_put_pipelined_redis},
    Role{"growth-client", 2, play_growth_client},
    Role{"memory-churn", 3, play_memory_churn},
    Role{"memory-refill", 2, play_memory_refill},
    Role{"memory-redis", 3, play_memory_redis},
    Role{"values-writer", 1, play_values_writer},
    Role{"values-reader", 3, play_values_reader},
    Role{"busy-client", 3, play_busy_client},
    Role{"busy-spinner", 0, play_busy_spinner},
    Role{"hostile", 2, play_hostile},
    Role{"intents-client", 1, play_intents_client},
    Role{"restart-loader", 2, play_restart_loader},
    Role{"takeover-client", 3, play_takeover_client},
    Role{"count", 2, play_count},
};

int play_role(std::span<char* const> arguments) {
  for (const Role& role : kRoles) {
    if (role.name == arguments[0] && role.arguments + 1 == arguments.size()) {
      return role.play(arguments.subspan(1));
    }
  }
  throw std::runtime_error(fmt::format("no such role: {}", arguments[0]));
}

void list_questions() {
  for (const Question& question : kQuestions) {
    fmt::print("{:<15} {}\n", question.name, question.summary);
  }
}

void write_report(const std::string& path, const Report& report) {
  std::ofstream file(path);
  file << report.json();
  file.flush();
  if (!file) throw std::runtime_error(fmt::format("cannot write {}", path));
}

/// `path`: written anew after each question, so that one that fails takes nothing of the others with it; empty: nowhere.
void ask(const std::vector<std::string>& names, Session& session, const std::string& path) {
  for (const Question& question : kQuestions) {
    if (!names.empty() && std::find(names.begin(), names.end(), question.name) == names.end()) continue;
    question.ask(session);
    if (!path.empty()) write_report(path, session.report);
  }
}

int run(int argument_count, char** arguments) {
  Choices choices;
  std::vector<std::string> names;
  std::string json_path;
  bool list = false;

  CLI::App app{"Asks hostmap and its rivals the same questions in one run, and prints ratios."};
  std::vector<std::string> known;
  known.reserve(kQuestions.size());
  for (const Question& question : kQuestions) known.emplace_back(question.name);
  app.add_option("NAME", names, "questions to ask; all of them when none is named")->check(CLI::IsMember(known));
  app.add_option("--json", json_path, "write all results to this file");
  app.add_flag("--list", list, "list the questions and end");
  app.add_option("--rounds", choices.rounds, "rounds of each measurement (get: 9, load64: 2, sync64: 3)")
      ->check(CLI::Range(1, 1000));
  app.add_option("--seconds", choices.seconds, "length of a load64 or sync64 round and of the idle watch")
      ->check(CLI::Range(0.1, 3600.0))
      ->capture_default_str();
  app.add_option("--max-entries", choices.max_entries, "largest map of the question get")
      ->check(CLI::Range(std::uint64_t{1000}, std::uint64_t{10'000'000}))
      ->capture_default_str();
  try {
    app.parse(argument_count, arguments);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : 2;
  }
  if (list) {
    list_questions();
    return 0;
  }

  fmt::print("hostmap-bench · commit {} · {}\n", commit(), machine());
  std::fflush(stdout);
  Report report;
  Progress progress;
  FloorFigures floors(report, progress);
  Session session{choices, floors, progress, report};
  ask(names, session, json_path);
  progress.clear();
  fmt::print("\n{} of {} goals met\n", report.goals_met(), report.goals());
  return 0;
}

}  // namespace
}  // namespace hostmap::bench

int main(int argument_count, char** arguments) {
  try {
    // A child that has died shows when we read from it; the signal would only take
    // the message away.
    std::signal(SIGPIPE, SIG_IGN);
    if (argument_count > 2 && std::string_view(arguments[1]) == "--role") {
      return hostmap::bench::play_role({arguments + 2, arguments + argument_count});
    }
    return hostmap::bench::run(argument_count, arguments);
  } catch (const std::exception& error) {
    fmt::print(stderr, "\nhostmap-bench: {}\n", error.what());
    return 1;
  }
}
