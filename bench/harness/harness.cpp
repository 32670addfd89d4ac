#include "harness/harness.hpp"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <fmt/format.h>
#include <fstream>
#include <stdexcept>
#include <sys/utsname.h>
#include <unistd.h>

#include <hostmap/version.hpp>

#include "harness/process.hpp"

namespace hostmap::bench {
namespace {

double median_of(std::vector<double> figures) {
  if (figures.empty()) return 0;
  const auto middle = figures.begin() + static_cast<std::ptrdiff_t>(figures.size() / 2);
  std::nth_element(figures.begin(), middle, figures.end());
  if (figures.size() % 2 == 1) return *middle;
  return (*middle + *std::max_element(figures.begin(), middle)) / 2;
}

bool has_colours() {
  static const bool colours = isatty(STDOUT_FILENO) == 1 && std::getenv("NO_COLOR") == nullptr;
  return colours;
}

std::string_view escape_of(Tone tone) {
  switch (tone) {
    case Tone::kPlain:
      return "";
    case Tone::kStrong:
      return "\x1b[1m";
    case Tone::kGood:
      return "\x1b[1;32m";
    case Tone::kBad:
      return "\x1b[1;31m";
    case Tone::kFaint:
      return "\x1b[2m";
  }
  return "";
}

std::string in_tone(std::string_view text, Tone tone) {
  const std::string_view escape = escape_of(tone);
  if (text.empty() || escape.empty() || !has_colours()) return std::string(text);
  return fmt::format("{}{}\x1b[0m", escape, text);
}

/// Columns that a text takes on a terminal: code points, for no wider ones are printed here.
std::size_t width_of(std::string_view text) {
  return static_cast<std::size_t>(std::count_if(
      text.begin(), text.end(), [](char byte) { return (static_cast<unsigned char>(byte) & 0xC0U) != 0x80U; }));
}

std::string repeated(std::string_view text, std::size_t times) {
  std::string repetition;
  for (std::size_t count = 0; count < times; ++count) repetition += text;
  return repetition;
}

std::string json_string(std::string_view text) {
  std::string quoted = "\"";
  for (const char character : text) {
    if (character == '"' || character == '\\') {
      quoted += '\\';
      quoted += character;
    } else if (static_cast<unsigned char>(character) < 0x20) {
      quoted += fmt::format("\\u{:04x}", static_cast<unsigned>(character));
    } else {
      quoted += character;
    }
  }
  return quoted + '"';
}

/// JSON has neither infinity nor not-a-number.
std::string json_number(double number) { return std::isfinite(number) ? fmt::format("{:.6g}", number) : "null"; }

std::string json_number(const std::optional<double>& number) { return number ? json_number(*number) : "null"; }

std::string json_object(const std::vector<std::pair<std::string, double>>& members) {
  std::string object = "{";
  for (const auto& [name, figure] : members) {
    if (object.size() > 1) object += ',';
    object += json_string(name) + ':' + json_number(figure);
  }
  return object + '}';
}

std::string json_finding(const Finding& finding) {
  const std::optional<bool> met = finding.goal_met();
  std::string ratio = "\"ratio\":null";
  if (finding.ratio) {
    ratio = fmt::format("\"ratio\":{},\"ratio_least\":{},\"ratio_greatest\":{}", json_number(finding.ratio->median),
                        json_number(finding.ratio->least), json_number(finding.ratio->greatest));
  }
  return fmt::format(
      "{{\"name\":{},\"unit\":{},\"better\":\"{}\",\"hostmap\":{},\"rivals\":{},\"floor\":{},{},"
      "\"goal\":{},\"goal_met\":{}}}",
      json_string(finding.name), json_string(finding.unit), finding.better == Better::kLower ? "lower" : "higher",
      json_number(finding.hostmap), json_object(finding.rivals), json_number(finding.floor), ratio,
      json_number(finding.goal), !met ? "null" : (*met ? "true" : "false"));
}

}  // namespace

double Series::median() const { return median_of(figures_); }

double Series::least() const { return figures_.empty() ? 0 : *std::min_element(figures_.begin(), figures_.end()); }

double Series::greatest() const { return figures_.empty() ? 0 : *std::max_element(figures_.begin(), figures_.end()); }

Ratio ratio_of(const Series& hostmap, const Series& rival) {
  Series ratios;
  const std::size_t rounds = std::min(hostmap.figures().size(), rival.figures().size());
  for (std::size_t round = 0; round < rounds; ++round) {
    ratios.add(hostmap.figures()[round] / rival.figures()[round]);
  }
  return {.median = ratios.median(), .least = ratios.least(), .greatest = ratios.greatest()};
}

void interleave(unsigned rounds, std::size_t contestants,
                const std::function<void(unsigned round, std::size_t contestant)>& measure) {
  for (unsigned round = 0; round < rounds; ++round) {
    for (std::size_t turn = 0; turn < contestants; ++turn) {
      measure(round, (round + turn) % contestants);
    }
  }
}

Progress::Progress() : on_terminal_(isatty(STDERR_FILENO) == 1) {}

Progress::~Progress() { clear(); }

void Progress::step(std::string_view what) {
  step_ = what;
  show(step_);
}

void Progress::detail(std::string_view what) {
  if (on_terminal_) show(fmt::format("{} · {}", step_, what));
}

void Progress::clear() {
  if (on_terminal_) fmt::print(stderr, "\r\x1b[K");
}

void Progress::show(std::string_view text) const {
  if (on_terminal_) {
    fmt::print(stderr, "\r\x1b[K{}", text);
  } else {
    fmt::print(stderr, "{}\n", text);
  }
  std::fflush(stderr);
}

Table::Table(std::string title, std::vector<std::string> head) : title_(std::move(title)), head_(std::move(head)) {}

void Table::row(std::vector<Cell> cells) {
  if (cells.size() > head_.size()) throw std::logic_error("a row of '" + title_ + "' has more cells than the head");
  rows_.push_back(std::move(cells));
}

void Table::rule() { rows_.emplace_back(); }

void Table::note(std::string sentence) { notes_.push_back(std::move(sentence)); }

void Table::print() const {
  std::vector<std::size_t> widths;
  for (const std::string& text : head_) widths.push_back(width_of(text));
  for (const std::vector<Cell>& cells : rows_) {
    for (std::size_t column = 0; column < cells.size(); ++column) {
      widths[column] = std::max(widths[column], width_of(cells[column].text));
    }
  }
  const auto print_cell = [&](std::size_t column, std::string_view text, Tone tone) {
    const std::string space(widths[column] - width_of(text), ' ');
    const std::string shown = in_tone(text, tone);
    fmt::print("  {}", column == 0 ? shown + space : space + shown);
  };

  std::size_t total_width = 0;
  for (const std::size_t width : widths) total_width += width + 2;
  const std::string line = "  " + repeated("─", total_width - 2);
  fmt::print("\n{}\n", in_tone(title_, Tone::kStrong));
  for (std::size_t column = 0; column < head_.size(); ++column) {
    print_cell(column, head_[column], Tone::kFaint);
  }
  fmt::print("\n{}\n", in_tone(line, Tone::kFaint));
  for (const std::vector<Cell>& cells : rows_) {
    if (cells.empty()) fmt::print("{}", in_tone(line, Tone::kFaint));
    for (std::size_t column = 0; column < cells.size(); ++column) {
      print_cell(column, cells[column].text, cells[column].tone);
    }
    fmt::print("\n");
  }
  for (const std::string& sentence : notes_) {
    fmt::print("{}\n", in_tone("  " + sentence, Tone::kFaint));
  }
  std::fflush(stdout);
}

std::string format_figure(double figure) {
  if (figure >= 99.95) return format_count(static_cast<std::uint64_t>(std::llround(figure)));
  if (figure >= 9.995) return fmt::format("{:.1f}", figure);
  return fmt::format("{:.2f}", figure);
}

std::string format_series(const Series& series) {
  const double median = series.median();
  if (median <= 0) return format_figure(median);
  const double spread = (series.greatest() - series.least()) / 2 / median;
  return fmt::format("{} ±{:>2.0f}%", format_figure(median), spread * 100);
}

std::string format_ratio(const Ratio& ratio) {
  return fmt::format("{} ({}–{})", format_figure(ratio.median), format_figure(ratio.least),
                     format_figure(ratio.greatest));
}

std::string format_count(std::uint64_t count) {
  std::string digits = fmt::format("{}", count);
  for (std::size_t place = digits.size(); place > 3;) {
    place -= 3;
    digits.insert(place, 1, ' ');
  }
  return digits;
}

bool meets(double figure, double goal, Better better) {
  return better == Better::kLower ? figure <= goal : figure >= goal;
}

Cell verdict(bool goal_met) { return goal_met ? Cell{"met", Tone::kGood} : Cell{"missed", Tone::kBad}; }

std::optional<bool> Finding::goal_met() const {
  if (!goal) return std::nullopt;
  return meets(ratio ? ratio->median : hostmap, *goal, better);
}

void Report::add_floor(std::string name, double nanoseconds) { floors_.emplace_back(std::move(name), nanoseconds); }

void Report::add_point(std::string_view plot, std::string_view curve, double x, double y) {
  const auto named = [](auto& list, std::string_view name, auto member) -> auto& {
    const auto found = std::find_if(list.begin(), list.end(), [&](const auto& item) { return item.*member == name; });
    if (found != list.end()) return *found;
    list.emplace_back();
    list.back().*member = name;
    return list.back();
  };
  auto& [name, curves] = named(plots_, plot, &decltype(plots_)::value_type::first);
  named(curves, curve, &Curve::name).points.emplace_back(x, y);
}

std::size_t Report::goals() const {
  return static_cast<std::size_t>(std::count_if(findings_.begin(), findings_.end(),
                                                [](const Finding& finding) { return finding.goal.has_value(); }));
}

std::size_t Report::goals_met() const {
  return static_cast<std::size_t>(std::count_if(
      findings_.begin(), findings_.end(), [](const Finding& finding) { return finding.goal_met().value_or(false); }));
}

std::string Report::json() const {
  std::string text = fmt::format("{{\"machine\":{},\"commit\":{},\"floors_ns\":{},\"results\":[",
                                 json_string(machine()), json_string(commit()), json_object(floors_));
  for (const Finding& finding : findings_) {
    text += (&finding == &findings_.front() ? "\n  " : ",\n  ") + json_finding(finding);
  }
  text += "\n],\"plots\":{";
  for (const auto& [plot, curves] : plots_) {
    text += (&plot == &plots_.front().first ? "\n  " : ",\n  ") + json_string(plot) + ":{";
    for (const Curve& curve : curves) {
      text += (&curve == &curves.front() ? "" : ",") + json_string(curve.name) + ":[";
      for (const auto& [x, y] : curve.points) {
        text += fmt::format("{}[{},{}]", &x == &curve.points.front().first ? "" : ",", json_number(x), json_number(y));
      }
      text += ']';
    }
    text += '}';
  }
  return text + "\n}}\n";
}

std::string machine() {
  std::string processor = "unknown processor";
  std::ifstream cpuinfo("/proc/cpuinfo");
  for (std::string line; std::getline(cpuinfo, line);) {
    if (line.starts_with("model name")) {
      processor = line.substr(std::min(line.size(), line.find(':') + 2));
      break;
    }
  }
  utsname kernel{};
  uname(&kernel);
  return fmt::format("{}, {} CPUs, {} {}", processor, allowed_cpus().size(), kernel.sysname, kernel.release);
}

}  // namespace hostmap::bench
