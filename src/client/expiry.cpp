// Calls that say or ask when a key ends.
//
// The client turns a time to live into a moment of CLOCK_MONOTONIC, rounded up: a request that waits for a restart does not make
// its key live longer, and one that is applied again stores the same word. It reads the precise clock: by the coarse one, which
// is up to a tick behind, a few milliseconds would be over at once.
#include <algorithm>

#include "client/impl.hpp"

namespace hostmap {

namespace {

// Milliseconds of the clock, rounded up.
std::int64_t now_ms() noexcept {
  constexpr std::int64_t kNsPerMs = 1'000'000;
  return (monotonic_ns() + kNsPerMs - 1) / kNsPerMs;
}

// The end of a key that lives for `ttl`, which is_ttl(), from now on.
std::uint64_t end_after(std::chrono::milliseconds ttl) noexcept {
  const std::int64_t now = now_ms();
  // Below kNeverEnds: both are below 2^63. Above kKeepEnd, whatever the clock says.
  return std::max<std::uint64_t>(static_cast<std::uint64_t>(now) + static_cast<std::uint64_t>(ttl.count()), 2);
}

bool is_ttl(std::chrono::milliseconds ttl) noexcept { return ttl > std::chrono::milliseconds::zero(); }

Status ttl_status(std::chrono::milliseconds ttl) noexcept {
  try {
    return {StatusCode::kInvalid,
            "the time to live is " + std::to_string(ttl.count()) +
                " ms, which is not above zero; erase removes a key at once, persist lets it stay"};
  } catch (...) {
    return StatusCode::kInvalid;
  }
}

// Of an operation that stores a whole value: may the key live for `ttl`, and when does it end?
bool is_ttl_of_put(std::chrono::milliseconds ttl) noexcept { return is_ttl(ttl) || ttl == kKeepTtl; }
std::uint64_t end_of_put(std::chrono::milliseconds ttl) noexcept {
  return ttl == kForever ? kNoEnd : ttl == kKeepTtl ? kKeepEnd : end_after(ttl);
}

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
  const std::uint64_t end = ttl == kForever ? kNeverEnds : end_after(ttl);
  return impl_->mutate(Op::kExpire, key, span_of(bytes_of(end)), 0);
}

Status Client::expire_async(Bytes key, std::chrono::milliseconds ttl) noexcept {
  if (!is_ttl(ttl)) return ttl_status(ttl);
  const std::uint64_t end = ttl == kForever ? kNeverEnds : end_after(ttl);
  return impl_->queue(Op::kExpire, key, bytes_of(end), kNoEnd);
}

Result<std::chrono::milliseconds> Client::ttl(Bytes key) noexcept {
  std::uint64_t end = kNoEnd;
  const Result<std::uint64_t> found = impl_->read(key, ValueTarget::none(), &end);
  if (!found) return found.status();
  if (end == kNoEnd) return kForever;
  // The clock that decided that the key is there may be a tick behind this one.
  const std::int64_t left = static_cast<std::int64_t>(end) - now_ms();
  return std::chrono::milliseconds(std::max<std::int64_t>(left, 1));
}

}  // namespace hostmap
