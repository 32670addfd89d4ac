// --takeover: one server hands over to the next while its clients work; and what an orderly stop leaves for the next start.
#include <atomic>
#include <filesystem>
#include <fstream>
#include <gtest/gtest.h>
#include <map>
#include <random>
#include <thread>

#include "layout/region.hpp"
#include "process/harness/peer.hpp"
#include "process/harness/server.hpp"
#include "support/seed.hpp"

namespace hostmap::test {
namespace {

using namespace std::chrono_literals;

std::vector<std::string> taking_over(std::vector<std::string> more = {}) {
  more.insert(more.begin(), {"10", "--takeover"});
  return more;
}
std::uint64_t journal_size(const Server& server) { return std::filesystem::file_size(server.instance().journal()); }

TEST(Takeover, ClientsContinueAndTheOldServerEndsInOrder) {
  Server old({"10"});
  Peer peer(old);
  EXPECT_EQ(peer.put("key", "value"), StatusCode::kOk);
  Peer sleeper(old);  // its channel is idle, its worker parks
  Server next(taking_over(), {old.name()});
  EXPECT_EQ(old.wait(), kSuccess) << old.errors();
  EXPECT_NE(next.errors().find("recovered entries=1 connections=2 replayed=0"), std::string::npos) << next.errors();
  EXPECT_EQ(peer.get("key").text, Peer::told_of("value"));
  EXPECT_EQ(peer.put("key", "other"), StatusCode::kOk);
  EXPECT_EQ(sleeper.put("another", "value"), StatusCode::kOk);
  EXPECT_EQ(next.stat("connected"), 2u) << "nobody has connected anew";
  EXPECT_EQ(next.stat("entries"), 2u);
  EXPECT_EQ(run({program("hostmap"), "--name", next.name(), "check"}).exit, kSuccess);
}

TEST(Takeover, WithoutAServerItStartsAsUsual) {
  Server fresh(taking_over());
  EXPECT_EQ(fresh.connect().put("key", "value").code(), StatusCode::kOk);
  fresh.kill();
  Server next(taking_over(), {fresh.name()});
  EXPECT_EQ(*next.connect().get("key"), "value");
}

// Entries of every kind of slab, overflow buckets, runs, holes: the next server must find all of it, or memory is allocated
// twice or lost.
void fill_and_thin(Client& client, int seed) {
  std::mt19937_64 random(static_cast<std::uint64_t>(seed));
  for (int i = 0; i < 4000; ++i) {
    const std::size_t size = i % 50 == 0 ? 100'000 + random() % 100'000 : random() % 700;
    ASSERT_TRUE(client.put("key " + std::to_string(i), pattern(size, random())).ok());
    ASSERT_TRUE(client.put(word_key(static_cast<std::uint64_t>(i)), word_key(random())).ok());
  }
  for (int i = 0; i < 4000; ++i) {
    if (random() % 3 != 0) continue;
    ASSERT_TRUE(client.erase("key " + std::to_string(i)).ok());
  }
}

std::map<std::string, std::uint64_t> arena_of(const Server& server) {
  auto all = server.stat();
  std::map<std::string, std::uint64_t> some;
  for (const char* figure : {"entries", "memory_bytes", "buckets"}) some[figure] = all.at(figure);
  // Their sum, because a worker that has nothing else to do turns the one into the other.
  some["unused_bytes"] = all.at("free_bytes") + all.at("fragmented_bytes");
  return some;
}

TEST(Takeover, TheNextServerFindsTheArenaAsTheOldOneLeftIt) {
  Server old({"10", "--workers", "3"});
  Client client = old.connect();
  fill_and_thin(client, 1);
  const auto before = arena_of(old);
  Server next(taking_over({"--workers", "3"}), {old.name()});
  EXPECT_EQ(old.wait(), kSuccess);
  EXPECT_TRUE(arena_of(next) == before) << "told";
  // The same, counted by reading every cell.
  next.kill();
  Server looking({"10"}, {old.name()});
  EXPECT_TRUE(arena_of(looking) == before) << "counted";
  // Nothing is allocated twice, nothing is lost: all values stay while as many others are put and erased.
  std::map<std::string, std::string> shadow;
  ASSERT_TRUE(client
                  .scan("",
                        [&](std::string_view key, std::string_view value) {
                          shadow.emplace(key, value);
                          return true;
                        })
                  .ok());
  Server last(taking_over(), {old.name()});
  EXPECT_EQ(looking.wait(), kSuccess);
  for (int i = 0; i < 2000; ++i) {
    ASSERT_TRUE(client.put("more " + std::to_string(i), pattern(static_cast<std::size_t>(i % 700), 9)).ok());
  }
  for (const auto& [key, value] : shadow) ASSERT_EQ(*client.get(key), value);
  for (int i = 0; i < 2000; ++i) ASSERT_TRUE(client.erase("more " + std::to_string(i)).ok());
  for (const auto& [key, value] : shadow) ASSERT_TRUE(client.erase(key).ok());
  EXPECT_EQ(last.stat("entries"), 0u);
  EXPECT_EQ(run({program("hostmap"), "--name", last.name(), "check"}).exit, kSuccess);
}

// Counts that a start did not rebuild after a clear once wrapped around, and the table grew without end.
TEST(Takeover, AMapThatWasClearedKeepsItsCountsThroughEachKindOfStart) {
  for (const char* workers : {"1", "4"}) {
    SCOPED_TRACE(workers);
    const std::string name = unique_name();
    const std::vector<std::string> options{"10", "--keep", "--memory", "32M", "--workers", workers};
    auto server = std::make_unique<Server>(options, ServerSetup{name});
    Client client = server->connect();
    for (const std::string kind : {"kill", "kept stop", "takeover", "takeover", "kept stop", "kill"}) {
      SCOPED_TRACE(kind);
      for (std::uint64_t i = 0; i < 3000; ++i) {
        ASSERT_TRUE(client.put_async(word_key(i), word_key(i)).ok());
        ASSERT_TRUE(client.put_async("key " + std::to_string(i), pattern(i % 700, i)).ok());
      }
      ASSERT_TRUE(client.flush().ok());
      ASSERT_TRUE(client.clear().ok());
      for (std::uint64_t i = 0; i < 200; ++i) {
        ASSERT_TRUE(client.put(word_key(i), word_key(i)).ok());
        ASSERT_TRUE(client.put("key " + std::to_string(i), pattern(i, i)).ok());
      }
      std::uint64_t entries = 400;
      if (kind == "takeover") {
        std::vector<std::string> next = options;
        next.push_back("--takeover");
        auto following = std::make_unique<Server>(next, ServerSetup{name});
        EXPECT_EQ(server->wait(), kSuccess) << server->errors();
        server = std::move(following);
      } else {
        if (kind == "kill") {
          server->kill();
        } else {
          EXPECT_EQ(server->stop(), kSuccess);
        }
        server = std::make_unique<Server>(options, ServerSetup{name});
      }
      EXPECT_EQ(server->stat("entries"), entries);
      for (std::uint64_t i = 0; i < 200; i += 2) {
        ASSERT_TRUE(client.erase(word_key(i)).ok());
        ASSERT_TRUE(client.erase("key " + std::to_string(i)).ok());
        entries -= 2;
      }
      EXPECT_EQ(server->stat("entries"), entries);
      EXPECT_EQ(*client.size(), entries);
      const std::uint64_t buckets = server->stat("buckets");
      for (std::uint64_t i = 0; i < 5000; ++i) ASSERT_TRUE(client.put_async(word_key(1), word_key(i)).ok());
      ASSERT_TRUE(client.flush().ok());
      EXPECT_LE(server->stat("buckets"), buckets) << "no key was added";
      const Ran check = run({program("hostmap"), "--name", name, "check"});
      EXPECT_EQ(check.exit, kSuccess) << check.output << check.errors;
    }
    EXPECT_EQ(server->stop(), kSuccess);
    server->remove_regions();
  }
}

TEST(Takeover, TheSummaryIsUsedOnceAndNotAfterAKill) {
  auto old = std::make_unique<Server>(std::vector<std::string>{"10", "--keep"});
  const std::string name = old->name();
  const std::uint64_t proper = journal_size(*old);
  ASSERT_TRUE(old->connect().put("key", std::string(1000, 'v')).ok());
  EXPECT_EQ(old->stop(), kSuccess);
  EXPECT_GT(journal_size(*old), proper) << "it has written its summary";
  Server next({"10"}, {name});
  EXPECT_EQ(journal_size(next), proper) << "the summary is removed when it is used";
  Client client = next.connect();
  EXPECT_EQ(client.get("key")->size(), 1000u);
  ASSERT_TRUE(client.put("other", std::string(1000, 'w')).ok());
  next.kill();
  Server last({"10"}, {name});
  EXPECT_EQ(last.stat("entries"), 2u);
  EXPECT_EQ(client.get("other")->size(), 1000u);
}

// If the summary is damaged, truncated or of another map, the table is counted instead.
TEST(Takeover, ADamagedSummaryIsNotTrusted) {
  for (const int damage : {0, 1, 2}) {
    SCOPED_TRACE(damage);
    auto old = std::make_unique<Server>(std::vector<std::string>{"10", "--keep"});
    const std::string name = old->name();
    const std::uint64_t proper = journal_size(*old);
    Client client = old->connect();
    for (int i = 0; i < 100; ++i) ASSERT_TRUE(client.put("key " + std::to_string(i), std::string(1000, 'v')).ok());
    EXPECT_EQ(old->stop(), kSuccess);
    const std::string journal = old->instance().journal();
    const std::uint64_t told = journal_size(*old) - proper;
    ASSERT_GT(told, 100u);
    if (damage == 0) {
      std::filesystem::resize_file(journal, proper + told - 10);
    } else {
      std::fstream file(journal, std::ios::in | std::ios::out | std::ios::binary);
      file.seekp(static_cast<std::streamoff>(proper + (damage == 1 ? 24 : told - 1)));
      file.put('\x5a');
    }
    Server next({"10"}, {name});
    EXPECT_EQ(next.stat("entries"), 100u);
    for (int i = 0; i < 100; ++i) ASSERT_TRUE(client.put("more " + std::to_string(i), std::string(1000, 'w')).ok());
    for (int i = 0; i < 100; ++i) ASSERT_EQ(client.get("key " + std::to_string(i))->front(), 'v');
  }
}

TEST(Takeover, AnotherLayoutVersionIsRefusedBeforeAnyRequest) {
  Server old({"10"});
  Peer peer(old);
  EXPECT_EQ(peer.put("key", "value"), StatusCode::kOk);
  // As if this program were of another version: the running server's journal contains another one.
  {
    std::fstream file(old.instance().journal(), std::ios::in | std::ios::out | std::ios::binary);
    file.seekp(offsetof(RegionHeader, layout_version));
    file.put(static_cast<char>(kLayoutVersion + 1));
  }
  expect_refusal(run_server({"--takeover"}, old.name()), 6, {old.name(), "layout version", "hostmap stop"});
  EXPECT_EQ(peer.put("key", "other"), StatusCode::kOk) << "it continues to serve";
  std::fstream file(old.instance().journal(), std::ios::in | std::ios::out | std::ios::binary);
  file.seekp(offsetof(RegionHeader, layout_version));
  file.put(static_cast<char>(kLayoutVersion));
}

TEST(Takeover, ItAndFreshExcludeEachOther) {
  expect_refusal(run_server({"--takeover", "--fresh"}, unique_name()), 2, {"--takeover", "--fresh"});
}

TEST(Takeover, OfAnotherUsersServerItIsRefused) {
  if (!can_change_users()) GTEST_SKIP() << "two users are needed";
  ServerSetup owned;
  owned.process.user = kSomeUser;
  Server old({"10"}, owned);
  ProcessSetup stranger;
  stranger.user = kOtherUser;
  expect_refusal(run_server({"--takeover"}, old.name(), stranger), 1, {old.name()});
  PeerSetup mine;
  mine.process.user = kSomeUser;
  EXPECT_EQ(Peer(old, mine).put("key", "value"), StatusCode::kOk);
}

// A client that works without a pause, clients that connect all the time, and servers that hand over and die at any moment.
void hand_over_again_and_again(int rounds) {
  const std::string name = unique_name();
  auto server = std::make_unique<Server>(std::vector<std::string>{"10", "--workers", "2"}, ServerSetup{name});
  std::atomic<bool> stop{false};
  std::atomic<std::int64_t> increments{0};
  std::atomic<int> newcomers{0};
  const auto options = [&name] {
    Options waiting;
    waiting.name = name;
    waiting.timeout = 60s;
    waiting.wait_for_server = true;
    return waiting;
  };
  std::vector<std::thread> threads;
  for (int number = 0; number < 2; ++number) {
    threads.emplace_back([&, number] {
      Result<Client> client = Client::connect(options());
      ASSERT_TRUE(client) << client.status().message();
      const std::string mine = "mine " + std::to_string(number);
      for (std::uint64_t round = 0; !stop; ++round) {
        ASSERT_TRUE(client->increment("sum"));
        ++increments;
        const std::string value = pattern(round * 7'919 % 90'000, round);
        const Status put = client->put(mine, value);
        ASSERT_TRUE(put.ok()) << put.message();
        const Result<std::string> got = client->get(mine);
        ASSERT_TRUE(got && *got == value);
      }
    });
  }
  threads.emplace_back([&] {
    while (!stop) {
      Result<Client> client = Client::connect(options());
      ASSERT_TRUE(client) << client.status().message();
      const Status put = client->put("newcomer", "value");
      ASSERT_TRUE(put.ok()) << put.message();
      ++newcomers;
    }
  });
  Random random;
  for (int round = 0; round < rounds; ++round) {
    std::this_thread::sleep_for(std::chrono::microseconds(random.below(20'000)));
    if (random.below(3) == 0) {
      // The next server or the old one is killed during the takeover.
      Program next({program("hostmap-server"), "--name", name, "--takeover"});
      std::this_thread::sleep_for(std::chrono::microseconds(random.below(15'000)));
      if (random.below(2) == 0) {
        next.kill();
        server->kill();  // it may have handed over, or have received no request
      } else {
        server->kill();
        next.kill();
      }
      server = std::make_unique<Server>(taking_over(), ServerSetup{name});
    } else {
      auto next = std::make_unique<Server>(taking_over({"--workers", round % 2 == 0 ? "1" : "2"}), ServerSetup{name});
      EXPECT_EQ(server->wait(), kSuccess) << server->errors();
      server = std::move(next);
    }
    if (testing::Test::HasFailure()) break;
  }
  stop = true;
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(*server->connect().get("sum"), std::to_string(increments));
  EXPECT_GT(newcomers, 0);
  const Ran check = run({program("hostmap"), "--name", name, "check"});
  EXPECT_EQ(check.exit, kSuccess) << check.output << check.errors;
}

TEST(Takeover, RepeatedUnderLoadItLosesNothing) { hand_over_again_and_again(20); }
TEST(TakeoverSlow, RepeatedUnderLoadItLosesNothing) { hand_over_again_and_again(300); }

}  // namespace
}  // namespace hostmap::test
