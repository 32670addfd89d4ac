#include <optional>
#include <span>
#include <string_view>
#include <utility>

#include "base/same_bytes.hpp"
#include "base/token.hpp"
#include "client/impl.hpp"

namespace hostmap {

namespace {

constexpr std::string_view kChangedInEveryAttempt =
    "timed out: other clients changed the key in every attempt; nothing was changed; try again with a longer timeout";

// Was a change by token refused because the key has not the value that was read?
bool has_changed(const Status& status) noexcept {
  return status == StatusCode::kMismatch || status == StatusCode::kNotFound || status == StatusCode::kAlreadyExists;
}

// Returns what `send` returns, if there is time left. A change that is sent too late could time out with an unknown outcome; one
// that is not sent has a known one.
template <typename Send>
Status in_time(Deadline& limit, const Send& send) noexcept {
  if (limit.left() == 0) return {StatusCode::kTimeout, kChangedInEveryAttempt};
  return send();
}

}  // namespace

Result<ValueAndToken> Client::Impl::read_with_token(Deadline& limit, const Bytes& key) noexcept {
  Result<ValueAndToken> result(std::in_place);
  std::uint64_t end = kNoEnd;
  const Result<std::uint64_t> size = read_within(limit, key, ValueTarget::string(result->value), &end);
  if (!size) return size.status();
  result->token = token_of(std::as_bytes(std::span(result->value)), end);
  return result;
}

Status Client::Impl::put_if(Deadline& limit, const Bytes& key, const Bytes& value, const Token& token) noexcept {
  if (token == Token{}) return mutate_within(limit, Op::kInsert, key, span_of(value), value.size());
  const std::span<const std::byte> head(reinterpret_cast<const std::byte*>(&token), sizeof token);
  return mutate_within(limit, Op::kPutIf, key, {head, span_of(value), {}}, value.size());
}

Status Client::Impl::erase_if(Deadline& limit, const Bytes& key, const Token& token) noexcept {
  if (token == Token{}) {
    return absent_key_status();
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

// Reads the value of `key` and calls `attempt(value, limit)`, until that does not return kMismatch, kNotFound or
// kAlreadyExists. The value is a Result: of kNotFound if the key is absent, of other errors never. An attempt sends its change
// by in_time.
template <typename Attempt>
Status Client::Impl::until_unchanged(const Bytes& key, const Attempt& attempt) {
  if (Status status = may_write(); !status.ok()) return status;
  Deadline limit = deadline();
  for (;;) {
    Result<ValueAndToken> now = read_with_token(limit, key);
    if (!now && !(now.status() == StatusCode::kNotFound)) return now.status();
    Status status = attempt(now, limit);
    if (!has_changed(status)) return status;
  }
}

Status Client::update_with(Bytes key, ReviseOne revise, void* target) {
  return impl_->until_unchanged(key, [&](const Result<ValueAndToken>& now, Deadline& limit) -> Status {
    std::optional<std::string_view> value;
    if (now) value = now->value;
    const std::optional<std::string> next = revise(target, value);
    if (!next) return {};
    return in_time(limit, [&] { return impl_->put_if(limit, key, *next, now ? now->token : Token{}); });
  });
}

Result<std::optional<std::string>> Client::exchange(Bytes key, Bytes value) noexcept {
  std::optional<std::string> old;
  Status status = impl_->until_unchanged(key, [&](Result<ValueAndToken>& now, Deadline& limit) noexcept {
    Status changed = in_time(limit, [&] { return impl_->put_if(limit, key, value, now ? now->token : Token{}); });
    if (changed.ok() && now) old = std::move(now->value);
    return changed;
  });
  if (!status.ok()) return status;
  return old;
}

Status Client::exchange_with(Bytes key, Bytes value, KeepOne keep, void* target) {
  return impl_->until_unchanged(key, [&](const Result<ValueAndToken>& now, Deadline& limit) {
    std::optional<std::string_view> old;
    if (now) old = now->value;
    keep(target, old);
    return in_time(limit, [&] { return impl_->put_if(limit, key, value, now ? now->token : Token{}); });
  });
}

Result<std::string> Client::take(Bytes key) noexcept {
  std::optional<std::string> old;
  Status status = impl_->until_unchanged(key, [&](Result<ValueAndToken>& now, Deadline& limit) noexcept -> Status {
    if (!now) return {};
    Status erased = in_time(limit, [&] { return impl_->erase_if(limit, key, now->token); });
    if (erased.ok()) old = std::move(now->value);
    return erased;
  });
  if (!status.ok()) return status;
  if (!old) return StatusCode::kNotFound;
  return std::move(*old);
}

Status Client::take_with(Bytes key, KeepOne keep, void* target) {
  bool absent = false;
  Status status = impl_->until_unchanged(key, [&](const Result<ValueAndToken>& now, Deadline& limit) -> Status {
    absent = !now;
    if (absent) return {};
    keep(target, now->value);
    return in_time(limit, [&] { return impl_->erase_if(limit, key, now->token); });
  });
  return status.ok() && absent ? Status(StatusCode::kNotFound) : status;
}

Status Client::compare_erase(Bytes key, Bytes expected) noexcept {
  // What the attempt itself decides; a status of the server's that says the same begins another attempt.
  std::optional<StatusCode> decided;
  Status status =
      impl_->until_unchanged(key, [&](const Result<ValueAndToken>& now, Deadline& limit) noexcept -> Status {
        if (!now) {
          decided = StatusCode::kNotFound;
          return {};
        }
        if (!same_bytes(std::as_bytes(std::span(now->value)), span_of(expected))) {
          decided = StatusCode::kMismatch;
          return {};
        }
        return in_time(limit, [&] { return impl_->erase_if(limit, key, now->token); });
      });
  return status.ok() && decided ? Status(*decided) : status;
}

Result<std::optional<std::string>> Client::insert_or_get(Bytes key, Bytes value) noexcept {
  std::optional<std::string> present;
  Status status = impl_->until_unchanged(key, [&](Result<ValueAndToken>& now, Deadline& limit) noexcept -> Status {
    if (!now) return in_time(limit, [&] { return impl_->put_if(limit, key, value, Token{}); });
    present = std::move(now->value);
    return {};
  });
  if (!status.ok()) return status;
  return present;
}

}  // namespace hostmap
