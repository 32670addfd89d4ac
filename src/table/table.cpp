#include "table/table.hpp"

namespace hostmap {

namespace {

void write_table_header(TableHeader& header, const TableOptions& options) noexcept {
  const TablePlan plan = plan_table(options.memory_limit, options.shards);
  header.hash_seed = options.hash_seed;
  header.shard_count = options.shards;
  header.initial_buckets = options.buckets;
  header.memory_limit = options.memory_limit;
  header.max_value_bytes = options.max_value_bytes;
  header.generations_offset = plan.generations_offset;
  header.arena_offset = plan.arena_offset;
  header.arena_bytes = plan.arena_bytes;
  header.membarrier = options.membarrier ? 1 : 0;
  for (std::uint32_t i = 0; i < options.shards; ++i) {
    // BUCKETS is the total: the first shards take what does not divide.
    const std::uint64_t base = options.buckets / options.shards + (i < options.buckets % options.shards ? 1 : 0);
    ShardHeader& shard = header.shards[i];
    shard.pairs_offset = plan.pairs_offset + i * plan.pairs_stride;
    shard.entries_offset = plan.entries_offset + i * plan.entries_stride;
    shard.pairs_base = shard.entries_base = base;
  }
}

}  // namespace

Table::Table(Region region, const TableOptions& options, Journal journal)
    : region_(std::move(region)),
      seed_(options.hash_seed),
      journal_(journal),
      budget_(options.memory_limit, header().server_stats),
      populator_(std::make_unique<Populator>()) {
  pool_ = std::make_unique<SlabPool>(region_, journal_, budget_, *populator_);
  for (std::uint32_t i = 0; i < options.shards; ++i) {
    shards_.push_back(std::make_unique<ShardWriter>(region_, i, journal_.intent(i), budget_, *populator_, *pool_));
  }
}

Result<std::unique_ptr<Table>> Table::create(const std::string& path, const TableOptions& options, Journal journal) {
  const TablePlan plan = plan_table(options.memory_limit, options.shards);
  Result<Region> region = Region::create(path, plan.file_bytes, 0600);
  if (!region) return region.status();
  if (Status status = region->populate(0, round_up(sizeof(TableHeader), kPageSize)); !status.ok()) {
    region->unlink_name();
    return status;
  }
  region->write_header(RegionKind::kTable, options.incarnation);
  write_table_header(*region->at<TableHeader>(0), options);
  std::unique_ptr<Table> table(new Table(std::move(*region), options, journal));
  const std::uint64_t head = round_up(sizeof(TableHeader), kPageSize);
  if (!table->budget_.reserve(head) || !table->open()) {
    // relaxed: nothing runs yet
    const bool limited = table->header().server_stats.populate_failures.load(std::memory_order_relaxed) == 0;
    return Status(
        StatusCode::kFull,
        std::to_string(options.buckets) + " initial buckets need more than " +
            (limited ? "--memory " + std::to_string(options.memory_limit) + " allows; raise it or ask for fewer buckets"
                     : "the file system has free; give it more (in a container --shm-size) or use another --dir"));
  }
  return table;
}

bool Table::open() {
  for (const auto& shard : shards_) {
    if (!shard->open()) return false;
  }
  return true;
}

void Table::close() noexcept {
  for (const auto& shard : shards_) shard->close();
}

}  // namespace hostmap
