// Progress: one line on standard error that says how far a long command is, if that is a terminal; otherwise nothing. It has no
// colours, and the command's end removes it.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <string_view>

namespace hostmap::apps {

class Progress {
 public:
  // `doing`: "dumping".
  explicit Progress(std::string_view doing);
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;
  ~Progress();

  // `done` of `all` (0: not known) units of anything; `keys` and `bytes` so far. Prints ten times a second at most.
  void show(std::uint64_t done, std::uint64_t all, std::uint64_t keys, std::uint64_t bytes);

 private:
  using Clock = std::chrono::steady_clock;
  void print(std::string line);

  std::string doing_;
  bool shown_;             // is standard error a terminal?
  std::size_t width_ = 0;  // of the line that is there now
  Clock::time_point begin_ = Clock::now();
  Clock::time_point next_ = begin_;
};

// "43 %  1,234 keys  512.0 MiB  210.3 MiB/s"
std::string progress_text(std::uint64_t done, std::uint64_t all, std::uint64_t keys, std::uint64_t bytes,
                          double seconds);

}  // namespace hostmap::apps
