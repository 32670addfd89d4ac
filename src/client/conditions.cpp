#include <algorithm>
#include <utility>

#include "base/token.hpp"
#include "client/impl.hpp"

namespace hostmap {

Result<ValueAndToken> Client::Impl::read_with_token(Deadline& limit, const Bytes& key) noexcept {
  Result<ValueAndToken> result(std::in_place);
  const Result<std::uint64_t> size = read_within(limit, key, ValueTarget::string(result->value));
  if (!size) return size.status();
  result->token = token_of(std::as_bytes(std::span(result->value)), kNoEnd);
  return result;
}

Status Client::Impl::put_if(Deadline& limit, const Bytes& key, const Bytes& value, const Token& token) noexcept {
  if (token == Token{}) return mutate_within(limit, Op::kInsert, key, span_of(value), value.size());
  const std::span<const std::byte> head(reinterpret_cast<const std::byte*>(&token), sizeof token);
  return mutate_within(limit, Op::kPutIf, key, {head, span_of(value), {}}, value.size());
}

Status Client::Impl::erase_if(Deadline& limit, const Bytes& key, const Token& token) noexcept {
  if (token == Token{}) {
    return {StatusCode::kInvalid, "the zero token stands for an absent key, which cannot be erased"};
  }
  const std::span<const std::byte> head(reinterpret_cast<const std::byte*>(&token), sizeof token);
  return mutate_within(limit, Op::kEraseIf, key, head, 0);
}

Result<ValueAndToken> Client::get_with_token(Bytes key) noexcept {
  Deadline limit = impl_->deadline();
  return impl_->read_with_token(limit, key);
}

Status Client::put_if(Bytes key, Bytes value, const Token& token) noexcept {
  Deadline limit = impl_->deadline();
  return impl_->put_if(limit, key, value, token);
}

Status Client::erase_if(Bytes key, const Token& token) noexcept {
  Deadline limit = impl_->deadline();
  return impl_->erase_if(limit, key, token);
}

}  // namespace hostmap
