#include "json.hpp"

#include <fmt/format.h>
#include <iterator>

namespace hostmap::apps {

std::string json_text(std::string_view text) {
  std::string json = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') {
      json += {'\\', c};
    } else if (static_cast<unsigned char>(c) < ' ') {
      fmt::format_to(std::back_inserter(json), "\\u{:04x}", static_cast<unsigned char>(c));
    } else {
      json += c;
    }
  }
  return json + "\"";
}

std::string json_list(const std::vector<std::string>& elements) {
  return elements.empty() ? "[]" : fmt::format("[\n  {}\n]", fmt::join(elements, ",\n  "));
}

void JsonObject::add_json(std::string_view name, std::string_view json) {
  members_.push_back(fmt::format("{}: {}", json_text(name), json));
}

std::string JsonObject::text() const { return fmt::format("{{\n  {}\n}}", fmt::join(members_, ",\n  ")); }

std::string JsonObject::line() const { return fmt::format("{{{}}}", fmt::join(members_, ", ")); }

}  // namespace hostmap::apps
