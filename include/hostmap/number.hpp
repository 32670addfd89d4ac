// Numbers that increment and increment_as can add.
#pragma once

#include <concepts>
#include <cstdint>
#include <type_traits>

namespace hostmap {

/// An integer that increment can add: every integer type whose values all fit std::int64_t, but not bool.
template <typename Number>
concept Summand = std::integral<Number> && !std::same_as<Number, bool> &&
                  (std::is_signed_v<Number> || sizeof(Number) < sizeof(std::int64_t));

/// A fraction that increment can add: float or double.
template <typename Number>
concept Fraction = std::same_as<Number, float> || std::same_as<Number, double>;

/// A number that increment_as can add to one that is stored as its 8 bytes.
template <typename Number>
concept StoredNumber = std::same_as<Number, std::int64_t> || std::same_as<Number, double>;

}  // namespace hostmap
