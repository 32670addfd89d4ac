// BusGuard: a client may truncate the file of a region that the server has mapped and is reading; the next load then raises
// SIGBUS. The guard restores the page in the signal handler, and the load continues as if it had read zeroes. Only the server
// uses it: a client's process keeps its signal handlers.
//
// Only memory that another process can write is watched: connections and the master region. A fault in any other place is a
// bug or a broken machine and ends the process as usual.
//
// Threads: a Watch is created and destroyed by one thread at a time; faults happen in all threads.
//
// Invariants
// 1. The handler takes no lock and allocates nothing: it reads a table of fixed size, whose places are published by one store.
// 2. A place of that table is cleared before its memory is unmapped, when no thread reads the memory any more: so no fault
//    meets its own place while it changes. A fault elsewhere may, and validates the address before it trusts the size.
#pragma once

#include <cstddef>
#include <cstdint>
#include <utility>

#include "shm/region.hpp"

namespace hostmap {

class BusGuard {
 public:
  enum class OnDamage : std::uint8_t {
    kReplacePages,  // pages are replaced by private ones: a client that truncated the file is disconnected from the server
    kRestore        // the file gets its former length again, with zeroes
  };

  // Installs the handler and creates events(), once in a process. False: the system has no descriptor left.
  static bool install() noexcept;
  // Readable after a fault was repaired; an eventfd. -1 before install().
  static int events() noexcept;

  // Watches the mapping of a region for as long as it lives, which must end before the region does.
  class Watch {
   public:
    Watch() noexcept = default;
    // Watches nothing if the region is empty, or if kMost are watched.
    explicit Watch(const Region& region, OnDamage on_damage = OnDamage::kReplacePages) noexcept;
    Watch(Watch&& other) noexcept : place_(std::exchange(other.place_, kNone)) {}
    Watch& operator=(Watch&& other) noexcept {
      if (this != &other) {
        release();
        place_ = std::exchange(other.place_, kNone);
      }
      return *this;
    }
    ~Watch() { release(); }
    // Was there a fault since the last call?
    bool damaged() noexcept;
    // Were pages replaced by private ones? A file to be restored was truncated too often, or has no room.
    bool has_private_pages() const noexcept;
    // Resets that, and the count of restorations. Called before its pages are mapped again (Region::remap).
    void begin_anew() noexcept;

   private:
    static constexpr std::uint32_t kNone = ~0u;
    void release() noexcept;
    std::uint32_t place_ = kNone;
  };

  static constexpr std::uint32_t kMost = 65536 + 16;  // connections, the master, and what a start gives up
};

}  // namespace hostmap
