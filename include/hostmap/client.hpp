// The client of a hostmap: start here.
//
//   auto map = hostmap::Client::connect();
//   if (!map) return complain(map.status().message());
//   if (auto status = map->put("language", "C++"); !status.ok()) return complain(status.message());
//   auto value = map->get("language");          // Result<std::string>
//
// Threads: any number of threads may make any call on one Client, except moving and destroying it. Reads run in parallel;
// writes (and flush and clear) take turns, which costs nothing measurable while only one thread writes. A flush covers the
// queued writes of all threads. After a fork, the child's first call connects again; writes queued before the fork stay with
// the parent.
// Signal handlers may make no call. Even get_into, which allocates nothing and takes no lock on its fast path, takes a mutex
// on the slow path (interference by another thread, a new connection), and a handler that interrupts the owner of that mutex
// would deadlock. Set a flag in the handler, and call the library where the flag is read.
// The library starts no thread, installs no signal handler, never prints, exits or throws on the data path.
//
// Every call that blocks does so for at most Options::timeout (or what set_timeout or <hostmap/time_limit.hpp> has set), then
// returns kTimeout. A change that timed out, or that was in
// progress when the server ended (kClosed), may or may not have been applied, and may still be applied: the outcome is
// unknown. The next call connects again if necessary, and returns kNoServer when there is no server. Every call may therefore
// return what connect() returns, unless its comment says otherwise.
#pragma once

#include <array>
#include <bit>
#include <chrono>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <iterator>
#include <memory>
#include <optional>
#include <ranges>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

#include <hostmap/batch.hpp>
#include <hostmap/bytes.hpp>
#include <hostmap/number.hpp>
#include <hostmap/options.hpp>
#include <hostmap/status.hpp>
#include <hostmap/task.hpp>
#include <hostmap/token.hpp>
#include <hostmap/ttl.hpp>

namespace hostmap {

/// A function that scan calls with a key and its value, and that returns whether to continue.
template <typename Visit>
concept Visitor = std::is_invocable_r_v<bool, Visit&, std::string_view, std::string_view>;

/// A function that scan calls with a key, its value and its time to live, and that returns whether to continue.
template <typename Visit>
concept TtlVisitor = !Visitor<Visit> &&
                     std::is_invocable_r_v<bool, Visit&, std::string_view, std::string_view, std::chrono::milliseconds>;

/// A function that update calls with the present value of a key (nothing: it is absent), and that returns the new value, or
/// nothing to leave the key as it is.
template <typename Revise>
concept Reviser = std::is_invocable_r_v<std::optional<std::string>, Revise&, std::optional<std::string_view>>;

/// A function that exchange and take call with the value that they are about to replace or remove (nothing: the key is absent).
template <typename Keep>
concept Keeper = std::is_void_v<std::invoke_result_t<Keep&, std::optional<std::string_view>>>;

/// A function that get_or_compute calls for the value of an absent key.
template <typename Compute>
concept Computer = std::is_invocable_r_v<Result<std::string>, Compute&>;

/// A function that scan calls with a key alone, and that returns whether to continue.
template <typename Visit>
concept KeyVisitor = !Visitor<Visit> && !TtlVisitor<Visit> && std::is_invocable_r_v<bool, Visit&, std::string_view>;

/// Functions that scan_from calls with a key and its value, or with a key alone, and that return nothing: a limit ends the call.
template <typename Visit>
concept PageVisitor = std::is_void_v<std::invoke_result_t<Visit&, std::string_view, std::string_view>>;
template <typename Visit>
concept KeyPageVisitor = std::is_void_v<std::invoke_result_t<Visit&, std::string_view>>;

/// A function that multi_get_into calls with the index of a key, and its value or the status that says why there is none.
template <typename Take>
concept ValueTaker = requires(Take& take, std::size_t index, const Result<std::span<std::byte>>& value) {
  take(index, value);
};

/// A reference whose memory stays valid while other elements of its range are visited: to an element that is stored in the
/// range, or to one that only refers to memory elsewhere.
template <typename Reference>
concept StableReference = std::is_lvalue_reference_v<Reference> || std::is_pointer_v<Reference> ||
    std::ranges::borrowed_range<Reference> || std::same_as<Reference, Bytes>;

/// Keys for multi_get: a range that can be visited more than once, of any type that converts to Bytes. Not a range that
/// creates each std::string (or other owner of memory) only when it is visited.
template <typename Range>
concept KeyRange = std::ranges::forward_range<Range> && StableReference<std::ranges::range_reference_t<Range>> &&
    std::convertible_to<std::ranges::range_reference_t<Range>, Bytes>;

/// Keys and values for multi_put: a range that can be visited more than once, whose elements have the members `first` and
/// `second`, such as std::map<std::string, std::string> or std::vector<std::pair<std::string_view, std::string_view>>.
template <typename Range>
concept PairRange = std::ranges::forward_range<Range> &&
    std::is_lvalue_reference_v<std::ranges::range_reference_t<Range>> &&
    requires(std::ranges::range_reference_t<Range> element) {
  { element.first } -> std::convertible_to<Bytes>;
  { element.second } -> std::convertible_to<Bytes>;
};

/// A type that get_as can return. Not bool: a byte other than 0 and 1 is not a valid bool.
template <typename T>
concept PlainResult = PlainValue<T> && !std::same_as<T, bool> && !std::is_array_v<T>;

/// A connection to one server, and the view of its table. Holds one file descriptor (whose lock shows that this process is
/// alive; none with Options::read_only) and address space for the whole table.
class Client {
 public:
  /// Connects to the server of `options.name`. Blocks for at most `options.timeout`; makes system calls and
  /// allocates.
  /// Errors: kNoServer, kOtherVersion, kPermission, kFull (no connection, memory, descriptor or address space left),
  /// kInvalid (name, dir, a timeout that is not above 0), kTimeout, kInternal (the regions are damaged).
  static Result<Client> connect(const Options& options) noexcept;
  /// With the default options.
  static Result<Client> connect() noexcept;

  /// A Client that was moved from can only be assigned to or destroyed. Do not move while another thread uses either Client.
  Client(Client&&) noexcept;
  Client& operator=(Client&&) noexcept;
  /// Closes the connection and does not block. The server still applies queued writes; those that it refuses are not
  /// reported. In a child after fork: leaves the parent's connection untouched.
  ~Client();

  /// Replaces Options::timeout for calls that begin later, of all threads. Does not block. kInvalid when it is not above zero.
  Status set_timeout(std::chrono::nanoseconds timeout) noexcept;

  /// Sets `key` (1 to 65,536 bytes) to `value` (0 bytes to the server's --max-value) and blocks until the server has
  /// answered; the value is then visible to all processes. Spins for at most 50 us, then sleeps. Allocates only when it opens
  /// the channel of its lane.
  /// Errors: kFull, kTooLarge, kInvalid (empty key): nothing was changed. kTimeout and kClosed: outcome unknown. kNoServer.
  Status put(Bytes key, Bytes value) noexcept;

  /// Like put, and the key is absent to everybody once `ttl` has passed since this call (counted by CLOCK_MONOTONIC, so setting
  /// the wall clock changes nothing, and the time that the machine is suspended does not count). It is
  /// absent to a get that begins then. kForever, and more than 2^53 ms (285,000 years): like put without one, which makes the key
  /// stay; kKeepTtl: the key ends when it would have. (What changes a value by what it is, increment, add, append, compare_exchange, put_if, update and
  /// exchange, keeps the end.) A key of 8 bytes with a value of 8 bytes takes more memory with an end.
  /// Errors: kInvalid when `ttl` is not above zero (nothing was changed), and those of put.
  Status put(Bytes key, Bytes value, std::chrono::milliseconds ttl) noexcept;

  /// Like put, but blocks only until the ring has room. Later calls of this client see the value. If the server refuses the
  /// write, the next flush() reports it.
  /// Errors: kTooLarge, kInvalid, and kTimeout when there was no room: not queued. kFull (no memory for a channel), kClosed,
  /// kNoServer.
  Status put_async(Bytes key, Bytes value) noexcept;

  Status put_async(Bytes key, Bytes value, std::chrono::milliseconds ttl) noexcept;

  /// Blocks until the server has applied all queued writes, and those whose calls had timed out. Returns the first error
  /// among them since the last flush, with their number in its message. kClosed: the connection ended before that; the writes
  /// queued on it may or may not be applied. This is reported once. kTimeout: not all applied yet; flush again.
  Status flush() noexcept;

  /// The value of `key`; kNotFound when it is absent. Allocates only the result. Reads the table without a message or system
  /// call (except one stat(2) a second). Blocks only for queued writes of this client to the key's lane, for a request by
  /// ring (after 64 disturbed attempts, or if Options::reads is kRing), or to connect to another server.
  /// Errors: kInvalid, kTooLarge (of the key), kFull (this process is out of memory), kTimeout, kNoServer.
  Result<std::string> get(Bytes key) noexcept;

  /// Copies the value into `buffer` and returns its size in bytes. kBufferTooSmall when it does not fit: the content of the
  /// buffer is then unspecified, and status().size() is the size needed, in bytes. Never allocates, unless it connects again or
  /// opens a channel. Blocks and fails like get().
  Result<std::size_t> get_into(Bytes key, std::span<std::byte> buffer) noexcept;

  /// The value of `key` as a T whose bytes were stored by put(key, as_bytes_of(value)). kMismatch when the size of the value
  /// is not that of a T: this depends on the current content of the map, so a later call may succeed. Blocks and fails like
  /// get(), and allocates like get_into().
  template <PlainResult T>
  Result<T> get_as(Bytes key) noexcept {
    std::array<std::byte, sizeof(T)> bytes;
    const Result<std::size_t> size = get_into(key, bytes);
    if (size && *size == sizeof(T)) [[likely]]
      return std::bit_cast<T>(bytes);
    return not_as_wanted(size, sizeof(T));
  }

  /// Removes `key`; kNotFound when it was absent. Blocks like put. Needs no memory, so it returns kFull only if it cannot
  /// create a connection or channel.
  Status erase(Bytes key) noexcept;

  /// kOk when `key` is present, kNotFound when it is absent. Blocks and fails like get(); copies no value.
  Status exists(Bytes key) noexcept;

  /// Sets `key` only if it is absent; kAlreadyExists when it is present. Blocks and fails like put.
  Status insert(Bytes key, Bytes value) noexcept;
  Status insert(Bytes key, Bytes value, std::chrono::milliseconds ttl) noexcept;

  /// Lets `key` live for `ttl` from now on, whatever it had before; kForever: until it is erased. The value is not sent.
  /// kNotFound when the key is absent. Errors: kInvalid when `ttl` is not above zero, kFull when the key had no time to live
  /// and there is no memory for one (nothing was changed), and those of put. Blocks like put.
  Status expire(Bytes key, std::chrono::milliseconds ttl) noexcept;

  /// Like expire, but blocks only until the ring has room: for sessions whose time to live begins anew with each use. An absent
  /// key is not reported; a refusal (kFull) is, by the next flush(). Errors like put_async.
  Status expire_async(Bytes key, std::chrono::milliseconds ttl) noexcept;

  /// Lets `key` stay until it is erased: expire(key, kForever).
  Status persist(Bytes key) noexcept { return expire(key, kForever); }

  /// How long `key` still lives, in whole milliseconds and at least 1; kForever when it has no end. kNotFound when it is
  /// absent. Blocks and fails like get(); copies no value.
  Result<std::chrono::milliseconds> ttl(Bytes key) noexcept;

  /// Sets `key` to `desired` if its value equals `expected`, byte for byte. kMismatch when the value differs, kNotFound when
  /// the key is absent. Both values may have up to --max-value bytes. Blocks and fails like put.
  Status compare_exchange(Bytes key, Bytes expected, Bytes desired) noexcept;

  /// Removes `key` if its value equals `expected`, byte for byte. kMismatch when the value differs, kNotFound when the key is
  /// absent. Reads the value, and sends its token alone. Blocks, retries and fails like update.
  Status compare_erase(Bytes key, Bytes expected) noexcept;

  /// The value of `key` and its token, for put_if and erase_if. Blocks and fails like get(); hashes the value.
  Result<ValueAndToken> get_with_token(Bytes key) noexcept;

  /// Sets `key` to `value` if the key still has the value and the end of which `token` is the token; it keeps the end. kMismatch
  /// when it has another one, kNotFound when it is absent. With the zero token: sets `key` only if it is absent, and otherwise returns kAlreadyExists,
  /// as insert does. A value that was replaced by others and then put again is the same value: that the key was changed
  /// meanwhile is not noticed. Sends only the token and the new value, whatever the size of the old one. Blocks and fails
  /// like put.
  Status put_if(Bytes key, Bytes value, const Token& token) noexcept;

  /// Removes `key` if it still has the value and the end of which `token` is the token. kMismatch when it has another one,
  /// kNotFound when it is absent, kInvalid for the zero token. Notices changes as put_if does. Blocks and fails like erase.
  Status erase_if(Bytes key, const Token& token) noexcept;

  /// Changes the value of `key` to what `revise` makes of it, as one step: no change of another process comes between. Reads
  /// the value, calls `revise(value)`, and sets the key by put_if; if the key was changed meanwhile, it begins again, so
  /// `revise` may be called several times and should do nothing but compute. It is called with std::nullopt if the key is
  /// absent, and returns the new value, or std::nullopt to leave the key as it is (then update returns kOk). The view is valid
  /// during the call; `revise` may use this client, and its exceptions pass through.
  /// Errors: those of get and put. kTimeout also when the key was changed in every attempt: nothing was changed by this call.
  template <Reviser Revise>
  Status update(Bytes key, Revise&& revise) {
    using Target = std::remove_reference_t<Revise>;
    const ReviseOne each = [](void* target, std::optional<std::string_view> now) -> std::optional<std::string> {
      return (*static_cast<Target*>(target))(now);
    };
    return update_with(key, each, const_cast<void*>(static_cast<const void*>(std::addressof(revise))));
  }

  /// Sets `key` to `value` and returns the value that this replaced; std::nullopt if the key was absent. Of several calls at
  /// once, each gets the value of the one before it. Blocks, retries and fails like update.
  Result<std::optional<std::string>> exchange(Bytes key, Bytes value) noexcept;

  /// The same, but calls `keep(old)` before the change is sent, so that `keep` can copy the value to where it is needed. If `keep`
  /// throws, nothing was changed, and its exception passes through. If another process changes the key meanwhile, `keep` is called
  /// again with the new value: the last call counts, and only if exchange returns kOk.
  template <Keeper Keep>
  Status exchange(Bytes key, Bytes value, Keep&& keep) {
    return exchange_with(key, value, keep_one_of<std::remove_reference_t<Keep>>(), address_of(keep));
  }

  /// Removes `key` and returns the value that it had; kNotFound when it was absent. Of several calls at once, only one gets a
  /// value. Blocks, retries and fails like update.
  Result<std::string> take(Bytes key) noexcept;

  /// The same, but calls `keep(old)` before the key is removed, as exchange does.
  template <Keeper Keep>
  Status take(Bytes key, Keep&& keep) {
    return take_with(key, keep_one_of<std::remove_reference_t<Keep>>(), address_of(keep));
  }

  /// Sets `key` if it is absent, and then returns std::nullopt; otherwise returns its value. Sends nothing if the key is
  /// present. Blocks, retries and fails like update.
  Result<std::optional<std::string>> insert_or_get(Bytes key, Bytes value) noexcept;

  /// Sets `key` only if it is present; kNotFound when it is absent. Blocks and fails like put.
  Status replace(Bytes key, Bytes value) noexcept;
  Status replace(Bytes key, Bytes value, std::chrono::milliseconds ttl) noexcept;

  /// Appends `more` to the value of `key` and returns the new size in bytes; an absent key counts as an empty value. A call that
  /// returns a size was applied exactly once. Copies the value within the table, so building a long one from many pieces takes
  /// time in proportion to the square of its size.
  /// Errors: kTooLarge (the sum would exceed --max-value), and those of put. Blocks like put.
  Result<std::uint64_t> append(Bytes key, Bytes more) noexcept;

  /// Adds `by` to the number stored under `key`, and returns the new number. A number is stored as decimal text, such as
  /// "-17"; an absent key counts as 0, or as `initial`. A key that the call creates lives for `ttl_if_new` from now on; one that
  /// is present keeps its end. So a number that counts the events of a minute begins anew with the first event after it:
  /// increment("events", 1, 0, 1min). A call that returns a number was applied exactly once.
  /// Errors: kNotANumber, kOverflow of 64 bits, kInvalid when `ttl_if_new` is not above zero (nothing was changed), and those of
  /// put. Blocks like put.
  template <Summand Number>
  Result<std::int64_t> increment(Bytes key, Number by) noexcept {
    return add(key, static_cast<std::int64_t>(by));
  }
  Result<std::int64_t> increment(Bytes key) noexcept { return add(key, 1); }
  template <Summand Number, Summand Initial>
  Result<std::int64_t> increment(Bytes key, Number by, Initial initial,
                                 std::chrono::milliseconds ttl_if_new = kForever) noexcept {
    return add_decimal(key, static_cast<std::int64_t>(by), static_cast<std::int64_t>(initial), ttl_if_new);
  }

  /// The same for a double. It is stored as the shortest decimal text that gives the same double when it is read, such as
  /// "0.1", "5" or "1e+23"; any decimal text of at most 128 bytes is accepted, so also what the increment of an integer stores
  /// (which itself accepts no fraction). Sums of fractions are rounded, as doubles are.
  /// Errors: kNotANumber, kOverflow (`by`, `initial` or the sum is infinite or no number; nothing was changed), kInvalid (as
  /// above), and those of put. Blocks like put.
  template <Fraction Number>
  Result<double> increment(Bytes key, Number by, double initial = 0,
                           std::chrono::milliseconds ttl_if_new = kForever) noexcept {
    return add_decimal(key, static_cast<double>(by), initial, ttl_if_new);
  }

  /// Adds `by` to the number whose 8 bytes are stored under `key`, as put(key, as_bytes_of(number)) stores it and
  /// get_as<Number>(key) reads it, and returns the new number; an absent key counts as `initial`, and then lives for
  /// `ttl_if_new`. Number is std::int64_t or double, and given explicitly: increment_as<std::int64_t>(key, 1). With a key of 8
  /// bytes this is the fastest counter. A call that returns a number was applied exactly once.
  /// Errors: kMismatch (the value has not 8 bytes), kOverflow and kInvalid (as above), and those of put. Blocks like put.
  template <StoredNumber Number>
  Result<Number> increment_as(Bytes key, std::type_identity_t<Number> by, std::type_identity_t<Number> initial = 0,
                              std::chrono::milliseconds ttl_if_new = kForever) noexcept {
    return add_stored(key, by, initial, ttl_if_new);
  }

  /// Sends all `operations`, many of them at once, then waits for their answers: `outcomes[i]` becomes that of `operations[i]`,
  /// with the status that the single call would have returned. Each succeeds or fails by itself; an invalid one disturbs no
  /// other. Not a transaction: other clients see the changes one by one. The operations of one key, and all that its lane
  /// serves, are applied in the order of the batch; between lanes there is no order. A get is a direct read, for which the batch
  /// first waits for the answers to earlier operations in its lane: put gets first, or use multi_get. Spins and sleeps like put;
  /// allocates only the values of gets, and the channels of lanes that are used for the first time. Up to 64 requests are on
  /// their way in each lane; other writes of this client wait until the call returns.
  /// Returns kOk if each operation has an outcome of its own (of a read_only client, kPermission for each change). Otherwise
  /// what ended the batch, which is also the outcome of all operations without an answer; those may or may not have been applied:
  /// kTimeout (one timeout for the whole call), kClosed, kInternal, or why nothing was sent: kNoServer and what connect()
  /// returns. kInvalid: `outcomes` is shorter than `operations`; then nothing was sent and no outcome was changed.
  Status apply(std::span<const Operation> operations, std::span<Outcome> outcomes) noexcept;

  /// Puts `entries` in their order, in batches of 64, and returns a status for each: that of put. Empty if the vector of results
  /// cannot be allocated. If a batch ends early, its status is also that of all later entries, which are not sent. Blocks for at
  /// most one timeout altogether. `ttl`: of each, as of put.
  std::vector<Status> multi_put(std::span<const KeyValue> entries, std::chrono::milliseconds ttl = kForever) noexcept;
  std::vector<Status> multi_put(std::initializer_list<KeyValue> entries) noexcept {
    return multi_put(std::span<const KeyValue>(entries.begin(), entries.size()));
  }
  /// Keys and values in a map, or in another range of pairs. Exceptions of its iterators pass through.
  template <PairRange Entries>
  std::vector<Status> multi_put(Entries&& entries) {
    auto at = std::ranges::begin(entries);
    const NextEntries next = [](void* from, std::span<KeyValue> group) {
      auto& position = *static_cast<decltype(at)*>(from);
      for (KeyValue& entry : group) {
        auto& element = *position;
        entry = {element.first, element.second};
        ++position;
      }
    };
    return multi_put_from(static_cast<std::size_t>(std::ranges::distance(entries)), next, std::addressof(at));
  }

  /// Removes `keys` in their order, as multi_put puts entries; kNotFound for each that was absent.
  std::vector<Status> multi_erase(std::span<const std::string_view> keys) noexcept;
  std::vector<Status> multi_erase(std::initializer_list<std::string_view> keys) noexcept {
    return multi_erase(std::span<const std::string_view>(keys.begin(), keys.size()));
  }
  /// Keys in any range, as those of multi_get. Exceptions of its iterators pass through.
  template <KeyRange Keys>
  std::vector<Status> multi_erase(Keys&& keys) {
    auto at = std::ranges::begin(keys);
    const auto count = static_cast<std::size_t>(std::ranges::distance(keys));
    return multi_erase_from(count, next_keys_of<decltype(at)>(), std::addressof(at));
  }

  /// Removes each key that begins with `prefix` (1 byte or more; kInvalid if it is empty: call clear), and returns how many this
  /// call has removed. Finds them as scan does: a key that is present during the whole call is removed, one that is added
  /// meanwhile may remain. Takes time in proportion to the whole table. Errors: those of scan and of erase; the keys that were
  /// removed before, whose number the message contains, stay removed. Each batch of 64 may take one timeout.
  Result<std::uint64_t> erase_prefix(Bytes prefix) noexcept;
  /// The same. `erased`: how many this call has removed, whatever it returns.
  Status erase_prefix(Bytes prefix, std::uint64_t& erased) noexcept;

  /// The values of `keys`, each as get() would return it; faster than single calls, because the memory accesses overlap. Not
  /// a snapshot. Empty if the vector of results cannot be allocated. Blocks like get(), for at most one timeout altogether.
  std::vector<Result<std::string>> multi_get(std::span<const std::string_view> keys) noexcept;
  std::vector<Result<std::string>> multi_get(std::initializer_list<std::string_view> keys) noexcept {
    return multi_get(std::span<const std::string_view>(keys.begin(), keys.size()));
  }
  /// Keys in any range, such as std::vector<std::string>, std::set<std::string_view> or an array of arrays of bytes.
  /// Exceptions of its iterators pass through.
  template <KeyRange Keys>
  std::vector<Result<std::string>> multi_get(Keys&& keys) {
    auto at = std::ranges::begin(keys);
    const auto count = static_cast<std::size_t>(std::ranges::distance(keys));
    return multi_get_from(count, next_keys_of<decltype(at)>(), std::addressof(at));
  }

  /// The same without allocations: stores the values one behind the other in `buffer`, in any order, and calls `take(index, value)`
  /// once for each key, also in any order: with the bytes of its value in the buffer, or its status. A value that does not fit has
  /// kBufferTooSmall, with its size; smaller ones behind it may fit. Exceptions of `take` pass through.
  template <KeyRange Keys, ValueTaker Take>
  void multi_get_into(Keys&& keys, std::span<std::byte> buffer, Take&& take) {
    using Target = std::remove_reference_t<Take>;
    const TakeOne each = [](void* to, std::size_t index, const Result<std::span<std::byte>>& value) {
      (*static_cast<Target*>(to))(index, value);
    };
    auto at = std::ranges::begin(keys);
    const auto count = static_cast<std::size_t>(std::ranges::distance(keys));
    multi_get_into_from(count, next_keys_of<decltype(at)>(), std::addressof(at), buffer, each, address_of(take));
  }

  /// Calls `visit(key, value)` for each key that begins with `prefix` (empty: every key), in no order, until it returns
  /// false. A key that is present during the whole scan is visited; no key is visited twice; a key that is added, removed or
  /// changed during the scan may or may not be seen. Reads the table directly and delays no other process. `visit` may use
  /// this client, and its exceptions pass through.
  /// Errors: kTimeout when one bucket kept changing for as long as the timeout (which does not bound the whole scan), kClosed
  /// when the server ends, kNoServer, kFull when this process is out of memory. Keys already visited are not undone. Takes
  /// time in proportion to the whole table, whatever the prefix. The views are valid during the call of `visit`.
  template <Visitor Visit>
  Status scan(Bytes prefix, Visit&& visit) {
    using Target = std::remove_reference_t<Visit>;
    const VisitOne each = [](void* target, std::string_view key, std::string_view value, std::uint64_t) -> bool {
      return (*static_cast<Target*>(target))(key, value);
    };
    return scan_with(prefix, each, address_of(visit), true);
  }
  /// The same for `visit(key)`: copies no values.
  template <KeyVisitor Visit>
  Status scan(Bytes prefix, Visit&& visit) {
    using Target = std::remove_reference_t<Visit>;
    const VisitOne each = [](void* target, std::string_view key, std::string_view, std::uint64_t) -> bool {
      return (*static_cast<Target*>(target))(key);
    };
    return scan_with(prefix, each, address_of(visit), false);
  }
  /// The same for `visit(key, value, ttl)`: how long the key still lives, as ttl() returns it. Both are of one moment.
  template <TtlVisitor Visit>
  Status scan(Bytes prefix, Visit&& visit) {
    using Target = std::remove_reference_t<Visit>;
    const VisitOne each = [](void* target, std::string_view key, std::string_view value, std::uint64_t end) -> bool {
      return (*static_cast<Target*>(target))(key, value, ttl_until(end));
    };
    return scan_with(prefix, each, address_of(visit), true);
  }

  /// A part of a scan. Calls `visit(key, value)`, which returns nothing, for some of the keys that begin with `prefix`, and returns
  /// the cursor from which the next call continues, or 0 at the end. Begin with the cursor 0. A cursor is a number below 2^53; the
  /// map keeps nothing for it, so it may be kept for any time, given to another process, or dropped. It belongs to one map: while
  /// that exists, also across restarts of its server, the calls of a chain of cursors together promise what scan promises. (A
  /// cursor of an earlier map of this name leads to any position.)
  /// `limit` is about how many keys to visit: a call ends after the bucket with which it has visited as many (some dozens more
  /// at most), or at the end, or after 4,096 + 16 * limit buckets, so that a rare prefix does not make it long; it may then have
  /// visited none. After an error, a call with the same cursor visits the keys that this one has visited again.
  /// Errors: those of scan; kInvalid: no scan of this map has returned such a cursor, or the limit is 0.
  template <PageVisitor Visit>
  Result<std::uint64_t> scan_from(std::uint64_t cursor, std::size_t limit, Bytes prefix, Visit&& visit) {
    using Target = std::remove_reference_t<Visit>;
    const VisitOne each = [](void* target, std::string_view key, std::string_view value, std::uint64_t) -> bool {
      (*static_cast<Target*>(target))(key, value);
      return true;
    };
    return scan_part(cursor, limit, prefix, each, address_of(visit), true);
  }
  /// The same for `visit(key)`: copies no values.
  template <KeyPageVisitor Visit>
  Result<std::uint64_t> scan_from(std::uint64_t cursor, std::size_t limit, Bytes prefix, Visit&& visit) {
    using Target = std::remove_reference_t<Visit>;
    const VisitOne each = [](void* target, std::string_view key, std::string_view, std::uint64_t) -> bool {
      (*static_cast<Target*>(target))(key);
      return true;
    };
    return scan_part(cursor, limit, prefix, each, address_of(visit), false);
  }

  /// Sleeps until the value of `key` is another one than `known` (std::nullopt: known to be absent), and returns what it is then:
  /// the value, or std::nullopt if the key has become absent, be it erased, ended, evicted or cleared. Returns at once if it is
  /// another one already, so no change is missed between two calls; changes that follow each other quickly may be seen as one,
  /// and a value that was replaced and put again is the same value. Whoever waits sleeps in the kernel and costs nothing, however
  /// many processes wait. At most 64 threads of one Client, for different keys of one lane.
  /// `timeout`: how long, whatever Options::timeout is; zero checks once, Options::kForever waits without end. The server's death
  /// and restart are only a pause.
  /// Errors: kTimeout (it did not change), kInvalid (a timeout below zero), kPermission with Options::read_only, kFull (too many
  /// keys at once, or no memory), and those of get.
  Result<std::optional<std::string>> wait(Bytes key, std::optional<Bytes> known,
                                          std::chrono::nanoseconds timeout) noexcept;

  /// Takes the lease of `key` for `length` from now on: a permission that one holder has at a time, in all processes. The key need
  /// not exist, and anybody can still change it: programs that respect it take the lease first. Returns the number of the lease, for
  /// release(). Later leases of the key have larger numbers as long as the map exists, so whatever is guarded outside of the map
  /// can refuse a holder that was too slow (a fencing number). A lease ends when it is released, after `length`, when this
  /// connection ends (this process died, say), and with its server: a restart forgets leases, not their numbers. At most 64 in
  /// a lane.
  /// `patience`: how long to sleep until the lease is free, whatever Options::timeout is; zero requests it once.
  /// Errors: kAlreadyExists when somebody holds it, this client included; kInvalid (`length` not above zero or kForever, `patience`
  /// below zero), kFull (too many leases), kPermission with Options::read_only, and those of put.
  Result<std::uint64_t> lease(Bytes key, std::chrono::milliseconds length,
                              std::chrono::nanoseconds patience = std::chrono::nanoseconds::zero()) noexcept;

  /// Releases the lease of `key`, and wakes those that wait for it. kNotFound when this client does not hold it any more: another
  /// process may have held it meanwhile. Blocks like put.
  Status release(Bytes key, std::uint64_t number) noexcept;

  /// The value of `key`; if it is absent, computes it by `compute()`, stores it for `ttl` (kForever: without an end) and returns it.
  /// Of all processes and threads that miss at once, one computes; the others sleep and return its value. `compute` returns a
  /// std::string or a Result<std::string>; if that is an error, nothing is stored, and those that waited for it get its status
  /// code, too; the next call computes again. Its exceptions pass through (the others get kInternal). It may use this client, but
  /// not for the same key.
  /// `lease`: how long one process may take. If it dies, another one computes at once; if it is stopped or slower than this, then;
  /// what the slower one has computed is stored only if the key is still absent, and both return what is stored.
  /// If this client has 64 leases in the key's lane, it computes without one: another caller may compute the same value at the same
  /// time; all return the one that is stored first.
  /// A hit costs what get costs. On a miss it blocks at most for Options::timeout and `lease`, without the time that `compute`
  /// takes. Errors: kInvalid (`ttl` or `lease` not above zero, a call for this key by its own `compute`), kTimeout, what `compute`
  /// returns, and those of get, insert and lease, except kFull for too many leases.
  template <Computer Compute>
  Result<std::string> get_or_compute(Bytes key, std::chrono::milliseconds ttl, Compute&& compute,
                                     std::chrono::milliseconds lease = std::chrono::seconds(30)) {
    using Target = std::remove_reference_t<Compute>;
    const ComputeOne each = [](void* target) -> Result<std::string> { return (*static_cast<Target*>(target))(); };
    return get_or_compute_with(key, ttl, each, address_of(compute), lease);
  }

  /// get_or_compute in parts, for callers that have no function to pass, such as bindings of other languages. Returns the value of
  /// `key`; or, if it is absent and nobody else computes it, a task: the caller then computes the value, and ends the task by
  /// compute_put or compute_fail, from any thread. While somebody else has the task, this sleeps; if that one fails, it returns its
  /// status. Blocks at most for Options::timeout and `lease`. A second call for the key by a thread that has its task waits in vain.
  /// Errors: kInvalid (`lease` not above zero, or kForever), kTimeout, those of get and lease. kFull for too many leases: compute
  /// the value without a task and store it by insert, as get_or_compute does.
  Result<ValueOrTask> compute_begin(Bytes key, std::chrono::milliseconds lease = std::chrono::seconds(30)) noexcept;

  /// Stores the value for `ttl` if the key is still absent, ends the task and wakes all who wait. kAlreadyExists: somebody else has
  /// stored a value meanwhile. The task has ended, whatever this returns. Errors: kInvalid (a task of 0), and those of insert.
  Status compute_put(Bytes key, Bytes value, std::uint64_t task, std::chrono::milliseconds ttl = kForever) noexcept;

  /// Ends the task without a value: all who wait for it get `failure`. kInvalid if that is kOk. kNotFound when the lease of the task
  /// has ended before. Blocks like put.
  Status compute_fail(Bytes key, StatusCode failure, std::uint64_t task) noexcept;

  /// Removes every key, atomically for all readers. The memory is freed in steps afterwards. Blocks for this client's queued
  /// writes in every lane and for the answer. Errors: kTimeout and kClosed (outcome unknown), kFull (no memory for a
  /// channel), kNoServer.
  Status clear() noexcept;

  /// The number of keys; exact while there are no writes. Blocks for this client's queued writes only.
  /// Errors: kTimeout, kNoServer.
  Result<std::uint64_t> size() noexcept;

  struct Impl;

 private:
  using VisitOne = bool (*)(void* target, std::string_view key, std::string_view value, std::uint64_t end);
  static std::chrono::milliseconds ttl_until(std::uint64_t end) noexcept;
  // Stores the next keys in all of `group`, and advances the position past them.
  using NextKeys = void (*)(void* from, std::span<std::string_view> group);
  template <typename Iterator>
  static constexpr NextKeys next_keys_of() noexcept {
    return [](void* from, std::span<std::string_view> group) {
      auto& position = *static_cast<Iterator*>(from);
      for (std::string_view& key : group) {
        const Bytes bytes = *position;
        key = {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
        ++position;
      }
    };
  }
  using NextEntries = void (*)(void* from, std::span<KeyValue> group);
  std::vector<Status> multi_put_from(std::size_t count, NextEntries next, void* from);
  std::vector<Status> multi_erase_from(std::size_t count, NextKeys next, void* from);
  Result<std::int64_t> add(Bytes key, std::int64_t by) noexcept;
  Result<std::int64_t> add_decimal(Bytes key, std::int64_t by, std::int64_t initial,
                                   std::chrono::milliseconds ttl_if_new) noexcept;
  Result<double> add_decimal(Bytes key, double by, double initial, std::chrono::milliseconds ttl_if_new) noexcept;
  Result<std::int64_t> add_stored(Bytes key, std::int64_t by, std::int64_t initial,
                                  std::chrono::milliseconds ttl_if_new) noexcept;
  Result<double> add_stored(Bytes key, double by, double initial, std::chrono::milliseconds ttl_if_new) noexcept;
  using ReviseOne = std::optional<std::string> (*)(void* target, std::optional<std::string_view> now);
  Status update_with(Bytes key, ReviseOne revise, void* target);
  using KeepOne = void (*)(void* target, std::optional<std::string_view> old);
  template <typename Target>
  static constexpr KeepOne keep_one_of() noexcept {
    return [](void* target, std::optional<std::string_view> old) { (*static_cast<Target*>(target))(old); };
  }
  Status exchange_with(Bytes key, Bytes value, KeepOne keep, void* target);
  Status take_with(Bytes key, KeepOne keep, void* target);
  using ComputeOne = Result<std::string> (*)(void* target);
  Result<std::string> get_or_compute_with(Bytes key, std::chrono::milliseconds ttl, ComputeOne compute, void* target,
                                          std::chrono::milliseconds length);
  Status scan_with(Bytes prefix, VisitOne each, void* target, bool values);
  Result<std::uint64_t> scan_part(std::uint64_t cursor, std::size_t limit, Bytes prefix, VisitOne each, void* target,
                                  bool values);
  template <typename Target>
  static void* address_of(Target& target) noexcept {
    return const_cast<void*>(static_cast<const void*>(std::addressof(target)));
  }
  std::vector<Result<std::string>> multi_get_from(std::size_t count, NextKeys next, void* from);
  using TakeOne = void (*)(void* to, std::size_t index, const Result<std::span<std::byte>>& value);
  void multi_get_into_from(std::size_t count, NextKeys next, void* from, std::span<std::byte> buffer, TakeOne take,
                           void* to);
  static Status not_as_wanted(const Result<std::size_t>& found, std::size_t wanted) noexcept;

  explicit Client(std::unique_ptr<Impl> impl) noexcept;
  std::unique_ptr<Impl> impl_;
};

}  // namespace hostmap
