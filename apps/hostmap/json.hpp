// JSON, as printed by the commands with --json.
#pragma once

#include <concepts>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace hostmap::apps {

// A string in quotes. Bytes from 0x80 on are treated as UTF-8.
std::string json_text(std::string_view text);
// A list of elements that are JSON already, one a line.
std::string json_list(const std::vector<std::string>& elements);

// An object, with its members in the order in which they are added.
class JsonObject {
 public:
  void add(std::string_view name, std::uint64_t number) { add_json(name, std::to_string(number)); }
  void add(std::string_view name, std::optional<std::uint64_t> number) {
    add_json(name, number ? std::to_string(*number) : "null");
  }
  void add(std::string_view name, std::same_as<bool> auto truth) { add_json(name, truth ? "true" : "false"); }
  void add(std::string_view name, std::string_view text) { add_json(name, json_text(text)); }
  void add_json(std::string_view name, std::string_view json);

  // One member a line.
  std::string text() const;
  // All on one line.
  std::string line() const;

 private:
  std::vector<std::string> members_;
};

}  // namespace hostmap::apps
