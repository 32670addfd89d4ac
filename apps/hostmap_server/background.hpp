// A server in the background, for a caller that must know whether it serves: `systemctl reload` waits for such a program to
// end.
//
// The program forks before it starts anything. The child becomes the server. The parent ends when the child serves, or with
// the child's exit code if it ends before that; the parent forwards signals that stop a server to the child.
#pragma once

#include <hostmap/status.hpp>

#include "base/unique_fd.hpp"

namespace hostmap::apps {

class Background {
 public:
  // Returns in the child only. Called before any thread or lock exists. kFull: no process or descriptor left.
  static Result<Background> begin();
  // From now on the end of the parent does not end the server. Called before system calls are restricted.
  void stays() noexcept;
  // Ends the parent with 0.
  void serves() noexcept;

 private:
  explicit Background(UniqueFd&& parent) noexcept : parent_(std::move(parent)) {}
  UniqueFd parent_;
};

}  // namespace hostmap::apps
