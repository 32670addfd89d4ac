// The cases of a model, and the main() that all models share:
//
//   PROGRAM quick|full [-v] [TEXT]
//
// A case either must hold, or it is a broken variant of the protocol, which must be caught: a model
// that finds no fault in a faulty protocol proves nothing about a good one. `quick` explores fewer
// requests than `full`; -v prints the way to what was caught; TEXT selects the cases that have it in
// their lines. Exit code: 0 when all is as expected, 1 when not, 2 for wrong usage.
#pragma once

#include <chrono>
#include <cstdint>
#include <cstdio>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

namespace hostmap::models {

enum class Effort { kQuick, kFull };

// A bound that depends on the effort.
struct Depth {
  int quick = 0;
  int full = 0;

  int at(Effort effort) const { return effort == Effort::kQuick ? quick : full; }
};

struct Verdict {
  std::uint64_t states = 0;
  bool exhausted = false;  // the search ended before it had seen everything
  std::string failure;     // empty: no fault was found
  // A short way to the failure, a line each; computed only when it is printed.
  std::function<std::vector<std::string>()> way;
};

// What a search has found; `lines` makes the lines of the states that led to a failure.
template <typename Search, typename Lines>
Verdict verdict_of(const Search& search, Lines lines) {
  Verdict verdict{search.states(), search.exhausted(), search.failure(), {}};
  if (search.failed()) verdict.way = [lines, ways = search.way()] { return lines(ways); };
  return verdict;
}

struct Case {
  bool must_hold;
  std::string name;
  std::function<Verdict(Effort)> explore;
};

namespace detail {

inline std::string title(const Case& it) { return (it.must_hold ? "" : "broken: ") + it.name; }

inline bool run_case(const Case& it, Effort effort, bool verbose, std::uint64_t* states) {
  const auto begin = std::chrono::steady_clock::now();
  const Verdict verdict = it.explore(effort);
  const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - begin;
  *states += verdict.states;

  const bool holds = verdict.failure.empty();
  const bool as_expected = holds == it.must_hold && !(holds && verdict.exhausted);
  std::printf("%s %10llu states %6.2f s  %s\n", holds ? "holds " : "caught",
              static_cast<unsigned long long>(verdict.states), seconds.count(), title(it).c_str());
  if (!as_expected) {
    std::printf("       ^ NOT AS EXPECTED%s\n", verdict.exhausted ? " (too many states)" : "");
  }
  if (!holds && (verbose || !as_expected)) {
    std::printf("       %s\n", verdict.failure.c_str());
    for (const std::string& line : verdict.way()) std::printf("         %s\n", line.c_str());
  }
  std::fflush(stdout);
  return as_expected;
}

}  // namespace detail

inline int run_cases(int argc, char** argv, const char* model, const std::vector<Case>& cases) {
  const std::vector<std::string_view> arguments(argv + 1, argv + argc);
  bool verbose = false;
  std::string_view effort_name;
  std::string_view text;
  for (const std::string_view argument : arguments) {
    if (argument == "-v") {
      verbose = true;
    } else if (effort_name.empty()) {
      effort_name = argument;
    } else {
      text = argument;
    }
  }
  if (effort_name != "quick" && effort_name != "full") {
    std::fprintf(stderr, "usage: %s quick|full [-v] [TEXT]\n", argv[0]);
    return 2;
  }
  const Effort effort = effort_name == "quick" ? Effort::kQuick : Effort::kFull;

  const auto begin = std::chrono::steady_clock::now();
  int held = 0;
  int caught = 0;
  int wrong = 0;
  std::uint64_t states = 0;
  for (const Case& it : cases) {
    if (detail::title(it).find(text) == std::string::npos) continue;
    if (!detail::run_case(it, effort, verbose, &states)) {
      ++wrong;
    } else {
      ++(it.must_hold ? held : caught);
    }
  }
  const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - begin;
  std::printf("%s %s: %d cases hold, %d broken variants are caught", model, std::string(effort_name).c_str(), held,
              caught);
  if (wrong > 0) std::printf(", %d ARE NOT AS EXPECTED", wrong);
  std::printf("; %llu states, %.1f s\n", static_cast<unsigned long long>(states), seconds.count());
  // A run that explored nothing is not a success.
  return wrong == 0 && held + caught > 0 ? 0 : 1;
}

}  // namespace hostmap::models
