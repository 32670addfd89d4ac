// Bytes: the form in which keys and values are passed to a map. as_bytes_of: numbers and structs as Bytes.
//
//   struct Position { std::int32_t x, y; };
//   auto map = hostmap::Client::connect();
//   if (!map) return complain(map.status().message());
//   if (auto put = map->put("home", hostmap::as_bytes_of(Position{3, 4})); !put.ok()) return complain(put.message());
//   auto value = map->get_as<Position>("home");   // Result<Position>
//
// Neither copies: both refer to the caller's memory, which the call reads and does not keep.
#pragma once

#include <concepts>
#include <cstddef>
#include <memory>
#include <ranges>
#include <string>
#include <string_view>
#include <type_traits>

namespace hostmap {

/// A type whose objects are one byte, such as char, unsigned char, std::byte, std::uint8_t.
template <typename T>
concept ByteSized = sizeof(T) == 1 && std::is_trivially_copyable_v<T>;

/// An array of characters, such as "text", is a text that ends at its zero, and not a range of bytes.
template <typename T>
inline constexpr bool kIsText = false;
template <typename Character, std::size_t kCount>
inline constexpr bool kIsText<Character[kCount]> =
    std::is_same_v<std::remove_const_t<Character>, char> || std::is_same_v<std::remove_const_t<Character>, char8_t>;

/// A contiguous range of bytes, such as std::vector<unsigned char>, std::array<std::byte, 8>, std::span<const char>.
template <typename Range>
concept ByteRange = std::ranges::contiguous_range<const Range> && std::ranges::sized_range<const Range> &&
    ByteSized<std::ranges::range_value_t<const Range>> && !kIsText<Range>;

/// Bytes of a key or a value. Constructed from a std::string_view, std::string, a zero-terminated text or a contiguous range
/// of bytes; not from nullptr or other pointers.
class Bytes {
 public:
  Bytes(std::string_view text) noexcept  // NOLINT(google-explicit-constructor)
      : data_(reinterpret_cast<const std::byte*>(text.data())), size_(text.size()) {}
  Bytes(const std::string& text) noexcept : Bytes(std::string_view(text)) {}  // NOLINT
  Bytes(const char* text) noexcept : Bytes(std::string_view(text)) {}         // NOLINT
  template <ByteRange Range>
  Bytes(const Range& bytes) noexcept  // NOLINT(google-explicit-constructor)
      : data_(reinterpret_cast<const std::byte*>(std::ranges::data(bytes))),
        size_(static_cast<std::size_t>(std::ranges::size(bytes))) {}
  Bytes(std::nullptr_t) = delete;

  const std::byte* data() const noexcept { return data_; }
  std::size_t size() const noexcept { return size_; }

 private:
  const std::byte* data_;
  std::size_t size_;
};

/// A type whose bytes are its value in every process: it can be copied byte by byte, and it is neither a pointer nor a type,
/// such as std::string_view or std::span, that refers to memory elsewhere. (A struct with a pointer among its members cannot
/// be detected: do not store one.)
template <typename T>
concept PlainValue = std::is_trivially_copyable_v<T> && !std::is_pointer_v<T> && !std::is_member_pointer_v<T> &&
                     !std::is_null_pointer_v<T> && !std::ranges::view<T> && !std::same_as<T, Bytes> && !kIsText<T>;

/// The bytes of `value` as they are in memory, as a key or a value. All programs that use the map must agree on the type: its
/// members, their order and their size. Two equal values can differ in the bytes between their members (padding) and in the
/// representations of a floating-point number (-0.0, NaN), so a key should consist of integers without padding.
template <PlainValue T>
Bytes as_bytes_of(const T& value) noexcept {
  return std::string_view(reinterpret_cast<const char*>(std::addressof(value)), sizeof(T));
}

}  // namespace hostmap
