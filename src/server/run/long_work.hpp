// LongWork: how far a request with a long value has come. The value is compared, hashed or copied in steps, and other clients
// are served in between.
//
// The channel's worker alone.
//
// Invariants
// 1. Nothing of it is recorded: after a kill the request is still in its ring and begins again, and the block that was being
//    filled is free, since no cell leads to it.
// 2. It is done for one value of the key. If the key has another one at a later step, the work begins again.
// 3. What only one request can have, the reserve of a full map and a block beyond the quota of streams, belongs to one channel of a
//    lane at a time (LoneWork). The others wait: it ends, or its client has withdrawn the request, and then it is dropped.
#pragma once

#include <algorithm>
#include <cstdint>
#include <memory>
#include <new>
#include <span>

#include "base/token.hpp"
#include "layout/table.hpp"
#include "message/operations.hpp"
#include "table/write/writer.hpp"

namespace hostmap {

struct LongWork {
  // The request, and the value that its key had when the work began. An entry's offset and generation name the value: if the
  // memory is used again, its generation is higher.
  struct Subject {
    std::uint64_t request = ~std::uint64_t{0};
    Op op = Op::kPadding;
    std::uint64_t key_bytes = 0;
    std::uint64_t value_bytes = 0;  // of the request
    std::uint64_t entry = 0;
    std::uint64_t generation = 0;
    std::uint64_t old_bytes = 0;
    bool operator==(const Subject&) const = default;
  };

  Subject subject;
  std::uint64_t examined = 0;           // bytes of the old value that were compared or hashed
  std::unique_ptr<TokenDigest> digest;  // of these, if a token is wanted: 600 bytes, which no other request needs
  std::uint64_t block = 0;              // of the arena, for the new value; 0: none
  std::uint64_t charged = 0;
  std::uint64_t copied = 0;

  bool is_begun() const noexcept { return subject.op != Op::kPadding; }
  // What is examined next, if a step handles `most` bytes.
  std::span<const std::byte> rest(std::span<const std::byte> value, std::uint64_t most) const noexcept {
    return value.subspan(examined, std::min(most, value.size() - examined));
  }
  // False: the process has no memory left.
  bool has_digest() noexcept {
    if (digest == nullptr) {
      digest.reset(new (std::nothrow) TokenDigest);
      if (digest != nullptr) digest->begin();
    }
    return digest != nullptr;
  }
};

struct ServerChannel;

// Of a lane.
struct LoneWork {
  ServerChannel* owner = nullptr;  // null: none
};

}  // namespace hostmap
