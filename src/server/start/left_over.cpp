#include "server/start/left_over.hpp"

#include <algorithm>
#include <cerrno>
#include <sys/stat.h>
#include <unistd.h>
#include <vector>

#include "connection/server_end.hpp"
#include "layout/master.hpp"
#include "layout/table.hpp"
#include "shm/obstacle.hpp"
#include "shm/region.hpp"
#include "slot/server_rendezvous.hpp"
#include "table/write/wait_groups.hpp"

namespace hostmap {

namespace {

struct Candidate {
  std::string path;
  RegionKind kind;
};

void close_table(const Region& region) noexcept {
  if (region.bytes() < sizeof(TableHeader)) return;
  auto& header = *region.at<TableHeader>(0);
  for (ShardHeader& shard : header.shards) {
    close_state(shard.pair_state);
    close_state(shard.entry_state);
  }
  const std::uint64_t shards = std::min<std::uint64_t>(header.shard_count, kMaxLanes);
  if (region.bytes() < kWaitGroupsOffset + shards * sizeof(WaitGroupWords)) return;
  std::for_each_n(region.at<WaitGroupWords>(kWaitGroupsOffset), shards, WaitGroups::raise_all);
}

void close_master(const Region& region) noexcept {
  if (region.bytes() < kMailboxesOffset) return;
  // As many as fit into the region: the header could have been written by any client.
  const std::uint64_t mailboxes = (region.bytes() - kMailboxesOffset) / sizeof(Mailbox);
  MasterView master(region.data());
  master.set_mailboxes(static_cast<std::uint32_t>(std::min<std::uint64_t>(mailboxes, 2 * kMaxConnections)));
  refuse_all_clients(master);
}

// The server of this region may have been killed while it closed it, so no step is assumed to be done.
void give_up(Region& region, RegionKind kind) noexcept {
  // [region.give-up] release; pairs with [region.attach]
  region.header().state.store(kRegionClosed, std::memory_order_release);
  std::atomic_thread_fence(
      std::memory_order_seq_cst);  // [region.give-up-fence] seq_cst; pairs with [mailbox.ask-fence]
  switch (kind) {
    case RegionKind::kTable:
      close_table(region);
      break;
    case RegionKind::kMaster:
      close_master(region);
      break;
    case RegionKind::kConnection:
      close_left_over_connection(region);
      break;
    case RegionKind::kJournal:
      break;
  }
}

}  // namespace

Status remove_left_over_file(const std::string& path, bool& existed) {
  struct stat facts {};
  existed = ::lstat(path.c_str(), &facts) == 0;
  if (!existed) return {};
  if (facts.st_uid != ::geteuid()) {
    return taken_by(path, facts.st_uid);
  }
  if (S_ISDIR(facts.st_mode)) {
    return {StatusCode::kInvalid, path + " is a directory; remove it, or choose another --name"};
  }
  if (::unlink(path.c_str()) != 0 && errno != ENOENT) return obstacle("remove", path, errno);
  return {};
}

Result<std::uint64_t> discard_left_over_regions(const InstanceName& name) {
  // The table first, so that its readers notice first that it is given up.
  std::vector<Candidate> candidates{{name.table(), RegionKind::kTable}};
  for (std::string& path : name.connection_files()) {
    // Another user can create any number of files with such names: they are harmless and are not opened.
    struct stat facts {};
    if (::lstat(path.c_str(), &facts) != 0 || facts.st_uid != ::geteuid()) continue;
    candidates.push_back({std::move(path), RegionKind::kConnection});
  }
  candidates.push_back({name.master(), RegionKind::kMaster});

  // Nothing is changed before the version is known. The table's and the journal's are reliable: clients cannot write them.
  if (Result<RegionFile> file = open_region_file(name.table(), Access::kReadWrite); file) {
    const Status status = check_region_header(file->fd.get(), file->bytes, name.table(), RegionKind::kTable);
    if (status == StatusCode::kOtherVersion) return status;
  }
  std::uint64_t found = 0;
  for (const Candidate& candidate : candidates) {
    struct stat facts {};
    const bool ours = ::lstat(candidate.path.c_str(), &facts) == 0 && facts.st_uid == ::geteuid();
    // Another user's file in place of a connection is harmless; the fixed names must be ours.
    if (!ours && candidate.kind == RegionKind::kConnection) continue;
    if (ours) {
      if (Result<Region> region = Region::open(candidate.path, candidate.kind, Access::kReadWrite); region) {
        const BusGuard::Watch guard(*region);  // its clients may still be alive
        give_up(*region, candidate.kind);
      }
    }
    bool existed = false;
    if (Status status = remove_left_over_file(candidate.path, existed); !status.ok()) return status;
    found += existed ? 1 : 0;
  }
  return found;
}

}  // namespace hostmap
