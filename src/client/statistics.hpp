// Statistics: the figures of `hostmap stat`, read from the regions of a running server without a message to it.
//
// kStatistics is the one list of them. A new one is a word of LaneStats, ServerStats or ClientWords and a row here: the sum,
// the JSON, the text and the test of docs/operate/statistics.md follow from the row.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <iterator>
#include <string>
#include <string_view>

#include <hostmap/status.hpp>

#include "layout/connection.hpp"
#include "layout/table.hpp"
#include "shm/names.hpp"
#include "shm/region.hpp"

namespace hostmap {

struct Statistics;

// Where a value comes from: the sum of all parts that are given.
struct StatisticSource {
  Word LaneStats::*lane = nullptr;  // of all lanes
  bool is_of_fill = false;  // only of those lanes that have processed the last clear: the others count what it removed
  Word ServerStats::*server = nullptr;
  Word ClientWords::*client = nullptr;  // of all connections that exist, each at most said_by_client()
  // Computed from the table's region, the statistics that have another source, and the derived ones in rows above.
  std::uint64_t (*derived)(const Region& table, const Statistics& statistics) = nullptr;
};

// A line of the text of `hostmap stat`. `more` follows the value; in it, {key} stands for the value of that statistic.
struct StatisticLine {
  std::string_view label;  // empty: no line
  std::string_view more;
  bool (*shown)(std::uint64_t value, const Statistics& statistics) = nullptr;  // null: always
  int group = 0;  // the text shows the lines by group; within a group, in the order of the rows
};

struct Statistic {
  enum class Unit : std::uint8_t { kNumber, kBytes, kSeconds };

  std::string_view key;  // in JSON; never changes
  Unit unit;
  std::string_view meaning;
  StatisticSource source;
  StatisticLine line = {};
};

// The sources and conditions of rows that need more than words to be added.
namespace statistic {
std::uint64_t layout_version(const Region& table, const Statistics& statistics);
std::uint64_t pid(const Region& table, const Statistics& statistics);
std::uint64_t entries(const Region& table, const Statistics& statistics);
std::uint64_t buckets(const Region& table, const Statistics& statistics);
std::uint64_t pair_buckets(const Region& table, const Statistics& statistics);
std::uint64_t entry_buckets(const Region& table, const Statistics& statistics);
std::uint64_t memory_limit(const Region& table, const Statistics& statistics);
std::uint64_t max_memory(const Region& table, const Statistics& statistics);
std::uint64_t file_size(const Region& table, const Statistics& statistics);
std::uint64_t bucket_memory(const Region& table, const Statistics& statistics);
std::uint64_t free_memory(const Region& table, const Statistics& statistics);
std::uint64_t fragmented_memory(const Region& table, const Statistics& statistics);
std::uint64_t eviction(const Region& table, const Statistics& statistics);
std::uint64_t hit_percent(const Region& table, const Statistics& statistics);

constexpr bool is_not_zero(std::uint64_t value, const Statistics&) { return value != 0; }
bool is_shown_while_evicting(std::uint64_t value, const Statistics& statistics);
bool is_above_memory_limit(std::uint64_t value, const Statistics& statistics);
}  // namespace statistic

// In the order of the JSON.
inline constexpr Statistic kStatistics[] = {
    {"layout_version", Statistic::Unit::kNumber, "of the server that runs now", {.derived = statistic::layout_version}},
    {"pid", Statistic::Unit::kNumber, "of the server's process", {.derived = statistic::pid}},
    {"entries",
     Statistic::Unit::kNumber,
     "keys now",
     {.derived = statistic::entries},
     {"entries", "{pair_keys} pairs, {entry_keys} entries"}},
    {"pair_keys",
     Statistic::Unit::kNumber,
     "of these, in the form of pairs",
     {.lane = &LaneStats::pair_keys, .is_of_fill = true}},
    {"entry_keys",
     Statistic::Unit::kNumber,
     "of these, in the form of entries",
     {.lane = &LaneStats::entry_keys, .is_of_fill = true}},
    {"expiring",
     Statistic::Unit::kNumber,
     "keys that have an end, with those that have lapsed and are not removed yet",
     {.lane = &LaneStats::expiring, .is_of_fill = true},
     {"expiring", "keys with an end; {expired} removed after it"}},
    {"expired",
     Statistic::Unit::kNumber,
     "keys that were removed after their end had passed",
     {.lane = &LaneStats::expired}},
    {"waited",
     Statistic::Unit::kNumber,
     "groups of keys for which clients wait, those of each client counted",
     {.lane = &LaneStats::waited}},
    {"buckets",
     Statistic::Unit::kNumber,
     "buckets now, without overflow buckets; the table grows and shrinks by whole segments",
     {.derived = statistic::buckets},
     {"buckets", "{pair_buckets} of pairs, {entry_buckets} of entries"}},
    {"pair_buckets", Statistic::Unit::kNumber, "of these, for pairs", {.derived = statistic::pair_buckets}},
    {"entry_buckets", Statistic::Unit::kNumber, "of these, for entries", {.derived = statistic::entry_buckets}},
    {"memory_bytes",
     Statistic::Unit::kBytes,
     "populated in the table",
     {.server = &ServerStats::memory_bytes},
     {"memory", "of {memory_limit_bytes}; {huge_page_bytes} in 2 MiB pages"}},
    {"memory_limit_bytes",
     Statistic::Unit::kBytes,
     "--memory, or what `hostmap limit` has set since",
     {.derived = statistic::memory_limit},
     {"limit", "can be raised to {max_memory_bytes}: hostmap limit SIZE"}},
    {"max_memory_bytes", Statistic::Unit::kBytes, "--max-memory", {.derived = statistic::max_memory}},
    {"file_bytes",
     Statistic::Unit::kBytes,
     "size of the table's file on the file system",
     {.derived = statistic::file_size},
     {"file", "more than --memory: a program has mapped and read the whole file; the next start returns the pages",
      statistic::is_above_memory_limit}},
    {"bucket_bytes",
     Statistic::Unit::kBytes,
     "in segments of buckets",
     {.derived = statistic::bucket_memory},
     {"by use",
      "buckets, {overflow_bytes} overflow, {entry_bytes} entries, {free_bytes} free, {fragmented_bytes} fragmented"}},
    {"overflow_bytes",
     Statistic::Unit::kBytes,
     "in overflow buckets of either form",
     {.lane = &LaneStats::overflow_bytes}},
    {"entry_bytes", Statistic::Unit::kBytes, "in blocks that hold entries", {.lane = &LaneStats::entry_bytes}},
    {"free_bytes",
     Statistic::Unit::kBytes,
     "populated, in empty slabs: any later put can use it, of a pair or of an entry. It grows after a clear or a mass "
     "erase",
     {.derived = statistic::free_memory}},
    {"fragmented_bytes",
     Statistic::Unit::kBytes,
     "populated, in slabs of entries or of overflow buckets, but in none of them",
     {.derived = statistic::fragmented_memory}},
    {"huge_page_bytes",
     Statistic::Unit::kBytes,
     "of memory_bytes, in 2 MiB pages",
     {.server = &ServerStats::huge_page_bytes}},
    {"connections",
     Statistic::Unit::kNumber,
     "connections now",
     {.server = &ServerStats::connections},
     {"connections", "now; {connected} in all, {reaped} ended without closing, {poisoned} closed for what they sent"}},
    {"connected", Statistic::Unit::kNumber, "connections ever", {.server = &ServerStats::connected}},
    {"workers", Statistic::Unit::kNumber, "threads that apply writes", {.server = &ServerStats::workers}},
    {"eviction",
     Statistic::Unit::kNumber,
     "what the server does when memory is full: 0 refuses writes, 1 evicts keys that were not used lately, 2 likewise, "
     "but only "
     "keys with an end",
     {.derived = statistic::eviction}},
    {"evicted",
     Statistic::Unit::kNumber,
     "keys removed to make room for others",
     {.lane = &LaneStats::evicted},
     {"evicted", "keys removed to make room", statistic::is_shown_while_evicting}},
    {"hits",
     Statistic::Unit::kNumber,
     "gets that found their key: by message, and of a server that evicts also the direct ones, as clients report",
     {.lane = &LaneStats::hits, .server = &ServerStats::read_hits, .client = &ClientWords::read_hits},
     {"hits", "{misses} misses: {hit_percent} % of gets found their key", statistic::is_shown_while_evicting}},
    {"misses",
     Statistic::Unit::kNumber,
     "likewise, that did not find it",
     {.lane = &LaneStats::misses, .server = &ServerStats::read_misses, .client = &ClientWords::read_misses}},
    {"hit_percent",
     Statistic::Unit::kNumber,
     "hits as a part of both, in percent; 0 without gets",
     {.derived = statistic::hit_percent}},
    {"gets_by_ring",
     Statistic::Unit::kNumber,
     "gets by message",
     {.lane = &LaneStats::gets_by_ring},
     {"gets by ring", "direct gets are not counted", nullptr, 1}},
    {"puts",
     Statistic::Unit::kNumber,
     "requests that stored a value: put, insert, replace, append, compare_exchange, put_if, increments",
     {.lane = &LaneStats::puts},
     {"puts", "{refused} refused"}},
    {"erases",
     Statistic::Unit::kNumber,
     "keys that existed and were erased",
     {.lane = &LaneStats::erases},
     {"erases", ""}},
    {"refused",
     Statistic::Unit::kNumber,
     "refused writes: no memory, a full chain, too large. A flush that reports some counts as one more",
     {.lane = &LaneStats::refused}},
    {"splits", Statistic::Unit::kNumber, "segments split", {.lane = &LaneStats::splits}},
    {"parks", Statistic::Unit::kNumber, "times that a worker slept", {.lane = &LaneStats::parks}},
    {"read_retries",
     Statistic::Unit::kNumber,
     "reported by clients: rounds that direct gets repeated, because a writer changed the same bucket",
     {.server = &ServerStats::read_retries, .client = &ClientWords::read_retries},
     {"retries", "of direct gets, as clients report; {read_fallbacks} went by ring", nullptr, 1}},
    {"read_fallbacks",
     Statistic::Unit::kNumber,
     "reported by clients: direct gets that gave up after 64 rounds and sent a request",
     {.server = &ServerStats::read_fallbacks, .client = &ClientWords::read_fallbacks}},
    {"timeout_rescues",
     Statistic::Unit::kNumber,
     "sleeps of workers that only a timeout ended although there was work",
     {.lane = &LaneStats::timeout_rescues},
     {"rescues", "sleeps of workers that only a timeout ended; please report this", statistic::is_not_zero, 1}},
    {"client_timeout_rescues",
     Statistic::Unit::kNumber,
     "reported by clients: waits that only a timeout ended although the answer had arrived",
     {.server = &ServerStats::client_rescues, .client = &ClientWords::timeout_rescues},
     {"of clients", "waits that only a timeout ended, as clients report", statistic::is_not_zero, 1}},
    {"populate_failures",
     Statistic::Unit::kNumber,
     "times that the file system had no free page",
     {.server = &ServerStats::populate_failures},
     {"out of pages", "times the file system was full", statistic::is_not_zero, 1}},
    {"recoveries", Statistic::Unit::kNumber, "starts that continued this table", {.server = &ServerStats::recoveries}},
    {"replayed",
     Statistic::Unit::kNumber,
     "requests under way that such a start answered",
     {.server = &ServerStats::replayed}},
    {"reaped",
     Statistic::Unit::kNumber,
     "connections whose client ended without closing them: killed, crashed, or by `_exit` or exec",
     {.server = &ServerStats::reaped}},
    {"poisoned",
     Statistic::Unit::kNumber,
     "connections closed because of invalid data, or because the client truncated its region",
     {.lane = &LaneStats::poisoned, .server = &ServerStats::cut_off}},
    {"counted_since",
     Statistic::Unit::kSeconds,
     "when the map was created, since 1970",
     {.server = &ServerStats::counted_since}},
};

// A statistic by its key: one that does not exist fails to compile.
class StatisticKey {
 public:
  consteval StatisticKey(const char* key) : index_(index_of(key)) {  // NOLINT(google-explicit-constructor): a name
    if (index_ == std::size(kStatistics)) throw "no statistic has this key";
  }
  constexpr std::size_t index() const noexcept { return index_; }

  // std::size(kStatistics) if there is none.
  static constexpr std::size_t index_of(std::string_view key) noexcept {
    return static_cast<std::size_t>(std::ranges::find(kStatistics, key, &Statistic::key) - std::begin(kStatistics));
  }

 private:
  std::size_t index_;
};

// Each count is since counted_since, over all servers of this map. Read one after the other while the server works: exact
// while there are no writes.
struct Statistics {
  std::string name;
  std::string version = "unknown";                             // of the server
  std::string commit = "unknown";                              // that the server was built from
  std::array<std::uint64_t, std::size(kStatistics)> values{};  // of the rows

  std::uint64_t operator[](StatisticKey key) const noexcept { return values[key.index()]; }
};

// Errors: kNoServer, kOtherVersion, kPermission.
Result<Statistics> collect_statistics(const InstanceName& name);

}  // namespace hostmap
