// BusGuard: a client may cut off the file of a region that the server has mapped and is reading at this moment; the kernel
// answers the next load with SIGBUS. The guard mends the page in the signal's handler, and the load goes on as if it had
// read zeroes. The server's alone: a client's process keeps its signals.
//
// Only memory that somebody else can write is watched: connections and the master region. A fault in any other place is a
// bug or a broken machine and ends the process as ever.
//
// Threads: a Watch is made and destroyed by one thread at a time; faults happen in all of them.
//
// Invariants
// 1. The handler takes no lock and allocates nothing: it reads a table of fixed size, whose places are published by one store.
// 2. A place of that table is cleared before its memory is unmapped, and no thread looks at the memory by then: so no fault
//    meets its own place while it changes. One elsewhere may, and looks twice at the address before it believes the size.
#pragma once

#include <cstddef>
#include <cstdint>
#include <utility>

#include "shm/region.hpp"

namespace hostmap {

class BusGuard {
 public:
  enum class OnDamage : std::uint8_t {
    kForsake,  // pages are replaced by private ones: whoever cut the file off talks to nobody any more
    kRestore   // the file is made as long as it was, with zeroes
  };

  // Installs the handler and makes events(), once in a process. False: the system gives no descriptor.
  static bool install() noexcept;
  // Readable once a fault was mended; an eventfd. -1 before install().
  static int events() noexcept;

  // Watches a region's mapping for as long as it lives, which must end before the region does.
  class Watch {
   public:
    Watch() noexcept = default;
    // Of an empty region, or when kMost are watched, nothing.
    explicit Watch(const Region& region, OnDamage on_damage = OnDamage::kForsake) noexcept;
    Watch(Watch&& other) noexcept : place_(std::exchange(other.place_, kNone)) {}
    Watch& operator=(Watch&& other) noexcept {
      if (this != &other) {
        release();
        place_ = std::exchange(other.place_, kNone);
      }
      return *this;
    }
    ~Watch() { release(); }
    // Was there a fault since this was last asked?
    bool damaged() noexcept;
    // Were pages replaced by private ones? A file to be restored was cut off too often, or has no room.
    bool has_private_pages() const noexcept;
    // Forgets that, and how often the file was restored. Before its pages are mapped again (Region::remap).
    void begin_anew() noexcept;

   private:
    static constexpr std::uint32_t kNone = ~0u;
    void release() noexcept;
    std::uint32_t place_ = kNone;
  };

  static constexpr std::uint32_t kMost = 65536 + 16;  // connections, the master, and what a start gives up
};

}  // namespace hostmap
