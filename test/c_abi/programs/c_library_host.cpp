// c_library_host LIBRARY NAME: loads libhostmap.so, lets threads use the instance NAME by it, fail, and unloads it, many times. One of
// the threads of each round ends only after that, and a child is forked. Exit code 0: nothing of it is mapped afterwards.
#include <atomic>
#include <cstdio>
#include <cstring>
#include <dlfcn.h>
#include <fstream>
#include <string>
#include <sys/wait.h>
#include <thread>
#include <unistd.h>
#include <vector>

#include <hostmap/hostmap.h>

namespace {

template <typename Function>
Function* function(void* library, const char* name, Function*) {
  return reinterpret_cast<Function*>(::dlsym(library, name));
}

int use(void* library, const char* instance) {
  hostmap_options options = HOSTMAP_OPTIONS_INIT;
  options.name = instance;
  hostmap_map* map = nullptr;
  char buffer[8];
  std::size_t size = 0;
  const auto get = function(library, "hostmap_get", &hostmap_get);
  if (function(library, "hostmap_connect", &hostmap_connect)(&options, &map) != HOSTMAP_OK) return 11;
  if (function(library, "hostmap_put", &hostmap_put)(map, "key", 3, "value", 5) != HOSTMAP_OK) return 12;
  if (get(map, "key", 3, buffer, sizeof buffer, &size) != HOSTMAP_OK || size != 5) return 13;
  if (get(map, "absent", 6, buffer, sizeof buffer, &size) != HOSTMAP_NOT_FOUND) return 14;
  if (get(map, "", 0, buffer, sizeof buffer, &size) != HOSTMAP_INVALID) return 15;
  if (std::strlen(function(library, "hostmap_message", &hostmap_message)()) == 0) return 16;
  function(library, "hostmap_close", &hostmap_close)(map);
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 3) return 2;
  for (int round = 0; round < 20; ++round) {
    void* library = ::dlopen(argv[1], RTLD_NOW | RTLD_LOCAL);
    if (library == nullptr) {
      std::fprintf(stderr, "%s\n", ::dlerror());
      return 3;
    }
    std::atomic<int> failed{0};
    std::atomic<bool> unloaded{false};
    std::atomic<int> used{0};
    constexpr int kThreads = 4;
    std::vector<std::thread> threads;
    for (int thread = 0; thread < kThreads; ++thread) {
      threads.emplace_back([&, thread] {
        if (const int result = use(library, argv[2]); result != 0) failed = result;
        ++used;
        while (thread == 0 && !unloaded) std::this_thread::yield();
      });
    }
    while (used < kThreads) std::this_thread::yield();
    ::dlclose(library);
    unloaded = true;
    for (std::thread& thread : threads) thread.join();
    if (failed != 0) return failed;
    const pid_t child = ::fork();
    if (child == 0) ::_exit(0);
    int status = 0;
    if (::waitpid(child, &status, 0) != child || status != 0) return 6;
    std::ifstream maps("/proc/self/maps");
    for (std::string line; std::getline(maps, line);) {
      if (line.find("libhostmap") == std::string::npos && line.find(argv[2]) == std::string::npos) continue;
      std::fprintf(stderr, "still mapped after dlclose: %s\n", line.c_str());
      return 5;
    }
  }
  return 0;
}
