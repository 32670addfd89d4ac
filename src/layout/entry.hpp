// An entry: a key of any length with its value, in a block of the table's arena. A cell of an entry bucket leads to it
// (layout/table.hpp).
//
//   entry   meta {value_bytes:40 | flags:8 | key_bytes - 1:16}   key   value   [up to a multiple of 8: end]
//
// `end`, of entries whose flag says so, is when the key stops to exist, in microseconds of CLOCK_MONOTONIC. It is stored behind
// the value, so that key and value lie at the same place in every entry. `ends` in the cell says that the entry has an end that
// is not "never": whoever collects what has lapsed need not read the others. Values above 16 KiB always have the word, so that
// their bytes need not be copied when they get an end.
#pragma once

#include <cstdint>

#include "base/platform.hpp"
#include "layout/region.hpp"

namespace hostmap {

inline constexpr std::uint64_t kEntryMetaBytes = 8;
inline constexpr std::uint64_t kEntryHasEnd = std::uint64_t{1} << 17;
// It lies in a larger block than one of its size: a smaller value that was put while memory was full (table/memory/arena.hpp).
inline constexpr std::uint64_t kEntryInLargerBlock = std::uint64_t{1} << 18;
// No meaning yet: an entry that has one of them is refused.
inline constexpr std::uint64_t kEntryReserved = std::uint64_t{0xff} << 16 & ~(kEntryHasEnd | kEntryInLargerBlock);
inline constexpr std::uint64_t make_meta(std::uint64_t key_bytes, std::uint64_t value_bytes) noexcept {
  return value_bytes << 24 | (key_bytes - 1);
}
inline constexpr std::uint64_t meta_key_bytes(std::uint64_t meta) noexcept { return (meta & 0xffff) + 1; }
inline constexpr std::uint64_t meta_value_bytes(std::uint64_t meta) noexcept { return meta >> 24; }
// Without an end word.
inline constexpr std::uint64_t entry_bytes(std::uint64_t key_bytes, std::uint64_t value_bytes) noexcept {
  return kEntryMetaBytes + key_bytes + value_bytes;
}
// Where the end word is, counted from the entry's begin.
inline constexpr std::uint64_t end_place(std::uint64_t key_bytes, std::uint64_t value_bytes) noexcept {
  return round_up(entry_bytes(key_bytes, value_bytes), std::uint64_t{sizeof(Word)});
}
inline constexpr std::uint64_t end_place(std::uint64_t meta) noexcept {
  return end_place(meta_key_bytes(meta), meta_value_bytes(meta));
}
// All of an entry that its meta describes.
inline constexpr std::uint64_t entry_bytes(std::uint64_t meta) noexcept {
  if ((meta & kEntryHasEnd) != 0) [[unlikely]]
    return end_place(meta) + sizeof(Word);
  return entry_bytes(meta_key_bytes(meta), meta_value_bytes(meta));
}

inline constexpr std::uint64_t kSmallestEntry = entry_bytes(1, 0);

// A value longer than this is validated by its page's generation: a busy neighbour in its chain would starve a long copy.
inline constexpr std::uint64_t kLongValueBytes = 1024;

}  // namespace hostmap
