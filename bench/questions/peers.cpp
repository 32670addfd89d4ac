// Question `peers`: what does a get from another process cost against what people use between processes today?
//
// Every contestant is loaded with the same entries by a process that ends then, in two forms: pairs of 8 + 8 bytes, and
// entries of 16 + 100. Its client is a process of its own, pinned to the last CPU; servers are pinned to the first one.
// A second table is the same for a put that is waited for.

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <fmt/format.h>
#include <fstream>
#include <iostream>
#include <optional>
#include <sstream>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <hostmap/client.hpp>

#include "harness/floors.hpp"
#include "harness/forms.hpp"
#include "harness/harness.hpp"
#include "harness/instance.hpp"
#include "harness/other_load.hpp"
#include "harness/process.hpp"
#include "harness/question.hpp"
#include "harness/workload.hpp"
#include "rivals/boost_map.hpp"
#include "rivals/lmdb.hpp"
#include "rivals/memcached.hpp"
#include "rivals/redis.hpp"

namespace hostmap::bench {
namespace {

using namespace std::chrono_literals;

constexpr std::uint64_t kEntries = 1'000'000;
constexpr unsigned kDefaultRounds = 9;
/// Untimed calls at the start of each turn are this part of the timed ones: the contestant before had the caches.
constexpr std::size_t kWarmUpPart = 4;

enum class Peer : std::uint8_t { kHostmap, kBoostMutex, kBoostSharable, kLmdb, kLmdbSnapshot, kMemcached, kRedis };

/// Calls in a round: about as many as take the same time, within reason.
struct Contestant {
  Peer peer;
  std::string_view name;
  std::size_t gets;
  std::size_t puts;  // 0: it does not put
};
constexpr std::array kContestants{
    Contestant{Peer::kHostmap, "hostmap", 1'000'000, 100'000},
    Contestant{Peer::kBoostMutex, "Boost.Interprocess, mutex", 1'000'000, 500'000},
    Contestant{Peer::kBoostSharable, "Boost.Interprocess, sharable mutex", 1'000'000, 500'000},
    Contestant{Peer::kLmdb, "LMDB", 1'000'000, 50'000},
    Contestant{Peer::kLmdbSnapshot, "LMDB, one old snapshot", 1'000'000, 0},
    Contestant{Peer::kMemcached, "memcached", 10'000, 10'000},
    Contestant{Peer::kRedis, "Redis", 10'000, 10'000},
};

/// One line of ratios: hostmap against the fastest of neighbours in kContestants.
struct Against {
  std::string_view name;
  std::string_view title;
  Peer first;
  Peer last;
  std::optional<double> goal_times;  // hostmap is to be so many times as fast
};
constexpr std::array kAgainst{
    Against{"boost", "hostmap : best Boost.Interprocess", Peer::kBoostMutex, Peer::kBoostSharable, 3.0},
    Against{"lmdb", "hostmap : LMDB", Peer::kLmdb, Peer::kLmdb, 7.0},
    Against{"memcached", "hostmap : memcached", Peer::kMemcached, Peer::kMemcached, std::nullopt},
    Against{"redis", "hostmap : Redis", Peer::kRedis, Peer::kRedis, 400.0},
};

struct PatternName {
  Pattern pattern;
  std::string_view name;
  std::string_view title;
};
constexpr std::array kPatterns{PatternName{Pattern::kUniform, "uniform", "uniform"},
                               PatternName{Pattern::kZipf, "zipf", "zipf 0.99"}};

// ---- in the processes of loaders and clients ----------------------------------------------------

class HostmapPeer {
 public:
  explicit HostmapPeer(const std::string& name) : client_(connect_to(name)) {}

  bool get(std::span<const std::byte> key, std::span<std::byte> value) {
    const Result<std::size_t> size = client_.get_into(key, value);
    return size && *size == value.size();
  }
  void put(std::span<const std::byte> key, std::span<const std::byte> value) {
    if (const Status status = client_.put(key, value); !status.ok()) {
      throw std::runtime_error(fmt::format("put: {}", status.message()));
    }
  }

 private:
  Client client_;
};

// Maps of typed keys and values take these as they are, stores take their bytes.

template <typename Map, typename Key, typename Value>
bool get_from(Map& map, const Key& key, Value& value) {
  if constexpr (requires { map.get(key, value); }) {
    return map.get(key, value);
  } else {
    return map.get(bytes_of(key), std::as_writable_bytes(std::span(&value, 1)));
  }
}

template <typename Map, typename Key, typename Value>
void put_to(Map& map, const Key& key, const Value& value) {
  if constexpr (requires { map.put(key, value); }) {
    map.put(key, value);
  } else {
    map.put(bytes_of(key), bytes_of(value));
  }
}

template <typename Form, BoostLock kLock>
using Boost = BoostMap<typename Form::Key, typename Form::Value, kLock>;

/// Calls the function with a client of the contestant.
template <typename Form, typename Function>
int with_client(Peer peer, const std::string& address, const Function& function) {
  constexpr std::size_t kKeyBytes = sizeof(typename Form::Key);
  const auto with = [&](auto&& map) { return function(map); };
  switch (peer) {
    case Peer::kHostmap:
      return with(HostmapPeer(address));
    case Peer::kBoostMutex:
      return with(Boost<Form, BoostLock::kMutex>::open(address));
    case Peer::kBoostSharable:
      return with(Boost<Form, BoostLock::kSharableMutex>::open(address));
    case Peer::kLmdb:
      return with(LmdbMap(address, kKeyBytes));
    case Peer::kLmdbSnapshot:
      return with(LmdbMap(address, kKeyBytes, LmdbReads::kSnapshot));
    case Peer::kMemcached:
      return with(MemcachedClient(address));
    case Peer::kRedis:
      return with(RedisClient(address));
  }
  throw std::runtime_error("no such contestant");
}

/// Nanoseconds of a get. Throws unless every key is found with its value.
template <typename Form, typename Map>
double time_gets(Map& map, Pattern pattern, std::uint64_t entries, std::uint64_t seed, std::size_t count,
                 const RankPool& ranks) {
  const auto find = [&](std::uint64_t index, std::uint64_t& sum) {
    typename Form::Value value{};
    if (!get_from(map, Form::key(index), value)) return false;
    sum = Form::sum(value);
    return true;
  };
  time_lookups(pattern, entries, ~seed, count / kWarmUpPart, ranks, find);
  const Lookups lookups = time_lookups(pattern, entries, seed, count, ranks, find);
  std::uint64_t expected = 0;
  for_each_index(pattern, entries, seed, count, ranks, [&](std::uint64_t index) {
    expected += Form::sum(Form::value(index));
    return std::uint64_t{0};
  });
  if (lookups.hits != count || lookups.checksum != expected) {
    throw std::runtime_error(fmt::format("{} of {} keys found, values {}", lookups.hits, count,
                                         lookups.checksum == expected ? "right" : "wrong"));
  }
  return lookups.nanoseconds_each;
}

/// Nanoseconds of a put. Each round puts other values, which are those of other indexes. Throws unless every key has
/// its new value then.
template <typename Form, typename Map>
double time_puts(Map& map, std::uint64_t entries, std::uint64_t seed, std::size_t count) {
  const auto value_now = [&](std::uint64_t index) { return Form::value(index + seed * entries); };
  const auto put_many = [&](std::uint64_t order, std::size_t many) {
    Random random(order);
    for (std::size_t done = 0; done < many; ++done) {
      const std::uint64_t index = random.below(entries);
      put_to(map, Form::key(index), value_now(index));
    }
  };
  put_many(~seed, count / kWarmUpPart);
  const Clock::time_point start = Clock::now();
  put_many(seed, count);
  const double nanoseconds = std::chrono::duration<double, std::nano>(Clock::now() - start).count();
  Random random(seed);
  for (std::size_t done = 0; done < count; ++done) {
    const std::uint64_t index = random.below(entries);
    typename Form::Value value{};
    if (!get_from(map, Form::key(index), value) || value != value_now(index)) {
      throw std::runtime_error("a key has not the value that was put last");
    }
  }
  return nanoseconds / static_cast<double>(count);
}

/// How much shared memory this process has mapped in huge pages.
std::uint64_t own_huge_page_bytes() {
  constexpr std::string_view kFigure = "ShmemPmdMapped:";
  std::ifstream rollup("/proc/self/smaps_rollup");
  for (std::string line; std::getline(rollup, line);) {
    if (line.starts_with(kFigure)) return 1024 * std::strtoull(&line[kFigure.size()], nullptr, 10);
  }
  return 0;
}

/// Answers lines until the end of input: "get PATTERN SEED COUNT" and "put SEED COUNT" by nanoseconds, "pages" by
/// bytes.
template <typename Form, typename Map>
int answer_rounds(Map& map, std::uint64_t entries) {
  const RankPool ranks(entries);
  fmt::print("ready\n");
  std::fflush(stdout);
  for (std::string act; std::cin >> act;) {
    int pattern = 0;
    std::uint64_t seed = 0;
    std::size_t count = 0;
    if (act == "get" && std::cin >> pattern >> seed >> count) {
      fmt::print("{}\n", time_gets<Form>(map, static_cast<Pattern>(pattern), entries, seed, count, ranks));
    } else if (act == "put" && std::cin >> seed >> count) {
      fmt::print("{}\n", time_puts<Form>(map, entries, seed, count));
    } else if (act == "pages") {
      fmt::print("{}\n", own_huge_page_bytes());
    } else {
      throw std::runtime_error(fmt::format("no such act: {}", act));
    }
    std::fflush(stdout);
  }
  return 0;
}

/// Loads a contestant as fast as it can be loaded. hostmap has loaders of its own (instance.hpp).
template <typename Form>
void load(Peer peer, const std::string& address, std::uint64_t entries) {
  const auto load_by = [&](const auto& put) {
    for (std::uint64_t position = 0; position < entries; ++position) {
      const std::uint64_t index = load_order(position, entries);
      put(Form::key(index), Form::value(index));
    }
  };
  const auto load_into = [&](auto&& map) {
    load_by([&](const auto& key, const auto& value) {
      if constexpr (requires { map.put_later(bytes_of(key), bytes_of(value)); }) {
        map.put_later(bytes_of(key), bytes_of(value));
      } else {
        put_to(map, key, value);
      }
    });
    map.finish();
  };
  switch (peer) {
    case Peer::kBoostMutex:
      return load_into(Boost<Form, BoostLock::kMutex>::create(address, entries));
    case Peer::kBoostSharable:
      return load_into(Boost<Form, BoostLock::kSharableMutex>::create(address, entries));
    case Peer::kLmdb:
      return load_into(LmdbMap(address, sizeof(typename Form::Key)));
    case Peer::kMemcached:
      return load_into(MemcachedClient(address, MemcachedClient::Sets::kBuffered));
    case Peer::kRedis:
      return load_into(RedisClient(address));
    case Peer::kHostmap:
    case Peer::kLmdbSnapshot:  // the same database as kLmdb
      break;
  }
  throw std::runtime_error("no such contestant to load");
}

// ---- in the parent ------------------------------------------------------------------------------

/// The servers, and what must be removed of those that have none.
class Hosts {
 public:
  Hosts(std::uint64_t entries, int cpu)
      : hostmap_({"--memory", memory_for(entries)}), memcached_(entries, cpu), redis_(cpu) {
    hostmap_.pin_server(cpu);
  }

  [[nodiscard]] Instance& hostmap() { return hostmap_; }
  /// What loaders and clients find the contestant by.
  [[nodiscard]] std::string address_of(Peer peer) const {
    switch (peer) {
      case Peer::kHostmap:
        return hostmap_.name();
      case Peer::kBoostMutex:
        return boost_mutex_.name();
      case Peer::kBoostSharable:
        return boost_sharable_.name();
      case Peer::kLmdb:
      case Peer::kLmdbSnapshot:
        return lmdb_.path();
      case Peer::kMemcached:
        return memcached_.socket();
      case Peer::kRedis:
        return redis_.socket();
    }
    throw std::runtime_error("no such contestant");
  }

 private:
  Instance hostmap_;
  BoostSegment boost_mutex_{unique_name()};
  BoostSegment boost_sharable_{unique_name()};
  TemporaryFolder lmdb_{kLmdbParent};
  MemcachedServer memcached_;
  RedisServer redis_;
};

Command role_command(std::string_view role, Peer peer, std::string_view form, std::uint64_t entries,
                     const Hosts& hosts) {
  return {.program = own_program(),
          .arguments = {"--role", std::string(role), std::to_string(static_cast<int>(peer)), std::string(form),
                        std::to_string(entries), hosts.address_of(peer)}};
}

template <typename Form>
void load_all(Hosts& hosts, std::uint64_t entries, Progress& progress) {
  for (const Contestant& contestant : kContestants) {
    progress.detail(fmt::format("{}: loading {}", Form::kTitle, contestant.name));
    if (contestant.peer == Peer::kHostmap) {
      Form::load_hostmap(hosts.hostmap(), entries);
    } else if (contestant.peer != Peer::kLmdbSnapshot) {
      Child(role_command("peers-loader", contestant.peer, Form::kName, entries, hosts)).wait(300s);
    }
  }
}

std::vector<Child> start_clients(std::string_view form, std::uint64_t entries, const Hosts& hosts) {
  std::vector<Child> clients;
  clients.reserve(kContestants.size());
  for (const Contestant& contestant : kContestants) {
    Command command = role_command("peers-client", contestant.peer, form, entries, hosts);
    command.cpu = allowed_cpus().back();
    clients.emplace_back(command);
    if (const std::string line = clients.back().hear(120s); line != "ready") {
      throw std::runtime_error(fmt::format("{} said \"{}\", not ready", contestant.name, line));
    }
  }
  return clients;
}

double answer_to(Child& client, const std::string& line) {
  client.say(line);
  return std::strtod(client.hear(120s).c_str(), nullptr);
}

/// One column of a table: what was measured of every contestant, in the order of kContestants.
struct Column {
  std::string name;
  std::string title;
  std::vector<Series> series = std::vector<Series>(kContestants.size());

  [[nodiscard]] const Series& of(Peer peer) const { return series[static_cast<std::size_t>(peer)]; }
};

/// The one with the least median among those that a line of ratios names.
Peer best_of(const Against& against, const Column& column) {
  return column.of(against.last).median() < column.of(against.first).median() ? against.last : against.first;
}

/// hostmap in a column against a rival; a goal where there is one.
Finding finding_of(const Against& against, const Column& column, bool has_goal, std::optional<double> floor) {
  const Peer best = best_of(against, column);
  Finding finding{.name = fmt::format("peers/{}/{}", column.name, against.name),
                  .unit = "ns",
                  .hostmap = column.of(Peer::kHostmap).median(),
                  .floor = floor,
                  .ratio = ratio_of(column.of(Peer::kHostmap), column.of(best))};
  for (const Contestant& contestant : kContestants) {
    if (contestant.peer < against.first || contestant.peer > against.last) continue;
    finding.rivals.emplace_back(contestant.name, column.of(contestant.peer).median());
  }
  if (has_goal && against.goal_times) finding.goal = 1 / *against.goal_times;
  return finding;
}

/// "1 : 7.3 (6.9–8.0)": how many times as long the rival takes.
std::string format_times(const Ratio& ratio) {
  return fmt::format("1 : {} ({}–{})", format_figure(1 / ratio.median), format_figure(1 / ratio.greatest),
                     format_figure(1 / ratio.least));
}

/// What all rounds of all forms came to.
struct Measured {
  std::vector<Column> gets;
  Column puts{.name = "put", .title = "ns a put"};
  std::uint64_t hostmap_huge_page_bytes = 0;
  std::vector<std::string> pages;  // a sentence for each form
};

void measure_gets(std::vector<Child>& clients, Column& column, Pattern pattern, unsigned rounds, Progress& progress) {
  interleave(rounds, kContestants.size(), [&](unsigned round, std::size_t number) {
    progress.detail(fmt::format("get {}, round {} of {}", column.title, round + 1, rounds));
    column.series[number].add(answer_to(
        clients[number], fmt::format("get {} {} {}", static_cast<int>(pattern), round + 1, kContestants[number].gets)));
  });
}

void measure_puts(std::vector<Child>& clients, Column& column, unsigned rounds, Progress& progress) {
  interleave(rounds, kContestants.size(), [&](unsigned round, std::size_t number) {
    if (kContestants[number].puts == 0) return;
    progress.detail(fmt::format("put, round {} of {}", round + 1, rounds));
    column.series[number].add(
        answer_to(clients[number], fmt::format("put {} {}", round + 1, kContestants[number].puts)));
  });
}

std::uint64_t pages_of(std::vector<Child>& clients, Peer peer) {
  return static_cast<std::uint64_t>(answer_to(clients[static_cast<std::size_t>(peer)], "pages"));
}

/// How much of both sides lies in 2 MiB pages, once all of it has been read.
void add_pages(std::vector<Child>& clients, std::string_view form, Measured& measured) {
  const std::uint64_t hostmap = pages_of(clients, Peer::kHostmap);
  const std::uint64_t boost = std::max(pages_of(clients, Peer::kBoostMutex), pages_of(clients, Peer::kBoostSharable));
  measured.hostmap_huge_page_bytes = std::max(measured.hostmap_huge_page_bytes, hostmap);
  measured.pages.push_back(fmt::format("2 MiB pages for {}: {} MiB of hostmap's table, {} MiB of a Boost segment", form,
                                       hostmap >> 20U, boost >> 20U));
}

template <typename Form>
void measure_form(Session& session, std::uint64_t entries, unsigned rounds, bool with_puts, Measured& measured) {
  session.progress.step(fmt::format("peers · {} entries of {} bytes", format_count(entries), Form::kTitle));
  Hosts hosts(entries, allowed_cpus().front());
  load_all<Form>(hosts, entries, session.progress);
  std::vector<Child> clients = start_clients(Form::kName, entries, hosts);
  for (const PatternName& pattern : kPatterns) {
    measured.gets.push_back({.name = fmt::format("{}/{}", Form::kName, pattern.name),
                             .title = fmt::format("{}, {}", Form::kTitle, pattern.title)});
    measure_gets(clients, measured.gets.back(), pattern.pattern, rounds, session.progress);
  }
  add_pages(clients, Form::kTitle, measured);
  // An old snapshot would keep all pages that the puts free, and the file would grow by gigabytes.
  clients[static_cast<std::size_t>(Peer::kLmdbSnapshot)].wait(30s);
  if (with_puts) measure_puts(clients, measured.puts, rounds, session.progress);
  for (const Contestant& contestant : kContestants) {
    if (contestant.peer != Peer::kLmdbSnapshot) clients[static_cast<std::size_t>(contestant.peer)].wait(30s);
  }
  hosts.hostmap().stop();
}

Tone tone_of(Peer peer) {
  if (peer == Peer::kHostmap) return Tone::kStrong;
  return peer == Peer::kLmdbSnapshot ? Tone::kFaint : Tone::kPlain;
}

void add_configurations(Table& table) {
  table.note("Boost: boost::unordered_map in a managed_shared_memory under one lock of the segment");
  table.note("LMDB: on a tmpfs, MDB_NOSYNC, MDB_WRITEMAP, MDB_NOTLS, MDB_INTEGERKEY for 8 bytes");
  table.note(
      "memcached: one thread, libmemcached, binary protocol; Redis: no snapshots, no log, hiredis; unix sockets");
}

void print_gets(Session& session, std::uint64_t entries, unsigned rounds, const Measured& measured,
                const std::string& others) {
  const Floors& floors = session.floors.get();
  const double floor =
      measured.hostmap_huge_page_bytes > 0 ? floors.memory_independent_huge : floors.memory_independent;
  std::vector<std::string> head{""};
  for (const Column& column : measured.gets) head.push_back(column.title);
  head.insert(head.end(), {"goal of the first", ""});
  Table table(fmt::format("peers · {} entries · ns a get from another process, median of {} rounds",
                          format_count(entries), rounds),
              std::move(head));
  for (const Contestant& contestant : kContestants) {
    const Tone tone = tone_of(contestant.peer);
    std::vector<Cell> cells{{std::string(contestant.name), tone}};
    for (const Column& column : measured.gets) cells.push_back({format_series(column.of(contestant.peer)), tone});
    cells.insert(cells.end(), {{""}, {""}});
    table.row(std::move(cells));
  }
  table.rule();
  for (const Against& against : kAgainst) {
    std::vector<Cell> cells{{std::string(against.title), Tone::kStrong}};
    Cell verdict_cell{"none", Tone::kFaint};
    for (const Column& column : measured.gets) {
      const bool is_first = &column == &measured.gets.front();
      const Finding finding = finding_of(against, column, is_first, floor);
      session.report.add(finding);
      cells.push_back({format_times(*finding.ratio), Tone::kStrong});
      if (finding.goal) verdict_cell = verdict(*finding.goal_met());
    }
    cells.push_back({against.goal_times ? fmt::format("1 : {:.0f}", *against.goal_times) : ""});
    cells.push_back(std::move(verdict_cell));
    table.row(std::move(cells));
  }
  table.note(
      "LMDB renews its read transaction at each get; with one old snapshot it does not see what is put meanwhile");
  add_configurations(table);
  for (const std::string& sentence : measured.pages) table.note(sentence);
  table.note(others);
  table.print();
}

void print_puts(Session& session, std::uint64_t entries, unsigned rounds, const Column& puts,
                const std::string& others) {
  Table table(fmt::format("peers · put into {} entries of 8 + 8 bytes, waited for · median of {} rounds",
                          format_count(entries), rounds),
              {"", "ns a put", "hostmap : this"});
  const Series& hostmap = puts.of(Peer::kHostmap);
  for (const Contestant& contestant : kContestants) {
    if (contestant.puts == 0) continue;
    const Tone tone = tone_of(contestant.peer);
    const Series& series = puts.of(contestant.peer);
    const bool is_rival = contestant.peer != Peer::kHostmap;
    table.row({{std::string(contestant.name), tone},
               {format_series(series), tone},
               {is_rival ? format_times(ratio_of(hostmap, series)) : ""}});
  }
  for (const Against& against : kAgainst) {
    session.report.add(finding_of(against, puts, false, session.floors.get().ping_pong_round_trip));
  }
  table.note(
      "Boost: lock, assign, unlock by the caller itself; LMDB: a write transaction for each put, nothing flushed");
  table.note(others);
  table.print();
}

/// What the contestants that lie in /dev/shm take there for an entry of 16 + 100 bytes, with room to spare: hostmap,
/// two segments, LMDB's file.
constexpr std::uint64_t kSharedBytesPerEntry = 1500;

Peer peer_of(const char* argument) { return static_cast<Peer>(std::strtoul(argument, nullptr, 10)); }

}  // namespace

static int play_peers_loader(std::span<char* const> arguments) {
  const std::uint64_t entries = std::strtoull(arguments[2], nullptr, 10);
  return with_form(arguments[1], [&]<typename Form>() {
    load<Form>(peer_of(arguments[0]), arguments[3], entries);
    return 0;
  });
}

static int play_peers_client(std::span<char* const> arguments) {
  const std::uint64_t entries = std::strtoull(arguments[2], nullptr, 10);
  return with_form(arguments[1], [&]<typename Form>() {
    return with_client<Form>(peer_of(arguments[0]), arguments[3],
                             [&](auto& map) { return answer_rounds<Form>(map, entries); });
  });
}

static void ask_peers(Session& session) {
  session.floors.get();
  if (allowed_cpus().size() < 2) {
    session.progress.step("peers · skipped, needs two CPUs");
    return;
  }
  const std::uint64_t entries = std::min(kEntries, session.choices.max_entries);
  const std::uint64_t needed = entries * kSharedBytesPerEntry;
  if (std::filesystem::space(kLmdbParent).available < needed) {
    session.progress.step(fmt::format("peers · skipped, needs {} MiB in {}", needed >> 20U, kLmdbParent));
    return;
  }
  const unsigned rounds = session.choices.rounds == 0 ? kDefaultRounds : session.choices.rounds;
  const OtherLoad others;
  Measured measured;
  measure_form<Pairs>(session, entries, rounds, true, measured);
  measure_form<Entries>(session, entries, rounds, false, measured);
  const std::string others_sentence = others.sentence();
  session.progress.clear();
  print_gets(session, entries, rounds, measured, others_sentence);
  print_puts(session, entries, rounds, measured.puts, others_sentence);
}

namespace {

const Registered peers_question(Question{
    100, "peers", "a get from another process against what people use between processes", ask_peers});
const Registered peers_loader_role(Role{"peers-loader", 4, play_peers_loader});
const Registered peers_client_role(Role{"peers-client", 4, play_peers_client});

}  // namespace

}  // namespace hostmap::bench
