#include "all/arguments.hpp"

#include <string_view>

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

}  // namespace hostmap::apps
