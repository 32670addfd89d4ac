#include "all/arguments.hpp"

#include <fmt/format.h>
#include <string_view>

#include "all/print.hpp"

namespace hostmap::apps {

std::string option_without_value(const CLI::App& app, int argc, const char* const* argv) {
  for (int i = 1; i < argc; ++i) {
    const std::string_view word = argv[i];
    if (word == "--") break;
    if (!word.starts_with("--")) continue;
    const std::size_t equals = word.find('=');
    std::string name(word.substr(0, equals));  // returned: it moves
    const CLI::Option* option = app.get_option_no_throw(name);
    if (option == nullptr || option->get_items_expected_max() == 0) continue;
    if (equals != word.npos) {
      if (equals + 1 == word.size()) return name;
    } else if (++i == argc || std::string_view(argv[i]).starts_with("--")) {
      return name;
    }
  }
  return {};
}

std::optional<ExitCode> parse(CLI::App& app, int argc, const char* const* argv) {
  const std::string program = app.get_name();
  const auto complain = [&](std::string_view what) {
    return fail(program, fmt::format("{}; see {} --help", what, program), kExitUsage);
  };
  if (const std::string option = option_without_value(app, argc, argv); !option.empty()) {
    return complain(option + " needs a value");
  }
  try {
    app.parse(argc, argv);
  } catch (const CLI::CallForHelp&) {
    return print(program, app.help());
  } catch (const CLI::CallForVersion& version) {
    return print(program, version.what());
  } catch (const CLI::ParseError& error) {
    return complain(error.what());
  }
  return std::nullopt;
}

}  // namespace hostmap::apps
