#include "sketch.hpp"

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <fcntl.h>
#include <fmt/format.h>
#include <new>
#include <optional>
#include <sched.h>
#include <stdexcept>
#include <string_view>
#include <sys/mman.h>
#include <sys/stat.h>
#include <system_error>
#include <thread>
#include <unistd.h>
#include <utility>
#include <vector>

#include "harness/process.hpp"
#include "harness/question.hpp"
#include "rivals/sketch_ring.hpp"

namespace hostmap::bench::sketch {
namespace {

using std::chrono::steady_clock;

struct Master {
  std::atomic<std::uint64_t> clients;  // only ever grows: the next client's number
};

struct Connection {
  std::atomic<std::uint32_t> ready;  // stored last by the client that creates the region
  alignas(kPadding) std::atomic<std::uint32_t> closed;
  Ring requests;
  Ring responses;
};

std::string master_name(std::string_view name) { return fmt::format("/{}-master", name); }

std::string connection_name(std::string_view name, std::uint64_t id) {
  return fmt::format("/{}-connection-{}", name, id);
}

/// A mapped region that holds one T.
template <typename T>
class Region {
 public:
  static Region create(const std::string& name) {
    const int file = shm_open(name.c_str(), O_RDWR | O_CREAT | O_EXCL, 0600);
    if (file < 0) throw std::system_error(errno, std::generic_category(), name);
    if (ftruncate(file, sizeof(T)) != 0 || posix_fallocate(file, 0, sizeof(T)) != 0) {
      const int error = errno;
      close(file);
      shm_unlink(name.c_str());
      throw std::system_error(error, std::generic_category(), name);
    }
    return Region(file, name);
  }

  /// Nothing while the region is missing, or still has no size.
  static std::optional<Region> open(const std::string& name) {
    const int file = shm_open(name.c_str(), O_RDWR, 0);
    if (file < 0) return std::nullopt;
    struct stat status {};
    if (fstat(file, &status) != 0 || status.st_size < static_cast<off_t>(sizeof(T))) {
      close(file);
      return std::nullopt;
    }
    return Region(file, name);
  }

  ~Region() {
    if (address_ != nullptr) munmap(address_, sizeof(T));
  }
  Region(Region&& other) noexcept : address_(std::exchange(other.address_, nullptr)) {}
  Region& operator=(Region&&) = delete;

  T* operator->() const { return address_; }
  T& operator*() const { return *address_; }

 private:
  // A new region is all zero bytes, which is the empty state of every T here.
  Region(int file, const std::string& name) {
    void* address = mmap(nullptr, sizeof(T), PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    const int error = errno;
    close(file);
    if (address == MAP_FAILED) throw std::system_error(error, std::generic_category(), name);
    address_ = std::launder(static_cast<T*>(address));
  }

  T* address_ = nullptr;
};

/// A hint to the processor, not to the kernel, that this is a wait.
void pause_briefly() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

/// How both ends wait for the ring: a yielding spin. The sketch yields at every failed try (no
/// pauses); a few pauses first let two ends that happen to run on two CPUs exchange many rings full
/// before either is descheduled.
class YieldingSpin {
 public:
  explicit YieldingSpin(unsigned pauses_before_yield) : pauses_before_yield_(pauses_before_yield) {}

  void wait() {
    if (pauses_ < pauses_before_yield_) {
      ++pauses_;
      pause_briefly();
    } else {
      pauses_ = 0;
      sched_yield();
    }
  }
  void reset() { pauses_ = 0; }

 private:
  unsigned pauses_before_yield_;
  unsigned pauses_ = 0;
};

// ---- the map ------------------------------------------------------------------------------------

/// Readers count up from zero, a writer is -1; who cannot enter yields. Critical sections are tens
/// of nanoseconds, so that a holder is hardly ever descheduled and to sleep would never pay.
class YieldingSharedLock {
 public:
  void lock() {
    int free = 0;
    while (!state_.compare_exchange_weak(free, -1, std::memory_order_acquire, std::memory_order_relaxed)) {
      free = 0;
      sched_yield();
    }
  }
  void unlock() { state_.store(0, std::memory_order_release); }

  void lock_shared() {
    int readers = state_.load(std::memory_order_relaxed);
    while (readers < 0 ||
           !state_.compare_exchange_weak(readers, readers + 1, std::memory_order_acquire, std::memory_order_relaxed)) {
      if (readers < 0) sched_yield();
      readers = state_.load(std::memory_order_relaxed);
    }
  }
  void unlock_shared() { state_.fetch_sub(1, std::memory_order_release); }

 private:
  std::atomic<int> state_{0};
};

/// A fixed number of buckets, each a short list under a lock of its own.
class Map {
 public:
  explicit Map(std::size_t buckets) : buckets_(buckets) {}

  void insert(std::uint64_t key, std::uint64_t value) {
    Bucket& bucket = bucket_of(key);
    bucket.lock.lock();
    if (const auto found = find(bucket, key); found != bucket.pairs.end()) {
      found->value = value;
    } else {
      bucket.pairs.push_back({.key = key, .value = value});
    }
    bucket.lock.unlock();
  }

  void erase(std::uint64_t key) {
    Bucket& bucket = bucket_of(key);
    bucket.lock.lock();
    if (const auto found = find(bucket, key); found != bucket.pairs.end()) {
      *found = bucket.pairs.back();
      bucket.pairs.pop_back();
    }
    bucket.lock.unlock();
  }

  [[nodiscard]] std::optional<std::uint64_t> get(std::uint64_t key) {
    Bucket& bucket = bucket_of(key);
    std::optional<std::uint64_t> value;
    bucket.lock.lock_shared();
    if (const auto found = find(bucket, key); found != bucket.pairs.end()) value = found->value;
    bucket.lock.unlock_shared();
    return value;
  }

 private:
  struct Pair {
    std::uint64_t key;
    std::uint64_t value;
  };
  struct alignas(kPadding) Bucket {
    YieldingSharedLock lock;
    std::vector<Pair> pairs;
  };

  static std::vector<Pair>::iterator find(Bucket& bucket, std::uint64_t key) {
    return std::find_if(bucket.pairs.begin(), bucket.pairs.end(), [key](const Pair& pair) { return pair.key == key; });
  }

  Bucket& bucket_of(std::uint64_t key) {
    // The high half of a product instead of a division by a number known only at run time.
    const std::uint64_t hash = key * 0x9E3779B97F4A7C15U;
    return buckets_[static_cast<std::size_t>((hash >> 32U) * buckets_.size() >> 32U)];
  }

  std::vector<Bucket> buckets_;
};

// ---- the server ---------------------------------------------------------------------------------

std::atomic<bool> stop_requested{false};
static_assert(std::atomic<bool>::is_always_lock_free, "stored by a signal handler");

void request_stop(int) { stop_requested.store(true, std::memory_order_relaxed); }

/// Serves one connection until its client closes it (or the server stops); returns the
/// number of inserts.
std::uint64_t serve_connection(Map& map, Connection& connection, YieldingSpin spin) {
  Consumer requests(connection.requests);
  Producer responses(connection.responses);
  const auto is_over = [&] {
    return connection.closed.load(std::memory_order_acquire) != 0 ||  // [sketch.close]
           stop_requested.load(std::memory_order_relaxed);
  };

  std::uint64_t inserts = 0;
  Message request{};
  while (true) {
    if (!requests.try_pop(request)) {
      // A message may have come between the empty ring and the closed flag: poll once more,
      // and lose none.
      const bool over = is_over();
      if (!requests.try_pop(request)) {
        if (over) return inserts;
        spin.wait();
        continue;
      }
    }
    spin.reset();
    switch (request.kind) {
      case Kind::kInsert:
        map.insert(request.key, request.value);
        ++inserts;
        break;
      case Kind::kDelete:
        map.erase(request.key);
        break;
      case Kind::kGet: {
        const std::optional<std::uint64_t> value = map.get(request.key);
        const Message response{
            .kind = value ? Kind::kFound : Kind::kAbsent, .key = request.key, .value = value.value_or(0)};
        while (!responses.try_push(response)) {
          if (is_over()) return inserts;
          spin.wait();
        }
        break;
      }
      case Kind::kFound:
      case Kind::kAbsent:
        return inserts;  // a client that sends answers is broken
    }
  }
}

/// The connection region of a client that has taken its number, as soon as it is
/// there and complete.
std::optional<Region<Connection>> await_connection(const std::string& name) {
  while (!stop_requested.load(std::memory_order_relaxed)) {
    if (std::optional<Region<Connection>> region = Region<Connection>::open(name)) {
      if ((*region)->ready.load(std::memory_order_acquire) != 0) {  // [sketch.ready]
        shm_unlink(name.c_str());
        return region;
      }
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  return std::nullopt;
}

void unlink_all(const std::string& name, std::uint64_t clients) {
  for (std::uint64_t id = 0; id < clients; ++id) shm_unlink(connection_name(name, id).c_str());
  shm_unlink(master_name(name).c_str());
}

// ---- the client ---------------------------------------------------------------------------------

class Client {
 public:
  static Client connect(const std::string& name, YieldingSpin spin) {
    const std::optional<Region<Master>> master = Region<Master>::open(master_name(name));
    if (!master) throw std::runtime_error("no server");
    const std::uint64_t id = (*master)->clients.fetch_add(1, std::memory_order_relaxed);
    Region<Connection> region = Region<Connection>::create(connection_name(name, id));
    region->ready.store(1, std::memory_order_release);  // [sketch.ready]
    return Client(std::move(region), spin);
  }

  ~Client() { region_->closed.store(1, std::memory_order_release); }  // [sketch.close]
  Client(const Client&) = delete;
  Client& operator=(const Client&) = delete;

  void insert(std::uint64_t key, std::uint64_t value) { send({.kind = Kind::kInsert, .key = key, .value = value}); }
  void erase(std::uint64_t key) { send({.kind = Kind::kDelete, .key = key, .value = 0}); }

  [[nodiscard]] std::optional<std::uint64_t> get(std::uint64_t key) {
    send({.kind = Kind::kGet, .key = key, .value = 0});
    Message response{};
    for (YieldingSpin spin = spin_; !responses_.try_pop(response);) wait(spin);
    if (response.kind == Kind::kAbsent) return std::nullopt;
    return std::uint64_t{response.value};
  }

 private:
  Client(Region<Connection> region, YieldingSpin spin) : region_(std::move(region)), spin_(spin) {}

  void send(const Message& message) {
    for (YieldingSpin spin = spin_; !requests_.try_push(message);) wait(spin);
  }

  void wait(YieldingSpin& spin) {
    if (region_->closed.load(std::memory_order_acquire) != 0) {  // [sketch.close]
      throw std::runtime_error("the server closed the connection");
    }
    spin.wait();
  }

  Region<Connection> region_;
  YieldingSpin spin_;
  Producer requests_{region_->requests};
  Consumer responses_{region_->responses};
};

class Random {
 public:
  explicit Random(std::uint64_t seed) : state_(seed) {}
  std::uint64_t next() {
    state_ ^= state_ << 13U;
    state_ ^= state_ >> 7U;
    state_ ^= state_ << 17U;
    return state_;
  }

 private:
  std::uint64_t state_;
};

unsigned pauses_in(const char* argument) { return static_cast<unsigned>(std::strtoul(argument, nullptr, 10)); }

}  // namespace

int serve(std::span<char* const> arguments) {
  const std::string name = arguments[0];
  const std::size_t buckets = std::strtoull(arguments[1], nullptr, 10);
  const YieldingSpin spin(pauses_in(arguments[2]));
  struct sigaction action {};
  action.sa_handler = request_stop;
  sigaction(SIGTERM, &action, nullptr);
  sigaction(SIGINT, &action, nullptr);

  Map map(buckets);
  const Region<Master> master = Region<Master>::create(master_name(name));
  std::atomic<std::uint64_t> inserts{0};
  std::vector<std::jthread> threads;
  fmt::print("ready\n");
  std::fflush(stdout);

  // The sketch polls its counter. With a millisecond between two loads the poll takes no measurable
  // time from the connections, which is the best that a poll can do.
  while (!stop_requested.load(std::memory_order_relaxed)) {
    while (threads.size() < master->clients.load(std::memory_order_acquire)) {
      threads.emplace_back([&, region_name = connection_name(name, threads.size())] {
        if (const auto region = await_connection(region_name)) {
          inserts.fetch_add(serve_connection(map, **region, spin), std::memory_order_relaxed);
          (*region)->closed.store(1, std::memory_order_release);  // [sketch.close]
        }
      });
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  const std::uint64_t clients = threads.size();
  threads.clear();  // joins
  unlink_all(name, clients);
  fmt::print("{}\n", inserts.load(std::memory_order_relaxed));
  return 0;
}

int load(std::span<char* const> arguments) {
  const std::uint64_t id = std::strtoull(arguments[1], nullptr, 10);
  const std::chrono::duration<double> seconds(std::strtod(arguments[2], nullptr));
  Client client = Client::connect(arguments[0], YieldingSpin(pauses_in(arguments[3])));
  Random random(id * 0x9E3779B97F4A7C15U + 0x2545F4914F6CDD1DU);
  const std::uint64_t key = id * 2048 + random.next() % 2048;

  const auto end = steady_clock::now() + seconds;
  std::uint64_t writes = 0;
  std::uint64_t last = 0;
  do {
    // The clock is read once in 64 writes, so that it does not count among their costs.
    for (int write = 0; write < 64; ++write) {
      last = random.next();
      client.insert(key, last);
    }
    writes += 64;
  } while (steady_clock::now() < end);

  if (client.get(key) != last) {
    fmt::print(stderr, "client {}: get is not the last value written\n", id);
    return 1;
  }
  client.erase(key);
  fmt::print("Done ({} writes)\n", writes);
  return 0;
}

int idle(std::span<char* const> arguments) {
  const std::uint64_t id = std::strtoull(arguments[1], nullptr, 10);
  Client client = Client::connect(arguments[0], YieldingSpin(0));
  client.insert(id, id);
  report_and_wait("connected");
  return 0;
}

RegionGuard::~RegionGuard() {
  std::uint64_t clients = 0;
  if (const auto master = Region<Master>::open(master_name(name_))) {
    clients = (*master)->clients.load(std::memory_order_relaxed);
  }
  unlink_all(name_, clients);
}

namespace {

const Registered sketch_server_role(Role{"sketch-server", 3, sketch::serve});
const Registered sketch_load_role(Role{"sketch-load", 4, sketch::load});
const Registered sketch_idle_role(Role{"sketch-idle", 2, sketch::idle});

}  // namespace

}  // namespace hostmap::bench::sketch
