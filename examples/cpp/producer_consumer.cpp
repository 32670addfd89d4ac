// A queue between processes: one produces jobs, several consume them, each job exactly once.
//
// Job n is stored under the key "job n". A consumer takes the next number by `increment`, so no two consumers get the same one,
// waits until that job is there, and erases it when it is done. A job without work ends its consumer.
//
//   hostmap-server --background
//   producer_consumer [NAME]     NAME: of the server's instance
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <string>
#include <sys/wait.h>
#include <thread>
#include <unistd.h>

#include <hostmap/client.hpp>

namespace {

constexpr int kConsumers = 3;
constexpr std::int64_t kJobs = 3000;

struct Job {
  std::int64_t number;
  bool last;
};

int fail(const hostmap::Status& status) {
  std::fprintf(stderr, "producer_consumer: %s\n", std::string(status.message()).c_str());
  return 1;
}

std::string key_of(std::int64_t number) { return "job " + std::to_string(number); }

int produce(hostmap::Client& map) {
  for (std::int64_t n = 1; n <= kJobs + kConsumers; ++n) {
    // put_async does not wait for the server; the ring slows down a producer that is too fast.
    const hostmap::Status queued = map.put_async(key_of(n), hostmap::as_bytes_of(Job{n, n > kJobs}));
    if (!queued.ok()) return fail(queued);
  }
  const hostmap::Status applied = map.flush();  // reports what was refused of them
  return applied.ok() ? 0 : fail(applied);
}

int consume(hostmap::Client& map, int consumer) {
  for (int done = 0;; ++done) {
    const hostmap::Result<std::int64_t> number = map.increment("jobs taken");
    if (!number) return fail(number.status());
    hostmap::Result<Job> job = map.get_as<Job>(key_of(*number));
    while (job.status() == hostmap::StatusCode::kNotFound) {  // not produced yet
      std::this_thread::sleep_for(std::chrono::microseconds(100));
      job = map.get_as<Job>(key_of(*number));
    }
    if (!job) return fail(job.status());
    if (const hostmap::Status erased = map.erase(key_of(*number)); !erased.ok()) return fail(erased);
    if (job->last) {
      std::printf("consumer %d did %d jobs\n", consumer, done);
      return 0;
    }
    // The work: a sum that shows at the end that every job was done once.
    if (const auto sum = map.increment("sum of jobs", job->number); !sum) return fail(sum.status());
  }
}

}  // namespace

int main(int argc, char** argv) {
  hostmap::Options options;
  if (argc > 1) options.name = argv[1];
  hostmap::Result<hostmap::Client> map = hostmap::Client::connect(options);
  if (!map) return fail(map.status());
  for (const char* key : {"jobs taken", "sum of jobs"}) {  // of an earlier run
    if (const hostmap::Status status = map->put(key, "0"); !status.ok()) return fail(status);
  }

  for (int consumer = 1; consumer <= kConsumers; ++consumer) {
    const pid_t child = ::fork();
    if (child < 0) return std::perror("producer_consumer: fork"), 1;
    if (child == 0) {
      const int code = consume(*map, consumer);
      std::fflush(stdout);
      ::_exit(code);
    }
  }
  int failed = produce(*map);
  for (int status = 0; ::wait(&status) > 0;) failed += status != 0 ? 1 : 0;
  if (failed != 0) return 1;

  const std::string sum = map->get("sum of jobs").value_or("unknown");
  std::printf("%lld jobs done, the sum of their numbers is %s\n", static_cast<long long>(kJobs), sum.c_str());
  return sum == std::to_string(kJobs * (kJobs + 1) / 2) ? 0 : 1;
}
