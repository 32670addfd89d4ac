// What an addition carries, and what its refusals mean: for the single calls and for those of a batch.
#pragma once

#include <bit>
#include <chrono>
#include <cmath>
#include <cstdint>

#include <hostmap/status.hpp>

#include "message/operations.hpp"

namespace hostmap {

inline bool is_fraction(NumberForm form) noexcept {
  return form == NumberForm::kDecimalDouble || form == NumberForm::kDouble;
}

// Why no server would do it; kOk: the request can be sent.
Status check_addition(const Addition& addition, std::chrono::milliseconds ttl_if_new) noexcept;

// A refusal by the server, in words that fit the form.
Status explain_addition(NumberForm form, Status status) noexcept;

}  // namespace hostmap
