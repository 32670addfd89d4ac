// Command lines: parsing one, also those that CLI11 accepts although they are mistakes.
#pragma once

#include <CLI/CLI.hpp>
#include <optional>
#include <string>

#include "exit_codes.hpp"

namespace hostmap::apps {

// The first option in the command line that requires a value and has none: it is followed by nothing, or by another option
// (`--name --keep`, `--name= --keep`), or its value is empty (`--name=`). CLI11 takes the next word for the value, whatever
// it is.
// Empty if there is none. Words after "--" are not options.
std::string option_without_value(const CLI::App& app, int argc, const char* const* argv);

// Parses the command line of the program `app`, which has no commands. The exit code, if the program ends here: its help or
// version was requested and is printed, or the command line is wrong, which is reported.
std::optional<ExitCode> parse(CLI::App& app, int argc, const char* const* argv);

}  // namespace hostmap::apps
