// AlignedMemory: zeroed anonymous memory that forked children share, between two pages that fault. Tests in one process or
// with forked children use it in place of a region.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <stdexcept>
#include <sys/mman.h>
#include <utility>

#include "base/platform.hpp"

namespace hostmap::test {

class AlignedMemory {
 public:
  // At least `bytes` long, a whole number of pages: data() is aligned to 4096 bytes, and an access at end() faults.
  explicit AlignedMemory(std::size_t bytes) : bytes_(round_up(bytes, kPageSize)) {
    void* space = ::mmap(nullptr, bytes_ + 2 * kPageSize, PROT_NONE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (space == MAP_FAILED) throw std::runtime_error("no memory for a test");
    data_ = static_cast<std::byte*>(space) + kPageSize;
    ::mprotect(data_, bytes_, PROT_READ | PROT_WRITE);
  }
  ~AlignedMemory() {
    if (data_ != nullptr) ::munmap(data_ - kPageSize, bytes_ + 2 * kPageSize);
  }
  AlignedMemory(AlignedMemory&& other) noexcept
      : data_(std::exchange(other.data_, nullptr)), bytes_(std::exchange(other.bytes_, 0)) {}
  AlignedMemory(const AlignedMemory&) = delete;
  AlignedMemory& operator=(const AlignedMemory&) = delete;
  AlignedMemory& operator=(AlignedMemory&&) = delete;

  std::byte* data() const { return data_; }
  std::byte* end() const { return data_ + bytes_; }
  std::size_t bytes() const { return bytes_; }
  std::span<std::byte> span() const { return {data_, bytes_}; }
  template <typename T>
  T& at(std::size_t offset) const {
    return *reinterpret_cast<T*>(data_ + offset);
  }

 private:
  std::byte* data_;
  std::size_t bytes_;
};

}  // namespace hostmap::test
