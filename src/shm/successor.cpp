#include "shm/successor.hpp"

#include <sys/stat.h>
#include <utility>

#include "shm/owner_lock.hpp"

namespace hostmap {

SuccessorCheck::SuccessorCheck(InstanceName name, const Region& table) noexcept
    : name_(std::move(name)), device_(table.device()), inode_(table.inode()) {}

bool SuccessorCheck::successor_serves() const noexcept {
  struct stat facts {};
  if (::stat(name_.table().c_str(), &facts) != 0) return false;
  if (facts.st_ino == inode_ && facts.st_dev == device_) return false;
  try {
    Result<RegionFile> table = open_region_file(name_.table(), Access::kReadOnly, name_.trust());
    if (!table || !check_region_header(table->fd.get(), table->bytes, name_.table(), RegionKind::kTable).ok()) {
      return false;
    }
    const Result<RegionFile> alive = open_region_file(name_.alive(), Access::kReadOnly, name_.trust());
    return alive && alive->owner == table->owner && lock_holder(alive->fd.get()).held;
  } catch (...) {
    return false;
  }
}

}  // namespace hostmap
