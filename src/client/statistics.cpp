#include "client/statistics.hpp"

#include <algorithm>
#include <sys/stat.h>

#include "client/session.hpp"
#include "layout/connection.hpp"
#include "layout/table.hpp"
#include "shm/region.hpp"
#include "table/read/reader.hpp"

namespace hostmap {

namespace {

std::uint64_t value(const Word& counter) noexcept {
  // relaxed: a figure
  return counter.load(std::memory_order_relaxed);
}

std::uint64_t sum_of_lanes(const TableHeader& header, Word LaneStats::*word) noexcept {
  std::uint64_t sum = 0;
  for (std::uint32_t i = 0; i < header.shard_count; ++i) sum += value(header.lane_stats[i].*word);
  return sum;
}

// Likewise, without the lanes that have not processed the last clear yet.
std::uint64_t sum_of_lanes_of_fill(const TableHeader& header, Word LaneStats::*word) noexcept {
  // [fill.size] acquire; pairs with [fill.clear]
  const std::uint64_t fill = fill_of(header.change.load(std::memory_order_acquire));
  std::uint64_t sum = 0;
  for (std::uint32_t i = 0; i < header.shard_count; ++i) {
    const LaneStats& lane = header.lane_stats[i];
    // [fill.counts] acquire; pairs with [fill.noticed]
    if (lane.fill.load(std::memory_order_acquire) == fill) sum += value(lane.*word);
  }
  return sum;
}

const TableHeader& header_of(const Region& table) noexcept { return *table.at<TableHeader>(0); }

// Version and commit of the server. It can write anything there: characters that are not printable, or special in JSON,
// become '?'.
void read_version(const TableHeader& header, Statistics& s) {
  std::string text;
  for (const Word& word : header.server_version) {
    const std::uint64_t bytes = word.load(std::memory_order_relaxed);  // relaxed: for diagnosis
    text.append(reinterpret_cast<const char*>(&bytes), sizeof bytes);
  }
  text.erase(std::min(text.find('\0'), text.size()));
  for (char& c : text) {
    if (c < ' ' || c > '~' || c == '"' || c == '\\') c = '?';
  }
  const std::size_t blank = std::min(text.find(' '), text.size());
  if (blank > 0) s.version = text.substr(0, blank);
  if (blank + 1 < text.size()) s.commit = text.substr(blank + 1);
}

}  // namespace

namespace statistic {

// Otherwise the region would not have been attached.
std::uint64_t layout_version(const Region&, const Statistics&) { return kLayoutVersion; }

std::uint64_t pid(const Region& table, const Statistics&) {
  return header_of(table).server_pid.load(std::memory_order_relaxed);  // relaxed: for diagnosis
}

std::uint64_t entries(const Region&, const Statistics& s) { return s["pair_keys"] + s["entry_keys"]; }

std::uint64_t buckets(const Region& table, const Statistics& s) {
  return pair_buckets(table, s) + entry_buckets(table, s);
}

std::uint64_t pair_buckets(const Region& table, const Statistics&) {
  return sum_of_lanes(header_of(table), &LaneStats::pair_segments) * kSegmentBuckets<PairBucket>;
}

std::uint64_t entry_buckets(const Region& table, const Statistics&) {
  return sum_of_lanes(header_of(table), &LaneStats::entry_segments) * kSegmentBuckets<EntryBucket>;
}

std::uint64_t memory_limit(const Region& table, const Statistics&) { return memory_limit_of(header_of(table)); }

std::uint64_t max_memory(const Region& table, const Statistics&) { return header_of(table).max_memory; }

std::uint64_t file_size(const Region& table, const Statistics&) { return table.held_bytes(); }

std::uint64_t bucket_memory(const Region& table, const Statistics&) {
  const TableHeader& header = header_of(table);
  return (sum_of_lanes(header, &LaneStats::pair_segments) + sum_of_lanes(header, &LaneStats::entry_segments)) *
         kSlabBytes;
}

std::uint64_t free_memory(const Region& table, const Statistics&) {
  const TableHeader& header = header_of(table);
  return std::min(value(header.server_stats.arena_free_bytes), value(header.arena_populated));
}

// The words are read one after the other while writers change them: the result is never below zero.
std::uint64_t fragmented_memory(const Region& table, const Statistics& s) {
  const TableHeader& header = header_of(table);
  const std::uint64_t populated = value(header.arena_populated);
  const std::uint64_t used = s["free_bytes"] + s["bucket_bytes"] + s["entry_bytes"] + s["overflow_bytes"];
  return populated - std::min(used, populated);
}

std::uint64_t eviction(const Region& table, const Statistics&) {
  return header_of(table).eviction.load(std::memory_order_relaxed);  // relaxed: a figure
}

std::uint64_t hit_percent(const Region&, const Statistics& s) {
  const std::uint64_t gets = s["hits"] + s["misses"];
  return gets == 0 ? 0 : s["hits"] * 100 / gets;
}

bool is_shown_while_evicting(std::uint64_t, const Statistics& s) { return s["eviction"] != 0; }

bool is_above_memory_limit(std::uint64_t value, const Statistics& s) {
  // The limit may have been lowered below what is populated.
  return value > std::max(s["memory_limit_bytes"], s["memory_bytes"]) + kHugePageSize;
}

}  // namespace statistic

Result<Statistics> collect_statistics(const InstanceName& name) {
  if (Status status = check_server(name); !status.ok()) return status;
  const Result<Region> region = Region::attach(name.table(), RegionKind::kTable, Access::kReadOnly, name.trust());
  if (!region) return region.status();
  if (region->bytes() < sizeof(TableHeader) || !TableReader(region->data(), region->bytes()).plausible()) {
    return Status(StatusCode::kInternal, name.table() + " is damaged; stop its server and start it again");
  }
  const TableHeader& header = header_of(*region);
  Statistics s;
  s.name = name.name();
  read_version(header, s);
  for (std::size_t i = 0; i < std::size(kStatistics); ++i) {
    const StatisticSource& source = kStatistics[i].source;
    if (source.lane != nullptr) {
      s.values[i] += source.is_of_fill ? sum_of_lanes_of_fill(header, source.lane) : sum_of_lanes(header, source.lane);
    }
    if (source.server != nullptr) s.values[i] += value(header.server_stats.*source.server);
  }
  // Clients count their own rare events in their own pages.
  const uid_t owner = region->owner();
  for (const std::string& path : name.connection_files()) {
    // Other users can create any number of files with such names: they are not opened.
    struct stat facts {};
    if (::lstat(path.c_str(), &facts) != 0 || facts.st_uid != owner) continue;
    const Result<Region> connection = Region::attach(path, RegionKind::kConnection, Access::kReadOnly, name.trust());
    if (!connection || connection->bytes() < sizeof(ConnectionHeader)) continue;
    const ClientWords& client = connection->at<ConnectionHeader>(0)->client;
    for (std::size_t i = 0; i < std::size(kStatistics); ++i) {
      if (kStatistics[i].source.client != nullptr) s.values[i] += said_by_client(client.*kStatistics[i].source.client);
    }
  }
  for (std::size_t i = 0; i < std::size(kStatistics); ++i) {
    if (kStatistics[i].source.derived != nullptr) s.values[i] += kStatistics[i].source.derived(*region, s);
  }
  return s;
}

}  // namespace hostmap
