#include "connection/server_bus_guard.hpp"

#include <atomic>
#include <cerrno>
#include <fcntl.h>
#include <mutex>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/unique_fd.hpp"

namespace hostmap {

namespace {

// How often a file is restored: a client that keeps truncating it gets private pages, too.
constexpr std::uint32_t kMostRestorations = 1000;

struct Place {
  std::atomic<std::uintptr_t> begin{0};  // 0: free; stored last
  std::atomic<std::uint64_t> bytes{0};
  std::uint64_t page_bytes = 0;
  std::atomic<bool> damaged{false};
  std::atomic<bool> has_private_pages{false};
  int file_to_restore = -1;
  std::atomic<std::uint32_t> restorations{0};
};

Place places[BusGuard::kMost];
std::atomic<std::uint32_t> places_used{0};  // places from here on have never been used
std::atomic<int> events_fd{-1};
std::mutex take_mutex;

// Makes the page at `address` readable again. False: the system refuses.
bool repair(Place& place, std::uintptr_t begin, std::uintptr_t address) noexcept {
  const auto bytes = static_cast<off_t>(place.bytes.load(std::memory_order_relaxed));  // relaxed: as in handle()
  // relaxed: a limit, not a count
  if (place.file_to_restore >= 0 && place.restorations.fetch_add(1, std::memory_order_relaxed) < kMostRestorations &&
      ::fallocate(place.file_to_restore, 0, 0, bytes) == 0) {
    return true;
  }
  place.has_private_pages.store(true, std::memory_order_relaxed);  // relaxed: the event's system calls order it
  const std::uintptr_t page = begin + (address - begin) / place.page_bytes * place.page_bytes;
  return ::mmap(reinterpret_cast<void*>(page), place.page_bytes, PROT_READ | PROT_WRITE,
                MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) != MAP_FAILED;
}

void handle(int signal, siginfo_t* facts, void*) {
  const int saved_errno = errno;
  const auto address = reinterpret_cast<std::uintptr_t>(facts->si_addr);
  const std::uint32_t used =
      places_used.load(std::memory_order_acquire);  // [guard.see] acquire; pairs with [guard.use]
  for (std::uint32_t i = 0; i < used && facts->si_code > 0; ++i) {
    Place& place = places[i];
    const std::uintptr_t begin =
        place.begin.load(std::memory_order_acquire);  // [guard.find] acquire; pairs with [guard.watch]
    const std::uint64_t bytes = place.bytes.load(std::memory_order_relaxed);  // relaxed: the load below validates it
    if (begin == 0 || address < begin || address - begin >= bytes) continue;
    std::atomic_thread_fence(std::memory_order_acquire);  // [guard.check] acquire; pairs with [guard.take]
    if (place.begin.load(std::memory_order_relaxed) != begin) continue;  // relaxed: after the fence
    if (!repair(place, begin, address)) break;
    place.damaged.store(true, std::memory_order_relaxed);  // relaxed: the event's system calls order it
    const std::uint64_t one = 1;
    static_cast<void>(::write(events_fd.load(std::memory_order_relaxed), &one, sizeof one));  // relaxed: set once
    errno = saved_errno;
    return;
  }
  // No watched memory: as if there were no guard. On return the load faults again; a signal that was sent is sent again.
  ::signal(signal, SIG_DFL);
  if (facts->si_code <= 0) ::raise(signal);
  errno = saved_errno;
}

}  // namespace

bool BusGuard::install() noexcept {
  if (events() >= 0) return true;
  UniqueFd fd(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!fd) return false;
  events_fd.store(fd.release(), std::memory_order_relaxed);  // relaxed: before any watch and any other thread
  struct sigaction action {};
  action.sa_sigaction = handle;
  action.sa_flags = SA_SIGINFO | SA_RESTART;
  sigemptyset(&action.sa_mask);
  ::sigaction(SIGBUS, &action, nullptr);
  return true;
}

int BusGuard::events() noexcept { return events_fd.load(std::memory_order_relaxed); }  // relaxed: set once

BusGuard::Watch::Watch(const Region& region, OnDamage on_damage) noexcept {
  if (!kGuarded || !region) return;
  const std::lock_guard<std::mutex> lock(take_mutex);
  const std::uint32_t used = places_used.load(std::memory_order_relaxed);  // relaxed: written under the mutex
  std::uint32_t at = 0;
  // [guard.reuse] acquire; pairs with [guard.watch]: no thread uses it any more
  while (at < used && places[at].begin.load(std::memory_order_acquire) != 0) ++at;
  if (at == kMost) return;
  place_ = at;
  Place& place = places[at];
  // A fault elsewhere may be reading this place: a thread that loads the new size also sees that the place was free.
  std::atomic_thread_fence(std::memory_order_release);  // [guard.take] release; pairs with [guard.check]
  // relaxed, all four: the store of `begin` publishes them
  place.bytes.store(region.bytes(), std::memory_order_relaxed);
  place.damaged.store(false, std::memory_order_relaxed);
  place.has_private_pages.store(false, std::memory_order_relaxed);
  place.restorations.store(0, std::memory_order_relaxed);  // relaxed: likewise
  place.page_bytes = region.page_bytes();
  place.file_to_restore = on_damage == OnDamage::kRestore ? region.fd() : -1;
  // [guard.watch] release; pairs with [guard.find]
  place.begin.store(reinterpret_cast<std::uintptr_t>(region.data()), std::memory_order_release);
  // [guard.use] release; pairs with [guard.see]
  if (at == used) places_used.store(used + 1, std::memory_order_release);
}

bool BusGuard::Watch::damaged() noexcept {
  // relaxed: the event that reported it orders it
  return place_ != kNone && places[place_].damaged.exchange(false, std::memory_order_relaxed);
}

bool BusGuard::Watch::has_private_pages() const noexcept {
  // relaxed: the event that reported it orders it
  return place_ != kNone && places[place_].has_private_pages.load(std::memory_order_relaxed);
}

void BusGuard::Watch::begin_anew() noexcept {
  if (place_ == kNone) return;
  places[place_].restorations.store(0, std::memory_order_relaxed);  // relaxed: a limit, not a count
  // relaxed: a fault at this moment costs one more repair
  places[place_].has_private_pages.store(false, std::memory_order_relaxed);
}

void BusGuard::Watch::release() noexcept {
  if (place_ == kNone) return;
  places[place_].begin.store(0, std::memory_order_release);  // [guard.watch] release; pairs with [guard.find]
  place_ = kNone;
}

}  // namespace hostmap
