// Rounds, figures, tables and the report: what every question does in the same way.
//
// Machines are noisy, above all shared ones: a single figure proves little, a ratio of two figures
// taken at the same time proves much. So each round measures every contestant once, hostmap's figure
// is divided by the rival's *of the same round*, and what is reported is the median of these ratios
// with the least and the greatest beside it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace hostmap::bench {

/// The figures of one contestant, one for each round.
class Series {
 public:
  void add(double figure) { figures_.push_back(figure); }
  [[nodiscard]] const std::vector<double>& figures() const { return figures_; }
  [[nodiscard]] double median() const;
  [[nodiscard]] double least() const;
  [[nodiscard]] double greatest() const;

 private:
  std::vector<double> figures_;
};

struct Ratio {
  double median;
  double least;
  double greatest;
};

/// hostmap divided by the rival, round by round.
[[nodiscard]] Ratio ratio_of(const Series& hostmap, const Series& rival);

/// Calls measure(round, contestant) for every round and contestant. Each round starts with another
/// contestant, so that nobody always follows the same neighbour and inherits its caches.
void interleave(unsigned rounds, std::size_t contestants,
                const std::function<void(unsigned round, std::size_t contestant)>& measure);

// ---- what is being done now ---------------------------------------------------------------------

/// One line on standard error. On a terminal it is rewritten in place; elsewhere each
/// step is a line.
class Progress {
 public:
  Progress();
  ~Progress();
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

  /// A step worth a line of its own in a log.
  void step(std::string_view what);
  /// A detail of the step: shown on a terminal only.
  void detail(std::string_view what);
  /// Takes the line away, so that a table can be printed.
  void clear();

 private:
  void show(std::string_view text) const;

  bool on_terminal_;
  std::string step_;
};

// ---- tables -------------------------------------------------------------------------------------

enum class Tone : std::uint8_t { kPlain, kStrong, kGood, kBad, kFaint };

struct Cell {
  std::string text;
  Tone tone = Tone::kPlain;
};

/// A table on standard output: the first column is text, the others are figures. Colours only on a
/// terminal, and not when NO_COLOR is set.
class Table {
 public:
  Table(std::string title, std::vector<std::string> head);

  void row(std::vector<Cell> cells);
  /// A thin line between groups of rows.
  void rule();
  /// A sentence below the table.
  void note(std::string sentence);
  void print() const;

 private:
  std::string title_;
  std::vector<std::string> head_;
  std::vector<std::vector<Cell>> rows_;  // an empty row is a rule
  std::vector<std::string> notes_;
};

/// Three significant digits: 0.58, 8.71, 45.1, 112, 1 650.
[[nodiscard]] std::string format_figure(double figure);
/// "112 ±3%": the median, and half the distance from least to greatest.
[[nodiscard]] std::string format_series(const Series& series);
/// "0.58 (0.55–0.61)"
[[nodiscard]] std::string format_ratio(const Ratio& ratio);
/// 1000000 as "1 000 000"
[[nodiscard]] std::string format_count(std::uint64_t count);

// ---- the report ---------------------------------------------------------------------------------

/// Which side of a goal is good.
enum class Better : std::uint8_t { kLower, kHigher };

[[nodiscard]] bool meets(double figure, double goal, Better better);
/// The verdict as a cell: "met" or "missed".
[[nodiscard]] Cell verdict(bool goal_met);

/// One line of the report: what `results` holds in the JSON.
struct Finding {
  std::string name;  // question/row
  std::string unit;
  double hostmap = 0;
  std::vector<std::pair<std::string, double>> rivals = {};
  std::optional<double> floor = {};
  std::optional<Ratio> ratio = {};  // hostmap to the rival that the goal names
  std::optional<double> goal = {};  // of the ratio where there is one, else of hostmap's figure
  Better better = Better::kLower;

  [[nodiscard]] std::optional<bool> goal_met() const;
};

/// Everything that was measured in this run, for --json.
class Report {
 public:
  void add(Finding finding) { findings_.push_back(std::move(finding)); }
  void add_floor(std::string name, double nanoseconds);
  /// A point of a curve that a plot will show: scripts/bench_report defines the plots and their axes.
  void add_point(std::string_view plot, std::string_view curve, double x, double y);
  [[nodiscard]] std::size_t goals() const;
  [[nodiscard]] std::size_t goals_met() const;
  [[nodiscard]] std::string json() const;

 private:
  std::vector<Finding> findings_;
  std::vector<std::pair<std::string, double>> floors_;
  struct Curve {
    std::string name;
    std::vector<std::pair<double, double>> points;
  };
  std::vector<std::pair<std::string, std::vector<Curve>>> plots_;  // in the order in which they were begun
};

/// Processor, number of CPUs that may be used, kernel. Without them a figure means nothing.
[[nodiscard]] std::string machine();

}  // namespace hostmap::bench
