// A cache before a slow function. What one process has computed, every process on the host reads from the map.
//
//   hostmap-server --background
//   cache [NAME]                 NAME: of the server's instance
//
// Run it twice at the same time: the second one computes only what the first has not computed yet.
#include <chrono>
#include <cstdio>
#include <string>
#include <string_view>
#include <thread>

#include <hostmap/client.hpp>

namespace {

using Clock = std::chrono::steady_clock;

// Stands for a database, a remote service or a large calculation.
std::string render(std::string_view page) {
  std::this_thread::sleep_for(std::chrono::milliseconds(50));
  return "<h1>" + std::string(page) + "</h1>";
}

// The page from the map, or computed and stored. A cache that fails must not fail its caller: whatever the reason why the map has no
// answer, the page is rendered.
std::string cached(hostmap::Client& map, std::string_view page) {
  const std::string key = "page:" + std::string(page);
  if (hostmap::Result<std::string> found = map.get(key)) return *std::move(found);
  std::string rendered = render(page);
  if (const hostmap::Status stored = map.put(key, rendered); !stored.ok()) {
    std::fprintf(stderr, "cache: not stored: %s\n", std::string(stored.message()).c_str());
  }
  return rendered;
}

}  // namespace

int main(int argc, char** argv) {
  hostmap::Options options;
  if (argc > 1) options.name = argv[1];
  hostmap::Result<hostmap::Client> map = hostmap::Client::connect(options);
  if (!map) {
    std::fprintf(stderr, "cache: %s\n", std::string(map.status().message()).c_str());
    return 1;
  }
  const std::string_view pages[] = {"home", "news", "about", "home", "news", "about"};
  for (const std::string_view page : pages) {
    const Clock::time_point begin = Clock::now();
    const std::string text = cached(*map, page);
    const auto micros = std::chrono::duration<double, std::micro>(Clock::now() - begin).count();
    std::printf("%-22s %10.1f us\n", text.c_str(), micros);
  }
}
