// Question `cache`: what does a put cost that must first remove another key, and how many gets find their key, beside Redis and
// memcached with the same memory?
//
// Puts: new keys of 16 + 100 bytes, pipelined, into a map that is full and evicts, and into one of the same size that is cleared
// whenever it is nearly full; both in the caches, and in turns. Hits: each store gets the same keys, one after the other, from a
// zipf distribution over many more keys than fit; a key that is missing is put. The first half fills the store.

#include <array>
#include <chrono>
#include <cstdint>
#include <fmt/format.h>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include <hostmap/client.hpp>

#include "harness/harness.hpp"
#include "harness/instance.hpp"
#include "harness/other_load.hpp"
#include "harness/process.hpp"
#include "harness/question.hpp"
#include "harness/workload.hpp"
#include "rivals/memcached.hpp"
#include "rivals/redis.hpp"

namespace hostmap::bench {
namespace {

using namespace std::chrono_literals;

constexpr double kGoalOfPut = 1.5;
constexpr unsigned kDefaultRounds = 9;
// 4 MiB hold some 27,000 entries of 16 + 100 bytes.
constexpr std::uint64_t kPutsOfRound = 20'000;
// 16 MiB hold some 100,000.
constexpr std::uint64_t kMebibytes = 16;
constexpr std::uint64_t kKeys = 1'000'000;
constexpr std::uint64_t kGets = 400'000;
constexpr std::array kExponents{0.8, 0.99};

void check(const Status& status, std::string_view call) {
  if (!status.ok()) throw std::runtime_error(fmt::format("{}: {}", call, status.message()));
}

// ---- puts

class Putter {
 public:
  explicit Putter(const Instance& instance) : client_(connect_to(instance.name())) {}

  // Nanoseconds a put of new keys.
  double put(std::uint64_t count) {
    const Clock::time_point start = Clock::now();
    for (std::uint64_t i = 0; i < count; ++i) {
      const EntryKey key = entry_key_of(next_++);
      check(client_.put_async(bytes_of(key), value_), "put_async");
    }
    check(client_.flush(), "flush");
    return std::chrono::duration<double, std::nano>(Clock::now() - start).count() / static_cast<double>(count);
  }
  void clear() { check(client_.clear(), "clear"); }

 private:
  Client client_;
  std::uint64_t next_ = 0;
  EntryValue value_ = entry_value_of(1);
};

void ask_puts(Session& session) {
  Instance full({"--memory", "4M", "--eviction", "clock"});
  Instance roomy({"--memory", "4M", "--eviction", "clock"});
  Putter into_full(full);
  Putter into_roomy(roomy);
  while (full.stat("evicted") < kPutsOfRound) into_full.put(kPutsOfRound);
  into_roomy.put(kPutsOfRound);  // its memory is populated
  Series evicting;
  Series with_room;
  const unsigned rounds = session.choices.rounds != 0 ? session.choices.rounds : kDefaultRounds;
  interleave(rounds, 2, [&](unsigned, std::size_t contestant) {
    if (contestant == 0) {
      evicting.add(into_full.put(kPutsOfRound));
    } else {
      into_roomy.clear();
      std::this_thread::sleep_for(20ms);  // the worker sweeps what was cleared
      with_room.add(into_roomy.put(kPutsOfRound));
    }
  });
  if (roomy.stat("evicted") != 0) throw std::runtime_error("the map that is to have room has evicted keys");
  Finding finding{.name = "cache/put",
                  .unit = "ns",
                  .hostmap = evicting.median(),
                  .rivals = {{"hostmap with room", with_room.median()}},
                  .ratio = ratio_of(evicting, with_room),
                  .goal = kGoalOfPut};
  session.report.add(finding);
  session.progress.clear();
  Table table("cache · a pipelined put of a new key, 16 + 100 bytes, 4 MiB · ns",
              {"", "time", "to one with room", "goal", ""});
  table.row({{"into a full cache", Tone::kStrong},
             {format_series(evicting), Tone::kStrong},
             {format_ratio(*finding.ratio)},
             {fmt::format("≤ {}", kGoalOfPut)},
             verdict(*finding.goal_met())});
  table.row({{"with room"}, {format_series(with_room)}, {""}, {""}, {""}});
  table.print();
}

// ---- hits

struct Outcome {
  double hit_percent = 0;
  double per_second = 0;  // gets and puts
};

template <typename Get, typename Put>
Outcome replay(double exponent, const Get& get, const Put& put) {
  // Made ahead: to draw one takes as long as a get.
  const Zipf zipf(kKeys, exponent);
  Random random(1);
  std::vector<std::uint64_t> ranks(kGets);
  for (std::uint64_t& rank : ranks) rank = zipf.next(random);
  const EntryValue value = entry_value_of(1);
  EntryValue found{};
  std::uint64_t hits = 0;
  std::uint64_t requests = 0;
  Clock::time_point start{};
  for (std::uint64_t i = 0; i < kGets; ++i) {
    if (i == kGets / 2) {
      hits = requests = 0;
      start = Clock::now();
    }
    const EntryKey key = entry_key_of(ranks[i]);
    const bool hit = get(bytes_of(key), std::as_writable_bytes(std::span(found)));
    if (!hit) put(bytes_of(key), bytes_of(value));
    hits += hit ? 1 : 0;
    requests += hit ? 1 : 2;
  }
  const double seconds = std::chrono::duration<double>(Clock::now() - start).count();
  return {static_cast<double>(hits) * 100 / (kGets / 2), static_cast<double>(requests) / seconds};
}

Outcome replay_hostmap(double exponent) {
  Instance instance({"--memory", fmt::format("{}M", kMebibytes), "--eviction", "clock"});
  Client client = connect_to(instance.name());
  return replay(
      exponent,
      [&](std::span<const std::byte> key, std::span<std::byte> value) { return bool(client.get_into(key, value)); },
      [&](std::span<const std::byte> key, std::span<const std::byte> value) { check(client.put(key, value), "put"); });
}

template <typename RivalClient>
Outcome replay_rival(double exponent, const std::string& socket) {
  RivalClient client(socket);
  return replay(
      exponent, [&](std::span<const std::byte> key, std::span<std::byte> value) { return client.get(key, value); },
      [&](std::span<const std::byte> key, std::span<const std::byte> value) { client.put(key, value); });
}

Outcome replay_redis(double exponent, const char* policy) {
  const RedisServer server({}, {"--maxmemory", fmt::format("{}mb", kMebibytes), "--maxmemory-policy", policy});
  return replay_rival<RedisClient>(exponent, server.socket());
}

Outcome replay_memcached(double exponent) {
  const MemcachedServer server = MemcachedServer::cache(kMebibytes);
  return replay_rival<MemcachedClient>(exponent, server.socket());
}

void ask_hits(Session& session) {
  for (const double exponent : kExponents) {
    struct Row {
      const char* name;
      Outcome outcome;
    };
    std::vector<Row> rows;
    const auto play = [&](const char* name, const auto& replay_one) {
      session.progress.detail(fmt::format("exponent {}: {}", exponent, name));
      rows.push_back({name, replay_one()});
    };
    play("hostmap --eviction clock", [&] { return replay_hostmap(exponent); });
    play("Redis allkeys-lru", [&] { return replay_redis(exponent, "allkeys-lru"); });
    play("Redis allkeys-lfu", [&] { return replay_redis(exponent, "allkeys-lfu"); });
    play("memcached", [&] { return replay_memcached(exponent); });
    Finding finding{.name = fmt::format("cache/hits-{}", exponent),
                    .unit = "%",
                    .hostmap = rows.front().outcome.hit_percent,
                    .better = Better::kHigher};
    for (std::size_t i = 1; i < rows.size(); ++i)
      finding.rivals.emplace_back(rows[i].name, rows[i].outcome.hit_percent);
    session.report.add(finding);
    session.progress.clear();
    Table table(fmt::format("cache · zipf {} over {} keys, 16 + 100 bytes, {} MiB each", exponent, format_count(kKeys),
                            kMebibytes),
                {"", "found", "requests a second"});
    for (const Row& row : rows) {
      const Tone tone = &row == &rows.front() ? Tone::kStrong : Tone::kPlain;
      table.row({{row.name, tone},
                 {fmt::format("{:.2f} %", row.outcome.hit_percent), tone},
                 {format_count(static_cast<std::uint64_t>(row.outcome.per_second)), tone}});
    }
    table.print();
  }
}

void ask_cache(Session& session) {
  session.progress.step("cache");
  const OtherLoad others;
  ask_puts(session);
  ask_hits(session);
}

const Registered cache_question(Question{
    137, "cache", "what a put into a full cache costs, and how many gets find their key", ask_cache});

}  // namespace

}  // namespace hostmap::bench
