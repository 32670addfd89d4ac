#include "all/print.hpp"

#include <cerrno>
#include <cstring>
#include <fmt/format.h>
#include <unistd.h>

#include "all/write_all.hpp"

namespace hostmap::apps {

ExitCode print(std::string_view program, std::string_view text) {
  const int error = write_all(STDOUT_FILENO, text);
  if (error == 0 || error == EPIPE) return kExitDone;
  // If this cannot be written either, only the exit code is left.
  static_cast<void>(write_all(
      STDERR_FILENO, fmt::format("{}: cannot write to standard output: {}; free space or write elsewhere\n", program,
                                 std::strerror(error))));  // NOLINT(concurrency-mt-unsafe): there is one thread
  return kExitFalse;
}

}  // namespace hostmap::apps
