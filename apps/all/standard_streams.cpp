#include "all/standard_streams.hpp"

#include <csignal>
#include <fcntl.h>
#include <unistd.h>

namespace hostmap::apps {

void guard_standard_streams(ExitCode code) {
  std::signal(SIGPIPE, SIG_IGN);
  std::signal(SIGXFSZ, SIG_IGN);
  for (const int fd : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO}) {
    if (::fcntl(fd, F_GETFD) != -1) continue;
    // Opened in the wrong mode. It gets the lowest free number, which is this one.
    int opened = ::open("/dev/null", fd == STDIN_FILENO ? O_WRONLY : O_RDONLY);
    if (opened < 0) opened = ::open("/", O_PATH);  // a root folder without devices
    if (opened == fd) continue;
    constexpr char kText[] = "hostmap: no file descriptor for a closed standard stream; raise the limit (ulimit -n)\n";
    [[maybe_unused]] const ssize_t written = ::write(STDERR_FILENO, kText, sizeof kText - 1);
    ::_exit(code);
  }
}

}  // namespace hostmap::apps
