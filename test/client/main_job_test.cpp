// The load clients, with less work: 65 of them at once, each of which reads back what it wrote.
#include <gtest/gtest.h>
#include <memory>
#include <regex>

#include "process/harness/server.hpp"

namespace hostmap::test {
namespace {

class MainJobTest : public testing::TestWithParam<const char*> {};

TEST_P(MainJobTest, SixtyFiveClientsWriteAtOnceAndNothingIsLostOrDoubled) {
  Server server({"10", "--workers", GetParam()});
  std::vector<std::unique_ptr<Program>> clients;
  for (int id = 0; id <= 64; ++id) {
    clients.push_back(std::make_unique<Program>(server.client_command({std::to_string(id), "--seconds", "1"})));
  }
  std::uint64_t writes = 0;
  static const std::regex done("Done \\(([0-9]+) writes\\)\n");
  for (const auto& client : clients) {
    ASSERT_EQ(client->wait(2 * kPatience), kSuccess) << client->errors();
    std::smatch part;
    const std::string output = client->output();
    ASSERT_TRUE(std::regex_match(output, part, done)) << output;
    EXPECT_GT(std::stoull(part[1]), 0u);
    writes += std::stoull(part[1]);
  }
  const auto figures = server.stat();
  EXPECT_EQ(figures.at("puts"), writes);
  EXPECT_EQ(figures.at("erases"), 65u);
  EXPECT_EQ(figures.at("entries"), 0u);
  EXPECT_EQ(figures.at("refused"), 0u);
  EXPECT_EQ(figures.at("connected"), 65u);
  EXPECT_TRUE(server.connections_come_to(0));
}

std::string worker_name(const testing::TestParamInfo<const char*>& info) { return std::string(info.param) + "Workers"; }
INSTANTIATE_TEST_SUITE_P(Servers, MainJobTest, testing::Values("1", "4"), worker_name);

}  // namespace
}  // namespace hostmap::test
