// A lock for something that lies outside of the map, with a fencing number: a holder that was stopped for so long that its lease has
// ended, and somebody else has the lock, cannot change what is guarded any more.
//
//   hostmap-server --background
//   lock [NAME]                  NAME: of the server's instance
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <string_view>
#include <sys/wait.h>
#include <thread>
#include <unistd.h>

#include <hostmap/client.hpp>

namespace {

using namespace std::chrono_literals;

constexpr std::string_view kLock = "lock:ledger";
constexpr int kWorkers = 4;
constexpr int kDeposits = 50;

int fail(const hostmap::Status& status) {
  std::fprintf(stderr, "lock: %s\n", std::string(status.message()).c_str());
  return 1;
}

// Stands for a file, a device, a remote service. It keeps the largest number that it has seen and refuses smaller ones.
class Ledger {
 public:
  explicit Ledger(const std::string& path) : file_(std::fopen(path.c_str(), "r+b")) {}
  ~Ledger() { std::fclose(file_); }
  Ledger(const Ledger&) = delete;
  Ledger& operator=(const Ledger&) = delete;

  std::int64_t balance() { return read().balance; }
  bool set_balance(std::int64_t balance, std::uint64_t number) {
    if (number < read().number) return false;
    const Page page{number, balance};
    std::rewind(file_);
    return std::fwrite(&page, sizeof page, 1, file_) == 1 && std::fflush(file_) == 0;
  }
  static void create(const std::string& path) {
    std::FILE* file = std::fopen(path.c_str(), "wb");
    const Page page{0, 0};
    std::fwrite(&page, sizeof page, 1, file);
    std::fclose(file);
  }

 private:
  struct Page {
    std::uint64_t number;
    std::int64_t balance;
  };
  Page read() {
    Page page{};
    std::rewind(file_);
    if (std::fread(&page, sizeof page, 1, file_) != 1) std::perror("lock: the ledger");
    std::fflush(file_);  // what the next read returns is to be what is in the file then
    return page;
  }
  std::FILE* file_;
};

// The balance is read and written in two steps: only the lock makes one of them.
int deposit(hostmap::Client& map, const std::string& path) {
  for (int i = 0; i < kDeposits; ++i) {
    const hostmap::Result<std::uint64_t> number = map.lease(kLock, 10s, 60s);
    if (!number) return fail(number.status());
    Ledger ledger(path);
    if (!ledger.set_balance(ledger.balance() + 1, *number)) return 1;
    if (const hostmap::Status released = map.release(kLock, *number); !released.ok()) return fail(released);
  }
  return 0;
}

// A holder that is stopped until its lease has ended.
int show_fencing(hostmap::Client& map, const std::string& path) {
  Ledger ledger(path);
  const hostmap::Result<std::uint64_t> slow = map.lease(kLock, 20ms);
  if (!slow) return fail(slow.status());
  const std::int64_t seen = ledger.balance();
  const hostmap::Result<std::uint64_t> next = map.lease(kLock, 10s, 60s);  // as another process would
  if (!next) return fail(next.status());
  if (!ledger.set_balance(seen + 1, *next)) return 1;
  std::printf("the slow holder was %s\n", ledger.set_balance(seen + 100, *slow) ? "not refused" : "refused");
  return map.release(kLock, *next).ok() ? 0 : 1;
}

}  // namespace

int main(int argc, char** argv) {
  hostmap::Options options;
  if (argc > 1) options.name = argv[1];
  hostmap::Result<hostmap::Client> map = hostmap::Client::connect(options);
  if (!map) return fail(map.status());
  char name[] = "/tmp/ledger-XXXXXX";
  const int created = ::mkstemp(name);
  if (created < 0) return std::perror("lock: the ledger"), 1;
  ::close(created);
  const std::string path = name;
  Ledger::create(path);

  for (int worker = 0; worker < kWorkers; ++worker) {
    const pid_t child = ::fork();
    if (child < 0) return std::perror("lock: fork"), 1;
    if (child == 0) ::_exit(deposit(*map, path));
  }
  int failed = 0;
  for (int status = 0; ::wait(&status) > 0;) failed += status != 0 ? 1 : 0;
  failed += show_fencing(*map, path);
  const long long balance = Ledger(path).balance();
  ::unlink(path.c_str());
  std::printf("%d workers, %d deposits each, and one more: the balance is %lld\n", kWorkers, kDeposits, balance);
  return failed;
}
