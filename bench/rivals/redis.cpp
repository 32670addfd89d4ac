#include "rivals/redis.hpp"

#include <charconv>
#include <chrono>
#include <csignal>
#include <cstring>
#include <filesystem>
#include <fmt/format.h>
#include <hiredis/hiredis.h>
#include <stdexcept>
#include <thread>

namespace hostmap::bench {
namespace {

using namespace std::chrono_literals;

/// Of put_later: enough that a system call is shared by many, few enough for the socket's buffers.
constexpr unsigned kPipelined = 1000;

redisContext* context_of(void* context) { return static_cast<redisContext*>(context); }

struct FreeReply {
  void operator()(redisReply* reply) const { freeReplyObject(reply); }
};
using Reply = std::unique_ptr<redisReply, FreeReply>;

void check_stored(const Reply& reply) {
  if (reply == nullptr || reply->type != REDIS_REPLY_STATUS) throw std::runtime_error("redis-server did not store");
}

}  // namespace

RedisServer::RedisServer(std::optional<int> cpu, const std::vector<std::string>& more) {
  std::vector<std::string> arguments{"--port",       "0",
                                     "--unixsocket", socket(),
                                     "--save",       "",
                                     "--appendonly", "no",
                                     "--dir",        folder_.path().string(),
                                     "--logfile",    (folder_.path() / "log").string()};
  arguments.insert(arguments.end(), more.begin(), more.end());
  server_ = std::make_unique<Child>(Command{.program = "/usr/bin/redis-server",
                                            .arguments = std::move(arguments),
                                            .cpu = cpu,
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
}

RedisClient::RedisClient(const std::string& socket) : context_(redisConnectUnix(socket.c_str())) {
  if (context_ == nullptr || context_of(context_)->err != 0) throw std::runtime_error("cannot connect to redis-server");
}

RedisClient::~RedisClient() { redisFree(context_of(context_)); }

void RedisClient::put(std::span<const std::byte> key, std::span<const std::byte> value) {
  check_stored(Reply(static_cast<redisReply*>(
      redisCommand(context_of(context_), "SET %b %b", key.data(), key.size(), value.data(), value.size()))));
}

bool RedisClient::get(std::span<const std::byte> key, std::span<std::byte> value) {
  const Reply reply(static_cast<redisReply*>(redisCommand(context_of(context_), "GET %b", key.data(), key.size())));
  if (reply != nullptr && reply->type == REDIS_REPLY_NIL) return false;
  if (reply == nullptr || reply->type != REDIS_REPLY_STRING || reply->len != value.size()) {
    throw std::runtime_error("redis-server did not answer with a value of the right size");
  }
  std::memcpy(value.data(), reply->str, value.size());
  return true;
}

void RedisClient::put_later(std::span<const std::byte> key, std::span<const std::byte> value) {
  if (redisAppendCommand(context_of(context_), "SET %b %b", key.data(), key.size(), value.data(), value.size()) !=
      REDIS_OK) {
    throw std::runtime_error("hiredis takes no command");
  }
  if (++unanswered_ == kPipelined) finish();
}

void RedisClient::finish() {
  for (; unanswered_ > 0; --unanswered_) {
    void* reply = nullptr;
    redisGetReply(context_of(context_), &reply);
    check_stored(Reply(static_cast<redisReply*>(reply)));
  }
}

std::uint64_t RedisClient::memory(std::string_view figure) {
  const Reply reply(static_cast<redisReply*>(redisCommand(context_of(context_), "INFO memory")));
  const std::string_view text = reply && reply->str != nullptr ? std::string_view(reply->str, reply->len) : "";
  const std::string line = fmt::format("\n{}:", figure);
  const std::size_t at = text.find(line);
  std::uint64_t value = 0;
  if (at == std::string_view::npos ||
      std::from_chars(text.data() + at + line.size(), text.data() + text.size(), value).ec != std::errc{}) {
    throw std::runtime_error(fmt::format("redis-server does not report {}", figure));
  }
  return value;
}

std::uint64_t RedisClient::size() {
  const Reply reply(static_cast<redisReply*>(redisCommand(context_of(context_), "DBSIZE")));
  if (!reply || reply->type != REDIS_REPLY_INTEGER) throw std::runtime_error("redis-server does not report its size");
  return static_cast<std::uint64_t>(reply->integer);
}

}  // namespace hostmap::bench
