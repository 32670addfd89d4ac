#include "wait/park.hpp"

#include "wait/membarrier.hpp"

namespace hostmap {

bool membarrier_available() noexcept {
  // Called once, and not only queried: a sandbox may support the query alone.
  const int commands = membarrier(MEMBARRIER_CMD_QUERY);
  return commands > 0 && (commands & MEMBARRIER_CMD_GLOBAL_EXPEDITED) != 0 &&
         membarrier(MEMBARRIER_CMD_GLOBAL_EXPEDITED) == 0;
}

bool register_for_membarrier() noexcept {
  return membarrier_available() && membarrier(MEMBARRIER_CMD_REGISTER_GLOBAL_EXPEDITED) == 0;
}

void fence_all_writers(bool use_membarrier) noexcept {
  std::atomic_thread_fence(std::memory_order_seq_cst);  // [park.membarrier] seq_cst; pairs with [park.publish]
  if (use_membarrier) membarrier(MEMBARRIER_CMD_GLOBAL_EXPEDITED);
}

}  // namespace hostmap
