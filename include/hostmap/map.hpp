// Map<K, V>: a map of one type of keys to one type of values, on top of a Client.
//
//   auto client = hostmap::Client::connect();
//   if (!client) return complain(client.status().message());
//   auto ages = hostmap::Map<std::string, std::uint32_t>::named(*client, "ages");
//   if (!ages) return complain(ages.status().message());
//   if (auto status = ages->insert_or_assign("Ann", 43); !status.ok()) return complain(status.message());
//   auto value = ages->find("Ann");             // Result<std::uint32_t>
//
// Names and meanings are those of std::unordered_map and boost::concurrent_flat_map. But the entries live on a server, so every
// call can fail, and returns a Status or Result as those of Client do, with the same errors, blocking and allocation; a value is
// returned as a copy, and there are no iterators and no references.
//
// Key and value: an integer, an enum, a floating-point number, std::string, or a trivially copyable struct, stored as its bytes in
// memory (little-endian). All programs must agree on a struct's members. A key has exactly one representation, so it is not a
// floating-point number, nor a struct with padding or floating-point members.
//
//   stored key, with a name     name | 0 | kTypes, 4 bytes, little-endian | bytes of the key
//   stored key, without one     bytes of the key
//
// Many maps with different names, or with different types under one name, can share an instance. A map without a name has the
// instance for itself: then keys and values of 8 bytes are pairs, the fastest form.
//
// Threads: as with Client. A Map refers to its Client, which must live longer and must not be moved meanwhile.
#pragma once

#include <array>
#include <bit>
#include <chrono>
#include <cmath>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <new>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>

#include <hostmap/bytes.hpp>
#include <hostmap/client.hpp>
#include <hostmap/status.hpp>
#include <hostmap/ttl.hpp>

namespace hostmap {

/// What Map distinguishes types by, together with their sizes.
template <typename T>
inline constexpr char kKindOf = std::is_same_v<T, std::string> ? 's'
                                : std::is_enum_v<T>            ? 'e'
                                : std::is_floating_point_v<T>  ? 'f'
                                : !std::is_integral_v<T>       ? 't'
                                : std::is_signed_v<T>          ? 'i'
                                                               : 'u';

/// A type whose bytes are a key or value of Map.
template <typename T>
concept MapType = std::same_as<T, std::string> ||
    (PlainValue<T> && !std::is_array_v<T> && !std::same_as<T, bool> && !std::same_as<T, long double> &&
     std::same_as<T, std::remove_cv_t<T>>);

/// A map of K to V. See above.
template <typename K, typename V>
class Map {
  static_assert(MapType<K>,
                "a key of a Map is an integer, an enum, std::string or a trivially copyable struct: not bool, a "
                "pointer, a view or "
                "an array");
  static_assert(MapType<V>,
                "a value of a Map is an integer, an enum, a floating-point number, std::string or a trivially copyable "
                "struct: not "
                "bool, a pointer, a view or an array");
  static_assert(
      !MapType<K> || std::same_as<K, std::string> || std::has_unique_object_representations_v<K>,
      "a key of a Map needs exactly one representation: no floating-point number, and no struct with padding or with "
      "floating-point members");
  static_assert(std::endian::native == std::endian::little);

  static constexpr bool kKeyIsText = std::is_same_v<K, std::string>;
  static constexpr bool kValueIsText = std::is_same_v<V, std::string>;
  // Texts are passed as views, so that a literal needs no std::string.
  using KeyArgument = std::conditional_t<kKeyIsText, std::string_view, const K&>;
  using ValueArgument = std::conditional_t<kValueIsText, std::string_view, const V&>;

 public:
  using key_type = K;
  using mapped_type = V;

  /// The longest name of a map, in bytes.
  static constexpr std::size_t kMaxNameBytes = 255;

  /// FNV-1a (32 bits) of kind and size of K, then of V, one byte for each kind and the 4 bytes of each size. The kind is i
  /// (signed) or u (unsigned integer), e (enum), f (floating-point number), s (std::string, of size 0) or t (struct).
  static constexpr std::uint32_t kTypes = [] {
    std::uint32_t hash = 2'166'136'261U;
    const auto add = [&hash](std::uint32_t byte) { hash = (hash ^ byte) * 16'777'619U; };
    const auto add_type = [&add](char kind, std::size_t size) {
      add(static_cast<unsigned char>(kind));
      for (unsigned shift = 0; shift < 32; shift += 8) add(static_cast<std::uint32_t>(size >> shift) & 255U);
    };
    add_type(kKindOf<K>, kKeyIsText ? 0 : sizeof(K));
    add_type(kKindOf<V>, kValueIsText ? 0 : sizeof(V));
    return hash;
  }();

  /// The map without a name, which is all of the instance. Neither blocks nor allocates.
  explicit Map(Client& client) noexcept : client_(&client) {}

  /// The map `name` (1 to 255 bytes, none of them 0). It exists as soon as it has a key. Sends nothing; allocates.
  /// Errors: kInvalid (the name is empty or contains a zero), kTooLarge (a longer name), kFull (out of memory).
  static Result<Map> named(Client& client, std::string_view name) noexcept {
    if (name.empty()) return Status(StatusCode::kInvalid, "the name of a map is empty");
    if (name.find('\0') != std::string_view::npos)
      return Status(StatusCode::kInvalid, "the name of a map contains a zero byte");
    if (name.size() > kMaxNameBytes) return Status(StatusCode::kTooLarge, "the name of a map has more than 255 bytes");
    Map map(client);
    map.prefix_bytes_ = name.size() + 1 + sizeof(kTypes);
    map.prefix_.reset(new (std::nothrow) char[map.prefix_bytes_]);
    if (map.prefix_ == nullptr) return Status::out_of_memory();
    const std::uint32_t types = kTypes;
    std::memcpy(map.prefix_.get(), name.data(), name.size());
    map.prefix_[name.size()] = '\0';
    std::memcpy(map.prefix_.get() + name.size() + 1, &types, sizeof types);
    return map;
  }

  /// The value of `key`; kNotFound when it is absent. kMismatch: the bytes that are stored are not those of a V, so another program
  /// wrote them. Blocks, fails and allocates like Client::get_into (a V that is a std::string: like Client::get).
  Result<V> find(KeyArgument key) noexcept {
    // Not by with(): a get of a pair takes three instructions less.
    const Bytes bytes = bytes_of(key);
    if (prefix_ == nullptr) [[likely]]
      return get(bytes);
    const auto call = [this](Bytes stored) { return get(stored); };
    return with_prefix(bytes, call);
  }

  /// kOk when `key` is present, kNotFound when it is absent: Client::exists.
  Status contains(KeyArgument key) noexcept {
    return with(key, [this](Bytes stored) { return client_->exists(stored); });
  }

  /// Calls `visitor(value)` with a copy of the value of `key`, if it is present; kNotFound if it is absent. Exceptions of
  /// `visitor` pass through. Blocks and fails like find.
  template <typename Visitor>
  Status visit(KeyArgument key, Visitor&& visitor) {
    static_assert(std::is_invocable_v<Visitor&, const V&>, "visit calls a function with the value, a const V&");
    const Result<V> found = find(key);
    if (!found) return found.status();
    visitor(*found);
    return {};
  }

  /// Sets `key` only if it is absent; kAlreadyExists when it is present. Blocks and fails like Client::insert.
  Status insert(KeyArgument key, ValueArgument value) noexcept {
    return with(key, [&](Bytes stored) { return client_->insert(stored, bytes_of(value)); });
  }
  Status insert(KeyArgument key, ValueArgument value, std::chrono::milliseconds ttl) noexcept {
    return with(key, [&](Bytes stored) { return client_->insert(stored, bytes_of(value), ttl); });
  }

  /// insert(key, V(arguments...)).
  template <typename... Arguments>
  Status try_emplace(KeyArgument key, Arguments&&... arguments) {
    static_assert(std::is_constructible_v<V, Arguments...> || kIsListed<Arguments...>,
                  "try_emplace constructs the value, a V, from the arguments after the key");
    if constexpr (std::is_constructible_v<V, Arguments...>) {
      return insert(key, V(std::forward<Arguments>(arguments)...));
    } else if constexpr (kIsListed<Arguments...>) {
      return insert(key, V{std::forward<Arguments>(arguments)...});
    }
  }

  /// Sets `key` to `value`. Blocks and fails like Client::put; with `ttl` like the put that has one.
  Status insert_or_assign(KeyArgument key, ValueArgument value) noexcept {
    return with(key, [&](Bytes stored) { return client_->put(stored, bytes_of(value)); });
  }
  Status insert_or_assign(KeyArgument key, ValueArgument value, std::chrono::milliseconds ttl) noexcept {
    return with(key, [&](Bytes stored) { return client_->put(stored, bytes_of(value), ttl); });
  }

  /// Removes `key`; kNotFound when it was absent. Blocks and fails like Client::erase.
  Status erase(KeyArgument key) noexcept {
    return with(key, [this](Bytes stored) { return client_->erase(stored); });
  }

  /// Changes the value of `key` to what `revise` makes of it, as one step. `revise` is called with a std::optional<V>, which is empty
  /// if the key is absent, and returns the new value, or std::nullopt to leave the key as it is. It may be called several times,
  /// and its exceptions pass through. kMismatch: the bytes that are stored are not those of a V; nothing was changed.
  /// Blocks, retries and fails like Client::update.
  template <typename Revise>
  Status update(KeyArgument key, Revise&& revise) {
    static_assert(
        std::is_invocable_r_v<std::optional<V>, Revise&, std::optional<V>>,
        "update calls a function with the present value, a std::optional<V>, which returns the new one, a V or a "
        "std::optional<V>");
    return with(key, [&](Bytes stored) -> Status {
      bool foreign = false;
      Status status = client_->update(stored, [&](std::optional<std::string_view> now) -> std::optional<std::string> {
        std::optional<V> value;
        if (now) value = decode<V>(*now);
        foreign = now && !value;
        if (foreign) return std::nullopt;
        std::optional<V> next = revise(std::move(value));
        if (!next) return std::nullopt;
        if constexpr (kValueIsText) {
          return std::move(*next);
        } else {
          return std::string(reinterpret_cast<const char*>(std::addressof(*next)), sizeof(V));
        }
      });
      if (status.ok() && foreign) return mismatch();
      return status;
    });
  }

  /// Sleeps until the value of `key` is another one than `known` (std::nullopt: known to be absent), and returns what it is then, or
  /// std::nullopt if the key has become absent: Client::wait, with its errors. kMismatch: the bytes that are stored are not those
  /// of a V.
  Result<std::optional<V>> wait(KeyArgument key, const std::optional<V>& known,
                                std::chrono::nanoseconds timeout) noexcept {
    return with(key, [&](Bytes stored) -> Result<std::optional<V>> {
      std::optional<Bytes> bytes;
      if (known) bytes = bytes_of(*known);
      Result<std::optional<std::string>> now = client_->wait(stored, bytes, timeout);
      if constexpr (kValueIsText) {
        return now;  // not copied: that allocates, and may fail
      } else {
        if (!now) return now.status();
        if (!*now) return std::optional<V>();
        const std::optional<V> value = decode<V>(**now);
        if (!value) return mismatch();
        return value;
      }
    });
  }

  /// Adds `by` to the number of `key` and returns the number before it; an absent key counts as 0. V is an integer or a
  /// floating-point number; with std::int64_t, the server adds, otherwise this is an update. A call that returns a number was
  /// applied exactly once.
  /// Errors: kOverflow (the sum is not in the range of V, or is not finite; nothing was changed), kMismatch, those of put; but of a
  /// std::int64_t, those of Client::increment_as.
  Result<V> fetch_add(KeyArgument key, std::type_identity_t<V> by) noexcept {
    static_assert(std::is_arithmetic_v<V>, "fetch_add needs a map whose values are integers or floating-point numbers");
    if constexpr (std::is_same_v<V, std::int64_t>) {
      return with(key, [&](Bytes stored) -> Result<V> {
        const Result<std::int64_t> sum = client_->template increment_as<std::int64_t>(stored, by);
        if (!sum) return sum.status();
        return *sum - by;
      });
    } else if constexpr (std::is_arithmetic_v<V>) {
      V before{};
      bool overflow = false;
      Status status = update(key, [&](std::optional<V> now) -> std::optional<V> {
        before = now.value_or(V{});
        V sum{};
        if constexpr (std::is_integral_v<V>) {
          overflow = __builtin_add_overflow(before, by, &sum);
        } else {
          sum = before + by;
          overflow = !std::isfinite(sum);
        }
        return overflow ? std::nullopt : std::optional<V>(sum);
      });
      if (!status.ok()) return status;
      if (overflow) return StatusCode::kOverflow;
      return before;
    }
  }

  /// Lets `key` live for `ttl` from now on; kForever: until it is erased. Client::expire.
  Status expire(KeyArgument key, std::chrono::milliseconds ttl) noexcept {
    return with(key, [&](Bytes stored) { return client_->expire(stored, ttl); });
  }
  Status persist(KeyArgument key) noexcept { return expire(key, kForever); }
  /// How long `key` still lives; kForever when it has no end. Client::ttl.
  Result<std::chrono::milliseconds> ttl(KeyArgument key) noexcept {
    return with(key, [this](Bytes stored) { return client_->ttl(stored); });
  }

  /// Calls `visitor(key, value)`, with a const K& and a const V&, for each key of this map, in no order; if it returns a bool, until
  /// that is false. Passes over what is not a K with a V (in a map without a name: keys that another program has stored). What may be
  /// seen of changes meanwhile is what Client::scan says; blocks and fails like it. Takes time in proportion to the whole
  /// instance. `visitor` may use this map, and its exceptions pass through.
  template <typename Visitor>
  Status for_each(Visitor&& visitor) {
    static_assert(std::is_invocable_v<Visitor&, const K&, const V&>,
                  "for_each calls a function with a key and its value, a const K& and a const V&");
    return client_->scan(prefix(), [&](std::string_view stored, std::string_view bytes) -> bool {
      const std::optional<K> key = decode<K>(stored.substr(prefix_bytes_));
      const std::optional<V> value = key ? decode<V>(bytes) : std::nullopt;
      if (!value) return true;
      if constexpr (std::is_invocable_r_v<bool, Visitor&, const K&, const V&>) {
        return visitor(*key, *value);
      } else {
        visitor(*key, *value);
        return true;
      }
    });
  }

  /// The number of keys; exact while there are no writes. Without a name: Client::size, at once. With one: counts the keys by a scan,
  /// in time in proportion to the whole instance.
  Result<std::uint64_t> size() noexcept {
    if (prefix_ == nullptr) return client_->size();
    std::uint64_t count = 0;
    Status status = client_->scan(prefix(), [&](std::string_view stored) {
      if (kKeyIsText || stored.size() == prefix_bytes_ + sizeof(K)) ++count;
      return true;
    });
    if (!status.ok()) return status;
    return count;
  }

  /// Removes all keys. Without a name: Client::clear, which empties the instance at one moment. With one: Client::erase_prefix, so the
  /// keys go one after the other, those that are added meanwhile may remain, and it takes time in proportion to the whole instance;
  /// after an error some of them are removed: call it again. Errors and blocking: those of these two.
  Status clear() noexcept {
    if (prefix_ == nullptr) return client_->clear();
    std::uint64_t erased = 0;
    return client_->erase_prefix(prefix(), erased);
  }

 private:
  // A longer key with its prefix is joined in memory from the heap.
  static constexpr std::size_t kJoinedBytes = 512;

  // An aggregate before P0960 (clang 14): not constructible with (), but with {}.
  template <typename... Arguments>
  static constexpr bool kIsListed = requires(Arguments&&... arguments) {
    V{std::forward<Arguments>(arguments)...};
  };

  template <typename T>
  static Bytes bytes_of(const T& value) noexcept {
    if constexpr (std::is_convertible_v<const T&, std::string_view>) {
      return value;
    } else {
      return as_bytes_of(value);
    }
  }

  template <typename T>
  static std::optional<T> decode(std::string_view bytes) {
    if constexpr (std::is_same_v<T, std::string>) {
      return std::string(bytes);
    } else {
      if (bytes.size() != sizeof(T)) return std::nullopt;
      std::array<char, sizeof(T)> copy;
      std::memcpy(copy.data(), bytes.data(), sizeof(T));
      return std::bit_cast<T>(copy);
    }
  }

  Result<V> get(Bytes stored) noexcept {
    if constexpr (kValueIsText) {
      return client_->get(stored);
    } else {
      return client_->template get_as<V>(stored);
    }
  }

  static Status mismatch() noexcept {
    return {StatusCode::kMismatch, "the value that is stored is not of the type of this map's values"};
  }

  std::string_view prefix() const noexcept { return {prefix_.get(), prefix_bytes_}; }

  // Calls `call` with the stored form of `key`.
  template <typename Call>
  std::invoke_result_t<Call&, Bytes> with(KeyArgument key, Call call) {
    const Bytes bytes = bytes_of(key);
    if (prefix_ == nullptr) return call(bytes);
    return with_prefix(bytes, call);
  }
  template <typename Call>
  [[gnu::noinline]] std::invoke_result_t<Call&, Bytes> with_prefix(Bytes key, Call& call) {
    std::array<char, kJoinedBytes> here;
    std::unique_ptr<char[]> elsewhere;
    char* joined = here.data();
    const std::size_t size = prefix_bytes_ + key.size();
    if (size > here.size()) {
      elsewhere.reset(new (std::nothrow) char[size]);
      if (elsewhere == nullptr) return Status::out_of_memory();
      joined = elsewhere.get();
    }
    std::memcpy(joined, prefix_.get(), prefix_bytes_);
    if (key.size() != 0) std::memcpy(joined + prefix_bytes_, key.data(), key.size());
    return call(std::string_view(joined, size));
  }

  Client* client_;
  std::unique_ptr<char[]> prefix_;  // nullptr: without a name
  std::size_t prefix_bytes_ = 0;
};

}  // namespace hostmap
