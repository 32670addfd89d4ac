// Operation, Outcome: the requests of a batch and their answers. See Client::apply, multi_put, multi_erase.
//
//   auto map = hostmap::Client::connect();
//   if (!map) return complain(map.status().message());
//   const hostmap::Operation operations[] = {hostmap::Operation::put("language", "C++"), hostmap::Operation::get("name")};
//   hostmap::Outcome outcomes[2];
//   if (auto status = map->apply(operations, outcomes); !status.ok()) return complain(status.message());
//   auto* value = outcomes[1].status.ok() ? &outcomes[1].value : nullptr;
#pragma once

#include <bit>
#include <chrono>
#include <cstdint>
#include <string>
#include <string_view>
#include <type_traits>

#include <hostmap/bytes.hpp>
#include <hostmap/number.hpp>
#include <hostmap/status.hpp>
#include <hostmap/token.hpp>
#include <hostmap/ttl.hpp>

namespace hostmap {

/// A request of a batch. It refers to the caller's memory, which apply reads and does not keep. The functions below create each
/// kind; a default one is a put of the empty key, which is refused.
struct Operation {
  enum class Kind : std::uint8_t {
    kPut,
    kInsert,
    kErase,
    kCompareExchange,
    kIncrement,
    kGet,
    kPutIf,
    kEraseIf,
    kAppend,
    kReplace,
    kExpire,
    kIncrementFraction,
    kIncrementStored,         ///< increment_as<std::int64_t>
    kIncrementStoredFraction  ///< increment_as<double>
  };

  Kind kind = Kind::kPut;
  Bytes key = std::string_view();
  Bytes value = std::string_view();          ///< of kCompareExchange the new one; of kAppend what is appended
  Bytes expected = std::string_view();       ///< of kCompareExchange
  std::int64_t by = 0;                       ///< of increments; of fractions, the bits of the double
  std::int64_t initial = 0;                  ///< of increments: what an absent key counts as; of fractions, as `by`
  Token token = {};                          ///< of kPutIf and kEraseIf
  std::chrono::milliseconds ttl = kForever;  ///< of kPut, kInsert, kReplace and kExpire: how long the key lives;
                                             ///< of increments: how long one lives that they create

  static Operation put(Bytes key, Bytes value, std::chrono::milliseconds ttl = kForever) noexcept {
    return of(Kind::kPut, key, value, ttl);
  }
  static Operation insert(Bytes key, Bytes value, std::chrono::milliseconds ttl = kForever) noexcept {
    return of(Kind::kInsert, key, value, ttl);
  }
  static Operation replace(Bytes key, Bytes value, std::chrono::milliseconds ttl = kForever) noexcept {
    return of(Kind::kReplace, key, value, ttl);
  }
  static Operation expire(Bytes key, std::chrono::milliseconds ttl) noexcept {
    return of(Kind::kExpire, key, std::string_view(), ttl);
  }
  static Operation append(Bytes key, Bytes more) noexcept { return of(Kind::kAppend, key, more); }
  static Operation erase(Bytes key) noexcept { return of(Kind::kErase, key, std::string_view()); }
  static Operation compare_exchange(Bytes key, Bytes expected, Bytes desired) noexcept {
    Operation operation = of(Kind::kCompareExchange, key, desired);
    operation.expected = expected;
    return operation;
  }
  static Operation increment(Bytes key) noexcept { return addition(Kind::kIncrement, key, 1, 0, kForever); }
  template <Summand Number>
  static Operation increment(Bytes key, Number by) noexcept {
    return addition(Kind::kIncrement, key, static_cast<std::int64_t>(by), 0, kForever);
  }
  template <Summand Number, Summand Initial>
  static Operation increment(Bytes key, Number by, Initial initial,
                             std::chrono::milliseconds ttl_if_new = kForever) noexcept {
    return addition(Kind::kIncrement, key, static_cast<std::int64_t>(by), static_cast<std::int64_t>(initial),
                    ttl_if_new);
  }
  template <Fraction Number>
  static Operation increment(Bytes key, Number by, double initial = 0,
                             std::chrono::milliseconds ttl_if_new = kForever) noexcept {
    return addition(Kind::kIncrementFraction, key, std::bit_cast<std::int64_t>(static_cast<double>(by)),
                    std::bit_cast<std::int64_t>(initial), ttl_if_new);
  }
  template <StoredNumber Number>
  static Operation increment_as(Bytes key, std::type_identity_t<Number> by, std::type_identity_t<Number> initial = 0,
                                std::chrono::milliseconds ttl_if_new = kForever) noexcept {
    return addition(std::same_as<Number, double> ? Kind::kIncrementStoredFraction : Kind::kIncrementStored, key,
                    std::bit_cast<std::int64_t>(by), std::bit_cast<std::int64_t>(initial), ttl_if_new);
  }
  static Operation put_if(Bytes key, Bytes value, const Token& token) noexcept {
    Operation operation = of(Kind::kPutIf, key, value);
    operation.token = token;
    return operation;
  }
  static Operation erase_if(Bytes key, const Token& token) noexcept {
    Operation operation = of(Kind::kEraseIf, key, std::string_view());
    operation.token = token;
    return operation;
  }
  static Operation get(Bytes key) noexcept { return of(Kind::kGet, key, std::string_view()); }

 private:
  static Operation addition(Kind kind, Bytes key, std::int64_t by, std::int64_t initial,
                            std::chrono::milliseconds ttl_if_new) noexcept {
    Operation operation = of(kind, key, std::string_view(), ttl_if_new);
    operation.by = by;
    operation.initial = initial;
    return operation;
  }
  static Operation of(Kind kind, Bytes key, Bytes value, std::chrono::milliseconds ttl = kForever) noexcept {
    Operation operation;
    operation.kind = kind;
    operation.key = key;
    operation.value = value;
    operation.ttl = ttl;
    return operation;
  }
};

/// What an operation of a batch came to: the status that the single call of this kind would have returned.
struct Outcome {
  Status status;
  std::int64_t number = 0;  ///< of an increment: the new number; of an append: the new size of the value
  std::string value;        ///< of a get that succeeded

  /// Of an increment of a fraction: the new number.
  double fraction() const noexcept { return std::bit_cast<double>(number); }
};

/// A key and its value, for Client::multi_put. Refers to the caller's memory.
struct KeyValue {
  Bytes key = std::string_view();
  Bytes value = std::string_view();
};

}  // namespace hostmap
