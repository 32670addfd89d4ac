// restricted: applies the server's restriction of system calls and makes calls that it forbids and allows. A line for each:
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

// Prints "refused" for EPERM. Success and other errors are "allowed": the kernel has executed the call.
void report(const char* name, const std::function<long()>& call) {
  errno = 0;
  const bool refused = call() == -1 && errno == EPERM;
  std::printf("%s %s\n", name, refused ? "refused" : "allowed");
  std::fflush(stdout);
}

}  // namespace

int main() {
  const int signal_pipe = ::open("/dev/null", O_RDWR | O_CLOEXEC);
  std::thread other([] { ::pause(); });  // it runs before the filter is set, which must apply to it, too
  other.detach();
  if (const hostmap::Status status = hostmap::restrict_system_calls(); !status.ok()) {
    std::printf("no filter: %s\n", std::string(status.message()).c_str());
    return 1;
  }
  char* const no_arguments[] = {nullptr};
  report("execve", [&] { return ::execve("/bin/true", no_arguments, no_arguments); });
  report("fork", [] { return ::syscall(SYS_fork); });
  report("clone", [] { return ::syscall(SYS_clone, 0, nullptr, nullptr, nullptr, 0); });
  report("thread", [] { return std::thread([] {}).join(), 0L; });
  report("socket(AF_INET)", [] { return ::socket(AF_INET, SOCK_STREAM, 0); });
  report("connect", [&] { return ::connect(signal_pipe, nullptr, 0); });
  report("ptrace", [] { return ::ptrace(PTRACE_TRACEME, 0, nullptr, nullptr); });
  report("process_vm_readv", [] { return ::syscall(SYS_process_vm_readv, ::getpid(), nullptr, 0, nullptr, 0, 0); });
  report("mount", [] { return ::syscall(SYS_mount, nullptr, nullptr, nullptr, 0, nullptr); });
  report("setuid", [] { return ::syscall(SYS_setuid, ::getuid()); });
  report("prctl", [] { return ::prctl(PR_GET_DUMPABLE); });
  report("bpf", [] { return ::syscall(SYS_bpf, 0, nullptr, 0); });
  report("io_uring_setup", [] { return ::syscall(SYS_io_uring_setup, 1, nullptr); });
  report("socket(AF_UNIX)", [] { return ::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0); });
  report("open", [] { return ::open("/dev/null", O_RDONLY | O_CLOEXEC); });
  report("mmap",
         [] { return reinterpret_cast<long>(::mmap(nullptr, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)); });
  return 0;
}
