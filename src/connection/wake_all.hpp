// Wakes every thread that sleeps on a connection, from either end.
#pragma once

#include <climits>
#include <cstddef>
#include <cstdint>

#include "layout/connection.hpp"
#include "wait/futex.hpp"

namespace hostmap {

// `memory`: of the connection region. The caller's fence comes first, after the stores that the woken threads are to see.
// Threads that wait for a channel sleep elsewhere, on `opened`.
inline void wake_channels(std::byte* memory, std::uint32_t channels) noexcept {
  for (std::uint32_t i = 0; i < channels; ++i) {
    auto& control = *reinterpret_cast<ChannelControl*>(memory + channel_control_offset(i));
    control.waiting.store(kNotWaiting, std::memory_order_relaxed);  // relaxed: the fence and the futex call order it
    futex_wake(control.waiting, INT_MAX);
  }
}

}  // namespace hostmap
