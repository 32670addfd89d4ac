// The parts of Status that stay out of its header.
#include <hostmap/status.hpp>

namespace hostmap {

void Status::set_detail(std::string_view detail) noexcept {
  try {
    detail_ = std::make_unique<std::string>(detail);
  } catch (...) {
    detail_.reset();  // the code still says what happened
  }
}

const Status& Status::done() noexcept {
  alignas(Status) static unsigned char place[sizeof(Status)];
  static const Status* const status = std::construct_at(reinterpret_cast<Status*>(place));
  return *status;
}

}  // namespace hostmap
