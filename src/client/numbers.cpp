#include "client/numbers.hpp"

#include <span>
#include <utility>

#include "client/ends.hpp"
#include "client/impl.hpp"

namespace hostmap {

namespace {

Status no_finite_number() noexcept {
  return {StatusCode::kOverflow, "the summand, the initial number or the sum is infinite or not a number"};
}

}  // namespace

Status check_addition(const Addition& addition, std::chrono::milliseconds ttl_if_new) noexcept {
  if (is_fraction(addition.form) &&
      !(std::isfinite(std::bit_cast<double>(addition.by)) && std::isfinite(std::bit_cast<double>(addition.initial)))) {
    return no_finite_number();
  }
  return is_ttl(ttl_if_new) ? Status() : ttl_status(ttl_if_new);
}

Status explain_addition(NumberForm form, Status status) noexcept {
  if (status == StatusCode::kMismatch) return {status.code(), "the value does not have the 8 bytes of a number"};
  if (is_fraction(form) && status == StatusCode::kOverflow) return no_finite_number();
  return status;
}

// Both numbers and the sum in 64 bits, as Addition says.
template <typename Number>
Result<Number> Client::Impl::add(const Bytes& key, NumberForm form, Number by, Number initial,
                                 std::chrono::milliseconds ttl_if_new) noexcept {
  const Addition addition{form, std::bit_cast<std::uint64_t>(by), std::bit_cast<std::uint64_t>(initial)};
  if (Status status = check_addition(addition, ttl_if_new); !status.ok()) return status;
  std::int64_t sum = 0;
  Status status = mutate(Op::kAdd, key, std::as_bytes(std::span(&addition, 1)), 0, &sum, end_of_put(ttl_if_new));
  if (status.ok()) return std::bit_cast<Number>(sum);
  return explain_addition(form, std::move(status));
}

Result<std::int64_t> Client::add_decimal(Bytes key, std::int64_t by, std::int64_t initial,
                                         std::chrono::milliseconds ttl_if_new) noexcept {
  return impl_->add(key, NumberForm::kDecimalInteger, by, initial, ttl_if_new);
}

Result<double> Client::add_decimal(Bytes key, double by, double initial,
                                   std::chrono::milliseconds ttl_if_new) noexcept {
  return impl_->add(key, NumberForm::kDecimalDouble, by, initial, ttl_if_new);
}

Result<std::int64_t> Client::add_stored(Bytes key, std::int64_t by, std::int64_t initial,
                                        std::chrono::milliseconds ttl_if_new) noexcept {
  return impl_->add(key, NumberForm::kInteger, by, initial, ttl_if_new);
}

Result<double> Client::add_stored(Bytes key, double by, double initial, std::chrono::milliseconds ttl_if_new) noexcept {
  return impl_->add(key, NumberForm::kDouble, by, initial, ttl_if_new);
}

}  // namespace hostmap
