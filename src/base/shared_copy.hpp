// Copies to and from memory that another process may change or read at the same time.
//
// Such a copy may come out torn; whoever reads validates it afterwards and throws it away. In C++ a racing memcpy is
// undefined, so the compiler must not see one: memcpy is called through a pointer whose target it cannot know. The thread
// sanitizer, which would see it nevertheless, gets byte-wise relaxed atomics.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "base/platform.hpp"

namespace hostmap {

inline void copy_shared(std::byte* to, const std::byte* from, std::size_t size) noexcept {
#if HOSTMAP_TSAN
  for (std::size_t i = 0; i < size; ++i) {
    const auto value = __atomic_load_n(reinterpret_cast<const unsigned char*>(from) + i, __ATOMIC_RELAXED);
    __atomic_store_n(reinterpret_cast<unsigned char*>(to) + i, value, __ATOMIC_RELAXED);
  }
#else
#if defined(__x86_64__)
  // Copies of more than a cache's share are made by stores that pass earlier ones; what was stored before must be seen
  // before (a page's generation).
  if (size >= 65536) __builtin_ia32_sfence();
#endif
  void* (*copy)(void*, const void*, std::size_t) = &std::memcpy;
  asm("" : "+r"(copy));  // the compiler knows no more than: some function that may touch any memory
  copy(to, from, size);
#endif
}

// The same for a value. One of 8 bytes at a multiple of 8 may be overwritten in place: it is one load, so one of the values.
inline void copy_shared_value(std::byte* to, const std::byte* from, std::size_t size) noexcept {
  if (size == 8 && reinterpret_cast<std::uintptr_t>(from) % 8 == 0) {
    // relaxed: validated by the caller, as all of the value is
    const std::uint64_t word = __atomic_load_n(reinterpret_cast<const std::uint64_t*>(from), __ATOMIC_RELAXED);
    std::memcpy(to, &word, sizeof word);
  } else {
    copy_shared(to, from, size);
  }
}

}  // namespace hostmap
