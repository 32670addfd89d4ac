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

Result<Statistics> collect_statistics(const InstanceName& name) {
  if (Status status = check_server(name); !status.ok()) return status;
  const Result<Region> region = Region::attach(name.table(), RegionKind::kTable, Access::kReadOnly, name.trust());
  if (!region) return region.status();
  if (region->bytes() < sizeof(TableHeader) || !TableReader(region->data(), region->bytes()).plausible()) {
    return Status(StatusCode::kInternal, name.table() + " is damaged; stop its server and start it again");
  }
  const TableHeader& header = *region->at<TableHeader>(0);
  Statistics s;
  s.name = name.name();
  s.pid = header.server_pid.load(std::memory_order_relaxed);  // relaxed: for diagnosis
  read_version(header, s);
  s.layout_version = kLayoutVersion;  // otherwise the region would not have been attached
  // [fill.size] acquire; pairs with [fill.clear]
  const std::uint64_t fill = header.fill.load(std::memory_order_acquire);
  for (std::uint32_t i = 0; i < header.shard_count; ++i) {
    const ShardHeader& shard = header.shards[i];
    const LaneStats& lane = header.lane_stats[i];
    // A lane that has not processed the last clear yet still counts the keys that the clear removed.
    // [fill.counts] acquire; pairs with [fill.noticed]
    if (lane.fill.load(std::memory_order_acquire) == fill) {
      s.pair_keys += value(lane.pair_keys);
      s.entry_keys += value(lane.entry_keys);
    }
    s.pair_buckets += state_buckets(value(shard.pair_state), shard.pairs_base);
    s.entry_buckets += state_buckets(value(shard.entry_state), shard.entries_base);
    s.puts += value(lane.puts);
    s.erases += value(lane.erases);
    s.gets_by_ring += value(lane.gets_by_ring);
    s.refused += value(lane.refused);
    s.splits += value(lane.splits);
    s.parks += value(lane.parks);
    s.poisoned += value(lane.poisoned);
    s.timeout_rescues += value(lane.timeout_rescues);
    s.entry_bytes += value(lane.entry_bytes);
    s.overflow_bytes += value(lane.overflow_bytes);
  }
  s.entries = s.pair_keys + s.entry_keys;
  s.buckets = s.pair_buckets + s.entry_buckets;
  const ServerStats& server = header.server_stats;
  s.poisoned += value(server.cut_off);
  s.memory_bytes = value(server.memory_bytes);
  s.memory_limit_bytes = header.memory_limit;
  s.file_bytes = region->held_bytes();
  // The counters are read one after the other while writers change them: the result is never below zero.
  const std::uint64_t populated = value(header.arena_populated);
  s.free_bytes = std::min(value(server.arena_free_bytes), populated);
  const std::uint64_t used = s.free_bytes + s.entry_bytes + s.overflow_bytes;
  s.fragmented_bytes = populated - std::min(used, populated);
  s.counted_since = value(server.counted_since);
  s.huge_page_bytes = value(server.huge_page_bytes);
  s.connections = value(server.connections);
  s.connected = value(server.connected);
  s.workers = value(server.workers);
  s.recoveries = value(server.recoveries);
  s.replayed = value(server.replayed);
  s.reaped = value(server.reaped);
  s.populate_failures = value(server.populate_failures);
  s.read_retries = value(server.read_retries);
  s.read_fallbacks = value(server.read_fallbacks);
  s.client_timeout_rescues = value(server.client_rescues);
  // Clients count their own rare events in their own pages.
  const uid_t owner = region->owner();
  for (const std::string& path : name.connection_files()) {
    // Other users can create any number of files with such names: they are not opened.
    struct stat facts {};
    if (::lstat(path.c_str(), &facts) != 0 || facts.st_uid != owner) continue;
    const Result<Region> connection = Region::attach(path, RegionKind::kConnection, Access::kReadOnly, name.trust());
    if (!connection || connection->bytes() < sizeof(ConnectionHeader)) continue;
    const ClientWords& client = connection->at<ConnectionHeader>(0)->client;
    s.read_retries += said_by_client(client.read_retries);
    s.read_fallbacks += said_by_client(client.read_fallbacks);
    s.client_timeout_rescues += said_by_client(client.timeout_rescues);
  }
  return s;
}

}  // namespace hostmap
