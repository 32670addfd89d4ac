// restricted: takes on the server's restriction of system calls and tries what it forbids, and what it allows. A line for each:
//
//   CALL refused|allowed
#include <cerrno>
#include <cstdio>
#include <fcntl.h>
#include <functional>
#include <string>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <thread>
#include <unistd.h>
#include <utility>
#include <vector>

#include "server/environment/system_calls.hpp"

namespace {

// -1: refused with EPERM; 1: done, or refused for another reason, which means that it was looked at.
void tell(const char* name, const std::function<long()>& call) {
  errno = 0;
  const bool refused = call() == -1 && errno == EPERM;
  std::printf("%s %s\n", name, refused ? "refused" : "allowed");
  std::fflush(stdout);
}

}  // namespace

int main() {
  const int signal_pipe = ::open("/dev/null", O_RDWR | O_CLOEXEC);
  std::thread other([] { ::pause(); });  // it runs before the filter comes, which must hold for it, too
  other.detach();
  if (const hostmap::Status status = hostmap::restrict_system_calls(); !status.ok()) {
    std::printf("no filter: %s\n", std::string(status.message()).c_str());
    return 1;
  }
  char* const no_arguments[] = {nullptr};
  tell("execve", [&] { return ::execve("/bin/true", no_arguments, no_arguments); });
  tell("fork", [] { return ::syscall(SYS_fork); });
  tell("clone", [] { return ::syscall(SYS_clone, 0, nullptr, nullptr, nullptr, 0); });
  tell("thread", [] { return std::thread([] {}).join(), 0L; });
  tell("socket(AF_INET)", [] { return ::socket(AF_INET, SOCK_STREAM, 0); });
  tell("connect", [&] { return ::connect(signal_pipe, nullptr, 0); });
  tell("ptrace", [] { return ::ptrace(PTRACE_TRACEME, 0, nullptr, nullptr); });
  tell("process_vm_readv", [] { return ::syscall(SYS_process_vm_readv, ::getpid(), nullptr, 0, nullptr, 0, 0); });
  tell("mount", [] { return ::syscall(SYS_mount, nullptr, nullptr, nullptr, 0, nullptr); });
  tell("setuid", [] { return ::syscall(SYS_setuid, ::getuid()); });
  tell("prctl", [] { return ::prctl(PR_GET_DUMPABLE); });
  tell("bpf", [] { return ::syscall(SYS_bpf, 0, nullptr, 0); });
  tell("io_uring_setup", [] { return ::syscall(SYS_io_uring_setup, 1, nullptr); });
  tell("socket(AF_UNIX)", [] { return ::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0); });
  tell("open", [] { return ::open("/dev/null", O_RDONLY | O_CLOEXEC); });
  tell("mmap",
       [] { return reinterpret_cast<long>(::mmap(nullptr, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)); });
  return 0;
}
