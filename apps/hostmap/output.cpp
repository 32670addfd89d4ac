#include "output.hpp"

#include <cerrno>
#include <charconv>
#include <clocale>
#include <cstring>
#include <cwchar>
#include <cwctype>
#include <fmt/format.h>
#include <iterator>
#include <langinfo.h>
#include <unistd.h>

#include "all/print.hpp"
#include "all/write_all.hpp"

namespace hostmap::apps {

bool Output::write(std::string_view bytes) {
  if (left_ || error_ != 0) return false;
  buffer_ += bytes;
  return buffer_.size() < kBufferBytes || flush();
}

bool Output::flush() {
  if (!left_ && error_ == 0) error_ = write_all(STDOUT_FILENO, buffer_);
  left_ = left_ || error_ == EPIPE;
  if (error_ == EPIPE) error_ = 0;
  buffer_.clear();
  return !left_ && error_ == 0;
}

bool Output::is_terminal() const { return ::isatty(STDOUT_FILENO) == 1; }

bool Output::shows_utf8() const {
  // NOLINTNEXTLINE(concurrency-mt-unsafe): there is one thread
  return is_terminal() && std::setlocale(LC_CTYPE, "") != nullptr &&
         ::nl_langinfo(CODESET) == std::string_view("UTF-8");
}

int Output::finish(int code) {
  flush();
  if (error_ == 0) return code;
  return fail(fmt::format("cannot write to standard output: {}; free space or write elsewhere", std::strerror(error_)),
              kExitRefused);
}

int fail(std::string_view line, ExitCode code) { return fail("hostmap", line, code); }

int fail(const Status& status) {
  std::string line(status.message());
  // General messages of the library have a plainer form here.
  if (line == describe(status.code())) {
    switch (status.code()) {
      case StatusCode::kTooLarge:
        line =
            "the key (at most 65,536 bytes) or the value (at most the --max-value that the map was made with) is too "
            "long";
        break;
      case StatusCode::kNotANumber:
        line = "the value is not a decimal number, so nothing can be added to it; put a number first";
        break;
      case StatusCode::kOverflow:
        line = "the sum would exceed 64 bits; the number was not changed";
        break;
      case StatusCode::kTimeout:
        line =
            "the server did not answer in time; a change may or may not have been applied; check with get, or wait "
            "longer with --timeout";
        break;
      case StatusCode::kClosed:
        line =
            "the server closed the connection; a change may or may not have been applied; see hostmap ls, then try "
            "again";
        break;
      default:
        break;
    }
  }
  return fail(line, exit_code_of(status.code()));
}

std::string escaped(std::string_view bytes) {
  std::string text;
  text.reserve(bytes.size());
  for (const char c : bytes) {
    if (c >= ' ' && c <= '~' && c != '\\') {
      text += c;
    } else {
      fmt::format_to(std::back_inserter(text), "\\x{:02x}", static_cast<unsigned char>(c));
    }
  }
  return text;
}

namespace {

// Printable, and without effect on the direction or the lines of the text beside it.
bool is_plain(wchar_t c) {
  const auto in = [c](unsigned first, unsigned last) {
    return static_cast<unsigned>(c) >= first && static_cast<unsigned>(c) <= last;
  };
  return std::iswprint(static_cast<std::wint_t>(c)) != 0 && !in(0x200b, 0x200f) && !in(0x2028, 0x202e) &&
         !in(0x2060, 0x206f) && !in(0xfeff, 0xfeff);
}

}  // namespace

std::string escaped_for_terminal(std::string_view bytes) {
  std::string text;
  while (!bytes.empty()) {
    wchar_t character = 0;
    std::mbstate_t state{};
    const std::size_t size = std::mbrtowc(&character, bytes.data(), bytes.size(), &state);
    if (size > 1 && size <= bytes.size() && is_plain(character)) {
      text += bytes.substr(0, size);
      bytes.remove_prefix(size);
    } else {
      text += escaped(bytes.substr(0, 1));
      bytes.remove_prefix(1);
    }
  }
  return text;
}

std::optional<std::string> unescaped(std::string_view text) {
  std::string bytes;
  while (!text.empty()) {
    if (text[0] != '\\') {
      bytes += text[0];
      text.remove_prefix(1);
      continue;
    }
    unsigned value = 0;
    if (text.size() < 4 || text[1] != 'x') return std::nullopt;
    if (std::from_chars(text.data() + 2, text.data() + 4, value, 16).ptr != text.data() + 4) return std::nullopt;
    bytes += static_cast<char>(value);
    text.remove_prefix(4);
  }
  return bytes;
}

std::string readable_bytes(std::uint64_t bytes) {
  constexpr const char* kUnits[] = {"B", "KiB", "MiB", "GiB", "TiB"};
  double number = static_cast<double>(bytes);
  std::size_t unit = 0;
  while (number >= 1024 && unit + 1 < std::size(kUnits)) {
    number /= 1024;
    ++unit;
  }
  return unit == 0 ? fmt::format("{} B", bytes) : fmt::format("{:.1f} {}", number, kUnits[unit]);
}

std::string grouped(std::uint64_t number) {
  std::string digits = std::to_string(number);
  for (std::size_t at = digits.size(); at > 3;) digits.insert(at -= 3, ",");
  return digits;
}

}  // namespace hostmap::apps
