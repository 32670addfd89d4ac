// A server in the background, for a caller that must know whether it serves: `systemctl reload` waits for such a program to
// end.
//
// The program forks twice before it starts anything: the caller's process, which waits until the server serves; the watcher,
// which waits for the server's end until then; the server. If the server ends before it serves, the others end with its exit
// code. They forward signals that stop a server to it, and end by that signal if the server then ends without having served.
//
// The watcher ends first. The server is then a child of the service manager, which must be so when it receives MAINPID=:
// systemd sends SIGKILL together with SIGTERM to a main process that was not its child at that time.
#pragma once

#include <hostmap/status.hpp>

#include "base/unique_fd.hpp"

namespace hostmap::apps {

class Background {
 public:
  // Returns in the server's process only. Called before any thread or lock exists. kFull: no process or descriptor left.
  static Result<Background> begin();
  // From now on the end of the caller does not end the server, and the watcher is gone. Called before system calls are
  // restricted.
  void stays() noexcept;
  // Ends the caller's process with 0.
  void serves() noexcept;

 private:
  Background(UniqueFd&& caller, UniqueFd&& watcher) noexcept
      : caller_(std::move(caller)), watcher_(std::move(watcher)) {}
  UniqueFd caller_;
  UniqueFd watcher_;
};

}  // namespace hostmap::apps
