// Connecting, times, errors, versions.
#include <algorithm>
#include <array>
#include <new>
#include <optional>
#include <string>

#include <hostmap/time_limit.hpp>
#include <hostmap/version.hpp>

#include "c_abi/common.hpp"

#if defined(HOSTMAP_OWN_CXX_LIBRARY)
namespace __gnu_cxx {
void __freeres();  // NOLINT(bugprone-reserved-identifier): of libstdc++
}
#endif

namespace hostmap::c_abi {

namespace {

#if defined(HOSTMAP_OWN_CXX_LIBRARY)
// The C++ library within this one keeps memory for exceptions. A program that loads and unloads the library must not lose it.
[[gnu::destructor]] void free_memory_of_exceptions() { __gnu_cxx::__freeres(); }
#endif

// What the last call of this thread that failed has to say: a sentence that is never freed, or a text of its own. initial-exec:
// memory that is reserved with the thread, since the dynamic kind ends the process if there is none.
struct Message {
  const char* constant;  // null: text
  std::array<char, 504> text;
};
constinit thread_local Message message [[gnu::tls_model("initial-exec")]] = {};

void store(std::string_view sentence) noexcept {
  std::size_t size = std::min(sentence.size(), message.text.size() - 1);
  // A longer text ends with its last whole character that fits (of UTF-8).
  if (size < sentence.size()) {
    while (size > 0 && (static_cast<unsigned char>(sentence[size]) & 0xC0) == 0x80) --size;
  }
  std::copy_n(sentence.data(), size, message.text.data());
  message.text[size] = '\0';
  message.constant = nullptr;
}

constexpr std::size_t kLargestOptions = 4096;

// The caller's options in this library's form, which may have more fields or fewer. Empty: refused.
std::optional<hostmap_options> own_form(const hostmap_options* given) noexcept {
  hostmap_options own = HOSTMAP_OPTIONS_INIT;
  if (given == nullptr) return own;
  const std::size_t size = given->struct_size;
  if (size < sizeof own || size > kLargestOptions) {
    refuse("hostmap_options.struct_size is not the size of a hostmap_options; begin with HOSTMAP_OPTIONS_INIT");
    return {};
  }
  std::memcpy(&own, given, sizeof own);
  const auto* const bytes = reinterpret_cast<const unsigned char*>(given);
  if (std::any_of(bytes + sizeof own, bytes + size, [](unsigned char byte) { return byte != 0; })) {
    refuse("the options have fields that this library does not know; upgrade libhostmap to the version of hostmap.h");
    return {};
  }
  constexpr std::uint32_t kKnown = HOSTMAP_READ_ONLY | HOSTMAP_WAIT_FOR_SERVER | HOSTMAP_READS_BY_RING;
  if ((own.flags & ~kKnown) != 0 || own.reserved != 0) {
    refuse("hostmap_options.flags or .reserved has bits that this library does not know");
    return {};
  }
  if ((own.flags & HOSTMAP_READ_ONLY) != 0 && (own.flags & HOSTMAP_READS_BY_RING) != 0) {
    refuse("a map that is HOSTMAP_READ_ONLY has no ring; leave out HOSTMAP_READS_BY_RING");
    return {};
  }
  return own;
}

std::chrono::nanoseconds timeout_of(std::int64_t ns) { return ns == 0 ? Options().timeout : time_of(ns); }

Options options_of(const hostmap_options& own) {
  Options options;
  if (own.name != nullptr) options.name = own.name;
  if (own.dir != nullptr) options.dir = own.dir;
  if (own.group != nullptr) options.group = own.group;
  if (own.user != nullptr) options.user = own.user;
  options.timeout = timeout_of(own.timeout_ns);
  options.sleeping = own.sleeping;
  options.context = own.context;
  options.read_only = (own.flags & HOSTMAP_READ_ONLY) != 0;
  options.wait_for_server = (own.flags & HOSTMAP_WAIT_FOR_SERVER) != 0;
  if ((own.flags & HOSTMAP_READS_BY_RING) != 0) options.reads = Reads::kRing;
  return options;
}

bool is_code(int status) noexcept { return status >= HOSTMAP_OK && status <= HOSTMAP_INTERNAL; }

// In the order of their numbers.
constexpr std::array kNames = {
    "HOSTMAP_OK",           "HOSTMAP_NOT_FOUND",     "HOSTMAP_ALREADY_EXISTS",   "HOSTMAP_MISMATCH",
    "HOSTMAP_NOT_A_NUMBER", "HOSTMAP_OVERFLOW",      "HOSTMAP_BUFFER_TOO_SMALL", "HOSTMAP_TIMEOUT",
    "HOSTMAP_NO_SERVER",    "HOSTMAP_FULL",          "HOSTMAP_TOO_LARGE",        "HOSTMAP_INVALID",
    "HOSTMAP_PERMISSION",   "HOSTMAP_OTHER_VERSION", "HOSTMAP_CLOSED",           "HOSTMAP_INTERNAL"};
static_assert(kNames.size() == HOSTMAP_INTERNAL + 1);

}  // namespace

int report_error(const Status& status) noexcept {
  const int code = static_cast<int>(status.code());
  const std::string_view sentence = status.message();
  if (sentence == describe(status.code())) {
    message.constant = hostmap_describe(code);
  } else {
    store(sentence);
  }
  return code;
}

int refuse(std::string_view sentence) noexcept {
  store(sentence);
  return HOSTMAP_INVALID;
}

int out_of_memory() noexcept { return report_error(Status::out_of_memory()); }

int refuse_arguments(const hostmap_map* map) noexcept {
  return refuse(map == nullptr ? "the map is a null pointer; hostmap_connect returns one"
                               : "a pointer to bytes is null, but their size is not 0");
}

int refuse_result() noexcept { return refuse("a pointer to a result is null, which this function does not allow"); }

int refuse_ttl(KeepTtl keep) noexcept {
  return refuse(keep == KeepTtl::kAllowed ? "a time to live is above 0 ms, or HOSTMAP_FOREVER, or HOSTMAP_KEEP_TTL"
                                          : "a time to live is above 0 ms, or HOSTMAP_FOREVER");
}

void Copy::set(std::string_view value) {
  void* const copy = copy_of(value);
  if (copy == nullptr) throw std::bad_alloc();
  std::free(std::exchange(data_, copy));
  size_ = value.size();
}

}  // namespace hostmap::c_abi

using namespace hostmap::c_abi;

int hostmap_connect(const hostmap_options* options, hostmap_map** map) {
  if (map == nullptr) return refuse_result();
  *map = nullptr;
  return guarded([&] {
    const std::optional<hostmap_options> own = own_form(options);
    if (!own) return static_cast<int>(HOSTMAP_INVALID);
    hostmap::Result<hostmap::Client> client = hostmap::Client::connect(options_of(*own));
    if (!client) return report(client.status());
    *map = new hostmap_map{std::move(*client)};
    return static_cast<int>(HOSTMAP_OK);
  });
}

void hostmap_close(hostmap_map* map) { delete map; }

int hostmap_set_timeout(hostmap_map* map, int64_t timeout_ns) {
  if (map == nullptr) return refuse_arguments(map);
  return guarded([&] { return report(map->client.set_timeout(timeout_of(timeout_ns))); });
}

int64_t hostmap_set_limit(int64_t timeout_ns) {
  const std::chrono::nanoseconds replaced = hostmap::TimeLimit::exchange(time_of(timeout_ns));
  return replaced == hostmap::Options::kForever ? -1 : replaced.count();
}

const char* hostmap_describe(int status) {
  // Each is a literal, which a zero ends.
  return is_code(status) ? describe(static_cast<hostmap::StatusCode>(status)).data() : "unknown status";
}

const char* hostmap_status_name(int status) {
  return is_code(status) ? kNames[static_cast<std::size_t>(status)] : "HOSTMAP_?";
}

const char* hostmap_message(void) { return message.constant != nullptr ? message.constant : message.text.data(); }

const char* hostmap_version(void) { return hostmap::kVersion.data(); }
uint32_t hostmap_layout(void) { return hostmap::kLayoutVersion; }
const char* hostmap_commit(void) { return hostmap::commit().data(); }
