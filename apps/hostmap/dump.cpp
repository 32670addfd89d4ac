// dump, load, save: a map's keys and values in a file.
#include <chrono>
#include <csignal>
#include <fmt/format.h>
#include <optional>
#include <string>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <hostmap/client.hpp>

#include "commands.hpp"
#include "dump/copy.hpp"
#include "dump/file.hpp"
#include "output.hpp"
#include "progress.hpp"

namespace hostmap::apps {

namespace {

constexpr std::string_view kStream = "-";
constexpr std::chrono::hours kLongestPause{24 * 365};  // between two saves: the clock counts nanoseconds

// SIGINT, SIGTERM and SIGHUP, while a file is incomplete: they wait until it has been removed.
class HeldSignals {
 public:
  HeldSignals() noexcept {
    ::sigemptyset(&signals_);
    for (const int signal : {SIGINT, SIGTERM, SIGHUP}) ::sigaddset(&signals_, signal);
    ::sigprocmask(SIG_BLOCK, &signals_, &before_);
  }
  HeldSignals(const HeldSignals&) = delete;
  HeldSignals& operator=(const HeldSignals&) = delete;
  ~HeldSignals() { ::sigprocmask(SIG_SETMASK, &before_, nullptr); }

  // Waits for at most `patience` until one arrives, and takes it: its number, or 0.
  int take(std::chrono::nanoseconds patience) {
    const auto seconds = std::chrono::duration_cast<std::chrono::seconds>(patience);
    timespec time{};
    time.tv_sec = seconds.count();
    time.tv_nsec = (patience - seconds).count();
    if (taken_ == 0) taken_ = std::max(::sigtimedwait(&signals_, nullptr, &time), 0);
    return taken_;
  }

 private:
  sigset_t signals_{};
  sigset_t before_{};
  int taken_ = 0;
};

std::string summary(std::string_view did, const DumpCount& count) {
  return fmt::format("{} {} key{}, {}", did, grouped(count.keys), count.keys == 1 ? "" : "s",
                     readable_bytes(count.bytes));
}

int print_summary(std::string_view line) {
  Output output;
  output.write(line);
  output.write("\n");
  return output.finish();
}

// One dump into `path`. The status is kTimeout if `signals` got one.
Result<DumpCount> dump_to_file(Client& client, const std::string& name, const std::string& path, HeldSignals& signals) {
  Result<NewFile> file = NewFile::create(path);
  if (!file) return file.status();
  Progress progress("dumping");
  Result<DumpCount> count = dump_map(
      client, name, [&](std::string_view bytes) { return file->write(bytes); },
      [&](const DumpCount& now) -> Status {
        progress.show(now.keys, now.hint, now.keys, now.bytes);
        if (signals.take(std::chrono::nanoseconds(0)) != 0) return {StatusCode::kTimeout, "ended by a signal"};
        return {};
      });
  if (!count) return count;
  if (Status status = file->finish(); !status.ok()) return status;
  return count;
}

int dump_to_stream(Client& client, const std::string& name) {
  Progress progress("dumping");
  const Result<DumpCount> count = dump_map(
      client, name, [](std::string_view bytes) { return write_dump(STDOUT_FILENO, bytes, "to standard output"); },
      [&](const DumpCount& now) {
        progress.show(now.keys, now.hint, now.keys, now.bytes);
        return Status();
      });
  return count ? int{kExitDone} : fail(count.status());
}

// A dump computes as long as it runs: while all cpus are in use, it leaves most of their time to the map's server and writers.
void give_way() noexcept {
  constexpr int kLower = 10;
  ::setpriority(PRIO_PROCESS, 0, ::getpriority(PRIO_PROCESS, 0) + kLower);  // 19 at most; it cannot fail
}

// The size of a file; 0 of a pipe.
std::uint64_t size_of(int file) {
  struct stat facts {};
  return ::fstat(file, &facts) == 0 && S_ISREG(facts.st_mode) ? static_cast<std::uint64_t>(facts.st_size) : 0;
}

}  // namespace

int dump(const Options& options, const std::string& path) {
  if (path.empty()) return fail("FILE is empty; give a file, or - for standard output", kExitUsage);
  if (path == kStream && ::isatty(STDOUT_FILENO) == 1) {
    return fail("a dump is not text, and standard output is a terminal; redirect standard output, or give a file",
                kExitUsage);
  }
  Result<Client> client = Client::connect(options);
  if (!client) return fail(client.status());
  give_way();
  if (path == kStream) return dump_to_stream(*client, options.name);
  int signal = 0;
  {
    HeldSignals signals;
    const Result<DumpCount> count = dump_to_file(*client, options.name, path, signals);
    if (count) return print_summary(summary("dumped", *count));
    signal = signals.take(std::chrono::nanoseconds(0));
    if (signal == 0) return fail(count.status());
  }
  return ::raise(signal), kExitTimedOut;  // as if it had not been held
}

int save(const Options& options, const std::string& path, const std::optional<std::chrono::milliseconds>& every) {
  if (path.empty() || path == kStream)
    return fail("save writes to a file; to write to a stream, use dump -", kExitUsage);
  if (!every) return dump(options, path);
  HeldSignals signals;
  Result<Client> client = Client::connect(options);
  if (!client) return fail(client.status());
  give_way();
  for (bool again = false;; again = true) {
    const auto next = std::chrono::steady_clock::now() + std::min<std::chrono::milliseconds>(*every, kLongestPause);
    const Result<DumpCount> count = dump_to_file(*client, options.name, path, signals);
    if (signals.take(std::chrono::nanoseconds(0)) != 0) return kExitDone;
    if (!count) {
      // The first one shows whether all is set up; later, a server may be away, or the disk full, for some time.
      const int code = fail(count.status());
      if (!again) return code;
    } else if (const int code = print_summary(summary("saved", *count)); code != kExitDone) {
      return code;
    }
    const auto left = next - std::chrono::steady_clock::now();
    if (signals.take(std::max<std::chrono::nanoseconds>(left, std::chrono::nanoseconds(0))) != 0) return kExitDone;
  }
}

int load(const Options& options, const std::string& path) {
  if (path.empty()) return fail("FILE is empty; give a file, or - for standard input", kExitUsage);
  if (path == kStream && ::isatty(STDIN_FILENO) == 1) {
    return fail("standard input is a terminal; redirect it from a dump, or give a file", kExitUsage);
  }
  UniqueFd opened;
  if (path != kStream) {
    Result<UniqueFd> file = open_dump(path);
    if (!file) return fail(file.status());
    opened = std::move(*file);
  }
  const int file = opened ? opened.get() : STDIN_FILENO;
  Result<Client> client = Client::connect(options);
  if (!client) return fail(client.status());
  const std::uint64_t size = size_of(file);
  const std::string what = path == kStream ? "standard input" : path;
  const Result<DumpCount> count = [&] {
    Progress progress("loading");
    return load_map(
        *client, [&](std::span<char> room) { return read_dump(file, room, what); },
        [&](const DumpCount& now) {
          const std::uint64_t done = now.keys + now.lapsed;
          progress.show(size != 0 ? now.bytes : done, size != 0 ? size : now.hint, done, now.bytes);
          return Status();
        });
  }();
  if (!count) return fail(count.status());
  std::string line = summary("loaded", *count);
  if (count->lapsed != 0) line += fmt::format("; {} had lapsed", grouped(count->lapsed));
  return print_summary(line);
}

}  // namespace hostmap::apps
