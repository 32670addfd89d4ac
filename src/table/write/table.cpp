#include "table/write/table.hpp"

#include <algorithm>
#include <cstddef>
#include <iterator>
#ifndef NDEBUG
#include <cstdio>
#include <cstdlib>
#endif

#include "layout/table.hpp"
#include "table/memory/census.hpp"

namespace hostmap {

namespace {

void write_table_header(TableHeader& header, const TableOptions& options) noexcept {
  const TablePlan plan = plan_table(options.max_memory, options.shards);
  header.hash_seed = options.hash_seed;
  header.shard_count = options.shards;
  header.initial_buckets = options.buckets;
  header.max_memory = options.max_memory;
  header.memory_limit.store(options.memory_limit, std::memory_order_relaxed);  // relaxed: nobody else has the region
  header.max_value_bytes = options.max_value_bytes;
  header.generations_offset = plan.generations_offset;
  header.arena_offset = plan.arena_offset;
  header.arena_bytes = plan.arena_bytes;
  header.membarrier = options.membarrier ? 1 : 0;
  header.time_namespace = options.time_namespace;
  for (std::uint32_t i = 0; i < options.shards; ++i) {
    // BUCKETS is the total of each form: each shard gets as many whole segments as it takes.
    const auto segments = [&](std::uint64_t of_segment) {
      return std::max<std::uint64_t>(
          1, round_up(options.buckets, options.shards * of_segment) / (options.shards * of_segment));
    };
    ShardHeader& shard = header.shards[i];
    shard.pair_directory = plan.pair_directory(i);
    shard.entry_directory = plan.entry_directory(i);
    shard.pair_base = segments(kSegmentBuckets<PairBucket>);
    shard.entry_base = segments(kSegmentBuckets<EntryBucket>);
  }
}

// Covers all that a server stores once and trusts later. A region is valid only if its head is.
std::uint64_t checksum_of(const TableHeader& header) noexcept {
  std::uint64_t sum = checksum_of_head(header.region, offsetof(TableHeader, checksum));
  sum = hash_bytes(&header.time_namespace, sizeof header.time_namespace, sum);
  for (const ShardHeader& shard : header.shards) {
    sum =
        hash_bytes(&shard.pair_directory, offsetof(ShardHeader, reserved) - offsetof(ShardHeader, pair_directory), sum);
  }
  return sum;
}

}  // namespace

Table::Table(Region region, const TableOptions& options, Journal journal)
    : region_(std::move(region)),
      hash_(options.hash_seed),
      journal_(journal),
      budget_(header()),
      populator_(std::make_unique<Populator>()) {
  pool_ = std::make_unique<SlabPool>(region_, journal_, budget_, *populator_);
  for (std::uint32_t i = 0; i < options.shards; ++i) {
    shards_.push_back(std::make_unique<ShardWriter>(region_, i, journal_.intent(i), budget_, *populator_, *pool_));
  }
}

Result<std::unique_ptr<Table>> Table::create(const std::string& path, const TableOptions& wanted, Journal journal) {
  TableOptions options = wanted;
  options.max_memory = std::max(options.max_memory, options.memory_limit);
  const TablePlan plan = plan_table(options.max_memory, options.shards);
  Result<Region> region = Region::create(path, plan.file_bytes, 0600);
  if (!region) return region.status();
  NewName name(path);
  if (Status status = region->populate(0, plan.head_bytes); !status.ok()) return status;
  region->write_header(RegionKind::kTable, options.incarnation);
  write_table_header(*region->at<TableHeader>(0), options);
  // relaxed: nobody else has the region
  region->at<TableHeader>(0)->change.store(kTurn, std::memory_order_relaxed);
  region->at<TableHeader>(0)->checksum = checksum_of(*region->at<TableHeader>(0));
  std::unique_ptr<Table> table(new Table(std::move(*region), options, journal));
  if (!table->budget_.reserve(plan.head_bytes) || !table->open()) {
    // relaxed: nothing runs yet
    const bool limited = table->header().server_stats.populate_failures.load(std::memory_order_relaxed) == 0;
    return Status(
        StatusCode::kFull,
        std::to_string(options.buckets) + " initial buckets need more than " +
            (limited ? "--memory " + std::to_string(options.memory_limit) + " allows; raise it or request fewer buckets"
                     : "the file system has free; enlarge it (in a container --shm-size) or use another --dir"));
  }
  name.keep();
  return table;
}

Result<std::unique_ptr<Table>> Table::attach(Region region, Journal journal) {
  const auto damaged = [](const char* what) {
    return Status(StatusCode::kInvalid, std::string("the table's ") + what);
  };
  if (region.bytes() < sizeof(TableHeader)) return damaged("region is too short");
  const TableHeader& header = *region.at<TableHeader>(0);
  if (header.checksum != checksum_of(header)) return damaged("header is damaged");
  const TablePlan plan = plan_table(header.max_memory, header.shard_count);
  // relaxed, both: written by a dead server; its lock has been taken since
  const std::uint64_t arena = header.arena_populated.load(std::memory_order_relaxed);
  const std::uint64_t generations = header.generations_allocated.load(std::memory_order_relaxed);
  if (header.shard_count != journal.lanes() || plan.file_bytes > region.bytes() ||
      header.arena_allocated.load(std::memory_order_relaxed) > plan.arena_bytes || arena % kSlabBytes != 0 ||
      arena > header.arena_allocated.load(std::memory_order_relaxed) ||
      arena / kPageSize > generations / sizeof(PageGeneration) || generations > plan.generations_bytes) {
    return damaged("header is not valid");
  }
  TableOptions options;
  options.shards = header.shard_count;
  options.hash_seed = header.hash_seed;
  std::unique_ptr<Table> table(new Table(std::move(region), options, journal));
  std::vector<std::pair<std::uint64_t, SlabKind>> segments;
  for (const auto& shard : table->shards_) {
    if (!shard->plausible()) return damaged("directories are not valid");
    std::ranges::copy(shard->segments(), std::back_inserter(segments));
  }
  std::ranges::sort(segments);
  for (std::size_t i = 0; i < segments.size(); ++i) {
    const auto& [segment, kind] = segments[i];
    const bool twice = i > 0 && segment == segments[i - 1].first;
    // relaxed: as above
    const std::uint8_t recorded =
        journal.slab_class((segment - header.arena_offset) / kSlabBytes).load(std::memory_order_relaxed);
    if (twice || recorded != kind) return damaged("directories are not valid");
  }
  return table;
}

void Table::begin_restart() noexcept {
  // Before anything else: whatever a reader has read in a chain that the dead server was changing, its validation fails now.
  header().change.fetch_add(kTurn, std::memory_order_release);  // [change.restart] release; pairs with [change.first]
  std::atomic_thread_fence(std::memory_order_release);  // [change.restart-fence] release; pairs with [cell.check]
}

std::uint64_t Table::rebuild(const std::vector<Stream>& streams, std::vector<std::size_t>& lost) {
  ArenaCensus census(header(), journal_);
  std::uint64_t dropped = 0;
  for (const auto& shard : shards_) dropped += shard->survey(census);
  if (const std::vector<std::uint64_t> misfits = census.uncount_misfits(region_.data()); !misfits.empty()) {
    for (const auto& shard : shards_) dropped += shard->drop_entries(misfits);
  }
  for (std::size_t i = 0; i < streams.size(); ++i) {
    if (!census.count_entry(streams[i].shard, streams[i].entry, streams[i].bytes)) lost.push_back(i);
  }
  rebuild(census);
  return dropped;
}

bool Table::rebuild_from_summary(std::span<const std::byte> summary, const std::vector<Stream>& streams,
                                 std::vector<std::size_t>& lost) {
  ArenaCensus census(header(), journal_);
  if (!census.read(summary)) return false;
  for (std::size_t i = 0; i < streams.size(); ++i) {
    if (!census.has_entry(streams[i].shard, streams[i].entry, streams[i].bytes)) lost.push_back(i);
  }
  rebuild(census);
#ifndef NDEBUG
  // A count of the table must give the same writers: state that only one kind of start rebuilds loses data later.
  const WriterState read = state();
  std::vector<std::size_t> lost_by_count;
  const std::uint64_t dropped = rebuild(streams, lost_by_count);
  const std::string differences = read.differences(state());
  if (dropped == 0 && (lost_by_count != lost || !differences.empty())) {  // in a damaged table they may differ
    std::fprintf(stderr, "a start by the hand-over summary differs from one by a count of the table:\n%s",
                 differences.c_str());
    std::abort();
  }
#endif
  return true;
}

void Table::restore_reserve() {
  for (const auto& shard : shards_) shard->leave_reserve();
  for (const SlabPool::Move& move : pool_->moves_for_reserve()) {
    if (shards_[move.shard]->move_run(move)) return;
  }
}

WriterState Table::state() const {
  WriterState state;
  pool_->describe(state);
  for (const auto& shard : shards_) shard->describe(state);
  // relaxed: nothing runs
  state.add("memory_bytes", region_.at<TableHeader>(0)->server_stats.memory_bytes.load(std::memory_order_relaxed));
  return state;
}

std::vector<std::byte> Table::make_summary() {
  populator_.reset();
  for (const auto& shard : shards_) shard->end_upkeep();
  ArenaCensus census(header(), journal_);
  pool_->report(census);
  for (const auto& shard : shards_) shard->report(census);
  return census.bytes();
}

void Table::rebuild(const ArenaCensus& census) {
  pool_->rebuild(census);
  // relaxed, both: nothing runs yet
  std::uint64_t populated = plan_table(header().max_memory, header().shard_count).head_bytes +
                            header().generations_allocated.load(std::memory_order_relaxed) +
                            header().arena_allocated.load(std::memory_order_relaxed);
  pool_->free_rest();
  for (const auto& shard : shards_) {
    shard->free_rest();
    shard->rebuild(census);
    populated += shard->populated_bytes();
  }
  budget_.recount(populated);
}

bool Table::open() {
  for (const auto& shard : shards_) {
    if (!shard->open()) return false;
  }
  return true;
}

void Table::wake_waiters() noexcept {
  for (std::size_t i = 0; i < shards_.size(); ++i) {
    header().lane_stats[i].waited.store(0, std::memory_order_relaxed);  // relaxed: a figure
    WaitGroups::raise_all(region_.at<WaitGroupWords>(kWaitGroupsOffset)[i]);
  }
}

void Table::set_eviction(Eviction policy) noexcept {
  // relaxed: a number; nothing else is read because of it
  header().eviction.store(static_cast<std::uint32_t>(policy), std::memory_order_relaxed);
  for (const auto& shard : shards_) shard->set_eviction(policy);
}

void Table::close() noexcept {
  for (const auto& shard : shards_) shard->close();
}

}  // namespace hostmap
