// Connections that are there and do nothing: what the questions `crowd` and `occasional` measure beside.
#pragma once

#include <string>
#include <vector>

#include "harness/instance.hpp"
#include "harness/process.hpp"

namespace hostmap::bench {

inline constexpr unsigned kIdleHolders = 4;  // processes
inline constexpr unsigned kIdleOfHolder = 250;
inline constexpr unsigned kIdle = kIdleHolders * kIdleOfHolder;

/// Arguments of a server that takes them and some more.
[[nodiscard]] std::vector<std::string> arguments_for_idle_crowd();
/// Empty, or why this machine's limits do not allow it.
[[nodiscard]] std::string no_idle_crowd();
/// Connects them, each of which puts a key, so that the server has a channel of it to poll; they stay until wait().
[[nodiscard]] std::vector<Child> start_idle_crowd(const Instance& instance);
/// Throws unless the server has so many connections.
void expect_connections(const Instance& instance, std::uint64_t expected);

}  // namespace hostmap::bench
