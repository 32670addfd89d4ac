// Reads, writes, allocates and frees parts of a file by system calls, and repeats a call that a signal has interrupted.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace hostmap {

// All of the bytes, at `offset`. False: it failed, or the file ends before (read), and errno says why.
bool write_all(int file, std::span<const std::byte> bytes, std::uint64_t offset) noexcept;
bool read_all(int file, std::span<std::byte> bytes, std::uint64_t offset) noexcept;

// Allocates memory, or disk blocks, for [offset, offset + size), zeroed where there was none. Returns 0, or the number of errno.
int allocate_pages(int file, std::uint64_t offset, std::uint64_t size) noexcept;
// Frees them; the size of the file stays. If that fails, they stay allocated.
void free_pages(int file, std::uint64_t offset, std::uint64_t size) noexcept;

}  // namespace hostmap
