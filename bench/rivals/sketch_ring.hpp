// The sketch's circular buffer: 16 messages of 17 bytes, one producer, one consumer, no lock.
//
// Two counters only increase: the producer alone stores `tail`, the consumer alone stores
// `head`, and tail - head messages lie between them at positions modulo 16. Each end keeps the
// other's counter as it last saw it and loads it again only when the ring seems full (or empty): this
// is what makes the design as fast as it can be, for each load takes the line away from the end
// that writes it.
//
// Sync points: a producer's store of `tail` makes the message visible to the consumer that loads
// it; a consumer's store of `head` makes the place free for the producer that loads it.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>

namespace hostmap::bench::sketch {

enum class Kind : std::uint8_t { kInsert, kDelete, kGet, kFound, kAbsent };

/// Insert(key, value), Delete(key) and Get(key) one way; Response(key, optional value)
/// the other way.
struct [[gnu::packed]] Message {
  Kind kind;
  std::uint64_t key;
  std::uint64_t value;
};
static_assert(sizeof(Message) == 17);

inline constexpr std::size_t kRingMessages = 16;
/// Two lines, because processors fetch lines in pairs; crossbeam's CachePadded uses the same.
inline constexpr std::size_t kPadding = 128;

struct Ring {
  alignas(kPadding) std::atomic<std::uint64_t> tail;
  alignas(kPadding) std::atomic<std::uint64_t> head;
  alignas(kPadding) std::array<Message, kRingMessages> messages;
};
static_assert(std::atomic<std::uint64_t>::is_always_lock_free);

class Producer {
 public:
  explicit Producer(Ring& ring) : ring_(ring) {}

  /// False, with nothing changed, while the ring is full.
  [[nodiscard]] bool try_push(const Message& message) {
    if (tail_ - seen_head_ == kRingMessages) {
      seen_head_ = ring_.head.load(std::memory_order_acquire);  // [sketch.free]
      if (tail_ - seen_head_ == kRingMessages) return false;
    }
    ring_.messages[tail_ % kRingMessages] = message;
    ring_.tail.store(++tail_, std::memory_order_release);  // [sketch.publish]
    return true;
  }

 private:
  Ring& ring_;
  std::uint64_t tail_ = 0;
  std::uint64_t seen_head_ = 0;
};

class Consumer {
 public:
  explicit Consumer(Ring& ring) : ring_(ring) {}

  /// False, with nothing changed, while the ring is empty.
  [[nodiscard]] bool try_pop(Message& message) {
    if (head_ == seen_tail_) {
      seen_tail_ = ring_.tail.load(std::memory_order_acquire);  // [sketch.publish]
      if (head_ == seen_tail_) return false;
    }
    message = ring_.messages[head_ % kRingMessages];
    ring_.head.store(++head_, std::memory_order_release);  // [sketch.free]
    return true;
  }

 private:
  Ring& ring_;
  std::uint64_t head_ = 0;
  std::uint64_t seen_tail_ = 0;
};

}  // namespace hostmap::bench::sketch
