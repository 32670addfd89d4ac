#include "rivals/memcached.hpp"

#include <algorithm>
#include <bit>
#include <chrono>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fmt/format.h>
#include <libmemcached/memcached.h>
#include <stdexcept>
#include <thread>
#include <unistd.h>

namespace hostmap::bench {
namespace {

using namespace std::chrono_literals;

/// For items, in MiB: an entry of 16 + 100 bytes takes less than 200 bytes, so this is room for 5 million.
constexpr std::string_view kMemory = "1024";
/// The least and the greatest hashpower that memcached takes.
constexpr int kLeastHashPower = 12;
constexpr int kGreatestHashPower = 32;

const char* chars_of(std::span<const std::byte> bytes) { return reinterpret_cast<const char*>(bytes.data()); }

struct Free {
  void operator()(void* memory) const { std::free(memory); }
};

}  // namespace

MemcachedServer::MemcachedServer(std::uint64_t entries, std::optional<int> cpu) {
  const int hash_power = std::clamp(static_cast<int>(std::bit_width(entries)), kLeastHashPower, kGreatestHashPower);
  start({"-M", "-m", std::string(kMemory), "-o", fmt::format("hashpower={}", hash_power)}, cpu);
}

MemcachedServer::MemcachedServer(Cache cache) { start({"-m", std::to_string(cache.mebibytes)}, {}); }

void MemcachedServer::start(std::vector<std::string> arguments, std::optional<int> cpu) {
  arguments.insert(arguments.end(), {"-s", socket(), "-t", "1"});
  // As root it requires the user to become.
  if (geteuid() == 0) arguments.insert(arguments.end(), {"-u", "root"});
  server_ = std::make_unique<Child>(Command{.program = "/usr/bin/memcached",
                                            .arguments = std::move(arguments),
                                            .cpu = cpu,
                                            .signal_when_parent_dies = SIGTERM});
  for (const auto end = Clock::now() + 10s; !std::filesystem::exists(socket());) {
    if (server_->ended() || Clock::now() > end) {
      throw std::runtime_error("memcached does not answer; is the package memcached installed?");
    }
    std::this_thread::sleep_for(10ms);
  }
}

MemcachedServer::~MemcachedServer() {
  try {
    server_->signal(SIGTERM);
    server_->wait(10s);
  } catch (const std::exception& error) {
    fmt::print(stderr, "{}\n", error.what());
  }
}

MemcachedClient::MemcachedClient(const std::string& socket, Sets sets) : connection_(memcached_create(nullptr)) {
  if (connection_ == nullptr) throw std::runtime_error("memcached: no memory for a connection");
  check(memcached_server_add_unix_socket(connection_, socket.c_str()), "connect");
  check(memcached_behavior_set(connection_, MEMCACHED_BEHAVIOR_BINARY_PROTOCOL, 1), "binary protocol");
  if (sets == Sets::kBuffered) {
    check(memcached_behavior_set(connection_, MEMCACHED_BEHAVIOR_NOREPLY, 1), "no replies");
    check(memcached_behavior_set(connection_, MEMCACHED_BEHAVIOR_BUFFER_REQUESTS, 1), "buffering");
  }
}

MemcachedClient::~MemcachedClient() { memcached_free(connection_); }

void MemcachedClient::check(int code, const char* what) const {
  const auto returned = static_cast<memcached_return_t>(code);
  if (memcached_success(returned)) return;  // "buffered" is a success, too
  throw std::runtime_error(fmt::format("memcached: {}: {}", what, memcached_strerror(connection_, returned)));
}

void MemcachedClient::put(std::span<const std::byte> key, std::span<const std::byte> value) {
  check(memcached_set(connection_, chars_of(key), key.size(), chars_of(value), value.size(), 0, 0), "set");
}

bool MemcachedClient::get(std::span<const std::byte> key, std::span<std::byte> value) {
  std::size_t size = 0;
  std::uint32_t flags = 0;
  memcached_return_t returned{};
  const std::unique_ptr<char, Free> found(
      memcached_get(connection_, chars_of(key), key.size(), &size, &flags, &returned));
  if (returned == MEMCACHED_NOTFOUND) return false;
  check(returned, "get");
  if (found == nullptr || size != value.size()) throw std::runtime_error("memcached: a value has another size");
  std::memcpy(value.data(), found.get(), size);
  return true;
}

void MemcachedClient::finish() {
  check(memcached_flush_buffers(connection_), "flush");
  // A connection's requests are done in order: the answer to this one comes after all others.
  memcached_return_t returned{};
  memcached_stat_free(connection_, memcached_stat(connection_, nullptr, &returned));
  check(returned, "stat");
}

}  // namespace hostmap::bench
