// The common form of all programs: their help, as wide as the terminal, and the output of --version. CLI11's own formatter
// has a fixed width and prints much that is not needed (types, braces, "[OPTIONS]").
#pragma once

#include <CLI/CLI.hpp>
#include <string>
#include <string_view>

namespace hostmap::apps {

// Gives `app` the formatter below, -h, --help and --version.
void add_help_and_version(CLI::App& app);

// The names of options and positional arguments, descriptions, type names and footers of `app` and its subcommands.
class Help : public CLI::FormatterBase {
 public:
  std::string make_help(const CLI::App* app, std::string name, CLI::AppFormatMode mode) const override;
};

// `text` in lines of at most columns(), broken between words only, all but the first indented by `indent`; the first one begins in
// column `column`.
std::string wrapped(std::string_view text, std::size_t indent, std::size_t column);

// The usage of a command without the program's name: "put KEY VALUE".
std::string usage_of(const CLI::App& command);

}  // namespace hostmap::apps
