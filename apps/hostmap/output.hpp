// The output of the commands of `hostmap`: bytes to standard output, one line to standard error.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include <hostmap/status.hpp>

#include "exit_codes.hpp"

namespace hostmap::apps {

// Standard output, buffered. If its reader leaves (`hostmap scan | head -1`), the command ends without an error. Every other
// failure to write is an error. One thread.
class Output {
 public:
  static constexpr std::size_t kBufferBytes = 65536;

  // False: the command can end, because there is no reader or writing failed; finish() reports which.
  bool write(std::string_view bytes);
  bool is_terminal() const;
  // Is it a terminal that shows UTF-8, according to the locale (LC_ALL, LC_CTYPE, LANG)?
  bool shows_utf8() const;
  // Writes the rest, and reports a failure. Returns `code` if there was none.
  int finish(int code = kExitDone);

 private:
  bool flush();

  std::string buffer_;
  bool left_ = false;  // there is no reader any more
  int error_ = 0;      // errno
};

// "hostmap: LINE" on standard error; returns `code`.
int fail(std::string_view line, ExitCode code);
// The same for a status of the library.
int fail(const Status& status);

// Readable text on one line: printable characters unchanged, all others and the backslash as \xNN. Reversible.
std::string escaped(std::string_view bytes);
// The same, but printable characters of the locale's encoding are unchanged, too: for a terminal.
std::string escaped_for_terminal(std::string_view bytes);
// The bytes of which escaped() and escaped_for_terminal() make such text; nothing if a backslash does not begin \xNN.
std::optional<std::string> unescaped(std::string_view text);
std::string readable_bytes(std::uint64_t bytes);  // "1.5 MiB"
std::string grouped(std::uint64_t number);        // "1,234"

}  // namespace hostmap::apps
