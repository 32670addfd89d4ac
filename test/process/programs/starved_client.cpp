// starved_client NAME: every call of the client library while the process has no memory left.
//
// For each call the first, second, third … allocation within it fails, until the call needs no further one. First only that
// allocation fails, then that one and all later ones. This is repeated with a client in each of three states:
//
//   fresh      has just connected: the call opens its channel
//   used       has made every call before
//   inherited  was connected by the parent of this forked process: the call connects anew
//
// Whatever fails, the call returns a code that it documents, and the client works afterwards. A line for each:
//
//   CALL STATE once|onward allocations=N full=M     N runs failed an allocation, and M of them gave kFull
//
// Then all clients are closed, the program prints "closed" and waits for the end of its input. Exit code 0: no error;
// otherwise stderr names the errors.
#include <algorithm>
#include <array>
#include <chrono>
#include <cstddef>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <filesystem>
#include <functional>
#include <iterator>
#include <new>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <sys/wait.h>
#include <unistd.h>
#include <utility>
#include <vector>

#include <hostmap/client.hpp>

#include "process/programs/starvation.hpp"

namespace {

using namespace hostmap;

// --- The calls -------------------------------------------------------------------------------------------------------

constexpr std::string_view kOutOfMemory = "this process is out of memory";
const std::string kValue(100, 'v');
const std::string kLargeValue(100'000, 'l');

// The outcome of a call.
struct Outcome {
  StatusCode code = StatusCode::kOk;
  bool says_memory = true;  // if kFull: its message names whose memory is short
  bool sound = true;        // with kOk: the result is correct
};

// Computed while allocations still fail: nothing here allocates.
Outcome outcome_of(const Status& status, bool sound = true) {
  return {status.code(), status.message() == kOutOfMemory, !status.ok() || sound};
}

struct Call {
  const char* name;
  std::function<Outcome(Client&)> make;
  std::vector<StatusCode> usual = {};  // codes beside kOk that are not failures here
  Reads reads = Reads::kDirect;
  bool queues = false;  // the client has queued writes before
};

Outcome got(const Result<std::string>& value) { return outcome_of(value.status(), !value || *value == kValue); }

Outcome get_several(Client& client) {
  const std::array<std::string_view, 3> keys{"present", "absent", "present"};
  const std::vector<Result<std::string>> values = client.multi_get(keys);
  if (values.empty()) return {StatusCode::kFull};  // no memory for the vector itself
  Outcome outcome;
  for (const std::size_t i : {std::size_t{0}, std::size_t{2}}) {
    const Outcome one = got(values[i]);
    if (one.code != StatusCode::kOk) outcome.code = one.code;
    outcome.says_memory = outcome.says_memory && (one.code == StatusCode::kOk || one.says_memory);
    outcome.sound = outcome.sound && one.sound;
  }
  outcome.sound = outcome.sound && values.size() == keys.size() && !values[1];
  return outcome;
}

Outcome scan_all(Client& client) {
  bool seen = false;
  const Status status = client.scan("", [&](std::string_view key, std::string_view value) {
    seen = seen || (key == "present" && value == kValue);
    return true;
  });
  return outcome_of(status, seen);
}

const std::vector<Call>& calls() {
  static const std::vector<Call> kCalls{
      {"put", [](Client& client) { return outcome_of(client.put("other", kValue)); }},
      {"put_large", [](Client& client) { return outcome_of(client.put("large", kLargeValue)); }},
      {"put_async", [](Client& client) { return outcome_of(client.put_async("other", kValue)); }},
      {"put_async_large", [](Client& client) { return outcome_of(client.put_async("large", kLargeValue)); }},
      {.name = "flush", .make = [](Client& client) { return outcome_of(client.flush()); }, .queues = true},
      {"get", [](Client& client) { return got(client.get("present")); }},
      {.name = "get_behind_writes", .make = [](Client& client) { return got(client.get("present")); }, .queues = true},
      {.name = "get_by_ring", .make = [](Client& client) { return got(client.get("present")); }, .reads = Reads::kRing},
      {"get_into",
       [](Client& client) {
         std::array<std::byte, 200> buffer{};
         const Result<std::size_t> size = client.get_into("present", buffer);
         return outcome_of(size.status(), !size || *size == kValue.size());
       }},
      {"exists", [](Client& client) { return outcome_of(client.exists("present")); }},
      {"erase", [](Client& client) { return outcome_of(client.erase("present")); }},
      {"insert",
       [](Client& client) { return outcome_of(client.insert("present", "x")); },
       {StatusCode::kAlreadyExists}},
      {"compare_exchange", [](Client& client) { return outcome_of(client.compare_exchange("present", kValue, "x")); }},
      {"get_with_token",
       [](Client& client) {
         const Result<ValueAndToken> found = client.get_with_token("present");
         return outcome_of(found.status(), !found || found->value == kValue);
       }},
      {"put_if",
       [](Client& client) {
         return outcome_of(client.put_if("present", kLargeValue, Token{1, 1}));
       },
       {StatusCode::kMismatch}},
      {"erase_if",
       [](Client& client) {
         return outcome_of(client.erase_if("present", Token{1, 1}));
       },
       {StatusCode::kMismatch}},
      {"append",
       [](Client& client) {
         const Result<std::uint64_t> size = client.append("other", kValue);
         return outcome_of(size.status(), !size || *size >= kValue.size());
       }},
      {"replace", [](Client& client) { return outcome_of(client.replace("present", "x")); }},
      {"increment_fraction",
       [](Client& client) {
         const Result<double> number = client.increment("number", 0.5);
         return outcome_of(number.status(), !number || *number == 5.5);
       }},
      {"exchange", [](Client& client) { return outcome_of(client.exchange("other", kValue).status()); }},
      {"take",
       [](Client& client) {
         const Result<std::string> old = client.take("present");
         return outcome_of(old.status(), !old || *old == kValue);
       }},
      {"insert_or_get",
       [](Client& client) {
         const Result<std::optional<std::string>> present = client.insert_or_get("present", "x");
         return outcome_of(present.status(), !present || *present == kValue);
       }},
      {"increment",
       [](Client& client) {
         const Result<std::int64_t> number = client.increment("number", 2);
         return outcome_of(number.status(), !number || *number == 7);
       }},
      {"multi_get", get_several},
      {"scan", scan_all},
      {"clear", [](Client& client) { return outcome_of(client.clear()); }},
      {"size",
       [](Client& client) {
         const Result<std::uint64_t> size = client.size();
         return outcome_of(size.status(), !size || *size >= 2);
       }},
  };
  return kCalls;
}

// --- Runs ------------------------------------------------------------------------------------------------------------

std::string instance;
std::string present_case;  // printed if the process dies in it

[[noreturn]] void fail(const std::string& why) {
  test::feed();
  const std::string line = present_case + ": " + why + "\n";
  if (::write(STDERR_FILENO, line.data(), line.size()) < 0) ::_exit(2);
  ::_exit(1);
}

Options options(Reads reads = Reads::kDirect) {
  Options chosen;
  chosen.name = instance;
  chosen.timeout = std::chrono::seconds(20);
  chosen.reads = reads;
  return chosen;
}

Client connected(Reads reads = Reads::kDirect) {
  Result<Client> client = Client::connect(options(reads));
  if (!client) fail("cannot connect: " + std::string(client.status().message()));
  return std::move(*client);
}

void must(const Status& status, const char* what) {
  if (!status.ok()) fail(std::string(what) + " afterwards: " + std::string(status.message()));
}

// What every run needs.
void prepare(Client& helper) {
  must(helper.put("present", kValue), "put of what is there");
  must(helper.put("number", "5"), "put of a number");
}

void must_work(Client& client) {
  must(client.put("works", kValue), "put");
  const Result<std::string> value = client.get("works");
  must(value.status(), "get");
  if (*value != kValue) fail("get afterwards gave something else");
  if (const Status status = client.flush(); !status.ok() && !(status == StatusCode::kClosed)) must(status, "flush");
}

struct Run {
  bool reached = false;  // there was a k-th allocation
  Outcome outcome;
};

template <typename Make>
Run starve(unsigned long k, bool onward, Make&& make) {
  test::starve(k, onward);
  Run run;
  try {
    run.outcome = make();
  } catch (const std::exception&) {
    fail("an exception came out");
  }
  run.reached = test::feed();
  return run;
}

// Is the outcome of a run permitted?
void judge(const Run& run, const std::vector<StatusCode>& usual) {
  if (!run.outcome.sound) fail("what came is not what must come");
  const StatusCode code = run.outcome.code;
  if (code == StatusCode::kOk || std::ranges::find(usual, code) != usual.end()) return;
  if (code != StatusCode::kFull) fail("status " + std::to_string(static_cast<int>(code)));
  if (!run.reached) fail("kFull, although no allocation failed");
  if (!run.outcome.says_memory) fail("the message of kFull does not say whose memory is short");
}

// Calls `run_once(k)` for k = 1, 2 … until no allocation fails any more, and reports.
void each_allocation(const std::string& name, bool onward, const std::function<Run(unsigned long k)>& run_once) {
  const std::string title = name + (onward ? " onward" : " once");
  unsigned long full = 0;
  for (unsigned long k = 1; k < 1000; ++k) {
    present_case = title + ", allocation " + std::to_string(k);
    const Run run = run_once(k);
    if (run.outcome.code == StatusCode::kFull) ++full;
    if (run.reached) continue;
    std::printf("%s allocations=%lu full=%lu\n", title.c_str(), k - 1, full);
    std::fflush(stdout);
    return;
  }
  fail("there is no end to the allocations");
}

// Runs within a child, which returns its outcome as its exit code.
Run in_child(const std::function<Run()>& body) {
  const pid_t child = ::fork();
  if (child == 0) {
    const Run run = body();
    ::_exit(run.reached ? (run.outcome.code == StatusCode::kFull ? 12 : 11) : 10);
  }
  int status = 0;
  if (child < 0 || ::waitpid(child, &status, 0) != child) fail("no child");
  if (!WIFEXITED(status) || WEXITSTATUS(status) < 10)
    fail("the child ended with wait status " + std::to_string(status));
  Run run;
  run.reached = WEXITSTATUS(status) != 10;
  if (WEXITSTATUS(status) == 12) run.outcome.code = StatusCode::kFull;
  return run;
}

Run run_call(const Call& call, Client& client, unsigned long k, bool onward) {
  if (call.queues) must(client.put_async("present", kValue), "put_async");
  const Run run = starve(k, onward, [&] { return call.make(client); });
  judge(run, call.usual);
  must_work(client);
  return run;
}

void starve_connect(bool onward) {
  const Options chosen = options();
  each_allocation("connect fresh", onward, [&](unsigned long k) {
    std::optional<Client> client;
    const Run run = starve(k, onward, [&] {
      Result<Client> result = Client::connect(chosen);
      const Outcome outcome = outcome_of(result.status());
      if (result) client.emplace(std::move(*result));
      return outcome;
    });
    judge(run, {});
    if (!client) client.emplace(connected());
    must_work(*client);
    return run;
  });
}

void starve_call(const Call& call, bool onward, Client& helper, Client& used) {
  const std::string name = call.name;
  each_allocation(name + " fresh", onward, [&](unsigned long k) {
    prepare(helper);
    Client client = connected(call.reads);
    return run_call(call, client, k, onward);
  });
  each_allocation(name + " used", onward, [&](unsigned long k) {
    prepare(helper);
    return run_call(call, used, k, onward);
  });
  each_allocation(name + " inherited", onward, [&](unsigned long k) {
    prepare(helper);
    return in_child([&] {
      const Run run = starve(k, onward, [&] { return call.make(used); });
      judge(run, call.usual);
      must_work(used);
      return run;
    });
  });
}

// Without this check, the runs above would prove nothing.
void show_that_allocations_fail() {
  present_case = "allocations fail when they are to";
  test::starve(2, false);
  void* volatile first = std::malloc(8);
  void* volatile second = ::operator new(8, std::nothrow);
  void* volatile third = std::calloc(1, 8);
  test::feed();
  if (first == nullptr || second != nullptr || third == nullptr) fail("they do not");
  std::free(first);
  std::free(third);
}

std::ptrdiff_t open_files() {
  return std::distance(std::filesystem::directory_iterator("/proc/self/fd"), std::filesystem::directory_iterator());
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 2) return 2;
  instance = argv[1];
  std::set_terminate([] { fail("std::terminate was called"); });
  show_that_allocations_fail();
  const std::ptrdiff_t files = open_files();
  {
    Client helper = connected();
    Client direct = connected();
    Client by_ring = connected(Reads::kRing);
    prepare(helper);
    for (const Call& call : calls()) {
      prepare(helper);
      call.make(call.reads == Reads::kRing ? by_ring : direct);
    }
    for (const bool onward : {false, true}) {
      starve_connect(onward);
      for (const Call& call : calls()) starve_call(call, onward, helper, call.reads == Reads::kRing ? by_ring : direct);
    }
  }
  present_case = "at the end";
  if (open_files() != files) fail("files are left open");
  std::puts("closed");
  std::fflush(stdout);
  while (std::getchar() != EOF) {
  }
  return 0;
}
