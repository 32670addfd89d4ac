// ValueTarget: where a get stores the value that it has found.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>

namespace hostmap {

// The destination of a value: a buffer, a string that grows, or none (exists).
class ValueTarget {
 public:
  static ValueTarget none() noexcept { return ValueTarget(Kind::kNone, nullptr, 0, nullptr); }
  static ValueTarget buffer(std::span<std::byte> buffer) noexcept {
    return ValueTarget(Kind::kBuffer, buffer.data(), buffer.size(), nullptr);
  }
  static ValueTarget string(std::string& text) noexcept { return ValueTarget(Kind::kString, nullptr, 0, &text); }

  bool wanted() const noexcept { return kind_ != Kind::kNone; }
  bool grows() const noexcept { return kind_ == Kind::kString; }
  // Does a value of `size` bytes fit, apart from a string's failure to allocate?
  bool fits(std::size_t size) const noexcept { return grows() || size <= capacity_; }
  // The destination for `size` bytes; they fit. Null when a string cannot grow. (For a buffer of 0 bytes: not null.)
  std::byte* room(std::size_t size) const noexcept {
    std::byte* place = room_or_null(size);
    return place == nullptr && !grows() ? &nowhere_ : place;
  }
  // The same, but also null for a buffer without an address.
  std::byte* room_or_null(std::size_t size) const noexcept { return grows() ? resized(*text_, size) : data_; }
  // Stores a value of 8 bytes; false when it does not fit.
  [[gnu::always_inline]] bool take_word(std::uint64_t value) const noexcept {
    if (grows()) {
      *text_ = std::string(reinterpret_cast<const char*>(&value), sizeof value);  // never allocates, is inlined
      return true;
    }
    if (!fits(sizeof value)) return false;
    std::memcpy(data_, &value, sizeof value);
    return true;
  }

 private:
  enum class Kind : std::uint8_t { kNone, kBuffer, kString };
  ValueTarget(Kind kind, std::byte* data, std::size_t capacity, std::string* text) noexcept
      : kind_(kind), data_(data), capacity_(capacity), text_(text) {}
  static std::byte* resized(std::string& text, std::size_t size) noexcept;

  static std::byte nowhere_;  // not inline: that would keep a shared object with this library from being unloaded
  Kind kind_;
  std::byte* data_;
  std::size_t capacity_;
  std::string* text_;
};

}  // namespace hostmap
