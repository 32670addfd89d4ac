// A rate limiter that all workers of a service share: so many requests of a user in a time window, whichever worker gets them.
//
//   hostmap-server --background
//   rate_limiter [NAME]          NAME: of the server's instance
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <string>
#include <sys/wait.h>
#include <unistd.h>

#include <hostmap/client.hpp>

namespace {

using namespace std::chrono_literals;

constexpr int kWorkers = 4;
constexpr int kRequests = 100;  // that each worker gets
constexpr std::int64_t kLimit = 50;
constexpr std::chrono::milliseconds kWindow = 60s;

int fail(const hostmap::Status& status) {
  std::fprintf(stderr, "rate_limiter: %s\n", std::string(status.message()).c_str());
  return 1;
}

// One step for all processes: the first request of a window creates the counter, which ends with the window; the others keep its
// end. A limiter that fails must not stop the service.
bool is_allowed(hostmap::Client& map, const std::string& user) {
  const hostmap::Result<std::int64_t> count = map.increment("requests:" + user, 1, 0, kWindow);
  if (!count) fail(count.status());
  return !count || *count <= kLimit;
}

}  // namespace

int main(int argc, char** argv) {
  hostmap::Options options;
  if (argc > 1) options.name = argv[1];
  hostmap::Result<hostmap::Client> map = hostmap::Client::connect(options);
  if (!map) return fail(map.status());
  const std::string user = "user-" + std::to_string(::getpid());
  const std::string allowed = "allowed:" + user;

  for (int worker = 0; worker < kWorkers; ++worker) {
    const pid_t child = ::fork();
    if (child < 0) return std::perror("rate_limiter: fork"), 1;
    if (child == 0) {
      for (int i = 0; i < kRequests; ++i) {
        if (is_allowed(*map, user) && !map->increment(allowed)) ::_exit(1);
      }
      ::_exit(0);
    }
  }
  int failed = 0;
  for (int status = 0; ::wait(&status) > 0;) failed += status != 0 ? 1 : 0;
  const hostmap::Result<std::string> total = map->take(allowed);
  if (!total) return fail(total.status());
  std::printf("%d requests, %s allowed\n", kWorkers * kRequests, total->c_str());
  return failed;
}
