// The table of operations, compared with the table in docs/reference/protocol.md, from which clients in other languages are
// written.
#include "message/operations.hpp"

#include <cstdlib>
#include <fstream>
#include <gtest/gtest.h>
#include <regex>
#include <set>
#include <string>

namespace hostmap {
namespace {

TEST(Operations, AreThoseOfTheProtocolsTable) {
  const char* source = std::getenv("HOSTMAP_SOURCE_DIR");
  ASSERT_NE(source, nullptr);
  std::ifstream document(std::string(source) + "/docs/reference/protocol.md");
  ASSERT_TRUE(document);
  const std::regex row(R"(\| (\d+) ([a-z_]+) \| (yes|no|size) \| (.*) \| .* \|)");
  std::set<std::size_t> seen;
  for (std::string line; std::getline(document, line);) {
    std::smatch parts;
    if (!std::regex_match(line, parts, row)) continue;
    const std::size_t number = std::stoul(parts[1]);
    ASSERT_LT(number, kOperations.size()) << line;
    EXPECT_TRUE(seen.insert(number).second) << line;
    const OpFacts& facts = kOperations[number];
    EXPECT_EQ(facts.name, parts[2].str());
    EXPECT_EQ(facts.has_key, parts[3] != "no") << line;
    const bool may_carry = parts[4].str() != "none" && !parts[4].str().starts_with("none;");
    EXPECT_EQ(facts.payload != Payload::kNone, may_carry) << line;
  }
  EXPECT_EQ(seen.size(), kOperations.size() - 1);
}

TEST(Operations, AnUnknownOperationHasNoFactsAndFitsNothing) {
  for (unsigned byte = 0; byte < 256; ++byte) {
    const OpFacts& facts = facts_of(static_cast<Op>(byte));
    const bool known = byte != 0 && byte < kOperations.size();
    EXPECT_EQ(!facts.name.empty(), known) << byte;
    if (known) continue;
    for (const std::uint64_t bytes : {0, 1, 8, 24, 100}) EXPECT_FALSE(payload_fits(facts, bytes)) << byte;
  }
}

}  // namespace
}  // namespace hostmap
