#include "rivals/redis.hpp"

#include <chrono>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <fmt/format.h>
#include <hiredis/hiredis.h>
#include <stdexcept>
#include <thread>

namespace hostmap::bench {
namespace {

using namespace std::chrono_literals;

std::filesystem::path temporary_folder() {
  std::string name = (std::filesystem::temp_directory_path() / "hostmap-bench-XXXXXX").string();
  if (::mkdtemp(name.data()) == nullptr) throw std::runtime_error("cannot make a temporary folder");
  return name;
}

redisContext* context_of(void* context) { return static_cast<redisContext*>(context); }

}  // namespace

RedisServer::RedisServer() : folder_(temporary_folder()) {
  server_ = std::make_unique<Child>(
      Command{.program = "/usr/bin/redis-server",
              .arguments = {"--port", "0", "--unixsocket", socket(), "--save", "", "--appendonly", "no", "--dir",
                            folder_.string(), "--logfile", (folder_ / "log").string()},
              .signal_when_parent_dies = SIGTERM});
  for (const auto end = Clock::now() + 10s; !std::filesystem::exists(socket());) {
    if (Clock::now() > end)
      throw std::runtime_error("redis-server does not answer; is the package redis-server installed?");
    std::this_thread::sleep_for(10ms);
  }
}

RedisServer::~RedisServer() {
  try {
    server_->signal(SIGTERM);
    server_->wait(10s);
  } catch (const std::exception& error) {
    fmt::print(stderr, "{}\n", error.what());
  }
  std::error_code ignored;
  std::filesystem::remove_all(folder_, ignored);
}

RedisClient::RedisClient(const std::string& socket) : context_(redisConnectUnix(socket.c_str())) {
  if (context_ == nullptr || context_of(context_)->err != 0) throw std::runtime_error("cannot connect to redis-server");
}

RedisClient::~RedisClient() { redisFree(context_of(context_)); }

void RedisClient::set(std::span<const std::byte> key, std::span<const std::byte> value) {
  auto* reply = static_cast<redisReply*>(
      redisCommand(context_of(context_), "SET %b %b", key.data(), key.size(), value.data(), value.size()));
  const bool stored = reply != nullptr && reply->type == REDIS_REPLY_STATUS;
  if (reply != nullptr) freeReplyObject(reply);
  if (!stored) throw std::runtime_error("redis-server did not store");
}

std::optional<std::uint64_t> RedisClient::get(std::span<const std::byte> key) {
  auto* reply = static_cast<redisReply*>(redisCommand(context_of(context_), "GET %b", key.data(), key.size()));
  if (reply == nullptr) throw std::runtime_error("redis-server did not answer");
  std::optional<std::uint64_t> value;
  if (reply->type == REDIS_REPLY_STRING && reply->len == sizeof(std::uint64_t)) {
    std::memcpy(&value.emplace(), reply->str, sizeof(std::uint64_t));
  }
  freeReplyObject(reply);
  return value;
}

}  // namespace hostmap::bench
