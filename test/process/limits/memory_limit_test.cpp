// The memory limit of a map that exists: `hostmap limit`, and what a start makes of it.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <string>
#include <unistd.h>
#include <vector>

#include "base/unique_fd.hpp"
#include "layout/table.hpp"
#include "process/harness/server.hpp"
#include "support/child.hpp"

namespace hostmap::test {
namespace {

std::vector<std::string> limit_command(const std::string& name, const std::vector<std::string>& words = {}) {
  std::vector<std::string> command{program("hostmap"), "--name", name, "limit"};
  command.insert(command.end(), words.begin(), words.end());
  return command;
}

// Sets the limit, and expects no message.
void set_limit(const std::string& name, const std::string& size) {
  const Ran ran = run(limit_command(name, {size}));
  EXPECT_EQ(ran.exit, kSuccess) << ran.errors;
  EXPECT_EQ(ran.output, "");
}

std::string key_of(std::uint64_t number) { return "key " + std::to_string(number); }

// Puts new keys, beginning with `number`, until one is refused. Returns the next number.
std::uint64_t fill(Client& client, std::uint64_t number, std::size_t value_bytes = 1000) {
  for (;; ++number) {
    const Status status = client.put(key_of(number), std::string(value_bytes, 'x'));
    if (status.ok()) continue;
    EXPECT_EQ(status.code(), StatusCode::kFull) << status.message();
    return number;
  }
}

TEST(MemoryLimit, ByDefaultTheLimitIsTheMemoryAndCanBeDoubled) {
  const Server server({"10", "--memory", "4M"});
  EXPECT_EQ(server.stat("memory_limit_bytes"), 4u << 20);
  EXPECT_EQ(server.stat("max_memory_bytes"), 8u << 20);
  const Ran shown = run(limit_command(server.name()));
  EXPECT_EQ(shown.exit, kSuccess);
  const std::vector<std::string> lines = lines_of(shown.output);
  ASSERT_EQ(lines.size(), 3u) << shown.output;
  EXPECT_EQ(lines[0], "limit            4194304  4.0 MiB");
  EXPECT_EQ(lines[1].substr(0, 4), "used");
  EXPECT_EQ(lines[2], "maximum          8388608  8.0 MiB");
}

TEST(MemoryLimit, RefusedPutsAreAcceptedAsSoonAsTheLimitRises) {
  for (const char* workers : {"1", "4"}) {
    Server server({"10", "--memory", "4M", "--max-memory", "16M", "--workers", workers});
    Client client = server.connect();
    const std::uint64_t first = fill(client, 0);
    set_limit(server.name(), "8M");
    const std::uint64_t second = fill(client, first);
    EXPECT_GT(second, first + first / 2);
    EXPECT_LE(server.stat("memory_bytes"), 8u << 20);
    set_limit(server.name(), "16M");
    const std::uint64_t third = fill(client, second);
    EXPECT_GT(third, second + second / 2);
    EXPECT_LE(server.stat("memory_bytes"), 16u << 20);
    for (std::uint64_t i = 0; i < third; ++i) ASSERT_EQ(*client.get(key_of(i)), std::string(1000, 'x')) << i;
    EXPECT_EQ(run({program("hostmap"), "--name", server.name(), "check"}).exit, kSuccess);
  }
}

// What the message of a refusal recommends is done, and works.
TEST(MemoryLimit, TheMessageOfARefusedPutNamesTheCommandThatRaisesIt) {
  Server server({"10", "--memory", "4M"});
  Client client = server.connect();
  const std::uint64_t next = fill(client, 0);
  const std::vector<std::string> put{program("hostmap"),    "--name", server.name(), "put", key_of(next),
                                     std::string(1000, 'x')};
  expect_refusal(run(put), 4, {"erase keys", "raise the limit", "'hostmap limit SIZE'"});
  set_limit(server.name(), "8M");
  EXPECT_EQ(run(put).exit, kSuccess);
}

// A value longer than an eighth of the limit has no reserve; with a higher limit it gets one.
TEST(MemoryLimit, LongValuesAreReplacedInAFullMapOnceTheLimitHasRisen) {
  Server server({"10", "--memory", "8M", "--max-memory", "64M"});
  Client client = server.connect();
  ASSERT_TRUE(client.put("long", std::string(2'000'000, 'a')).ok());
  set_limit(server.name(), "64M");
  ASSERT_TRUE(client.put("longer", std::string(3'000'000, 'a')).ok());
  EXPECT_GT(fill(client, 0), 10'000u);
  for (const char c : {'b', 'c'}) {
    EXPECT_EQ(client.put("long", std::string(2'000'000, c)), StatusCode::kOk);
    EXPECT_EQ(client.put("longer", std::string(3'000'000, c)), StatusCode::kOk);
  }
  EXPECT_EQ(*client.get("long"), std::string(2'000'000, 'c'));
  EXPECT_EQ(*client.get("longer"), std::string(3'000'000, 'c'));
}

TEST(MemoryLimit, ALowerLimitStopsGrowthAndNothingElse) {
  for (const char* workers : {"1", "4"}) {
    Server server({"10", "--memory", "16M", "--workers", workers});
    Client client = server.connect();
    constexpr std::uint64_t kHalf = 6000;
    for (std::uint64_t i = 0; i < kHalf; ++i) ASSERT_TRUE(client.put(key_of(i), std::string(1000, 'x')).ok());
    const Ran lowered = run(limit_command(server.name(), {"1M"}));
    EXPECT_EQ(lowered.exit, kSuccess) << lowered.errors;
    EXPECT_NE(lowered.output.find("nothing is thrown away"), std::string::npos) << lowered.output;
    const std::uint64_t count = fill(client, kHalf);
    const std::uint64_t populated = server.stat("memory_bytes");
    EXPECT_EQ(server.stat("entries"), count);
    EXPECT_EQ(fill(client, count), count);
    for (std::uint64_t i = 0; i < count; ++i) ASSERT_TRUE(client.put(key_of(i), std::string(1000, 'y')).ok()) << i;
    for (std::uint64_t i = 0; i < count; ++i) ASSERT_EQ(*client.get(key_of(i)), std::string(1000, 'y')) << i;
    for (std::uint64_t i = 0; i < count; i += 2) ASSERT_TRUE(client.erase(key_of(i)).ok());
    for (std::uint64_t i = 0; i < count; i += 4) ASSERT_TRUE(client.put(key_of(i), std::string(1000, 'z')).ok()) << i;
    EXPECT_EQ(server.stat("memory_bytes"), populated);
    EXPECT_EQ(server.stat("memory_limit_bytes"), 1u << 20);
    set_limit(server.name(), "16M");
    EXPECT_GT(fill(client, count), count + 3000);
  }
}

TEST(MemoryLimit, IsChangedWhileNoServerRunsAndHoldsAtTheNextStart) {
  auto first = std::make_unique<Server>(std::vector<std::string>{"10", "--memory", "4M"});
  Client client = first->connect();
  const std::uint64_t count = fill(client, 0);
  first->kill();
  set_limit(first->name(), "8M");
  auto second = std::make_unique<Server>(std::vector<std::string>{"10"}, ServerSetup{first->name()});
  EXPECT_EQ(second->ready().memory, 8u << 20);
  EXPECT_NE(second->errors().find("the memory limit is that of the map, 8M"), std::string::npos) << second->errors();
  const std::uint64_t more = fill(client, count);
  EXPECT_GT(more, count + count / 2);

  EXPECT_EQ(run({program("hostmap"), "--name", second->name(), "stop", "--keep"}).exit, kSuccess);
  EXPECT_EQ(second->wait(), kSuccess);
  EXPECT_NE(run(limit_command(second->name(), {"5M"})).output.find("nothing is thrown away"), std::string::npos);
  Server third({"10"}, ServerSetup{second->name()});
  EXPECT_EQ(third.ready().memory, 5u << 20);
  // A stop gives up splits in progress, one of each form: the two slabs are free then, each with room for 32 of these keys.
  const std::uint64_t populated = third.stat("memory_bytes");
  EXPECT_LE(fill(client, more), more + 2 * 32);
  EXPECT_EQ(third.stat("memory_bytes"), populated);
  for (std::uint64_t i = 0; i < more; ++i) ASSERT_EQ(*client.get(key_of(i)), std::string(1000, 'x')) << i;
}

TEST(MemoryLimit, TheOptionOfAStartIsAppliedToAMapOnlyIfItSaysSo) {
  auto server = std::make_unique<Server>(std::vector<std::string>{"10", "--memory", "4M"});
  const std::string name = server->name();
  ASSERT_TRUE(server->connect().put("key", "value").ok());
  set_limit(name, "6M");
  server->kill();

  server = std::make_unique<Server>(std::vector<std::string>{"10", "--memory", "4M"}, ServerSetup{name});
  EXPECT_EQ(server->ready().memory, 6u << 20) << "the same unit file does not undo it";
  EXPECT_NE(server->errors().find("--memory 4M (it has 6M); to apply it, add --set-limit"), std::string::npos)
      << server->errors();
  server->kill();

  server = std::make_unique<Server>(std::vector<std::string>{"10", "--memory", "6M"}, ServerSetup{name});
  EXPECT_EQ(server->errors().find("not applied"), std::string::npos) << "both are equal";
  server->kill();

  expect_refusal(run_server({"--memory", "9M", "--set-limit"}, name), 2, {"9M", "--set-limit", "8M", "--max-memory"});

  server = std::make_unique<Server>(
      std::vector<std::string>{"10", "--memory", "8M", "--max-memory", "32M", "--set-limit"}, ServerSetup{name});
  EXPECT_EQ(server->ready().memory, 8u << 20);
  EXPECT_EQ(server->stat("memory_limit_bytes"), 8u << 20);
  EXPECT_NE(server->errors().find("the memory limit is 8M, by --memory and --set-limit; the map had 6M"),
            std::string::npos)
      << server->errors();
  EXPECT_NE(server->errors().find("--max-memory 32M (it has 8M)"), std::string::npos) << server->errors();
  EXPECT_EQ(*server->connect().get("key"), "value");
}

TEST(MemoryLimit, ATakeoverKeepsItOrAppliesTheOption) {
  Server first({"10", "--memory", "4M"});
  const std::string name = first.name();
  Client client = first.connect();
  ASSERT_TRUE(client.put("key", "value").ok());
  set_limit(name, "6M");

  Server second({"10", "--memory", "4M", "--takeover"}, {name});
  EXPECT_EQ(first.wait(), kSuccess);
  EXPECT_EQ(second.ready().memory, 6u << 20);

  expect_refusal(run_server({"--memory", "9M", "--set-limit", "--takeover"}, name), 2,
                 {"9M", "8M", "--max-memory", "continues to serve"});
  EXPECT_TRUE(client.put("key", "other").ok());
  EXPECT_EQ(second.stat("memory_limit_bytes"), 6u << 20);

  Server third({"10", "--memory", "5M", "--set-limit", "--takeover"}, {name});
  EXPECT_EQ(second.wait(), kSuccess);
  EXPECT_EQ(third.ready().memory, 5u << 20);
  EXPECT_EQ(third.stat("memory_limit_bytes"), 5u << 20);
  EXPECT_EQ(*client.get("key"), "other");
}

TEST(MemoryLimit, ADamagedWordIsReportedAndCorrectedByTheNextStart) {
  for (const auto& [word, bytes] :
       {std::pair{std::uint64_t{0}, kLeastMemory}, std::pair{~std::uint64_t{0}, std::uint64_t{8} << 20}}) {
    Server first({"10", "--memory", "4M"});
    ASSERT_TRUE(first.connect().put("key", "value").ok());
    first.kill();
    const UniqueFd table(::open(first.instance().table().c_str(), O_RDWR | O_CLOEXEC));
    ASSERT_EQ(::pwrite(table.get(), &word, sizeof word, offsetof(TableHeader, memory_limit)), ssize_t{sizeof word});
    Server second({"10"}, {first.name()});
    EXPECT_EQ(second.ready().memory, bytes);
    EXPECT_NE(second.errors().find("the memory limit of the map is damaged (" + std::to_string(word) + " bytes)"),
              std::string::npos)
        << second.errors();
    std::uint64_t now = 0;
    ASSERT_EQ(::pread(table.get(), &now, sizeof now, offsetof(TableHeader, memory_limit)), ssize_t{sizeof now});
    EXPECT_EQ(now, bytes);
    EXPECT_EQ(*second.connect().get("key"), "value");
  }
}

TEST(MemoryLimit, InvalidSizesAreRefusedEachWithItsOwnSentence) {
  const Server server({"10", "--memory", "4M"});
  expect_refusal(run(limit_command(server.name(), {"524287"})), 2, {"524287", "below 524288"});
  expect_refusal(run(limit_command(server.name(), {"0"})), 2, {"SIZE 0", "below 524288"});
  expect_refusal(run(limit_command(server.name(), {"9M"})), 2, {"9437184", "above 8388608", "--max-memory"});
  expect_refusal(run(limit_command(server.name(), {"17179869184G"})), 2, {"'17179869184G' is not a size"});
  for (const char* word : {"x", "1MB", "-1", ""}) {
    if (*word != '\0') expect_refusal(run(limit_command(server.name(), {word})), 2, {word, "is not a size"});
  }
  expect_refusal(run(limit_command(server.name(), {"4M", "5M"})), 2, {"5M"});
  expect_refusal(run(limit_command(server.name(), {"4M", "--read-only"})), 2, {"--read-only"});
  EXPECT_EQ(run(limit_command(server.name(), {"--read-only"})).exit, kSuccess);
  const std::string absent = unique_name();
  expect_refusal(run(limit_command(absent)), 3, {"no map '" + absent + "'"});
  expect_refusal(run(limit_command(absent, {"4M"})), 3, {"no map '" + absent + "'"});
  EXPECT_EQ(server.stat("memory_limit_bytes"), 4u << 20);
}

TEST(MemoryLimit, OnlyTheUserOfTheMapCanChangeIt) {
  if (!can_change_users()) GTEST_SKIP() << "three users are needed";
  constexpr uid_t kOwner = 64101;
  constexpr gid_t kGroup = 64111;
  ServerSetup owned;
  owned.process.user = kOwner;
  owned.process.groups = {kGroup};
  const Server server({"10", "--memory", "4M", "--group", "64111"}, owned);
  ProcessSetup member;
  member.user = 64102;
  member.groups = {kGroup};
  const Ran seen = run(limit_command(server.name(), {"--group", "64111"}), member);
  EXPECT_EQ(seen.exit, kSuccess) << seen.errors;
  EXPECT_NE(seen.output.find("4194304"), std::string::npos);
  expect_refusal(run(limit_command(server.name(), {"5M", "--group", "64111"}), member), 4,
                 {"only 64101", server.name(), "can change its limit"});
  ProcessSetup outsider;
  outsider.user = 64103;
  expect_refusal(run(limit_command(server.name(), {"5M"}), outsider), 4, {"64101"});
  EXPECT_EQ(server.stat("memory_limit_bytes"), 4u << 20);
  ProcessSetup owner;
  owner.user = kOwner;
  EXPECT_EQ(run(limit_command(server.name(), {"5M"}), owner).exit, kSuccess);
  EXPECT_EQ(server.stat("memory_limit_bytes"), 5u << 20);
}

// No signal is sent, so it does not matter that the server cannot be seen.
TEST(MemoryLimit, IsChangedFromAnotherPidNamespace) {
  ProcessSetup apart;
  apart.wrapper = {"unshare", "--pid", "--fork"};
  if (!(run({"true"}, apart).exit == kSuccess)) GTEST_SKIP() << "this system does not allow pid namespaces";
  const Server server({"10", "--memory", "4M"});
  EXPECT_EQ(run(limit_command(server.name(), {"7M"}), apart).exit, kSuccess);
  EXPECT_EQ(server.stat("memory_limit_bytes"), 7u << 20);
}

}  // namespace
}  // namespace hostmap::test
