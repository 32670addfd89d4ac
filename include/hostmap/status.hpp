// Status and Result: how every call of hostmap says what happened.
//
// A Status is a code from a frozen list and one sentence for people. It never throws, and its usual form (a code alone)
// allocates nothing. Result<T> is a T or a Status; there is no Result<bool>, because `if (result)` would be a trap.
// Values of both belong to one thread at a time, like an int.
#pragma once

#include <concepts>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>

namespace hostmap {

/// Frozen numbers: a code's value never changes, in no language.
enum class StatusCode : std::uint8_t {
  kOk = 0,
  kNotFound = 1,        ///< the key is absent; an ordinary result
  kAlreadyExists = 2,   ///< insert found the key present
  kMismatch = 3,        ///< compare_exchange found another value
  kNotANumber = 4,      ///< increment found bytes that are no decimal number
  kOverflow = 5,        ///< increment would leave the 64-bit range
  kBufferTooSmall = 6,  ///< get_into: the value is longer than the buffer
  kTimeout = 7,         ///< the deadline passed; for a mutation the outcome is unknown
  kNoServer = 8,        ///< no server runs under this name
  kFull = 9,            ///< no memory or no room for a connection; nothing was changed
  kTooLarge = 10,       ///< key or value above its limit; nothing was changed
  kInvalid = 11,        ///< an argument that can never be right
  kPermission = 12,     ///< the regions belong to somebody else
  kOtherVersion = 13,   ///< server and client were built for different layouts
  kClosed = 14,         ///< the server closed this connection; the next call connects anew
  kInternal = 15,       ///< a bug of ours, or damaged shared memory
};

/// The sentence that belongs to a code, without the details of a case.
constexpr std::string_view describe(StatusCode code) noexcept {
  switch (code) {
    case StatusCode::kOk:
      return "done";
    case StatusCode::kNotFound:
      return "no such key";
    case StatusCode::kAlreadyExists:
      return "the key exists already";
    case StatusCode::kMismatch:
      return "the value is not the expected one";
    case StatusCode::kNotANumber:
      return "the value is not a decimal number";
    case StatusCode::kOverflow:
      return "the number would leave the 64-bit range";
    case StatusCode::kBufferTooSmall:
      return "the buffer is smaller than the value";
    case StatusCode::kTimeout:
      return "timed out; of a change that was under way the outcome is unknown";
    case StatusCode::kNoServer:
      return "no server runs under this name; start hostmap-server";
    case StatusCode::kFull:
      return "the server has no room for this; erase something or raise its --memory";
    case StatusCode::kTooLarge:
      return "the key or the value is above its limit";
    case StatusCode::kInvalid:
      return "an argument is not valid";
    case StatusCode::kPermission:
      return "no permission; run as the user of the server";
    case StatusCode::kOtherVersion:
      return "server and client were built for different layouts; upgrade the older one";
    case StatusCode::kClosed:
      return "the server closed the connection; of a change that was under way the outcome is "
             "unknown; the next call connects anew";
    case StatusCode::kInternal:
      return "internal error; please report it";
  }
  return "unknown status";
}

/// What a call came to. Copying one with a detailed message may allocate; if that fails, the detail is dropped.
class [[nodiscard]] Status {
 public:
  // Not defaulted: for `return {}` all of it would be zeroed first (by rep stos, as GCC 12 does it).
  Status() noexcept {}                               // NOLINT(modernize-use-equals-default)
  Status(StatusCode code) noexcept : code_(code) {}  // NOLINT(google-explicit-constructor)
  /// `detail` replaces the code's usual sentence; out of memory it is dropped.
  Status(StatusCode code, std::string_view detail) noexcept : code_(code) { set_detail(detail); }
  Status(const Status& other) noexcept : code_(other.code_), own_memory_(other.own_memory_), size_(other.size_) {
    if (other.detail_) set_detail(*other.detail_);
  }
  Status& operator=(const Status& other) noexcept {
    if (this != &other) *this = Status(other);
    return *this;
  }
  Status(Status&&) noexcept = default;
  Status& operator=(Status&&) noexcept = default;
  ~Status() = default;

  /// kBufferTooSmall with the size in bytes that the value has.
  static Status buffer_too_small(std::uint64_t needed) noexcept {
    Status status(StatusCode::kBufferTooSmall);
    status.size_ = needed;
    return status;
  }

  /// kFull for lack of memory in this process, not in the server. Allocates nothing.
  static Status out_of_memory() noexcept {
    Status status(StatusCode::kFull);
    status.own_memory_ = true;
    return status;
  }

  /// The kOk of every Result that holds a value. It is never destroyed: what runs at a process's exit may still ask for it,
  /// and a library that is a guest there leaves nothing behind for exit to do.
  static const Status& done() noexcept {
    alignas(Status) static unsigned char place[sizeof(Status)];
    static const Status* const status = std::construct_at(reinterpret_cast<Status*>(place));
    return *status;
  }

  bool ok() const noexcept { return code_ == StatusCode::kOk; }
  StatusCode code() const noexcept { return code_; }
  /// Bytes needed, with kBufferTooSmall; otherwise 0.
  std::uint64_t size() const noexcept { return size_; }
  /// One sentence without a full stop. Valid as long as this Status.
  std::string_view message() const noexcept {
    if (detail_) return *detail_;
    return own_memory_ ? "this process is out of memory" : describe(code_);
  }
  friend bool operator==(const Status& status, StatusCode code) noexcept { return status.code_ == code; }

 private:
  void set_detail(std::string_view detail) noexcept {
    try {
      detail_ = std::make_unique<std::string>(detail);
    } catch (...) {
      detail_.reset();  // the code still says what happened
    }
  }

  StatusCode code_ = StatusCode::kOk;
  bool own_memory_ = false;
  std::uint64_t size_ = 0;
  std::unique_ptr<std::string> detail_;
};

/// A T, or the Status that says why there is none. Of one that was moved from, the T or Status was moved from.
template <typename T>
class [[nodiscard]] Result {
  static_assert(!std::is_same_v<T, bool>, "if (result) would be ambiguous: return a Status");
  static_assert(std::is_nothrow_move_constructible_v<T>, "a Result always holds one of the two");

 public:
  Result(T value) noexcept : has_value_(true), value_(std::move(value)) {}  // NOLINT
  /// Makes the T in place.
  template <typename... Arguments>
  explicit Result(std::in_place_t, Arguments&&... arguments)
      : has_value_(true), value_(std::forward<Arguments>(arguments)...) {}
  Result(Status status) noexcept : has_value_(false), status_(std::move(status)) {}  // NOLINT
  Result(StatusCode code) noexcept : has_value_(false), status_(code) {}             // NOLINT
  Result(const Result& other) noexcept(std::is_nothrow_copy_constructible_v<T>) requires std::copy_constructible<T>
      : has_value_(other.has_value_) {
    if (has_value_) {
      std::construct_at(&value_, other.value_);
    } else {
      std::construct_at(&status_, other.status_);
    }
  }
  Result(Result&& other) noexcept : has_value_(other.has_value_) { take(other); }
  Result& operator=(const Result& other) noexcept(
      std::is_nothrow_copy_constructible_v<T>) requires std::copy_constructible<T> {
    return *this = Result(other);
  }
  Result& operator=(Result&& other) noexcept {
    if (this == &other) return *this;
    destroy();
    has_value_ = other.has_value_;
    take(other);
    return *this;
  }
  ~Result() { destroy(); }

  explicit operator bool() const noexcept { return has_value_; }
  T& operator*() & noexcept { return value_; }
  const T& operator*() const& noexcept { return value_; }
  T&& operator*() && noexcept { return std::move(value_); }
  T* operator->() noexcept { return &value_; }
  const T* operator->() const noexcept { return &value_; }
  /// kOk where there is a value. Valid as long as this Result.
  const Status& status() const noexcept { return has_value_ ? Status::done() : status_; }

 private:
  void take(Result& other) noexcept {
    if (has_value_) {
      std::construct_at(&value_, std::move(other.value_));
    } else {
      std::construct_at(&status_, std::move(other.status_));
    }
  }
  void destroy() noexcept {
    if (has_value_) {
      std::destroy_at(&value_);
    } else {
      std::destroy_at(&status_);
    }
  }

  bool has_value_;
  union {
    T value_;
    Status status_;
  };
};

}  // namespace hostmap
