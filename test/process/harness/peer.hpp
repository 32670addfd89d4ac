// Peer: a client in a process of its own that executes the test's commands (programs/scripted_client.cpp).
#pragma once

#include <charconv>
#include <chrono>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include <hostmap/status.hpp>

#include "process/harness/program.hpp"
#include "process/harness/sealed.hpp"
#include "process/harness/server.hpp"

namespace hostmap::test {

// A peer's reply to one command.
struct Reply {
  StatusCode code = StatusCode::kInternal;
  std::string text;  // the status's message, or the result
  friend bool operator==(const Reply& reply, StatusCode code) { return reply.code == code; }
  friend std::ostream& operator<<(std::ostream& out, const Reply& reply) {
    return out << static_cast<int>(reply.code) << " " << reply.text;
  }
};

struct PeerSetup {
  std::chrono::milliseconds timeout = kPatience;
  Reads reads = Reads::kDirect;
  bool wait_for_server = false;
  std::string group = {};
  std::string user = {};
  bool read_only = false;
  ProcessSetup process = {};
};

class Peer {
 public:
  // A connected one. Throws if it cannot connect.
  explicit Peer(const Server& server, const PeerSetup& setup = {}) : Peer(setup.process) {
    const Reply reply = connect(server, setup);
    if (reply.code != StatusCode::kOk) throw std::runtime_error("a peer cannot connect: " + reply.text);
  }
  static Peer unconnected(const ProcessSetup& setup = {}) { return Peer(setup); }

  Reply connect(const Server& server, const PeerSetup& setup = {}) {
    begin_connect(server.name(), server.dir(), setup);
    return reply();
  }
  void begin_connect(const std::string& name, const std::string& dir, const PeerSetup& setup = {}) {
    say("connect " + name + " " + dir + " " + std::to_string(setup.timeout.count()) +
        (setup.reads == Reads::kRing ? " ring" : " direct") + (setup.wait_for_server ? " wait" : "") +
        (setup.read_only ? " read_only" : "") + (setup.group.empty() ? "" : " group=" + setup.group) +
        (setup.user.empty() ? "" : " user=" + setup.user));
  }

  // Keys and values are words, #SIZE:SEED or =NUMBER.
  Reply put(const std::string& key, const std::string& value) { return ask("put " + key + " " + value); }
  Reply put_async(const std::string& key, const std::string& value) { return ask("put_async " + key + " " + value); }
  Reply erase(const std::string& key) { return ask("erase " + key); }
  Reply exists(const std::string& key) { return ask("exists " + key); }
  Reply flush() { return ask("flush"); }
  // Text: size and digest, as told_of() gives them for the value expected.
  Reply get(const std::string& key) { return ask("get " + key); }
  // The first half of a wait without end, until `key` has another value than `known`, or is not absent any more (-). Its reply's text
  // is that of get(), or kAbsent.
  void begin_wait(const std::string& key, const std::string& known) { say("wait " + key + " " + known + " 0"); }
  static constexpr const char* kAbsent = "absent";
  static std::string told_of(const std::string& value) {
    return std::to_string(value.size()) + " " + std::to_string(digest(value));
  }

  Reply ask(const std::string& line) {
    say(line);
    return reply();
  }
  // The two halves of ask(), for calls that take longer.
  void say(const std::string& line) { program_.say(line); }
  Reply reply(std::chrono::milliseconds watchdog = 2 * kPatience) {
    const std::string line = program_.hear(watchdog);
    Reply reply;
    unsigned code = 0;
    const auto [rest, error] = std::from_chars(line.data(), line.data() + line.size(), code);
    if (error != std::errc()) throw std::runtime_error("a peer said: " + line);
    reply.code = static_cast<StatusCode>(code);
    reply.text = line.substr(std::min(line.size(), static_cast<std::size_t>(rest - line.data()) + 1));
    return reply;
  }

  pid_t pid() const { return program_.pid(); }
  Program& program() { return program_; }
  // Ends normally, with its client destroyed.
  Exit leave() {
    program_.close_input();
    return program_.wait();
  }
  Exit kill() { return program_.kill(); }

 private:
  explicit Peer(const ProcessSetup& setup) : program_({test::program("scripted_client")}, setup) {}
  Program program_;
};

}  // namespace hostmap::test
