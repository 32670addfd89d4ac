// scripted_client: a client process that executes the commands on its standard input, one a line, and answers each with one
// line: the number of the status code, and the result. test/process/harness/peer.hpp is the other end.
//
//   connect NAME DIR|- TIMEOUT_MS direct|ring [wait] [read_only] [group=G] [user=U]
//   put KEY VALUE · put_async KEY VALUE · get KEY · exists KEY · erase KEY · flush · clear
//   expire KEY MILLISECONDS
//   compute KEY VALUE|! MS LEASE_MS  get_or_compute by a function that counts its calls in the key "computed", prints "computing",
//                              sleeps for MS milliseconds (-1: until the key "go" exists), and returns VALUE, or fails (!)
//   lease KEY MS [PATIENCE_MS] · release KEY NUMBER
//   wait KEY VALUE|- MS        until KEY has another value (-: is not absent any more), at most MS milliseconds, 0: without end
//   stream KEY SIZE BATCH      put_async of sealed numbers 1, 2, 3 … without end: prints "sending N" before each batch, and
//                              "flushed N" after it
//   hammer KEY MILLISECONDS    put, get, compare, until the time is over; prints the number of rounds
//   close                      destroys the client
//   end exit|leave|abort       ends this process: with destructors, without, by SIGABRT
//
// KEY and VALUE are a word, or #SIZE:SEED for pattern(SIZE, SEED), or =NUMBER for 8 bytes. The result of a get is
// the size and the digest of its value.
#include <charconv>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <iostream>
#include <optional>
#include <sstream>
#include <string>
#include <thread>
#include <unistd.h>

#include <hostmap/client.hpp>

#include "process/harness/sealed.hpp"

namespace {

using namespace hostmap;
using namespace hostmap::test;

std::optional<Client> client;

void say(const std::string& line) {
  std::string text = line + "\n";
  if (::write(STDOUT_FILENO, text.data(), text.size()) < 0) ::_exit(1);
}

void say(const Status& status) {
  say(std::to_string(static_cast<int>(status.code())) + " " + std::string(status.message()));
}

std::string bytes_of(const std::string& word) {
  if (word.starts_with("=")) return word_key(std::stoull(word.substr(1)));
  if (!word.starts_with("#")) return word;
  const std::size_t colon = word.find(':');
  return pattern(std::stoull(word.substr(1, colon - 1)), std::stoull(word.substr(colon + 1)));
}

void connect(std::istream& words) {
  Options options;
  std::string reads;
  std::int64_t milliseconds = 0;
  words >> options.name >> options.dir >> milliseconds >> reads;
  if (options.dir == "-") options.dir.clear();
  options.timeout = std::chrono::milliseconds(milliseconds);
  options.reads = reads == "ring" ? Reads::kRing : Reads::kDirect;
  for (std::string word; words >> word;) {
    if (word == "wait") options.wait_for_server = true;
    if (word == "read_only") options.read_only = true;
    if (word.starts_with("group=")) options.group = word.substr(6);
    if (word.starts_with("user=")) options.user = word.substr(5);
  }
  Result<Client> connected = Client::connect(options);
  if (connected) client.emplace(std::move(*connected));
  say(connected.status());
}

void stream(std::istream& words) {
  std::string word;
  std::size_t size = 0;
  std::uint64_t batch = 0;
  words >> word >> size >> batch;
  const std::string key = bytes_of(word);
  std::uint64_t number = 0;
  for (;;) {
    say("sending " + std::to_string(number + batch));
    for (std::uint64_t i = 0; i < batch; ++i) {
      ++number;
      if (const Status status = client->put_async(key, sealed_value(number, digest(key), size)); !status.ok()) {
        return say(status);
      }
    }
    if (const Status status = client->flush(); !status.ok()) return say(status);
    say("flushed " + std::to_string(number));
  }
}

void hammer(std::istream& words) {
  std::string word;
  std::int64_t milliseconds = 0;
  words >> word >> milliseconds;
  const std::string key = bytes_of(word);
  const auto end = std::chrono::steady_clock::now() + std::chrono::milliseconds(milliseconds);
  std::uint64_t rounds = 0;
  do {
    ++rounds;
    const std::string value = sealed_value(rounds, digest(key), rounds % 2 == 0 ? 8 : 24);
    if (const Status status = client->put(key, value); !status.ok()) return say(status);
    const Result<std::string> got = client->get(key);
    if (!got) return say(got.status());
    if (*got != value) return say("15 another value than the one just put");
  } while (std::chrono::steady_clock::now() < end);
  say("0 " + std::to_string(rounds));
}

void compute(const std::string& key, const std::string& value, std::istream& words) {
  std::int64_t milliseconds = 0;
  std::int64_t lease = 0;
  words >> milliseconds >> lease;
  const auto function = [&]() -> Result<std::string> {
    if (const Result<std::int64_t> calls = client->increment("computed"); !calls) return calls.status();
    say("computing");
    if (milliseconds < 0) {
      if (const auto go = client->wait("go", std::nullopt, Options::kForever); !go) return go.status();
    } else {
      std::this_thread::sleep_for(std::chrono::milliseconds(milliseconds));
    }
    if (value == "!") return Status(StatusCode::kMismatch, "it cannot be computed");
    return value;
  };
  const Result<std::string> got = client->get_or_compute(key, kForever, function, std::chrono::milliseconds(lease));
  if (!got) return say(got.status());
  say("0 " + std::to_string(got->size()) + " " + std::to_string(digest(*got)));
}

void wait(const std::string& key, const std::string& known, std::istream& words) {
  std::int64_t milliseconds = 0;
  words >> milliseconds;
  std::optional<Bytes> value;
  const std::string bytes = bytes_of(known);
  if (known != "-") value = bytes;
  const Result<std::optional<std::string>> now =
      client->wait(key, value, milliseconds == 0 ? Options::kForever : std::chrono::milliseconds(milliseconds));
  if (!now) return say(now.status());
  say(*now ? "0 " + std::to_string((*now)->size()) + " " + std::to_string(digest(**now)) : "0 absent");
}

void obey(const std::string& line) {
  std::istringstream words(line);
  std::string verb;
  words >> verb;
  if (verb == "connect") return connect(words);
  if (verb == "end") {
    std::string how;
    words >> how;
    if (how == "exit") std::exit(0);
    if (how == "leave") ::_exit(0);
    std::abort();
  }
  if (!client) return say("11 not connected");
  if (verb == "stream") return stream(words);
  if (verb == "hammer") return hammer(words);
  if (verb == "flush") return say(client->flush());
  if (verb == "close") {
    client.reset();
    return say(Status());
  }
  if (verb == "clear") return say(client->clear());
  std::string key;
  std::string value;
  words >> key >> value;
  key = bytes_of(key);
  if (verb == "wait") return wait(key, value, words);
  if (verb == "compute") return compute(key, value, words);
  if (verb == "lease") {
    std::int64_t patience = 0;
    words >> patience;
    const Result<std::uint64_t> number =
        client->lease(key, std::chrono::milliseconds(std::stoll(value)), std::chrono::milliseconds(patience));
    return number ? say("0 " + std::to_string(*number)) : say(number.status());
  }
  if (verb == "release") return say(client->release(key, std::stoull(value)));
  if (verb == "expire") return say(client->expire(key, std::chrono::milliseconds(std::stoll(value))));
  value = bytes_of(value);
  if (verb == "put") return say(client->put(key, value));
  if (verb == "put_async") return say(client->put_async(key, value));
  if (verb == "erase") return say(client->erase(key));
  if (verb == "exists") return say(client->exists(key));
  if (verb == "get") {
    const Result<std::string> got = client->get(key);
    if (!got) return say(got.status());
    return say("0 " + std::to_string(got->size()) + " " + std::to_string(digest(*got)));
  }
  say("11 no such verb: " + verb);
}

}  // namespace

int main() {
  for (std::string line; std::getline(std::cin, line);) obey(line);
  return 0;
}
