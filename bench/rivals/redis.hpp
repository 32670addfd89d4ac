// Redis over a unix socket, as its users on one host have it: the nearest thing to hostmap that most people run.
//
// Configured as its own documents advise for speed: no snapshots, no append-only file, a unix socket and no TCP; the
// client is hiredis, one command at a time.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <string>

#include "process.hpp"

namespace hostmap::bench {

class RedisServer {
 public:
  /// Starts redis-server with a socket in a temporary folder of its own; returns when it answers.
  RedisServer();
  ~RedisServer();
  RedisServer(const RedisServer&) = delete;
  RedisServer& operator=(const RedisServer&) = delete;

  [[nodiscard]] std::string socket() const { return folder_ / "redis.sock"; }

 private:
  std::filesystem::path folder_;
  std::unique_ptr<Child> server_;
};

/// A connection of hiredis. Throws on any error.
class RedisClient {
 public:
  explicit RedisClient(const std::string& socket);
  ~RedisClient();
  RedisClient(const RedisClient&) = delete;
  RedisClient& operator=(const RedisClient&) = delete;

  void set(std::span<const std::byte> key, std::span<const std::byte> value);
  /// The value of a key if it has 8 bytes; nothing if it has not, or there is no such key.
  [[nodiscard]] std::optional<std::uint64_t> get(std::span<const std::byte> key);

 private:
  void* context_;
};

}  // namespace hostmap::bench
