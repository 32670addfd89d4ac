// hostmap stat: what its figures mean, and which processes can change them.
#include <ctime>
#include <gtest/gtest.h>
#include <regex>
#include <string>
#include <unistd.h>

#include "layout/connection.hpp"
#include "layout/table.hpp"
#include "process/harness/peer.hpp"
#include "process/harness/server.hpp"
#include "shm/region.hpp"

namespace hostmap::test {
namespace {

std::string table_of(const Server& server) {
  const Ran ran = run({program("hostmap"), "--name", server.name(), "stat"});
  EXPECT_EQ(ran.exit, kSuccess) << ran.errors;
  return ran.output;
}

TEST(Statistics, MemoryIsFreeAndNotFragmentedAfterAClear) {
  const Server server({"10", "--memory", "8M"});
  Client client = server.connect();
  Status status;
  for (int i = 0; status.ok() && i < 100'000; ++i)
    status = client.put("key " + std::to_string(i), std::string(1000, 'x'));
  ASSERT_EQ(status, StatusCode::kFull);
  auto figures = server.stat();
  EXPECT_GT(figures.at("memory_bytes") - figures.at("free_bytes"), figures.at("memory_limit_bytes") * 9 / 10);
  ASSERT_TRUE(client.clear().ok());
  EXPECT_TRUE(eventually([&] {
    figures = server.stat();
    return figures.at("memory_bytes") - figures.at("free_bytes") < figures.at("memory_limit_bytes") / 2;
  })) << figures.at("memory_bytes")
      << " populated, " << figures.at("free_bytes") << " free";
  EXPECT_LT(figures.at("fragmented_bytes"), figures.at("memory_limit_bytes") / 20);
  EXPECT_NE(table_of(server).find(" free,"), std::string::npos);
  // Each byte of the arena has one use.
  EXPECT_LE(figures.at("bucket_bytes") + figures.at("overflow_bytes") + figures.at("entry_bytes") +
                figures.at("free_bytes") + figures.at("fragmented_bytes"),
            figures.at("memory_bytes"));
  EXPECT_GT(figures.at("bucket_bytes"), 0u);
}

TEST(Statistics, NameVersionCommitAndLayoutOfTheServerAndPrintNothingThatBreaksTheirForm) {
  const Server server({"10"});
  const std::string said = run({program("hostmap-server"), "--version"}).output;
  std::smatch part;
  ASSERT_TRUE(std::regex_match(
      said, part, std::regex("hostmap-server ([0-9.]+) \\(commit ([A-Za-z0-9.-]+), layout version ([0-9]+)\\)\n")))
      << said;
  const std::string table = table_of(server);
  EXPECT_NE(table.find(part.str(1) + "  commit " + part.str(2) + ", layout version " + part.str(3) + "\n"), table.npos)
      << table;
  const auto json = [&] { return run({program("hostmap"), "--name", server.name(), "stat", "--json"}).output; };
  EXPECT_NE(json().find("\"version\": \"" + part.str(1) + "\",\n  \"commit\": \"" + part.str(2) +
                        "\",\n  \"layout_version\": " + part.str(3) + ","),
            std::string::npos)
      << json();
  const Result<Region> region =
      Region::attach("/dev/shm/" + server.name() + "-table", RegionKind::kTable, Access::kReadWrite);
  ASSERT_TRUE(region) << region.status().message();
  Word(&words)[8] = region->at<TableHeader>(0)->server_version;
  for (Word& word : words) word.store(0x0a22'5c22'2c22'3a41);  // A:",...
  EXPECT_NE(json().find("\"version\": \"A:?,???"), std::string::npos) << json();
  for (Word& word : words) word.store(0);  // as an older server leaves them
  EXPECT_NE(json().find("\"version\": \"unknown\",\n  \"commit\": \"unknown\""), std::string::npos) << json();
}

TEST(Statistics, CountsShowWhenTheyBeganAndContinueAfterARestart) {
  const std::string name = unique_name();
  const auto before = static_cast<std::uint64_t>(std::time(nullptr));
  std::uint64_t since = 0;
  {
    Server first({"10"}, {.name = name});
    Client client = first.connect();
    ASSERT_TRUE(client.put("key", "value").ok());
    EXPECT_EQ(client.put(std::string(65'537, 'k'), "value"), StatusCode::kTooLarge);
    const auto figures = first.stat();
    since = figures.at("counted_since");
    EXPECT_GE(since, before);
    EXPECT_LE(since, static_cast<std::uint64_t>(std::time(nullptr)));
    first.kill();
  }
  while (static_cast<std::uint64_t>(std::time(nullptr)) <= since) ::usleep(20'000);
  {
    Server second({"10"}, {.name = name});
    EXPECT_EQ(second.stat("puts"), 1u);
    EXPECT_EQ(second.stat("counted_since"), since) << "the counts of before are in it";
    std::string date(32, '\0');
    const auto time = static_cast<std::time_t>(since);
    date.resize(std::strftime(date.data(), date.size(), "%Y-%m-%d %H:%M:%S", std::localtime(&time)));
    EXPECT_NE(table_of(second).find("counts since " + date), std::string::npos) << table_of(second);
    second.kill();
  }
  Server third({"10", "--fresh"}, {.name = name});
  EXPECT_EQ(third.stat("puts"), 0u);
  EXPECT_GT(third.stat("counted_since"), since);
}

TEST(Statistics, AHostileClientChangesOnlyFiguresThatClientsReportWithinBounds) {
  Server server({"10"});
  constexpr std::uint64_t kMost = std::uint64_t{1} << 32;
  constexpr std::uint64_t kClients = 3;
  std::vector<Peer> peers;
  for (std::uint64_t i = 0; i < kClients; ++i) peers.emplace_back(server);
  for (const std::string& path : server.connection_files()) {
    const Result<Region> region = Region::attach(path, RegionKind::kConnection, Access::kReadWrite);
    ASSERT_TRUE(region) << region.status().message();
    ClientWords& words = region->at<ConnectionHeader>(0)->client;
    for (Word* word : {&words.read_retries, &words.read_fallbacks, &words.timeout_rescues})
      word->store(~std::uint64_t{0});
  }
  const auto expect = [&](const char* when) {
    const auto figures = server.stat();
    EXPECT_EQ(figures.at("timeout_rescues"), 0u) << when;
    for (const char* figure : {"client_timeout_rescues", "read_retries", "read_fallbacks"}) {
      EXPECT_EQ(figures.at(figure), kClients * kMost) << figure << " " << when;
    }
  };
  expect("while they are connected");
  for (Peer& peer : peers) peer.kill();
  EXPECT_TRUE(server.connections_come_to(0));
  expect("when they are gone");
  EXPECT_EQ(server.stop(), kSuccess) << server.errors();
}

// A child that ends by _exit leaves its connection open, but was not killed.
TEST(Statistics, AClientThatExitsWithoutClosingIsNotReportedAsDead) {
  const Server server({"10"});
  Child child = Child::fork([&]() -> int {
    Result<Client> client = Client::connect(server.options());
    ::_exit(client && client->put("key", "value").ok() ? 0 : 1);
  });
  EXPECT_EQ(child.wait(), kSuccess);
  EXPECT_TRUE(server.connections_come_to(0));
  EXPECT_EQ(server.stat("reaped"), 1u);
  const std::string table = table_of(server);
  EXPECT_NE(table.find("1 ended without closing"), std::string::npos) << table;
  EXPECT_EQ(table.find("died"), std::string::npos) << table;
}

TEST(Statistics, TheTableFits80Columns) {
  const Server server({"10"});
  ASSERT_TRUE(server.connect().put("key", "value").ok());
  for (const std::string& line : lines_of(table_of(server))) EXPECT_LE(line.size(), 80u) << line;
}

}  // namespace
}  // namespace hostmap::test
