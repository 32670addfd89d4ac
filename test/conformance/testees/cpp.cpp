// A testee of the conformance suite over the C++ client, hostmap/client.hpp. See test/conformance/README.md: it reads
// operations from standard input, a line each, and writes an answer for each, also a line.
#include <algorithm>
#include <array>
#include <atomic>
#include <bit>
#include <charconv>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <iostream>
#include <map>
#include <optional>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <sys/wait.h>
#include <thread>
#include <unistd.h>
#include <vector>

#include <hostmap/client.hpp>
#include <hostmap/scan.hpp>
#include <hostmap/time_limit.hpp>
#include <hostmap/version.hpp>

namespace {

using hostmap::Client;
using hostmap::Operation;
using hostmap::Outcome;
using hostmap::Result;
using hostmap::Status;
using hostmap::StatusCode;
using hostmap::Token;
using std::chrono::milliseconds;
using Words = std::vector<std::string>;

// ---- Words -----------------------------------------------------------------------------------------------------------

std::uint64_t whole(std::string_view text, int base = 10) {
  std::uint64_t number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number, base);
  if (error != std::errc() || end != text.data() + text.size()) throw std::invalid_argument(std::string(text));
  return number;
}

std::int64_t integer(std::string_view text) {
  std::int64_t number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc() || end != text.data() + text.size()) throw std::invalid_argument(std::string(text));
  return number;
}

double fraction(const std::string& text) {
  double number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc() || end != text.data() + text.size()) throw std::invalid_argument(text);
  return number;
}

std::string decode(std::string_view word) {
  if (word == "%") return {};
  const std::size_t colon = word.find(':');
  if (word[0] == '@' && colon != std::string_view::npos) {
    return std::string(whole(word.substr(1, colon - 1)), static_cast<char>(whole(word.substr(colon + 1), 16)));
  }
  if (word[0] == '$' && colon != std::string_view::npos) {
    std::string bytes(whole(word.substr(1, colon - 1)), '\0');
    const std::uint64_t start = whole(word.substr(colon + 1));
    for (std::size_t i = 0; i < bytes.size(); ++i) bytes[i] = static_cast<char>(167 * i + 13 * (i / 256) + start);
    return bytes;
  }
  std::string bytes;
  for (std::size_t i = 0; i < word.size(); ++i) {
    if (word[i] == '%') {
      bytes += static_cast<char>(whole(word.substr(i + 1, 2), 16));
      i += 2;
    } else {
      bytes += word[i];
    }
  }
  return bytes;
}

std::uint32_t crc32_of(std::string_view bytes) {
  std::uint32_t crc = ~0U;
  for (const char byte : bytes) {
    crc ^= static_cast<unsigned char>(byte);
    for (int bit = 0; bit < 8; ++bit) crc = (crc >> 1) ^ ((crc & 1) != 0 ? 0xEDB88320U : 0U);
  }
  return ~crc;
}

std::string encode(std::string_view bytes) {
  constexpr std::size_t kLongestText = 1024;
  constexpr std::size_t kLongestRunAsText = 64;
  char text[32];
  if (bytes.empty()) return "%";
  if (bytes == "-") return "%2D";
  if (bytes.size() > kLongestRunAsText && bytes.find_first_not_of(bytes[0]) == std::string_view::npos) {
    std::snprintf(text, sizeof text, "@%zu:%02X", bytes.size(), static_cast<unsigned char>(bytes[0]));
    return text;
  }
  if (bytes.size() > kLongestText) {
    std::snprintf(text, sizeof text, "#%zu:%08X", bytes.size(), crc32_of(bytes));
    return text;
  }
  std::string word;
  for (const char byte : bytes) {
    const bool is_plain = (byte >= 'a' && byte <= 'z') || (byte >= 'A' && byte <= 'Z') ||
                          (byte >= '0' && byte <= '9') ||
                          std::string_view("_.:,/+-").find(byte) != std::string_view::npos;
    if (is_plain) {
      word += byte;
    } else {
      std::snprintf(text, sizeof text, "%%%02X", static_cast<unsigned char>(byte));
      word += text;
    }
  }
  return word;
}

std::string text_of(double number) {
  char text[64];
  std::snprintf(text, sizeof text, "%.17g", number);
  return text;
}

std::string text_of(const Token& token) {
  char text[40];
  std::snprintf(text, sizeof text, "%016llx%016llx", static_cast<unsigned long long>(token.high),
                static_cast<unsigned long long>(token.low));
  return text;
}

Token token_of(std::string_view word) {
  if (word == "-") return {};
  return {whole(word.substr(16), 16), whole(word.substr(0, 16), 16)};
}

milliseconds ttl_of(std::string_view word) {
  if (word == "forever") return hostmap::kForever;
  if (word == "keep") return hostmap::kKeepTtl;
  return milliseconds(integer(word));
}

// "kNotFound" as "not_found".
std::string word_of(StatusCode code) {
  std::string name;
  for (const char letter : hostmap::name_of(code).substr(1)) {
    const bool is_upper = letter >= 'A' && letter <= 'Z';
    if (is_upper && !name.empty()) name += '_';
    name += is_upper ? static_cast<char>(letter - 'A' + 'a') : letter;
  }
  return name;
}

StatusCode code_of(std::string_view name) {
  for (int code = 0; code <= static_cast<int>(StatusCode::kInternal); ++code) {
    if (word_of(static_cast<StatusCode>(code)) == name) return static_cast<StatusCode>(code);
  }
  throw std::invalid_argument(std::string(name));
}

constexpr std::chrono::minutes kLongestWait(1);

// ---- Operations ------------------------------------------------------------------------------------------------------

class Testee {
 public:
  explicit Testee(std::string name) { options_.name = std::move(name); }

  // The answer to an operation and its arguments.
  std::string answer(const Words& words) {
    const std::string& operation = words.at(0);
    if (operation == "message") return "ok " + encode(message_);
    if (operation == "fork") return in_child({words.begin() + 1, words.end()});
    if (operation == "describe") return "ok " + encode(hostmap::describe(code_of(words.at(1))));
    if (operation == "limit") return limit(integer(words.at(1)));
    if (operation == "close") {
      close();
      return "ok";
    }
    if (operation == "connect") return connect({words.begin() + 1, words.end()});
    const auto found = table().find(operation);
    if (found == table().end() && operation != "open") return "unsupported";
    if (!client_) {
      if (Status status = open(); !status.ok()) return say(status);
    }
    return operation == "open" ? "ok" : found->second(*this, words);
  }

 private:
  // What Options::sleeping calls.
  struct Hook {
    std::atomic<std::uint64_t> sleeps = 0;
    std::atomic<bool> ends_sleep = false;
    std::atomic<bool> is_balanced = true;
    std::atomic<int> in_sleep = 0;

    int call(int begins) {
      if (in_sleep.exchange(begins) == begins) is_balanced = false;
      if (begins != 0) ++sleeps;
      return begins == 0 && ends_sleep ? 1 : 0;
    }
  };

  using Handler = std::string (*)(Testee&, const Words&);

  std::string say(const Status& status) {
    if (!status.ok()) message_ = status.message();
    return word_of(status.code());
  }
  template <typename T, typename Text>
  std::string say(const Result<T>& result, Text&& text) {
    return result ? "ok " + text(*result) : say(result.status());
  }
  std::string say_value(const Result<std::string>& value) {
    return say(value, [](const std::string& bytes) { return encode(bytes); });
  }
  template <typename Number>
  std::string say_whole(const Result<Number>& number) {
    return say(number, [](Number n) { return std::to_string(n); });
  }
  std::string say_fraction(const Result<double>& number) {
    return say(number, [](double n) { return text_of(n); });
  }

  void close() {
    scan_.reset();
    client_.reset();
  }

  // Both limits in milliseconds: 0 is none of this thread's own, -1 is not a limit.
  static std::string limit(std::int64_t limit) {
    const std::chrono::nanoseconds before =
        hostmap::TimeLimit::exchange(limit < 0 ? hostmap::Options::kForever : milliseconds(limit));
    if (before == hostmap::Options::kForever) return "ok -1";
    return "ok " + std::to_string(std::chrono::duration_cast<milliseconds>(before).count());
  }

  Status open() {
    Result<Client> client = Client::connect(options_);
    if (!client) return client.status();
    client_.emplace(std::move(*client));
    return {};
  }

  std::string connect(const Words& settings) {
    hostmap::Options options;
    options.name = options_.name;
    for (const std::string& setting : settings) {
      const std::string name = setting.substr(0, setting.find('='));
      const std::string value = name == setting ? "" : decode(setting.substr(name.size() + 1));
      if (name == "name") {
        options.name = value;
      } else if (name == "dir") {
        options.dir = value;
      } else if (name == "group") {
        options.group = value;
      } else if (name == "user") {
        options.user = value;
      } else if (name == "timeout") {
        options.timeout = value == "-1" ? hostmap::Options::kForever : milliseconds(integer(value));
      } else if (name == "read_only") {
        options.read_only = true;
      } else if (name == "wait_for_server") {
        options.wait_for_server = true;
      } else if (name == "reads_by_ring") {
        options.reads = hostmap::Reads::kRing;
      } else if (name == "hook" || name == "hook_ends_sleep") {
        options.sleeping = [](void* hook, int begins) { return static_cast<Hook*>(hook)->call(begins); };
        options.context = &hook_;
        hook_.ends_sleep = name == "hook_ends_sleep";
      } else {
        return "unsupported";
      }
    }
    close();
    Result<Client> client = Client::connect(options);
    if (client) client_.emplace(std::move(*client));
    return say(client.status());
  }

  // The answer of a child of fork.
  std::string in_child(const Words& words) {
    int ends[2];
    if (::pipe(ends) != 0) throw std::runtime_error("pipe");
    const pid_t child = ::fork();
    if (child == 0) {
      std::string text = answer(words);
      if (!message_.empty()) text += "\n" + message_;
      for (std::size_t written = 0; written < text.size();) {
        const ssize_t size = ::write(ends[1], text.data() + written, text.size() - written);
        if (size <= 0) ::_exit(1);
        written += static_cast<std::size_t>(size);
      }
      ::_exit(0);
    }
    ::close(ends[1]);
    std::string text;
    char part[4096];
    for (ssize_t size = 0; (size = ::read(ends[0], part, sizeof part)) > 0;) {
      text.append(part, static_cast<std::size_t>(size));
    }
    ::close(ends[0]);
    int status = 0;
    ::waitpid(child, &status, 0);
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) return "child_died";
    const std::size_t end = text.find('\n');
    if (end != std::string::npos) message_ = text.substr(end + 1);
    return text.substr(0, end);
  }

  static Operation operation_of(const Words& w, std::vector<std::string>& memory) {
    const auto keep = [&](const std::string& word) -> const std::string& { return memory.emplace_back(decode(word)); };
    const auto ttl = [&](std::size_t at) { return w.size() > at ? ttl_of(w[at]) : hostmap::kForever; };
    const auto initial = [&](std::size_t at) { return w.size() > at ? w[at] : std::string("0"); };
    const std::string& kind = w.at(0);
    const std::string& key = keep(w.at(1));
    if (kind == "put") return Operation::put(key, keep(w.at(2)), ttl(3));
    if (kind == "insert") return Operation::insert(key, keep(w.at(2)), ttl(3));
    if (kind == "replace") return Operation::replace(key, keep(w.at(2)), ttl(3));
    if (kind == "erase") return Operation::erase(key);
    if (kind == "get") return Operation::get(key);
    if (kind == "append") return Operation::append(key, keep(w.at(2)));
    if (kind == "expire") return Operation::expire(key, ttl(2));
    if (kind == "compare_exchange") return Operation::compare_exchange(key, keep(w.at(2)), keep(w.at(3)));
    if (kind == "put_if") return Operation::put_if(key, keep(w.at(2)), token_of(w.at(3)));
    if (kind == "erase_if") return Operation::erase_if(key, token_of(w.at(2)));
    if (kind == "increment") return Operation::increment(key, integer(w.at(2)), integer(initial(3)), ttl(4));
    if (kind == "increment_double") return Operation::increment(key, fraction(w.at(2)), fraction(initial(3)), ttl(4));
    if (kind == "increment_stored") {
      return Operation::increment_as<std::int64_t>(key, integer(w.at(2)), integer(initial(3)), ttl(4));
    }
    if (kind == "increment_stored_double") {
      return Operation::increment_as<double>(key, fraction(w.at(2)), fraction(initial(3)), ttl(4));
    }
    throw std::invalid_argument(kind);
  }

  std::string apply(const Words& words) {
    std::vector<Words> parts(1);
    for (std::size_t i = 1; i < words.size(); ++i) {
      if (words[i] == ";") {
        parts.emplace_back();
      } else {
        parts.back().push_back(words[i]);
      }
    }
    if (parts.size() == 1 && parts[0].empty()) parts.clear();
    std::vector<std::string> memory;
    memory.reserve(3 * parts.size());  // the operations refer to its strings
    std::vector<Operation> operations;
    for (const Words& part : parts) operations.push_back(operation_of(part, memory));
    std::vector<Outcome> outcomes(operations.size());
    std::string text = say(client_->apply(operations, outcomes));
    for (std::size_t i = 0; i < outcomes.size(); ++i) {
      text += " ; " + say(outcomes[i].status);
      if (!outcomes[i].status.ok()) continue;
      switch (operations[i].kind) {
        case Operation::Kind::kGet:
          text += " " + encode(outcomes[i].value);
          break;
        case Operation::Kind::kIncrement:
        case Operation::Kind::kIncrementStored:
        case Operation::Kind::kAppend:
          text += " " + std::to_string(outcomes[i].number);
          break;
        case Operation::Kind::kIncrementFraction:
        case Operation::Kind::kIncrementStoredFraction:
          text += " " + text_of(outcomes[i].fraction());
          break;
        default:
          break;
      }
    }
    return text;
  }

  // The first status that is neither kOk nor kNotFound, and all of them.
  std::string say_all(const std::vector<Status>& statuses) {
    Status first;
    std::string text;
    for (const Status& status : statuses) {
      if (first.ok() && !status.ok() && !(status == StatusCode::kNotFound)) first = status;
      text += " " + word_of(status.code());
    }
    return say(first) + text;
  }

  // `count` threads at once; the first status that is not kOk.
  template <typename Work>
  std::string in_threads(std::uint64_t count, Work&& work) {
    std::vector<Status> statuses(count);
    {
      std::vector<std::jthread> threads;
      threads.reserve(count);
      for (std::uint64_t i = 0; i < count; ++i) threads.emplace_back([&, i] { statuses[i] = work(i); });
    }
    for (const Status& status : statuses) {
      if (!status.ok()) return say(status);
    }
    return "ok";
  }

  // threads COUNT TIMES increment|put|put_async|mixed KEY
  std::string threads(const Words& w) {
    const std::uint64_t count = whole(w.at(1));
    const std::uint64_t times = whole(w.at(2));
    const std::string& kind = w.at(3);
    const std::string key = decode(w.at(4));
    Client& client = *client_;
    const auto name = [&](std::uint64_t thread, std::uint64_t i) {
      return key + std::to_string(thread) + "." + std::to_string(i);
    };
    return in_threads(count, [&](std::uint64_t thread) -> Status {
      for (std::uint64_t i = 0; i < times; ++i) {
        Status status;
        const std::string own = name(thread, i);
        if (kind == "increment") {
          status = client.increment(key, 1).status();
        } else if (kind == "put") {
          status = client.put(own, own);
        } else if (kind == "put_async") {
          status = client.put_async(own, own);
        } else if (kind == "mixed") {
          status = client.put(own, own);
          if (!status.ok()) return status;
          const Result<std::string> value = client.get(own);
          if (!value) return value.status();
          if (*value != own) return {StatusCode::kInternal, "another value than the one that was put"};
          status = client.erase(own);
        } else {
          throw std::invalid_argument(kind);
        }
        if (!status.ok()) return status;
      }
      return kind == "put_async" ? client.flush() : Status();
    });
  }

  // fill PREFIX SIZE MOST: puts keys until a put fails; its status, and how many succeeded.
  std::string fill(const Words& w) {
    const std::string prefix = decode(w.at(1));
    const std::string value(whole(w.at(2)), 'f');
    const std::uint64_t most = whole(w.at(3));
    for (std::uint64_t count = 0; count < most; ++count) {
      const Status status = client_->put(prefix + std::to_string(count), value);
      if (!status.ok()) return say(status) + " " + std::to_string(count);
    }
    return "ok " + std::to_string(most);
  }

  std::string scan(const std::string& prefix, bool values) {
    std::vector<std::string> found;
    const Status status = values ? client_->scan(prefix,
                                                 [&](std::string_view key, std::string_view value) {
                                                   found.push_back(encode(key) + "=" + encode(value));
                                                   return true;
                                                 })
                                 : client_->scan(prefix, [&](std::string_view key) {
                                     found.push_back(encode(key));
                                     return true;
                                   });
    return status.ok() ? sorted("ok", found) : say(status);
  }

  std::string scan_from(const Words& w) {
    std::vector<std::string> found;
    const Result<std::uint64_t> next = client_->scan_from(
        whole(w.at(1)), whole(w.at(2)), decode(w.at(3)),
        [&](std::string_view key, std::string_view value) { found.push_back(encode(key) + "=" + encode(value)); });
    return next ? sorted("ok " + std::to_string(*next), found) : say(next.status());
  }

  // All parts of a scan, LIMIT keys at a time.
  std::string scan_parts(const Words& w) {
    std::vector<std::string> found;
    std::uint64_t cursor = 0;
    do {
      const Result<std::uint64_t> next = client_->scan_from(
          cursor, whole(w.at(1)), decode(w.at(2)), [&](std::string_view key) { found.push_back(encode(key)); });
      if (!next) return say(next.status());
      cursor = *next;
    } while (cursor != 0);
    return sorted("ok", found);
  }

  static std::string sorted(std::string text, std::vector<std::string>& words) {
    std::sort(words.begin(), words.end());
    for (const std::string& word : words) text += " " + word;
    return text;
  }

  // multi_get_into SIZE KEY...
  std::string multi_get_into(const Words& w) {
    Words keys;
    for (std::size_t i = 2; i < w.size(); ++i) keys.push_back(decode(w[i]));
    std::vector<std::byte> buffer(whole(w.at(1)));
    Words found(keys.size());
    Status first;
    std::uint64_t used = 0;
    client_->multi_get_into(keys, buffer, [&](std::size_t index, const Result<std::span<std::byte>>& value) {
      const Status& status = value.status();
      if (first.ok() && !value && !(status == StatusCode::kNotFound)) first = status;
      used += value ? value->size() : status.size();
      if (value) {
        found[index] = encode({reinterpret_cast<const char*>(value->data()), value->size()});
      } else if (status == StatusCode::kNotFound) {
        found[index] = "-";
      } else {
        found[index] = "!" + word_of(status.code());
        if (status == StatusCode::kBufferTooSmall) found[index] += ":" + std::to_string(status.size());
      }
    });
    std::string text = say(first) + " " + std::to_string(used);
    for (const std::string& word : found) text += " " + word;
    return text;
  }

  // compute KEY TTL LEASE GATE VALUE: the value, and whether this call has computed it. A VALUE of !STATUS fails. While it
  // computes, the key GATE (-: none) has the value "begun"; it continues when that changes.
  std::string compute(const Words& w) {
    bool has_computed = false;
    const Result<std::string> value = client_->get_or_compute(
        decode(w.at(1)), ttl_of(w.at(2)),
        [&]() -> Result<std::string> {
          has_computed = true;
          if (w.at(4) != "-") {
            const std::string gate = decode(w.at(4));
            if (Status status = client_->put(gate, "begun"); !status.ok()) return status;
            if (Status status = client_->wait(gate, "begun", kLongestWait).status(); !status.ok()) return status;
          }
          if (w.at(5)[0] == '!') return Status(code_of(std::string_view(w.at(5)).substr(1)));
          return decode(w.at(5));
        },
        milliseconds(integer(w.at(3))));
    const std::string text = say_value(value);
    return text + (has_computed ? " computed" : " found");
  }

  // modify KEY TEXT: appends by update, which reads, computes and puts as one step.
  std::string modify(const Words& w) {
    const std::string more = decode(w.at(2));
    std::string last;
    const Status status = client_->update(decode(w.at(1)), [&](std::optional<std::string_view> now) {
      last = std::string(now.value_or("")) + more;
      return std::optional<std::string>(last);
    });
    return status.ok() ? "ok " + encode(last) : say(status);
  }

  std::string wait(const Words& w) {
    const std::string known = decode(w.at(2));
    const Result<std::optional<std::string>> value = client_->wait(
        decode(w.at(1)), w.at(2) == "-" ? std::optional<hostmap::Bytes>() : std::optional<hostmap::Bytes>(known),
        w.at(3) == "forever" ? hostmap::Options::kForever : milliseconds(integer(w.at(3))));
    if (!value) return say(value.status());
    return *value ? "ok " + encode(**value) : "not_found";
  }

  static const std::map<std::string, Handler>& table();

  hostmap::Options options_;
  std::optional<Client> client_;
  std::optional<hostmap::Scan> scan_;
  bool scans_values_ = false;
  Hook hook_;
  std::string message_;
};

const std::map<std::string, Testee::Handler>& Testee::table() {
  static const auto ttl = [](const Words& w, std::size_t at) {
    return w.size() > at ? ttl_of(w[at]) : hostmap::kForever;
  };
  static const auto initial = [](const Words& w) { return w.size() > 3 ? w[3] : std::string("0"); };
  static const std::map<std::string, Handler> handlers = {
      {"get", [](Testee& t, const Words& w) { return t.say_value(t.client_->get(decode(w.at(1)))); }},
      {"get_into",
       [](Testee& t, const Words& w) {
         std::vector<std::byte> buffer(whole(w.at(2)));
         const Result<std::size_t> size = t.client_->get_into(decode(w.at(1)), buffer);
         if (size) return "ok " + encode({reinterpret_cast<const char*>(buffer.data()), *size});
         const bool is_small = size.status() == StatusCode::kBufferTooSmall;
         return t.say(size.status()) + (is_small ? " " + std::to_string(size.status().size()) : "");
       }},
      {"exists", [](Testee& t, const Words& w) { return t.say(t.client_->exists(decode(w.at(1)))); }},
      {"ttl",
       [](Testee& t, const Words& w) {
         return t.say(t.client_->ttl(decode(w.at(1))), [](milliseconds left) {
           return left == hostmap::kForever ? std::string("forever") : std::to_string(left.count());
         });
       }},
      {"multi_get",
       [](Testee& t, const Words& w) {
         Words keys;
         for (std::size_t i = 1; i < w.size(); ++i) keys.push_back(decode(w[i]));
         Status first;
         std::string text;
         for (const Result<std::string>& value : t.client_->multi_get(keys)) {
           const bool is_absent = value.status() == StatusCode::kNotFound;
           if (first.ok() && !value && !is_absent) first = value.status();
           text += value ? " " + encode(*value) : is_absent ? " -" : " !" + word_of(value.status().code());
         }
         return t.say(first) + text;
       }},
      {"multi_get_into", [](Testee& t, const Words& w) { return t.multi_get_into(w); }},
      {"sleeps",
       [](Testee& t, const Words&) {
         const bool is_right = t.hook_.is_balanced && t.hook_.in_sleep == 0;
         return (is_right ? "ok " : "unbalanced ") + std::to_string(t.hook_.sleeps);
       }},
      {"size", [](Testee& t, const Words&) { return t.say_whole(t.client_->size()); }},
      {"put",
       [](Testee& t, const Words& w) {
         const std::string key = decode(w.at(1));
         const std::string value = decode(w.at(2));
         return t.say(w.size() > 3 ? t.client_->put(key, value, ttl_of(w[3])) : t.client_->put(key, value));
       }},
      {"put_async",
       [](Testee& t, const Words& w) {
         const std::string key = decode(w.at(1));
         const std::string value = decode(w.at(2));
         return t.say(w.size() > 3 ? t.client_->put_async(key, value, ttl_of(w[3])) : t.client_->put_async(key, value));
       }},
      {"flush", [](Testee& t, const Words&) { return t.say(t.client_->flush()); }},
      {"insert",
       [](Testee& t, const Words& w) {
         const std::string key = decode(w.at(1));
         const std::string value = decode(w.at(2));
         return t.say(w.size() > 3 ? t.client_->insert(key, value, ttl_of(w[3])) : t.client_->insert(key, value));
       }},
      {"replace",
       [](Testee& t, const Words& w) {
         const std::string key = decode(w.at(1));
         const std::string value = decode(w.at(2));
         return t.say(w.size() > 3 ? t.client_->replace(key, value, ttl_of(w[3])) : t.client_->replace(key, value));
       }},
      {"erase", [](Testee& t, const Words& w) { return t.say(t.client_->erase(decode(w.at(1)))); }},
      {"expire", [](Testee& t, const Words& w) { return t.say(t.client_->expire(decode(w.at(1)), ttl_of(w.at(2)))); }},
      {"expire_async",
       [](Testee& t, const Words& w) { return t.say(t.client_->expire_async(decode(w.at(1)), ttl_of(w.at(2)))); }},
      {"append",
       [](Testee& t, const Words& w) { return t.say_whole(t.client_->append(decode(w.at(1)), decode(w.at(2)))); }},
      {"erase_prefix", [](Testee& t, const Words& w) { return t.say_whole(t.client_->erase_prefix(decode(w.at(1)))); }},
      {"clear", [](Testee& t, const Words&) { return t.say(t.client_->clear()); }},
      {"increment",
       [](Testee& t, const Words& w) {
         const std::string key = decode(w.at(1));
         const std::int64_t by = integer(w.at(2));
         return t.say_whole(w.size() > 3 ? t.client_->increment(key, by, integer(w[3]), ttl(w, 4))
                                         : t.client_->increment(key, by));
       }},
      {"increment_double",
       [](Testee& t, const Words& w) {
         return t.say_fraction(
             t.client_->increment(decode(w.at(1)), fraction(w.at(2)), fraction(initial(w)), ttl(w, 4)));
       }},
      {"increment_stored",
       [](Testee& t, const Words& w) {
         return t.say_whole(
             t.client_->increment_as<std::int64_t>(decode(w.at(1)), integer(w.at(2)), integer(initial(w)), ttl(w, 4)));
       }},
      {"increment_stored_double",
       [](Testee& t, const Words& w) {
         return t.say_fraction(
             t.client_->increment_as<double>(decode(w.at(1)), fraction(w.at(2)), fraction(initial(w)), ttl(w, 4)));
       }},
      {"compare_exchange",
       [](Testee& t, const Words& w) {
         return t.say(t.client_->compare_exchange(decode(w.at(1)), decode(w.at(2)), decode(w.at(3))));
       }},
      {"compare_erase",
       [](Testee& t, const Words& w) { return t.say(t.client_->compare_erase(decode(w.at(1)), decode(w.at(2)))); }},
      {"get_with_token",
       [](Testee& t, const Words& w) {
         return t.say(t.client_->get_with_token(decode(w.at(1))), [](const hostmap::ValueAndToken& found) {
           return encode(found.value) + " " + text_of(found.token);
         });
       }},
      {"put_if",
       [](Testee& t, const Words& w) {
         return t.say(t.client_->put_if(decode(w.at(1)), decode(w.at(2)), token_of(w.at(3))));
       }},
      {"erase_if",
       [](Testee& t, const Words& w) { return t.say(t.client_->erase_if(decode(w.at(1)), token_of(w.at(2)))); }},
      {"exchange",
       [](Testee& t, const Words& w) {
         return t.say(t.client_->exchange(decode(w.at(1)), decode(w.at(2))),
                      [](const std::optional<std::string>& old) { return old ? encode(*old) : std::string("-"); });
       }},
      {"insert_or_get",
       [](Testee& t, const Words& w) {
         const Result<std::optional<std::string>> present = t.client_->insert_or_get(decode(w.at(1)), decode(w.at(2)));
         if (!present) return t.say(present.status());
         return *present ? "already_exists " + encode(**present) : std::string("ok");
       }},
      {"take", [](Testee& t, const Words& w) { return t.say_value(t.client_->take(decode(w.at(1)))); }},
      {"multi_put",
       [](Testee& t, const Words& w) {
         std::vector<std::pair<std::string, std::string>> entries;
         for (std::size_t i = 1; i + 1 < w.size(); i += 2) entries.emplace_back(decode(w[i]), decode(w[i + 1]));
         return t.say_all(t.client_->multi_put(entries));
       }},
      {"multi_put_ttl",
       [](Testee& t, const Words& w) {
         Words memory;
         memory.reserve(w.size());
         std::vector<hostmap::KeyValue> entries;
         for (std::size_t i = 2; i + 1 < w.size(); i += 2) {
           const std::string& key = memory.emplace_back(decode(w[i]));
           entries.push_back({key, memory.emplace_back(decode(w[i + 1]))});
         }
         return t.say_all(t.client_->multi_put(entries, ttl_of(w.at(1))));
       }},
      {"multi_erase",
       [](Testee& t, const Words& w) {
         Words keys;
         for (std::size_t i = 1; i < w.size(); ++i) keys.push_back(decode(w[i]));
         return t.say_all(t.client_->multi_erase(keys));
       }},
      {"apply", [](Testee& t, const Words& w) { return t.apply(w); }},
      {"scan", [](Testee& t, const Words& w) { return t.scan(decode(w.at(1)), true); }},
      {"scan_keys", [](Testee& t, const Words& w) { return t.scan(decode(w.at(1)), false); }},
      {"scan_begin",
       [](Testee& t, const Words& w) {
         const bool keys_only = w.size() > 2;
         t.scan_.emplace(*t.client_, decode(w.at(1)),
                         keys_only ? hostmap::Scan::What::kKeys : hostmap::Scan::What::kKeysAndValues);
         t.scans_values_ = !keys_only;
         return std::string("ok");
       }},
      {"scan_next",
       [](Testee& t, const Words&) {
         if (!t.scan_->next()) return t.scan_->status().ok() ? std::string("not_found") : t.say(t.scan_->status());
         return "ok " + encode(t.scan_->key()) + " " + (t.scans_values_ ? encode(t.scan_->value()) : "-");
       }},
      {"scan_end",
       [](Testee& t, const Words&) {
         t.scan_.reset();
         return std::string("ok");
       }},
      {"scan_from", [](Testee& t, const Words& w) { return t.scan_from(w); }},
      {"scan_parts", [](Testee& t, const Words& w) { return t.scan_parts(w); }},
      {"wait", [](Testee& t, const Words& w) { return t.wait(w); }},
      {"lease",
       [](Testee& t, const Words& w) {
         return t.say_whole(t.client_->lease(decode(w.at(1)), milliseconds(integer(w.at(2))),
                                             milliseconds(w.size() > 3 ? integer(w[3]) : 0)));
       }},
      {"release", [](Testee& t, const Words& w) { return t.say(t.client_->release(decode(w.at(1)), whole(w.at(2)))); }},
      {"compute", [](Testee& t, const Words& w) { return t.compute(w); }},
      {"compute_begin",
       [](Testee& t, const Words& w) {
         const Result<hostmap::ValueOrTask> begun =
             t.client_->compute_begin(decode(w.at(1)), milliseconds(integer(w.at(2))));
         if (!begun) return t.say(begun.status());
         return begun->value ? "ok " + encode(*begun->value) : "not_found " + std::to_string(begun->task);
       }},
      {"compute_put",
       [](Testee& t, const Words& w) {
         return t.say(t.client_->compute_put(decode(w.at(1)), decode(w.at(2)), whole(w.at(4)), ttl_of(w.at(3))));
       }},
      {"compute_fail",
       [](Testee& t, const Words& w) {
         return t.say(t.client_->compute_fail(decode(w.at(1)), code_of(w.at(2)), whole(w.at(3))));
       }},
      {"timeout",
       [](Testee& t, const Words& w) { return t.say(t.client_->set_timeout(milliseconds(integer(w.at(1))))); }},
      {"version",
       [](Testee&, const Words&) {
         return "ok " + encode(hostmap::kVersion) + " " + std::to_string(hostmap::kLayoutVersion);
       }},
      {"modify", [](Testee& t, const Words& w) { return t.modify(w); }},
      {"threads", [](Testee& t, const Words& w) { return t.threads(w); }},
      {"fill", [](Testee& t, const Words& w) { return t.fill(w); }},
  };
  return handlers;
}

Words words_of(const std::string& line) {
  Words words;
  for (std::size_t at = 0; at < line.size();) {
    const std::size_t end = std::min(line.find(' ', at), line.size());
    if (end > at) words.push_back(line.substr(at, end - at));
    at = end + 1;
  }
  return words;
}

}  // namespace

int main(int count, char** arguments) {
  if (count != 2) {
    std::cerr << "usage: conformance_cpp NAME, the name of a server; operations come from standard input\n";
    return 2;
  }
  Testee testee(arguments[1]);
  for (std::string line; std::getline(std::cin, line);) {
    std::string answer;
    try {
      answer = testee.answer(words_of(line));
    } catch (const std::exception& error) {
      answer = std::string("malformed ") + encode(error.what());
    }
    std::cout << answer << std::endl;
  }
  return 0;
}
