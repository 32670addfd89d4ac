// Watch: one thread's registration to be woken when a key of a group changes. See wait.cpp for the protocol.
#pragma once

#include <cstdint>

#include <hostmap/client.hpp>

#include "client/session.hpp"
#include "wait/deadline.hpp"

namespace hostmap {

// How long until a key, or a lease, of this end is to be checked again; kNoTimeout if it has none.
std::int64_t ns_until(std::uint64_t end) noexcept;

class Watch {
 public:
  // `limit`: of the whole call.
  Watch(Client::Impl& impl, Deadline& limit) noexcept : impl_(impl), limit_(limit) {}
  ~Watch();
  Watch(const Watch&) = delete;
  Watch& operator=(const Watch&) = delete;

  // W0 and W1: registers. Blocks until `part`; once.
  Status begin(const Bytes& key, Deadline& part) noexcept;
  // W2: to be called before the key is read; its result is for sleep().
  std::uint32_t look() const noexcept {
    return word_->load(std::memory_order_acquire);  // [group.look] acquire; pairs with [group.raise]
  }
  enum class Woken { kLookAgain, kRegisterAgain };
  // W4 and W5: sleeps until the word is another one than `seen`, for at most `ns`, and not beyond the limit.
  Woken sleep(std::uint32_t seen, std::int64_t ns) noexcept;

 private:
  friend struct Client::Impl;
  bool is_valid() const noexcept;

  Client::Impl& impl_;
  Deadline& limit_;
  Session* session_ = nullptr;
  const HalfWord* word_ = nullptr;
  std::uint64_t generation_ = 0;
  std::uint32_t lane_ = 0;
  std::uint32_t group_ = 0;
};

}  // namespace hostmap
