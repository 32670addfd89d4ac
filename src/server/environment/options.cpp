#include "server/environment/options.hpp"

#include <algorithm>
#include <iterator>
#include <linux/magic.h>
#include <optional>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <thread>

#include "layout/connection.hpp"
#include "layout/region.hpp"
#include "layout/table.hpp"

namespace hostmap {

namespace {

constexpr std::uint64_t kDefaultMemory = std::uint64_t{1} << 30;
constexpr std::uint64_t kMostRing = std::uint64_t{64} << 20;
constexpr std::uint64_t kMostBuckets = std::uint64_t{1} << 32;
// Docker gives a container this much /dev/shm by default.
constexpr std::uint64_t kContainerShm = std::uint64_t{64} << 20;

Status out_of_bounds(const char* option, std::uint64_t value, std::uint64_t least, std::uint64_t most) {
  return {StatusCode::kInvalid, std::string(option) + " " + std::to_string(value) + " is not between " +
                                    std::to_string(least) + " and " + std::to_string(most)};
}

bool within(std::uint64_t value, std::uint64_t least, std::uint64_t most) noexcept {
  return value >= least && value <= most;
}

// A worker keeps a cpu busy under load, and its clients need cpus, too.
std::uint32_t default_workers(std::uint64_t buckets) noexcept {
  const std::uint64_t cpus = std::max(1u, std::thread::hardware_concurrency());
  return static_cast<std::uint32_t>(std::min({std::max<std::uint64_t>(1, cpus / 4), buckets, std::uint64_t{16}}));
}

constexpr struct {
  std::string_view name;
  Eviction policy;
} kPolicies[] = {{"none", Eviction::kNone}, {"clock", Eviction::kClock}, {"expiring", Eviction::kExpiring}};

std::optional<Eviction> eviction_of(const std::string& name) noexcept {
  for (const auto& policy : kPolicies) {
    if (policy.name == name) return policy.policy;
  }
  return std::nullopt;
}

}  // namespace

std::string_view name_of(Eviction policy) noexcept {
  for (const auto& known : kPolicies) {
    if (known.policy == policy) return known.name;
  }
  return {};
}

std::string size_text(std::uint64_t bytes) {
  constexpr const char* kUnits[] = {"", "K", "M", "G"};
  std::size_t unit = 0;
  for (; unit + 1 < std::size(kUnits) && bytes != 0 && bytes % 1024 == 0; ++unit) bytes /= 1024;
  return std::to_string(bytes) + kUnits[unit];
}

Result<CheckedOptions> check_options(const ServerOptions& options) {
  Result<InstanceName> name = InstanceName::parse(options.name, options.dir, options.group);
  if (!name) return name.status();
  if (!within(options.buckets, 1, kMostBuckets)) return out_of_bounds("BUCKETS", options.buckets, 1, kMostBuckets);
  if (options.memory != 0 && !within(options.memory, kLeastMemory, kMostMemory)) {
    return out_of_bounds("--memory", options.memory, kLeastMemory, kMostMemory);
  }
  if (options.max_memory != 0 && !within(options.max_memory, kLeastMemory, kMostMemory)) {
    return out_of_bounds("--max-memory", options.max_memory, kLeastMemory, kMostMemory);
  }
  if (options.max_memory != 0 && options.max_memory < options.memory) {
    return Status(StatusCode::kInvalid, "--max-memory " + std::to_string(options.max_memory) +
                                            " is less than --memory " + std::to_string(options.memory) +
                                            "; raise the one or lower the other");
  }
  if (options.set_limit && options.memory == 0) {
    return Status(StatusCode::kInvalid,
                  "--set-limit applies --memory to the map that this server continues; give --memory, too");
  }
  if (options.workers > kMaxLanes) return out_of_bounds("--workers", options.workers, 1, kMaxLanes);
  if (options.workers > options.buckets) {
    return Status(StatusCode::kInvalid, "--workers " + std::to_string(options.workers) + " are more than BUCKETS " +
                                            std::to_string(options.buckets) +
                                            ": every worker needs a bucket; request fewer workers or more buckets");
  }
  if (!within(options.max_connections, 1, kMaxConnections)) {
    return out_of_bounds("--max-connections", options.max_connections, 1, kMaxConnections);
  }
  if (!within(options.ring_bytes, kLeastRingBytes, kMostRing)) {
    return out_of_bounds("--ring-size", options.ring_bytes, kLeastRingBytes, kMostRing);
  }
  if (!is_power_of_two(options.ring_bytes)) {
    return Status(StatusCode::kInvalid, "--ring-size " + std::to_string(options.ring_bytes) + " is not a power of two");
  }
  if (!within(options.max_value_bytes, 8, kMaxValueBytes)) {
    return out_of_bounds("--max-value", options.max_value_bytes, 8, kMaxValueBytes);
  }
  if (options.takeover && options.fresh) {
    return Status(StatusCode::kInvalid, "--takeover continues a map and --fresh discards it; give one of them");
  }

  struct stat folder {};
  if (::stat(name->dir().c_str(), &folder) == 0 && !S_ISDIR(folder.st_mode)) {
    return Status(StatusCode::kInvalid, "--dir " + name->dir() + " is not a folder");
  }
  struct statfs facts {};
  if (::statfs(name->dir().c_str(), &facts) != 0) {
    return Status(StatusCode::kInvalid,
                  "--dir " + name->dir() + " cannot be used: it does not exist, or you may not read it");
  }
  if (facts.f_type != TMPFS_MAGIC && facts.f_type != HUGETLBFS_MAGIC) {
    return Status(StatusCode::kInvalid,
                  "--dir " + name->dir() + " is not on tmpfs or hugetlbfs: regions must lie in memory");
  }
  const std::uint64_t available =
      static_cast<std::uint64_t>(facts.f_bavail) * static_cast<std::uint64_t>(facts.f_bsize);
  const std::optional<Eviction> eviction = eviction_of(options.eviction);
  if (!eviction) {
    return Status(StatusCode::kInvalid,
                  "--eviction " + options.eviction +
                      " is unknown; use none (refuse writes when memory is full), clock (remove keys "
                      "that were not used lately) or expiring (only keys with a time to live)");
  }
  CheckedOptions checked{std::move(*name),
                         options.buckets,
                         options.memory,
                         options.max_memory,
                         options.memory != 0,
                         options.set_limit,
                         static_cast<std::uint32_t>(options.workers),
                         static_cast<std::uint32_t>(options.max_connections),
                         options.ring_bytes,
                         options.max_value_bytes,
                         *eviction,
                         options.keep,
                         options.fresh,
                         options.takeover,
                         options.load,
                         {}};
  if (checked.workers == 0) checked.workers = default_workers(options.buckets);
  if (checked.memory == 0) {
    checked.memory = std::min(kDefaultMemory, available / 2);
    if (options.max_memory != 0) checked.memory = std::min(checked.memory, options.max_memory);
  }
  if (checked.max_memory == 0) {
    // hugetlbfs sets aside pages for a whole mapping, whatever is populated of it.
    checked.max_memory = facts.f_type == HUGETLBFS_MAGIC ? checked.memory : std::min(2 * checked.memory, kMostMemory);
  }
  checked.warning = warning_of_room(checked.name, checked.memory);
  return checked;
}

std::string warning_of_room(const InstanceName& name, std::uint64_t bytes) {
  struct statfs facts {};
  if (::statfs(name.dir().c_str(), &facts) != 0) return {};
  const auto block = static_cast<std::uint64_t>(facts.f_bsize);
  const std::uint64_t total = static_cast<std::uint64_t>(facts.f_blocks) * block;
  const std::uint64_t available = static_cast<std::uint64_t>(facts.f_bavail) * block;
  if (total <= kContainerShm) {
    return name.dir() + " holds only " + std::to_string(total >> 20) +
           " MiB; in a container start it with --shm-size=1g, or mount a larger tmpfs and use --dir";
  }
  if (bytes <= available) return {};
  return "--memory lets the map grow by " + std::to_string(bytes >> 20) + " MiB, which is more than the " +
         std::to_string(available >> 20) + " MiB that " + name.dir() +
         " has free: writes will be refused when it is full";
}

Status check_memory(const CheckedOptions& options) {
  if (options.memory >= kLeastMemory) return {};
  return {StatusCode::kFull, options.name.dir() + " has only " + std::to_string(2 * options.memory) +
                                 " bytes free; enlarge it (in a container --shm-size=1g) or use --dir"};
}

}  // namespace hostmap
