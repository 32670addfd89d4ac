// Stepper: another process, one instruction or one system call at a time. What a SIGKILL at any point would leave is what
// the tracer sees between two steps.
#pragma once

#include <cstdint>
#include <functional>

namespace hostmap::test {

// Waits until every other thread of this process sleeps: a thread that runs may hold a mutex, which nobody would give back in
// a forked child. False: one does not come to rest.
bool others_sleep();

// Runs `body` in a forked child instruction by instruction and calls `look(step)` in this process between any two of them:
// at each point where a SIGKILL can fall. Returns the number of steps; 0, with a failure, if the child did not come to the
// end of `body`.
std::uint64_t step_through(const std::function<void()>& body, const std::function<void(std::uint64_t)>& look);

// Runs `body` in a forked child up to its instruction `step`, calls `meanwhile` in this process while it stands still there,
// and then kills it, or lets it run on to its end. A child that comes to its end, or falls asleep, before that instruction
// stands still there; with a failure if it does not end afterwards.
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
