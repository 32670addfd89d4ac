// The only system calls that a server needs once it serves: an attacker who runs code in it cannot start a program, open
// a network connection or read another process.
#pragma once

#include <hostmap/status.hpp>

namespace hostmap {

// For all threads of this process, now and later. Any other call returns EPERM from here on. kInvalid: the kernel or the
// container does not allow a filter; nothing has changed.
Status restrict_system_calls() noexcept;

}  // namespace hostmap
