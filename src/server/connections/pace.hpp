// Pace: bounds the cpu time of a thread that any client can wake.
//
// Any client that may connect can ring the service thread's bell and fill its mailboxes without end. Over time the thread
// uses a tenth of a cpu at most; unused time may be used at once, up to kBurstNs, so that bursts of honest clients connect
// without a pause.
//
// Threads: one.
#pragma once

#include <algorithm>
#include <cstdint>

namespace hostmap {

class Pace {
 public:
  static constexpr std::int64_t kOneIn = 10;
  static constexpr std::int64_t kBurstNs = 100'000'000;  // of work: about a thousand connects
  static constexpr std::int64_t kLongestPauseNs = 20'000'000;

  explicit Pace(std::int64_t now_ns) noexcept : at_ns_(now_ns) {}

  // After `spent_ns` of work that ended at `now_ns`: how long to pause before the next work.
  std::int64_t pause_after(std::int64_t spent_ns, std::int64_t now_ns) noexcept {
    left_ns_ = std::min(kBurstNs, left_ns_ + (now_ns - at_ns_) / kOneIn) - spent_ns;
    at_ns_ = now_ns;
    return left_ns_ >= 0 ? 0 : std::min(-left_ns_ * kOneIn, kLongestPauseNs);
  }

 private:
  std::int64_t at_ns_;
  std::int64_t left_ns_ = kBurstNs;
};

}  // namespace hostmap
