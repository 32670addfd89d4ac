#include "server/environment/system_calls.hpp"

#include <cerrno>
#include <cstdint>
#include <linux/seccomp.h>
#include <memory>
#include <new>
#include <sched.h>
#include <seccomp.h>
#include <string>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

namespace hostmap {

namespace {

// By purpose. None of them starts a program; open() is limited to paths that this user may open anyway.
constexpr int kAllowed[] = {
    // Waiting and waking, the worker's most frequent ones; a filter is searched in order.
    SCMP_SYS(futex),
    SCMP_SYS(membarrier),
    SCMP_SYS(epoll_wait),
    SCMP_SYS(epoll_pwait),
    SCMP_SYS(clock_nanosleep),
    SCMP_SYS(nanosleep),
    SCMP_SYS(sched_yield),
    SCMP_SYS(restart_syscall),
    // Regions: created, populated, mapped, examined, freed.
    SCMP_SYS(open),
    SCMP_SYS(openat),
    SCMP_SYS(close),
    SCMP_SYS(ftruncate),
    SCMP_SYS(fallocate),
    SCMP_SYS(mmap),
    SCMP_SYS(munmap),
    SCMP_SYS(madvise),
    SCMP_SYS(stat),
    SCMP_SYS(fstat),
    SCMP_SYS(lstat),
    SCMP_SYS(newfstatat),
    SCMP_SYS(statx),
    SCMP_SYS(fstatfs),
    SCMP_SYS(lseek),
    SCMP_SYS(fcntl),
    SCMP_SYS(fchown),
    SCMP_SYS(fchmod),
    SCMP_SYS(unlink),
    SCMP_SYS(unlinkat),
    SCMP_SYS(pread64),
    SCMP_SYS(pwrite64),
    SCMP_SYS(rename),
    SCMP_SYS(flock),
    // Deaths of clients, removal of files, the log.
    SCMP_SYS(pidfd_open),
    SCMP_SYS(epoll_ctl),
    SCMP_SYS(inotify_add_watch),
    // Needed again when a start follows a failed handover.
    SCMP_SYS(epoll_create1),
    SCMP_SYS(inotify_init1),
    SCMP_SYS(eventfd2),
    SCMP_SYS(getdents64),
    SCMP_SYS(prlimit64),
    SCMP_SYS(sched_getaffinity),
    SCMP_SYS(read),
    SCMP_SYS(write),
    SCMP_SYS(writev),
    // The service manager's socket, which may only be a local one (below).
    SCMP_SYS(sendto),
    // Memory, time and random numbers.
    SCMP_SYS(brk),
    SCMP_SYS(mremap),
    SCMP_SYS(mprotect),
    SCMP_SYS(clock_gettime),
    SCMP_SYS(clock_getres),
    SCMP_SYS(gettimeofday),
    SCMP_SYS(getcpu),
    SCMP_SYS(getrandom),
    SCMP_SYS(getpid),
    SCMP_SYS(gettid),
    SCMP_SYS(geteuid),
    // Start-up of a thread, which may still be in progress.
    SCMP_SYS(rseq),
    SCMP_SYS(set_robust_list),
    // Signals and exit.
    SCMP_SYS(rt_sigaction),
    SCMP_SYS(rt_sigprocmask),
    SCMP_SYS(rt_sigreturn),
    SCMP_SYS(rt_sigtimedwait),
    SCMP_SYS(sigaltstack),
    SCMP_SYS(kill),
    SCMP_SYS(tgkill),
    SCMP_SYS(exit),
    SCMP_SYS(exit_group),
};

// A filter that is already installed may kill a caller of seccomp(), as systemd's SystemCallFilter=@system-service does. A
// child process tries it.
bool may_filter() noexcept {
  constexpr int kFiltered = 2;
  if (::prctl(PR_GET_SECCOMP) != kFiltered) return true;
  const pid_t child = ::fork();
  if (child == 0) {
    const rlimit no_core{0, 0};
    ::setrlimit(RLIMIT_CORE, &no_core);
    std::uint32_t action = SECCOMP_RET_ERRNO;
    ::syscall(SYS_seccomp, SECCOMP_GET_ACTION_AVAIL, 0, &action);
    ::_exit(0);
  }
  int end = 0;
  while (child > 0 && ::waitpid(child, &end, 0) < 0 && errno == EINTR) {
  }
  return child > 0 && WIFEXITED(end);
}

Status refused(int error) noexcept {
  try {
    return {StatusCode::kInvalid, "the system calls of this server could not be restricted (seccomp): error " +
                                      std::to_string(-error) + "; it serves without that protection"};
  } catch (const std::bad_alloc&) {
    return StatusCode::kInvalid;
  }
}

}  // namespace

Status restrict_system_calls() noexcept {
  try {
    if (!may_filter()) {
      return {StatusCode::kInvalid,
              "the filter of system calls that this server was started with forbids a further one (seccomp); it serves "
              "with that filter alone. To have both, allow it: SystemCallFilter=@system-service seccomp"};
    }
  } catch (const std::bad_alloc&) {
    return StatusCode::kInvalid;
  }
  const std::unique_ptr<void, void (*)(scmp_filter_ctx)> filter(seccomp_init(SCMP_ACT_ERRNO(EPERM)), seccomp_release);
  if (filter == nullptr) return refused(-ENOMEM);
  // Threads that already run, too.
  int error = seccomp_attr_set(filter.get(), SCMP_FLTATR_CTL_TSYNC, 1);
  for (const int call : kAllowed) {
    if (error == 0) error = seccomp_rule_add(filter.get(), SCMP_ACT_ALLOW, call, 0);
  }
  // A thread of this process, never another process. The flags of clone3() lie in memory, which a filter cannot read: libc
  // falls back to clone() if clone3() does not exist.
  constexpr scmp_datum_t kThread = CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD;
  const scmp_arg_cmp thread{0, SCMP_CMP_MASKED_EQ, kThread, kThread};
  if (error == 0) error = seccomp_rule_add_array(filter.get(), SCMP_ACT_ALLOW, SCMP_SYS(clone), 1, &thread);
  if (error == 0) error = seccomp_rule_add(filter.get(), SCMP_ACT_ERRNO(ENOSYS), SCMP_SYS(clone3), 0);
  const scmp_arg_cmp local{0, SCMP_CMP_EQ, AF_UNIX, 0};  // its first argument
  if (error == 0) error = seccomp_rule_add_array(filter.get(), SCMP_ACT_ALLOW, SCMP_SYS(socket), 1, &local);
  if (error == 0) error = seccomp_syscall_priority(filter.get(), SCMP_SYS(futex), UINT8_MAX);
  if (error == 0) error = seccomp_load(filter.get());
  return error == 0 ? Status() : refused(error);
}

}  // namespace hostmap
