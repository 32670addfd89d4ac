// put, append, exchange, get, take, expire, persist, ttl, wait, erase, exists, incr, scan, clear, ping: the commands of a client
// of the map.
#include <algorithm>
#include <cerrno>
#include <charconv>
#include <chrono>
#include <cmath>
#include <cstring>
#include <fmt/format.h>
#include <optional>
#include <unistd.h>

#include <hostmap/client.hpp>

#include "commands.hpp"
#include "layout/region.hpp"
#include "output.hpp"

namespace hostmap::apps {

namespace {

// The exit code of `status`; prints a message only for an error.
int finish(const Status& status) { return status.ok() ? int{kExitDone} : fail(status); }

// Connects and does `work`, a function of the client that returns the exit code.
template <typename Work>
int with_client(const Options& options, Work&& work) {
  Result<Client> client = Client::connect(options);
  return client ? work(*client) : fail(client.status());
}

// The same for a key, which is checked first: a usage error is one whether there is a server or not.
template <typename Work>
int with_key(const Options& options, std::string_view key, Work&& work) {
  if (key.empty()) return fail("KEY is empty; a key has 1 to 65,536 bytes", kExitUsage);
  return with_client(options, work);
}

struct Input {
  std::string bytes;
  int error = 0;  // errno
};

// All of standard input, or more than the largest value.
Input read_input() {
  Input input;
  std::size_t size = 0;
  for (;;) {
    if (input.bytes.size() - size < Output::kBufferBytes) input.bytes.resize(2 * size + Output::kBufferBytes);
    const ssize_t got = ::read(STDIN_FILENO, input.bytes.data() + size, input.bytes.size() - size);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) input.error = errno;
    if (got > 0) size += static_cast<std::size_t>(got);
    if (got <= 0 || size > kMaxValueBytes) break;
  }
  input.bytes.resize(size);
  return input;
}

std::optional<std::int64_t> parse_number(const std::string& text) {
  std::int64_t number = 0;
  const char* end = text.data() + text.size();
  const auto [rest, error] = std::from_chars(text.data(), end, number);
  if (error != std::errc() || rest != end) return std::nullopt;
  return number;
}

// A whole number of 64 bits, or a decimal text with a fraction or an exponent.
struct Number {
  std::int64_t integer = 0;
  std::optional<double> fraction;
  double as_double() const { return fraction ? *fraction : static_cast<double>(integer); }
};

std::optional<Number> parse_summand(const std::string& text) {
  if (const std::optional<std::int64_t> integer = parse_number(text)) return Number{*integer, {}};
  // Digits alone are an integer: one of more than 64 bits is not rounded.
  if (text.find_first_of(".eE") == std::string::npos) return std::nullopt;
  double fraction = 0;
  const char* end = text.data() + text.size();
  const auto [rest, error] = std::from_chars(text.data(), end, fraction);
  if (error != std::errc() || rest != end || !std::isfinite(fraction)) return std::nullopt;
  return Number{0, fraction};
}

// As the map stores it.
std::string text_of(double number) {
  char text[32];
  return {text, std::to_chars(text, text + sizeof text, number).ptr};
}

// The same with a value, which is read from standard input if there is none.
template <typename Work>
int with_value(const Options& options, std::string_view key, const Value& value, Work&& work) {
  Input input;
  if (!value && !key.empty()) input = read_input();  // an empty key is a usage error, before anything is read
  if (input.error != 0) {
    return fail(fmt::format("cannot read the value from standard input: {}", std::strerror(input.error)), kExitRefused);
  }
  return with_key(options, key, [&](Client& client) {
    return work(client, value ? std::string_view(*value) : std::string_view(input.bytes));
  });
}

// A token's text is the 128-bit number in hexadecimal.
constexpr std::size_t kTokenDigits = 32;

std::string text_of(const Token& token) { return fmt::format("{:016x}{:016x}", token.high, token.low); }

bool parse_token(const std::string& text, Token& token) {
  const auto parse = [&](const char* begin, std::uint64_t& half) {
    const auto [end, error] = std::from_chars(begin, begin + kTokenDigits / 2, half, 16);
    return error == std::errc() && end == begin + kTokenDigits / 2;
  };
  return parse(text.data(), token.high) && parse(text.data() + kTokenDigits / 2, token.low);
}

// Does `work` with the token of --if-token: the zero token if there is none. Another text is a usage error.
template <typename Work>
int with_token(const std::optional<std::string>& text, Work&& work) {
  constexpr std::string_view kForm = "a token has 32 hexadecimal digits, as get --token prints it";
  Token token;
  if (text && text->size() != kTokenDigits) {
    return fail(fmt::format("the token '{}' has {} characters; {}", escaped(std::string_view(*text).substr(0, 80)),
                            text->size(), kForm),
                kExitUsage);
  }
  if (text && !parse_token(*text, token)) {
    return fail(fmt::format("the token '{}' is not hexadecimal; {}", escaped(*text), kForm), kExitUsage);
  }
  return work(token);
}

int print_value(std::string_view value) {
  Output output;
  output.write(value);
  if (output.is_terminal()) output.write("\n");
  return output.finish();
}

int print_line(std::string_view line) {
  Output output;
  output.write(line);
  output.write("\n");
  return output.finish();
}

}  // namespace

int put(const Options& options, std::string_view key, const Value& value, const Condition& condition,
        std::chrono::milliseconds ttl) {
  return with_token(condition.token, [&](const Token& token) {
    return with_value(options, key, value, [&](Client& client, std::string_view bytes) {
      if (condition.value) return finish(client.compare_exchange(key, *condition.value, bytes));
      if (condition.token) return finish(client.put_if(key, bytes, token));
      if (condition.absent) return finish(client.insert(key, bytes, ttl));
      if (condition.present) return finish(client.replace(key, bytes, ttl));
      return finish(client.put(key, bytes, ttl));
    });
  });
}

int append(const Options& options, std::string_view key, const Value& value) {
  return with_value(options, key, value, [&](Client& client, std::string_view bytes) {
    const Result<std::uint64_t> size = client.append(key, bytes);
    return size ? print_line(fmt::format("{}", *size)) : fail(size.status());
  });
}

int exchange(const Options& options, std::string_view key, const Value& value) {
  return with_value(options, key, value, [&](Client& client, std::string_view bytes) {
    const Result<std::optional<std::string>> old = client.exchange(key, bytes);
    if (!old) return fail(old.status());
    return *old ? print_value(**old) : int{kExitDone};
  });
}

int get(const Options& options, std::string_view key, bool token) {
  return with_key(options, key, [&](Client& client) {
    if (!token) {
      const Result<std::string> value = client.get(key);
      return value ? print_value(*value) : fail(value.status());
    }
    const Result<ValueAndToken> found = client.get_with_token(key);
    if (!found) return fail(found.status());
    const int written = print_value(found->value);
    fmt::print(stderr, "{}\n", text_of(found->token));
    return written;
  });
}

int take(const Options& options, std::string_view key) {
  return with_key(options, key, [&](Client& client) {
    const Result<std::string> value = client.take(key);
    return value ? print_value(*value) : fail(value.status());
  });
}

int expire(const Options& options, std::string_view key, std::chrono::milliseconds ttl) {
  return with_key(options, key, [&](Client& client) { return finish(client.expire(key, ttl)); });
}

int ttl(const Options& options, std::string_view key) {
  return with_key(options, key, [&](Client& client) {
    const Result<std::chrono::milliseconds> left = client.ttl(key);
    if (!left) return fail(left.status());
    return print_line(*left == kForever ? "forever" : fmt::format("{}ms", left->count()));
  });
}

int wait(const Options& options, std::string_view key, const Awaited& awaited, std::chrono::nanoseconds timeout) {
  return with_key(options, key, [&](Client& client) {
    const bool for_ever = timeout == Options::kForever;
    const auto end = std::chrono::steady_clock::now() + (for_ever ? std::chrono::nanoseconds::zero() : timeout);
    std::optional<std::string> known;
    if (Result<std::string> value = client.get(key); value) {
      known = std::move(*value);
    } else if (!(value.status() == StatusCode::kNotFound)) {
      return fail(value.status());
    }
    const bool any_change = !awaited.value && !awaited.other_than && !awaited.absent;
    const auto is_met = [&] {
      if (awaited.value) return known == awaited.value;
      if (awaited.other_than) return known != awaited.other_than;
      return awaited.absent && !known;
    };
    while (!is_met()) {
      const std::chrono::nanoseconds left =
          for_ever ? Options::kForever
                   : std::max(std::chrono::nanoseconds(end - std::chrono::steady_clock::now()),
                              std::chrono::nanoseconds::zero());
      std::optional<Bytes> last;
      if (known) last = *known;
      Result<std::optional<std::string>> now = client.wait(key, last, left);
      if (!now) return fail(now.status());
      known = std::move(*now);
      if (any_change) return known ? print_value(*known) : fail(Status(StatusCode::kNotFound));
    }
    return int{kExitDone};
  });
}

int erase(const Options& options, std::string_view key, const Condition& condition) {
  return with_token(condition.token, [&](const Token& token) {
    return with_key(options, key, [&](Client& client) {
      if (condition.value) return finish(client.compare_erase(key, *condition.value));
      return finish(condition.token ? client.erase_if(key, token) : client.erase(key));
    });
  });
}

int erase_prefix(const Options& options, std::string_view prefix) {
  if (prefix.empty()) return fail("the prefix is empty; use hostmap clear to remove all keys", kExitUsage);
  return with_client(options, [&](Client& client) {
    const Result<std::uint64_t> erased = client.erase_prefix(prefix);
    if (!erased) return fail(erased.status());
    Output output;
    output.write(fmt::format("{}\n", *erased));
    return output.finish();
  });
}

int exists(const Options& options, std::string_view key) {
  return with_key(options, key, [&](Client& client) {
    const Status status = client.exists(key);
    return status == StatusCode::kNotFound ? int{kExitFalse} : finish(status);
  });
}

int increment(const Options& options, std::string_view key, const std::string& by, const std::string& initial,
              std::chrono::milliseconds ttl) {
  const auto refuse = [](const char* what, const std::string& text) {
    return fail(
        fmt::format("{} '{}' is not a decimal number; give an integer of 64 bits or a fraction such as 0.25, with "
                    "a minus if it is negative",
                    what, escaped(std::string_view(text).substr(0, 80))),
        kExitUsage);
  };
  const std::optional<Number> number = parse_summand(by);
  if (!number) return refuse("BY", by);
  const std::optional<Number> first = parse_summand(initial);
  if (!first) return refuse("--initial", initial);
  return with_key(options, key, [&](Client& client) {
    if (number->fraction || first->fraction) {
      const Result<double> sum = client.increment(key, number->as_double(), first->as_double(), ttl);
      return sum ? print_line(text_of(*sum)) : fail(sum.status());
    }
    const Result<std::int64_t> sum = client.increment(key, number->integer, first->integer, ttl);
    return sum ? print_line(fmt::format("{}", *sum)) : fail(sum.status());
  });
}

namespace {

// Prints keys and values as `format` says.
class ScanPrinter {
 public:
  explicit ScanPrinter(ScanFormat format)
      : format_(format), shown_(output_.shows_utf8() ? escaped_for_terminal : escaped) {}

  bool print(std::string_view key) { return write(format_.raw ? std::string(key) : shown_(key)); }
  bool print(std::string_view key, std::string_view value) {
    return write(format_.raw ? std::string(key) + '\0' + std::string(value) : shown_(key) + '\t' + shown_(value));
  }
  // The exit code, after a scan that ended with `status`.
  int finish(const Status& status) {
    const int written = output_.finish();
    return written == kExitDone ? apps::finish(status) : written;
  }

 private:
  bool write(std::string line) { return output_.write(line += format_.raw ? '\0' : '\n'); }

  Output output_;
  ScanFormat format_;
  std::string (*shown_)(std::string_view);
};

// A whole number of at least `least`, or why there is none.
Result<std::uint64_t> parse_count(const char* option, const std::string& text, std::uint64_t least) {
  const std::optional<std::int64_t> number = parse_number(text);
  if (number && *number >= 0 && static_cast<std::uint64_t>(*number) >= least)
    return static_cast<std::uint64_t>(*number);
  return Status(StatusCode::kInvalid, fmt::format("{} '{}' is not a whole number of {} or more", option,
                                                  escaped(std::string_view(text).substr(0, 80)), least));
}

}  // namespace

int scan(const Options& options, std::string_view prefix, ScanFormat format) {
  return with_client(options, [&](Client& client) {
    ScanPrinter printer(format);
    const auto values = [&](std::string_view key, std::string_view value) { return printer.print(key, value); };
    const auto keys = [&](std::string_view key) { return printer.print(key); };
    return printer.finish(format.values ? client.scan(prefix, values) : client.scan(prefix, keys));
  });
}

int scan_part(const Options& options, std::string_view prefix, ScanFormat format, const std::string& cursor,
              const std::string& limit) {
  const Result<std::uint64_t> from = parse_count("--cursor", cursor, 0);
  if (!from) return fail(from.status().message(), kExitUsage);
  const Result<std::uint64_t> most = parse_count("--limit", limit, 1);
  if (!most) return fail(most.status().message(), kExitUsage);
  return with_client(options, [&](Client& client) {
    ScanPrinter printer(format);
    const auto values = [&](std::string_view key, std::string_view value) { printer.print(key, value); };
    const auto keys = [&](std::string_view key) { printer.print(key); };
    const Result<std::uint64_t> next =
        format.values ? client.scan_from(*from, *most, prefix, values) : client.scan_from(*from, *most, prefix, keys);
    if (next) printer.print(std::to_string(*next));
    return printer.finish(next.status());
  });
}

int clear(const Options& options) {
  return with_client(options, [](Client& client) { return finish(client.clear()); });
}

int ping(const Options& options) {
  Options by_ring = options;
  by_ring.reads = Reads::kRing;  // a direct read would send no request to the server
  return with_client(by_ring, [](Client& client) {
    const Status status = client.exists("ping");
    return status == StatusCode::kNotFound ? int{kExitDone} : finish(status);
  });
}

}  // namespace hostmap::apps
