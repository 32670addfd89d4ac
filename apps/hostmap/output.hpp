// What the commands of `hostmap` print with: bytes to standard output, one line to standard error.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include <hostmap/status.hpp>

#include "exit_codes.hpp"

namespace hostmap::apps {

// Standard output, buffered. Whoever reads it may leave (`hostmap scan | head -1`): that ends the command, and is no error.
// Every other failure to write is one. One thread.
class Output {
 public:
  static constexpr std::size_t kBufferBytes = 65536;

  // False: nothing more needs to be said, because nobody listens or it cannot be written; finish() tells which.
  bool write(std::string_view bytes);
  bool is_terminal() const;
  // Is it a terminal that shows UTF-8, as the locale says (LC_ALL, LC_CTYPE, LANG)?
  bool shows_utf8() const;
  // Writes the rest, and reports a failure. `code` if all is well.
  int finish(int code = kExitDone);

 private:
  bool flush();

  std::string buffer_;
  bool left_ = false;  // nobody reads any more
  int error_ = 0;      // errno
};

// "hostmap: LINE" on standard error; returns `code`.
int fail(std::string_view line, ExitCode code);
// The same for what a call of the library came to.
int fail(const Status& status);

// Text on one line, for people: printable characters as they are, all others and the backslash as \xNN. Reversible.
std::string escaped(std::string_view bytes);
// The same, but characters that the locale's encoding has are left as they are, if they are printable: for a terminal.
std::string escaped_for_terminal(std::string_view bytes);
// The bytes of which escaped() and escaped_for_terminal() make such text; nothing if a backslash is not the begin of \xNN.
std::optional<std::string> unescaped(std::string_view text);
std::string readable_bytes(std::uint64_t bytes);  // "1.5 MiB"
std::string grouped(std::uint64_t number);        // "1,234"

}  // namespace hostmap::apps
