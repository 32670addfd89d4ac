#include <bit>
#include <cmath>
#include <span>
#include <type_traits>

#include "client/impl.hpp"

namespace hostmap {

namespace {

Status no_finite_number() {
  return {StatusCode::kOverflow, "the summand, the initial number or the sum is infinite or not a number"};
}

Status no_number_of_8_bytes() { return {StatusCode::kMismatch, "the value does not have the 8 bytes of a number"}; }

}  // namespace

// Both numbers and the sum in 64 bits, as Addition says.
template <typename Number>
Result<Number> Client::Impl::add(const Bytes& key, NumberForm form, Number by, Number initial) noexcept {
  if constexpr (std::is_floating_point_v<Number>) {
    if (!std::isfinite(by) || !std::isfinite(initial)) return no_finite_number();
  }
  const Addition addition{form, std::bit_cast<std::uint64_t>(by), std::bit_cast<std::uint64_t>(initial)};
  std::int64_t sum = 0;
  Status status = mutate(Op::kAdd, key, std::as_bytes(std::span(&addition, 1)), 0, &sum);
  if (status.ok()) return std::bit_cast<Number>(sum);
  if (status == StatusCode::kMismatch) return no_number_of_8_bytes();
  if (std::is_floating_point_v<Number> && status == StatusCode::kOverflow) return no_finite_number();
  return status;
}

Result<std::int64_t> Client::add_decimal(Bytes key, std::int64_t by, std::int64_t initial) noexcept {
  return impl_->add(key, NumberForm::kDecimalInteger, by, initial);
}

Result<double> Client::add_decimal(Bytes key, double by, double initial) noexcept {
  return impl_->add(key, NumberForm::kDecimalDouble, by, initial);
}

Result<std::int64_t> Client::add_stored(Bytes key, std::int64_t by, std::int64_t initial) noexcept {
  return impl_->add(key, NumberForm::kInteger, by, initial);
}

Result<double> Client::add_stored(Bytes key, double by, double initial) noexcept {
  return impl_->add(key, NumberForm::kDouble, by, initial);
}

}  // namespace hostmap
