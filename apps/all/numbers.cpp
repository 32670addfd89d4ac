#include "numbers.hpp"

#include <charconv>

namespace hostmap::apps {

Result<std::uint64_t> parse_size(const std::string& text) {
  std::uint64_t number = 0;
  const char* end = text.data() + text.size();
  const auto [rest, error] = std::from_chars(text.data(), end, number);
  unsigned shift = 0;
  bool valid = error == std::errc() && rest != text.data();
  if (valid && rest != end) {
    switch (*rest) {
      case 'K':
      case 'k':
        shift = 10;
        break;
      case 'M':
      case 'm':
        shift = 20;
        break;
      case 'G':
      case 'g':
        shift = 30;
        break;
      default:
        valid = false;
    }
    valid = valid && rest + 1 == end && number <= ~std::uint64_t{0} >> shift;
  }
  if (!valid) {
    return Status(StatusCode::kInvalid, "'" + text + "' is not a size; give bytes, or a number with K, M or G");
  }
  return number << shift;
}

Result<std::uint64_t> parse_number(const std::string& text) {
  std::uint64_t number = 0;
  const char* end = text.data() + text.size();
  const auto [rest, error] = std::from_chars(text.data(), end, number);
  if (error != std::errc() || rest != end) {
    return Status(StatusCode::kInvalid, "'" + text + "' is not a number; give decimal digits");
  }
  return number;
}

}  // namespace hostmap::apps
