// stat: the content and the counters of a server.
#include "client/statistics.hpp"

#include <algorithm>
#include <ctime>
#include <fmt/format.h>
#include <iterator>

#include "all/help.hpp"
#include "commands.hpp"
#include "json.hpp"
#include "output.hpp"

namespace hostmap::apps {

namespace {

std::string json_of(const Statistics& s) {
  JsonObject json;
  json.add("name", s.name);
  json.add("version", s.version);
  json.add("commit", s.commit);
  for (std::size_t i = 0; i < std::size(kStatistics); ++i) json.add(kStatistics[i].key, s.values[i]);
  return json.text() + "\n";
}

std::string local_time(std::uint64_t seconds) {
  const auto time = static_cast<std::time_t>(seconds);
  std::tm parts{};
  char text[32] = "an unknown time";
  if (::localtime_r(&time, &parts) != nullptr) std::strftime(text, sizeof text, "%Y-%m-%d %H:%M:%S", &parts);
  return text;
}

std::string shown(const Statistics& s, std::size_t row) {
  return kStatistics[row].unit == Statistic::Unit::kBytes ? readable_bytes(s.values[row]) : grouped(s.values[row]);
}

constexpr bool names_statistics_only(std::string_view text) {
  for (std::size_t open = 0; (open = text.find('{')) != text.npos;) {
    const std::size_t close = text.find('}', open);
    if (close == text.npos) return false;
    if (StatisticKey::index_of(text.substr(open + 1, close - open - 1)) == std::size(kStatistics)) return false;
    text.remove_prefix(close + 1);
  }
  return true;
}
static_assert(std::ranges::all_of(kStatistics, names_statistics_only,
                                  [](const Statistic& row) { return row.line.more; }));

// The text with each {key} replaced by the value of that statistic.
std::string with_values(const Statistics& s, std::string_view text) {
  std::string filled;
  for (std::size_t open = 0; (open = text.find('{')) != text.npos;) {
    const std::size_t close = text.find('}', open);
    filled += text.substr(0, open);
    filled += shown(s, StatisticKey::index_of(text.substr(open + 1, close - open - 1)));
    text.remove_prefix(close + 1);
  }
  return filled += text;
}

std::string line(std::string_view label, std::string_view value, std::string_view more) {
  std::string text = fmt::format("  {:<13}{:>14}  ", label, value);
  text += wrapped(more, text.size(), text.size());
  text.erase(text.find_last_not_of(' ') + 1);
  return text + "\n";
}

std::string table_of(const Statistics& s) {
  std::string table =
      fmt::format("{} (pid {}, {} worker{})\n", s.name, s["pid"], s["workers"], s["workers"] == 1 ? "" : "s");
  table += line("version", s.version, fmt::format("commit {}, layout version {}", s.commit, s["layout_version"]));
  const int last_group =
      std::ranges::max(kStatistics, {}, [](const Statistic& row) { return row.line.group; }).line.group;
  for (int group = 0; group <= last_group; ++group) {
    for (std::size_t i = 0; i < std::size(kStatistics); ++i) {
      const StatisticLine& its = kStatistics[i].line;
      const bool is_shown = its.shown == nullptr || its.shown(s.values[i], s);
      if (its.label.empty() || its.group != group || !is_shown) continue;
      table += line(its.label, shown(s, i), with_values(s, its.more));
    }
  }
  return table + fmt::format("  All counts since {}, when the map was made.\n", local_time(s["counted_since"]));
}

}  // namespace

int stat(const InstanceName& name, bool json) {
  const Result<Statistics> statistics = collect_statistics(name);
  if (!statistics) return fail(statistics.status());
  Output output;
  output.write(json ? json_of(*statistics) : table_of(*statistics));
  return output.finish();
}

}  // namespace hostmap::apps
