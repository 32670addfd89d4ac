// memcached over a unix socket, the other store that people have beside Redis.
//
// Configured as its own documents advise for speed: a unix socket, which ends all network support; one worker thread,
// for the server is bound to one CPU and more threads than CPUs do not help; a hash table that has its size from the
// start (hashpower); an error instead of silent evictions (-M). The client is libmemcached by the binary protocol, since its
// text protocol takes no keys of arbitrary bytes; of libmemcached's own settings none makes a call faster that waits
// for its answer.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "harness/process.hpp"

struct memcached_st;

namespace hostmap::bench {

class MemcachedServer {
 public:
  /// Starts memcached for so many entries, bound to a CPU if one is given, with a socket in a temporary folder of its
  /// own; returns when it answers.
  explicit MemcachedServer(std::uint64_t entries, std::optional<int> cpu = {});
  /// The same as a cache of so many MiB, which evicts.
  static MemcachedServer cache(std::uint64_t mebibytes) { return MemcachedServer(Cache{mebibytes}); }
  ~MemcachedServer();
  MemcachedServer(const MemcachedServer&) = delete;
  MemcachedServer& operator=(const MemcachedServer&) = delete;

  [[nodiscard]] std::string socket() const { return folder_.path() / "memcached.sock"; }

 private:
  struct Cache {
    std::uint64_t mebibytes;
  };
  explicit MemcachedServer(Cache cache);
  void start(std::vector<std::string> arguments, std::optional<int> cpu);

  TemporaryFolder folder_;
  std::unique_ptr<Child> server_;
};

/// A connection of libmemcached. Throws on any error.
class MemcachedClient {
 public:
  enum class Sets : std::uint8_t {
    kAnswered,  // each waits for its answer
    kBuffered,  // for loading: many in one go, without answers
  };
  explicit MemcachedClient(const std::string& socket, Sets sets = Sets::kAnswered);
  ~MemcachedClient();
  MemcachedClient(const MemcachedClient&) = delete;
  MemcachedClient& operator=(const MemcachedClient&) = delete;

  void put(std::span<const std::byte> key, std::span<const std::byte> value);
  /// False if the key is not there. Throws if its value has another size than `value`.
  [[nodiscard]] bool get(std::span<const std::byte> key, std::span<std::byte> value);
  /// Sends what is buffered and waits until the server has done it all.
  void finish();

 private:
  void check(int code, const char* what) const;

  memcached_st* connection_;
};

}  // namespace hostmap::bench
