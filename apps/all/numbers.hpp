// Sizes and numbers of the command lines.
#pragma once

#include <cstdint>
#include <string>

#include <hostmap/status.hpp>

namespace hostmap::apps {

// "4096", "64K", "1G": bytes, K, M and G being powers of 1024. kInvalid for anything else.
Result<std::uint64_t> parse_size(const std::string& text);
// A decimal number without sign. kInvalid for anything else.
Result<std::uint64_t> parse_number(const std::string& text);

}  // namespace hostmap::apps
