// docs/reference/memory-layout.md shows the layout as it is. After a change:
//
//   HOSTMAP_PRINT_LAYOUT=docs/reference/memory-layout.md build-dev/test/test_layout --gtest_filter='LayoutDocumentTest.*'
//
// rewrites the tables in the document (HOSTMAP_PRINT_LAYOUT=1 prints it); the prose between them is written by hand.
#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <gtest/gtest.h>
#include <iomanip>
#include <map>
#include <set>
#include <sstream>

#include "layout/connection.hpp"
#include "layout/fingerprint.hpp"
#include "layout/journal.hpp"
#include "layout/master.hpp"
#include "layout/table.hpp"
#include "layout_tables.hpp"

namespace hostmap::test {
namespace {

std::vector<LayoutTable> all_tables() {
  std::vector<LayoutTable> tables = struct_tables();
  for (const auto& more : {word_tables(), region_tables()}) tables.insert(tables.end(), more.begin(), more.end());
  return tables;
}

// Whatever the document shows, by the name in its marker.
std::map<std::string, std::string> generated() {
  std::map<std::string, std::string> parts;
  for (const LayoutTable& table : all_tables()) parts[table.name] = "\n" + render(table) + "\n";
  for (const auto& [name, dump] : worked_examples()) parts[name] = "\n```\n" + dump + "```\n\n";
  return parts;
}

std::string source_path(const std::string& path) {
  const char* root = std::getenv("HOSTMAP_SOURCE_DIR");
  return std::string(root != nullptr ? root : ".") + "/" + path;
}

std::string document_path(const std::string& name = "memory-layout.md") {
  return source_path("docs/reference/" + name);
}

std::string read_document(const std::string& name = "memory-layout.md") {
  std::ostringstream text;
  text << std::ifstream(document_path(name)).rdbuf();
  return text.str();
}

constexpr std::string_view kBegin = "<!-- layout: ";
constexpr std::string_view kBeginEnd = " -->\n";
constexpr std::string_view kEnd = "<!-- end -->\n";

struct Shown {
  std::string name;
  std::string text;
};

// Takes the document apart; `renewed` is the document with every part replaced by what is generated now.
std::vector<Shown> parts_of(const std::string& document, std::string& renewed) {
  const std::map<std::string, std::string> now = generated();
  std::vector<Shown> parts;
  renewed.clear();
  std::size_t at = 0;
  for (std::size_t begin; (begin = document.find(kBegin, at)) != std::string::npos;) {
    const std::size_t name_end = document.find(kBeginEnd, begin);
    if (name_end == std::string::npos) break;
    const std::size_t text = name_end + kBeginEnd.size();
    const std::size_t end = document.find(kEnd, text);
    if (end == std::string::npos) break;
    const std::string name = document.substr(begin + kBegin.size(), name_end - begin - kBegin.size());
    parts.push_back({name, document.substr(text, end - text)});
    renewed += document.substr(at, text - at) + (now.contains(name) ? now.at(name) : std::string());
    at = end;
  }
  renewed += document.substr(at);
  return parts;
}

TEST(LayoutTest, TheRowsOfEveryTableCoverItWithoutGapOrOverlap) {
  for (const LayoutTable& table : all_tables()) {
    std::uint64_t next = 0;
    for (const LayoutRow& row : table.rows) {
      EXPECT_EQ(row.offset, next) << table.name << ", " << row.name;
      EXPECT_GT(row.size, 0u) << table.name << ", " << row.name;
      next = row.offset + row.size;
    }
    EXPECT_EQ(next, table.size) << table.name;
  }
}

// A new struct is added to struct_tables(), and so to the document.
TEST(LayoutTest, EveryStructWithALayoutHasATable) {
  std::set<std::string> shown;
  for (const LayoutTable& table : struct_tables()) shown.insert(table.name);
  std::set<std::string> listed;
  for (const auto& file : std::filesystem::directory_iterator(source_path("src/layout"))) {
    std::ifstream lines(file.path());
    for (std::string line; std::getline(lines, line);) {
      constexpr std::string_view kList = "HOSTMAP_LAYOUT(";
      if (line.starts_with(kList)) listed.insert(line.substr(kList.size(), line.find(',') - kList.size()));
    }
  }
  EXPECT_GT(listed.size(), 10u) << source_path("src/layout");
  EXPECT_EQ(shown, listed);
}

// Two writers of hot words never share a line pair.
TEST(LayoutTest, HotWordsOfDifferentWritersLieALinePairApart) {
  EXPECT_GE(offsetof(MasterHeader, server_bell) - offsetof(MasterHeader, counter), kLinePair);
  EXPECT_EQ(sizeof(Bell), kLinePair);
  EXPECT_EQ(sizeof(WorkerLine), kLinePair);
  EXPECT_EQ(sizeof(ShardHeader), kLinePair);
  EXPECT_GE(offsetof(TableHeader, change) - offsetof(TableHeader, membarrier), kLinePair);
  EXPECT_EQ(offsetof(ConnectionHeader, server) - offsetof(ConnectionHeader, client), kLinePair);
  EXPECT_EQ(offsetof(ChannelControl, answers_consumed) - offsetof(ChannelControl, waiting), kLinePair);
  EXPECT_EQ(offsetof(ChannelControl, requests_consumed) - offsetof(ChannelControl, answers_consumed), kLinePair);
  EXPECT_EQ(sizeof(Intent) % kLinePair, 0u);
}

TEST(LayoutDocumentTest, ItShowsEveryTableAsItIs) {
  const std::string document = read_document();
  ASSERT_FALSE(document.empty()) << document_path();
  std::string renewed;
  const std::vector<Shown> parts = parts_of(document, renewed);

  if (const char* where = std::getenv("HOSTMAP_PRINT_LAYOUT"); where != nullptr) {
    if (std::string_view(where) == "1") {
      std::printf("%s", renewed.c_str());
    } else {
      std::ofstream(where) << renewed;
    }
    return;
  }
  std::multiset<std::string> names;
  for (const Shown& part : parts) names.insert(part.name);
  for (const auto& [name, text] : generated()) {
    EXPECT_EQ(names.count(name), 1u) << "'" << name << "' belongs into " << document_path() << ", once:\n" << text;
  }
  const std::map<std::string, std::string> now = generated();
  for (const Shown& part : parts) {
    ASSERT_TRUE(now.contains(part.name)) << "nothing is called '" << part.name << "' any more";
    EXPECT_EQ(part.text, now.at(part.name)) << part.name << " has changed: see the head of layout_test.cpp";
  }
}

// Constants that the prose states.
TEST(LayoutDocumentTest, ItNamesTheVersionAndTheLimits) {
  std::string document = read_document();
  std::ranges::replace(document, '\n', ' ');
  for (const std::string& sentence :
       {"layout version " + std::to_string(kLayoutVersion), std::to_string(kMaxLanes) + " lanes",
        "slabs of " + std::to_string(kSlabBytes / 1024) + " KiB", "at most " + std::to_string(kMaxChain) + " buckets",
        "longer than " + std::to_string(kLongValueBytes) + " bytes"}) {
    EXPECT_NE(document.find(sentence), std::string::npos) << "'" << sentence << "' is missing";
  }
}

// A client in another language compares with the number that the document gives.
TEST(LayoutDocumentTest, TheProtocolGivesTheFingerprint) {
  std::ostringstream fingerprint;
  fingerprint << "0x" << std::hex << std::setw(16) << std::setfill('0') << kFingerprint;
  EXPECT_NE(read_document("protocol.md").find(fingerprint.str()), std::string::npos)
      << document_path("protocol.md") << " must contain " << fingerprint.str();
}

}  // namespace
}  // namespace hostmap::test
