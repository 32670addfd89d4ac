// LineWriter: the server's output. It never blocks a caller, and no call can fail.
//
// A thread of its own writes the lines; all other threads append to a queue of a fixed length. A reader that does not read, a
// full disk or a closed pipe therefore loses lines, and these are counted: as soon as a line can be written again, one
// reports how many were lost. A kind of line appears at most kMostOfAKind times in kPeriod, since clients can cause some of
// them at any rate; the first line after that reports how many were left out. The caller names the kind by a text of the
// program: the differences between lines of a kind (numbers, paths) are often chosen by clients, and must not make new kinds.
//
// The descriptors are not made non-blocking: that would change them for all processes that share them.
//
// Threads: any thread may call write(). Constructed after the signals were blocked and before system calls are restricted.
#pragma once

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <unordered_map>

namespace hostmap::apps {

class LineWriter {
 public:
  static constexpr std::size_t kMostQueued = 256;
  static constexpr unsigned kMostOfAKind = 20;
  static constexpr std::chrono::seconds kPeriod{60};

  LineWriter();
  // Waits for a moment until the queue is written, not longer.
  ~LineWriter();
  LineWriter(const LineWriter&) = delete;
  LineWriter& operator=(const LineWriter&) = delete;

  // Queues `text`, which ends with a newline, for the descriptor. Never blocks on the descriptor and never throws.
  void write(int descriptor, const std::string& text) noexcept;
  // The same for standard error, with the program's name, if lines of `kind`, which is a string literal, are not too frequent.
  void log(std::string_view kind, const std::string& line) noexcept;

 private:
  struct Line {
    int descriptor;
    std::string text;
  };
  struct Kind {
    std::chrono::steady_clock::time_point since;
    unsigned written = 0;
    std::uint64_t left_out = 0;
  };
  // Shared with the thread, which may be blocked in a write when this object ends.
  struct Queue {
    std::mutex mutex;
    std::condition_variable changed;
    std::deque<Line> lines;
    std::uint64_t lost = 0;
    bool idle = true;
    bool ending = false;
  };
  static void run(const std::shared_ptr<Queue>& queue) noexcept;

  std::shared_ptr<Queue> queue_;
  bool has_thread_ = true;
  std::mutex kinds_mutex_;
  std::unordered_map<std::string_view, Kind> kinds_;
};

}  // namespace hostmap::apps
