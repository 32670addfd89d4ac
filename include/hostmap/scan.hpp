// Scan: all keys of a map, one after the other, without a function to call for each.
//
//   auto map = hostmap::Client::connect();
//   if (!map) return complain(map.status().message());
//   hostmap::Scan scan(*map, "user:");
//   std::size_t value = 0;
//   while (scan.next()) value += scan.value().size();
//   if (!scan.status().ok()) return complain(scan.status().message());
//
// One thread at a time uses a Scan. It refers to its Client, which must outlive it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <hostmap/bytes.hpp>
#include <hostmap/status.hpp>

namespace hostmap {

class Client;

class Scan {
 public:
  enum class What : std::uint8_t { kKeysAndValues, kKeys };

  /// A scan of the keys that begin with `prefix` (empty: every key), in no order. Sends nothing yet. Allocates a copy of the
  /// prefix.
  explicit Scan(Client& client, Bytes prefix = std::string_view(), What what = What::kKeysAndValues);

  /// Advances to the next key. False: there is none, or an error, which status() returns; after an error, another call tries again
  /// where this one has failed. Promises what Client::scan promises. Reads some dozens of keys at a time, and so blocks and fails
  /// like Client::scan_from; a value may be older than the call that returns it.
  bool next() noexcept;

  /// Of the last call of next(): the key and the value (empty if only keys are wanted). Valid until the next call.
  std::string_view key() const noexcept { return key_; }
  std::string_view value() const noexcept { return value_; }
  /// kOk also at the end. Valid until the next call of next().
  const Status& status() const noexcept { return status_; }

 private:
  bool read_page();

  Client* client_;
  std::string prefix_;
  What what_;
  std::uint64_t cursor_ = 0;
  bool has_more_ = true;
  std::size_t limit_;  // of keys, of the next page
  // The keys and values of a page, one behind the other, and their sizes.
  std::string page_;
  std::vector<std::pair<std::size_t, std::size_t>> sizes_;
  std::size_t item_ = 0;    // the next one of the page
  std::size_t offset_ = 0;  // where it begins
  std::string_view key_;
  std::string_view value_;
  Status status_;
};

}  // namespace hostmap
