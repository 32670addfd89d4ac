// Copies a short value out of an entry that another process may be changing: the reason why gets of short values are fast.
//
// Inline: without a call, a caller that copies between two loads of a header keeps its registers. From the start and in pieces
// that do not overlap: a word that the caller loads next is forwarded from one store, while that is still on its way to the
// cache. memcpy overlaps its last pieces; a word across two of them waits until both have left the core, and all later gets
// wait too. (Masked stores, which would copy any length by two, forward nothing at all.)
//
// The pieces are assembler, so that the compiler sees no load of memory that another process is changing.
#pragma once

#include <cstddef>
#include <cstdint>

#include "base/platform.hpp"
#include "base/shared_copy.hpp"
#include "table/form/match.hpp"

namespace hostmap {

// Longer values are copied by memcpy: the argument above no longer matters.
inline constexpr std::size_t kShortestLongCopy = 128;

[[gnu::always_inline]] inline void copy_short_value(std::byte* to, const std::byte* from, std::size_t size,
                                                    [[maybe_unused]] VectorWidth width) noexcept {
#if defined(__x86_64__) && !HOSTMAP_TSAN
  if (size < kShortestLongCopy) [[likely]] {
    std::size_t done = 0;
    std::uint64_t word;
    const bool wide = width == VectorWidth::kAvx512;
// NOLINTBEGIN(bugprone-macro-parentheses): the text of an assembler statement cannot be in parentheses
#define HOSTMAP_COPY(size, instructions)                                   \
  asm volatile(instructions                                                \
               : [word] "=&r"(word)                                        \
               : [to] "r"(to), [from] "r"(from), [done] "r"(done)          \
               : "xmm0", "xmm1", "xmm2", "xmm3", HOSTMAP_CLOBBERS_AVX512); \
  done += size
    // NOLINTEND(bugprone-macro-parentheses)
    // One for each bit of the length, so a value of 8 bytes, which may be overwritten in place, is one load.
    if ((size & 64) != 0 && wide) {
      HOSTMAP_COPY(64,
                   "vmovdqu64 (%[from],%[done]), %%zmm16\n\t"
                   "vmovdqu64 %%zmm16, (%[to],%[done])\n\t");
    } else if ((size & 64) != 0) {
      HOSTMAP_COPY(64,
                   "movdqu (%[from],%[done]), %%xmm0\n\t"
                   "movdqu 16(%[from],%[done]), %%xmm1\n\t"
                   "movdqu 32(%[from],%[done]), %%xmm2\n\t"
                   "movdqu 48(%[from],%[done]), %%xmm3\n\t"
                   "movdqu %%xmm0, (%[to],%[done])\n\t"
                   "movdqu %%xmm1, 16(%[to],%[done])\n\t"
                   "movdqu %%xmm2, 32(%[to],%[done])\n\t"
                   "movdqu %%xmm3, 48(%[to],%[done])\n\t");
    }
    if ((size & 32) != 0) {
      HOSTMAP_COPY(32,
                   "movdqu (%[from],%[done]), %%xmm0\n\t"
                   "movdqu 16(%[from],%[done]), %%xmm1\n\t"
                   "movdqu %%xmm0, (%[to],%[done])\n\t"
                   "movdqu %%xmm1, 16(%[to],%[done])\n\t");
    }
    if ((size & 16) != 0) {
      HOSTMAP_COPY(16,
                   "movdqu (%[from],%[done]), %%xmm0\n\t"
                   "movdqu %%xmm0, (%[to],%[done])\n\t");
    }
    if ((size & 8) != 0) {
      HOSTMAP_COPY(8,
                   "movq (%[from],%[done]), %[word]\n\t"
                   "movq %[word], (%[to],%[done])\n\t");
    }
    if ((size & 4) != 0) {
      HOSTMAP_COPY(4,
                   "movl (%[from],%[done]), %k[word]\n\t"
                   "movl %k[word], (%[to],%[done])\n\t");
    }
    if ((size & 2) != 0) {
      HOSTMAP_COPY(2,
                   "movw (%[from],%[done]), %w[word]\n\t"
                   "movw %w[word], (%[to],%[done])\n\t");
    }
    if ((size & 1) != 0) {
      HOSTMAP_COPY(1,
                   "movb (%[from],%[done]), %b[word]\n\t"
                   "movb %b[word], (%[to],%[done])\n\t");
    }
#undef HOSTMAP_COPY
    return;
  }
#endif
  copy_shared_value(to, from, size);
}

}  // namespace hostmap
