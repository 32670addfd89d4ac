// Prints to standard output, and reports a failure.
#pragma once

#include <string_view>

#include "exit_codes.hpp"

namespace hostmap::apps {

// kExitDone; or kExitFalse, with a line on standard error, if it cannot be written. A reader that leaves is not an error.
ExitCode print(std::string_view program, std::string_view text);

}  // namespace hostmap::apps
