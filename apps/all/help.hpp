// The help of every program, in 80 columns. CLI11's own is wider and says much that nobody asks for (types, braces, "[OPTIONS]").
#pragma once

#include <CLI/CLI.hpp>
#include <string>
#include <string_view>

namespace hostmap::apps {

// The option and positional argument names, descriptions, type names and footers of `app` and its subcommands.
class Help : public CLI::FormatterBase {
 public:
  std::string make_help(const CLI::App* app, std::string name, CLI::AppFormatMode mode) const override;
};

// `text` in lines of at most 80 columns, all but the first indented by `indent`; the first one begins in column `column`.
std::string wrapped(std::string_view text, std::size_t indent, std::size_t column);

// Of a command without the program's name: "put KEY VALUE".
std::string usage_of(const CLI::App& command);

}  // namespace hostmap::apps
