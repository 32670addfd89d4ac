// A server that evicts: what its clients find, over shared memory and by message, and what cannot hurt it.
#include <cstdlib>
#include <fstream>
#include <gtest/gtest.h>
#include <sstream>
#include <string>
#include <sys/mman.h>
#include <unistd.h>
#include <unordered_set>
#include <vector>

#include "layout/connection.hpp"
#include "process/harness/raw_connection.hpp"
#include "process/harness/server.hpp"
#include "support/child.hpp"
#include "table/cache_simulation.hpp"

namespace hostmap::test {
namespace {

std::string key_of(std::uint64_t number) { return "key " + std::to_string(1'000'000'000 + number); }
std::string text_of(std::uint64_t word) { return {reinterpret_cast<const char*>(&word), sizeof word}; }
const std::string kValue(100, 'v');

// Puts new keys until some were evicted. Returns how many keys the full cache holds.
std::uint64_t fill(Server& server, Client& client) {
  std::uint64_t next = 500'000'000;
  while (server.stat("evicted") < 1000) {
    for (int i = 0; i < 1000; ++i) EXPECT_TRUE(client.put_async(key_of(next++), kValue).ok());
    EXPECT_TRUE(client.flush().ok());
  }
  return server.stat("entries");
}

struct HitCount {
  std::uint64_t hits = 0;
  std::uint64_t gets = 0;
};

// Many clients, each a process: each gets keys of a trace of its own, and puts what it misses. The second half counts.
HitCount ask(const Server& server, unsigned clients, std::uint64_t gets, const TraceSetup& setup) {
  auto* const sums = static_cast<std::atomic<std::uint64_t>*>(
      ::mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0));
  std::vector<Child> children;
  for (unsigned i = 0; i < clients; ++i) {
    children.push_back(Child::fork([&, i] {
      TraceSetup own = setup;
      own.seed = i + 1;
      Trace trace(own);
      Client client = server.connect();
      std::vector<std::byte> buffer(kValue.size());
      for (std::uint64_t n = 0; n < gets / clients; ++n) {
        const std::string key = key_of(trace.next());
        const Result<std::size_t> found = client.get_into(key, buffer);
        if (!found && !client.put(key, kValue).ok()) return 1;
        if (2 * n < gets / clients) continue;
        if (found) ++sums[0];
        ++sums[1];
      }
      return 0;
    }));
  }
  for (Child& child : children) EXPECT_EQ(child.wait(std::chrono::minutes(5)), kSuccess);
  const HitCount count{sums[0], sums[1]};
  ::munmap(sums, 4096);
  return count;
}

class HitRatioOfServer : public ::testing::TestWithParam<unsigned> {};

TEST_P(HitRatioOfServer, IsThatOfTheSimulation) {
  const unsigned clients = GetParam();
  for (const double exponent : {0.8, 1.0}) {
    Server server({"10", "--memory", "4M", "--eviction", "clock"});
    std::uint64_t capacity = 0;
    {
      Client client = server.connect();
      capacity = fill(server, client);
    }
    constexpr std::uint64_t kGets = 400'000;
    const TraceSetup setup{.exponent = exponent, .keys = capacity * 10};
    const HitCount real = ask(server, clients, kGets, setup);
    std::vector<Trace> traces;
    for (unsigned i = 0; i < clients; ++i) {
      TraceSetup own = setup;
      own.seed = i + 1;
      traces.emplace_back(own);
    }
    SimulatedClock clock(capacity);
    SimulatedLru lru(capacity);
    std::uint64_t hits[2] = {};
    for (std::uint64_t n = 0; n < kGets; ++n) {
      const std::uint64_t key = traces[n % clients].next();
      const bool simulated = clock.ask(key);
      const bool recent = lru.ask(key);
      if (2 * n < kGets) continue;
      hits[0] += simulated;
      hits[1] += recent;
    }
    const double found = 100.0 * static_cast<double>(real.hits) / static_cast<double>(real.gets);
    const double simulated = 200.0 * static_cast<double>(hits[0]) / kGets;
    const double recent = 200.0 * static_cast<double>(hits[1]) / kGets;
    std::printf("%u clients, exponent %.1f, %llu keys: hits %.2f %%, simulated %.2f, LRU %.2f\n", clients, exponent,
                static_cast<unsigned long long>(capacity), found, simulated, recent);
    EXPECT_NEAR(found, simulated, 2);
    EXPECT_GT(found, recent - 1);
    EXPECT_EQ(run({program("hostmap"), "--name", server.name(), "check"}).exit, kSuccess);
    EXPECT_GE(server.stat("hits") + server.stat("misses"), kGets * 99 / 100);
  }
}

INSTANTIATE_TEST_SUITE_P(Clients, HitRatioOfServer, ::testing::Values(1u, 4u, 64u));

// Traces of real caches, which scripts/cache_traces fetches: a key a line, as a number. The cache is empty at first and has room
// for a tenth of the keys.
class HitRatioOfTraces : public ::testing::TestWithParam<unsigned> {
 protected:
  static constexpr std::uint64_t kMemory = std::uint64_t{8} << 20;

  static std::vector<std::uint64_t> read(const std::string& path) {
    std::ifstream file(path);
    std::vector<std::uint64_t> keys;
    for (std::uint64_t key; file >> key;) keys.push_back(key);
    return keys;
  }
  // Hits of clients, each a process, who take the next request from a common counter: a client that is slow falls back no further
  // than one request, so the trace keeps its order.
  static std::uint64_t play(const Server& server, unsigned clients, const std::vector<std::uint64_t>& keys,
                            const std::string& value) {
    auto* const counts = static_cast<std::atomic<std::uint64_t>*>(
        ::mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0));
    std::vector<Child> children;
    for (unsigned i = 0; i < clients; ++i) {
      children.push_back(Child::fork([&] {
        Client client = server.connect();
        for (std::uint64_t n; (n = counts[0]++) < keys.size();) {
          const std::string key = key_of(keys[n]);
          const Status found = client.exists(key);
          if (found.ok()) ++counts[1];
          if (found == StatusCode::kNotFound && !client.put(key, value).ok()) return 1;
        }
        return 0;
      }));
    }
    for (Child& child : children) EXPECT_EQ(child.wait(std::chrono::minutes(5)), kSuccess);
    const std::uint64_t hits = counts[1];
    ::munmap(counts, 4096);
    return hits;
  }
};

TEST_P(HitRatioOfTraces, AreThoseOfTheSimulation) {
  const char* const paths = std::getenv("HOSTMAP_TRACES");
  if (paths == nullptr) GTEST_SKIP() << "needs traces: run scripts/cache_traces";
  std::istringstream list(paths);
  for (std::string path; std::getline(list, path, ':');) {
    const std::vector<std::uint64_t> keys = read(path);
    ASSERT_GT(keys.size(), 0u) << path;
    const std::size_t distinct = std::unordered_set<std::uint64_t>(keys.begin(), keys.end()).size();
    const std::string value(kMemory / (distinct / 10 + 1) - 64, 'v');
    const std::vector<std::string> options{"10", "--memory", std::to_string(kMemory), "--eviction", "clock"};
    std::uint64_t capacity = 0;
    {
      Server full(options);
      Client client = full.connect();
      for (std::uint64_t next = 0; full.stat("evicted") < 1000; ++next)
        ASSERT_TRUE(client.put(key_of(next), value).ok());
      capacity = full.stat("entries");
    }
    Server server(options);
    const std::uint64_t hits = play(server, GetParam(), keys, value);
    SimulatedClock clock(capacity);
    SimulatedLru lru(capacity);
    std::uint64_t simulated = 0;
    std::uint64_t recent = 0;
    for (const std::uint64_t key : keys) {
      simulated += clock.ask(key);
      recent += lru.ask(key);
    }
    const auto percent = [&](std::uint64_t count) {
      return 100.0 * static_cast<double>(count) / static_cast<double>(keys.size());
    };
    std::printf(
        "%s: %zu requests of %zu keys, room for %llu of %zu bytes, %u clients: hits %.2f %%, simulated %.2f, LRU "
        "%.2f\n",
        path.substr(path.rfind('/') + 1).c_str(), keys.size(), distinct, static_cast<unsigned long long>(capacity),
        value.size(), GetParam(), percent(hits), percent(simulated), percent(recent));
    EXPECT_NEAR(percent(hits), percent(simulated), 2);
    EXPECT_GT(percent(hits), percent(recent) - 1);
  }
}

INSTANTIATE_TEST_SUITE_P(Clients, HitRatioOfTraces, ::testing::Values(1u, 4u));

// Puts so many new keys that all that is not read would be gone.
void flood(Client& client, std::uint64_t begin, std::uint64_t count) {
  for (std::uint64_t i = begin; i < begin + count; ++i) ASSERT_TRUE(client.put_async(key_of(i), kValue).ok());
  ASSERT_TRUE(client.flush().ok());
}

// The last one: all keys by one call of multi_get.
class ReadKeysStay : public ::testing::TestWithParam<std::tuple<Reads, const char*, const char*, bool>> {};

// Half of them entries, half pairs.
std::string read_key(std::uint64_t number) { return number % 2 == 0 ? key_of(number) : text_of(number); }

TEST_P(ReadKeysStay, WhileOthersAreEvicted) {
  const auto [reads, workers, first_policy, at_once] = GetParam();
  std::optional<Server> server;
  server.emplace(std::vector<std::string>{"10", "--memory", "8M", "--eviction", first_policy, "--workers", workers});
  Client reader = server->connect(kPatience, reads);
  Client writer = server->connect();
  constexpr std::uint64_t kRead = 200;
  for (std::uint64_t i = 0; i < kRead; ++i) {
    ASSERT_TRUE(reader.put(read_key(i), kValue.substr(0, 8)).ok());
  }
  if (std::string(first_policy) == "none") {
    const std::string name = server->name();
    server->kill();
    server.emplace(std::vector<std::string>{"--eviction", "clock"}, ServerSetup{.name = name});
  }
  std::vector<std::string> keys;
  for (std::uint64_t i = 0; i < kRead; ++i) keys.push_back(read_key(i));
  std::uint64_t lost = 0;
  const std::uint64_t capacity = (std::uint64_t{8} << 20) / 150;
  for (std::uint64_t round = 0; round < 100; ++round) {
    flood(writer, 1'000'000 + round * capacity / 10, capacity / 10);
    std::vector<Result<std::string>> values;
    if (at_once) values = reader.multi_get(keys);
    for (std::uint64_t i = 0; i < kRead; ++i) {
      if (!at_once) values.push_back(reader.get(keys[i]));
      if (values[i]) {
        EXPECT_EQ(*values[i], kValue.substr(0, 8));
        continue;
      }
      EXPECT_EQ(values[i].status(), StatusCode::kNotFound);
      ++lost;
      ASSERT_TRUE(reader.put(keys[i], kValue.substr(0, 8)).ok());
    }
  }
  // A client reads only after some time that its table evicts since a restart.
  if (std::string(first_policy) == "clock") {
    EXPECT_EQ(server->stat("hits"), 100 * kRead - lost);
    EXPECT_EQ(server->stat("misses"), lost);
  }
  EXPECT_GT(server->stat("evicted"), 5 * capacity);
  EXPECT_LT(lost, 100 * kRead / 100) << "more than one in a hundred reads found its key evicted";
}

INSTANTIATE_TEST_SUITE_P(
    Ways, ReadKeysStay,
    ::testing::Values(std::tuple(Reads::kDirect, "1", "clock", false), std::tuple(Reads::kDirect, "1", "clock", true),
                      std::tuple(Reads::kRing, "1", "clock", false), std::tuple(Reads::kRing, "1", "clock", true),
                      std::tuple(Reads::kDirect, "4", "clock", false), std::tuple(Reads::kDirect, "4", "clock", true),
                      std::tuple(Reads::kDirect, "1", "none", false)));

TEST(Eviction, OnlyKeysWithAnEndAreEvictedIfThatIsThePolicy) {
  Server server({"10", "--memory", "4M", "--eviction", "expiring"});
  Client client = server.connect();
  std::uint64_t kept = 0;
  for (; kept < 5000; ++kept) ASSERT_TRUE(client.put(key_of(kept), kValue).ok());
  for (std::uint64_t i = 0; i < 100'000; ++i) {
    const Status status = client.put(key_of(1'000'000 + i), kValue, std::chrono::hours(1));
    ASSERT_TRUE(status.ok()) << i << ": " << status.message();
  }
  EXPECT_GT(server.stat("evicted"), 50'000u);
  for (std::uint64_t i = 0; i < kept; ++i) ASSERT_TRUE(client.exists(key_of(i)).ok()) << i;
  // What has no end takes the place of what has one, and is refused when nothing of that is left.
  Status status;
  for (; status.ok(); ++kept) status = client.put(key_of(kept), kValue);
  EXPECT_EQ(status.code(), StatusCode::kFull) << status.message();
  EXPECT_GT(kept, 20'000u) << server.stat("expiring") << " keys with an end are left";
  for (std::uint64_t i = 0; i + 1 < kept; ++i) ASSERT_TRUE(client.exists(key_of(i)).ok()) << i;
}

TEST(Eviction, WithoutAPolicyWritesAreRefused) {
  Server server({"10", "--memory", "2M"});
  Client client = server.connect();
  Status status;
  for (std::uint64_t i = 0; status.ok(); ++i) status = client.put(key_of(i), kValue);
  EXPECT_EQ(status.code(), StatusCode::kFull);
  EXPECT_EQ(server.stat("evicted"), 0u);
}

TEST(Eviction, AnUnknownPolicyIsRefused) {
  const Ran ran = run({program("hostmap-server"), "--eviction", "lru"});
  EXPECT_EQ(ran.exit, exited(2));
  EXPECT_EQ(ran.errors,
            "hostmap-server: --eviction lru is unknown; use none (refuse writes when memory is full), clock (remove "
            "keys that "
            "were not used lately) or expiring (only keys with a time to live)\n");
}

// What clients note is theirs to write.
TEST(Eviction, FalseNotesHurtNobody) {
  Server server({"10", "--memory", "4M", "--eviction", "clock"});
  Client client = server.connect();
  const auto hostile = RawConnection::connected(server.instance());
  std::uint64_t random = 1;
  for (int round = 0; round < 50; ++round) {
    for (Word& word : hostile->touch_page(0).words) {
      random = random * 6'364'136'223'846'793'005 + 1'442'695'040'888'963'407;
      word.store(round % 2 == 0 ? random : random | kTouchOfPair | 7 << kTouchBucketShift);
    }
    for (std::uint64_t i = 0; i < 2000; ++i) {
      ASSERT_TRUE(client.put_async(key_of(round * 2000ull + i), kValue).ok());
      std::string word(8, 'w');
      std::memcpy(word.data(), &random, 8);
      random = random * 6'364'136'223'846'793'005 + 1'442'695'040'888'963'407;
      ASSERT_TRUE(client.put_async(word, "12345678").ok());
    }
    ASSERT_TRUE(client.flush().ok());
  }
  EXPECT_GT(server.stat("evicted"), 10'000u);
  EXPECT_EQ(server.stat("poisoned"), 0u);
  EXPECT_EQ(run({program("hostmap"), "--name", server.name(), "check"}).exit, kSuccess);
}

TEST(Eviction, AStartWithAnotherPolicyReportsIt) {
  const std::vector<std::string> none{"10"};
  const std::vector<std::string> clock{"10", "--eviction", "clock"};
  std::optional<Server> server;
  const auto line_of = [&](const std::vector<std::string>& options, const ServerSetup& setup) {
    server.emplace(options, setup);
    const std::string& errors = server->errors();
    const std::size_t at = errors.find("the eviction policy is ");
    return at == std::string::npos ? "" : errors.substr(at, errors.find('\n', at) - at);
  };
  EXPECT_EQ(line_of(clock, {}), "") << "a new map was served with no other policy";
  const ServerSetup setup{server->name()};
  server->kill();
  EXPECT_EQ(line_of(clock, setup), "");
  server->kill();
  EXPECT_EQ(
      line_of(none, setup),
      "the eviction policy is none; the map was served with --eviction clock, which is to be given with each start");
  server->kill();
  EXPECT_EQ(
      line_of(clock, setup),
      "the eviction policy is clock; the map was served with --eviction none, which is to be given with each start");
}

// A server that is killed while it evicts continues; nothing that is there has another value than the one that was put.
TEST(Eviction, AKilledServerContinues) {
  for (const char* workers : {"1", "4"}) {
    std::optional<Server> server;
    server.emplace(std::vector<std::string>{"10", "--memory", "4M", "--eviction", "clock", "--workers", workers});
    const std::string name = server->name();
    Client client = server->connect();
    std::uint64_t next = 0;
    const auto value_of = [](std::uint64_t i) {
      return std::string(20 + i * 7919 % 3000, static_cast<char>('a' + i % 26));
    };
    for (int round = 0; round < 6; ++round) {
      Child writer = Child::fork([&] {
        Client own = server->connect();
        for (std::uint64_t i = next;; ++i) {
          if (!own.put_async(key_of(i), value_of(i)).ok()) return 1;
        }
      });
      ::usleep(200'000);
      server->kill();
      writer.kill_and_wait();
      server.emplace(std::vector<std::string>{"--eviction", "clock"}, ServerSetup{.name = name});
      EXPECT_EQ(run({program("hostmap"), "--name", name, "check"}).exit, kSuccess);
      std::uint64_t there = 0;
      for (std::uint64_t i = next; i < next + 200'000; ++i) {
        const Result<std::string> value = client.get(key_of(i));
        if (!value) continue;
        ++there;
        ASSERT_EQ(*value, value_of(i)) << i;
      }
      EXPECT_GT(there, 100u);
      next += 1'000'000;
      const Status after = client.put("after", "a restart");
      ASSERT_TRUE(after.ok()) << after.message();
    }
    EXPECT_GT(server->stat("evicted"), 1000u);
  }
}

}  // namespace
}  // namespace hostmap::test
