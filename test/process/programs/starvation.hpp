// Allocations that fail: replaces malloc and related functions in a whole program. Included by the program's only file.
//
// Only the k-th allocation after starve() fails, or that one and all later ones, of any thread. Under the sanitizers, which
// replace malloc themselves, nothing fails.
#pragma once

#include <atomic>
#include <cerrno>
#include <cstddef>

namespace hostmap::test {

// malloc is called before any constructor, so nothing here may need one.
struct Starvation {
  std::atomic<bool> armed{false};
  std::atomic<bool> onward{false};
  std::atomic<unsigned long> k{0};
  std::atomic<unsigned long> count{0};  // since starve()
};
inline constinit Starvation starvation{};

// After this call the k-th allocation fails; `onward`: and all later ones.
inline void starve(unsigned long k, bool onward) noexcept {
  starvation.onward = onward;
  starvation.k = k;
  starvation.count = 0;
  starvation.armed = true;
}

// After this call no allocation fails. Returns whether there were k allocations.
inline bool feed() noexcept {
  starvation.armed = false;
  return starvation.count >= starvation.k;
}

inline bool allocation_fails() noexcept {
  if (!starvation.armed) return false;
  const unsigned long number = ++starvation.count;
  return number == starvation.k || (starvation.onward && number > starvation.k);
}

}  // namespace hostmap::test

#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
// operator new is libstdc++'s, which calls malloc or aligned_alloc. glibc's own, by the names that it keeps for this:
extern "C" {
void* __libc_malloc(std::size_t size);                           // NOLINT
void* __libc_calloc(std::size_t count, std::size_t size);        // NOLINT
void* __libc_realloc(void* block, std::size_t size);             // NOLINT
void* __libc_memalign(std::size_t alignment, std::size_t size);  // NOLINT
void __libc_free(void* block);                                   // NOLINT

void* malloc(std::size_t size) noexcept {
  if (!hostmap::test::allocation_fails()) return __libc_malloc(size);
  errno = ENOMEM;
  return nullptr;
}
void* calloc(std::size_t count, std::size_t size) noexcept {
  if (!hostmap::test::allocation_fails()) return __libc_calloc(count, size);
  errno = ENOMEM;
  return nullptr;
}
void* realloc(void* block, std::size_t size) noexcept {
  if (!hostmap::test::allocation_fails()) return __libc_realloc(block, size);
  errno = ENOMEM;
  return nullptr;
}
void* aligned_alloc(std::size_t alignment, std::size_t size) noexcept {
  if (!hostmap::test::allocation_fails()) return __libc_memalign(alignment, size);
  errno = ENOMEM;
  return nullptr;
}
void* memalign(std::size_t alignment, std::size_t size) noexcept { return aligned_alloc(alignment, size); }
int posix_memalign(void** block, std::size_t alignment, std::size_t size) noexcept {
  void* found = aligned_alloc(alignment, size);
  if (found == nullptr) return ENOMEM;
  *block = found;
  return 0;
}
void free(void* block) noexcept { __libc_free(block); }
}
#endif
