// TimeLimit: how long the calls of one thread may block, in place of the timeout that their Client was given.
//
//   auto map = hostmap::Client::connect();
//   if (!map) return complain(map.status().message());
//   hostmap::TimeLimit limit(std::chrono::milliseconds(50));
//   auto value = map->get("language");      // kTimeout after 50 ms at the latest
//
// A thread has one limit, for its calls of every Client; an inner TimeLimit replaces the outer one until it is destroyed. A limit
// also replaces the timeout of get_or_compute. It does not apply to wait() and to the patience of lease(), which are given a time
// of their own.
#pragma once

#include <chrono>

namespace hostmap {

class TimeLimit {
 public:
  /// Limits each later call of this thread, until this object is destroyed by the same thread. Zero or less: a call that would
  /// have to wait returns kTimeout at once. Options::kForever: no limit, whatever the timeout of the Client is.
  explicit TimeLimit(std::chrono::nanoseconds limit) noexcept;
  ~TimeLimit();
  TimeLimit(const TimeLimit&) = delete;
  TimeLimit& operator=(const TimeLimit&) = delete;

  /// For bindings of languages without destructors: sets the limit of this thread (zero: none, each Client has its own timeout)
  /// and returns the one that this replaces.
  static std::chrono::nanoseconds exchange(std::chrono::nanoseconds limit) noexcept;

 private:
  std::chrono::nanoseconds outer_;
};

}  // namespace hostmap
