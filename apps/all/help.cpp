#include "all/help.hpp"

#include <algorithm>
#include <fmt/format.h>
#include <string_view>
#include <vector>

#include <hostmap/version.hpp>

#include "all/terminal.hpp"

namespace hostmap::apps {

namespace {

std::string name_of(const CLI::Option& option) {
  if (option.get_positional()) return option.get_name(true);
  std::string name = option.get_name(false, true);
  if (const std::size_t comma = name.find(','); comma != std::string::npos) name.insert(comma + 1, " ");
  return name;
}

struct Row {
  std::string name;
  std::string description;
};

// The descriptions in one column; on the next line after a name that is too long for that.
std::string table_of(const std::vector<Row>& rows) {
  const std::size_t most_name = columns() / 3;
  std::size_t width = 0;
  for (const Row& row : rows) {
    if (row.name.size() <= most_name) width = std::max(width, row.name.size());
  }
  const std::size_t indent = width + 4;
  std::string text;
  for (const Row& row : rows) {
    const bool fits = row.name.size() <= width;
    text += "  " + bold(row.name);
    text += fits ? std::string(width - row.name.size() + 2, ' ') : "\n" + std::string(indent, ' ');
    text += wrapped(row.description, indent, indent) + "\n";
  }
  return text;
}

void append_options(const CLI::App& app, std::vector<Row>& rows) {
  for (const CLI::Option* option : app.get_options()) {
    if (option->get_positional() || option == app.get_help_ptr() || option == app.get_version_ptr()) continue;
    const std::string value = option->get_type_name().empty() ? "" : " " + option->get_type_name();
    rows.push_back({name_of(*option) + value, option->get_description()});
  }
}

std::vector<Row> arguments_of(const CLI::App& app) {
  std::vector<Row> rows;
  for (const CLI::Option* option : app.get_options()) {
    if (option->get_positional()) rows.push_back({name_of(*option), option->get_description()});
  }
  return rows;
}

// The first sentence, for a list of commands.
std::string summary_of(const CLI::App& command) {
  const std::string description = command.get_description();
  return description.substr(0, description.find_first_of(".;\n"));
}

}  // namespace

void add_help_and_version(CLI::App& app) {
  app.formatter(std::make_shared<Help>());
  app.set_help_flag("-h,--help", "print this help");
  app.set_version_flag(
      "--version",
      fmt::format("{} {} (commit {}, layout version {})\n", app.get_name(), kVersion, commit(), kLayoutVersion),
      "print version, commit and layout version");
}

std::string wrapped(std::string_view text, std::size_t indent, std::size_t column) {
  const std::size_t most = columns();
  std::string lines;
  while (!text.empty()) {
    const std::size_t space = std::min(text.find_first_of(" \n"), text.size());
    const bool begins = lines.empty() || lines.ends_with('\n');
    if (!begins && column + 1 + space > most) {
      lines += '\n';
      column = 0;
    }
    if (lines.ends_with('\n')) {
      lines.append(indent, ' ');
      column = indent;
    } else if (!lines.empty()) {
      lines += ' ';
      ++column;
    }
    lines += text.substr(0, space);
    column += space;
    if (space < text.size() && text[space] == '\n') lines += '\n';
    text.remove_prefix(std::min(space + 1, text.size()));
  }
  return lines;
}

std::string usage_of(const CLI::App& command) {
  std::string options;
  std::string arguments;
  int count = 0;
  for (const CLI::Option* option : command.get_options()) {
    if (option == command.get_help_ptr()) continue;
    std::string name = name_of(*option);
    name = name.substr(0, name.find(','));  // the first of "-x, --escaped"
    if (option->get_positional()) {
      arguments += option->get_required() ? " " + name : " [" + name + "]";
      continue;
    }
    const std::string value = option->get_type_name().empty() ? "" : " " + option->get_type_name();
    options.append(" [").append(name).append(value).append("]");
    ++count;
  }
  constexpr int kMostNamed = 3;  // more of them would fill the line
  return command.get_name() + (count > kMostNamed ? " [OPTIONS]" : options) + arguments;
}

std::string Help::make_help(const CLI::App* app, std::string, CLI::AppFormatMode) const {
  const CLI::App* program = app->get_parent() == nullptr ? app : app->get_parent();
  const bool is_program = app == program;
  const auto commands = app->get_subcommands([](const CLI::App*) { return true; });
  const std::vector<Row> arguments = arguments_of(*app);
  std::vector<Row> options;
  append_options(*app, options);
  if (!is_program) append_options(*program, options);
  for (const CLI::Option* option : {app->get_help_ptr(), app->get_version_ptr()}) {
    if (option != nullptr) options.push_back({name_of(*option), option->get_description()});
  }

  std::string usage;
  if (is_program) {
    usage = app->get_name() + " [OPTIONS]";
    for (const Row& argument : arguments) {
      usage += app->get_option(argument.name)->get_required() ? " " + argument.name : " [" + argument.name + "]";
    }
    if (!commands.empty()) usage += " COMMAND ...";
  } else {
    usage = program->get_name() + " " + usage_of(*app);
  }
  constexpr std::string_view kUsage = "Usage:";
  usage = bold(kUsage) + " " + wrapped(usage, kUsage.size() + 1, kUsage.size() + 1);
  std::string description = app->get_description();
  if (!description.ends_with('.')) description += '.';
  description = wrapped(description, 0, 0);
  std::string text = is_program ? description + "\n\n" + usage + "\n" : usage + "\n\n" + description + "\n";
  if (!is_program) text += "\n" + bold("Example:") + " " + app->get_footer() + "\n";
  if (!commands.empty()) {
    std::vector<Row> rows;
    rows.reserve(commands.size());
    for (const CLI::App* command : commands) rows.push_back({usage_of(*command), summary_of(*command)});
    text += "\n" + bold("Commands:") + "\n" + table_of(rows);
  }
  if (!arguments.empty()) text += "\n" + bold("Arguments:") + "\n" + table_of(arguments);
  text += "\n" + bold("Options:") + "\n" + table_of(options);
  if (is_program && !app->get_footer().empty()) text += "\n" + wrapped(app->get_footer(), 0, 0) + "\n";
  return text;
}

}  // namespace hostmap::apps
