// A server in the background, for a caller that must know whether it serves: `systemctl reload` runs such a program to its end.
//
// The program divides in two before it starts anything. The child becomes the server. The parent ends when the child serves,
// or with the child's exit code if it ends before that; signals that stop a server it hands on to the child.
#pragma once

#include <hostmap/status.hpp>

#include "base/unique_fd.hpp"

namespace hostmap::apps {

class Background {
 public:
  // Returns in the child only. To be called before any thread and lock exists. kFull: no process or descriptor left.
  static Result<Background> begin();
  // From here on the parent's end is not the server's. To be called before system calls are restricted.
  void stays() noexcept;
  // The parent ends with 0.
  void serves() noexcept;

 private:
  explicit Background(UniqueFd&& parent) noexcept : parent_(std::move(parent)) {}
  UniqueFd parent_;
};

}  // namespace hostmap::apps
