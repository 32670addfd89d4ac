// Values that prove that they are whole: a counter and a checksum over counter, key and size.
//
//   8 bytes        {counter:40 | checksum:24}
//   16 and more    counter, counter, ... , counter, checksum     (a size that is not a multiple of 8 ends with a part of a counter)
#pragma once

#include <cstdint>
#include <cstring>
#include <optional>
#include <string>
#include <string_view>

namespace hostmap::test {

inline std::uint64_t mix(std::uint64_t word) {  // splitmix64's finisher
  word = (word ^ (word >> 30)) * 0xbf58'476d'1ce4'e5b9;
  word = (word ^ (word >> 27)) * 0x94d0'49bb'1331'11eb;
  return word ^ (word >> 31);
}

inline std::uint64_t seal_of(std::uint64_t counter, std::uint64_t key, std::size_t size) {
  return mix(mix(counter + 1) ^ mix(key + 2) ^ mix(size + 3));
}

// `size`: 8, or at least 16.
inline std::string sealed_value(std::uint64_t counter, std::uint64_t key, std::size_t size) {
  std::string value(size, '\0');
  const std::uint64_t seal = seal_of(counter, key, size);
  if (size == 8) {
    const std::uint64_t word = counter << 24 | (seal & 0xff'ffff);
    std::memcpy(value.data(), &word, 8);
    return value;
  }
  for (std::size_t at = 0; at < size; at += 8) {
    std::memcpy(value.data() + at, &counter, std::min<std::size_t>(8, size - at));
  }
  std::memcpy(value.data() + (size / 8 - 1) * 8, &seal, 8);
  return value;
}

// The counter, if the value is whole.
inline std::optional<std::uint64_t> unseal(std::string_view value, std::uint64_t key) {
  if (value.size() < 8) return std::nullopt;
  std::uint64_t counter;
  std::memcpy(&counter, value.data(), 8);
  if (value.size() == 8) counter >>= 24;
  if (value != sealed_value(counter, key, value.size())) return std::nullopt;
  return counter;
}

// An 8-byte key.
inline std::string word_key(std::uint64_t number) {
  std::string key(8, '\0');
  std::memcpy(key.data(), &number, 8);
  return key;
}

// `size` bytes that depend on `seed` alone: no two neighbouring words are equal.
inline std::string pattern(std::size_t size, std::uint64_t seed) {
  std::string bytes(size, '\0');
  for (std::size_t at = 0; at < size; at += 8) {
    const std::uint64_t word = mix(seed * 0x9e37'79b9 + at);
    std::memcpy(bytes.data() + at, &word, std::min<std::size_t>(8, size - at));
  }
  return bytes;
}

inline std::uint64_t digest(std::string_view bytes) {  // FNV-1a
  std::uint64_t hash = 0xcbf2'9ce4'8422'2325;
  for (const char c : bytes) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100'0000'01b3;
  return hash;
}

}  // namespace hostmap::test
