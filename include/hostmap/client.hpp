// The client of a hostmap: start here.
//
//   auto map = hostmap::Client::connect();
//   if (!map) return complain(map.status().message());
//   if (auto status = map->put("language", "C++"); !status.ok()) return complain(status.message());
//   auto value = map->get("language");          // Result<std::string>
//
// Threads: every call but moving and destroying may be made from any number of threads on one Client. Reads go on side by
// side; writes (and flush and clear) take turns, which costs nothing measurable while only one thread writes. A flush
// covers what all threads have queued. After a fork, the child's first call connects anew; writes queued before the fork
// stay with the parent.
// In a signal handler no call is allowed. Even get_into, which allocates nothing and takes no lock on its fast path, takes
// a mutex on the slow path (another thread's disturbance, a new connection), and a handler that interrupts the owner of
// that mutex would wait for itself. Set a flag in the handler, and call the library where the flag is read.
// The library starts no thread, installs no signal handler, never prints, exits or throws on the data path.
//
// Every call that blocks does so for at most Options::timeout, then returns kTimeout. A change that timed out, or
// that was under way when the server ended (kClosed), may have been applied or may still be: the outcome is unknown.
// The next call connects anew if it must, and returns kNoServer when there is no server; so every call but those that
// say otherwise may return what connect() returns.
#pragma once

#include <array>
#include <bit>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <iterator>
#include <memory>
#include <ranges>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

#include <hostmap/bytes.hpp>
#include <hostmap/options.hpp>
#include <hostmap/status.hpp>

namespace hostmap {

/// A number that increment can add: every integer type whose values all fit std::int64_t, but not bool.
template <typename Number>
concept Summand = std::integral<Number> && !std::same_as<Number, bool> &&
                  (std::is_signed_v<Number> || sizeof(Number) < sizeof(std::int64_t));

/// A function that scan calls with a key and its value, and that returns whether to continue.
template <typename Visit>
concept Visitor = std::is_invocable_r_v<bool, Visit&, std::string_view, std::string_view>;

/// Something whose memory stays where it is while other elements of its range are visited: an element that lies in the
/// range, or one that only refers to memory elsewhere.
template <typename Reference>
concept StableReference = std::is_lvalue_reference_v<Reference> || std::is_pointer_v<Reference> ||
    std::ranges::borrowed_range<Reference> || std::same_as<Reference, Bytes>;

/// Keys for multi_get: a range that can be visited more than once, of anything that Bytes can be made from. Not one that
/// makes each std::string (or other owner of memory) only when it is visited.
template <typename Range>
concept KeyRange = std::ranges::forward_range<Range> && StableReference<std::ranges::range_reference_t<Range>> &&
    std::convertible_to<std::ranges::range_reference_t<Range>, Bytes>;

/// A type that get_as can return. Not bool: a byte other than 0 and 1 is none.
template <typename T>
concept PlainResult = PlainValue<T> && !std::same_as<T, bool> && !std::is_array_v<T>;

/// A connection to one server, and the view of its table. Holds one file descriptor (whose lock says that this process
/// lives; none with Options::read_only) and address space for the whole table.
class Client {
 public:
  /// Connects to the server of `options.name`. Blocks for at most `options.timeout`; makes system calls and
  /// allocates.
  /// Errors: kNoServer, kOtherVersion, kPermission, kFull (no connection, memory, descriptor or address space left),
  /// kInvalid (name, dir, a timeout that is not above 0), kTimeout, kInternal (the regions are damaged).
  static Result<Client> connect(const Options& options) noexcept;
  /// With the default options.
  static Result<Client> connect() noexcept;

  /// One that was moved from can only be assigned to or destroyed. Not while another thread uses either.
  Client(Client&&) noexcept;
  Client& operator=(Client&&) noexcept;
  /// Closes the connection and does not block. Queued writes are already on their way: the server applies them, and
  /// what it refuses of them nobody hears. In a child after fork: leaves the parent's connection alone.
  ~Client();

  /// Sets `key` (1 to 65,536 bytes) to `value` (0 bytes to the server's --max-value) and blocks until the server has
  /// answered: from then on everybody sees it. Spins for at most 50 us, then sleeps. Allocates only when it opens its
  /// lane's channel.
  /// Errors: kFull, kTooLarge, kInvalid (empty key): nothing was changed. kTimeout and kClosed: outcome unknown.
  /// kNoServer.
  Status put(Bytes key, Bytes value) noexcept;

  /// Like put, but waits only for room in the ring. Later calls of this client see the value. What the server refuses
  /// is reported by the next flush().
  /// Errors: kTooLarge, kInvalid, and kTimeout when there was no room: not queued. (A value that needs several
  /// records and finds no room for the later ones ends the connection.) kFull (no memory for a channel), kClosed,
  /// kNoServer.
  Status put_async(Bytes key, Bytes value) noexcept;

  /// Blocks until the server has applied all queued writes, and those whose calls had timed out. Returns the first
  /// error among them since the last flush, and their number in its message. kClosed: the connection ended meanwhile;
  /// what was queued on it may or may not be applied. That is told once. kTimeout: not all applied yet; flush again.
  Status flush() noexcept;

  /// The value of `key`; kNotFound when it is absent. Allocates the result and nothing else. Reads the table without
  /// a message or system call (but for a stat(2) once a second); blocks only for queued writes of this client to the
  /// key's lane, to ask by ring (64 looks were disturbed, or Options::reads is kRing), or to connect to another server.
  /// Errors: kInvalid, kTooLarge (of the key), kFull (this process is out of memory), kTimeout, kNoServer.
  Result<std::string> get(Bytes key) noexcept;

  /// Copies the value into `buffer` and returns its size in bytes. kBufferTooSmall when it does not fit: nothing of
  /// use stands in the buffer then, and status().size() is what is needed, in bytes. Never allocates, unless it has
  /// to connect anew or opens a channel. Blocks and fails as get().
  Result<std::size_t> get_into(Bytes key, std::span<std::byte> buffer) noexcept;

  /// The value of `key` as a T, of which put(key, as_bytes_of(value)) has stored the bytes. kMismatch when the value has
  /// another size than a T: that is a matter of what is in the map now, and not of this call, which may succeed later.
  /// Blocks and fails as get(), and allocates as get_into().
  template <PlainResult T>
  Result<T> get_as(Bytes key) noexcept {
    std::array<std::byte, sizeof(T)> bytes;
    const Result<std::size_t> size = get_into(key, bytes);
    if (size && *size == sizeof(T)) [[likely]]
      return std::bit_cast<T>(bytes);
    return not_as_wanted(size, sizeof(T));
  }

  /// Removes `key`; kNotFound when it was absent. Blocks as put; needs no memory, so it is never refused with kFull
  /// but where a connection or channel must be made.
  Status erase(Bytes key) noexcept;

  /// kOk when `key` is present, kNotFound when it is absent. Blocks and fails as get(); copies no value.
  Status exists(Bytes key) noexcept;

  /// Sets `key` only if it is absent; kAlreadyExists when it is not. Blocks and fails as put.
  Status insert(Bytes key, Bytes value) noexcept;

  /// Sets `key` to `desired` if its value is `expected`, byte for byte. kMismatch when it is another one, kNotFound
  /// when the key is absent. Both values may have up to --max-value bytes. Blocks and fails as put.
  Status compare_exchange(Bytes key, Bytes expected, Bytes desired) noexcept;

  /// Adds `by` to the number that is the value of `key`, and returns the new one. A number is its decimal text, as
  /// "-17"; an absent key counts as 0. One that returns was applied exactly once.
  /// Errors: kNotANumber, kOverflow of 64 bits (nothing was changed), and as put. Blocks as put.
  template <Summand Number>
  Result<std::int64_t> increment(Bytes key, Number by) noexcept {
    return add(key, static_cast<std::int64_t>(by));
  }
  Result<std::int64_t> increment(Bytes key) noexcept { return add(key, 1); }

  /// The values of `keys`, each as get() would give it; together faster, because the memory accesses of many overlap.
  /// Not a snapshot. Empty when not even the vector of results can be had. Blocks as get() for each key.
  std::vector<Result<std::string>> multi_get(std::span<const std::string_view> keys) noexcept;
  std::vector<Result<std::string>> multi_get(std::initializer_list<std::string_view> keys) noexcept {
    return multi_get(std::span<const std::string_view>(keys.begin(), keys.size()));
  }
  /// Of keys in any range, such as std::vector<std::string>, std::set<std::string_view> or an array of arrays of bytes. What
  /// its iterators throw passes through.
  template <KeyRange Keys>
  std::vector<Result<std::string>> multi_get(Keys&& keys) {
    auto at = std::ranges::begin(keys);
    const NextKeys next = [](void* from, std::span<std::string_view> group) {
      auto& position = *static_cast<decltype(at)*>(from);
      for (std::string_view& key : group) {
        const Bytes bytes = *position;
        key = {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
        ++position;
      }
    };
    return multi_get_from(static_cast<std::size_t>(std::ranges::distance(keys)), next, std::addressof(at));
  }

  /// Calls `visit(key, value)` for each key that begins with `prefix` (empty: every key), in no order, until it
  /// returns false. What is there throughout is visited; nothing is visited twice; what comes, goes or changes
  /// meanwhile may be seen or not. Reads the table directly and holds up nobody. `visit` may use this client, and
  /// what it throws passes through.
  /// Errors: kTimeout when one bucket changed under every look for as long as the timeout (which does not bound the
  /// whole scan), kClosed when the server ends, kNoServer, kFull when this process is out of memory. What was visited
  /// was visited. Takes time in proportion to the whole table, whatever the prefix. The views are valid during the
  /// call of `visit`.
  template <Visitor Visit>
  Status scan(Bytes prefix, Visit&& visit) {
    using Target = std::remove_reference_t<Visit>;
    const VisitOne each = [](void* target, std::string_view key, std::string_view value) -> bool {
      return (*static_cast<Target*>(target))(key, value);
    };
    return scan_with(prefix, each, const_cast<void*>(static_cast<const void*>(std::addressof(visit))));
  }

  /// Removes every key, at one moment for everybody. Memory comes back in steps afterwards. Blocks for this client's
  /// queued writes in every lane and for the answer. Errors: kTimeout and kClosed (outcome unknown), kFull (no memory
  /// for a channel), kNoServer.
  Status clear() noexcept;

  /// How many keys there are; exact when nobody writes. Blocks for this client's queued writes only.
  /// Errors: kTimeout, kNoServer.
  Result<std::uint64_t> size() noexcept;

  struct Impl;

 private:
  using VisitOne = bool (*)(void* target, std::string_view key, std::string_view value);
  // Writes the next keys to all of `group`, and moves on behind them.
  using NextKeys = void (*)(void* from, std::span<std::string_view> group);
  Result<std::int64_t> add(Bytes key, std::int64_t by) noexcept;
  Status scan_with(Bytes prefix, VisitOne each, void* target);
  std::vector<Result<std::string>> multi_get_from(std::size_t count, NextKeys next, void* from);
  static Status not_as_wanted(const Result<std::size_t>& found, std::size_t wanted) noexcept;

  explicit Client(std::unique_ptr<Impl> impl) noexcept;
  std::unique_ptr<Impl> impl_;
};

}  // namespace hostmap
