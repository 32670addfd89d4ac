#include "support/instance.hpp"

#include <algorithm>
#include <atomic>
#include <cstdio>
#include <filesystem>
#include <unistd.h>

namespace hostmap::test {

namespace {
constexpr const char* kFolder = "/dev/shm";
}

const std::string& name_prefix() {
  static const std::string prefix = "hm-test-" + std::to_string(::getpid()) + "-";
  return prefix;
}

std::string unique_name() {
  static std::atomic<int> next{0};
  return name_prefix() + std::to_string(next++);
}

std::string unique_path() { return std::string(kFolder) + "/" + unique_name(); }

std::vector<std::string> files_of_this_process() {
  std::vector<std::string> paths;
  for (const auto& entry : std::filesystem::directory_iterator(kFolder)) {
    if (entry.path().filename().string().starts_with(name_prefix())) paths.push_back(entry.path().string());
  }
  std::sort(paths.begin(), paths.end());
  return paths;
}

void remove_path(const std::string& path) { std::remove(path.c_str()); }

}  // namespace hostmap::test
