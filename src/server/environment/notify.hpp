// sd_notify: tells a service manager what this process does, by the documented datagram protocol (sd_notify(3)). Written
// here because libsystemd is LGPL and this is one sendto.
#pragma once

#include <string_view>

namespace hostmap {

// Sends `state` ("READY=1", "STOPPING=1", "STATUS=…") to the socket that NOTIFY_SOCKET names; does nothing without one.
void notify_service_manager(std::string_view state) noexcept;

}  // namespace hostmap
