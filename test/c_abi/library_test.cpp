// libhostmap.so as a file: what it exports and needs; and programs that use it.
#include <algorithm>
#include <fstream>
#include <gtest/gtest.h>
#include <regex>
#include <set>
#include <sstream>
#include <string>

#include "process/harness/server.hpp"
#include "support/sanitizer.hpp"

namespace hostmap::test {
namespace {

const std::string kLibrary = HOSTMAP_C_LIBRARY;

std::string text_of(const std::string& path) {
  std::ostringstream text;
  text << std::ifstream(path).rdbuf();
  return text.str();
}

// The part of hostmap.h between the two marker lines, without comments.
std::string declarations() {
  std::string header = text_of(std::string(std::getenv("HOSTMAP_SOURCE_DIR")) + "/include/hostmap/hostmap.h");
  const std::string marker = "\n/* declarations */\n";
  const std::size_t begin = header.find(marker);
  const std::size_t end = header.find(marker, begin + 1);
  EXPECT_TRUE(begin != std::string::npos && end != std::string::npos);
  header = header.substr(begin + marker.size(), end - begin - marker.size());
  for (std::size_t at; (at = header.find("/*")) != std::string::npos;) {
    header.erase(at, header.find("*/", at) + 2 - at);
  }
  return header;
}

std::set<std::string> all_matches(const std::string& text, const std::string& form) {
  std::set<std::string> found;
  const std::regex pattern(form);
  for (std::sregex_iterator at(text.begin(), text.end(), pattern), end; at != end; ++at) found.insert((*at)[1]);
  return found;
}

TEST(CLibrary, ExportsEachFunctionOfTheHeaderAndNothingElse) {
  const std::set<std::string> declared = all_matches(declarations(), "\\b(hostmap_[a-z_]+)\\(");
  EXPECT_GT(declared.size(), 50u);
  const Ran nm = run({"nm", "--dynamic", "--defined-only", kLibrary});
  std::set<std::string> exported;
  for (const std::string& line : lines_of(nm.output)) {
    const std::string symbol = line.substr(line.rfind(' ') + 1);
    if (symbol == "HOSTMAP_0") continue;
    EXPECT_TRUE(symbol.ends_with("@@HOSTMAP_0")) << symbol;
    exported.insert(symbol.substr(0, symbol.find('@')));
  }
  EXPECT_EQ(exported, declared);
}

TEST(CLibrary, NeedsTheCLibraryAndTheCompilersRuntimeOnly) {
  if (kSanitized) GTEST_SKIP() << "a sanitizer is a library, too";
  const std::string dynamic = run({"readelf", "--dynamic", kLibrary}).output;
  std::set<std::string> needed = all_matches(dynamic, "Shared library: \\[([^\\]]*)\\]");
  EXPECT_EQ(needed.erase("libc.so.6"), 1u);
  needed.erase("libgcc_s.so.1");
  // The loader is a part of the C library.
  std::erase_if(needed, [](const std::string& name) { return name.starts_with("ld-linux"); });
  EXPECT_TRUE(needed.empty()) << *needed.begin();
  EXPECT_NE(dynamic.find("Library soname: [libhostmap.so.0]"), std::string::npos) << dynamic;
  for (const std::string& minor :
       all_matches(run({"readelf", "--version-info", kLibrary}).output, "GLIBC_2\\.([0-9]+)")) {
    EXPECT_LE(std::stoi(minor), 34);
  }
}

TEST(CLibrary, TheDeclarationsNeedNoPreprocessor) {
  const std::string text = declarations();
  EXPECT_EQ(text.find('#'), std::string::npos);
  EXPECT_EQ(text.find('\\'), std::string::npos);
  EXPECT_EQ(text.find("//"), std::string::npos);
  EXPECT_NE(text.find("typedef struct hostmap_options {"), std::string::npos);
}

TEST(CLibrary, IsUsableFromStrictC99) {
  Server server;
  const Ran ran = run({program("c99_program"), server.name()});
  EXPECT_EQ(ran.exit, kSuccess) << ran.errors;
}

TEST(CLibrary, IsUnloadedByDlclose) {
  if (kSanitized) GTEST_SKIP() << "a sanitizer keeps libraries";
  Server server;
  const Ran ran = run({program("c_library_host"), kLibrary, server.name()});
  EXPECT_EQ(ran.exit, kSuccess) << ran.errors;
}

TEST(CLibrary, WithoutMemoryEachCallFailsAndChangesNothing) {
  Server server;
  const Ran ran = run({program("starved_c_library"), server.name()});
  EXPECT_EQ(ran.exit, kSuccess) << ran.errors;
  const std::vector<std::string> lines = lines_of(ran.output);
  EXPECT_EQ(lines.size(), 36u) << ran.output;
  if (kSanitized) return;  // nothing fails there
  const std::set<std::string> need_none = {
      "get 0",        "exists 0",           "ttl 0",     "size 0",     "multi_get 0", "put 0",         "put_ttl 0",
      "insert 0",     "put_async 0",        "replace 0", "erase 0",    "expire 0",    "append 0",      "clear 0",
      "increment 0",  "compare_exchange 0", "put_if 0",  "erase_if 0", "lease 0",     "compute_put 0", "compute_fail 0",
      "set_timeout 0"};
  for (const std::string& line : lines) {
    EXPECT_EQ(line.ends_with(" 0"), need_none.contains(line)) << line << " times it was short of memory";
  }
}

}  // namespace
}  // namespace hostmap::test
