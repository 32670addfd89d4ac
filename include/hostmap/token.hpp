// Token: which value a key had when it was read, for changes that apply only while it still has that value.
//
//   auto map = hostmap::Client::connect();
//   if (!map) return complain(map.status().message());
//   auto value = map->get_with_token("members");           // Result<ValueAndToken>
//   if (!value) return complain(value.status().message());
//   auto status = map->put_if("members", value->value + "ann;", value->token);
//   if (status == hostmap::StatusCode::kMismatch) return complain("somebody else has changed it: try again");
#pragma once

#include <compare>
#include <cstdint>
#include <string>
#include <type_traits>

namespace hostmap {

/// A digest of a value and of the moment when its key ends, 16 bytes: equal values whose keys have no end have equal tokens, in
/// every process and every map. The zero token (`Token{}`) stands for an absent key; no value has it. Two different values have the same token with a probability of 2^-128, unless
/// somebody constructs them for that purpose: it protects from accidents, not from those who may write to the map anyway.
struct Token {
  std::uint64_t low = 0;
  std::uint64_t high = 0;

  friend constexpr bool operator==(const Token&, const Token&) noexcept = default;
  friend constexpr auto operator<=>(const Token&, const Token&) noexcept = default;
};
static_assert(sizeof(Token) == 16 && std::is_trivially_copyable_v<Token>);

/// A value, and its token.
struct ValueAndToken {
  std::string value;
  Token token;
};

}  // namespace hostmap
