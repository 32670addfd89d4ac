// Facts about machine and compiler that more than one folder needs.
#pragma once

#include <cstddef>
#include <cstdint>
#include <time.h>

#if defined(__SANITIZE_THREAD__)
#define HOSTMAP_TSAN 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define HOSTMAP_TSAN 1
#endif
#endif
#ifndef HOSTMAP_TSAN
#define HOSTMAP_TSAN 0
#endif

// Bytes in shared memory are little-endian, and offsets are 64-bit: say so where it is assumed.
static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "hostmap's layouts are little-endian");
static_assert(sizeof(void*) == 8, "hostmap maps regions larger than a 32-bit address space");

namespace hostmap {

inline constexpr std::size_t kCacheLine = 64;
// Hot words of different writers lie this far apart: hardware fetches lines in pairs.
inline constexpr std::size_t kLinePair = 128;
inline constexpr std::size_t kPageSize = 4096;
inline constexpr std::size_t kHugePageSize = std::size_t{2} << 20;

// Without what guards against hostile clients: for the benchmark that shows what that costs, and for nothing else.
#ifdef HOSTMAP_WITHOUT_GUARDS
inline constexpr bool kGuarded = false;
#else
inline constexpr bool kGuarded = true;
#endif

// A hint to the processor that this is a spin loop (about 40 to 140 cycles, by model).
inline void cpu_relax() noexcept {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

inline std::int64_t clock_ns(clockid_t clock) noexcept {
  timespec now{};
  clock_gettime(clock, &now);
  return now.tv_sec * std::int64_t{1'000'000'000} + now.tv_nsec;
}

// Nanoseconds of CLOCK_MONOTONIC (no system call where the vDSO has it).
inline std::int64_t monotonic_ns() noexcept { return clock_ns(CLOCK_MONOTONIC); }
inline std::uint64_t monotonic_us() noexcept { return static_cast<std::uint64_t>(monotonic_ns()) / 1000; }

// The same as of the last tick of the kernel, some milliseconds ago at most: no counter of the processor is read.
inline std::int64_t coarse_monotonic_ns() noexcept { return clock_ns(CLOCK_MONOTONIC_COARSE); }
inline std::uint64_t coarse_monotonic_us() noexcept { return static_cast<std::uint64_t>(coarse_monotonic_ns()) / 1000; }

template <typename T>
constexpr T round_up(T value, T multiple) noexcept {
  return (value + multiple - 1) / multiple * multiple;
}

constexpr bool is_power_of_two(std::uint64_t value) noexcept { return value != 0 && (value & (value - 1)) == 0; }

}  // namespace hostmap
