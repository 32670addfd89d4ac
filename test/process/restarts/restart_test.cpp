// A server died, or was stopped with --keep, and the next one takes over its map and its clients, for which this was a
// pause.
#include <array>
#include <atomic>
#include <chrono>
#include <fstream>
#include <gtest/gtest.h>
#include <memory>
#include <optional>
#include <regex>
#include <thread>
#include <vector>

#include "layout/journal.hpp"
#include "layout/table.hpp"
#include "process/harness/peer.hpp"
#include "process/harness/sealed.hpp"
#include "process/harness/server.hpp"
#include "support/seed.hpp"

namespace hostmap::test {
namespace {

using namespace std::chrono_literals;

const std::regex kRecovered(
    "hostmap-server: recovered entries=([0-9]+) connections=([0-9]+) replayed=([0-9]+) ms=[0-9]+");

// The figure `number` of the line that a restart logs.
std::uint64_t recovered(Server& server, int number) {
  for (const std::string& line : lines_of(server.errors())) {
    std::smatch found;
    if (std::regex_match(line, found, kRecovered)) return std::stoull(found[static_cast<std::size_t>(number)]);
  }
  throw std::runtime_error("the server has not recovered: " + server.errors());
}

TEST(Restart, TheNextServerTakesOverTableAndClients) {
  Server first({"10", "--workers", "2"});
  Peer living(first);
  Peer dead(first);
  EXPECT_EQ(living.put("key", "value"), StatusCode::kOk);
  EXPECT_EQ(dead.put("other", "value"), StatusCode::kOk);
  first.kill();
  dead.kill();
  EXPECT_EQ(living.get("key").text, Peer::told_of("value")) << "nobody is there, but the table can be read";

  Server second({"10", "--workers", "2"}, {first.name()});
  EXPECT_EQ(recovered(second, 1), 2u);
  EXPECT_EQ(recovered(second, 2), 2u);
  EXPECT_EQ(second.stat("recoveries"), 1u);
  EXPECT_EQ(second.stat("entries"), 2u);
  EXPECT_TRUE(second.connections_come_to(1)) << "the dead client's place comes back";
  EXPECT_EQ(second.stat("reaped"), 1u);
  EXPECT_EQ(living.put("key", "new"), StatusCode::kOk);
  EXPECT_EQ(living.get("other").text, Peer::told_of("value"));
  EXPECT_EQ(second.stat("connected"), 2u) << "nobody has connected anew";
}

TEST(Restart, CheckExaminesWhatADeadServerLeft) {
  Server first({"10"});
  {
    Client client = first.connect();
    for (std::uint64_t i = 0; i < 500; ++i) {
      ASSERT_TRUE(client.put(word_key(i), word_key(i)).ok());
      ASSERT_TRUE(client.put("key " + std::to_string(i), "value").ok());
    }
  }
  first.kill();
  const Ran ran = run({test::program("hostmap"), "--name", first.name(), "check"});
  EXPECT_EQ(ran.exit, kSuccess) << ran.errors;
  EXPECT_NE(ran.output.find("ok: 1000 entries"), std::string::npos) << ran.output;
  EXPECT_NE(ran.output.find("no server runs"), std::string::npos) << ran.output;
  Server second({"10"}, {first.name()});
}

TEST(Restart, WithTooFewDescriptorsItReportsThatAndLosesNoClient) {
  Server first({"10"});
  std::vector<Client> clients;
  for (int i = 0; i < 40; ++i) clients.push_back(first.connect());
  first.kill();
  ProcessSetup poor;
  poor.limits = {{RLIMIT_NOFILE, 30}};
  expect_refusal(run_server({"10"}, first.name(), poor), 1, {"ulimit -n"});
  Server second({"10"}, {first.name()});
  EXPECT_EQ(recovered(second, 2), 40u);
  for (Client& client : clients) EXPECT_TRUE(client.put("key", "value").ok());
  EXPECT_EQ(second.stat("connected"), 40u);
}

// Whatever a server was doing when it was killed, a direct read gets every key at once, whole, with its old or its new
// value; the same value again while no server runs, and no older value from the next server.
void read_what_dead_servers_left(int deaths) {
  constexpr std::uint64_t kKeys = 60;
  constexpr std::array<std::size_t, 6> kSizes{8, 8, 24, 100, 1000, 5000};
  const auto key_of = [](std::uint64_t number) {
    return number % 2 == 0 ? word_key(number) : "key number " + std::to_string(number);
  };
  Random random;
  const std::string name = unique_name();
  auto server = std::make_unique<Server>(std::vector<std::string>{"2", "--workers", "1"}, ServerSetup{name});
  Client reader = server->connect();
  {
    Client first = server->connect();
    for (std::uint64_t number = 0; number < kKeys; ++number) {
      ASSERT_TRUE(first.put(key_of(number), sealed_value(0, number, kSizes[number % 6])).ok());
    }
  }
  std::array<std::uint64_t, kKeys> newest{};
  const auto read_all = [&](std::array<std::uint64_t, kKeys>& counters, const char* when) {
    for (std::uint64_t number = 0; number < kKeys; ++number) {
      const Result<std::string> value = reader.get(key_of(number));
      ASSERT_TRUE(value) << when << ": key " << number << ": " << value.status().message();
      const std::optional<std::uint64_t> counter = unseal(*value, number);
      ASSERT_TRUE(counter) << when << ": the value of key " << number << " is not whole";
      ASSERT_GE(*counter, newest[number]) << when << ": the value of key " << number << " is an old one";
      counters[number] = *counter;
    }
  };
  std::uint64_t counter = 0;
  std::uint64_t fillers = 0;
  for (int death = 0; death < deaths && !testing::Test::HasFailure(); ++death) {
    Result<Client> writer = StatusCode::kNoServer;  // with a short timeout: its calls must end soon after the server
    while (!writer) writer = Client::connect(server->options(200ms));
    std::thread writing([&, seed = random.word()] {
      Random mine(seed);
      // Sizes change, so that keys move between the forms; keys are added, so that buckets split.
      for (bool alive = true; alive; ++counter) {
        const std::uint64_t number = mine.below(kKeys);
        alive = writer->put_async(key_of(number), sealed_value(counter + 1, number, mine.one_of(kSizes))).ok() &&
                writer->put_async(word_key(1000 + fillers), word_key(0)).ok() &&
                writer->put_async("filler " + std::to_string(fillers), "filler").ok();
        fillers = (fillers + 1) % 20'000;
      }
      static_cast<void>(writer->flush());
    });
    std::this_thread::sleep_for(std::chrono::microseconds(random.between(1'000, 40'000)));
    server->kill();
    std::array<std::uint64_t, kKeys> once{};
    std::array<std::uint64_t, kKeys> again{};
    read_all(once, "dead");
    read_all(again, "dead, again");
    writing.join();
    EXPECT_EQ(once, again) << "nobody is there to change anything";
    newest = once;
    server = std::make_unique<Server>(std::vector<std::string>{"2", "--workers", "1"}, ServerSetup{name});
    read_all(newest, "the next server");
  }
  EXPECT_GT(counter, 100u);
}
TEST(Restart, WhatADeadServerLeftIsReadAtOnce) { read_what_dead_servers_left(8); }
TEST(RestartSlow, WhatDeadServersLeftIsReadAtOnce) { read_what_dead_servers_left(40); }

class RestartReads : public testing::TestWithParam<Reads> {};

TEST_P(RestartReads, AClientContinuesFromServerToServer) {
  const std::string name = unique_name();
  Result<Client> client = StatusCode::kNoServer;
  std::string before;
  for (int round = 0; round < 10; ++round) {
    SCOPED_TRACE(round);
    Server server({"10", "--workers", round % 3 == 0 ? "4" : "1"}, {name});
    if (!client) client = server.connect(kPatience, GetParam());
    if (round != 0) {
      EXPECT_EQ(*client->get("key"), before);
    }
    before = "value" + std::to_string(round);
    EXPECT_TRUE(client->put("key", before).ok());
    EXPECT_EQ(*client->increment("rounds"), round + 1);
    EXPECT_EQ(server.stat("connected"), 1u);
    if (round == 9) break;
    server.kill();
    if (GetParam() == Reads::kDirect) {
      EXPECT_EQ(*client->get("key"), before);
    }
  }
}

INSTANTIATE_TEST_SUITE_P(By, RestartReads, testing::Values(Reads::kDirect, Reads::kRing),
                         [](const auto& test) { return test.param == Reads::kDirect ? "Direct" : "Ring"; });

void be_blocked_for(std::chrono::milliseconds absence) {
  Server first({"10", "--workers", "1"});
  PeerSetup patient;
  patient.timeout = absence + 60s;
  PeerSetup by_ring = patient;
  by_ring.reads = Reads::kRing;
  Peer putting(first, patient);
  Peer erasing(first, patient);
  Peer flushing(first, patient);
  Peer big(first, patient);
  Peer getting(first, by_ring);
  EXPECT_EQ(putting.put("put", "old"), StatusCode::kOk);
  EXPECT_EQ(erasing.put("erase", "old"), StatusCode::kOk);

  first.pause();
  putting.say("put put new");
  erasing.say("erase erase");
  EXPECT_EQ(flushing.put_async("flush", "value"), StatusCode::kOk);
  flushing.say("flush");
  big.say("put big #300000:1");  // waits for room in mid-stream
  getting.say("get erase");
  std::this_thread::sleep_for(300ms);
  first.kill();
  EXPECT_EQ(putting.program().next_line(absence), std::nullopt);

  Server second({"10", "--workers", "1"}, {first.name()});
  for (Peer* peer : {&putting, &erasing, &flushing, &big}) EXPECT_EQ(peer->reply(), StatusCode::kOk);
  const Reply got = getting.reply();
  EXPECT_TRUE(got == StatusCode::kNotFound || got.text == Peer::told_of("old")) << got;
  EXPECT_EQ(putting.get("put").text, Peer::told_of("new"));
  EXPECT_EQ(putting.get("erase"), StatusCode::kNotFound);
  EXPECT_EQ(putting.get("flush").text, Peer::told_of("value"));
  EXPECT_EQ(putting.get("big").text, Peer::told_of(pattern(300'000, 1)));
}

TEST(Restart, BlockedCallsSucceedAfterAnOutageOf100Milliseconds) { be_blocked_for(100ms); }
TEST(RestartSoak, BlockedCallsSucceedAfterAnOutageOf10Minutes) { be_blocked_for(10min); }

TEST(Restart, FlushReportsTheOutcomeOfATimedOutCall) {
  Server first({"10"});
  Client client = first.connect(300ms);
  EXPECT_EQ(*client.increment("n"), 1);
  first.kill();
  EXPECT_EQ(client.increment("n").status().code(), StatusCode::kTimeout);
  EXPECT_EQ(client.insert("n", "x").code(), StatusCode::kTimeout);
  EXPECT_EQ(client.flush().code(), StatusCode::kTimeout);
  Server second({"10"}, {first.name()});
  Status told = StatusCode::kTimeout;
  ASSERT_TRUE(eventually([&] { return (told = client.flush()).code() != StatusCode::kTimeout; }));
  EXPECT_EQ(told.code(), StatusCode::kAlreadyExists) << "the insert";
  EXPECT_EQ(*client.get("n"), "2") << "applied once";
  EXPECT_EQ(*client.increment("n"), 3) << "calling again is another one";
}

// Every change is applied exactly once, whenever the server dies. Each thread has the values of its keys; the shared
// numbers must be the sum of all changes.
void die_again_and_again(int rounds) {
  std::printf("%d crashes of 1000\n", rounds);
  Random random;
  const std::string name = unique_name();
  constexpr int kThreads = 4;
  std::atomic<bool> stop{false};
  std::atomic<std::int64_t> increments{0};
  std::atomic<std::int64_t> exchanges{0};
  std::atomic<std::int64_t> updates{0};
  std::atomic<std::uint64_t> calls{0};
  std::atomic<int> connected{0};
  std::vector<std::thread> threads;
  auto server = std::make_unique<Server>(std::vector<std::string>{"10", "--workers", "4"}, ServerSetup{name});
  for (int number = 0; number < kThreads; ++number) {
    threads.emplace_back([&, number] {
      Options options;
      options.name = name;
      options.timeout = 120s;
      options.reads = number % 2 == 0 ? Reads::kDirect : Reads::kRing;
      Result<Client> client = Client::connect(options);
      ++connected;
      ASSERT_TRUE(client) << client.status().message();
      const std::string mine = "mine " + std::to_string(number);
      const std::string coming = "coming " + std::to_string(number);
      const std::string large = "large " + std::to_string(number);
      const std::string log = "log " + std::to_string(number);
      const std::string fraction = "fraction " + std::to_string(number);
      std::int64_t own = 0;
      for (std::uint64_t round = 0; !stop; ++round) {
        const Result<std::int64_t> sum = client->increment("sum");
        ASSERT_TRUE(sum) << sum.status().message();
        ++increments;
        const Result<std::int64_t> now = client->increment(mine);
        ASSERT_TRUE(now) << now.status().message();
        ASSERT_EQ(*now, ++own);
        ASSERT_EQ(client->insert(coming, "value").code(), StatusCode::kOk);
        ASSERT_EQ(client->insert(coming, "value").code(), StatusCode::kAlreadyExists);
        ASSERT_EQ(client->erase(coming).code(), StatusCode::kOk);
        ASSERT_EQ(client->erase(coming).code(), StatusCode::kNotFound);
        // A number that all threads change, by compare-exchange or by its token.
        const Result<ValueAndToken> seen = client->get_with_token("turn");
        const std::string old = seen ? seen->value : "";
        const std::string next = std::to_string((old.empty() ? 0 : std::stoll(old)) + 1);
        const Status changed = !seen            ? client->insert("turn", next)
                               : round % 2 == 0 ? client->compare_exchange("turn", old, next)
                                                : client->put_if("turn", next, seen->token);
        if (changed.ok()) {
          ++exchanges;
        } else {
          ASSERT_TRUE(changed == StatusCode::kMismatch || changed == StatusCode::kAlreadyExists) << changed.message();
        }
        const std::string word = word_key(round);
        for (std::uint64_t i = 0; i < 20; ++i) {
          ASSERT_TRUE(
              client->put_async(word_key(static_cast<std::uint64_t>(number) << 32 | (round * 20 + i) % 512), word)
                  .ok());
        }
        ASSERT_EQ(client->flush().code(), StatusCode::kOk);
        const std::string value = pattern(1'000 + round * 7'919 % 90'000, round);
        ASSERT_EQ(client->put(large, value).code(), StatusCode::kOk);
        const Result<std::string> got = client->get(large);
        ASSERT_TRUE(got) << got.status().message();
        ASSERT_TRUE(*got == value);
        const Result<ValueAndToken> whole = client->get_with_token(large);
        ASSERT_TRUE(whole) << whole.status().message();
        const std::string longer = whole->value + "and more";
        ASSERT_EQ(client->put_if(large, longer, whole->token).code(), StatusCode::kOk);
        ASSERT_EQ(client->put_if(large, longer, whole->token).code(), StatusCode::kMismatch);
        ASSERT_EQ(client->erase_if(large, whole->token).code(), StatusCode::kMismatch);
        ASSERT_EQ(client->erase_if(large, client->get_with_token(large)->token).code(), StatusCode::kOk);
        ASSERT_EQ(client->exchange(coming, "a").value(), std::nullopt);
        ASSERT_EQ(client->exchange(coming, "b").value(), "a");
        ASSERT_EQ(client->insert_or_get(coming, "c").value(), "b");
        ASSERT_EQ(client->take(coming).value(), "b");
        ASSERT_EQ(client->take(coming).status().code(), StatusCode::kNotFound);
        const Status updated = client->update("updates", [](std::optional<std::string_view> text) {
          return std::to_string(std::stoll(std::string(text.value_or("0"))) + 1);
        });
        ASSERT_TRUE(updated.ok()) << updated.message();
        ++updates;
        ASSERT_EQ(client->append(log, "piece " + std::to_string(round % 10)).value(), 7 * (round % 100 + 1));
        if (round % 100 == 99) {
          ASSERT_EQ(client->take(log).value().size(), 700u);
        }
        ASSERT_EQ(client->increment(fraction, 0.5).value(), static_cast<double>(round + 1) / 2);
        ASSERT_EQ(client->increment_as<std::int64_t>(as_bytes_of(number), 3, 7).value(),
                  static_cast<std::int64_t>(round + 1) * 3 + 7);
        ASSERT_EQ(client->replace(fraction + "?", "value").code(), StatusCode::kNotFound);
        calls += 48;
      }
    });
  }
  // Connecting to a server that has just died fails; only calls must survive a kill.
  while (connected < kThreads) std::this_thread::yield();
  std::uint64_t replayed = 0;
  for (int round = 0; round < rounds; ++round) {
    std::this_thread::sleep_for(std::chrono::microseconds(random.below(30'000)));
    server->kill();
    // Sometimes the next one is killed, too, before it is ready.
    while (random.below(4) == 0) {
      Program hasty({test::program("hostmap-server"), "--name", name});
      std::this_thread::sleep_for(std::chrono::microseconds(random.below(12'000)));
      hasty.kill();
    }
    server = std::make_unique<Server>(std::vector<std::string>{"10", "--workers", round % 2 == 0 ? "1" : "3"},
                                      ServerSetup{name});
    replayed = server->stat("replayed");
    if (testing::Test::HasFailure()) break;
  }
  stop = true;
  for (std::thread& thread : threads) thread.join();
  Client client = server->connect();
  EXPECT_EQ(*client.get("sum"), std::to_string(increments));
  EXPECT_EQ(*client.get("turn"), std::to_string(exchanges));
  EXPECT_EQ(*client.get("updates"), std::to_string(updates));
  EXPECT_EQ(server->stat("connected"), 5u) << "nobody has connected anew";
  const Ran check = run({test::program("hostmap"), "--name", name, "check"});
  EXPECT_EQ(check.exit, kSuccess) << check.output << check.errors;
  std::printf("%lu calls, %lu requests finished by their record\n", static_cast<unsigned long>(calls),
              static_cast<unsigned long>(replayed));
  EXPECT_GT(calls, 0u);
}

TEST(Restart, EachCallTakesEffectOnceWheneverTheServerDies) { die_again_and_again(30); }
TEST(RestartSlow, EachCallTakesEffectOnceWheneverTheServerDies) { die_again_and_again(400); }

// --- Options -----------------------------------------------------------------------------------------------------------

TEST(Restart, KeepLeavesTheMapAndTheClientsForTheNextStart) {
  Server first({"10", "--keep"});
  Peer peer(first);
  EXPECT_EQ(peer.put("key", "value"), StatusCode::kOk);
  EXPECT_EQ(first.stop(), kSuccess);
  EXPECT_FALSE(first.files().empty());
  peer.say("put key new");
  EXPECT_EQ(peer.program().next_line(200ms), std::nullopt);
  Server second({"10"}, {first.name()});
  EXPECT_EQ(recovered(second, 1), 1u);
  EXPECT_EQ(peer.reply(), StatusCode::kOk);
  EXPECT_EQ(peer.get("key").text, Peer::told_of("new"));
  EXPECT_EQ(second.stat("connected"), 1u);
}

TEST(Restart, StopOverridesTheServersOptions) {
  const auto ask_to_stop = [](const Server& server, const char* how) {
    return run({test::program("hostmap"), "--name", server.name(), "stop", how});
  };
  Server first({"10"});
  EXPECT_TRUE(first.connect().put("key", "value").ok());
  EXPECT_EQ(ask_to_stop(first, "--keep").exit, kSuccess);
  EXPECT_EQ(first.wait(), kSuccess);
  EXPECT_FALSE(first.files().empty());
  Server second({"10", "--keep"}, {first.name()});
  EXPECT_EQ(*second.connect().get("key"), "value");
  EXPECT_EQ(ask_to_stop(second, "--drop").exit, kSuccess);
  EXPECT_EQ(second.wait(), kSuccess);
  EXPECT_TRUE(second.files().empty());
  expect_refusal(ask_to_stop(second, "--drop"), 3, {second.name()});
}

TEST(Restart, OptionsThatDifferFromTheFirstStartAreReportedAndIgnored) {
  Server first({"10", "--ring-size", "8K"});
  first.kill();
  Server second({"20"}, {first.name()});
  EXPECT_EQ(second.ready().buckets, 10u);
  EXPECT_NE(second.errors().find("--fresh"), std::string::npos) << second.errors();
}

// --- Damage ------------------------------------------------------------------------------------------------------------

void flip(const std::string& path, std::uint64_t offset) {
  std::fstream file(path, std::ios::in | std::ios::out | std::ios::binary);
  file.seekg(static_cast<std::streamoff>(offset));
  const int byte = file.get();
  file.seekp(static_cast<std::streamoff>(offset));
  file.put(static_cast<char>(byte ^ 0x10));
}

TEST(Restart, ADamagedHeadIsReportedAndTheMapDiscarded) {
  struct Damage {
    const char* region;
    std::uint64_t offset;
  };
  for (const Damage& damage : {Damage{"table", offsetof(TableHeader, hash_seed)},
                               Damage{"table", offsetof(TableHeader, shards) + offsetof(ShardHeader, pair_base)},
                               Damage{"table", offsetof(TableHeader, shards) + offsetof(ShardHeader, pair_state)},
                               Damage{"journal", offsetof(JournalHeader, ring_bytes)}}) {
    SCOPED_TRACE(std::string(damage.region) + " " + std::to_string(damage.offset));
    Server first({"10"});
    Client client = first.connect(5s);
    EXPECT_TRUE(client.put("key", "value").ok());
    first.kill();
    flip("/dev/shm/" + first.name() + "-" + damage.region, damage.offset);
    Server second({"10"}, {first.name()});
    const std::vector<std::string> log = lines_of(second.errors());
    ASSERT_EQ(log.size(), 2u) << second.errors();
    EXPECT_NE(log[0].find("cannot be continued"), std::string::npos) << log[0];
    EXPECT_NE(log[1].find("discarded"), std::string::npos) << log[1];
    EXPECT_EQ(client.get("key").status().code(), StatusCode::kNotFound);
  }
}

TEST(Restart, DamageOfTheTableIsSurvived) {
  Random random;
  const std::string name = unique_name();
  for (int round = 0; round < 30; ++round) {
    SCOPED_TRACE(round);
    Server first({"10"}, {name});
    {
      Client client = first.connect(20s);
      for (std::uint64_t i = 0; i < 2'000; ++i) {
        ASSERT_TRUE(client.put_async(word_key(i), word_key(i)).ok());
        ASSERT_TRUE(client.put_async("key " + std::to_string(i), pattern(1 + i % 3'000, i)).ok());
      }
      ASSERT_TRUE(client.flush().ok());
      ASSERT_TRUE(client.put("large", pattern(100'000, 1)).ok());
      for (std::uint64_t i = 0; i < 2'000; i += 3) ASSERT_TRUE(client.erase("key " + std::to_string(i)).ok());
    }
    first.kill();
    {
      const std::string path = "/dev/shm/" + name + "-table";
      const TablePlan plan = plan_table(first.ready().memory, 1);
      for (int i = 0; i < 200; ++i) {
        flip(path, plan.arena_offset + random.below(1'000'000));
      }
    }
    Server second({"10"}, {name});
    EXPECT_GT(recovered(second, 1), 0u);
    Client client = second.connect(20s);
    for (std::uint64_t i = 0; i < 2'000; i += 7) {
      const StatusCode code = client.put("key " + std::to_string(i), "again").code();
      ASSERT_TRUE(code == StatusCode::kOk || code == StatusCode::kFull) << static_cast<int>(code);
      static_cast<void>(client.get(word_key(i)));
    }
    ASSERT_TRUE(client.clear().ok());
    ASSERT_TRUE(client.put("key", "value").ok());
    ASSERT_EQ(*client.get("key"), "value");
    EXPECT_EQ(second.stop(), kSuccess);
  }
}

TEST(Restart, OnlyTheConnectionThatItsClientHasDamagedIsDropped) {
  Server first({"10"});
  Client honest = first.connect();
  EXPECT_TRUE(honest.put("key", "value").ok());
  Peer other(first);
  EXPECT_EQ(other.put("other", "value"), StatusCode::kOk);
  const std::vector<std::string> connections = first.connection_files();
  ASSERT_EQ(connections.size(), 2u);
  first.kill();
  flip(std::max(connections[0], connections[1]), offsetof(RegionHeader, layout_version));
  Server second({"10"}, {first.name()});
  EXPECT_EQ(recovered(second, 2), 1u);
  EXPECT_EQ(*honest.get("key"), "value");
  EXPECT_TRUE(honest.put("key", "new").ok());
  EXPECT_EQ(second.connection_files().size(), 1u);
}

// The options with which a map was created stay; a start with other options names each one that has no effect.
TEST(Restart, OnlyOptionsThatTheMapIgnoresAreNamed) {
  const std::string name = unique_name();
  const std::string what = "not applied, because the map that this server continues";
  const std::vector<std::string> larger{"64", "--memory",    "16M", "--max-connections", "100", "--workers",
                                        "4",  "--ring-size", "8K",  "--max-value",       "1M"};
  {
    Server first({"32", "--memory", "8M", "--max-connections", "50", "--workers", "2", "--ring-size", "4K",
                  "--max-value", "64K"},
                 {.name = name});
    ASSERT_TRUE(first.connect().put("key", "value").ok());
    EXPECT_EQ(first.errors().find(what), std::string::npos);
    first.kill();
  }
  const auto expect_named = [&](Server& server) {
    EXPECT_EQ(server.ready().memory, 8u << 20);
    for (const char* option :
         {"BUCKETS 64 (it has 32)", "--memory 16M (it has 8M)", "--max-connections 100 (it has 50)",
          "--workers 4 (it has 2)", "--ring-size 8K (it has 4K)", "--max-value 1M (it has 64K)"}) {
      EXPECT_NE(server.errors().find(option), std::string::npos) << option << " is not in " << server.errors();
    }
    EXPECT_NE(server.errors().find("--fresh"), std::string::npos);
    EXPECT_EQ(*server.connect().get("key"), "value");
  };
  {
    Server killed(larger, {.name = name});
    expect_named(killed);
    EXPECT_EQ(run({program("hostmap"), "--name", name, "stop", "--keep"}).exit, kSuccess);
    EXPECT_EQ(killed.wait(), kSuccess);
  }
  {
    Server kept(larger, {.name = name});
    expect_named(kept);
    std::vector<std::string> takeover = larger;
    takeover.push_back("--takeover");
    Server next(takeover, {.name = name});
    EXPECT_EQ(kept.wait(), kSuccess);
    expect_named(next);
    next.kill();
  }
  {
    Server silent({"--memory", "8M", "--workers", "1"},
                  {.name = name});  // given options apply; the others were not given
    EXPECT_TRUE(silent.errors().find("--workers 1") == std::string::npos) << silent.errors();
    EXPECT_EQ(silent.errors().find(what), std::string::npos) << silent.errors();
    silent.kill();
  }
  Server fresh({"--memory", "16M", "--fresh"}, {.name = name});
  EXPECT_EQ(fresh.ready().memory, 16u << 20);
  EXPECT_EQ(fresh.errors().find(what), std::string::npos) << fresh.errors();
}

}  // namespace
}  // namespace hostmap::test
