#include "all/terminal.hpp"

#include <algorithm>
#include <charconv>
#include <cstdlib>
#include <sys/ioctl.h>
#include <unistd.h>

namespace hostmap::apps {

namespace {

constexpr std::size_t kUsualColumns = 80;
constexpr std::size_t kLeastColumns = 40;  // with fewer, only words of one syllable would fit beside a name
constexpr std::size_t kMostColumns = 1000;

// An environment variable; empty if there is none.
std::string_view variable(const char* name) {
  const char* value = std::getenv(name);  // NOLINT(concurrency-mt-unsafe): there is one thread
  return value == nullptr ? std::string_view() : std::string_view(value);
}

std::size_t columns_of_terminal() {
  winsize size{};
  return ::ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 ? size.ws_col : 0;
}

std::size_t columns_of_environment() {
  const std::string_view text = variable("COLUMNS");
  std::size_t number = 0;
  const auto [rest, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  return error == std::errc() && rest == text.data() + text.size() ? number : 0;
}

}  // namespace

std::size_t columns() {
  std::size_t number = columns_of_terminal();
  if (number == 0) number = columns_of_environment();
  return number == 0 ? kUsualColumns : std::clamp(number, kLeastColumns, kMostColumns);
}

bool shows_colours() {
  return ::isatty(STDOUT_FILENO) == 1 && variable("NO_COLOR").empty() && variable("TERM") != "dumb";
}

std::string bold(std::string_view text) {
  return shows_colours() ? "\x1b[1m" + std::string(text) + "\x1b[0m" : std::string(text);
}

}  // namespace hostmap::apps
