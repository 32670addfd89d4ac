#include "all/print.hpp"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fmt/format.h>
#include <iterator>
#include <sys/uio.h>
#include <unistd.h>

#include "all/write_all.hpp"

namespace hostmap::apps {

ExitCode print(std::string_view program, std::string_view text) {
  const int error = write_all(STDOUT_FILENO, text);
  if (error == 0 || error == EPIPE) return kExitDone;
  return fail(program,
              fmt::format("cannot write to standard output: {}; free space or write elsewhere",
                          std::strerror(error)),  // NOLINT(concurrency-mt-unsafe): there is one thread
              kExitFalse);
}

ExitCode fail(std::string_view program, std::string_view line, ExitCode code) noexcept {
  const std::string_view parts[] = {program, ": ", line, "\n"};
  iovec pieces[std::size(parts)];
  std::transform(std::begin(parts), std::end(parts), pieces, [](std::string_view part) {
    return iovec{const_cast<char*>(part.data()), part.size()};  // writev only reads them
  });
  [[maybe_unused]] const ssize_t written = ::writev(STDERR_FILENO, pieces, std::size(pieces));
  return code;
}

ExitCode fail(std::string_view program, const Status& status) noexcept {
  return fail(program, status.message(), exit_code_of(status.code()));
}

}  // namespace hostmap::apps
