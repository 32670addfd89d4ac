// Reads, writes, allocates and frees parts of a file by system calls, and repeats a call that a signal has interrupted.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace hostmap {

// All of the bytes, at `offset`. False: it failed, or the file ends before (read), and errno says why.
bool write_all(int file, std::span<const std::byte> bytes, std::uint64_t offset) noexcept;
bool read_all(int file, std::span<std::byte> bytes, std::uint64_t offset) noexcept;

// Takes memory, or blocks, for [offset, offset + size), which are zeroes where nothing was: 0, or errno's number of why not.
int take_pages(int file, std::uint64_t offset, std::uint64_t size) noexcept;
// Gives them back; the file stays as long. Failing, it leaves what it was: memory that is taken and not used.
void give_pages_back(int file, std::uint64_t offset, std::uint64_t size) noexcept;

}  // namespace hostmap
