#include "shm/names.hpp"

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <dirent.h>
#include <grp.h>
#include <optional>
#include <pwd.h>

#include "base/folder.hpp"

namespace hostmap {

namespace {

bool is_digit(char c) { return c >= '0' && c <= '9'; }

// The text on one line, for a message, whatever it contains.
std::string printable(std::string_view text) {
  std::string line(text.substr(0, 80));
  std::replace_if(
      line.begin(), line.end(), [](char c) { return static_cast<unsigned char>(c) < ' ' || c == 127; }, '?');
  return line;
}

bool is_name_character(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || is_digit(c) || c == '.' || c == '_' || c == '-';
}

// The number that `text` is, or that the system's list has for that name.
template <typename Entry, typename Id>
std::optional<Id> id_of(std::string_view text, Id none, Id Entry::*id,
                        int (*find)(const char*, Entry*, char*, std::size_t, Entry**)) {
  Id number = 0;
  if (const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
      error == std::errc() && end == text.data() + text.size() && number != none) {
    return number;
  }
  const std::string name(text);
  std::vector<char> space(1024);
  Entry found{};
  Entry* result = nullptr;
  while (find(name.c_str(), &found, space.data(), space.size(), &result) == ERANGE) {
    space.resize(2 * space.size());  // a group of many members
  }
  if (result == nullptr) return std::nullopt;
  return found.*id;
}

Result<gid_t> parse_group(std::string_view text) {
  if (const auto number = id_of(text, kNoGroup, &group::gr_gid, ::getgrnam_r)) return *number;
  return Status(StatusCode::kInvalid, "there is no group '" + printable(text) + "' (--group); getent group lists them");
}

Result<uid_t> parse_user(std::string_view text) {
  if (const auto number = id_of(text, kNoUser, &passwd::pw_uid, ::getpwnam_r)) return *number;
  return Status(StatusCode::kInvalid, "there is no user '" + printable(text) + "' (--user); getent passwd lists them");
}

}  // namespace

Result<InstanceName> InstanceName::parse(std::string_view name, std::string_view dir, std::string_view group,
                                         std::string_view user) {
  if (name.empty() || name.size() > 64 || !std::all_of(name.begin(), name.end(), is_name_character)) {
    return Status(StatusCode::kInvalid, "the instance name (--name) '" + printable(name) +
                                            "' is not 1 to 64 characters of A-Z a-z 0-9 . _ -");
  }
  // Such a name is an option that lost its own, or a folder; and no command could name its files.
  if (name.front() == '-' || name == "." || name == "..") {
    return Status(StatusCode::kInvalid, "the instance name (--name) '" + printable(name) +
                                            "' begins with '-' or is a folder's; choose one that begins with a letter");
  }
  if (dir.empty()) dir = kDefaultDir;
  if (dir.front() != '/') {
    return Status(StatusCode::kInvalid, "the folder (--dir) '" + printable(dir) + "' is not an absolute path");
  }
  while (dir.size() > 1 && dir.back() == '/') dir.remove_suffix(1);
  Trust trust;
  if (!group.empty()) {
    const Result<gid_t> parsed = parse_group(group);
    if (!parsed) return parsed.status();
    trust.group = *parsed;
  }
  if (!user.empty()) {
    const Result<uid_t> parsed = parse_user(user);
    if (!parsed) return parsed.status();
    trust.user = *parsed;
  }
  return InstanceName(std::string(name), std::string(dir), trust);
}

bool InstanceName::is_connection(std::string_view file) const {
  const std::string prefix = name_ + "-connection-";
  if (file.size() <= prefix.size() || !file.starts_with(prefix)) return false;
  file.remove_prefix(prefix.size());
  return std::all_of(file.begin(), file.end(), is_digit);
}

std::vector<std::string> InstanceName::connection_files() const {
  std::vector<std::string> paths;
  const Folder folder = open_folder(dir_.c_str());
  if (folder == nullptr) return paths;
  while (const dirent* file = ::readdir(folder.get())) {  // NOLINT(concurrency-mt-unsafe): this stream is ours alone
    if (is_connection(file->d_name)) paths.push_back(dir_ + "/" + file->d_name);
  }
  return paths;
}

}  // namespace hostmap
