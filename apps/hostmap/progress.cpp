#include "progress.hpp"

#include <algorithm>
#include <cstdlib>
#include <fmt/format.h>
#include <sys/ioctl.h>
#include <unistd.h>
#include <utility>

#include "all/write_all.hpp"
#include "output.hpp"

namespace hostmap::apps {

namespace {

constexpr std::chrono::milliseconds kPause{100};
constexpr std::size_t kMostColumns = 79;  // a full line would move the cursor to the next one

bool is_terminal() {
  const char* kind = std::getenv("TERM");  // NOLINT(concurrency-mt-unsafe): there is one thread
  return ::isatty(STDERR_FILENO) == 1 && (kind == nullptr || std::string_view(kind) != "dumb");
}

std::size_t columns() {
  winsize size{};
  const bool known = ::ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 1;
  return known ? std::min<std::size_t>(size.ws_col - 1U, kMostColumns) : kMostColumns;
}

}  // namespace

std::string progress_text(std::uint64_t done, std::uint64_t all, std::uint64_t keys, std::uint64_t bytes,
                          double seconds) {
  std::string text;
  // What a hint promised may be less than what comes.
  if (all != 0) text = fmt::format("{} %  ", std::min<std::uint64_t>(done * 100 / all, 100));
  text += fmt::format("{} keys  {}", grouped(keys), readable_bytes(bytes));
  if (seconds >= 0.1) {
    text += fmt::format("  {}/s", readable_bytes(static_cast<std::uint64_t>(static_cast<double>(bytes) / seconds)));
  }
  return text;
}

Progress::Progress(std::string_view doing) : doing_(doing), shown_(is_terminal()) {}

Progress::~Progress() {
  if (width_ == 0) return;
  print("");
  write_all(STDERR_FILENO, "\r");
}

void Progress::show(std::uint64_t done, std::uint64_t all, std::uint64_t keys, std::uint64_t bytes) {
  if (!shown_) return;
  const Clock::time_point now = Clock::now();
  if (now < next_) return;
  next_ = now + kPause;
  const std::chrono::duration<double> since = now - begin_;
  print(fmt::format("{} {}", doing_, progress_text(done, all, keys, bytes, since.count())));
}

// Over the line that is there, the rest of which becomes blank.
void Progress::print(std::string line) {
  line.resize(std::min(line.size(), columns()));
  const std::size_t width = line.size();
  if (width < width_) line.append(width_ - width, ' ');
  width_ = width;
  write_all(STDERR_FILENO, "\r" + line);
}

}  // namespace hostmap::apps
