#include "help.hpp"

#include <fmt/format.h>

namespace hostmap::apps {

namespace {

constexpr std::size_t kCommandWidth = 29;
constexpr std::size_t kOptionWidth = 18;

std::string name_of(const CLI::Option& option) {
  if (option.get_positional()) return option.get_name(true);
  std::string name = option.get_name(false, true);
  if (const std::size_t comma = name.find(','); comma != std::string::npos) name.insert(comma + 1, " ");
  return name;
}

std::string options_of(const CLI::App& app) {
  std::string text;
  for (const CLI::Option* option : app.get_options()) {
    if (option->get_positional() || option == app.get_help_ptr()) continue;
    const std::string value = option->get_type_name().empty() ? "" : " " + option->get_type_name();
    text += fmt::format("  {:<{}}  {}\n", name_of(*option) + value, kOptionWidth, option->get_description());
  }
  return text;
}

}  // namespace

std::string usage_of(const CLI::App& command) {
  std::string usage = command.get_name();
  for (const CLI::Option* option : command.get_options()) {
    if (option == command.get_help_ptr()) continue;
    usage += option->get_required() ? " " + name_of(*option) : " [" + name_of(*option) + "]";
  }
  return usage;
}

std::string Help::make_help(const CLI::App* app, std::string, CLI::AppFormatMode) const {
  std::string text;
  const std::string help = fmt::format("  {:<{}}  {}\n", name_of(*app->get_help_ptr()), kOptionWidth, "this text");
  if (app->get_parent() != nullptr) {
    text = fmt::format("Usage: hostmap {}\n\n{}\n\nExample: {}\n\n", usage_of(*app), app->get_description(),
                       app->get_footer());
    return text + "Options:\n" + options_of(*app) + options_of(*app->get_parent()) + help;
  }
  text = fmt::format("{}\n\nUsage: hostmap [OPTIONS] COMMAND ...\n\nCommands:\n", app->get_description());
  for (const CLI::App* command : app->get_subcommands([](const CLI::App*) { return true; })) {
    const std::string description = command->get_description();
    // The first sentence will do here.
    text += fmt::format("  {:<{}}  {}\n", usage_of(*command), kCommandWidth,
                        description.substr(0, description.find_first_of(".;\n")));
  }
  return text + "\nOptions:\n" + options_of(*app) + help + "\n" + app->get_footer() + "\n";
}

}  // namespace hostmap::apps
