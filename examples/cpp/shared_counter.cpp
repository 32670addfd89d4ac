// A counter that several processes share. Each worker is a forked process; the server applies every increment exactly once, so
// none is lost, and no lock is needed.
//
//   hostmap-server --background
//   shared_counter [NAME]        NAME: of the server's instance
#include <cstdio>
#include <string>
#include <sys/wait.h>
#include <unistd.h>

#include <hostmap/client.hpp>

namespace {

constexpr int kWorkers = 4;
constexpr int kIncrements = 5000;

int fail(const hostmap::Status& status) {
  std::fprintf(stderr, "shared_counter: %s\n", std::string(status.message()).c_str());
  return 1;
}

// Each thousandth count is printed by the worker that has reached it.
int count(hostmap::Client& map, int worker) {
  for (int i = 0; i < kIncrements; ++i) {
    const hostmap::Result<std::int64_t> visits = map.increment("visits");
    if (!visits) return fail(visits.status());
    if (*visits % 1000 == 0) std::printf("worker %d counted to %lld\n", worker, static_cast<long long>(*visits));
  }
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  hostmap::Options options;
  if (argc > 1) options.name = argv[1];
  hostmap::Result<hostmap::Client> map = hostmap::Client::connect(options);
  if (!map) return fail(map.status());
  const hostmap::Status erased = map->erase("visits");  // of an earlier run
  if (!erased.ok() && erased.code() != hostmap::StatusCode::kNotFound) return fail(erased);

  for (int worker = 1; worker <= kWorkers; ++worker) {
    const pid_t child = ::fork();
    if (child < 0) return std::perror("shared_counter: fork"), 1;
    if (child == 0) {
      const int code = count(*map, worker);  // the first call of a child connects anew by itself
      std::fflush(stdout);
      ::_exit(code);
    }
  }
  int failed = 0;
  for (int status = 0; ::wait(&status) > 0;) failed += status != 0 ? 1 : 0;
  if (failed != 0) return 1;

  // The value is decimal text.
  const hostmap::Result<std::string> visits = map->get("visits");
  if (!visits) return fail(visits.status());
  std::printf("%d workers, %d increments each: the counter is %s\n", kWorkers, kIncrements, visits->c_str());
  return *visits == std::to_string(kWorkers * kIncrements) ? 0 : 1;
}
