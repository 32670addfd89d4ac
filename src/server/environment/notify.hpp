// sd_notify: reports this process's state to a service manager, by the documented datagram protocol (sd_notify(3)).
// Implemented here because libsystemd is LGPL and this is one sendto.
#pragma once

#include <string_view>

namespace hostmap {

// Sends `state` ("READY=1", "STOPPING=1", "STATUS=…") to the socket that NOTIFY_SOCKET names; does nothing without one.
void notify_service_manager(std::string_view state) noexcept;

}  // namespace hostmap
