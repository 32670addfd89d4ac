// plugin_host NAME [ROUNDS]: loads the shared object beside it that contains the client library, lets it use the instance
// NAME, and unloads it. Exit code 0: nothing of it is mapped afterwards.
#include <cstdio>
#include <cstdlib>
#include <dlfcn.h>
#include <filesystem>
#include <fstream>
#include <string>

int main(int argc, char** argv) {
  if (argc < 2) return 2;
  const std::string object =
      std::filesystem::read_symlink("/proc/self/exe").parent_path() / std::string("unloadable_client.so");
  const int rounds = argc > 2 ? std::atoi(argv[2]) : 1;
  for (int round = 0; round < rounds; ++round) {
    void* loaded = ::dlopen(object.c_str(), RTLD_NOW | RTLD_LOCAL);
    if (loaded == nullptr) {
      std::fprintf(stderr, "%s\n", ::dlerror());
      return 3;
    }
    const auto use = reinterpret_cast<int (*)(const char*)>(::dlsym(loaded, "use_instance"));
    const int used = use == nullptr ? -1 : use(argv[1]);
    if (used != 0) {
      std::fprintf(stderr, "use_instance() returned %d\n", used);
      return 4;
    }
    ::dlclose(loaded);
    std::ifstream maps("/proc/self/maps");
    for (std::string line; std::getline(maps, line);) {
      if (line.find("unloadable_client.so") == std::string::npos && line.find(argv[1]) == std::string::npos) continue;
      std::fprintf(stderr, "still mapped after dlclose: %s\n", line.c_str());
      return 5;
    }
  }
  return 0;
}
