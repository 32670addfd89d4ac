// A cache of prefork workers that all start cold: of those that miss a page at the same moment, one renders it, and the others sleep
// until it is there. Without that, each would render it, and the database behind it would get all of their requests at once.
//
//   hostmap-server --background
//   prefork_cache [NAME]         NAME: of the server's instance
#include <chrono>
#include <cstdio>
#include <string>
#include <sys/wait.h>
#include <thread>
#include <unistd.h>

#include <hostmap/client.hpp>

namespace {

using namespace std::chrono_literals;

constexpr int kWorkers = 8;
constexpr const char* kPages[] = {"home", "news", "about"};

int fail(const hostmap::Status& status) {
  std::fprintf(stderr, "prefork_cache: %s\n", std::string(status.message()).c_str());
  return 1;
}

// Stands for a database, a remote service or a large calculation.
std::string render(const std::string& page) {
  std::this_thread::sleep_for(50ms);
  return "<h1>" + page + "</h1>";
}

// A page lives for a minute. Should its renderer be stopped, another worker renders it after 5 seconds.
int serve(hostmap::Client& map, const std::string& site) {
  for (const std::string page : kPages) {
    const hostmap::Result<std::string> text = map.get_or_compute(
        site + page, 60s,
        [&]() -> hostmap::Result<std::string> {
          if (const auto count = map.increment(site + "renders"); !count) return count.status();
          return render(page);
        },
        5s);
    if (!text) return fail(text.status());
    if (*text != "<h1>" + page + "</h1>") return 1;
  }
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  hostmap::Options options;
  if (argc > 1) options.name = argv[1];
  hostmap::Result<hostmap::Client> map = hostmap::Client::connect(options);
  if (!map) return fail(map.status());
  const std::string site = "site-" + std::to_string(::getpid()) + ":";

  for (int worker = 0; worker < kWorkers; ++worker) {
    const pid_t child = ::fork();
    if (child < 0) return std::perror("prefork_cache: fork"), 1;
    if (child == 0) ::_exit(serve(*map, site));
  }
  int failed = 0;
  for (int status = 0; ::wait(&status) > 0;) failed += status != 0 ? 1 : 0;
  const hostmap::Result<std::string> renders = map->take(site + "renders");
  if (!renders) return fail(renders.status());
  std::printf("%d workers, 3 pages each: %s renders\n", kWorkers, renders->c_str());
  return failed;
}
