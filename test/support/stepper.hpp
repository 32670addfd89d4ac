// Stepper: runs another process one instruction or one system call at a time. A SIGKILL at any point would leave the memory
// that the tracer finds between two steps.
#pragma once

#include <cstdint>
#include <functional>

namespace hostmap::test {

// Waits until every other thread of this process sleeps: a running thread may hold a mutex, which would never be unlocked in
// a forked child. False: a thread does not stop running.
bool others_sleep();

// Runs `body` in a forked child instruction by instruction and calls `look(step)` in this process between any two of them:
// at each point where a SIGKILL can end it. Returns the number of steps; 0, with a failure, if the child did not reach the
// end of `body`.
std::uint64_t step_through(const std::function<void()>& body, const std::function<void(std::uint64_t)>& look);

// Runs `body` in a forked child up to its instruction `step`, calls `meanwhile` in this process while the child is stopped
// there, and then kills it or lets it run to its end. A child that reaches its end, or falls asleep, before that instruction
// is stopped there; it is a failure if it does not end afterwards.
enum class StoodAt : std::uint8_t { kInstruction, kAsleep, kEnd };
enum class Afterwards : std::uint8_t { kGoesOn, kIsKilled };
StoodAt stop_at(const std::function<void()>& body, std::uint64_t step, const std::function<void()>& meanwhile,
                Afterwards afterwards);

struct SystemCall {
  std::uint64_t number;
  std::uint64_t arguments[6];
};

// Runs `body` in a forked child and calls `look` in this process before each of its system calls. Returns what `body`
// returned; -1, with a failure, if the child died.
int trace_system_calls(const std::function<int()>& body, const std::function<void(const SystemCall&)>& look);

}  // namespace hostmap::test
