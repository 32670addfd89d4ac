// SuccessorCheck: does the name of an instance now lead to another one?
//
// If the files of an instance are removed, its clients can no longer be notified: the next server of the name finds none of
// their files, and a killed server sends nothing. So a client that has waited for long checks the name.
//
// Threads: any, once it is constructed. successor_serves() makes one system call if nothing has changed, some more if
// something has, and never blocks for long.
#pragma once

#include <cstdint>

#include "shm/names.hpp"
#include "shm/region.hpp"

namespace hostmap {

class SuccessorCheck {
 public:
  // The minimum time between two checks of one wait.
  static constexpr std::int64_t kEveryNs = 1'000'000'000;

  // `table`: of the instance that the name led to.
  SuccessorCheck(InstanceName name, const Region& table) noexcept;

  // Is there another table of that name, which this process may read, and whose server is alive?
  bool successor_serves() const noexcept;

 private:
  InstanceName name_;
  std::uint64_t device_;
  std::uint64_t inode_;
};

}  // namespace hostmap
