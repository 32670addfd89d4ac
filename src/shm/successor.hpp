// SuccessorCheck: does the name of an instance lead to another one by now?
//
// Whoever removes an instance's files takes the way to tell its clients with them: the next server of the name finds nothing of
// theirs, and a server that was killed says nothing. So the client looks, where it has waited for long.
//
// Threads: any, once it is made. successor_serves() makes a system call if nothing has changed, some more if something has, and
// never blocks for long.
#pragma once

#include <cstdint>

#include "shm/names.hpp"
#include "shm/region.hpp"

namespace hostmap {

class SuccessorCheck {
 public:
  // How long a wait lasts at least between two checks.
  static constexpr std::int64_t kEveryNs = 1'000'000'000;

  // `table`: of the instance that the name led to.
  SuccessorCheck(InstanceName name, const Region& table) noexcept;

  // Is there another table of that name, which this process may read, and a server that lives behind it?
  bool successor_serves() const noexcept;

 private:
  InstanceName name_;
  std::uint64_t device_;
  std::uint64_t inode_;
};

}  // namespace hostmap
