// The state of a process, read from /proc.
#pragma once

#include <cstdint>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>
#include <sys/types.h>
#include <unistd.h>

namespace hostmap::test {

// The file's text; empty if there is none.
inline std::string read_text(const std::filesystem::path& path) {
  std::ifstream file(path);
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

// Clock ticks (a hundredth of a second) of processor time, user and system, of all threads.
inline std::uint64_t cpu_ticks(pid_t pid) {
  const std::string line = read_text("/proc/" + std::to_string(pid) + "/stat");
  std::istringstream fields(line.substr(line.rfind(')') + 2));  // the name may hold anything
  std::string skipped;
  for (int i = 0; i < 11; ++i) fields >> skipped;
  std::uint64_t user = 0;
  std::uint64_t system = 0;
  fields >> user >> system;
  return user + system;
}

// The number of voluntary context switches of all threads of the process: how often one went to sleep.
inline std::uint64_t voluntary_switches(pid_t pid) {
  std::uint64_t sum = 0;
  for (const auto& thread : std::filesystem::directory_iterator("/proc/" + std::to_string(pid) + "/task")) {
    std::istringstream status(read_text(thread.path() / "status"));
    for (std::string line; std::getline(status, line);) {
      constexpr std::string_view key = "voluntary_ctxt_switches:";
      if (line.starts_with(key)) sum += std::stoull(line.substr(key.size()));
    }
  }
  return sum;
}

inline std::size_t open_files(pid_t pid) {
  std::size_t count = 0;
  for ([[maybe_unused]] const auto& file :
       std::filesystem::directory_iterator("/proc/" + std::to_string(pid) + "/fd")) {
    ++count;
  }
  return count;
}

// The number of mappings of files of the instance `name`; those of the allocator change at any time.
inline std::size_t mappings_of_instance(pid_t pid, const std::string& name) {
  std::istringstream maps(read_text("/proc/" + std::to_string(pid) + "/maps"));
  std::size_t count = 0;
  for (std::string line; std::getline(maps, line);) count += line.find("/" + name + "-") != std::string::npos ? 1 : 0;
  return count;
}

// The state letter of a process: 'R', 'S', 'T' (stopped), 'Z', ... or 0 if there is none.
inline char process_state(pid_t pid) {
  const std::string line = read_text("/proc/" + std::to_string(pid) + "/stat");
  const std::size_t end = line.rfind(')');
  return end == std::string::npos ? '\0' : line[end + 2];
}

// Are all threads of the process stopped? (The signal stops them one after the other.)
inline bool is_stopped(pid_t pid) {
  for (const auto& thread : std::filesystem::directory_iterator("/proc/" + std::to_string(pid) + "/task")) {
    const std::string line = read_text(thread.path() / "stat");
    const std::size_t end = line.rfind(')');
    if (end != std::string::npos && line[end + 2] != 'T') return false;
  }
  return true;
}

// Is `signal` pending for the process?
inline bool is_pending(pid_t pid, int signal) {
  std::istringstream status(read_text("/proc/" + std::to_string(pid) + "/status"));
  for (std::string line; std::getline(status, line);) {
    constexpr std::string_view key = "ShdPnd:";
    if (line.starts_with(key)) return (std::stoull(line.substr(key.size()), nullptr, 16) >> (signal - 1) & 1) != 0;
  }
  return false;
}

// The first child of a process; 0: it has none.
inline pid_t first_child(pid_t pid) {
  const std::string id = std::to_string(pid);
  const std::string children = read_text("/proc/" + id + "/task/" + id + "/children");
  return children.empty() ? 0 : static_cast<pid_t>(std::stol(children));
}

}  // namespace hostmap::test
