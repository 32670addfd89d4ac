// ReadCountdown: selects the direct reads of a thread that read the clock, so that the name is checked about once a second.
//
// Reading the clock for every read would cost a busy caller a third of its time. A count in the thread's own memory costs
// three instructions, and threads share no line. Between two readings of the clock a thread makes at most kMost reads, and
// fewer if they took long: a thread with up to ten reads a second reads the clock for each of them.
//
// Threads: each has its own, for all of its clients. The number of reads varies at random, so that each of several clients
// that are used in turn is checked.
#pragma once

#include <algorithm>
#include <cstdint>

namespace hostmap {

class ReadCountdown {
 public:
  // Reads that share one reading of the clock (about 10 ns). A thread that was busy and becomes slow makes at most this many
  // before it checks the name.
  static constexpr std::uint32_t kMost = 127;
  // If the reads since the last start() took this long, the next one reads the clock.
  static constexpr std::int64_t kLongNs = 100'000'000;

  // Counts a read. True: this read must read the clock, and call start() or end().
  [[gnu::always_inline]] bool run_out() noexcept { return --left_ < 0; }
  // `now_ns`: coarse_monotonic_ns().
  void start(std::int64_t now_ns) noexcept {
    length_ = now_ns - started_ns_ < kLongNs ? std::min(2 * length_ + 1, kMost) : 0;
    started_ns_ = now_ns;
    random_ = random_ * 6'364'136'223'846'793'005 + 1'442'695'040'888'963'407;
    left_ = static_cast<std::int32_t>(length_ - (random_ >> 33) % (length_ / 2 + 1));
  }
  // The next read must read the clock, too.
  void end() noexcept { left_ = 0; }

 private:
  std::int32_t left_ = 0;
  std::uint32_t length_ = 0;
  std::int64_t started_ns_ = 0;
  std::uint64_t random_ = 0;
};

// initial-exec: it is reached without a call, also in a shared object, which takes these 24 bytes of the static TLS that the loader
// reserves for objects loaded at run time. No constructor or destructor runs, so such an object can be unloaded.
extern constinit thread_local ReadCountdown read_countdown [[gnu::tls_model("initial-exec")]];

}  // namespace hostmap
