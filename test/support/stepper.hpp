// Stepper: another process, one instruction or one system call at a time. What a SIGKILL at any point would leave is what
// the tracer sees between two steps.
#pragma once

#include <cstdint>
#include <functional>

namespace hostmap::test {

// Runs `body` in a forked child instruction by instruction and calls `look(step)` in this process between any two of them:
// at each point where a SIGKILL can fall. Returns the number of steps; 0, with a failure, if the child did not come to the
// end of `body`.
std::uint64_t step_through(const std::function<void()>& body, const std::function<void(std::uint64_t)>& look);

struct SystemCall {
  std::uint64_t number;
  std::uint64_t arguments[6];
};

// Runs `body` in a forked child and calls `look` in this process before each of its system calls. Returns what `body`
// returned; -1, with a failure, if the child died.
int trace_system_calls(const std::function<int()>& body, const std::function<void(const SystemCall&)>& look);

}  // namespace hostmap::test
