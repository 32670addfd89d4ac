// Status and Result: how every call of hostmap reports its outcome.
//
// A Status is a code from a frozen list and one readable sentence. It never throws, and its usual form (a code alone)
// allocates nothing. Result<T> is a T or a Status; there is no Result<bool>, because `if (result)` would be ambiguous. Values
// of both belong to one thread at a time, like an int.
// The headers also compile without exceptions (-fno-exceptions) and without run-time type information (-fno-rtti).
#pragma once

#include <cassert>
#include <concepts>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <iosfwd>
#include <memory>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>

// To use `*` and `->` of a Result that holds no value is a mistake of the caller. A debug build (without NDEBUG) and one with
// _GLIBCXX_ASSERTIONS end the process there with a message; other builds do not check. Nor does the library itself check: it
// never ends its user's process, however it is built.
#if defined(HOSTMAP_LIBRARY)
#define HOSTMAP_ASSERT_VALUE(has_value) static_cast<void>(0)
#elif defined(_GLIBCXX_ASSERTIONS) && defined(NDEBUG) && defined(__glibcxx_assert)
#define HOSTMAP_ASSERT_VALUE(has_value) __glibcxx_assert(has_value)
#else
#define HOSTMAP_ASSERT_VALUE(has_value) assert(has_value)
#endif

namespace hostmap {

/// Frozen numbers: the value of a code never changes, in any language.
enum class StatusCode : std::uint8_t {
  kOk = 0,
  kNotFound = 1,        ///< the key is absent; an ordinary result
  kAlreadyExists = 2,   ///< insert found the key present
  kMismatch = 3,        ///< compare_exchange found another value, or get_as one of another size
  kNotANumber = 4,      ///< increment found bytes that are not a decimal number
  kOverflow = 5,        ///< increment would leave the 64-bit range
  kBufferTooSmall = 6,  ///< get_into: the value is longer than the buffer
  kTimeout = 7,         ///< the deadline passed; for a mutation the outcome is unknown
  kNoServer = 8,        ///< no server runs under this name
  kFull = 9,            ///< no memory or no room for a connection; nothing was changed
  kTooLarge = 10,       ///< key or value above its limit; nothing was changed
  kInvalid = 11,        ///< an argument that is never valid
  kPermission = 12,     ///< the regions belong to another user
  kOtherVersion = 13,   ///< server and client were built for different layouts
  kClosed = 14,         ///< the server closed this connection; the next call connects again
  kInternal = 15,       ///< a bug of hostmap, or damaged shared memory
};

/// The name of a code as it is spelled in this header: "kNotFound".
constexpr std::string_view name_of(StatusCode code) noexcept {
  switch (code) {
    case StatusCode::kOk:
      return "kOk";
    case StatusCode::kNotFound:
      return "kNotFound";
    case StatusCode::kAlreadyExists:
      return "kAlreadyExists";
    case StatusCode::kMismatch:
      return "kMismatch";
    case StatusCode::kNotANumber:
      return "kNotANumber";
    case StatusCode::kOverflow:
      return "kOverflow";
    case StatusCode::kBufferTooSmall:
      return "kBufferTooSmall";
    case StatusCode::kTimeout:
      return "kTimeout";
    case StatusCode::kNoServer:
      return "kNoServer";
    case StatusCode::kFull:
      return "kFull";
    case StatusCode::kTooLarge:
      return "kTooLarge";
    case StatusCode::kInvalid:
      return "kInvalid";
    case StatusCode::kPermission:
      return "kPermission";
    case StatusCode::kOtherVersion:
      return "kOtherVersion";
    case StatusCode::kClosed:
      return "kClosed";
    case StatusCode::kInternal:
      return "kInternal";
  }
  return "unknown";
}

/// Writes the name. Include <ostream> to use it.
template <typename Traits>
std::basic_ostream<char, Traits>& operator<<(std::basic_ostream<char, Traits>& out, StatusCode code) {
  return out << name_of(code);
}

/// The sentence that belongs to a code, without details of the case.
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
      return "the number would exceed 64 bits";
    case StatusCode::kBufferTooSmall:
      return "the buffer is smaller than the value";
    case StatusCode::kTimeout:
      return "timed out; a change may or may not have been applied";
    case StatusCode::kNoServer:
      return "no server runs under this name; start hostmap-server";
    case StatusCode::kFull:
      return "the server has no memory for this; erase keys, or raise the limit of the map with 'hostmap limit SIZE'";
    case StatusCode::kTooLarge:
      return "the key or the value is above its limit";
    case StatusCode::kInvalid:
      return "an argument is not valid";
    case StatusCode::kPermission:
      return "no permission; run as the user of the server";
    case StatusCode::kOtherVersion:
      return "server and client have different layout versions; upgrade the older one";
    case StatusCode::kClosed:
      return "the server closed the connection; a change may or may not have been applied; the next call connects "
             "again";
    case StatusCode::kInternal:
      return "internal error; please report it";
  }
  return "unknown status";
}

/// The outcome of a call. Copying one with a detailed message may allocate; if that fails, the detail is dropped.
class [[nodiscard]] Status {
 public:
  // Not defaulted: `return {}` would zero the whole object first (by rep stos, with GCC 12).
  Status() noexcept {}                               // NOLINT(modernize-use-equals-default)
  Status(StatusCode code) noexcept : code_(code) {}  // NOLINT(google-explicit-constructor)
  /// `detail` replaces the code's usual sentence; if memory is exhausted, it is dropped.
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

  /// kBufferTooSmall with the size of the value in bytes.
  static Status buffer_too_small(std::uint64_t needed) noexcept {
    Status status(StatusCode::kBufferTooSmall);
    status.size_ = needed;
    return status;
  }

  /// kFull because this process, and not the server, is out of memory. Allocates nothing.
  static Status out_of_memory() noexcept {
    Status status(StatusCode::kFull);
    status.own_memory_ = true;
    return status;
  }

  /// The kOk of every Result that holds a value. It is never destroyed, so code that runs at a process's exit may use it.
  /// Defined in the library: an inline or local static variable would be a unique symbol of the dynamic linker, and a shared
  /// object with one of those is never unloaded.
  static const Status& done() noexcept;

  bool ok() const noexcept { return code_ == StatusCode::kOk; }
  StatusCode code() const noexcept { return code_; }
  /// The size needed in bytes, with kBufferTooSmall; otherwise 0.
  std::uint64_t size() const noexcept { return size_; }
  /// One sentence without a full stop. Valid as long as this Status.
  std::string_view message() const noexcept {
    if (detail_) return *detail_;
    return own_memory_ ? "this process is out of memory" : describe(code_);
  }
  friend bool operator==(const Status& status, StatusCode code) noexcept { return status.code_ == code; }
  /// Writes name and message: "kNotFound: no such key". Include <ostream> to use it.
  template <typename Traits>
  friend std::basic_ostream<char, Traits>& operator<<(std::basic_ostream<char, Traits>& out, const Status& status) {
    return out << name_of(status.code_) << ": " << status.message();
  }

 private:
  // Defined in the library: this header is also compiled without exceptions.
  void set_detail(std::string_view detail) noexcept;

  StatusCode code_ = StatusCode::kOk;
  bool own_memory_ = false;
  std::uint64_t size_ = 0;
  std::unique_ptr<std::string> detail_;
};

/// A T, or the Status that says why there is none. After a move from a Result, its T or Status is moved from.
template <typename T>
class [[nodiscard]] Result {
  static_assert(!std::is_same_v<T, bool>, "if (result) would be ambiguous: return a Status");
  static_assert(std::is_nothrow_move_constructible_v<T>, "a Result always holds one of the two");
  static constexpr bool kNothrowCopy = std::is_nothrow_copy_constructible_v<T>;

 public:
  Result(T value) noexcept : has_value_(true), value_(std::move(value)) {}  // NOLINT
  /// Constructs the T in place.
  template <typename... Arguments>
  explicit Result(std::in_place_t, Arguments&&... arguments)
      : has_value_(true), value_(std::forward<Arguments>(arguments)...) {}
  Result(Status status) noexcept : has_value_(false), status_(std::move(status)) {}  // NOLINT
  Result(StatusCode code) noexcept : has_value_(false), status_(code) {}             // NOLINT
  Result(const Result& other) noexcept(kNothrowCopy) requires std::copy_constructible<T>
      : has_value_(other.has_value_) {
    if (has_value_) {
      std::construct_at(&value_, other.value_);
    } else {
      std::construct_at(&status_, other.status_);
    }
  }
  Result(Result&& other) noexcept : has_value_(other.has_value_) { take(other); }
  Result& operator=(const Result& other) noexcept(kNothrowCopy) requires std::copy_constructible<T> {
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
  bool has_value() const noexcept { return has_value_; }

  // These are always inlined, so that each file gets the checks that it was compiled with.
  /// The value. Requires one: without a value, `*` and `->` fail an assertion in debug builds and under _GLIBCXX_ASSERTIONS,
  /// and are undefined in all other builds.
  [[gnu::always_inline]] T& operator*() & noexcept {
    HOSTMAP_ASSERT_VALUE(has_value());
    return value_;
  }
  [[gnu::always_inline]] const T& operator*() const& noexcept {
    HOSTMAP_ASSERT_VALUE(has_value());
    return value_;
  }
  [[gnu::always_inline]] T&& operator*() && noexcept {
    HOSTMAP_ASSERT_VALUE(has_value());
    return std::move(value_);
  }
  [[gnu::always_inline]] const T&& operator*() const&& noexcept {
    HOSTMAP_ASSERT_VALUE(has_value());
    return std::move(value_);
  }
  [[gnu::always_inline]] T* operator->() noexcept {
    HOSTMAP_ASSERT_VALUE(has_value());
    return &value_;
  }
  [[gnu::always_inline]] const T* operator->() const noexcept {
    HOSTMAP_ASSERT_VALUE(has_value());
    return &value_;
  }
  /// The value. Requires one, which every build checks: without a value it prints the message of status() to standard error
  /// and ends the process by std::abort(). Throws nothing.
  T& value() & noexcept {
    require_value();
    return value_;
  }
  const T& value() const& noexcept {
    require_value();
    return value_;
  }
  T&& value() && noexcept {
    require_value();
    return std::move(value_);
  }
  const T&& value() const&& noexcept {
    require_value();
    return std::move(value_);
  }
  /// The value, or `otherwise` if there is none, whatever the reason: an absent key and a dead server give the same result.
  /// Read status() where the difference matters.
  template <typename Otherwise = T>
  T value_or(Otherwise&& otherwise) const& {
    return has_value_ ? value_ : static_cast<T>(std::forward<Otherwise>(otherwise));
  }
  template <typename Otherwise = T>
  T value_or(Otherwise&& otherwise) && {
    return has_value_ ? std::move(value_) : static_cast<T>(std::forward<Otherwise>(otherwise));
  }
  /// kOk if there is a value. Valid as long as this Result.
  const Status& status() const noexcept { return has_value_ ? Status::done() : status_; }

 private:
  void require_value() const noexcept {
    if (has_value_) [[likely]]
      return;
    const std::string_view why = status_.message();
    std::fprintf(stderr, "hostmap::Result::value() without a value: %.*s\n", static_cast<int>(why.size()), why.data());
    std::abort();
  }
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

#undef HOSTMAP_ASSERT_VALUE
