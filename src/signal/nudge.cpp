#include "signal/nudge.hpp"

#include <algorithm>
#include <chrono>
#include <pthread.h>
#include <signal.h>

namespace hostmap {

void install_nudge() noexcept {
  struct sigaction action {};
  action.sa_handler = [](int) {};  // without SA_RESTART: the system call ends
  sigemptyset(&action.sa_mask);
  ::sigaction(SIGURG, &action, nullptr);
}

void accept_nudges() noexcept {
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGURG);
  pthread_sigmask(SIG_UNBLOCK, &set, nullptr);
}

void nudge(std::thread& thread) noexcept { pthread_kill(thread.native_handle(), SIGURG); }

void join_nudged(std::thread& thread, const std::atomic<bool>& ended) noexcept {
  using std::chrono::microseconds;
  // A thread that heard its bell has ended by the time of the first signal. More than one: between its last check and
  // its sleep a signal ends nothing.
  constexpr microseconds kShortest{20};
  constexpr microseconds kLongest{10'000};
  microseconds waited{0};
  // relaxed: the join orders it
  for (microseconds pause = kShortest; !ended.load(std::memory_order_relaxed); pause = std::min(2 * pause, kLongest)) {
    if (waited > kLongest) nudge(thread);
    std::this_thread::sleep_for(pause);
    waited += pause;
  }
  thread.join();
}

}  // namespace hostmap
