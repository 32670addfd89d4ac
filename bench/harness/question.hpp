// What a question is: the shape that the files of questions/ share. Each registers its question and the roles that it needs.
//
// A question runs hostmap and its rivals on the same work in one run, interleaved, prints a table
// and adds its findings to the report. The processes that it needs are roles: this same program,
// exec'ed anew with `--role NAME ARGUMENT…` in front of everything else.
#pragma once

#include <algorithm>
#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

namespace hostmap::bench {

class FloorFigures;
class Progress;
class Report;

/// What the command line leaves to choose. Zero means: the default of the question.
struct Choices {
  unsigned rounds = 0;
  double seconds = 10;
  std::uint64_t max_entries = 10'000'000;

  /// `sizes`, ascending, up to max_entries, which stands for the first larger one. None twice.
  [[nodiscard]] std::vector<std::uint64_t> capped(std::span<const std::uint64_t> sizes) const {
    std::vector<std::uint64_t> some;
    for (const std::uint64_t size : sizes) {
      if (!some.empty() && some.back() == max_entries) break;
      some.push_back(std::min(size, max_entries));
    }
    return some;
  }
};

struct Session {
  const Choices& choices;
  FloorFigures& floors;
  Progress& progress;
  Report& report;
};

struct Question {
  int place;  // questions run in this order; no two have the same place
  std::string_view name;
  std::string_view summary;
  void (*ask)(Session&);
};

struct Role {
  std::string_view name;
  std::size_t arguments;  // how many; exactly
  int (*play)(std::span<char* const> arguments);
};

// A question or a role is known to the program by an object of this type in its own file.
class Registered {
 public:
  explicit Registered(const Question& question);
  explicit Registered(const Role& role);
};

// All of them: questions by their place.
const std::vector<Question>& questions();
const std::vector<Role>& roles();

}  // namespace hostmap::bench
