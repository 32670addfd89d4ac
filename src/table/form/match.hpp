// Which words of a 64-byte line equal a key, or carry a tag: one vector comparison, its width chosen at run time.
//
// The comparisons are written in assembler for two reasons: programs stay portable (only these lines use AVX), and
// the compiler sees no load of memory that another process is changing. Their results are only hints: every reader
// validates. The portable twin uses relaxed atomics; it serves other processors and the thread sanitizer.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>

#include "base/platform.hpp"
#include "layout/table.hpp"

namespace hostmap {

enum class VectorWidth : std::uint8_t { kPortable, kSse2, kAvx2, kAvx512 };

// The widest that this processor (and system) supports.
inline VectorWidth widest_vectors() noexcept {
#if defined(__x86_64__) && !HOSTMAP_TSAN
  if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq")) return VectorWidth::kAvx512;
  if (__builtin_cpu_supports("avx2")) return VectorWidth::kAvx2;
  return VectorWidth::kSse2;
#else
  return VectorWidth::kPortable;
#endif
}

// Eight words of a line, as the comparisons take them.
struct LineWords {
  std::uint64_t words[8];
};

namespace match_detail {

inline unsigned equal_portable(const Word* line, std::uint64_t key) noexcept {
  unsigned mask = 0;
  // relaxed: a hint that the caller validates
  for (unsigned i = 1; i < 8; ++i) mask |= unsigned{line[i].load(std::memory_order_relaxed) == key} << i;
  return mask;
}
inline unsigned tags_portable(const Word* line, std::uint16_t tag) noexcept {
  unsigned mask = 0;
  // relaxed: a hint that the caller validates
  for (unsigned i = 1; i < 8; ++i) mask |= unsigned{cell_tag(line[i].load(std::memory_order_relaxed)) == tag} << i;
  return mask;
}

#if defined(__x86_64__)
// If the compiler itself may use the upper halves of vector registers, it must know that they are clobbered.
#if defined(__AVX512F__)
#define HOSTMAP_CLOBBERS_AVX512 "xmm16", "xmm17", "k1", "memory"
#else
#define HOSTMAP_CLOBBERS_AVX512 "memory"
#endif
#if defined(__AVX__)
#define HOSTMAP_END_AVX ""
#else
#define HOSTMAP_END_AVX "vzeroupper\n\t"  // otherwise every SSE instruction after it would pay for the dirty halves
#endif

inline unsigned equal_avx512(const Word* line, std::uint64_t key) noexcept {
  unsigned mask;
  asm volatile(
      "vpbroadcastq %[key], %%zmm16\n\t"
      "vpcmpeqq %[line], %%zmm16, %%k1\n\t"
      "kmovb %%k1, %[mask]\n\t"
      : [mask] "=r"(mask)
      : [key] "r"(key), [line] "m"(*reinterpret_cast<const LineWords*>(line))
      : HOSTMAP_CLOBBERS_AVX512);
  return mask;
}
inline unsigned tags_avx512(const Word* line, std::uint16_t tag) noexcept {
  unsigned mask;
  asm volatile(
      "vpbroadcastq %[tag], %%zmm16\n\t"
      "vpsrlq $48, %[line], %%zmm17\n\t"
      "vpcmpeqq %%zmm17, %%zmm16, %%k1\n\t"
      "kmovb %%k1, %[mask]\n\t"
      : [mask] "=r"(mask)
      : [tag] "r"(std::uint64_t{tag}), [line] "m"(*reinterpret_cast<const LineWords*>(line))
      : HOSTMAP_CLOBBERS_AVX512);
  return mask;
}

inline unsigned equal_avx2(const Word* line, std::uint64_t key) noexcept {
  unsigned low;
  unsigned high;
  asm volatile(
      "vmovq %[key], %%xmm0\n\t"
      "vpbroadcastq %%xmm0, %%ymm0\n\t"
      "vpcmpeqq (%[line]), %%ymm0, %%ymm1\n\t"
      "vpcmpeqq 32(%[line]), %%ymm0, %%ymm2\n\t"
      "vmovmskpd %%ymm1, %[low]\n\t"
      "vmovmskpd %%ymm2, %[high]\n\t" HOSTMAP_END_AVX
      : [low] "=&r"(low), [high] "=&r"(high)
      : [key] "r"(key), [line] "r"(line)
      : "xmm0", "xmm1", "xmm2", "memory");
  return low | high << 4;
}
inline unsigned tags_avx2(const Word* line, std::uint16_t tag) noexcept {
  unsigned low;
  unsigned high;
  asm volatile(
      "vmovq %[tag], %%xmm0\n\t"
      "vpbroadcastq %%xmm0, %%ymm0\n\t"
      "vmovdqu (%[line]), %%ymm1\n\t"
      "vmovdqu 32(%[line]), %%ymm2\n\t"
      "vpsrlq $48, %%ymm1, %%ymm1\n\t"
      "vpsrlq $48, %%ymm2, %%ymm2\n\t"
      "vpcmpeqq %%ymm1, %%ymm0, %%ymm1\n\t"
      "vpcmpeqq %%ymm2, %%ymm0, %%ymm2\n\t"
      "vmovmskpd %%ymm1, %[low]\n\t"
      "vmovmskpd %%ymm2, %[high]\n\t" HOSTMAP_END_AVX
      : [low] "=&r"(low), [high] "=&r"(high)
      : [tag] "r"(std::uint64_t{tag}), [line] "r"(line)
      : "xmm0", "xmm1", "xmm2", "memory");
  return low | high << 4;
}

// SSE2 has no comparison of 64-bit words: compare 32-bit halves, swap them within each word, and both must be set.
inline unsigned equal_sse2(const Word* line, std::uint64_t key) noexcept {
  unsigned mask;
  unsigned part;
  asm volatile(
      "movq %[key], %%xmm0\n\t"
      "punpcklqdq %%xmm0, %%xmm0\n\t"
      "movdqa (%[line]), %%xmm1\n\t"
      "pcmpeqd %%xmm0, %%xmm1\n\t"
      "pshufd $0xb1, %%xmm1, %%xmm2\n\t"
      "pand %%xmm2, %%xmm1\n\t"
      "movmskpd %%xmm1, %[mask]\n\t"
      "movdqa 16(%[line]), %%xmm1\n\t"
      "pcmpeqd %%xmm0, %%xmm1\n\t"
      "pshufd $0xb1, %%xmm1, %%xmm2\n\t"
      "pand %%xmm2, %%xmm1\n\t"
      "movmskpd %%xmm1, %[part]\n\t"
      "shll $2, %[part]\n\t"
      "orl %[part], %[mask]\n\t"
      "movdqa 32(%[line]), %%xmm1\n\t"
      "pcmpeqd %%xmm0, %%xmm1\n\t"
      "pshufd $0xb1, %%xmm1, %%xmm2\n\t"
      "pand %%xmm2, %%xmm1\n\t"
      "movmskpd %%xmm1, %[part]\n\t"
      "shll $4, %[part]\n\t"
      "orl %[part], %[mask]\n\t"
      "movdqa 48(%[line]), %%xmm1\n\t"
      "pcmpeqd %%xmm0, %%xmm1\n\t"
      "pshufd $0xb1, %%xmm1, %%xmm2\n\t"
      "pand %%xmm2, %%xmm1\n\t"
      "movmskpd %%xmm1, %[part]\n\t"
      "shll $6, %[part]\n\t"
      "orl %[part], %[mask]\n\t"
      : [mask] "=&r"(mask), [part] "=&r"(part)
      : [key] "r"(key), [line] "r"(line)
      : "xmm0", "xmm1", "xmm2", "cc", "memory");
  return mask;
}
// Gathers the eight upper halves, shifts the tags down, compares, and packs eight results into one byte each.
inline unsigned tags_sse2(const Word* line, std::uint16_t tag) noexcept {
  unsigned mask;
  asm volatile(
      "movd %[tag], %%xmm0\n\t"
      "pshufd $0, %%xmm0, %%xmm0\n\t"
      "movaps (%[line]), %%xmm1\n\t"
      "shufps $0xdd, 16(%[line]), %%xmm1\n\t"
      "movaps 32(%[line]), %%xmm2\n\t"
      "shufps $0xdd, 48(%[line]), %%xmm2\n\t"
      "psrld $16, %%xmm1\n\t"
      "psrld $16, %%xmm2\n\t"
      "pcmpeqd %%xmm0, %%xmm1\n\t"
      "pcmpeqd %%xmm0, %%xmm2\n\t"
      "packssdw %%xmm2, %%xmm1\n\t"
      "packsswb %%xmm1, %%xmm1\n\t"
      "pmovmskb %%xmm1, %[mask]\n\t"
      : [mask] "=r"(mask)
      : [tag] "r"(unsigned{tag}), [line] "r"(line)
      : "xmm0", "xmm1", "xmm2", "memory");
  return mask & 0xff;
}
#endif

}  // namespace match_detail

namespace match_detail {

// Out of line, so that the few instructions of the wide comparisons are inlined into their callers.
[[gnu::noinline]] inline unsigned equal_narrow(const Word* line, std::uint64_t key,
                                               [[maybe_unused]] VectorWidth width) noexcept {
#if defined(__x86_64__)
  if (width == VectorWidth::kSse2) return equal_sse2(line, key);
#endif
  return equal_portable(line, key);
}
[[gnu::noinline]] inline unsigned tags_narrow(const Word* line, std::uint16_t tag,
                                              [[maybe_unused]] VectorWidth width) noexcept {
#if defined(__x86_64__)
  if (width == VectorWidth::kSse2) return tags_sse2(line, tag);
#endif
  return tags_portable(line, tag);
}

}  // namespace match_detail

// Bit i (1 to 7) of the result: word i of the line equals `key`. Bit 0 has no meaning.
[[gnu::always_inline]] inline unsigned match_keys(const PairBucket& bucket, std::uint64_t key,
                                                  VectorWidth width) noexcept {
  const Word* line = &bucket.header;
#if defined(__x86_64__)
  if (width == VectorWidth::kAvx512) [[likely]]
    return match_detail::equal_avx512(line, key);
  if (width == VectorWidth::kAvx2) [[likely]]
    return match_detail::equal_avx2(line, key);
#endif
  return match_detail::equal_narrow(line, key, width);
}

// Bit i (1 to 7): cell word i carries `tag`.
[[gnu::always_inline]] inline unsigned match_tags(const EntryBucket& bucket, std::uint16_t tag,
                                                  VectorWidth width) noexcept {
  const Word* line = &bucket.header;
  // Bit 0 is the header's and has no meaning.
#if defined(__x86_64__)
  if (width == VectorWidth::kAvx512) [[likely]]
    return match_detail::tags_avx512(line, tag) & kOccupiedMask;
  if (width == VectorWidth::kAvx2) [[likely]]
    return match_detail::tags_avx2(line, tag) & kOccupiedMask;
#endif
  return match_detail::tags_narrow(line, tag, width) & kOccupiedMask;
}

// The lowest set bit of such a result, which is not 0; 1 to 7.
inline unsigned first_place(unsigned found) noexcept { return static_cast<unsigned>(std::countr_zero(found)); }

// Does the key at `shared` (in an entry, possibly being overwritten) equal `key`? A torn comparison only gives a wrong
// result, which the validation discards.
[[gnu::always_inline]] inline bool key_equals(const std::byte* shared, std::span<const std::byte> key) noexcept {
  const std::size_t size = key.size();
  std::size_t i = 0;
  std::uint64_t mine;
  for (; i + 8 <= size; i += 8) {
    // relaxed: validated by the caller; an entry begins at a multiple of 8
    const std::uint64_t theirs = reinterpret_cast<const Word*>(shared + i)->load(std::memory_order_relaxed);
    std::memcpy(&mine, key.data() + i, 8);
    if (theirs != mine) return false;
  }
  if (i == size) return true;
  // The last, partial word: an entry's memory is a multiple of 8 bytes, so the whole word may be loaded.
  const std::uint64_t theirs =
      reinterpret_cast<const Word*>(shared + i)->load(std::memory_order_relaxed);  // relaxed: likewise
  const unsigned unused_bits = static_cast<unsigned>(8 * (8 - (size - i)));
  if (size >= 8) [[likely]] {
    std::memcpy(&mine, key.data() + size - 8, 8);
    mine >>= unused_bits;
  } else {
    mine = 0;
    std::memcpy(&mine, key.data(), size);
  }
  return ((theirs ^ mine) << unused_bits) == 0;
}

}  // namespace hostmap
