// torture [--seconds N] [--seed S]: kills and stops a server and its working clients at random moments; then verifies that
// all answers that the clients got are consistent.
//
// In rounds of at most 20 s, each on keys of its own:
//
//   keys      of 8 bytes and of up to 65,536
//   clients   put, get, compare-exchange (by value or token), exchange and increment shared keys; insert and erase keys of their own, whose values they
//             know; values prove that they are whole. Their calls and answers are recorded in files that outlive them. A
//             killed client is replaced by another one. Some read by ring; some have short timeouts, and do not know the
//             outcome of calls that timed out
//   crowd     connections that put a key at the beginning, do nothing meanwhile, and must still work at the end
//   server    is killed and started again, with another number of workers each time; stops with --keep and is started;
//             hands over to another one, which is sometimes killed before it serves; is stopped and continued
//   map       has little memory with one seed of three, and a limit that rises and falls: a refused change must not have been
//             applied. In every second round another client clears it all the time
//
// After a round: each register's history must be linearizable (history.hpp), each counter's numbers must occur once. Then
// the map is cleared, up to 300 times, another server continues it, no key must be left, and `hostmap check` must find
// nothing. Prints a line for each round, and at the end a line of JSON for `./dev torture`. Exit code 0: no error was found.
#include <algorithm>
#include <charconv>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <iterator>
#include <map>
#include <memory>
#include <optional>
#include <poll.h>
#include <set>
#include <stdexcept>
#include <string>
#include <thread>
#include <unistd.h>
#include <vector>

#include <hostmap/client.hpp>

#include "base/platform.hpp"
#include "base/token.hpp"
#include "layout/region.hpp"
#include "process/harness/history.hpp"
#include "process/harness/program.hpp"
#include "process/harness/sealed.hpp"
#include "process/harness/server.hpp"
#include "support/seed.hpp"

namespace {

using namespace hostmap;
using namespace hostmap::test;
using hostmap::test::Operation;  // of the recorded history; the one in hostmap is of batches
using namespace std::chrono_literals;

constexpr unsigned kRegisters = 24;  // every second one an 8-byte key
constexpr unsigned kCounters = 4;
constexpr unsigned kClients = 5;
constexpr std::chrono::seconds kLongestCall{120};  // a watchdog: the deadline of each call is 60 s
constexpr unsigned kCrowd = 40;
constexpr std::size_t kLongestInOneRecord = 16'000;  // with the rings of the default size
constexpr std::int64_t kRoundNs = 20'000'000'000;

std::string key_of(std::uint64_t round, unsigned number) {
  if (number % 2 == 0) return word_key(round << 16 | number);
  std::string key = "round " + std::to_string(round) + " key " + std::to_string(number);
  if (number % 6 == 1) key.resize(20'000, '.');  // arrives in pieces
  if (number % 6 == 5) key.resize(kMaxKeyBytes, '.');
  return key;
}
std::string counter_of(std::uint64_t round, unsigned number) {
  return "round " + std::to_string(round) + " counter " + std::to_string(number);
}

// Kinds of Operation::kFault.
enum Fault : std::uint64_t { kTorn = 1, kLost = 2, kDoubled = 3, kFailed = 4 };

// What the clients of a round do.
enum class Role : std::uint8_t {
  kPlays,
  kPlaysCleared,  // while the map is cleared
  kClears,
};
constexpr const char* kRoles[] = {"plays", "plays-cleared", "clears"};

// --- In a client's process -----------------------------------------------------------------------------------------------

class Player {
 public:
  Player(const std::string& name, std::uint64_t number, std::uint64_t round, const std::string& file, bool may_be_full,
         Role role)
      : number_(number),
        round_(round),
        history_(file, false),
        random_(number),
        is_hasty_(number % 4 == 1 && role != Role::kClears),
        may_be_full_(may_be_full),
        role_(role) {
    Options options;
    options.name = name;
    options.timeout = is_hasty_ ? 20ms : 60s;
    options.wait_for_server = true;
    options.reads = number % 3 == 0 ? Reads::kRing : Reads::kDirect;
    Result<Client> client = Client::connect(options);
    for (int i = 0; i < 3000 && !client && is_unknown(client.status().code()); ++i) client = Client::connect(options);
    if (!client) throw std::runtime_error(std::string(client.status().message()));
    client_ = std::make_unique<Client>(std::move(*client));
  }

  // Until a line (or its end) comes on standard input.
  void play() {
    pollfd input{STDIN_FILENO, POLLIN, 0};
    while (!history_.full() && ::poll(&input, 1, 0) == 0) {
      if (role_ == Role::kClears) {
        clear();
        ::usleep(static_cast<useconds_t>(random_.below(50'000)));
        continue;
      }
      const auto key = static_cast<unsigned>(random_.below(kRegisters));
      switch (random_.below(10)) {
        case 0:
        case 1:
        case 2:
        case 3:
          get(key);
          break;
        case 4:
        case 5:
          put(key);
          break;
        case 6:
          exchange(key);
          break;
        case 7:
          increment(static_cast<unsigned>(random_.below(kCounters)));
          break;
        case 8:
          role_ == Role::kPlays ? own() : own_and_cleared();
          break;
        default:
          queue();
      }
      ::usleep(static_cast<useconds_t>(random_.below(100)));
    }
  }

 private:
  std::uint64_t start(Operation::Kind kind, unsigned key, std::uint64_t written = 0) {
    return history_.begin({monotonic_ns(), kOpen, key, kind, written, 0});
  }
  void end(std::uint64_t operation, std::uint64_t seen = 0) { history_.end(operation, monotonic_ns(), seen); }
  void fault(Fault which, const Status& status = {}) {
    end(start(Operation::kFault, 0), which);
    std::fprintf(stderr, "client %lu, fault %lu: %s\n", static_cast<unsigned long>(number_),
                 static_cast<unsigned long>(which), std::string(status.message()).c_str());
  }
  // Did the call time out? Then its change may still be applied, and its operation stays open. (A timeout in the middle of a
  // request in pieces closes the connection, and the call reports that.)
  bool is_unknown(StatusCode code) const {
    return is_hasty_ && (code == StatusCode::kTimeout || code == StatusCode::kNoServer || code == StatusCode::kClosed);
  }
  bool is_refused(StatusCode code) const { return may_be_full_ && code == StatusCode::kFull; }
  // Ends an operation whose call did not succeed.
  void end_without_success(std::uint64_t operation, const Status& status) {
    if (is_unknown(status.code())) return;
    history_.forget(operation);
    if (!is_refused(status.code())) fault(kFailed, status);
  }

  std::uint64_t fresh() { return number_ << 22 | ++written_; }
  std::string value_of(std::uint64_t number, unsigned key) {
    constexpr std::size_t kSizes[] = {8, 8, 8, 16, 100, 1'500, 30'000, 120'000};
    return sealed_value(number, key, kSizes[random_.below(std::size(kSizes))]);
  }

  std::optional<std::string> get(unsigned key) {
    const std::uint64_t operation = start(Operation::kGet, key);
    const Result<std::string> value = client_->get(key_of(round_, key));
    if (!value && !(value.status() == StatusCode::kNotFound)) {
      end_without_success(operation, value.status());
      return std::nullopt;
    }
    const std::optional<std::uint64_t> seen = value ? unseal(*value, key) : 0;
    if (!seen) {
      fault(kTorn);
      return std::nullopt;
    }
    end(operation, *seen);
    return value ? std::optional<std::string>(*value) : std::nullopt;
  }
  void put(unsigned key) {
    const std::uint64_t number = fresh();
    const std::string value = value_of(number, key);
    const std::uint64_t operation = start(Operation::kPut, key, number);
    if (const Status status = client_->put(key_of(round_, key), value); !status.ok()) {
      return end_without_success(operation, status);
    }
    end(operation);
  }
  void queue() {
    std::vector<std::uint64_t> operations;
    for (int i = 0; i < 4; ++i) {
      const auto key = static_cast<unsigned>(random_.below(kRegisters));
      const std::uint64_t number = fresh();
      const std::string value = value_of(number, key);
      operations.push_back(start(Operation::kPut, key, number));
      if (const Status status = client_->put_async(key_of(round_, key), value); !status.ok()) {
        end_without_success(operations.back(), status);
        operations.pop_back();
      }
    }
    // If some were refused, it is not known which, so they stay open. A flush also reports the outcome of calls that timed
    // out.
    if (const Status status = client_->flush(); !status.ok()) {
      if (!is_hasty_ && !is_refused(status.code())) fault(kFailed, status);
      return;
    }
    for (const std::uint64_t operation : operations) end(operation);
  }
  void exchange(unsigned key) {
    const std::uint64_t number = fresh();
    const std::string value = value_of(number, key);
    if (random_.one_in(3)) return exchange_whatever_is_there(key, number, value);
    const std::optional<std::string> old = get(key);
    if (!old) return;
    const std::uint64_t operation = start(Operation::kExchange, key, number);
    const Status status = random_.one_in(2) ? client_->compare_exchange(key_of(round_, key), *old, value)
                                            : client_->put_if(key_of(round_, key), value,
                                                              token_of(std::as_bytes(std::span(*old)), kNoEnd));
    if (status.ok()) return end(operation, *unseal(*old, key));
    // Without clears, a key that was present stays present.
    const bool is_gone = role_ == Role::kPlaysCleared && status == StatusCode::kNotFound;
    if (!(status == StatusCode::kMismatch) && !is_gone) return end_without_success(operation, status);
    history_.forget(operation);
  }
  void exchange_whatever_is_there(unsigned key, std::uint64_t number, const std::string& value) {
    const std::uint64_t operation = start(Operation::kExchange, key, number);
    const Result<std::optional<std::string>> old = client_->exchange(key_of(round_, key), value);
    if (!old) return end_without_success(operation, old.status());
    const std::optional<std::uint64_t> seen = *old ? unseal(**old, key) : 0;
    if (!seen) return fault(kTorn);
    end(operation, *seen);
  }
  void increment(unsigned counter) {
    const std::uint64_t operation = start(Operation::kIncrement, counter);
    const Result<std::int64_t> number = client_->increment(counter_of(round_, counter));
    if (!number) return end_without_success(operation, number.status());
    end(operation, static_cast<std::uint64_t>(*number));
  }
  void clear() {
    const std::uint64_t operation = start(Operation::kClear, 0);
    if (const Status status = client_->clear(); !status.ok()) return end_without_success(operation, status);
    end(operation);
  }
  // A key that no other client writes, so its value is known.
  void own() {
    const std::uint64_t which = random_.below(50);
    std::string key = "own " + std::to_string(number_) + " " + std::to_string(which);
    if (which % 10 == 0) key.resize(30'000 + which * 700, '.');
    if (unsure_.count(key) != 0) return;
    const auto at = own_.find(key);
    const Result<std::string> found = client_->get(key);
    if (!found && is_unknown(found.status().code())) return;
    if (at == own_.end()) {
      if (found) return fault(kDoubled);
      const std::string value = value_of(fresh(), 7);
      const Status inserted = client_->insert(key, value);
      if (is_refused(inserted.code())) return;
      if (become_unsure(key, inserted)) return;
      if (!inserted.ok()) return fault(kDoubled, inserted);
      own_[key] = value;
    } else {
      if (!found || *found != at->second)
        return fault(kLost, found ? Status(StatusCode::kInternal, "another value") : found.status());
      const Status again = client_->insert(key, "x");
      if (become_unsure(key, again)) return;
      // A full map may have no block in which a long key could arrive.
      const bool is_long = key.size() > kLongestInOneRecord;
      if (!(again == StatusCode::kAlreadyExists) && !(is_long && is_refused(again.code()))) {
        return fault(kLost, again);
      }
      const Status erased = client_->erase(key);
      if (become_unsure(key, erased)) return;
      if (!erased.ok()) return fault(kLost, erased);
      own_.erase(at);
    }
  }
  // The same while the map is cleared: the value is the last one that this client wrote, or absent; and it does not return.
  void own_and_cleared() {
    const std::string key = "own " + std::to_string(number_) + " " + std::to_string(random_.below(50));
    if (unsure_.count(key) != 0) return;
    const Result<std::string> found = client_->get(key);
    if (!found && is_unknown(found.status().code())) return;
    if (!found && !(found.status() == StatusCode::kNotFound)) return fault(kFailed, found.status());
    const auto at = own_.find(key);
    if (found && at == own_.end()) return fault(kDoubled);
    if (found && *found != at->second) return fault(kLost, Status(StatusCode::kInternal, "another value"));
    if (!found && at != own_.end()) own_.erase(at);
    if (found && random_.below(2) == 0) {
      const Status erased = client_->erase(key);
      if (become_unsure(key, erased)) return;
      if (!erased.ok() && !(erased == StatusCode::kNotFound)) return fault(kFailed, erased);
      own_.erase(key);
    } else {
      const std::string value = value_of(fresh(), 7);
      const Status put = client_->put(key, value);
      if (become_unsure(key, put) || is_refused(put.code())) return;
      if (!put.ok()) return fault(kFailed, put);
      own_[key] = value;
    }
  }
  bool become_unsure(const std::string& key, const Status& status) {
    if (!is_unknown(status.code())) return false;
    unsure_.insert(key);
    return true;
  }

  std::uint64_t number_;
  std::uint64_t round_;
  History history_;
  Random random_;
  std::unique_ptr<Client> client_;
  std::uint64_t written_ = 0;
  bool is_hasty_;
  bool may_be_full_;
  Role role_;
  std::map<std::string, std::string> own_;
  std::set<std::string> unsure_;  // those of its own keys whose last call timed out
};

// --- In the process of torture itself --------------------------------------------------------------------------------------

struct Totals {
  std::uint64_t kills_server = 0;
  std::uint64_t kills_client = 0;
  std::uint64_t kept = 0;
  std::uint64_t takeovers = 0;
  std::uint64_t takeovers_killed = 0;
  std::uint64_t ops = 0;
  std::uint64_t lost = 0;
  std::uint64_t duplicated = 0;
  std::uint64_t nonlinearizable = 0;
  std::uint64_t torn = 0;
  std::uint64_t failed = 0;
  std::int64_t longest_pause_ns = 0;
  bool clean() const { return lost + duplicated + nonlinearizable + torn + failed == 0; }
};

class Torture {
 public:
  Torture(std::string self, std::uint64_t seed)
      : self_(std::move(self)),
        folder_(std::filesystem::path(self_).parent_path()),
        name_("torture-" + std::to_string(::getpid())),
        histories_(std::filesystem::temp_directory_path() / name_),
        random_(seed),
        memory_(random_.below(3) == 0 ? "24M" : "1G") {
    std::filesystem::create_directory(histories_);
    start_server("4");
    std::fprintf(stderr, "torture: a map of %s\n", memory_.c_str());
  }
  ~Torture() { std::filesystem::remove_all(histories_); }

  void round(std::int64_t until_ns) {
    ++round_;
    std::vector<Program> clients;
    std::vector<std::string> files;
    const bool is_cleared = round_ % 2 == 0;
    const auto start_client = [&](Role role) {
      files.push_back(histories_ / std::to_string(++clients_));
      History(files.back(), true);
      return Program({self_, "--client", name_, std::to_string(clients_), std::to_string(round_), files.back(),
                      may_be_full() ? "full" : "wide", kRoles[static_cast<unsigned>(role)]});
    };
    std::vector<Client> crowd;
    while (crowd.size() < kCrowd) crowd.push_back(connect());
    for (unsigned i = 0; i < kCrowd; ++i) put_in_crowd(crowd[i], i);
    const Role role = is_cleared ? Role::kPlaysCleared : Role::kPlays;
    while (clients.size() < kClients) clients.push_back(start_client(role));
    if (is_cleared) clients.push_back(start_client(Role::kClears));  // the last one: it is not killed
    while (monotonic_ns() < until_ns) {
      ::usleep(static_cast<useconds_t>(2'000 + random_.below(120'000)));
      Program& victim = clients[random_.below(kClients)];
      switch (random_.below(8)) {
        case 0:
        case 1:
        case 2:
        case 3:
          change_server();
          break;
        case 4:
          pause(*server_);
          break;
        case 5:
          pause(victim);
          break;
        default:
          victim.kill();
          repeat_errors(victim);
          ++totals_.kills_client;
          victim = start_client(role);
      }
    }
    for (Program& client : clients) client.close_input();
    for (Program& client : clients) {
      if (!(client.wait(kLongestCall) == kSuccess)) {
        fail("a client did not end in order");
      }
      repeat_errors(client);
    }
    judge(files);
    for (unsigned i = 0; i < kCrowd; ++i) put_in_crowd(crowd[i], i);
    clear_all();
    for (const std::string& file : files) std::filesystem::remove(file);
  }

  // Prints the JSON line; true if no error was found.
  bool finish(std::uint64_t seed) {
    const Ran stat = run({folder_ / "hostmap", "--name", name_, "stat", "--json"});
    const auto figures = figures_of(stat.output);
    if (figures.at("poisoned") != 0) fail("a server has closed connections because of what they sent");
    const std::uint64_t rescues = figures.at("timeout_rescues") + figures.at("client_timeout_rescues");
    server_->send(SIGTERM);
    if (!(server_->wait() == kSuccess)) ++totals_.failed;
    const std::size_t leaked = files_of_instance(name_).size();
    std::printf(
        "{\"seed\":%lu,\"kills_server\":%lu,\"kills_client\":%lu,\"kept\":%lu,\"takeovers\":%lu,\"takeovers_killed\":%"
        "lu,\"ops\":%lu,\"lost\":%"
        "lu,\"duplicated\":%lu,"
        "\"nonlinearizable\":%lu,\"torn\":%lu,\"failed\":%lu,\"leaked_regions\":%lu,\"timeout_rescues\":%lu,"
        "\"longest_pause_ms\":%ld}\n",
        static_cast<unsigned long>(seed), static_cast<unsigned long>(totals_.kills_server),
        static_cast<unsigned long>(totals_.kills_client), static_cast<unsigned long>(totals_.kept),
        static_cast<unsigned long>(totals_.takeovers), static_cast<unsigned long>(totals_.takeovers_killed),
        static_cast<unsigned long>(totals_.ops), static_cast<unsigned long>(totals_.lost),
        static_cast<unsigned long>(totals_.duplicated), static_cast<unsigned long>(totals_.nonlinearizable),
        static_cast<unsigned long>(totals_.torn), static_cast<unsigned long>(totals_.failed),
        static_cast<unsigned long>(leaked), static_cast<unsigned long>(rescues),
        static_cast<long>(totals_.longest_pause_ns / 1'000'000));
    return totals_.clean() && leaked == 0 && rescues == 0 && totals_.ops != 0;
  }

 private:
  Program server_program(std::vector<std::string> arguments) const {
    arguments.insert(arguments.begin(), {folder_ / "hostmap-server", "16", "--name", name_, "--memory", memory_});
    return Program(arguments);
  }
  static void await_ready(Program& server) {
    const std::string ready = server.hear();
    if (!ready.starts_with("ready ")) throw std::runtime_error("the server does not serve: " + ready + server.errors());
  }
  void start_server(const std::string& workers) {
    server_.emplace(server_program({"--workers", workers}));
    await_ready(*server_);
  }
  static void repeat_errors(Program& client) { std::fputs(client.errors().c_str(), stderr); }
  bool may_be_full() const { return memory_ == "24M"; }
  Client connect() {
    Options options;
    options.name = name_;
    options.timeout = 60s;
    options.wait_for_server = true;
    Result<Client> client = Client::connect(options);
    if (!client) throw std::runtime_error(std::string(client.status().message()));
    return std::move(*client);
  }
  void fail(const std::string& what) {
    ++totals_.failed;
    std::fprintf(stderr, "round %lu: %s\n", static_cast<unsigned long>(round_), what.c_str());
  }
  // False: the server has ended. Otherwise it has answered a new client.
  bool serves() {
    // Erases an absent key, so the map does not change.
    Program probe({folder_ / "hostmap", "--name", name_, "--wait", "--timeout", "60", "erase", "never there"});
    while (probe.running() && server_->running()) ::usleep(1'000);
    if (!server_->running()) return false;
    probe.wait(kLongestCall);
    const bool answered = probe.errors().find("no such key") != std::string::npos;
    if (!answered) fail("a takeover whose server was killed leaves one that does not serve: " + probe.errors());
    return true;
  }
  // Damage that a start logs. Connections that it closed are reported by the calls that failed, too.
  void repeat_log(Program& server) {
    for (const std::string& line : lines_of(server.errors())) {
      if (line.find("repaired the table") != std::string::npos ||
          line.find("starting with an empty map") != std::string::npos) {
        fail(line);
      }
      if (line.find("could not be recovered") != std::string::npos) {
        std::fprintf(stderr, "round %lu: %s\n", static_cast<unsigned long>(round_), line.c_str());
      }
    }
  }
  void put_in_crowd(Client& client, unsigned number) {
    const std::string key = "crowd " + std::to_string(number);
    const std::string value = std::to_string(random_.word());
    const Status status = client.put(key, value);
    if (status == StatusCode::kFull && may_be_full()) return;
    const Result<std::string> found = client.get(key);
    if (!status.ok() || !found || *found != value) fail("one of the crowd: " + std::string(status.message()));
  }
  // Only where writes may be refused.
  void change_limit() {
    const std::string size = std::to_string(1 + random_.below(48)) + "M";
    const Ran ran = run({folder_ / "hostmap", "--name", name_, "limit", size});
    if (!(ran.exit == kSuccess)) fail("limit " + size + ": " + ran.errors);
  }
  // The server ends, in one of several ways, and another one continues what it leaves.
  void change_server() {
    if (may_be_full()) change_limit();
    const std::string workers = std::to_string(1 + random_.below(4));
    switch (random_.below(4)) {
      case 0:
        if (!(run({folder_ / "hostmap", "--name", name_, "stop", "--keep"}).exit == kSuccess)) fail("stop --keep");
        if (!(server_->wait(kLongestCall) == kSuccess)) fail("a kept server: " + server_->errors());
        ++totals_.kept;
        break;
      case 1: {
        if (random_.below(3) == 0) {
          Program killed = server_program({"--workers", workers, "--takeover"});
          ::usleep(static_cast<useconds_t>(random_.below(40'000)));
          killed.kill();
          repeat_log(killed);
          ++totals_.takeovers_killed;
          if (serves()) return;
          // It had handed over: another server finds everything.
          if (!(server_->wait(kLongestCall) == kSuccess))
            fail("a server that was taken over from: " + server_->errors());
          break;
        }
        Program next = server_program({"--workers", workers, "--takeover"});
        await_ready(next);
        if (!(server_->wait(kLongestCall) == kSuccess)) fail("a server that was taken over from: " + server_->errors());
        repeat_log(*server_);
        server_ = std::move(next);
        ++totals_.takeovers;
        return;
      }
      default:
        server_->kill();
        ++totals_.kills_server;
        if (random_.below(4) == 0) {  // the next one is killed before it serves
          Program hasty = server_program({});
          ::usleep(static_cast<useconds_t>(random_.below(15'000)));
          hasty.kill();
          repeat_log(hasty);
          ++totals_.kills_server;
        }
    }
    repeat_log(*server_);
    ::usleep(static_cast<useconds_t>(random_.below(30'000)));
    start_server(workers);
  }
  // No other client writes now.
  void clear_all() {
    Client client = connect();
    const std::uint64_t clears = random_.below(3) == 0 ? random_.below(300) : 1;
    for (std::uint64_t i = 0; i <= clears; ++i) {
      const Status put = client.put("cleared " + std::to_string(i % 7), "value");
      if (!put.ok() && !(put == StatusCode::kFull && may_be_full())) fail("put: " + std::string(put.message()));
      if (const Status status = client.clear(); !status.ok()) fail("clear: " + std::string(status.message()));
    }
    change_server();
    const Result<std::uint64_t> size = client.size();
    if (!size || *size != 0) fail("there are entries after a clear: " + (size ? std::to_string(*size) : "?"));
    for (unsigned i = 0; i < 7; ++i) {
      if (client.get("cleared " + std::to_string(i))) fail("a key is there after a clear");
    }
    if (client.get(counter_of(round_, 0)) || client.get(key_of(round_, 0))) fail("a key is there after a clear");
    const Ran check = run({folder_ / "hostmap", "--name", name_, "check"});
    if (!(check.exit == kSuccess)) fail("hostmap check: " + check.output + check.errors);
  }
  void pause(const Program& program) {
    program.send(SIGSTOP);
    ::usleep(static_cast<useconds_t>(random_.below(50'000)));
    program.send(SIGCONT);
  }

  void judge(const std::vector<std::string>& files) {
    std::map<unsigned, std::vector<Operation>> registers;
    std::map<unsigned, std::vector<Operation>> counters;
    std::vector<Operation> clears;
    std::uint64_t operations = 0;
    for (const std::string& file : files) {
      for (const Operation& operation : History(file, false).read()) {
        ++operations;
        if (operation.end != kOpen) {
          totals_.longest_pause_ns = std::max(totals_.longest_pause_ns, operation.end - operation.begin);
        }
        if (operation.kind == Operation::kFault) {
          switch (operation.seen) {
            case kTorn:
              ++totals_.torn;
              break;
            case kLost:
              ++totals_.lost;
              break;
            case kDoubled:
              ++totals_.duplicated;
              break;
            default:
              ++totals_.failed;
          }
        } else if (operation.kind == Operation::kClear) {
          clears.push_back(operation);
        } else if (operation.kind == Operation::kIncrement) {
          counters[operation.key].push_back(operation);
        } else {
          registers[operation.key].push_back(operation);
        }
      }
    }
    Client client = connect();
    // The content at the end is one more get in each history.
    for (unsigned key = 0; key < kRegisters; ++key) {
      Operation last{monotonic_ns(), kOpen, key, Operation::kGet, 0, 0};
      const Result<std::string> value = client.get(key_of(round_, key));
      if (!value && !(value.status() == StatusCode::kNotFound)) {
        fail("the last read of key " + std::to_string(key) + ": " + std::string(value.status().message()));
        continue;
      }
      const std::optional<std::uint64_t> seen = value ? unseal(*value, key) : 0;
      if (!seen) ++totals_.torn;
      last.seen = seen.value_or(0);
      last.end = monotonic_ns();
      registers[key].push_back(last);
      registers[key].insert(registers[key].end(), clears.begin(), clears.end());
      const std::string what = contradiction_of_register(registers[key]);
      if (what.empty()) continue;
      ++totals_.nonlinearizable;
      std::fprintf(stderr, "round %lu, key %u: %s\n", static_cast<unsigned long>(round_), key, what.c_str());
    }
    for (unsigned counter = 0; counter < kCounters; ++counter) {
      const Result<std::string> value = client.get(counter_of(round_, counter));
      const CounterVerdict verdict = clears.empty()
                                         ? verdict_of_counter(counters[counter], value ? std::stoull(*value) : 0)
                                         : verdict_of_cleared_counter(counters[counter], clears);
      totals_.lost += verdict.lost;
      totals_.duplicated += verdict.duplicated;
      totals_.nonlinearizable += verdict.out_of_order;
    }
    totals_.ops += operations;
    std::fprintf(stderr, "round %lu: %lu operations by %zu clients, %zu of them clears, %lu servers killed so far%s\n",
                 static_cast<unsigned long>(round_), static_cast<unsigned long>(operations), files.size(),
                 clears.size(), static_cast<unsigned long>(totals_.kills_server),
                 totals_.clean() ? "" : ", SOMETHING IS WRONG");
  }

  std::string self_;
  std::filesystem::path folder_;
  std::string name_;
  std::filesystem::path histories_;
  Random random_;
  std::string memory_;
  std::optional<Program> server_;
  Totals totals_;
  std::uint64_t round_ = 0;
  std::uint64_t clients_ = 0;
};

std::uint64_t number_of(const char* text, const char* option) {
  std::uint64_t number = 0;
  const auto [rest, error] = std::from_chars(text, text + std::strlen(text), number);
  if (error == std::errc() && *rest == '\0') return number;
  std::fprintf(stderr, "torture: %s %s is no number\n", option, text);
  std::exit(2);
}

}  // namespace

int main(int argc, char** argv) {
  const std::vector<std::string> arguments(argv + 1, argv + argc);
  if (arguments.size() == 7 && arguments[0] == "--client") {
    const auto role = std::find(std::begin(kRoles), std::end(kRoles), arguments[6]) - std::begin(kRoles);
    Player(arguments[1], std::stoull(arguments[2]), std::stoull(arguments[3]), arguments[4], arguments[5] == "full",
           static_cast<Role>(role))
        .play();
    return 0;
  }
  std::uint64_t seconds = 60;
  std::uint64_t seed = static_cast<std::uint64_t>(std::chrono::system_clock::now().time_since_epoch().count());
  for (int i = 1; i < argc; i += 2) {
    const std::string option = argv[i];
    if (i + 1 == argc || (option != "--seconds" && option != "--seed")) {
      std::fprintf(stderr, "usage: torture [--seconds N] [--seed S]\n");
      return 2;
    }
    (option == "--seconds" ? seconds : seed) = number_of(argv[i + 1], argv[i]);
  }
  std::fprintf(stderr, "torture: %lu s, seed %lu\n", static_cast<unsigned long>(seconds),
               static_cast<unsigned long>(seed));
  ::signal(SIGPIPE, SIG_IGN);
  Torture torture(std::filesystem::read_symlink("/proc/self/exe"), seed);
  const std::int64_t end = monotonic_ns() + static_cast<std::int64_t>(seconds) * 1'000'000'000;
  while (monotonic_ns() < end) torture.round(std::min(end, monotonic_ns() + kRoundNs));
  return torture.finish(seed) ? 0 : 1;
}
