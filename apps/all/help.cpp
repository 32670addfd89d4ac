#include "all/help.hpp"

#include <algorithm>
#include <fmt/format.h>
#include <string_view>
#include <vector>

namespace hostmap::apps {

namespace {

constexpr std::size_t kColumns = 80;

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

// The descriptions in one column; below its name, where a name is too long for that.
std::string table_of(const std::vector<Row>& rows) {
  constexpr std::size_t kMostName = 26;
  std::size_t width = 0;
  for (const Row& row : rows) {
    if (row.name.size() <= kMostName) width = std::max(width, row.name.size());
  }
  const std::size_t indent = width + 4;
  std::string text;
  for (const Row& row : rows) {
    const bool fits = row.name.size() <= width;
    text += fits ? fmt::format("  {:<{}}  ", row.name, width) : fmt::format("  {}\n{:<{}}", row.name, "", indent);
    text += wrapped(row.description, indent, indent) + "\n";
  }
  return text;
}

void append_options(const CLI::App& app, std::vector<Row>& rows) {
  for (const CLI::Option* option : app.get_options()) {
    if (option->get_positional() || option == app.get_help_ptr()) continue;
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

std::string wrapped(std::string_view text, std::size_t indent, std::size_t column) {
  std::string lines;
  while (!text.empty()) {
    const std::size_t space = std::min(text.find_first_of(" \n"), text.size());
    const bool begins = lines.empty() || lines.ends_with('\n');
    if (!begins && column + 1 + space > kColumns) {
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
  std::string usage = command.get_name();
  for (const bool positional : {false, true}) {
    for (const CLI::Option* option : command.get_options()) {
      if (option == command.get_help_ptr() || option->get_positional() != positional) continue;
      std::string name = name_of(*option);
      name = name.substr(0, name.find(','));  // of "-x, --escaped" the first
      usage += option->get_required() ? " " + name : " [" + name + "]";
    }
  }
  return usage;
}

std::string Help::make_help(const CLI::App* app, std::string, CLI::AppFormatMode) const {
  const auto commands = app->get_subcommands([](const CLI::App*) { return true; });
  const std::vector<Row> arguments = arguments_of(*app);
  std::vector<Row> options;
  append_options(*app, options);
  std::string text;
  if (app->get_parent() != nullptr) {
    append_options(*app->get_parent(), options);
    text = fmt::format("Usage: {} {}\n\n{}\n\nExample: {}\n", app->get_parent()->get_name(), usage_of(*app),
                       wrapped(app->get_description(), 0, 0), app->get_footer());
  } else {
    text = wrapped(app->get_description(), 0, 0) + "\n\nUsage: " + app->get_name() + " [OPTIONS]";
    for (const CLI::Option* option : app->get_options()) {
      if (!option->get_positional()) continue;
      text += option->get_required() ? " " + name_of(*option) : " [" + name_of(*option) + "]";
    }
    text += commands.empty() ? "\n" : " COMMAND ...\n\nCommands:\n";
    std::vector<Row> rows;
    rows.reserve(commands.size());
    for (const CLI::App* command : commands) rows.push_back({usage_of(*command), summary_of(*command)});
    text += table_of(rows);
  }
  if (!arguments.empty() && app->get_parent() == nullptr) text += "\n" + table_of(arguments);
  options.push_back({name_of(*app->get_help_ptr()), "this text"});
  text += "\nOptions:\n" + table_of(options);
  if (app->get_parent() == nullptr && !app->get_footer().empty())
    text += "\n" + wrapped(app->get_footer(), 0, 0) + "\n";
  return text;
}

}  // namespace hostmap::apps
