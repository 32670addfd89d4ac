// Calls that set or return when a key ends.
#include <algorithm>
#include <string>

#include "client/ends.hpp"
#include "client/impl.hpp"

namespace hostmap {

Status ttl_status(std::chrono::milliseconds ttl) noexcept {
  try {
    return {StatusCode::kInvalid, "the time to live is " + std::to_string(ttl.count()) +
                                      " ms, which is not above zero; to remove the key at once, erase it"};
  } catch (...) {
    return StatusCode::kInvalid;
  }
}

namespace {

Bytes bytes_of(const std::uint64_t& word) noexcept { return std::as_bytes(std::span(&word, 1)); }

}  // namespace

Status Client::put(Bytes key, Bytes value, std::chrono::milliseconds ttl) noexcept {
  if (!is_ttl_of_put(ttl)) return ttl_status(ttl);
  return impl_->mutate(Op::kPut, key, span_of(value), value.size(), nullptr, end_of_put(ttl));
}

Status Client::put_async(Bytes key, Bytes value, std::chrono::milliseconds ttl) noexcept {
  if (!is_ttl_of_put(ttl)) return ttl_status(ttl);
  return impl_->queue(Op::kPut, key, value, end_of_put(ttl));
}

Status Client::insert(Bytes key, Bytes value, std::chrono::milliseconds ttl) noexcept {
  if (!is_ttl(ttl)) return ttl_status(ttl);
  return impl_->mutate(Op::kInsert, key, span_of(value), value.size(), nullptr, end_of_put(ttl));
}

Status Client::replace(Bytes key, Bytes value, std::chrono::milliseconds ttl) noexcept {
  if (!is_ttl_of_put(ttl)) return ttl_status(ttl);
  return impl_->mutate(Op::kReplace, key, span_of(value), value.size(), nullptr, end_of_put(ttl));
}

Status Client::expire(Bytes key, std::chrono::milliseconds ttl) noexcept {
  if (!is_ttl(ttl)) return ttl_status(ttl);
  const std::uint64_t end = end_of_expire(ttl);
  return impl_->mutate(Op::kExpire, key, span_of(bytes_of(end)), 0);
}

Status Client::expire_async(Bytes key, std::chrono::milliseconds ttl) noexcept {
  if (!is_ttl(ttl)) return ttl_status(ttl);
  const std::uint64_t end = end_of_expire(ttl);
  return impl_->queue(Op::kExpire, key, bytes_of(end), kNoEnd);
}

std::chrono::milliseconds Client::ttl_until(std::uint64_t end) noexcept {
  return end == kNoEnd ? kForever : hostmap::ttl_until(end, monotonic_ns());
}

Result<std::chrono::milliseconds> Client::ttl(Bytes key) noexcept {
  std::uint64_t end = kNoEnd;
  const Result<std::uint64_t> found = impl_->read(key, ValueTarget::none(), &end);
  if (!found) return found.status();
  return ttl_until(end);
}

}  // namespace hostmap
