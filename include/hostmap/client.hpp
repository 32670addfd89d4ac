// The client of a hostmap: start here.
//
//   auto map = hostmap::Client::connect();
//   if (!map) return complain(map.status().message());
//   map->put("language", "C++");
//   auto value = map->get("language");          // Result<std::string>
//
// Threads: get, get_into and exists may be called from any number of threads on one Client; everything else from one
// thread at a time. After a fork, the child's first call connects anew; writes queued before the fork stay with the parent.
// The library starts no thread, installs no signal handler, never prints, exits or throws on the data path.
#pragma once

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>

#include <hostmap/options.hpp>
#include <hostmap/status.hpp>

namespace hostmap {

/// Bytes of a key or a value: made from a std::string_view or a std::span<const std::byte>, never from a temporary
/// number or a bare pointer. Refers to the caller's memory during the call only.
class Bytes {
 public:
  Bytes(std::string_view text) noexcept  // NOLINT(google-explicit-constructor)
      : data_(reinterpret_cast<const std::byte*>(text.data())), size_(text.size()) {}
  Bytes(const std::string& text) noexcept : Bytes(std::string_view(text)) {}  // NOLINT
  Bytes(const char* text) noexcept : Bytes(std::string_view(text)) {}         // NOLINT
  template <typename Byte, std::size_t kExtent>
  requires std::same_as<std::remove_const_t<Byte>, std::byte> Bytes(std::span<Byte, kExtent> bytes)
  noexcept : data_(bytes.data()), size_(bytes.size()) {}  // NOLINT
  Bytes(std::nullptr_t) = delete;

  const std::byte* data() const noexcept { return data_; }
  std::size_t size() const noexcept { return size_; }

 private:
  const std::byte* data_;
  std::size_t size_;
};

class Client {
 public:
  /// Connects to the server of `options.name`. Blocks for at most `options.timeout`.
  /// Errors: kNoServer, kOtherVersion, kPermission, kFull (no connection left), kInvalid (name, dir), kTimeout.
  static Result<Client> connect(const Options& options = {}) noexcept;

  Client(Client&&) noexcept;
  Client& operator=(Client&&) noexcept;
  /// Closes the connection. Queued writes are already on their way: the server applies them.
  ~Client();

  /// Sets `key` (1 to 65,536 bytes) to `value` (0 bytes to the server's --max-value) and waits for the answer.
  /// Errors: kFull, kTooLarge, kTimeout and kClosed (outcome unknown), kNoServer.
  Status put(Bytes key, Bytes value) noexcept;

  /// Like put, but waits only for room in the ring. Later calls of this client see the value. What the server refuses
  /// is reported by the next flush().
  Status put_async(Bytes key, Bytes value) noexcept;

  /// Waits until the server has applied all queued writes, and those whose calls had timed out. Returns the first error
  /// among them since the last flush, and their number in its message.
  Status flush() noexcept;

  /// The value of `key`; kNotFound when it is absent. Allocates the result and nothing else.
  Result<std::string> get(Bytes key) noexcept;

  /// Copies the value into `buffer` and returns its size in bytes. kBufferTooSmall when it does not fit: nothing of
  /// use stands in the buffer then, and status().size() is what is needed. Never allocates.
  Result<std::size_t> get_into(Bytes key, std::span<std::byte> buffer) noexcept;

  /// Removes `key`; kNotFound when it was absent.
  Status erase(Bytes key) noexcept;

  /// kOk when `key` is present, kNotFound when it is absent.
  Status exists(Bytes key) noexcept;

  struct Impl;

 private:
  explicit Client(std::unique_ptr<Impl> impl) noexcept;
  std::unique_ptr<Impl> impl_;
};

}  // namespace hostmap
