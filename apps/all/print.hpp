// The output of all programs: a text on standard output, and why a program fails on standard error.
#pragma once

#include <string_view>

#include <hostmap/status.hpp>

#include "exit_codes.hpp"

namespace hostmap::apps {

// kExitDone; or kExitFalse, with a line on standard error, if it cannot be written. A reader that leaves is not an error.
ExitCode print(std::string_view program, std::string_view text);

// "PROGRAM: LINE" on standard error, in one write; returns `code`. If it cannot be written, the exit code must suffice. Allocates
// nothing: it reports a lack of memory, too.
ExitCode fail(std::string_view program, std::string_view line, ExitCode code) noexcept;
// The same with the message of a status of the library, and its exit code.
ExitCode fail(std::string_view program, const Status& status) noexcept;

}  // namespace hostmap::apps
