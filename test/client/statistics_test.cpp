// The list of statistics, and docs/operate/statistics.md, which explains each of them.
#include "client/statistics.hpp"

#include <cstdlib>
#include <fstream>
#include <gtest/gtest.h>
#include <iterator>
#include <set>
#include <sstream>
#include <string>
#include <string_view>
#include <vector>

namespace hostmap {
namespace {

std::string_view name_of(Statistic::Unit unit) {
  switch (unit) {
    case Statistic::Unit::kNumber:
      return "number";
    case Statistic::Unit::kBytes:
      return "bytes";
    case Statistic::Unit::kSeconds:
      return "seconds";
  }
  return "?";
}

// What the document's table shows of a statistic in its first columns.
std::string row_of(const Statistic& statistic) {
  std::ostringstream row;
  row << "| `" << statistic.key << "` | " << name_of(statistic.unit) << " | " << statistic.meaning << " |";
  return row.str();
}

std::vector<std::string> rows_of_document() {
  const char* root = std::getenv("HOSTMAP_SOURCE_DIR");
  std::ifstream file(std::string(root == nullptr ? "." : root) + "/docs/operate/statistics.md");
  std::vector<std::string> rows;
  bool is_in_table = false;
  for (std::string line; std::getline(file, line);) {
    if (line.starts_with("| name in JSON | unit | meaning |")) {
      is_in_table = true;
    } else if (!line.starts_with("|")) {
      is_in_table = false;
    } else if (is_in_table && !line.starts_with("|---")) {
      rows.push_back(line);
    }
  }
  return rows;
}

TEST(StatisticsTest, TheDocumentExplainsEachInTheOrderOfTheList) {
  const std::vector<std::string> rows = rows_of_document();
  EXPECT_EQ(rows.size(), std::size(kStatistics));
  for (std::size_t i = 0; i < std::size(kStatistics); ++i) {
    const std::string row = row_of(kStatistics[i]);
    ASSERT_LT(i, rows.size()) << "docs/operate/statistics.md needs the row " << row;
    EXPECT_EQ(rows[i].substr(0, row.size()), row) << "docs/operate/statistics.md differs from the list";
  }
}

TEST(StatisticsTest, KeysAndSourcesAreUsedOnce) {
  std::set<std::string_view> keys;
  for (const Statistic& statistic : kStatistics) {
    EXPECT_TRUE(keys.insert(statistic.key).second) << statistic.key;
    const StatisticSource& its = statistic.source;
    EXPECT_TRUE(its.lane != nullptr || its.server != nullptr || its.client != nullptr || its.derived != nullptr)
        << statistic.key << " has no source";
    for (const Statistic& other : kStatistics) {
      if (&other == &statistic) continue;
      EXPECT_FALSE((its.lane != nullptr && its.lane == other.source.lane) ||
                   (its.server != nullptr && its.server == other.source.server) ||
                   (its.client != nullptr && its.client == other.source.client) ||
                   (its.derived != nullptr && its.derived == other.source.derived))
          << statistic.key << " and " << other.key << " count the same";
    }
  }
}

}  // namespace
}  // namespace hostmap
