// torture [--seconds N] [--seed S]: kills and stops a server and its working clients at random moments; then verifies that
// all answers that the clients got are consistent.
//
// In rounds of at most 20 s, each on keys of its own:
//
//   keys      of 8 bytes and of up to 65,536
//   clients   put, get, compare-exchange (by value or token) and exchange shared keys, alone and in batches; add to numbers of
//             each form and to shared logs; give some shared keys an end, change it, keep it with another value, and erase them
//             by token; insert and erase keys of their own, whose values are known; values prove that they are whole. Their calls
//             and answers are recorded in files that outlive them. A killed client is replaced by another one. Some read by
//             ring; some have short timeouts, and the outcome of calls that timed out is unknown to them
//             Two clients more wait until a shared key changes, which counts as a get, and compete for a lease, for longer than
//             it lasts: its numbers must grow, and none may be given twice
//   crowd     connections that put a key at the beginning, do nothing meanwhile, and must still work at the end
//   server    is killed and started again, with another number of workers each time; stops with --keep and is started;
//             hands over to another one, which is sometimes killed before it serves; is stopped and continued
//   map       has little memory with one seed of three, and a limit that rises and falls: a refused change must not have been
//             applied; with every second of these seeds its server evicts keys instead, so that any key may become absent, but its
//             former value does not return. In every second round another client clears it all the time
//
// After a round: each register's history must be linearizable (history.hpp), no value may have been seen after its end, each
// counter's numbers must occur once, and each log must have each record at the place in the answer to its append. Then
// the map is cleared, up to 300 times, another server continues it, no key must be left, and `hostmap check` must find
// nothing. Prints a line for each round, and at the end a line of JSON for `./dev torture`. Exit code 0: no error was found.
#include <algorithm>
#include <charconv>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fcntl.h>
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
constexpr unsigned kLapsing = 12;    // the registers after these, whose keys may end
constexpr unsigned kCounters = 8;    // of each form of numbers, two
constexpr unsigned kLogs = 2;        // numbered after the counters
constexpr unsigned kClients = 5;
constexpr unsigned kCoordinating = 2;              // clients beside these
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
// How a counter is added to, and stored.
enum class Form : std::uint8_t { kText, kTextFrom0, kFraction, kStored };
Form form_of(unsigned counter) { return static_cast<Form>(counter % 4); }
std::string counter_of(std::uint64_t round, unsigned number) {
  if (number == 3) return word_key(round << 16 | 0x8000);
  return "round " + std::to_string(round) + " counter " + std::to_string(number);
}
// What a counter holds; 0 if it is absent.
std::uint64_t count_of(Client& client, std::uint64_t round, unsigned counter) {
  const std::string key = counter_of(round, counter);
  if (form_of(counter) == Form::kStored)
    return static_cast<std::uint64_t>(client.get_as<std::int64_t>(key).value_or(0));
  const Result<std::string> text = client.get(key);
  return text ? static_cast<std::uint64_t>(std::stod(*text)) : 0;
}
std::string log_of(std::uint64_t round, unsigned log) {
  return "round " + std::to_string(round) + " log " + std::to_string(log);
}

// Kinds of Operation::kFault.
enum Fault : std::uint64_t { kTorn = 1, kLost = 2, kDoubled = 3, kFailed = 4 };

// What the clients of a round do.
enum class Role : std::uint8_t {
  kPlays,
  kPlaysCleared,  // while the map is cleared, or keys are evicted
  kClears,
  kCoordinates,
};
constexpr const char* kRoles[] = {"plays", "plays-cleared", "clears", "coordinates"};

// --- In a client's process -----------------------------------------------------------------------------------------------

class Player {
 public:
  Player(const std::string& name, std::uint64_t number, std::uint64_t round, const std::string& file, bool may_be_full,
         Role role)
      : number_(number),
        round_(round),
        history_(file, false),
        random_(number),
        file_(file),
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
      if (role_ == Role::kCoordinates) {
        random_.below(4) == 0 ? lease() : await_change(key);
        continue;
      }
      switch (random_.below(18)) {
        case 10:
        case 11:
        case 12:
        case 13:
        case 14:
          lapsing(kRegisters + static_cast<unsigned>(random_.below(kLapsing)));
          break;
        case 15:
          log(static_cast<unsigned>(random_.below(kLogs)));
          break;
        case 16:
          batch();
          break;
        case 17:
          role_ == Role::kPlays ? own_batch() : batch();
          break;
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
  std::uint64_t start(Operation::Kind kind, unsigned key, std::uint64_t written = 0, std::int64_t ttl = kStays) {
    return history_.begin({monotonic_ns(), kOpen, key, kind, written, 0, ttl});
  }
  void end(std::uint64_t operation, std::uint64_t seen = 0) { history_.end(operation, monotonic_ns(), seen); }
  void fault(Fault which, const Status& status = {}) {
    end(start(Operation::kFault, 0), which);
    std::fprintf(stderr, "client %lu, fault %lu: %s\n", static_cast<unsigned long>(number_),
                 static_cast<unsigned long>(which), std::string(status.message()).c_str());
  }
  // Did the call time out? Then its change may still be applied, and its operation stays open.
  bool is_unknown(StatusCode code) const {
    return is_hasty_ && (code == StatusCode::kTimeout || code == StatusCode::kNoServer || code == StatusCode::kClosed);
  }
  // The same of a call that has a short time of its own, whatever the client's timeout is: no server may run meanwhile.
  bool is_late(StatusCode code) const {
    return code == StatusCode::kTimeout || code == StatusCode::kNoServer || is_unknown(code);
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
    const std::string key = counter_of(round_, counter);
    const std::uint64_t operation = start(Operation::kIncrement, counter);
    const auto end_with = [&](const auto& number) {
      if (!number) return end_without_success(operation, number.status());
      end(operation, static_cast<std::uint64_t>(*number));
    };
    switch (form_of(counter)) {
      case Form::kText:
        return end_with(client_->increment(key));
      case Form::kTextFrom0:
        return end_with(client_->increment(key, 1, 0));
      case Form::kFraction:
        return end_with(client_->increment(key, 1.0));
      case Form::kStored:
        return end_with(client_->increment_as<std::int64_t>(key, 1));
    }
  }
  // Records of 8 bytes; the size shows where this one is.
  void log(unsigned which) {
    const std::uint64_t number = fresh();
    const std::uint64_t operation = start(Operation::kAppend, which, number);
    const Result<std::uint64_t> size = client_->append(log_of(round_, which), word_key(number));
    if (!size) return end_without_success(operation, size.status());
    if (*size % 8 != 0) fault(kTorn);
    end(operation, *size / 8);
  }

  // How long a key lives that may lapse: often less than a pause of the server.
  std::chrono::milliseconds any_ttl() {
    if (random_.one_in(4)) return kForever;
    return std::chrono::milliseconds(random_.one_in(8) ? 3'600'000 : 1 + random_.below(random_.one_in(2) ? 10 : 200));
  }
  static std::int64_t ns_of(std::chrono::milliseconds ttl) {
    if (ttl == kKeepTtl) return kKeepsIfThere;
    return ttl == kForever ? kStays : std::chrono::nanoseconds(ttl).count();
  }
  // Ends an operation that is refused where the key is absent: then it has seen that.
  void end_lapsing(std::uint64_t operation, const Status& status, std::uint64_t seen = 0) {
    if (status.ok()) return end(operation, seen);
    if (!(status == StatusCode::kNotFound)) {
      if (!(status == StatusCode::kMismatch || status == StatusCode::kAlreadyExists)) {
        return end_without_success(operation, status);
      }
      return history_.forget(operation);
    }
    history_.absent(operation, monotonic_ns());
  }
  void lapsing(unsigned key) {
    const std::string name = key_of(round_, key);
    const std::chrono::milliseconds ttl = any_ttl();
    const std::uint64_t number = fresh();
    switch (random_.below(14)) {
      case 0:
      case 1: {
        const std::string value = value_of(number, key);
        const std::uint64_t operation = start(Operation::kPut, key, number, ns_of(ttl));
        return end_lapsing(operation, client_->put(name, value, ttl));
      }
      case 2: {  // it has replaced nothing
        const std::string value = value_of(number, key);
        const std::uint64_t operation = start(Operation::kExchange, key, number, ns_of(ttl));
        return end_lapsing(operation, client_->insert(name, value, ttl));
      }
      case 3: {
        const std::string value = value_of(number, key);
        const std::uint64_t operation = start(Operation::kPut, key, number, ns_of(ttl));
        return end_lapsing(operation, client_->replace(name, value, ttl));
      }
      case 4: {
        const std::uint64_t operation = start(Operation::kExpire, key, 0, ns_of(ttl));
        return end_lapsing(operation, client_->expire(name, ttl));
      }
      case 5: {
        const std::uint64_t operation = start(Operation::kExpire, key, 0, ns_of(ttl));
        if (const Status queued = client_->expire_async(name, ttl); !queued.ok()) {
          return end_lapsing(operation, queued);
        }
        const Status status = client_->flush();
        if (status.ok()) return end(operation);
        if (!is_hasty_ && !is_refused(status.code())) fault(kFailed, status);
        return;
      }
      case 6: {
        const std::uint64_t operation = start(Operation::kGet, key);
        const Result<std::chrono::milliseconds> left = client_->ttl(name);
        if (!left) return end_lapsing(operation, left.status());
        if (*left <= 0ms || (*left > 3'600'001ms && *left != kForever)) fault(kFailed);
        return history_.forget(operation);  // it has seen a value, but not which
      }
      case 7:
      case 8:
        return exchange_lapsing(key, name, number);
      case 9: {
        const std::string value = value_of(number, key);
        const std::uint64_t operation = start(Operation::kPut, key, number, kKeepsIfThere);
        return end_lapsing(operation, client_->put(name, value, kKeepTtl));
      }
      case 10: {
        const std::string value = value_of(number, key);
        const std::uint64_t operation = start(Operation::kPut, key, number, kKeeps);
        return end_lapsing(operation, client_->replace(name, value, kKeepTtl));
      }
      default:
        static_cast<void>(get(key));
    }
  }
  // By the token of the value and its end: it keeps the end, or removes the key.
  void exchange_lapsing(unsigned key, const std::string& name, std::uint64_t number) {
    const std::uint64_t reading = start(Operation::kGet, key);
    const Result<ValueAndToken> found = client_->get_with_token(name);
    if (!found) return end_lapsing(reading, found.status());
    const std::optional<std::uint64_t> seen = unseal(found->value, key);
    if (!seen) return fault(kTorn);
    end(reading, *seen);
    if (random_.one_in(3)) {
      const std::uint64_t operation = start(Operation::kErase, key);
      return end_lapsing(operation, client_->erase_if(name, found->token), *seen);
    }
    const std::string value = value_of(number, key);
    const std::uint64_t operation = start(Operation::kExchange, key, number, kKeeps);
    const bool by_token = random_.one_in(2);
    end_lapsing(
        operation,
        by_token ? client_->put_if(name, value, found->token) : client_->compare_exchange(name, found->value, value),
        *seen);
  }

  // Puts, gets, additions and appends of shared keys at once. All begin before the call, and end after it.
  void batch() {
    std::vector<hostmap::Operation> requests;
    std::vector<std::uint64_t> operations;
    std::vector<unsigned> keys;
    std::vector<std::string> texts;
    const std::uint64_t size = 1 + random_.below(random_.one_in(4) ? 80 : 12);
    texts.reserve(2 * size);
    const auto keep = [&](std::string text) -> const std::string& { return texts.emplace_back(std::move(text)); };
    for (std::uint64_t i = 0; i < size; ++i) {
      const std::uint64_t number = fresh();
      auto key = static_cast<unsigned>(random_.below(kRegisters + kLapsing));
      switch (random_.below(6)) {
        case 0: {
          const std::chrono::milliseconds ttl = key < kRegisters ? kForever : random_.one_in(4) ? kKeepTtl : any_ttl();
          const std::string& name = keep(key_of(round_, key));
          requests.push_back(hostmap::Operation::put(name, keep(value_of(number, key)), ttl));
          operations.push_back(start(Operation::kPut, key, number, ns_of(ttl)));
          break;
        }
        case 1: {
          key = static_cast<unsigned>(random_.below(kCounters));
          const std::string& name = keep(counter_of(round_, key));
          const Form form = form_of(key);
          requests.push_back(form == Form::kText        ? hostmap::Operation::increment(name)
                             : form == Form::kTextFrom0 ? hostmap::Operation::increment(name, 1, 0)
                             : form == Form::kFraction  ? hostmap::Operation::increment(name, 1.0)
                                                        : hostmap::Operation::increment_as<std::int64_t>(name, 1));
          operations.push_back(start(Operation::kIncrement, key));
          break;
        }
        case 2: {
          key = static_cast<unsigned>(random_.below(kLogs));
          const std::string& name = keep(log_of(round_, key));
          requests.push_back(hostmap::Operation::append(name, keep(word_key(number))));
          operations.push_back(start(Operation::kAppend, key, number));
          break;
        }
        case 3: {
          key = kRegisters + static_cast<unsigned>(random_.below(kLapsing));
          const std::chrono::milliseconds ttl = any_ttl();
          requests.push_back(hostmap::Operation::expire(keep(key_of(round_, key)), ttl));
          operations.push_back(start(Operation::kExpire, key, 0, ns_of(ttl)));
          break;
        }
        default:
          requests.push_back(hostmap::Operation::get(keep(key_of(round_, key))));
          operations.push_back(start(Operation::kGet, key));
      }
      keys.push_back(key);
    }
    std::vector<Outcome> outcomes(requests.size());
    static_cast<void>(client_->apply(requests, outcomes));  // each outcome has its own status
    for (std::size_t i = 0; i < requests.size(); ++i) end_of_batch(requests[i], operations[i], keys[i], outcomes[i]);
  }
  void end_of_batch(const hostmap::Operation& request, std::uint64_t operation, unsigned key, const Outcome& outcome) {
    using Kind = hostmap::Operation::Kind;
    if (request.kind == Kind::kExpire) return end_lapsing(operation, outcome.status);
    if (request.kind == Kind::kGet && outcome.status == StatusCode::kNotFound) return end(operation, 0);
    if (!outcome.status.ok()) return end_without_success(operation, outcome.status);
    switch (request.kind) {
      case Kind::kPut:
        return end(operation);
      case Kind::kGet: {
        const std::optional<std::uint64_t> seen = unseal(outcome.value, key);
        return seen ? end(operation, *seen) : fault(kTorn);
      }
      case Kind::kAppend:
        if (outcome.number % 8 != 0) fault(kTorn);
        return end(operation, static_cast<std::uint64_t>(outcome.number) / 8);
      default:
        return end(operation, static_cast<std::uint64_t>(form_of(key) == Form::kFraction
                                                             ? static_cast<std::int64_t>(outcome.fraction())
                                                             : outcome.number));
    }
  }
  // On a key of its own: the operations of a key are applied in their order, so that each outcome is known.
  void own_batch() {
    const std::string key = "own " + std::to_string(number_) + " batch";
    if (unsure_.count(key) != 0) return;
    const std::string first = value_of(fresh(), 7);
    const std::string second = value_of(fresh(), 7);
    const hostmap::Operation requests[] = {hostmap::Operation::insert(key, first, 1h),
                                           hostmap::Operation::get(key),
                                           hostmap::Operation::compare_exchange(key, first, second),
                                           hostmap::Operation::append(key, "more"),
                                           hostmap::Operation::get(key),
                                           hostmap::Operation::erase(key),
                                           hostmap::Operation::get(key)};
    Outcome outcomes[std::size(requests)];
    const Status status = client_->apply(requests, outcomes);
    for (const Outcome& outcome : outcomes) {
      if (become_unsure(key, outcome.status)) return;
    }
    // What is refused for want of memory leaves the rest to chance; the key is erased at the end.
    for (const Outcome& outcome : outcomes) {
      if (is_refused(outcome.status.code())) return;
    }
    const StatusCode codes[] = {StatusCode::kOk, StatusCode::kOk, StatusCode::kOk,      StatusCode::kOk,
                                StatusCode::kOk, StatusCode::kOk, StatusCode::kNotFound};
    for (std::size_t i = 0; i < std::size(codes); ++i) {
      if (!(outcomes[i].status == codes[i])) return fault(kLost, outcomes[i].status);
    }
    if (!status.ok()) return fault(kFailed, status);
    if (outcomes[1].value != first || outcomes[4].value != second + "more" ||
        outcomes[3].number != static_cast<std::int64_t>(second.size()) + 4) {
      fault(kLost, Status(StatusCode::kInternal, "another value in a batch"));
    }
  }
  // What it returns was the key's value at some moment of the call.
  void await_change(unsigned key) {
    const std::optional<std::string> known = get(key);
    const std::uint64_t operation = start(Operation::kGet, key);
    const auto changed = client_->wait(key_of(round_, key), known ? std::optional<Bytes>(*known) : std::nullopt,
                                       std::chrono::milliseconds(random_.below(200)));
    if (!changed) {
      if (!is_late(changed.status().code())) return end_without_success(operation, changed.status());
      return history_.forget(operation);
    }
    const std::optional<std::uint64_t> seen = *changed ? unseal(**changed, key) : 0;
    if (!seen) return fault(kTorn);
    end(operation, *seen);
    // (What get() has not returned because of an error is unknown.)
    if (known && *changed == known) fault(kLost, Status(StatusCode::kInternal, "a wait ended without a change"));
  }
  void lease() {
    const std::string key = "lease of round " + std::to_string(round_);
    const Result<std::uint64_t> number = client_->lease(key, 100ms, std::chrono::milliseconds(random_.below(300)));
    if (!number) {
      const StatusCode code = number.status().code();
      if (code != StatusCode::kAlreadyExists && !is_late(code)) fault(kFailed, number.status());
      return;
    }
    // One file for each number, in the folder of the histories.
    const std::string file = std::filesystem::path(file_).parent_path() /
                             ("lease-" + std::to_string(round_) + "-" + std::to_string(*number));
    const int made = ::open(file.c_str(), O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0600);
    if (made == -1 || *number <= last_lease_)
      return fault(kDoubled, Status(StatusCode::kInternal, "the number of a lease"));
    ::close(made);
    last_lease_ = *number;
    ::usleep(static_cast<useconds_t>(random_.below(4) == 0 ? 120'000 : random_.below(20'000)));
    if (random_.below(8) == 0) return;  // it ends by itself
    const Status released = client_->release(key, *number);
    if (!released.ok() && !(released == StatusCode::kNotFound) && !is_unknown(released.code()))
      fault(kFailed, released);
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
  std::string file_;
  std::unique_ptr<Client> client_;
  std::uint64_t written_ = 0;
  std::uint64_t last_lease_ = 0;
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
        memory_(random_.below(3) == 0 ? "24M" : "1G"),
        evicts_(may_be_full() && random_.below(2) == 0) {
    std::filesystem::create_directory(histories_);
    start_server("4");
    std::fprintf(stderr, "torture: a map of %s%s\n", memory_.c_str(), evicts_ ? " that evicts" : "");
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
    const Role role = is_cleared || evicts_ ? Role::kPlaysCleared : Role::kPlays;
    const std::int64_t begin_ns = monotonic_ns();
    while (clients.size() < kClients) clients.push_back(start_client(role));
    while (clients.size() < kClients + kCoordinating) clients.push_back(start_client(Role::kCoordinates));
    if (is_cleared) clients.push_back(start_client(Role::kClears));  // the last one: it is not killed
    while (monotonic_ns() < until_ns) {
      ::usleep(static_cast<useconds_t>(2'000 + random_.below(120'000)));
      const std::uint64_t chosen = random_.below(kClients + kCoordinating);
      Program& victim = clients[chosen];
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
          victim = start_client(chosen < kClients ? role : Role::kCoordinates);
      }
    }
    for (Program& client : clients) client.close_input();
    for (Program& client : clients) {
      if (!(client.wait(kLongestCall) == kSuccess)) {
        fail("a client did not end in order");
      }
      repeat_errors(client);
    }
    judge(files, begin_ns);
    for (unsigned i = 0; i < kCrowd; ++i) put_in_crowd(crowd[i], i);
    clear_all();
    for (const std::string& file : files) std::filesystem::remove(file);
  }

  // Prints the JSON line; true if no error was found.
  bool finish(std::uint64_t seed) {
    const Ran stat = run({folder_ / "hostmap", "--name", name_, "stat", "--json"});
    const auto figures = figures_of(stat.output);
    if (figures.at("poisoned") != 0) fail("a server has closed connections because of what they sent");
    if (evicts_)
      std::fprintf(stderr, "torture: %lu keys were evicted\n", static_cast<unsigned long>(figures.at("evicted")));
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
    if (evicts_) arguments.insert(arguments.end(), {"--eviction", "clock"});
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
  // Damage that a start logs.
  void repeat_log(Program& server) {
    for (const std::string& line : lines_of(server.errors())) {
      for (const char* damage : {"repaired the table", "starting with an empty map", "could not be recovered"}) {
        if (line.find(damage) != std::string::npos) fail(line);
      }
    }
  }
  void put_in_crowd(Client& client, unsigned number) {
    const std::string key = "crowd " + std::to_string(number);
    const std::string value = std::to_string(random_.word());
    const Status status = client.put(key, value);
    if (status == StatusCode::kFull && may_be_full()) return;
    const Result<std::string> found = client.get(key);
    if (status.ok() && evicts_ && found.status() == StatusCode::kNotFound) return;
    if (!status.ok() || !found || *found != value) fail("one of the crowd: " + std::string(status.message()));
  }
  // Only where writes may be refused.
  void change_limit() {
    const std::string size = std::to_string(1 + random_.below(evicts_ ? 8 : 48)) + "M";
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

  void judge(const std::vector<std::string>& files, std::int64_t begin_ns) {
    std::map<unsigned, std::vector<Operation>> registers;
    std::map<unsigned, std::vector<Operation>> counters;
    std::map<unsigned, std::vector<Operation>> logs;
    std::vector<Operation> clears;
    // A key that is evicted is absent from some moment on, which is not known.
    if (evicts_) clears.push_back({begin_ns, kOpen, 0, Operation::kClear, 0, 0});
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
        } else if (operation.kind == Operation::kAppend) {
          logs[operation.key].push_back(operation);
        } else {
          registers[operation.key].push_back(operation);
        }
      }
    }
    Client client = connect();
    // The content at the end is one more get in each history.
    for (unsigned key = 0; key < kRegisters + kLapsing; ++key) {
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
      add_verdict("counter " + std::to_string(counter), counters[counter], clears, count_of(client, round_, counter));
    }
    for (unsigned log = 0; log < kLogs; ++log) {
      const std::string content = client.get(log_of(round_, log)).value_or("");
      add_verdict("log " + std::to_string(log), logs[log], clears, content.size() / 8);
      if (!clears.empty()) continue;
      std::map<std::uint64_t, int> times;  // that a record is there
      for (std::size_t at = 0; at + 8 <= content.size(); at += 8) ++times[record_at(content, at / 8)];
      for (const Operation& operation : logs[log]) {
        const int count = times[operation.written];
        times.erase(operation.written);
        if (count > 1) ++totals_.duplicated;
        if (operation.end == kOpen) continue;
        if (count == 0 || record_at(content, operation.seen - 1) != operation.written) ++totals_.lost;
      }
      if (!times.empty()) ++totals_.torn;  // nobody has appended those
    }
    totals_.ops += operations;
    std::fprintf(stderr, "round %lu: %lu operations by %zu clients, %zu of them clears, %lu servers killed so far%s\n",
                 static_cast<unsigned long>(round_), static_cast<unsigned long>(operations), files.size(),
                 clears.size(), static_cast<unsigned long>(totals_.kills_server),
                 totals_.clean() ? "" : ", SOMETHING IS WRONG");
  }

  void add_verdict(const std::string& what, const std::vector<Operation>& operations,
                   const std::vector<Operation>& clears, std::uint64_t last) {
    const CounterVerdict verdict =
        clears.empty() ? verdict_of_counter(operations, last) : verdict_of_cleared_counter(operations, clears);
    totals_.lost += verdict.lost;
    totals_.duplicated += verdict.duplicated;
    totals_.nonlinearizable += verdict.out_of_order;
    if (verdict.lost + verdict.duplicated + verdict.out_of_order == 0) return;
    std::fprintf(stderr, "round %lu, %s: %lu lost, %lu doubled, %lu out of order\n", static_cast<unsigned long>(round_),
                 what.c_str(), static_cast<unsigned long>(verdict.lost), static_cast<unsigned long>(verdict.duplicated),
                 static_cast<unsigned long>(verdict.out_of_order));
  }
  static std::uint64_t record_at(const std::string& content, std::uint64_t index) {
    std::uint64_t record = 0;
    if (index < content.size() / 8) std::memcpy(&record, content.data() + 8 * index, 8);
    return record;
  }

  std::string self_;
  std::filesystem::path folder_;
  std::string name_;
  std::filesystem::path histories_;
  Random random_;
  std::string memory_;
  bool evicts_;
  std::optional<Program> server_;
  Totals totals_;
  std::uint64_t round_ = 0;
  std::uint64_t clients_ = 0;
};

std::uint64_t number_of(const char* text, const char* option) {
  std::uint64_t number = 0;
  const auto [rest, error] = std::from_chars(text, text + std::strlen(text), number);
  if (error == std::errc() && *rest == '\0') return number;
  std::fprintf(stderr, "torture: %s %s is not a number\n", option, text);
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
