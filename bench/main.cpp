// hostmap-bench NAME… [--json FILE] [--list]: measures the questions named (all of them when none is
// named), prints a table for each and ends with how many goals are met. README.md in this folder
// explains how to read them.
//
// Exit codes: 0 measured (whether or not the goals are met: machines differ), 1 could not measure,
// or a check of the work itself failed, 2 wrong usage.

#include <CLI/CLI.hpp>
#include <algorithm>
#include <csignal>
#include <cstdio>
#include <exception>
#include <fmt/format.h>
#include <fstream>
#include <stdexcept>
#include <string>
#include <vector>

#include <hostmap/version.hpp>

#include "harness/floors.hpp"
#include "harness/harness.hpp"
#include "harness/question.hpp"

namespace hostmap::bench {
namespace {

int play_role(std::span<char* const> arguments) {
  for (const Role& role : roles()) {
    if (role.name == arguments[0] && role.arguments + 1 == arguments.size()) {
      return role.play(arguments.subspan(1));
    }
  }
  throw std::runtime_error(fmt::format("no such role: {}", arguments[0]));
}

void list_questions() {
  for (const Question& question : questions()) {
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
  for (const Question& question : questions()) {
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
  known.reserve(questions().size());
  for (const Question& question : questions()) known.emplace_back(question.name);
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
