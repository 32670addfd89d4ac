// Redis over a unix socket, as its users on one host have it: the nearest thing to hostmap that most people run.
//
// Configured as its own documents advise for speed: no snapshots, no append-only file, a unix socket and no TCP; the
// client is hiredis, one command at a time.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "harness/process.hpp"

namespace hostmap::bench {

class RedisServer {
 public:
  /// Starts redis-server, bound to a CPU if one is given, with a socket in a temporary folder of its own; returns when
  /// it answers. `more`: further options.
  explicit RedisServer(std::optional<int> cpu = {}, const std::vector<std::string>& more = {});
  ~RedisServer();
  RedisServer(const RedisServer&) = delete;
  RedisServer& operator=(const RedisServer&) = delete;

  [[nodiscard]] std::string socket() const { return folder_.path() / "redis.sock"; }

 private:
  TemporaryFolder folder_;
  std::unique_ptr<Child> server_;
};

/// A connection of hiredis. Throws on any error.
class RedisClient {
 public:
  explicit RedisClient(const std::string& socket);
  ~RedisClient();
  RedisClient(const RedisClient&) = delete;
  RedisClient& operator=(const RedisClient&) = delete;

  void put(std::span<const std::byte> key, std::span<const std::byte> value);
  /// False if the key is not there. Throws if its value has another size than `value`.
  [[nodiscard]] bool get(std::span<const std::byte> key, std::span<std::byte> value);

  /// Many SETs in one go: the answers are read at every thousandth one, and by finish().
  void put_later(std::span<const std::byte> key, std::span<const std::byte> value);
  void finish();

  /// One figure of `INFO memory`, as "used_memory".
  [[nodiscard]] std::uint64_t memory(std::string_view figure);
  /// How many keys there are.
  [[nodiscard]] std::uint64_t size();

 private:
  void* context_;
  unsigned unanswered_ = 0;
};

}  // namespace hostmap::bench
