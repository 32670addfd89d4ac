// Preloaded into a program, it makes the wall clock jump a day forward and a day back at each reading, and so does the clock that
// also counts the time in which the machine was suspended.
#include <atomic>
#include <ctime>
#include <sys/syscall.h>
#include <sys/time.h>
#include <unistd.h>

namespace {

time_t shift() noexcept {
  static std::atomic<unsigned> looks{0};
  constexpr time_t kDay = 86'400;
  return looks.fetch_add(1) % 2 == 0 ? kDay : -kDay;
}

timespec shifted_now() noexcept {
  timespec now{};
  ::syscall(SYS_clock_gettime, CLOCK_REALTIME, &now);
  now.tv_sec += shift();
  return now;
}

}  // namespace

extern "C" int clock_gettime(clockid_t clock, timespec* now) noexcept {
  const auto result = static_cast<int>(::syscall(SYS_clock_gettime, clock, now));
  const bool is_shifted = clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE || clock == CLOCK_BOOTTIME;
  if (result == 0 && is_shifted) now->tv_sec += shift();
  return result;
}

extern "C" int gettimeofday(timeval* now, void*) noexcept {
  const timespec exact = shifted_now();
  *now = {exact.tv_sec, exact.tv_nsec / 1000};
  return 0;
}

extern "C" time_t time(time_t* where) noexcept {
  const time_t now = shifted_now().tv_sec;
  if (where != nullptr) *where = now;
  return now;
}
