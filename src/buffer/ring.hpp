// Ring: a lock-free circular buffer of records for one producer and one consumer, over memory handed to it.
//
// Threads and processes: one producer, one consumer, anywhere. Neither end trusts the other.
//
// A record is a whole number of 16-byte units; its first word is its tag, stored last:
//
//   position p (bytes since the ring was made, a multiple of 16) lies at address p mod capacity
//
//      p            p+8        p+16
//      | tag(p)     | header   | payload ...            | next record: tag(p + size) ...
//
// The consumer polls the word at its position until it is tag(position): one line travels to say "here is a message" and
// to carry it. A record never straddles the end of the memory: a record with header 0 (padding) fills what is left.
//
// Invariants
// 1. tag(p) = (p * kTagFactor) xor nonce. The factor is odd, so p -> tag is one to one; positions are multiples of 16 and
//    the nonce is odd, so a tag is odd and never the zero of fresh memory. At the place of p lie, before p is published,
//    zeroes, tags of earlier positions (other numbers, as p -> tag is one to one) or bytes of earlier payloads. A payload
//    equals tag(p) only if its author guesses 60 random bits of the nonce, which nobody but the two ends can read.
// 2. The producer writes into [head, head + capacity - (head - consumed)) only: `consumed` is what the consumer published.
// 3. The consumer reads only records whose tag it has seen, and publishes a position only when it is done with the bytes.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "base/platform.hpp"
#include "layout/region.hpp"

namespace hostmap {

inline constexpr std::uint64_t kPaddingHeader = 0;
inline constexpr std::uint64_t kTagFactor = 0x9e37'79b9'7f4a'7c15;  // odd; 2^64 / golden ratio

inline constexpr std::uint64_t ring_tag(std::uint64_t position, std::uint64_t nonce) noexcept {
  return (position * kTagFactor) ^ nonce;
}

// What both ends share: where the memory lies and how tags are made.
class RingView {
 public:
  RingView() noexcept = default;
  // `capacity` is a power of two and at least 64.
  RingView(std::byte* memory, std::uint64_t capacity, std::uint64_t nonce) noexcept
      : memory_(memory), capacity_(capacity), nonce_(nonce) {}

  std::uint64_t capacity() const noexcept { return capacity_; }
  std::byte* at(std::uint64_t position) const noexcept { return memory_ + (position & (capacity_ - 1)); }
  Word& word(std::uint64_t position) const noexcept { return *reinterpret_cast<Word*>(at(position)); }
  std::uint64_t tag(std::uint64_t position) const noexcept { return ring_tag(position, nonce_); }
  // Bytes from `position` to the end of the memory.
  std::uint64_t until_end(std::uint64_t position) const noexcept { return capacity_ - (position & (capacity_ - 1)); }

 private:
  std::byte* memory_ = nullptr;
  std::uint64_t capacity_ = 0;
  std::uint64_t nonce_ = 0;
};

class RingProducer {
 public:
  RingProducer() noexcept = default;
  RingProducer(RingView view, std::uint64_t head) noexcept : view_(view), head_(head) {}

  std::uint64_t head() const noexcept { return head_; }
  const RingView& view() const noexcept { return view_; }

  // Bytes that a record of `size` takes at the present head, padding included.
  std::uint64_t needed(std::uint64_t size) const noexcept {
    const std::uint64_t left = view_.until_end(head_);
    return size <= left ? size : left + size;
  }
  bool has_room(std::uint64_t size, std::uint64_t consumed) const noexcept {
    return head_ + needed(size) - consumed <= view_.capacity();
  }

  // Begins a record of `size` bytes (a multiple of 16, for which there is room). Fill bytes 8 to size of what is
  // returned, then publish(size).
  [[gnu::always_inline]] std::byte* begin(std::uint64_t size) noexcept {
    const std::uint64_t left = view_.until_end(head_);
    if (size > left) [[unlikely]] {
      std::memset(view_.at(head_) + 8, 0, 8);  // kPaddingHeader
      publish(left);
    }
    return view_.at(head_);
  }
  // Takes up where a producer that died stood. Padding that it had published stays: the consumer may have passed over it.
  void resume() noexcept {
    // relaxed: a dead producer's store
    if (view_.word(head_).load(std::memory_order_relaxed) != view_.tag(head_)) return;
    std::uint64_t header;
    std::memcpy(&header, view_.at(head_) + 8, sizeof header);
    if (header == kPaddingHeader) head_ += view_.until_end(head_);
  }
  [[gnu::always_inline]] void publish(std::uint64_t size) noexcept {
    // [ring.publish] release; pairs with [ring.poll]: header and payload are complete
    view_.word(head_).store(view_.tag(head_), std::memory_order_release);
    head_ += size;
  }

 private:
  RingView view_;
  std::uint64_t head_ = 0;
};

class RingConsumer {
 public:
  RingConsumer() noexcept = default;
  RingConsumer(RingView view, std::uint64_t position) noexcept : view_(view), position_(position) {}

  std::uint64_t position() const noexcept { return position_; }
  const RingView& view() const noexcept { return view_; }

  // Is a record there? Passes over padding.
  bool poll() noexcept {
    for (int records = 0; records < 2; ++records) {  // an honest peer never pads twice in a row
      // [ring.poll] acquire; pairs with [ring.publish]
      if (view_.word(position_).load(std::memory_order_acquire) != view_.tag(position_)) return false;
      std::uint64_t header;
      std::memcpy(&header, view_.at(position_) + 8, sizeof header);
      if (header != kPaddingHeader) return true;
      position_ += view_.until_end(position_);
    }
    return false;
  }
  // The record found by poll(): its first byte, and how many bytes there can be at most. A peer may change them at any
  // moment: copy first, then look.
  const std::byte* record() const noexcept { return view_.at(position_); }
  std::uint64_t limit() const noexcept { return view_.until_end(position_); }
  // Advances past a record of `size` bytes. The producer may reuse the memory once the new position is published.
  void advance(std::uint64_t size) noexcept { position_ += size; }
  // Returns to a record that it has passed and whose memory it has not released.
  void rewind(std::uint64_t position) noexcept { position_ = position; }

 private:
  RingView view_;
  std::uint64_t position_ = 0;
};

}  // namespace hostmap
