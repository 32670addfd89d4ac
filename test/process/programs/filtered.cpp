// filtered COMMAND ARGUMENT...: runs a command under a filter of system calls that kills a process that sets another filter,
// as systemd's SystemCallFilter=@system-service does.
#include <cstdio>
#include <seccomp.h>
#include <unistd.h>

int main(int argc, char** argv) {
  if (argc < 2) return 2;
  const scmp_filter_ctx filter = seccomp_init(SCMP_ACT_ALLOW);
  if (filter == nullptr || seccomp_rule_add(filter, SCMP_ACT_KILL_PROCESS, SCMP_SYS(seccomp), 0) != 0 ||
      seccomp_load(filter) != 0) {
    std::fprintf(stderr, "filtered: no filter\n");
    return 1;
  }
  seccomp_release(filter);
  ::execv(argv[1], argv + 1);
  return 1;
}
