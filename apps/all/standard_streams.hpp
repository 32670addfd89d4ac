// The first step of every program: it ensures that no file it opens gets the number of a standard stream, and that no reader
// of its output can end it.
#pragma once

#include "exit_codes.hpp"

namespace hostmap::apps {

// Gives each of the three streams that is closed a descriptor that can be neither read nor written, so that using it fails as
// if it were closed. Exits with `code` if the system has no descriptor left. From then on a write to a pipe without a reader,
// or beyond the limit of a file's size, is an error of that write, and not the silent end of the process.
void guard_standard_streams(ExitCode code);

}  // namespace hostmap::apps
